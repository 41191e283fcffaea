/* pair_nce.cu: every anchor picks its positives out of all other rows; the formulas are those of ref_pair_nce.c. Scores
 * are products of a strip of rows with all rows, and are computed again for the gradient, where they become weights in
 * their place and a product of these with the rows is the gradient of the strip. All strips have one shape: the last
 * begins where it still fits, and gives some rows the same values again. */
#include "device/cuda/cu.h"
extern "C" {
#include "device/cuda/gemm.h"
}

struct pairs { int64_t rows, dim, period, anchors; double temperature; };

/* Part of a call's state: the strips of `count` rows, and where things lie in scratch. */
struct strips {
    clvi_cuda_gemm scores, gradient;
    int64_t count, strip;
    size_t  score;
};

static void release(clvi_op_call *call)
{
    strips *s = (strips *)call->state;
    if (!s) return;
    clvi_cuda_gemm_release(call, &s->scores);
    clvi_cuda_gemm_release(call, &s->gradient);
    clvi_free(call->ctx, s);
    call->state = nullptr;
}

/* Strips of the first `count` of the rows x, after `before` bytes of scratch. */
static clv_status cut(clvi_op_call *call, const clvi_desc *x, int64_t count, size_t before, bool gradient)
{
    const int64_t rows = x->shape[0], dim = x->shape[1], size = (int64_t)clv_dtype_size(x->dtype);
    const int64_t most = CLVI_CUDA_SCORES / size / (rows > 0 ? rows : 1);
    strips *s = (strips *)clvi_calloc(call->ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    for (int i = 0; i < call->n_in; i++) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->state = s;
    s->count = count, s->strip = most < 16 ? 16 : most;
    s->strip = s->strip < count ? s->strip : count;
    s->score = (before + 63) & ~(size_t)63;
    call->scratch_size = s->score + (size_t)(s->strip * rows * size);
    s->scores.type = s->gradient.type = x->dtype;
    s->scores.batch = s->gradient.batch = 1, s->scores.trans_b = true;
    s->scores.rows = s->strip, s->scores.cols = rows, s->scores.depth = dim;
    s->scores.a_row = s->scores.b_row = dim, s->scores.c_row = rows;
    s->gradient.rows = s->strip, s->gradient.cols = dim, s->gradient.depth = rows;
    s->gradient.a_row = rows, s->gradient.b_row = s->gradient.c_row = dim;
    clv_status st = clvi_cuda_gemm_prepare(call, &s->scores);
    if (st == CLV_OK && gradient) st = clvi_cuda_gemm_prepare(call, &s->gradient);
    if (st != CLV_OK) release(call);
    return st;
}

/* The first row of the strip after those before `done`. */
static int64_t strip_at(const strips *s, int64_t done)
{
    return done < s->count - s->strip ? done : s->count - s->strip;
}

/* Rounded like lse, so that the share of a row's only candidate is 1. */
template <class T> static __device__ T exponent(T score, const pairs &s) { return (T)((double)score / s.temperature); }

/* ---- forward ---- */

template <class T> struct anchor {
    const T *score;                      /* [strip, rows] */
    const int64_t *labels;
    pairs s;
    int64_t begin;                       /* the strip's first row */
    T *per_anchor, *positives, *lse;     /* the latter two NULL: not wanted */

    /* By all threads of a block. */
    __device__ void operator()(int64_t r) const
    {
        const int64_t i = begin + r, label = labels[i % s.period];
        double max = -INFINITY, sum = 0, positive = 0, count = 0;
        for (int64_t j = threadIdx.x; j < s.rows; j += CLVI_CU_THREADS) {
            const T l = exponent(score[r * s.rows + j], s);
            if (j == i) continue;
            max = (double)l > max ? (double)l : max;     /* a NaN is not the largest; it is in the sum */
            if (labels[j % s.period] == label) positive += (double)l, count++;
        }
        max = clvi_cu_block_max(max);
        for (int64_t j = threadIdx.x; j < s.rows; j += CLVI_CU_THREADS)
            if (j != i) sum += (double)exp(exponent(score[r * s.rows + j], s) - (T)max);
        sum = clvi_cu_block_sum(sum);
        positive = clvi_cu_block_sum(positive);
        count = clvi_cu_block_sum(count);
        if (threadIdx.x != 0) return;
        const double all = s.rows > 1 ? max + log(sum) : 0;
        per_anchor[i] = (T)(count > 0 ? all - positive / count : 0);
        if (positives) positives[i] = (T)count;
        if (lse) lse[i] = (T)all;
    }
};

static clv_status pair_nce_prepare(clvi_op_call *call)
{
    return cut(call, &call->in[0], call->out[0].shape[0], 0, false);
}

template <class T> static clv_status pair_nce_of(const clvi_op_call *call)
{
    const strips *t = (const strips *)call->state;
    const pairs s = { call->in[0].shape[0], call->in[0].shape[1], call->in[1].shape[0], t->count,
                      ((const clvi_pair_nce_attr *)call->attr)->temperature };
    const T *x = (const T *)call->in_data[0];
    T *score = (T *)((char *)call->scratch + t->score);
    for (int64_t done = 0; done < t->count; done += t->strip) {
        const int64_t begin = strip_at(t, done);
        CLV_TRY(clvi_cuda_gemm_run(call, &t->scores, x + begin * s.dim, x, false, score));
        CLV_TRY(clvi_cu_rows(call, t->strip, anchor<T>{ score, (const int64_t *)call->in_data[1], s, begin,
                                                        (T *)call->out_data[0], clvi_cu_output<T>(call, 1),
                                                        clvi_cu_output<T>(call, 2) }));
    }
    return CLV_OK;
}

static clv_status pair_nce(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], pair_nce_of, call); }
CLVI_CU_KERNEL_WITH_STATE(pair_nce, nullptr, pair_nce_prepare, release);

/* ---- gradient: scratch begins with every anchor's number of positives ---- */

static clv_status pair_nce_bwd_prepare(clvi_op_call *call)
{
    return cut(call, &call->in[1], call->in[1].shape[0], sizeof(double) * (size_t)call->in[0].shape[0], true);
}

/* Scores of a strip become its weights in dx: those of a row as an anchor, and of the other rows as anchors. */
template <class T> struct weigh {
    const T *g, *lse;
    const int64_t *labels;
    const double *count;
    pairs s;
    int64_t begin;
    T *score;

    /* What anchor a, of the same label or not, gives to its pair of exponent l. */
    __device__ double of(int64_t a, T l, bool same) const
    {
        if (a >= s.anchors || count[a] <= 0) return 0;
        return (double)g[a] * ((double)exp(l - lse[a]) - (same ? 1 / count[a] : 0));
    }
    __device__ void operator()(int64_t r) const
    {
        const int64_t i = begin + r, label = labels[i % s.period];
        for (int64_t j = threadIdx.x; j < s.rows; j += CLVI_CU_THREADS) {
            const T l = exponent(score[r * s.rows + j], s);
            const bool same = labels[j % s.period] == label;
            score[r * s.rows + j] = (T)(i == j ? 0 : (of(i, l, same) + of(j, l, same)) / s.temperature);
        }
    }
};

template <class T> static clv_status pair_nce_bwd_of(const clvi_op_call *call)
{
    const strips *t = (const strips *)call->state;
    const pairs s = { call->in[1].shape[0], call->in[1].shape[1], call->in[2].shape[0], call->in[0].shape[0],
                      ((const clvi_pair_nce_attr *)call->attr)->temperature };
    const T *g = (const T *)call->in_data[0], *x = (const T *)call->in_data[1], *lse = (const T *)call->in_data[3];
    const int64_t *labels = (const int64_t *)call->in_data[2];
    double *count = (double *)call->scratch;
    T *score = (T *)((char *)call->scratch + t->score), *dx = (T *)call->out_data[0];
    CLV_TRY(clvi_cu_each(call, s.anchors, [=] __device__ (int64_t i) {
        int64_t same = 0;
        for (int64_t j = 0; j < s.period; j++) same += labels[j] == labels[i % s.period];
        count[i] = (double)(same * (s.rows / s.period) - 1);
    }));
    for (int64_t done = 0; done < t->count; done += t->strip) {
        const int64_t begin = strip_at(t, done);
        CLV_TRY(clvi_cuda_gemm_run(call, &t->scores, x + begin * s.dim, x, false, score));
        CLV_TRY(clvi_cu_rows(call, t->strip, weigh<T>{ g, lse, labels, count, s, begin, score }));
        CLV_TRY(clvi_cuda_gemm_run(call, &t->gradient, score, x, false, dx + begin * s.dim));
    }
    return CLV_OK;
}

static clv_status pair_nce_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], pair_nce_bwd_of, call);
}
CLVI_CU_KERNEL_WITH_STATE(pair_nce_bwd, nullptr, pair_nce_bwd_prepare, release);
