/* ref_pair_nce.c: every anchor, one of the first A rows, picks its positives out of all other rows:
 *   l_aj         = <x_a, x_j> / t
 *   per_anchor_a = LSE_{j != a} l_aj - mean_{j in P_a} l_aj        P_a: the other rows with the anchor's label
 *   positives_a  = |P_a|
 * An anchor without positives has per_anchor 0 and no gradient. Row i has the label i mod L. With g the gradient of
 * per_anchor (0 where P_a is empty, and for rows that are no anchors), p_aj = e^{l_aj - lse_a} and n_a = |P_a|:
 *   dx_i = (1/t) sum_{j != i} ( g_i (p_ij - [j in P_i]/n_i) + g_j (p_ji - [i in P_j]/n_j) ) x_j */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

/* The other rows with row i's label. */
static int64_t count_positives(const int64_t *labels, int64_t period, int64_t rows, int64_t i)
{
    int64_t count = 0;
    for (int64_t j = 0; j < period; j++) count += labels[j] == labels[i % period];
    return count * (rows / period) - 1;
}

#define SELF "device/cpu/ref_pair_nce.c"
#include "device/cpu/real.h"

static clv_status pair_nce(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0], 1, pair_nce_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(pair_nce);

/* A sum in double for every entry of dx, and the weight of every row's own term. */
static clv_status pair_nce_bwd_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = (size_t)clvi_desc_count(&call->in[1]) * sizeof(double);
    return CLV_OK;
}

static clv_status pair_nce_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[0], 1, pair_nce_bwd_range);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_pair_nce_bwd = {
    .op = "pair_nce_bwd", .name = "reference", .prepare = pair_nce_bwd_prepare, .run = pair_nce_bwd,
};

#else

/* Rounded like lse, so that the share of a row's only candidate is exactly 1. */
static REAL FN(score)(const REAL *x, int64_t i, int64_t j, int64_t dim, double temperature)
{
    double sum = 0;
    for (int64_t d = 0; d < dim; d++) sum += (double)x[i * dim + d] * x[j * dim + d];
    return (REAL)(sum / temperature);
}

static void FN(pair_nce_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double t = ((const clvi_pair_nce_attr *)call->attr)->temperature;
    const int64_t rows = call->in[0].shape[0], dim = call->in[0].shape[1], period = call->in[1].shape[0];
    const REAL *x = call->in_data[0];
    const int64_t *labels = call->in_data[1];
    REAL *per_anchor = call->out_data[0], *positives = clvi_ref_output(call, 1), *lse_out = clvi_ref_output(call, 2);
    for (int64_t a = begin; a < end; a++) {
        const int64_t n = count_positives(labels, period, rows, a);
        double max = -INFINITY, sum = 0, positive = 0;
        for (int64_t j = 0; j < rows; j++)
            if (j != a) max = fmax(max, FN(score)(x, a, j, dim, t));
        for (int64_t j = 0; j < rows; j++) {
            if (j == a) continue;
            const double l = FN(score)(x, a, j, dim, t);
            sum += exp(l - max);
            if (labels[j % period] == labels[a % period]) positive += l;
        }
        const double lse = rows > 1 ? max + log(sum) : 0;
        per_anchor[a] = (REAL)(n > 0 ? lse - positive / (double)n : 0);
        if (positives) positives[a] = (REAL)n;
        if (lse_out) lse_out[a] = (REAL)lse;
    }
}

static void FN(pair_nce_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double t = ((const clvi_pair_nce_attr *)call->attr)->temperature;
    const int64_t rows = call->in[1].shape[0], dim = call->in[1].shape[1], period = call->in[2].shape[0];
    const int64_t anchors = call->in[0].shape[0];
    const REAL *g = call->in_data[0], *x = call->in_data[1], *lse = call->in_data[3];
    const int64_t *labels = call->in_data[2];
    for (int64_t i = begin; i < end; i++) {
        double *sum = (double *)call->scratch + i * dim;
        const double n_i = (double)count_positives(labels, period, rows, i);
        for (int64_t d = 0; d < dim; d++) sum[d] = 0;
        for (int64_t j = 0; j < rows; j++) {
            if (j == i || (i >= anchors && j >= anchors)) continue;
            const double l = FN(score)(x, i, j, dim, t);
            const bool same = labels[i % period] == labels[j % period];
            double weight = 0;
            if (i < anchors && n_i > 0) weight += g[i] * (exp(l - lse[i]) - (same ? 1 / n_i : 0));
            const double n_j = same ? n_i : j < anchors ? (double)count_positives(labels, period, rows, j) : 0;
            if (j < anchors && n_j > 0) weight += g[j] * (exp(l - lse[j]) - (same ? 1 / n_j : 0));
            for (int64_t d = 0; d < dim; d++) sum[d] += weight * x[j * dim + d];
        }
        for (int64_t d = 0; d < dim; d++) ((REAL *)call->out_data[0])[i * dim + d] = (REAL)(sum[d] / t);
    }
}

#endif
