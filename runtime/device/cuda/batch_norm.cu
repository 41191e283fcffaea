/* batch_norm.cu: batch norm with its optional ReLU, and the gradient, over values whose channels come last: [rows, C],
 * rows = N H W. Split batch norm: `groups` equal runs of rows, each with statistics of its own. Sums are taken in
 * double, in two stages of fixed order: chunks of rows, then the chunks of a channel. The workspace is, with the ReLU,
 * one byte an element: did it get through. */
#include "device/cuda/cu.h"

enum { TILE = 32, LANES = 8, CHUNK_ROWS = 512 };       /* a block: 32 channels, 8 rows at a time */

struct sizes {
    int64_t groups, rows, channels, chunks;            /* rows and chunks of one group */
};

static sizes sizes_of(const clvi_batch_norm_attr *attr, const clvi_desc *x)
{
    sizes s = { attr->training ? attr->groups : 1, 0, x->shape[1], 0 };
    int64_t rows = x->shape[0];
    for (int i = 2; i < x->ndim; i++) rows *= x->shape[i];
    s.rows = rows / s.groups;
    s.chunks = (s.rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    return s;
}

/* ---- sums of a channel ---- */

/* Two sums over the rows of a chunk for each channel: of what f(row * C + c, c, group) gives in a and b. */
template <class F>
__global__ void __launch_bounds__(TILE * LANES) chunk_sums(sizes s, double *part, F f)
{
    __shared__ double sums[2][LANES][TILE];
    const int64_t c = (int64_t)blockIdx.x * TILE + threadIdx.x, group = blockIdx.z;
    const int64_t first = (int64_t)blockIdx.y * CHUNK_ROWS;
    const int64_t last = first + CHUNK_ROWS < s.rows ? first + CHUNK_ROWS : s.rows;
    double a = 0, b = 0;
    for (int64_t row = first + threadIdx.y; c < s.channels && row < last; row += LANES)
        f((group * s.rows + row) * s.channels + c, c, group, &a, &b);
    sums[0][threadIdx.y][threadIdx.x] = a;
    sums[1][threadIdx.y][threadIdx.x] = b;
    __syncthreads();
    if (threadIdx.y == 0 && c < s.channels) {
        a = b = 0;
        for (int l = 0; l < LANES; l++) a += sums[0][l][threadIdx.x], b += sums[1][l][threadIdx.x];
        double *out = part + ((group * s.chunks + blockIdx.y) * s.channels + c) * 2;
        out[0] = a, out[1] = b;
    }
}

template <class F> static clv_status sum_chunks(const clvi_op_call *call, sizes s, F f)
{
    const dim3 grid((unsigned)((s.channels + TILE - 1) / TILE), (unsigned)s.chunks, (unsigned)s.groups);
    return clvi_cu_launch(call, chunk_sums<F>, grid, dim3(TILE, LANES), 0, s, (double *)call->scratch, f);
}

static __device__ void add_chunks(sizes s, const double *part, int64_t group, int64_t c, double *a, double *b)
{
    *a = *b = 0;
    for (int64_t k = 0; k < s.chunks; k++) {
        const double *p = part + ((group * s.chunks + k) * s.channels + c) * 2;
        *a += p[0], *b += p[1];
    }
}

/* ---- layouts ---- */

/* Channels last where there are pixels; the vectors dense. Scratch: the chunks' sums, then three numbers a group and
 * channel. */
static clv_status prepare(clvi_op_call *call, int n_values, const clvi_desc *x)
{
    const sizes s = sizes_of((const clvi_batch_norm_attr *)call->attr, x);
    for (int i = 0; i < 5; i++) {
        if (!clvi_cu_present(&call->in[i])) continue;
        if (i < n_values && call->in[i].ndim == 4) clvi_desc_make_nhwc(&call->in[i]);
        else clvi_desc_make_dense(&call->in[i]);
    }
    for (int i = 0; i < 3; i++) clvi_desc_make_dense(&call->out[i]);
    if (call->out[0].ndim == 4) clvi_desc_make_nhwc(&call->out[0]);
    call->scratch_size = (size_t)(s.groups * s.channels * (2 * s.chunks + 3)) * sizeof(double);
    return CLV_OK;
}

static double *coefficients(const clvi_op_call *call, sizes s)
{
    return (double *)call->scratch + s.groups * s.channels * 2 * s.chunks;
}

/* Sums are joined to batch norms on the host only (tensor/fuse.c). */
static bool accepts(const clvi_op_call *call)
{
    return clvi_cu_accepts_half(call) && !((const clvi_batch_norm_attr *)call->attr)->sum;
}

/* ---- forward ---- */

/* Mean and variance of each channel, running ones included, as y = x a + b. One thread a channel. */
template <class T> static clv_status finalize(const clvi_op_call *call, sizes s)
{
    const clvi_batch_norm_attr attr = *(const clvi_batch_norm_attr *)call->attr;
    typedef typename clvi_cu_wide<T>::type P;
    const T *x = (const T *)call->in_data[0];
    const P *gamma = (const P *)call->in_data[1], *beta = (const P *)call->in_data[2];
    P *running_mean = (P *)call->in_data[3], *running_var = (P *)call->in_data[4];
    P *mean_out = clvi_cu_output<P>(call, 1), *var_out = clvi_cu_output<P>(call, 2);
    const double *part = (const double *)call->scratch;
    double *coefficient = coefficients(call, s);
    return clvi_cu_each(call, s.channels, [=] __device__ (int64_t c) {
        const double n = (double)s.rows;
        double mean_sum = 0, var_sum = 0;
        for (int64_t g = 0; g < s.groups; g++) {
            double mean = running_mean[c], var = running_var[c], a, b;
            if (attr.training) {
                add_chunks(s, part, g, c, &a, &b);
                const double shift = n > 0 ? (double)x[g * s.rows * s.channels + c] : 0;
                mean = n > 0 ? shift + a / n : 0;
                var = n > 0 ? (b - a * a / n) / n : 0;
                var = var > 0 || var != var ? var : 0;
            }
            const double scale = (gamma ? (double)gamma[c] : 1) / sqrt(var + attr.eps);
            double *k = coefficient + (g * s.channels + c) * 3;
            k[0] = mean, k[1] = scale, k[2] = beta ? (double)beta[c] : 0;
            if (mean_out) mean_out[g * s.channels + c] = (P)mean;
            if (var_out) var_out[g * s.channels + c] = (P)var;
            mean_sum += mean;
            var_sum += n > 1 ? var * n / (n - 1) : var;
        }
        if (!attr.training || n == 0) return;
        const double m = attr.momentum, groups = (double)s.groups;
        running_mean[c] = (P)((1 - m) * (double)running_mean[c] + m * mean_sum / groups);
        running_var[c] = (P)((1 - m) * (double)running_var[c] + m * var_sum / groups);
    });
}

template <class T> static clv_status batch_norm_of(const clvi_op_call *call)
{
    const clvi_batch_norm_attr attr = *(const clvi_batch_norm_attr *)call->attr;
    const sizes s = sizes_of(&attr, &call->in[0]);
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    unsigned char *passed = attr.relu ? clvi_cu_output<unsigned char>(call, 3) : nullptr;
    if (attr.training && s.rows > 0)
        CLV_TRY(sum_chunks(call, s, [=] __device__ (int64_t i, int64_t c, int64_t group, double *a, double *b) {
            /* shifted: nothing cancels */
            const double v = (double)x[i] - (double)x[group * s.rows * s.channels + c];
            *a += v, *b += v * v;
        }));
    CLV_TRY(finalize<T>(call, s));
    const double *coefficient = coefficients(call, s);
    const bool relu = attr.relu;
    return clvi_cu_each(call, clvi_desc_count(&call->in[0]), [=] __device__ (int64_t i) {
        const double *k = coefficient + (i / (s.rows * s.channels) * s.channels + i % s.channels) * 3;
        const double v = ((double)x[i] - k[0]) * k[1] + k[2];
        y[i] = (T)(relu && v < 0 ? 0.0 : v);
        if (passed) passed[i] = v > 0;
    });
}

static clv_status batch_norm(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->in[0], batch_norm_of, call); }

static clv_status prepare_forward(clvi_op_call *call)
{
    CLV_TRY(prepare(call, 1, &call->in[0]));
    const size_t count = (size_t)clvi_desc_count(&call->in[0]);
    if (((const clvi_batch_norm_attr *)call->attr)->relu) call->out[3].bytes = count ? count : 1;
    return CLV_OK;
}
CLVI_CU_KERNEL_WITH(batch_norm, accepts, prepare_forward);

/* ---- gradient ---- */

/* Each channel's sums of dy and of dy times the normalised x, from the chunks'; and dgamma, dbeta over all groups. */
template <class T> static clv_status finalize_bwd(const clvi_op_call *call, sizes s)
{
    const double eps = ((const clvi_batch_norm_attr *)call->attr)->eps;
    typedef typename clvi_cu_wide<T>::type P;
    const P *var = (const P *)call->in_data[4];
    P *dgamma = clvi_cu_output<P>(call, 1), *dbeta = clvi_cu_output<P>(call, 2);
    const double *part = (const double *)call->scratch;
    double *coefficient = coefficients(call, s);
    return clvi_cu_each(call, s.channels, [=] __device__ (int64_t c) {
        double sum_all = 0, along_all = 0;
        for (int64_t g = 0; g < s.groups; g++) {
            double sum, along;
            add_chunks(s, part, g, c, &sum, &along);
            const double rstd = 1 / sqrt((double)var[g * s.channels + c] + eps);
            double *k = coefficient + (g * s.channels + c) * 3;
            k[0] = sum, k[1] = along * rstd, k[2] = rstd;
            sum_all += sum, along_all += along * rstd;
        }
        if (dgamma) dgamma[c] = (P)along_all;
        if (dbeta) dbeta[c] = (P)sum_all;
    });
}

template <class T> static clv_status batch_norm_bwd_of(const clvi_op_call *call)
{
    const clvi_batch_norm_attr attr = *(const clvi_batch_norm_attr *)call->attr;
    const sizes s = sizes_of(&attr, &call->in[1]);
    typedef typename clvi_cu_wide<T>::type P;
    const T *dy = (const T *)call->in_data[0], *x = (const T *)call->in_data[1];
    const P *gamma = (const P *)call->in_data[2], *mean = (const P *)call->in_data[3];
    const unsigned char *passed = attr.relu ? (const unsigned char *)call->in_data[5] : nullptr;
    T *dx = clvi_cu_output<T>(call, 0);
    CLV_TRY(sum_chunks(call, s, [=] __device__ (int64_t i, int64_t c, int64_t group, double *a, double *b) {
        const double up = passed && !passed[i] ? 0 : (double)dy[i];
        *a += up, *b += up * ((double)x[i] - (double)mean[group * s.channels + c]);
    }));
    CLV_TRY(finalize_bwd<T>(call, s));
    if (!dx) return CLV_OK;
    const double *coefficient = coefficients(call, s);
    const double n = (double)s.rows;
    const bool training = attr.training;
    return clvi_cu_each(call, clvi_desc_count(&call->in[1]), [=] __device__ (int64_t i) {
        const int64_t c = i % s.channels, at = i / (s.rows * s.channels) * s.channels + c;
        const double *k = coefficient + at * 3, up = passed && !passed[i] ? 0 : (double)dy[i];
        const double through = training ? (k[0] + ((double)x[i] - (double)mean[at]) * k[2] * k[1]) / n : 0;
        dx[i] = (T)((gamma ? (double)gamma[c] : 1) * k[2] * (up - through));
    });
}

static clv_status batch_norm_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->in[1], batch_norm_bwd_of, call);
}

static clv_status prepare_backward(clvi_op_call *call) { return prepare(call, 2, &call->in[1]); }
CLVI_CU_KERNEL_WITH(batch_norm_bwd, accepts, prepare_backward);
