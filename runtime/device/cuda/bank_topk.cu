/* bank_topk.cu: bank_topk, topk_same: the rows of a bank that are most similar to a query, exactly; equal ones keep the
 * order of the bank. Scores exist for some rows at a time: each query's list and the new scores are cut by radix select
 * to the best, which stay in the order of the bank until a sort at the end. */
#include "device/cuda/bank_topk.h"
#include "device/cuda/select.h"

/* Lists of `room` places, a power of two, at least `top`, in two arrays; scores of `chunk` rows. */
struct lists {
    int64_t queries, top, room, chunk;
    double *score, *fresh;               /* [queries, room], [queries, chunk] */
    int64_t *slot, *listed;              /* [queries, room], [queries] */
};

static lists lists_of(int64_t queries, int64_t rows, int64_t top, void *scratch)
{
#ifdef CLV_EMU
    const int64_t most = 512;
#else
    const int64_t most = 1 << 21;        /* stays in the second-level cache */
#endif
    lists l = { queries, top, 1, 0, nullptr, nullptr, nullptr, nullptr };
    while (l.room < top) l.room *= 2;
    const int64_t part = most / (queries > 0 ? queries : 1), chunk = part > top ? part : top;
    l.chunk = clvi_cu_bank_blocks(chunk < rows ? chunk : rows) * CLVI_CU_BANK_TILE;
    l.score = (double *)scratch;
    l.fresh = l.score + queries * l.room;
    l.slot = (int64_t *)(l.fresh + queries * l.chunk);
    l.listed = l.slot + queries * l.room;
    return l;
}

size_t clvi_cu_topk_scratch(int64_t queries, int64_t rows, int64_t top)
{
    const lists l = lists_of(queries, rows, top, nullptr);
    return (size_t)(queries * (2 * l.room + l.chunk + 1)) * sizeof(double);
}

/* ---- scores of a chunk: -inf where a row does not count ---- */

template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS)
topk_scores_kernel(clvi_cu_bank<T> p, int64_t first, int64_t last, int64_t chunk, double *fresh)
{
    enum { PER = CLVI_CU_BANK_PER, LANES = CLVI_CU_BANK_LANES };
    __shared__ clvi_cu_bank_room<T> room;
    const int64_t b0 = (int64_t)blockIdx.y * CLVI_CU_BANK_TILE, j0 = first + (int64_t)blockIdx.x * CLVI_CU_BANK_TILE;
    T score[PER][PER];
    clvi_cu_bank_scores(p, b0, j0, last, clvi_cu_bank_product<T>(), room, score);
    for (int i = 0; i < PER; i++)
        for (int c = 0; c < PER; c++) {
            const int64_t b = b0 + threadIdx.x / LANES + i * LANES, j = j0 + threadIdx.x % LANES + c * LANES;
            if (b < p.queries && j < last)
                fresh[b * chunk + j - first] = p.counts(b, j) ? (double)score[i][c] : -INFINITY;
        }
}

/* ---- one query's list, by all threads of a block ---- */

/* What may be listed: the list so far, then the fresh scores: in the order of the bank. */
struct candidates {
    const double *score, *fresh;
    int64_t listed;
    __device__ bool operator()(int64_t i, double *x) const
    {
        *x = i < listed ? score[i] : fresh[i - listed];
        return *x > -INFINITY;
    }
};

static __device__ void merge(const lists &l, int64_t b, int64_t first, int64_t last)
{
    double *score = l.score + b * l.room, x = 0;
    int64_t *slot = l.slot + b * l.room, number = 0, above = 0;
    const int64_t listed = first > 0 ? l.listed[b] : 0, all = listed + last - first;
    const candidates from = { score, l.fresh + b * l.chunk, listed };
    for (int64_t i = threadIdx.x; i < all; i += CLVI_CU_THREADS) number += from(i, &x);
    number = clvi_cu_block_sum(number);
    double threshold = -INFINITY;
    if (number > l.top) threshold = clvi_cu_block_select(all, number - l.top, from);
    for (int64_t i = threadIdx.x; i < all; i += CLVI_CU_THREADS) above += from(i, &x) && x > threshold;
    int64_t ties = l.top - clvi_cu_block_sum(above), kept = 0, found;
    for (int64_t i0 = 0; i0 < all; i0 += CLVI_CU_THREADS) {
        const int64_t i = i0 + threadIdx.x;
        const bool there = i < all && from(i, &x), tie = there && x == threshold;
        const int64_t j = !there ? 0 : i < listed ? slot[i] : first + i - listed;
        const bool first_ties = clvi_cu_block_rank(tie, &found) < ties;
        ties -= found;
        const bool keep = there && (x > threshold || (tie && first_ties));
        const int64_t to = kept + clvi_cu_block_rank(keep, &found);
        kept += found;                   /* at most the places that have been read */
        if (keep) score[to] = x, slot[to] = j;
    }
    if (threadIdx.x == 0) l.listed[b] = kept;
}

/* Largest first, of equal ones the lower slot. */
struct entry { double score; int64_t slot; };
static __device__ bool comes_before(entry a, entry b)
{
    return a.score > b.score || (a.score == b.score && a.slot < b.slot);
}

/* Bitonic: entries past the list come last. */
static __device__ void sort(double *score, int64_t *slot, int64_t listed, int64_t room)
{
    for (int64_t i = listed + threadIdx.x; i < room; i += CLVI_CU_THREADS) score[i] = -INFINITY, slot[i] = INT64_MAX;
    for (int64_t run = 2; run <= room; run *= 2)
        for (int64_t gap = run / 2; gap > 0; gap /= 2) {
            __syncthreads();
            for (int64_t i = threadIdx.x; i < room; i += CLVI_CU_THREADS) {
                const int64_t other = i ^ gap;
                if (other < i) continue;
                const entry a = { score[i], slot[i] }, b = { score[other], slot[other] };
                const bool forward = (i & run) == 0;
                if (!(forward ? comes_before(b, a) : comes_before(a, b))) continue;
                score[i] = b.score, slot[i] = b.slot;
                score[other] = a.score, slot[other] = a.slot;
            }
        }
    __syncthreads();
}

template <class T> static __device__ void finish(const lists &l, int64_t b, bool any, int64_t *slots, T *scores)
{
    double *score = l.score + b * l.room;
    int64_t *slot = l.slot + b * l.room;
    const int64_t listed = any ? l.listed[b] : 0;
    sort(score, slot, listed, l.room);
    for (int64_t i = threadIdx.x; i < l.top; i += CLVI_CU_THREADS) {
        if (slots) slots[b * l.top + i] = i < listed ? slot[i] : -1;
        if (scores) scores[b * l.top + i] = i < listed ? (T)score[i] : T(0);
    }
}

template <class T>
static clv_status topk(const clvi_op_call *call, const clvi_cu_bank<T> &p, int64_t top, void *scratch, int64_t *slots,
                       T *scores)
{
    const lists l = lists_of(p.queries, p.count, top, scratch);
    for (int64_t first = 0; first < p.count; first += l.chunk) {
        const int64_t last = first + l.chunk < p.count ? first + l.chunk : p.count;
        const dim3 grid((unsigned)clvi_cu_bank_blocks(last - first), (unsigned)clvi_cu_bank_blocks(p.queries));
        CLV_TRY(clvi_cu_launch(call, topk_scores_kernel<T>, grid, CLVI_CU_THREADS, 0, p, first, last, l.chunk,
                               l.fresh));
        CLV_TRY(clvi_cu_rows(call, p.queries, [=] __device__ (int64_t b) { merge(l, b, first, last); }));
    }
    const bool any = p.count > 0;
    return clvi_cu_rows(call, p.queries, [=] __device__ (int64_t b) { finish(l, b, any, slots, scores); });
}

clv_status clvi_cu_topk(const clvi_op_call *call, const clvi_cu_bank<float> &p, int64_t top, void *scratch,
                        int64_t *slots, float *scores)
{
    return topk(call, p, top, scratch, slots, scores);
}

clv_status clvi_cu_topk(const clvi_op_call *call, const clvi_cu_bank<double> &p, int64_t top, void *scratch,
                        int64_t *slots, double *scores)
{
    return topk(call, p, top, scratch, slots, scores);
}

/* ---- bank_topk ---- */

static bool bank_topk_accepts(const clvi_op_call *call) { return clvi_cu_bank_types(call, 1); }

static clv_status bank_topk_prepare(clvi_op_call *call)
{
    clvi_cu_bank_make_dense(call);
    call->scratch_size = clvi_cu_topk_scratch(call->in[0].shape[0], call->in[1].shape[0], call->out[0].shape[1]);
    return CLV_OK;
}

template <class T> static clv_status bank_topk_of(const clvi_op_call *call)
{
    return clvi_cu_topk(call, clvi_cu_bank_of<T>(call, 1, 2), call->out[0].shape[1], call->scratch,
                        clvi_cu_output<int64_t>(call, 0), clvi_cu_output<T>(call, 1));
}

static clv_status bank_topk(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[0], bank_topk_of, call); }
CLVI_CU_KERNEL_WITH(bank_topk, bank_topk_accepts, bank_topk_prepare);

/* ---- topk_same ---- */

template <class T> static clv_status topk_same_of(const clvi_op_call *call)
{
    const int64_t *slots = (const int64_t *)call->in_data[0], *ids = (const int64_t *)call->in_data[1];
    const int64_t *bank_ids = (const int64_t *)call->in_data[2], top = call->in[0].shape[1];
    T *y = (T *)call->out_data[0];
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t b) {
        int64_t listed = 0, same = 0;
        for (int64_t i = threadIdx.x; i < top; i += CLVI_CU_THREADS) {
            const int64_t slot = slots[b * top + i];
            listed += slot >= 0;
            same += slot >= 0 && ids[b] >= 0 && bank_ids[slot] == ids[b];
        }
        listed = clvi_cu_block_sum(listed);
        same = clvi_cu_block_sum(same);
        if (threadIdx.x == 0) y[b] = (T)(listed ? (double)same / (double)listed : 0);
    });
}

static clv_status topk_same(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], topk_same_of, call); }
CLVI_CU_KERNEL(topk_same);
