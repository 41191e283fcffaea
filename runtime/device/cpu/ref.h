/* ref.h: what the reference kernels share. They are the judge of every other kernel: plain loops over dense row-major
 * values, sums in double, one result per independent output, so that the number of threads changes no bit. */
#ifndef CLVI_DEVICE_CPU_REF_H
#define CLVI_DEVICE_CPU_REF_H

#include "core/checked.h"
#include "core/parallel.h"
#include "device/attr.h"
#include "device/device.h"

/* The table entry of an operation whose kernel needs dense values and nothing else. */
#define CLVI_REF_KERNEL(op_name)                                                                                       \
    const clvi_kernel clvi_kernel_ref_##op_name = { .op = #op_name, .name = "reference", .run = op_name }

/* Elements of elementwise work one thread takes at a time. */
#define CLVI_REF_CHUNK 16384

/* Runs body_f32 or body_f64 over 0..n with the call as argument; the type is that of output 0. */
#define CLVI_REF_LOOP(call, n, chunk, body)                                                                            \
    clvi_parallel_for((call)->ctx, (n), (chunk), (call)->out[0].dtype == CLV_F64 ? body##_f64 : body##_f32,            \
                      (void *)(call))

/* The kernel of an operation whose body treats every element of output 0 alone: FN(op_name_range) in the file that
 * includes itself. */
#define CLVI_REF_ELEMENTWISE(op_name)                                                                                  \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        CLVI_REF_LOOP(call, clvi_desc_count(&call->out[0]), CLVI_REF_CHUNK, op_name##_range);                          \
        return CLV_OK;                                                                                                 \
    }                                                                                                                  \
    CLVI_REF_KERNEL(op_name)

/* Memory of an output somebody reads, else NULL. */
static inline void *clvi_ref_output(const clvi_op_call *call, int i)
{
    return call->wanted[i] ? call->out_data[i] : NULL;
}

static inline bool clvi_ref_present(const clvi_desc *desc)
{
    return desc->dtype != CLV_DTYPE_COUNT;
}

/* Makes the first n values dense, absent ones aside. */
static inline void clvi_ref_make_dense(clvi_desc *desc, int n)
{
    for (int i = 0; i < n; i++)
        if (clvi_ref_present(&desc[i])) clvi_desc_make_dense(&desc[i]);
}

/* softmax_xent: a target must be a column, or negative for a row to ignore. */
static inline clv_status clvi_ref_check_targets(const clvi_op_call *call)
{
    const int64_t *target = call->in_data[1], cols = call->in[0].shape[1];
    for (int64_t i = 0; i < call->in[0].shape[0]; i++)
        CLV_CHECK(target[i] < cols, CLV_ERR_INVALID,
                  "softmax_xent: target of row %" PRId64 " is %" PRId64 ", want less than %" PRId64, i, target[i],
                  cols);
    return CLV_OK;
}

/* one_hot: a label must be a class, or negative for none. */
static inline clv_status clvi_ref_check_labels(const clvi_op_call *call)
{
    const int64_t classes = ((const clvi_one_hot_attr *)call->attr)->classes, *labels = call->in_data[0];
    for (int64_t i = 0; classes > 1 && i < call->in[0].shape[0]; i++)
        CLV_CHECK(labels[i] < classes, CLV_ERR_INVALID,
                  "one_hot: label %" PRId64 " is %" PRId64 ", want less than %" PRId64, i, labels[i], classes);
    return CLV_OK;
}

#endif
