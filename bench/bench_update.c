/* bench_update.c: what happens to all parameters after a backward pass: SGD with momentum and weight decay, and the key
 * encoder that follows. ResNet-50's 25.6 million parameters.
 *
 *   bench_update ema|sgd|sgd+ema [--threads N] [--export FILE] [--serve]
 *
 * --export writes values, gradients, velocities and followers before and after one update; --serve answers each line
 * with the mean seconds of ten (bench/compare_update.sh). */
#include "record.h"
#include "serve.h"

#include <cleave/backbone.h>
#include <string.h>

typedef struct bench {
    clv_context *ctx;
    clv_graph   *graph;
    clv_params  *params, *follower;
    clv_sgd      sgd;
    clv_view     part[4];       /* values, gradients, velocity, follower */
    bool         ema, descent;
} bench;

static const char *const part_names[] = { "value", "gradient", "velocity", "follower" };

static bool ok(clv_status st)
{
    if (st != CLV_OK) (void)fprintf(stderr, "bench_update: %s: %s\n", clv_status_name(st), clv_error_message());
    return st == CLV_OK;
}

static bool build(bench *b)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    const clv_option dim[] = { { "dim", "1000" } };
    clv_node features, logits;
    desc.training = true;
    if (!ok(clv_graph_create(b->ctx, &desc, &b->graph))) return false;
    const clv_node images = clv_input_image(b->graph, "images", 2, 3, 32, 32);
    if (!ok(clv_backbone_node(b->graph, "resnet50", NULL, 0, "", images, &features)) ||
        !ok(clv_head_node(b->graph, "linear", dim, 1, "", features, &logits))) return false;
    clv_graph_output(b->graph, logits);
    b->params = clv_graph_params(b->graph);
    return ok(clv_graph_finish(b->graph)) && ok(clv_params_init(b->params, 1)) &&
           ok(clv_params_clone(b->params, &b->follower));
}

/* Small numbers of no pattern in every vector; the values keep theirs. */
static bool fill(bench *b)
{
    uint64_t noise = 1;
    if (!ok(clv_params_flat(b->params, CLV_PARAM_VALUE, &b->part[0])) ||
        !ok(clv_params_flat(b->params, CLV_PARAM_GRADIENT, &b->part[1])) ||
        !ok(clv_params_flat(b->follower, CLV_PARAM_VALUE, &b->part[3]))) return false;
    const int64_t n = clv_view_count(&b->part[0]);
    b->part[2] = b->part[0];
    if (!(b->part[2].data = aligned_alloc(4096, ((size_t)n * sizeof(float) + 4095) & ~(size_t)4095))) return false;
    for (int p = 1; p < 4; p++)
        for (int64_t i = 0; i < n; i++) {
            noise = noise * 6364136223846793005u + 1442695040888963407u;
            ((float *)b->part[p].data)[i] = (float)((double)(noise >> 40) / (double)(1 << 23) - 1.0) * 0.01f;
        }
    b->sgd = (clv_sgd){ .lr = 0.03, .momentum = 0.9, .weight_decay = 1e-4, .velocity = b->part[2],
                        .follower = b->ema ? b->follower : NULL, .follow = 0.999 };
    return true;
}

static bool update(void *arg)
{
    bench *b = arg;
    return ok(b->descent ? clv_params_sgd(b->params, &b->sgd) : clv_params_follow(b->follower, b->params, 0.999));
}

static bool write_parts(const bench *b, FILE *file, const char *when)
{
    for (int p = 0; p < 4; p++)
        if (!write_record(file, when, part_names[p], 1, b->part[p].shape, b->part[p].data)) return false;
    return true;
}

static bool export_to(bench *b, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    const bool written = write_parts(b, file, "before:") && update(b) && write_parts(b, file, "after:");
    return fclose(file) == 0 && written;
}

static bool run(bench *b, int threads, const char *path, bool serve)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = threads;
    if (!ok(clv_context_create(&desc, &b->ctx)) || !build(b) || !fill(b)) return false;
    if (path) return export_to(b, path);
    if (serve) return bench_serve(update, b, 10);
    (void)printf("update,%s%s%s,threads=%d,cleave=%s,parameters=%" PRId64 ",", b->descent ? "sgd" : "",
                 b->descent && b->ema ? "+" : "", b->ema ? "ema" : "", clv_context_threads(b->ctx), clv_version(),
                 clv_view_count(&b->part[0]));
    return bench_measure(update, b, 21);
}

int main(int argc, char **argv)
{
    bench b = { .ctx = NULL };
    const char *what = argc > 1 ? argv[1] : "sgd+ema", *path = NULL;
    int threads = 0;
    bool serve = false, known = !strcmp(what, "ema") || !strcmp(what, "sgd") || !strcmp(what, "sgd+ema");
    for (int i = 2; i < argc && known; i++) {
        if (!strcmp(argv[i], "--serve")) serve = true;
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc) threads = (int)strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--export") && i + 1 < argc) path = argv[++i];
        else known = false;
    }
    if (!known) {
        (void)fprintf(stderr, "usage: bench_update ema|sgd|sgd+ema [--threads N] [--export FILE] [--serve]\n");
        return 2;
    }
    b.ema = strstr(what, "ema") != NULL;
    b.descent = strstr(what, "sgd") != NULL;
    const bool done = run(&b, threads, path, serve);
    free(b.part[2].data);
    clv_params_destroy(b.follower);
    clv_graph_destroy(b.graph);
    clv_context_destroy(b.ctx);
    return done ? 0 : 1;
}
