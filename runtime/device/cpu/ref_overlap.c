/* ref_overlap.c: overlap, self_adjust, sigmoid_xent, focal, and their gradients. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double logistic(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* Numerator and denominator of 1 - R, both without the smoothing term, and their slopes in w. */
typedef struct fraction {
    double top, bottom, top_slope, bottom_slope;
} fraction;

static fraction overlap_of(const clvi_overlap_attr *a, double w, double y)
{
    switch (a->kind) {
    case CLVI_OVERLAP_SQUARE: return (fraction){ 2 * w * y, w * w + y * y, 2 * y, 2 * w };
    case CLVI_OVERLAP_TVERSKY:
        return (fraction){ w * y, w * y + a->alpha * w * (1 - y) + a->beta * (1 - w) * y, y,
                           y + a->alpha * (1 - y) - a->beta * y };
    default: return (fraction){ 2 * w * y, w + y, 2 * y, 1 };
    }
}

/* (1-p)^(alpha-1): infinite at p = 1 for alpha < 1, where it is left out. */
static double slope_of_power(double q, double alpha)
{
    return q > 0 || alpha >= 1 ? alpha * pow(q, alpha - 1) : 0;
}

/* ---- self_adjust: one row of logits ---- */

/* What a row's softmax and its complements are made of. Without its largest entry the row has its own maximum, so that
 * log(1-p) keeps its digits where p is 1. */
typedef struct softmax_row {
    int64_t top;                /* index of the largest entry */
    double  max, sum;           /* of all, relative to max */
    double  max_rest, sum_rest; /* of all but the largest, relative to max_rest */
} softmax_row;

static double log_p(const softmax_row *r, double x)
{
    return x - r->max - log(r->sum);
}

/* log(1 - p) of entry c. */
static double log_complement(const softmax_row *r, double x, bool top)
{
    if (top) return r->max_rest + log(r->sum_rest) - r->max - log(r->sum);
    return log(r->sum - exp(x - r->max)) - log(r->sum);
}

#define SELF "device/cpu/ref_overlap.c"
#include "device/cpu/real.h"

CLVI_REF_ELEMENTWISE(overlap);
CLVI_REF_ELEMENTWISE(overlap_bwd);
CLVI_REF_ELEMENTWISE(sigmoid_xent);
CLVI_REF_ELEMENTWISE(sigmoid_xent_bwd);
CLVI_REF_ELEMENTWISE(focal);
CLVI_REF_ELEMENTWISE(focal_bwd);

static clv_status self_adjust(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 64, self_adjust_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(self_adjust);

static clv_status self_adjust_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[0], 64, self_adjust_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(self_adjust_bwd);

#else

static void FN(overlap_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_overlap_attr *attr = call->attr;
    const REAL *w = call->in_data[0], *y = call->in_data[1];
    REAL *out = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const fraction f = overlap_of(attr, w[i], y[i]);
        const double divisor = f.bottom + attr->smooth;
        out[i] = divisor == 0 ? 0 : (REAL)((f.bottom - f.top) / divisor);
    }
}

static void FN(overlap_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_overlap_attr *attr = call->attr;
    const REAL *upstream = call->in_data[0], *w = call->in_data[1], *y = call->in_data[2];
    REAL *out = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const fraction f = overlap_of(attr, w[i], y[i]);
        const double divisor = f.bottom + attr->smooth;
        const double kept = divisor == 0 ? 0 : (f.top + attr->smooth) / divisor;   /* 1 - R */
        out[i] = divisor == 0 ? 0 : (REAL)(upstream[i] * (kept * f.bottom_slope - f.top_slope) / divisor);
    }
}

static void FN(sigmoid_xent_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *x = call->in_data[0], *y = call->in_data[1];
    REAL *out = call->out_data[0];
    for (int64_t i = begin; i < end; i++)   /* both parts are at least 0: no cancellation at y = 0 and 1 */
        out[i] = (REAL)(y[i] * softplus(-x[i]) + (1 - y[i]) * softplus(x[i]));
}

static void FN(sigmoid_xent_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *upstream = call->in_data[0], *x = call->in_data[1], *y = call->in_data[2];
    REAL *out = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        out[i] = (REAL)(upstream[i] * ((1 - y[i]) * logistic(x[i]) - y[i] * logistic(-x[i])));
}

/* c = -log p, so 1 - p = -expm1(-c). */
static void FN(focal_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_focal_attr *attr = call->attr;
    const REAL *c = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = (REAL)(pow(-expm1(-c[i]), attr->gamma) * c[i]);
}

/* At c = 0 the slope is that of c^(1+gamma): 1 for gamma 0, else 0. */
static void FN(focal_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double gamma = ((const clvi_focal_attr *)call->attr)->gamma;
    const REAL *upstream = call->in_data[0], *c = call->in_data[1];
    REAL *out = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const double q = -expm1(-c[i]);
        const double slope = q > 0 ? pow(q, gamma) + gamma * pow(q, gamma - 1) * exp(-c[i]) * c[i] : gamma == 0;
        out[i] = (REAL)(upstream[i] * slope);
    }
}

static softmax_row FN(read_row)(const REAL *x, int64_t cols)
{
    softmax_row r = { .max = -INFINITY, .max_rest = -INFINITY };
    for (int64_t c = 0; c < cols; c++)
        if (x[c] > r.max) r.max = x[c], r.top = c;
    for (int64_t c = 0; c < cols; c++)
        if (c != r.top) r.max_rest = fmax(r.max_rest, x[c]);
    for (int64_t c = 0; c < cols; c++) {
        r.sum += exp(x[c] - r.max);
        if (c != r.top) r.sum_rest += exp(x[c] - r.max_rest);
    }
    return r;
}

static void FN(self_adjust_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_self_adjust_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    REAL *w = call->out_data[0], *p = clvi_ref_output(call, 1);
    for (int64_t i = begin * cols; i < end * cols; i += cols) {
        const REAL *x = (const REAL *)call->in_data[0] + i;
        const softmax_row r = attr->logits && cols > 1 ? FN(read_row)(x, cols) : (softmax_row){ 0 };
        for (int64_t c = 0; c < cols; c++) {
            double lp = log(x[c]), lq = log(fmax(0, 1 - (double)x[c]));
            if (attr->logits && cols == 1) lp = -softplus(-x[c]), lq = -softplus(x[c]);
            else if (attr->logits) lp = log_p(&r, x[c]), lq = log_complement(&r, x[c], c == r.top);
            const double probability = attr->logits ? exp(lp) : x[c];
            if (p) p[i + c] = (REAL)probability;
            w[i + c] = (REAL)(attr->alpha > 0 ? exp(attr->alpha * lq) * probability : probability);
        }
    }
}

/* dw_c/dx_k = w_c ( alpha (r_ck - p_k) + [c=k] - p_k ), r_c. = softmax without entry c. With u_c = dw_c w_c:
 * dx_k = u_k - (1 + alpha) p_k sum_c u_c + alpha sum_{c != k} u_c r_ck, where r_ck = p_k / (1 - p_c). */
static void FN(adjust_softmax_bwd)(const REAL *dw, const REAL *x, REAL *dx, int64_t cols, double alpha)
{
    const softmax_row r = FN(read_row)(x, cols);
    double sum = 0, sum_over_q = 0, u_top = 0;
    for (int64_t c = 0; c < cols; c++) {
        const double lp = log_p(&r, x[c]), lq = log_complement(&r, x[c], c == r.top);
        const double u = dw[c] * exp(lp + (alpha > 0 ? alpha * lq : 0));
        sum += u;
        if (c == r.top) u_top = u;
        else sum_over_q += u / exp(lq);
    }
    for (int64_t k = 0; k < cols; k++) {
        const double p = exp(log_p(&r, x[k])), lq = log_complement(&r, x[k], k == r.top);
        const double u = dw[k] * p * (alpha > 0 ? exp(alpha * lq) : 1);
        const double others = k == r.top ? p * sum_over_q
                                         : p * (sum_over_q - u / exp(lq)) + u_top * exp(x[k] - r.max_rest) / r.sum_rest;
        dx[k] = (REAL)(u - (1 + alpha) * p * sum + alpha * others);
    }
}

/* Items without a gradient pass none, whatever they hold: masked ones. */
static bool FN(all_zero)(const REAL *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0) return false;
    return true;
}

static void FN(self_adjust_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_self_adjust_attr *attr = call->attr;
    const int64_t cols = call->in[1].shape[1];
    const double alpha = attr->alpha;
    for (int64_t i = begin * cols; i < end * cols; i += cols) {
        const REAL *dw = (const REAL *)call->in_data[0] + i, *x = (const REAL *)call->in_data[1] + i;
        REAL *dx = (REAL *)call->out_data[0] + i;
        if (FN(all_zero)(dw, cols)) {
            for (int64_t c = 0; c < cols; c++) dx[c] = 0;
            continue;
        }
        if (attr->logits && cols > 1) {
            FN(adjust_softmax_bwd)(dw, x, dx, cols, alpha);
            continue;
        }
        for (int64_t c = 0; c < cols; c++) {
            const double p = attr->logits ? logistic(x[c]) : x[c], q = attr->logits ? logistic(-x[c]) : fmax(0, 1 - p);
            const double log_q = attr->logits ? -softplus(x[c]) : log(q);   /* where q underflows its logarithm stays */
            const double power = alpha > 0 ? exp(alpha * log_q) : 1;
            dx[c] = (REAL)(dw[c] * (attr->logits ? power * p * (q - alpha * p) : power - p * slope_of_power(q, alpha)));
        }
    }
}

#endif
