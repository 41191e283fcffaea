/* lower.c: walks a chain as apply does, with the same draws; steps append what they would do. */
#include "augment/chain.h"
#include "augment/lower.h"
#include <string.h>

/* Doubles what is there until `count` more fit. */
static clv_status grow(clvi_pixel_list *list, void **items, int64_t used, int64_t count, int64_t *room, size_t size)
{
    if (used + count <= *room) return CLV_OK;
    int64_t wanted = CLVI_MAX(*room, INT64_C(64));
    while (wanted < used + count) wanted *= 2;
    void *more = clvi_calloc(list->ctx, (size_t)wanted, size);
    if (!more) return CLV_ERR_NOMEM;
    if (used > 0) memcpy(more, *items, (size_t)used * size);
    clvi_free(list->ctx, *items);
    *items = more;
    *room = wanted;
    return CLV_OK;
}

clv_status clvi_pixel_append(clvi_pixel_list *list, const clvi_pixel_op *op, int channels)
{
    void *items = list->op;
    CLV_TRY(grow(list, &items, list->ops, 1, &list->ops_room, sizeof *list->op));
    list->op = items;
    list->op[list->ops++] = *op;
    list->picture = CLVI_MAX(list->picture, (size_t)op->height * (size_t)op->width * (size_t)channels);
    return CLV_OK;
}

void *clvi_pixel_table(clvi_pixel_list *list, int64_t count, int64_t *at)
{
    void *items = list->table;
    if (grow(list, &items, list->tables, count, &list->tables_room, sizeof *list->table) != CLV_OK) return NULL;
    list->table = items;
    *at = list->tables;
    list->tables += count;
    return list->table + *at;
}

void clvi_pixel_list_release(clvi_pixel_list *list)
{
    clvi_free(list->ctx, list->op);
    clvi_free(list->ctx, list->table);
    list->op = NULL;
    list->table = NULL;
}

clv_status clvi_augment_lower(const clv_augment *a, const clvi_geometry *in, uint64_t seed, uint32_t epoch,
                              uint64_t sample, uint32_t number, clvi_pixel_list *list, clvi_pixel_view *view)
{
    clvi_geometry now = *in;
    *view = (clvi_pixel_view) { .height = in->height, .width = in->width, .channels = in->channels,
                                .row_stride = (int64_t)in->width * in->channels, .first_op = list->ops };
    for (int i = 0; i < a->count && !a->step[i].class->emit; i++) {
        const clvi_augment_class *class = a->step[i].class;
        double draw[CLVI_AUGMENT_DRAW_MAX / sizeof(double)];
        CLV_CHECK(class->lower, CLV_ERR_UNSUPPORTED, "augmentation '%s' is not done on a device", class->info.name);
        if (!clvi_augment_draw(a, i, &now, seed, epoch, sample, number, draw)) continue;
        CLV_TRY(class->lower(a->step[i].params, draw, &now, list));
        if (list->ops == view->first_op) continue;
        now.height = list->op[list->ops - 1].height;
        now.width = list->op[list->ops - 1].width;
    }
    view->ops = (int32_t)(list->ops - view->first_op);
    return CLV_OK;
}
