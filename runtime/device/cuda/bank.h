/* bank.h: what kernels on banks share: the bank, and scores of 64 queries with 64 of its rows by a block of 256 threads,
 * of which thread (y, x) has those of queries y + 16 i with rows x + 16 j, i, j < 4. */
#ifndef CLVI_DEVICE_CUDA_BANK_H
#define CLVI_DEVICE_CUDA_BANK_H

#include "device/cuda/tile.h"

enum { CLVI_CU_BANK_TILE = 64, CLVI_CU_BANK_LANES = 16, CLVI_CU_BANK_PER = 4 };

static inline int64_t clvi_cu_bank_blocks(int64_t n) { return (n + CLVI_CU_BANK_TILE - 1) / CLVI_CU_BANK_TILE; }

/* Queries and a bank. */
template <class T> struct clvi_cu_bank {
    const T *query;
    const void *rows;
    int64_t queries, count, dim;
    bool bf16;
    const unsigned char *valid;
    const int64_t *ids, *bank_ids;     /* both or none */

    __device__ T value(int64_t j, int64_t d) const
    {
        const int64_t at = j * dim + d;
        return bf16 ? (T)clvi_cu_from_bf16(((const uint16_t *)rows)[at]) : ((const T *)rows)[at];
    }
    __device__ bool counts(int64_t b, int64_t j) const
    {
        if (valid && !valid[j]) return false;
        return !ids || ids[b] < 0 || bank_ids[j] != ids[b];
    }
};

/* The operands of a call with queries at input 0, a bank at input `bank` and, past `valid`, ids. */
template <class T> clvi_cu_bank<T> clvi_cu_bank_of(const clvi_op_call *call, int bank, int valid)
{
    const bool ids = valid + 2 < call->n_in && call->in_data[valid + 1] && call->in_data[valid + 2];
    return clvi_cu_bank<T>{ (const T *)call->in_data[0], call->in_data[bank], call->in[0].shape[0],
                            call->in[bank].shape[0], call->in[0].shape[1], call->in[bank].dtype == CLV_BF16,
                            (const unsigned char *)call->in_data[valid],
                            ids ? (const int64_t *)call->in_data[valid + 1] : nullptr,
                            ids ? (const int64_t *)call->in_data[valid + 2] : nullptr };
}

/* Queries of one type, rows of that type or bfloat16. */
static inline bool clvi_cu_bank_types(const clvi_op_call *call, int bank)
{
    const clv_dtype q = call->in[0].dtype, rows = call->in[bank].dtype;
    return (q == CLV_F32 || q == CLV_F64) && (rows == q || rows == CLV_BF16);
}

static inline void clvi_cu_bank_make_dense(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (clvi_cu_present(&call->in[i])) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
}

/* ---- a tile of scores ---- */

/* Values of a few dimensions, or of a few rows, of a tile. */
template <class T> struct clvi_cu_bank_room {
    enum { STEP = 64 / sizeof(T) };
    T q[STEP][CLVI_CU_BANK_TILE + 1], k[STEP][CLVI_CU_BANK_TILE + 1];
};

/* score[i][j] = sum over d of op(query b0 + y + 16 i, row j0 + x + 16 j), rows below `end`; in the type's own
 * precision, a few products at a time. */
template <class T, class Op>
__device__ void clvi_cu_bank_scores(const clvi_cu_bank<T> &p, int64_t b0, int64_t j0, int64_t end, Op op,
                                    clvi_cu_bank_room<T> &room, T (&score)[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER])
{
    enum { STEP = clvi_cu_bank_room<T>::STEP, PER = CLVI_CU_BANK_PER, LANES = CLVI_CU_BANK_LANES };
    const int y = threadIdx.x / LANES, x = threadIdx.x % LANES;
    for (int i = 0; i < PER; i++)
        for (int j = 0; j < PER; j++) score[i][j] = 0;
    for (int64_t d0 = 0; d0 < p.dim; d0 += STEP) {
        __syncthreads();                 /* what was in the room has been read */
        for (int n = threadIdx.x; n < CLVI_CU_BANK_TILE * STEP; n += CLVI_CU_THREADS) {
            const int r = n / STEP, d = n % STEP;
            const bool there = d0 + d < p.dim;
            room.q[d][r] = there && b0 + r < p.queries ? p.query[(b0 + r) * p.dim + d0 + d] : T(0);
            room.k[d][r] = there && j0 + r < end ? p.value(j0 + r, d0 + d) : T(0);
        }
        __syncthreads();
        T part[PER][PER] = { { 0 } };
        for (int d = 0; d < STEP; d++)
            for (int i = 0; i < PER; i++)
                for (int j = 0; j < PER; j++) part[i][j] += op(room.q[d][y + i * LANES], room.k[d][x + j * LANES]);
        for (int i = 0; i < PER; i++)
            for (int j = 0; j < PER; j++) score[i][j] += part[i][j];
    }
}

template <class T> struct clvi_cu_bank_product { __device__ T operator()(T a, T b) const { return a * b; } };
template <class T> struct clvi_cu_bank_gap { __device__ T operator()(T a, T b) const { return -(a - b) * (a - b); } };

#endif
