/* pack.c: joins data sets into one HDF5 file. Images are made a batch at a time by the threads of a context of its own
 * and go through a spool file, because how many there are and how long they get is known only at the end. */
#include "data/pack.h"
#include "core/checked.h"
#include "core/h5.h"
#include "core/parallel.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BATCH         64      /* images made at once */
#define MAX_SKIPPED   2000    /* names an attribute of the output holds */
#define MAX_PACK_JOBS 1024

typedef struct source {
    clv_dataset     *ds;
    clv_dataset_info info;
    int              split;      /* in the output */
} source;

typedef struct pack {
    clv_context         *ctx, *pool;
    const clv_pack_desc *desc;
    clv_pack_fn          report;
    void                *user;
    clv_pack_progress    progress;

    clv_dataset_splits   splits;
    source              *sources;     /* one for each split of each source */
    int64_t              source_count;
    const source        *named;       /* whose class names are taken */
    clvi_packer         *packers;
    clvi_packed         *items;       /* [BATCH] */
    int64_t              item_count;

    clvi_h5             *out;
    int                  spool;
    int64_t              spooled;     /* bytes */
    int64_t             *offsets, *labels, *checksums, count, room;
    bool                 labelled;
    int64_t              height, width, channels;

    bool                 counting;    /* this split's pixels go into mean and std */
    uint64_t             pixels, sum[CLV_DATA_MAX_CHANNELS];
    double               square[CLV_DATA_MAX_CHANNELS];
    char               **skipped;
    int64_t              skipped_count;
} pack;

/* ---- what goes where ---- */

static int find_split(pack *p, const char *name)
{
    for (int64_t i = 0; i < p->splits.count; i++)
        if (strcmp(p->splits.name[i], name) == 0) return (int)i;
    return -1;
}

static clv_status note_splits(pack *p, const char *path, clv_dataset_splits *have)
{
    CLV_TRY(clv_dataset_list_splits(p->ctx, path, have));
    for (int64_t i = 0; i < CLVI_MAX(have->count, 1); i++) {
        const char *name = have->count ? have->name[i] : "train";
        if (find_split(p, name) < 0) CLV_TRY(clvi_splits_add(&p->splits, p->desc->output, name));
        p->source_count++;
    }
    return CLV_OK;
}

/* Class names must be the same wherever there are any. */
static clv_status check_names(pack *p, const source *s)
{
    if (!s->info.has_class_names) return CLV_OK;
    if (!p->named) p->named = s;
    const source *n = p->named;
    CLV_CHECK(n->info.classes == s->info.classes, CLV_ERR_SHAPE, "'%s' has %" PRId64 " class names, '%s' has %" PRId64,
              n->info.path, n->info.classes, s->info.path, s->info.classes);
    for (int64_t c = 0; c < s->info.classes; c++)
        CLV_CHECK(strcmp(clv_dataset_class_name(n->ds, c), clv_dataset_class_name(s->ds, c)) == 0, CLV_ERR_SHAPE,
                  "class %" PRId64 " is called '%s' in '%s', but '%s' in '%s'", c, clv_dataset_class_name(n->ds, c),
                  n->info.path, clv_dataset_class_name(s->ds, c), s->info.path);
    return CLV_OK;
}

static clv_status open_source(pack *p, source *s, const char *path, const char *split)
{
    CLV_TRY(clv_dataset_open(p->ctx, path, split, &s->ds));
    clv_dataset_describe(s->ds, &s->info);
    s->split = find_split(p, split ? split : "train");
    CLV_CHECK(s->split >= 0, CLV_ERR_IO, "'%s' changed while it was read", path);
    CLV_CHECK(p->desc->format != CLV_PACK_ORIGINAL || !s->info.raw, CLV_ERR_INVALID,
              "'%s' holds pixels, not encoded files: it cannot be packed as original; use raw or jpeg", path);
    if (p->channels == 0) p->channels = s->info.channels;
    CLV_CHECK(p->channels == s->info.channels, CLV_ERR_SHAPE, "'%s' has %" PRId64 " channels, '%s' has %" PRId64,
              p->sources[0].info.path, p->channels, path, s->info.channels);
    p->progress.total += s->info.count;
    return check_names(p, s);
}

static clv_status open_sources(pack *p)
{
    const int64_t n = p->desc->source_count;
    clv_dataset_splits *have = clvi_calloc(p->ctx, (size_t)n, sizeof *have);
    clv_status st = have ? CLV_OK : CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n && st == CLV_OK; i++) st = note_splits(p, p->desc->sources[i], &have[i]);
    if (st == CLV_OK) {
        p->sources = clvi_calloc(p->ctx, (size_t)p->source_count, sizeof *p->sources);
        if (!p->sources) st = CLV_ERR_NOMEM;
    }
    source *s = p->sources;
    for (int64_t i = 0; i < n && st == CLV_OK; i++)
        for (int64_t k = 0; k < CLVI_MAX(have[i].count, 1) && st == CLV_OK; k++)
            st = open_source(p, s++, p->desc->sources[i], have[i].count ? have[i].name[k] : NULL);
    clvi_free(p->ctx, have);
    if (st != CLV_OK || !p->named) return st;
    for (int64_t i = 0; i < p->source_count; i++)
        CLV_CHECK(p->sources[i].info.classes <= p->named->info.classes, CLV_ERR_SHAPE,
                  "'%s' has labels up to %" PRId64 ", but '%s' names %" PRId64 " classes", p->sources[i].info.path,
                  p->sources[i].info.classes - 1, p->named->info.path, p->named->info.classes);
    return CLV_OK;
}

static clv_status make_workers(pack *p)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_decoder_desc decoder = CLV_DECODER_DESC_INIT;
    desc.threads = p->desc->jobs;
    desc.allocator = p->ctx->allocator;
    decoder.exif_orientation = p->desc->exif_orientation;
    CLV_TRY(clv_context_create(&desc, &p->pool));
    p->packers = clvi_calloc(p->ctx, (size_t)p->desc->jobs, sizeof *p->packers);
    p->items = clvi_calloc(p->ctx, BATCH, sizeof *p->items);
    if (!p->packers || !p->items) return CLV_ERR_NOMEM;
    for (int i = 0; i < p->desc->jobs; i++) {
        p->packers[i].ctx = p->ctx;
        CLV_TRY(clv_decoder_create(p->ctx, &decoder, &p->packers[i].decoder));
    }
    return CLV_OK;
}

/* A file without a name beside the output: as much room is needed there anyway. */
static clv_status open_spool(pack *p)
{
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s.XXXXXX", p->desc->output);
    CLV_CHECK(n > 0 && (size_t)n < sizeof path, CLV_ERR_INVALID, "clv_pack: the path of the output is too long");
    p->spool = mkostemp(path, O_CLOEXEC);
    CLV_CHECK(p->spool >= 0, CLV_ERR_IO, "cannot write beside '%s': %s", p->desc->output, strerror(errno));
    unlink(path);
    return CLV_OK;
}

/* ---- images ---- */

static bool tell(pack *p, const char *bad)
{
    p->progress.bad_message = bad;
    return !p->report || p->report(&p->progress, p->user);
}

static clv_status spool_write(pack *p, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t n = pwrite(p->spool, bytes, size, p->spooled);
        if (n < 0 && errno == EINTR) continue;
        CLV_CHECK(n > 0, CLV_ERR_IO, "cannot write beside '%s': %s", p->desc->output, strerror(errno));
        p->spooled += n;
        bytes += n;
        size -= (size_t)n;
    }
    return CLV_OK;
}

static clv_status note_bad(pack *p, const clvi_packed *item)
{
    p->progress.bad++;
    if (p->skipped_count < MAX_SKIPPED) {
        if (!p->skipped) p->skipped = clvi_calloc(p->ctx, MAX_SKIPPED, sizeof *p->skipped);
        if (!p->skipped) return CLV_ERR_NOMEM;
        char *where = clvi_calloc(p->ctx, 1, CLVI_DATA_MAX_LOCATION);
        if (!where) return CLV_ERR_NOMEM;
        clv_dataset_locate(item->ds, item->index, where, CLVI_DATA_MAX_LOCATION);
        p->skipped[p->skipped_count++] = where;
    }
    return tell(p, item->message) ? CLV_OK : CLV_STOPPED;
}

static clv_status check_size(pack *p, const clvi_packed *item)
{
    if (p->height == 0) {
        p->height = item->height;
        p->width = item->width;
    }
    if (item->height == p->height && item->width == p->width) return CLV_OK;
    char where[CLVI_DATA_MAX_LOCATION];
    clv_dataset_locate(item->ds, item->index, where, sizeof where);
    return clvi_fail(CLV_ERR_SHAPE, "'%s' has %" PRId64 "x%" PRId64 " pixels, images before it %" PRId64 "x%" PRId64
                     "; give a size to bring all to one", where, item->width, item->height, p->width, p->height);
}

static void add_stats(pack *p, const clvi_packed *item)
{
    p->pixels += (uint64_t)(item->height * item->width);
    for (int64_t c = 0; c < item->channels; c++) {
        p->sum[c] += item->sum[c];
        p->square[c] += (double)item->square[c];
    }
}

static clv_status take(pack *p, const clvi_packed *item)
{
    p->progress.done++;
    if (item->status == CLV_ERR_NOMEM) return clvi_fail(item->status, "%s", item->message);
    if (item->status != CLV_OK) return note_bad(p, item);
    if (p->desc->format == CLV_PACK_RAW) CLV_TRY(check_size(p, item));
    if (p->counting && item->channels > 0) add_stats(p, item);
    if (p->count + 1 >= p->room) {
        const int64_t room = 2 * p->room + 1024;
        int64_t *offsets = clvi_realloc(p->ctx, p->offsets, (size_t)room * sizeof *offsets);
        if (offsets) p->offsets = offsets;
        int64_t *labels = clvi_realloc(p->ctx, p->labels, (size_t)room * sizeof *labels);
        if (labels) p->labels = labels;
        int64_t *checksums = clvi_realloc(p->ctx, p->checksums, (size_t)room * sizeof *checksums);
        if (checksums) p->checksums = checksums;
        if (!offsets || !labels || !checksums) return CLV_ERR_NOMEM;
        p->room = room;
    }
    p->labels[p->count] = clv_dataset_label(item->ds, item->index);
    p->checksums[p->count] = item->checksum;
    p->offsets[p->count++] = p->spooled;
    CLV_TRY(spool_write(p, item->data.data, item->size));
    p->offsets[p->count] = p->spooled;
    return CLV_OK;
}

static void make_range(void *arg, int64_t begin, int64_t end)
{
    pack *p = arg;
    for (int64_t i = begin; i < end; i++) clvi_pack_image(&p->packers[clvi_thread_index()], p->desc, &p->items[i]);
}

static clv_status pack_source(pack *p, const source *s)
{
    p->labelled = p->labelled || s->info.has_labels;
    for (int64_t first = 0; first < s->info.count; first += BATCH) {
        const int64_t n = CLVI_MIN(BATCH, s->info.count - first);
        for (int64_t i = 0; i < n; i++) {
            p->items[i].ds = s->ds;
            p->items[i].index = first + i;
        }
        clvi_parallel_for(p->pool, n, 1, make_range, p);
        for (int64_t i = 0; i < n; i++) CLV_TRY(take(p, &p->items[i]));
        if (!tell(p, NULL)) return CLV_STOPPED;
    }
    return CLV_OK;
}

/* ---- the output ---- */

/* Moves the spool into a new data set, a stretch of whole rows at a time. */
static clv_status write_blob(pack *p, const char *name, int ndim, const int64_t *shape)
{
    size_t row = 1;
    for (int i = 1; i < ndim; i++) row *= (size_t)shape[i];
    CLV_TRY(clvi_h5_create_dataset(p->out, name, CLV_U8, ndim, shape));
    if (p->spooled == 0) return CLV_OK;
    uint8_t *bytes = mmap(NULL, (size_t)p->spooled, PROT_READ, MAP_SHARED, p->spool, 0);
    CLV_CHECK(bytes != MAP_FAILED, CLV_ERR_IO, "cannot map what was written beside '%s': %s", p->desc->output,
              strerror(errno));
    const int64_t stretch = CLVI_MAX(1, (int64_t)(((size_t)16 << 20) / row));
    clv_status st = CLV_OK;
    for (int64_t at = 0; at < shape[0] && st == CLV_OK; at += stretch) {
        int64_t part[CLV_MAX_DIMS];
        memcpy(part, shape, (size_t)ndim * sizeof *part);
        part[0] = CLVI_MIN(stretch, shape[0] - at);
        const clv_view src = clv_view_dense(bytes + (size_t)at * row, CLV_U8, ndim, part);
        st = clvi_h5_write_rows(p->out, name, at, &src);
    }
    munmap(bytes, (size_t)p->spooled);
    return st;
}

static clv_status write_i64(pack *p, const char *split, const char *member, int64_t *values, int64_t n)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s", split, member);
    const clv_view src = clv_view_1d(values, CLV_I64, n);
    return clvi_h5_write(p->out, name, &src);
}

static clv_status write_split(pack *p, const char *split)
{
    char name[128];
    const bool raw = p->desc->format == CLV_PACK_RAW;
    CLV_CHECK(p->count > 0, CLV_ERR_FORMAT, "none of the images of split '%s' can be decoded", split);
    snprintf(name, sizeof name, "%s/%s", split, raw ? "images" : "bytes");
    CLV_TRY(raw ? write_blob(p, name, 4, (int64_t[]){ p->count, p->height, p->width, p->channels })
                : write_blob(p, name, 1, (int64_t[]){ p->spooled }));
    if (!raw) CLV_TRY(write_i64(p, split, "offsets", p->offsets, p->count + 1));
    CLV_TRY(write_i64(p, split, "checksums", p->checksums, p->count));
    return p->labelled ? write_i64(p, split, "labels", p->labels, p->count) : CLV_OK;
}

static clv_status pack_split(pack *p, int split)
{
    const char *name = p->splits.name[split];
    p->progress.split = name;
    p->counting = p->splits.count == 1 || find_split(p, "train") < 0 || strcmp(name, "train") == 0;
    p->count = 0;
    p->spooled = 0;
    p->labelled = false;
    CLV_CHECK(ftruncate(p->spool, 0) == 0, CLV_ERR_IO, "cannot write beside '%s': %s", p->desc->output,
              strerror(errno));
    for (int64_t i = 0; i < p->source_count; i++)
        if (p->sources[i].split == split) CLV_TRY(pack_source(p, &p->sources[i]));
    /* Bad images fail the pack at the end, after all were named; until then nothing is worth writing. */
    return p->progress.bad == 0 || p->desc->skip_bad ? write_split(p, name) : CLV_OK;
}

static clv_status write_stats(pack *p)
{
    double mean[CLV_DATA_MAX_CHANNELS], std[CLV_DATA_MAX_CHANNELS];
    if (p->pixels == 0) return CLV_OK;
    for (int64_t c = 0; c < p->channels; c++) {
        const double n = (double)p->pixels, m = (double)p->sum[c] / n;
        mean[c] = m / 255.0;
        std[c] = sqrt(fmax(p->square[c] / n - m * m, 0.0)) / 255.0;
        if (std[c] <= 0) return CLV_OK;   /* a constant channel cannot be divided by its deviation */
    }
    CLV_TRY(clvi_h5_set_attr_f64s(p->out, "/", "mean", (int)p->channels, mean));
    return clvi_h5_set_attr_f64s(p->out, "/", "std", (int)p->channels, std);
}

static clv_status write_names(pack *p)
{
    if (!p->named) return CLV_OK;
    return clvi_h5_set_attr_texts(p->out, "/", "class_names", p->named->info.classes, p->named->ds->class_names);
}

static clv_status write_attributes(pack *p)
{
    CLV_TRY(clvi_h5_set_attr_text(p->out, "/", "format", "cleave-data-1"));
    CLV_TRY(write_names(p));
    CLV_TRY(write_stats(p));
    if (p->skipped_count == 0) return CLV_OK;
    CLV_TRY(clvi_h5_set_attr_i64(p->out, "/", "skipped_count", p->progress.bad));
    return clvi_h5_set_attr_texts(p->out, "/", "skipped", p->skipped_count, (const char *const *)p->skipped);
}

/* ---- the whole ---- */

static clv_status check_desc(const clv_pack_desc *d)
{
    CLV_CHECK(d->struct_size == sizeof *d, CLV_ERR_INVALID,
              "clv_pack_desc: struct_size is %zu; start from CLV_PACK_DESC_INIT", d->struct_size);
    CLV_CHECK(d->sources && d->source_count >= 1 && d->output, CLV_ERR_INVALID,
              "clv_pack: expected at least one source and an output");
    CLV_CHECK(d->format == CLV_PACK_RAW || d->format == CLV_PACK_JPEG || d->format == CLV_PACK_ORIGINAL,
              CLV_ERR_INVALID, "clv_pack: format %d is not known", (int)d->format);
    CLV_CHECK(d->size >= 0 && d->size <= 8192, CLV_ERR_INVALID, "clv_pack: size is %" PRId64 ", expected 0 to 8192",
              d->size);
    CLV_CHECK(d->quality >= 1 && d->quality <= 100, CLV_ERR_INVALID, "clv_pack: quality is %d, expected 1 to 100",
              d->quality);
    CLV_CHECK(d->jobs >= 1 && d->jobs <= MAX_PACK_JOBS, CLV_ERR_INVALID, "clv_pack: jobs is %d, expected 1 to %d",
              d->jobs, MAX_PACK_JOBS);
    CLV_CHECK(d->format != CLV_PACK_ORIGINAL || (d->size == 0 && !d->exif_orientation), CLV_ERR_INVALID,
              "clv_pack: original files are neither resized nor turned; use raw or jpeg");
    return CLV_OK;
}

static clv_status run(pack *p)
{
    CLV_TRY(open_sources(p));
    CLV_TRY(make_workers(p));
    CLV_TRY(open_spool(p));
    CLV_TRY(clvi_h5_create(p->ctx, p->desc->output, false, &p->out));
    for (int64_t i = 0; i < p->splits.count; i++) CLV_TRY(pack_split(p, (int)i));
    CLV_CHECK(p->progress.bad == 0 || p->desc->skip_bad, CLV_ERR_FORMAT,
              "'%s' is not written: %" PRId64 " of %" PRId64 " images cannot be decoded, the first is '%s'",
              p->desc->output, p->progress.bad, p->progress.total, p->skipped[0]);
    CLV_TRY(write_attributes(p));
    clvi_h5 *out = p->out;
    p->out = NULL;
    return clvi_h5_commit(out);
}

static void release(pack *p)
{
    clv_context *ctx = p->ctx;
    clvi_h5_close(p->out);
    if (p->spool >= 0) close(p->spool);
    for (int i = 0; p->packers && i < p->desc->jobs; i++)
        if (p->packers[i].ctx) clvi_packer_free(&p->packers[i]);
    for (int i = 0; p->items && i < BATCH; i++) clvi_free(ctx, p->items[i].data.data);
    for (int64_t i = 0; p->sources && i < p->source_count; i++) clv_dataset_destroy(p->sources[i].ds);
    for (int64_t i = 0; i < p->skipped_count; i++) clvi_free(ctx, p->skipped[i]);
    clvi_free(ctx, p->skipped);
    clvi_free(ctx, p->packers);
    clvi_free(ctx, p->items);
    clvi_free(ctx, p->sources);
    clvi_free(ctx, p->offsets);
    clvi_free(ctx, p->labels);
    clvi_free(ctx, p->checksums);
    clv_context_destroy(p->pool);
}

clv_status clv_pack(clv_context *ctx, const clv_pack_desc *desc, clv_pack_fn progress, void *user)
{
    CLV_CHECK(ctx && desc, CLV_ERR_INVALID, "clv_pack: an argument is NULL");
    CLV_TRY(check_desc(desc));
    pack p = { .ctx = ctx, .desc = desc, .report = progress, .user = user, .spool = -1 };
    const clv_status st = run(&p);
    release(&p);
    return st;
}
