/* place.c: memory of a plan: what lives when, what may share, and at which offset each value lies.
 *
 * Values are placed from the largest to the smallest, each at the lowest offset where it meets no value that lives at
 * the same time (greedy by size: Pisarchyk and Lee 2020, arXiv:2001.03288). */
#include "tensor/graph.h"
#include "core/checked.h"
#include <stdlib.h>

#define SCRATCH_ALIGN 256

static size_t aligned(size_t bytes)
{
    return (bytes + CLVI_ALIGN - 1) & ~(size_t)(CLVI_ALIGN - 1);
}

clvi_storage *clvi_graph_storage(const clv_graph *g, int32_t value)
{
    int32_t s = value < 0 ? -1 : g->values[clvi_graph_root(g, value)].storage;
    if (s < 0) return NULL;
    while (g->storages[s].merged >= 0) s = g->storages[s].merged;
    return &g->storages[s];
}

/* ---- lifetimes ---- */

/* Gives a value a storage if it has none, and stretches its life to the step. */
static void touch(clv_graph *g, int32_t value, int32_t step)
{
    static const clvi_storage_kind kinds[] = {
        [CLVI_VALUE_COMPUTED] = CLVI_STORAGE_ARENA, [CLVI_VALUE_INPUT] = CLVI_STORAGE_INPUT,
        [CLVI_VALUE_PARAM] = CLVI_STORAGE_PARAM,
    };
    if (value < 0) return;
    clvi_value *v = &g->values[clvi_graph_root(g, value)];
    if (v->desc.bytes == 0) return;
    if (v->storage < 0) {
        v->storage = g->n_storages++;
        g->storages[v->storage] = (clvi_storage) { .kind = kinds[v->kind], .bytes = aligned(v->desc.bytes),
                                                   .input_bytes = v->desc.bytes,
                                                   .first = step, .last = step, .param = v->param, .merged = -1 };
    }
    g->storages[v->storage].last = step;
}

static clv_status find_lifetimes(clv_graph *g)
{
    g->storages = clvi_calloc(g->ctx, (size_t)g->n_values + (size_t)g->n_steps, sizeof *g->storages);
    if (!g->storages) return CLV_ERR_NOMEM;
    for (int32_t s = 0; s < g->n_steps; s++) {
        for (int i = 0; i < g->steps[s].call.n_in; i++) touch(g, g->steps[s].in[i], s);
        for (int i = 0; i < g->steps[s].call.n_out; i++) touch(g, g->steps[s].out[i], s);
    }
    for (int32_t i = 0; i < g->n_values; i++) {
        if (!g->values[i].keep) continue;
        touch(g, clvi_graph_shown(g, i), g->n_steps);
    }
    for (int32_t i = 0; i < g->n_gradients; i++) {
        if (g->gradients[i].value < 0) continue;
        clvi_storage *s = &g->storages[g->values[clvi_graph_root(g, g->gradients[i].value)].storage];
        s->kind = CLVI_STORAGE_GRADIENT;
        s->param = g->gradients[i].param;
    }
    return CLV_OK;
}

/* Scratch memory is a value that lives for one step: most of a training step's need for it is over, or not yet there,
 * when its values take most. */
static void add_scratch(clv_graph *g)
{
    for (int32_t s = 0; s < g->n_steps; s++) {
        const size_t bytes = aligned(g->steps[s].call.scratch_size);
        g->steps[s].scratch = bytes ? g->n_storages : -1;
        g->scratch_size = CLVI_MAX(g->scratch_size, bytes);
        if (!bytes) continue;
        g->storages[g->n_storages++] = (clvi_storage) { .kind = CLVI_STORAGE_ARENA, .bytes = bytes, .first = s, .last = s,
                                                        .param = -1, .scratch = true, .merged = -1 };
    }
}

/* ---- results in the place of an operand that ends there ---- */

static bool may_share(const clv_graph *g, int32_t step, int out, int in)
{
    const clvi_step *st = &g->steps[step];
    if (in >= st->call.n_in || st->in[in] < 0) return false;
    const clvi_storage *from = clvi_graph_storage(g, st->in[in]), *to = clvi_graph_storage(g, st->out[out]);
    if (!from || !to || from->kind != CLVI_STORAGE_ARENA || to->kind != CLVI_STORAGE_ARENA) return false;
    if (from->last != step || !clvi_desc_same_layout(&st->call.in[in], &st->call.out[out])) return false;
    for (int i = 0; i < st->call.n_in; i++)
        if (i != in && clvi_graph_storage(g, st->in[i]) == from) return false;
    for (int i = 0; i < out; i++)
        if (clvi_graph_storage(g, st->out[i]) == from) return false;
    return true;
}

static void share_in_place(clv_graph *g)
{
    for (int32_t s = 0; s < g->n_steps; s++) {
        for (int out = 0; out < g->steps[s].call.n_out; out++) {
            const int in = g->steps[s].kernel->in_place[out] - 1;
            if (in < 0 || !may_share(g, s, out, in)) continue;
            clvi_storage *from = clvi_graph_storage(g, g->steps[s].in[in]);
            clvi_storage *to = clvi_graph_storage(g, g->steps[s].out[out]);
            to->merged = (int32_t)(from - g->storages);
            from->last = to->last;
        }
    }
}

/* ---- offsets ---- */

static int by_size(const void *a, const void *b)
{
    const clvi_storage *x = *(clvi_storage *const *)a, *y = *(clvi_storage *const *)b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x < y ? -1 : 1;   /* both from one array: the order in which they are first used */
}

/* Libraries want their scratch memory aligned more strictly than values. */
static size_t next_offset(const clvi_storage *s, size_t offset)
{
    const size_t alignment = s->scratch ? SCRATCH_ALIGN : CLVI_ALIGN;
    return (offset + alignment - 1) & ~(alignment - 1);
}

/* Lowest offset where `s` meets none of the placed ones (sorted by offset) that live at the same time. */
static clv_status lowest_offset(clvi_storage *const *placed, int32_t count, const clvi_storage *s, size_t *offset)
{
    *offset = 0;
    for (int32_t i = 0; i < count; i++) {
        const clvi_storage *p = placed[i];
        if (p->last < s->first || s->last < p->first) continue;
        if (p->offset >= *offset && p->offset - *offset >= s->bytes) break;
        *offset = CLVI_MAX(*offset, next_offset(s, p->offset + p->bytes));
    }
    CLV_CHECK(*offset <= SIZE_MAX / 2 - s->bytes, CLV_ERR_NOMEM,
              "the values of the graph do not fit the address space");
    return CLV_OK;
}

static clv_status place_all(clv_graph *g, clvi_storage **todo, clvi_storage **placed)
{
    int32_t count = 0;
    for (int32_t i = 0; i < g->n_storages; i++) {
        if (g->storages[i].kind != CLVI_STORAGE_ARENA) continue;
        CLV_CHECK(g->storages[i].scratch || clvi_add_size(g->unplanned, g->storages[i].bytes, &g->unplanned),
                  CLV_ERR_NOMEM, "the values of the graph do not fit the address space");
        if (g->storages[i].merged < 0) todo[count++] = &g->storages[i];
    }
    qsort(todo, (size_t)count, sizeof *todo, by_size);
    for (int32_t i = 0; i < count; i++) {
        clvi_storage *s = todo[i];
        CLV_TRY(lowest_offset(placed, i, s, &s->offset));
        int32_t at = i;
        for (; at > 0 && placed[at - 1]->offset > s->offset; at--) placed[at] = placed[at - 1];
        placed[at] = s;
        g->arena_size = CLVI_MAX(g->arena_size, s->offset + s->bytes);
    }
    return CLV_OK;
}

clv_status clvi_graph_place(clv_graph *g)
{
    CLV_TRY(find_lifetimes(g));
    share_in_place(g);
    add_scratch(g);
    clvi_storage **work = clvi_calloc(g->ctx, 2 * (size_t)g->n_storages, sizeof *work);
    if (!work) return CLV_ERR_NOMEM;
    const clv_status st = place_all(g, work, work + g->n_storages);
    clvi_free(g->ctx, work);
    return st;
}
