/* flat.cu: passes over flat arenas: optimisers, the momentum encoder that follows, norms. One launch each, sums two, in the
 * arithmetic of device/cpu/flat.c. */
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

/* The averages that follow the weights of an update, in the type of its vectors. */
template <class T> struct followers_of {
    T *k[CLVI_FLAT_FOLLOWERS];
    T  keep[CLVI_FLAT_FOLLOWERS], take[CLVI_FLAT_FOLLOWERS];

    explicit followers_of(const clvi_flat_followers *f)
    {
        for (int i = 0; i < CLVI_FLAT_FOLLOWERS; i++) {
            k[i] = (T *)f->k[i];
            keep[i] = (T)f->m[i];
            take[i] = (T)(1 - f->m[i]);
        }
    }
    __device__ void see(int64_t at, T value) const
    {
        for (int i = 0; i < CLVI_FLAT_FOLLOWERS; i++)
            if (k[i]) k[i][at] = keep[i] * k[i][at] + take[i] * value;
    }
};

/* ---- SGD, LARS ---- */

template <class T>
static clv_status sgd_of(clvi_device *device, int64_t n, T *w, const T *g, T *v, const clvi_flat_sgd_args *a)
{
    const clvi_op_call call = call_for(device, "sgd");
    const followers_of<T> followers(&a->followers);
    const T lr = (T)a->lr, momentum = (T)a->momentum, decay = (T)a->weight_decay;
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
        followers.see(i, value);
    });
}

static clv_status sgd(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                      const clvi_flat_sgd_args *a)
{
    return dtype == CLV_F64 ? sgd_of(device, n, (double *)w, (const double *)g, (double *)v, a)
                            : sgd_of(device, n, (float *)w, (const float *)g, (float *)v, a);
}

template <class T>
static clv_status lars_of(clvi_device *device, int64_t n, T *w, const T *g, T *v, const clvi_flat_sgd_args *a, T scale)
{
    const clvi_op_call call = call_for(device, "lars");
    const followers_of<T> followers(&a->followers);
    const T lr = (T)a->lr, momentum = (T)a->momentum, decay = (T)a->weight_decay;
    const bool first = a->first, nesterov = a->nesterov;
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) {
        const T d = scale * (g[i] + decay * w[i]);
        const T velocity = first ? d : momentum * v[i] + d;
        v[i] = velocity;
        const T value = w[i] - lr * (nesterov ? d + momentum * velocity : velocity);
        w[i] = value;
        followers.see(i, value);
    });
}

static clv_status lars(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                       const clvi_flat_sgd_args *a, double scale)
{
    return dtype == CLV_F64 ? lars_of(device, n, (double *)w, (const double *)g, (double *)v, a, scale)
                            : lars_of(device, n, (float *)w, (const float *)g, (float *)v, a, (float)scale);
}

template <class T> static clv_status mix_of(clvi_device *device, int64_t n, T a, const T *x, T b, T *y)
{
    const clvi_op_call call = call_for(device, "mix");
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) { y[i] = b * y[i] + a * x[i]; });
}

static clv_status mix(clvi_device *device, clv_dtype dtype, int64_t n, double a, const void *x, double b, void *y)
{
    return dtype == CLV_F64 ? mix_of(device, n, a, (const double *)x, b, (double *)y)
                            : mix_of(device, n, (float)a, (const float *)x, (float)b, (float *)y);
}

/* ---- Adam and what is made of it ---- */

/* The constants of a step in the type of its vectors. */
template <class T> struct adam_step {
    T take1, keep2, take2, by_correction1, by_root, eps, lr, decay, keep;

    explicit adam_step(const clvi_flat_adam_args *a)
        : take1((T)(1 - a->beta1)), keep2((T)a->beta2), take2((T)(1 - a->beta2)), by_correction1((T)(1 / a->correction1)),
          by_root((T)(1 / sqrt(a->correction2))), eps((T)a->eps), lr((T)a->lr), decay((T)a->weight_decay),
          keep((T)(1 - a->lr * a->weight_decay)) {}
    __device__ T moments(T g, T *m, T *v) const
    {
        *m += take1 * (g - *m);
        *v = keep2 * *v + take2 * g * g;
        return direction(*m, *v);
    }
    __device__ T direction(T m, T v) const { return m * by_correction1 / (sqrt(v) * by_root + eps); }
};

template <class T>
static clv_status adamw_of(clvi_device *device, int64_t n, T *w, const T *g, T *m, T *v, const clvi_flat_adam_args *a)
{
    const clvi_op_call call = call_for(device, "adamw");
    const adam_step<T> s(a);
    const followers_of<T> followers(&a->followers);
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) {
        const T direction = s.moments(g[i], &m[i], &v[i]), value = s.keep * w[i] - s.lr * direction;
        w[i] = value;
        followers.see(i, value);
    });
}

static clv_status adamw(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                        const clvi_flat_adam_args *a)
{
    return dtype == CLV_F64 ? adamw_of(device, n, (double *)w, (const double *)g, (double *)m, (double *)v, a)
                            : adamw_of(device, n, (float *)w, (const float *)g, (float *)m, (float *)v, a);
}

template <class T>
static clv_status lamb_of(clvi_device *device, int64_t n, T *w, const T *m, const T *v, const clvi_flat_adam_args *a)
{
    const clvi_op_call call = call_for(device, "lamb");
    const adam_step<T> s(a);
    const followers_of<T> followers(&a->followers);
    return clvi_cu_each(&call, n, [=] __device__ (int64_t i) {
        const T value = w[i] - s.lr * (s.direction(m[i], v[i]) + s.decay * w[i]);
        w[i] = value;
        followers.see(i, value);
    });
}

static clv_status lamb(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                       const clvi_flat_adam_args *a)
{
    return dtype == CLV_F64 ? lamb_of(device, n, (double *)w, (const double *)m, (const double *)v, a)
                            : lamb_of(device, n, (float *)w, (const float *)m, (const float *)v, a);
}

/* ---- two sums over a vector: of chunks, then of the chunks in order ---- */

enum { LEAST_CHUNK = 65536 };

/* term(i, &a, &b) adds what element i has to add. */
template <class F>
__global__ void __launch_bounds__(CLVI_CU_THREADS, 1) chunk_sums(int64_t n, int64_t chunk, F term, double *part)
{
    const int64_t begin = blockIdx.x * chunk, end = begin + chunk < n ? begin + chunk : n;
    double a = 0, b = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += CLVI_CU_THREADS) term(i, &a, &b);
    a = clvi_cu_block_sum(a);
    b = clvi_cu_block_sum(b);
    if (threadIdx.x == 0) part[2 * blockIdx.x] = a, part[2 * blockIdx.x + 1] = b;
}

static __global__ void __launch_bounds__(CLVI_CU_THREADS) sum_chunks(int64_t chunks, const double *part, double *sum)
{
    double value = 0;
    for (int64_t i = threadIdx.x; i < chunks; i += CLVI_CU_THREADS) value += part[2 * i + blockIdx.x];
    value = clvi_cu_block_sum(value);
    if (threadIdx.x == 0) sum[blockIdx.x] = value;
}

template <class F> static clv_status two_sums(clvi_device *device, const char *name, int64_t n, F term, double *sum)
{
    const clvi_op_call call = call_for(device, name);
    double *part = (double *)device->sums + 2;
    int64_t chunk = (n + CLVI_FLAT_CHUNKS - 1) / CLVI_FLAT_CHUNKS;
    if (chunk < LEAST_CHUNK) chunk = LEAST_CHUNK;
    const int64_t chunks = (n + chunk - 1) / chunk;
    CLV_TRY(clvi_cu_launch(&call, chunk_sums<F>, (unsigned)chunks, CLVI_CU_THREADS, 0, n, chunk, term, part));
    return clvi_cu_launch(&call, sum_chunks, 2, CLVI_CU_THREADS, 0, chunks, part, sum);
}

template <class T> static clv_status measure_of(clvi_device *device, int64_t n, const T *x, double *sum)
{
    return two_sums(device, "measure", n, [=] __device__ (int64_t i, double *squares, double *bad) {
        const double value = x[i];
        *squares += value * value;
        *bad += !(fabs(value) < INFINITY);
    }, sum);
}

static clv_status measure(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, double *sum)
{
    return dtype == CLV_F64 ? measure_of(device, n, (const double *)x, sum)
                            : measure_of(device, n, (const float *)x, sum);
}

template <class T> static clv_status norms2_of(clvi_device *device, int64_t n, const T *w, const T *g, T decay, double *sum)
{
    return two_sums(device, "norms2", n, [=] __device__ (int64_t i, double *of_w, double *of_g) {
        const T d = g[i] + decay * w[i];
        *of_w += (double)w[i] * w[i];
        *of_g += (double)d * d;
    }, sum);
}

static clv_status norms2(clvi_device *device, clv_dtype dtype, int64_t n, const void *w, const void *g, double decay,
                         double *sum)
{
    return dtype == CLV_F64 ? norms2_of(device, n, (const double *)w, (const double *)g, decay, sum)
                            : norms2_of(device, n, (const float *)w, (const float *)g, (float)decay, sum);
}

template <class T>
static clv_status moments_of(clvi_device *device, int64_t n, const T *w, const T *g, T *m, T *v,
                             const clvi_flat_adam_args *a, double *sum)
{
    const adam_step<T> s(a);
    return two_sums(device, "lamb moments", n, [=] __device__ (int64_t i, double *of_w, double *of_u) {
        const T u = s.moments(g[i], &m[i], &v[i]) + s.decay * w[i];
        *of_w += (double)w[i] * w[i];
        *of_u += (double)u * u;
    }, sum);
}

static clv_status lamb_moments(clvi_device *device, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m,
                               void *v, const clvi_flat_adam_args *a, double *sum)
{
    return dtype == CLV_F64
        ? moments_of(device, n, (const double *)w, (const double *)g, (double *)m, (double *)v, a, sum)
        : moments_of(device, n, (const float *)w, (const float *)g, (float *)m, (float *)v, a, sum);
}

extern "C" const clvi_flat_passes clvi_cuda_flat_passes = {
    sgd, mix, lars, adamw, lamb, measure, norms2, lamb_moments,
};
