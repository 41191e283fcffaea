/* kernel.c: calls of one kernel. */
#include "tests/support/kernel.h"
#include <stdlib.h>
#include <string.h>

static void *own(test_kernel *k, size_t bytes)
{
    void *memory = malloc(bytes + 1);
    assert_non_null(memory);
    memset(memory, 0xff, bytes);   /* NaN in every float type */
    return k->owned[k->owns++] = memory;
}

static clvi_desc dense(clv_dtype type, int ndim, const int64_t *shape)
{
    clvi_desc d = { .dtype = type, .ndim = ndim };
    for (int i = 0; i < ndim; i++) d.shape[i] = shape[i];
    clvi_desc_make_dense(&d);
    return d;
}

test_kernel test_kernel_make(test_env *t, const char *op, const void *attr)
{
    return (test_kernel){ .call = { .ctx = t->ctx, .op = op, .attr = attr } };
}

void test_kernel_in(test_kernel *k, clv_dtype type, int ndim, const int64_t *shape, const void *data)
{
    clvi_op_call *c = &k->call;
    const int i = c->n_in++;
    c->in[i] = dense(type, ndim, shape);
    c->in_data[i] = own(k, c->in[i].bytes);
    const double *numbers = data;
    for (int64_t j = 0; j < clvi_desc_count(&c->in[i]); j++) {
        if (type == CLV_F32) ((float *)c->in_data[i])[j] = (float)numbers[j];
        if (type == CLV_F64) ((double *)c->in_data[i])[j] = numbers[j];
    }
    if (type != CLV_F32 && type != CLV_F64 && c->in[i].bytes > 0) memcpy(c->in_data[i], data, c->in[i].bytes);
}

void test_kernel_no_input(test_kernel *k)
{
    k->call.in[k->call.n_in++].dtype = CLV_DTYPE_COUNT;
}

void test_kernel_in_workspace(test_kernel *k, const test_kernel *from, int output)
{
    clvi_op_call *c = &k->call;
    c->in[c->n_in] = from->call.out[output];
    c->in_data[c->n_in++] = from->call.out_data[output];
}

void test_kernel_out(test_kernel *k, clv_dtype type, int ndim, const int64_t *shape)
{
    clvi_op_call *c = &k->call;
    c->wanted[c->n_out] = true;
    c->out[c->n_out++] = dense(type, ndim, shape);
}

void test_kernel_run(test_kernel *k)
{
    clvi_op_call *c = &k->call;
    const clvi_kernel *kernel = clvi_kernel_find(c, true);
    assert_non_null(kernel);
    if (kernel->prepare) assert_ok(kernel->prepare(c));
    for (int i = 0; i < c->n_out; i++) c->out_data[i] = own(k, c->out[i].bytes);
    c->scratch = own(k, c->scratch_size);
    assert_ok(kernel->run(c));
}

static double element(const clvi_desc *d, const void *data, int64_t i)
{
    switch (d->dtype) {
    case CLV_F32: return ((const float *)data)[i];
    case CLV_F64: return ((const double *)data)[i];
    case CLV_I64: return (double)((const int64_t *)data)[i];
    default: return ((const unsigned char *)data)[i];
    }
}

double test_kernel_value(const test_kernel *k, int which, int64_t i)
{
    return element(&k->call.out[which], k->call.out_data[which], i);
}

double test_kernel_input(const test_kernel *k, int which, int64_t i)
{
    return element(&k->call.in[which], k->call.in_data[which], i);
}

void test_kernel_free(test_kernel *k)
{
    for (int i = 0; i < k->owns; i++) free(k->owned[i]);
}
