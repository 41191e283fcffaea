/* labels.cu: what counts and what does not: one_hot, ignore_label, ids_differ, label_pairs. */
#include "device/cuda/cu.h"

template <class T> static clv_status one_hot_of(const clvi_op_call *call)
{
    const int64_t *labels = (const int64_t *)call->in_data[0];
    const int64_t classes = call->out[0].shape[1];
    T *y = (T *)call->out_data[0];
    clvi_cuda_fault *fault = clvi_cu_fault(call);
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        const int64_t n = i / classes, c = i % classes, label = labels[n];
        if (c == 0 && classes > 1 && label >= classes)
            clvi_cu_report(fault, CLVI_FAULT_ONE_HOT_LABEL, n, label, classes);
        y[i] = (classes == 1 ? label > 0 : label == c) ? T(1) : T(0);
    });
}

static clv_status one_hot(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], one_hot_of, call); }
CLVI_CU_KERNEL(one_hot);

static clv_status ignore_label(const clvi_op_call *call)
{
    const int64_t *x = (const int64_t *)call->in_data[0], label = ((const clvi_ignore_label_attr *)call->attr)->label;
    int64_t *y = (int64_t *)call->out_data[0];
    return clvi_cu_each(call, call->in[0].shape[0], [=] __device__ (int64_t i) { y[i] = x[i] == label ? -1 : x[i]; });
}
CLVI_CU_KERNEL(ignore_label);

static clv_status ids_differ(const clvi_op_call *call)
{
    const int64_t *a = (const int64_t *)call->in_data[0], *b = (const int64_t *)call->in_data[1];
    unsigned char *y = (unsigned char *)call->out_data[0];
    const int64_t cols = call->in[1].shape[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { y[i] = a[i / cols] < 0 || a[i / cols] != b[i % cols]; });
}
CLVI_CU_KERNEL(ids_differ);

static clv_status label_pairs(const clvi_op_call *call)
{
    const clvi_label_pairs_attr attr = *(const clvi_label_pairs_attr *)call->attr;
    const int64_t *label = (const int64_t *)call->in_data[0], count = call->in[0].shape[0];
    unsigned char *y = (unsigned char *)call->out_data[0];
    return clvi_cu_each(call, count * count, [=] __device__ (int64_t at) {
        const int64_t i = at / count, j = at % count;
        y[at] = label[i] >= 0 && label[j] >= 0 && (attr.upper ? i < j : i != j) && (label[i] == label[j]) == attr.same;
    });
}
CLVI_CU_KERNEL(label_pairs);
