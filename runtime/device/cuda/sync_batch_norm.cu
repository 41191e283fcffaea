/* sync_batch_norm.cu: batch norm whose statistics are those of the batch of all ranks. Sums over this rank's share
 * are made as batch_norm.cu makes them, and added up over the ranks where they lie, by the function in the attributes,
 * which queues it between the kernels. */
#include "device/cuda/norm_sums.h"
extern "C" {
#include "device/sync_norm.h"
}

/* In the scratch memory after the chunks' sums: what goes over the ranks, 2 C + 1 numbers, the middle one how many
 * values a channel has; then four coefficients a channel. */
struct sync_norm {
    clvi_cu_norm plan;
    double *sums, *coefficient;
};

static clvi_cu_norm plan_of(const clvi_op_call *call, int x) { return clvi_cu_norm_plan(&call->in[x], 1); }

static sync_norm open(const clvi_op_call *call, int x)
{
    sync_norm n = { plan_of(call, x), nullptr, nullptr };
    n.sums = (double *)call->scratch + clvi_cu_norm_parts(n.plan);
    n.coefficient = n.sums + 2 * n.plan.channels + 1;
    return n;
}

static clv_status prepare(clvi_op_call *call, int n_values)
{
    const clvi_cu_norm s = plan_of(call, n_values - 1);
    clvi_cu_norm_layouts(call);
    call->scratch_size = (clvi_cu_norm_parts(s) + (size_t)(6 * s.channels + 1)) * sizeof(double);
    return CLV_OK;
}

static clv_status over_ranks(const clvi_op_call *call, double *sums, int64_t n)
{
    const clvi_rank_sum *ranks = ((const clvi_sync_norm_attr *)call->attr)->ranks;
    return ranks ? ranks->sum(ranks->user, call->ctx, sums, n) : CLV_OK;
}

/* ---- forward ---- */

/* Of a channel: the sum over this rank's share; the squares about the mean of all, from those about the share's
 * first value. */
template <class T, bool SQUARES> static clv_status share_sums(const clvi_op_call *call, sync_norm n)
{
    const T *x = (const T *)call->in_data[0];
    const double *part = (const double *)call->scratch;
    const int64_t channels = n.plan.channels;
    return clvi_cu_channels(call, channels, [=] __device__ (int64_t c, int lane) {
        double a, b;
        clvi_cu_norm_add(n.plan, part, 0, c, lane, &a, &b);
        const double rows = (double)n.plan.rows, shift = n.plan.rows > 0 ? (double)x[c] : 0;
        if (lane != 0) return;
        if (!SQUARES) {
            n.sums[c] = a + rows * shift;
            if (c == 0) n.sums[channels] = rows;
            return;
        }
        const double gap = n.sums[c] / n.sums[channels] - shift, squares = b - 2 * gap * a + rows * gap * gap;
        n.sums[channels + 1 + c] = squares > 0 || squares != squares ? squares : 0;
    });
}

template <class T> static clv_status finalize(const clvi_op_call *call, sync_norm n)
{
    const clvi_sync_norm_attr attr = *(const clvi_sync_norm_attr *)call->attr;
    typedef typename clvi_cu_wide<T>::type P;
    const P *gamma = (const P *)call->in_data[1], *beta = (const P *)call->in_data[2];
    P *running_mean = (P *)call->in_data[3], *running_var = (P *)call->in_data[4];
    P *mean_out = clvi_cu_output<P>(call, 1), *var_out = clvi_cu_output<P>(call, 2);
    const int64_t channels = n.plan.channels;
    return clvi_cu_each(call, channels, [=] __device__ (int64_t c) {
        const double all = n.sums[channels], mean = n.sums[c] / all, var = n.sums[channels + 1 + c] / all;
        const double m = attr.momentum;
        double *k = n.coefficient + c * 3;
        k[0] = mean, k[1] = (gamma ? (double)gamma[c] : 1) / sqrt(var + attr.eps), k[2] = beta ? (double)beta[c] : 0;
        if (mean_out) mean_out[c] = (P)mean;
        if (var_out) var_out[c] = (P)var;
        running_mean[c] = (P)((1 - m) * (double)running_mean[c] + m * mean);
        running_var[c] = (P)((1 - m) * (double)running_var[c] + m * var * (all > 1 ? all / (all - 1) : 1));
    });
}

template <class T, int V> static clv_status forward_by(const clvi_op_call *call, sync_norm n)
{
    const dim3 grid = clvi_cu_norm_grid(n.plan), block = clvi_cu_norm_block(n.plan);
    const T *x = (const T *)call->in_data[0];
    CLV_TRY(clvi_cu_launch(call, clvi_cu_norm_stats<T, V>, grid, block, 0, n.plan, x, (double *)call->scratch));
    CLV_TRY((share_sums<T, false>(call, n)));
    CLV_TRY(over_ranks(call, n.sums, n.plan.channels + 1));
    CLV_TRY((share_sums<T, true>(call, n)));
    CLV_TRY(over_ranks(call, n.sums + n.plan.channels + 1, n.plan.channels));
    CLV_TRY(finalize<T>(call, n));
    const clvi_cu_norm_side<T> side = { x, nullptr, nullptr, n.coefficient, nullptr };
    return clvi_cu_launch(call, clvi_cu_norm_apply<T, V, false>, grid, block, 0, n.plan, side, side, nullptr, false,
                          (T *)call->out_data[0], nullptr);
}

template <class T> static clv_status forward_of(const clvi_op_call *call)
{
    const sync_norm n = open(call, 0);
    return CLVI_CU_BY_WIDTH(T, n.plan.width, forward_by, call, n);
}

static clv_status sync_batch_norm(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[0], forward_of, call); }
static clv_status prepare_forward(clvi_op_call *call) { return prepare(call, 1); }
CLVI_CU_KERNEL_WITH(sync_batch_norm, nullptr, prepare_forward);

/* ---- gradient ---- */

/* This rank's sums of dy and of dy times the normalised x, which are its parts of dbeta and dgamma. */
template <class T> static clv_status gradient_sums(const clvi_op_call *call, sync_norm n)
{
    const double eps = ((const clvi_sync_norm_attr *)call->attr)->eps;
    typedef typename clvi_cu_wide<T>::type P;
    const P *var = (const P *)call->in_data[4];
    P *dgamma = clvi_cu_output<P>(call, 1), *dbeta = clvi_cu_output<P>(call, 2);
    const double *part = (const double *)call->scratch;
    const int64_t channels = n.plan.channels;
    return clvi_cu_channels(call, channels, [=] __device__ (int64_t c, int lane) {
        double sum, along;
        clvi_cu_norm_add(n.plan, part, 0, c, lane, &sum, &along);
        if (lane != 0) return;
        along /= sqrt((double)var[c] + eps);
        n.sums[c] = sum, n.sums[channels + 1 + c] = along;
        if (c == 0) n.sums[channels] = (double)n.plan.rows;
        if (dgamma) dgamma[c] = (P)along;
        if (dbeta) dbeta[c] = (P)sum;
    });
}

/* dx = k1 (dy - k2 - (x - k0) k3) */
template <class T> static clv_status gradient_coefficients(const clvi_op_call *call, sync_norm n)
{
    const double eps = ((const clvi_sync_norm_attr *)call->attr)->eps;
    typedef typename clvi_cu_wide<T>::type P;
    const P *gamma = (const P *)call->in_data[2];
    const P *mean = (const P *)call->in_data[3], *var = (const P *)call->in_data[4];
    const int64_t channels = n.plan.channels;
    return clvi_cu_each(call, channels, [=] __device__ (int64_t c) {
        const double rstd = 1 / sqrt((double)var[c] + eps), all = n.sums[channels];
        double *k = n.coefficient + c * 4;
        k[0] = mean[c], k[1] = (gamma ? (double)gamma[c] : 1) * rstd;
        k[2] = n.sums[c] / all, k[3] = n.sums[channels + 1 + c] * rstd / all;
    });
}

template <class T, int V> static clv_status backward_by(const clvi_op_call *call, sync_norm n)
{
    typedef typename clvi_cu_wide<T>::type P;
    const dim3 grid = clvi_cu_norm_grid(n.plan), block = clvi_cu_norm_block(n.plan);
    const clvi_cu_norm_back<T> back = { (const T *)call->in_data[0], nullptr, nullptr };
    T *dx = clvi_cu_output<T>(call, 0);
    const clvi_cu_norm_side<T> side = { (const T *)call->in_data[1], (const P *)call->in_data[3],
                                        (double *)call->scratch, n.coefficient, dx };
    CLV_TRY(clvi_cu_launch(call, clvi_cu_norm_gradient_stats<T, V, CLVI_CU_NORM_ALONE>, grid, block, 0, n.plan, back,
                           side, side, nullptr));
    CLV_TRY(gradient_sums<T>(call, n));
    CLV_TRY(over_ranks(call, n.sums, 2 * n.plan.channels + 1));
    if (!dx) return CLV_OK;
    CLV_TRY(gradient_coefficients<T>(call, n));
    return clvi_cu_launch(call, clvi_cu_norm_gradient<T, V, false>, grid, block, 0, n.plan, back, side, side);
}

template <class T> static clv_status backward_of(const clvi_op_call *call)
{
    const sync_norm n = open(call, 1);
    return CLVI_CU_BY_WIDTH(T, n.plan.width, backward_by, call, n);
}

static clv_status sync_batch_norm_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->in[1], backward_of, call);
}

static clv_status prepare_backward(clvi_op_call *call) { return prepare(call, 2); }
CLVI_CU_KERNEL_WITH(sync_batch_norm_bwd, nullptr, prepare_backward);
