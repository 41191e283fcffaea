/* emu.h: CUDA C for the host. The kernels' own sources, compiled as C++, run on the processor: each thread of a block
 * is a fiber, __syncthreads and the warp functions switch between them, blocks run one after another.
 *
 * Include device/backend.h first.
 *
 * It finds steps out of bounds (with the address sanitizer), barriers that only a part of a block reaches, races within
 * a block (fibers run in a random order: results must not change), wrong tails and strides. It knows nothing of memory
 * models, alignment or speed. */
#ifndef CLVI_DEVICE_CUDA_EMU_H
#define CLVI_DEVICE_CUDA_EMU_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __shared__ static      /* blocks run one at a time */

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

/* Where the running fiber is. */
struct clvi_emu_place { uint3 thread, block; dim3 block_dim, grid_dim; unsigned lane; };
extern clvi_emu_place clvi_emu_at;
#define threadIdx (clvi_emu_at.thread)
#define blockIdx  (clvi_emu_at.block)
#define blockDim  (clvi_emu_at.block_dim)
#define gridDim   (clvi_emu_at.grid_dim)
#define warpSize  32

enum { CLVI_EMU_BLOCK = 1, CLVI_EMU_WARP = 2 };
void clvi_emu_yield(int barrier);
/* Gives `value` to the other lanes of the warp and takes that of `lane`; the value itself for a lane that is not
 * there. */
uint64_t clvi_emu_exchange(uint64_t value, unsigned lane);
/* Bit l: the predicate of lane l. */
unsigned clvi_emu_ballot(bool predicate);
void *clvi_emu_shared(void);
/* A kernel about to run: its name, its shape, and how to call it with arguments of `size` bytes. */
struct clvi_emu_launch {
    const char *name;
    dim3        grid, block;
    size_t      shared;
    void      (*call)(void *body);
    size_t      size;
};
/* Runs the kernel now, or, where the device records, copies its arguments for later. Errors: CLV_ERR_INTERNAL when threads
 * of a block disagree about a barrier. */
clv_status clvi_emu_queue(clvi_device *device, const clvi_emu_launch *launch, void *body);

/* The same of something that is no kernel and counts as a copy: the place of a library's own work. `body` is copied. */
extern "C" clv_status clvi_emu_run(clvi_device *device, const char *name, void (*call)(void *), void *body,
                                   size_t size);
/* How much was queued so far, run or recorded. */
extern "C" int64_t clvi_emu_queued(clvi_device *device);

/* What was asked of a device since the last time this was: kernels, and copies and fills, one by one; recordings
 * played; copies beside the stream; waits for everything. */
struct clvi_emu_counts { int64_t launches, copies, plays, sends, waits; };
extern "C" clvi_emu_counts clvi_emu_count(clvi_device *device);

/* Seed of the order in which fibers run; 0: by index. */
extern "C" void clvi_emu_set_order(uint64_t seed);

static inline void __syncthreads() { clvi_emu_yield(CLVI_EMU_BLOCK); }
static inline void __syncwarp(unsigned = 0xffffffffu) { clvi_emu_yield(CLVI_EMU_WARP); }
static inline unsigned __ballot_sync(unsigned, bool predicate) { return clvi_emu_ballot(predicate); }
static inline int __any_sync(unsigned, bool predicate) { return clvi_emu_ballot(predicate) != 0; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }

template <class T> static inline T clvi_emu_from(T value, unsigned lane)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = clvi_emu_exchange(bits, lane);
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T> static inline T __shfl_sync(unsigned, T v, int lane)
{
    return clvi_emu_from(v, (unsigned)lane & 31);
}
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask)
{
    return clvi_emu_from(v, clvi_emu_at.lane ^ (unsigned)mask);
}
template <class T> static inline T __shfl_down_sync(unsigned, T v, unsigned by)
{
    return clvi_emu_from(v, clvi_emu_at.lane + by < 32 ? clvi_emu_at.lane + by : clvi_emu_at.lane);
}
template <class T> static inline T __shfl_up_sync(unsigned, T v, unsigned by)
{
    return clvi_emu_from(v, clvi_emu_at.lane >= by ? clvi_emu_at.lane - by : clvi_emu_at.lane);
}

/* Fibers switch at barriers only, so plain operations are atomic. */
template <class T> static inline T atomicAdd(T *at, T value) { const T was = *at; *at = was + value; return was; }
template <class T> static inline T atomicMax(T *at, T value)
{
    const T was = *at;
    if (value > was) *at = value;
    return was;
}
template <class T> static inline T atomicMin(T *at, T value)
{
    const T was = *at;
    if (value < was) *at = value;
    return was;
}
template <class T> static inline T atomicOr(T *at, T value) { const T was = *at; *at = was | value; return was; }
template <class T> static inline T atomicExch(T *at, T value) { const T was = *at; *at = value; return was; }
template <class T> static inline T atomicCAS(T *at, T want, T value)
{
    const T was = *at;
    if (was == want) *at = value;
    return was;
}

static inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
static inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
static inline unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }
static inline float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
static inline long long __double_as_longlong(double x) { long long y; memcpy(&y, &x, 8); return y; }
static inline double __longlong_as_double(long long x) { double y; memcpy(&y, &x, 8); return y; }
static inline float __ldcs(const float *p) { return *p; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }

#endif
