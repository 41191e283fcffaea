/* batch_norm.cu: batch norm and its gradient, over values whose channels come last, alone and as the end of a residual
 * block: with the shortcut added before the ReLU, or (batch_norm_pair) the sum of two batch norms, of which neither's
 * own result is ever written. Split batch norm: `groups` equal runs of rows, each with statistics of its own. The
 * workspace is, with the ReLU, a bit for each value: did it get through; a byte for as many as a thread takes. */
#include "device/cuda/norm_sums.h"

static clvi_cu_norm plan_of(const clvi_op_call *call, int x)
{
    const clvi_batch_norm_attr *attr = (const clvi_batch_norm_attr *)call->attr;
    return clvi_cu_norm_plan(&call->in[x], attr->training ? attr->groups : 1);
}

/* Scratch of one batch norm: the chunks' sums, then four numbers a group and channel. */
static size_t side_doubles(const clvi_cu_norm &s)
{
    return clvi_cu_norm_parts(s) + (size_t)(4 * s.groups * s.channels);
}

static clv_status prepare(clvi_op_call *call, int x, int sides)
{
    clvi_cu_norm_layouts(call);
    call->scratch_size = (size_t)sides * side_doubles(plan_of(call, x)) * sizeof(double);
    return CLV_OK;
}

/* The batch norm whose x is input `x`, the `number`-th of the call. */
template <class T>
static clvi_cu_norm_side<T> side_of(const clvi_op_call *call, const clvi_cu_norm &s, int x, int number)
{
    double *scratch = (double *)call->scratch + (size_t)number * side_doubles(s);
    return { (const T *)call->in_data[x], nullptr, scratch, scratch + clvi_cu_norm_parts(s), nullptr };
}

/* Where its statistics are among those of [norms, groups, C]. */
template <class P> static P *of_side(P *all, const clvi_cu_norm &s, int number)
{
    return all ? all + (int64_t)number * s.groups * s.channels : nullptr;
}

/* ---- forward ---- */

/* Mean and variance of each channel, running ones included, as y = (x - k0) k1 + k2. `again`: they are there,
 * [groups, C], in place of the running ones. */
template <class T>
static clv_status finalize(const clvi_op_call *call, clvi_cu_norm s, clvi_cu_norm_side<T> side, int x_in, int number)
{
    const clvi_batch_norm_attr attr = *(const clvi_batch_norm_attr *)call->attr;
    typedef typename clvi_cu_wide<T>::type P;
    const P *gamma = (const P *)call->in_data[x_in + 1], *beta = (const P *)call->in_data[x_in + 2];
    P *running_mean = (P *)call->in_data[x_in + 3], *running_var = (P *)call->in_data[x_in + 4];
    P *mean_out = of_side(clvi_cu_output<P>(call, 1), s, number);
    P *var_out = of_side(clvi_cu_output<P>(call, 2), s, number);
    return clvi_cu_channels(call, s.channels, [=] __device__ (int64_t c, int lane) {
        const double n = (double)s.rows;
        double mean_sum = 0, var_sum = 0;
        for (int64_t g = 0; g < s.groups; g++) {
            const int64_t at = attr.again ? g * s.channels + c : c;
            double mean = running_mean[at], var = running_var[at], a, b;
            if (attr.training && !attr.again) {
                clvi_cu_norm_add(s, side.part, g, c, lane, &a, &b);
                const double shift = n > 0 ? (double)side.x[g * s.rows * s.channels + c] : 0;
                mean = n > 0 ? shift + a / n : 0;
                var = n > 0 ? (b - a * a / n) / n : 0;
                var = var > 0 || var != var ? var : 0;
            }
            mean_sum += mean;
            var_sum += n > 1 ? var * n / (n - 1) : var;
            if (lane != 0) continue;
            double *k = side.coefficients + (g * s.channels + c) * 3;
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

template <class T, int V>
static clv_status statistics(const clvi_op_call *call, clvi_cu_norm s, clvi_cu_norm_side<T> side, int x_in, int number)
{
    const clvi_batch_norm_attr *attr = (const clvi_batch_norm_attr *)call->attr;
    if (attr->training && !attr->again && s.rows > 0)
        CLV_TRY(clvi_cu_launch(call, clvi_cu_norm_stats<T, V>, clvi_cu_norm_grid(s), clvi_cu_norm_block(s), 0, s,
                               side.x, side.part));
    return finalize<T>(call, s, side, x_in, number);
}

template <class T, int V, bool PAIR> static clv_status forward_by(const clvi_op_call *call, clvi_cu_norm s)
{
    const clvi_batch_norm_attr *attr = (const clvi_batch_norm_attr *)call->attr;
    const T *sum = attr->sum ? (const T *)call->in_data[5] : nullptr;
    unsigned char *passed = attr->relu ? clvi_cu_output<unsigned char>(call, 3) : nullptr;
    const clvi_cu_norm_side<T> one = side_of<T>(call, s, 0, 0), other = PAIR ? side_of<T>(call, s, 5, 1) : one;
    CLV_TRY((statistics<T, V>(call, s, one, 0, 0)));
    if (PAIR) CLV_TRY((statistics<T, V>(call, s, other, 5, 1)));
    return clvi_cu_launch(call, clvi_cu_norm_apply<T, V, PAIR>, clvi_cu_norm_grid(s), clvi_cu_norm_block(s), 0, s, one,
                          other, sum, attr->relu, (T *)call->out_data[0], passed);
}

template <class T, int V> static clv_status batch_norm_by(const clvi_op_call *call, clvi_cu_norm s)
{
    return forward_by<T, V, false>(call, s);
}

template <class T, int V> static clv_status pair_by(const clvi_op_call *call, clvi_cu_norm s)
{
    return forward_by<T, V, true>(call, s);
}

template <class T> static clv_status batch_norm_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = plan_of(call, 0);
    return CLVI_CU_BY_WIDTH(T, s.width, batch_norm_by, call, s);
}

template <class T> static clv_status pair_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = plan_of(call, 0);
    return CLVI_CU_BY_WIDTH(T, s.width, pair_by, call, s);
}

static clv_status batch_norm(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->in[0], batch_norm_of, call); }
static clv_status batch_norm_pair(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->in[0], pair_of, call); }

static clv_status prepare_with(clvi_op_call *call, int sides)
{
    CLV_TRY(prepare(call, 0, sides));
    const size_t bytes = (size_t)(clvi_desc_count(&call->in[0]) / plan_of(call, 0).width);
    if (((const clvi_batch_norm_attr *)call->attr)->relu) call->out[3].bytes = bytes ? bytes : 1;
    return CLV_OK;
}

static clv_status prepare_forward(clvi_op_call *call) { return prepare_with(call, 1); }
static clv_status prepare_pair(clvi_op_call *call) { return prepare_with(call, 2); }
CLVI_CU_KERNEL_WITH(batch_norm, clvi_cu_accepts_half, prepare_forward);
CLVI_CU_KERNEL_WITH(batch_norm_pair, clvi_cu_accepts_half, prepare_pair);

/* ---- gradient ---- */

/* The vectors of one batch norm: which inputs and outputs of the call they are. */
struct vectors {
    int gamma, mean, var, dgamma, dbeta;
};

/* Each channel's sums of dy and of dy times the normalised x, as dx = k1 (dy - k2 - (x - k0) k3); and dgamma, dbeta
 * over all groups. */
template <class T>
static clv_status finalize_bwd(const clvi_op_call *call, clvi_cu_norm s, clvi_cu_norm_side<T> side, vectors at,
                               int number)
{
    const clvi_batch_norm_attr attr = *(const clvi_batch_norm_attr *)call->attr;
    typedef typename clvi_cu_wide<T>::type P;
    const P *gamma = (const P *)call->in_data[at.gamma];
    const P *mean = side.mean, *var = of_side((const P *)call->in_data[at.var], s, number);
    P *dgamma = clvi_cu_output<P>(call, at.dgamma), *dbeta = clvi_cu_output<P>(call, at.dbeta);
    return clvi_cu_channels(call, s.channels, [=] __device__ (int64_t c, int lane) {
        const double n = (double)s.rows;
        double sum_all = 0, along_all = 0;
        for (int64_t g = 0; g < s.groups; g++) {
            double sum, along;
            clvi_cu_norm_add(s, side.part, g, c, lane, &sum, &along);
            const double rstd = 1 / sqrt((double)var[g * s.channels + c] + attr.eps);
            sum_all += sum, along_all += along * rstd;
            if (lane != 0) continue;
            double *k = side.coefficients + (g * s.channels + c) * 4;
            k[0] = mean[g * s.channels + c], k[1] = (gamma ? (double)gamma[c] : 1) * rstd;
            k[2] = attr.training && n > 0 ? sum / n : 0, k[3] = attr.training && n > 0 ? along * rstd * rstd / n : 0;
        }
        if (dgamma && lane == 0) dgamma[c] = (P)along_all;
        if (dbeta && lane == 0) dbeta[c] = (P)sum_all;
    });
}

template <class T>
static clvi_cu_norm_side<T> side_bwd(const clvi_op_call *call, const clvi_cu_norm &s, int x, vectors at, int dx,
                                     int number)
{
    typedef typename clvi_cu_wide<T>::type P;
    clvi_cu_norm_side<T> side = side_of<T>(call, s, x, number);
    side.mean = of_side((const P *)call->in_data[at.mean], s, number);
    side.dx = clvi_cu_output<T>(call, dx);
    return side;
}

/* What comes back: dy, dy2 and the workspace, each an input of the call. */
template <class T> static clvi_cu_norm_back<T> back_of(const clvi_op_call *call, int workspace, int dy2)
{
    const bool relu = ((const clvi_batch_norm_attr *)call->attr)->relu;
    return { (const T *)call->in_data[0], (const T *)call->in_data[dy2],
             relu ? (const unsigned char *)call->in_data[workspace] : nullptr };
}

/* What the sum's other operand gets is what the batch norm's x gets its part of: written once, it is read instead. */
template <class T, int V> static clv_status batch_norm_bwd_by(const clvi_op_call *call, clvi_cu_norm s)
{
    const vectors at = { 2, 3, 4, 1, 2 };
    const clvi_cu_norm_side<T> side = side_bwd<T>(call, s, 1, at, 0, 0);
    clvi_cu_norm_back<T> back = back_of<T>(call, 5, 6);
    T *kept = call->n_out > 3 ? clvi_cu_output<T>(call, 3) : nullptr;
    const dim3 grid = clvi_cu_norm_grid(s), block = clvi_cu_norm_block(s);
    const bool joined = back.dy2 || kept;
    CLV_TRY(clvi_cu_launch(call, joined ? clvi_cu_norm_gradient_stats<T, V, CLVI_CU_NORM_JOINED>
                                        : clvi_cu_norm_gradient_stats<T, V, CLVI_CU_NORM_ALONE>,
                           grid, block, 0, s, back, side, side, kept));
    CLV_TRY(finalize_bwd<T>(call, s, side, at, 0));
    if (!side.dx) return CLV_OK;
    if (kept) back = { kept, nullptr, nullptr };
    return clvi_cu_launch(call, clvi_cu_norm_gradient<T, V, false>, grid, block, 0, s, back, side, side);
}

template <class T, int V> static clv_status pair_bwd_by(const clvi_op_call *call, clvi_cu_norm s)
{
    const vectors first = { 2, 5, 6, 1, 2 }, second = { 4, 5, 6, 4, 5 };
    const clvi_cu_norm_side<T> one = side_bwd<T>(call, s, 1, first, 0, 0);
    const clvi_cu_norm_side<T> other = side_bwd<T>(call, s, 3, second, 3, 1);
    const clvi_cu_norm_back<T> back = back_of<T>(call, 7, 8);
    const dim3 grid = clvi_cu_norm_grid(s), block = clvi_cu_norm_block(s);
    CLV_TRY(clvi_cu_launch(call, clvi_cu_norm_gradient_stats<T, V, CLVI_CU_NORM_PAIR>, grid, block, 0, s, back, one,
                           other, nullptr));
    CLV_TRY(finalize_bwd<T>(call, s, one, first, 0));
    CLV_TRY(finalize_bwd<T>(call, s, other, second, 1));
    if (!one.dx && !other.dx) return CLV_OK;
    return clvi_cu_launch(call, clvi_cu_norm_gradient<T, V, true>, grid, block, 0, s, back, one, other);
}

template <class T> static clv_status batch_norm_bwd_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = plan_of(call, 1);
    return CLVI_CU_BY_WIDTH(T, s.width, batch_norm_bwd_by, call, s);
}

template <class T> static clv_status pair_bwd_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = plan_of(call, 1);
    return CLVI_CU_BY_WIDTH(T, s.width, pair_bwd_by, call, s);
}

static clv_status batch_norm_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->in[1], batch_norm_bwd_of, call);
}

static clv_status batch_norm_pair_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->in[1], pair_bwd_of, call);
}

static clv_status prepare_backward(clvi_op_call *call) { return prepare(call, 1, 1); }
static clv_status prepare_pair_backward(clvi_op_call *call) { return prepare(call, 1, 2); }

/* Gradients take the place of what came back: dx that of dy, the other operand's that of dy2. */
extern "C" const clvi_kernel clvi_kernel_cuda_batch_norm_bwd, clvi_kernel_cuda_batch_norm_pair_bwd;
const clvi_kernel clvi_kernel_cuda_batch_norm_bwd = { "batch_norm_bwd", "cuda", clvi_cu_accepts_half, prepare_backward,
                                                      batch_norm_bwd, nullptr, { 1, 0, 0, 7 } };
const clvi_kernel clvi_kernel_cuda_batch_norm_pair_bwd = { "batch_norm_pair_bwd", "cuda", clvi_cu_accepts_half,
                                                           prepare_pair_backward, batch_norm_pair_bwd, nullptr,
                                                           { 1, 0, 0, 9 } };
