/* resample.h: antialiased bilinear resizing, shared by the steps that crop and resize. */
#ifndef CLVI_AUGMENT_RESAMPLE_H
#define CLVI_AUGMENT_RESAMPLE_H

#include "augment/augment.h"

/* The box of the picture is resized to full_h x full_w; of the result only the window is computed. */
typedef struct clvi_resample {
    int box_y, box_x, box_h, box_w;
    int full_h, full_w;
    int y, x, h, w;
} clvi_resample;

/* Bytes of frame->temp when at most in_h x in_w pixels are resized by at most `shrink` per side to a window h x w. */
size_t clvi_resample_temp(const clvi_geometry *in, double shrink, int h, int w);

/* Writes the window into the frame's spare buffer and adopts it. */
void clvi_resample_apply(clvi_frame *frame, const clvi_resample *r);

#endif
