/* gaussian_blur.c: blur with a random sigma, with a probability.
 *
 * pil     three box filters of fractional length per direction (box_blur.c): what Pillow's GaussianBlur does. The
 *         published recipes of MoCo v2 and v3 used it.
 * kernel  a sampled Gaussian, reflecting at the border, in single precision, rounded once. SimCLR and BYOL used one, of
 *         about a tenth of the picture's height. */
#include "augment/box_blur.h"
#include "augment/draws.h"
#include "augment/lower.h"
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

#define KERNEL_BLOCK 64

/* out[i] = sum over t < taps of weight[t] * in[t * step + i], added in this order; `in` may be read KERNEL_BLOCK floats
 * further. */
CLVI_BODY weigh_run_body(const float *in, int64_t step, const float *weight, int taps, int n, float *out)
{
    for (int i = 0; i < n; i += KERNEL_BLOCK) {
        float sum[KERNEL_BLOCK] = { 0 };
        for (int t = 0; t < taps; t++)
            for (int j = 0; j < KERNEL_BLOCK; j++) sum[j] += weight[t] * in[t * step + i + j];
        memcpy(out + i, sum, (size_t)CLVI_MIN(n - i, KERNEL_BLOCK) * sizeof *sum);
    }
}
CLVI_PATHS(weigh_run, (const float *in, int64_t step, const float *weight, int taps, int n, float *out),
           (in, step, weight, taps, n, out))

CLVI_BODY round_run_body(const float *in, int n, uint8_t *out)
{
    for (int i = 0; i < n; i++) {
        const int v = (int)rintf(in[i]);
        out[i] = (uint8_t)CLVI_MIN(v, 255);
    }
}
CLVI_PATHS(round_run, (const float *in, int n, uint8_t *out), (in, n, out))

/* Parts of temp: the weights, one row with `radius` floats on either side, one row of sums, and all rows with `radius`
 * rows above and below. */
typedef struct kernel_room {
    float *weight, *row, *sum, *plane;
} kernel_room;

static size_t kernel_floats(int radius, int height, int width)
{
    const size_t r = (size_t)radius, w = (size_t)width;
    return (2 * r + 1) + (w + 2 * r) + w + ((size_t)height + 2 * r) * w + KERNEL_BLOCK;
}

static void kernel_weights(int radius, double sigma, float *weight)
{
    double total = 0.0;
    for (int i = -radius; i <= radius; i++) total += exp(-0.5 * (i / sigma) * (i / sigma));
    for (int i = -radius; i <= radius; i++)
        weight[i + radius] = (float)(exp(-0.5 * (i / sigma) * (i / sigma)) / total);
}

static kernel_room kernel_prepare(void *temp, int radius, int width, double sigma)
{
    kernel_room k = { .weight = temp };
    k.row = k.weight + 2 * radius + 1;
    k.sum = k.row + width + 2 * radius;
    k.plane = k.sum + width;
    kernel_weights(radius, sigma, k.weight);
    return k;
}

/* A row of bytes as floats, with reflections of it on either side. */
static void widen_row(const uint8_t *in, int n, int radius, float *out)
{
    for (int x = 0; x < n; x++) out[radius + x] = in[x];
    for (int x = 1; x <= radius; x++) {
        out[radius - x] = in[reflect(-x, n)];
        out[radius + n - 1 + x] = in[reflect(n - 1 + x, n)];
    }
}

static void kernel_plane(const clvi_frame *f, int radius, const kernel_room *k, uint8_t *plane)
{
    const int64_t w = f->width, h = f->height;
    float *rows = k->plane + radius * w;
    for (int64_t y = 0; y < h; y++) {
        widen_row(plane + y * w, f->width, radius, k->row);
        weigh_run_choose(f->plain)(k->row, 1, k->weight, 2 * radius + 1, f->width, rows + y * w);
    }
    for (int y = 1; y <= radius; y++) {
        memcpy(rows - y * w, rows + reflect(-y, f->height) * w, (size_t)w * sizeof *rows);
        memcpy(rows + (h - 1 + y) * w, rows + reflect((int)h - 1 + y, f->height) * w, (size_t)w * sizeof *rows);
    }
    for (int64_t y = 0; y < h; y++) {
        weigh_run_choose(f->plain)(k->plane + y * w, w, k->weight, 2 * radius + 1, f->width, k->sum);
        round_run_choose(f->plain)(k->sum, f->width, plane + y * w);
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
    if (p->mode == MODE_PIL) return clvi_box_blur_temp(in->width);
    return kernel_floats(kernel_radius(p, in->height), in->height, in->width) * sizeof(float);
}

static clv_status blur_apply(const void *params, const void *draw, clvi_frame *f)
{
    const blur_params *p = params;
    const double sigma = ((const clvi_blur_draw *)draw)->sigma;
    if (p->mode == MODE_PIL) clvi_box_blur(f, sigma);
    else blur_kernel(f, p, sigma);
    return CLV_OK;
}

static clv_status blur_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    const blur_params *p = params;
    const double sigma = ((const clvi_blur_draw *)draw)->sigma;
    if (p->mode == MODE_PIL) return clvi_box_blur_lower(sigma, in, list);
    const int radius = kernel_radius(p, in->height);
    clvi_pixel_op op = { .kind = CLVI_PIXEL_KERNEL, .height = in->height, .width = in->width, .n = { radius } };
    float *weight = clvi_pixel_table(list, (size_t)(2 * radius + 1) * sizeof *weight, &op.at);
    if (weight) kernel_weights(radius, sigma, weight);
    clvi_pixel_need(list, (size_t)in->height * (size_t)in->width * sizeof(float));
    clvi_pixel_append(list, &op, in->channels);
    return CLV_OK;
}

static size_t blur_lowered_size(const void *params, const clvi_geometry *in)
{
    const size_t taps = 2 * (size_t)kernel_radius(params, in->height) + 1;
    return sizeof(clvi_pixel_op) + clvi_pixel_table_size(taps * sizeof(float));
}

const clvi_augment_class clvi_augment_gaussian_blur = {
    .info = { "gaussian-blur", "blur with a random sigma, as Pillow's or with a true kernel",
              "arXiv:2002.05709, appendix A; arXiv:2003.04297", CLVI_COUNT(blur_options) - 1 },
    .params_size = sizeof(blur_params), .options = blur_options,
    .purpose = CLVI_RNG_BLUR, .draw_size = sizeof(clvi_blur_draw),
    .prepare = blur_prepare, .temp_size = blur_temp_size, .draw = blur_draw_sigma, .apply = blur_apply,
    .lower = blur_lower, .lowered_size = blur_lowered_size,
};
