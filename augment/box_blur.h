/* box_blur.h: a Gaussian blur by repeated box filters. */
#ifndef CLVI_AUGMENT_BOX_BLUR_H
#define CLVI_AUGMENT_BOX_BLUR_H

#include "augment/augment.h"

/* Three box filters along rows, then three along columns, on a frame that owns its planes. sigma is at most 16. */
void clvi_box_blur(clvi_frame *frame, double sigma);
/* Bytes of frame->temp it takes. */
size_t clvi_box_blur_temp(int width);

/* The same for a device (lower.h). */
clv_status clvi_box_blur_lower(double sigma, const clvi_geometry *in, struct clvi_pixel_list *list) CLV_NODISCARD;

#endif
