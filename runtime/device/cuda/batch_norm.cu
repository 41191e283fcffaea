/* batch_norm.cu: batch norm with its optional ReLU, and the gradient, over values whose channels come last. Split
 * batch norm: `groups` equal runs of rows, each with statistics of its own. The workspace is, with the ReLU, a bit
 * for each value: did it get through; a byte for as many values as a thread takes. */
#include "device/cuda/norm_sums.h"

static clvi_cu_norm plan_of(const clvi_op_call *call, int x)
{
    const clvi_batch_norm_attr *attr = (const clvi_batch_norm_attr *)call->attr;
    return clvi_cu_norm_plan(&call->in[x], attr->training ? attr->groups : 1);
}

/* Scratch: the chunks' sums, then four numbers a group and channel. */
static clv_status prepare(clvi_op_call *call, int n_values)
{
    const clvi_cu_norm s = plan_of(call, n_values - 1);
    clvi_cu_norm_layouts(call, n_values);
    call->scratch_size = (clvi_cu_norm_parts(s) + (size_t)(4 * s.groups * s.channels)) * sizeof(double);
    return CLV_OK;
}

static double *coefficients(const clvi_op_call *call, const clvi_cu_norm &s)
{
    return (double *)call->scratch + clvi_cu_norm_parts(s);
}

/* Sums are joined to batch norms on the host only (tensor/fuse.c). */
static bool accepts(const clvi_op_call *call)
{
    return clvi_cu_accepts_half(call) && !((const clvi_batch_norm_attr *)call->attr)->sum;
}

/* ---- forward ---- */

/* Mean and variance of each channel, running ones included, as y = (x - k0) k1 + k2. `again`: they are there, [groups, C],
 * in place of the running ones. */
template <class T> static clv_status finalize(const clvi_op_call *call, clvi_cu_norm s)
{
    const clvi_batch_norm_attr attr = *(const clvi_batch_norm_attr *)call->attr;
    typedef typename clvi_cu_wide<T>::type P;
    const T *x = (const T *)call->in_data[0];
    const P *gamma = (const P *)call->in_data[1], *beta = (const P *)call->in_data[2];
    P *running_mean = (P *)call->in_data[3], *running_var = (P *)call->in_data[4];
    P *mean_out = clvi_cu_output<P>(call, 1), *var_out = clvi_cu_output<P>(call, 2);
    const double *part = (const double *)call->scratch;
    double *coefficient = coefficients(call, s);
    return clvi_cu_channels(call, s.channels, [=] __device__ (int64_t c, int lane) {
        const double n = (double)s.rows;
        double mean_sum = 0, var_sum = 0;
        for (int64_t g = 0; g < s.groups; g++) {
            const int64_t at = attr.again ? g * s.channels + c : c;
            double mean = running_mean[at], var = running_var[at], a, b;
            if (attr.training && !attr.again) {
                clvi_cu_norm_add(s, part, g, c, lane, &a, &b);
                const double shift = n > 0 ? (double)x[g * s.rows * s.channels + c] : 0;
                mean = n > 0 ? shift + a / n : 0;
                var = n > 0 ? (b - a * a / n) / n : 0;
                var = var > 0 || var != var ? var : 0;
            }
            mean_sum += mean;
            var_sum += n > 1 ? var * n / (n - 1) : var;
            if (lane != 0) continue;
            double *k = coefficient + (g * s.channels + c) * 3;
            k[0] = mean, k[1] = (gamma ? (double)gamma[c] : 1) / sqrt(var + attr.eps);
            k[2] = beta ? (double)beta[c] : 0;
            if (mean_out) mean_out[g * s.channels + c] = (P)mean;
            if (var_out) var_out[g * s.channels + c] = (P)var;
        }
        if (!attr.training || attr.again || n == 0 || lane != 0) return;
        const double m = attr.momentum, groups = (double)s.groups;
        running_mean[c] = (P)((1 - m) * (double)running_mean[c] + m * mean_sum / groups);
        running_var[c] = (P)((1 - m) * (double)running_var[c] + m * var_sum / groups);
    });
}

template <class T, int V> static clv_status batch_norm_by(const clvi_op_call *call, clvi_cu_norm s)
{
    const clvi_batch_norm_attr *attr = (const clvi_batch_norm_attr *)call->attr;
    const T *x = (const T *)call->in_data[0];
    unsigned char *passed = attr->relu ? clvi_cu_output<unsigned char>(call, 3) : nullptr;
    const dim3 grid = clvi_cu_norm_grid(s), block = clvi_cu_norm_block(s);
    if (attr->training && !attr->again && s.rows > 0)
        CLV_TRY(clvi_cu_launch(call, clvi_cu_norm_stats<T, V>, grid, block, 0, s, x, (double *)call->scratch));
    CLV_TRY(finalize<T>(call, s));
    return clvi_cu_launch(call, clvi_cu_norm_apply<T, V>, grid, block, 0, s, x, coefficients(call, s), attr->relu,
                          (T *)call->out_data[0], passed);
}

template <class T> static clv_status batch_norm_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = plan_of(call, 0);
    return CLVI_CU_BY_WIDTH(T, s.width, batch_norm_by, call, s);
}

static clv_status batch_norm(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->in[0], batch_norm_of, call); }

static clv_status prepare_forward(clvi_op_call *call)
{
    CLV_TRY(prepare(call, 1));
    const size_t bytes = (size_t)(clvi_desc_count(&call->in[0]) / plan_of(call, 0).width);
    if (((const clvi_batch_norm_attr *)call->attr)->relu) call->out[3].bytes = bytes ? bytes : 1;
    return CLV_OK;
}
CLVI_CU_KERNEL_WITH(batch_norm, accepts, prepare_forward);

/* ---- gradient ---- */

/* Each channel's sums of dy and of dy times the normalised x, as dx = k1 (dy - k2 - (x - k0) k3); and dgamma, dbeta
 * over all groups. */
template <class T> static clv_status finalize_bwd(const clvi_op_call *call, clvi_cu_norm s)
{
    const clvi_batch_norm_attr attr = *(const clvi_batch_norm_attr *)call->attr;
    typedef typename clvi_cu_wide<T>::type P;
    const P *gamma = (const P *)call->in_data[2];
    const P *mean = (const P *)call->in_data[3], *var = (const P *)call->in_data[4];
    P *dgamma = clvi_cu_output<P>(call, 1), *dbeta = clvi_cu_output<P>(call, 2);
    const double *part = (const double *)call->scratch;
    double *coefficient = coefficients(call, s);
    return clvi_cu_channels(call, s.channels, [=] __device__ (int64_t c, int lane) {
        const double n = (double)s.rows;
        double sum_all = 0, along_all = 0;
        for (int64_t g = 0; g < s.groups; g++) {
            double sum, along;
            clvi_cu_norm_add(s, part, g, c, lane, &sum, &along);
            const double rstd = 1 / sqrt((double)var[g * s.channels + c] + attr.eps);
            sum_all += sum, along_all += along * rstd;
            if (lane != 0) continue;
            double *k = coefficient + (g * s.channels + c) * 4;
            k[0] = mean[g * s.channels + c], k[1] = (gamma ? (double)gamma[c] : 1) * rstd;
            k[2] = attr.training && n > 0 ? sum / n : 0, k[3] = attr.training && n > 0 ? along * rstd * rstd / n : 0;
        }
        if (dgamma && lane == 0) dgamma[c] = (P)along_all;
        if (dbeta && lane == 0) dbeta[c] = (P)sum_all;
    });
}

template <class T, int V> static clv_status batch_norm_bwd_by(const clvi_op_call *call, clvi_cu_norm s)
{
    typedef typename clvi_cu_wide<T>::type P;
    const T *dy = (const T *)call->in_data[0], *x = (const T *)call->in_data[1];
    const bool relu = ((const clvi_batch_norm_attr *)call->attr)->relu;
    const unsigned char *passed = relu ? (const unsigned char *)call->in_data[5] : nullptr;
    T *dx = clvi_cu_output<T>(call, 0);
    const dim3 grid = clvi_cu_norm_grid(s), block = clvi_cu_norm_block(s);
    CLV_TRY(clvi_cu_launch(call, clvi_cu_norm_gradient_stats<T, V>, grid, block, 0, s, dy, x,
                           (const P *)call->in_data[3], passed, (double *)call->scratch));
    CLV_TRY(finalize_bwd<T>(call, s));
    if (!dx) return CLV_OK;
    return clvi_cu_launch(call, clvi_cu_norm_gradient<T, V>, grid, block, 0, s, dy, x, passed,
                          coefficients(call, s), dx);
}

template <class T> static clv_status batch_norm_bwd_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = plan_of(call, 1);
    return CLVI_CU_BY_WIDTH(T, s.width, batch_norm_bwd_by, call, s);
}

static clv_status batch_norm_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->in[1], batch_norm_bwd_of, call);
}

static clv_status prepare_backward(clvi_op_call *call) { return prepare(call, 2); }
CLVI_CU_KERNEL_WITH(batch_norm_bwd, accepts, prepare_backward);
