/* self_adjust.cu: self_adjust and its gradient: one thread a row, which has few entries. The formulas are those of
 * ref_overlap.c. */
#include "device/cuda/cu.h"

static __device__ double softplus_of(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

static __device__ double logistic_of(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

/* (1-p)^(alpha-1): infinite at p = 1 for alpha < 1, where it is left out. */
static __device__ double slope_of_power(double q, double alpha)
{
    return q > 0 || alpha >= 1 ? alpha * pow(q, alpha - 1) : 0;
}

/* What a row's softmax and its complements are made of. Without its largest entry the row has its own maximum, so that
 * log(1-p) keeps its digits where p is 1. */
struct softmax_row {
    int    top;                     /* index of the largest entry */
    double  max, sum, log_sum;      /* of all, relative to max */
    double  max_rest, sum_rest;     /* of all but the largest, relative to max_rest */
    double  log_top;                /* log(1 - p) of the largest entry */

    template <class T> __device__ softmax_row(const T *x, int cols)
        : top(0), max(-INFINITY), sum(0), max_rest(-INFINITY), sum_rest(0)
    {
        for (int c = 0; c < cols; c++)
            if ((double)x[c] > max) max = (double)x[c], top = c;
        for (int c = 0; c < cols; c++)
            if (c != top) max_rest = fmax(max_rest, (double)x[c]);
        for (int c = 0; c < cols; c++) {
            sum += exp((double)x[c] - max);
            sum_rest += c == top ? 0 : exp((double)x[c] - max_rest);
        }
        log_sum = log(sum);
        log_top = max_rest + log(sum_rest) - max - log_sum;
    }
    __device__ double log_p(double x) const { return x - max - log_sum; }
    /* log(1 - p) of entry c. */
    __device__ double log_complement(double x, int c) const
    {
        return c == top ? log_top : log(sum - exp(x - max)) - log_sum;
    }
};

/* ---- forward ---- */

template <class T>
static __device__ void adjust_softmax(const T *x, int cols, double alpha, T *w, T *p)
{
    const softmax_row r(x, cols);
    for (int c = 0; c < cols; c++) {
        const double probability = exp(r.log_p((double)x[c]));
        const double power = alpha > 0 ? exp(alpha * r.log_complement((double)x[c], c)) : 1;
        if (p) p[c] = (T)probability;
        w[c] = (T)(power * probability);
    }
}

template <class T> static clv_status self_adjust_of(const clvi_op_call *call)
{
    const clvi_self_adjust_attr attr = *(const clvi_self_adjust_attr *)call->attr;
    const T *x = (const T *)call->in_data[0];
    T *w = (T *)call->out_data[0], *p = clvi_cu_output<T>(call, 1);
    const int64_t cols = call->in[0].shape[1];
    if (attr.logits && cols > 1)
        return clvi_cu_each(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
            adjust_softmax(x + i * cols, (int)cols, attr.alpha, w + i * cols, p ? p + i * cols : nullptr);
        });
    return clvi_cu_each(call, clvi_desc_count(&call->in[0]), [=] __device__ (int64_t i) {
        const double v = (double)x[i], probability = attr.logits ? exp(-softplus_of(-v)) : v;
        const double log_q = attr.logits ? -softplus_of(v) : log(fmax(0.0, 1 - v));
        if (p) p[i] = (T)probability;
        w[i] = (T)(attr.alpha > 0 ? exp(attr.alpha * log_q) * probability : probability);
    });
}

static clv_status self_adjust(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], self_adjust_of, call); }
CLVI_CU_KERNEL(self_adjust);

/* ---- gradient ---- */

/* u_c = dw_c w_c */
static __device__ double weighted(double dw, double log_p, double log_q, double alpha)
{
    return dw * exp(log_p + (alpha > 0 ? alpha * log_q : 0));
}

template <class T>
static __device__ void adjust_softmax_bwd(const T *dw, const T *x, T *dx, int cols, double alpha)
{
    const softmax_row r(x, cols);
    double sum = 0, sum_over_q = 0, u_top = 0;
    for (int c = 0; c < cols; c++) {
        const double v = (double)x[c], log_q = r.log_complement(v, c);
        const double u = weighted((double)dw[c], r.log_p(v), log_q, alpha);
        sum += u;
        if (c == r.top) u_top = u;
        else sum_over_q += u * exp(-log_q);
    }
    const double share = u_top / r.sum_rest;
    for (int k = 0; k < cols; k++) {
        const double v = (double)x[k], log_q = r.log_complement(v, k), p = exp(r.log_p(v));
        const double u = weighted((double)dw[k], r.log_p(v), log_q, alpha);
        const double own = k == r.top ? 0 : u * exp(-log_q), of_top = k == r.top ? 0 : share * exp(v - r.max_rest);
        dx[k] = (T)(u - (1 + alpha) * p * sum + alpha * (p * (sum_over_q - own) + of_top));
    }
}

/* Of one entry alone: a logit or a probability. */
static __device__ double adjust_one_bwd(double dw, double x, double alpha, bool logits)
{
    const double p = logits ? logistic_of(x) : x, q = logits ? logistic_of(-x) : fmax(0.0, 1 - p);
    const double log_q = logits ? -softplus_of(x) : log(q);   /* where q underflows its logarithm stays */
    const double power = alpha > 0 ? exp(alpha * log_q) : 1;
    return dw * (logits ? power * p * (q - alpha * p) : power - p * slope_of_power(q, alpha));
}

/* Items without a gradient pass none, whatever they hold: masked ones. */
template <class T> static __device__ bool any_gradient(const T *dw, int64_t cols)
{
    bool any = false;
    for (int64_t c = 0; c < cols; c++) any |= dw[c] != 0;
    return any;
}

template <class T> static clv_status self_adjust_bwd_of(const clvi_op_call *call)
{
    const clvi_self_adjust_attr attr = *(const clvi_self_adjust_attr *)call->attr;
    const T *dw = (const T *)call->in_data[0], *x = (const T *)call->in_data[1];
    T *dx = (T *)call->out_data[0];
    const int64_t cols = call->in[1].shape[1];
    if (attr.logits && cols > 1)
        return clvi_cu_each(call, call->in[1].shape[0], [=] __device__ (int64_t i) {
            if (any_gradient(dw + i * cols, cols))
                adjust_softmax_bwd(dw + i * cols, x + i * cols, dx + i * cols, (int)cols, attr.alpha);
            else
                for (int64_t c = i * cols; c < (i + 1) * cols; c++) dx[c] = 0;
        });
    return clvi_cu_each(call, clvi_desc_count(&call->in[1]), [=] __device__ (int64_t at) {
        const bool any = any_gradient(dw + at / cols * cols, cols);
        dx[at] = any ? (T)adjust_one_bwd((double)dw[at], (double)x[at], attr.alpha, attr.logits) : T(0);
    });
}

static clv_status self_adjust_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], self_adjust_bwd_of, call);
}
CLVI_CU_KERNEL(self_adjust_bwd);
