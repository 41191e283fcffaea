/* flat.cu: passes over flat arenas: SGD with the momentum encoder that follows, momentum updates, norms. One launch each,
 * in the arithmetic of device/cpu/flat.c. */
#include "device/cuda/cu.h"
#include "device/cuda/flat.h"

/* A call without an operation, for launching. */
static clvi_op_call call_for(clvi_device *device, const char *name)
{
    clvi_op_call call;
    memset(&call, 0, sizeof call);
    call.ctx = device->ctx;
    call.op = name;
    return call;
}

template <class T> static clv_status sgd_of(clvi_device *device, int64_t n, T *w, const T *g, T *v, T *k, const clvi_flat_sgd_args *a, double m)
{
    const clvi_op_call call = call_for(device, "sgd");
    const T lr = (T)a->lr, momentum = (T)a->momentum, decay = (T)a->weight_decay, keep = (T)m, take = (T)(1 - m);
    const bool first = a->first, nesterov = a->nesterov, moves = a->momentum != 0;
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) {
        const T d = g[i] + decay * w[i];
        T step = d;
        if (moves) {
            const T velocity = first ? d : momentum * v[i] + d;
            v[i] = velocity;
            step = nesterov ? d + momentum * velocity : velocity;
        }
        const T value = w[i] - lr * step;
        w[i] = value;
        if (k) k[i] = keep * k[i] + take * value;
    });
}

extern "C" clv_status clvi_cuda_flat_sgd(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                                         const clvi_flat_sgd_args *sgd, void *k, double m)
{
    return dtype == CLV_F64 ? sgd_of(device, n, (double *)w, (const double *)g, (double *)v, (double *)k, sgd, m)
                            : sgd_of(device, n, (float *)w, (const float *)g, (float *)v, (float *)k, sgd, m);
}

template <class T> static clv_status mix_of(clvi_device *device, int64_t n, T a, const T *x, T b, T *y)
{
    const clvi_op_call call = call_for(device, "mix");
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) { y[i] = b * y[i] + a * x[i]; });
}

extern "C" clv_status clvi_cuda_flat_mix(clvi_device *device, clv_dtype dtype, int64_t n, double a, const void *x, double b, void *y)
{
    return dtype == CLV_F64 ? mix_of(device, n, a, (const double *)x, b, (double *)y)
                            : mix_of(device, n, (float)a, (const float *)x, (float)b, (float *)y);
}

/* ---- the sum of squares and the number of entries that are not finite: chunks, then the chunks in order ---- */

enum { CHUNK = 65536 };

template <class T> static clv_status measure_of(clvi_device *device, int64_t n, const T *x, double *part, double *out)
{
    const clvi_op_call call = call_for(device, "measure");
    const int64_t chunks = (n + CHUNK - 1) / CHUNK;
    CLV_TRY(clvi_cu_rows(&call, chunks, [=] __device__ (int64_t chunk) {
        const int64_t end = (chunk + 1) * CHUNK < n ? (chunk + 1) * CHUNK : n;
        double sum = 0, bad = 0;
        for (int64_t i = chunk * CHUNK + threadIdx.x; i < end; i += CLVI_CU_THREADS) {
            const double value = x[i];
            sum += value * value;
            bad += !(fabs(value) < INFINITY);
        }
        sum = clvi_cu_block_sum(sum);
        bad = clvi_cu_block_sum(bad);
        if (threadIdx.x == 0) part[2 * chunk] = sum, part[2 * chunk + 1] = bad;
    }));
    return clvi_cu_rows(&call, 2, [=] __device__ (int64_t which) {
        double sum = 0;
        for (int64_t i = threadIdx.x; i < chunks; i += CLVI_CU_THREADS) sum += part[2 * i + which];
        sum = clvi_cu_block_sum(sum);
        if (threadIdx.x == 0) out[which] = sum;
    });
}

extern "C" clv_status clvi_cuda_flat_measure(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, double out[2])
{
    const size_t bytes = (size_t)((n + CHUNK - 1) / CHUNK + 1) * 2 * sizeof(double);
    const clvi_backend *backend = device->backend;
    void *memory = nullptr;
    CLV_TRY(backend->alloc(device, bytes, &memory));
    double *sums = (double *)memory;
    clv_status st = dtype == CLV_F64 ? measure_of(device, n, (const double *)x, sums + 2, sums)
                                     : measure_of(device, n, (const float *)x, sums + 2, sums);
    if (st == CLV_OK) st = backend->copy(device, out, sums, 2 * sizeof(double), CLVI_COPY_TO_HOST);
    backend->free(device, memory);
    return st;
}
