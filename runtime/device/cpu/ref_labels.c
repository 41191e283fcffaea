/* ref_labels.c: one_hot, ignore_label, hard_negatives, mask_rows. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>
#include <stdlib.h>

#define SELF "device/cpu/ref_labels.c"
#include "device/cpu/real.h"

static clv_status one_hot(const clvi_op_call *call)
{
    CLV_TRY(clvi_ref_check_labels(call));
    CLVI_REF_LOOP(call, call->in[0].shape[0], 256, one_hot_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(one_hot);

static clv_status mask_rows(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 256, mask_rows_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(mask_rows);

static clv_status ignore_label(const clvi_op_call *call)
{
    const clvi_ignore_label_attr *attr = call->attr;
    const int64_t *x = call->in_data[0];
    int64_t *y = call->out_data[0];
    for (int64_t i = 0; i < call->in[0].shape[0]; i++) y[i] = x[i] == attr->label ? -1 : x[i];
    return CLV_OK;
}
CLVI_REF_KERNEL(ignore_label);

/* ---- hard_negatives ---- */

typedef struct scored {
    double  score;
    int64_t item;
} scored;

/* Ascending; of equal scores the later item first, so that the tail takes the earlier ones. */
static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? 1 : -1;
    return x->item < y->item ? 1 : -1;
}

static bool counts(const clvi_op_call *call, int64_t i)
{
    const unsigned char *mask = call->in_data[2];
    return !mask || mask[i];
}

static double score_of(const clvi_op_call *call, int64_t i)
{
    return call->in[0].dtype == CLV_F64 ? ((const double *)call->in_data[0])[i]
                                        : (double)((const float *)call->in_data[0])[i];
}

/* Negatives in ascending order; under the official rule masked ones are there, too, with score 0. */
static int64_t collect(const clvi_op_call *call, scored *list)
{
    const clvi_hard_negatives_attr *attr = call->attr;
    const int64_t *labels = call->in_data[1];
    int64_t n = 0;
    for (int64_t i = 0; i < call->in[0].shape[0]; i++)
        if (labels[i] <= 0 && (attr->official || counts(call, i)))
            list[n++] = (scored){ counts(call, i) ? score_of(call, i) : 0, i };
    if (n > 1) qsort(list, (size_t)n, sizeof *list, by_score);
    return n;
}

static clv_status hard_negatives_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    call->scratch_size = (size_t)call->in[0].shape[0] * sizeof(scored);
    return CLV_OK;
}

static clv_status hard_negatives(const clvi_op_call *call)
{
    const clvi_hard_negatives_attr *attr = call->attr;
    const int64_t N = call->in[0].shape[0], *labels = call->in_data[1];
    unsigned char *keep = call->out_data[0];
    scored *list = call->scratch;
    int64_t positives = 0;
    for (int64_t i = 0; i < N; i++) {
        keep[i] = labels[i] > 0 && counts(call, i);
        positives += keep[i];
    }
    const int64_t negatives = collect(call, list);
    const double wanted = floor((double)positives * attr->ratio);
    const int64_t number = wanted < (double)negatives ? (int64_t)wanted : negatives;
    if (call->wanted[1]) *(int64_t *)call->out_data[1] = number;
    if (!attr->official) {
        for (int64_t j = negatives - number; j < negatives; j++) keep[list[j].item] = 1;
    } else if (negatives > 0) {
        const int64_t at = number == 0 ? 1 : number == 1 ? 0 : negatives - number + 1;
        const double threshold = list[CLVI_MIN(at, negatives - 1)].score;
        for (int64_t i = 0; i < N; i++) keep[i] |= counts(call, i) && score_of(call, i) > threshold;
    }
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_hard_negatives = {
    .op = "hard_negatives", .name = "reference", .prepare = hard_negatives_prepare, .run = hard_negatives,
};

#else

static void FN(one_hot_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t classes = call->out[0].shape[1], *labels = call->in_data[0];
    for (int64_t i = begin; i < end; i++) {
        REAL *y = (REAL *)call->out_data[0] + i * classes;
        for (int64_t c = 0; c < classes; c++) y[c] = classes == 1 ? labels[i] > 0 : labels[i] == c;
    }
}

/* A masked row is 0 whatever it was. */
static void FN(mask_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const unsigned char *mask = call->in_data[1];
    const REAL *x = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = i * cols; j < (i + 1) * cols; j++) y[j] = mask[i] ? x[j] : 0;
}

#endif
