/* grayscale.c: all three channels become the luma, with a probability. A picture of one channel is left alone. */
#include "augment/color.h"
#include "augment/lower.h"
#include <string.h>

typedef struct gray_params {
    double p;
} gray_params;

static const clvi_option gray_options[] = { CLVI_OPTION_PROBABILITY(gray_params, "0.2"), CLVI_OPTION_END };

static bool gray_draw(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    (void)draw;
    return clvi_rng_f64(rng) < ((const gray_params *)params)->p && in->channels == 3;
}

static size_t gray_temp_size(const void *params, const clvi_geometry *in)
{
    (void)params;
    return (size_t)in->height * (size_t)in->width;
}

static clv_status gray_apply(const void *params, const void *draw, clvi_frame *f)
{
    (void)params;
    (void)draw;
    const int64_t n = (int64_t)f->height * f->width;
    clvi_color_luma(f->plain, f->planes, n, f->temp);
    for (int c = 0; c < 3; c++) memcpy(f->planes + c * n, f->temp, (size_t)n);
    return CLV_OK;
}

static clv_status gray_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    (void)params;
    (void)draw;
    const clvi_pixel_op op = { .kind = CLVI_PIXEL_GRAY, .height = in->height, .width = in->width };
    clvi_pixel_append(list, &op, in->channels);
    return CLV_OK;
}

const clvi_augment_class clvi_augment_grayscale = {
    .info = { "grayscale", "all channels become 0.299 R + 0.587 G + 0.114 B", "torchvision RandomGrayscale",
              CLVI_COUNT(gray_options) - 1 },
    .params_size = sizeof(gray_params), .options = gray_options,
    .purpose = CLVI_RNG_GRAY, .temp_size = gray_temp_size, .draw = gray_draw, .apply = gray_apply,
    .lower = gray_lower,
};
