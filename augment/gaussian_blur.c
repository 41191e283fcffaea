/* gaussian_blur.c: blur with a random sigma, with a probability.
 *
 * pil     three box filters of fractional length per direction (box_blur.c): what Pillow's GaussianBlur does. The published
 *         recipes of MoCo v2 and v3 used it.
 * kernel  a sampled Gaussian, reflecting at the border, in single precision, rounded once. SimCLR and BYOL used one, of
 *         about a tenth of the picture's height. */
#include "augment/box_blur.h"
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

const clvi_augment_class clvi_augment_gaussian_blur = {
    .info = { "gaussian-blur", "blur with a random sigma, as Pillow's or with a true kernel",
              "arXiv:2002.05709, appendix A; arXiv:2003.04297", CLVI_COUNT(blur_options) - 1 },
    .params_size = sizeof(blur_params), .options = blur_options,
    .purpose = CLVI_RNG_BLUR, .draw_size = sizeof(clvi_blur_draw),
    .prepare = blur_prepare, .temp_size = blur_temp_size, .draw = blur_draw_sigma, .apply = blur_apply,
};
