/* ref_mix.c: mix_rows, mix_nce: negatives mixed from a list of hard ones. Kalantidis et al. 2020, arXiv:2010.01028:
 *   h  = n(a r_i + (1-a) r_j),  h' = n(b q + (1-b) r_j'),  n(x) = x / max(|x|, eps),  r_x = bank[slots[x]]
 *   more_b = log(1 + sum_c e^{<q,h_c>/t - lse_b}),  p_c = e^{<q,h_c>/t - lse_b - more_b},  share_b = sum_c p_c
 *   dq_b   = sum_c p_c h_c / t, and where query mixes are not constant also what goes through the q inside them:
 *            d<q,h'>/dq = h' + (b/|m|) (q - h' <q,h'>), m the mix before n(); nothing through an m no longer than eps
 * A mix of a rank without a row is left out: zeros, and no part in the sum. */
#ifndef REAL

#include "device/cpu/draw.h"
#include "device/cpu/ref.h"
#include <math.h>
#include <string.h>

enum { Q, LSE, BANK, SLOTS, I, J, A, J_Q, B, STEP };

/* The slot at rank x of a list, or -1. */
static int64_t slot_at(const int64_t *list, int64_t top, int64_t x)
{
    return x >= 0 && x < top ? list[x] : -1;
}

/* One thread's: a mixed row, a gradient, the logits. */
static size_t part(const clvi_op_call *call)
{
    const int64_t mixes = call->in[A].shape[1] + call->in[B].shape[1];
    return (size_t)(2 * call->in[Q].shape[1] + mixes) * sizeof(double);
}

#define SELF "device/cpu/ref_mix.c"
#include "device/cpu/real.h"

static clv_status mix_rows(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[0], 1, rows_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(mix_rows);

/* The call with the shapes of mixes that are drawn; *drawn: how many bytes they take. */
static clvi_op_call completed(const clvi_op_call *call, size_t *drawn)
{
    const clvi_draw_attr *draw = &((const clvi_mix_attr *)call->attr)->draw;
    clvi_op_call full = *call;
    *drawn = 0;
    if (clvi_ref_present(&call->in[I])) return full;
    full.in[A].shape[1] = draw->rows;
    full.in[B].shape[1] = draw->cols;
    *drawn = (size_t)(call->in[Q].shape[0] * (3 * draw->rows + 2 * draw->cols)) * sizeof(double);
    return full;
}

static clv_status mix_nce_prepare(clvi_op_call *call)
{
    size_t drawn;
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    const clvi_op_call full = completed(call, &drawn);
    call->scratch_size = (size_t)clv_context_threads(call->ctx) * part(&full) + drawn;
    return CLV_OK;
}

/* Draws all mixes into the memory at `to`. */
static void draw_all(clvi_op_call *call, int64_t *to)
{
    const clvi_draw_attr *draw = &((const clvi_mix_attr *)call->attr)->draw;
    const int64_t batch = call->in[Q].shape[0], top = call->in[SLOTS].shape[1];
    const int64_t pairs = draw->rows, queries = draw->cols;
    const int64_t step = clvi_draw_step(draw, call->in_data[STEP]), size = (int64_t)clv_dtype_size(call->in[Q].dtype);
    int64_t *i = to, *j = i + batch * pairs, *j_q = j + batch * pairs;
    char *a = (char *)(j_q + batch * queries), *b = a + batch * pairs * size;
    for (int64_t row = 0; row < batch; row++) {
        const clvi_mixes_row mixes = { i + row * pairs, j + row * pairs, j_q + row * queries, a + row * pairs * size,
                                       b + row * queries * size, call->in[Q].dtype };
        clvi_draw_mixes(draw, step, row, (const int64_t *)call->in_data[SLOTS] + row * top, top, &mixes);
    }
    call->in_data[I] = i, call->in_data[J] = j, call->in_data[J_Q] = j_q, call->in_data[A] = a, call->in_data[B] = b;
}

static clv_status mix_nce(const clvi_op_call *call)
{
    size_t drawn;
    clvi_op_call full = completed(call, &drawn);
    const size_t parts = (size_t)clv_context_threads(call->ctx) * part(&full);
    if (drawn) draw_all(&full, (int64_t *)((char *)call->scratch + parts));
    CLVI_REF_LOOP(&full, call->in[Q].shape[0], 1, nce_range);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_mix_nce = {
    .op = "mix_nce", .name = "reference", .prepare = mix_nce_prepare, .run = mix_nce,
};

#else

static void FN(rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double eps = ((const clvi_mix_attr *)call->attr)->eps;
    const int64_t top = call->in[1].shape[1], mixes = call->in[2].shape[1], dim = call->in[0].shape[1];
    const REAL *bank = call->in_data[0], *a = call->in_data[3], *q = call->in_data[5];
    const int64_t *j = call->in_data[2], *i = call->in_data[4];
    for (int64_t b = begin; b < end; b++)
        for (int64_t c = b * mixes; c < (b + 1) * mixes; c++) {
            const int64_t *list = (const int64_t *)call->in_data[1] + b * top;
            REAL *out = (REAL *)call->out_data[0] + c * dim;
            const int64_t second = slot_at(list, top, j[c]), first = q ? 0 : slot_at(list, top, i[c]);
            memset(out, 0, (size_t)dim * sizeof *out);
            if (first < 0 || second < 0) continue;
            const REAL *x = q ? q + b * dim : bank + first * dim, *y = bank + second * dim;
            double sum = 0;
            for (int64_t d = 0; d < dim; d++) {
                const double m = (double)a[c] * x[d] + (1 - (double)a[c]) * y[d];
                sum += m * m;
            }
            const double scale = 1 / fmax(sqrt(sum), eps);
            for (int64_t d = 0; d < dim; d++)
                out[d] = (REAL)(((double)a[c] * x[d] + (1 - (double)a[c]) * y[d]) * scale);
        }
}

/* One mix c of query b: pairs first, then query mixes. Writes h and returns true, or returns false where there is none.
 * *inverse: 1/|m|, 0 for an m no longer than eps. */
static bool FN(mix)(const clvi_op_call *call, int64_t b, int64_t c, double *h, double *inverse)
{
    const double eps = ((const clvi_mix_attr *)call->attr)->eps;
    const int64_t dim = call->in[Q].shape[1], top = call->in[SLOTS].shape[1], pairs = call->in[A].shape[1];
    const int64_t *list = (const int64_t *)call->in_data[SLOTS] + b * top;
    const REAL *bank = call->in_data[BANK], *x = (const REAL *)call->in_data[Q] + b * dim;
    const bool pair = c < pairs;
    const int64_t at = pair ? b * pairs + c : b * call->in[B].shape[1] + c - pairs;
    const double a = ((const REAL *)call->in_data[pair ? A : B])[at];
    const int64_t second = slot_at(list, top, ((const int64_t *)call->in_data[pair ? J : J_Q])[at]);
    if (second < 0) return false;
    if (pair) {
        const int64_t first = slot_at(list, top, ((const int64_t *)call->in_data[I])[at]);
        if (first < 0) return false;
        x = bank + first * dim;
    }
    double sum = 0;
    for (int64_t d = 0; d < dim; d++) {
        h[d] = a * x[d] + (1 - a) * bank[second * dim + d];
        sum += h[d] * h[d];
    }
    const double norm = sqrt(sum), scale = 1 / fmax(norm, eps);
    for (int64_t d = 0; d < dim; d++) h[d] *= scale;
    *inverse = norm > eps ? 1 / norm : 0;
    return true;
}

static void FN(nce_gradient)(const clvi_op_call *call, int64_t b, const double *logit, double lse, double *h,
                             double *sum)
{
    const clvi_mix_attr *attr = call->attr;
    const int64_t dim = call->in[Q].shape[1], pairs = call->in[A].shape[1], mixes = pairs + call->in[B].shape[1];
    const REAL *q = (const REAL *)call->in_data[Q] + b * dim;
    double inverse;
    memset(sum, 0, (size_t)dim * sizeof *sum);
    for (int64_t c = 0; c < mixes; c++) {
        if (!FN(mix)(call, b, c, h, &inverse)) continue;
        const double p = exp(logit[c] - lse) / attr->temperature;
        for (int64_t d = 0; d < dim; d++) sum[d] += p * h[d];
        if (c < pairs || attr->constant) continue;
        const double y = logit[c] * attr->temperature;
        const double through = p * inverse * ((const REAL *)call->in_data[B])[b * (mixes - pairs) + c - pairs];
        for (int64_t d = 0; d < dim; d++) sum[d] += through * (q[d] - h[d] * y);
    }
    for (int64_t d = 0; d < dim; d++) ((REAL *)call->out_data[1])[b * dim + d] = (REAL)sum[d];
}

static void FN(nce_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double t = ((const clvi_mix_attr *)call->attr)->temperature;
    const int64_t dim = call->in[Q].shape[1], mixes = call->in[A].shape[1] + call->in[B].shape[1];
    double *h = (double *)((char *)call->scratch + (size_t)clvi_thread_index() * part(call));
    double *gradient = h + dim, *logit = gradient + dim, inverse;
    REAL *more = call->out_data[0], *share = clvi_ref_output(call, 2);
    for (int64_t b = begin; b < end; b++) {
        const REAL *q = (const REAL *)call->in_data[Q] + b * dim;
        const double lse = ((const REAL *)call->in_data[LSE])[b];
        double max = lse, sum = 0;
        for (int64_t c = 0; c < mixes; c++) {
            logit[c] = -INFINITY;
            if (!FN(mix)(call, b, c, h, &inverse)) continue;
            double y = 0;
            for (int64_t d = 0; d < dim; d++) y += q[d] * h[d];
            logit[c] = y / t;
            max = fmax(max, logit[c]);
        }
        for (int64_t c = 0; c < mixes; c++) sum += exp(logit[c] - max);
        const double rest = exp(lse - max);
        const double value = sum <= rest ? log1p(sum / rest) : max - lse + log(sum + rest);
        more[b] = (REAL)value;
        if (share) share[b] = (REAL)(sum / (sum + rest));
        if (clvi_ref_output(call, 1)) FN(nce_gradient)(call, b, logit, lse + value, h, gradient);
    }
}

#endif
