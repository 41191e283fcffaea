/* bench_views.c: microseconds an image from a packed JPEG file to two views of moco-v2 on one thread, with its stages.
 *
 *   bench_views [FILE.jpg ...]     default: 24 pictures of 500x375 made up here
 *
 * Rounds take turns: TurboJPEG's decoder, Cleave's, two views of decoded pixels, and the loader, which does both, first
 * of whole pictures, then of what the crops need. Before that, Cleave's decoder must give TurboJPEG's pixels, and the
 * loader, either way, the views of decoded pixels. */
#include "clock.h"
#include <cleave/augment.h>
#include <cleave/data.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <unistd.h>

#define ROUNDS 15
#define MADE   24
#define VIEWS  2
#define SEED   7

enum { TURBOJPEG, DECODE, AUGMENT, WHOLE, PART, STAGES };
static const char *const stage_name[] = { "turbojpeg", "decode", "two views", "loader, exact-decode", "loader" };

typedef struct bench {
    clv_context   *ctx;
    int            count;
    unsigned char **jpeg;
    size_t        *size;
    clv_dataset   *ds;
    clv_augment   *augment;
    clv_transform  view[VIEWS];
    clv_decoder   *decoder;
    tjhandle       turbojpeg;
    clv_loader    *loader[2];      /* whole pictures, and parts */
    unsigned char *pixels;
    void          *scratch;
    size_t         scratch_size;
    float         *out;            /* [VIEWS] */
} bench;

/* ---- pictures ---- */

/* Waves of several lengths and noise, so that a file has about the bytes of a photograph. */
static bool make_jpeg(int index, const char *path)
{
    enum { W = 500, H = 375 };
    static unsigned char rgb[H * W * 3];
    uint32_t noise = (uint32_t)index + 1;
    unsigned char *out = NULL;
    unsigned long size = 0;
    for (int i = 0; i < H * W * 3; i++) {
        const double y = i / 3 / W, x = i / 3 % W;
        double v = 128 + (noise >> 27);
        for (int k = 1; k <= 6; k++)
            v += 110.0 / (1 << k) * sin(x * 0.009 * (1 << k) + i % 3 * k + index) * cos(y * 0.011 * (1 << k) - index);
        noise = noise * 1664525u + 1013904223u;
        rgb[i] = (unsigned char)fmin(fmax(v, 0), 255);
    }
    tjhandle tj = tjInitCompress();
    FILE *file = fopen(path, "wb");
    bool ok = tj && file && !tjCompress2(tj, rgb, W, 0, H, TJPF_RGB, &out, &size, TJSAMP_420, 88, 0) &&
              fwrite(out, 1, size, file) == size;
    if (file && fclose(file) != 0) ok = false;
    tjFree(out);
    if (tj) tjDestroy(tj);
    return ok;
}

static bool read_jpeg(bench *b, int i, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) return false;
    b->size[i] = (size_t)ftell(file);
    b->jpeg[i] = malloc(b->size[i]);
    rewind(file);
    const bool ok = b->jpeg[i] && fread(b->jpeg[i], 1, b->size[i], file) == b->size[i];
    fclose(file);
    return ok;
}

/* The pictures in `folder`, as links or as new files, then packed byte for byte. */
static bool prepare(bench *b, char *const *paths, int count, const char *folder, const char *packed)
{
    char name[4096];
    b->count = count ? count : MADE;
    b->jpeg = calloc((size_t)b->count, sizeof *b->jpeg);
    b->size = calloc((size_t)b->count, sizeof *b->size);
    for (int i = 0; b->jpeg && b->size && i < b->count; i++) {
        char *real = count ? realpath(paths[i], NULL) : NULL;
        snprintf(name, sizeof name, "%s/%06d.jpg", folder, i);
        const bool made = count ? real && symlink(real, name) == 0 : make_jpeg(i, name);
        free(real);
        if (!made || !read_jpeg(b, i, name)) return false;
    }
    clv_pack_desc desc = CLV_PACK_DESC_INIT;
    desc.sources = &folder;
    desc.source_count = 1;
    desc.output = packed;
    desc.format = CLV_PACK_ORIGINAL;
    return clv_pack(b->ctx, &desc, NULL, NULL) == CLV_OK;
}

static bool open_all(bench *b, const char *packed)
{
    clv_loader_desc desc = CLV_LOADER_DESC_INIT;
    desc.batch_size = b->count;
    desc.views = VIEWS;
    desc.transforms = b->view;
    desc.seed = SEED;
    desc.workers = 0;
    desc.shuffle = false;
    b->turbojpeg = tjInitDecompress();
    if (!b->turbojpeg || clv_dataset_open(b->ctx, packed, NULL, &b->ds) != CLV_OK ||
        clv_augment_create(b->ctx, "moco-v2", NULL, 0, &b->augment) != CLV_OK ||
        clv_augment_transform(b->augment, &b->view[0]) != CLV_OK ||
        clv_decoder_create(b->ctx, NULL, &b->decoder) != CLV_OK)
        return false;
    b->view[1] = b->view[0];
    for (int part = 0; part < 2; part++) {
        desc.exact_decode = !part;
        if (clv_loader_create(b->ctx, b->ds, &desc, &b->loader[part]) != CLV_OK) return false;
    }
    int64_t height = 1, width = 1;
    for (int i = 0; i < b->count; i++) {
        clv_image image;
        if (clv_dataset_image(b->ds, i, b->decoder, &image) != CLV_OK) return false;
        height = image.height > height ? image.height : height;
        width = image.width > width ? image.width : width;
    }
    const clv_transform *t = &b->view[0];
    b->scratch_size = ((size_t)t->scratch_size(t->user, height, width, 3) + 63) / 64 * 64;
    b->scratch = aligned_alloc(64, b->scratch_size);
    b->pixels = malloc((size_t)(height * width * 3));
    b->out = malloc((size_t)(t->height * t->width * 3) * sizeof *b->out * VIEWS);
    return b->scratch && b->pixels && b->out;
}

/* ---- stages ---- */

static bool turbojpeg_decodes(bench *b, int i)
{
    int w = 0, h = 0, sampling = 0, space = 0;
    return !tjDecompressHeader3(b->turbojpeg, b->jpeg[i], b->size[i], &w, &h, &sampling, &space) &&
           !tjDecompress2(b->turbojpeg, b->jpeg[i], b->size[i], b->pixels, w, 0, h, TJPF_RGB, TJFLAG_STOPONWARNING);
}

static bool views_of(bench *b, int i, uint32_t epoch, const clv_image *image)
{
    const clv_transform *t = &b->view[0];
    for (uint32_t v = 0; v < VIEWS; v++)
        if (t->apply(t->user, image, SEED, epoch, (uint64_t)i, v, b->scratch, b->scratch_size,
                     b->out + v * t->height * t->width * 3) != CLV_OK)
            return false;
    return true;
}

/* Seconds of one stage over all pictures; negative when it failed. */
static double run_stage(bench *b, int stage, uint32_t epoch)
{
    clv_batch batch;
    double seconds = 0;
    for (int i = 0; i < b->count && stage <= AUGMENT; i++) {
        clv_image image;
        if (stage == AUGMENT && clv_dataset_image(b->ds, i, b->decoder, &image) != CLV_OK) return -1;
        const double start = bench_now();
        const bool ok = stage == TURBOJPEG ? turbojpeg_decodes(b, i)
                      : stage == DECODE    ? clv_dataset_image(b->ds, i, b->decoder, &image) == CLV_OK
                                           : views_of(b, i, epoch, &image);
        if (!ok) return -1;
        seconds += bench_now() - start;
    }
    if (stage <= AUGMENT) return seconds;
    const double start = bench_now();
    return clv_loader_next(b->loader[stage == PART], &batch) == CLV_OK ? bench_now() - start : -1;
}

static bool answers_are_right(bench *b)
{
    clv_batch batch[2];
    const int64_t floats = b->view[0].height * b->view[0].width * 3;
    for (int part = 0; part < 2; part++)
        if (clv_loader_next(b->loader[part], &batch[part]) != CLV_OK) return false;
    for (int i = 0; i < b->count; i++) {
        clv_image image;
        if (clv_dataset_image(b->ds, i, b->decoder, &image) != CLV_OK || !turbojpeg_decodes(b, i) ||
            memcmp(image.pixels, b->pixels, (size_t)(image.height * image.width * 3)) != 0 ||
            !views_of(b, i, 0, &image))
            return false;
        for (int k = 0; k < 2 * VIEWS; k++) {
            const float *got = (const float *)batch[k / VIEWS].view[k % VIEWS].data + i * floats;
            if (memcmp(got, b->out + k % VIEWS * floats, (size_t)floats * sizeof *got) != 0) return false;
        }
    }
    return true;
}

static bool measure(bench *b)
{
    double seconds[STAGES][ROUNDS], middle[STAGES];
    size_t bytes = 0;
    for (int i = 0; i < b->count; i++) bytes += b->size[i];
    for (uint32_t r = 0; r < ROUNDS; r++)
        for (int s = 0; s < STAGES; s++)
            if ((seconds[s][r] = run_stage(b, s, r + 1)) < 0) return false;
    printf("stage,us_per_image_median,fastest,slowest\n");
    for (int s = 0; s < STAGES; s++) {
        const double us = 1e6 / b->count;
        qsort(seconds[s], ROUNDS, sizeof *seconds[s], bench_by_value);
        middle[s] = seconds[s][ROUNDS / 2];
        printf("%s,%.1f,%.1f,%.1f\n", stage_name[s], middle[s] * us, seconds[s][0] * us, seconds[s][ROUNDS - 1] * us);
    }
    printf("images %d of %.1f KB; decode / turbojpeg %.3f; stages / loader %.3f, of whole pictures %.3f\n", b->count,
           (double)bytes / 1000 / b->count, middle[DECODE] / middle[TURBOJPEG],
           (middle[DECODE] + middle[AUGMENT]) / middle[PART], (middle[DECODE] + middle[AUGMENT]) / middle[WHOLE]);
    return true;
}

static void release(bench *b, const char *folder, const char *packed)
{
    char name[4096];
    for (int i = 0; b->jpeg && i < b->count; i++) {
        snprintf(name, sizeof name, "%s/%06d.jpg", folder, i);
        unlink(name);
        free(b->jpeg[i]);
    }
    unlink(packed);
    rmdir(folder);
    for (int part = 0; part < 2; part++) clv_loader_destroy(b->loader[part]);
    clv_decoder_destroy(b->decoder);
    clv_augment_destroy(b->augment);
    clv_dataset_destroy(b->ds);
    clv_context_destroy(b->ctx);
    if (b->turbojpeg) tjDestroy(b->turbojpeg);
    free(b->jpeg);
    free(b->size);
    free(b->pixels);
    free(b->scratch);
    free(b->out);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/bench_views.XXXXXX", packed[64];
    bench b = { 0 };
    if (!mkdtemp(folder)) return 1;
    snprintf(packed, sizeof packed, "%s.h5", folder);
    bool ok = clv_context_create(NULL, &b.ctx) == CLV_OK && prepare(&b, argv + 1, argc - 1, folder, packed) &&
              open_all(&b, packed);
    if (!ok) fprintf(stderr, "cannot prepare: %s\n", clv_error_message());
    if (ok && !answers_are_right(&b)) {
        fprintf(stderr, "the answer is wrong: %s\n", clv_error_message());
        ok = false;
    }
    ok = ok && measure(&b);
    release(&b, folder, packed);
    return !ok;
}
