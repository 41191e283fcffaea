/* step.cu: what a step does beside its graphs and its passes over arenas: its verdict, rows to their places, rows
 * into a bank. */
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

static clv_status place(clvi_device *device, int64_t rows, int64_t cols, const float *from, const int64_t *order,
                        float *to)
{
    const clvi_op_call call = call_for(device, "place rows");
    return clvi_cu_rows(&call, rows, [=] __device__ (int64_t row) {
        const int64_t there = order[row];
        for (int64_t c = threadIdx.x; c < cols; c += CLVI_CU_THREADS) to[there * cols + c] = from[row * cols + c];
    });
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

static clv_status enqueue(clvi_device *device, const clvi_ring *ring, const int64_t *cursor, int64_t count,
                          const float *rows, const int64_t *ids, const int64_t *labels)
{
    switch (ring->dtype) {
    case CLV_F64: return enqueue_of<double>(device, *ring, cursor, count, rows, ids, labels);
    case CLV_BF16: return enqueue_of<clvi_cu_half>(device, *ring, cursor, count, rows, ids, labels);
    default: return enqueue_of<float>(device, *ring, cursor, count, rows, ids, labels);
    }
}

extern "C" const clvi_step_passes clvi_cuda_step_passes = { judge, find, clip, restore, place, enqueue };
