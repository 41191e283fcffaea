/* lower.h: a chain with its draws as a list of operations for a device (device/pixels.h). */
#ifndef CLVI_AUGMENT_LOWER_H
#define CLVI_AUGMENT_LOWER_H

#include "augment/augment.h"
#include "device/pixels.h"

/* Lists that grow, of one batch. All zero but `ctx` is empty. */
typedef struct clvi_pixel_list {
    clv_context   *ctx;
    clvi_pixel_op *op;
    int32_t       *table;
    int64_t        ops, ops_room, tables, tables_room;
    size_t         picture, temp;        /* bytes of the largest picture between two operations, and beside it */
} clvi_pixel_list;

/* Appends what a chain does to a picture of this size; `view` gets the size and where its operations are. Errors:
 * CLV_ERR_UNSUPPORTED for a step that is the host's alone, CLV_ERR_NOMEM. */
clv_status clvi_augment_lower(const clv_augment *augment, const clvi_geometry *in, uint64_t seed, uint32_t epoch,
                              uint64_t sample, uint32_t number, clvi_pixel_list *list,
                              clvi_pixel_view *view) CLV_NODISCARD;
void clvi_pixel_list_release(clvi_pixel_list *list);

/* ---- for steps ---- */

/* Appends an operation that leaves height x width pixels. */
clv_status clvi_pixel_append(clvi_pixel_list *list, const clvi_pixel_op *op, int channels) CLV_NODISCARD;
/* Room for `count` numbers at the end of the tables, of which *at is the first; until the next call. NULL with the
 * message set. */
void *clvi_pixel_table(clvi_pixel_list *list, int64_t count, int64_t *at);
static inline void clvi_pixel_need(clvi_pixel_list *list, size_t temp) { list->temp = CLVI_MAX(list->temp, temp); }

#endif
