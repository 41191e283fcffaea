/* solarize.c: bytes at or above a threshold are inverted, with a probability. */
#include "augment/lower.h"

typedef struct solarize_params {
    double  p;
    int64_t threshold;
} solarize_params;

static const clvi_option solarize_options[] = {
    CLVI_OPTION_I64(solarize_params, threshold, "threshold", "128", 0, 256, "bytes below it are left alone", NULL),
    CLVI_OPTION_PROBABILITY(solarize_params, "0.2"),
    CLVI_OPTION_END
};

static bool solarize_draw(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    (void)in;
    (void)draw;
    return clvi_rng_f64(rng) < ((const solarize_params *)params)->p;
}

static clv_status solarize_apply(const void *params, const void *draw, clvi_frame *f)
{
    (void)draw;
    const int threshold = (int)((const solarize_params *)params)->threshold;
    const int64_t bytes = (int64_t)f->height * f->width * f->channels;
    for (int64_t i = 0; i < bytes; i++)
        f->planes[i] = f->planes[i] < threshold ? f->planes[i] : (uint8_t)(255 - f->planes[i]);
    return CLV_OK;
}

static clv_status solarize_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    (void)draw;
    const clvi_pixel_op op = { .kind = CLVI_PIXEL_SOLARIZE, .height = in->height, .width = in->width,
                               .n = { (int32_t)((const solarize_params *)params)->threshold } };
    clvi_pixel_append(list, &op, in->channels);
    return CLV_OK;
}

const clvi_augment_class clvi_augment_solarize = {
    .info = { "solarize", "inverts bytes at or above a threshold", "arXiv:2006.07733, appendix B; Pillow solarize",
              CLVI_COUNT(solarize_options) - 1 },
    .params_size = sizeof(solarize_params), .options = solarize_options,
    .purpose = CLVI_RNG_SOLARIZE, .draw = solarize_draw, .apply = solarize_apply,
    .lower = solarize_lower,
};
