/* ref_softmax_xent.c: per_row = LSE(row) - row[target], and its gradient dper_row (softmax - onehot),
 * plus dlse softmax when somebody uses the LSE itself.
 * Entries with mask 0 are left out, the target's own never; a row left with its target alone gives exactly 0 and no
 * gradient. A negative target ignores the row: per_row, lse and gradient are 0. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

static bool kept(const unsigned char *mask, int64_t cols, int64_t row, int64_t col, int64_t target)
{
    return !mask || mask[row * cols + col] || col == target;
}

#define SELF "device/cpu/ref_softmax_xent.c"
#include "device/cpu/real.h"

static clv_status softmax_xent(const clvi_op_call *call)
{
    CLV_TRY(clvi_ref_check_targets(call));
    CLVI_REF_LOOP(call, call->in[0].shape[0], 4, softmax_xent_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(softmax_xent);

static clv_status softmax_xent_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[0], 4, softmax_xent_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(softmax_xent_bwd);

#else

static double FN(log_sum_exp)(const REAL *row, const unsigned char *mask, int64_t cols, int64_t i, int64_t target)
{
    double max = row[target], sum = 0;
    for (int64_t j = 0; j < cols; j++)
        if (kept(mask, cols, i, j, target) && row[j] > max) max = row[j];
    for (int64_t j = 0; j < cols; j++)
        if (kept(mask, cols, i, j, target)) sum += exp(row[j] - max);
    return max + log(sum);
}

static void FN(softmax_xent_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1], *targets = call->in_data[1];
    REAL *per_row = call->out_data[0], *lse_out = clvi_ref_output(call, 1);
    for (int64_t i = begin; i < end; i++) {
        const REAL *row = (const REAL *)call->in_data[0] + i * cols;
        const double lse = targets[i] < 0 ? 0 : FN(log_sum_exp)(row, call->in_data[2], cols, i, targets[i]);
        per_row[i] = targets[i] < 0 ? 0 : (REAL)(lse - row[targets[i]]);
        if (lse_out) lse_out[i] = (REAL)lse;
    }
}

static void FN(softmax_xent_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[1].shape[1], *targets = call->in_data[2];
    const REAL *upstream = call->in_data[0], *lse = call->in_data[4], *dlse = call->in_data[5];
    for (int64_t i = begin; i < end; i++) {
        const REAL *row = (const REAL *)call->in_data[1] + i * cols;
        REAL *dx = (REAL *)call->out_data[0] + i * cols;
        const double up = upstream ? upstream[i] : 0, sum = up + (dlse ? dlse[i] : 0);
        for (int64_t j = 0; j < cols; j++) {
            const bool in = targets[i] >= 0 && kept(call->in_data[3], cols, i, j, targets[i]);
            dx[j] = in ? (REAL)(sum * exp((double)row[j] - lse[i]) - (j == targets[i] ? up : 0)) : 0;
        }
    }
}

#endif
