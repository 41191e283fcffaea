/* test_parts.c: a batch that is computed in parts has the loss, the gradient and the running statistics of one that is
 * computed as a whole with as many groups of batch norm; for every method of the registry and every loss it takes. */
#include "tests/support/rig.h"
#include "tests/support/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };

static float *read_values(clv_params *params, int64_t i, clv_param_part part, int64_t *count, clv_param_info *info)
{
    static float values[2][MOST];
    static int turn;
    turn = 1 - turn;
    assert_ok(clv_params_info(params, i, info));
    clv_view view = clv_view_dense(values[turn], CLV_F32, info->ndim, info->shape);
    *count = clv_view_count(&view);
    assert_true(*count <= MOST);
    assert_ok(clv_params_read(params, i, part, &view));
    return values[turn];
}

/* Largest difference of a tensor, relative to its largest value; `floor` is what is small: biases before batch norm
 * have a gradient of nothing but rounding. */
static void same_tensors(clv_params *a, clv_params *b, clv_param_part part, double floor, double tolerance,
                         const char *what)
{
    for (int64_t i = 0; i < clv_params_count(a); i++) {
        clv_param_info info;
        int64_t count = 0;
        double most = 0, apart = 0;
        assert_ok(clv_params_info(a, i, &info));
        if (part == CLV_PARAM_GRADIENT && info.kind != CLV_PARAM_TRAINABLE) continue;
        const float *x = read_values(a, i, part, &count, &info), *y = read_values(b, i, part, &count, &info);
        for (int64_t k = 0; k < count; k++) {
            most = fmax(most, fabs(x[k]));
            apart = fmax(apart, fabs((double)x[k] - y[k]));
        }
        if (apart > tolerance * fmax(most, floor))
            fail_msg("%s: %s '%s' differs by %g of %g", what, part == CLV_PARAM_GRADIENT ? "gradient" : "value",
                     info.name, apart, most);
    }
}

static rig *make(test_env *t, const char *method, const char *loss, const char *micro, const char *name,
                 const char *value)
{
    rig *r = NULL;
    assert_ok(rig_try_make(t, method, loss, RIG_CLASSES, NULL, &r, "bn-splits", "4", "micro-batch-size", micro, name,
                           value, NULL));
    return r;
}

static void update(rig *r, int64_t total)
{
    const clvi_step at = { .seed = 5, .total = total, .lr = 0.02, .key_momentum = 0.9 };
    assert_ok(clvi_method_update(r->method, &r->batch, &at));
}

/* Two steps: the second starts from weights, statistics and bank that the first left. */
static void compare(test_env *t, const char *method, const char *loss, const char *name, const char *value)
{
    static const char *const sizes[] = { "4", "8" };           /* of one group, of two */
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        char what[256];
        snprintf(what, sizeof what, "%s, %s, parts of %s", method, loss, sizes[k]);
        rig *whole = make(t, method, loss, "0", name, value), *parts = make(t, method, loss, sizes[k], name, value);
        for (int step = 0; step < 2; step++) {
            const clvi_step_result a = rig_forward(whole, step, 0.9), b = rig_forward(parts, step, 0.9);
            if (fabs(a.loss - b.loss) > 2e-5 * fmax(1, fabs(a.loss))) fail_msg("%s: loss %g, %g", what, a.loss, b.loss);
            same_tensors(whole->method->params, parts->method->params, CLV_PARAM_GRADIENT, 1e-2 * a.grad_norm,
                         step ? 1e-2 : 1e-3, what);
            for (int64_t i = 0; i < RIG_BATCH * whole->method->dim; i++)
                assert_near(((const float *)a.query.data)[i], ((const float *)b.query.data)[i], step ? 2e-3 : 1e-4);
            update(whole, step);
            update(parts, step);
            for (int key = 0; key < 2; key++) {
                clv_params *pa = clvi_method_params(whole->method, key), *pb = clvi_method_params(parts->method, key);
                if (pa) same_tensors(pa, pb, CLV_PARAM_VALUE, 1e-3, 1e-3, what);
            }
        }
        rig_destroy(whole);
        rig_destroy(parts);
    }
}

static void every_method_and_loss_has_the_gradient_of_the_whole_batch(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = clvi_method_at(i)); i++) {
        for (const clvi_takes *takes = cls->takes; takes->loss; takes++) {
            char text[128];
            rig_loss_text(takes, text, sizeof text);
            compare(t, cls->info.name, text, NULL, NULL);
        }
    }
}

static void so_has_what_only_some_methods_do(void **state)
{
    test_env *t = *state;
    compare(t, "moco", "", "symmetric", "true");
    compare(t, "moco", "", "shuffle-bn", "false");
    compare(t, "moco", "", "bn-buffers", "average");
    compare(t, "moco", "mochi", "bank", "labelled");
    compare(t, "simclr", "", "recompute", "true");
    compare(t, "supervised", "cross_entropy; repulsor weight=0.5", "queue-dim", "8");
    compare(t, "supervised", "arcface; opl weight=0.5", NULL, NULL);
}

/* What is dropped is drawn for the row of the batch, not of the part. `set`: ten names and values. */
static void compare_dropped(test_env *t, const char *method, const char *const set[10])
{
    rig *whole = NULL, *parts = NULL;
    for (int k = 0; k < 2; k++)
        assert_ok(rig_try_make(t, method, "", RIG_CLASSES, NULL, k ? &parts : &whole, set[0], set[1], set[2], set[3],
                               set[4], set[5], set[6], set[7], set[8], set[9], "micro-batch-size", k ? "4" : "0",
                               NULL));
    for (int step = 0; step < 2; step++) {
        const clvi_step_result a = rig_forward(whole, step, 0.9), b = rig_forward(parts, step, 0.9);
        assert_near(a.loss, b.loss, 1e-4 * fabs(a.loss));
        same_tensors(whole->method->params, parts->method->params, CLV_PARAM_GRADIENT, 1e-2 * a.grad_norm, 1e-3,
                     set[1]);
    }
    same_tensors(whole->method->params, parts->method->params, CLV_PARAM_VALUE, 1e-3, 1e-5, set[1]);
    rig_destroy(whole);
    rig_destroy(parts);
}

/* Views apart (barlow) or together (supcon, which has no batch norm). */
static void dropped_paths_are_those_of_the_whole_batch(void **state)
{
#define PATHS "arch", "vit_small", "width", "48", "patch", "8", "drop-path", "0.5"
    compare_dropped(*state, "barlow", (const char *const[]){ PATHS, "bn-splits", "4" });
    compare_dropped(*state, "supcon", (const char *const[]){ PATHS, "bn-splits", "1" });
}

static void so_are_dropped_values_and_squares(void **state)
{
    compare_dropped(*state, "supervised", (const char *const[]){ "arch", "resnet12", "width", "4", "dropout", "0.3",
                                                                 "drop-block", "2", "bn-splits", "4" });
    compare_dropped(*state, "supervised", (const char *const[]){ "arch", "iresnet18", "width", "4", "dropout", "0.4",
                                                                 "moco-dim", "16", "bn-splits", "4" });
}

static void less_is_in_memory_at_once(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = clvi_method_at(i)); i++) {
        clvi_method_bytes whole, parts;
        rig *a = make(t, cls->info.name, "", "0", NULL, NULL), *b = make(t, cls->info.name, "", "4", NULL, NULL);
        assert_ok(clvi_method_memory(a->method, &whole));
        assert_ok(clvi_method_memory(b->method, &parts));
        if (parts.activations > 0.5 * (double)whole.activations)
            fail_msg("%s: %zu bytes, %zu in parts", cls->info.name, whole.activations, parts.activations);
        rig_destroy(a);
        rig_destroy(b);
    }
}

static void what_cannot_be_divided_is_refused(void **state)
{
    test_env *t = *state;
    static const struct {
        const char *micro, *splits, *message;
    } cases[] = {
        { "5", "1", "16 images (batch-size 16 on 1 rank) are no multiple of micro-batch-size 5" },
        { "4", "2", "bn-splits 2 is no multiple of the 4 parts that a batch is computed in" },
        { "4", "5", "batch-size 16 is no multiple of bn-splits 5" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rig *r = NULL;
        assert_fails(rig_try_make(t, "simclr", "", RIG_CLASSES, NULL, &r, "micro-batch-size", cases[i].micro,
                                  "bn-splits", cases[i].splits, NULL), CLV_ERR_INVALID, cases[i].message);
        rig_destroy(r);
    }
}

static void batch_norm_over_ranks_is_refused_where_it_gives_keys_away(void **state)
{
    test_env *t = *state;
    rig *r = NULL;
    assert_fails(rig_try_make(t, "moco", "", RIG_CLASSES, NULL, &r, "sync-bn", "on", NULL), CLV_ERR_INVALID,
                 "sync-bn with a memory bank");
    rig_destroy(r);
    assert_ok(rig_try_make(t, "moco", "", RIG_CLASSES, NULL, &r, "sync-bn", "force", NULL));
    rig_destroy(r);
    assert_fails(rig_try_make(t, "simclr", "", RIG_CLASSES, NULL, &r, "sync-bn", "on", "bn-splits", "4", NULL),
                 CLV_ERR_INVALID, "sync-bn and bn-splits 4 contradict each other");
    rig_destroy(r);
}

/* ---- runs ---- */

/* A run in parts is a run with as many groups, says so in its checkpoint, and can be gone on with as one. */
static void a_run_in_parts_goes_on_as_a_whole(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    assert_ok(test_run(t, test_run_config(t, "run", "micro-batch-size", "4", "stop-epoch", "1", NULL), NULL, NULL));
    clv_config *config = test_run_config(t, "run", "resume", "auto", NULL);
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID,
                 "was made with bn-splits '4', this run says '1'");
    clv_config_destroy(config);
    assert_ok(test_run(t, test_run_config(t, "run", "resume", "auto", "bn-splits", "4", NULL), NULL, NULL));
}

static bool stops(const clv_progress *p, void *user)
{
    const int64_t *at = user;
    return p->kind != CLV_PROGRESS_STEP || p->total_step != *at;
}

static void a_run_in_parts_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    int64_t at = 7;
    assert_ok(test_run(t, test_run_config(t, "a", "micro-batch-size", "4", NULL), NULL, NULL));
    assert_int_equal(test_run(t, test_run_config(t, "b", "micro-batch-size", "4", NULL), stops, &at), CLV_STOPPED);
    assert_ok(test_run(t, test_run_config(t, "b", "micro-batch-size", "4", "resume", "auto", NULL), NULL, NULL));
    assert_true(test_same_file(t, "a/last.h5", "b/last.h5"));
}

TEST_MAIN(TEST(every_method_and_loss_has_the_gradient_of_the_whole_batch), TEST(so_has_what_only_some_methods_do),
          TEST(dropped_paths_are_those_of_the_whole_batch), TEST(so_are_dropped_values_and_squares),
          TEST(less_is_in_memory_at_once),
          TEST(what_cannot_be_divided_is_refused), TEST(batch_norm_over_ranks_is_refused_where_it_gives_keys_away),
          TEST(a_run_in_parts_goes_on_as_a_whole),
          TEST(a_run_in_parts_goes_on_to_the_same_bits))
