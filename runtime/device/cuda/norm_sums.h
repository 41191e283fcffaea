/* norm_sums.h: values whose channels come last, [rows, C] in `groups` equal runs of rows, walked by blocks: a thread
 * has V neighbouring channels, loaded as one, and every so many rows. Sums of a channel are taken in two stages of
 * fixed order: chunks of rows, then a channel's chunks; rows are added AT_ONCE by AT_ONCE in the value's type, those
 * in double. */
#ifndef CLVI_DEVICE_CUDA_NORM_SUMS_H
#define CLVI_DEVICE_CUDA_NORM_SUMS_H

#include "device/cuda/cu.h"

enum { CLVI_CU_ROWS_AT_ONCE = 4 };

struct clvi_cu_norm {
    int64_t groups, rows, channels;      /* rows of one group */
    int      width;                      /* V */
    int64_t columns;                     /* channels / V */
    int64_t chunks, chunk_rows;          /* of one group */
    unsigned wide, high;                 /* a block: threads side by side, and one below the other */
};

/* How the blocks lie over x, by shape and type alone: the same sums in every run. A thread takes 16 bytes of
 * channels where rows begin at multiples of that, else one channel. */
static inline clvi_cu_norm clvi_cu_norm_plan(const clvi_desc *x, int64_t groups)
{
#ifdef CLV_EMU
    const int64_t least = 2, blocks = 6;                       /* so that chunks are many */
#else
    const int64_t least = 4 * CLVI_CU_ROWS_AT_ONCE, blocks = 132 * 8;
#endif
    const int wide = 16 / (int)clv_dtype_size(x->dtype);
    int64_t rows = x->shape[0];
    for (int i = 2; i < x->ndim; i++) rows *= x->shape[i];
    const int width = x->shape[1] % wide == 0 ? wide : 1;
    clvi_cu_norm s = { groups, rows / groups, x->shape[1], width, 0, 1, 0, 1, CLVI_CU_THREADS };
    s.columns = s.channels / s.width;
    while (s.wide < CLVI_CU_WARP && s.wide < s.columns) s.wide *= 2, s.high /= 2;
    const int64_t side = (s.columns + s.wide - 1) / s.wide * groups;
    const int64_t most = side > 0 && blocks > side ? blocks / side : 1;
    s.chunks = (s.rows + s.high * least - 1) / (s.high * least);
    if (s.chunks > most) s.chunks = most;
    if (s.chunks < 1) s.chunks = 1;
    s.chunk_rows = (s.rows + s.chunks - 1) / s.chunks;
    return s;
}

/* Channels last where there are pixels, all else dense; workspaces stay as they are. */
static inline void clvi_cu_norm_layout(clvi_desc *desc)
{
    if (!clvi_cu_present(desc) || desc->dtype == CLV_U8) return;
    if (desc->ndim == 4) clvi_desc_make_nhwc(desc);
    else clvi_desc_make_dense(desc);
}

static inline void clvi_cu_norm_layouts(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++) clvi_cu_norm_layout(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_cu_norm_layout(&call->out[i]);
}

static inline dim3 clvi_cu_norm_grid(const clvi_cu_norm &s)
{
    return dim3((unsigned)((s.columns + s.wide - 1) / s.wide), (unsigned)s.chunks, (unsigned)s.groups);
}

static inline dim3 clvi_cu_norm_block(const clvi_cu_norm &s) { return dim3(s.wide, s.high); }

/* Doubles of the chunks' sums. */
static inline size_t clvi_cu_norm_parts(const clvi_cu_norm &s)
{
    return (size_t)(2 * s.groups * s.chunks * s.channels);
}

template <class T, int V> struct alignas(sizeof(T) * V) clvi_cu_pack { T at[V]; };

template <class T, int V> __device__ __forceinline__ clvi_cu_pack<T, V> clvi_cu_load(const T *from)
{
    return *(const clvi_cu_pack<T, V> *)from;
}

/* Where a thread is. */
struct clvi_cu_norm_place {
    int64_t column, group, first, last;  /* its column, its group; rows of the group, from its own on */
    bool    there;                       /* the column is one */
    __device__ explicit clvi_cu_norm_place(const clvi_cu_norm &s)
        : column((int64_t)blockIdx.x * s.wide + threadIdx.x), group(blockIdx.z),
          first(blockIdx.y * s.chunk_rows + threadIdx.y), last((blockIdx.y + 1) * s.chunk_rows),
          there(column < s.columns)
    {
        if (last > s.rows) last = s.rows;
        if (!there) first = last;
    }
    /* A row, or another one where there is no such row. */
    __device__ __forceinline__ int64_t there_or(int64_t row, int64_t other) const { return row < last ? row : other; }
};

/* The block's sums a and b of V channels a thread, to the chunk's place in `part`. */
template <int V>
__device__ void clvi_cu_norm_keep(const clvi_cu_norm &s, const double *a, const double *b, double *part)
{
    __shared__ double sums[2 * V][CLVI_CU_THREADS];
    const unsigned thread = threadIdx.y * s.wide + threadIdx.x;
    for (int v = 0; v < V; v++) sums[2 * v][thread] = a[v], sums[2 * v + 1][thread] = b[v];
    __syncthreads();
    for (unsigned o = thread; o < 2 * V * s.wide; o += CLVI_CU_THREADS) {
        const unsigned k = o / s.wide, x = o % s.wide;
        const int64_t column = (int64_t)blockIdx.x * s.wide + x;
        double sum = 0;
        for (unsigned y = 0; y < s.high; y++) sum += sums[k][y * s.wide + x];
        if (column < s.columns)
            part[((blockIdx.z * s.chunks + blockIdx.y) * s.channels + column * V + k / 2) * 2 + k % 2] = sum;
    }
}

/* The sums of a channel from its chunks', to all lanes of the warp that calls. */
static __device__ inline void clvi_cu_norm_add(const clvi_cu_norm &s, const double *part, int64_t group, int64_t c,
                                               int lane, double *a, double *b)
{
    *a = *b = 0;
    for (int64_t k = lane; k < s.chunks; k += CLVI_CU_WARP) {
        const double *p = part + ((group * s.chunks + k) * s.channels + c) * 2;
        *a += p[0], *b += p[1];
    }
    for (int by = 16; by > 0; by /= 2) {
        *a += __shfl_xor_sync(0xffffffffu, *a, by);
        *b += __shfl_xor_sync(0xffffffffu, *b, by);
    }
}

/* f(channel, lane), called by the lanes of a warp together, for every channel. */
template <class F> clv_status clvi_cu_channels(const clvi_op_call *call, int64_t channels, F f)
{
    return clvi_cu_each(call, channels * CLVI_CU_WARP, [=] __device__ (int64_t i) {
        f(i / CLVI_CU_WARP, (int)(i % CLVI_CU_WARP));
    });
}

/* Sums over each chunk of v and v^2, v = x - shift, the shift of a channel being the first value of its group: nothing
 * cancels. */
template <class T, int V>
__global__ void __launch_bounds__(CLVI_CU_THREADS) clvi_cu_norm_stats(clvi_cu_norm s, const T *x, double *part)
{
    typedef typename clvi_cu_wide<T>::type P;
    const clvi_cu_norm_place at(s);
    const T *group = x + at.group * s.rows * s.channels + at.column * V;
    double sum[V] = { 0 }, square[V] = { 0 };
    P shift[V];
    for (int v = 0; v < V; v++) shift[v] = at.there && s.rows > 0 ? (P)group[v] : P(0);
    for (int64_t row = at.first; row < at.last; row += CLVI_CU_ROWS_AT_ONCE * s.high) {
        clvi_cu_pack<T, V> values[CLVI_CU_ROWS_AT_ONCE];
        P a[V] = { 0 }, b[V] = { 0 };
        for (int r = 0; r < CLVI_CU_ROWS_AT_ONCE; r++)
            values[r] = clvi_cu_load<T, V>(group + at.there_or(row + r * s.high, row) * s.channels);
        for (int r = 0; r < CLVI_CU_ROWS_AT_ONCE; r++)
            for (int v = 0; v < V && row + r * s.high < at.last; v++) {
                const P d = (P)values[r].at[v] - shift[v];
                a[v] += d, b[v] += d * d;
            }
        for (int v = 0; v < V; v++) sum[v] += (double)a[v], square[v] += (double)b[v];
    }
    clvi_cu_norm_keep<V>(s, sum, square, part);
}

/* One of the batch norms whose results are added, or the only one. */
template <class T> struct clvi_cu_norm_side {
    typedef typename clvi_cu_wide<T>::type P;
    const T *x;
    const P *mean;                       /* of [groups, C] */
    double  *part, *coefficients;        /* the sums of chunks; three or, of the gradient, four of [groups, C] */
    T       *dx;                         /* NULL: nobody wants it */
};

/* Batch norm by itself; with what is added to it, or to dy; two that are added, where dy2 may be as well. */
enum clvi_cu_norm_form { CLVI_CU_NORM_ALONE, CLVI_CU_NORM_JOINED, CLVI_CU_NORM_PAIR };

/* What comes back: dy, and dy2 where there is one, both where they got through. `passed` has a byte for V values; NULL:
 * all did. */
template <class T> struct clvi_cu_norm_back {
    const T *dy, *dy2;
    const unsigned char *passed;
};

/* V neighbours of it; without TWICE there is no dy2. */
template <class T, int V, bool TWICE> struct clvi_cu_norm_up {
    typedef typename clvi_cu_wide<T>::type P;
    clvi_cu_pack<T, V> dy, dy2;
    unsigned bits;
    __device__ __forceinline__ void load(const clvi_cu_norm_back<T> &from, int64_t i)
    {
        dy = clvi_cu_load<T, V>(from.dy + i);
        for (int v = 0; v < V; v++) dy2.at[v] = (T)P(0);
        if (TWICE && from.dy2) dy2 = clvi_cu_load<T, V>(from.dy2 + i);
        bits = from.passed ? from.passed[i / V] : 0xffu;
    }
    __device__ __forceinline__ P at(int v) const
    {
        return bits >> v & 1 ? (P)dy.at[v] + (TWICE ? (P)dy2.at[v] : P(0)) : P(0);
    }
    __device__ __forceinline__ void store(T *to) const
    {
        clvi_cu_pack<T, V> out;
        for (int v = 0; v < V; v++) out.at[v] = (T)at(v);
        *(clvi_cu_pack<T, V> *)to = out;
    }
};

/* The same of the gradient: up, and up (x - mean); of the other of a PAIR up, and up (x - its mean). `kept` unless NULL
 * receives up. */
template <class T, int V, clvi_cu_norm_form FORM>
__global__ void __launch_bounds__(CLVI_CU_THREADS, FORM == CLVI_CU_NORM_JOINED ? 2 : 1)
clvi_cu_norm_gradient_stats(clvi_cu_norm s, clvi_cu_norm_back<T> back, clvi_cu_norm_side<T> one,
                            clvi_cu_norm_side<T> other, T *kept)
{
    typedef typename clvi_cu_wide<T>::type P;
    const bool PAIR = FORM == CLVI_CU_NORM_PAIR;
    const int AT_ONCE = FORM == CLVI_CU_NORM_ALONE ? CLVI_CU_ROWS_AT_ONCE : CLVI_CU_ROWS_AT_ONCE / 2, W = PAIR ? V : 1;
    const clvi_cu_norm_place at(s);
    const int64_t begin = at.group * s.rows * s.channels + at.column * V;
    const int64_t channel = at.group * s.channels + at.column * V;
    double sum[V] = { 0 }, along[V] = { 0 }, others[W] = { 0 };
    P middle[V], middles[W];
    for (int v = 0; v < V; v++) middle[v] = at.there ? one.mean[channel + v] : P(0);
    for (int v = 0; PAIR && v < W; v++) middles[v] = at.there ? other.mean[channel + v] : P(0);
    for (int64_t row = at.first; row < at.last; row += AT_ONCE * s.high) {
        clvi_cu_norm_up<T, V, FORM != CLVI_CU_NORM_ALONE> ups[AT_ONCE];
        clvi_cu_pack<T, V> values[AT_ONCE], seconds[PAIR ? AT_ONCE : 1];
        P a[V] = { 0 }, b[V] = { 0 }, c[W] = { 0 };
        for (int r = 0; r < AT_ONCE; r++) {
            const int64_t i = begin + at.there_or(row + r * s.high, row) * s.channels;
            ups[r].load(back, i);
            values[r] = clvi_cu_load<T, V>(one.x + i);
            if (PAIR) seconds[PAIR ? r : 0] = clvi_cu_load<T, V>(other.x + i);
        }
        for (int r = 0; r < AT_ONCE; r++)
            for (int v = 0; v < V && row + r * s.high < at.last; v++) {
                const P up = ups[r].at(v);
                a[v] += up, b[v] += up * ((P)values[r].at[v] - middle[v]);
                if (PAIR) c[PAIR ? v : 0] += up * ((P)seconds[PAIR ? r : 0].at[v] - middles[PAIR ? v : 0]);
            }
        for (int r = 0; r < AT_ONCE; r++)
            if (FORM == CLVI_CU_NORM_JOINED && kept && row + r * s.high < at.last)
                ups[r].store(kept + begin + (row + r * s.high) * s.channels);
        for (int v = 0; v < V; v++) sum[v] += (double)a[v], along[v] += (double)b[v];
        for (int v = 0; PAIR && v < W; v++) others[v] += (double)c[v];
    }
    clvi_cu_norm_keep<V>(s, sum, along, one.part);
    if (!PAIR) return;
    __syncthreads();
    clvi_cu_norm_keep<V>(s, sum, others, other.part);
}

/* y = (x - k0) k1 + k2 with the coefficients of [groups, C], three each, plus the same of the other of a PAIR, or plus
 * `sum` unless NULL; `passed`: y > 0, and with `relu` y is at least 0. */
template <class T, int V, bool PAIR>
__global__ void __launch_bounds__(CLVI_CU_THREADS)
clvi_cu_norm_apply(clvi_cu_norm s, clvi_cu_norm_side<T> one, clvi_cu_norm_side<T> other, const T *sum, bool relu, T *y,
                   unsigned char *passed)
{
    typedef typename clvi_cu_wide<T>::type P;
    const clvi_cu_norm_place at(s);
    const int64_t begin = at.group * s.rows * s.channels + at.column * V;
    const int64_t channel = (at.group * s.channels + at.column * V) * 3;
    const T *second = PAIR ? other.x : sum;
    P k[3][V], l[3][PAIR ? V : 1];
    if (!at.there) return;
    for (int v = 0; v < 3 * V; v++) k[v % 3][v / 3] = (P)one.coefficients[channel + v];
    for (int v = 0; PAIR && v < 3 * V; v++) l[v % 3][v / 3] = (P)other.coefficients[channel + v];
    for (int64_t row = at.first; row < at.last; row += s.high) {
        const int64_t i = begin + row * s.channels;
        const clvi_cu_pack<T, V> values = clvi_cu_load<T, V>(one.x + i);
        clvi_cu_pack<T, V> out, seconds;
        if (second) seconds = clvi_cu_load<T, V>(second + i);
        unsigned bits = 0;
        for (int v = 0; v < V; v++) {
            P value = ((P)values.at[v] - k[0][v]) * k[1][v] + k[2][v];
            const int w = PAIR ? v : 0;
            if (PAIR) value += ((P)seconds.at[v] - l[0][w]) * l[1][w] + l[2][w];
            else if (second) value += (P)seconds.at[v];
            bits |= (unsigned)(value > 0) << v;
            out.at[v] = (T)(relu && value < 0 ? P(0) : value);
        }
        *(clvi_cu_pack<T, V> *)(y + i) = out;
        if (passed) passed[i / V] = (unsigned char)bits;
    }
}

/* dx = k1 (up - k2 - (x - k0) k3), four coefficients each; of both of a PAIR. What `dx` lies upon is read before. */
template <class T, int V, bool PAIR>
__global__ void __launch_bounds__(CLVI_CU_THREADS)
clvi_cu_norm_gradient(clvi_cu_norm s, clvi_cu_norm_back<T> back, clvi_cu_norm_side<T> one, clvi_cu_norm_side<T> other)
{
    typedef typename clvi_cu_wide<T>::type P;
    const clvi_cu_norm_place at(s);
    const int64_t begin = at.group * s.rows * s.channels + at.column * V;
    const int64_t channel = (at.group * s.channels + at.column * V) * 4;
    P k[4][V], l[4][PAIR ? V : 1];
    if (!at.there) return;
    for (int v = 0; v < 4 * V; v++) k[v % 4][v / 4] = (P)one.coefficients[channel + v];
    for (int v = 0; PAIR && v < 4 * V; v++) l[v % 4][v / 4] = (P)other.coefficients[channel + v];
    for (int64_t row = at.first; row < at.last; row += s.high) {
        const int64_t i = begin + row * s.channels;
        const clvi_cu_pack<T, V> values = clvi_cu_load<T, V>(one.x + i);
        clvi_cu_norm_up<T, V, true> up;
        clvi_cu_pack<T, V> out, seconds, outs;
        up.load(back, i);
        if (PAIR) seconds = clvi_cu_load<T, V>(other.x + i);
        for (int v = 0; v < V; v++) {
            const int w = PAIR ? v : 0;
            out.at[v] = (T)(k[1][v] * (up.at(v) - k[2][v] - ((P)values.at[v] - k[0][v]) * k[3][v]));
            if (PAIR) outs.at[v] = (T)(l[1][w] * (up.at(v) - l[2][w] - ((P)seconds.at[v] - l[0][w]) * l[3][w]));
        }
        if (!PAIR || one.dx) *(clvi_cu_pack<T, V> *)(one.dx + i) = out;
        if (PAIR && other.dx) *(clvi_cu_pack<T, V> *)(other.dx + i) = outs;
    }
}

/* Calls fn<T, V> for the width that values of a type are walked in. */
#define CLVI_CU_BY_WIDTH(T, width, fn, ...)                                                                            \
    ((width) == 1 ? fn<T, 1>(__VA_ARGS__) : fn<T, 16 / (int)sizeof(T)>(__VA_ARGS__))

#endif
