/* lower.h: a chain with its draws as a list of operations for a device (device/pixels.h). */
#ifndef CLVI_AUGMENT_LOWER_H
#define CLVI_AUGMENT_LOWER_H

#include "augment/augment.h"
#include "device/pixels.h"

/* Operations of one picture in its room: they grow from the front, tables from the back. */
typedef struct clvi_pixel_list {
    uint8_t *room;
    size_t   front, back;            /* what lies between is free; both are multiples of 8 */
    size_t   picture, temp;          /* bytes of the largest picture between two operations, and beside it */
    bool     full;                   /* something did not fit, and is missing */
} clvi_pixel_list;

/* Appends what a chain does from step `first` on to a picture of this size; `view` gets the size and where its
 * operations are. Allocates nothing. Errors: those of apply. */
clv_status clvi_augment_lower(const clv_augment *augment, int first, const clvi_geometry *in, uint64_t seed,
                              uint32_t epoch, uint64_t sample, uint32_t number, clvi_pixel_list *list,
                              clvi_pixel_view *view) CLV_NODISCARD;
/* Bytes that steps `first` and after it take at most, of which none resizes. */
size_t clvi_augment_lowered_size(const clv_augment *augment, int first, const clvi_geometry *in);

/* ---- for steps ---- */

/* Appends an operation that leaves height x width pixels. */
void clvi_pixel_append(clvi_pixel_list *list, const clvi_pixel_op *op, int channels);
/* Room for a table, of which *at is the place. NULL: there is none. */
void *clvi_pixel_table(clvi_pixel_list *list, size_t size, int32_t *at);
static inline void clvi_pixel_need(clvi_pixel_list *list, size_t temp) { list->temp = CLVI_MAX(list->temp, temp); }
static inline size_t clvi_pixel_table_size(size_t size) { return clvi_round_up(size, sizeof(double)); }

#endif
