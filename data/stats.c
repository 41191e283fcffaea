/* stats.c: mean and standard deviation of the pixels of a data set, per channel. Sums are exact integers, so the result
 * does not depend on the number of threads. */
#include "data/pack.h"
#include "core/checked.h"
#include "core/parallel.h"
#include <math.h>
#include <string.h>

#define BATCH      64                    /* images measured between two reports */
#define MAX_JOBS   1024
#define MAX_PIXELS (UINT64_C(1) << 47)   /* 255^2 times as many fit into 64 bits */

typedef struct measure {
    clv_context         *ctx, *pool;
    const clv_dataset   *ds;
    clv_pack_desc        how;
    clv_pack_fn          report;
    void                *user;
    clv_pack_progress    progress;
    clvi_packer         *packers;
    clvi_packed         *items;          /* [BATCH] */
    uint64_t             pixels, sum[CLV_DATA_MAX_CHANNELS], square[CLV_DATA_MAX_CHANNELS];
} measure;

static clv_status check_desc(const clv_stats_desc *d)
{
    CLV_CHECK(d->struct_size == sizeof *d, CLV_ERR_INVALID,
              "clv_stats_desc: struct_size is %zu; start from CLV_STATS_DESC_INIT", d->struct_size);
    CLV_CHECK(d->size >= 0 && d->size <= 8192, CLV_ERR_INVALID,
              "clv_dataset_stats: size is %" PRId64 ", expected 0 to 8192", d->size);
    CLV_CHECK(d->jobs >= 1 && d->jobs <= MAX_JOBS, CLV_ERR_INVALID, "clv_dataset_stats: jobs is %d, expected 1 to %d",
              d->jobs, MAX_JOBS);
    return CLV_OK;
}

static clv_status make_workers(measure *m, const clv_stats_desc *d)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_decoder_desc decoder = CLV_DECODER_DESC_INIT;
    desc.threads = d->jobs;
    desc.allocator = m->ctx->allocator;
    decoder.exif_orientation = d->exif_orientation;
    CLV_TRY(clv_context_create(&desc, &m->pool));
    m->packers = clvi_calloc(m->ctx, (size_t)d->jobs, sizeof *m->packers);
    m->items = clvi_calloc(m->ctx, BATCH, sizeof *m->items);
    if (!m->packers || !m->items) return CLV_ERR_NOMEM;
    for (int i = 0; i < d->jobs; i++) {
        m->packers[i].ctx = m->ctx;
        CLV_TRY(clv_decoder_create(m->ctx, &decoder, &m->packers[i].decoder));
    }
    return CLV_OK;
}

static void measure_range(void *arg, int64_t begin, int64_t end)
{
    measure *m = arg;
    for (int64_t i = begin; i < end; i++)
        clvi_pack_measure(&m->packers[clvi_thread_index()], &m->how, &m->items[i]);
}

static clv_status add(measure *m, const clvi_packed *item)
{
    if (item->status != CLV_OK) return clvi_fail(item->status, "%s", item->message);
    m->pixels += (uint64_t)(item->height * item->width);
    CLV_CHECK(m->pixels <= MAX_PIXELS, CLV_ERR_UNSUPPORTED, "clv_dataset_stats: more than %" PRIu64 " pixels",
              MAX_PIXELS);
    for (int64_t c = 0; c < item->channels; c++) {
        m->sum[c] += item->sum[c];
        m->square[c] += item->square[c];
    }
    return CLV_OK;
}

static clv_status measure_all(measure *m, int64_t count)
{
    m->progress.total = count;
    for (int64_t first = 0; first < count; first += BATCH) {
        const int64_t n = CLVI_MIN(BATCH, count - first);
        for (int64_t i = 0; i < n; i++) {
            m->items[i].ds = m->ds;
            m->items[i].index = first + i;
        }
        clvi_parallel_for(m->pool, n, 1, measure_range, m);
        for (int64_t i = 0; i < n; i++) CLV_TRY(add(m, &m->items[i]));
        m->progress.done += n;
        if (m->report && !m->report(&m->progress, m->user)) return CLV_STOPPED;
    }
    return CLV_OK;
}

static clv_status run(measure *m, const clv_stats_desc *d, clv_stats *out)
{
    clv_dataset_info info;
    clv_dataset_describe(m->ds, &info);
    m->progress.split = info.split;
    CLV_TRY(make_workers(m, d));
    CLV_TRY(measure_all(m, info.count));
    *out = (clv_stats){ .images = info.count, .pixels = (int64_t)m->pixels, .channels = info.channels };
    for (int64_t c = 0; c < info.channels; c++) {
        const double n = (double)m->pixels, mean = (double)m->sum[c] / n;
        out->mean[c] = mean / 255.0;
        out->std[c] = sqrt(fmax((double)m->square[c] / n - mean * mean, 0.0)) / 255.0;
    }
    return CLV_OK;
}

clv_status clv_dataset_stats(clv_context *ctx, const clv_dataset *ds, const clv_stats_desc *desc, clv_pack_fn progress,
                             void *user, clv_stats *out)
{
    CLV_CHECK(ctx && ds && desc && out, CLV_ERR_INVALID, "clv_dataset_stats: an argument is NULL");
    CLV_TRY(check_desc(desc));
    measure m = { .ctx = ctx, .ds = ds, .report = progress, .user = user,
                  .how = { .format = CLV_PACK_RAW, .size = desc->size } };
    const clv_status st = run(&m, desc, out);
    for (int i = 0; m.packers && i < desc->jobs; i++)
        if (m.packers[i].ctx) clvi_packer_free(&m.packers[i]);
    clvi_free(ctx, m.packers);
    clvi_free(ctx, m.items);
    clv_context_destroy(m.pool);
    return st;
}
