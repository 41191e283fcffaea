/* lower.c: walks a chain as apply does, with the same draws; steps append what they would do. */
#include "augment/chain.h"
#include "augment/lower.h"
#include <string.h>

_Static_assert(sizeof(clvi_pixel_op) % sizeof(double) == 0 && sizeof(clvi_pixel_view) % sizeof(double) == 0,
               "what follows in a room is aligned, too");

void clvi_pixel_append(clvi_pixel_list *list, const clvi_pixel_op *op, int channels)
{
    list->picture = CLVI_MAX(list->picture, (size_t)op->height * (size_t)op->width * (size_t)channels);
    if (list->full || list->back - list->front < sizeof *op) {
        list->full = true;
        return;
    }
    memcpy(list->room + list->front, op, sizeof *op);
    list->front += sizeof *op;
}

void *clvi_pixel_table(clvi_pixel_list *list, size_t size, int32_t *at)
{
    const size_t taken = clvi_pixel_table_size(size);
    if (list->full || list->back - list->front < taken) {
        list->full = true;
        return NULL;
    }
    list->back -= taken;
    *at = (int32_t)list->back;
    return list->room + list->back;
}

clv_status clvi_augment_lower(const clv_augment *a, int first, const clvi_geometry *in, uint64_t seed, uint32_t epoch,
                              uint64_t sample, uint32_t number, clvi_pixel_list *list, clvi_pixel_view *view)
{
    clvi_geometry now = *in;
    *view = (clvi_pixel_view) { .height = in->height, .width = in->width, .channels = in->channels,
                                .first_op = (int32_t)list->front };
    for (int i = first; i < a->count && !a->step[i].class->emit; i++) {
        const clvi_augment_class *class = a->step[i].class;
        double draw[CLVI_AUGMENT_DRAW_MAX / sizeof(double)];
        if (!clvi_augment_draw(a, i, &now, seed, epoch, sample, number, draw)) continue;
        CLV_TRY(class->lower(a->step[i].params, draw, &now, list));
        if (class->out_size) now.height = now.width = class->out_size(a->step[i].params);
    }
    view->ops = (int32_t)((list->front - (size_t)view->first_op) / sizeof(clvi_pixel_op));
    return CLV_OK;
}

size_t clvi_augment_lowered_size(const clv_augment *a, int first, const clvi_geometry *in)
{
    size_t size = 0;
    for (int i = first; i < a->count && !a->step[i].class->emit; i++) {
        const clvi_augment_class *class = a->step[i].class;
        size += class->lowered_size ? class->lowered_size(a->step[i].params, in) : sizeof(clvi_pixel_op);
    }
    return size;
}
