/* prelu.cu: prelu and its gradient over values whose channels come last; the slopes' gradients are summed up as batch
 * norm's are (norm_sums.h). */
#include "device/cuda/norm_sums.h"

/* ---- forward: x, slope -> y ---- */

template <class T, int V>
static __global__ void __launch_bounds__(CLVI_CU_THREADS)
apply(clvi_cu_norm s, const T *x, const typename clvi_cu_wide<T>::type *slope, T *y)
{
    typedef typename clvi_cu_wide<T>::type P;
    const clvi_cu_norm_place at(s);
    P below[V];
    if (!at.there) return;
    for (int v = 0; v < V; v++) below[v] = slope[at.column * V + v];
    for (int64_t row = at.first; row < at.last; row += s.high) {
        const int64_t i = row * s.channels + at.column * V;
        clvi_cu_pack<T, V> values = clvi_cu_load<T, V>(x + i);
        for (int v = 0; v < V; v++) {
            const P value = (P)values.at[v];
            values.at[v] = (T)(value > 0 ? value : below[v] * value);
        }
        *(clvi_cu_pack<T, V> *)(y + i) = values;
    }
}

template <class T, int V> static clv_status prelu_by(const clvi_op_call *call, clvi_cu_norm s)
{
    typedef typename clvi_cu_wide<T>::type P;
    return clvi_cu_launch(call, apply<T, V>, clvi_cu_norm_grid(s), clvi_cu_norm_block(s), 0, s,
                          (const T *)call->in_data[0], (const P *)call->in_data[1], (T *)call->out_data[0]);
}

template <class T> static clv_status prelu_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = clvi_cu_norm_plan(&call->in[0], 1);
    return CLVI_CU_BY_WIDTH(T, s.width, prelu_by, call, s);
}

static clv_status prelu(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->in[0], prelu_of, call); }

static clv_status prepare_forward(clvi_op_call *call)
{
    clvi_cu_norm_layouts(call);
    return CLV_OK;
}
CLVI_CU_KERNEL_WITH(prelu, clvi_cu_accepts_half, prepare_forward);

/* ---- gradient: dy, x, slope -> dx, dslope ---- */

/* dx, and the chunk's sums of dy x where x is not above 0. */
template <class T, int V>
static __global__ void __launch_bounds__(CLVI_CU_THREADS)
gradient(clvi_cu_norm s, const T *dy, const T *x, const typename clvi_cu_wide<T>::type *slope, T *dx, double *part)
{
    typedef typename clvi_cu_wide<T>::type P;
    const clvi_cu_norm_place at(s);
    const double nothing[V] = { 0 };
    double sum[V] = { 0 };
    P below[V];
    for (int v = 0; v < V; v++) below[v] = at.there ? slope[at.column * V + v] : P(0);
    for (int64_t row = at.first; row < at.last; row += s.high) {
        const int64_t i = row * s.channels + at.column * V;
        clvi_cu_pack<T, V> ups = clvi_cu_load<T, V>(dy + i);
        const clvi_cu_pack<T, V> values = clvi_cu_load<T, V>(x + i);
        for (int v = 0; v < V; v++) {
            const P up = (P)ups.at[v], value = (P)values.at[v];
            if (!(value > 0)) sum[v] += (double)up * (double)value;
            ups.at[v] = (T)(value > 0 ? up : below[v] * up);
        }
        *(clvi_cu_pack<T, V> *)(dx + i) = ups;
    }
    clvi_cu_norm_keep<V>(s, sum, nothing, part);
}

template <class T, int V> static clv_status prelu_bwd_by(const clvi_op_call *call, clvi_cu_norm s)
{
    typedef typename clvi_cu_wide<T>::type P;
    double *part = (double *)call->scratch;
    P *dslope = clvi_cu_output<P>(call, 1);
    CLV_TRY(clvi_cu_launch(call, gradient<T, V>, clvi_cu_norm_grid(s), clvi_cu_norm_block(s), 0, s,
                           (const T *)call->in_data[0], (const T *)call->in_data[1], (const P *)call->in_data[2],
                           (T *)call->out_data[0], part));
    if (!dslope) return CLV_OK;
    return clvi_cu_channels(call, s.channels, [=] __device__ (int64_t c, int lane) {
        double sum, nothing;
        clvi_cu_norm_add(s, part, 0, c, lane, &sum, &nothing);
        if (lane == 0) dslope[c] = (P)sum;
    });
}

template <class T> static clv_status prelu_bwd_of(const clvi_op_call *call)
{
    const clvi_cu_norm s = clvi_cu_norm_plan(&call->in[1], 1);
    return CLVI_CU_BY_WIDTH(T, s.width, prelu_bwd_by, call, s);
}

static clv_status prelu_bwd(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->in[1], prelu_bwd_of, call); }

static clv_status prepare_backward(clvi_op_call *call)
{
    clvi_cu_norm_layouts(call);
    call->scratch_size = clvi_cu_norm_parts(clvi_cu_norm_plan(&call->in[1], 1)) * sizeof(double);
    return CLV_OK;
}
CLVI_CU_KERNEL_WITH(prelu_bwd, clvi_cu_accepts_half, prepare_backward);
