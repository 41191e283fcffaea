/* pointwise.h: the table entry of an operation on each float32 value alone, whose inputs and output are dense. */
#ifndef CLVI_DEVICE_CPU_POINTWISE_H
#define CLVI_DEVICE_CPU_POINTWISE_H

#include "core/parallel.h"
#include "device/attr.h"
#include "device/cpu/isa.h"

static inline bool clvi_pointwise_accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

/* Variants of op_name##_body, a range function, are in op_name##_body_table; `chunk` values go to a thread at a time.
 * The result may lie where input `in_place - 1` lies (0: nowhere). */
#define CLVI_POINTWISE(op_name, chunk, in_place_of)                                                                    \
    static clv_status op_name##_kernel(const clvi_op_call *call)                                                       \
    {                                                                                                                  \
        clvi_parallel_for(call->ctx, clvi_desc_count(&call->out[0]), (chunk), clvi_isa_pick(op_name##_body_table),     \
                          (void *)call);                                                                               \
        return CLV_OK;                                                                                                 \
    }                                                                                                                  \
    const clvi_kernel clvi_kernel_cpu_##op_name = {                                                                    \
        .op = #op_name, .name = "cpu", .accepts = clvi_pointwise_accepts, .run = op_name##_kernel,                     \
        .in_place = { in_place_of },                                                                                   \
    }

#endif
