/* ref_elementwise.c: relu, relu_bwd, add, sub, mul, div, scale. A NaN goes through all of them. */
#ifndef REAL

#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_elementwise.c"
#include "device/cpu/real.h"

CLVI_REF_ELEMENTWISE(relu);
CLVI_REF_ELEMENTWISE(relu_bwd);
CLVI_REF_ELEMENTWISE(add);
CLVI_REF_ELEMENTWISE(sub);
CLVI_REF_ELEMENTWISE(mul);
CLVI_REF_ELEMENTWISE(div);
CLVI_REF_ELEMENTWISE(scale);

#else

static void FN(relu_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *x = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = x[i] < 0 ? 0 : x[i];
}

/* The gradient at 0 is 0. */
static void FN(relu_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *dy = call->in_data[0], *y = call->in_data[1];
    REAL *dx = call->out_data[0];
    for (int64_t i = begin; i < end; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}

static void FN(add_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_add_attr *attr = call->attr;
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const REAL sum = a[i] + b[i];
        y[i] = attr->relu && sum < 0 ? 0 : sum;
    }
}

static void FN(sub_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = a[i] - b[i];
}

static void FN(mul_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = a[i] * b[i];
}

/* A quotient by 0 is 0. */
static void FN(div_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = b[i] == 0 ? 0 : a[i] / b[i];
}

static void FN(scale_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_scale_attr *attr = call->attr;
    const REAL *x = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = (REAL)(attr->factor * (double)x[i] + attr->offset);
}

#endif
