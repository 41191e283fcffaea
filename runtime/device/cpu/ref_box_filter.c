/* ref_box_filter.c: box_filter. With the P marked values in ascending order v: q1 = v[P/4], q3 = v[3P/4] (rounded
 * down, no interpolation); kept are those in [q1 - reach (q3 - q1), q3 + reach (q3 - q1)], bounds included. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <string.h>

#define SELF "device/cpu/ref_box_filter.c"
#include "device/cpu/real.h"

static bool accepts(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 || call->in[0].dtype == CLV_F64;
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = call->in[0].bytes;
    return CLV_OK;
}

static clv_status box_filter(const clvi_op_call *call)
{
    if (call->in[0].dtype == CLV_F64) box_filter_f64(call);
    else box_filter_f32(call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_box_filter = {
    .op = "box_filter", .name = "reference", .accepts = accepts, .prepare = prepare, .run = box_filter,
};

#else

/* v[k] becomes what it would be if v were sorted: none before it is larger, none after it smaller. Quickselect around
 * the median of three. */
static REAL FN(select)(REAL *v, int64_t n, int64_t k)
{
    int64_t left = 0, right = n - 1;
    while (left < right) {
        const REAL a = v[left], b = v[left + (right - left) / 2], c = v[right];
        const REAL low = a < b ? a : b, high = a < b ? b : a, pivot = c < low ? low : c > high ? high : c;
        int64_t i = left, j = right;
        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i > j) break;
            const REAL kept = v[i];
            v[i++] = v[j];
            v[j--] = kept;
        }
        if (k <= j) right = j;
        else if (k >= i) left = i;
        else break;
    }
    return v[k];
}

static void FN(box_filter)(const clvi_op_call *call)
{
    const clvi_box_filter_attr *attr = call->attr;
    const int64_t n = clvi_desc_count(&call->in[0]);
    const REAL *x = call->in_data[0];
    const unsigned char *mask = call->in_data[1];
    unsigned char *keep = call->out_data[0];
    REAL *v = call->scratch;
    int64_t count = 0, kept = 0;
    for (int64_t i = 0; i < n; i++) {
        v[count] = x[i];
        count += mask[i] && x[i] == x[i];    /* a NaN has no rank: never kept */
    }
    const REAL q3 = count ? FN(select)(v, count, 3 * count / 4) : 0, q1 = count ? FN(select)(v, count, count / 4) : 0;
    const REAL low = (REAL)(q1 - attr->reach * ((double)q3 - q1)), high = (REAL)(q3 + attr->reach * ((double)q3 - q1));
    for (int64_t i = 0; i < n; i++) {
        keep[i] = mask[i] && x[i] >= low && x[i] <= high;
        kept += keep[i];
    }
    const REAL box[] = { q1, q3, low, high, (REAL)kept };
    for (int i = 0; i < 5; i++) *(REAL *)call->out_data[i + 1] = box[i];
}

#endif
