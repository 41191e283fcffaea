/* bench_augment.c: views per second of one thread, for the presets people train with.
 *
 *   bench_augment                     all of them, one after another
 *   bench_augment --serve PRESET      for each line read, the seconds of a view (bench/compare_augment.sh)
 *   bench_augment --export FILE       the picture and its view by `eval`, for the comparison
 *
 * Each result is checked first: a second object must give the same floats, and they must lie where normalised bytes can
 * lie. */
#include "record.h"
#include "serve.h"
#include <cleave/augment.h>
#include <math.h>
#include <string.h>

#define REPEATS 11

typedef struct bench_case {
    const char *preset;
    int64_t     height, width;   /* of the picture */
    int         views;           /* per repetition */
} bench_case;

static const bench_case cases[] = {
    { "moco-cifar", 32, 32, 4000 },
    { "simclr-cifar", 32, 32, 4000 },
    { "moco-v1", 375, 500, 60 },
    { "moco-v2", 375, 500, 60 },
    { "simclr", 375, 500, 60 },
    { "eval", 375, 500, 60 },
};

typedef struct bench {
    const bench_case *c;
    clv_augment      *augment, *again;
    clv_transform     t, other;
    uint8_t          *pixels;
    clv_image         image;
    void             *scratch;
    size_t            scratch_size;
    float            *out, *check;
    int64_t           floats;
} bench;

/* A smooth picture with some noise, the same every time. */
static uint8_t *make_picture(int64_t height, int64_t width)
{
    uint8_t *pixels = malloc((size_t)(height * width * 3));
    uint32_t noise = 1;
    for (int64_t i = 0; pixels && i < height * width * 3; i++) {
        noise = noise * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(128.0 + 90.0 * sin((double)(i % (width * 3)) * 0.02) + (double)(noise >> 27));
    }
    return pixels;
}

static bool bench_open(clv_context *ctx, const bench_case *c, bench *b)
{
    *b = (bench){ .c = c };
    if (clv_augment_create(ctx, c->preset, NULL, 0, &b->augment) != CLV_OK ||
        clv_augment_create(ctx, clv_augment_describe(b->augment), NULL, 0, &b->again) != CLV_OK ||
        clv_augment_transform(b->augment, &b->t) != CLV_OK || clv_augment_transform(b->again, &b->other) != CLV_OK)
        return false;
    b->scratch_size = ((size_t)b->t.scratch_size(b->t.user, c->height, c->width, 3) + 63) / 64 * 64;
    b->floats = b->t.height * b->t.width * 3;
    b->pixels = make_picture(c->height, c->width);
    b->image = clv_image_dense(b->pixels, c->height, c->width, 3);
    b->scratch = aligned_alloc(64, b->scratch_size);
    b->out = malloc((size_t)b->floats * sizeof *b->out);
    b->check = malloc((size_t)b->floats * sizeof *b->check);
    return b->pixels && b->scratch && b->out && b->check;
}

static void bench_close(bench *b)
{
    free(b->pixels);
    free(b->scratch);
    free(b->out);
    free(b->check);
    clv_augment_destroy(b->augment);
    clv_augment_destroy(b->again);
}

static bool run_views(const clv_transform *t, const bench *b, float *out)
{
    for (int i = 0; i < b->c->views; i++)
        if (t->apply(t->user, &b->image, 7, 0, (uint64_t)i, 0, b->scratch, b->scratch_size, out) != CLV_OK)
            return false;
    return true;
}

static bool work(void *arg)
{
    bench *b = arg;
    return run_views(&b->t, b, b->out);
}

static bool answer_is_right(const float *a, const float *b, int64_t n)
{
    double low = 1e30, high = -1e30;
    if (memcmp(a, b, (size_t)n * sizeof *a) != 0) return false;
    for (int64_t i = 0; i < n; i++) {
        low = fmin(low, a[i]);
        high = fmax(high, a[i]);
    }
    return low >= -3.0 && high <= 3.0 && high > low;
}

/* Opens the case and compares its two objects, which also warms up. */
static bool prepare(clv_context *ctx, const bench_case *c, bench *b)
{
    const bool ran = bench_open(ctx, c, b) && run_views(&b->t, b, b->out) && run_views(&b->other, b, b->check);
    const bool right = ran && answer_is_right(b->out, b->check, b->floats);
    if (!right) fprintf(stderr, "%s: %s\n", c->preset, ran ? "the answer is wrong" : clv_error_message());
    return right;
}

static bool measure(bench *b)
{
    double rate[REPEATS], seconds;
    const bench_case *c = b->c;
    for (int i = 0; i < REPEATS; i++) {
        if (!bench_once(work, b, &seconds)) return false;
        rate[i] = c->views / seconds;
    }
    qsort(rate, REPEATS, sizeof *rate, bench_by_value);
    printf("%s,%" PRId64 "x%" PRId64 ",%" PRId64 ",%.0f,%.0f,%.0f,%zu\n", c->preset, c->height, c->width, b->t.height,
           rate[REPEATS / 2], rate[0], rate[REPEATS - 1], b->scratch_size);
    return true;
}

/* Answers with the seconds of one view. */
static bool serve(bench *b)
{
    char line[64];
    double seconds;
    while (fgets(line, sizeof line, stdin)) {
        if (!bench_once(work, b, &seconds)) return false;
        printf("%.9f\n", seconds / b->c->views);
        fflush(stdout);
    }
    return true;
}

static bool export_to(bench *b, const char *path)
{
    FILE *file = fopen(path, "wb");
    const int64_t in = b->c->height * b->c->width * 3;
    float *picture = malloc((size_t)in * sizeof *picture);
    for (int64_t i = 0; picture && i < in; i++) picture[i] = b->pixels[i];
    bool ok = file && picture &&
              write_record(file, "", "picture", 3, (int64_t[]){ b->c->height, b->c->width, 3 }, picture) &&
              write_record(file, "", "view", 3, (int64_t[]){ b->t.height, b->t.width, 3 }, b->out);
    if (file && fclose(file) != 0) ok = false;
    free(picture);
    return ok;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "", *preset = !strcmp(mode, "--export") ? "eval" : argc > 2 ? argv[2] : "";
    const bool all = argc == 1;
    clv_context *ctx = NULL;
    if (!all && (argc != 3 || (strcmp(mode, "--serve") && strcmp(mode, "--export")))) {
        fprintf(stderr, "usage: bench_augment [--serve PRESET | --export FILE]\n");
        return 2;
    }
    bool ok = clv_context_create(NULL, &ctx) == CLV_OK, found = all;
    if (all) printf("preset,picture,size,views_per_s_median,slowest,fastest,scratch_bytes\n");
    for (size_t i = 0; ok && i < sizeof cases / sizeof *cases; i++) {
        bench b;
        if (!all && strcmp(cases[i].preset, preset)) continue;
        found = true;
        ok = prepare(ctx, &cases[i], &b) &&
             (all ? measure(&b) : !strcmp(mode, "--serve") ? serve(&b) : export_to(&b, argv[2]));
        bench_close(&b);
    }
    if (!found) fprintf(stderr, "bench_augment knows no preset '%s'\n", preset);
    clv_context_destroy(ctx);
    return ok && found ? 0 : 1;
}
