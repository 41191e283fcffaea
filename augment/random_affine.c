/* random_affine.c: the picture turned, shifted, scaled and sheared about its middle by random amounts (the draws and
 * the matrix are torchvision's RandomAffine), sampled bilinearly; places outside the picture get a constant. */
#include "augment/augment.h"
#include "augment/draws.h"
#include "augment/lower.h"
#include <math.h>
#include <string.h>

typedef struct affine_params {
    double  degrees, translate, zoom_min, zoom_max, shear, p;
    int64_t fill;
} affine_params;

static const clvi_option affine_options[] = {
    CLVI_OPTION_F64(affine_params, degrees, "degrees", "20", 0, 180, "turned by an angle from [-d, d]", NULL),
    CLVI_OPTION_F64(affine_params, translate, "translate", "0.1", 0, 1,
                    "shifted by whole pixels, up to this fraction of each side", NULL),
    CLVI_OPTION_F64(affine_params, zoom_min, "zoom-min", "0.9", 0.05, 20, "least magnification", NULL),
    CLVI_OPTION_F64(affine_params, zoom_max, "zoom-max", "1.1", 0.05, 20, "greatest magnification", NULL),
    CLVI_OPTION_F64(affine_params, shear, "shear", "10", 0, 80,
                    "sheared along x and along y, each by an angle in degrees from [-s, s]", NULL),
    CLVI_OPTION_I64(affine_params, fill, "fill", "0", 0, 255, "byte outside the picture", NULL),
    CLVI_OPTION_PROBABILITY(affine_params, "1"),
    CLVI_OPTION_END
};

static clv_status affine_prepare(void *params)
{
    const affine_params *p = params;
    CLV_CHECK(p->zoom_min <= p->zoom_max, CLV_ERR_INVALID, "random-affine: zoom-min %g is above zoom-max %g",
              p->zoom_min, p->zoom_max);
    return CLV_OK;
}

static double radians(double degrees)
{
    return degrees * (3.14159265358979323846 / 180.0);
}

static bool affine_draw(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw)
{
    const affine_params *p = params;
    if (clvi_rng_f64(rng) >= p->p) return false;
    const double reach_x = p->translate * in->width, reach_y = p->translate * in->height;
    clvi_affine_draw d = { .angle = clvi_rng_uniform(rng, -p->degrees, p->degrees) };
    d.shift_x = rint(clvi_rng_uniform(rng, -reach_x, reach_x));
    d.shift_y = rint(clvi_rng_uniform(rng, -reach_y, reach_y));
    d.zoom = clvi_rng_uniform(rng, p->zoom_min, p->zoom_max);
    d.shear_x = clvi_rng_uniform(rng, -p->shear, p->shear);
    d.shear_y = clvi_rng_uniform(rng, -p->shear, p->shear);
    *(clvi_affine_draw *)draw = d;
    return true;
}

/* Place (x, y) of the result shows place (m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]) of the picture, with pixel
 * centres at halves: the inverse of centre to origin, shear, zoom, turn, origin to centre, shift. */
static void inverse_matrix(const clvi_affine_draw *draw, int height, int width, double m[6])
{
    const double turn = radians(draw->angle), sx = radians(draw->shear_x), sy = radians(draw->shear_y);
    const double a = cos(turn - sy) / cos(sy);
    const double b = -cos(turn - sy) * tan(sx) / cos(sy) - sin(turn);
    const double c = sin(turn - sy) / cos(sy);
    const double d = -sin(turn - sy) * tan(sx) / cos(sy) + cos(turn);
    const double cx = width * 0.5, cy = height * 0.5;
    m[0] = d / draw->zoom;
    m[1] = -b / draw->zoom;
    m[3] = -c / draw->zoom;
    m[4] = a / draw->zoom;
    m[2] = m[0] * (-cx - draw->shift_x) + m[1] * (-cy - draw->shift_y) + cx;
    m[5] = m[3] * (-cx - draw->shift_x) + m[4] * (-cy - draw->shift_y) + cy;
}

/* Four neighbours and their distances; the border repeats. */
typedef struct sample {
    int64_t at00, at01, at10, at11;
    double  dx, dy;
} sample;

static bool sample_place(const clvi_frame *f, double x, double y, sample *s)
{
    if (!(x >= 0.0 && x < f->width && y >= 0.0 && y < f->height)) return false;
    const double left = floor(x - 0.5), top = floor(y - 0.5);
    const int64_t x0 = CLVI_MAX((int64_t)left, 0), x1 = CLVI_MIN((int64_t)left + 1, f->width - 1);
    const int64_t y0 = CLVI_MAX((int64_t)top, 0), y1 = CLVI_MIN((int64_t)top + 1, f->height - 1);
    s->dx = x - 0.5 - left;
    s->dy = y - 0.5 - top;
    s->at00 = y0 * f->width + x0;
    s->at01 = y0 * f->width + x1;
    s->at10 = y1 * f->width + x0;
    s->at11 = y1 * f->width + x1;
    return true;
}

static uint8_t sample_plane(const uint8_t *plane, const sample *s)
{
    const double upper = plane[s->at00] + (plane[s->at01] - plane[s->at00]) * s->dx;
    const double lower = plane[s->at10] + (plane[s->at11] - plane[s->at10]) * s->dx;
    return (uint8_t)(upper + (lower - upper) * s->dy);   /* truncated, as Pillow's transform does */
}

static clv_status affine_apply(const void *params, const void *draw, clvi_frame *f)
{
    double m[6];
    const int64_t n = (int64_t)f->height * f->width;
    uint8_t *out = clvi_frame_spare(f);
    inverse_matrix(draw, f->height, f->width, m);
    memset(out, (int)((const affine_params *)params)->fill, (size_t)(n * f->channels));
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            sample s;
            const double cx = x + 0.5, cy = y + 0.5;
            if (!sample_place(f, m[0] * cx + m[1] * cy + m[2], m[3] * cx + m[4] * cy + m[5], &s)) continue;
            for (int c = 0; c < f->channels; c++)
                out[c * n + (int64_t)y * f->width + x] = sample_plane(f->planes + c * n, &s);
        }
    clvi_frame_adopt_spare(f, f->height, f->width);
    return CLV_OK;
}

static clv_status affine_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    clvi_pixel_op op = { .kind = CLVI_PIXEL_AFFINE, .height = in->height, .width = in->width,
                         .n = { (int32_t)((const affine_params *)params)->fill } };
    double *matrix = clvi_pixel_table(list, 6 * sizeof *matrix, &op.at);
    if (matrix) inverse_matrix(draw, in->height, in->width, matrix);
    clvi_pixel_append(list, &op, in->channels);
    return CLV_OK;
}

static size_t affine_lowered_size(const void *params, const clvi_geometry *in)
{
    (void)params, (void)in;
    return sizeof(clvi_pixel_op) + 6 * sizeof(double);
}

const clvi_augment_class clvi_augment_random_affine = {
    .info = { "random-affine", "turned, shifted, scaled and sheared by random amounts",
              "torchvision RandomAffine, bilinear", CLVI_COUNT(affine_options) - 1 },
    .params_size = sizeof(affine_params), .options = affine_options,
    .purpose = CLVI_RNG_AFFINE, .draw_size = sizeof(clvi_affine_draw),
    .prepare = affine_prepare, .draw = affine_draw, .apply = affine_apply,
    .lower = affine_lower, .lowered_size = affine_lowered_size,
};
