/* verify.c: the bytes of every image of a packed data set against the checksum written with it. */
#include "data/dataset.h"
#include "core/checked.h"
#include "core/parallel.h"

#define BATCH 1024   /* images compared between two reports */

typedef struct verify {
    const clv_dataset *ds;
    int64_t            first;         /* of the batch */
    bool               bad[BATCH];
} verify;

static void compare(void *arg, int64_t begin, int64_t end)
{
    verify *v = arg;
    const clv_dataset_info *info = &v->ds->info;
    const size_t pixels = (size_t)(info->height * info->width * info->channels);
    for (int64_t k = begin; k < end; k++) {
        int64_t i = v->first + k;
        const clv_dataset *ds = clvi_dataset_holder(v->ds, &i);
        const uint8_t *bytes = ds->offsets ? ds->bytes + ds->offsets[i] : ds->pixels + (size_t)i * pixels;
        const size_t size = ds->offsets ? (size_t)(ds->offsets[i + 1] - ds->offsets[i]) : pixels;
        v->bad[k] = (int64_t)clvi_crc32c(0, bytes, size) != ds->checksums[i];
    }
}

static bool has_checksums(const clv_dataset *ds)
{
    if (ds->whole) ds = ds->whole;
    bool all = ds->shard_count > 0 || ds->checksums;
    for (int64_t i = 0; i < ds->shard_count; i++) all = all && ds->shard[i]->checksums;
    return all;
}

clv_status clv_dataset_verify(clv_context *ctx, const clv_dataset *ds, clv_pack_fn progress, void *user)
{
    CLV_CHECK(ctx && ds, CLV_ERR_INVALID, "clv_dataset_verify: an argument is NULL");
    CLV_CHECK(has_checksums(ds), CLV_ERR_UNSUPPORTED,
              "'%s' has no checksums of its images: cleave pack writes them", ds->path);
    verify v = { .ds = ds };
    clv_pack_progress p = { .split = ds->info.split, .total = ds->info.count };
    int64_t first_bad = -1;
    for (; v.first < ds->info.count; v.first += BATCH) {
        const int64_t n = CLVI_MIN(BATCH, ds->info.count - v.first);
        clvi_parallel_for(ctx, n, 16, compare, &v);
        for (int64_t k = 0; k < n; k++) {
            if (v.bad[k] && first_bad < 0) first_bad = v.first + k;
            p.bad += v.bad[k];
        }
        p.done += n;
        if (progress && !progress(&p, user)) return CLV_STOPPED;
    }
    char where[CLVI_DATA_MAX_LOCATION];
    if (p.bad) clv_dataset_locate(ds, first_bad, where, sizeof where);
    CLV_CHECK(p.bad == 0, CLV_ERR_FORMAT, "%" PRId64 " of %" PRId64 " images are not as they were packed, the first is '%s'",
              p.bad, p.total, where);
    return CLV_OK;
}
