/* bench_loader.c: images per second of the data loader by number of workers.
 *
 *   bench_loader [DATASET [PRESET [BATCH]]]     default: 2000 noise pictures of 32x32, moco-cifar, 128
 *
 * Every run must give the same floats as the one without workers. */
#include "clock.h"
#include "noise.h"
#include <cleave/augment.h>
#include <cleave/data.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPEATS 5
#define RECORDS 2000

/* The bits of a batch in one number. */
static uint64_t digest(uint64_t h, const clv_batch *b)
{
    for (int64_t v = 0; v < b->views; v++) {
        const uint32_t *bits = b->view[v].data;
        for (int64_t i = 0; i < clv_view_count(&b->view[v]); i++) h = (h ^ bits[i]) * UINT64_C(1099511628211);
    }
    return h;
}

static clv_status run_batches(clv_loader *loader, int64_t batches, uint64_t *bits)
{
    clv_batch b;
    for (int64_t i = 0; i < batches; i++) {
        const clv_status st = clv_loader_next(loader, &b);
        if (st != CLV_OK) return st;
        if (bits) *bits = digest(*bits, &b);
    }
    return CLV_OK;
}

static clv_status bench_one(clv_context *ctx, const clv_dataset *ds, const clv_loader_desc *desc, uint64_t *expected)
{
    double rate[REPEATS];
    uint64_t bits = 1;
    clv_loader *loader = NULL;
    clv_status st = clv_loader_create(ctx, ds, desc, &loader);
    if (st == CLV_OK) st = run_batches(loader, 8, &bits);   /* warm-up and check */
    if (*expected == 0) *expected = bits;
    const int64_t batches = 4096 / desc->batch_size + 1;
    for (int i = 0; i < REPEATS && st == CLV_OK; i++) {
        const double start = bench_now();
        st = run_batches(loader, batches, NULL);
        rate[i] = (double)(batches * desc->batch_size) / (bench_now() - start);
    }
    clv_loader_destroy(loader);
    if (st != CLV_OK || bits != *expected) {
        fprintf(stderr, "%d workers: %s\n", desc->workers, st == CLV_OK ? "the answer is wrong" : clv_error_message());
        return st == CLV_OK ? CLV_ERR_INTERNAL : st;
    }
    qsort(rate, REPEATS, sizeof *rate, bench_by_value);
    printf("%d,%" PRId64 ",%" PRId64 ",%.0f,%.0f,%.0f\n", desc->workers, desc->batch_size, desc->views,
           rate[REPEATS / 2], rate[0], rate[REPEATS - 1]);
    return CLV_OK;
}

static clv_status bench(clv_context *ctx, const char *path, const char *preset, int64_t batch)
{
    clv_dataset *ds = NULL;
    clv_augment *augment = NULL;
    clv_transform views[2];
    uint64_t expected = 0;
    clv_loader_desc desc = CLV_LOADER_DESC_INIT;
    desc.batch_size = batch;
    desc.transforms = views;
    clv_status st = clv_dataset_open(ctx, path, NULL, &ds);
    if (st == CLV_OK) st = clv_augment_create(ctx, preset, NULL, 0, &augment);
    if (st == CLV_OK) st = clv_augment_transform(augment, &views[0]);
    views[1] = views[0];
    if (st != CLV_OK) fprintf(stderr, "%s\n", clv_error_message());
    if (st == CLV_OK) printf("workers,batch,views,images_per_s_median,slowest,fastest\n");
    for (desc.workers = 0; desc.workers <= 4 && st == CLV_OK; desc.workers += desc.workers ? desc.workers : 1)
        st = bench_one(ctx, ds, &desc, &expected);
    clv_augment_destroy(augment);
    clv_dataset_destroy(ds);
    return st;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/bench_loader.XXXXXX", noise[64] = "";
    const char *path = argc > 1 ? argv[1] : noise, *preset = argc > 2 ? argv[2] : "moco-cifar";
    const int64_t batch = argc > 3 ? strtoll(argv[3], NULL, 10) : 128;
    clv_context *ctx = NULL;
    if (argc <= 1) {
        if (!mkdtemp(folder)) return 1;
        snprintf(noise, sizeof noise, "%s/data_batch_1.bin", folder);
        if (!noise_write(noise, RECORDS)) return 1;
    }
    const int failed = clv_context_create(NULL, &ctx) != CLV_OK || bench(ctx, path, preset, batch) != CLV_OK;
    clv_context_destroy(ctx);
    if (argc <= 1) {
        unlink(noise);
        rmdir(folder);
    }
    return failed;
}
