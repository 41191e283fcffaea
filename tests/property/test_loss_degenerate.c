/* test_loss_degenerate.c: every loss, with every switch and choice and both ends of every range, on inputs in which
 * something is missing or extreme: a finite value, finite gradients and finite outputs, in float64 and float32. */
#include "tests/support/losses.h"
#include "core/rng.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct kind {
    const char *what;
    int64_t     B, K;
    void (*change)(clv_view *x);   /* every input; NULL: as drawn */
    bool        wild;              /* not finite, or not when multiplied: the call returns, and that is all */
} kind;

/* ---- what can be wrong with an input ---- */

static void one_class(clv_view *x)
{
    for (int64_t i = 0; x->dtype == CLV_I64 && i < clv_view_count(x); i++) ((int64_t *)x->data)[i] = 0;
}

static void each_its_class(clv_view *x)
{
    for (int64_t i = 0; x->dtype == CLV_I64 && i < clv_view_count(x); i++) ((int64_t *)x->data)[i] = i % 5;
}

static void nobody_counts(clv_view *x)
{
    for (int64_t i = 0; i < clv_view_count(x); i++) {
        if (x->dtype == CLV_I64) ((int64_t *)x->data)[i] = -1;
        if (x->dtype == CLV_U8) ((uint8_t *)x->data)[i] = 0;
    }
}

static void zeros(clv_view *x)
{
    if (x->dtype == CLV_F64) memset(x->data, 0, (size_t)clv_view_count(x) * sizeof(double));
}

/* All rows like the first; a vector is constant. */
static void duplicates(clv_view *x)
{
    const int64_t n = clv_view_count(x), row = x->ndim > 1 && x->shape[0] ? n / x->shape[0] : 1;
    for (int64_t i = row; x->dtype == CLV_F64 && i < n; i++) ((double *)x->data)[i] = ((double *)x->data)[i % row];
}

static void near_duplicates(clv_view *x)
{
    duplicates(x);
    for (int64_t i = 0; x->dtype == CLV_F64 && i < clv_view_count(x); i++)
        ((double *)x->data)[i] *= 1 + (double)(i % 7) * FLT_EPSILON;
}

static void saturated(clv_view *x)
{
    for (int64_t i = 0; x->dtype == CLV_F64 && i < clv_view_count(x); i++) ((double *)x->data)[i] *= 1e4;
}

static void tiny(clv_view *x)
{
    for (int64_t i = 0; x->dtype == CLV_F64 && i < clv_view_count(x); i++) ((double *)x->data)[i] *= 1e-30;
}

static void overflowing(clv_view *x)
{
    for (int64_t i = 0; x->dtype == CLV_F64 && i < clv_view_count(x); i++) ((double *)x->data)[i] *= 1e25;
}

static void some_infinite(clv_view *x)
{
    for (int64_t i = 0; x->dtype == CLV_F64 && i < clv_view_count(x); i += 2) ((double *)x->data)[i] = INFINITY;
}

static void one_nan(clv_view *x)
{
    if (x->dtype == CLV_F64 && clv_view_count(x) > 0) ((double *)x->data)[clv_view_count(x) / 2] = NAN;
}

static void all_nan(clv_view *x)
{
    for (int64_t i = 0; x->dtype == CLV_F64 && i < clv_view_count(x); i++) ((double *)x->data)[i] = NAN;
}

/* Ids, ranks, labels and steps that point at nothing. */
static void lost(clv_view *x)
{
    static const int64_t nowhere[] = { INT64_MAX, INT64_MIN, 1 << 20, -2 };
    for (int64_t i = 0; x->dtype == CLV_I64 && i < clv_view_count(x); i++) ((int64_t *)x->data)[i] = nowhere[i % 4];
}

static const kind kinds[] = {
    { "as drawn", 5, 7, NULL, false },
    { "batch of 1", 1, 7, NULL, false },
    { "empty batch", 0, 7, NULL, false },
    { "bank of 1", 5, 1, NULL, false },
    { "empty bank", 5, 0, NULL, false },
    { "one class", 5, 7, one_class, false },
    { "all classes differ", 5, 7, each_its_class, false },
    { "nobody counts", 5, 7, nobody_counts, false },
    { "rows of zeros", 5, 7, zeros, false },
    { "duplicates", 5, 7, duplicates, false },
    { "near duplicates", 5, 7, near_duplicates, false },
    { "saturated", 5, 7, saturated, false },
    { "tiny", 5, 7, tiny, false },
    { "overflowing", 5, 7, overflowing, true },
    { "some infinite", 5, 7, some_infinite, true },
    { "one NaN", 5, 7, one_nan, true },
    { "all NaN", 5, 7, all_nan, true },
    { "lost", 5, 7, lost, true },
};

/* ---- the walk ---- */

static int64_t length(char letter, void *user)
{
    const kind *k = user;
    switch (letter) {
    case 'D': case 'F': case 'H': return 3;
    case 'K': case 'J': case 'T': case 'G': return k->K;
    case 'M': return k->B > 6 ? k->B : 6;
    case 'V': return 2;
    case 'A': return 2 * k->B;
    case 'C': return 6;   /* labels are below 5 */
    case 'L': return 1 + k->K + 2 * k->B;
    default: return k->B;
    }
}

typedef struct walk {
    test_env *t;
    int       evaluated, refused, bad;
} walk;

static bool all_finite(const clv_loss_tensor *tensors, int n)
{
    for (int i = 0; i < n; i++) {
        const clv_view *x = &tensors[i].view;
        for (int64_t j = 0; j < clv_view_count(x); j++)
            if ((x->dtype == CLV_F64 && !isfinite(((double *)x->data)[j])) ||
                (x->dtype == CLV_F32 && !isfinite(((float *)x->data)[j])))
                return false;
    }
    return true;
}

/* An option may ask for what is not there, and -1 may be no class: then an error says so. */
static bool may_refuse(const clv_option *option, const kind *k, clv_status st)
{
    return (st == CLV_ERR_INVALID && option) || (st == CLV_ERR_NUMERIC && k->change == nobody_counts);
}

/* An output whose shape follows from the options is asked for with that shape. */
static void shape_outputs(test_loss *l)
{
    int kept = 0;
    for (int i = 0; i < l->n_out; i++) {
        clv_view *x = &l->out[i].view;
        int ndim = -1;
        int64_t shape[CLV_MAX_DIMS];
        const bool known = clv_loss_output_shape(l->loss, l->in, l->n_in, l->out[i].name, &ndim, shape) == CLV_OK;
        if (!known || ndim < 0) {
            free(x->data);
            x->data = NULL;
            continue;
        }
        const clv_view right = clv_view_dense(NULL, x->dtype, ndim, shape);
        free(x->data);
        *x = right;
        x->data = calloc((size_t)clv_view_count(x) + 1, clv_dtype_size(x->dtype));
        l->out[kept] = l->out[i];
        if (kept++ != i) l->out[i].view.data = NULL;
    }
    l->n_out = kept;
}

static void check(walk *w, const char *name, const char *variant, const clv_option *option, const kind *k,
                  bool narrow)
{
    static const char *const temperatures[] = { "0.01", "10" };
    for (int i = 0; i < 4; i++) {
        if (option && (i == 1 || i == 2)) continue;
        test_loss *l = test_loss_make_with(w->t->ctx, name, variant, option, temperatures[i % 2], i / 2, 11, length,
                                           (void *)(uintptr_t)k);
        for (int j = 0; k->change && j < l->n_in; j++) k->change(&l->in[j].view);
        if (option) l->n_out = 0;   /* they are the same, but for what gave the value */
        else shape_outputs(l);
        if (narrow) test_loss_narrow(l);
        const clv_status st = test_loss_eval(l);
        const bool finite = isfinite(l->value) && all_finite(l->grad, l->n_grad) && all_finite(l->out, l->n_out);
        const bool good = k->wild || (st == CLV_OK ? finite : may_refuse(option, k, st));
        if (!good)
            print_error("%s %s, %s %s, temperature %s%s%s: %s: value %g, %s\n", name, variant ? variant : "",
                        option ? option->name : "", option ? option->value : "", temperatures[i % 2],
                        i / 2 ? ", optional inputs" : "", narrow ? ", float32" : "", k->what, l->value,
                        st == CLV_OK ? "not finite" : clv_error_message());
        w->evaluated += st == CLV_OK;
        w->refused += st != CLV_OK;
        w->bad += !good;
        test_loss_free(l);
    }
}

static void check_kinds(walk *w, const char *name, const char *variant, const clv_option *option)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (int narrow = 0; narrow < 2; narrow++) check(w, name, variant, option, &kinds[i], narrow);
}

/* Every value of an option that has few, and both ends of a range. */
static void check_option(walk *w, const char *name, const char *variant, const clv_option_info *info)
{
    char text[512], *rest = text;
    if (strcmp(info->name, "variant") == 0 || info->type == CLV_OPTION_I64) return;
    if (info->type == CLV_OPTION_F64) snprintf(text, sizeof text, "%.17g|%.17g", info->min, info->max);
    else snprintf(text, sizeof text, "%s", info->type == CLV_OPTION_BOOL ? "true|false" : info->choices);
    for (char *value = strsep(&rest, "|"); value; value = strsep(&rest, "|")) {
        const clv_option option = { info->name, value };
        check_kinds(w, name, variant, &option);
    }
}

static void check_variant(const char *name, const char *variant, void *user)
{
    clv_option_info info;
    walk *w = user;
    check_kinds(w, name, variant, NULL);
    for (int i = 0; clv_loss_option_at(clv_loss_find(name), i, &info); i++) check_option(w, name, variant, &info);
}

static void every_result_is_finite_whatever_is_missing(void **state)
{
    walk w = { .t = *state };
    test_losses_each(check_variant, &w);
    print_message("%d evaluated, %d refused\n", w.evaluated, w.refused);
    assert_int_equal(w.bad, 0);
    assert_true(w.evaluated > 10 * w.refused);
}

TEST_MAIN(TEST(every_result_is_finite_whatever_is_missing))
