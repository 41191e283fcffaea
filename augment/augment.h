/* augment.h: the inside of a chain of augmentations: what a step is, and the picture that goes through. */
#ifndef CLVI_AUGMENT_AUGMENT_H
#define CLVI_AUGMENT_AUGMENT_H

#include <cleave/augment.h>
#include "core/checked.h"
#include "core/context.h"
#include "core/option.h"
#include "core/rng.h"

#define CLVI_AUGMENT_CHANNELS 3
#define CLVI_AUGMENT_DRAW_MAX 64   /* bytes of the largest draw struct */
#define CLVI_FRAME_SLACK 64        /* bytes that may be read past the end of a planar picture */

typedef struct clvi_geometry {
    int height, width, channels;
} clvi_geometry;

/* The picture on its way through a chain: bytes, because the published recipes were run on libraries that round to
 * bytes after every step. It starts as the caller's interleaved pixels and is planar from the first step that writes:
 * planes of height * width bytes without gaps, which is what makes the colour loops simple for the compiler. */
typedef struct clvi_frame {
    int            height, width, channels;
    const uint8_t *pixels;          /* of row, pixel and channel 0; the strides lead to the next ones */
    int64_t        row_stride, pixel_stride, plane_stride;
    uint8_t       *planes;          /* pixels, when they are planar and may be written; else NULL */
    uint8_t       *buffers[2];
    uint8_t       *temp;            /* temp_size bytes as the step asked for, 64-byte aligned */
    bool           plain;           /* do not use what the processor has beyond the baseline */
    int            reduced;         /* pixels stand for squares of this side (clv_part), height and width do not */
} clvi_frame;

struct clvi_pixel_list;             /* lower.h */

/* One step of a chain. Drawing the random parameters and changing pixels are apart, so that another device can apply
 * the same draws. */
typedef struct clvi_augment_class {
    clv_class_info     info;
    size_t             params_size;
    const clvi_option *options;
    clvi_rng_purpose   purpose;
    size_t             draw_size;
    bool               resamples;        /* reads the frame as it is and leaves a new one; others work in place */
    /* Checks the options against each other and derives what apply needs. May be NULL. */
    clv_status (*prepare)(void *params);
    /* Side of the square this step leaves, or NULL when it keeps the size. */
    int (*out_size)(const void *params);
    /* Bytes of frame->temp for a picture of this size; must not shrink as a side grows. NULL: none. */
    size_t (*temp_size)(const void *params, const clvi_geometry *in);
    /* What apply reads of the picture, which comes in as all of it; such a step takes frames that are reduced by as
     * much as it says. NULL: everything. Asked of a chain's first step. */
    void (*window)(const void *params, const void *draw, clv_window *window);
    /* Fills `draw`; false when the step does not act this time. NULL: it always acts and draws nothing. */
    bool (*draw)(const void *params, const clvi_geometry *in, clvi_rng *rng, void *draw);
    clv_status (*apply)(const void *params, const void *draw, clvi_frame *frame);
    /* Appends what apply would do to a picture of this size. */
    clv_status (*lower)(const void *params, const void *draw, const clvi_geometry *in, struct clvi_pixel_list *list);
    /* Bytes that this takes at most, of a step without out_size. NULL: one operation without tables. */
    size_t (*lowered_size)(const void *params, const clvi_geometry *in);
    /* The last step of every chain (normalize) writes the view, in a form that was checked, instead. */
    clv_status (*emit)(const void *params, const clvi_frame *frame, const clv_form *form, void *out);
} clvi_augment_class;

/* The registry; NULL past the end, or for an unknown name. */
const clvi_augment_class *clvi_augment_class_at(int i);
const clvi_augment_class *clvi_augment_class_find(const char *name);

/* A step of a chain as it was read. */
typedef struct clvi_augment_step {
    const clvi_augment_class *class;
    void                     *params;
    int                       occurrence;   /* how many earlier steps of the chain are of this class */
} clvi_augment_step;

int clvi_augment_step_count(const clv_augment *augment);
const clvi_augment_step *clvi_augment_step_at(const clv_augment *augment, int i);

/* The draw of step i: a pure function of its arguments. False when the step does not act. `draw` has
 * CLVI_AUGMENT_DRAW_MAX bytes. */
bool clvi_augment_draw(const clv_augment *augment, int i, const clvi_geometry *in, uint64_t seed, uint32_t epoch,
                       uint64_t sample, uint32_t view, void *draw);

/* The first `count` steps of a chain, not its last (normalize): what clv_transform.apply_part does before it writes. The
 * frame lies in scratch, or is the picture still. */
clv_status clvi_augment_apply_steps(const clv_augment *augment, int count, const clv_part *part, uint64_t seed,
                                    uint32_t epoch, uint64_t sample, uint32_t view, void *scratch, size_t scratch_size,
                                    clvi_frame *frame) CLV_NODISCARD;

/* Baseline code only, from now on: for the test that both give the same bits. */
void clvi_augment_set_plain(clv_augment *augment, bool plain);

/* ---- for steps ---- */

/* Makes frame->planes writable; keeps the pixels. */
void clvi_frame_own(clvi_frame *frame);
/* The buffer that does not hold the picture: room for a planar picture. */
uint8_t *clvi_frame_spare(const clvi_frame *frame);
/* The spare buffer, now filled with height x width planes, becomes the picture. */
void clvi_frame_adopt_spare(clvi_frame *frame, int height, int width);

static inline size_t clvi_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Reads "0.5" or "0.4,0.5,0.6" into values; the count, or 0 when it is neither one nor three numbers. */
int clvi_parse_channels(const char *text, float values[CLVI_AUGMENT_CHANNELS]);

/* A step's probability option. */
#define CLVI_OPTION_PROBABILITY(T, DEF) CLVI_OPTION_F64(T, p, "p", DEF, 0, 1, "probability that the step acts", NULL)

/* What the processor offers to inner loops, CLEAVE_CPU_ISA permitting. The third also has byte permutations and byte
 * products (VBMI, VNNI: Ice Lake, Zen 4 and newer); what lacks them takes the second. */
typedef enum clvi_path { CLVI_PATH_PLAIN, CLVI_PATH_AVX2, CLVI_PATH_AVX512 } clvi_path;
clvi_path clvi_augment_path(bool plain);

#if defined(__x86_64__) && defined(__GNUC__)
#define CLVI_AUGMENT_BYTES 1   /* functions for the third path can be written by hand */
#define CLVI_AUGMENT_AVX2 __attribute__((target("avx2,fma")))
#if defined(__clang__)   /* which, not knowing the last, would leave out all */
#define CLVI_AUGMENT_AVX512 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")))
#else
#define CLVI_AUGMENT_AVX512                                                                                            \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,"                         \
                          "prefer-vector-width=512")))
#endif
#else
#define CLVI_AUGMENT_BYTES 0
#define CLVI_AUGMENT_AVX2
#define CLVI_AUGMENT_AVX512
#endif

/* An inner loop compiled for each path from the body NAME_body; NAME_choose(plain) gives one of the three. The bits are
 * the same: integers, or floats without contraction. With _BY_HAND, NAME_avx512 is there already. */
#define CLVI_PATHS(NAME, PARAMS, ARGS)                                                                                 \
    CLVI_AUGMENT_AVX512 static void NAME##_avx512 PARAMS { NAME##_body ARGS; }                                         \
    CLVI_PATHS_BY_HAND(NAME, PARAMS, ARGS)
#define CLVI_PATHS_BY_HAND(NAME, PARAMS, ARGS)                                                                         \
    static void NAME##_plain PARAMS { NAME##_body ARGS; }                                                              \
    CLVI_AUGMENT_AVX2 static void NAME##_avx2 PARAMS { NAME##_body ARGS; }                                             \
    static void (*NAME##_choose(bool plain)) PARAMS                                                                    \
    {                                                                                                                  \
        static void (*const path[]) PARAMS = { NAME##_plain, NAME##_avx2, NAME##_avx512 };                             \
        return path[clvi_augment_path(plain)];                                                                         \
    }
#define CLVI_BODY static inline __attribute__((always_inline)) void

#endif
