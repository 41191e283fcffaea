/* test_dry_run.c: the memory a dry run tells, arena by arena, is what training takes. */
#include "tests/support/train.h"
#include "train/trainer.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

/* Counts the arenas: what is asked for with the alignment of a page. They are there until the run is over. */
typedef struct meter {
    atomic_size_t taken;
} meter;

static void *take(size_t size, size_t alignment, void *user)
{
    meter *m = user;
    if (alignment == PAGE && size > 1) atomic_fetch_add(&m->taken, size);      /* 1: nothing, but an address */
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void give(void *memory, size_t size, void *user)
{
    (void)size, (void)user;
    free(memory);
}

typedef struct told {
    size_t parameters, gradients, optimizer, activations, bank, loader, all;
    int    lines;
} told;

static void find(const char *text, void *user)
{
    told *t = user;
    if (strncmp(text, "memory in bytes:", 16) != 0) return;
    t->lines++;
    assert_int_equal(sscanf(text, "memory in bytes: parameters %zu, gradients %zu, optimiser %zu, activations %zu, bank "
                            "%zu, loader %zu; in all %zu", &t->parameters, &t->gradients, &t->optimizer,
                            &t->activations, &t->bank, &t->loader, &t->all), 7);
}

/* Makes one step: arenas must take what was told before. The figures of a logged step are no part of it. */
static void step(test_env *t, const char *name, const char *value, told *out)
{
    meter m = { 0 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    clv_trainer *trainer = NULL;
    clv_batch batch;
    desc.threads = 1;
    desc.allocator = (clv_allocator){ take, give, &m };
    assert_ok(clv_context_create(&desc, &ctx));
    clv_config *config = test_run_config(t, "run", name, value, NULL);
    assert_ok(clv_trainer_create(ctx, config, NULL, NULL, &trainer));
    clv_config_destroy(config);
    *out = (told){ .lines = 0 };
    assert_ok(clv_trainer_describe(trainer, find, out));
    assert_int_equal(out->lines, 1);
    assert_true(m.taken < out->all);                   /* nothing of the activations yet */
    const clvi_step at = { .seed = 1, .lr = 0.1, .key_momentum = 0.9 };
    clvi_step_result result;
    assert_ok(clv_loader_next(trainer->loader, &batch));
    assert_ok(clvi_method_forward(trainer->method, &batch, &at, &result));
    assert_ok(clvi_method_update(trainer->method, &batch, &at));
    assert_int_equal(m.taken, out->all);
    clv_trainer_destroy(trainer);
    clv_context_destroy(ctx);
}

static void what_is_told_is_what_is_taken(void **state)
{
    test_env *t = *state;
    told plain, symmetric, half, one, again, parts, average, groups;
    step(t, "symmetric", "false", &plain);
    assert_int_equal(plain.all, plain.parameters + plain.gradients + plain.optimizer + plain.activations + plain.bank +
                                    plain.loader);
    assert_int_equal(plain.bank, 64 * 16 * sizeof(float));
    assert_int_equal(plain.loader, 3 * 2 * 16 * 16 * 16 * sizeof(float));   /* one at work, two ahead; two views */
    step(t, "symmetric", "true", &symmetric);
    assert_int_equal(symmetric.gradients, 2 * plain.gradients);
    step(t, "moco-queue-dtype", "bfloat16", &half);
    assert_int_equal(2 * half.bank, plain.bank);
    step(t, "workers", "0", &one);
    assert_int_equal(3 * one.loader, plain.loader);
    step(t, "recompute", "true", &again);
    assert_true(again.activations < 0.9 * (double)plain.activations);
    step(t, "ema-decay", "0.9", &average);
    assert_true(average.parameters > plain.parameters);
    step(t, "bn-splits", "4", &groups);                  /* the momentum encoder's images in another order */
    assert_true(groups.activations >= plain.activations + 16 * 16 * 16 * sizeof(float));
    step(t, "micro-batch-size", "4", &parts);
    assert_true(parts.activations < 0.5 * (double)plain.activations && parts.all < plain.all);
}

/* Bytes that a run of one epoch takes beside its steps: for what it looks at. */
static size_t looked_at(test_env *t, const char *micro)
{
    meter m = { 0 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    told steps;
    char run[64];
    step(t, "micro-batch-size", micro, &steps);
    desc.threads = 1;
    desc.allocator = (clv_allocator){ take, give, &m };
    assert_ok(clv_context_create(&desc, &ctx));
    snprintf(run, sizeof run, "micro-%s", micro);
    assert_ok(test_run_in(ctx, test_run_config(t, run, "epochs", "1", "micro-batch-size", micro, NULL), NULL, NULL));
    clv_context_destroy(ctx);
    assert_true(m.taken > steps.all);
    return m.taken - steps.all;
}

static void what_a_run_looks_at_takes_no_more_than_its_parts(void **state)
{
    test_env *t = *state;
    const size_t whole = looked_at(t, "0"), parts = looked_at(t, "4");
    assert_true((double)parts < 0.7 * (double)whole);        /* the figures of a logged step are as large in both */
}

static void recomputing_changes_no_weight(void **state)
{
    test_env *t = *state;
    static float rows[2][160 * 64];
    clv_dataset *ds = NULL;
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", NULL), NULL, NULL));
    assert_ok(test_run(t, test_run_config(t, "b", "epochs", "1", "recompute", "true", NULL), NULL, NULL));
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
    for (int i = 0; i < 2; i++) {
        clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
        clv_encoder *e = NULL;
        desc.checkpoint = test_path(t, i ? "b/last.h5" : "a/last.h5");
        desc.batch_size = 16;
        assert_ok(clv_encoder_open(t->ctx, &desc, &e));
        const clv_view view = clv_view_2d(rows[i], CLV_F32, 160, clv_encoder_dim(e));
        assert_ok(clv_encoder_embed(e, ds, 0, 160, &view, NULL, NULL));
        clv_encoder_destroy(e);
    }
    clv_dataset_destroy(ds);
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
}

TEST_MAIN(TEST(what_is_told_is_what_is_taken), TEST(what_a_run_looks_at_takes_no_more_than_its_parts),
          TEST(recomputing_changes_no_weight))
