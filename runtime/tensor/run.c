/* run.c: binding inputs, running the steps, reading outputs. */
#include "tensor/graph.h"
#include "core/checked.h"
#include "device/backend.h"
#include "device/shadow.h"
#include "device/tape.h"
#include "core/profile.h"
#include <string.h>

/* ---- memory and pointers ---- */

/* The recording of a run is of no use any more. */
static void forget(clv_graph *g)
{
    if (g->recording) g->ctx->device->backend->forget(g->ctx->device, g->recording);
    g->recording = NULL;
}

void clvi_graph_release_memory(clv_graph *g)
{
    for (int32_t i = 0; i < g->n_storages; i++) {
        clvi_storage *s = &g->storages[i];
        clvi_device_free(g->ctx, s->staged, s->bytes);
        if (s->kind != CLVI_STORAGE_INPUT) clvi_free(g->ctx, s->host);
        clvi_free(g->ctx, s->shown);
    }
    clvi_device_free(g->ctx, g->arena, g->arena_size);
    forget(g);
}

static clv_status allocate(clv_graph *g)
{
    if (!g->arena) g->arena = clvi_device_alloc(g->ctx, g->arena_size);
    if (!g->arena) return CLV_ERR_NOMEM;
    return g->differentiated ? clvi_params_need_gradients(g->params) : CLV_OK;
}

static void locate(clv_graph *g, clvi_storage *s)
{
    switch (s->kind) {
    case CLVI_STORAGE_ARENA: s->data = g->arena + s->offset; break;
    case CLVI_STORAGE_PARAM: s->data = clvi_params_data(g->params, s->param, CLV_PARAM_VALUE); break;
    case CLVI_STORAGE_GRADIENT: s->data = clvi_params_data(g->params, s->param, CLV_PARAM_GRADIENT); break;
    case CLVI_STORAGE_INPUT: break;   /* clv_graph_bind, upload */
    }
}

/* Writes the addresses of one storage, or (NULL) of all, into the steps. */
static void set_pointers(clv_graph *g, const clvi_storage *only)
{
    forget(g);
    for (int32_t s = 0; s < g->n_steps; s++) {
        clvi_step *step = &g->steps[s];
        for (int i = 0; i < step->call.n_in; i++) {
            const clvi_storage *at = clvi_graph_storage(g, step->in[i]);
            if (at && (!only || at == only)) step->call.in_data[i] = at->data;
        }
        for (int i = 0; i < step->call.n_out; i++) {
            const clvi_storage *at = clvi_graph_storage(g, step->out[i]);
            if (at && (!only || at == only)) step->call.out_data[i] = at->data;
        }
    }
}

clv_status clvi_graph_make_ready(clv_graph *g)
{
    if (g->ready) return CLV_OK;
    CLV_TRY(allocate(g));
    for (int32_t i = 0; i < g->n_storages; i++) locate(g, &g->storages[i]);
    set_pointers(g, NULL);
    for (int32_t i = 0; i < g->n_steps; i++) {
        clvi_step *step = &g->steps[i];
        step->call.scratch = step->scratch >= 0 ? g->storages[step->scratch].data : g->arena;
    }
    g->ready = true;
    return CLV_OK;
}

/* ---- inputs ---- */

static void put_input(clv_graph *g, clvi_storage *s, void *memory)
{
    if (s->data == memory) return;
    s->data = memory;
    if (g->ready) set_pointers(g, s);
}

static clv_status check_view(const clvi_value *v, const clv_view *view)
{
    const clvi_desc *desc = &v->desc;
    char have[CLVI_SHAPE_TEXT], want[CLVI_SHAPE_TEXT];
    CLV_CHECK(view->device == 0 && (view->data || desc->bytes == 0), CLV_ERR_INVALID,
              "clv_graph_bind: '%s' must be in host memory and not NULL", v->name);
    CLV_CHECK(view->dtype == desc->dtype, CLV_ERR_SHAPE, "clv_graph_bind: '%s' is %s, want %s", v->name,
              clv_dtype_name(view->dtype), clv_dtype_name(desc->dtype));
    CLV_CHECK((uintptr_t)view->data % clv_dtype_size(desc->dtype) == 0, CLV_ERR_INVALID,
              "clv_graph_bind: '%s' is not aligned to its elements", v->name);
    clvi_desc bound = *desc;
    const bool same_ndim = view->ndim == desc->ndim;
    for (int i = 0; same_ndim && i < desc->ndim; i++) {
        bound.shape[i] = view->shape[i];
        bound.stride[i] = view->stride[i];
    }
    CLV_CHECK(same_ndim && memcmp(bound.shape, desc->shape, sizeof bound.shape) == 0, CLV_ERR_SHAPE,
              "clv_graph_bind: '%s' is %s, want %s", v->name,
              clvi_shape_text(have, view->ndim >= 0 && view->ndim <= CLV_MAX_DIMS ? view->ndim : 0, view->shape),
              clvi_shape_text(want, desc->ndim, desc->shape));
    CLV_CHECK(clvi_desc_same_layout(&bound, desc), CLV_ERR_SHAPE, "clv_graph_bind: '%s' must be dense%s", v->name,
              clvi_desc_is_dense(desc) ? "" : ", its elements in the order N,H,W,C");
    return CLV_OK;
}

clv_status clv_graph_bind(clv_graph *g, clv_node input, const clv_view *view)
{
    CLV_CHECK(g && view, CLV_ERR_INVALID, "clv_graph_bind: an argument is NULL");
    CLV_TRY(clvi_graph_status(g));
    CLV_CHECK(g->finished, CLV_ERR_INVALID, "clv_graph_bind: finish the graph first");
    const int32_t value = clvi_graph_peek(g, input);
    CLV_CHECK(value >= 0 && g->values[value].kind == CLVI_VALUE_INPUT, CLV_ERR_INVALID,
              "clv_graph_bind: %s", value < 0 ? "the value is not of this graph" : "the value is not an input");
    CLV_TRY(check_view(&g->values[value], view));
    clvi_storage *s = clvi_graph_storage(g, value);
    if (!s) return CLV_OK;   /* nothing live reads it */
    if (g->ctx->device) s->host = view->data, s->fresh = true;
    else put_input(g, s, view->data);
    return CLV_OK;
}

clv_status clvi_graph_feed(clv_graph *g, clv_node input, void *memory)
{
    clvi_storage *s = clvi_graph_storage(g, clvi_graph_peek(g, input));
    if (!s) return CLV_OK;
    s->host = NULL;
    if (g->recording && s->data != memory) g->eager = true;      /* or each run would be recorded anew */
    put_input(g, s, memory);
    return CLV_OK;
}

static clv_status check_bound(const clv_graph *g)
{
    for (int32_t s = 0; s < g->n_storages; s++) {
        if (g->storages[s].kind != CLVI_STORAGE_INPUT || g->storages[s].data || g->storages[s].host) continue;
        int32_t value = 0;
        while (g->values[value].storage != s) value++;
        return clvi_fail(CLV_ERR_INVALID, "clv_graph_run: input '%s' is not bound", g->values[value].name);
    }
    return CLV_OK;
}

/* ---- running ---- */

/* An input that was bound to host memory: somebody keeps a copy of it on the device, or it is sent with the step at
 * work, or copied to memory of the graph's own. */
static clv_status bring(clv_graph *g, clvi_storage *s)
{
    clvi_shadow *shadow = clvi_shadow_find(g->ctx, s->host);
    if (shadow) {
        put_input(g, s, clvi_shadow_memory(shadow));
        return clvi_shadow_update(shadow);
    }
    void *sent = clvi_tape_send(g->ctx, s->host, s->input_bytes);
    if (clvi_tape_plays(g->ctx)) return CLV_OK;                  /* recorded with its address */
    if (!sent && !s->staged) s->staged = clvi_device_alloc(g->ctx, s->bytes);
    if (!sent && !s->staged) return CLV_ERR_NOMEM;
    put_input(g, s, sent ? sent : s->staged);
    return sent ? CLV_OK : clvi_device_copy(g->ctx, s->data, s->host, s->input_bytes, CLVI_COPY_TO_DEVICE);
}

/* Inputs to where the device finds them; `fresh` ones are those bound since the last time. */
static clv_status upload(clv_graph *g, bool all)
{
    if (!g->ctx->device) return CLV_OK;
    const int64_t begin = clv_profile_begin(g->ctx);
    for (int32_t i = 0; i < g->n_storages; i++) {
        clvi_storage *s = &g->storages[i];
        if (s->kind != CLVI_STORAGE_INPUT || !s->host || !(all || s->fresh)) continue;
        CLV_TRY(bring(g, s));
        s->fresh = false;
    }
    if (g->ctx->profile) CLV_TRY(clvi_device_wait(g->ctx));
    clv_profile_end(g->ctx, begin, "upload");
    return CLV_OK;
}

/* Gradients the loss does not reach. */
static clv_status zero_gradients(clv_graph *g)
{
    for (int32_t i = 0; i < g->n_gradients; i++) {
        const clvi_gradient *gradient = &g->gradients[i];
        if (gradient->value >= 0) continue;
        CLV_TRY(clvi_device_fill(g->ctx, clvi_params_data(g->params, gradient->param, CLV_PARAM_GRADIENT), 0,
                                 clvi_params_at(g->params, gradient->param)->desc.bytes));
    }
    return CLV_OK;
}

clv_status clvi_graph_run_step(clv_graph *g, int32_t step)
{
    const clvi_step *s = &g->steps[step];
    CLV_TRY(s->kernel->run(&s->call));
    return g->ctx->detect_anomaly ? clvi_graph_check_step(g, step) : CLV_OK;
}

/* Operands and results, each once. */
static double step_bytes(const clvi_step *step)
{
    double bytes = 0;
    for (int i = 0; i < step->call.n_in; i++)
        if (step->in[i] >= 0) bytes += (double)step->call.in[i].bytes;
    for (int i = 0; i < step->call.n_out; i++)
        if (step->call.wanted[i]) bytes += (double)step->call.out[i].bytes;
    return bytes;
}

/* A device is waited for after every operation, so that each gets its own time. */
static clv_status run_timed(clv_graph *g, clv_profile *profile, int32_t first, int32_t end_step)
{
    int64_t begin = clvi_profile_clock();
    for (int32_t i = first; i < end_step; i++) {
        const clvi_step *step = &g->steps[i];
        CLV_TRY(clvi_graph_run_step(g, i));
        CLV_TRY(clvi_device_wait(g->ctx));
        const int64_t end = clvi_profile_clock();
        clvi_profile_add(profile, begin, end, &(clvi_profile_work) {
            step->call.op, step->kernel->name, step->flops, step_bytes(step) });
        begin = clvi_profile_clock();
    }
    return CLV_OK;
}

static clv_status run_steps(clv_graph *g, int32_t first, int32_t end)
{
    if (g->ctx->profile) return run_timed(g, g->ctx->profile, first, end);
    for (int32_t i = first; i < end; i++) CLV_TRY(clvi_graph_run_step(g, i));
    return CLV_OK;
}

/* ---- recorded runs of a device ---- */

/* An attribute that changes between runs would stay as it was recorded. */
static bool may_record(const clv_graph *g)
{
    return !g->eager && clvi_device_may_record(g->ctx) && !clvi_tape_records(g->ctx);
}

/* What one run queues. */
static clv_status run_once(clv_graph *g)
{
    CLV_TRY(zero_gradients(g));
    return run_steps(g, 0, g->n_steps);
}

/* The first run makes what libraries make at their first call; the second is recorded, and all after it are that one. */
static clv_status run_recorded(clv_graph *g)
{
    clvi_device *d = g->ctx->device;
    if (g->recording) return d->backend->play(d, g->recording);
    CLV_TRY(d->backend->record(d));
    const clv_status st = run_once(g), ended = d->backend->recorded(d, st == CLV_OK ? &g->recording : NULL);
    if (st != CLV_OK) return st;
    CLV_TRY(ended);
    return d->backend->play(d, g->recording);
}

/* Everything that running any step wants. */
static clv_status prepare(clv_graph *g)
{
    CLV_CHECK(g, CLV_ERR_INVALID, "clv_graph_run: graph is NULL");
    CLV_TRY(clvi_graph_status(g));
    CLV_CHECK(g->finished, CLV_ERR_INVALID, "clv_graph_run: finish the graph first");
    CLV_TRY(check_bound(g));
    CLV_TRY(clvi_graph_make_ready(g));
    return upload(g, true);
}

clv_status clv_graph_run(clv_graph *g)
{
    CLV_TRY(prepare(g));
    if (!clvi_tape_plays(g->ctx)) CLV_TRY(g->ran && may_record(g) ? run_recorded(g) : run_once(g));
    g->ran = true;
    return CLV_OK;
}

clv_status clvi_graph_run_forward(clv_graph *g)
{
    CLV_TRY(prepare(g));
    if (!clvi_tape_plays(g->ctx)) CLV_TRY(run_steps(g, 0, g->forward_steps));
    g->ran = true;
    return CLV_OK;
}

clv_status clvi_graph_run_stretch(clv_graph *g, int32_t first, int32_t end)
{
    const int32_t left = g->n_steps - g->forward_steps;
    CLV_CHECK(g->ran, CLV_ERR_INTERNAL, "backward pass of a graph that has not run");
    if (first == 0) CLV_TRY(upload(g, false));
    if (first == 0) CLV_TRY(zero_gradients(g));
    if (clvi_tape_plays(g->ctx)) return CLV_OK;
    return run_steps(g, g->forward_steps + first, g->forward_steps + CLVI_MIN(end, left));
}

clv_status clvi_graph_run_backward(clv_graph *g)
{
    return clvi_graph_run_stretch(g, 0, INT32_MAX);
}

void clvi_graph_gradient_steps(const clv_graph *g, int32_t *steps)
{
    memset(steps, 0, (size_t)clv_params_count(g->params) * sizeof *steps);
    for (int32_t s = g->forward_steps; s < g->n_steps; s++) {
        for (int i = 0; i < g->steps[s].call.n_out; i++) {
            const clvi_storage *at = clvi_graph_storage(g, g->steps[s].out[i]);
            if (at && at->kind == CLVI_STORAGE_GRADIENT) steps[at->param] = s - g->forward_steps + 1;
        }
    }
}

/* What is drawn for each row by the next node after i that draws so, or NULL. */
static clvi_drop_path_attr *next_drop(const clv_graph *g, int32_t *i)
{
    while (++*i < g->n_nodes) {
        const clvi_node *node = &g->nodes[*i];
        if (strcmp(node->cls->name, "drop_path") == 0) return node->attr;
        if (strcmp(node->cls->name, "block_mask") == 0) return &((clvi_block_mask_attr *)node->attr)->path;
    }
    return NULL;
}

void clvi_graph_number_pieces(clv_graph *g, int64_t first, const int64_t *piece)
{
    clvi_drop_path_attr *attr;
    for (int32_t i = -1; (attr = next_drop(g, &i));) {
        attr->first = (uint64_t)(first * g->values[g->nodes[i].out[0]].desc.shape[0]);
        attr->piece = piece;
    }
}

void clvi_graph_set_piece(clv_graph *g, int64_t index)
{
    int32_t i = -1;
    if (next_drop(g, &i)) g->eager = true;           /* the attribute changes between runs */
    clvi_graph_number_pieces(g, index, NULL);
}

/* ---- outputs ---- */

/* A copy on the host, in memory that stays. An input that was bound is there already. */
static clv_status download(clv_graph *g, clvi_storage *s, size_t bytes, void **out)
{
    const bool input = s->kind == CLVI_STORAGE_INPUT;
    void **copy = input ? &s->shown : &s->host;
    *out = s->host;
    if (input && s->host) return CLV_OK;
    if (!*copy) *copy = clvi_calloc(g->ctx, 1, s->bytes);
    if (!(*out = *copy)) return CLV_ERR_NOMEM;
    CLV_TRY(clvi_device_wait(g->ctx));
    return clvi_device_copy(g->ctx, *out, s->data, bytes, CLVI_COPY_TO_HOST);
}

void clvi_graph_divert(clv_graph *g, clv_node output, void *memory)
{
    clvi_storage *s = clvi_graph_storage(g, clvi_graph_shown(g, clvi_graph_peek(g, output)));
    if (!s || s->kind != CLVI_STORAGE_ARENA || g->ctx->device) return;
    if (!memory) memory = g->arena + s->offset;
    if (s->data == memory) return;
    s->data = memory;
    set_pointers(g, s);
}

clv_status clv_graph_read(clv_graph *g, clv_node output, clv_view *view)
{
    CLV_CHECK(g && view, CLV_ERR_INVALID, "clv_graph_read: an argument is NULL");
    CLV_TRY(clvi_graph_status(g));
    CLV_CHECK(g->ran, CLV_ERR_INVALID, "clv_graph_read: run the graph first");
    int32_t value = clvi_graph_peek(g, output);
    CLV_CHECK(value >= 0, CLV_ERR_INVALID, "clv_graph_read: the value is not of this graph");
    CLV_CHECK(g->values[value].keep, CLV_ERR_INVALID,
              "clv_graph_read: the value was not kept; call clv_graph_output before clv_graph_finish");
    value = clvi_graph_shown(g, value);
    clvi_storage *s = clvi_graph_storage(g, value);
    const clvi_desc *desc = &g->values[value].desc;
    CLV_CHECK((s && s->data) || desc->bytes == 0, CLV_ERR_INTERNAL, "clv_graph_read: the value has no memory");
    void *there = s ? s->data : NULL;
    if (s && g->ctx->device) CLV_TRY(download(g, s, desc->bytes, &there));
    *view = clv_view_dense(there, desc->dtype, desc->ndim, desc->shape);
    return CLV_OK;
}

void *clvi_graph_place_of(clv_graph *g, clv_node output)
{
    const clvi_storage *s = clvi_graph_storage(g, clvi_graph_shown(g, clvi_graph_peek(g, output)));
    return s ? s->data : NULL;
}

clv_status clvi_graph_fetch(clv_graph *g, clv_node output, void *to)
{
    const int32_t value = clvi_graph_shown(g, clvi_graph_peek(g, output));
    const void *at = clvi_graph_place_of(g, output);
    CLV_CHECK(g->ran && at, CLV_ERR_INTERNAL, "a value is fetched that nobody computed");
    if (g->ctx->device) return clvi_tape_fetch(g->ctx, to, at, g->values[value].desc.bytes);
    memcpy(to, at, g->values[value].desc.bytes);
    return CLV_OK;
}

clv_status clv_graph_memory(const clv_graph *g, clv_graph_memory_t *out)
{
    CLV_CHECK(g && out, CLV_ERR_INVALID, "clv_graph_memory: an argument is NULL");
    CLV_TRY(clvi_graph_status(g));
    CLV_CHECK(g->finished, CLV_ERR_INVALID, "clv_graph_memory: finish the graph first");
    *out = (clv_graph_memory_t) {
        .parameters = clvi_params_arena_size(g->params) + clvi_params_buffer_size(g->params),
        .gradients = g->differentiated ? clvi_params_arena_size(g->params) : 0,
        .activations = g->arena_size, .scratch = g->scratch_size, .unplanned = g->unplanned,
    };
    return CLV_OK;
}
