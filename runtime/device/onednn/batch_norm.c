/* batch_norm.c: batch normalisation and its gradient through oneDNN, with the ReLU fused: the workspace then keeps one
 * bit or byte an element, did it get through. Split batch norm runs the primitive once per group, on consecutive
 * samples: the batch is the outermost dimension in every layout used here, so a group is a contiguous piece. oneDNN
 * computes the statistics; the running ones are updated here. */
#include "device/onednn/norm.h"
#include <string.h>

enum { FORWARD_ARGS = 7, BACKWARD_ARGS = 10 };

typedef struct norm_state {
    clvi_onednn_exec exec;
    int    place[BACKWARD_ARGS];   /* of the arguments; -1: absent */
    size_t group_bytes;            /* from one group's samples to the next */
    size_t workspace_bytes;        /* the same for the workspace */
    size_t partial;                /* offset into the scratch memory of [groups][2][channels]: dgamma, dbeta */
} norm_state;

static bool is_absent_or_vector(const clvi_desc *desc)
{
    return desc->dtype == CLV_DTYPE_COUNT || (desc->dtype == CLV_F32 && desc->ndim == 1);
}

/* Images also in bfloat16; statistics, scale and shift are float32 either way. */
static bool is_normalisable(const clvi_desc *x)
{
    return (clvi_onednn_is(x, CLV_F32) && (x->ndim == 2 || x->ndim == 4)) ||
           (clvi_onednn_is(x, CLV_BF16) && x->ndim == 4);
}

/* Sums around it are blocked_norm.c's. */
static bool forward_accepts(const clvi_op_call *call)
{
    return is_normalisable(&call->in[0]) && is_absent_or_vector(&call->in[1]) && is_absent_or_vector(&call->in[2]) &&
           !((const clvi_batch_norm_attr *)call->attr)->sum;
}

static bool backward_accepts(const clvi_op_call *call)
{
    return is_normalisable(&call->in[1]) && call->in[0].dtype == call->in[1].dtype &&
           is_absent_or_vector(&call->in[2]) && !((const clvi_batch_norm_attr *)call->attr)->sum;
}

/* Groups exist in training only; otherwise N need not be a multiple. */
static int64_t groups_of(const clvi_batch_norm_attr *attr)
{
    return attr->training ? attr->groups : 1;
}

/* ---- layouts ---- */

/* Is md's batch outermost, so that a run of samples is contiguous? */
static bool batch_is_outermost(const dnnl_memory_desc_t *md)
{
    if (md->format_kind != dnnl_blocked) return false;
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    for (int i = 0; i < b->inner_nblks; i++)
        if (b->inner_idxs[i] == 0) return false;
    for (int i = 1; i < md->ndims; i++)
        if (b->strides[i] > b->strides[0]) return false;
    return true;
}

/* The layout to work in: [N,C] dense, as [N,C,1,1]; four dimensions as they come when blocked, else blocked. *desc gets
 * it too. */
static clv_status choose_layout(const clvi_op_call *call, clvi_desc *desc, dnnl_memory_desc_t *md)
{
    if (desc->ndim == 2) {
        clvi_desc_make_dense(desc);
        const dnnl_dims_t shape = { desc->shape[0], desc->shape[1], 1, 1 };
        return clvi_onednn_check(dnnl_memory_desc_init_by_tag(md, 4, shape, dnnl_f32, dnnl_nhwc), call, "layout");
    }
    if (desc->layout == CLVI_LAYOUT_OPAQUE) {
        CLV_TRY(clvi_onednn_import(call, desc, md));
        if (batch_is_outermost(md)) return CLV_OK;
    }
    CLV_TRY(clvi_onednn_blocked(call, desc, md));
    clvi_onednn_export(md, desc);
    return CLV_OK;
}

/* What one run of the primitive sees. */
typedef struct group {
    dnnl_memory_desc_t data, channel;
    size_t bytes;
} group;

static clv_status make_group(const clvi_op_call *call, const dnnl_memory_desc_t *whole, int64_t groups, group *out)
{
    out->data = *whole;
    out->data.dims[0] = out->data.padded_dims[0] = whole->dims[0] / groups;
    out->bytes = (size_t)(out->data.dims[0] * whole->format_desc.blocking.strides[0]) *
                 dnnl_data_type_size(whole->data_type);
    const dnnl_dims_t channels = { whole->dims[1] };
    const dnnl_status_t st = dnnl_memory_desc_init_by_tag(&out->channel, 1, channels, dnnl_f32, dnnl_a);
    return clvi_onednn_check(st, call, "layout");
}

static void make_dense(clvi_desc *desc, int n)
{
    for (int i = 0; i < n; i++)
        if (desc[i].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&desc[i]);
}

/* ---- primitives ---- */

static unsigned flags_of(const clvi_batch_norm_attr *attr, bool gamma, bool beta)
{
    return (clvi_norm_makes_statistics(attr) ? 0u : dnnl_use_global_stats) | (attr->relu ? dnnl_fuse_norm_relu : 0u) |
           (gamma ? dnnl_use_scale : 0u) | (beta ? dnnl_use_shift : 0u);
}

static clv_status forward_desc(const clvi_op_call *call, const group *g, unsigned flags, bool keep,
                               dnnl_primitive_desc_t *out)
{
    const clvi_batch_norm_attr *attr = call->attr;
    dnnl_batch_normalization_desc_t d;
    CLV_TRY(clvi_onednn_check(dnnl_batch_normalization_forward_desc_init(&d,
        keep ? dnnl_forward_training : dnnl_forward_inference, &g->data, (float)attr->eps, flags), call, "shapes"));
    return clvi_onednn_check(clvi_onednn_primitive_desc(call, &d, NULL, out), call, "no kernel");
}

static clv_status backward_desc(const clvi_op_call *call, const group *g, unsigned flags, dnnl_primitive_desc_t *out)
{
    const clvi_batch_norm_attr *attr = call->attr;
    dnnl_batch_normalization_desc_t d;
    dnnl_primitive_desc_t hint;
    const dnnl_prop_kind_t kind = flags & (dnnl_use_scale | dnnl_use_shift) ? dnnl_backward : dnnl_backward_data;
    CLV_TRY(forward_desc(call, g, flags, true, &hint));
    const float eps = (float)attr->eps;
    dnnl_status_t st = dnnl_batch_normalization_backward_desc_init(&d, kind, &g->data, &g->data, eps, flags);
    if (st == dnnl_success) st = clvi_onednn_primitive_desc(call, &d, hint, out);
    dnnl_primitive_desc_destroy(hint);
    return clvi_onednn_check(st, call, "no kernel");
}

/* NULL: it has none. */
static const dnnl_memory_desc_t *workspace_of(const_dnnl_primitive_desc_t pd)
{
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, dnnl_query_workspace_md, 0);
    return dnnl_memory_desc_get_size(md) > 0 ? md : NULL;
}

static void norm_release(clvi_op_call *call)
{
    norm_state *s = call->state;
    if (!s) return;
    clvi_onednn_exec_destroy(&s->exec);
    clvi_free(call->ctx, s);
    call->state = NULL;
}

/* An argument of the primitive; md NULL: it has none. */
typedef struct argument {
    int arg;
    const dnnl_memory_desc_t *md;
} argument;

/* Makes the primitive with its arguments, and the rest of the state. */
static clv_status build(clvi_op_call *call, const_dnnl_primitive_desc_t pd, const group *g, const argument *args, int n)
{
    norm_state *s = call->state;
    CLV_TRY(clvi_onednn_exec_create(call, pd, &s->exec, &call->scratch_size));
    for (int i = 0; i < n; i++) {
        s->place[i] = -1;
        if (args[i].md) CLV_TRY(clvi_onednn_exec_add(call, &s->exec, args[i].arg, args[i].md, &s->place[i]));
    }
    s->group_bytes = g->bytes;
    s->workspace_bytes = workspace_of(pd) ? clvi_onednn_round(dnnl_memory_desc_get_size(workspace_of(pd))) : 0;
    s->partial = call->scratch_size;
    return CLV_OK;
}

static clv_status bind(const clvi_op_call *call, int i, void *base, size_t offset)
{
    norm_state *s = call->state;
    if (s->place[i] < 0) return CLV_OK;
    return clvi_onednn_exec_bind(call, &s->exec, s->place[i], (char *)base + offset);
}

/* ---- forward: x, gamma?, beta?, running_mean, running_var -> y, mean, var, workspace ---- */

static clv_status forward_prepare(clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const bool gamma = call->in[1].dtype != CLV_DTYPE_COUNT, beta = call->in[2].dtype != CLV_DTYPE_COUNT;
    clv_status st = CLV_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_memory_desc_t whole;
    group g;
    if (!(call->state = clvi_calloc(call->ctx, 1, sizeof(norm_state)))) return CLV_ERR_NOMEM;
    CLV_TRY_OR_DONE(choose_layout(call, &call->in[0], &whole));
    CLV_TRY_OR_DONE(make_group(call, &whole, groups_of(attr), &g));
    CLV_TRY_OR_DONE(forward_desc(call, &g, flags_of(attr, gamma, beta), attr->training || call->wanted[3], &pd));
    const argument args[FORWARD_ARGS] = {
        { DNNL_ARG_SRC, &g.data }, { DNNL_ARG_DST, &g.data }, { DNNL_ARG_MEAN, &g.channel },
        { DNNL_ARG_VARIANCE, &g.channel }, { DNNL_ARG_SCALE, gamma ? &g.channel : NULL },
        { DNNL_ARG_SHIFT, beta ? &g.channel : NULL },
        { DNNL_ARG_WORKSPACE, workspace_of(pd) },
    };
    CLV_TRY_OR_DONE(build(call, pd, &g, args, FORWARD_ARGS));
    make_dense(&call->in[1], 4);
    make_dense(&call->out[1], 2);
    clvi_desc_copy_layout(&call->out[0], &call->in[0]);
    call->out[3].bytes = (size_t)groups_of(attr) * ((norm_state *)call->state)->workspace_bytes;
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (st != CLV_OK) norm_release(call);
    return st;
}

void clvi_norm_update_running(const clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const clvi_desc *x = &call->in[0];
    const int64_t channels = x->shape[1];
    const double n = (double)(clvi_desc_count(x) / channels / attr->groups), unbias = n > 1 ? n / (n - 1) : 1;
    const float *mean = call->out_data[1], *var = call->out_data[2];
    float *running_mean = call->in_data[3], *running_var = call->in_data[4];
    for (int64_t c = 0; c < channels; c++) {
        double mean_sum = 0, var_sum = 0;
        for (int64_t g = 0; g < attr->groups; g++) {
            mean_sum += mean[g * channels + c];
            var_sum += var[g * channels + c] * unbias;
        }
        const double m = attr->momentum, groups = (double)attr->groups;
        running_mean[c] = (float)((1 - m) * running_mean[c] + m * mean_sum / groups);
        running_var[c] = (float)((1 - m) * running_var[c] + m * var_sum / groups);
    }
}

static clv_status forward_run(const clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    norm_state *s = call->state;
    const size_t statistics = (size_t)call->in[0].shape[1] * sizeof(float);
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, 0, call->scratch));
    for (size_t g = 0; g < (size_t)groups_of(attr); g++) {
        CLV_TRY(bind(call, 0, call->in_data[0], g * s->group_bytes));
        CLV_TRY(bind(call, 1, call->out_data[0], g * s->group_bytes));
        CLV_TRY(bind(call, 2, clvi_norm_makes_statistics(attr) ? call->out_data[1] : call->in_data[3], g * statistics));
        CLV_TRY(bind(call, 3, clvi_norm_makes_statistics(attr) ? call->out_data[2] : call->in_data[4], g * statistics));
        CLV_TRY(bind(call, 4, call->in_data[1], 0));
        CLV_TRY(bind(call, 5, call->in_data[2], 0));
        CLV_TRY(bind(call, 6, call->out_data[3], g * s->workspace_bytes));
        CLV_TRY(clvi_onednn_exec_run(call, &s->exec));
    }
    if (clvi_norm_makes_statistics(attr)) clvi_norm_update_running(call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_onednn_batch_norm = {
    .op = "batch_norm", .name = "onednn",
    .accepts = forward_accepts, .prepare = forward_prepare, .run = forward_run, .release = norm_release,
    .in_place = { 1 },
};

/* ---- backward: dy, x, gamma?, mean, var, workspace -> dx, dgamma, dbeta ---- */

static clv_status backward_prepare(clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const bool gamma = call->in[2].dtype != CLV_DTYPE_COUNT, shift = call->wanted[2];
    clv_status st = CLV_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_memory_desc_t whole;
    group g;
    if (!(call->state = clvi_calloc(call->ctx, 1, sizeof(norm_state)))) return CLV_ERR_NOMEM;
    CLV_TRY_OR_DONE(choose_layout(call, &call->in[1], &whole));
    CLV_TRY_OR_DONE(make_group(call, &whole, groups_of(attr), &g));
    CLV_TRY_OR_DONE(backward_desc(call, &g, flags_of(attr, gamma, shift), &pd));
    const argument args[BACKWARD_ARGS] = {
        { DNNL_ARG_DIFF_DST, &g.data }, { DNNL_ARG_SRC, &g.data }, { DNNL_ARG_DIFF_SRC, &g.data },
        { DNNL_ARG_MEAN, &g.channel }, { DNNL_ARG_VARIANCE, &g.channel }, { DNNL_ARG_SCALE, gamma ? &g.channel : NULL },
        { DNNL_ARG_DIFF_SCALE, gamma ? &g.channel : NULL }, { DNNL_ARG_DIFF_SHIFT, shift ? &g.channel : NULL },
        { DNNL_ARG_WORKSPACE, workspace_of(pd) },
        { DNNL_ARG_SHIFT, shift ? &g.channel : NULL },   /* asked for, never read */
    };
    CLV_TRY_OR_DONE(build(call, pd, &g, args, BACKWARD_ARGS));
    clvi_desc_copy_layout(&call->in[0], &call->in[1]);
    clvi_desc_copy_layout(&call->out[0], &call->in[1]);
    make_dense(&call->in[2], 3);
    make_dense(&call->out[1], 2);
    call->scratch_size += (size_t)(groups_of(attr) * 2 * call->in[1].shape[1]) * sizeof(float);
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (st != CLV_OK) norm_release(call);
    return st;
}

/* The gradient of gamma (which 0) or beta (1), summed over groups in their order. */
static void sum_groups(const clvi_op_call *call, int which)
{
    const norm_state *s = call->state;
    const int64_t channels = call->in[1].shape[1], groups = groups_of(call->attr);
    const float *partial = (const float *)((const char *)call->scratch + s->partial) + which * channels;
    float *sum = call->out_data[1 + which];
    if (!call->wanted[1 + which] || s->place[6 + which] < 0) return;
    for (int64_t c = 0; c < channels; c++) {
        double total = 0;
        for (int64_t g = 0; g < groups; g++) total += partial[g * 2 * channels + c];
        sum[c] = (float)total;
    }
}

static clv_status backward_run(const clvi_op_call *call)
{
    norm_state *s = call->state;
    const size_t statistics = (size_t)call->in[1].shape[1] * sizeof(float);
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, 0, call->scratch));
    for (size_t g = 0; g < (size_t)groups_of(call->attr); g++) {
        const size_t partial = s->partial + g * 2 * statistics;
        CLV_TRY(bind(call, 0, call->in_data[0], g * s->group_bytes));
        CLV_TRY(bind(call, 1, call->in_data[1], g * s->group_bytes));
        CLV_TRY(bind(call, 2, call->out_data[0], g * s->group_bytes));
        CLV_TRY(bind(call, 3, call->in_data[3], g * statistics));
        CLV_TRY(bind(call, 4, call->in_data[4], g * statistics));
        CLV_TRY(bind(call, 5, call->in_data[2], 0));
        CLV_TRY(bind(call, 6, call->scratch, partial));
        CLV_TRY(bind(call, 7, call->scratch, partial + statistics));
        CLV_TRY(bind(call, 8, call->in_data[5], g * s->workspace_bytes));
        CLV_TRY(bind(call, 9, call->scratch, partial + statistics));
        CLV_TRY(clvi_onednn_exec_run(call, &s->exec));
    }
    sum_groups(call, 0);
    sum_groups(call, 1);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_onednn_batch_norm_bwd = {
    .op = "batch_norm_bwd", .name = "onednn",
    .accepts = backward_accepts, .prepare = backward_prepare, .run = backward_run, .release = norm_release,
    .in_place = { 1 },
};
