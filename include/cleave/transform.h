/* transform.h: what turns a decoded picture into one training view. The data loader calls it and does not know who
 * made it; the augmentations are one maker (augment.h), a program may bring its own. */
#ifndef CLEAVE_TRANSFORM_H
#define CLEAVE_TRANSFORM_H

#include <cleave/image.h>
#include <cleave/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What one view needs of a picture, in pixels of the whole picture, and by how much that may be reduced first: by 1, 2,
 * 4 or 8 in each direction. */
typedef struct clv_window {
    int64_t y, x, height, width;
    int64_t reduce;
} clv_window;

/* A picture of which perhaps only windows are there, perhaps reduced. image.height and image.width are the whole
 * picture's; pixel (y, x) of it lies in row y / reduced and column x / reduced of what image.pixels and
 * image.row_stride say. */
typedef struct clv_part {
    clv_image image;
    int64_t   reduced;   /* 1: nothing is */
} clv_part;

/* What the values of a view are: CLV_F32, or CLV_BF16, the nearest to the float32 value with ties to even; and how many
 * channels a pixel has: the picture's, or 4 or 8, of which those beyond the picture's are 0. */
#define CLV_FORM_MAX_CHANNELS 8
typedef struct clv_form {
    clv_dtype dtype;
    int64_t   channels;
} clv_form;

/* A picture in, height x width x channels floats out; channels as the picture's. A picture is decoded once and apply is
 * called once per view.
 *
 *   apply         Writes out[height * width * channels], dense, in [H,W,C] order. The result is a function of the
 *                 pixels and (seed, epoch, sample, view) alone. It may be called from any number of threads at once,
 *                 each with scratch of its own (64-byte aligned, contents free), and allocates nothing.
 *                 Errors: CLV_ERR_SHAPE when the picture cannot be taken; CLV_ERR_INVALID when scratch_size is below
 *                 what scratch_size() says for this picture.
 *   scratch_size  Bytes of scratch one thread needs for any picture of at most max_height x max_width, or -1 when
 *                 these sizes or channels cannot be taken.
 *   window        What apply_part reads of a picture of this size for this view, inside of it and not empty: a picture
 *                 is then decoded in part. Called from any thread, like apply. NULL: all of it.
 *   apply_part    As apply, of a picture of which at least this view's window is there, reduced by at most what the
 *                 window allows, in the form asked for: out[height * width * form->channels] of form->dtype. Not
 *                 reduced, and in float32 with the picture's channels, it writes what apply writes. Set if window is;
 *                 without it a loader gives no other form.
 *   user          Handed to all; it must outlive the transform. */
typedef struct clv_transform {
    clv_status (*apply)(void *user, const clv_image *in, uint64_t seed, uint32_t epoch, uint64_t sample, uint32_t view,
                        void *scratch, size_t scratch_size, float *out);
    int64_t (*scratch_size)(void *user, int64_t max_height, int64_t max_width, int64_t channels);
    void (*window)(void *user, int64_t height, int64_t width, int64_t channels, uint64_t seed, uint32_t epoch,
                   uint64_t sample, uint32_t view, clv_window *out);
    clv_status (*apply_part)(void *user, const clv_part *in, uint64_t seed, uint32_t epoch, uint64_t sample,
                             uint32_t view, void *scratch, size_t scratch_size, const clv_form *form, void *out);
    void   *user;
    int64_t height, width;   /* of the output */
} clv_transform;

#ifdef __cplusplus
}
#endif
#endif
