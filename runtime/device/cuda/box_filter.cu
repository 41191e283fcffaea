/* box_filter.cu: with the P marked values in ascending order v: q1 = v[P/4], q3 = v[3P/4] (rounded down, no
 * interpolation); kept are those in [q1 - reach (q3 - q1), q3 + reach (q3 - q1)], bounds included. A NaN has no rank
 * and is not kept. One block. */
#include "device/cuda/select.h"

template <class T> struct box { T *q1, *q3, *low, *high, *kept; };

template <class T> static clv_status box_filter_of(const clvi_op_call *call)
{
    const double reach = ((const clvi_box_filter_attr *)call->attr)->reach;
    const int64_t n = clvi_desc_count(&call->in[0]);
    const T *x = (const T *)call->in_data[0];
    const unsigned char *mask = (const unsigned char *)call->in_data[1];
    unsigned char *keep = (unsigned char *)call->out_data[0];
    const box<T> out = { (T *)call->out_data[1], (T *)call->out_data[2], (T *)call->out_data[3],
                         (T *)call->out_data[4], (T *)call->out_data[5] };
    return clvi_cu_rows(call, 1, [=] __device__ (int64_t) {
        const auto marked = [=](int64_t i, double *value) {
            *value = (double)x[i];
            return mask[i] && x[i] == x[i];
        };
        int64_t count = 0, kept = 0;
        double value;
        for (int64_t i = threadIdx.x; i < n; i += CLVI_CU_THREADS) count += marked(i, &value);
        count = clvi_cu_block_sum(count);
        const T q1 = count ? (T)clvi_cu_block_select(n, count / 4, marked) : T(0);
        const T q3 = count ? (T)clvi_cu_block_select(n, 3 * count / 4, marked) : T(0);
        const T low = (T)((double)q1 - reach * ((double)q3 - (double)q1));
        const T high = (T)((double)q3 + reach * ((double)q3 - (double)q1));
        for (int64_t i = threadIdx.x; i < n; i += CLVI_CU_THREADS) {
            keep[i] = mask[i] && x[i] >= low && x[i] <= high;
            kept += keep[i];
        }
        kept = clvi_cu_block_sum(kept);
        if (threadIdx.x == 0) *out.q1 = q1, *out.q3 = q3, *out.low = low, *out.high = high, *out.kept = (T)kept;
    });
}

static bool box_filter_accepts(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 || call->in[0].dtype == CLV_F64;
}

static clv_status box_filter(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[0], box_filter_of, call); }
CLVI_CU_KERNEL_WITH(box_filter, box_filter_accepts, nullptr);
