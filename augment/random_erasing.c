/* random_erasing.c: a box of random place, area and aspect ratio is filled with one colour or with noise (Zhong et al.
 * 2020, arXiv:1708.04896; the draws are torchvision's RandomErasing). */
#include "augment/augment.h"
#include "augment/draws.h"
#include "augment/lower.h"
#include <math.h>
#include <string.h>

#define TRIES 10

enum { MODE_FILL, MODE_NOISE };

typedef struct erasing_params {
    double  scale_min, scale_max, ratio_min, ratio_max, p;
    int     mode;
    char    fill[48];
    int     colours;                          /* derived: numbers in fill, and they as bytes */
    uint8_t colour[CLVI_AUGMENT_CHANNELS];
} erasing_params;

static const clvi_option erasing_options[] = {
    CLVI_OPTION_F64(erasing_params, scale_min, "scale-min", "0.02", 0, 1, "least area of the box, as a fraction of the "
                    "picture", NULL),
    CLVI_OPTION_F64(erasing_params, scale_max, "scale-max", "0.33", 0, 1, "greatest area of the box", NULL),
    CLVI_OPTION_F64(erasing_params, ratio_min, "ratio-min", "0.3", 0.01, 100, "least height / width of the box", NULL),
    CLVI_OPTION_F64(erasing_params, ratio_max, "ratio-max", "3.3", 0.01, 100, "greatest height / width of the box",
                    NULL),
    CLVI_OPTION_CHOICE(erasing_params, mode, "mode", "fill", "fill|noise", "one colour, or a random byte everywhere"),
    CLVI_OPTION_STRING(erasing_params, fill, "fill", "0", "mode fill: one byte, or one per channel"),
    CLVI_OPTION_PROBABILITY(erasing_params, "0.5"),
    CLVI_OPTION_END
};

static clv_status erasing_prepare(void *params)
{
    erasing_params *p = params;
    float value[CLVI_AUGMENT_CHANNELS];
    CLV_CHECK(p->scale_min <= p->scale_max, CLV_ERR_INVALID, "random-erasing: scale-min %g is above scale-max %g",
              p->scale_min, p->scale_max);
    CLV_CHECK(p->ratio_min <= p->ratio_max, CLV_ERR_INVALID, "random-erasing: ratio-min %g is above ratio-max %g",
              p->ratio_min, p->ratio_max);
    p->colours = clvi_parse_channels(p->fill, value);
    CLV_CHECK(p->colours > 0, CLV_ERR_INVALID, "random-erasing: fill '%s' is not one number or three with commas",
              p->fill);
    for (int c = 0; c < CLVI_AUGMENT_CHANNELS; c++) {
        const float v = value[p->colours == 1 ? 0 : c];
        CLV_CHECK(v >= 0 && v <= 255 && v == floorf(v), CLV_ERR_INVALID,
                  "random-erasing: fill '%s' holds what is no whole number from 0 to 255", p->fill);
        p->colour[c] = (uint8_t)v;
    }
    return CLV_OK;
}

static bool erasing_draw(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    const erasing_params *p = params;
    const double area = (double)in->height * in->width;
    if (clvi_rng_f64(rng) >= p->p) return false;
    for (int i = 0; i < TRIES; i++) {
        const double target = area * clvi_rng_uniform(rng, p->scale_min, p->scale_max);
        const double ratio = exp(clvi_rng_uniform(rng, log(p->ratio_min), log(p->ratio_max)));
        const double height = rint(sqrt(target * ratio)), width = rint(sqrt(target / ratio));
        if (height >= in->height || width >= in->width) continue;
        clvi_erase_draw d = { .height = (int)height, .width = (int)width };
        d.y = (int)clvi_rng_below(rng, (uint64_t)(in->height - d.height + 1));
        d.x = (int)clvi_rng_below(rng, (uint64_t)(in->width - d.width + 1));
        d.noise = (uint64_t)clvi_rng_u32(rng) << 32;
        d.noise |= clvi_rng_u32(rng);
        *(clvi_erase_draw *)draw = d;
        return true;
    }
    return false;
}

static void fill_noise(clvi_rng *rng, uint8_t *out, int n)
{
    for (int i = 0; i < n; i += 4) {
        const uint32_t bits = clvi_rng_u32(rng);
        for (int j = i; j < CLVI_MIN(i + 4, n); j++) out[j] = (uint8_t)(bits >> 8 * (j - i));
    }
}

static clvi_rng noise_of(const clvi_erase_draw *d)
{
    return clvi_rng_make(d->noise, CLVI_RNG_ERASE, 0, 0, 0);
}

static clv_status check_colours(const erasing_params *p, int channels)
{
    CLV_CHECK(p->mode == MODE_NOISE || p->colours == 1 || channels == p->colours, CLV_ERR_SHAPE,
              "random-erasing: fill names %d channels, the picture has %d", p->colours, channels);
    return CLV_OK;
}

static clv_status erasing_apply(const void *params, const void *draw, clvi_frame *f)
{
    const erasing_params *p = params;
    const clvi_erase_draw *d = draw;
    CLV_TRY(check_colours(p, f->channels));
    clvi_rng rng = noise_of(d);
    for (int c = 0; c < f->channels; c++)
        for (int y = d->y; y < d->y + d->height; y++) {
            uint8_t *row = f->planes + ((int64_t)c * f->height + y) * f->width + d->x;
            if (p->mode == MODE_NOISE) fill_noise(&rng, row, d->width);
            else memset(row, p->colour[c], (size_t)d->width);
        }
    return CLV_OK;
}

static clv_status erasing_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    const erasing_params *p = params;
    const clvi_erase_draw *d = draw;
    const clvi_rng rng = noise_of(d);
    const bool noise = p->mode == MODE_NOISE;
    clvi_pixel_op op = { .kind = noise ? CLVI_PIXEL_NOISE : CLVI_PIXEL_FILL, .height = in->height, .width = in->width,
                         .n = { d->y, d->x, d->height, d->width } };
    CLV_TRY(check_colours(p, in->channels));
    void *table = clvi_pixel_table(list, noise ? sizeof rng : sizeof p->colour, &op.at);
    if (table) memcpy(table, noise ? (const void *)&rng : p->colour, noise ? sizeof rng : sizeof p->colour);
    clvi_pixel_append(list, &op, in->channels);
    return CLV_OK;
}

static size_t erasing_lowered_size(const void *params, const clvi_geometry *in)
{
    (void)params, (void)in;
    return sizeof(clvi_pixel_op) + clvi_pixel_table_size(sizeof(clvi_rng));
}

const clvi_augment_class clvi_augment_random_erasing = {
    .info = { "random-erasing", "a box of random area and aspect ratio is filled with a colour or with noise",
              "arXiv:1708.04896; torchvision RandomErasing", CLVI_COUNT(erasing_options) - 1 },
    .params_size = sizeof(erasing_params), .options = erasing_options,
    .purpose = CLVI_RNG_ERASE, .draw_size = sizeof(clvi_erase_draw),
    .prepare = erasing_prepare, .draw = erasing_draw, .apply = erasing_apply,
    .lower = erasing_lower, .lowered_size = erasing_lowered_size,
};
