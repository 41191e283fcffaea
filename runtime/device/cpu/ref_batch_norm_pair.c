/* ref_batch_norm_pair.c: the sum of two batch norms, with its ReLU or without, and the gradient: what the reference
 * kernel for one of them makes of the other's result. */
#include "device/cpu/ref.h"

extern const clvi_kernel clvi_kernel_ref_batch_norm, clvi_kernel_ref_batch_norm_bwd;

static void give_input(clvi_op_call *to, int at, const clvi_op_call *call, int i)
{
    to->in[at] = call->in[i];
    to->in_data[at] = call->in_data[i];
}

static void give_output(clvi_op_call *to, int at, const clvi_op_call *call, int i)
{
    to->out[at] = call->out[i];
    to->out_data[at] = call->out_data[i];
    to->wanted[at] = call->wanted[i];
}

/* The statistics of the `number`-th batch norm within those of both. */
static void *statistics(const clvi_desc *both, void *data, int number)
{
    return data ? (char *)data + (size_t)number * (both->bytes / 2) : NULL;
}

/* ---- forward ---- */

static clv_status batch_norm_pair_prepare(clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, 3);
    call->scratch_size = call->in[0].bytes;      /* the other's result */
    if (attr->relu) call->out[3].bytes = CLVI_MAX((size_t)clvi_desc_count(&call->in[0]), (size_t)1);
    return CLV_OK;
}

static clv_status run_one(const clvi_op_call *call, const clvi_batch_norm_attr *attr, int number)
{
    clvi_op_call one = { .ctx = call->ctx, .op = "batch_norm", .attr = attr, .n_in = 6, .n_out = 4 };
    for (int i = 0; i < 5; i++) give_input(&one, i, call, 5 * number + i);
    for (int i = 0; i < 4; i++) give_output(&one, i, call, i);
    for (int i = 1; i < 3; i++) one.out_data[i] = statistics(&call->out[i], call->out_data[i], number);
    one.in[5] = call->in[0];
    one.in_data[5] = call->scratch;
    if (number > 0) one.out_data[0] = call->scratch;
    return clvi_kernel_ref_batch_norm.run(&one);
}

static clv_status batch_norm_pair(const clvi_op_call *call)
{
    clvi_batch_norm_attr plain = *(const clvi_batch_norm_attr *)call->attr, joined = plain;
    plain.relu = false;
    joined.sum = true;
    CLV_TRY(run_one(call, &plain, 1));
    return run_one(call, &joined, 0);
}
const clvi_kernel clvi_kernel_ref_batch_norm_pair = {
    .op = "batch_norm_pair", .name = "reference", .prepare = batch_norm_pair_prepare, .run = batch_norm_pair,
};

/* ---- gradient ---- */

/* Leaves the workspace as the forward kernel made it. */
static clv_status batch_norm_pair_bwd_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, 7);
    clvi_ref_make_dense(&call->in[8], 1);
    clvi_ref_make_dense(call->out, call->n_out);
    return CLV_OK;
}

static clv_status run_one_bwd(const clvi_op_call *call, int number)
{
    const int from[] = { 0, 1 + 2 * number, 2 + 2 * number, 5, 6, 7, 8 };
    clvi_op_call one = { .ctx = call->ctx, .op = "batch_norm_bwd", .attr = call->attr, .n_in = 7, .n_out = 3 };
    for (int i = 0; i < 7; i++) give_input(&one, i, call, from[i]);
    for (int i = 3; i < 5; i++) one.in_data[i] = statistics(&one.in[i], one.in_data[i], number);
    for (int i = 0; i < 3; i++) give_output(&one, i, call, 3 * number + i);
    return clvi_kernel_ref_batch_norm_bwd.run(&one);
}

static clv_status batch_norm_pair_bwd(const clvi_op_call *call)
{
    CLV_TRY(run_one_bwd(call, 0));
    return run_one_bwd(call, 1);
}
const clvi_kernel clvi_kernel_ref_batch_norm_pair_bwd = {
    .op = "batch_norm_pair_bwd", .name = "reference", .prepare = batch_norm_pair_bwd_prepare,
    .run = batch_norm_pair_bwd,
};
