/* step.cu: what a step does beside its graphs and its passes over arenas: its verdict, rows to their places, rows
 * into a bank, images into one another. Compiled without contraction: what the host keeps of a bank has the same
 * bits. */
#include "device/cuda/cu.h"
#include "device/cuda/flat.h"

static clvi_op_call call_for(clvi_device *device, const char *name)
{
    clvi_op_call call;
    memset(&call, 0, sizeof call);
    call.ctx = device->ctx;
    call.op = name;
    return call;
}

/* ---- the verdict ---- */

static clv_status judge(clvi_device *device, const double *sums, const float *loss, double most, clvi_verdict *out)
{
    const clvi_op_call call = call_for(device, "judge");
    return clvi_cu_each(&call, 1, [=] __device__ (int64_t) {
        const double norm = sqrt(sums[0]), factor = most > 0 ? most / (norm + 1e-6) : 1;
        const bool finite = fabs((double)*loss) < INFINITY && fabs(norm) < INFINITY;
        out->loss = *loss;
        out->squares = sums[0];
        out->factor = factor < 1 ? factor : 1;
        if (out->stopped) out->stopped = 2;
        else if (!finite) out->stopped = 1;
        if (out->stopped < 2) out->first_bad = -1;
    });
}

template <class T> static clv_status find_in(clvi_device *device, int64_t n, const T *x, clvi_verdict *out)
{
    const clvi_op_call call = call_for(device, "find");
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) {
        if (out->stopped != 1 || fabs((double)x[i]) < INFINITY) return;
        atomicMin((unsigned long long *)&out->first_bad, (unsigned long long)i);      /* -1 is the largest */
    });
}

static clv_status find(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, clvi_verdict *out)
{
    return dtype == CLV_F64 ? find_in(device, n, (const double *)x, out) : find_in(device, n, (const float *)x, out);
}

template <class T> static clv_status clip_of(clvi_device *device, int64_t n, T *g, const clvi_verdict *v)
{
    const clvi_op_call call = call_for(device, "clip");
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) {
        if (v->factor < 1 && !v->stopped) g[i] *= (T)v->factor;
    });
}

static clv_status clip(clvi_device *device, clv_dtype dtype, int64_t n, void *g, const clvi_verdict *v)
{
    return dtype == CLV_F64 ? clip_of(device, n, (double *)g, v) : clip_of(device, n, (float *)g, v);
}

static clv_status restore(clvi_device *device, int64_t words, void *to, const void *from, const clvi_verdict *v)
{
    const clvi_op_call call = call_for(device, "restore");
    unsigned *out = (unsigned *)to;
    const unsigned *in = (const unsigned *)from;
    return clvi_cu_each(&call, words, [=] __device__ (int64_t i) {
        if (v->stopped) out[i] = in[i];
    });
}

/* ---- rows ---- */

/* Row i of a part of `rows` rows in the whole. */
static __device__ __forceinline__ int64_t row_of(int64_t i, int64_t rows, const int64_t *order, const int64_t *pass)
{
    const int64_t at = pass ? *pass * rows + i : i;
    return order ? order[at] : at;
}

static clv_status place(clvi_device *device, int64_t rows, int64_t cols, const float *from, const int64_t *order,
                        const int64_t *pass, float *to)
{
    const clvi_op_call call = call_for(device, "place rows");
    return clvi_cu_rows(&call, rows, [=] __device__ (int64_t row) {
        const int64_t there = row_of(row, rows, order, pass), n = there < 0 ? 0 : cols;
        for (int64_t c = threadIdx.x; c < n; c += CLVI_CU_THREADS) to[there * cols + c] = from[row * cols + c];
    });
}

static clv_status pick(clvi_device *device, int64_t rows, int64_t cols, const float *from, const int64_t *order,
                       const int64_t *pass, float *to)
{
    const clvi_op_call call = call_for(device, "pick rows");
    return clvi_cu_rows(&call, rows, [=] __device__ (int64_t row) {
        const int64_t there = row_of(row, rows, order, pass);
        for (int64_t c = threadIdx.x; c < cols; c += CLVI_CU_THREADS) to[row * cols + c] = from[there * cols + c];
    });
}

static clv_status count(clvi_device *device, int64_t *number)
{
    const clvi_op_call call = call_for(device, "count");
    return clvi_cu_each(&call, 1, [=] __device__ (int64_t) { *number += 1; });
}

template <class T>
static clv_status enqueue_of(clvi_device *device, clvi_ring ring, const int64_t *cursor, int64_t count,
                             const float *rows, const int64_t *ids, const int64_t *labels)
{
    const clvi_op_call call = call_for(device, "enqueue");
    const clvi_verdict *v = device->verdict;
    const int64_t first = count > ring.capacity ? count - ring.capacity : 0;   /* earlier rows would be overwritten */
    return clvi_cu_rows(&call, count - first, [=] __device__ (int64_t i) {
        const int64_t row = first + i, slot = (*cursor + row) % ring.capacity;
        if (v && v->stopped) return;
        for (int64_t c = threadIdx.x; c < ring.dim; c += CLVI_CU_THREADS)
            ((T *)ring.rows)[slot * ring.dim + c] = (T)rows[row * ring.dim + c];
        if (threadIdx.x != 0) return;
        ring.valid[slot] = 1;
        ring.ids[slot] = ids ? ids[row] : -1;
        ring.labels[slot] = labels ? labels[row] : -1;
    });
}

static __device__ __forceinline__ void put(double *to, double x) { *to = x; }
static __device__ __forceinline__ void put(float *to, double x) { *to = (float)x; }

/* Rounded once: the float on the way is made odd where it is not exact (core/bf16.h). */
static __device__ __forceinline__ void put(clvi_cu_half *to, double x)
{
    const float f = (float)x;
    unsigned bits = __float_as_uint(f);
    if (x == x && (double)f != x) bits = (bits - (((double)f > x) == (x > 0))) | 1;
    to->bits = clvi_cu_to_bf16(__uint_as_float(bits));
}

/* The sum of square(c) over the row, in order. */
template <class F> static __device__ double sum_in_order(int64_t dim, F square)
{
    __shared__ double part[CLVI_CU_THREADS + 1];
    double sum = 0;
    for (int64_t at = 0; at < dim; at += CLVI_CU_THREADS) {
        if (at + threadIdx.x < dim) part[threadIdx.x] = square(at + threadIdx.x);
        __syncthreads();
        for (int64_t i = 0; threadIdx.x == 0 && i < CLVI_CU_THREADS && at + i < dim; i++) sum += part[i];
        __syncthreads();
    }
    if (threadIdx.x == 0) part[CLVI_CU_THREADS] = sum;
    __syncthreads();
    return part[CLVI_CU_THREADS];
}

/* A row moves slot `at`, as memorybank/bank_rows.c has it. */
template <class T> static __device__ void blend(const clvi_ring &ring, int64_t at, const float *row)
{
    T *slot = (T *)ring.rows + at * ring.dim;
    const bool moves = ring.valid[at];
    const double m = ring.momentum;
    const auto value = [&](int64_t c) {
        const double x = (double)row[c];
        return moves ? m * (double)(typename clvi_cu_wide<T>::type)slot[c] + (1 - m) * x : x;
    };
    double largest = 0, length = 1;
    if (ring.unit) {
        for (int64_t c = threadIdx.x; c < ring.dim; c += CLVI_CU_THREADS) largest = fmax(largest, fabs(value(c)));
        largest = clvi_cu_block_max(largest);
    }
    const bool scales = largest > 0;
    if (scales) length = sqrt(sum_in_order(ring.dim, [&](int64_t c) {
        const double x = value(c) / largest;
        return x * x;
    }));
    for (int64_t c = threadIdx.x; c < ring.dim; c += CLVI_CU_THREADS)
        put(&slot[c], scales ? value(c) / largest / length : value(c));
}

template <class T>
static clv_status blend_of(clvi_device *device, clvi_ring ring, const int64_t *cursor, int64_t count, const float *rows,
                           const int64_t *ids, const int64_t *labels)
{
    const clvi_op_call call = call_for(device, "enqueue");
    const clvi_verdict *v = device->verdict;
    return clvi_cu_rows(&call, count < ring.capacity ? count : ring.capacity, [=] __device__ (int64_t first) {
        if (v && v->stopped) return;
        const int64_t slot = (*cursor + first) % ring.capacity;
        for (int64_t row = first; row < count; row += ring.capacity) {
            blend<T>(ring, slot, rows + row * ring.dim);
            __syncthreads();
            if (threadIdx.x == 0) ring.valid[slot] = 1;
            if (threadIdx.x == 0) ring.ids[slot] = ids ? ids[row] : -1;
            if (threadIdx.x == 0) ring.labels[slot] = labels ? labels[row] : -1;
            __syncthreads();
        }
    });
}

template <class T>
static clv_status push_of(clvi_device *device, const clvi_ring *ring, const int64_t *cursor, int64_t count,
                          const float *rows, const int64_t *ids, const int64_t *labels)
{
    return ring->blends ? blend_of<T>(device, *ring, cursor, count, rows, ids, labels)
                        : enqueue_of<T>(device, *ring, cursor, count, rows, ids, labels);
}

static clv_status enqueue(clvi_device *device, const clvi_ring *ring, const int64_t *cursor, int64_t count,
                          const float *rows, const int64_t *ids, const int64_t *labels)
{
    switch (ring->dtype) {
    case CLV_F64: return push_of<double>(device, ring, cursor, count, rows, ids, labels);
    case CLV_BF16: return push_of<clvi_cu_half>(device, ring, cursor, count, rows, ids, labels);
    default: return push_of<float>(device, ring, cursor, count, rows, ids, labels);
    }
}

/* ---- images ---- */

/* What becomes of value i of an image that meets another. */
struct mixer {
    const clvi_mix *how;
    int64_t         channels, width;

    __device__ __forceinline__ float operator()(int64_t i, float one, float other) const
    {
        const int64_t y = i / (width * channels), x = i / channels % width;
        const float l = (float)how->lambda;
        const bool inside = y >= how->top && y < how->bottom && x >= how->left && x < how->right;
        const bool stays = how->lambda == 1 || (how->cut && !inside);
        return stays ? one : how->cut ? other : l * one + (1.0f - l) * other;
    }
};

/* One thread has both images of a pair, so that they can be mixed in place. The middle one meets itself and stays. */
static clv_status mix_together(const clvi_op_call *call, mixer mixed, int64_t n, int64_t each, const float *from,
                               float *to)
{
    return clvi_cu_each(call, (n + 1) / 2 * each, [=] __device__ (int64_t i) {
        const int64_t place = i % each, a = i, b = (n - 1 - i / each) * each + place;
        const float one = from[a], other = from[b];
        to[a] = a == b ? one : mixed(place, one, other);
        to[b] = a == b ? one : mixed(place, other, one);
    });
}

static clv_status mix(clvi_device *device, const clvi_mix *how, const int64_t shape[4], const float *from,
                      const float *others, float *to)
{
    const clvi_op_call call = call_for(device, "mix images");
    const mixer mixed = { how, shape[1], shape[3] };
    const int64_t n = shape[0], each = shape[1] * shape[2] * shape[3];
    if (!others) return mix_together(&call, mixed, n, each, from, to);
    return clvi_cu_each(&call, n * each, [=] __device__ (int64_t i) {
        to[i] = mixed(i % each, from[i], others[(n - 1 - i / each) * each + i % each]);
    });
}

extern "C" const clvi_step_passes clvi_cuda_step_passes = {
    judge, find, clip, restore, place, pick, count, enqueue, mix
};
