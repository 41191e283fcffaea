/* ref_mask.c: mask, ids_differ, label_pairs: what counts and what does not. */
#ifndef REAL

#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_mask.c"
#include "device/cpu/real.h"

static clv_status mask(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, mask_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(mask);

static clv_status ids_differ(const clvi_op_call *call)
{
    const int64_t rows = call->in[0].shape[0], cols = call->in[1].shape[0];
    const int64_t *a = call->in_data[0], *b = call->in_data[1];
    unsigned char *y = call->out_data[0];
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) y[i * cols + j] = a[i] < 0 || a[i] != b[j];
    return CLV_OK;
}
CLVI_REF_KERNEL(ids_differ);

static void label_pairs_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_label_pairs_attr *attr = call->attr;
    const int64_t n = call->in[0].shape[0], *label = call->in_data[0];
    unsigned char *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * n + j] = label[i] >= 0 && label[j] >= 0 && (attr->upper ? i < j : i != j) &&
                           (label[i] == label[j]) == attr->same;
}

static clv_status label_pairs(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 16, label_pairs_range, (void *)call);
    return CLV_OK;
}
CLVI_REF_KERNEL(label_pairs);

#else

/* A masked entry is 0 whatever it was, NaN and infinity included. */
static void FN(mask_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1], step = call->in[1].ndim == 2 ? cols : 0;
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[0] + i * cols;
        const unsigned char *keep = (const unsigned char *)call->in_data[1] + i * step;
        REAL *y = (REAL *)call->out_data[0] + i * cols;
        for (int64_t j = 0; j < cols; j++) y[j] = keep[j] ? x[j] : 0;
    }
}

#endif
