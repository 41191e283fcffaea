/* cu.h: what every kernel file (.cu) starts with. Compiled by nvcc for the device, and with CLV_EMU as C++ for the
 * emulator, so kernels keep to what both know: launch through clvi_cu_launch, dynamic shared memory through
 * clvi_cu_shared, no inline PTX, no warp function that emu.h lacks, no grid-wide barrier.
 *
 * Sums are taken in a fixed order (no floating-point atomics): the same bits in every run. */
#ifndef CLVI_DEVICE_CUDA_CU_H
#define CLVI_DEVICE_CUDA_CU_H

#define _Alignas alignas
extern "C" {
#include "device/attr.h"
#include "device/backend.h"
#include "device/cuda/fault.h"
}

#ifdef CLV_EMU
#include "device/cuda/emu.h"
#else
#include <cuda_runtime.h>
#endif

/* ---- the table entry ---- */

/* The entry of an operation whose kernel takes dense float32 or float64 values and nothing else. */
#define CLVI_CU_KERNEL(op_name)                                                                                        \
    extern "C" const clvi_kernel clvi_kernel_cuda_##op_name;                                                           \
    const clvi_kernel clvi_kernel_cuda_##op_name = { #op_name, "cuda", nullptr, nullptr, op_name, nullptr, { 0 } }
/* The same, output 0 may lie where input `input` lies. */
#define CLVI_CU_KERNEL_IN_PLACE(op_name, input)                                                                        \
    extern "C" const clvi_kernel clvi_kernel_cuda_##op_name;                                                           \
    const clvi_kernel clvi_kernel_cuda_##op_name = { #op_name, "cuda", nullptr, nullptr, op_name, nullptr,             \
                                                     { (input) + 1 } }
/* An elementwise operation: whatever layout without gaps its inputs share; output 0 may lie where input 0 lies. */
#define CLVI_CU_ELEMENTWISE(op_name, run)                                                                              \
    extern "C" const clvi_kernel clvi_kernel_cuda_##op_name;                                                           \
    const clvi_kernel clvi_kernel_cuda_##op_name = { #op_name, "cuda", nullptr, clvi_prepare_alike, run, nullptr,      \
                                                     { 1 } }
/* The same, on bfloat16 as well. */
#define CLVI_CU_ELEMENTWISE_HALF(op_name, run)                                                                         \
    extern "C" const clvi_kernel clvi_kernel_cuda_##op_name;                                                           \
    const clvi_kernel clvi_kernel_cuda_##op_name = { #op_name, "cuda", clvi_cu_accepts_half, clvi_prepare_alike, run,  \
                                                     nullptr, { 1 } }
/* With functions of its own for `accepts` and `prepare` (NULL: none). */
#define CLVI_CU_KERNEL_WITH(op_name, accepts, prepare)                                                                 \
    extern "C" const clvi_kernel clvi_kernel_cuda_##op_name;                                                           \
    const clvi_kernel clvi_kernel_cuda_##op_name = { #op_name, "cuda", accepts, prepare, op_name, nullptr, { 0 } }
/* The same, and with one that frees what `prepare` left in the call's state. */
#define CLVI_CU_KERNEL_WITH_STATE(op_name, accepts, prepare, release)                                                  \
    extern "C" const clvi_kernel clvi_kernel_cuda_##op_name;                                                           \
    const clvi_kernel clvi_kernel_cuda_##op_name = { #op_name, "cuda", accepts, prepare, op_name, release, { 0 } }

/* Calls fn<float> or fn<double>, by the type of a value. */
#define CLVI_CU_BY_TYPE(desc, fn, ...) ((desc).dtype == CLV_F64 ? fn<double>(__VA_ARGS__) : fn<float>(__VA_ARGS__))
/* The same with fn<clvi_cu_half> for bfloat16. */
#define CLVI_CU_BY_ANY_TYPE(desc, fn, ...)                                                                             \
    ((desc).dtype == CLV_BF16 ? fn<clvi_cu_half>(__VA_ARGS__) : CLVI_CU_BY_TYPE(desc, fn, __VA_ARGS__))

/* ---- launching ---- */

#ifdef CLV_EMU

template <class... P, class... A>
clv_status clvi_cu_launch(const clvi_op_call *call, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                          A... args)
{
    if (!grid.x || !grid.y || !grid.z) return CLV_OK;
    auto body = [=] { kernel(static_cast<P>(args)...); };
    const clvi_emu_launch launch = { call->op, grid, block, shared, [](void *f) { (*(decltype(body) *)f)(); },
                                     sizeof body };
    return clvi_emu_queue(call->ctx->device, &launch, &body);
}

template <class T> __device__ T *clvi_cu_shared() { return (T *)clvi_emu_shared(); }

#else

/* runtime.c: the stream of the context's device; the last launch's error as a status. */
extern "C" cudaStream_t clvi_cuda_stream(clv_context *ctx);
extern "C" clv_status clvi_cuda_launched(const char *op, cudaError_t error);

template <class... P, class... A>
clv_status clvi_cu_launch(const clvi_op_call *call, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                          A... args)
{
    if (!grid.x || !grid.y || !grid.z) return CLV_OK;
    if (shared > 48 * 1024)
        CLV_TRY(clvi_cuda_launched(call->op, cudaFuncSetAttribute((const void *)kernel,
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)));
    kernel<<<grid, block, shared, clvi_cuda_stream(call->ctx)>>>(static_cast<P>(args)...);
    return clvi_cuda_launched(call->op, cudaPeekAtLastError());
}

template <class T> __device__ __forceinline__ T *clvi_cu_shared()
{
    extern __shared__ double4 clvi_cu_dynamic_shared[];
    return reinterpret_cast<T *>(clvi_cu_dynamic_shared);
}

#endif

/* ---- one thread an element ---- */

enum { CLVI_CU_THREADS = 256, CLVI_CU_WARP = 32 };

/* Blocks of a loop over n elements in strides of the whole grid. */
static inline unsigned clvi_cu_blocks(int64_t n)
{
#ifdef CLV_EMU
    const int64_t most = 3;              /* so that the loop goes round */
#else
    const int64_t most = 132 * 16;
#endif
    const int64_t blocks = (n + CLVI_CU_THREADS - 1) / CLVI_CU_THREADS;
    return (unsigned)(blocks < most ? blocks : most);
}

template <class F> __global__ void __launch_bounds__(CLVI_CU_THREADS) clvi_cu_each_kernel(int64_t n, F f)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

/* f(i) for every 0 <= i < n; f is [=] __device__ (int64_t i) { ... }. */
template <class F> clv_status clvi_cu_each(const clvi_op_call *call, int64_t n, F f)
{
    return clvi_cu_launch(call, clvi_cu_each_kernel<F>, clvi_cu_blocks(n), CLVI_CU_THREADS, 0, n, f);
}

/* The same for a long function: it gets what registers it wants, at the price of fewer blocks at a time. */
template <class F> __global__ void __launch_bounds__(CLVI_CU_THREADS, 1) clvi_cu_each_long_kernel(int64_t n, F f)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

template <class F> clv_status clvi_cu_each_long(const clvi_op_call *call, int64_t n, F f)
{
    return clvi_cu_launch(call, clvi_cu_each_long_kernel<F>, clvi_cu_blocks(n), CLVI_CU_THREADS, 0, n, f);
}

/* ---- one block a row ---- */

template <class F> __global__ void __launch_bounds__(CLVI_CU_THREADS) clvi_cu_rows_kernel(int64_t rows, F f)
{
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) f(row);
}

/* f(row), called by all CLVI_CU_THREADS threads of a block together, for every row: inside, elements go
 * `for (i = threadIdx.x; i < n; i += CLVI_CU_THREADS)` and the clvi_cu_block_* functions combine the threads. */
template <class F> clv_status clvi_cu_rows(const clvi_op_call *call, int64_t rows, F f)
{
#ifdef CLV_EMU
    const int64_t most = 5;
#else
    const int64_t most = 132 * 64;
#endif
    return clvi_cu_launch(call, clvi_cu_rows_kernel<F>, (unsigned)(rows < most ? rows : most), CLVI_CU_THREADS, 0, rows,
                          f);
}

template <class T, class Op> __device__ T clvi_cu_block_combine(T value, T nothing, Op op)
{
    __shared__ T part[CLVI_CU_THREADS / CLVI_CU_WARP];
    for (int by = 16; by > 0; by /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, by));
    __syncthreads();                     /* the last call's part has been read */
    if (threadIdx.x % CLVI_CU_WARP == 0) part[threadIdx.x / CLVI_CU_WARP] = value;
    __syncthreads();
    value = nothing;
    for (unsigned w = 0; w < blockDim.x / CLVI_CU_WARP; w++) value = op(value, part[w]);
    return value;
}

/* The sum, largest, smallest over the block's threads (a multiple of 32, at most CLVI_CU_THREADS), to all of them. */
template <class T> struct clvi_cu_add { __device__ T operator()(T a, T b) const { return a + b; } };
/* A NaN wins. */
template <class T> struct clvi_cu_larger {
    __device__ T operator()(T a, T b) const { return a > b || a != a ? a : b; }
};
template <class T> struct clvi_cu_smaller {
    __device__ T operator()(T a, T b) const { return a < b || a != a ? a : b; }
};

template <class T> __device__ T clvi_cu_block_sum(T value)
{
    return clvi_cu_block_combine(value, T(0), clvi_cu_add<T>());
}

template <class T> __device__ T clvi_cu_block_max(T value)
{
    return clvi_cu_block_combine(value, T(-INFINITY), clvi_cu_larger<T>());
}

template <class T> __device__ T clvi_cu_block_min(T value)
{
    return clvi_cu_block_combine(value, T(INFINITY), clvi_cu_smaller<T>());
}

/* ---- types ---- */

static __device__ __forceinline__ float clvi_cu_from_bf16(uint16_t x) { return __uint_as_float((unsigned)x << 16); }

/* Round to nearest, ties to even; NaN stays NaN. */
static __device__ __forceinline__ uint16_t clvi_cu_to_bf16(float x)
{
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* A bfloat16 value in memory: read as float, written rounded. */
struct clvi_cu_half {
    uint16_t bits;
    clvi_cu_half() = default;
    template <class A> explicit __device__ __forceinline__ clvi_cu_half(A x) : bits(clvi_cu_to_bf16((float)x)) {}
    __device__ __forceinline__ operator float() const { return clvi_cu_from_bf16(bits); }
};

/* What stands beside values of a type (weights of a norm, statistics), and is computed in: float for bfloat16. */
template <class T> struct clvi_cu_wide { typedef T type; };
template <> struct clvi_cu_wide<clvi_cu_half> { typedef float type; };

/* One of float32 and float64 throughout, or bfloat16 as the operation has it, beside float32. */
static inline bool clvi_cu_accepts_half(const clvi_op_call *call)
{
    bool has[CLV_DTYPE_COUNT + 1] = { false };
    for (int i = 0; i < call->n_in; i++) has[call->in[i].dtype] = true;
    for (int i = 0; i < call->n_out; i++) has[call->out[i].dtype] = true;
    return !(has[CLV_F64] && (has[CLV_F32] || has[CLV_BF16]));
}

/* ---- faults ---- */

/* Notes a fault for the next wait, unless there is one already. */
static __device__ __forceinline__ void clvi_cu_report(clvi_cuda_fault *fault, clvi_cuda_fault_kind kind, int64_t a,
                                                      int64_t b, int64_t c)
{
    if (atomicCAS(&fault->kind, (int)CLVI_FAULT_NONE, (int)kind) != CLVI_FAULT_NONE) return;
    fault->value[0] = a, fault->value[1] = b, fault->value[2] = c;
}

static inline clvi_cuda_fault *clvi_cu_fault(const clvi_op_call *call) { return clvi_cuda_fault_of(call->ctx->device); }

/* Memory of an output somebody reads, else NULL. */
template <class T> T *clvi_cu_output(const clvi_op_call *call, int i)
{
    return call->wanted[i] ? (T *)call->out_data[i] : nullptr;
}

static inline bool clvi_cu_present(const clvi_desc *desc) { return desc->dtype != CLV_DTYPE_COUNT; }

#endif
