/* onednn.c: engine, descriptors and primitives for the kernels in this folder. */
#include "device/onednn/blocked.h"
#include <omp.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <string.h>
#include <threads.h>

_Static_assert(sizeof(dnnl_memory_desc_t) <= CLVI_OPAQUE_SIZE, "a oneDNN descriptor must fit into clvi_desc.opaque");
_Static_assert(CLV_MAX_DIMS <= DNNL_MAX_NDIMS, "oneDNN must take as many dimensions as a view has");

/* One for the process: an engine is a handle on the machine, holds no memory worth freeing, and primitives are cached
 * behind it. */
static dnnl_engine_t engine;
static dnnl_status_t engine_status;
static once_flag engine_once = ONCE_FLAG_INIT;

static void make_engine(void)
{
    engine_status = dnnl_engine_create(&engine, dnnl_cpu, 0);
}

static dnnl_status_t the_engine(dnnl_engine_t *out)
{
    call_once(&engine_once, make_engine);
    *out = engine;
    return engine_status;
}

/* The number of OpenMP threads is a property of the calling thread, so setting it disturbs nobody else. */
static int enter(const clvi_op_call *call)
{
    const int before = omp_get_max_threads();
    if (before != call->ctx->threads) omp_set_num_threads(call->ctx->threads);
    return before;
}

static void leave(const clvi_op_call *call, int before)
{
    if (before != call->ctx->threads) omp_set_num_threads(before);
}

clv_status clvi_onednn_check(dnnl_status_t status, const clvi_op_call *call, const char *what)
{
    if (status == dnnl_success) return CLV_OK;
    const clv_status st = status == dnnl_out_of_memory ? CLV_ERR_NOMEM :
                          status == dnnl_unimplemented ? CLV_ERR_UNSUPPORTED : CLV_ERR_DEVICE;
    return clvi_fail(st, "%s: oneDNN: %s: %s", call->op, what, dnnl_status2str(status));
}

dnnl_data_type_t clvi_onednn_type(clv_dtype type)
{
    return type == CLV_BF16 ? dnnl_bf16 : dnnl_f32;
}

bool clvi_onednn_is(const clvi_desc *desc, clv_dtype type)
{
    if (desc->dtype != type || desc->ndim < 1) return false;
    for (int i = 0; i < desc->ndim; i++)
        if (desc->shape[i] < 1) return false;
    return true;
}

/* oneDNN declares these parameters as whole arrays of DNNL_MAX_NDIMS. */
static void copy_dims(dnnl_dims_t to, const int64_t *from, int ndim)
{
    memset(to, 0, sizeof(dnnl_dims_t));
    for (int i = 0; i < ndim; i++) to[i] = from[i];
}

clv_status clvi_onednn_import(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md)
{
    if (desc->layout == CLVI_LAYOUT_OPAQUE) {
        memcpy(md, desc->opaque, sizeof *md);
        return CLV_OK;
    }
    clvi_desc d = *desc;
    if (d.layout == CLVI_LAYOUT_ANY) clvi_desc_make_dense(&d);
    dnnl_dims_t shape, stride;
    copy_dims(shape, d.shape, d.ndim);
    copy_dims(stride, d.stride, d.ndim);
    const dnnl_data_type_t type = clvi_onednn_type(d.dtype);
    return clvi_onednn_check(dnnl_memory_desc_init_by_strides(md, d.ndim, shape, type, stride), call, "layout");
}

static clv_status import_tag(const clvi_op_call *call, const clvi_desc *desc, dnnl_format_tag_t tag,
                             dnnl_memory_desc_t *md)
{
    dnnl_dims_t shape;
    copy_dims(shape, desc->shape, desc->ndim);
    const dnnl_data_type_t type = clvi_onednn_type(desc->dtype);
    return clvi_onednn_check(dnnl_memory_desc_init_by_tag(md, desc->ndim, shape, type, tag), call, "layout");
}

clv_status clvi_onednn_import_any(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md)
{
    return import_tag(call, desc, dnnl_format_tag_any, md);
}

bool clvi_onednn_is_wide(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

clv_status clvi_onednn_blocked(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md)
{
    return import_tag(call, desc, clvi_onednn_is_wide() ? dnnl_nChw16c : dnnl_nChw8c, md);
}

clv_status clvi_onednn_blocked_filters(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md)
{
    return import_tag(call, desc, clvi_onednn_is_wide() ? dnnl_OIhw16i16o : dnnl_OIhw8i8o, md);
}

static bool is_strided(const dnnl_memory_desc_t *md)
{
    if (md->format_kind != dnnl_blocked || md->format_desc.blocking.inner_nblks != 0 || md->offset0 != 0 ||
        md->extra.flags != 0) return false;
    for (int i = 0; i < md->ndims; i++)
        if (md->padded_dims[i] != md->dims[i]) return false;
    return true;
}

void clvi_onednn_export(const dnnl_memory_desc_t *md, clvi_desc *desc)
{
    desc->bytes = dnnl_memory_desc_get_size(md);
    memset(desc->opaque, 0, sizeof desc->opaque);
    if (is_strided(md)) {
        desc->layout = CLVI_LAYOUT_STRIDED;
        desc->opaque_size = 0;
        for (int i = 0; i < desc->ndim; i++) desc->stride[i] = md->format_desc.blocking.strides[i];
    } else {
        desc->layout = CLVI_LAYOUT_OPAQUE;
        desc->opaque_size = sizeof *md;
        memcpy(desc->opaque, md, sizeof *md);
    }
}

clv_status clvi_blocked_choose(const clvi_op_call *call, clvi_desc *x)
{
    static const dnnl_format_tag_t tags[] = { dnnl_nChw16c, dnnl_nChw8c };
    dnnl_memory_desc_t md, like;
    CLV_TRY(clvi_onednn_import(call, x, &md));
    for (int i = 0; i < (x->dtype == CLV_BF16 ? 1 : 2); i++) {
        const dnnl_status_t st = dnnl_memory_desc_init_by_tag(&like, 4, md.dims, md.data_type, tags[i]);
        CLV_TRY(clvi_onednn_check(st, call, "layout"));
        if (dnnl_memory_desc_equal(&md, &like)) return CLV_OK;
    }
    if (x->dtype == CLV_BF16 && !clvi_onednn_is_wide()) return CLV_ERR_UNSUPPORTED;
    CLV_TRY(clvi_onednn_blocked(call, x, &md));
    clvi_onednn_export(&md, x);
    return CLV_OK;
}

/* An attribute that says scratch memory comes from the caller. */
static dnnl_status_t user_scratch(dnnl_primitive_attr_t *out)
{
    dnnl_status_t st = dnnl_primitive_attr_create(out);
    if (st != dnnl_success) return st;
    st = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (st != dnnl_success) dnnl_primitive_attr_destroy(*out);
    return st;
}

dnnl_status_t clvi_onednn_primitive_desc(const clvi_op_call *call, const_dnnl_op_desc_t op_desc,
                                         const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out)
{
    return clvi_onednn_primitive_desc_post(call, op_desc, hint, NULL, out);
}

dnnl_status_t clvi_onednn_primitive_desc_post(const clvi_op_call *call, const_dnnl_op_desc_t op_desc,
                                              const_dnnl_primitive_desc_t hint, const_dnnl_post_ops_t post,
                                              dnnl_primitive_desc_t *out)
{
    dnnl_engine_t e;
    dnnl_primitive_attr_t attr;
    *out = NULL;
    dnnl_status_t st = the_engine(&e);
    if (st == dnnl_success) st = user_scratch(&attr);
    if (st != dnnl_success) return st;
    const int before = enter(call);
    if (post) st = dnnl_primitive_attr_set_post_ops(attr, post);
    if (st == dnnl_success) st = dnnl_primitive_desc_create(out, op_desc, attr, e, hint);
    leave(call, before);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

dnnl_status_t clvi_onednn_reorder_desc(const clvi_op_call *call, const dnnl_memory_desc_t *from,
                                       const dnnl_memory_desc_t *to, dnnl_primitive_desc_t *out)
{
    dnnl_engine_t e;
    dnnl_primitive_attr_t attr;
    *out = NULL;
    dnnl_status_t st = the_engine(&e);
    if (st == dnnl_success) st = user_scratch(&attr);
    if (st != dnnl_success) return st;
    const int before = enter(call);
    st = dnnl_reorder_primitive_desc_create(out, from, e, to, e, attr);
    leave(call, before);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

clv_status clvi_onednn_exec_create(const clvi_op_call *call, const_dnnl_primitive_desc_t pd, clvi_onednn_exec *exec,
                                   size_t *scratch_size)
{
    dnnl_engine_t e;
    CLV_TRY(clvi_onednn_check(the_engine(&e), call, "engine"));
    CLV_TRY(clvi_onednn_check(dnnl_stream_create(&exec->stream, e, dnnl_stream_default_flags), call, "stream"));
    const int before = enter(call);
    const dnnl_status_t made = dnnl_primitive_create(&exec->primitive, pd);
    leave(call, before);
    CLV_TRY(clvi_onednn_check(made, call, "primitive"));
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    *scratch_size = clvi_onednn_round(dnnl_memory_desc_get_size(scratch));
    int index;
    return clvi_onednn_exec_add(call, exec, DNNL_ARG_SCRATCHPAD, scratch, &index);
}

clv_status clvi_onednn_exec_add(const clvi_op_call *call, clvi_onednn_exec *exec, int arg, const dnnl_memory_desc_t *md,
                                int *index)
{
    dnnl_engine_t e;
    CLV_CHECK(exec->count < CLVI_ONEDNN_MAX_ARGS, CLV_ERR_INTERNAL, "%s: too many arguments for oneDNN", call->op);
    CLV_TRY(clvi_onednn_check(the_engine(&e), call, "engine"));
    dnnl_exec_arg_t *a = &exec->args[exec->count];
    CLV_TRY(clvi_onednn_check(dnnl_memory_create(&a->memory, md, e, DNNL_MEMORY_NONE), call, "memory"));
    a->arg = arg;
    *index = exec->count++;
    return CLV_OK;
}

/* Handing oneDNN a pointer makes it write zeros into the padding behind it, so this is done only when it changes. */
clv_status clvi_onednn_exec_bind(const clvi_op_call *call, clvi_onednn_exec *exec, int index, void *data)
{
    if (exec->bound[index] == data) return CLV_OK;
    const int before = enter(call);
    const dnnl_status_t st = dnnl_memory_set_data_handle_v2(exec->args[index].memory, data, exec->stream);
    leave(call, before);
    CLV_TRY(clvi_onednn_check(st, call, "binding memory"));
    exec->bound[index] = data;
    return CLV_OK;
}

clv_status clvi_onednn_exec_run(const clvi_op_call *call, const clvi_onednn_exec *exec)
{
    const int before = enter(call);
    dnnl_status_t st = dnnl_primitive_execute(exec->primitive, exec->stream, exec->count, exec->args);
    if (st == dnnl_success) st = dnnl_stream_wait(exec->stream);
    leave(call, before);
    return clvi_onednn_check(st, call, "running");
}

void clvi_onednn_exec_destroy(clvi_onednn_exec *exec)
{
    for (int i = 0; i < exec->count; i++) dnnl_memory_destroy(exec->args[i].memory);
    if (exec->primitive) dnnl_primitive_destroy(exec->primitive);
    if (exec->stream) dnnl_stream_destroy(exec->stream);
    memset(exec, 0, sizeof *exec);
}
