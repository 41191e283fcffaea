/* pair_nce.cu: every anchor picks its positives out of all other rows; the formulas are those of ref_pair_nce.c. Scores
 * live in tiles of 16 by 16 and are computed again for the gradient, which takes a strip of rows at a time: its weights
 * are the only array of pairs, [STRIP, M]. */
#include "device/cuda/tile.h"

enum { STRIP = 256 };

struct pairs { int64_t rows, dim, period, anchors; double temperature; };

/* Rounded like lse, so that the share of a row's only candidate is exactly 1. */
template <class T> static __device__ T tile_score(const T *x, const pairs &s, int64_t i0, int64_t j0)
{
    return (T)(clvi_cu_tile_sum(clvi_cu_tile_of(x, i0, s.rows, s.dim), clvi_cu_tile_of(x, j0, s.rows, s.dim), s.dim,
                                clvi_cu_product()) / s.temperature);
}

/* ---- forward ---- */

/* max and sum e^{x - max} of what has been seen. A NaN is never the largest; it is in the sum. */
struct running { double max, sum; };

template <class T> static __device__ running with_score(running r, T l)
{
    if ((double)l <= r.max) return running{ r.max, r.sum + (double)exp(l - (T)r.max) };
    const double max = (double)l > r.max ? (double)l : r.max;
    const double before = r.sum == 0 ? 0 : r.sum * (double)exp((T)r.max - (T)max);
    return running{ max, before + (double)exp(l - (T)max) };
}

/* Over the 16 threads of a tile's row, to all of them. */
static __device__ running row_running(running r)
{
    double max = r.max;
    for (int by = CLVI_CU_TILE / 2; by > 0; by /= 2) max = fmax(max, __shfl_xor_sync(0xffffffffu, max, by));
    return running{ max, clvi_cu_tile_row_sum(r.sum == 0 ? 0 : r.sum * exp(r.max - max)) };
}

template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS) pair_nce_kernel(const T *x, const int64_t *labels, pairs s,
                                                                          T *per_anchor, T *positives, T *lse_out)
{
    const int64_t i0 = (int64_t)blockIdx.x * CLVI_CU_TILE, i = i0 + threadIdx.x / CLVI_CU_TILE;
    const int64_t label = i < s.anchors ? labels[i % s.period] : 0;
    running r = { -INFINITY, 0 };
    double positive = 0, count = 0;
    for (int64_t j0 = 0; j0 < s.rows; j0 += CLVI_CU_TILE) {
        const T l = tile_score(x, s, i0, j0);
        const int64_t j = j0 + threadIdx.x % CLVI_CU_TILE;
        if (i >= s.anchors || j >= s.rows || j == i) continue;
        r = with_score(r, l);
        if (labels[j % s.period] == label) positive += (double)l, count++;
    }
    r = row_running(r);
    positive = clvi_cu_tile_row_sum(positive);
    count = clvi_cu_tile_row_sum(count);
    if (i >= s.anchors || threadIdx.x % CLVI_CU_TILE != 0) return;
    const double lse = s.rows > 1 ? r.max + log(r.sum) : 0;
    per_anchor[i] = (T)(count > 0 ? lse - positive / count : 0);
    if (positives) positives[i] = (T)count;
    if (lse_out) lse_out[i] = (T)lse;
}

template <class T> static clv_status pair_nce_of(const clvi_op_call *call)
{
    const int64_t anchors = call->out[0].shape[0];
    const pairs s = { call->in[0].shape[0], call->in[0].shape[1], call->in[1].shape[0], anchors,
                      ((const clvi_pair_nce_attr *)call->attr)->temperature };
    return clvi_cu_launch(call, pair_nce_kernel<T>, clvi_cu_tiles(anchors), CLVI_CU_THREADS, 0,
                          (const T *)call->in_data[0], (const int64_t *)call->in_data[1], s, (T *)call->out_data[0],
                          clvi_cu_output<T>(call, 1), clvi_cu_output<T>(call, 2));
}

static clv_status pair_nce(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], pair_nce_of, call); }
CLVI_CU_KERNEL(pair_nce);

/* ---- gradient: scratch is every anchor's number of positives and the weights of a strip ---- */

static int64_t strip_of(int64_t rows) { return rows < STRIP ? rows : (int64_t)STRIP; }

static clv_status pair_nce_bwd_prepare(clvi_op_call *call)
{
    const int64_t rows = call->in[1].shape[0];
    for (int i = 0; i < call->n_in; i++) clvi_desc_make_dense(&call->in[i]);
    clvi_desc_make_dense(&call->out[0]);
    call->scratch_size = sizeof(double) * (size_t)(call->in[0].shape[0] + strip_of(rows) * rows);
    return CLV_OK;
}

/* Weights of rows [begin, end) in dx: those of a row as an anchor, and of the other rows as anchors. */
template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS)
pair_weights_kernel(const T *g, const T *x, const int64_t *labels, const T *lse, const double *count, pairs s,
                    int64_t begin, int64_t end, T *weights)
{
    const int64_t i0 = begin + (int64_t)blockIdx.y * CLVI_CU_TILE, j0 = (int64_t)blockIdx.x * CLVI_CU_TILE;
    const int64_t i = i0 + threadIdx.x / CLVI_CU_TILE, j = j0 + threadIdx.x % CLVI_CU_TILE;
    const T l = tile_score(x, s, i0, j0);
    if (i >= end || j >= s.rows) return;
    const bool same = labels[i % s.period] == labels[j % s.period];
    double weight = 0;
    if (i != j && i < s.anchors && count[i] > 0)
        weight += (double)g[i] * ((double)exp(l - lse[i]) - (same ? 1 / count[i] : 0));
    if (i != j && j < s.anchors && count[j] > 0)
        weight += (double)g[j] * ((double)exp(l - lse[j]) - (same ? 1 / count[j] : 0));
    weights[(i - begin) * s.rows + j] = (T)weight;
}

/* dx of the strip: its weights times the rows. */
template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS) pair_gradient_kernel(const T *weights, const T *x, pairs s,
                                                                               int64_t begin, int64_t end, T *dx)
{
    __shared__ clvi_cu_tile_weights w;
    const int b = threadIdx.x / CLVI_CU_TILE, a = threadIdx.x % CLVI_CU_TILE;
    const int64_t i = begin + (int64_t)blockIdx.x * CLVI_CU_TILE + b, d0 = (int64_t)blockIdx.y * CLVI_CU_TILE_COLS;
    double sum[CLVI_CU_TILE_COLS / CLVI_CU_TILE] = { 0 };
    for (int64_t j0 = 0; j0 < s.rows; j0 += CLVI_CU_TILE) {
        __syncthreads();
        w[b][a] = i < end && j0 + a < s.rows ? (double)weights[(i - begin) * s.rows + j0 + a] : 0;
        clvi_cu_tile_mix(sum, w, clvi_cu_tile_of(x + d0, j0, s.rows, s.dim), s.dim - d0);
    }
    for (int c = 0; c < CLVI_CU_TILE_COLS / CLVI_CU_TILE; c++) {
        const int64_t d = d0 + a + c * CLVI_CU_TILE;
        if (i < end && d < s.dim) dx[i * s.dim + d] = (T)(sum[c] / s.temperature);
    }
}

template <class T> static clv_status pair_nce_bwd_of(const clvi_op_call *call)
{
    const pairs s = { call->in[1].shape[0], call->in[1].shape[1], call->in[2].shape[0], call->in[0].shape[0],
                      ((const clvi_pair_nce_attr *)call->attr)->temperature };
    const T *g = (const T *)call->in_data[0], *x = (const T *)call->in_data[1], *lse = (const T *)call->in_data[3];
    const int64_t *labels = (const int64_t *)call->in_data[2];
    double *count = (double *)call->scratch;
    T *weights = (T *)(count + s.anchors);
    CLV_TRY(clvi_cu_each(call, s.anchors, [=] __device__ (int64_t i) {
        int64_t same = 0;
        for (int64_t j = 0; j < s.period; j++) same += labels[j] == labels[i % s.period];
        count[i] = (double)(same * (s.rows / s.period) - 1);
    }));
    for (int64_t begin = 0; begin < s.rows; begin += STRIP) {
        const int64_t end = begin + strip_of(s.rows - begin);
        CLV_TRY(clvi_cu_launch(call, pair_weights_kernel<T>, dim3(clvi_cu_tiles(s.rows), clvi_cu_tiles(end - begin)),
                               CLVI_CU_THREADS, 0, g, x, labels, lse, count, s, begin, end, weights));
        CLV_TRY(clvi_cu_launch(call, pair_gradient_kernel<T>,
                               dim3(clvi_cu_tiles(end - begin),
                                    (unsigned)((s.dim + CLVI_CU_TILE_COLS - 1) / CLVI_CU_TILE_COLS)),
                               CLVI_CU_THREADS, 0, weights, x, s, begin, end, (T *)call->out_data[0]));
    }
    return CLV_OK;
}

static clv_status pair_nce_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], pair_nce_bwd_of, call);
}
CLVI_CU_KERNEL_WITH(pair_nce_bwd, nullptr, pair_nce_bwd_prepare);
