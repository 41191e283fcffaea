/* bench_augment.c: views per second of one thread, for the presets people train with. Each result is checked first: a
 * second object must give the same floats, and they must lie where normalised bytes can lie. */
#include "clock.h"
#include <cleave/augment.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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
    { "eval", 375, 500, 60 },
};

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

static clv_status run_views(const clv_transform *t, const clv_image *image, void *scratch, size_t size, int views,
                            float *out)
{
    for (int i = 0; i < views; i++) {
        const clv_status st = t->apply(t->user, image, 7, 0, (uint64_t)i, 0, scratch, size, out);
        if (st != CLV_OK) return st;
    }
    return CLV_OK;
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

static clv_status bench_one(clv_context *ctx, const bench_case *c)
{
    double rate[REPEATS];
    clv_augment *first = NULL, *second = NULL;
    clv_transform t, other;
    clv_status st = clv_augment_create(ctx, c->preset, NULL, 0, &first);
    if (st == CLV_OK) st = clv_augment_create(ctx, first ? clv_augment_describe(first) : "", NULL, 0, &second);
    if (st == CLV_OK) st = clv_augment_transform(first, &t);
    if (st == CLV_OK) st = clv_augment_transform(second, &other);
    if (st != CLV_OK) return st;

    const size_t size = ((size_t)t.scratch_size(t.user, c->height, c->width, 3) + 63) / 64 * 64;
    const int64_t n = t.height * t.width * 3;
    uint8_t *pixels = make_picture(c->height, c->width);
    void *scratch = aligned_alloc(64, size);
    float *out = malloc((size_t)n * sizeof *out), *again = malloc((size_t)n * sizeof *again);
    const clv_image image = clv_image_dense(pixels, c->height, c->width, 3);
    if (!pixels || !scratch || !out || !again) st = CLV_ERR_NOMEM;
    if (st == CLV_OK) st = run_views(&t, &image, scratch, size, c->views, out);   /* warm-up */
    if (st == CLV_OK) st = run_views(&other, &image, scratch, size, c->views, again);
    const bool right = st == CLV_OK && answer_is_right(out, again, n);
    for (int i = 0; i < REPEATS && right && st == CLV_OK; i++) {
        const double start = bench_now();
        st = run_views(&t, &image, scratch, size, c->views, out);
        rate[i] = c->views / (bench_now() - start);
    }
    if (right && st == CLV_OK) {
        qsort(rate, REPEATS, sizeof *rate, bench_by_value);
        printf("%s,%" PRId64 "x%" PRId64 ",%" PRId64 ",%.0f,%.0f,%.0f,%zu\n", c->preset, c->height, c->width, t.height,
               rate[REPEATS / 2], rate[0], rate[REPEATS - 1], size);
    } else {
        fprintf(stderr, "%s: %s\n", c->preset, st == CLV_OK ? "the answer is wrong" : clv_error_message());
        if (st == CLV_OK) st = CLV_ERR_INTERNAL;
    }
    free(pixels);
    free(scratch);
    free(out);
    free(again);
    clv_augment_destroy(first);
    clv_augment_destroy(second);
    return st;
}

int main(void)
{
    clv_context *ctx = NULL;
    int failed = clv_context_create(NULL, &ctx) != CLV_OK;
    if (!failed) printf("preset,picture,size,views_per_s_median,slowest,fastest,scratch_bytes\n");
    for (size_t i = 0; !failed && i < sizeof cases / sizeof *cases; i++) failed = bench_one(ctx, &cases[i]) != CLV_OK;
    clv_context_destroy(ctx);
    return failed;
}
