/* topk.h: the largest of many scores that come in the order of their slots. Equal scores rank by slot. */
#ifndef CLVI_DEVICE_CPU_TOPK_H
#define CLVI_DEVICE_CPU_TOPK_H

#include <stddef.h>
#include <stdint.h>

/* Candidates in ascending order of slots. None is a NaN. */
typedef struct clvi_topk {
    float   *score;
    int32_t *slot;
    int64_t  count;
    float    floor;    /* what is not above it cannot be among the largest any more; -inf at first */
} clvi_topk;

/* Bytes of scratch for lists of up to `candidates`. */
size_t clvi_topk_scratch(int64_t candidates);

/* Keeps the `top` largest of more, in their order, and raises the floor. */
void clvi_topk_trim(clvi_topk *list, int64_t top, void *scratch);

/* Keeps the `top` largest of more and an eighth of that besides, at most: for a list that goes on growing, as it costs
 * less. */
void clvi_topk_thin(clvi_topk *list, int64_t top, void *scratch);

/* The same for scores that are each up to half of `margin` off: keeps whatever may still be among the `top` largest
 * once they are exact, which may be all. */
void clvi_topk_thin_within(clvi_topk *list, int64_t top, float margin, void *scratch);

/* Puts a list in order, largest first. */
void clvi_topk_sort(clvi_topk *list, void *scratch);

#endif
