/* normalize.c: bytes to floats: (value / 255 - mean) / std per channel, in single precision. Ends every chain. */
#include "augment/normalize.h"
#include <locale.h>
#include <stdlib.h>

static const clvi_option normalize_options[] = {
    CLVI_OPTION_STRING(clvi_normalize, mean, "mean", "0", "one number, or one per channel, on the 0..1 scale"),
    CLVI_OPTION_STRING(clvi_normalize, std, "std", "1", "one number, or one per channel, on the 0..1 scale"),
    CLVI_OPTION_END
};

int clvi_parse_channels(const char *text, float values[CLVI_AUGMENT_CHANNELS])
{
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);   /* a point in any locale; glibc allocates nothing */
    int n = 0;
    for (;;) {
        char *end = NULL;
        if (n == CLVI_AUGMENT_CHANNELS) return 0;
        values[n] = strtof_l(text, &end, c);
        if (end == text || !(values[n] > -1e6f && values[n] < 1e6f)) return 0;
        n++;
        if (*end == '\0') return n == 2 ? 0 : n;
        if (*end != ',') return 0;
        text = end + 1;
    }
}

static clv_status normalize_prepare(void *params)
{
    clvi_normalize *p = params;
    float mean[CLVI_AUGMENT_CHANNELS], std[CLVI_AUGMENT_CHANNELS];
    const int means = clvi_parse_channels(p->mean, mean), stds = clvi_parse_channels(p->std, std);
    CLV_CHECK(means > 0, CLV_ERR_INVALID, "normalize: mean '%s' is not one number or three with commas", p->mean);
    CLV_CHECK(stds > 0, CLV_ERR_INVALID, "normalize: std '%s' is not one number or three with commas", p->std);
    p->channels = CLVI_MAX(means, stds);
    for (int c = 0; c < CLVI_AUGMENT_CHANNELS; c++) {
        p->m[c] = mean[means == 1 ? 0 : c];
        p->s[c] = std[stds == 1 ? 0 : c];
        CLV_CHECK(p->s[c] >= 1e-6f, CLV_ERR_INVALID, "normalize: std '%s' holds a value below 1e-6", p->std);
        for (int v = 0; v < 256; v++) p->table[c][v] = ((float)v / 255.0f - p->m[c]) / p->s[c];
    }
    return CLV_OK;
}

static float *emit_row_1(const float table[][256], const uint8_t *row, int64_t step, int width, float *out)
{
    for (int x = 0; x < width; x++) *out++ = table[0][row[x * step]];
    return out;
}

static float *emit_row_3(const float table[][256], const uint8_t *row, int64_t step, int64_t plane, int width,
                         float *out)
{
    const uint8_t *r = row, *g = row + plane, *b = row + 2 * plane;
    for (int x = 0; x < width; x++, out += 3, r += step, g += step, b += step) {
        out[0] = table[0][*r];
        out[1] = table[1][*g];
        out[2] = table[2][*b];
    }
    return out;
}

static clv_status normalize_emit(const void *params, const clvi_frame *f, float *out)
{
    const clvi_normalize *p = params;
    CLV_CHECK(p->channels == 1 || f->channels == p->channels, CLV_ERR_SHAPE,
              "normalize: mean or std names %d channels, the picture has %d", p->channels, f->channels);
    for (int y = 0; y < f->height; y++) {
        const uint8_t *row = f->pixels + y * f->row_stride;
        out = f->channels == 1 ? emit_row_1(p->table, row, f->pixel_stride, f->width, out)
                               : emit_row_3(p->table, row, f->pixel_stride, f->plane_stride, f->width, out);
    }
    return CLV_OK;
}

const clvi_augment_class clvi_augment_normalize = {
    .info = { "normalize", "bytes to floats: (value / 255 - mean) / std per channel; the last step",
              "torchvision ToTensor and Normalize", CLVI_COUNT(normalize_options) - 1 },
    .params_size = sizeof(clvi_normalize), .options = normalize_options,
    .prepare = normalize_prepare, .emit = normalize_emit,
};
