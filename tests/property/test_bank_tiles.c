/* test_bank_tiles.c: losses walk a bank in tiles and segments whose sizes depend on the shapes alone. Where they begin
 * and end must not be seen in the result beyond rounding, nor the number of threads at all. */
#include "tests/support/losses.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 9, DIM = 20, KEYS = 5003 };   /* more than one segment, no multiple of any tile */

typedef struct sizes {
    int64_t K;
} sizes;

static int64_t length(char letter, void *user)
{
    const sizes *s = user;
    switch (letter) {
    case 'D': return DIM;
    case 'K': case 'J': case 'T': return s->K;
    case 'L': return 1 + s->K + 2 * BATCH;
    default: return BATCH;
    }
}

static test_loss *make(clv_context *ctx, const char *name, int64_t keys)
{
    sizes s = { keys };
    test_loss *l = test_loss_make(ctx, name, NULL, "0.2", true, 4, length, &s);
    l->n_out = 0;
    return l;
}

/* The inputs of `from`, with `pad` rows in front of the bank that take no part and hold no numbers. */
static void copy_behind(test_loss *to, const test_loss *from, int64_t pad)
{
    for (int i = 0; i < from->n_in; i++) {
        clv_view *x = &to->in[i].view;
        const clv_view *y = &from->in[i].view;
        const size_t bytes = (size_t)clv_view_count(y) * clv_dtype_size(y->dtype);
        const int64_t front = clv_view_count(x) - clv_view_count(y);
        memcpy((char *)x->data + (size_t)front * clv_dtype_size(x->dtype), y->data, bytes);
        assert_true(front == 0 || x->shape[0] == KEYS + pad);
        for (int64_t j = 0; j < front; j++) {
            if (x->dtype == CLV_F64) ((double *)x->data)[j] = NAN;
            else if (x->dtype == CLV_U8) ((uint8_t *)x->data)[j] = 0;
        }
    }
}

static double value_of(const clv_view *x, int64_t i)
{
    return x->dtype == CLV_F64 ? ((double *)x->data)[i] : (double)((float *)x->data)[i];
}

/* Largest gap between two gradients, relative to the largest entry. */
static double gap(const clv_view *a, const clv_view *b)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < clv_view_count(a); i++) {
        worst = fmax(worst, fabs(value_of(a, i) - value_of(b, i)));
        largest = fmax(largest, fabs(value_of(a, i)));
    }
    assert_true(largest > 0);
    return worst / largest;
}

static void check_shift(test_env *t, const char *name, bool narrow)
{
    static const int64_t pads[] = { 1, 37, 192, 2048 };
    const double tolerance = narrow ? 4e-6 : 1e-13;
    for (size_t i = 0; i < sizeof pads / sizeof pads[0]; i++) {
        test_loss *a = make(t->ctx, name, KEYS), *b = make(t->ctx, name, KEYS + pads[i]);
        copy_behind(b, a, pads[i]);
        if (narrow) test_loss_narrow(a), test_loss_narrow(b);
        assert_ok(test_loss_eval(a));
        assert_ok(test_loss_eval(b));
        assert_near(b->value, a->value, tolerance * fabs(a->value));
        for (int g = 0; g < a->n_grad; g++)
            if (gap(&a->grad[g].view, &b->grad[g].view) > tolerance)
                fail_msg("%s: %g apart with %d rows in front", name, gap(&a->grad[g].view, &b->grad[g].view),
                         (int)pads[i]);
        test_loss_free(a);
        test_loss_free(b);
    }
}

static const char *const names[] = { "moco_queue", "mochi", "repulsor" };

static void where_tiles_begin_does_not_matter(void **state)
{
    for (int i = 0; i < 3; i++)
        for (int narrow = 0; narrow < 2; narrow++) check_shift(*state, names[i], narrow);
}

/* ---- a bank in parts ---- */

enum { CUT = 1777 };

/* Sum over the rows of e^{(score - score of the positive)/t}, for each query: e^{per_row} - 1. */
static void sums_of(test_loss *l, double *sums)
{
    float per_row[BATCH];
    const clv_loss_tensor out[] = { { "per_row", clv_view_1d(per_row, CLV_F32, BATCH) } };
    assert_ok(clv_loss_eval(l->loss, l->in, l->n_in, NULL, 0, out, 1, NULL));
    for (int b = 0; b < BATCH; b++) sums[b] = expm1((double)per_row[b]);
}

static void parts_of_a_bank_add_up(void **state)
{
    test_env *t = *state;
    double sums[3][BATCH];
    for (int part = 0; part < 3; part++) {   /* all, the rows before the cut, those behind it */
        test_loss *l = make(t->ctx, "moco_queue", KEYS);
        uint8_t *valid = test_loss_input(l, "queue_valid")->data;
        for (int j = 0; j < KEYS; j++)
            if ((part == 1 && j >= CUT) || (part == 2 && j < CUT)) valid[j] = 0;
        test_loss_narrow(l);
        sums_of(l, sums[part]);
        test_loss_free(l);
    }
    for (int b = 0; b < BATCH; b++) assert_near(sums[1][b] + sums[2][b], sums[0][b], 2e-5 * sums[0][b]);
}

/* ---- threads ---- */

static void the_number_of_threads_changes_no_bit(void **state)
{
    test_env *t = *state;
    for (int i = 0; i < 3; i++) {
        test_loss *one = make(t->ctx, names[i], KEYS);   /* two threads */
        test_loss_narrow(one);
        assert_ok(test_loss_eval(one));
        for (int threads = 1; threads <= 5; threads += 2) {
            clv_context *ctx = test_context(t, threads);
            test_loss *l = make(ctx, names[i], KEYS);
            test_loss_narrow(l);
            assert_ok(test_loss_eval(l));
            assert_memory_equal(&l->value, &one->value, sizeof one->value);
            for (int g = 0; g < one->n_grad; g++)
                assert_memory_equal(l->grad[g].view.data, one->grad[g].view.data,
                                    (size_t)clv_view_count(&one->grad[g].view) * sizeof(float));
            test_loss_free(l);
            clv_context_destroy(ctx);
        }
        test_loss_free(one);
    }
}

TEST_MAIN(TEST(where_tiles_begin_does_not_matter), TEST(parts_of_a_bank_add_up),
          TEST(the_number_of_threads_changes_no_bit))
