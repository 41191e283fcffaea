/* bench_step.c: one training step of a classifier (forward, backward, SGD with momentum).
 *
 *   bench_step [--backbone NAME] [--stem KIND] [--size PIXELS] [--batch N] [--device NAME] [--threads N] [--steps N]
 *              [--precision fp32|tf32|bf16] [--infer] [--recompute] [--profile] [--cudnn-benchmark]
 *              [--export FILE] [--serve]
 *
 * --infer: instead, logits of the batch in evaluation mode. Prints the median time of a step and the spread, with
 * --profile a table of its operations after that. On a device a step ends when its loss is on the host. --export
 * writes the weights and the batch it starts from, and what the first step makes of them, so that another program can
 * check that it computes the same. --serve makes one step for each line read and answers with its seconds, so that two
 * programs can take turns (bench/compare.sh). */
#include "clock.h"
#include "precision.h"
#include "record.h"
#include "velocity.h"

#include <cleave/backbone.h>
#include <cleave/device.h>
#include <cleave/profile.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRY(e)                                                                                                         \
    do {                                                                                                               \
        const clv_status try_ = (e);                                                                                   \
        if (try_ != CLV_OK) return try_;                                                                               \
    } while (0)

enum { CLASSES = 10, WARM_UP = 2, MAX_STEPS = 1000 };

typedef struct settings {
    const char *backbone, *stem, *device, *export_to;
    int64_t size, batch;
    int threads, steps;
    bool serve, infer, recompute, profile, benchmark;
    clv_precision precision;
} settings;

typedef struct bench {
    clv_context *ctx;
    clv_params  *params;
    clv_graph   *graph;
    clv_node     loss;               /* or, of inference, the logits */
    clv_params  *moving;             /* whose values are SGD's velocity; inference has none */
    clv_view     velocity;
    bool         waits;              /* a step ends when its result is on the host */
    float       *images;
    int64_t     *targets;
} bench;

/* ---- the step ---- */

/* Running means and variances as if something had been trained: fresh ones would hide a wrong batch norm. */
static clv_status stir_statistics(bench *b)
{
    for (int64_t i = 0; i < clv_params_count(b->params); i++) {
        clv_param_info info;
        float value[4096];
        TRY(clv_params_info(b->params, i, &info));
        if (!strstr(info.name, "running_") || info.shape[0] > 4096) continue;
        const bool is_mean = strstr(info.name, "mean") != NULL;
        for (int64_t c = 0; c < info.shape[0]; c++)
            value[c] = is_mean ? 0.1f * (float)(c % 7 - 3) : 0.5f + 0.25f * (float)(c % 5);
        const clv_view view = clv_view_dense(value, CLV_F32, info.ndim, info.shape);
        TRY(clv_params_write(b->params, i, &view));
    }
    return CLV_OK;
}

static clv_status build(bench *b, const settings *s, clv_node *images, clv_node *targets)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    const clv_option stem[] = { { "stem", s->stem } };
    const bool residual = strstr(s->backbone, "resnet") != NULL;        /* only those have stems to choose */
    const clv_option dim[] = { { "dim", "10" } };
    clv_node features, logits;
    TRY(clv_params_create(b->ctx, CLV_F32, &b->params));
    desc.params = b->params;
    desc.training = !s->infer;
    desc.recompute = s->recompute;
    desc.precision = s->precision;
    TRY(clv_graph_create(b->ctx, &desc, &b->graph));
    *images = clv_input_image(b->graph, "images", s->batch, 3, s->size, s->size);
    *targets = clv_input(b->graph, "targets", CLV_I64, 1, &s->batch);
    TRY(clv_backbone_node(b->graph, s->backbone, stem, residual, "", *images, &features));
    TRY(clv_head_node(b->graph, "linear", dim, 1, "", features, &logits));
    b->loss = logits;
    if (!s->infer) b->loss = clv_reduce(b->graph, clv_softmax_xent(b->graph, logits, *targets, CLV_NONE), -1, true);
    clv_graph_output(b->graph, b->loss);
    if (!s->infer) TRY(clv_graph_backward(b->graph, b->loss));
    TRY(clv_graph_finish(b->graph));
    TRY(clv_params_init(b->params, 1));
    return s->infer ? stir_statistics(b) : CLV_OK;
}

/* Images of uniform noise in [-1, 1), classes in turn. */
static clv_status bind_batch(bench *b, const settings *s, clv_node images, clv_node targets)
{
    const int64_t count = s->batch * 3 * s->size * s->size;
    b->images = malloc((size_t)count * sizeof *b->images);
    b->targets = malloc((size_t)s->batch * sizeof *b->targets);
    if (!b->images || !b->targets) return CLV_ERR_NOMEM;
    uint64_t noise = 1;
    for (int64_t i = 0; i < count; i++) {
        noise = noise * 6364136223846793005u + 1442695040888963407u;
        b->images[i] = (float)((double)(noise >> 40) / (double)(1 << 23) - 1.0);
    }
    for (int64_t i = 0; i < s->batch; i++) b->targets[i] = i % CLASSES;
    const clv_view x = clv_view_nhwc(b->images, CLV_F32, s->batch, 3, s->size, s->size);
    const clv_view y = clv_view_1d(b->targets, CLV_I64, s->batch);
    TRY(clv_graph_bind(b->graph, images, &x));
    return clv_graph_bind(b->graph, targets, &y);
}

static clv_status update(bench *b)
{
    const clv_sgd sgd = { .lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4, .velocity = b->velocity };
    return b->velocity.data ? clv_params_sgd(b->params, &sgd) : CLV_OK;       /* inference has none */
}

static clv_status read_loss(bench *b, float *loss)
{
    clv_view view;
    TRY(clv_graph_read(b->graph, b->loss, &view));
    *loss = *(const float *)view.data;
    return CLV_OK;
}

static clv_status step(bench *b, double *seconds)
{
    const double start = bench_now();
    const int64_t mark = clv_profile_begin(b->ctx);
    float loss;
    TRY(clv_graph_run(b->graph));
    TRY(update(b));
    if (b->waits) TRY(read_loss(b, &loss));
    clv_profile_end(b->ctx, mark, CLV_PROFILE_STEP);
    *seconds = bench_now() - start;
    return CLV_OK;
}

static clv_status open_bench(bench *b, const settings *s)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_node images, targets;
    desc.threads = s->threads;
    TRY(clv_context_create(&desc, &b->ctx));
    TRY(clv_context_use(b->ctx, s->device));
    if (s->benchmark) TRY(clv_context_benchmark(b->ctx, true));
    b->waits = strcmp(s->device, "cpu") != 0;
    TRY(build(b, s, &images, &targets));
    TRY(bind_batch(b, s, images, targets));
    return s->infer ? CLV_OK : bench_velocity(b->params, &b->moving, &b->velocity);
}

static void close_bench(bench *b)
{
    clv_graph_destroy(b->graph);
    clv_params_destroy(b->moving);
    clv_params_destroy(b->params);
    clv_context_destroy(b->ctx);
    free(b->images);
    free(b->targets);
}

/* ---- what another program starts from and must arrive at ---- */

static clv_status write_params(bench *b, FILE *file, const char *prefix, clv_param_part part)
{
    for (int64_t i = 0; i < clv_params_count(b->params); i++) {
        clv_param_info info;
        TRY(clv_params_info(b->params, i, &info));
        if (part == CLV_PARAM_GRADIENT && info.kind != CLV_PARAM_TRAINABLE) continue;
        int64_t count = 1;
        for (int d = 0; d < info.ndim; d++) count *= info.shape[d];
        float *data = malloc((size_t)count * sizeof *data);
        if (!data) return CLV_ERR_NOMEM;
        const clv_view view = clv_view_dense(data, CLV_F32, info.ndim, info.shape);
        const clv_status st = clv_params_read(b->params, i, part, &view);
        const bool written = st == CLV_OK && write_record(file, prefix, info.name, info.ndim, info.shape, data);
        free(data);
        if (!written) return st == CLV_OK ? CLV_ERR_IO : st;
    }
    return CLV_OK;
}

static clv_status export_step(bench *b, const settings *s, FILE *file)
{
    double seconds;
    float loss, *classes = malloc((size_t)s->batch * sizeof *classes);
    if (!classes) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < s->batch; i++) classes[i] = (float)b->targets[i];
    bool ok = write_record(file, "", "images", 4, (int64_t[]){ s->batch, s->size, s->size, 3 }, b->images);
    ok = ok && write_record(file, "", "targets", 1, &s->batch, classes);
    free(classes);
    if (!ok) return CLV_ERR_IO;
    TRY(write_params(b, file, "param:", CLV_PARAM_VALUE));
    TRY(step(b, &seconds));
    if (s->infer) {
        clv_view logits;
        TRY(clv_graph_read(b->graph, b->loss, &logits));
        return write_record(file, "", "logits", 2, logits.shape, logits.data) ? CLV_OK : CLV_ERR_IO;
    }
    TRY(read_loss(b, &loss));
    if (!write_record(file, "", "loss", 0, NULL, &loss)) return CLV_ERR_IO;
    return write_params(b, file, "grad:", CLV_PARAM_GRADIENT);
}

static clv_status export_to(bench *b, const settings *s)
{
    FILE *file = fopen(s->export_to, "wb");
    if (!file) return CLV_ERR_IO;
    const clv_status st = export_step(b, s, file);
    return fclose(file) == 0 || st != CLV_OK ? st : CLV_ERR_IO;
}

/* ---- measuring ---- */

static clv_status serve(bench *b)
{
    char line[64];
    double seconds;
    while (fgets(line, sizeof line, stdin)) {
        TRY(step(b, &seconds));
        (void)printf("%.6f\n", seconds);
        (void)fflush(stdout);
    }
    return CLV_OK;
}

static void put_line(const char *text, void *user)
{
    (void)user;
    (void)puts(text);
}

/* As many steps again, every operation waited for. */
static clv_status profile(bench *b, const settings *s)
{
    clv_profile *p = NULL;
    double seconds;
    clv_status st = clv_profile_start(b->ctx, &p);
    for (int i = 0; i < s->steps && st == CLV_OK; i++) st = step(b, &seconds);
    clv_profile_stop(p);
    if (st == CLV_OK) st = clv_profile_print(p, put_line, NULL);
    clv_profile_destroy(p);
    return st;
}

static clv_status measure(bench *b, const settings *s)
{
    static double seconds[MAX_STEPS];
    float loss;
    clv_graph_memory_t memory;
    for (int i = 0; i < WARM_UP; i++) TRY(step(b, &seconds[0]));
    for (int i = 0; i < s->steps; i++) TRY(step(b, &seconds[i]));
    TRY(read_loss(b, &loss));
    TRY(clv_graph_memory(b->graph, &memory));
    qsort(seconds, (size_t)s->steps, sizeof seconds[0], bench_by_value);
    const double median = seconds[s->steps / 2];
    (void)printf("%s,%s,%s,%s,size=%" PRId64 ",batch=%" PRId64 ",device=%s,threads=%d,cleave=%s,",
                 s->infer ? "inference" : "step", s->backbone, s->stem,
                 bench_precision_name(s->precision), s->size, s->batch, s->device,
                 clv_context_threads(b->ctx), clv_version());
    (void)printf("median_s=%.4f,min_s=%.4f,max_s=%.4f,images_per_s=%.1f,", median, seconds[0], seconds[s->steps - 1],
                 (double)s->batch / median);
    (void)printf("arena_MiB=%zu,scratch_MiB=%zu,loss=%.6g\n", memory.activations >> 20, memory.scratch >> 20,
                 (double)loss);
    if (!isfinite(loss)) return CLV_ERR_NUMERIC;
    return s->profile ? profile(b, s) : CLV_OK;
}

static bool read_switch(settings *s, const char *name)
{
    bool *flag = strcmp(name, "--serve") == 0 ? &s->serve : strcmp(name, "--infer") == 0 ? &s->infer :
                 strcmp(name, "--recompute") == 0 ? &s->recompute :
                 strcmp(name, "--profile") == 0 ? &s->profile :
                 strcmp(name, "--cudnn-benchmark") == 0 ? &s->benchmark : NULL;
    if (flag) *flag = true;
    return flag;
}

static bool read_settings(settings *s, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (read_switch(s, argv[i])) continue;
        if (i + 1 == argc) return false;
        const char *name = argv[i++], *value = argv[i];
        if (strcmp(name, "--backbone") == 0) s->backbone = value;
        else if (strcmp(name, "--stem") == 0) s->stem = value;
        else if (strcmp(name, "--device") == 0) s->device = value;
        else if (strcmp(name, "--export") == 0) s->export_to = value;
        else if (strcmp(name, "--size") == 0) s->size = strtoll(value, NULL, 10);
        else if (strcmp(name, "--batch") == 0) s->batch = strtoll(value, NULL, 10);
        else if (strcmp(name, "--threads") == 0) s->threads = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "--steps") == 0) s->steps = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "--precision") != 0 || !bench_read_precision(value, &s->precision)) return false;
    }
    return s->size >= 1 && s->batch >= 1 && s->steps >= 1 && s->steps <= MAX_STEPS;
}

int main(int argc, char **argv)
{
    settings s = { .backbone = "resnet18", .stem = "cifar", .device = "cpu", .size = 32, .batch = 256, .steps = 5 };
    bench b = { 0 };
    if (!read_settings(&s, argc, argv)) {
        (void)fprintf(stderr, "usage: bench_step [--backbone NAME] [--stem KIND] [--size PIXELS] [--batch N]"
                              " [--device NAME] [--threads N] [--steps N] [--precision " BENCH_PRECISIONS "] [--infer]"
                              " [--recompute] [--profile] [--cudnn-benchmark] [--export FILE] [--serve]\n");
        return 2;
    }
    clv_status st = open_bench(&b, &s);
    if (st == CLV_OK && s.export_to) st = export_to(&b, &s);
    if (st == CLV_OK) st = s.serve ? serve(&b) : s.export_to ? CLV_OK : measure(&b, &s);
    if (st != CLV_OK) (void)fprintf(stderr, "bench_step: %s: %s\n", clv_status_name(st), clv_error_message());
    close_bench(&b);
    return st == CLV_OK ? 0 : 1;
}
