/* calls_make.h: the inside of calls.c: what makers of calls are written with. */
#ifndef CLEAVE_TESTS_SUPPORT_CALLS_MAKE_H
#define CLEAVE_TESTS_SUPPORT_CALLS_MAKE_H

#include "core/checked.h"
#include "tests/support/calls.h"
#include <string.h>

#define VARIANTS TEST_CALL_VARIANTS
typedef test_sizes sizes;

/* A maker fills in inputs, outputs, attributes and ranges of a call whose operation is set. */
typedef void test_call_maker(test_call *t, clv_dtype type, sizes s, int variant);

/* Each family's makers, with the operations they are for; ends with a NULL name. */
typedef struct test_call_entry {
    const char      *op;
    test_call_maker *make;
    test_call_kind   kind;
} test_call_entry;

extern const test_call_entry test_calls_plain[], test_calls_losses[], test_calls_networks[], test_calls_banks[];

clvi_desc *test_call_desc(clvi_desc *desc, int *count, clv_dtype type, int ndim, int64_t d0, int64_t d1, int64_t d2);
/* [n, channels, h, w] */
void test_call_picture(clvi_desc *desc, int *count, clv_dtype type, int64_t n, int64_t channels, int64_t h, int64_t w);

#define IN(type, ndim, d0, d1, d2)  test_call_desc(c->in, &c->n_in, type, ndim, d0, d1, d2)
#define OUT(type, ndim, d0, d1, d2) test_call_desc(c->out, &c->n_out, type, ndim, d0, d1, d2)
#define ABSENT IN(CLV_DTYPE_COUNT, 0, 0, 0, 0)

#define SUMS      TEST_CALL_SUMS
#define POINTWISE TEST_CALL_POINTWISE
#define EXACT     TEST_CALL_EXACT

static inline bool is(const clvi_op_call *c, const char *op)
{
    return strcmp(c->op, op) == 0;
}

#endif
