/* params.c: the table of parameters (shared by clones) and their arenas. */
#include "tensor/params.h"
#include "device/backend.h"
#include "core/checked.h"
#include "core/rng.h"
#include "device/flat.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>

typedef struct schema {
    atomic_int  owners;
    clv_dtype   dtype;
    clvi_param *items;
    int64_t     count, capacity;
    bool        laid_out;
    size_t      size[2];        /* bytes of the arena of each clv_param_kind */
} schema;

struct clv_params {
    clv_context   *ctx;
    schema        *schema;
    unsigned char *values[2];   /* by clv_param_kind */
    unsigned char *gradients;
};

/* ---- life ---- */

clv_status clv_params_create(clv_context *ctx, clv_dtype dtype, clv_params **out)
{
    CLV_CHECK(ctx && out, CLV_ERR_INVALID, "clv_params_create: an argument is NULL");
    *out = NULL;
    CLV_CHECK(dtype == CLV_F32 || dtype == CLV_F64, CLV_ERR_INVALID,
              "clv_params_create: dtype must be float32 or float64, is %s", clv_dtype_name(dtype));
    clv_params *p = clvi_calloc(ctx, 1, sizeof *p);
    if (!p) return CLV_ERR_NOMEM;
    p->ctx = ctx;
    p->schema = clvi_calloc(ctx, 1, sizeof *p->schema);
    if (!p->schema) {
        clv_params_destroy(p);
        return CLV_ERR_NOMEM;
    }
    p->schema->owners = 1;
    p->schema->dtype = dtype;
    *out = p;
    return CLV_OK;
}

static void schema_release(clv_context *ctx, schema *s)
{
    if (!s || atomic_fetch_sub(&s->owners, 1) > 1) return;
    for (int64_t i = 0; i < s->count; i++) clvi_free(ctx, s->items[i].name);
    clvi_free(ctx, s->items);
    clvi_free(ctx, s);
}

void clv_params_destroy(clv_params *p)
{
    if (!p) return;
    if (p->schema) {
        for (int kind = 0; kind < 2; kind++) clvi_device_free(p->ctx, p->values[kind], p->schema->size[kind]);
        clvi_device_free(p->ctx, p->gradients, p->schema->size[CLV_PARAM_TRAINABLE]);
    }
    schema_release(p->ctx, p->schema);
    clvi_free(p->ctx, p);
}

static clv_status allocate_values(clv_params *p)
{
    for (int kind = 0; kind < 2; kind++) {
        if (!p->values[kind]) p->values[kind] = clvi_device_alloc(p->ctx, p->schema->size[kind]);
        if (!p->values[kind]) return CLV_ERR_NOMEM;
    }
    return CLV_OK;
}

clv_status clv_params_clone(const clv_params *src, clv_params **out)
{
    CLV_CHECK(src && out, CLV_ERR_INVALID, "clv_params_clone: an argument is NULL");
    *out = NULL;
    CLV_CHECK(src->schema->laid_out, CLV_ERR_INVALID,
              "clv_params_clone: the parameters are not laid out yet; finish a graph that uses them first");
    clv_params *p = clvi_calloc(src->ctx, 1, sizeof *p);
    if (!p) return CLV_ERR_NOMEM;
    p->ctx = src->ctx;
    p->schema = src->schema;
    atomic_fetch_add(&p->schema->owners, 1);
    clv_status st = allocate_values(p);
    for (int kind = 0; kind < 2 && st == CLV_OK; kind++)
        st = clvi_device_copy(p->ctx, p->values[kind], src->values[kind], p->schema->size[kind], CLVI_COPY_ON_DEVICE);
    if (st == CLV_OK) *out = p;
    else clv_params_destroy(p);
    return st;
}

/* ---- the table ---- */

int64_t clv_params_count(const clv_params *p)
{
    return p->schema->count;
}

clv_dtype clvi_params_dtype(const clv_params *p)
{
    return p->schema->dtype;
}

bool clvi_params_laid_out(const clv_params *p)
{
    return p->schema->laid_out;
}

clvi_param *clvi_params_at(clv_params *p, int64_t index)
{
    return &p->schema->items[index];
}

int64_t clv_params_find(const clv_params *p, const char *name)
{
    for (int64_t i = 0; i < p->schema->count; i++)
        if (strcmp(p->schema->items[i].name, name) == 0) return i;
    return -1;
}

static clv_status check_index(const clv_params *p, int64_t index, const char *what)
{
    CLV_CHECK(p, CLV_ERR_INVALID, "%s: params is NULL", what);
    CLV_CHECK(index >= 0 && index < p->schema->count, CLV_ERR_INVALID,
              "%s: there is no parameter %" PRId64 "; the set has %" PRId64, what, index, p->schema->count);
    return CLV_OK;
}

clv_status clv_params_info(const clv_params *p, int64_t index, clv_param_info *out)
{
    CLV_TRY(check_index(p, index, "clv_params_info"));
    CLV_CHECK(out, CLV_ERR_INVALID, "clv_params_info: out is NULL");
    const clvi_param *item = &p->schema->items[index];
    *out = (clv_param_info) { .name = item->name, .kind = item->kind, .ndim = item->desc.ndim };
    memcpy(out->shape, item->desc.shape, sizeof out->shape);
    return CLV_OK;
}

static bool same_shape(const clvi_desc *desc, int ndim, const int64_t *shape)
{
    if (desc->ndim != ndim) return false;
    for (int i = 0; i < ndim; i++)
        if (desc->shape[i] != shape[i]) return false;
    return true;
}

static clv_status append(clv_params *p, const char *name, clv_param_kind kind, int ndim, const int64_t *shape,
                         clv_init init)
{
    schema *s = p->schema;
    if (s->count == s->capacity) {
        const int64_t wanted = s->capacity ? 2 * s->capacity : 64;
        clvi_param *grown = clvi_realloc(p->ctx, s->items, (size_t)wanted * sizeof *grown);
        if (!grown) return CLV_ERR_NOMEM;
        s->items = grown;
        s->capacity = wanted;
    }
    clvi_param *item = &s->items[s->count];
    *item = (clvi_param) { .kind = kind, .init = init };
    item->name = clvi_strdup(p->ctx, name);
    if (!item->name) return CLV_ERR_NOMEM;
    item->desc.dtype = s->dtype;
    item->desc.ndim = ndim;
    for (int i = 0; i < ndim; i++) item->desc.shape[i] = shape[i];
    clvi_desc_make_dense(&item->desc);
    item->desc.layout = CLVI_LAYOUT_ANY;
    s->count++;
    return CLV_OK;
}

clv_status clvi_params_add(clv_params *p, const char *name, clv_param_kind kind, int ndim, const int64_t *shape,
                           clv_init init, int64_t *index)
{
    CLV_CHECK(name && name[0], CLV_ERR_INVALID, "clv_parameter: a parameter needs a name");
    *index = clv_params_find(p, name);
    if (*index >= 0) {
        const clvi_param *old = &p->schema->items[*index];
        CLV_CHECK(same_shape(&old->desc, ndim, shape), CLV_ERR_SHAPE,
                  "clv_parameter: '%s' exists with another shape", name);
        CLV_CHECK(old->kind == kind, CLV_ERR_INVALID, "clv_parameter: '%s' exists and is %s", name,
                  old->kind == CLV_PARAM_BUFFER ? "a buffer" : "trainable");
        return CLV_OK;
    }
    CLV_CHECK(!p->schema->laid_out, CLV_ERR_INVALID,
              "clv_parameter: '%s' is new, but the set was laid out when its first graph finished", name);
    const bool by_value = init.kind == CLV_INIT_CONSTANT || init.kind == CLV_INIT_UNIFORM ||
                          init.kind == CLV_INIT_NORMAL;
    CLV_CHECK(by_value || init.fan >= 1, CLV_ERR_INVALID,
              "clv_parameter: '%s' has an initial fan of %" PRId64 ", want at least 1", name, init.fan);
    CLV_CHECK(init.kind != CLV_INIT_SINCOS_2D || (ndim > 0 && shape[ndim - 1] % 4 == 0), CLV_ERR_SHAPE,
              "clv_parameter: '%s' is a position embedding: its last extent must be a multiple of 4", name);
    *index = p->schema->count;
    return append(p, name, kind, ndim, shape, init);
}

/* ---- memory ---- */

clv_status clvi_params_lay_out(clv_params *p)
{
    schema *s = p->schema;
    if (!s->laid_out) {
        size_t size[2] = { 0, 0 };
        for (int64_t i = 0; i < s->count; i++) {
            clvi_param *item = &s->items[i];
            if (item->desc.layout == CLVI_LAYOUT_ANY) clvi_desc_make_dense(&item->desc);
            item->offset = size[item->kind];
            CLV_CHECK(clvi_add_size(size[item->kind], item->desc.bytes + CLVI_ALIGN - 1, &size[item->kind]),
                      CLV_ERR_NOMEM, "the parameters do not fit the address space");
            size[item->kind] &= ~(size_t)(CLVI_ALIGN - 1);
        }
        memcpy(s->size, size, sizeof size);
        CLV_TRY(allocate_values(p));
        s->laid_out = true;
    }
    return CLV_OK;
}

clv_status clvi_params_need_gradients(clv_params *p)
{
    if (!p->gradients) p->gradients = clvi_device_alloc(p->ctx, p->schema->size[CLV_PARAM_TRAINABLE]);
    return p->gradients ? CLV_OK : CLV_ERR_NOMEM;
}

void *clvi_params_data(clv_params *p, int64_t index, clv_param_part part)
{
    const clvi_param *item = &p->schema->items[index];
    unsigned char *arena = part == CLV_PARAM_VALUE ? p->values[item->kind] : p->gradients;
    return arena ? arena + item->offset : NULL;
}

size_t clvi_params_arena_size(const clv_params *p)
{
    return p->schema->size[CLV_PARAM_TRAINABLE];
}

size_t clvi_params_buffer_size(const clv_params *p)
{
    return p->schema->size[CLV_PARAM_BUFFER];
}

void *clvi_params_buffers(clv_params *p)
{
    return p->values[CLV_PARAM_BUFFER];
}

clv_status clv_params_flat(clv_params *p, clv_param_part part, clv_view *out)
{
    CLV_CHECK(p && out, CLV_ERR_INVALID, "clv_params_flat: an argument is NULL");
    CLV_CHECK(p->schema->laid_out, CLV_ERR_INVALID,
              "clv_params_flat: the parameters are not laid out yet; finish a graph that uses them first");
    if (part == CLV_PARAM_GRADIENT) CLV_TRY(clvi_params_need_gradients(p));
    void *data = part == CLV_PARAM_VALUE ? p->values[CLV_PARAM_TRAINABLE] : p->gradients;
    *out = clv_view_1d(data, p->schema->dtype,
                       (int64_t)(clvi_params_arena_size(p) / clv_dtype_size(p->schema->dtype)));
    return CLV_OK;
}

/* ---- in and out ---- */

/* Copies between any two layouts of one shape, through whichever kernel knows both. */
static clv_status reorder(clv_context *ctx, const clvi_desc *from, const void *src, const clvi_desc *to, void *dst)
{
    clvi_op_call call = { .ctx = ctx, .op = "reorder", .n_in = 1, .n_out = 1,
                          .wanted = { true }, .in_fixed = { true } };
    call.in[0] = *from;
    call.out[0] = *to;
    const clvi_kernel *kernel = clvi_kernel_find(&call, false);
    CLV_CHECK(kernel, CLV_ERR_UNSUPPORTED, "no kernel can convert a parameter's layout");
    if (kernel->prepare) CLV_TRY(kernel->prepare(&call));
    clv_status st = CLV_ERR_NOMEM;
    call.in_data[0] = (void *)(uintptr_t)src;   /* kernels do not write their inputs */
    call.out_data[0] = dst;
    call.scratch = clvi_calloc(ctx, 1, call.scratch_size);
    if (call.scratch) st = kernel->run(&call);
    clvi_free(ctx, call.scratch);
    if (kernel->release) kernel->release(&call);
    return st;
}

static clv_view strided_view(const clvi_desc *desc, const void *data)
{
    clv_view view = clv_view_dense((void *)(uintptr_t)data, desc->dtype, desc->ndim, desc->shape);
    memcpy(view.stride, desc->stride, sizeof view.stride);
    return view;
}

static clv_status check_view(const clvi_param *item, const clv_view *view, const char *what)
{
    CLV_CHECK(view, CLV_ERR_INVALID, "%s: the view is NULL", what);
    CLV_CHECK(same_shape(&item->desc, view->ndim, view->shape), CLV_ERR_SHAPE,
              "%s: the view's shape is not that of '%s'", what, item->name);
    return CLV_OK;
}

/* The parameter's elements at `data` of the host, wherever its layout puts them, to `dst`. */
static clv_status read_host(const clv_params *p, const clvi_param *item, const void *data, const clv_view *dst)
{
    if (item->desc.layout == CLVI_LAYOUT_STRIDED) {
        const clv_view src = strided_view(&item->desc, data);
        return clv_view_copy(dst, &src);
    }
    clvi_desc dense = item->desc;
    clvi_desc_make_dense(&dense);
    void *plain = clvi_calloc(p->ctx, 1, dense.bytes);
    if (!plain) return CLV_ERR_NOMEM;
    clv_status st = reorder(p->ctx, &item->desc, data, &dense, plain);
    const clv_view src = strided_view(&dense, plain);
    if (st == CLV_OK) st = clv_view_copy(dst, &src);
    clvi_free(p->ctx, plain);
    return st;
}

static clv_status write_host(const clv_params *p, const clvi_param *item, void *data, const clv_view *src)
{
    if (item->desc.layout == CLVI_LAYOUT_STRIDED) {
        const clv_view dst = strided_view(&item->desc, data);
        return clv_view_copy(&dst, src);
    }
    clvi_desc dense = item->desc;
    clvi_desc_make_dense(&dense);
    void *plain = clvi_calloc(p->ctx, 1, dense.bytes);
    if (!plain) return CLV_ERR_NOMEM;
    const clv_view dst = strided_view(&dense, plain);
    clv_status st = clv_view_copy(&dst, src);
    if (st == CLV_OK) st = reorder(p->ctx, &dense, plain, &item->desc, data);
    clvi_free(p->ctx, plain);
    return st;
}

/* The same wherever the set lies: on a device by way of a block of the host. */
static clv_status read_from(const clv_params *p, const clvi_param *item, const void *data, const clv_view *dst)
{
    if (!p->ctx->device) return read_host(p, item, data, dst);
    void *block = clvi_calloc(p->ctx, 1, item->desc.bytes);
    if (!block) return CLV_ERR_NOMEM;
    clv_status st = clvi_device_copy(p->ctx, block, data, item->desc.bytes, CLVI_COPY_TO_HOST);
    if (st == CLV_OK) st = read_host(p, item, block, dst);
    clvi_free(p->ctx, block);
    return st;
}

static clv_status write_to(const clv_params *p, const clvi_param *item, void *data, const clv_view *src)
{
    if (!p->ctx->device) return write_host(p, item, data, src);
    void *block = clvi_calloc(p->ctx, 1, item->desc.bytes);
    if (!block) return CLV_ERR_NOMEM;
    clv_status st = write_host(p, item, block, src);
    if (st == CLV_OK) st = clvi_device_copy(p->ctx, data, block, item->desc.bytes, CLVI_COPY_TO_DEVICE);
    clvi_free(p->ctx, block);
    return st;
}

static clv_status check_access(const clv_params *p, int64_t index, const clv_view *view, const char *what)
{
    CLV_TRY(check_index(p, index, what));
    CLV_CHECK(p->schema->laid_out, CLV_ERR_INVALID,
              "%s: the parameters are not laid out yet; finish a graph that uses them first", what);
    return check_view(&p->schema->items[index], view, what);
}

clv_status clv_params_read(const clv_params *p, int64_t index, clv_param_part part, const clv_view *dst)
{
    CLV_TRY(check_access(p, index, dst, "clv_params_read"));
    const clvi_param *item = &p->schema->items[index];
    if (part == CLV_PARAM_VALUE) return read_from(p, item, p->values[item->kind] + item->offset, dst);
    CLV_CHECK(item->kind == CLV_PARAM_TRAINABLE && p->gradients, CLV_ERR_INVALID,
              "clv_params_read: '%s' has no gradient%s", item->name,
              item->kind == CLV_PARAM_TRAINABLE ? " yet; run a graph with a backward pass first" : ": it is a buffer");
    return read_from(p, item, p->gradients + item->offset, dst);
}

clv_status clv_params_write(clv_params *p, int64_t index, const clv_view *src)
{
    CLV_TRY(check_access(p, index, src, "clv_params_write"));
    const clvi_param *item = &p->schema->items[index];
    return write_to(p, item, p->values[item->kind] + item->offset, src);
}

static clv_status check_arena(const clv_params *p, int64_t index, const void *arena, const char *what)
{
    CLV_CHECK(arena && p->schema->items[index].kind == CLV_PARAM_TRAINABLE, CLV_ERR_INVALID,
              "%s: wants an arena and a trainable parameter", what);
    return CLV_OK;
}

clv_status clvi_params_read_arena(const clv_params *p, int64_t index, const void *arena, const clv_view *dst)
{
    CLV_TRY(check_access(p, index, dst, "clvi_params_read_arena"));
    CLV_TRY(check_arena(p, index, arena, "clvi_params_read_arena"));
    const clvi_param *item = &p->schema->items[index];
    return read_from(p, item, (const unsigned char *)arena + item->offset, dst);
}

clv_status clvi_params_write_arena(const clv_params *p, int64_t index, void *arena, const clv_view *src)
{
    CLV_TRY(check_access(p, index, src, "clvi_params_write_arena"));
    CLV_TRY(check_arena(p, index, arena, "clvi_params_write_arena"));
    const clvi_param *item = &p->schema->items[index];
    return write_to(p, item, (unsigned char *)arena + item->offset, src);
}

/* ---- first values ---- */

static double sincos_2d(const clv_init *init, int64_t width, int64_t i)
{
    const int64_t token = i / width, quarter = width / 4, part = i % width / quarter, k = i % width % quarter;
    if (token == 0) return 0;
    const int64_t at = part < 2 ? (token - 1) / init->fan : (token - 1) % init->fan;
    const double angle = (double)at / pow(10000.0, (double)k / (double)quarter);
    return part % 2 ? cos(angle) : sin(angle);
}

/* In plain order, so that the layout does not matter. `width`: extent of the last dimension. */
static void draw(const clv_init *init, uint64_t seed, int64_t index, int64_t width, double *out, int64_t count)
{
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_INIT, 0, (uint64_t)index, 0);
    const double bound = init->fan > 0 ? 1.0 / sqrt((double)init->fan) : 0.0;
    for (int64_t i = 0; i < count; i++) {
        switch (init->kind) {
        case CLV_INIT_CONSTANT: out[i] = init->value; break;
        case CLV_INIT_KAIMING_NORMAL: out[i] = sqrt(2.0) * bound * clvi_rng_normal(&rng); break;
        case CLV_INIT_UNIFORM_FAN: out[i] = clvi_rng_uniform(&rng, -bound, bound); break;
        case CLV_INIT_UNIFORM: out[i] = clvi_rng_uniform(&rng, -init->value, init->value); break;
        case CLV_INIT_NORMAL: out[i] = init->value * clvi_rng_normal(&rng); break;
        case CLV_INIT_SINCOS_2D: out[i] = sincos_2d(init, width, i); break;
        }
    }
}

clv_status clv_params_init(clv_params *p, uint64_t seed)
{
    CLV_CHECK(p, CLV_ERR_INVALID, "clv_params_init: params is NULL");
    CLV_CHECK(p->schema->laid_out, CLV_ERR_INVALID,
              "clv_params_init: the parameters are not laid out yet; finish a graph that uses them first");
    for (int64_t i = 0; i < p->schema->count; i++) {
        const clvi_param *item = &p->schema->items[i];
        const int64_t count = clvi_desc_count(&item->desc);
        double *drawn = clvi_calloc(p->ctx, (size_t)count, sizeof *drawn);
        if (!drawn) return CLV_ERR_NOMEM;
        draw(&item->init, seed, i, item->desc.ndim > 0 ? item->desc.shape[item->desc.ndim - 1] : 1, drawn, count);
        const clv_view view = clv_view_dense(drawn, CLV_F64, item->desc.ndim, item->desc.shape);
        const clv_status st = write_to(p, item, p->values[item->kind] + item->offset, &view);
        clvi_free(p->ctx, drawn);
        if (st != CLV_OK) return st;
    }
    return CLV_OK;
}

/* ---- updates ---- */

clv_status clv_params_follow(clv_params *k, clv_params *q, double momentum)
{
    clv_view to, from;
    CLV_CHECK(k && q, CLV_ERR_INVALID, "clv_params_follow: an argument is NULL");
    CLV_CHECK(k->schema == q->schema, CLV_ERR_SHAPE, "clv_params_follow: the one is no clone of the other");
    CLV_TRY(clv_params_flat(k, CLV_PARAM_VALUE, &to));
    CLV_TRY(clv_params_flat(q, CLV_PARAM_VALUE, &from));
    clvi_flat_ema(q->ctx, to.dtype, clv_view_count(&to), to.data, from.data, momentum);
    return CLV_OK;
}

clv_status clv_params_sgd(clv_params *p, const clv_sgd *sgd)
{
    clv_view w, g, k;
    CLV_CHECK(p && sgd, CLV_ERR_INVALID, "clv_params_sgd: an argument is NULL");
    CLV_TRY(clv_params_flat(p, CLV_PARAM_VALUE, &w));
    CLV_TRY(clv_params_flat(p, CLV_PARAM_GRADIENT, &g));
    const clv_view *v = &sgd->velocity;
    const int64_t n = clv_view_count(&w);
    clvi_flat_sgd_args args = { .lr = sgd->lr, .momentum = sgd->momentum, .weight_decay = sgd->weight_decay,
                                .nesterov = sgd->nesterov, .followers.m = { sgd->follow } };
    CLV_CHECK(sgd->momentum == 0 || v->data, CLV_ERR_INVALID, "clv_params_sgd: momentum needs a velocity");
    CLV_CHECK(sgd->momentum == 0 || (v->dtype == w.dtype && v->ndim == 1 && v->shape[0] == n && clv_view_is_dense(v)),
              CLV_ERR_SHAPE, "clv_params_sgd: the velocity must be dense %s [%" PRId64 "]", clv_dtype_name(w.dtype), n);
    if (sgd->follower) {
        CLV_CHECK(sgd->follower->schema == p->schema, CLV_ERR_SHAPE,
                  "clv_params_sgd: the follower is no clone of the set");
        CLV_TRY(clv_params_flat(sgd->follower, CLV_PARAM_VALUE, &k));
        args.followers.k[0] = k.data;
    }
    clvi_flat_sgd(p->ctx, w.dtype, n, w.data, g.data, v->data, &args);
    return CLV_OK;
}
