/* augment.h: chains of augmentations given by the name of a published preset or as text.
 *
 *   clv_augment *aug;
 *   clv_transform t;
 *   clv_augment_create(ctx, "moco-cifar", NULL, 0, &aug);
 *   clv_augment_transform(aug, &t);
 *
 * The text of a chain is a list of steps separated by ';' or newlines, each a name and its options:
 *
 *   random-resized-crop size=32 scale-min=0.2; flip; color-jitter brightness=0.4 p=0.8; normalize mean=0.5 std=0.25
 *
 * Pixels are the bytes Pillow and torchvision would give for the same draws (docs/augment.md says how closely). */
#ifndef CLEAVE_AUGMENT_H
#define CLEAVE_AUGMENT_H

#include <cleave/option.h>
#include <cleave/transform.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clv_augment clv_augment;

/* Makes a chain. `text` is a preset's name or the text of a chain.
 *
 *   overrides  options set after the text is read. "size" reaches the one kind of step that has such an option;
 *              "flip.p" names the step where several have it. "crop-min" is another name of "scale-min".
 *
 * Errors: CLV_ERR_INVALID for an unknown preset, step or option (with the nearest known name), a value out of range, a
 *         chain that does not end in one picture size; CLV_ERR_NOMEM. *out is NULL on error.
 * Threads: safe. The object is read-only afterwards and may be used by many threads. */
CLV_API clv_status clv_augment_create(clv_context *ctx, const char *text, const clv_option *overrides, int n,
                                      clv_augment **out) CLV_NODISCARD;

/* NULL is accepted. Transforms made from it must not be used any more. */
CLV_API void clv_augment_destroy(clv_augment *augment);

/* The chain as a transform for the data loader. It borrows `augment`. Pictures have 1 or 3 channels and sides of
 * 1..CLV_AUGMENT_MAX_SIDE pixels. Thread-safe. */
CLV_API clv_status clv_augment_transform(const clv_augment *augment, clv_transform *out) CLV_NODISCARD;
#define CLV_AUGMENT_MAX_SIDE 32768

/* The whole chain as text, every option spelled out; clv_augment_create gives the same chain back from it.
 * Valid as long as the object. Thread-safe. */
CLV_API const char *clv_augment_describe(const clv_augment *augment);

/* Mean and standard deviation (on the 0..1 scale) that the chain's normalize step applies to channel c of `channels`,
 * so that a caller can show a view as a picture; 0 and 1 without such a step. Thread-safe. */
CLV_API void clv_augment_normalization(const clv_augment *augment, int64_t channel, float *mean, float *std);

/* What a preview shows. Picture i is drawn as (seed, epoch, first_sample + i, view). */
typedef struct clv_augment_preview_desc {
    size_t   struct_size;    /* set by CLV_AUGMENT_PREVIEW_DESC_INIT */
    int64_t  views;          /* per picture */
    uint64_t seed;
    uint32_t epoch;
    uint64_t first_sample;
    int64_t  zoom, padding;  /* as in clv_contact_sheet_desc */
    const char *title;       /* written above, with what each column shows in a second line; NULL: no labels */
} clv_augment_preview_desc;

#define CLV_AUGMENT_PREVIEW_DESC_INIT                                                                                  \
    { .struct_size = sizeof(clv_augment_preview_desc), .views = 8, .zoom = 1, .padding = 2 }

/* `views` views of each picture, turned back to bytes and tiled into one sheet: a row per picture, whose first column
 * shows the picture itself, resized and cropped to the view's size. desc may be NULL for the defaults.
 * *pixels is [*height, *width, *channels] dense; release it with clv_augment_preview_free.
 * Errors: as the transform's, CLV_ERR_INVALID, CLV_ERR_NOMEM; CLV_ERR_UNSUPPORTED for a sheet above 2^30 bytes.
 * *pixels is NULL on error. Thread-safe. */
CLV_API clv_status clv_augment_preview(const clv_augment *augment, const clv_augment_preview_desc *desc,
                                       const clv_image *images, int64_t count, uint8_t **pixels, int64_t *height,
                                       int64_t *width, int64_t *channels) CLV_NODISCARD;
/* Releases a preview's pixels; NULL is accepted. */
CLV_API void clv_augment_preview_free(const clv_augment *augment, uint8_t *pixels);

/* ---- what there is: static storage, thread-safe ---- */

/* The kinds of steps and their options, by number; NULL past the end. */
CLV_API int clv_augment_count(void);
CLV_API const clv_class_info *clv_augment_info_at(int i);
CLV_API const clv_option_info *clv_augment_option_at(int i, int option);

/* A published chain under its name. */
typedef struct clv_augment_preset {
    const char *name;
    const char *summary;   /* one line */
    const char *source;    /* paper or code it comes from */
    const char *text;      /* the chain, one step a line */
    const char *eval;      /* the preset that prepares pictures for evaluation after training with this one */
} clv_augment_preset;

/* The presets, by number; NULL past the end. */
CLV_API int clv_augment_preset_count(void);
CLV_API const clv_augment_preset *clv_augment_preset_at(int i);
/* By name ('-' and '_' are the same), or NULL. */
CLV_API const clv_augment_preset *clv_augment_preset_find(const char *name);

#ifdef __cplusplus
}
#endif
#endif
