/* flip.c: left and right exchanged, with a probability. */
#include "augment/augment.h"

typedef struct flip_params {
    double p;
} flip_params;

static const clvi_option flip_options[] = { CLVI_OPTION_PROBABILITY(flip_params, "0.5"), CLVI_OPTION_END };

static bool flip_draw(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    (void)in;
    (void)draw;
    return clvi_rng_f64(rng) < ((const flip_params *)params)->p;
}

static clv_status flip_apply(const void *params, const void *draw, clvi_frame *f)
{
    (void)params;
    (void)draw;
    uint8_t *row = f->planes;
    for (int i = 0; i < f->height * f->channels; i++, row += f->width)
        for (int a = 0, b = f->width - 1; a < b; a++, b--) {
            const uint8_t left = row[a];
            row[a] = row[b];
            row[b] = left;
        }
    return CLV_OK;
}

const clvi_augment_class clvi_augment_flip = {
    .info = { "flip", "mirrors the picture left to right", "torchvision RandomHorizontalFlip",
              CLVI_COUNT(flip_options) - 1 },
    .params_size = sizeof(flip_params), .options = flip_options,
    .purpose = CLVI_RNG_FLIP, .draw = flip_draw, .apply = flip_apply,
};
