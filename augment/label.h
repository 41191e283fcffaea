/* label.h: a line of text in a picture, for sheets to look at. */
#ifndef CLVI_AUGMENT_LABEL_H
#define CLVI_AUGMENT_LABEL_H

#include <stdint.h>

#define CLVI_LABEL_WIDTH  4   /* pixels that a character takes, times the scale */
#define CLVI_LABEL_HEIGHT 5

/* Black letters, each dot scale x scale, with their top left corner at (top, left) of a dense picture [*, width, channels];
 * what does not fit into `room` pixels is left out. Letters are shown as capitals, what is no letter, digit or one of
 * ".-=:" as a gap. */
void clvi_label_draw(uint8_t *pixels, int64_t width, int64_t channels, int64_t top, int64_t left, int64_t room, int scale,
                     const char *text);

#endif
