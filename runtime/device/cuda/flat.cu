/* flat.cu: passes over flat arenas: optimisers, what follows the weights, norms. One launch each, sums two, in the
 * arithmetic of device/cpu/flat.c. What a pass is told it reads on the device, once a thread; elements go in packs
 * of 16 bytes. */
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

/* ---- a walk over arenas ---- */

template <class T, int V> struct alignas(sizeof(T) * V) pack { T at[V]; };
template <class T, int V> __device__ __forceinline__ pack<T, V> load(const T *from)
{
    return *(const pack<T, V> *)from;
}
template <class T, int V> __device__ __forceinline__ void store(T *to, const pack<T, V> &p) { *(pack<T, V> *)to = p; }

/* A pass S knows its vectors; ready(told) gives its constants, and piece<V>(r, i) does elements [i, i + V). */
template <class T, class S, class Told>
__global__ void __launch_bounds__(CLVI_CU_THREADS) walk_kernel(int64_t n, int64_t packs, const Told *told,
                                                               const clvi_verdict *verdict, S s)
{
    enum { V = 16 / sizeof(T) };
    if (verdict && verdict->stopped) return;
    const typename S::constants r = s.ready(*told);
    if (!s.acts(r)) return;
    const int64_t step = (int64_t)gridDim.x * blockDim.x, first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (int64_t p = first; p < packs; p += step) s.template piece<V>(r, p * V);
    for (int64_t i = packs * V + first; i < n; i += step) s.template piece<1>(r, i);
}

static bool aligned(const void *p) { return (uintptr_t)p % 16 == 0; }

/* `even`: the vectors lie so that packs can be loaded. */
template <class T, class S, class Told>
static clv_status walk(clvi_device *device, const char *name, int64_t n, bool even, const Told *told, S s)
{
    const clvi_op_call call = call_for(device, name);
    const int64_t packs = even ? n / (16 / (int64_t)sizeof(T)) : 0;
    return clvi_cu_launch(&call, walk_kernel<T, S, Told>, clvi_cu_blocks(packs > 0 ? packs : n), CLVI_CU_THREADS, 0, n,
                          packs, told, device->verdict, s);
}

/* The averages that follow the weights of an update, in the type of its vectors. */
template <class T> struct followers_of {
    T *k[CLVI_FLAT_FOLLOWERS];
    T  keep[CLVI_FLAT_FOLLOWERS], take[CLVI_FLAT_FOLLOWERS];

    __device__ explicit followers_of(const clvi_flat_followers &f)
    {
        for (int i = 0; i < CLVI_FLAT_FOLLOWERS; i++) {
            k[i] = (T *)f.k[i];
            keep[i] = (T)f.m[i];
            take[i] = (T)(1 - f.m[i]);
        }
    }
    template <int V> __device__ __forceinline__ void see(int64_t at, const pack<T, V> &value) const
    {
        for (int i = 0; i < CLVI_FLAT_FOLLOWERS; i++) {
            if (!k[i]) continue;
            pack<T, V> average = load<T, V>(k[i] + at);
            for (int v = 0; v < V; v++) average.at[v] = keep[i] * average.at[v] + take[i] * value.at[v];
            store<T, V>(k[i] + at, average);
        }
    }
};

/* ---- SGD, LARS ---- */

template <class T> struct sgd_pass {
    T *w;
    const T *g;
    T *v;

    struct constants {
        T lr, momentum, decay, scale;
        bool first, nesterov;
        followers_of<T> followers;
    };
    __device__ constants ready(const clvi_flat_sgd_told &told) const
    {
        double decay = told.sgd.weight_decay;
        const double scale = clvi_flat_rate_of(&told.rate, &decay);
        return constants{ (T)told.sgd.lr, (T)told.sgd.momentum, (T)decay, (T)scale, told.sgd.first, told.sgd.nesterov,
                          followers_of<T>(told.sgd.followers) };
    }
    __device__ bool acts(const constants &) const { return true; }
    template <int V> __device__ __forceinline__ void piece(const constants &r, int64_t i) const
    {
        pack<T, V> weights = load<T, V>(w + i), velocity;
        const pack<T, V> gradient = load<T, V>(g + i);
        if (v && !r.first) velocity = load<T, V>(v + i);
        for (int e = 0; e < V; e++) {
            const T d = r.scale * (gradient.at[e] + r.decay * weights.at[e]);
            const T moved = !v || r.first ? d : r.momentum * velocity.at[e] + d;
            velocity.at[e] = moved;
            weights.at[e] -= r.lr * (v && r.nesterov ? d + r.momentum * moved : moved);
        }
        store<T, V>(w + i, weights);
        if (v) store<T, V>(v + i, velocity);
        r.followers.template see<V>(i, weights);
    }
};

template <class T>
static clv_status sgd_of(clvi_device *device, int64_t n, void *w, const void *g, void *v,
                         const clvi_flat_sgd_told *told)
{
    const sgd_pass<T> s = { (T *)w, (const T *)g, (T *)v };
    return walk<T>(device, "sgd", n, aligned(w) && aligned(g) && aligned(v), told, s);
}

static clv_status sgd(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                      const clvi_flat_sgd_told *told)
{
    return dtype == CLV_F64 ? sgd_of<double>(device, n, w, g, v, told) : sgd_of<float>(device, n, w, g, v, told);
}

/* ---- y = a x + b y ---- */

template <class T> struct mix_pass {
    const T *x;
    T *y;

    struct constants { T a, b; };
    __device__ constants ready(const clvi_flat_mix_told &told) const { return constants{ (T)told.a, (T)told.b }; }
    __device__ bool acts(const constants &r) const { return r.a != T(0) || r.b != T(1); }
    template <int V> __device__ __forceinline__ void piece(const constants &r, int64_t i) const
    {
        const pack<T, V> from = load<T, V>(x + i);
        pack<T, V> to = load<T, V>(y + i);
        for (int e = 0; e < V; e++) to.at[e] = r.b * to.at[e] + r.a * from.at[e];
        store<T, V>(y + i, to);
    }
};

template <class T>
static clv_status mix_of(clvi_device *device, int64_t n, const void *x, void *y, const clvi_flat_mix_told *told)
{
    const mix_pass<T> s = { (const T *)x, (T *)y };
    return walk<T>(device, "mix", n, aligned(x) && aligned(y), told, s);
}

static clv_status mix(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, void *y,
                      const clvi_flat_mix_told *told)
{
    return dtype == CLV_F64 ? mix_of<double>(device, n, x, y, told) : mix_of<float>(device, n, x, y, told);
}

/* ---- Adam and what is made of it ---- */

/* The constants of a step in the type of its vectors. */
template <class T> struct adam_step {
    T take1, keep2, take2, by_correction1, by_root, eps, lr, decay, keep;

    __device__ adam_step(const clvi_flat_adam_args &a, double rate)
        : take1((T)(1 - a.beta1)), keep2((T)a.beta2), take2((T)(1 - a.beta2)), by_correction1((T)(1 / a.correction1)),
          by_root((T)(1 / sqrt(a.correction2))), eps((T)a.eps), lr((T)(a.lr * rate)), decay((T)a.weight_decay),
          keep((T)(1 - a.lr * a.weight_decay)) {}
    __device__ __forceinline__ T moments(T g, T *m, T *v) const
    {
        *m += take1 * (g - *m);
        *v = keep2 * *v + take2 * g * g;
        return direction(*m, *v);
    }
    __device__ __forceinline__ T direction(T m, T v) const { return m * by_correction1 / (sqrt(v) * by_root + eps); }
};

/* AdamW; with LAMB the moments are there already. */
template <class T, bool LAMB> struct adam_pass {
    T *w;
    const T *g;
    T *m, *v;

    struct constants {
        adam_step<T> step;
        followers_of<T> followers;
    };
    __device__ constants ready(const clvi_flat_adam_told &told) const
    {
        double decay = told.adam.weight_decay;
        return constants{ adam_step<T>(told.adam, clvi_flat_rate_of(&told.rate, &decay)),
                          followers_of<T>(told.adam.followers) };
    }
    __device__ bool acts(const constants &) const { return true; }
    template <int V> __device__ __forceinline__ void piece(const constants &r, int64_t i) const
    {
        pack<T, V> weights = load<T, V>(w + i), mean = load<T, V>(m + i), square = load<T, V>(v + i);
        if (LAMB) {
            for (int e = 0; e < V; e++)
                weights.at[e] -= r.step.lr *
                                 (r.step.direction(mean.at[e], square.at[e]) + r.step.decay * weights.at[e]);
        } else {
            const pack<T, V> gradient = load<T, V>(g + i);
            for (int e = 0; e < V; e++) {
                const T direction = r.step.moments(gradient.at[e], &mean.at[e], &square.at[e]);
                weights.at[e] = r.step.keep * weights.at[e] - r.step.lr * direction;
            }
            store<T, V>(m + i, mean);
            store<T, V>(v + i, square);
        }
        store<T, V>(w + i, weights);
        r.followers.template see<V>(i, weights);
    }
};

template <class T, bool LAMB>
static clv_status adam_of(clvi_device *device, const char *name, int64_t n, void *w, const void *g, void *m, void *v,
                          const clvi_flat_adam_told *told)
{
    const adam_pass<T, LAMB> s = { (T *)w, (const T *)g, (T *)m, (T *)v };
    return walk<T>(device, name, n, aligned(w) && aligned(g) && aligned(m) && aligned(v), told, s);
}

static clv_status adamw(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                        const clvi_flat_adam_told *told)
{
    return dtype == CLV_F64 ? adam_of<double, false>(device, "adamw", n, w, g, m, v, told)
                            : adam_of<float, false>(device, "adamw", n, w, g, m, v, told);
}

static clv_status lamb(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                       const clvi_flat_adam_told *told)
{
    void *mean = const_cast<void *>(m), *square = const_cast<void *>(v);              /* not written */
    return dtype == CLV_F64 ? adam_of<double, true>(device, "lamb", n, w, nullptr, mean, square, told)
                            : adam_of<float, true>(device, "lamb", n, w, nullptr, mean, square, told);
}

/* ---- two sums over a vector: of chunks, then of the chunks in order ---- */

enum { LEAST_CHUNK = 65536 };

/* term.ready() gives what add(constants, i, &a, &b) needs to add what element i has to add. */
template <class F>
__global__ void __launch_bounds__(CLVI_CU_THREADS, 1)
chunk_sums(int64_t n, int64_t chunk, const clvi_verdict *verdict, F term, double *part)
{
    if (verdict && verdict->stopped) return;
    const auto r = term.ready();
    const int64_t begin = blockIdx.x * chunk, end = begin + chunk < n ? begin + chunk : n;
    double a = 0, b = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += CLVI_CU_THREADS) term.add(r, i, &a, &b);
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

template <class F>
static clv_status two_sums(clvi_device *device, const char *name, int64_t n, const clvi_verdict *verdict, F term,
                           double *sum)
{
    const clvi_op_call call = call_for(device, name);
    double *part = (double *)device->sums + 2;
    int64_t chunk = (n + CLVI_FLAT_CHUNKS - 1) / CLVI_FLAT_CHUNKS;
    if (chunk < LEAST_CHUNK) chunk = LEAST_CHUNK;
    const int64_t chunks = (n + chunk - 1) / chunk;
    CLV_TRY(clvi_cu_launch(&call, chunk_sums<F>, (unsigned)chunks, CLVI_CU_THREADS, 0, n, chunk, verdict, term, part));
    return clvi_cu_launch(&call, sum_chunks, 2, CLVI_CU_THREADS, 0, chunks, part, sum);
}

template <class T> struct measure_term {
    const T *x;
    __device__ int ready() const { return 0; }
    __device__ __forceinline__ void add(int, int64_t i, double *squares, double *bad) const
    {
        const double value = x[i];
        *squares += value * value;
        *bad += !(fabs(value) < INFINITY);
    }
};

static clv_status measure(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, double *sum)
{
    const measure_term<double> wide = { (const double *)x };
    const measure_term<float> narrow = { (const float *)x };
    return dtype == CLV_F64 ? two_sums(device, "measure", n, nullptr, wide, sum)
                            : two_sums(device, "measure", n, nullptr, narrow, sum);
}

template <class T> struct norms_term {
    const T *w, *g;
    T decay;
    __device__ int ready() const { return 0; }
    __device__ __forceinline__ void add(int, int64_t i, double *of_w, double *of_g) const
    {
        const T d = g[i] + decay * w[i];
        *of_w += (double)w[i] * w[i];
        *of_g += (double)d * d;
    }
};

static clv_status norms2(clvi_device *device, clv_dtype dtype, int64_t n, const void *w, const void *g, double decay,
                         double *sum)
{
    const norms_term<double> wide = { (const double *)w, (const double *)g, decay };
    const norms_term<float> narrow = { (const float *)w, (const float *)g, (float)decay };
    return dtype == CLV_F64 ? two_sums(device, "norms2", n, nullptr, wide, sum)
                            : two_sums(device, "norms2", n, nullptr, narrow, sum);
}

template <class T> struct moments_term {
    const T *w, *g;
    T *m, *v;
    const clvi_flat_adam_told *told;
    __device__ adam_step<T> ready() const { return adam_step<T>(told->adam, 1); }
    __device__ __forceinline__ void add(const adam_step<T> &s, int64_t i, double *of_w, double *of_u) const
    {
        const T u = s.moments(g[i], &m[i], &v[i]) + s.decay * w[i];
        *of_w += (double)w[i] * w[i];
        *of_u += (double)u * u;
    }
};

template <class T>
static clv_status moments_of(clvi_device *device, int64_t n, const void *w, const void *g, void *m, void *v,
                             const clvi_flat_adam_told *told, double *sum)
{
    const moments_term<T> term = { (const T *)w, (const T *)g, (T *)m, (T *)v, told };
    return two_sums(device, "lamb moments", n, device->verdict, term, sum);
}

static clv_status lamb_moments(clvi_device *device, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m,
                               void *v, const clvi_flat_adam_told *told, double *sum)
{
    return dtype == CLV_F64 ? moments_of<double>(device, n, w, g, m, v, told, sum)
                            : moments_of<float>(device, n, w, g, m, v, told, sum);
}

extern "C" const clvi_flat_passes clvi_cuda_flat_passes = {
    sgd, mix, adamw, lamb, measure, norms2, lamb_moments,
};
