/* test_loss_views.c: a loss does not care how the caller's memory lies: strides of any sign, bfloat16, tensors of other
 * libraries. Every loss, inputs, gradients and outputs. */
#include "tests/support/losses.h"
#include "core/dlpack.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 0x5a

static int64_t length(char letter, void *user)
{
    (void)user;
    switch (letter) {
    case 'B': case 'N': return 4;
    case 'D': return 6;
    case 'K': return 9;
    case 'M': return 5;
    case 'V': return 2;
    case 'C': return 5;
    case 'T': case 'G': return 9;
    case 'F': case 'H': return 6;
    case 'L': return 1 + 9 + 2 * 4;   /* a bank and two mixes for each of the batch */
    default: return 4;
    }
}

/* The same elements in memory of another order and with gaps: dimensions reversed, odd ones backwards, every step three
 * times as wide. The caller frees *memory. */
static clv_view spread(const clv_view *dense, clv_dtype dtype, unsigned char **memory, size_t *bytes)
{
    const size_t size = clv_dtype_size(dtype);
    clv_view v = *dense;
    int64_t step = 3, first = 0;
    v.dtype = dtype;
    for (int i = 0; i < v.ndim; i++) {
        const bool backwards = i % 2;
        v.stride[i] = backwards ? -step : step;
        if (backwards && v.shape[i] > 0) first += step * (v.shape[i] - 1);
        step *= v.shape[i] > 0 ? v.shape[i] : 1;
    }
    *bytes = (size_t)step * size;
    *memory = malloc(*bytes);
    assert_non_null(*memory);
    memset(*memory, GUARD, *bytes);
    v.data = *memory + (size_t)first * size;
    return v;
}

typedef struct spread_set {
    unsigned char *memory[3 * TEST_LOSS_PORTS];
    size_t         bytes[3 * TEST_LOSS_PORTS];
    int            n;
} spread_set;

static bool is_float(const clv_view *v)
{
    return v->dtype == CLV_F64;
}

static clv_view moved(spread_set *set, const clv_view *dense, clv_dtype dtype)
{
    const int i = set->n++;
    return spread(dense, is_float(dense) ? dtype : dense->dtype, &set->memory[i], &set->bytes[i]);
}

static void free_set(spread_set *set)
{
    for (int i = 0; i < set->n; i++) free(set->memory[i]);
}

/* Bytes between the elements are still as they were. */
static void assert_gaps_untouched(const spread_set *set, int i, const clv_view *v)
{
    const size_t size = clv_dtype_size(v->dtype);
    for (size_t at = 0; at < set->bytes[i]; at++)
        if (at / size % 3 != 0) assert_int_equal(set->memory[i][at], GUARD);
}

static void compare(const clv_view *got, const clv_view *want, double tolerance)
{
    const int64_t n = clv_view_count(want);
    if (!is_float(want)) {      /* a ranking may come out otherwise where entries are rounded */
        if (tolerance > 0) return;
        clv_view whole = clv_view_dense(malloc((size_t)n * clv_dtype_size(want->dtype) + 1), want->dtype, want->ndim,
                                        want->shape);
        assert_ok(clv_view_copy(&whole, got));
        assert_memory_equal(whole.data, want->data, (size_t)n * clv_dtype_size(want->dtype));
        free(whole.data);
        return;
    }
    double *x = calloc((size_t)n + 1, sizeof *x), largest = 0;
    const clv_view whole = clv_view_dense(x, CLV_F64, want->ndim, want->shape);
    assert_ok(clv_view_copy(&whole, got));
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(((double *)want->data)[i]));
    for (int64_t i = 0; i < n; i++) assert_near(x[i], ((double *)want->data)[i], tolerance * largest);
    free(x);
}

/* Evaluates the loss on spread copies of `dtype` and compares with what is in l. */
static void check_spread(test_loss *l, clv_dtype dtype, double tolerance)
{
    spread_set set = { .n = 0 };
    clv_loss_tensor in[TEST_LOSS_PORTS], grad[TEST_LOSS_PORTS], out[TEST_LOSS_PORTS];
    double value = NAN;
    for (int i = 0; i < l->n_in; i++) {
        in[i] = (clv_loss_tensor) { l->in[i].name, moved(&set, &l->in[i].view, dtype) };
        assert_ok(clv_view_copy(&in[i].view, &l->in[i].view));
    }
    for (int i = 0; i < l->n_grad; i++)
        grad[i] = (clv_loss_tensor) { l->grad[i].name, moved(&set, &l->grad[i].view, dtype) };
    for (int i = 0; i < l->n_out; i++)
        out[i] = (clv_loss_tensor) { l->out[i].name, moved(&set, &l->out[i].view, dtype) };
    assert_ok(clv_loss_eval(l->loss, in, l->n_in, grad, l->n_grad, out, l->n_out, &value));
    assert_near(value, l->value, tolerance * fmax(1, fabs(l->value)));
    for (int i = 0; i < l->n_grad; i++) {
        compare(&grad[i].view, &l->grad[i].view, tolerance);
        assert_gaps_untouched(&set, l->n_in + i, &grad[i].view);
    }
    for (int i = 0; i < l->n_out; i++) {
        compare(&out[i].view, &l->out[i].view, tolerance);
        assert_gaps_untouched(&set, l->n_in + l->n_grad + i, &out[i].view);
    }
    free_set(&set);
}

/* Outputs of the shapes the loss says. */
static void shape_outputs(test_loss *l)
{
    for (int i = 0; i < l->n_out; i++) {
        int ndim = 0;
        int64_t shape[CLV_MAX_DIMS];
        clv_view *v = &l->out[i].view;
        assert_ok(clv_loss_output_shape(l->loss, l->in, l->n_in, l->out[i].name, &ndim, shape));
        assert_true(ndim >= 0);
        free(v->data);
        *v = clv_view_dense(NULL, v->dtype, ndim, shape);
        v->data = calloc((size_t)clv_view_count(v) + 1, clv_dtype_size(v->dtype));
    }
}

/* Inputs that bfloat16 holds exactly. */
static void round_inputs(test_loss *l)
{
    for (int i = 0; i < l->n_in; i++) {
        const clv_view *x = &l->in[i].view;
        for (int64_t j = 0; is_float(x) && j < clv_view_count(x); j++)
            ((double *)x->data)[j] = round(((double *)x->data)[j] * 16) / 16;
    }
}

static void check_loss(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    for (int optional = 0; optional < 2; optional++) {
        /* This seed has no two equal similarities in one list. */
        test_loss *l = test_loss_make(t->ctx, name, variant, "0.5", optional, 4, length, NULL);
        shape_outputs(l);
        round_inputs(l);
        assert_ok(test_loss_eval(l));
        check_spread(l, CLV_F64, 0);
        check_spread(l, CLV_F32, 2e-4);
        check_spread(l, CLV_BF16, 2e-4 + 1.0 / 256);
        test_loss_free(l);
    }
}

static void strides_and_types_change_nothing_but_rounding(void **state)
{
    test_losses_each(check_loss, *state);
}

static void count_release(void *owner)
{
    ++*(int *)owner;
}

/* Everything goes through DLPack and back, as if another library had made it. */
static void check_dlpack(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    test_loss *l = test_loss_make(t->ctx, name, variant, "0.5", true, 3, length, NULL);
    clv_loss_tensor in[TEST_LOSS_PORTS], grad[TEST_LOSS_PORTS];
    struct DLManagedTensor *tensors[2 * TEST_LOSS_PORTS];
    spread_set set = { .n = 0 };
    double value = NAN;
    int n = 0, released = 0;
    shape_outputs(l);
    assert_ok(test_loss_eval(l));
    for (int i = 0; i < l->n_in; i++) {
        in[i] = (clv_loss_tensor) { l->in[i].name, moved(&set, &l->in[i].view, CLV_F64) };
        assert_ok(clv_view_copy(&in[i].view, &l->in[i].view));
        assert_ok(clv_view_to_dlpack(&in[i].view, count_release, &released, &tensors[n]));
        assert_ok(clv_view_from_dlpack(tensors[n++], &in[i].view));
    }
    for (int i = 0; i < l->n_grad; i++) {
        grad[i] = (clv_loss_tensor) { l->grad[i].name, moved(&set, &l->grad[i].view, CLV_F64) };
        assert_ok(clv_view_to_dlpack(&grad[i].view, count_release, &released, &tensors[n]));
        assert_ok(clv_view_from_dlpack(tensors[n++], &grad[i].view));
    }
    assert_ok(clv_loss_eval(l->loss, in, l->n_in, grad, l->n_grad, NULL, 0, &value));
    assert_near(value, l->value, 0);
    for (int i = 0; i < l->n_grad; i++) compare(&grad[i].view, &l->grad[i].view, 0);
    for (int i = 0; i < n; i++) tensors[i]->deleter(tensors[i]);
    assert_int_equal(released, n);
    free_set(&set);
    test_loss_free(l);
}

static void tensors_of_other_libraries_are_taken(void **state)
{
    test_losses_each(check_dlpack, *state);
}

TEST_MAIN(TEST(strides_and_types_change_nothing_but_rounding), TEST(tensors_of_other_libraries_are_taken))
