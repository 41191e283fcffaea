/* hard_negatives.cu: all positives, and the `number` negatives with the largest scores, of equal ones the earlier; or,
 * by the official rule, what is above a threshold among all. The rules are those of ref_labels.c. One block. */
#include "device/cuda/select.h"

template <class T> struct items {
    const T *scores;
    const int64_t *labels;
    const unsigned char *mask;
    int64_t n;
    bool official;

    __device__ bool counts(int64_t i) const { return !mask || mask[i]; }
    /* In the list of negatives; under the official rule masked ones are there, too, with score 0. */
    __device__ bool operator()(int64_t i, double *score) const
    {
        *score = counts(i) ? (double)scores[i] : 0;
        return labels[i] <= 0 && (official || counts(i));
    }
};

/* Keeps the negatives above the threshold, and of those at it the first `ties`. */
template <class T>
static __device__ void keep_hardest(const items<T> &all, double threshold, int64_t ties, unsigned char *keep)
{
    for (int64_t first = 0; first < all.n; first += CLVI_CU_THREADS) {
        const int64_t i = first + threadIdx.x;
        double score = 0;
        int64_t found;
        const bool negative = i < all.n && all(i, &score), tie = negative && score == threshold;
        const int64_t rank = clvi_cu_block_rank(tie, &found);
        if (negative && (score > threshold || (tie && rank < ties))) keep[i] = 1;
        ties -= found;
    }
}

template <class T>
static __device__ void hard_negatives_block(const items<T> &all, double ratio, unsigned char *keep, int64_t *number_out)
{
    int64_t positives = 0, negatives = 0, above = 0;
    double score;
    for (int64_t i = threadIdx.x; i < all.n; i += CLVI_CU_THREADS) {
        keep[i] = all.labels[i] > 0 && all.counts(i);
        positives += keep[i];
        negatives += all(i, &score);
    }
    positives = clvi_cu_block_sum(positives);
    negatives = clvi_cu_block_sum(negatives);
    const double wanted = floor((double)positives * ratio);
    const int64_t number = wanted < (double)negatives ? (int64_t)wanted : negatives;
    if (number_out && threadIdx.x == 0) *number_out = number;
    if (negatives == 0 || (number == 0 && !all.official)) return;
    int64_t at = negatives - number;
    if (all.official) at = number == 0 ? 1 : number == 1 ? 0 : at + 1;
    const double threshold = clvi_cu_block_select(all.n, at < negatives ? at : negatives - 1, all);
    if (all.official) {
        for (int64_t i = threadIdx.x; i < all.n; i += CLVI_CU_THREADS)
            if (all.counts(i) && (double)all.scores[i] > threshold) keep[i] = 1;
        return;
    }
    for (int64_t i = threadIdx.x; i < all.n; i += CLVI_CU_THREADS) above += all(i, &score) && score > threshold;
    keep_hardest(all, threshold, number - clvi_cu_block_sum(above), keep);
}

template <class T> static clv_status hard_negatives_of(const clvi_op_call *call)
{
    const clvi_hard_negatives_attr attr = *(const clvi_hard_negatives_attr *)call->attr;
    const items<T> all = { (const T *)call->in_data[0], (const int64_t *)call->in_data[1],
                           (const unsigned char *)call->in_data[2], call->in[0].shape[0], attr.official };
    unsigned char *keep = (unsigned char *)call->out_data[0];
    int64_t *number = clvi_cu_output<int64_t>(call, 1);
    return clvi_cu_rows(call, 1, [=] __device__ (int64_t) { hard_negatives_block(all, attr.ratio, keep, number); });
}

static bool hard_negatives_accepts(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 || call->in[0].dtype == CLV_F64;
}

static clv_status hard_negatives(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->in[0], hard_negatives_of, call);
}
CLVI_CU_KERNEL_WITH(hard_negatives, hard_negatives_accepts, nullptr);
