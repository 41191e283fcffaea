/* op_draw.c: random numbers that losses draw for themselves: which rows to mix and by how much, coefficients that
 * follow a Beta distribution, permutations. Pure functions of (seed, step, row, stream). Not differentiable. */
#include "tensor/bank.h"

clv_status clvi_op_check_step(const clvi_op_call *call, int input)
{
    if (!clvi_op_has(call, input)) return CLV_OK;
    CLV_TRY(clvi_op_want_dims(call, input, 1));
    CLV_CHECK(call->in[input].dtype == CLV_I64 && call->in[input].shape[0] == 1, CLV_ERR_SHAPE,
              "%s: the step must be one int64", call->op);
    return CLV_OK;
}

static clvi_draw_attr attr_of(const clvi_draw *draw, clv_dtype real, int64_t rows, int64_t cols)
{
    return (clvi_draw_attr) { .seed = draw->seed, .step = draw->step, .stream = draw->stream, .dtype = (int)real,
                              .rows = rows, .cols = cols };
}

/* ---- mochi_draw ---- */

static clv_status mochi_infer(clvi_op_call *call)
{
    const clvi_draw_attr *attr = call->attr;
    CLV_TRY(clvi_op_want_dims(call, 0, 2));
    CLV_CHECK(call->in[0].dtype == CLV_I64, CLV_ERR_SHAPE, "mochi_draw: the list must be int64, is %s",
              clv_dtype_name(call->in[0].dtype));
    CLV_TRY(clvi_op_check_step(call, 1));
    const int64_t pairs[2] = { call->in[0].shape[0], attr->rows }, queries[2] = { call->in[0].shape[0], attr->cols };
    clvi_op_out(call, CLV_I64, 2, pairs);
    clvi_op_out(call, CLV_I64, 2, pairs);
    clvi_op_out(call, (clv_dtype)attr->dtype, 2, pairs);
    clvi_op_out(call, CLV_I64, 2, queries);
    clvi_op_out(call, (clv_dtype)attr->dtype, 2, queries);
    return CLV_OK;
}

const clvi_op_class clvi_op_mochi_draw = {
    .name = "mochi_draw", .attr_size = sizeof(clvi_draw_attr), .n_in = 2, .optional = 1u << 1, .infer = mochi_infer,
};

clvi_draw_attr clvi_mochi_draw_attr(int64_t pairs, int64_t queries, clv_dtype real, const clvi_draw *draw)
{
    return attr_of(draw, real, pairs, queries);
}

clvi_mixes clvi_mochi_draw(clv_graph *g, clv_node slots, int64_t pairs, int64_t queries, clv_dtype real,
                           const clvi_draw *draw)
{
    const clvi_draw_attr attr = attr_of(draw, real, pairs, queries);
    clv_node out[5];
    (void)clvi_op(g, "mochi_draw", &attr, (clv_node[]) { slots, draw->step_input }, 2, out, 5);
    return (clvi_mixes) { out[0], out[1], out[2], out[3], out[4] };
}

/* ---- beta_draw ---- */

static clv_status beta_infer(clvi_op_call *call)
{
    const clvi_draw_attr *attr = call->attr;
    CLV_TRY(clvi_op_check_step(call, 0));
    CLV_CHECK(attr->alpha > 0, CLV_ERR_INVALID, "beta_draw: alpha is %g, want more than 0", attr->alpha);
    clvi_op_out(call, (clv_dtype)attr->dtype, 2, (int64_t[]) { attr->rows, attr->cols });
    return CLV_OK;
}

const clvi_op_class clvi_op_beta_draw = {
    .name = "beta_draw", .attr_size = sizeof(clvi_draw_attr), .n_in = 1, .optional = 1u << 0, .infer = beta_infer,
};

clvi_draw_attr clvi_beta_draw_attr(int64_t rows, int64_t cols, double alpha, double offset, clv_dtype real,
                                   const clvi_draw *draw)
{
    clvi_draw_attr attr = attr_of(draw, real, rows, cols);
    attr.alpha = alpha;
    attr.offset = offset;
    return attr;
}

clv_node clvi_beta_draw(clv_graph *g, int64_t rows, int64_t cols, double alpha, double offset, clv_dtype real,
                        const clvi_draw *draw)
{
    const clvi_draw_attr attr = clvi_beta_draw_attr(rows, cols, alpha, offset, real, draw);
    return clvi_op1(g, "beta_draw", &attr, draw->step_input);
}

/* ---- permutation ---- */

static clv_status permutation_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_check_step(call, 0));
    clvi_op_out(call, CLV_I64, 1, &((const clvi_draw_attr *)call->attr)->rows);
    return CLV_OK;
}

const clvi_op_class clvi_op_permutation = {
    .name = "permutation", .attr_size = sizeof(clvi_draw_attr), .n_in = 1, .optional = 1u << 0,
    .infer = permutation_infer,
};

clvi_draw_attr clvi_permutation_attr(int64_t length, const clvi_draw *draw)
{
    return attr_of(draw, CLV_F32, length, 1);
}

clv_node clvi_permutation(clv_graph *g, int64_t length, const clvi_draw *draw)
{
    const clvi_draw_attr attr = clvi_permutation_attr(length, draw);
    return clvi_op1(g, "permutation", &attr, draw->step_input);
}
