/* bench_knn.c: exact nearest neighbours: 10,000 queries among 50,000 rows of 128 values, cosine, the 200 best.
 *
 *   bench_knn [--threads N] [--export FILE] [--serve]
 *
 * --export writes rows, queries and the neighbours found; --serve answers each line with the seconds of one search
 * (bench/compare_knn.sh). */
#include "record.h"
#include "serve.h"

#include <cleave/eval.h>
#include <math.h>
#include <string.h>

enum { BANK = 50000, QUERIES = 10000, DIM = 128, K = 200, CLASSES = 10 };

typedef struct bench {
    clv_context *ctx;
    float       *bank, *queries, *similarity;
    int64_t     *index;
} bench;

/* Points around a center for each class, of length 1, as features have it. */
static float *make_rows(int64_t count, uint64_t noise)
{
    float *rows = malloc((size_t)count * DIM * sizeof *rows);
    for (int64_t i = 0; rows && i < count; i++) {
        double squares = 0;
        float *row = rows + i * DIM;
        for (int d = 0; d < DIM; d++) {
            noise = noise * 6364136223846793005u + 1442695040888963407u;
            row[d] = (float)((double)(noise >> 40) / (double)(1 << 23) - 1.0) + (d / 12 == i % CLASSES ? 1.0f : 0.0f);
            squares += (double)row[d] * row[d];
        }
        for (int d = 0; d < DIM; d++) row[d] = (float)(row[d] / sqrt(squares));
    }
    return rows;
}

static bool search(void *arg)
{
    bench *b = arg;
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    desc.k = K;
    const clv_view bank = clv_view_2d(b->bank, CLV_F32, BANK, DIM);
    const clv_view queries = clv_view_2d(b->queries, CLV_F32, QUERIES, DIM);
    const clv_status st = clv_knn_search(b->ctx, &desc, &bank, &queries, b->index, b->similarity);
    if (st != CLV_OK) (void)fprintf(stderr, "bench_knn: %s: %s\n", clv_status_name(st), clv_error_message());
    return st == CLV_OK;
}

static bool export_to(bench *b, const char *path)
{
    const int64_t bank[2] = { BANK, DIM }, queries[2] = { QUERIES, DIM }, found[2] = { QUERIES, K };
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    const bool written = search(b) && write_record(file, "", "bank", 2, bank, b->bank) &&
                         write_record(file, "", "queries", 2, queries, b->queries) &&
                         write_record(file, "", "similarity", 2, found, b->similarity);
    return fclose(file) == 0 && written;
}

static bool run(bench *b, int threads, const char *path, bool serve)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = threads;
    if (clv_context_create(&desc, &b->ctx) != CLV_OK) return false;
    b->bank = make_rows(BANK, 1);
    b->queries = make_rows(QUERIES, 2);
    b->similarity = malloc((size_t)QUERIES * K * sizeof *b->similarity);
    b->index = malloc((size_t)QUERIES * K * sizeof *b->index);
    if (!b->bank || !b->queries || !b->similarity || !b->index) return false;
    if (path) return export_to(b, path);
    if (serve) return bench_serve(search, b, 1);
    (void)printf("knn,bank=%d,queries=%d,dim=%d,k=%d,threads=%d,cleave=%s,", BANK, QUERIES, DIM, K,
                 clv_context_threads(b->ctx), clv_version());
    return bench_measure(search, b, 7);
}

int main(int argc, char **argv)
{
    bench b = { .ctx = NULL };
    const char *path = NULL;
    int threads = 0;
    bool serve = false, known = true;
    for (int i = 1; i < argc && known; i++) {
        if (!strcmp(argv[i], "--serve")) serve = true;
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc) threads = (int)strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--export") && i + 1 < argc) path = argv[++i];
        else known = false;
    }
    if (!known) {
        (void)fprintf(stderr, "usage: bench_knn [--threads N] [--export FILE] [--serve]\n");
        return 2;
    }
    const bool done = run(&b, threads, path, serve);
    free(b.bank);
    free(b.queries);
    free(b.similarity);
    free(b.index);
    clv_context_destroy(b.ctx);
    return done ? 0 : 1;
}
