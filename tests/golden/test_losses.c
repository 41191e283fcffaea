/* test_losses.c: every loss against its golden vectors, in float32 and float64, with reference and fast kernels; the
 * mechanism cases through the parts they are about; and what the comparison itself must notice. */
#include "tests/support/test.h"
#include <cleave/bank.h>
#include <cleave/loss.h>
#include "core/h5.h"
#include "device/flat.h"
#include "losses/loss.h"
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "tests/golden/losses/"

/* What the files have and clv_loss_check leaves to others. Anything else not compared is a failure. */
static const char *const left_out[][2] = {
    { "moco_queue", "/queue_ptr" },            /* the bank's: see below */
    { "moco_queue", "/queue_after" },
    { "moco_queue", "/queue_ptr_after" },
    { "moco_queue", "/queue_valid_after" },
    { "moco_queue", "trace_ragged_batches/*" },
    { "moco_queue", "ema_five_steps/*" },
    { "moco_queue", "cosine_momentum/*" },     /* tests/golden/test_schedule.c */
    { "repulsor", "/bank_ptr" },
    { "repulsor", "/bank_after" },
    { "repulsor", "/bank_ptr_after" },
    { "repulsor", "/bank_valid_after" },
    { "repulsor", "partly_filled_bank/exponents" },   /* has no columns for rows that do not count: see below */
    { "unpg", "/neg_pairs" },                  /* lists of pairs; the loss marks them in a matrix: see below */
    { "unpg", "/neg_sim" },
    { "unpg", "/keep" },
};

static bool may_be_left_out(const char *loss, const clv_loss_check_result *r)
{
    const size_t n = strlen(r->name);
    if (strncmp(r->note, "zero rows", 9) == 0) return true;   /* grad_x where grad_x_zeroed is compared */
    for (size_t i = 0; i < sizeof left_out / sizeof left_out[0]; i++) {
        const size_t m = strlen(left_out[i][1]);
        if (strcmp(left_out[i][0], loss) == 0 && n >= m && strcmp(r->name + n - m, left_out[i][1]) == 0) return true;
    }
    return false;
}

typedef struct tally {
    const char *loss;
    int         compared, bad;
    double      worst;        /* error / tolerance */
} tally;

static void count(const clv_loss_check_result *r, void *user)
{
    tally *sum = user;
    if (r->verdict == CLV_CHECK_NOT_COMPARED) {
        if (may_be_left_out(sum->loss, r)) return;
        print_error("%s %s: not compared: %s\n", sum->loss, r->name, r->note);
        sum->bad++;
        return;
    }
    sum->compared++;
    if (r->tolerance > 0) sum->worst = fmax(sum->worst, r->error / r->tolerance);
    if (r->verdict == CLV_CHECK_PASSED) return;
    print_error("%s %s: off by %.3g, allowed %.3g: %s\n", sum->loss, r->name, r->error, r->tolerance, r->note);
    sum->bad++;
}

static void check_all(test_env *t, clv_dtype dtype, bool reference)
{
    clv_class_info info;
    int bad = 0;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        char path[256];
        tally sum = { .loss = info.name };
        int64_t failed = -1;
        snprintf(path, sizeof path, FOLDER "%s.h5", info.name);
        assert_ok(clv_loss_check(t->ctx, path, dtype, reference, count, &sum, &failed));
        print_message("%s: %d arrays in %s, %s kernels; worst uses %.2g of its tolerance\n", info.name, sum.compared,
                      clv_dtype_name(dtype), reference ? "reference" : "fast", sum.worst);
        assert_true(sum.compared >= 10);
        bad += sum.bad;
    }
    assert_int_equal(bad, 0);
}

static void float64_reference(void **state)
{
    check_all(*state, CLV_F64, true);
}

static void float64_fast(void **state)
{
    check_all(*state, CLV_F64, false);
}

static void float32_reference(void **state)
{
    check_all(*state, CLV_F32, true);
}

static void float32_fast(void **state)
{
    check_all(*state, CLV_F32, false);
}

static void every_file_belongs_to_a_loss(void **state)
{
    (void)state;
    DIR *folder = opendir(FOLDER);
    int files = 0;
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char name[256];
        snprintf(name, sizeof name, "%s", entry->d_name);
        char *dot = strrchr(name, '.');
        if (!dot || strcmp(dot, ".h5") != 0) continue;
        *dot = 0;
        if (clv_loss_find(name) < 0) fail_msg("there is no loss for " FOLDER "%s", entry->d_name);
        files++;
    }
    closedir(folder);
    assert_int_equal(files, clv_loss_count());
}

/* ---- the comparison notices ---- */

typedef struct spoilt_loss {
    const char *dataset;
    double      by;
    const char *attr;
} spoilt_loss;

/* One in_batch case with query = key = unit vectors: loss = log(1 + exp(-1/t)) by hand, here t = 1, gradient 0 where
 * everything is symmetric. */
static void write_case(test_env *t, const char *path, const spoilt_loss *s)
{
    const double query[] = { 1, 0, 0, 1 }, zero[4] = { 0 };
    const double p = 1 / (1 + exp(-1.0)), g = (p - 1) / 2;   /* d L / d logit_ii, and - it / d logit_ij */
    double right[] = { g, -g, -g, g }, grad[] = { g, -g, -g, g }, loss = log1p(exp(-1.0));
    if (strcmp(s->dataset, "grad") == 0) grad[2] += s->by;
    if (strcmp(s->dataset, "loss") == 0) loss += s->by;
    clvi_h5 *h5 = NULL;
    clv_view view = clv_view_2d((void *)query, CLV_F64, 2, 2);
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_set_attr_text(h5, "/", "format", "cleave-golden-1"));
    assert_ok(clvi_h5_set_attr_text(h5, "/", "loss", "info_nce"));
    assert_ok(clvi_h5_group(h5, "case"));
    assert_ok(clvi_h5_set_attr_text(h5, "case", "kind", "loss"));
    assert_ok(clvi_h5_set_attr_f64(h5, "case", "temperature", 1));
    assert_ok(clvi_h5_set_attr_i64(h5, "case", "normalize", 0));
    if (s->attr) assert_ok(clvi_h5_set_attr_i64(h5, "case", s->attr, 1));
    assert_ok(clvi_h5_write(h5, "case/inputs/query", &view));
    assert_ok(clvi_h5_write(h5, "case/inputs/key", &view));
    view.data = grad;
    if (strcmp(s->dataset, "no gradient") != 0) assert_ok(clvi_h5_write(h5, "case/outputs/grad_query", &view));
    view.data = right;
    assert_ok(clvi_h5_write(h5, "case/outputs/grad_key", &view));
    if (strcmp(s->dataset, "extra") == 0) {
        view.data = (void *)zero;
        assert_ok(clvi_h5_write(h5, "case/outputs/extra", &view));
    }
    view = clv_view_dense(&loss, CLV_F64, 0, NULL);
    assert_ok(clvi_h5_write(h5, "case/outputs/loss", &view));
    assert_ok(clvi_h5_commit(h5));
}

static tally check_spoilt(test_env *t, const char *dataset, double by, const char *attr)
{
    tally sum = { .loss = "info_nce" };
    const char *path = test_path(t, "golden.h5");
    write_case(t, path, &(spoilt_loss) { dataset, by, attr });
    assert_ok(clv_loss_check(t->ctx, path, CLV_F64, false, count, &sum, NULL));
    return sum;
}

static void the_comparison_notices_every_kind_of_difference(void **state)
{
    test_env *t = *state;
    const tally good = check_spoilt(t, "", 0, NULL);
    assert_int_equal(good.compared, 3);
    assert_int_equal(good.bad, 0);
    assert_int_equal(check_spoilt(t, "grad", 1e-8, NULL).bad, 1);
    assert_int_equal(check_spoilt(t, "grad", NAN, NULL).bad, 1);
    assert_int_equal(check_spoilt(t, "loss", 1e-8, NULL).bad, 1);
    assert_int_equal(check_spoilt(t, "no gradient", 0, NULL).bad, 1);
    assert_int_equal(check_spoilt(t, "extra", 0, NULL).bad, 1);
    assert_int_equal(check_spoilt(t, "", 0, "sharpness").bad, 1);
}

static void files_that_are_no_golden_vectors_are_named(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    assert_fails(clv_loss_check(t->ctx, test_path(t, "none.h5"), CLV_F64, false, NULL, NULL, NULL), CLV_ERR_IO,
                 "none.h5");
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "other.h5"), false, &h5));
    assert_ok(clvi_h5_set_attr_text(h5, "/", "format", "something"));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_loss_check(t->ctx, test_path(t, "other.h5"), CLV_F64, false, NULL, NULL, NULL), CLV_ERR_FORMAT,
                 "expected 'cleave-golden-1'");
    assert_fails(clv_loss_check(t->ctx, FOLDER "info_nce.h5", CLV_U8, false, NULL, NULL, NULL), CLV_ERR_INVALID,
                 "uint8");
}

/* ---- mechanisms: what surrounds the loss ---- */

/* A data set as new memory of the type; the caller frees it. */
static clv_view load(clvi_h5 *h5, const char *group, const char *name, clv_dtype dtype)
{
    char path[256];
    clvi_h5_info info;
    snprintf(path, sizeof path, "%s/%s", group, name);
    assert_ok(clvi_h5_stat(h5, path, &info));
    clv_view view = clv_view_dense(NULL, dtype, info.ndim, info.shape);
    view.data = calloc((size_t)clv_view_count(&view) + 1, clv_dtype_size(dtype));
    assert_ok(clvi_h5_read(h5, path, &view));
    return view;
}

static void assert_close(const clv_view *got, const clv_view *want, double tolerance)
{
    const int64_t n = clv_view_count(want);
    assert_int_equal(clv_view_count(got), n);
    for (int64_t i = 0; i < n; i++) assert_near(((double *)got->data)[i], ((double *)want->data)[i], tolerance);
}

/* "inputs/queue_ptr" */
static clv_view load_part(clvi_h5 *h5, const char *name, const char *group, const char *prefix, const char *part,
                          clv_dtype dtype)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s%s", group, prefix, part);
    return load(h5, name, path, dtype);
}

/* `prefix`: what the file calls the bank, "queue" or "bank". */
static clv_bank *bank_like(test_env *t, clvi_h5 *h5, const char *name, const char *prefix)
{
    clv_bank *bank = NULL;
    char capacity[24], dim[24];
    clv_view queue = load_part(h5, name, "inputs", prefix, "", CLV_F64);
    clv_view ptr = load_part(h5, name, "inputs", prefix, "_ptr", CLV_I64);
    snprintf(capacity, sizeof capacity, "%" PRId64, queue.shape[0]);
    snprintf(dim, sizeof dim, "%" PRId64, queue.shape[1]);
    const clv_option options[] = { { "capacity", capacity }, { "dim", dim }, { "dtype", "float64" },
                                   { "init", "empty" } };
    assert_ok(clv_bank_create(t->ctx, "fifo", options, 4, &bank));
    /* First the whole queue, then ptr rows of it again: the contents stay, the position moves. */
    const int64_t steps = *(int64_t *)ptr.data;
    assert_ok(clv_bank_push(bank, &queue, NULL, NULL));
    clv_view again = queue;
    again.shape[0] = steps;
    assert_ok(clv_bank_push(bank, &again, NULL, NULL));
    assert_int_equal(clv_bank_pointer(bank), steps);
    free(queue.data);
    free(ptr.data);
    return bank;
}

static void the_bank_follows_the_queue_trace(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    char **names = NULL;
    int64_t n = 0, traces = 0;
    assert_ok(clvi_h5_open(t->ctx, FOLDER "moco_queue.h5", &h5));
    assert_ok(clvi_h5_list(h5, "/", false, &n, &names));
    for (int64_t c = 0; c < n; c++) {
        char path[256];
        snprintf(path, sizeof path, "%s/inputs/batch_sizes", names[c]);
        if (!clvi_h5_has(h5, path)) continue;
        clv_bank *bank = bank_like(t, h5, names[c], "queue");
        clv_view keys = load(h5, names[c], "inputs/keys", CLV_F64);
        clv_view sizes = load(h5, names[c], "inputs/batch_sizes", CLV_I64);
        clv_view after = load(h5, names[c], "outputs/queue_after", CLV_F64);
        clv_view ptr = load(h5, names[c], "outputs/queue_ptr_after", CLV_I64);
        clv_view batch = keys, want = clv_view_2d(after.data, CLV_F64, after.shape[1], after.shape[2]);
        for (int64_t step = 0; step < sizes.shape[0]; step++) {
            batch.shape[0] = ((int64_t *)sizes.data)[step];
            assert_ok(clv_bank_push(bank, &batch, NULL, NULL));
            const clv_view rows = clv_bank_rows(bank);
            assert_close(&rows, &want, 0);
            assert_int_equal(clv_bank_pointer(bank), ((int64_t *)ptr.data)[step]);
            batch.data = (double *)batch.data + batch.shape[0] * batch.shape[1];
            want.data = (double *)want.data + want.shape[0] * want.shape[1];
        }
        traces++;
        free(keys.data);
        free(sizes.data);
        free(after.data);
        free(ptr.data);
        clv_bank_destroy(bank);
    }
    assert_true(traces >= 1);
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

/* Keys as the loss sees them: normalised if it normalises. */
static void normalise_rows(clv_view *x, double eps)
{
    const int64_t D = x->shape[1];
    for (int64_t i = 0; i < x->shape[0]; i++) {
        double *row = (double *)x->data + i * D, sum = 0;
        for (int64_t j = 0; j < D; j++) sum += row[j] * row[j];
        for (int64_t j = 0; j < D; j++) row[j] /= fmax(sqrt(sum), eps);
    }
}

/* Pushes what a loss case pushes and compares the bank; returns how many cases there were. */
static int64_t check_what_is_left(test_env *t, const char *file, const char *prefix, const char *pushed)
{
    clvi_h5 *h5 = NULL;
    char **names = NULL;
    int64_t n = 0, cases = 0;
    assert_ok(clvi_h5_open(t->ctx, file, &h5));
    assert_ok(clvi_h5_list(h5, "/", false, &n, &names));
    for (int64_t c = 0; c < n; c++) {
        char path[256];
        int64_t normalize = 0;
        double eps = 0;
        snprintf(path, sizeof path, "%s/%s", names[c], pushed);
        if (!clvi_h5_has(h5, path)) continue;
        assert_ok(clvi_h5_attr_i64(h5, names[c], "normalize", &normalize));
        assert_ok(clvi_h5_attr_f64(h5, names[c], "norm_eps", &eps));
        clv_bank *bank = bank_like(t, h5, names[c], prefix);
        clv_view key = load(h5, names[c], pushed, CLV_F64);
        clv_view after = load_part(h5, names[c], "outputs", prefix, "_after", CLV_F64);
        clv_view ptr = load_part(h5, names[c], "outputs", prefix, "_ptr_after", CLV_I64);
        if (normalize) normalise_rows(&key, eps);
        assert_ok(clv_bank_push(bank, &key, NULL, NULL));
        const clv_view rows = clv_bank_rows(bank);
        assert_close(&rows, &after, 1e-14);
        assert_int_equal(clv_bank_pointer(bank), *(int64_t *)ptr.data);
        cases++;
        free(key.data);
        free(after.data);
        free(ptr.data);
        clv_bank_destroy(bank);
    }
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
    return cases;
}

static void the_bank_holds_what_each_loss_case_leaves_behind(void **state)
{
    assert_true(check_what_is_left(*state, FOLDER "moco_queue.h5", "queue", "inputs/key") >= 5);
    assert_true(check_what_is_left(*state, FOLDER "repulsor.h5", "bank", "outputs/projected") >= 5);
}

static void check_valid_marks(test_env *t, const char *file, const char *name, const char *prefix, const char *pushed)
{
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_open(t->ctx, file, &h5));
    clv_view queue = load_part(h5, name, "inputs", prefix, "", CLV_F64);
    clv_view ptr = load_part(h5, name, "inputs", prefix, "_ptr", CLV_I64);
    clv_view valid = load_part(h5, name, "inputs", prefix, "_valid", CLV_U8);
    clv_view after = load_part(h5, name, "outputs", prefix, "_valid_after", CLV_U8);
    clv_view key = load(h5, name, pushed, CLV_F64);
    clv_bank *bank = NULL;
    char capacity[24], dim[24];
    snprintf(capacity, sizeof capacity, "%" PRId64, queue.shape[0]);
    snprintf(dim, sizeof dim, "%" PRId64, queue.shape[1]);
    const clv_option options[] = { { "capacity", capacity }, { "dim", dim }, { "init", "empty" } };
    assert_ok(clv_bank_create(t->ctx, "fifo", options, 3, &bank));
    queue.shape[0] = *(int64_t *)ptr.data;
    assert_ok(clv_bank_push(bank, &queue, NULL, NULL));
    assert_memory_equal(clv_bank_valid(bank).data, valid.data, (size_t)valid.shape[0]);
    assert_ok(clv_bank_push(bank, &key, NULL, NULL));
    assert_memory_equal(clv_bank_valid(bank).data, after.data, (size_t)valid.shape[0]);
    free(queue.data);
    free(ptr.data);
    free(valid.data);
    free(after.data);
    free(key.data);
    clv_bank_destroy(bank);
    clvi_h5_close(h5);
}

static void valid_marks_follow_the_pushes(void **state)
{
    check_valid_marks(*state, FOLDER "moco_queue.h5", "partly_filled_queue", "queue", "inputs/key");
    check_valid_marks(*state, FOLDER "repulsor.h5", "partly_filled_bank", "bank", "outputs/projected");
}

/* The file leaves out the columns of rows that do not count; the loss gives them, as zeros. */
static void exponents_of_a_partly_filled_bank(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    const char *name = "partly_filled_bank";
    assert_ok(clvi_h5_open(t->ctx, FOLDER "repulsor.h5", &h5));
    clv_view z = load(h5, name, "inputs/z", CLV_F64), bank = load(h5, name, "inputs/bank", CLV_F64);
    clv_view valid = load(h5, name, "inputs/bank_valid", CLV_U8);
    clv_view want = load(h5, name, "outputs/exponents", CLV_F64);
    const int64_t B = z.shape[0], K = bank.shape[0], J = K + B;
    double got[256];
    assert_true(B * J <= 256);
    const clv_option options[] = { { "tau", "0.5" }, { "include-batch", "true" } };   /* and defaults, as the case */
    const clv_loss_tensor in[] = { { "z", z }, { "bank", bank }, { "bank_valid", valid } };
    const clv_loss_tensor out[] = { { "exponents", clv_view_2d(got, CLV_F64, B, J) } };
    clv_loss *loss = NULL;
    assert_ok(clv_loss_create(t->ctx, "repulsor", options, 2, &loss));
    assert_ok(clv_loss_eval(loss, in, 3, NULL, 0, out, 1, NULL));
    for (int64_t b = 0; b < B; b++) {
        const double *next = (const double *)want.data + b * want.shape[1];
        for (int64_t j = 0; j < J; j++) {
            const bool counts = j >= K || ((const uint8_t *)valid.data)[j];
            assert_near(got[b * J + j], counts ? *next++ : 0, 1e-12);
        }
        assert_true(next == (const double *)want.data + (b + 1) * want.shape[1]);
    }
    clv_loss_destroy(loss);
    free(z.data);
    free(bank.data);
    free(valid.data);
    free(want.data);
    clvi_h5_close(h5);
}

static void the_momentum_pass_follows_the_trace(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_open(t->ctx, FOLDER "moco_queue.h5", &h5));
    clv_view k = load(h5, "ema_five_steps", "inputs/theta_k", CLV_F64);
    clv_view q = load(h5, "ema_five_steps", "inputs/theta_q", CLV_F64);
    clv_view m = load(h5, "ema_five_steps", "inputs/momentum", CLV_F64);
    clv_view after = load(h5, "ema_five_steps", "outputs/theta_k_after", CLV_F64);
    const int64_t P = k.shape[0];
    assert_true(m.shape[0] == 5);
    for (int64_t step = 0; step < m.shape[0]; step++) {
        clv_view want = clv_view_1d((double *)after.data + step * P, CLV_F64, P);
        clvi_flat_ema(t->ctx, CLV_F64, P, k.data, (double *)q.data + step * P, ((double *)m.data)[step]);
        assert_close(&k, &want, 1e-14);
    }
    free(k.data);
    free(q.data);
    free(m.data);
    free(after.data);
    clvi_h5_close(h5);
}

/* The file lists the pairs with different labels and marks those that stay; the loss marks them in a matrix. */
static void check_kept_pairs(test_env *t, clvi_h5 *h5, const char *name)
{
    double wisk = 0;
    char text[32];
    clv_loss *loss = NULL;
    assert_ok(clvi_h5_attr_f64(h5, name, "wisk", &wisk));
    snprintf(text, sizeof text, "%.17g", wisk);
    const clv_option options[] = { { "wisk", text } };
    clv_loss_tensor in[] = { { "features", load(h5, name, "inputs/features", CLV_F64) },
                             { "weight", load(h5, name, "inputs/weight", CLV_F64) },
                             { "labels", load(h5, name, "inputs/labels", CLV_I64) } };
    clv_view pairs = load(h5, name, "outputs/neg_pairs", CLV_I64), keep = load(h5, name, "outputs/keep", CLV_U8);
    const int64_t B = in[0].view.shape[0];
    uint8_t *got = calloc((size_t)(B * B), 1), *want = calloc((size_t)(B * B), 1);
    const clv_loss_tensor out = { "pair_keep", clv_view_2d(got, CLV_U8, B, B) };
    assert_ok(clv_loss_create(t->ctx, "unpg", options, 1, &loss));
    assert_ok(clv_loss_eval(loss, in, 3, NULL, 0, &out, 1, NULL));
    for (int64_t i = 0; i < keep.shape[0]; i++) {
        const int64_t *pair = (const int64_t *)pairs.data + 2 * i;
        want[pair[0] * B + pair[1]] = ((uint8_t *)keep.data)[i];
    }
    assert_memory_equal(got, want, (size_t)(B * B));
    clv_loss_destroy(loss);
    for (int i = 0; i < 3; i++) free(in[i].view.data);
    free(pairs.data);
    free(keep.data);
    free(got);
    free(want);
}

static void unpg_keeps_the_pairs_that_are_no_outliers(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    char **names = NULL;
    int64_t n = 0;
    assert_ok(clvi_h5_open(t->ctx, FOLDER "unpg.h5", &h5));
    assert_ok(clvi_h5_list(h5, "/", false, &n, &names));
    assert_true(n >= 6);
    for (int64_t i = 0; i < n; i++) check_kept_pairs(t, h5, names[i]);
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

TEST_MAIN(TEST(float64_reference), TEST(float64_fast), TEST(float32_reference), TEST(float32_fast),
          TEST(every_file_belongs_to_a_loss),
          TEST(the_comparison_notices_every_kind_of_difference),
          TEST(files_that_are_no_golden_vectors_are_named),
          TEST(the_bank_follows_the_queue_trace),
          TEST(the_bank_holds_what_each_loss_case_leaves_behind),
          TEST(valid_marks_follow_the_pushes),
          TEST(exponents_of_a_partly_filled_bank),
          TEST(the_momentum_pass_follows_the_trace),
          TEST(unpg_keeps_the_pairs_that_are_no_outliers))
