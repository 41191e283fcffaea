/* bench_moco.c: one step of MoCo v2: keys of one view, InfoNCE of the other against them and a bank, backward, SGD, the key
 * encoder follows, the keys are enqueued. One group of batch norm.
 *
 *   bench_moco [--backbone NAME] [--stem KIND] [--size PIXELS] [--batch N] [--queue K] [--device NAME] [--threads N]
 *              [--steps N] [--precision fp32|tf32|bf16] [--export FILE] [--serve]
 *
 * --export writes weights, views, bank, and loss and gradients of the first step; --serve answers each line with the
 * seconds of a step (bench/compare_moco.sh). */
#include "precision.h"
#include "record.h"
#include "serve.h"
#include "velocity.h"

#include <cleave/backbone.h>
#include <cleave/bank.h>
#include <cleave/device.h>
#include <cleave/loss.h>
#include <string.h>

#define TRY(e)                                                                                                         \
    do {                                                                                                               \
        const clv_status try_ = (e);                                                                                   \
        if (try_ != CLV_OK) return try_;                                                                               \
    } while (0)

enum { DIM = 128 };

typedef struct settings {
    const char *backbone, *stem, *device, *export_to;
    int64_t size, batch, queue;
    int threads, steps;
    bool serve, benchmark;
    clv_precision precision;
} settings;

typedef struct encoder {
    clv_params *params;
    clv_graph  *graph;
    clv_node    images, embedding, unit;
} encoder;

typedef struct bench {
    clv_context *ctx;
    encoder      query, key;
    clv_node     keys, loss;
    clv_bank    *bank;
    clv_params  *moving;
    clv_view     velocity;           /* the values of `moving` */
    float       *images[2];
    int64_t     *ids;
} bench;

static clv_status open_encoder(bench *b, const settings *s, encoder *e)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    const clv_option stem[] = { { "stem", s->stem } }, head[] = { { "dim", "128" } };
    clv_node features;
    desc.params = e->params;
    desc.training = true;
    desc.precision = s->precision;
    TRY(clv_graph_create(b->ctx, &desc, &e->graph));
    e->images = clv_input_image(e->graph, "images", s->batch, 3, s->size, s->size);
    TRY(clv_backbone_node(e->graph, s->backbone, stem, 1, "", e->images, &features));
    TRY(clv_head_node(e->graph, "mlp", head, 1, "", features, &e->embedding));
    e->unit = clv_l2norm_rows(e->graph, e->embedding, 1e-12);
    return CLV_OK;
}

static clv_status open_query(bench *b, const settings *s)
{
    clv_graph *g;
    TRY(clv_params_create(b->ctx, CLV_F32, &b->query.params));
    TRY(open_encoder(b, s, &b->query));
    g = b->query.graph;
    const clv_view rows = clv_bank_rows(b->bank);
    b->keys = clv_input(g, "key", CLV_F32, 2, (int64_t[]){ s->batch, DIM });
    const clv_node queue = clv_input(g, "queue", rows.dtype, 2, rows.shape);
    const clv_option options[] = { { "temperature", "0.2" }, { "normalize", "true" } };
    const clv_loss_value inputs[] = { { "query", b->query.embedding }, { "key", b->keys }, { "queue", queue } };
    b->loss = clv_loss_node(g, "moco_queue", options, 2, inputs, 3, NULL, 0);
    clv_graph_output(g, b->loss);
    TRY(clv_graph_backward(g, b->loss));
    TRY(clv_graph_finish(g));
    TRY(clv_graph_bind(g, queue, &rows));
    return clv_params_init(b->query.params, 1);
}

static clv_status open_key(bench *b, const settings *s)
{
    TRY(clv_params_clone(b->query.params, &b->key.params));
    TRY(open_encoder(b, s, &b->key));
    clv_graph_output(b->key.graph, b->key.unit);
    return clv_graph_finish(b->key.graph);
}

/* Two views of uniform noise in [-1, 1). */
static clv_status fill(bench *b, const settings *s)
{
    const int64_t count = s->batch * 3 * s->size * s->size;
    uint64_t noise = 1;
    for (int v = 0; v < 2; v++) {
        if (!(b->images[v] = malloc((size_t)count * sizeof *b->images[v]))) return CLV_ERR_NOMEM;
        for (int64_t i = 0; i < count; i++) {
            noise = noise * 6364136223846793005u + 1442695040888963407u;
            b->images[v][i] = (float)((double)(noise >> 40) / (double)(1 << 23) - 1.0);
        }
        encoder *e = v ? &b->key : &b->query;
        const clv_view x = clv_view_nhwc(b->images[v], CLV_F32, s->batch, 3, s->size, s->size);
        TRY(clv_graph_bind(e->graph, e->images, &x));
    }
    if (!(b->ids = malloc((size_t)s->batch * sizeof *b->ids))) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < s->batch; i++) b->ids[i] = i;
    return bench_velocity(b->query.params, &b->moving, &b->velocity);
}

static clv_status open_bench(bench *b, const settings *s)
{
    char capacity[24];
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = s->threads;
    (void)snprintf(capacity, sizeof capacity, "%" PRId64, s->queue);
    const clv_option options[] = { { "capacity", capacity }, { "dim", "128" } };
    TRY(clv_context_create(&desc, &b->ctx));
    TRY(clv_context_use(b->ctx, s->device));
    if (s->benchmark) TRY(clv_context_benchmark(b->ctx, true));
    TRY(clv_bank_create(b->ctx, "fifo", options, 2, &b->bank));
    TRY(open_query(b, s));
    TRY(open_key(b, s));
    return fill(b, s);
}

/* Loss and gradients. */
static clv_status forward(bench *b)
{
    clv_view keys;
    TRY(clv_graph_run(b->key.graph));
    TRY(clv_graph_read(b->key.graph, b->key.unit, &keys));
    TRY(clv_graph_bind(b->query.graph, b->keys, &keys));
    return clv_graph_run(b->query.graph);
}

static clv_status step(bench *b)
{
    const clv_sgd sgd = { .lr = 0.03, .momentum = 0.9, .weight_decay = 1e-4, .velocity = b->velocity,
                          .follower = b->key.params, .follow = 0.999 };
    clv_view keys, loss;
    TRY(forward(b));
    TRY(clv_params_sgd(b->query.params, &sgd));
    TRY(clv_graph_read(b->query.graph, b->loss, &loss));         /* where a device is done with it */
    TRY(clv_graph_read(b->key.graph, b->key.unit, &keys));
    return clv_bank_push(b->bank, &keys, b->ids, NULL);
}

static bool work(void *arg)
{
    const clv_status st = step(arg);
    if (st != CLV_OK) (void)fprintf(stderr, "bench_moco: %s: %s\n", clv_status_name(st), clv_error_message());
    return st == CLV_OK;
}

static clv_status write_params(bench *b, FILE *file, const char *prefix, clv_param_part part)
{
    for (int64_t i = 0; i < clv_params_count(b->query.params); i++) {
        clv_param_info info;
        TRY(clv_params_info(b->query.params, i, &info));
        if (part == CLV_PARAM_GRADIENT && info.kind != CLV_PARAM_TRAINABLE) continue;
        clv_view view = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        view.data = malloc((size_t)clv_view_count(&view) * sizeof(float));
        if (!view.data) return CLV_ERR_NOMEM;
        const clv_status st = clv_params_read(b->query.params, i, part, &view);
        const bool written = st == CLV_OK && write_record(file, prefix, info.name, info.ndim, info.shape, view.data);
        free(view.data);
        if (!written) return st == CLV_OK ? CLV_ERR_IO : st;
    }
    return CLV_OK;
}

static clv_status export_step(bench *b, const settings *s, FILE *file)
{
    const int64_t shape[4] = { s->batch, s->size, s->size, 3 };
    const clv_view rows = clv_bank_rows(b->bank);
    clv_view loss;
    if (!write_record(file, "", "query", 4, shape, b->images[0]) ||
        !write_record(file, "", "key", 4, shape, b->images[1]) ||
        !write_record(file, "", "queue", 2, rows.shape, rows.data)) return CLV_ERR_IO;
    TRY(write_params(b, file, "param:", CLV_PARAM_VALUE));
    TRY(forward(b));
    TRY(clv_graph_read(b->query.graph, b->loss, &loss));
    if (!write_record(file, "", "loss", 0, NULL, loss.data)) return CLV_ERR_IO;
    return write_params(b, file, "grad:", CLV_PARAM_GRADIENT);
}

static bool export_to(bench *b, const settings *s)
{
    FILE *file = fopen(s->export_to, "wb");
    if (!file) return false;
    const bool written = export_step(b, s, file) == CLV_OK;
    return fclose(file) == 0 && written;
}

static void close_bench(bench *b)
{
    clv_graph_destroy(b->query.graph);
    clv_graph_destroy(b->key.graph);
    clv_params_destroy(b->moving);
    clv_params_destroy(b->key.params);
    clv_params_destroy(b->query.params);
    clv_bank_destroy(b->bank);
    clv_context_destroy(b->ctx);
    for (int v = 0; v < 2; v++) free(b->images[v]);
    free(b->ids);
}

static bool read_settings(settings *s, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool *flag = strcmp(argv[i], "--serve") == 0 ? &s->serve :
                     strcmp(argv[i], "--cudnn-benchmark") == 0 ? &s->benchmark : NULL;
        if (flag) {
            *flag = true;
            continue;
        }
        if (i + 1 == argc) return false;
        const char *name = argv[i++], *value = argv[i];
        if (strcmp(name, "--backbone") == 0) s->backbone = value;
        else if (strcmp(name, "--stem") == 0) s->stem = value;
        else if (strcmp(name, "--device") == 0) s->device = value;
        else if (strcmp(name, "--export") == 0) s->export_to = value;
        else if (strcmp(name, "--size") == 0) s->size = strtoll(value, NULL, 10);
        else if (strcmp(name, "--batch") == 0) s->batch = strtoll(value, NULL, 10);
        else if (strcmp(name, "--queue") == 0) s->queue = strtoll(value, NULL, 10);
        else if (strcmp(name, "--threads") == 0) s->threads = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "--steps") == 0) s->steps = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "--precision") != 0 || !bench_read_precision(value, &s->precision)) return false;
    }
    return s->size >= 1 && s->batch >= 1 && s->queue >= s->batch && s->steps >= 1;
}

int main(int argc, char **argv)
{
    settings s = { .backbone = "resnet18", .stem = "cifar", .device = "cpu", .size = 32, .batch = 256, .queue = 4096,
                   .steps = 5 };
    bench b = { .ctx = NULL };
    if (!read_settings(&s, argc, argv)) {
        (void)fprintf(stderr, "usage: bench_moco [--backbone NAME] [--stem KIND] [--size PIXELS] [--batch N] [--queue K]"
                              " [--device NAME] [--threads N] [--steps N] [--precision " BENCH_PRECISIONS "]"
                              " [--cudnn-benchmark]"
                              " [--export FILE] [--serve]\n");
        return 2;
    }
    const clv_status st = open_bench(&b, &s);
    if (st != CLV_OK) (void)fprintf(stderr, "bench_moco: %s: %s\n", clv_status_name(st), clv_error_message());
    bool done = st == CLV_OK;
    if (done && s.export_to) done = export_to(&b, &s);
    else if (done && s.serve) done = bench_serve(work, &b, 1);
    else if (done) {
        (void)printf("moco,%s,%s,%s,size=%" PRId64 ",batch=%" PRId64 ",queue=%" PRId64 ",device=%s,threads=%d,cleave=%s,",
                     s.backbone, s.stem, bench_precision_name(s.precision), s.size, s.batch, s.queue, s.device,
                     clv_context_threads(b.ctx), clv_version());
        done = bench_measure(work, &b, s.steps);
    }
    close_bench(&b);
    return done ? 0 : 1;
}
