/* bench_rows.c: time to read random images of a data set of pixels: contiguous HDF5 is mapped, so this is memory's.
 *
 *   bench_rows [DATASET]     default: 20000 noise pictures of 32x32, packed into an HDF5 file
 *
 * Every image is copied, as H5Dread would; what was read is compared with a pass in order. Opening, which reads all of
 * a set that is chunked or compressed, is told apart, as time for each image. */
#include "clock.h"
#include "noise.h"
#include <cleave/data.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPEATS 7
#define RECORDS 20000

static clv_status make_default(clv_context *ctx, const char *noise, const char *packed)
{
    clv_pack_desc desc = CLV_PACK_DESC_INIT;
    desc.sources = &noise;
    desc.source_count = 1;
    desc.output = packed;
    if (!noise_write(noise, RECORDS)) {
        fprintf(stderr, "cannot write '%s'\n", noise);
        return CLV_ERR_IO;
    }
    const clv_status st = clv_pack(ctx, &desc, NULL, NULL);
    if (st != CLV_OK) fprintf(stderr, "%s\n", clv_error_message());
    return st;
}

/* Copies every image into `out`, in order or, with another step, each once in a scattered order. *sum: of one byte of
 * each, another one in every image. */
static clv_status read_all(const clv_dataset *ds, clv_decoder *decoder, int64_t count, int64_t step, uint8_t *out,
                           uint64_t *sum)
{
    *sum = 0;
    for (int64_t k = 0, i = 0; k < count; k++, i = (i + step) % count) {
        clv_image image;
        const clv_status st = clv_dataset_image(ds, i, decoder, &image);
        if (st != CLV_OK) return st;
        /* Rows of a set of pixels follow each other without gaps. */
        const int64_t row = image.width * image.channels;
        memcpy(out, image.pixels, (size_t)(row * image.height));
        *sum += out[i % (row * image.height)];
    }
    return CLV_OK;
}

static int64_t common_factor(int64_t a, int64_t b)
{
    return b ? common_factor(b, a % b) : a;
}

static clv_status bench(clv_context *ctx, const char *path)
{
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    double seconds[REPEATS];
    uint64_t in_order = 0, sum = 0;
    const double opening = bench_now();
    clv_status st = clv_dataset_open(ctx, path, NULL, &ds);
    const double opened = bench_now() - opening;
    if (st == CLV_OK) st = clv_decoder_create(ctx, NULL, &decoder);
    if (st == CLV_OK) clv_dataset_describe(ds, &info);
    uint8_t *out = NULL;
    if (st == CLV_OK && !info.raw) {
        fprintf(stderr, "'%s' holds no pixels\n", path);
        st = CLV_ERR_INVALID;
    }
    if (st == CLV_OK) {
        out = malloc((size_t)(info.height * info.width * info.channels));
        if (!out) st = CLV_ERR_NOMEM;
    }
    if (st == CLV_OK) st = read_all(ds, decoder, info.count, 1, out, &in_order);
    if (st == CLV_OK) {
        int64_t step = info.count * 618 / 1000 + 1;
        while (common_factor(step, info.count) != 1) step++;
        for (int r = 0; r < REPEATS && st == CLV_OK; r++) {
            const double start = bench_now();
            st = read_all(ds, decoder, info.count, step, out, &sum);
            seconds[r] = bench_now() - start;
        }
    }
    if (st != CLV_OK) fprintf(stderr, "%s\n", clv_error_message());
    if (st == CLV_OK && sum != in_order) {
        fprintf(stderr, "the scattered order read other bytes\n");
        st = CLV_ERR_INTERNAL;
    }
    if (st == CLV_OK) {
        qsort(seconds, REPEATS, sizeof *seconds, bench_by_value);
        const double us = 1e6 / (double)info.count;
        printf("images,us_per_image_median,fastest,slowest,us_to_open\n%" PRId64 ",%.3f,%.3f,%.3f,%.3f\n", info.count,
               seconds[REPEATS / 2] * us, seconds[0] * us, seconds[REPEATS - 1] * us, opened * us);
    }
    free(out);
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
    return st;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/bench_rows.XXXXXX", noise[64] = "", packed[64] = "";
    clv_context *ctx = NULL;
    if (clv_context_create(NULL, &ctx) != CLV_OK) return 1;
    clv_status st = CLV_OK;
    if (argc <= 1) {
        if (!mkdtemp(folder)) return 1;
        snprintf(noise, sizeof noise, "%s/data_batch_1.bin", folder);
        snprintf(packed, sizeof packed, "%s/packed.h5", folder);
        st = make_default(ctx, noise, packed);
    }
    if (st == CLV_OK) st = bench(ctx, argc > 1 ? argv[1] : packed);
    clv_context_destroy(ctx);
    if (argc <= 1) {
        unlink(packed);
        unlink(noise);
        rmdir(folder);
    }
    return st != CLV_OK;
}
