/* resample.h: antialiased resizing, bilinear or bicubic, shared by the steps that crop and resize. */
#ifndef CLVI_AUGMENT_RESAMPLE_H
#define CLVI_AUGMENT_RESAMPLE_H

#include "augment/augment.h"

typedef enum clvi_filter { CLVI_BILINEAR, CLVI_BICUBIC } clvi_filter;

/* The option of a step that resizes. */
#define CLVI_OPTION_FILTER(T)                                                                                          \
    CLVI_OPTION_CHOICE(T, filter, "filter", "bilinear", "bilinear|bicubic", "how pixels are weighed, as Pillow does")

/* The box of the picture is resized to full_h x full_w; of the result only the window is computed. When the frame is
 * reduced, the box is still in pixels of the picture, and its borders may lie inside of what is stored. */
typedef struct clvi_resample {
    int box_y, box_x, box_h, box_w;
    int full_h, full_w;
    int y, x, h, w;
    clvi_filter filter;
} clvi_resample;

/* Bytes of frame->temp when at most in_h x in_w pixels are resized by at most `shrink` per side to a window h x w. */
size_t clvi_resample_temp(const clvi_geometry *in, double shrink, int h, int w, clvi_filter filter);

/* Writes the window into the frame's spare buffer and adopts it. */
void clvi_resample_apply(clvi_frame *frame, const clvi_resample *r);

/* The same for a device (lower.h), of a picture that is not reduced. */
void clvi_resample_lower(const clvi_geometry *in, const clvi_resample *r, struct clvi_pixel_list *list);

#endif
