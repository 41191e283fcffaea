/* ref_bank_lse.c: log mean exp of similarities with the rows of a bank, plainly:
 *   e_bj   = <q_b,m_j>/t, or -|q_b - m_j|^2/t                     over the M bank rows with valid[j]
 *   y_b    = log(( e^{start_b} + sum_j e^{e_bj} ) / (C + M))      C: how many entries start_b stands for
 *   dq_b   = sum_j p_bj m_j / t, or 2 sum_j p_bj (m_j - q_b) / t  p_bj = e^{e_bj} / (the sum above)
 *   dstart = e^{start_b} / (the sum above)
 * Nothing at all: y 0, gradients 0. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

static int64_t count_valid(const clvi_op_call *call)
{
    const unsigned char *valid = call->in_data[2];
    const int64_t rows = call->in[1].shape[0];
    int64_t count = 0;
    for (int64_t j = 0; valid && j < rows; j++) count += valid[j] != 0;
    return valid ? count : rows;
}

#define SELF "device/cpu/ref_bank_lse.c"
#include "device/cpu/real.h"

/* A sum in double for every entry of dq; no memory for exponents nobody reads. */
static clv_status bank_lse_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    if (!call->wanted[3]) call->out[3].bytes = 0;
    call->scratch_size = (size_t)clvi_desc_count(&call->in[0]) * sizeof(double);
    return CLV_OK;
}

static clv_status bank_lse(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 1, bank_lse_range);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_bank_lse = {
    .op = "bank_lse", .name = "reference", .prepare = bank_lse_prepare, .run = bank_lse,
};

#else

static double FN(exponent)(const clvi_bank_lse_attr *attr, const REAL *q, const REAL *m, int64_t dim)
{
    double sum = 0;
    for (int64_t d = 0; d < dim; d++)
        sum += attr->l2 ? -((double)q[d] - m[d]) * ((double)q[d] - m[d]) : (double)q[d] * m[d];
    return sum / attr->temperature;
}

static void FN(bank_lse_gradient)(const clvi_op_call *call, int64_t b, double lse)
{
    const clvi_bank_lse_attr *attr = call->attr;
    const int64_t dim = call->in[0].shape[1], rows = call->in[1].shape[0];
    const REAL *q = (const REAL *)call->in_data[0] + b * dim, *bank = call->in_data[1];
    const unsigned char *valid = call->in_data[2];
    double *sum = (double *)call->scratch + b * dim;
    for (int64_t d = 0; d < dim; d++) sum[d] = 0;
    for (int64_t j = 0; j < rows; j++) {
        if (valid && !valid[j]) continue;
        const REAL *m = bank + j * dim;
        const double p = exp(FN(exponent)(attr, q, m, dim) - lse);
        for (int64_t d = 0; d < dim; d++) sum[d] += attr->l2 ? 2 * p * ((double)m[d] - q[d]) : p * m[d];
    }
    for (int64_t d = 0; d < dim; d++) ((REAL *)call->out_data[1])[b * dim + d] = (REAL)(sum[d] / attr->temperature);
}

static void FN(bank_lse_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_bank_lse_attr *attr = call->attr;
    const int64_t dim = call->in[0].shape[1], rows = call->in[1].shape[0];
    const double count = (double)(count_valid(call) + attr->start_count);
    const REAL *bank = call->in_data[1], *start = call->in_data[3];
    const unsigned char *valid = call->in_data[2];
    REAL *y = call->out_data[0], *dstart = clvi_ref_output(call, 2), *exponents = clvi_ref_output(call, 3);
    for (int64_t b = begin; b < end; b++) {
        const REAL *q = (const REAL *)call->in_data[0] + b * dim;
        double max = start ? (double)start[b] : -INFINITY, sum = 0;
        for (int64_t j = 0; j < rows; j++) {
            const bool counts = !valid || valid[j];
            const double e = counts ? FN(exponent)(attr, q, bank + j * dim, dim) : 0;
            if (counts) max = fmax(max, e);
            if (exponents) exponents[b * rows + j] = (REAL)e;
        }
        if (start) sum = exp(start[b] - max);
        for (int64_t j = 0; j < rows; j++)
            if (!valid || valid[j]) sum += exp(FN(exponent)(attr, q, bank + j * dim, dim) - max);
        const double lse = count > 0 ? max + log(sum) : 0;
        y[b] = (REAL)(count > 0 ? lse - log(count) : 0);
        if (dstart) dstart[b] = (REAL)(start ? exp(start[b] - lse) : 0);
        if (clvi_ref_output(call, 1)) FN(bank_lse_gradient)(call, b, lse);
    }
}

#endif
