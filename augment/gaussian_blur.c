/* gaussian_blur.c: blur with a random sigma, with a probability.
 *
 * pil     three box filters of fractional length per direction, each rounded to bytes: what Pillow's GaussianBlur does
 *         (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by extended box filtering"). The
 *         published recipes of MoCo v2 and v3 used it.
 * kernel  a sampled Gaussian, reflecting at the border, in single precision, rounded once. SimCLR and BYOL used one, of
 *         about a tenth of the picture's height. */
#include "augment/augment.h"
#include "augment/draws.h"
#include <math.h>
#include <string.h>

enum { MODE_PIL, MODE_KERNEL };

typedef struct blur_params {
    double  sigma_min, sigma_max, p;
    int     mode;
    int64_t kernel_size;
} blur_params;

static const clvi_option blur_options[] = {
    CLVI_OPTION_F64(blur_params, sigma_min, "sigma-min", "0.1", 0.01, 16, "least standard deviation, pixels", "sigma"),
    CLVI_OPTION_F64(blur_params, sigma_max, "sigma-max", "2", 0.01, 16, "greatest standard deviation, pixels", "sigma"),
    CLVI_OPTION_CHOICE(blur_params, mode, "mode", "pil", "pil|kernel",
                       "pil: Pillow's three box filters; kernel: a sampled Gaussian"),
    CLVI_OPTION_I64(blur_params, kernel_size, "kernel-size", "0", 0, 255,
                    "mode kernel: taps, made odd; 0: a tenth of the picture's height", NULL),
    CLVI_OPTION_PROBABILITY(blur_params, "0.5"),
    CLVI_OPTION_END
};

static clv_status blur_prepare(void *params)
{
    const blur_params *p = params;
    CLV_CHECK(p->sigma_min <= p->sigma_max, CLV_ERR_INVALID, "gaussian-blur: sigma-min %g is above sigma-max %g",
              p->sigma_min, p->sigma_max);
    return CLV_OK;
}

static bool blur_draw_sigma(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    (void)in;
    const blur_params *p = params;
    if (clvi_rng_f64(rng) >= p->p) return false;
    ((clvi_blur_draw *)draw)->sigma = clvi_rng_uniform(rng, p->sigma_min, p->sigma_max);
    return true;
}

/* ---- pil ---- */

#define BOX_PASSES 3
#define BOX_REACH  32   /* more than the radius of a box for sigma 16, and one more for the fraction */
#define BOX_BLOCK  64
_Static_assert(BOX_BLOCK <= CLVI_FRAME_SLACK, "blocks read past the end of a row");

/* A box of length 2 * radius + 1 and a bit: inner bytes weigh `whole`, the two outermost `part`, of 2^24. */
typedef struct box {
    int      radius;
    uint32_t whole, part;
} box;

static box box_make(float sigma)
{
    const float variance = sigma * sigma / BOX_PASSES;
    const float length = (float)sqrt(12.0 * (double)variance + 1.0);
    const float whole = (float)floor(((double)length - 1.0) / 2.0);
    float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
    part /= 6 * (variance - (whole + 1) * (whole + 1));
    const float radius = whole + part;
    box b = { .radius = (int)radius };
    b.whole = (uint32_t)((float)(1u << 24) / (radius * 2 + 1));
    b.part = ((1u << 24) - (uint32_t)(b.radius * 2 + 1) * b.whole) / 2;
    return b;
}

/* out[i] from taps[0][i] .. taps[2 * radius + 2][i], which may be read up to the next multiple of BOX_BLOCK. */
CLVI_BODY box_row_body(const uint8_t *const *taps, const box *b, int n, uint8_t *out)
{
    const int last = 2 * b->radius + 2;
    const uint32_t whole = b->whole, part = b->part;
    for (int i = 0; i < n; i += BOX_BLOCK) {
        uint16_t sum[BOX_BLOCK] = { 0 };
        uint8_t bytes[BOX_BLOCK];
        for (int t = 1; t < last; t++)
            for (int j = 0; j < BOX_BLOCK; j++) sum[j] = (uint16_t)(sum[j] + taps[t][i + j]);
        const uint8_t *first = taps[0] + i, *end = taps[last] + i;
        for (int j = 0; j < BOX_BLOCK; j++)
            bytes[j] = (uint8_t)((sum[j] * whole + (uint32_t)(first[j] + end[j]) * part + (1u << 23)) >> 24);
        memcpy(out + i, bytes, (size_t)CLVI_MIN(n - i, BOX_BLOCK));
    }
}
CLVI_PATHS(box_row, (const uint8_t *const *taps, const box *b, int n, uint8_t *out), (taps, b, n, out))

/* All passes along one row; `padded` holds BOX_REACH + width + BOX_REACH bytes and slack. */
static void box_along_row(const clvi_frame *f, const box *b, uint8_t *row, uint8_t *padded)
{
    const uint8_t *taps[2 * BOX_REACH + 1];
    const int reach = b->radius + 1;
    for (int t = 0; t <= 2 * reach; t++) taps[t] = padded + t;
    for (int pass = 0; pass < BOX_PASSES; pass++) {
        memset(padded, row[0], (size_t)reach);
        memcpy(padded + reach, row, (size_t)f->width);
        memset(padded + reach + f->width, row[f->width - 1], (size_t)reach);
        box_row_choose(f->plain)(taps, b, f->width, row);
    }
}

static void box_down_plane(const clvi_frame *f, const box *b, const uint8_t *in, uint8_t *out)
{
    const uint8_t *taps[2 * BOX_REACH + 1];
    const int reach = b->radius + 1;
    for (int y = 0; y < f->height; y++) {
        for (int t = 0; t <= 2 * reach; t++) {
            const int from = CLVI_MIN(CLVI_MAX(y + t - reach, 0), f->height - 1);
            taps[t] = in + (int64_t)from * f->width;
        }
        box_row_choose(f->plain)(taps, b, f->width, out + (int64_t)y * f->width);
    }
}

static void blur_pil(clvi_frame *f, double sigma)
{
    const box b = box_make((float)sigma);
    const int64_t n = (int64_t)f->height * f->width;
    for (int64_t i = 0; i < (int64_t)f->height * f->channels; i++)
        box_along_row(f, &b, f->planes + i * f->width, f->temp);
    for (int pass = 0; pass < BOX_PASSES; pass++) {
        uint8_t *out = clvi_frame_spare(f);
        for (int c = 0; c < f->channels; c++) box_down_plane(f, &b, f->planes + c * n, out + c * n);
        clvi_frame_adopt_spare(f, f->height, f->width);
    }
}

/* ---- kernel ---- */

static int kernel_radius(const blur_params *p, int height)
{
    return (int)(p->kernel_size > 0 ? p->kernel_size : height / 10) / 2;
}

static int reflect(int i, int n)
{
    if (n == 1) return 0;
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
    return i;
}

CLVI_BODY add_scaled_body(float *restrict sum, const float *restrict in, float weight, int n)
{
    for (int i = 0; i < n; i++) sum[i] += weight * in[i];
}
CLVI_PATHS(add_scaled, (float *sum, const float *in, float weight, int n), (sum, in, weight, n))

/* Parts of temp, in floats. */
typedef struct kernel_room {
    float *weight, *padded, *sum, *plane;
} kernel_room;

static size_t kernel_floats(int radius, int height, int width)
{
    return (size_t)(2 * radius + 1) + (size_t)(width + 2 * radius) + (size_t)width + (size_t)height * (size_t)width;
}

static kernel_room kernel_prepare(void *temp, int radius, int width, double sigma)
{
    kernel_room k = { .weight = temp };
    double total = 0.0;
    k.padded = k.weight + 2 * radius + 1;
    k.sum = k.padded + width + 2 * radius;
    k.plane = k.sum + width;
    for (int i = -radius; i <= radius; i++) total += exp(-0.5 * (i / sigma) * (i / sigma));
    for (int i = -radius; i <= radius; i++)
        k.weight[i + radius] = (float)(exp(-0.5 * (i / sigma) * (i / sigma)) / total);
    return k;
}

static void kernel_plane(const clvi_frame *f, int radius, const kernel_room *k, uint8_t *plane)
{
    void (*add)(float *, const float *, float, int) = add_scaled_choose(f->plain);
    const int w = f->width, h = f->height;
    for (int y = 0; y < h; y++) {
        float *row = k->plane + (int64_t)y * w;
        for (int x = -radius; x < w + radius; x++) k->padded[x + radius] = plane[(int64_t)y * w + reflect(x, w)];
        memset(row, 0, (size_t)w * sizeof *row);
        for (int t = 0; t <= 2 * radius; t++) add(row, k->padded + t, k->weight[t], w);
    }
    for (int y = 0; y < h; y++) {
        memset(k->sum, 0, (size_t)w * sizeof *k->sum);
        for (int t = 0; t <= 2 * radius; t++)
            add(k->sum, k->plane + (int64_t)reflect(y + t - radius, h) * w, k->weight[t], w);
        for (int x = 0; x < w; x++) plane[(int64_t)y * w + x] = (uint8_t)fminf(rintf(k->sum[x]), 255.0f);
    }
}

static void blur_kernel(clvi_frame *f, const blur_params *p, double sigma)
{
    const int radius = kernel_radius(p, f->height);
    const kernel_room k = kernel_prepare(f->temp, radius, f->width, sigma);
    for (int c = 0; c < f->channels; c++) kernel_plane(f, radius, &k, f->planes + (int64_t)c * f->height * f->width);
}

/* ---- both ---- */

static size_t blur_temp_size(const void *params, const clvi_geometry *in)
{
    const blur_params *p = params;
    if (p->mode == MODE_PIL) return (size_t)in->width + 2 * BOX_REACH + CLVI_FRAME_SLACK;
    return kernel_floats(kernel_radius(p, in->height), in->height, in->width) * sizeof(float);
}

static clv_status blur_apply(const void *params, const void *draw, clvi_frame *f)
{
    const blur_params *p = params;
    const double sigma = ((const clvi_blur_draw *)draw)->sigma;
    if (p->mode == MODE_PIL) blur_pil(f, sigma);
    else blur_kernel(f, p, sigma);
    return CLV_OK;
}

const clvi_augment_class clvi_augment_gaussian_blur = {
    .info = { "gaussian-blur", "blur with a random sigma, as Pillow's or with a true kernel",
              "arXiv:2002.05709, appendix A; arXiv:2003.04297", CLVI_COUNT(blur_options) - 1 },
    .params_size = sizeof(blur_params), .options = blur_options,
    .purpose = CLVI_RNG_BLUR, .draw_size = sizeof(clvi_blur_draw),
    .prepare = blur_prepare, .temp_size = blur_temp_size, .draw = blur_draw_sigma, .apply = blur_apply,
};
