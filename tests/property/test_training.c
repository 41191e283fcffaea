/* test_training.c: what a run computes depends on configuration, data and seed alone, and a step takes no memory. */
#include "tests/support/train.h"
#include "core/context.h"
#include "core/h5.h"
#include "train/optimizers/optimizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the same bits ---- */

static void the_number_of_workers_changes_no_bit(void **state)
{
    test_env *t = *state;
    static const char *const workers[] = { "0", "1", "2", "7" };
    for (int i = 0; i < 4; i++)
        assert_ok(test_run(t, test_run_config(t, workers[i], "workers", workers[i], NULL), NULL, NULL));
    for (int i = 1; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s/last.h5", workers[i]);
        assert_true(test_same_file(t, "0/last.h5", name));
    }
}

static void batches_made_ahead_change_no_bit(void **state)
{
    test_env *t = *state;
    assert_ok(test_run(t, test_run_config(t, "a", "workers", "2", "prefetch", "1", NULL), NULL, NULL));
    assert_ok(test_run(t, test_run_config(t, "b", "workers", "2", "prefetch", "5", NULL), NULL, NULL));
    assert_true(test_same_file(t, "a/last.h5", "b/last.h5"));
}

static void two_runs_with_the_same_seed_and_threads_are_equal_to_the_bit(void **state)
{
    test_env *t = *state;
    for (int threads = 1; threads <= 2; threads++) {
        clv_context *ctx = test_context(t, threads);
        char a[8], b[8], file_a[32], file_b[32];
        snprintf(a, sizeof a, "a%d", threads);
        snprintf(b, sizeof b, "b%d", threads);
        snprintf(file_a, sizeof file_a, "%s/last.h5", a);
        snprintf(file_b, sizeof file_b, "%s/last.h5", b);
        assert_ok(test_run_in(ctx, test_run_config(t, a, "bn-splits", "2", "epochs", "1", NULL), NULL, NULL));
        assert_ok(test_run_in(ctx, test_run_config(t, b, "bn-splits", "2", "epochs", "1", NULL), NULL, NULL));
        assert_true(test_same_file(t, file_a, file_b));
        clv_context_destroy(ctx);
    }
}

static void another_seed_gives_another_network(void **state)
{
    test_env *t = *state;
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", NULL), NULL, NULL));
    assert_ok(test_run(t, test_run_config(t, "b", "epochs", "1", "seed", "6", NULL), NULL, NULL));
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    float *rows[2];
    desc.batch_size = 32;
    desc.layer = CLV_LAYER_EMBEDDING;
    for (int i = 0; i < 2; i++) {
        clv_encoder *encoder = NULL;
        clv_dataset *ds = NULL;
        desc.checkpoint = test_path(t, i ? "b" : "a");
        assert_ok(clv_encoder_open(t->ctx, &desc, &encoder));
        assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
        rows[i] = calloc(160 * 16, sizeof(float));
        assert_non_null(rows[i]);
        const clv_view features = clv_view_2d(rows[i], CLV_F32, 160, 16);
        assert_ok(clv_encoder_embed(encoder, ds, 0, 160, &features, NULL, NULL));
        clv_dataset_destroy(ds);
        clv_encoder_destroy(encoder);
    }
    int different = 0;
    for (int i = 0; i < 160; i++) different += memcmp(rows[0] + 16 * i, rows[1] + 16 * i, 16 * sizeof(float)) != 0;
    assert_int_equal(different, 160);
    free(rows[0]);
    free(rows[1]);
}

/* ---- stopping and going on ---- */

typedef struct stop_at {
    int64_t step;          /* total step to stop after */
    double  lr[64];        /* by total step, from 1 */
} stop_at;

static bool stops(const clv_progress *p, void *user)
{
    stop_at *s = user;
    if (p->kind != CLV_PROGRESS_STEP) return true;
    assert_true(p->total_step < 64);
    s->lr[p->total_step] = p->lr;
    return p->total_step != s->step;
}

static void a_run_stopped_anywhere_and_resumed_ends_with_the_same_bits(void **state)
{
    test_env *t = *state;
    stop_at whole = { .step = -1 };
    assert_ok(test_run(t, test_run_config(t, "whole", "symmetric", "true", NULL), stops, &whole));
    static const int64_t steps[] = { 1, 10, 13 };      /* 10: the boundary of the epochs */
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char name[16], file[32];
        snprintf(name, sizeof name, "cut%d", (int)steps[i]);
        snprintf(file, sizeof file, "%s/last.h5", name);
        stop_at cut = { .step = steps[i] };
        assert_int_equal(test_run(t, test_run_config(t, name, "symmetric", "true", NULL), stops, &cut), CLV_STOPPED);
        cut.step = -1;
        assert_ok(test_run(t, test_run_config(t, name, "symmetric", "true", "resume", "auto", "workers", "3", NULL),
                           stops, &cut));
        assert_true(test_same_file(t, "whole/last.h5", file));
        assert_memory_equal(whole.lr, cut.lr, sizeof cut.lr);
    }
}

/* The momentum encoder follows for the next step at once, unless a checkpoint is due between the two. */
static void a_checkpoint_says_whether_the_momentum_encoder_is_ahead(void **state)
{
    test_env *t = *state;
    static const struct {
        int64_t     stop;
        const char *directory, *save_steps;
        bool        ahead;
    } cases[] = { { 7, "stopped", "0", true }, { 7, "saved", "7", false }, { 10, "epoch", "0", false } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stop_at at = { .step = cases[i].stop };
        char file[32];
        clvi_h5 *h5 = NULL;
        snprintf(file, sizeof file, "%s/last.h5", cases[i].directory);
        assert_int_equal(test_run(t, test_run_config(t, cases[i].directory, "save-steps", cases[i].save_steps, NULL),
                                  stops, &at), CLV_STOPPED);
        assert_ok(clvi_h5_open(t->ctx, test_path(t, file), &h5));
        assert_int_equal(clvi_h5_has_attr(h5, "key_model", "ahead"), cases[i].ahead);
        clvi_h5_close(h5);
    }
}

static void a_run_with_a_bfloat16_queue_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    static const char key[] = "moco-queue-dtype", half[] = "bfloat16";
    stop_at whole = { .step = -1 }, cut = { .step = 7 };
    assert_ok(test_run(t, test_run_config(t, "whole", key, half, "epochs", "1", NULL), stops, &whole));
    assert_int_equal(test_run(t, test_run_config(t, "cut", key, half, "epochs", "1", NULL), stops, &cut), CLV_STOPPED);
    cut.step = -1;
    assert_ok(test_run(t, test_run_config(t, "cut", key, half, "epochs", "1", "resume", "auto", NULL), stops, &cut));
    assert_true(test_same_file(t, "whole/last.h5", "cut/last.h5"));
}

/* Draws and warm-up go on where they were: 7 lies in the warm-up of an epoch, 13 after it. */
static void a_run_whose_loss_draws_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    static const char *const losses[] = { "mochi N=16 s=8 s-prime=4 warmup-epochs=1", "feature_transform" };
    static const int64_t steps[] = { 7, 13 };
    for (int i = 0; i < 2; i++) {
        char whole[16], cut[16], files[2][32];
        snprintf(whole, sizeof whole, "whole%d", i);
        snprintf(cut, sizeof cut, "cut%d", i);
        snprintf(files[0], sizeof files[0], "%s/last.h5", whole);
        snprintf(files[1], sizeof files[1], "%s/last.h5", cut);
        stop_at never = { .step = -1 }, stop = { .step = steps[i] };
        assert_ok(test_run(t, test_run_config(t, whole, "loss", losses[i], NULL), stops, &never));
        assert_int_equal(test_run(t, test_run_config(t, cut, "loss", losses[i], NULL), stops, &stop), CLV_STOPPED);
        stop.step = -1;
        assert_ok(test_run(t, test_run_config(t, cut, "loss", losses[i], "resume", "auto", NULL), stops, &stop));
        assert_true(test_same_file(t, files[0], files[1]));
    }
}

/* The state of every optimiser is in a checkpoint, and tensors' norms do not depend on who adds them up. */
static void every_optimizer_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    for (int i = 0; clvi_optimizer_at(i); i++) {
        const char *name = clvi_optimizer_at(i)->info.name;
        char cut[32], files[2][48];
        snprintf(cut, sizeof cut, "cut-%s", name);
        snprintf(files[0], sizeof files[0], "%s/last.h5", name);
        snprintf(files[1], sizeof files[1], "%s/last.h5", cut);
        for (int part = 0; part < 3; part++) {        /* all of it; its beginning; its end */
            stop_at at = { .step = part == 1 ? 7 : -1 };
            clv_config *config = test_run_config(t, part ? cut : name, "optimizer", name, "epochs", "1", "clip-grad",
                                                 "0.5", "resume", part == 2 ? "auto" : "", NULL);
            assert_int_equal(test_run(t, config, stops, &at), part == 1 ? CLV_STOPPED : CLV_OK);
        }
        assert_true(test_same_file(t, files[0], files[1]));
    }
}

static void a_finished_run_that_is_resumed_does_nothing(void **state)
{
    test_env *t = *state;
    stop_at seen = { .step = -1 };
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", NULL), NULL, NULL));
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", "resume", "auto", NULL), stops, &seen));
    for (int i = 0; i < 64; i++) assert_near(seen.lr[i], 0.0, 0.0);
}

static void stop_epoch_keeps_the_horizon_of_the_schedule(void **state)
{
    test_env *t = *state;
    stop_at whole = { .step = -1 }, first = whole, shorter = whole;
    assert_ok(
        test_run(t, test_run_config(t, "whole", "epochs", "4", "knn-freq", "0", "knn-k", "200", NULL), stops, &whole));
    assert_ok(
        test_run(t, test_run_config(t, "part", "epochs", "4", "stop-epoch", "2", "knn-freq", "0", "knn-k", "200", NULL),
                 stops, &first));
    assert_ok(test_run(t, test_run_config(t, "short", "epochs", "2", "knn-freq", "0", "knn-k", "200", NULL), stops,
                       &shorter));
    assert_memory_equal(first.lr, whole.lr, 21 * sizeof(double));       /* two epochs of ten steps */
    assert_near(first.lr[21], 0.0, 0.0);
    assert_near(whole.lr[20], 0.05 * 0.5 * (1 + 0.70710678118654752), 1e-15);
    assert_near(shorter.lr[20], 0.025, 1e-15);
    assert_ok(
        test_run(t, test_run_config(t, "part", "epochs", "4", "resume", "auto", "knn-freq", "0", "knn-k", "200", NULL),
                 stops, &first));
    assert_memory_equal(first.lr, whole.lr, 41 * sizeof(double));
}

/* ---- memory ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 0     /* the sanitizer has its own */
#else
#define COUNTS_MALLOC 1
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
#endif

static atomic_long mallocs;     /* of any library of this process */

#if COUNTS_MALLOC
void *malloc(size_t size)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_realloc(memory, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    atomic_fetch_add(&mallocs, 1);
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_memalign(alignment, size);
}
#endif

typedef struct steps_memory {
    test_env *env;
    uint64_t  blocks;            /* of the library, at the last step */
    long      calls, mallocs;    /* of the context's allocator; of the process */
    int64_t   compared;
} steps_memory;

static bool counts(const clv_progress *p, void *user)
{
    steps_memory *m = user;
    if (p->kind != CLV_PROGRESS_STEP) return true;
    if (p->step > 1 && p->total_step > 2) {      /* the first steps make what the monitor and the log need */
        assert_int_equal(clvi_alloc_count(), m->blocks);
        assert_int_equal(m->env->heap.calls, m->calls);
        if (mallocs != m->mallocs)
            fail_msg("%ld calls of malloc in step %d", mallocs - m->mallocs, (int)p->total_step);
        m->compared++;
    }
    m->blocks = clvi_alloc_count();
    m->calls = m->env->heap.calls;
    m->mallocs = mallocs;
    return true;
}

static void a_step_allocates_nothing(void **state)
{
    test_env *t = *state;
    static const char *const variants[][4] = {
        { "workers", "0", "bn-splits", "1" },      { "workers", "2", "bn-splits", "4" },
        { "symmetric", "true", "mlp", "true" },    { "bn-buffers", "average", "queue-init", "empty" },
        { "bn-buffers", "copy", "nesterov", "true" }, { "moco-queue-dtype", "bfloat16", "workers", "1" },
        { "loss", "mochi N=16 s=8 s-prime=4", "bank", "labelled" }, { "loss", "feature_transform", "workers", "1" },
    };
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        const char *const *v = variants[i];
        char name[8];
        snprintf(name, sizeof name, "r%d", (int)i);
        steps_memory memory = { .env = t };
        const long before = mallocs;
        clv_config *config = test_run_config(t, name, "print-freq", "2", v[0], v[1], v[2], v[3], NULL);
        assert_ok(i == 0 ? test_run_in(t->ctx, config, counts, &memory) : test_run(t, config, counts, &memory));
        assert_int_equal(memory.compared, 17);       /* 8 steps of the first epoch, 9 of the second */
        if (COUNTS_MALLOC) assert_true(mallocs > before);
    }
}

TEST_MAIN(TEST(the_number_of_workers_changes_no_bit), TEST(batches_made_ahead_change_no_bit),
          TEST(two_runs_with_the_same_seed_and_threads_are_equal_to_the_bit), TEST(another_seed_gives_another_network),
          TEST(a_run_stopped_anywhere_and_resumed_ends_with_the_same_bits),
          TEST(a_checkpoint_says_whether_the_momentum_encoder_is_ahead),
          TEST(a_run_with_a_bfloat16_queue_goes_on_to_the_same_bits),
          TEST(a_run_whose_loss_draws_goes_on_to_the_same_bits), TEST(every_optimizer_goes_on_to_the_same_bits),
          TEST(a_finished_run_that_is_resumed_does_nothing),
          TEST(stop_epoch_keeps_the_horizon_of_the_schedule), TEST(a_step_allocates_nothing))
