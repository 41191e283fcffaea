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

/* Columns j .. j+15. Where the row ends before, its last 16 with -inf for those before j: a row that is read in whole
 * vectors waits for no lane. */
CLVI_INLINE void load_logits(clvi_v16f *v, const logits_row *row, int64_t j)
{
    static const clvi_v16i lanes = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    static const clvi_v16f left_out = { 0 };
    const int64_t at = row->cols < CLVI_LANES ? j : CLVI_MIN(j, row->cols - CLVI_LANES);
    clvi_load16(v, row->x, at, row->cols, -INFINITY);
    if (at < j) {
        const clvi_v16i keep = lanes >= (int32_t)(j - at);
        const clvi_v16f none = left_out - INFINITY;
        clvi_select16(v, &keep, v, &none);
    }
    if (!row->mask) return;
    float lane[CLVI_LANES];
    memcpy(lane, v, sizeof lane);
    for (int k = 0; k < CLVI_LANES && at + k < row->cols; k++)
        if (!row->mask[at + k]) lane[k] = -INFINITY;
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

/* The largest of the target's and the unmasked entries, by lane. */
CLVI_INLINE void largest(clvi_v16f *max, const logits_row *row, int64_t target)
{
    static const clvi_v16f zeros;
    clvi_v16f a, b, c, d;
    int64_t j = 0;
    *max = zeros + row->x[target];
    for (; j + FOUR <= row->cols; j += FOUR) {
        load_four(&a, &b, &c, &d, row, j);
        keep_larger(&a, &b), keep_larger(&c, &d), keep_larger(&a, &c), keep_larger(max, &a);
    }
    for (; j < row->cols; j += CLVI_LANES) {
        load_logits(&a, row, j);
        keep_larger(max, &a);
    }
}

/* e^{x - max}. */
CLVI_INLINE void weigh(clvi_v16f *v, float max)
{
    *v -= max;
    clvi_exp16(v);
}

/* The sum of e^{x - max} over the row without the masked entries; the target always counts. */
CLVI_INLINE double sum_of_weights(const logits_row *row, int64_t target, float max)
{
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
    const double total = clvi_total8(&sum);
    return row->mask && !row->mask[target] ? total + exp((double)row->x[target] - max) : total;
}

/* ln(1 + v) of any v >= 0. */
CLVI_INLINE void log_1_plus(clvi_v16f *v)
{
    const clvi_v16i few = *v <= 1;
    clvi_v16f small = *v, large = *v + 1;
    clvi_log1p16(&small);
    clvi_log16(&large);
    clvi_select16(v, &few, &small, &large);
}

/* Sixteen rows, or fewer, whose logarithms are taken together. What is beside the largest weight, 1, is kept apart from
 * it: of a row that is nearly certain it is the loss. An ignored row has zeros everywhere. */
CLVI_INLINE void forward_rows(const clvi_op_call *call, int64_t begin, int64_t end)
{
    const int64_t *targets = call->in_data[1];
    float *lse_out = clvi_ref_output(call, 1), most[CLVI_LANES], own[CLVI_LANES] = { 0 }, beside[CLVI_LANES] = { 0 };
    clvi_v16f by_lane[CLVI_LANES] = { { 0 } }, max, loss, lse;
    for (int64_t i = begin; i < end; i++) {
        if (targets[i] < 0) continue;
        const logits_row row = row_at(call, 0, 2, i);
        own[i - begin] = row.x[targets[i]];
        largest(&by_lane[i - begin], &row, targets[i]);
    }
    for (int k = 0; k < CLVI_LANES; k += 8) {
        clvi_v8f eight;
        clvi_largest8(&eight, by_lane + k);
        memcpy(most + k, &eight, sizeof eight);
    }
    memcpy(&max, most, sizeof max);
    for (int64_t i = begin; i < end; i++) {
        if (targets[i] < 0) continue;
        const logits_row row = row_at(call, 0, 2, i);
        beside[i - begin] = (float)(sum_of_weights(&row, targets[i], most[i - begin]) - 1);
    }
    memcpy(&lse, beside, sizeof lse);
    memcpy(&loss, own, sizeof loss);
    log_1_plus(&lse);
    loss = (max - loss) + lse;
    lse += max;
    clvi_store16(&loss, call->out_data[0], begin, end);
    if (lse_out) clvi_store16(&lse, lse_out, begin, end);
}

CLVI_INLINE void forward_body(void *arg, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i += CLVI_LANES) forward_rows(arg, i, CLVI_MIN(i + CLVI_LANES, end));
}
CLVI_ISA_VARIANTS(forward_body)

/* dx = scale e^{x - lse}, where dx may be in the place of x: the last columns are read before what they overlap with is
 * written. */
CLVI_INLINE void weigh_row(const logits_row *row, float lse, float scale, float *dx)
{
    const int64_t whole = row->cols - row->cols % CLVI_LANES, last = CLVI_MAX(row->cols - CLVI_LANES, 0);
    clvi_v16f v, rest = { 0 };
    if (whole < row->cols) {
        load_logits(&rest, row, last);
        weigh(&rest, lse);
        rest *= scale;
    }
    for (int64_t j = 0; j < whole; j += CLVI_LANES) {
        load_logits(&v, row, j);
        weigh(&v, lse);
        v *= scale;
        memcpy(dx + j, &v, sizeof v);
    }
    if (whole < row->cols) clvi_store16(&rest, dx, last, row->cols);
}

/* Sixteen rows, or fewer, whose targets' own gradients are made together: up (e^gap - 1) + down e^gap, gap = x - lse.
 * Nothing is lost that lse had. */
CLVI_INLINE void backward_rows(const clvi_op_call *call, int64_t begin, int64_t end)
{
    const int64_t *targets = call->in_data[2], cols = call->in[1].shape[1];
    const float *upstream = call->in_data[0], *lse = call->in_data[4], *dlse = call->in_data[5];
    float *dx = call->out_data[0], own[CLVI_LANES] = { 0 }, up[CLVI_LANES] = { 0 }, down[CLVI_LANES] = { 0 };
    clvi_v16f gap, e, less1, by_loss, by_lse;
    for (int64_t i = begin; i < end; i++) {
        const int64_t k = i - begin;
        const logits_row row = row_at(call, 1, 3, i);
        if (targets[i] < 0) {
            memset(dx + i * cols, 0, (size_t)cols * sizeof *dx);
            continue;
        }
        own[k] = row.x[targets[i]] - lse[i];                      /* before dx, which may be in its place */
        up[k] = upstream ? upstream[i] : 0;
        down[k] = dlse ? dlse[i] : 0;
        weigh_row(&row, lse[i], up[k] + down[k], dx + i * cols);
    }
    memcpy(&gap, own, sizeof gap);
    memcpy(&by_loss, up, sizeof by_loss);
    memcpy(&by_lse, down, sizeof by_lse);
    clvi_exp_less1_16(&e, &less1, &gap);
    gap = by_loss * less1 + by_lse * e;
    memcpy(own, &gap, sizeof own);
    for (int64_t i = begin; i < end; i++)
        if (targets[i] >= 0) dx[i * cols + targets[i]] = own[i - begin];
}

CLVI_INLINE void backward_body(void *arg, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i += CLVI_LANES) backward_rows(arg, i, CLVI_MIN(i + CLVI_LANES, end));
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
