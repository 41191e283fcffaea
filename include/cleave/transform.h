/* transform.h: what turns a decoded image into the floats of one view. Augmentation makes transforms, the loader
 * calls them; neither knows the other. */
#ifndef CLEAVE_TRANSFORM_H
#define CLEAVE_TRANSFORM_H

#include <cleave/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 8-bit pixels in height, width, channel order; rows are row_stride bytes apart. Owns nothing. */
typedef struct clv_image {
    const uint8_t *pixels;
    int64_t height, width, channels;
    int64_t row_stride;
} clv_image;

/* apply() must be a pure function of its arguments and callable from several threads at once, each with a scratch of
 * scratch_size() bytes of its own. `out` is [height, width, channels] dense; channels are the input's. */
typedef struct clv_transform {
    clv_status (*apply)(void *user, const clv_image *in, uint64_t seed, uint32_t epoch, uint64_t sample, uint32_t view,
                        void *scratch, size_t scratch_size, float *out);
    int64_t (*scratch_size)(void *user, int64_t max_height, int64_t max_width, int64_t channels);
    void *user;
    int64_t height, width;   /* of the output */
} clv_transform;

#ifdef __cplusplus
}
#endif
#endif
