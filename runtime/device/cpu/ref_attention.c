/* ref_attention.c: for each head of each sample, with s_ij = <q_i,k_j> / sqrt(d): lse_i = log sum_j e^{s_ij},
 * p_ij = e^{s_ij - lse_i}, y_i = sum_j p_ij v_j; and its gradient: with t_i = <dy_i,y_i> and
 * e_ij = p_ij (<dy_i,v_j> - t_i) / sqrt(d), dq_i = sum_j e_ij k_j, dk_j = sum_i e_ij q_i, dv_j = sum_i p_ij dy_i. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>
#include <string.h>

/* Where the parts of one head of one sample are, in elements; rows of qkv and dqkv are `row` apart, those of y and dy
 * `wide`. */
typedef struct head {
    int64_t tokens, size, row, wide;
    int64_t q, k, v, y, lse;
    double  scale;
} head;

static head head_of(const clvi_attention_attr *attr, const clvi_desc *qkv, int64_t item)
{
    const int64_t n = item / attr->heads, h = item % attr->heads, wide = qkv->shape[1] / 3, size = wide / attr->heads;
    const int64_t first = n * attr->tokens * 3 * wide + h * size;
    return (head){ .tokens = attr->tokens, .size = size, .row = 3 * wide, .wide = wide, .q = first, .k = first + wide,
                   .v = first + 2 * wide, .y = n * attr->tokens * wide + h * size, .lse = item * attr->tokens,
                   .scale = 1 / sqrt((double)size) };
}

#define SELF "device/cpu/ref_attention.c"
#include "device/cpu/real.h"

/* Doubles for each head of each sample. */
static clv_status prepare_scratch(clvi_op_call *call, const clvi_desc *qkv, int64_t each)
{
    const clvi_attention_attr *attr = call->attr;
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = (size_t)(qkv->shape[0] / attr->tokens * attr->heads * each) * sizeof(double);
    return CLV_OK;
}

static clv_status prepare(clvi_op_call *call)
{
    return prepare_scratch(call, &call->in[0], ((const clvi_attention_attr *)call->attr)->tokens);
}

static clv_status prepare_bwd(clvi_op_call *call)
{
    const clvi_attention_attr *attr = call->attr;
    return prepare_scratch(call, &call->in[1], attr->tokens * (call->in[1].shape[1] / attr->heads));
}

static clv_status attention(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[1].shape[0] * call->out[1].shape[1], 1, attention_range);
    return CLV_OK;
}

static clv_status attention_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[3].shape[0] * call->in[3].shape[1], 1, attention_bwd_range);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_attention = {
    .op = "attention", .name = "reference", .prepare = prepare, .run = attention,
};
const clvi_kernel clvi_kernel_ref_attention_bwd = {
    .op = "attention_bwd", .name = "reference", .prepare = prepare_bwd, .run = attention_bwd,
};

#else

static double FN(product)(const REAL *a, const REAL *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

static void FN(attention_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *qkv = call->in_data[0];
    for (int64_t item = begin; item < end; item++) {
        const head h = head_of(call->attr, &call->in[0], item);
        double *p = (double *)call->scratch + item * h.tokens;
        for (int64_t i = 0; i < h.tokens; i++) {
            double top = -INFINITY, sum = 0;
            for (int64_t j = 0; j < h.tokens; j++) {
                p[j] = h.scale * FN(product)(qkv + h.q + i * h.row, qkv + h.k + j * h.row, h.size);
                if (!(p[j] <= top)) top = p[j];
            }
            for (int64_t j = 0; j < h.tokens; j++) sum += p[j] = exp(p[j] - top);
            REAL *y = (REAL *)call->out_data[0] + h.y + i * h.wide;
            for (int64_t c = 0; c < h.size; c++) {
                double mix = 0;
                for (int64_t j = 0; j < h.tokens; j++) mix += p[j] * qkv[h.v + j * h.row + c];
                y[c] = (REAL)(mix / sum);
            }
            ((REAL *)call->out_data[1])[h.lse + i] = (REAL)(top + log(sum));
        }
    }
}

static void FN(attention_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *dy = call->in_data[0], *qkv = call->in_data[1], *y = call->in_data[2], *lse = call->in_data[3];
    for (int64_t item = begin; item < end; item++) {
        const head h = head_of(call->attr, &call->in[1], item);
        double *sum = (double *)call->scratch + item * h.tokens * 3 * h.size;      /* [3,T,d]: dq, dk, dv */
        memset(sum, 0, (size_t)(h.tokens * 3 * h.size) * sizeof *sum);
        for (int64_t i = 0; i < h.tokens; i++) {
            const REAL *q = qkv + h.q + i * h.row, *up = dy + h.y + i * h.wide;
            const double along = FN(product)(up, y + h.y + i * h.wide, h.size);
            for (int64_t j = 0; j < h.tokens; j++) {
                const REAL *k = qkv + h.k + j * h.row, *v = qkv + h.v + j * h.row;
                const double p = exp(h.scale * FN(product)(q, k, h.size) - lse[h.lse + i]);
                const double e = p * (FN(product)(up, v, h.size) - along) * h.scale;
                for (int64_t c = 0; c < h.size; c++) {
                    sum[i * h.size + c] += e * k[c];
                    sum[(h.tokens + j) * h.size + c] += e * q[c];
                    sum[(2 * h.tokens + j) * h.size + c] += p * up[c];
                }
            }
        }
        REAL *dqkv = call->out_data[0];
        for (int64_t j = 0; j < 3 * h.tokens; j++)
            for (int64_t c = 0; c < h.size; c++)
                dqkv[h.q + j / h.tokens * h.wide + j % h.tokens * h.row + c] = (REAL)sum[j * h.size + c];
    }
}

#endif
