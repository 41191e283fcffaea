/* select.h: order statistics, exact: radix select on integers in the order of the numbers. */
#ifndef CLVI_DEVICE_CUDA_SELECT_H
#define CLVI_DEVICE_CUDA_SELECT_H

#include "device/cuda/cu.h"

/* Unsigned integers in the order of the numbers, and back; both zeros are one, NaN is last. */
static __device__ inline uint64_t clvi_cu_key(double x)
{
    const uint64_t bits = x != x ? INT64_MAX : x == 0 ? 0 : (uint64_t)__double_as_longlong(x);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

static __device__ inline double clvi_cu_number(uint64_t key)
{
    return __longlong_as_double((long long)(key >> 63 ? key & ~(UINT64_C(1) << 63) : ~key));
}

/* The number of rank `rank`, from 0, of those values f(i, &x) says to count; called by all threads of a block together.
 * Eight bits at a time: those numbers that agree with what is known so far are counted by their next eight. */
template <class F> __device__ double clvi_cu_block_select(int64_t n, int64_t rank, F f)
{
    __shared__ unsigned long long count[256], known, left;
    __syncthreads();                     /* the last call's result has been read */
    if (threadIdx.x == 0) known = 0, left = (unsigned long long)rank;
    for (int shift = 56; shift >= 0; shift -= 8) {
        for (unsigned k = threadIdx.x; k < 256; k += CLVI_CU_THREADS) count[k] = 0;
        __syncthreads();
        const uint64_t prefix = known;
        for (int64_t i = threadIdx.x; i < n; i += CLVI_CU_THREADS) {
            double x;
            if (!f(i, &x)) continue;
            const uint64_t key = clvi_cu_key(x);
            if ((key ^ prefix) >> shift >> 8 == 0) atomicAdd(&count[key >> shift & 255], 1ull);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned digit = 0;
            while (digit < 255 && left >= count[digit]) left -= count[digit++];
            known |= (unsigned long long)digit << shift;
        }
        __syncthreads();
    }
    return clvi_cu_number(known);
}

/* How many threads of the block before this one have the flag; *all: how many have it. Called by all together. */
static __device__ inline int64_t clvi_cu_block_rank(bool flag, int64_t *all)
{
    __shared__ int count[CLVI_CU_THREADS / CLVI_CU_WARP];
    const unsigned lane = threadIdx.x % CLVI_CU_WARP, warp = threadIdx.x / CLVI_CU_WARP;
    const unsigned flags = __ballot_sync(0xffffffffu, flag);
    __syncthreads();                     /* the last call's counts have been read */
    if (lane == 0) count[warp] = __popc(flags);
    __syncthreads();
    int64_t rank = __popc(flags & ((1u << lane) - 1));
    *all = 0;
    for (unsigned w = 0; w < CLVI_CU_THREADS / CLVI_CU_WARP; w++) {
        if (w < warp) rank += count[w];
        *all += count[w];
    }
    return rank;
}

#endif
