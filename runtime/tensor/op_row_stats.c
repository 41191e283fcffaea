/* op_row_stats.c: mean, variance and mean exponential of each row: statistics of scores. Not differentiable. */
#include "tensor/bank.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    for (int i = 0; i < 3; i++) clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_row_stats = {
    .name = "row_stats", .attr_size = sizeof(clvi_row_stats_attr), .n_in = 1, .infer = infer,
};

void clvi_row_stats(clv_graph *g, clv_node x, double factor, clv_node *mean, clv_node *var, clv_node *exp_mean)
{
    const clvi_row_stats_attr attr = { factor };
    clv_node out[3];
    (void)clvi_op(g, "row_stats", &attr, &x, 1, out, 3);
    if (mean) *mean = out[0];
    if (var) *var = out[1];
    if (exp_mean) *exp_mean = out[2];
}
