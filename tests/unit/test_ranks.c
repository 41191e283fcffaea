/* test_ranks.c: a batch spread over ranks has the loss, the gradient and the update of the batch on one, for every
 * method of the registry and every loss it takes (on 4 ranks each method's own). The program starts itself on 2 and on
 * 4 ranks with mpirun; those leave in files what they computed. Skipped where there is no MPI. */
#include "tests/support/child.h"
#include "tests/support/rig.h"
#include "core/checked.h"
#include "tensor/params.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 2, MOST = 1 << 18, LIMIT = 50 };     /* LIMIT: seconds of each number of ranks */

/* What a case came to on the first rank. */
typedef struct outcome {
    int64_t count;                  /* of values */
    int64_t begin[2 * STEPS + 1];   /* where sections begin: gradient, then network, bank and so on of each step */
    double  loss[STEPS];
    float   value[MOST];
} outcome;

static clvi_comm *comm;             /* NULL: alone */

/* ---- cases ---- */

typedef struct test_case {
    const char *method;
    char        loss[128];
    const char *set[10];            /* settings: name, value, ... */
    bool        other;              /* not the method's own loss: on two ranks only */
} test_case;

#define DROPS "arch", "vit_small", "width", "12", "patch", "8", "drop-path", "0.5"
#define SQUARES "arch", "resnet12", "width", "2", "dropout", "0.3", "drop-block", "2"

/* Case i, or false past the end: all methods with all losses, then what only some do. */
static bool case_at(int i, test_case *out)
{
    static const test_case more[] = {
        { "moco", "", { "symmetric", "true" }, false },     { "moco", "", { "shuffle-bn", "false" }, false },
        { "moco", "", { "micro-batch-size", "4" }, false }, { "simclr", "", { "micro-batch-size", "4" }, false },
        { "moco", "", { "queue-mask", "sample" }, false },  { "moco", "mochi", { "bank", "labelled" }, false },
        { "supervised", "cross_entropy; repulsor weight=0.5", { "queue-dim", "8" }, false },
        { "supervised", "arcface; opl weight=0.5", { NULL }, false },
        { "supervised", "", { "mixup-alpha", "4" }, false }, { "supervised", "", { "cutmix-alpha", "1" }, false },
        { "supervised", "", { "mixup-alpha", "1", "cutmix-alpha", "1", "micro-batch-size", "4" }, false },
        { "moco", "", { "bn-splits", "1", "sync-bn", "force" }, false },
        { "simclr", "", { "bn-splits", "1", "sync-bn", "on" }, false },
        { "byol", "", { "bn-splits", "1", "sync-bn", "on" }, false },
        { "barlow", "", { DROPS }, false }, { "simclr", "", { DROPS }, false }, { "mocov3", "", { DROPS }, false },
        { "supcon", "", { DROPS, "bn-splits", "1" }, false },          /* no batch norm anywhere */
        { "supervised", "", { SQUARES }, false }, { "supervised", "", { SQUARES, "micro-batch-size", "4" }, false },
    };
    const clvi_method_class *cls;
    for (int m = 0; (cls = clvi_method_at(m)); m++) {
        for (const clvi_takes *takes = cls->takes; takes->loss; takes++) {
            if (i-- > 0) continue;
            *out = (test_case){ .method = cls->info.name, .other = takes != cls->takes };
            rig_loss_text(takes, out->loss, sizeof out->loss);
            return true;
        }
    }
    if (i >= (int)CLVI_COUNT(more)) return false;
    *out = more[i];
    return true;
}

static void keep(outcome *o, const void *data, int64_t n)
{
    assert_true(o->count + n <= MOST);
    memcpy(o->value + o->count, data, (size_t)n * sizeof *o->value);
    o->count += n;
}

static void keep_flat(outcome *o, clv_params *params, clv_param_part part)
{
    clv_view flat;
    if (!params) return;
    assert_ok(clv_params_flat(params, part, &flat));
    keep(o, flat.data, clv_view_count(&flat));
    if (part == CLV_PARAM_VALUE)
        keep(o, clvi_params_buffers(params), (int64_t)(clvi_params_buffer_size(params) / sizeof(float)));
}

static void compute(test_env *t, const test_case *c, outcome *o)
{
    rig *r = NULL;
    memset(o, 0, sizeof *o);
    const char *const *s = c->set;
    assert_ok(rig_try_make(t, c->method, c->loss, RIG_CLASSES, comm, &r, "bn-splits", "4", s[0], s[1], s[2], s[3], s[4],
                           s[5], s[6], s[7], s[8], s[9], NULL));
    for (int step = 0; step < STEPS; step++) {
        const clvi_step at = { .seed = 5, .total = step, .lr = 0.02, .key_momentum = 0.9 };
        o->loss[step] = rig_forward(r, step, 0.9).loss;
        keep_flat(o, r->method->params, CLV_PARAM_GRADIENT);
        o->begin[2 * step + 1] = o->count;
        assert_ok(clvi_method_update(r->method, &r->batch, &at));
        for (int key = 0; key < 2; key++) keep_flat(o, clvi_method_params(r->method, key), CLV_PARAM_VALUE);
        if (r->method->bank) {
            const clv_view rows = clv_bank_rows(r->method->bank);
            keep(o, rows.data, clv_view_count(&rows));
        }
        o->begin[2 * step + 2] = o->count;
    }
    rig_destroy(r);
}

/* ---- as a rank ---- */

/* Sums are those of the ranks in their order, whatever their length. */
static void sums_have_any_length(void)
{
    static const int64_t lengths[] = { 0, 1, 3, 1000, (1 << 20) - 1, (1 << 20) + 5 };
    for (size_t k = 0; k < CLVI_COUNT(lengths); k++) {
        const int64_t n = lengths[k];
        float *x = calloc((size_t)n + 1, sizeof *x);
        assert_non_null(x);
        for (int64_t i = 0; i <= n; i++) x[i] = (float)(i % 97 + comm->rank);
        const int64_t before = comm->bytes, part = (n + comm->ranks - 1) / comm->ranks;
        assert_ok(clvi_comm_all_reduce(comm, x, n));
        if (n <= 1000) assert_int_equal(comm->bytes - before, 2 * (comm->ranks - 1) * part * (int64_t)sizeof *x);
        const int others = comm->ranks * (comm->ranks - 1) / 2;
        for (int64_t i = 0; i < n; i++) assert_near(x[i], (double)(comm->ranks * (i % 97) + others), 0);
        assert_near(x[n], (double)(n % 97 + comm->rank), 0);
        free(x);
    }
}

static void words_arrive(void)
{
    int32_t mine[4] = { 0 }, said = comm->rank == 0 ? 4711 : 0;
    mine[comm->rank] = 10 + comm->rank;
    assert_ok(clvi_comm_all_gather(comm, mine, sizeof mine[0]));
    for (int r = 0; r < comm->ranks; r++) assert_int_equal(mine[r], 10 + r);
    assert_ok(clvi_comm_broadcast(comm, &said, sizeof said));
    assert_int_equal(said, 4711);
    assert_true(comm->bytes > 0 && comm->seconds > 0);
}

static uint64_t digest(const outcome *o, int64_t from)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int64_t i = from; i < o->count; i++) {
        uint32_t bits;
        memcpy(&bits, &o->value[i], sizeof bits);
        hash = (hash ^ bits) * UINT64_C(1099511628211);
    }
    return hash;
}

/* Every rank has the same bits: networks never drift apart. */
static void same_everywhere(const test_case *c, const outcome *o)
{
    uint64_t all[4] = { 0 };
    all[comm->rank] = digest(o, 0);
    assert_ok(clvi_comm_all_gather(comm, all, sizeof all[0]));
    for (int r = 1; r < comm->ranks; r++)
        if (all[r] != all[0]) fail_msg("%s, %s: rank %d differs from rank 0", c->method, c->loss, r);
}

static void as_a_rank(void **state)
{
    test_env *t = *state;
    static outcome o;
    test_case c;
    FILE *file = fopen(comm->rank == 0 ? getenv("RANKS_FILE") : "/dev/null", "wb");
    assert_non_null(file);
    sums_have_any_length();
    words_arrive();
    for (int i = 0; case_at(i, &c); i++) {
        if (c.other && comm->ranks > 2) continue;
        compute(t, &c, &o);
        same_everywhere(&c, &o);
        assert_int_equal(fwrite(&o, sizeof o, 1, file), 1);
    }
    assert_int_equal(fclose(file), 0);
}

static int rank_main(void)
{
    const struct CMUnitTest tests[] = { TEST(as_a_rank) };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    desc.threads = 1;
    if (clv_context_create(&desc, &ctx) != CLV_OK || clvi_comm_open(ctx, "cpu", &comm) != CLV_OK) {
        fprintf(stderr, "%s\n", clv_error_message());
        _exit(1);
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    clvi_comm_close(comm, failed != 0);
    clv_context_destroy(ctx);
    return failed;
}

/* ---- as the one that compares ---- */

/* Ranks wait for each other without a limit, as MPI does: one that is stopped or lost keeps all of them. */
static void start(test_env *t, const char *self, int ranks, FILE **out)
{
    char name[2][32], count[16];
    snprintf(name[0], sizeof name[0], "ranks-%d", ranks);
    snprintf(name[1], sizeof name[1], "ranks-%d.log", ranks);
    snprintf(count, sizeof count, "%d", ranks);
    const char *path = test_path(t, name[0]), *log = test_path(t, name[1]);
    const char *const args[] = { "mpirun", "--oversubscribe", "--allow-run-as-root", "--bind-to", "none", "-n", count,
                                 self, NULL };
    const char *const set[] = { "RANKS_FILE", path, "OMPI_MCA_rmaps_base_oversubscribe", "1", NULL };
    const pid_t job = test_child_start(args, set, log);
    int status = 0;
    const bool ended = test_child_wait(&job, &status, 1, LIMIT, log);
    if (!ended || status != 0) test_child_show(log);
    if (!ended)
        fail_msg("%d ranks: no end after %d s: one is stopped (state T above), is lost, or makes other calls than the "
                 "rest", ranks, LIMIT);
    assert_int_equal(status, 0);
    *out = fopen(path, "rb");
    assert_non_null(*out);
}

/* Largest difference, relative to the largest value of the section. */
static void compare(const test_case *c, int ranks, const outcome *a, const outcome *b)
{
    assert_int_equal(a->count, b->count);
    for (int step = 0; step < STEPS; step++) {
        const double tolerance = step ? 1e-2 : 1e-3;     /* the second starts from weights that differ in rounding */
        if (!(fabs(a->loss[step] - b->loss[step]) <= 0.02 * tolerance * fmax(1, fabs(a->loss[step]))))
            fail_msg("%s, %s, %d ranks, step %d: loss %.9g, alone %.9g", c->method, c->loss, ranks, step, b->loss[step],
                     a->loss[step]);
        for (int s = 2 * step; s < 2 * step + 2; s++) {
            double most = 0, apart = 0;
            for (int64_t i = a->begin[s]; i < a->begin[s + 1]; i++) {
                most = fmax(most, fabs(a->value[i]));
                apart = fmax(apart, fabs((double)a->value[i] - b->value[i]));
            }
            if (!(most > 0 && apart <= tolerance * most))
                fail_msg("%s, %s, %d ranks, step %d: %s differs by %g of %g", c->method, c->loss, ranks, step,
                         s % 2 ? "what was updated" : "the gradient", apart, most);
        }
    }
}

static void any_number_of_ranks_makes_the_same_update(void **state)
{
    test_env *t = *state;
    static outcome alone, spread;
    static const int ranks[] = { 2, 4 };
    char self[1024] = "";
    test_case c;
    FILE *file[CLVI_COUNT(ranks)];
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    for (size_t k = 0; k < CLVI_COUNT(ranks); k++) start(t, self, ranks[k], &file[k]);
    for (int i = 0; case_at(i, &c); i++) {
        compute(t, &c, &alone);
        for (size_t k = 0; k < CLVI_COUNT(ranks); k++) {
            if (c.other && ranks[k] > 2) continue;
            assert_int_equal(fread(&spread, sizeof spread, 1, file[k]), 1);
            compare(&c, ranks[k], &alone, &spread);
        }
    }
    for (size_t k = 0; k < CLVI_COUNT(ranks); k++) fclose(file[k]);
}

/* Something is wrong rather than computed several times. */
static void ranks_without_a_back_end_are_refused(void **state)
{
    test_env *t = *state;
    clvi_comm *none = NULL;
    const char *told = getenv("CLEAVE_BACKENDS");
    assert_ok(setenv("CLEAVE_BACKENDS", "/nonexistent", 1) ? CLV_ERR_IO : CLV_OK);
    assert_int_equal(setenv("OMPI_COMM_WORLD_SIZE", "2", 1), 0);
    assert_fails(clvi_comm_open(t->ctx, "cpu", &none), CLV_ERR_UNSUPPORTED,
                 "one of 2 ranks: this build has no MPI back end");
    assert_null(none);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    if (told) setenv("CLEAVE_BACKENDS", told, 1);
    assert_ok(clvi_comm_open(t->ctx, "cpu", &none));
    assert_true(none->rank == 0 && none->ranks == 1 && !none->backend);
    clvi_comm_close(none, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_number_of_ranks_makes_the_same_update),
        TEST(ranks_without_a_back_end_are_refused),
    };
    char library[1024];
    const char *build = getenv("BUILD");
    if (getenv("RANKS_FILE")) return rank_main();
    snprintf(library, sizeof library, "%s/libcleave_mpi.so", build ? build : "build/release");
    if (build && !strstr(build, "release")) {
        puts("ranks are started from the release build only");
        return 77;
    }
    if (access(library, F_OK) != 0 || system("mpirun --version >/dev/null 2>&1") != 0) {
        puts("no MPI: libcleave_mpi.so was not built, or there is no mpirun");
        return 77;
    }
    char folder[PATH_MAX];
    if (!realpath(build ? build : "build/release", folder)) return 1;
    setenv("CLEAVE_BACKENDS", folder, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
