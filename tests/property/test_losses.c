/* test_losses.c: what must hold of every loss whatever its formula, and of some because of it. */
#include "tests/support/losses.h"
#include "core/rng.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sizes {
    int64_t B, D, K, M, C;
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
    case 'C': return s->C ? s->C : 6;   /* labels are below 5 */
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

/* Whether an input has a row for each of the batch. */
static bool is_of_the_batch(const char *name, const char *variant, const char *input)
{
    clv_loss_port port;
    const int loss = clv_loss_find(name);
    for (int i = 0; clv_loss_input_at(loss, i, &port); i++) {
        if (strcmp(port.name, input) != 0 || (variant && strcmp(port.variant, variant) != 0)) continue;
        const char letter = port.shape[0];
        /* E: feature_transform's numbers for each pair. M: the keys of all ranks, here of one. */
        return letter == 'B' || letter == 'N' || letter == 'E' || (letter == 'M' && port.shape[1] == ',');
    }
    return false;
}

/* Rotates everything that belongs to the batch: the value stays, its gradients rotate along. */
static void check_permutation(const char *name, const char *variant, void *user)
{
    const sizes s = { 7, 6, 13, 7, 0 };
    test_loss *a = make(user, name, variant, s), *b = make(user, name, variant, s);
    assert_ok(test_loss_eval(a));
    for (int i = 0; i < b->n_in; i++)
        if (is_of_the_batch(name, variant, b->in[i].name)) rotate_rows(&b->in[i].view);
    assert_ok(test_loss_eval(b));
    assert_near(b->value, a->value, 1e-12 * fmax(1, fabs(a->value)));
    for (int i = 0; i < a->n_grad; i++) {
        if (is_of_the_batch(name, variant, a->grad[i].name)) rotate_rows(&a->grad[i].view);
        assert_near(largest_gap(&a->grad[i].view, &b->grad[i].view), 0, 1e-12);
    }
    test_loss_free(a);
    test_loss_free(b);
}

static void the_order_of_a_batch_does_not_matter(void **state)
{
    test_losses_each(check_permutation, *state);
}

/* ---- a batch in two parts ---- */

/* Losses whose rows know nothing of each other. */
static const struct { const char *name, *variant; } rowwise[] = {
    { "info_nce", "explicit" }, { "moco_queue", NULL }, { "mochi", NULL }, { "feature_transform", NULL },
    { "arcface", NULL }, { "cosface", NULL }, { "circle", "classwise" }, { "cosine_regression", "byol" },
    { "cosine_regression", "simsiam" }, { "cross_entropy", "hard" }, { "cross_entropy", "soft" },
    { "focal", "softmax" }, { "focal", "sigmoid" },
    { "triplet", "explicit" }, { "dice", "dsc_per_example" }, { "dice", "dl_per_example" },
    { "dice", "tversky_per_example" },
};

static void cut_rows(clv_view *x, int64_t begin, int64_t count)
{
    const int64_t row = x->shape[0] ? clv_view_count(x) / x->shape[0] : 0;
    memmove(x->data, (char *)x->data + (size_t)(begin * row) * clv_dtype_size(x->dtype),
            (size_t)(count * row) * clv_dtype_size(x->dtype));
    x->shape[0] = count;
}

static test_loss *part(test_env *t, const char *name, const char *variant, int64_t begin, int64_t count)
{
    const sizes s = { 9, 5, 12, 4, 0 };
    test_loss *l = test_loss_make(t->ctx, name, variant, "0.2", strcmp(name, "mochi") == 0, 5, length,
                                  (void *)(uintptr_t)&s);
    for (int i = 0; i < l->n_in; i++)
        if (is_of_the_batch(name, variant, l->in[i].name)) cut_rows(&l->in[i].view, begin, count);
    for (int i = 0; i < l->n_grad; i++)
        if (is_of_the_batch(name, variant, l->grad[i].name)) l->grad[i].view.shape[0] = count;
    l->n_out = 0;
    assert_ok(test_loss_eval(l));
    return l;
}

static void a_batch_in_two_parts_has_the_mean_of_both(void **state)
{
    for (size_t i = 0; i < sizeof rowwise / sizeof rowwise[0]; i++) {
        const char *name = rowwise[i].name, *variant = rowwise[i].variant;
        test_loss *all = part(*state, name, variant, 0, 9), *a = part(*state, name, variant, 0, 2);
        test_loss *b = part(*state, name, variant, 2, 7);
        assert_near(all->value, (2 * a->value + 7 * b->value) / 9, 1e-12 * fmax(1, fabs(all->value)));
        for (int g = 0; g < all->n_grad; g++) {
            const clv_view *whole = &all->grad[g].view;
            const int64_t row = clv_view_count(whole) / 9;
            if (!is_of_the_batch(name, variant, all->grad[g].name)) continue;
            for (int64_t j = 0; j < 9 * row; j++) {
                const double part_of_it = j < 2 * row ? 2 * ((double *)a->grad[g].view.data)[j]
                                                      : 7 * ((double *)b->grad[g].view.data)[j - 2 * row];
                assert_near(((double *)whole->data)[j], part_of_it / 9, 1e-12);
            }
        }
        test_loss_free(all);
        test_loss_free(a);
        test_loss_free(b);
    }
}

/* ---- the order of a bank ---- */

static void check_bank_order(test_env *t, const char *name, const char *const *bank, const char *input)
{
    const sizes s = { 7, 6, 13, 0, 0 };
    test_loss *a = make(t, name, NULL, s), *b = make(t, name, NULL, s);
    assert_ok(test_loss_eval(a));
    for (int i = 0; bank[i]; i++) {
        clv_view *x = test_loss_input(b, bank[i]);
        rotate_rows(x);
        for (int64_t j = 0; strcmp(bank[i], "perm") == 0 && j < s.K; j++)   /* it names rows, which have moved */
            ((int64_t *)x->data)[j] = (((int64_t *)x->data)[j] + s.K - 1) % s.K;
    }
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
    static const char *const ranked[] = { "queue", "queue_valid", "queue_labels", NULL };
    static const char *const moved[] = { "queue", "queue_valid", "lambda_neg", "perm", NULL };
    check_bank_order(*state, "moco_queue", queue, "query");
    check_bank_order(*state, "repulsor", bank, "x");
    check_bank_order(*state, "mochi", ranked, "query");
    check_bank_order(*state, "feature_transform", moved, "q");
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
        { "mochi", NULL, "query" }, { "mochi", NULL, "key" }, { "feature_transform", NULL, "q" },
        { "feature_transform", NULL, "k" }, { "nt_xent", NULL, "z2" }, { "cosface", NULL, "weight" },
        { "cosine_regression", "simsiam", "p2" }, { "info_nce", "explicit", "positive" },
    };
    const sizes s = { 5, 9, 12, 6, 0 };
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
    sizes s = { 67, 33, 517, 70, 0 };
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

/* Labels that have a class. */
static void keep_labels_below(test_loss *l, int64_t classes)
{
    for (int i = 0; i < l->n_in; i++) {
        const clv_view *x = &l->in[i].view;
        if (x->dtype != CLV_I64 || (strcmp(l->in[i].name, "labels") != 0 && strcmp(l->in[i].name, "targets") != 0))
            continue;
        for (int64_t j = 0; j < clv_view_count(x); j++)
            ((int64_t *)x->data)[j] %= classes;
    }
}

static double relative_gap(const clv_view *narrow, const clv_view *wide)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < clv_view_count(wide); i++) {
        const double x = (double)((float *)narrow->data)[i], y = ((double *)wide->data)[i];
        if (!(fabs(x - y) <= worst)) worst = fabs(x - y);
        largest = fmax(largest, fabs(y));
    }
    return worst / fmax(largest, 1e-3);
}

static double largest_relative_gap(const test_loss *narrow, const test_loss *wide)
{
    double worst = fabs(narrow->value - wide->value) / fmax(1, fabs(wide->value));
    for (int i = 0; i < wide->n_grad; i++)
        worst = fmax(worst, relative_gap(&narrow->grad[i].view, &wide->grad[i].view));
    return worst;
}

typedef struct fuzz {
    const char *name, *variant, *temperature;
    bool        optional;
    uint64_t    seed;
    sizes       s;
} fuzz;

static test_loss *draw(test_env *t, const fuzz *f)
{
    test_loss *l = test_loss_make(t->ctx, f->name, f->variant, f->temperature, f->optional, f->seed, length,
                                  (void *)(uintptr_t)&f->s);
    keep_labels_below(l, f->s.C);
    return l;
}

/* The fast kernels in float32 are not much further from the plain ones in float64 than those are in float32. */
static void check_fast(test_env *t, const fuzz *f)
{
    test_loss *fast = draw(t, f), *narrow = draw(t, f), *plain = draw(t, f);
    fast->n_out = narrow->n_out = plain->n_out = 0;
    test_loss_narrow(fast);
    test_loss_narrow(narrow);
    clv_loss_set_reference(narrow->loss, true);
    clv_loss_set_reference(plain->loss, true);
    assert_ok(test_loss_eval(fast));
    assert_ok(test_loss_eval(narrow));
    assert_ok(test_loss_eval(plain));
    const double gap = largest_relative_gap(fast, plain), reached = largest_relative_gap(narrow, plain);
    if (!(gap <= fmax(2e-5, 8 * reached)))
        fail_msg("%s %s: fast kernels off by %.3g, plain ones by %.3g, with B %d, D %d, K %d, M %d, C %d", f->name,
                 f->variant ? f->variant : "", gap, reached, (int)f->s.B, (int)f->s.D, (int)f->s.K, (int)f->s.M,
                 (int)f->s.C);
    test_loss_free(fast);
    test_loss_free(narrow);
    test_loss_free(plain);
}

static void check_sizes(const char *name, const char *variant, void *user)
{
    static const int64_t some[] = { 0, 1, 2, 3, 5, 7, 13, 16, 17, 31, 64, 97 };
    static const char *const temperatures[] = { "0.01", "0.2", "10" };
    clvi_rng rng = clvi_rng_make(9, CLVI_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 60; round++) {
        fuzz f = { name, variant, temperatures[round % 3], round % 2, (uint64_t)round, { 0 } };
        int64_t *const lengths[] = { &f.s.B, &f.s.D, &f.s.K, &f.s.M, &f.s.C };
        for (int i = 0; i < 5; i++) *lengths[i] = some[clvi_rng_below(&rng, 12)];
        f.s.C += f.s.C == 0;   /* here 0 means the usual number */
        if (variant && strcmp(variant, "moco_v3") == 0 && f.s.M < f.s.B) f.s.M = f.s.B;
        test_loss *l = draw(user, &f);
        assert_ok(test_loss_eval(l));
        assert_all_finite(l, f.s);
        if (f.s.B == 0) assert_near(l->value, 0, 0);
        test_loss_free(l);
        if (round % 3 > 0 && round % 4 < 2) check_fast(user, &f);
    }
}

static void any_sizes_give_finite_results_and_all_kernels_the_same(void **state)
{
    test_losses_each(check_sizes, *state);
}

/* Inputs that are not normalised: a row of zeros is a point like any other there. */
static bool zeros_are_a_point(const char *name, const char *input)
{
    static const char *const names[] = { "barlow_twins", "dice", "dispersive", "focal", "mse", "n_pair",
                                         "repulsor", "triplet", "vicreg" };
    if (strcmp(input, "logits") == 0 || strcmp(input, "cosine") == 0) return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static void check_zero_rows(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    sizes s = { 4, 3, 5, 4, 0 };
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
    sizes s = { 4, 3, 5, 0, 0 };
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
    sizes s = { 4, 3, 5, 6, 0 };
    test_loss *l = make(t, "info_nce", "explicit", s);
    memset((uint8_t *)test_loss_input(l, "negative_mask")->data + 6, 0, 6);
    assert_ok(test_loss_eval(l));
    assert_near(((double *)test_loss_output(l, "per_row")->data)[1], 0, 0);
    for (int j = 0; j < 3; j++) assert_near(((double *)test_loss_grad(l, "query")->data)[3 + j], 0, 0);
    for (int j = 0; j < 18; j++) assert_near(((double *)test_loss_grad(l, "negatives")->data)[18 + j], 0, 0);
    test_loss_free(l);

    for (int how = 0; how < 3; how++) {   /* nothing valid, only the query's own sample, no bank at all */
        s = (sizes) { 4, 3, how == 2 ? 0 : 5, 0, 0 };
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
    const sizes s = { 4, 3, 5, 0, 0 };
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
    const sizes e = { s.B, s.D, 0, s.K, 0 };
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
    static const sizes some[] = { { 1, 1, 1, 0, 0 }, { 3, 5, 2, 0, 0 }, { 33, 17, 129, 0, 0 }, { 70, 31, 700, 0, 0 },
                                  { 8, 128, 97, 0, 0 } };
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

/* ---- MoCHi: what its gradient goes through ---- */

/* Each query's bank, its pairs and its mixes with the query, as shown by a and all of unit length, are the explicit
 * negatives of l. */
static void mixes_as_negatives(test_loss *a, sizes s, test_loss *l)
{
    static const char *const shown[] = { "synth", "synth_prime" };
    const int64_t M = s.K + 2 * s.B;
    const uint8_t *valid = test_loss_input(a, "queue_valid")->data;
    memcpy(test_loss_input(l, "query")->data, test_loss_input(a, "query")->data, (size_t)(s.B * s.D) * sizeof(double));
    memcpy(test_loss_input(l, "positive")->data, test_loss_input(a, "key")->data, (size_t)(s.B * s.D) * sizeof(double));
    for (int64_t b = 0; b < s.B; b++) {
        double *to = (double *)test_loss_input(l, "negatives")->data + b * M * s.D;
        uint8_t *mask = (uint8_t *)test_loss_input(l, "negative_mask")->data + b * M;
        memcpy(to, test_loss_input(a, "queue")->data, (size_t)(s.K * s.D) * sizeof(double));
        memcpy(mask, valid, (size_t)s.K);
        for (int k = 0; k < 2; k++)
            memcpy(to + (s.K + k * s.B) * s.D, (double *)test_loss_output(a, shown[k])->data + b * s.B * s.D,
                   (size_t)(s.B * s.D) * sizeof(double));
        for (int64_t j = s.K; j < M; j++) {   /* a mix that is left out shows as zeros */
            double sum = 0;
            for (int64_t d = 0; d < s.D; d++) sum += to[j * s.D + d] * to[j * s.D + d];
            mask[j] = sum > 0;
        }
    }
}

/* What the gradient in the mixes h' = n(beta q + (1 - beta) r) adds to that in the query, q = n(query). */
static void add_through_mixes(test_loss *a, test_loss *l, sizes s, double *gradient)
{
    const double *query = test_loss_input(a, "query")->data, *beta = test_loss_input(a, "beta")->data;
    const double *queue = test_loss_input(a, "queue")->data, *mixes = test_loss_output(a, "synth_prime")->data;
    const double *in_mixes = test_loss_grad(l, "negatives")->data;
    const int64_t *rank = test_loss_input(a, "idx_q")->data, *list = test_loss_output(a, "topk_idx")->data;
    for (int64_t b = 0; b < s.B; b++) {
        double in_q[16] = { 0 }, length = 0, along = 0;
        for (int64_t d = 0; d < s.D; d++) length += query[b * s.D + d] * query[b * s.D + d];
        length = sqrt(length);
        for (int64_t c = 0; c < s.B; c++) {
            const double *h = mixes + (b * s.B + c) * s.D, w = beta[b * s.B + c];
            const double *g = in_mixes + ((b * (s.K + 2 * s.B)) + s.K + s.B + c) * s.D;
            const double *r = queue + list[b * s.K + rank[b * s.B + c]] * s.D;
            double norm = 0, dot = 0;
            for (int64_t d = 0; d < s.D; d++) {
                const double m = w * query[b * s.D + d] / length + (1 - w) * r[d];
                norm += m * m;
                dot += g[d] * h[d];
            }
            for (int64_t d = 0; d < s.D; d++) in_q[d] += w / sqrt(norm) * (g[d] - dot * h[d]);
        }
        for (int64_t d = 0; d < s.D; d++) along += in_q[d] * query[b * s.D + d] / length;
        for (int64_t d = 0; d < s.D; d++)
            gradient[b * s.D + d] += (in_q[d] - along * query[b * s.D + d] / length) / length;
    }
}

/* The composed form: InfoNCE with the mixes as constant negatives; and what flows through the query inside them. */
static void mixes_are_constants_unless_the_gradient_is_let_through(void **state)
{
    test_env *t = *state;
    const sizes s = { 6, 9, 31, 0, 0 }, e = { s.B, s.D, 0, s.K + 2 * s.B, 0 };
    const clv_option stopped[] = { { "stop-grad-synthetic", "true" }, { "stop-grad-synthetic", "false" } };
    test_loss *l = test_loss_make(t->ctx, "info_nce", "explicit", "0.2", true, 5, length, (void *)(uintptr_t)&e);
    double gradient[6 * 9];
    for (int through = 0; through < 2; through++) {
        test_loss *a = test_loss_make_with(t->ctx, "mochi", NULL, &stopped[through], "0.2", true, 5, length,
                                           (void *)(uintptr_t)&s);
        unit_rows(test_loss_input(a, "queue"));   /* `explicit` normalises its negatives */
        assert_ok(test_loss_eval(a));
        mixes_as_negatives(a, s, l);
        assert_ok(test_loss_eval(l));
        assert_near(a->value, l->value, 1e-12);
        memcpy(gradient, test_loss_grad(l, "query")->data, sizeof gradient);
        const clv_view want = clv_view_2d(gradient, CLV_F64, s.B, s.D), *got = test_loss_grad(a, "query");
        if (through) {
            assert_true(largest_gap(got, &want) > 1e-3);
            add_through_mixes(a, l, s, gradient);
        }
        assert_near(largest_gap(got, &want), 0, 1e-12);
        test_loss_free(a);
    }
    test_loss_free(l);
}

TEST_MAIN(TEST(the_order_of_a_batch_does_not_matter), TEST(a_batch_in_two_parts_has_the_mean_of_both),
          TEST(the_order_of_a_bank_does_not_matter),
          TEST(normalised_losses_do_not_see_lengths), TEST(the_number_of_threads_changes_no_bit),
          TEST(any_sizes_give_finite_results_and_all_kernels_the_same), TEST(rows_of_zeros_get_zero_gradients),
          TEST(a_row_without_negatives_contributes_nothing),
          TEST(rows_that_do_not_count_may_hold_anything), TEST(walking_the_bank_equals_the_composed_form),
          TEST(mixes_are_constants_unless_the_gradient_is_let_through))
