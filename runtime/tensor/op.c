/* op.c: the table of operations and the checks their shape rules share. */
#include "tensor/op.h"
#include "core/checked.h"
#include <stdio.h>
#include <string.h>

#define CLVI_OP(ident) extern const clvi_op_class clvi_op_##ident;
#include "tensor/ops.def"
#undef CLVI_OP

static const clvi_op_class *const classes[] = {
#define CLVI_OP(ident) &clvi_op_##ident,
#include "tensor/ops.def"
#undef CLVI_OP
};

const clvi_op_class *clvi_op_class_at(int i)
{
    return i >= 0 && i < (int)CLVI_COUNT(classes) ? classes[i] : NULL;
}

const clvi_op_class *clvi_op_class_find(const char *name)
{
    for (size_t i = 0; i < CLVI_COUNT(classes); i++)
        if (strcmp(classes[i]->name, name) == 0) return classes[i];
    return NULL;
}

clv_node clvi_op1(clv_graph *g, const char *op, const void *attr, clv_node a)
{
    return clvi_op(g, op, attr, &a, 1, NULL, 0);
}

clv_node clvi_op2(clv_graph *g, const char *op, const void *attr, clv_node a, clv_node b)
{
    return clvi_op(g, op, attr, (clv_node[]) { a, b }, 2, NULL, 0);
}

const char *clvi_shape_text(char *text, int ndim, const int64_t *shape)
{
    size_t used = 1;
    text[0] = '[';
    for (int i = 0; i < ndim; i++)
        used += (size_t)snprintf(text + used, CLVI_SHAPE_TEXT - used, i ? ",%" PRId64 : "%" PRId64, shape[i]);
    snprintf(text + used, CLVI_SHAPE_TEXT - used, "]");
    return text;
}

bool clvi_op_has(const clvi_op_call *call, int input)
{
    return input < call->n_in && call->in[input].dtype != CLV_DTYPE_COUNT;
}

clv_status clvi_op_want_dims(const clvi_op_call *call, int input, int ndim)
{
    CLV_CHECK(call->in[input].ndim == ndim, CLV_ERR_SHAPE, "%s: expected %d dimensions, got %d%s", call->op, ndim,
              call->in[input].ndim, input == 0 ? "" : input == 1 ? " (second input)" : " (a later input)");
    return CLV_OK;
}

clv_status clvi_op_want_float(const clvi_op_call *call, int input)
{
    const clv_dtype t = call->in[input].dtype;
    CLV_CHECK(t == CLV_F32 || t == CLV_F64, CLV_ERR_SHAPE, "%s: input %d must be floating point, is %s", call->op,
              input, clv_dtype_name(t));
    return CLV_OK;
}

clv_status clvi_op_want(const clvi_op_call *call, int input, int ndim)
{
    CLV_TRY(clvi_op_want_float(call, input));
    return clvi_op_want_dims(call, input, ndim);
}

clv_status clvi_op_want_same_shape(const clvi_op_call *call, int a, int b)
{
    const clvi_desc *x = &call->in[a], *y = &call->in[b];
    char tx[CLVI_SHAPE_TEXT], ty[CLVI_SHAPE_TEXT];
    CLV_CHECK(x->ndim == y->ndim && memcmp(x->shape, y->shape, (size_t)x->ndim * sizeof x->shape[0]) == 0,
              CLV_ERR_SHAPE, "%s: shapes differ: %s and %s", call->op, clvi_shape_text(tx, x->ndim, x->shape),
              clvi_shape_text(ty, y->ndim, y->shape));
    return CLV_OK;
}

void clvi_op_out(clvi_op_call *call, clv_dtype dtype, int ndim, const int64_t *shape)
{
    clvi_desc *out = &call->out[call->n_out++];
    out->dtype = dtype;
    out->ndim = ndim;
    for (int i = 0; i < ndim; i++) out->shape[i] = shape[i];
}

void clvi_op_out_like(clvi_op_call *call, int in)
{
    clvi_op_out(call, call->in[in].dtype, call->in[in].ndim, call->in[in].shape);
}

void clvi_op_out_workspace(clvi_op_call *call)
{
    clvi_op_out(call, CLV_U8, 1, (int64_t[]) { 1 });
}
