/* test_moco.c: what momentum contrast does in a step: directions, shuffling, the order of the bank, running
 * statistics. */
#include "tests/support/rig.h"

#include <math.h>
#include <string.h>

enum { BATCH = RIG_BATCH, DIM = 16, PARAMETERS = 1 << 18 };

#define make(t, ...) rig_make(t, "moco", "moco-k", "64", "weight-decay", "1e-4", __VA_ARGS__)

static void update(rig *r, int64_t total, double lr)
{
    const clvi_step at = { .seed = 5, .total = total, .epoch = (double)total / 4, .lr = lr, .key_momentum = 0.9 };
    assert_ok(clvi_method_update(r->method, &r->batch, &at));
}

static void swap_views(rig *r)
{
    const clv_view first = r->view[0];
    r->view[0] = r->view[1];
    r->view[1] = first;
}

/* Adds the gradient to `sum`; returns how many entries it has. */
static int64_t add_gradient(rig *r, double *sum)
{
    clv_view g;
    assert_ok(clv_params_flat(clvi_method_params(r->method, false), CLV_PARAM_GRADIENT, &g));
    assert_true(clv_view_count(&g) <= PARAMETERS);
    for (int64_t i = 0; i < clv_view_count(&g); i++) sum[i] += ((const float *)g.data)[i];
    return clv_view_count(&g);
}

static void copy_rows(const clv_view *rows, float *out)
{
    assert_true(rows->shape[0] == BATCH && rows->shape[1] == DIM);
    memcpy(out, rows->data, BATCH * DIM * sizeof(float));
}

static void assert_rows_near(const float *a, const float *b, double tolerance)
{
    for (int i = 0; i < BATCH * DIM; i++) assert_near(a[i], b[i], tolerance);
}

/* Buffer `name`, at most 64 entries. */
static int64_t read_buffer(rig *r, bool key, const char *name, float *out)
{
    clv_params *params = clvi_method_params(r->method, key);
    const int64_t i = clv_params_find(params, name);
    clv_param_info info;
    assert_true(i >= 0);
    assert_ok(clv_params_info(params, i, &info));
    assert_true(info.kind == CLV_PARAM_BUFFER && info.ndim == 1 && info.shape[0] <= 64);
    const clv_view view = clv_view_1d(out, CLV_F32, info.shape[0]);
    assert_ok(clv_params_read(params, i, CLV_PARAM_VALUE, &view));
    return info.shape[0];
}

/* ---- directions ---- */

static void a_symmetric_step_is_the_sum_of_its_two_directions(void **state)
{
    test_env *t = *state;
    static double both[PARAMETERS], apart[PARAMETERS];
    rig *s = make(t, "symmetric", "true", "mlp", "true", NULL), *one = make(t, "mlp", "true", NULL),
        *two = make(t, "mlp", "true", NULL);
    memset(both, 0, sizeof both);
    memset(apart, 0, sizeof apart);
    const double loss = rig_forward(s, 0, 0.9).loss;
    const int64_t n = add_gradient(s, both);
    double sum = rig_forward(one, 0, 0.9).loss;
    assert_int_equal(add_gradient(one, apart), n);
    swap_views(two);
    sum += rig_forward(two, 0, 0.9).loss;
    add_gradient(two, apart);
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(apart[i]));
    assert_true(largest > 1e-3);
    for (int64_t i = 0; i < n; i++) assert_near(both[i], apart[i], 1e-6 * largest);
    assert_near(loss, sum, 1e-6 * sum);
    rig_destroy(s);
    rig_destroy(one);
    rig_destroy(two);
}

static void a_symmetric_step_enqueues_the_first_views_keys_and_then_the_seconds(void **state)
{
    test_env *t = *state;
    float first[BATCH * DIM], second[BATCH * DIM];
    rig *s = make(t, "symmetric", "true", NULL), *one = make(t, NULL), *two = make(t, NULL);
    clvi_step_result of_one = rig_forward(one, 0, 0.9);           /* its keys are of the second view */
    copy_rows(&of_one.key, second);
    swap_views(two);
    clvi_step_result of_two = rig_forward(two, 0, 0.9);
    copy_rows(&of_two.key, first);
    const clvi_step_result of_both = rig_forward(s, 0, 0.9);
    update(s, 0, 0.1);
    const clv_view rows = clv_bank_rows(of_both.bank), ids = clv_bank_ids(of_both.bank);
    assert_int_equal(clv_bank_pointer(of_both.bank), 2 * BATCH);
    assert_rows_near(rows.data, first, 1e-6);
    assert_rows_near((const float *)rows.data + BATCH * DIM, second, 1e-6);
    for (int i = 0; i < 2 * BATCH; i++) assert_int_equal(((const int64_t *)ids.data)[i], 1000 + i % BATCH);
    rig_destroy(s);
    rig_destroy(one);
    rig_destroy(two);
}

static void what_the_trainer_looks_at_belongs_to_the_first_direction(void **state)
{
    test_env *t = *state;
    float query[BATCH * DIM], key[BATCH * DIM];
    rig *s = make(t, "symmetric", "true", NULL), *one = make(t, NULL);
    const clvi_step_result of_one = rig_forward(one, 0, 0.9), of_both = rig_forward(s, 0, 0.9);
    copy_rows(&of_one.query, query);
    copy_rows(&of_one.key, key);
    assert_rows_near(of_both.query.data, query, 1e-6);
    assert_rows_near(of_both.key.data, key, 1e-6);
    rig_destroy(s);
    rig_destroy(one);
}

/* ---- shuffling ---- */

static int nearest_row(const float *q, const float *rows)
{
    int nearest = -1;
    double best = -INFINITY;
    for (int j = 0; j < BATCH; j++) {
        double dot = 0;
        for (int d = 0; d < DIM; d++) dot += (double)q[d] * rows[j * DIM + d];
        if (dot > best) nearest = j;
        best = fmax(best, dot);
    }
    return nearest;
}

/* With m = 0 and the same views on both sides, key i is query i, but for the company it had in batch norm: with several
 * groups it is still nearest to query i for most i. Were the rows left in the order of the groups, it would be for
 * one. */
static void keys_come_back_in_the_order_of_the_batch(void **state)
{
    test_env *t = *state;
    enum { STEPS = 4 };
    for (int splits = 1; splits <= 2; splits++) {
        int right = 0;
        rig *r = make(t, "bn-splits", splits == 1 ? "1" : "2", NULL);
        r->view[1] = r->view[0];
        for (int step = 0; step < STEPS; step++) {
            const clvi_step_result result = rig_forward(r, step, 0.0);
            if (splits == 1) assert_rows_near(result.query.data, result.key.data, 1e-5);
            for (int i = 0; i < BATCH; i++)
                right += nearest_row((const float *)result.query.data + i * DIM, result.key.data) == i;
        }
        assert_in_range(right, splits == 1 ? STEPS * BATCH : STEPS * BATCH / 2, STEPS * BATCH);
        rig_destroy(r);
    }
}

static void shuffling_acts_with_several_groups_and_differs_from_step_to_step(void **state)
{
    test_env *t = *state;
    float plain[BATCH * DIM], shuffled[BATCH * DIM], later[BATCH * DIM];
    rig *a = make(t, "bn-splits", "4", "shuffle-bn", "false", NULL), *b = make(t, "bn-splits", "4", NULL);
    clvi_step_result result = rig_forward(a, 0, 1.0);              /* m = 1: the key encoder stands still */
    copy_rows(&result.key, plain);
    result = rig_forward(a, 1, 1.0);
    copy_rows(&result.key, later);
    assert_rows_near(plain, later, 0);
    result = rig_forward(b, 0, 1.0);
    copy_rows(&result.key, shuffled);
    result = rig_forward(b, 1, 1.0);
    copy_rows(&result.key, later);
    double from_plain = 0, from_later = 0;
    for (int i = 0; i < BATCH * DIM; i++) {
        from_plain = fmax(from_plain, fabs(shuffled[i] - plain[i]));
        from_later = fmax(from_later, fabs(shuffled[i] - later[i]));
    }
    assert_true(from_plain > 1e-3 && from_later > 1e-3);
    rig_destroy(a);
    rig_destroy(b);
}

static void with_one_group_keys_are_those_without_shuffling_to_the_bit(void **state)
{
    test_env *t = *state;
    float a[BATCH * DIM], b[BATCH * DIM];
    rig *on = make(t, "shuffle-bn", "true", NULL), *off = make(t, "shuffle-bn", "false", NULL);
    const clvi_step_result x = rig_forward(on, 7, 0.9), y = rig_forward(off, 7, 0.9);
    copy_rows(&x.key, a);
    copy_rows(&y.key, b);
    assert_memory_equal(a, b, sizeof a);
    rig_destroy(on);
    rig_destroy(off);
}

/* ---- running statistics of the key encoder ---- */

static void running_statistics_follow_the_policy(void **state)
{
    test_env *t = *state;
    static const char *const policies[] = { "own", "copy", "average" };
    float key[3][64], query[64], query_before[64], key_before[64], own_update[64];
    for (int p = 0; p < 3; p++) {
        rig *r = make(t, "bn-buffers", policies[p], NULL);
        rig_forward(r, 0, 0.9);
        update(r, 0, 0.0);
        read_buffer(r, false, "bn1.running_mean", query_before);
        read_buffer(r, true, "bn1.running_mean", key_before);
        rig_forward(r, 1, 0.75);
        const int64_t n = read_buffer(r, true, "bn1.running_mean", key[p]);
        read_buffer(r, false, "bn1.running_mean", query);
        /* The key encoder's own pass then moves whatever it started from by a tenth towards this batch's mean. Weights
         * did not move (lr 0), so the batch's mean is the one that the first step saw. */
        for (int64_t i = 0; i < n; i++) {
            if (p == 0) {
                own_update[i] = (float)((key[0][i] - 0.9 * key_before[i]) / 0.1);
                assert_near(key_before[i], 0.1 * own_update[i], 1e-6);        /* from zero, by its own batches alone */
            }
            const double start = p == 0 ? key_before[i] : p == 1 ? query_before[i]
                                                                 : 0.75 * key_before[i] + 0.25 * query_before[i];
            assert_near(key[p][i], 0.9 * start + 0.1 * own_update[i], 1e-6);
        }
        double apart = 0;
        for (int64_t i = 0; i < n; i++) apart = fmax(apart, fabs(query_before[i] - key_before[i]));
        assert_true(apart > 1e-4);                     /* else the policies could not be told apart */
        rig_destroy(r);
    }
}

/* ---- losses ---- */

/* Loss and gradient of three steps (the bank fills in between) must be those of `other`, or must not. */
static void compare_losses(test_env *t, const char *loss, const char *other, int64_t from, bool equal)
{
    static double a[PARAMETERS], b[PARAMETERS];
    rig *one = make(t, "loss", loss, NULL), *two = make(t, "loss", other, NULL);
    double apart = 0, largest = 0;
    for (int64_t step = from; step < from + 3; step++) {
        memset(a, 0, sizeof a);
        memset(b, 0, sizeof b);
        const double x = rig_forward(one, step, 0.9).loss, y = rig_forward(two, step, 0.9).loss;
        const int64_t n = add_gradient(one, a);
        add_gradient(two, b);
        for (int64_t i = 0; i < n; i++) {
            apart = fmax(apart, fabs(a[i] - b[i]));
            largest = fmax(largest, fabs(b[i]));
        }
        if (equal) assert_near(x, y, 1e-6 * fabs(y));
        update(one, step, 0.05);
        update(two, step, 0.05);
    }
    assert_true(largest > 1e-3);
    assert_true(equal ? apart <= 1e-5 * largest : apart > 1e-2 * largest);
    rig_destroy(one);
    rig_destroy(two);
}

static void a_loss_that_adds_nothing_is_moco_queue(void **state)
{
    test_env *t = *state;
    compare_losses(t, "moco_queue", "", 0, true);
    compare_losses(t, "mochi N=16 s=0 s-prime=0", "", 0, true);
    compare_losses(t, "feature_transform target=none", "", 0, true);
    compare_losses(t, "moco_queue weight=0.25; moco_queue weight=0.75", "", 0, true);
    compare_losses(t, "mochi N=16 s=32 s-prime=16", "", 0, false);
    compare_losses(t, "feature_transform", "", 0, false);
    compare_losses(t, "moco_queue weight=2", "", 0, false);
}

static void mochi_mixes_from_the_end_of_its_warm_up_on(void **state)
{
    test_env *t = *state;
    static const char warm[] = "mochi N=16 s=32 s-prime=16 warmup-epochs=2", at_once[] = "mochi N=16 s=32 s-prime=16";
    compare_losses(t, warm, "moco_queue", 5, true);            /* steps 5 to 7 of epochs of four */
    compare_losses(t, warm, at_once, 8, true);
    compare_losses(t, warm, "moco_queue", 8, false);
}

static void feature_transform_moves_from_the_end_of_its_warm_up_on(void **state)
{
    test_env *t = *state;
    static const char *const losses[][2] = {
        { "feature_transform level=batch warmup-epochs=2", "feature_transform level=batch" },
        { "feature_transform level=sample warmup-epochs=2", "feature_transform level=sample" },
        { "feature_transform level=dim warmup-epochs=2", "feature_transform level=dim" },
    };
    for (int i = 0; i < 3; i++) {
        compare_losses(t, losses[i][0], "moco_queue", 5, true);        /* steps 5 to 7 of epochs of four */
        compare_losses(t, losses[i][0], losses[i][1], 8, true);
        compare_losses(t, losses[i][0], "moco_queue", 8, false);
    }
}

static void draws_depend_on_seed_and_step_alone(void **state)
{
    test_env *t = *state;
    static const char *const losses[] = { "mochi N=16 s=32 s-prime=16", "feature_transform" };
    for (int i = 0; i < 2; i++) {
        rig *a = make(t, "loss", losses[i], NULL), *b = make(t, "loss", losses[i], NULL);
        const double first = rig_forward(a, 3, 1.0).loss, second = rig_forward(a, 4, 1.0).loss;
        assert_true(first != second);                          /* m = 1 and no update: only the draws differ */
        assert_true(rig_forward(b, 4, 1.0).loss == second);
        assert_true(rig_forward(b, 3, 1.0).loss == first);
        rig_destroy(a);
        rig_destroy(b);
    }
}

/* The directions of a symmetric step do not share their draws. */
static void both_directions_draw_apart(void **state)
{
    test_env *t = *state;
    rig *s = make(t, "symmetric", "true", "loss", "feature_transform", NULL);
    rig *one = make(t, "loss", "feature_transform", NULL);
    s->view[1] = s->view[0];
    one->view[1] = one->view[0];
    const double both = rig_forward(s, 3, 0.0).loss, single = rig_forward(one, 6, 0.0).loss;     /* number 6 and 7 */
    assert_true(fabs(both - 2 * single) > 1e-6);
    assert_near(both, single + rig_forward(one, 7, 0.0).loss, 1e-5);
    rig_destroy(s);
    rig_destroy(one);
}

static void labels_reach_the_loss_from_a_labelled_bank_only(void **state)
{
    test_env *t = *state;
    static const char mochi[] = "mochi N=8 s=8 s-prime=8", oracle[] = "mochi N=8 s=8 s-prime=8 oracle=true";
    rig *plain = make(t, "loss", mochi, "moco-k", "16", NULL);
    rig *seen = make(t, "loss", mochi, "moco-k", "16", "bank", "labelled", NULL);
    rig *told = make(t, "loss", oracle, "moco-k", "16", "bank", "labelled", NULL);
    for (int step = 0; step < 2; step++) {
        const double a = rig_forward(plain, step, 0.9).loss, b = rig_forward(seen, step, 0.9).loss;
        const double c = rig_forward(told, step, 0.9).loss;
        assert_true(a == b);
        assert_true(step == 0 ? a == c : a > c);
        if (step == 0) {
            update(plain, step, 0.1);
            update(seen, step, 0.1);
            update(told, step, 0.1);
        }
    }
    clvi_metrics m;
    assert_ok(clvi_method_look(plain->method, &plain->batch, &m));
    for (int i = 0; i < m.count; i++) assert_null(strstr(m.at[i].name, "false_negative"));
    assert_in_range(1000 * rig_metric(seen, "mochi/topn_false_negative_rate"), 100, 900);      /* three classes */
    rig_destroy(plain);
    rig_destroy(seen);
    rig_destroy(told);
}

/* With all of the bank of the query's class, nothing is left to tell the key from. */
static void rows_of_a_querys_own_image_or_class_can_be_left_out(void **state)
{
    test_env *t = *state;
    static const char *const cases[][4] = { { "queue-mask", "sample", "bank", "fifo" },
                                            { "queue-mask", "class", "bank", "labelled" } };
    for (int i = 0; i < 2; i++) {
        rig *r = make(t, "queue-init", "empty", cases[i][0], cases[i][1], cases[i][2], cases[i][3], NULL);
        for (int k = 0; k < BATCH; k++) r->ids[k] = r->labels[k] = 7;
        clvi_step at = { .seed = 5, .lr = 0.1, .key_momentum = 0.9 };
        clvi_step_result result;
        for (at.total = 0; at.total < 2; at.total++) {
            assert_ok(clvi_method_forward(r->method, &r->batch, &at, &result));
            assert_near(result.loss, 0, 0);
            update(r, at.total, 0.0);
        }
        for (int k = 0; k < BATCH; k++) r->ids[k] = r->labels[k] = 8;
        assert_true(rig_forward(r, 2, 0.9).loss > 1);
        rig_destroy(r);
    }
}

static void what_a_loss_measures_of_a_step_can_be_looked_at(void **state)
{
    test_env *t = *state;
    static const char two[] = "feature_transform target=none; mochi N=8 s=8 s-prime=8 weight=0.5";
    rig *r = make(t, "loss", two, "bank", "labelled", NULL);
    const double loss = rig_forward(r, 0, 0.9).loss;
    const double positive = rig_metric(r, "feature_transform/score_pos");
    assert_near(rig_metric(r, "feature_transform/loss") + 0.5 * rig_metric(r, "mochi/loss"), loss, 1e-5);
    assert_true(positive > -1 && positive < 1 && fabs(rig_metric(r, "feature_transform/score_neg_mean")) < 1);
    assert_near(rig_metric(r, "mochi/topn_false_negative_rate"), 0, 0);        /* random rows are of no class */
    rig_destroy(r);
}

/* A rig that cannot be made. */
static void assert_refused(test_env *t, const char *loss, const char *bank, const char *what)
{
    rig *r = NULL;
    assert_fails(rig_try_make(t, "moco", loss, RIG_CLASSES, NULL, &r, "bank", bank, NULL), CLV_ERR_INVALID, what);
    assert_null(r->method);
    rig_destroy(r);
}

static void a_loss_that_makes_no_sense_is_refused_with_what_would(void **state)
{
    test_env *t = *state;
    assert_refused(t, "mocchi", "fifo", "did you mean 'mochi'");
    assert_refused(t, "nt_xent", "fifo", "method 'moco' cannot take the loss nt_xent; it takes moco_queue, mochi, "
                                         "feature_transform");
    assert_refused(t, "mochi n=5", "fifo", "loss 'mochi': no option 'n'");
    assert_refused(t, "mochi s-prim=5", "fifo", "did you mean 's-prime'");
    assert_refused(t, "mochi s=-5", "fifo", "s");
    assert_refused(t, "mochi s", "fifo", "'s' is not option=value");
    assert_refused(t, "mochi s=5 s=6", "fifo", "s is set twice");
    assert_refused(t, "mochi weight=x", "fifo", "weight must be a number, is 'x'");
    assert_refused(t, "mochi temperature=0.1", "fifo", "temperature is the setting moco-t");
    assert_refused(t, "mochi seed=1", "fifo", "seed is the setting of the run");
    assert_refused(t, "mochi epoch=1", "fifo", "epoch is the run's");
    assert_refused(t, "mochi oracle=true", "fifo", "needs labels, and so bank 'labelled'");
    assert_refused(t, "moco_queue; moco_queue; moco_queue; moco_queue; mochi", "fifo", "more than 4 losses");
}

TEST_MAIN(TEST(a_symmetric_step_is_the_sum_of_its_two_directions),
          TEST(a_symmetric_step_enqueues_the_first_views_keys_and_then_the_seconds),
          TEST(what_the_trainer_looks_at_belongs_to_the_first_direction),
          TEST(keys_come_back_in_the_order_of_the_batch),
          TEST(shuffling_acts_with_several_groups_and_differs_from_step_to_step),
          TEST(with_one_group_keys_are_those_without_shuffling_to_the_bit), TEST(running_statistics_follow_the_policy),
          TEST(a_loss_that_adds_nothing_is_moco_queue), TEST(mochi_mixes_from_the_end_of_its_warm_up_on),
          TEST(feature_transform_moves_from_the_end_of_its_warm_up_on),
          TEST(draws_depend_on_seed_and_step_alone), TEST(both_directions_draw_apart),
          TEST(labels_reach_the_loss_from_a_labelled_bank_only),
          TEST(rows_of_a_querys_own_image_or_class_can_be_left_out),
          TEST(what_a_loss_measures_of_a_step_can_be_looked_at),
          TEST(a_loss_that_makes_no_sense_is_refused_with_what_would))
