/* bench_losses.c: losses at the sizes they are compared with PyTorch at, value and gradients.
 *     bench_losses [--threads N] [--list | --export LOSS | --serve LOSS]
 *
 * Prints a line of CSV for each loss, --list their names. --export writes a loss's inputs, value and gradients to
 * standard output, for another program to check that it computes the same. --serve makes six evaluations for each line
 * read and answers with the median seconds of the last five, so that programs can take turns
 * (bench/compare_losses.sh). */
#include "loss_bench.h"
#include "record.h"

#include <string.h>

/* FLOATS get a gradient; UNIT_HALVES are UNIT_ROWS in bfloat16. */
typedef enum input_kind { NONE, FLOATS, CONSTANT, UNIT_ROWS, UNIT_HALVES, SHARES, LABELS } input_kind;

typedef struct input {
    input_kind  kind;
    const char *name;
    int         ndim;
    int64_t     shape[3];
    int64_t     classes;      /* LABELS, ranks: below this; SHARES: 1 / the largest */
} input;

typedef struct bench_case {
    const char *name;         /* of the case; the loss's, where there is one of it */
    const char *loss;
    int         n_options;
    clv_option  options[3];
    input       inputs[8];
} bench_case;

/* Options not named here have the published defaults; bench/peers/torch_losses.py has the same. */
static const bench_case cases[] = {
    { .name = "moco_queue", .loss = "moco_queue",
      .inputs = { { FLOATS, "query", 2, { 256, 128 }, 0 }, { CONSTANT, "key", 2, { 256, 128 }, 0 },
                  { UNIT_ROWS, "queue", 2, { 65536, 128 }, 0 } } },
    { .name = "moco_queue_bf16", .loss = "moco_queue",
      .inputs = { { FLOATS, "query", 2, { 256, 128 }, 0 }, { CONSTANT, "key", 2, { 256, 128 }, 0 },
                  { UNIT_HALVES, "queue", 2, { 65536, 128 }, 0 } } },
    { .name = "mochi", .loss = "mochi",
      .inputs = { { FLOATS, "query", 2, { 256, 128 }, 0 }, { CONSTANT, "key", 2, { 256, 128 }, 0 },
                  { UNIT_ROWS, "queue", 2, { 65536, 128 }, 0 }, { LABELS, "idx_i", 2, { 256, 512 }, 1024 },
                  { LABELS, "idx_j", 2, { 256, 512 }, 1024 }, { SHARES, "alpha", 2, { 256, 512 }, 1 },
                  { LABELS, "idx_q", 2, { 256, 256 }, 1024 }, { SHARES, "beta", 2, { 256, 256 }, 2 } } },
    { .name = "feature_transform", .loss = "feature_transform",
      .inputs = { { FLOATS, "q", 2, { 256, 128 }, 0 }, { CONSTANT, "k", 2, { 256, 128 }, 0 },
                  { UNIT_ROWS, "queue", 2, { 65536, 128 }, 0 }, { SHARES, "lambda_pos", 2, { 256, 128 }, 1 },
                  { SHARES, "lambda_neg", 2, { 65536, 128 }, 1 }, { LABELS, "perm", 1, { 65536 }, 65536 } } },
    { .name = "feature_transform_drawn", .loss = "feature_transform", .n_options = 1,
      .options = { { "level", "dim" } },
      .inputs = { { FLOATS, "q", 2, { 256, 128 }, 0 }, { CONSTANT, "k", 2, { 256, 128 }, 0 },
                  { UNIT_ROWS, "queue", 2, { 65536, 128 }, 0 } } },
    { .name = "supcon", .loss = "supcon",
      .inputs = { { FLOATS, "features", 3, { 1024, 2, 128 }, 0 }, { LABELS, "labels", 1, { 1024 }, 100 } } },
    { .name = "unpg", .loss = "unpg",
      .inputs = { { FLOATS, "features", 2, { 512, 512 }, 0 }, { FLOATS, "weight", 2, { 10000, 512 }, 0 },
                  { LABELS, "labels", 1, { 512 }, 10000 } } },
    { .name = "barlow_twins", .loss = "barlow_twins",
      .inputs = { { FLOATS, "z1", 2, { 256, 2048 }, 0 }, { FLOATS, "z2", 2, { 256, 2048 }, 0 } } },
    { .name = "opl", .loss = "opl",
      .inputs = { { FLOATS, "features", 2, { 512, 512 }, 0 }, { LABELS, "labels", 1, { 512 }, 100 } } },
    { .name = "dice", .loss = "dice", .n_options = 3,
      .options = { { "variant", "multiclass_official" }, { "square", "true" }, { "alpha", "0.5" } },
      .inputs = { { FLOATS, "logits", 2, { 4096, 10 }, 0 }, { LABELS, "targets", 1, { 4096 }, 10 } } },
    { .name = "nt_xent", .loss = "nt_xent",
      .inputs = { { FLOATS, "z1", 2, { 1024, 128 }, 0 }, { FLOATS, "z2", 2, { 1024, 128 }, 0 } } },
    { .name = "vicreg", .loss = "vicreg",
      .inputs = { { FLOATS, "x", 2, { 256, 2048 }, 0 }, { FLOATS, "y", 2, { 256, 2048 }, 0 } } },
    { .name = "cross_entropy", .loss = "cross_entropy",
      .inputs = { { FLOATS, "logits", 2, { 4096, 1000 }, 0 }, { LABELS, "targets", 1, { 4096 }, 1000 } } },
    { .name = "focal_softmax", .loss = "focal", .n_options = 1, .options = { { "variant", "softmax" } },
      .inputs = { { FLOATS, "logits", 2, { 4096, 100 }, 0 }, { LABELS, "targets", 1, { 4096 }, 100 } } },
    { .name = "focal_sigmoid", .loss = "focal", .n_options = 1, .options = { { "variant", "sigmoid" } },
      .inputs = { { FLOATS, "logits", 2, { 4096, 80 }, 0 }, { LABELS, "targets", 2, { 4096, 80 }, 2 } } },
    { .name = "triplet_hard", .loss = "triplet", .n_options = 1, .options = { { "variant", "batch_hard" } },
      .inputs = { { FLOATS, "features", 2, { 512, 128 }, 0 }, { LABELS, "labels", 1, { 512 }, 64 } } },
    { .name = "triplet_all", .loss = "triplet", .n_options = 1, .options = { { "variant", "batch_all" } },
      .inputs = { { FLOATS, "features", 2, { 256, 128 }, 0 }, { LABELS, "labels", 1, { 256 }, 32 } } },
    { .name = "byol", .loss = "cosine_regression",
      .inputs = { { FLOATS, "p1", 2, { 256, 256 }, 0 }, { FLOATS, "p2", 2, { 256, 256 }, 0 },
                  { CONSTANT, "z1", 2, { 256, 256 }, 0 }, { CONSTANT, "z2", 2, { 256, 256 }, 0 } } },
};
enum { CASES = sizeof cases / sizeof *cases };

static void make_unit_rows(float *x, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t d = 0; d < cols; d++) sum += pow(x[i * cols + d], 2);
        for (int64_t d = 0; d < cols; d++) x[i * cols + d] /= (float)sqrt(sum);
    }
}

/* Floats become bfloat16, in their memory. */
static void store_halves(clv_view *view)
{
    const float *x = view->data;
    uint16_t *y = view->data;
    for (int64_t i = 0; i < clv_view_count(view); i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits += 0x7fff + (bits >> 16 & 1);
        y[i] = (uint16_t)(bits >> 16);
    }
    *view = clv_view_dense(view->data, CLV_BF16, view->ndim, view->shape);
}

/* Numbers in (0, 1/parts). */
static void make_shares(float *x, int64_t count, int64_t parts)
{
    for (int64_t i = 0; i < count; i++) x[i] = (float)(0.5 + 0.5 * tanh(x[i])) / (float)parts;
}

static clv_status make(loss_bench *b, const bench_case *c)
{
    *b = (loss_bench) { .name = c->loss, .options = c->options, .n_options = c->n_options };
    for (const input *in = c->inputs; in < c->inputs + 8 && in->kind; in++) {
        const bool good = in->kind == LABELS ? loss_bench_labels(b, in->name, in->ndim, in->shape, in->classes)
                                             : loss_bench_tensor(b, in->name, in->ndim, in->shape, in->kind == FLOATS);
        if (!good) return CLV_ERR_NOMEM;
        clv_loss_tensor *made = &b->in[b->n_inputs - 1];
        if (in->kind == SHARES) make_shares(made->view.data, clv_view_count(&made->view), in->classes);
        const bool unit = in->kind == UNIT_ROWS || in->kind == UNIT_HALVES;
        if (unit) make_unit_rows(made->view.data, in->shape[0], in->shape[1]);
        if (in->kind == UNIT_HALVES) store_halves(&made->view), b->tolerance = 2e-4;
    }
    return CLV_OK;
}

/* ---- what another program starts from and must arrive at ---- */

/* Labels and bfloat16 as floats, which hold them. */
static bool write_converted(const clv_loss_tensor *t)
{
    const int64_t n = clv_view_count(&t->view), *labels = t->view.data;
    const uint16_t *halves = t->view.data;
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; x && i < n; i++) {
        const uint32_t bits = t->view.dtype == CLV_BF16 ? (uint32_t)halves[i] << 16 : 0;
        if (t->view.dtype == CLV_BF16) memcpy(&x[i], &bits, sizeof bits);
        else x[i] = (float)labels[i];
    }
    const bool written = x && write_record(stdout, "", t->name, t->view.ndim, t->view.shape, x);
    free(x);
    return written;
}

static bool write_tensor(const char *prefix, const clv_loss_tensor *t)
{
    if (t->view.dtype != CLV_F32) return write_converted(t);
    return write_record(stdout, prefix, t->name, t->view.ndim, t->view.shape, t->view.data);
}

static clv_status export_case(loss_bench *b, clv_loss *loss)
{
    double value = 0;
    clv_status st = loss_bench_run(loss, b, &value);
    if (st != CLV_OK) return st;
    const float rounded = (float)value;
    bool good = write_record(stdout, "", "loss", 0, NULL, &rounded);
    for (int i = 0; i < b->n_inputs && good; i++) good = write_tensor("", &b->in[i]);
    for (int i = 0; i < b->n_grads && good; i++) good = write_tensor("grad:", &b->grad[i]);
    return good && fflush(stdout) == 0 ? CLV_OK : CLV_ERR_IO;
}

/* ---- measuring ---- */

/* The median of a few evaluations, after one that wakes the threads. */
static clv_status answer(loss_bench *b, clv_loss *loss, double *seconds)
{
    enum { TIMED = 5 };
    double each[TIMED], value;
    clv_status st = loss_bench_run(loss, b, &value);
    for (int i = 0; i < TIMED && st == CLV_OK; i++) {
        const double begin = bench_now();
        st = loss_bench_run(loss, b, &value);
        each[i] = bench_now() - begin;
    }
    if (st == CLV_OK) qsort(each, TIMED, sizeof *each, bench_by_value);
    *seconds = each[TIMED / 2];
    return st;
}

static clv_status serve(loss_bench *b, clv_loss *loss)
{
    char line[64];
    double seconds;
    while (fgets(line, sizeof line, stdin)) {
        const clv_status st = answer(b, loss, &seconds);
        if (st != CLV_OK) return st;
        printf("%.7f\n", seconds);
        fflush(stdout);
    }
    return CLV_OK;
}

/* How one case is run: --export, --serve, or NULL to time it. */
static clv_status run(clv_context *ctx, const bench_case *c, const char *mode)
{
    loss_bench b;
    clv_loss *loss = NULL;
    clv_status st = make(&b, c);
    if (st == CLV_OK && !mode) st = loss_bench_time(ctx, &b, c->name);
    if (st == CLV_OK && mode) st = clv_loss_create(ctx, c->loss, c->options, c->n_options, &loss);
    if (st == CLV_OK && mode) st = strcmp(mode, "--serve") == 0 ? serve(&b, loss) : export_case(&b, loss);
    clv_loss_destroy(loss);
    loss_bench_free(&b);
    return st;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_losses [--threads N] [--list | --export LOSS | --serve LOSS]\nlosses:");
    for (int i = 0; i < CASES; i++) fprintf(stderr, " %s", cases[i].name);
    fputc('\n', stderr);
    return 2;
}

int main(int argc, char **argv)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    const char *mode = NULL, *name = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            for (int k = 0; k < CASES; k++) puts(cases[k].name);
            return 0;
        }
        if (i + 1 == argc) return usage();
        if (strcmp(argv[i], "--threads") == 0) desc.threads = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--export") == 0 || strcmp(argv[i], "--serve") == 0) mode = argv[i], name = argv[++i];
        else return usage();
    }
    int found = 0;
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK && !mode) printf(LOSS_BENCH_HEADER);
    for (int i = 0; i < CASES && st == CLV_OK; i++) {
        if (name && strcmp(name, cases[i].name) != 0) continue;
        found++;
        st = run(ctx, &cases[i], mode);
    }
    if (st != CLV_OK) fprintf(stderr, "bench_losses: %s: %s\n", clv_status_name(st), clv_error_message());
    clv_context_destroy(ctx);
    return st != CLV_OK ? 1 : found ? 0 : usage();
}
