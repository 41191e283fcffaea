/* parts.c: a batch in parts: how it is divided, running statistics over the parts, and a step of two graphs. */
#include "train/step/parts.h"
#include "train/step/method.h"
#include "core/checked.h"
#include "device/backend.h"
#include "device/flat.h"
#include "device/rows.h"
#include "device/tape.h"
#include "tensor/op.h"
#include "tensor/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- division ---- */

clv_status clvi_divide(const clvi_settings *s, const clvi_comm *comm, clvi_division *out)
{
    const int rank = comm ? comm->rank : 0, ranks = comm ? comm->ranks : 1;
    clvi_division d = { .rank = rank, .ranks = ranks, .batch = s->batch_size, .groups = 1 };
    CLV_CHECK(d.batch % ranks == 0, CLV_ERR_INVALID, "batch-size %" PRId64 " is no multiple of %d ranks", d.batch,
              ranks);
    d.local = d.batch / ranks;
    d.part = s->micro_batch_size > 0 ? CLVI_MIN(s->micro_batch_size, d.local) : d.local;
    CLV_CHECK(d.local % d.part == 0, CLV_ERR_INVALID,
              "%" PRId64 " images (batch-size %" PRId64 " on %d rank%s) are no multiple of micro-batch-size %" PRId64,
              d.local, d.batch, ranks, ranks > 1 ? "s" : "", d.part);
    CLV_CHECK(d.batch % s->bn_splits == 0, CLV_ERR_INVALID,
              "batch-size %" PRId64 " is no multiple of bn-splits %" PRId64, d.batch, s->bn_splits);
    const int64_t parts = d.batch / d.part;
    CLV_CHECK(s->sync_bn == CLVI_SYNC_BN_OFF || s->bn_splits == 1, CLV_ERR_INVALID,
              "sync-bn and bn-splits %" PRId64 " contradict each other", s->bn_splits);
    CLV_CHECK(s->bn_splits == 1 || s->bn_splits % parts == 0, CLV_ERR_INVALID,
              "bn-splits %" PRId64 " is no multiple of the %" PRId64 " parts that a batch is computed in", s->bn_splits,
              parts);
    d.groups = CLVI_MAX(s->bn_splits / parts, INT64_C(1));
    d.sync = s->sync_bn != CLVI_SYNC_BN_OFF && ranks > 1;
    CLV_CHECK(!d.sync || d.part == d.local, CLV_ERR_INVALID,
              "sync-bn cannot act with micro-batch-size: the parts of a rank are computed one after the other");
    *out = d;
    return CLV_OK;
}

void clvi_division_settle(clvi_settings *s, const clvi_comm *comm)
{
    clvi_division d;
    if (s->sync_bn != CLVI_SYNC_BN_OFF || s->bn_splits > 1) return;
    if (clvi_divide(s, comm, &d) == CLV_OK) s->bn_splits = d.batch / d.part;
}

bool clvi_is_divided(const clvi_division *d)
{
    return d->part < d->batch;
}

int64_t clvi_parts_here(const clvi_division *d)
{
    return d->local / d->part;
}

int64_t clvi_part_first(const clvi_division *d, int64_t k)
{
    return d->rank * d->local + k * d->part;
}

clv_view clvi_part_of(const clv_view *images, int64_t first, int64_t count)
{
    clv_view part = *images;
    part.data = (char *)images->data + (size_t)(first * images->stride[0]) * clv_dtype_size(images->dtype);
    part.shape[0] = count;
    return part;
}

clv_status clvi_bind_images(clv_graph *g, clv_node input, const clv_view *images)
{
    return images->device ? clvi_graph_feed(g, input, images->data) : clv_graph_bind(g, input, images);
}

/* ---- running statistics ---- */

static int64_t statistics_count(const clvi_statistics *s)
{
    return (int64_t)(clvi_params_buffer_size(s->params) / clv_dtype_size(clvi_params_dtype(s->params)));
}

clv_status clvi_statistics_create(clv_context *ctx, clvi_comm *comm, const clvi_division *division, clv_params *params,
                                  clvi_statistics *out)
{
    *out = (clvi_statistics) { .ctx = ctx, .comm = comm, .division = division, .params = params };
    const size_t size = clvi_params_buffer_size(params);
    if (!clvi_is_divided(division) || size == 0) return CLV_OK;
    out->before = clvi_device_alloc(ctx, size);
    out->moved = clvi_device_alloc(ctx, size);
    return out->before && out->moved ? CLV_OK : CLV_ERR_NOMEM;
}

void clvi_statistics_destroy(clvi_statistics *s)
{
    if (s->before) clvi_device_free(s->ctx, s->before, clvi_params_buffer_size(s->params));
    if (s->moved) clvi_device_free(s->ctx, s->moved, clvi_params_buffer_size(s->params));
}

size_t clvi_statistics_bytes(const clvi_statistics *s)
{
    return s->before ? 2 * clvi_params_buffer_size(s->params) : 0;
}

clv_status clvi_statistics_begin(clvi_statistics *s)
{
    if (!s->before) return CLV_OK;
    const size_t size = clvi_params_buffer_size(s->params);
    CLV_TRY(clvi_device_copy(s->ctx, s->before, clvi_params_buffers(s->params), size, CLVI_COPY_ON_DEVICE));
    return clvi_device_fill(s->ctx, s->moved, 0, size);
}

clv_status clvi_statistics_restore(clvi_statistics *s)
{
    if (!s->before) return CLV_OK;
    return clvi_device_copy(s->ctx, clvi_params_buffers(s->params), s->before, clvi_params_buffer_size(s->params),
                            CLVI_COPY_ON_DEVICE);
}

/* Differences are summed, not values: counts stay whole numbers. */
void clvi_statistics_add(clvi_statistics *s)
{
    if (!s->before) return;
    const clv_dtype dtype = clvi_params_dtype(s->params);
    void *now = clvi_params_buffers(s->params);
    clvi_flat_axpy(s->ctx, dtype, statistics_count(s), -1, s->before, now);
    clvi_flat_axpy(s->ctx, dtype, statistics_count(s), 1, now, s->moved);
}

clv_status clvi_statistics_end(clvi_statistics *s)
{
    if (!s->before) return CLV_OK;
    const double parts = (double)(s->division->batch / s->division->part);
    CLV_TRY(clvi_comm_all_reduce_arena(s->comm, s->moved, statistics_count(s)));
    CLV_TRY(clvi_statistics_restore(s));
    clvi_flat_axpy(s->ctx, clvi_params_dtype(s->params), statistics_count(s), 1 / parts, s->moved,
                   clvi_params_buffers(s->params));
    return CLV_OK;
}

/* ---- two graphs ---- */

enum { MAX_CROSSINGS = 6 };

/* Rows that the network computes and the losses read. */
typedef struct crossing {
    clv_node from, factor;          /* in the network's graph: rows of a part, and what multiplies them */
    clv_node to, gradient;          /* in the losses' graph: an input, and its gradient, which may be none */
    clv_view rows;                  /* [batch,...]: in the host's memory, or, */
    char    *there;                 /* the same on the context's device; NULL: it is the host */
    size_t   row_bytes;
    float   *factors;               /* there, of the part at work, where a step has several and is queued */
} crossing;

/* What the network reads of a part, on the device. */
typedef struct source {
    clv_node    node;
    size_t      size;               /* of a part's */
    float      *part;
    const char *host;               /* of the whole batch, in this step: there, */
    const float *sent;              /* or where the device reads it; NULL: not sent */
} source;

/* Gradients that lie one after the other and go to the other ranks together. */
typedef struct bucket {
    int64_t first, count;           /* values of the arena */
    int32_t steps;                  /* of the backward pass, after which all of them are there */
} bucket;

struct clvi_parts {
    clvi_method    *method;
    clv_graph      *network, *losses;
    int             n;
    crossing        at[MAX_CROSSINGS];
    int             n_sources;
    source          source[CLVI_MAX_VIEWS + CLVI_MAX_BESIDE];   /* of steps that are queued */
    clvi_statistics statistics;
    void           *sum;            /* of gradients */
    size_t          sum_size;
    bucket         *buckets;        /* in the order they go */
    int64_t         n_buckets;      /* 0: sums over ranks are made after the backward pass */
};

static size_t rows_size(const crossing *c)
{
    return (size_t)CLVI_MAX(clv_view_count(&c->rows), INT64_C(1)) * sizeof(float);
}

clv_status clvi_parts_create(clvi_method *m, clvi_parts **out)
{
    *out = clvi_calloc(m->ctx, 1, sizeof **out);
    if (!*out) return CLV_ERR_NOMEM;
    **out = (clvi_parts) { .method = m, .network = m->network, .losses = m->graph };
    return CLV_OK;
}

void clvi_parts_destroy(clvi_parts *p)
{
    if (!p) return;
    clv_context *ctx = p->method->ctx;
    for (int i = 0; i < p->n; i++) {
        const crossing *c = &p->at[i];
        clvi_device_free(ctx, c->factors, (size_t)p->method->division.part * c->row_bytes);
        clvi_device_free(ctx, c->there, rows_size(c));
        clvi_free(ctx, c->rows.data);
    }
    for (int i = 0; i < p->n_sources; i++) clvi_device_free(ctx, p->source[i].part, p->source[i].size);
    clvi_statistics_destroy(&p->statistics);
    clvi_device_free(ctx, p->sum, p->sum_size);
    clvi_free(ctx, p->buckets);
    clvi_free(ctx, p);
}

clv_status clvi_parts_memory(const clvi_parts *p, clvi_method_bytes *bytes)
{
    clv_graph_memory_t network;
    CLV_TRY(clv_graph_memory(p->network, &network));
    bytes->activations += network.activations;
    bytes->gradients += p->sum_size;
    bytes->parameters += clvi_statistics_bytes(&p->statistics);
    return CLV_OK;
}

static clv_node fail_crossing(clvi_parts *p, clv_status st, const char *why)
{
    clvi_graph_fail(p->losses, st, "%s", why);
    return CLV_NONE;
}

clv_node clvi_parts_cross(clvi_parts *p, clv_node rows)
{
    int64_t shape[CLV_MAX_DIMS];
    char name[16];
    for (int i = 0; i < p->n; i++)
        if (p->at[i].from.id == rows.id) return p->at[i].to;
    const clv_status st = clvi_graph_status(p->network);
    if (st != CLV_OK) return fail_crossing(p, st, clv_error_message());
    if (p->n == MAX_CROSSINGS) return fail_crossing(p, CLV_ERR_INTERNAL, "more embeddings than a method may have");
    crossing *c = &p->at[p->n];
    const int ndim = clv_node_shape(p->network, rows, shape);
    shape[0] = p->method->batch;
    c->rows = clv_view_dense(NULL, CLV_F32, ndim, shape);
    c->row_bytes = (size_t)(clv_view_count(&c->rows) / shape[0]) * sizeof(float);
    if (p->method->ctx->device) c->there = clvi_device_alloc(p->method->ctx, rows_size(c));
    else c->rows.data = clvi_calloc(p->method->ctx, rows_size(c), 1);
    if (!c->rows.data && !c->there) return fail_crossing(p, CLV_ERR_NOMEM, "no memory for the embeddings of a batch");
    snprintf(name, sizeof name, "rows%d", p->n++);
    c->from = rows;
    c->factor = c->gradient = CLV_NONE;
    c->to = clv_input(p->losses, name, CLV_F32, ndim, shape);
    clv_graph_output(p->network, rows);
    return c->to;
}

/* A number whose gradient for the network is what the losses say: the inner product of rows and factors. */
static clv_node surrogate(clvi_parts *p)
{
    clv_node sum = CLV_NONE;
    for (int i = 0; i < p->n; i++) {
        crossing *c = &p->at[i];
        int64_t shape[CLV_MAX_DIMS];
        char name[16];
        c->gradient = clv_graph_gradient(p->losses, c->to);
        if (clvi_node_none(c->gradient)) continue;
        clv_graph_output(p->losses, c->gradient);
        const int ndim = clv_node_shape(p->network, c->from, shape);
        snprintf(name, sizeof name, "factor%d", i);
        c->factor = clv_input(p->network, name, CLV_F32, ndim, shape);
        const clv_node part = clv_reduce(p->network, clv_mul(p->network, c->from, c->factor), -1, false);
        sum = clvi_node_none(sum) ? part : clv_add(p->network, sum, part);
    }
    return sum;
}

/* ---- what goes to the other ranks when ---- */

static int by_steps(const void *left, const void *right)
{
    const bucket *a = left, *b = right;
    if (a->steps != b->steps) return a->steps < b->steps ? -1 : 1;
    return a->first < b->first ? -1 : 1;
}

/* The steps after which the gradients of each bucket are there. */
static clv_status time_buckets(clvi_parts *p)
{
    clv_params *params = p->method->params;
    const int64_t n = clv_params_count(params), value = (int64_t)clv_dtype_size(clvi_params_dtype(params));
    int32_t *steps = clvi_calloc(p->method->ctx, (size_t)n, sizeof *steps);
    if (!steps) return CLV_ERR_NOMEM;
    clvi_graph_gradient_steps(p->network, steps);
    for (int64_t i = 0; i < n; i++) {
        const clvi_param *param = clvi_params_at(params, i);
        const int64_t first = (int64_t)param->offset / value, count = (int64_t)param->desc.bytes / value;
        if (param->kind != CLV_PARAM_TRAINABLE || count == 0) continue;
        for (int64_t b = first / CLVI_COMM_BUCKET; b <= (first + count - 1) / CLVI_COMM_BUCKET; b++)
            p->buckets[b].steps = CLVI_MAX(p->buckets[b].steps, steps[i]);
    }
    clvi_free(p->method->ctx, steps);
    return CLV_OK;
}

/* Batch norm over ranks talks to them during the backward pass itself. */
static clv_status plan_buckets(clvi_parts *p)
{
    const clvi_division *d = &p->method->division;
    const int64_t values = (int64_t)(p->sum_size / clv_dtype_size(clvi_params_dtype(p->method->params)));
    const int64_t n = (values + CLVI_COMM_BUCKET - 1) / CLVI_COMM_BUCKET;
    if (d->ranks == 1 || d->sync || n == 0) return CLV_OK;
    p->buckets = clvi_calloc(p->method->ctx, (size_t)n, sizeof *p->buckets);
    if (!p->buckets) return CLV_ERR_NOMEM;
    for (int64_t b = 0, first = 0; b < n; b++, first += CLVI_COMM_BUCKET)
        p->buckets[b] = (bucket) { .first = first, .count = CLVI_MIN(values - first, CLVI_COMM_BUCKET) };
    CLV_TRY(time_buckets(p));
    qsort(p->buckets, (size_t)n, sizeof *p->buckets, by_steps);
    p->n_buckets = n;
    return CLV_OK;
}

clv_status clvi_parts_finish(clvi_parts *p)
{
    clvi_method *m = p->method;
    CLV_TRY(clv_graph_backward(p->network, surrogate(p)));
    CLV_TRY(clv_graph_finish(p->network));
    CLV_TRY(clv_graph_finish(p->losses));
    for (int i = 0; i < p->n; i++) {
        const crossing *c = &p->at[i];
        CLV_TRY(c->there ? clvi_graph_feed(p->losses, c->to, c->there) : clv_graph_bind(p->losses, c->to, &c->rows));
    }
    p->sum_size = clvi_params_arena_size(m->params);
    p->sum = clvi_device_alloc(m->ctx, p->sum_size);
    if (!p->sum) return CLV_ERR_NOMEM;
    CLV_TRY(plan_buckets(p));
    return clvi_statistics_create(m->ctx, m->setup.comm, &m->division, m->params, &p->statistics);
}

/* ---- a step ---- */

/* The network's forward pass over part k. */
static clv_status forward_part(clvi_parts *p, const clv_view *view, int64_t k)
{
    const clvi_method *m = p->method;
    const clvi_division *d = &m->division;
    for (int v = 0; v < m->cls->views; v++) {
        if (clvi_node_none(m->images[v])) continue;
        const clv_view images = clvi_part_of(&view[v], k * d->part, d->part);
        CLV_TRY(clvi_bind_images(p->network, m->images[v], &images));
    }
    for (int i = 0; i < m->n_beside; i++) {
        const clv_view rows = clvi_part_of(&m->beside[i].rows, k * d->part, d->part);
        CLV_TRY(clv_graph_bind(p->network, m->beside[i].node, &rows));
    }
    CLV_TRY(clvi_statistics_restore(&p->statistics));
    clvi_graph_set_piece(p->network, clvi_part_first(d, k) / d->part);
    return clvi_graph_run_forward(p->network);
}

/* Factors of part k: before the losses have run, memory with nothing to say. */
static clv_status bind_factors(clvi_parts *p, int64_t k, bool known)
{
    const clvi_division *d = &p->method->division;
    for (int i = 0; i < p->n; i++) {
        const crossing *c = &p->at[i];
        clv_view rows = c->rows;
        if (clvi_node_none(c->factor)) continue;
        if (c->there) {
            char *from = known ? clvi_graph_place_of(p->losses, c->gradient) : c->there;
            CLV_TRY(clvi_graph_feed(p->network, c->factor, from + (size_t)clvi_part_first(d, k) * c->row_bytes));
            continue;
        }
        if (known) CLV_TRY(clv_graph_read(p->losses, c->gradient, &rows));
        rows.data = (char *)rows.data + (size_t)clvi_part_first(d, k) * c->row_bytes;
        rows.shape[0] = d->part;
        CLV_TRY(clv_graph_bind(p->network, c->factor, &rows));
    }
    return CLV_OK;
}

/* The rows of part k, which the network has just computed, to their place in the batch. */
static clv_status keep_rows(clvi_parts *p, const crossing *c, int64_t k)
{
    const clvi_division *d = &p->method->division;
    const size_t size = (size_t)d->part * c->row_bytes, first = (size_t)clvi_part_first(d, k) * c->row_bytes;
    clv_view rows;
    if (c->there)
        return clvi_device_copy(p->method->ctx, c->there + first, clvi_graph_place_of(p->network, c->from), size,
                                CLVI_COPY_ON_DEVICE);
    CLV_TRY(clv_graph_read(p->network, c->from, &rows));
    memcpy((char *)c->rows.data + first, rows.data, size);
    return CLV_OK;
}

static clv_status gather_rows(clvi_parts *p, const crossing *c)
{
    const size_t size = (size_t)p->method->division.local * c->row_bytes;
    clvi_comm *comm = p->method->setup.comm;
    return c->there ? clvi_comm_all_gather_arena(comm, c->there, size) : clvi_comm_all_gather(comm, c->rows.data, size);
}

/* Rows of the whole batch. */
static clv_status embed(clvi_parts *p, const clv_view *view)
{
    const clvi_division *d = &p->method->division;
    CLV_TRY(clvi_statistics_begin(&p->statistics));
    for (int64_t k = 0; k < clvi_parts_here(d); k++) {
        CLV_TRY(bind_factors(p, k, false));
        CLV_TRY(forward_part(p, view, k));
        clvi_statistics_add(&p->statistics);
        for (int i = 0; i < p->n; i++) CLV_TRY(keep_rows(p, &p->at[i], k));
    }
    for (int i = 0; i < p->n; i++) CLV_TRY(gather_rows(p, &p->at[i]));
    return CLV_OK;
}

/* The network's gradients of a part are added to the sum. */
static clv_status backward_part(clvi_parts *p, const clv_view *g)
{
    CLV_TRY(clvi_graph_run_backward(p->network));
    clvi_flat_axpy(p->method->ctx, g->dtype, clv_view_count(g), 1, g->data, p->sum);
    return CLV_OK;
}

/* Those of the last part, and as soon as a bucket of the sum is there, that over the ranks begins: the last layers' go
 * while the first ones' are still computed. */
static clv_status stretches(clvi_parts *p, const clv_view *g)
{
    int32_t done = 0;
    for (int64_t b = 0; b < p->n_buckets; b++) {
        const bucket *at = &p->buckets[b];
        float *sum = (float *)p->sum + at->first;
        if (b == 0 || at->steps > done) CLV_TRY(clvi_graph_run_stretch(p->network, done, at->steps));
        done = at->steps;
        clvi_flat_axpy(p->method->ctx, g->dtype, at->count, 1, (const float *)g->data + at->first, sum);
        CLV_TRY(clvi_comm_begin(p->method->setup.comm, sum, at->count));
    }
    return clvi_graph_run_stretch(p->network, done, INT32_MAX);
}

static clv_status backward_and_send(clvi_parts *p, const clv_view *g)
{
    clvi_comm *comm = p->method->setup.comm;
    if (p->n_buckets == 0) {
        CLV_TRY(backward_part(p, g));
        return clvi_comm_all_reduce_arena(comm, p->sum, clv_view_count(g));
    }
    const clv_status st = stretches(p, g), ended = clvi_comm_end(comm);
    return st != CLV_OK ? st : ended;
}

/* The losses have gradients for parameters of their own, which every rank knows: the first brings them into the sum. */
static clv_status begin_sum(clvi_parts *p, const clv_view *g)
{
    clv_context *ctx = p->method->ctx;
    if (p->method->division.rank > 0) return clvi_device_fill(ctx, p->sum, 0, p->sum_size);
    return clvi_device_copy(ctx, p->sum, g->data, p->sum_size, CLVI_COPY_ON_DEVICE);
}

/* Adds the network's gradients to those of the losses. A single part is still in memory. */
static clv_status propagate(clvi_parts *p, const clv_view *view)
{
    clvi_method *m = p->method;
    const int64_t parts = clvi_parts_here(&m->division);
    clv_view g;
    CLV_TRY(clv_params_flat(m->params, CLV_PARAM_GRADIENT, &g));
    CLV_TRY(begin_sum(p, &g));
    for (int64_t k = 0; k < parts; k++) {
        CLV_TRY(bind_factors(p, k, true));
        if (parts > 1) CLV_TRY(forward_part(p, view, k));
        CLV_TRY(k + 1 < parts ? backward_part(p, &g) : backward_and_send(p, &g));
    }
    return clvi_device_copy(m->ctx, g.data, p->sum, p->sum_size, CLVI_COPY_ON_DEVICE);
}

/* ---- a step that a device is given as a whole ---- */

static clv_status add_source(clvi_parts *p, clv_node node)
{
    int64_t shape[CLV_MAX_DIMS];
    source *s = &p->source[p->n_sources++];
    const clv_view rows = clv_view_dense(NULL, CLV_F32, clv_node_shape(p->network, node, shape), shape);
    s->node = node;
    s->size = (size_t)clv_view_count(&rows) * sizeof(float);
    s->part = clvi_device_alloc(p->method->ctx, s->size);
    return s->part ? clvi_graph_feed(p->network, node, s->part) : CLV_ERR_NOMEM;
}

clv_status clvi_parts_queue(clvi_parts *p)
{
    const clvi_method *m = p->method;
    const clvi_division *d = &m->division;
    for (int v = 0; v < m->cls->views; v++)
        if (!clvi_node_none(m->images[v])) CLV_TRY(add_source(p, m->images[v]));
    for (int i = 0; i < m->n_beside; i++) CLV_TRY(add_source(p, m->beside[i].node));
    for (int i = 0; i < p->n; i++) {
        crossing *c = &p->at[i];
        c->factors = clvi_device_alloc(m->ctx, (size_t)d->part * c->row_bytes);
        if (!c->factors) return CLV_ERR_NOMEM;
        if (!clvi_node_none(c->factor)) CLV_TRY(clvi_graph_feed(p->network, c->factor, c->factors));
    }
    return CLV_OK;
}

/* The whole batch goes to the device before its parts are computed, or as much of it as should lie there. */
static void send_batch(clvi_parts *p, const clv_view *view)
{
    const clvi_method *m = p->method;
    const int64_t parts = clvi_parts_here(&m->division);
    source *s = p->source;
    for (int v = 0; v < m->cls->views; v++) {
        if (clvi_node_none(m->images[v])) continue;
        s->host = view[v].data;
        s->sent = view[v].device ? view[v].data : clvi_tape_lend(m->ctx, s->host, s->size * (size_t)parts);
        s++;
    }
    for (int i = 0; i < m->n_beside; i++, s++) {
        s->host = m->beside[i].rows.data;
        s->sent = clvi_tape_lend(m->ctx, s->host, s->size * (size_t)parts);
    }
}

static clv_status forward_there(clvi_parts *p, int64_t k)
{
    clv_context *ctx = p->method->ctx;
    const clvi_division *d = &p->method->division;
    for (int i = 0; i < p->n_sources; i++) {
        const source *s = &p->source[i];
        const int64_t cols = (int64_t)(s->size / sizeof(float)) / d->part;
        if (s->sent) clvi_rows_pick(ctx, d->part, cols, s->sent, NULL, s->part);
        else CLV_TRY(clvi_device_copy(ctx, s->part, s->host + (size_t)k * s->size, s->size, CLVI_COPY_TO_DEVICE));
    }
    CLV_TRY(clvi_statistics_restore(&p->statistics));
    clvi_graph_number_pieces(p->network, clvi_part_first(d, 0) / d->part, clvi_tape_pass(ctx));
    return clvi_graph_run_forward(p->network);
}

static int64_t row_values(const crossing *c)
{
    return (int64_t)(c->row_bytes / sizeof(float));
}

/* The first of this rank's rows among those of the batch. */
static float *own_rows(const clvi_parts *p, const crossing *c, void *rows)
{
    return (float *)rows + clvi_part_first(&p->method->division, 0) * row_values(c);
}

static clv_status embed_there(void *parts, int64_t k)
{
    clvi_parts *p = parts;
    CLV_TRY(forward_there(p, k));
    clvi_statistics_add(&p->statistics);
    for (int i = 0; i < p->n; i++) {
        const crossing *c = &p->at[i];
        clvi_rows_place(p->method->ctx, p->method->division.part, row_values(c),
                        clvi_graph_place_of(p->network, c->from), NULL, own_rows(p, c, c->there));
    }
    return CLV_OK;
}

/* The network's forward pass again, with what the losses say of part k. */
static clv_status again_there(clvi_parts *p, int64_t k)
{
    for (int i = 0; i < p->n; i++) {
        const crossing *c = &p->at[i];
        if (clvi_node_none(c->factor)) continue;
        clvi_rows_pick(p->method->ctx, p->method->division.part, row_values(c),
                       own_rows(p, c, clvi_graph_place_of(p->losses, c->gradient)), NULL, c->factors);
    }
    return forward_there(p, k);
}

static clv_status propagate_there(void *parts, int64_t k)
{
    clvi_parts *p = parts;
    clv_view g;
    CLV_TRY(clv_params_flat(p->method->params, CLV_PARAM_GRADIENT, &g));
    CLV_TRY(again_there(p, k));
    return backward_part(p, &g);
}

/* The last part, beside whose backward pass the gradients go to the other ranks. */
static clv_status propagate_and_send_there(void *parts, int64_t k)
{
    clvi_parts *p = parts;
    clv_view g;
    CLV_TRY(clv_params_flat(p->method->params, CLV_PARAM_GRADIENT, &g));
    CLV_TRY(again_there(p, k));
    return backward_and_send(p, &g);
}

static clv_status run_there(clvi_parts *p, const clv_view *view)
{
    clvi_method *m = p->method;
    const int64_t parts = clvi_parts_here(&m->division);
    clvi_tape_fn *const last = m->division.ranks > 1 ? propagate_and_send_there : NULL;
    clv_view g;
    CLV_TRY(clv_params_flat(m->params, CLV_PARAM_GRADIENT, &g));
    send_batch(p, view);
    CLV_TRY(clvi_statistics_begin(&p->statistics));
    CLV_TRY(clvi_tape_repeat(m->ctx, parts, embed_there, NULL, p));
    for (int i = 0; i < p->n; i++) CLV_TRY(gather_rows(p, &p->at[i]));
    CLV_TRY(clv_graph_run(p->losses));
    m->loss_there = clvi_graph_place_of(p->losses, m->loss);
    CLV_TRY(begin_sum(p, &g));
    CLV_TRY(clvi_tape_repeat(m->ctx, parts, propagate_there, last, p));
    CLV_TRY(clvi_device_copy(m->ctx, g.data, p->sum, p->sum_size, CLVI_COPY_ON_DEVICE));
    return clvi_statistics_end(&p->statistics);
}

clv_status clvi_parts_run(clvi_parts *p, const clv_view *view, double *loss)
{
    clv_view value;
    if (p->n_sources > 0) return run_there(p, view);
    CLV_TRY(embed(p, view));
    CLV_TRY(clv_graph_run(p->losses));
    CLV_TRY(propagate(p, view));
    CLV_TRY(clvi_statistics_end(&p->statistics));
    p->method->loss_there = clvi_graph_place_of(p->losses, p->method->loss);
    if (p->method->queued) return CLV_OK;
    CLV_TRY(clv_graph_read(p->losses, p->method->loss, &value));
    *loss = *(const float *)value.data;
    return CLV_OK;
}
