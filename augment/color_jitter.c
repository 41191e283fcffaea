/* color_jitter.c: brightness, contrast, saturation and hue by random factors in random order (torchvision ColorJitter).
 * A picture of one channel has no saturation and no hue: those two leave it alone. */
#include "augment/color.h"
#include "augment/draws.h"
#include "augment/lower.h"
#include <math.h>

typedef struct jitter_params {
    double brightness, contrast, saturation, hue, p;
} jitter_params;

static const clvi_option jitter_options[] = {
    CLVI_OPTION_F64(jitter_params, brightness, "brightness", "0.4", 0, 10,
                    "factor drawn from [max(0, 1 - b), 1 + b]; 0: left alone", NULL),
    CLVI_OPTION_F64(jitter_params, contrast, "contrast", "0.4", 0, 10, "factor, as brightness", NULL),
    CLVI_OPTION_F64(jitter_params, saturation, "saturation", "0.4", 0, 10, "factor, as brightness", NULL),
    CLVI_OPTION_F64(jitter_params, hue, "hue", "0.1", 0, 0.5, "turns of the hue circle drawn from [-h, h]", NULL),
    CLVI_OPTION_PROBABILITY(jitter_params, "0.8"),
    CLVI_OPTION_END
};

_Static_assert(sizeof(clvi_jitter_draw) <= CLVI_AUGMENT_DRAW_MAX, "the draw must fit");

static double draw_factor(clvi_rng *rng, double strength)
{
    return clvi_rng_uniform(rng, fmax(0.0, 1.0 - strength), 1.0 + strength);
}

static bool jitter_draw_all(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    (void)in;
    const jitter_params *p = params;
    clvi_jitter_draw d = { .order = { CLVI_JITTER_BRIGHTNESS, CLVI_JITTER_CONTRAST, CLVI_JITTER_SATURATION,
                                      CLVI_JITTER_HUE } };
    if (clvi_rng_f64(rng) >= p->p) return false;
    for (int i = CLVI_JITTER_PARTS - 1; i > 0; i--) {
        const int j = (int)clvi_rng_below(rng, (uint64_t)i + 1);
        const uint8_t other = d.order[j];
        d.order[j] = d.order[i];
        d.order[i] = other;
    }
    d.factor[CLVI_JITTER_BRIGHTNESS] = draw_factor(rng, p->brightness);
    d.factor[CLVI_JITTER_CONTRAST] = draw_factor(rng, p->contrast);
    d.factor[CLVI_JITTER_SATURATION] = draw_factor(rng, p->saturation);
    d.factor[CLVI_JITTER_HUE] = clvi_rng_uniform(rng, -p->hue, p->hue);
    *(clvi_jitter_draw *)draw = d;
    return true;
}

/* The grey that contrast moves away from is the mean luma, rounded. */
static void change_contrast(clvi_frame *f, float factor)
{
    const int64_t n = (int64_t)f->height * f->width;
    const uint8_t *luma = f->planes;
    if (f->channels == 3) {
        clvi_color_luma(f->plain, f->planes, n, f->temp);
        luma = f->temp;
    }
    const int mean = (int)((double)clvi_color_sum(f->plain, luma, n) / (double)n + 0.5);
    clvi_color_blend(f->plain, f->planes, n * f->channels, mean, factor);
}

static void change_saturation(clvi_frame *f, float factor)
{
    const int64_t n = (int64_t)f->height * f->width;
    if (f->channels != 3) return;
    clvi_color_luma(f->plain, f->planes, n, f->temp);
    for (int c = 0; c < 3; c++) clvi_color_blend_with(f->plain, f->planes + c * n, f->temp, n, factor);
}

static void change_hue(clvi_frame *f, double turns)
{
    if (f->channels != 3) return;
    clvi_color_turn_hue(f->plain, f->planes, (int64_t)f->height * f->width, (uint8_t)(int)(turns * 255));
}

static clv_status jitter_apply(const void *params, const void *draw, clvi_frame *f)
{
    const jitter_params *p = params;
    const clvi_jitter_draw *d = draw;
    const int64_t bytes = (int64_t)f->height * f->width * f->channels;
    for (int i = 0; i < CLVI_JITTER_PARTS; i++) {
        const double factor = d->factor[d->order[i]];
        switch (d->order[i]) {
        case CLVI_JITTER_BRIGHTNESS:
            if (p->brightness > 0) clvi_color_blend(f->plain, f->planes, bytes, 0, (float)factor);
            break;
        case CLVI_JITTER_CONTRAST:
            if (p->contrast > 0) change_contrast(f, (float)factor);
            break;
        case CLVI_JITTER_SATURATION:
            if (p->saturation > 0) change_saturation(f, (float)factor);
            break;
        default:
            if (p->hue > 0) change_hue(f, factor);
        }
    }
    return CLV_OK;
}

static clv_status jitter_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    const jitter_params *p = params;
    const clvi_jitter_draw *d = draw;
    const double strength[CLVI_JITTER_PARTS] = {
        [CLVI_JITTER_BRIGHTNESS] = p->brightness, [CLVI_JITTER_CONTRAST] = p->contrast,
        [CLVI_JITTER_SATURATION] = p->saturation, [CLVI_JITTER_HUE] = p->hue,
    };
    static const clvi_pixel_kind kinds[CLVI_JITTER_PARTS] = {
        [CLVI_JITTER_BRIGHTNESS] = CLVI_PIXEL_BLEND, [CLVI_JITTER_CONTRAST] = CLVI_PIXEL_CONTRAST,
        [CLVI_JITTER_SATURATION] = CLVI_PIXEL_SATURATION, [CLVI_JITTER_HUE] = CLVI_PIXEL_HUE,
    };
    for (int i = 0; i < CLVI_JITTER_PARTS; i++) {
        const int part = d->order[i];
        clvi_pixel_op op = { .kind = kinds[part], .height = in->height, .width = in->width,
                             .alpha = (float)d->factor[part] };
        if (!(strength[part] > 0)) continue;
        if (part == CLVI_JITTER_HUE) op.n[0] = (uint8_t)(int)(d->factor[part] * 255);
        clvi_pixel_append(list, &op, in->channels);
    }
    return CLV_OK;
}

static size_t jitter_lowered_size(const void *params, const clvi_geometry *in)
{
    (void)params, (void)in;
    return CLVI_JITTER_PARTS * sizeof(clvi_pixel_op);
}

static size_t jitter_temp_size(const void *params, const clvi_geometry *in)
{
    (void)params;
    return (size_t)in->height * (size_t)in->width;
}

const clvi_augment_class clvi_augment_color_jitter = {
    .info = { "color-jitter", "brightness, contrast, saturation and hue by random factors in random order",
              "arXiv:1805.01978, section 3.4; torchvision ColorJitter", CLVI_COUNT(jitter_options) - 1 },
    .params_size = sizeof(jitter_params), .options = jitter_options,
    .purpose = CLVI_RNG_JITTER, .draw_size = sizeof(clvi_jitter_draw),
    .temp_size = jitter_temp_size, .draw = jitter_draw_all, .apply = jitter_apply,
    .lower = jitter_lower, .lowered_size = jitter_lowered_size,
};
