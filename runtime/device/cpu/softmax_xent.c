/* softmax_xent.c: softmax_xent and its gradient in float32, 16 columns at a time, sums in double. Formula and edge
 * cases as in ref_softmax_xent.c. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>

#define CHUNK 16384             /* logits a thread takes at a time */
#define FOUR (4 * CLVI_LANES)   /* columns at a time, where there are as many: none waits for the one before */

/* One row: -inf stands for what is left out. */
typedef struct logits_row {
    const float         *x;
    const unsigned char *mask;    /* of this row, or NULL */
    int64_t              cols;
} logits_row;

static logits_row row_at(const clvi_op_call *call, int logits, int mask, int64_t i)
{
    const int64_t cols = call->in[logits].shape[1];
    const unsigned char *m = call->in_data[mask];
    return (logits_row){ (const float *)call->in_data[logits] + i * cols, m ? m + i * cols : NULL, cols };
}

CLVI_INLINE void load_logits(clvi_v16f *v, const logits_row *row, int64_t j)
{
    clvi_load16(v, row->x, j, row->cols, -INFINITY);
    if (!row->mask) return;
    float lane[CLVI_LANES];
    memcpy(lane, v, sizeof lane);
    for (int k = 0; k < CLVI_LANES && j + k < row->cols; k++)
        if (!row->mask[j + k]) lane[k] = -INFINITY;
    memcpy(v, lane, sizeof lane);
}

CLVI_INLINE void load_four(clvi_v16f *a, clvi_v16f *b, clvi_v16f *c, clvi_v16f *d, const logits_row *row, int64_t j)
{
    load_logits(a, row, j);
    load_logits(b, row, j + CLVI_LANES);
    load_logits(c, row, j + 2 * CLVI_LANES);
    load_logits(d, row, j + 3 * CLVI_LANES);
}

/* A NaN is left behind: the sum will have it. */
CLVI_INLINE void keep_larger(clvi_v16f *max, const clvi_v16f *v)
{
    const clvi_v16i larger = *v > *max;
    clvi_select16(max, &larger, v, max);
}

/* The largest of the target's and the unmasked entries. */
CLVI_INLINE float largest(const logits_row *row, int64_t target)
{
    clvi_v16f max16, a, b, c, d;
    int64_t j = 0;
    for (int k = 0; k < CLVI_LANES; k++) max16[k] = row->x[target];
    for (; j + FOUR <= row->cols; j += FOUR) {
        load_four(&a, &b, &c, &d, row, j);
        keep_larger(&a, &b), keep_larger(&c, &d), keep_larger(&a, &c), keep_larger(&max16, &a);
    }
    for (; j < row->cols; j += CLVI_LANES) {
        load_logits(&a, row, j);
        keep_larger(&max16, &a);
    }
    float lane[CLVI_LANES];
    memcpy(lane, &max16, sizeof lane);
    for (int half = CLVI_LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++) lane[k] = lane[k + half] > lane[k] ? lane[k + half] : lane[k];
    return lane[0];
}

/* e^{x - max}. */
CLVI_INLINE void weigh(clvi_v16f *v, float max)
{
    *v -= max;
    clvi_exp16(v);
}

/* LSE over the row without the masked entries; the target always counts. */
CLVI_INLINE double log_sum_exp(const logits_row *row, int64_t target)
{
    const float max = largest(row, target);
    clvi_v8d sum = { 0 };
    clvi_v16f a, b, c, d;
    int64_t j = 0;
    for (; j + FOUR <= row->cols; j += FOUR) {
        load_four(&a, &b, &c, &d, row, j);
        weigh(&a, max), weigh(&b, max), weigh(&c, max), weigh(&d, max);
        a = (a + b) + (c + d);
        clvi_add16(&sum, &a);
    }
    clvi_v16f rest = { 0 };
    for (; j < row->cols; j += CLVI_LANES) {
        load_logits(&a, row, j);
        weigh(&a, max);
        rest += a;
    }
    clvi_add16(&sum, &rest);
    double total = clvi_total8(&sum);
    if (row->mask && !row->mask[target]) total += exp((double)row->x[target] - max);
    return max + log(total);
}

CLVI_INLINE void forward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t *targets = call->in_data[1];
    float *per_row = call->out_data[0], *lse_out = clvi_ref_output(call, 1);
    for (int64_t i = begin; i < end; i++) {
        const logits_row row = row_at(call, 0, 2, i);
        const double lse = targets[i] < 0 ? 0 : log_sum_exp(&row, targets[i]);
        per_row[i] = targets[i] < 0 ? 0 : (float)(lse - row.x[targets[i]]);
        if (lse_out) lse_out[i] = (float)lse;
    }
}
CLVI_ISA_VARIANTS(forward_body)

CLVI_INLINE void backward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t *targets = call->in_data[2];
    const float *upstream = call->in_data[0], *lse = call->in_data[4], *dlse = call->in_data[5];
    for (int64_t i = begin; i < end; i++) {
        const logits_row row = row_at(call, 1, 3, i);
        float *dx = (float *)call->out_data[0] + i * row.cols;
        if (targets[i] < 0) {
            memset(dx, 0, (size_t)row.cols * sizeof *dx);
            continue;
        }
        const float up = upstream ? upstream[i] : 0, down = dlse ? dlse[i] : 0;
        const double gap = (double)row.x[targets[i]] - lse[i];    /* before dx, which may be in its place */
        clvi_v16f v;
        for (int64_t j = 0; j < row.cols; j += CLVI_LANES) {
            load_logits(&v, &row, j);
            v -= lse[i];
            clvi_exp16(&v);
            v *= up + down;
            clvi_store16(&v, dx, j, row.cols);
        }
        /* exp - 1 loses nothing that the float lse had. */
        dx[targets[i]] = (float)(up * expm1(gap) + down * exp(gap));
    }
}
CLVI_ISA_VARIANTS(backward_body)

static int64_t rows_of_chunk(const clvi_desc *logits)
{
    return CLVI_MAX(CHUNK / CLVI_MAX(logits->shape[1], 1), 1);
}

static clv_status forward(const clvi_op_call *call)
{
    CLV_TRY(clvi_ref_check_targets(call));
    clvi_parallel_for(call->ctx, call->in[0].shape[0], rows_of_chunk(&call->in[0]), clvi_isa_pick(forward_body_table),
                      (void *)call);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[1].shape[0], rows_of_chunk(&call->in[1]), clvi_isa_pick(backward_body_table),
                      (void *)call);
    return CLV_OK;
}

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

const clvi_kernel clvi_kernel_cpu_softmax_xent = {
    .op = "softmax_xent", .name = "cpu", .accepts = accepts, .run = forward,
};
const clvi_kernel clvi_kernel_cpu_softmax_xent_bwd = {
    .op = "softmax_xent_bwd", .name = "cpu", .accepts = accepts, .run = backward, .in_place = { 2 },
};
