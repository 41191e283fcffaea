/* triplet.cu: hardest_pairs, triplet_sum: one block an anchor. Rows with a negative label take no part. */
#include "device/cuda/cu.h"

/* ---- hardest_pairs ---- */

/* The best of the candidates j that a thread has seen, and the first of them all. */
template <class T> struct choice { T best; int64_t at, first; };

template <class T> static __device__ void consider(choice<T> *c, T value, int64_t j)
{
    if (j < c->first) c->first = j;
    if (value > c->best || (value == c->best && c->at == INT64_MAX)) c->best = value, c->at = j;
}

/* The block's: the first of equals; -1 without candidates. Nothing is better than a NaN that comes first, as nothing is
 * larger than it. */
template <class T> static __device__ int64_t chosen(const choice<T> &c, const T *d)
{
    const int64_t first = clvi_cu_block_combine(c.first, (int64_t)INT64_MAX, clvi_cu_smaller<int64_t>());
    const T best = clvi_cu_block_max(c.best);
    const int64_t mine = c.best == best ? c.at : INT64_MAX;
    const int64_t at = clvi_cu_block_combine(mine, (int64_t)INT64_MAX, clvi_cu_smaller<int64_t>());
    if (first == INT64_MAX) return -1;
    return d[first] != d[first] ? first : at;
}

/* The farthest other row with the label and the nearest with another one; both -1 unless there are both. */
template <class T> static clv_status hardest_pairs_of(const clvi_op_call *call)
{
    const T *distances = (const T *)call->in_data[0];
    const int64_t *label = (const int64_t *)call->in_data[1], n = call->in[0].shape[0];
    int64_t *positive = (int64_t *)call->out_data[0], *negative = (int64_t *)call->out_data[1];
    unsigned char *valid = (unsigned char *)call->out_data[2];
    return clvi_cu_rows(call, n, [=] __device__ (int64_t i) {
        const T *d = distances + i * n;
        choice<T> far = { T(-INFINITY), INT64_MAX, INT64_MAX }, near = far;
        for (int64_t j = threadIdx.x; j < n; j += CLVI_CU_THREADS) {
            if (j == i || label[i] < 0 || label[j] < 0) continue;
            if (label[j] == label[i]) consider(&far, d[j], j);
            else consider(&near, -d[j], j);
        }
        const int64_t p = chosen(far, d), k = chosen(near, d);
        if (threadIdx.x != 0) return;
        valid[i] = p >= 0 && k >= 0;
        positive[i] = valid[i] ? p : -1;
        negative[i] = valid[i] ? k : -1;
    });
}

static bool real_distances(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 || call->in[0].dtype == CLV_F64;
}

static clv_status hardest_pairs(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->in[0], hardest_pairs_of, call);
}
CLVI_CU_KERNEL_WITH(hardest_pairs, real_distances, nullptr);

/* ---- triplet_sum ---- */

/* Three sums a row. */
static clv_status triplet_prepare(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = 3 * sizeof(double) * (size_t)call->in[0].shape[0];
    return CLV_OK;
}

struct triplets { double sum, active, all; };

/* Those of an anchor's row in which j takes part. */
template <class T>
static __device__ triplets triplets_with(const T *d, const int64_t *label, int64_t a, int64_t j, int64_t n,
                                         double margin)
{
    triplets t = { 0, 0, 0 };
    const bool positive = label[j] == label[a];
    for (int64_t k = 0; k < n; k++) {
        if (label[k] < 0 || k == a || (label[k] == label[a]) == positive) continue;
        const double gap = (positive ? (double)d[j] - (double)d[k] : (double)d[k] - (double)d[j]) + margin;
        t.all++;
        if (gap <= 0) continue;
        t.sum += gap;
        t.active++;
    }
    return t;
}

/* Every triplet is seen from both ends, for both have a slope; the negatives' are the ones that are added up. */
template <class T> static clv_status triplet_sum_of(const clvi_op_call *call)
{
    const double margin = ((const clvi_triplet_sum_attr *)call->attr)->margin;
    const T *distances = (const T *)call->in_data[0];
    const int64_t *label = (const int64_t *)call->in_data[1], n = call->in[0].shape[0];
    T *slopes = clvi_cu_output<T>(call, 3);
    T *out[3] = { (T *)call->out_data[0], (T *)call->out_data[1], (T *)call->out_data[2] };
    double *part = (double *)call->scratch;
    CLV_TRY(clvi_cu_rows(call, n, [=] __device__ (int64_t a) {
        triplets all = { 0, 0, 0 };
        for (int64_t j = threadIdx.x; j < n; j += CLVI_CU_THREADS) {
            const bool takes_part = j != a && label[a] >= 0 && label[j] >= 0, positive = label[j] == label[a];
            triplets t = { 0, 0, 0 };
            if (takes_part && (slopes || !positive)) t = triplets_with(distances + a * n, label, a, j, n, margin);
            if (slopes) slopes[a * n + j] = (T)(positive ? t.active : -t.active);
            if (!positive) all.sum += t.sum, all.active += t.active, all.all += t.all;
        }
        all.sum = clvi_cu_block_sum(all.sum);
        all.active = clvi_cu_block_sum(all.active);
        all.all = clvi_cu_block_sum(all.all);
        if (threadIdx.x == 0) part[3 * a] = all.sum, part[3 * a + 1] = all.active, part[3 * a + 2] = all.all;
    }));
    return clvi_cu_rows(call, 3, [=] __device__ (int64_t k) {
        double sum = 0;
        for (int64_t a = threadIdx.x; a < n; a += CLVI_CU_THREADS) sum += part[3 * a + k];
        sum = clvi_cu_block_sum(sum);
        if (threadIdx.x == 0) *out[k] = (T)sum;
    });
}

static clv_status triplet_sum(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], triplet_sum_of, call); }
CLVI_CU_KERNEL_WITH(triplet_sum, nullptr, triplet_prepare);
