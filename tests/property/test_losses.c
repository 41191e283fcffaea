/* test_losses.c: what must hold of every loss whatever its formula, and of some because of it. */
#include "tests/support/losses.h"
#include "core/rng.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sizes {
    int64_t B, D, K, M;
} sizes;

static int64_t length(char letter, void *user)
{
    const sizes *s = user;
    switch (letter) {
    case 'B': case 'N': return s->B;
    case 'D': return s->D;
    case 'K': return s->K;
    case 'M': return s->M;
    case 'J': return s->K;     /* what a bank's rows make alone */
    case 'V': return 2;
    case 'A': return 2 * s->B;   /* anchors of a batch with two views */
    case 'C': return 5 + s->K % 30;   /* labels are below 5 */
    case 'T': case 'G': return s->K;        /* a list as long as the bank; a number for each of its rows */
    case 'F': case 'H': return s->D;
    case 'L': return 1 + s->K + 2 * s->B;   /* the bank and two mixes for each of the batch */
    default: return s->B;
    }
}

static test_loss *make(test_env *t, const char *name, const char *variant, sizes s)
{
    return test_loss_make(t->ctx, name, variant, "0.2", true, 5, length, &s);
}

static void swap_rows(clv_view *x, int64_t a, int64_t b)
{
    const int64_t row = x->shape[0] ? clv_view_count(x) / x->shape[0] : 0;
    const size_t bytes = (size_t)row * clv_dtype_size(x->dtype);
    char *pa = (char *)x->data + (size_t)a * bytes, *pb = (char *)x->data + (size_t)b * bytes;
    for (size_t i = 0; i < bytes; i++) {
        const char kept = pa[i];
        pa[i] = pb[i];
        pb[i] = kept;
    }
}

static void rotate_rows(clv_view *x)
{
    for (int64_t i = 0; i + 1 < x->shape[0]; i++) swap_rows(x, i, i + 1);
}

static double largest_gap(const clv_view *a, const clv_view *b)
{
    double worst = 0;
    for (int64_t i = 0; i < clv_view_count(a); i++)
        worst = fmax(worst, fabs(((double *)a->data)[i] - ((double *)b->data)[i]));
    return worst;
}

/* ---- permutations ---- */

static bool among(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* Rotates everything that belongs to the batch: the value stays, its gradients rotate along. */
static void check_permutation(test_env *t, const char *name, const char *variant, const char *const *batch, sizes s)
{
    test_loss *a = make(t, name, variant, s), *b = make(t, name, variant, s);
    assert_ok(test_loss_eval(a));
    for (int i = 0; batch[i]; i++) rotate_rows(test_loss_input(b, batch[i]));
    assert_ok(test_loss_eval(b));
    assert_near(b->value, a->value, 1e-12 * fmax(1, fabs(a->value)));
    for (int i = 0; i < a->n_grad; i++) {
        if (among(batch, a->grad[i].name)) rotate_rows(&a->grad[i].view);
        assert_near(largest_gap(&a->grad[i].view, &b->grad[i].view), 0, 1e-12);
    }
    test_loss_free(a);
    test_loss_free(b);
}

static void the_order_of_a_batch_does_not_matter(void **state)
{
    static const char *const pairs[] = { "query", "key", NULL }, *const lists[] = { "query", "positive", "negatives",
                             "negative_mask", NULL }, *const queue[] = { "query", "key", "ids", NULL },
                             *const views[] = { "q1", "q2", "k1", "k2", NULL };
    const sizes s = { 7, 6, 13, 7 };
    check_permutation(*state, "info_nce", "in_batch", pairs, s);
    check_permutation(*state, "info_nce", "explicit", lists, s);
    check_permutation(*state, "info_nce", "moco_v3", views, s);
    check_permutation(*state, "moco_queue", NULL, queue, s);
    static const char *const two_views[] = { "z1", "z2", NULL }, *const labelled[] = { "features", "labels", NULL };
    check_permutation(*state, "nt_xent", NULL, two_views, s);
    check_permutation(*state, "supcon", NULL, labelled, s);
    static const char *const spread[] = { "x", "y", NULL };
    check_permutation(*state, "barlow_twins", NULL, two_views, s);
    check_permutation(*state, "vicreg", NULL, spread, s);
    static const char *const alone[] = { "z", NULL };
    check_permutation(*state, "dispersive", "infonce_l2", alone, s);
    check_permutation(*state, "dispersive", "infonce_cos", alone, s);
    check_permutation(*state, "dispersive", "hinge", alone, s);
    check_permutation(*state, "dispersive", "covariance", alone, s);
    static const char *const regression[] = { "p1", "p2", "z1", "z2", NULL };
    static const char *const scored[] = { "cosine", "labels", NULL },
                             *const items[] = { "logits", "targets", NULL },
                             *const both[] = { "features", "labels", "logits", NULL },
                             *const tuples[] = { "anchor", "positive", "labels", NULL },
                             *const triplets[] = { "anchor", "positive", "negative", NULL };
    check_permutation(*state, "arcface", NULL, labelled, s);
    check_permutation(*state, "cosface", NULL, labelled, s);
    check_permutation(*state, "cross_entropy", NULL, items, s);
    check_permutation(*state, "unpg", NULL, labelled, s);
    check_permutation(*state, "opl", NULL, both, s);
    check_permutation(*state, "circle", "pairwise", labelled, s);
    check_permutation(*state, "circle", "classwise", scored, s);
    check_permutation(*state, "n_pair", NULL, tuples, s);
    check_permutation(*state, "triplet", "explicit", triplets, s);
    check_permutation(*state, "triplet", "batch_hard", labelled, s);
    check_permutation(*state, "triplet", "batch_hard_soft", labelled, s);
    check_permutation(*state, "triplet", "batch_all", labelled, s);
    check_permutation(*state, "cosine_regression", "byol", regression, s);
    check_permutation(*state, "cosine_regression", "simsiam", regression, s);
}

static void check_bank_order(test_env *t, const char *name, const char *const *bank, const char *input)
{
    const sizes s = { 7, 6, 13, 0 };
    test_loss *a = make(t, name, NULL, s), *b = make(t, name, NULL, s);
    assert_ok(test_loss_eval(a));
    for (int i = 0; bank[i]; i++) rotate_rows(test_loss_input(b, bank[i]));
    assert_ok(test_loss_eval(b));
    assert_near(b->value, a->value, 1e-13);
    assert_near(largest_gap(test_loss_grad(a, input), test_loss_grad(b, input)), 0, 1e-13);
    test_loss_free(a);
    test_loss_free(b);
}

static void the_order_of_a_bank_does_not_matter(void **state)
{
    static const char *const queue[] = { "queue", "queue_valid", "queue_ids", NULL };
    static const char *const bank[] = { "bank", "bank_valid", NULL };
    check_bank_order(*state, "moco_queue", queue, "query");
    check_bank_order(*state, "repulsor", bank, "x");
}

/* ---- scale ---- */

static void scale_input(test_loss *l, const char *name, double by)
{
    clv_view *x = test_loss_input(l, name);
    for (int64_t i = 0; i < clv_view_count(x); i++) ((double *)x->data)[i] *= by;
}

static void normalised_losses_do_not_see_lengths(void **state)
{
    static const struct { const char *name, *variant, *input; } cases[] = {
        { "info_nce", "in_batch", "query" }, { "info_nce", "in_batch", "key" }, { "info_nce", "explicit", "negatives" },
        { "info_nce", "moco_v3", "q1" }, { "info_nce", "moco_v3", "k2" }, { "moco_queue", NULL, "query" },
        { "moco_queue", NULL, "key" }, { "cosine_regression", "byol", "p1" },
        { "cosine_regression", "simsiam", "z2" }, { "nt_xent", NULL, "z1" }, { "supcon", NULL, "features" },
        { "dispersive", "infonce_cos", "z" },
        { "arcface", NULL, "features" }, { "arcface", NULL, "weight" },
        { "cosface", NULL, "features" }, { "unpg", NULL, "features" }, { "unpg", NULL, "weight" },
        { "opl", NULL, "features" }, { "circle", "pairwise", "features" },
    };
    const sizes s = { 5, 9, 12, 6 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_loss *a = make(*state, cases[i].name, cases[i].variant, s);
        test_loss *b = make(*state, cases[i].name, cases[i].variant, s);
        assert_ok(test_loss_eval(a));
        scale_input(b, cases[i].input, 1000);
        assert_ok(test_loss_eval(b));
        assert_near(b->value, a->value, 1e-12);
        const clv_view *ga = test_loss_grad(a, cases[i].input), *gb = test_loss_grad(b, cases[i].input);
        for (int64_t j = 0; ga && j < clv_view_count(ga); j++)   /* the gradient shrinks in turn */
            assert_near(1000 * ((double *)gb->data)[j], ((double *)ga->data)[j], 1e-12);
        test_loss_free(a);
        test_loss_free(b);
    }
}

/* ---- every loss: threads, repetition, rows of zeros, sizes ---- */

static void same_bits(const clv_loss_tensor *a, const clv_loss_tensor *b, int n)
{
    for (int i = 0; i < n; i++)
        assert_memory_equal(a[i].view.data, b[i].view.data,
                            (size_t)clv_view_count(&a[i].view) * clv_dtype_size(a[i].view.dtype));
}

static void check_threads(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    sizes s = { 67, 33, 517, 70 };
    test_loss *first = NULL;
    for (int threads = 1; threads <= 4; threads++) {
        clv_context *ctx = test_context(t, threads);
        test_loss *l = test_loss_make(ctx, name, variant, "0.07", true, 6, length, &s);
        assert_ok(test_loss_eval(l));
        assert_ok(test_loss_eval(l));
        if (first) {
            assert_memory_equal(&l->value, &first->value, sizeof l->value);
            same_bits(l->grad, first->grad, l->n_grad);
            same_bits(l->out, first->out, l->n_out);
        }
        clv_loss_destroy(l->loss);   /* before its context */
        l->loss = NULL;
        if (first) test_loss_free(l);
        else first = l;
        clv_context_destroy(ctx);
    }
    test_loss_free(first);
}

static void the_number_of_threads_changes_no_bit(void **state)
{
    test_losses_each(check_threads, *state);
}

static void assert_all_finite(const test_loss *l, sizes s)
{
    bool good = isfinite(l->value);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < (k ? l->n_out : l->n_grad); i++) {
            const clv_view *x = k ? &l->out[i].view : &l->grad[i].view;
            for (int64_t j = 0; x->dtype == CLV_F64 && j < clv_view_count(x); j++)
                good = good && isfinite(((double *)x->data)[j]);
        }
    if (!good)
        fail_msg("%s %s: not finite with B %d, D %d, K %d, M %d", l->name, l->variant ? l->variant : "", (int)s.B,
                 (int)s.D, (int)s.K, (int)s.M);
}

static void check_sizes(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    static const int64_t some[] = { 0, 1, 2, 3, 5, 7, 13, 16, 17, 31, 64, 97 };
    static const char *const temperatures[] = { "0.01", "0.2", "10" };
    clvi_rng rng = clvi_rng_make(9, CLVI_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 60; round++) {
        sizes s = { some[clvi_rng_below(&rng, 12)], some[clvi_rng_below(&rng, 12)], some[clvi_rng_below(&rng, 12)],
                    some[clvi_rng_below(&rng, 12)] };
        if (variant && strcmp(variant, "moco_v3") == 0 && s.M < s.B) s.M = s.B;
        test_loss *l = test_loss_make(t->ctx, name, variant, temperatures[round % 3], round % 2, (uint64_t)round,
                                      length, &s);
        assert_ok(test_loss_eval(l));
        assert_all_finite(l, s);
        if (s.B == 0) assert_near(l->value, 0, 0);
        test_loss_free(l);
    }
}

static void any_sizes_give_finite_results(void **state)
{
    test_losses_each(check_sizes, *state);
}

/* Inputs that are not normalised: a row of zeros is a point like any other there. */
static bool zeros_are_a_point(const char *name, const char *input)
{
    static const char *const names[] = { "barlow_twins", "dice", "dispersive", "focal", "n_pair", "repulsor", "triplet",
                                         "vicreg" };
    if (strcmp(input, "logits") == 0 || strcmp(input, "cosine") == 0) return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static void check_zero_rows(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    sizes s = { 4, 3, 5, 4 };
    static const char *const temperatures[] = { "0.01", "10" };
    for (int cold = 0; cold < 2; cold++) {
        test_loss *l = test_loss_make(t->ctx, name, variant, temperatures[cold], true, 8, length, &s);
        for (int i = 0; i < l->n_in; i++)
            if (l->in[i].view.dtype == CLV_F64)   /* row 1 of everything */
                memset((double *)l->in[i].view.data + clv_view_count(&l->in[i].view) / l->in[i].view.shape[0], 0,
                       (size_t)(clv_view_count(&l->in[i].view) / l->in[i].view.shape[0]) * sizeof(double));
        assert_ok(test_loss_eval(l));
        assert_all_finite(l, s);
        for (int i = 0; i < l->n_grad; i++) {
            const int64_t row = clv_view_count(&l->grad[i].view) / l->grad[i].view.shape[0];
            for (int64_t j = 0; j < row && !zeros_are_a_point(name, l->grad[i].name); j++)
                assert_near(((double *)l->grad[i].view.data)[row + j], 0, 0);
        }
        for (int i = 0; i < l->n_in; i++)         /* all of everything, masks included */
            memset(l->in[i].view.data, 0, (size_t)clv_view_count(&l->in[i].view) * clv_dtype_size(l->in[i].view.dtype));
        assert_ok(test_loss_eval(l));
        assert_all_finite(l, s);
        test_loss_free(l);
    }
}

/* The test above takes a projection. */
static void check_repulsor_zero_rows(test_env *t)
{
    sizes s = { 4, 3, 5, 0 };
    test_loss *l = test_loss_make(t->ctx, "repulsor", NULL, "0.01", false, 8, length, &s);
    memset((double *)test_loss_input(l, "z")->data + 3, 0, 3 * sizeof(double));
    assert_ok(test_loss_eval(l));
    assert_all_finite(l, s);
    for (int j = 0; j < 3; j++) assert_near(((double *)test_loss_grad(l, "z")->data)[3 + j], 0, 0);
    test_loss_free(l);
}

static void rows_of_zeros_get_zero_gradients(void **state)
{
    test_losses_each(check_zero_rows, *state);
    check_repulsor_zero_rows(*state);
}

static void a_row_without_negatives_contributes_nothing(void **state)
{
    test_env *t = *state;
    sizes s = { 4, 3, 5, 6 };
    test_loss *l = make(t, "info_nce", "explicit", s);
    memset((uint8_t *)test_loss_input(l, "negative_mask")->data + 6, 0, 6);
    assert_ok(test_loss_eval(l));
    assert_near(((double *)test_loss_output(l, "per_row")->data)[1], 0, 0);
    for (int j = 0; j < 3; j++) assert_near(((double *)test_loss_grad(l, "query")->data)[3 + j], 0, 0);
    for (int j = 0; j < 18; j++) assert_near(((double *)test_loss_grad(l, "negatives")->data)[18 + j], 0, 0);
    test_loss_free(l);

    for (int how = 0; how < 3; how++) {   /* nothing valid, only the query's own sample, no bank at all */
        s = (sizes) { 4, 3, how == 2 ? 0 : 5, 0 };
        l = make(t, "moco_queue", NULL, s);
        for (int i = 0; i < l->n_in; i++) {
            clv_view *x = &l->in[i].view;
            const int64_t n = clv_view_count(x);
            if (x->dtype == CLV_U8) memset(x->data, how != 0, (size_t)n);
            if (x->dtype == CLV_I64) memset(x->data, 0, (size_t)n * sizeof(int64_t));
        }
        assert_ok(test_loss_eval(l));
        assert_near(l->value, 0, 0);
        for (int j = 0; j < 12; j++) assert_near(((double *)test_loss_grad(l, "query")->data)[j], 0, 0);
        assert_near(((double *)test_loss_output(l, "prob_pos")->data)[0], 1, 0);
        test_loss_free(l);
    }
}

static void rows_that_do_not_count_may_hold_anything(void **state)
{
    test_env *t = *state;
    const sizes s = { 4, 3, 5, 0 };
    test_loss *a = make(t, "moco_queue", NULL, s), *b = make(t, "moco_queue", NULL, s);
    for (int i = 0; i < 5; i++) {
        ((uint8_t *)test_loss_input(a, "queue_valid")->data)[i] = i != 2;
        ((uint8_t *)test_loss_input(b, "queue_valid")->data)[i] = i != 2;
    }
    for (int j = 0; j < 3; j++) ((double *)test_loss_input(b, "queue")->data)[6 + j] = j ? NAN : INFINITY;
    assert_ok(test_loss_eval(a));
    assert_ok(test_loss_eval(b));
    assert_memory_equal(&a->value, &b->value, sizeof a->value);
    same_bits(a->grad, b->grad, a->n_grad);
    same_bits(a->out, b->out, a->n_out);
    test_loss_free(a);
    test_loss_free(b);
}

/* The walk over the bank against the composed form: the same numbers as explicit negatives, every query with its own
 * copy of the bank. */
static test_loss *with_a_bank_of_its_own_each(test_env *t, test_loss *streamed, sizes s, bool masks)
{
    const sizes e = { s.B, s.D, 0, s.K };
    test_loss *l = test_loss_make(t->ctx, "info_nce", "explicit", "0.2", masks, 5, length, (void *)(uintptr_t)&e);
    const size_t batch = (size_t)(s.B * s.D) * sizeof(double), bank = (size_t)(s.K * s.D) * sizeof(double);
    memcpy(test_loss_input(l, "query")->data, test_loss_input(streamed, "query")->data, batch);
    memcpy(test_loss_input(l, "positive")->data, test_loss_input(streamed, "key")->data, batch);
    const void *queue = test_loss_input(streamed, "queue")->data;
    for (int64_t b = 0; b < s.B; b++) {
        memcpy((char *)test_loss_input(l, "negatives")->data + (size_t)b * bank, queue, bank);
        for (int64_t j = 0; masks && j < s.K; j++)
            ((uint8_t *)test_loss_input(l, "negative_mask")->data)[b * s.K + j] =
                ((uint8_t *)test_loss_input(streamed, "queue_valid")->data)[j] &&
                ((int64_t *)test_loss_input(streamed, "ids")->data)[b] !=
                    ((int64_t *)test_loss_input(streamed, "queue_ids")->data)[j];
    }
    return l;
}

static void unit_rows(clv_view *x)
{
    for (int64_t i = 0; i < x->shape[0]; i++) {
        double *row = (double *)x->data + i * x->shape[1], sum = 0;
        for (int64_t j = 0; j < x->shape[1]; j++) sum += row[j] * row[j];
        for (int64_t j = 0; j < x->shape[1]; j++) row[j] /= sqrt(sum);
    }
}

static void walking_the_bank_equals_the_composed_form(void **state)
{
    test_env *t = *state;
    static const sizes some[] = { { 1, 1, 1, 0 }, { 3, 5, 2, 0 }, { 33, 17, 129, 0 }, { 70, 31, 700, 0 },
                                  { 8, 128, 97, 0 } };
    for (int i = 0; i < 10; i++) {
        const sizes s = some[i / 2];
        const bool masks = i % 2;
        test_loss *a = test_loss_make(t->ctx, "moco_queue", NULL, "0.2", masks, 5, length, (void *)(uintptr_t)&s);
        unit_rows(test_loss_input(a, "queue"));   /* `explicit` normalises its negatives */
        test_loss *b = with_a_bank_of_its_own_each(t, a, s, masks);
        assert_ok(test_loss_eval(a));
        assert_ok(test_loss_eval(b));
        assert_near(a->value, b->value, 1e-12);
        assert_near(largest_gap(test_loss_output(a, "per_row"), test_loss_output(b, "per_row")), 0, 1e-12);
        assert_near(largest_gap(test_loss_output(a, "logits"), test_loss_output(b, "logits")), 0, 1e-12);
        assert_near(largest_gap(test_loss_grad(a, "query"), test_loss_grad(b, "query")), 0, 1e-12);
        test_loss_free(a);
        test_loss_free(b);
    }
}

TEST_MAIN(TEST(the_order_of_a_batch_does_not_matter), TEST(the_order_of_a_bank_does_not_matter),
          TEST(normalised_losses_do_not_see_lengths), TEST(the_number_of_threads_changes_no_bit),
          TEST(any_sizes_give_finite_results), TEST(rows_of_zeros_get_zero_gradients),
          TEST(a_row_without_negatives_contributes_nothing),
          TEST(rows_that_do_not_count_may_hold_anything), TEST(walking_the_bank_equals_the_composed_form))
