/* attention.cu: attention and its gradient; the formulas are those of ref_attention.c. A block has 16 rows of one head
 * of one sample, and 64 columns of their results; it walks over the other tokens 16 at a time, so scores and
 * probabilities exist in tiles only. The gradient computes them again: once for the queries, once for keys and
 * values. */
#include "device/cuda/tile.h"

enum { PARTS = CLVI_CU_TILE_COLS / CLVI_CU_TILE };

/* Shapes: rows of qkv are `row` apart, those of y `wide`. */
struct sizes { int64_t items, heads, tokens, size, wide; double scale; };

static sizes sizes_of(const clvi_op_call *call, const clvi_desc *qkv)
{
    const clvi_attention_attr *attr = (const clvi_attention_attr *)call->attr;
    const int64_t wide = qkv->shape[1] / 3, size = wide / attr->heads;
    return sizes{ qkv->shape[0] / attr->tokens * attr->heads, attr->heads, attr->tokens, size, wide,
                  1 / sqrt((double)size) };
}

/* Blocks: the tiles of all heads of all samples, by runs of 64 columns. */
static dim3 grid_of(const sizes &s)
{
    return dim3((unsigned)(s.items * clvi_cu_tiles(s.tokens)),
                (unsigned)((s.size + CLVI_CU_TILE_COLS - 1) / CLVI_CU_TILE_COLS));
}

/* Where a thread's block is: its first row and first column, and its head of its sample. */
struct place {
    int64_t first, column, item;
    int64_t q, y;                  /* of the head, in elements of qkv and of y */
    int row, lane;                 /* of the thread in the tile */

    __device__ explicit place(const sizes &s)
    {
        const int64_t tiles = (s.tokens + CLVI_CU_TILE - 1) / CLVI_CU_TILE;
        item = blockIdx.x / tiles;
        first = blockIdx.x % tiles * CLVI_CU_TILE;
        column = (int64_t)blockIdx.y * CLVI_CU_TILE_COLS;
        y = item / s.heads * s.tokens * s.wide + item % s.heads * s.size;
        q = item / s.heads * s.tokens * 3 * s.wide + item % s.heads * s.size;
        row = threadIdx.x / CLVI_CU_TILE;
        lane = threadIdx.x % CLVI_CU_TILE;
    }
};

/* Rows of a head from token `first` on: of part 0, 1, 2 of qkv (queries, keys, values), or of y. */
template <class T>
static __device__ clvi_cu_tile_rows<T> part_rows(const T *qkv, const place &at, const sizes &s, int part,
                                                 int64_t first, int64_t column)
{
    return clvi_cu_tile_of(qkv + at.q + part * s.wide + column, first, s.tokens, 3 * s.wide);
}

template <class T> static __device__ clvi_cu_tile_rows<T> result_rows(const T *y, const place &at, const sizes &s,
                                                                      int64_t first, int64_t column)
{
    return clvi_cu_tile_of(y + at.y + column, first, s.tokens, s.wide);
}

/* ---- forward ---- */

template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS) attention_kernel(const T *qkv, sizes s, T *y, T *lse)
{
    __shared__ clvi_cu_tile_weights p;
    const place at(s);
    const int64_t i = at.first + at.row;
    double top = -INFINITY, sum = 0, mix[PARTS] = { 0 };
    for (int64_t j0 = 0; j0 < s.tokens; j0 += CLVI_CU_TILE) {
        const bool there = j0 + at.lane < s.tokens;
        const double score = s.scale * clvi_cu_tile_sum(part_rows(qkv, at, s, 0, at.first, 0),
                                                        part_rows(qkv, at, s, 1, j0, 0), s.size, clvi_cu_product());
        const double larger = clvi_cu_larger<double>()(top, clvi_cu_tile_row_max(there ? score : -INFINITY));
        const double kept = j0 > 0 ? exp(top - larger) : 0, weight = there ? (double)exp((T)(score - larger)) : 0;
        top = larger;
        sum = sum * kept + clvi_cu_tile_row_sum(weight);
        p[at.row][at.lane] = weight;
        for (int c = 0; c < PARTS; c++) mix[c] *= kept;
        clvi_cu_tile_mix(mix, p, part_rows(qkv, at, s, 2, j0, at.column), s.size - at.column);
    }
    if (i >= s.tokens) return;
    for (int c = 0; c < PARTS; c++) {
        const int64_t d = at.column + at.lane + c * CLVI_CU_TILE;
        if (d < s.size) y[at.y + i * s.wide + d] = (T)(mix[c] / sum);
    }
    if (at.column == 0 && at.lane == 0) lse[at.item * s.tokens + i] = (T)(top + log(sum));
}

template <class T> static clv_status attention_of(const clvi_op_call *call)
{
    const sizes s = sizes_of(call, &call->in[0]);
    return clvi_cu_launch(call, attention_kernel<T>, grid_of(s), CLVI_CU_THREADS, 0, (const T *)call->in_data[0], s,
                          (T *)call->out_data[0], (T *)call->out_data[1]);
}

static clv_status attention(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], attention_of, call); }
CLVI_CU_KERNEL(attention);

/* ---- gradient ---- */

/* `along` is <dy_i, y_i>. */
template <class T> struct backward { const T *dy, *qkv, *lse; const double *along; T *dqkv; };

template <class T>
static __device__ void put_rows(const double sum[PARTS], const place &at, const sizes &s, int part, T *dqkv)
{
    const int64_t i = at.first + at.row;
    for (int c = 0; c < PARTS; c++) {
        const int64_t d = at.column + at.lane + c * CLVI_CU_TILE;
        if (i < s.tokens && d < s.size) dqkv[at.q + part * s.wide + i * 3 * s.wide + d] = (T)sum[c];
    }
}

/* dq_i = sum_j e_ij k_j */
template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS) attention_queries_kernel(backward<T> g, sizes s)
{
    __shared__ clvi_cu_tile_weights e;
    const place at(s);
    const int64_t i = at.first + at.row, own = at.item * s.tokens + i;
    double sum[PARTS] = { 0 };
    for (int64_t j0 = 0; j0 < s.tokens; j0 += CLVI_CU_TILE) {
        const double score = clvi_cu_tile_sum(part_rows(g.qkv, at, s, 0, at.first, 0),
                                              part_rows(g.qkv, at, s, 1, j0, 0), s.size, clvi_cu_product());
        const double dp = clvi_cu_tile_sum(result_rows(g.dy, at, s, at.first, 0), part_rows(g.qkv, at, s, 2, j0, 0),
                                           s.size, clvi_cu_product());
        const bool there = i < s.tokens && j0 + at.lane < s.tokens;
        const double p = there ? (double)exp((T)(s.scale * score - (double)g.lse[own])) : 0;
        e[at.row][at.lane] = there ? p * (dp - g.along[own]) * s.scale : 0;
        clvi_cu_tile_mix(sum, e, part_rows(g.qkv, at, s, 1, j0, at.column), s.size - at.column);
    }
    put_rows(sum, at, s, 0, g.dqkv);
}

/* dk_j = sum_i e_ij q_i, dv_j = sum_i p_ij dy_i */
template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS) attention_keys_kernel(backward<T> g, sizes s)
{
    __shared__ clvi_cu_tile_weights e, p;
    const place at(s);
    const int64_t j = at.first + at.row;
    double of_key[PARTS] = { 0 }, of_value[PARTS] = { 0 };
    for (int64_t i0 = 0; i0 < s.tokens; i0 += CLVI_CU_TILE) {
        const double score = clvi_cu_tile_sum(part_rows(g.qkv, at, s, 1, at.first, 0),
                                              part_rows(g.qkv, at, s, 0, i0, 0), s.size, clvi_cu_product());
        const double dp = clvi_cu_tile_sum(part_rows(g.qkv, at, s, 2, at.first, 0), result_rows(g.dy, at, s, i0, 0),
                                           s.size, clvi_cu_product());
        const int64_t other = at.item * s.tokens + i0 + at.lane;
        const bool there = j < s.tokens && i0 + at.lane < s.tokens;
        const double share = there ? (double)exp((T)(s.scale * score - (double)g.lse[other])) : 0;
        p[at.row][at.lane] = share;
        e[at.row][at.lane] = there ? share * (dp - g.along[other]) * s.scale : 0;
        clvi_cu_tile_mix(of_key, e, part_rows(g.qkv, at, s, 0, i0, at.column), s.size - at.column);
        clvi_cu_tile_mix(of_value, p, result_rows(g.dy, at, s, i0, at.column), s.size - at.column);
    }
    put_rows(of_key, at, s, 1, g.dqkv);
    put_rows(of_value, at, s, 2, g.dqkv);
}

static clv_status attention_bwd_prepare(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++) clvi_desc_make_dense(&call->in[i]);
    clvi_desc_make_dense(&call->out[0]);
    call->scratch_size = sizeof(double) * (size_t)clvi_desc_count(&call->in[3]);
    return CLV_OK;
}

template <class T> static clv_status attention_bwd_of(const clvi_op_call *call)
{
    const sizes s = sizes_of(call, &call->in[1]);
    const T *dy = (const T *)call->in_data[0], *y = (const T *)call->in_data[2];
    double *along = (double *)call->scratch;
    const backward<T> g = { dy, (const T *)call->in_data[1], (const T *)call->in_data[3], along,
                            (T *)call->out_data[0] };
    CLV_TRY(clvi_cu_each(call, s.items * s.tokens, [=] __device__ (int64_t at) {
        const int64_t item = at / s.tokens, row = item / s.heads * s.tokens + at % s.tokens;
        const int64_t from = row * s.wide + item % s.heads * s.size;
        double sum = 0;
        for (int64_t d = from; d < from + s.size; d++) sum += (double)dy[d] * (double)y[d];
        along[at] = sum;
    }));
    CLV_TRY(clvi_cu_launch(call, attention_queries_kernel<T>, grid_of(s), CLVI_CU_THREADS, 0, g, s));
    return clvi_cu_launch(call, attention_keys_kernel<T>, grid_of(s), CLVI_CU_THREADS, 0, g, s);
}

static clv_status attention_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], attention_bwd_of, call);
}
CLVI_CU_KERNEL_WITH(attention_bwd, nullptr, attention_bwd_prepare);
