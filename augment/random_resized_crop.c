/* random_resized_crop.c: a box of random area and aspect ratio, resized to a square (Szegedy et al. 2015,
 * arXiv:1409.4842, section 6; the draws are torchvision's RandomResizedCrop). */
#include "augment/draws.h"
#include "augment/lower.h"
#include "augment/resample.h"
#include <math.h>

#define TRIES 10

typedef struct crop_params {
    int64_t size;
    double  scale_min, scale_max, ratio_min, ratio_max;
    int     filter;
} crop_params;

static const clvi_option crop_options[] = {
    CLVI_OPTION_I64(crop_params, size, "size", "224", 1, 4096, "side of the result in pixels", NULL),
    CLVI_OPTION_F64(crop_params, scale_min, "scale-min", "0.08", 1e-6, 1, "least area of the box, as a fraction of the "
                    "picture (crop-min is the same)", NULL),
    CLVI_OPTION_F64(crop_params, scale_max, "scale-max", "1", 1e-6, 1, "greatest area of the box", NULL),
    CLVI_OPTION_F64(crop_params, ratio_min, "ratio-min", "0.75", 0.01, 100, "least width / height of the box", NULL),
    CLVI_OPTION_F64(crop_params, ratio_max, "ratio-max", "1.3333333333333333", 0.01, 100,
                    "greatest width / height of the box", NULL),
    CLVI_OPTION_FILTER(crop_params),
    CLVI_OPTION_END
};

static clv_status crop_prepare(void *params)
{
    const crop_params *p = params;
    CLV_CHECK(p->scale_min <= p->scale_max, CLV_ERR_INVALID,
              "random-resized-crop: scale-min %g is above scale-max %g", p->scale_min, p->scale_max);
    CLV_CHECK(p->ratio_min <= p->ratio_max, CLV_ERR_INVALID,
              "random-resized-crop: ratio-min %g is above ratio-max %g", p->ratio_min, p->ratio_max);
    return CLV_OK;
}

static int crop_out_size(const void *params)
{
    return (int)((const crop_params *)params)->size;
}

static size_t crop_temp_size(const void *params, const clvi_geometry *in)
{
    const int size = crop_out_size(params);
    return clvi_resample_temp(in, (double)CLVI_MAX(in->height, in->width) / size, size, size,
                              (clvi_filter)((const crop_params *)params)->filter);
}

/* The largest box in the middle whose ratio is allowed. */
static clvi_crop_draw central_box(const crop_params *p, const clvi_geometry *in)
{
    const double ratio = (double)in->width / in->height;
    clvi_crop_draw d = { 0, 0, in->height, in->width };
    if (ratio < p->ratio_min) d.height = (int)rint(in->width / p->ratio_min);
    else if (ratio > p->ratio_max) d.width = (int)rint(in->height * p->ratio_max);
    d.height = CLVI_MIN(CLVI_MAX(d.height, 1), in->height);
    d.width = CLVI_MIN(CLVI_MAX(d.width, 1), in->width);
    d.y = (in->height - d.height) / 2;
    d.x = (in->width - d.width) / 2;
    return d;
}

static bool crop_draw_box(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    const crop_params *p = params;
    const double area = (double)in->height * in->width;
    for (int i = 0; i < TRIES; i++) {
        const double target = area * clvi_rng_uniform(rng, p->scale_min, p->scale_max);
        const double ratio = exp(clvi_rng_uniform(rng, log(p->ratio_min), log(p->ratio_max)));
        const double width = rint(sqrt(target * ratio)), height = rint(sqrt(target / ratio));
        if (width < 1 || height < 1 || width > in->width || height > in->height) continue;
        clvi_crop_draw d = { .height = (int)height, .width = (int)width };
        d.y = (int)clvi_rng_below(rng, (uint64_t)(in->height - d.height + 1));
        d.x = (int)clvi_rng_below(rng, (uint64_t)(in->width - d.width + 1));
        *(clvi_crop_draw *)draw = d;
        return true;
    }
    *(clvi_crop_draw *)draw = central_box(p, in);
    return true;
}

/* What is left after a reduction is at least twice the result, so that most of the filtering is still the filter's. */
static void crop_window(const void *params, const void *draw, clv_window *window)
{
    const clvi_crop_draw *d = draw;
    const int64_t side = CLVI_MIN(d->height, d->width), enough = 2 * (int64_t)crop_out_size(params);
    *window = (clv_window) { d->y, d->x, d->height, d->width, 1 };
    while (window->reduce < 8 && side >= 2 * window->reduce * enough) window->reduce *= 2;
}

static clvi_resample crop_resample(const void *params, const void *draw)
{
    const clvi_crop_draw *d = draw;
    const int size = crop_out_size(params);
    return (clvi_resample) { .box_y = d->y, .box_x = d->x, .box_h = d->height, .box_w = d->width,
                             .full_h = size, .full_w = size, .h = size, .w = size,
                             .filter = (clvi_filter)((const crop_params *)params)->filter };
}

static clv_status crop_apply(const void *params, const void *draw, clvi_frame *frame)
{
    const clvi_resample r = crop_resample(params, draw);
    clvi_resample_apply(frame, &r);
    return CLV_OK;
}

static clv_status crop_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    const clvi_resample r = crop_resample(params, draw);
    clvi_resample_lower(in, &r, list);
    return CLV_OK;
}

const clvi_augment_class clvi_augment_random_resized_crop = {
    .info = { "random-resized-crop", "a box of random area and aspect ratio, resized to size x size",
              "arXiv:1409.4842, section 6; torchvision RandomResizedCrop", CLVI_COUNT(crop_options) - 1 },
    .params_size = sizeof(crop_params), .options = crop_options,
    .purpose = CLVI_RNG_CROP, .draw_size = sizeof(clvi_crop_draw), .resamples = true,
    .prepare = crop_prepare, .out_size = crop_out_size, .temp_size = crop_temp_size,
    .draw = crop_draw_box, .window = crop_window, .apply = crop_apply, .lower = crop_lower,
};
