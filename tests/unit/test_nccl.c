/* test_nccl.c: ranks with a device each. The source of the NCCL back end runs between processes of this machine, on the
 * emulator of kernels and the stand-in of NCCL (tests/support/nccl): words, sums and gathers arrive; a batch over ranks
 * trains the network of the batch on one; when sums end, and whether steps are recorded, changes no bit; what goes
 * wrong is told, and ends all ranks. The program starts itself as each rank. Skipped where it was built without nccl.h. */
#include <stdio.h>

#ifndef CLV_HAVE_NCCL
int main(void)
{
    puts("no nccl.h where this was built (make CUDA=1, NCCL_HOME)");
    return 77;
}
#else

#include "tests/cuda/device.h"
#include "tests/support/child.h"
#include "tests/support/train.h"
#include "core/checked.h"
#include "device/flat.h"
#include "train/comm/comm.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT = 60, STEPS = 10, MOST = 4, SETTINGS = 8 };

/* ---- as a rank ---- */

static clvi_comm *comm;
static clv_context *ctx;

static void join(test_env *t)
{
    ctx = test_device_context(t);
    assert_ok(clvi_comm_open(ctx, "emu", &comm));
}

static void leave(void)
{
    clvi_comm_close(comm, false);
    clv_context_destroy(ctx);
}

/* On the device, i % 97 + the rank each. */
static float *numbers(int64_t n, int rank)
{
    float *host = malloc((size_t)n * sizeof *host), *there = clvi_device_alloc(ctx, (size_t)n * sizeof *there);
    assert_true(host && there);
    for (int64_t i = 0; i < n; i++) host[i] = (float)(i % 97 + rank);
    assert_ok(clvi_device_copy(ctx, there, host, (size_t)n * sizeof *there, CLVI_COPY_TO_DEVICE));
    free(host);
    return there;
}

/* They are a + b (i % 97). */
static void check(const float *there, int64_t n, double a, double b)
{
    float *host = malloc((size_t)n * sizeof *host);
    assert_non_null(host);
    assert_ok(clvi_device_wait(ctx));
    assert_ok(clvi_device_copy(ctx, host, there, (size_t)n * sizeof *host, CLVI_COPY_TO_HOST));
    for (int64_t i = 0; i < n; i++) assert_near(host[i], a + b * (double)(i % 97), 0);
    free(host);
}

static void words_arrive(void)
{
    enum { LONG = 40000 };                               /* more than goes by the lines */
    static int32_t all[MOST * LONG], mine[LONG], theirs[LONG];
    const size_t sizes[] = { 1, LONG };
    for (size_t k = 0; k < 2; k++) {
        const size_t n = sizes[k];
        for (size_t i = 0; i < n; i++) all[(size_t)comm->rank * n + i] = (int32_t)i + 10 * comm->rank;
        assert_ok(clvi_comm_all_gather(comm, all, n * sizeof *all));
        for (int r = 0; r < comm->ranks; r++)
            for (size_t i = 0; i < n; i++) assert_int_equal(all[(size_t)r * n + i], (int32_t)i + 10 * r);
        for (size_t i = 0; i < n; i++) mine[i] = comm->rank == 0 ? 7 * (int32_t)i : 0;
        assert_ok(clvi_comm_broadcast(comm, mine, n * sizeof *mine));
        for (size_t i = 0; i < n; i++) assert_int_equal(mine[i], 7 * (int32_t)i);
        const int other = comm->ranks - 1 - comm->rank;
        for (size_t i = 0; i < n; i++) mine[i] = comm->rank + (int32_t)i;
        if (other != comm->rank) assert_ok(clvi_comm_swap(comm, other, mine, theirs, n * sizeof *mine));
        for (size_t i = 0; i < n && other != comm->rank; i++) assert_int_equal(theirs[i], other + (int32_t)i);
    }
    float x[3] = { 1, (float)comm->rank, 0.5f };
    assert_ok(clvi_comm_all_reduce(comm, x, 3));
    assert_true(x[0] == (float)comm->ranks && x[2] == 0.5f * (float)comm->ranks);
}

/* What is queued before a sum goes into it, and what is queued after it, or after the end of those beside, comes
 * after. */
static void sums_are_queued(void)
{
    const int64_t n = 100001;
    const double ranks = comm->ranks, others = ranks * (ranks - 1) / 2;
    float *x = numbers(n, comm->rank), *y = numbers(n, 0);
    clvi_flat_scale(ctx, CLV_F32, n, 2, x);
    assert_ok(clvi_comm_all_reduce_arena(comm, x, n));
    clvi_flat_scale(ctx, CLV_F32, n, 0.5, x);
    check(x, n, others, ranks);
    assert_ok(clvi_comm_begin(comm, x, 40000));
    clvi_flat_scale(ctx, CLV_F32, n, 3, y);
    assert_ok(clvi_comm_begin(comm, x + 40000, n - 40000));
    clvi_flat_scale(ctx, CLV_F32, n, 2, y);
    assert_ok(clvi_comm_end(comm));
    clvi_flat_axpy(ctx, CLV_F32, n, 1, x, y);
    check(x, n, ranks * others, ranks * ranks);
    check(y, n, ranks * others, 6 + ranks * ranks);
    clvi_device_free(ctx, x, (size_t)n * sizeof *x);
    clvi_device_free(ctx, y, (size_t)n * sizeof *y);
}

static void sums_are_recorded(void)
{
    const int64_t n = 5000;
    clvi_recording *recording = NULL;
    const clvi_backend *b = ctx->device->backend;
    const int other = comm->ranks - 1 - comm->rank;
    float *x = numbers(n, 0), *y = numbers(n, comm->rank), *z = numbers(n, 0), *mine = numbers(n, comm->rank);
    assert_ok(b->record(ctx->device));
    assert_ok(clvi_comm_begin(comm, x, n / 2));
    assert_ok(clvi_comm_begin(comm, x + n / 2, n - n / 2));
    assert_ok(clvi_comm_end(comm));
    assert_ok(clvi_comm_all_gather_arena(comm, x, (size_t)(n / comm->ranks) * sizeof *x));   /* the same again */
    assert_ok(clvi_comm_swap_arena(comm, other, y, z, (size_t)n * sizeof *y));
    assert_ok(b->recorded(ctx->device, &recording));
    check(x, n, 0, 1);
    for (int play = 1; play <= 3; play++) {
        assert_ok(b->play(ctx->device, recording));
        check(x, n, 0, pow(comm->ranks, play));
        check(z, n, play * other, play);                                     /* of which the other rank made more */
        clvi_flat_axpy(ctx, CLV_F32, n, 1, mine, y);
    }
    b->forget(ctx->device, recording);
    float *const all[] = { x, y, z, mine };
    for (size_t i = 0; i < CLVI_COUNT(all); i++) clvi_device_free(ctx, all[i], (size_t)n * sizeof *x);
}

static void as_one_that_speaks(void **state)
{
    join(*state);
    words_arrive();
    sums_are_queued();
    sums_are_recorded();
    leave();
}

static void as_one_that_sums(void **state)
{
    join(*state);
    float *x = numbers(10, 0);
    for (int i = 0; i < 3; i++) {
        clv_status st = clvi_comm_all_reduce_arena(comm, x, 10);
        if (st == CLV_OK) st = clvi_device_wait(ctx);
        if (st == CLV_OK) continue;
        fprintf(stderr, "told: %s\n", clv_error_message());
        assert_fails(clvi_comm_all_reduce_arena(comm, x, 10), CLV_ERR_IO, "rank ");      /* there is no way back */
        _exit(3);
    }
    leave();
}

/* device/cuda/emu.h, for C */
typedef struct counts { int64_t launches, copies, plays, sends, waits; } counts;
extern counts clvi_emu_count(clvi_device *device);

static int steady;                  /* steps that were one copy and recordings, and nothing else */

/* Only the first rank tells of steps. */
static bool see(const clv_progress *p, void *user)
{
    FILE *losses = user;
    if (p->kind != CLV_PROGRESS_STEP || !losses) return true;
    const counts c = clvi_emu_count(ctx->device);
    steady += c.plays > 0 && c.sends == 1 && c.launches == 0 && c.copies == 0 && c.waits == 0;
    fprintf(losses, "%.17g\n", p->loss);
    fflush(losses);
    return true;
}

/* Kills this process once the first rank has told of a step. */
static void *kill_later(void *path)
{
    const struct timespec nap = { 0, 5000000 };
    struct stat st;
    while (stat(path, &st) != 0 || st.st_size == 0) nanosleep(&nap, NULL);
    kill(getpid(), SIGKILL);
    return NULL;
}

static clv_config *config_of_run(clv_context *of)
{
    clv_config *c = NULL;
    char settings[1024], *rest = NULL;
    assert_ok(clv_config_create(of, &c));
    snprintf(settings, sizeof settings, "%s", getenv("NCCL_SETTINGS"));
    for (char *name = strtok_r(settings, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(name, '=');
        assert_non_null(value);
        *value = '\0';
        assert_ok(clv_config_set(c, name, value + 1));
    }
    return c;
}

static void as_one_that_trains(void **state)
{
    test_env *t = *state;
    pthread_t killer;
    ctx = test_device_context(t);
    const char *rank = getenv("RANK"), *dies = getenv("NCCL_DIES");
    char *path = getenv("NCCL_LOSSES");
    FILE *losses = !strcmp(rank, "0") ? fopen(path, "w") : NULL;
    if (dies && !strcmp(rank, dies)) assert_int_equal(pthread_create(&killer, NULL, kill_later, path), 0);
    const clv_status st = test_run_in(ctx, config_of_run(ctx), see, losses);
    if (losses) fprintf(losses, "%d\n", steady);
    if (losses) fclose(losses);
    if (st != CLV_OK) {
        fprintf(stderr, "told: %s\n", clv_error_message());
        _exit(3);
    }
    clv_context_destroy(ctx);
}

static int as_rank(const char *role)
{
    const struct CMUnitTest speaks[] = { TEST(as_one_that_speaks) }, sums[] = { TEST(as_one_that_sums) },
                            trains[] = { TEST(as_one_that_trains) };
    if (!strcmp(role, "speaks")) return cmocka_run_group_tests(speaks, NULL, NULL);
    if (!strcmp(role, "sums")) return cmocka_run_group_tests(sums, NULL, NULL);
    return cmocka_run_group_tests(trains, NULL, NULL);
}

/* ---- as the one that starts them ---- */

/* Ranks of a run with these variables beside the launcher's; status of each. The log is that of all. */
static const char *run_ranks(test_env *t, int ranks, const char *role, const char *const *more, int *status)
{
    static char self[1024], log[512];
    static int runs;
    pid_t child[MOST];
    char name[32], port[16], world[16];
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(name, sizeof name, "log-%d", runs);
    snprintf(log, sizeof log, "%s", test_path(t, name));
    snprintf(port, sizeof port, "%d", 20000 + (int)(getpid() * 16 + runs++) % 12000);
    snprintf(world, sizeof world, "%d", ranks);
    for (int r = 0; r < ranks; r++) {
        char rank[16];
        snprintf(rank, sizeof rank, "%d", r);
        const char *const args[] = { self, NULL };
        const char *set[40] = { "NCCL_ROLE", role, "RANK", rank, "LOCAL_RANK", rank, "WORLD_SIZE", world,
                                "MASTER_ADDR", "127.0.0.1", "MASTER_PORT", port };
        int n = 12;
        for (int i = 0; more && more[i]; i++) set[n++] = more[i];
        set[n] = NULL;
        child[r] = test_child_start(args, set, log);
    }
    if (!test_child_wait(child, status, ranks, LIMIT, log)) {
        test_child_show(log);
        fail_msg("%d ranks: no end after %d s", ranks, LIMIT);
    }
    return log;
}

static void all_do_well(test_env *t, int ranks, const char *role, const char *const *more)
{
    int status[MOST] = { 0 };
    const char *log = run_ranks(t, ranks, role, more, status);
    for (int r = 0; r < ranks; r++) {
        if (status[r] == 0) continue;
        test_child_show(log);
        fail_msg("rank %d of %d: exit status %d", r, ranks, status[r]);
    }
}

/* The log has the text, and a rank of each status in turn. */
static void they_end_with(test_env *t, int ranks, const char *role, const char *const *more, const int *want,
                          const char *text)
{
    int status[MOST] = { 0 };
    char all[20000] = "";
    const char *log = run_ranks(t, ranks, role, more, status);
    FILE *file = fopen(log, "r");
    assert_non_null(file);
    all[fread(all, 1, sizeof all - 1, file)] = '\0';
    fclose(file);
    for (int r = 0; r < ranks; r++) {
        if (status[r] == want[r]) continue;
        puts(all);
        fail_msg("rank %d: exit status %d, not %d", r, status[r], want[r]);
    }
    if (!strstr(all, text)) fail_msg("'%s' was not told, but\n%s", text, all);
}

static void words_and_sums_arrive(void **state)
{
    static const char *const early[] = { "STANDIN_EARLY", "1", NULL };
    for (int ranks = 2; ranks <= 4; ranks += 2) all_do_well(*state, ranks, "speaks", NULL);
    all_do_well(*state, 2, "speaks", early);
}

static void an_error_of_nccl_is_told_in_its_words(void **state)
{
    static const char *const fails[] = { "STANDIN_FAIL", "2", NULL };
    static const int want[] = { 3, 3 };
    they_end_with(*state, 2, "sums", fails, want,
                  "of 2: ncclAllReduce: unhandled system error: the stand-in was told to fail");
}

/* Of one that NCCL notices later, beside its calls, whoever waits for the device hears. */
static void an_error_beside_ends_the_wait(void **state)
{
    static const char *const hangs[] = { "STANDIN_HANG", "2", NULL };
    static const int want[] = { 3, 3 };
    they_end_with(*state, 2, "sums", hangs, want, "another rank, or the way to it: remote process exited");
}

/* ---- training ---- */

/* Settings, and in what other ways they are run. */
static const struct {
    const char *settings;
    bool        early, pieces, views;
} cases[] = {
    { "method=moco moco-k=64 bn-splits=4", true, true, false },
    { "method=moco moco-k=64 symmetric=true bn-splits=4 clip-grad=0.5 ema-decay=0.9", false, false, true },
    { "method=simclr bn-splits=4 optimizer=lars-simclr wd=0.001 lr=0.005", false, false, false },
    { "method=byol sync-bn=on bn-splits=1 size=16", true, true, false },
    { "method=byol bn-splits=4 micro-batch-size=4", true, false, false },
    { "method=moco moco-k=64 bn-splits=8 micro-batch-size=4 ema-decay=0.9", false, true, true },
    { "method=moco moco-k=64 bn-splits=4 arch=iresnet18 dropout=0.4 micro-batch-size=4 lr=1e-5", false, false, false },
    { "method=supervised bn-splits=4 mixup-alpha=1 mixup-prob=0.8", false, false, false },
    { "method=supervised bn-splits=4 mixup-alpha=1 cutmix-alpha=1 micro-batch-size=4", false, true, true },
    { "method=moco moco-k=60 batch-size=15 bn-splits=3", false, false, false },
};
enum { LOST = CLVI_COUNT(cases) - 1 };

typedef struct kind_of_run {
    const char *name;
    int         ranks;
    const char *set[4], *also;          /* variables; settings beside the case's, or NULL */
    bool        pieces;                 /* steps are launched piece by piece */
} kind_of_run;

/* What a run of a case is told; endless: it goes on until a rank is lost. */
static void settings_of(test_env *t, size_t c, const kind_of_run *k, bool endless, char *settings, size_t size)
{
    char folder[64], data[512];
    clv_config *made = test_run_config(t, "made", NULL);
    assert_ok(clv_config_get(made, "data", data, sizeof data));
    clv_config_destroy(made);
    snprintf(folder, sizeof folder, "%s-%zu", k->name, c);
    snprintf(settings, size,
             "device=emu data=%s results-dir=%s arch=resnet8 width=4 aug=glyphs size=8 batch-size=16 lr=0.05 "
             "cos=true %s epochs=1000 stop-epoch=%d seed=5 knn-freq=0 print-freq=100 on-nan=skip %s %s", data,
             test_path(t, folder), strstr(cases[c].settings, "supervised") ? "" : "moco-dim=16", endless ? 0 : 1,
             cases[c].settings, k->also ? k->also : "");
}

/* Starts a run of a case; its checkpoint is in the folder of its name. dies: the rank that is killed, and the statuses
 * that are wanted then; NULL: none, and the losses of its steps are told. */
static void train(test_env *t, size_t c, const kind_of_run *k, double *losses, const char *dies, const int *want)
{
    char settings[1024], file[64];
    snprintf(file, sizeof file, "%s-%zu.losses", k->name, c);
    settings_of(t, c, k, dies != NULL, settings, sizeof settings);
    const char *more[16] = { "NCCL_SETTINGS", settings, "NCCL_LOSSES", test_path(t, file) };
    int n = 4;
    for (int i = 0; i < 4 && k->set[i]; i++) more[n++] = k->set[i];
    if (dies) {
        char text[40];
        snprintf(text, sizeof text, "rank %d of 3: rank %s has gone", !strcmp(dies, "0"), dies);
        more[n++] = "NCCL_DIES", more[n++] = dies;
        they_end_with(t, k->ranks, "trains", more, want, text);
        return;
    }
    all_do_well(t, k->ranks, "trains", more);
    FILE *in = fopen(test_path(t, file), "r");
    assert_non_null(in);
    for (int i = 0; i < STEPS; i++) assert_int_equal(fscanf(in, "%lf", &losses[i]), 1);
    assert_int_equal(fscanf(in, "%d", &n), 1);
    fclose(in);
    if (k->pieces ? n > 0 : n < 3) fail_msg("%s, %s: %d steady steps", cases[c].settings, k->name, n);
}

static void same_weights(test_env *t, size_t c, const char *a, const char *b)
{
    char path[2][96];
    snprintf(path[0], sizeof path[0], "%s-%zu/last.h5", a, c);
    snprintf(path[1], sizeof path[1], "%s-%zu/last.h5", b, c);
    if (!test_same_file(t, path[0], path[1])) fail_msg("%s: %s and %s differ", cases[c].settings, a, b);
}

/* The sums' order is another, and that grows tenfold a step at these learning rates. */
static void near(const char *what, const double *a, const double *b)
{
    double allowed = 1e-5;
    for (int i = 0; i < STEPS; i++, allowed = fmin(10 * allowed, 0.05))
        if (!(fabs(a[i] - b[i]) <= allowed * (1 + fabs(b[i]))))
            fail_msg("%s: step %d: loss %.9g, on one rank %.9g", what, i, a[i], b[i]);
}

/* To the bits of steps that are launched, whose sums end at once, and whose views the devices made, which then show
 * them each other without the processors. */
static void ranks_train_the_network_of_one(void **state)
{
    test_env *t = *state;
    static const kind_of_run alone = { .name = "alone", .ranks = 1 }, two = { .name = "two", .ranks = 2 },
        early = { .name = "early", .ranks = 2, .set = { "STANDIN_EARLY", "1" } },
        pieces = { .name = "pieces", .ranks = 2, .set = { "CLEAVE_GRAPH", "0" }, .pieces = true },
        views = { .name = "views", .ranks = 2, .also = "aug-device=gpu" };
    for (size_t c = 0; c < LOST; c++) {
        double one[STEPS], more[STEPS];
        train(t, c, &alone, one, NULL, NULL);
        train(t, c, &two, more, NULL, NULL);
        near(cases[c].settings, more, one);
        const struct { bool wanted; const kind_of_run *kind; } other[] = {
            { cases[c].early, &early }, { cases[c].pieces, &pieces }, { cases[c].views, &views },
        };
        for (size_t i = 0; i < CLVI_COUNT(other); i++) {
            if (!other[i].wanted) continue;
            train(t, c, other[i].kind, more, NULL, NULL);
            same_weights(t, c, "two", other[i].kind->name);
        }
    }
}

/* Whichever it is: those that wait for it hear of it. */
static void a_lost_rank_ends_all(void **state)
{
    static const kind_of_run first = { .name = "first-lost", .ranks = 3 }, last = { .name = "last-lost", .ranks = 3 };
    static const int want[2][3] = { { 137, 3, 3 }, { 3, 3, 137 } };
    train(*state, LOST, &first, NULL, "0", want[0]);
    train(*state, LOST, &last, NULL, "2", want[1]);
}

int main(void)
{
    const char *role = getenv("NCCL_ROLE"), *build = getenv("BUILD");
    char folder[PATH_MAX], path[PATH_MAX];
    test_device_register();
    if (role) return as_rank(role);
    snprintf(path, sizeof path, "%s/tests/support/nccl", build ? build : "build/release");
    if (!realpath(path, folder)) return 1;
    setenv("CLEAVE_BACKENDS", folder, 1);
    const struct CMUnitTest tests[] = {
        TEST(words_and_sums_arrive),
        TEST(an_error_of_nccl_is_told_in_its_words),
        TEST(an_error_beside_ends_the_wait),
        TEST(ranks_train_the_network_of_one),
        TEST(a_lost_rank_ends_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
