/* flip.c: left and right exchanged, with a probability. */
#include "augment/lower.h"

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

CLVI_BODY mirror_body(const uint8_t *restrict in, int n, uint8_t *restrict out)
{
    for (int x = 0; x < n; x++) out[x] = in[n - 1 - x];
}
CLVI_PATHS(mirror, (const uint8_t *in, int n, uint8_t *out), (in, n, out))

static clv_status flip_apply(const void *params, const void *draw, clvi_frame *f)
{
    (void)params;
    (void)draw;
    uint8_t *out = clvi_frame_spare(f);
    const int64_t rows = (int64_t)f->height * f->channels, w = f->width;
    for (int64_t y = 0; y < rows; y++) mirror_choose(f->plain)(f->planes + y * w, f->width, out + y * w);
    clvi_frame_adopt_spare(f, f->height, f->width);
    return CLV_OK;
}

static clv_status flip_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    (void)params;
    (void)draw;
    const clvi_pixel_op op = { .kind = CLVI_PIXEL_MIRROR, .height = in->height, .width = in->width };
    clvi_pixel_append(list, &op, in->channels);
    return CLV_OK;
}

const clvi_augment_class clvi_augment_flip = {
    .info = { "flip", "mirrors the picture left to right", "torchvision RandomHorizontalFlip",
              CLVI_COUNT(flip_options) - 1 },
    .params_size = sizeof(flip_params), .options = flip_options,
    .purpose = CLVI_RNG_FLIP, .draw = flip_draw, .apply = flip_apply, .lower = flip_lower,
};
