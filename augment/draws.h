/* draws.h: the random parameters of the steps that have some, as their draw functions leave them. Another device's
 * kernels take the same structs; the golden tests fill them by hand. */
#ifndef CLVI_AUGMENT_DRAWS_H
#define CLVI_AUGMENT_DRAWS_H

#include <stdint.h>

/* random-resized-crop: the box that is resized, in pixels. */
typedef struct clvi_crop_draw {
    int y, x, height, width;
} clvi_crop_draw;

/* color-jitter: which part comes when, and each part's factor (hue: turns of the circle). */
enum { CLVI_JITTER_BRIGHTNESS, CLVI_JITTER_CONTRAST, CLVI_JITTER_SATURATION, CLVI_JITTER_HUE, CLVI_JITTER_PARTS };

typedef struct clvi_jitter_draw {
    uint8_t order[CLVI_JITTER_PARTS];
    double  factor[CLVI_JITTER_PARTS];
} clvi_jitter_draw;

/* gaussian-blur */
typedef struct clvi_blur_draw {
    double sigma;
} clvi_blur_draw;

/* random-affine: angles in degrees, shifts in whole pixels. */
typedef struct clvi_affine_draw {
    double angle, shift_x, shift_y, zoom, shear_x, shear_y;
} clvi_affine_draw;

/* random-erasing: the box that is filled, in pixels, and what the noise in it is drawn from. */
typedef struct clvi_erase_draw {
    int      y, x, height, width;
    uint64_t noise;
} clvi_erase_draw;

#endif
