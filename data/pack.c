/* pack.c: joins data sets into one HDF5 file, or into several shards and a file that names them. Images are made a batch at
 * a time by the threads of a context of its own; their bytes go straight to their place in the file (pack_file.h), and a
 * journal (pack_journal.h) says how far it has come. */
#include "data/pack.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/parallel.h"
#include "data/pack_file.h"
#include "data/pack_journal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    int64_t              split_count[CLV_DATA_MAX_SPLITS];   /* images */
    bool                 labelled[CLV_DATA_MAX_SPLITS];
    source              *sources;     /* one for each split of each source */
    int64_t              source_count;
    const source        *named;       /* whose class names are taken */
    int64_t              channels;
    clvi_packer         *packers;
    clvi_packed         *items;       /* [CLVI_PACK_BATCH] */

    clvi_pack_journal    journal;
    bool                 resuming;    /* the journal may have records still to be taken over */
    clvi_pack_file       file;        /* being written */
    int                  finished;    /* files before it, which are in place */

    bool                 counting;    /* this split's pixels go into mean and std */
    clvi_pack_totals     totals;
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
    const char *split[] = { p->splits.name[n->split], p->splits.name[s->split] };
    for (int64_t c = 0; c < CLVI_MIN(n->info.classes, s->info.classes); c++)
        CLV_CHECK(strcmp(clv_dataset_class_name(n->ds, c), clv_dataset_class_name(s->ds, c)) == 0, CLV_ERR_SHAPE,
                  "class %" PRId64 " is called '%s' in '%s' (%s), but '%s' in '%s' (%s)", c,
                  clv_dataset_class_name(n->ds, c), n->info.path, split[0], clv_dataset_class_name(s->ds, c),
                  s->info.path, split[1]);
    CLV_CHECK(n->info.classes == s->info.classes, CLV_ERR_SHAPE,
              "'%s' (%s) has %" PRId64 " class names, '%s' (%s) has %" PRId64, n->info.path, split[0], n->info.classes,
              s->info.path, split[1], s->info.classes);
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
    p->split_count[s->split] += s->info.count;
    p->labelled[s->split] = p->labelled[s->split] || s->info.has_labels;
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
    CLV_TRY(st);
    for (int64_t i = 0; i < p->splits.count; i++)
        CLV_CHECK(p->split_count[i] >= p->desc->shards, CLV_ERR_INVALID,
                  "clv_pack: split '%s' has %" PRId64 " images, too few for %d shards", p->splits.name[i],
                  p->split_count[i], p->desc->shards);
    if (!p->named) return CLV_OK;
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
    p->items = clvi_calloc(p->ctx, CLVI_PACK_BATCH, sizeof *p->items);
    if (!p->packers || !p->items) return CLV_ERR_NOMEM;
    for (int i = 0; i < p->desc->jobs; i++) {
        p->packers[i].ctx = p->ctx;
        CLV_TRY(clv_decoder_create(p->ctx, &decoder, &p->packers[i].decoder));
    }
    return CLV_OK;
}

/* What the journal compares: all that the bytes depend on. */
static clv_status describe(const pack *p, char **out)
{
    const clv_pack_desc *d = p->desc;
    const size_t room = 256 + (size_t)p->source_count * (CLVI_DATA_MAX_LOCATION + 256);
    char *text = clvi_calloc(p->ctx, 1, room);
    if (!text) return CLV_ERR_NOMEM;
    size_t n = (size_t)snprintf(text, room, "format %d\nsize %" PRId64 "\nquality %d\nverify %d\nexif orientation %d\n"
                                "shards %d\n", (int)d->format, d->size, d->quality, d->verify, d->exif_orientation,
                                d->shards);
    for (int64_t i = 0; i < p->source_count; i++) {
        const source *s = &p->sources[i];
        n += (size_t)snprintf(text + n, room - n, "source %s %s of %" PRId64 " images, list %08" PRIx32 "\n",
                              s->info.path, s->info.split, s->info.count, clvi_dataset_identity(s->ds));
    }
    *out = text;
    return CLV_OK;
}

static clv_status open_journal(pack *p)
{
    char *text = NULL;
    CLV_TRY(describe(p, &text));
    const clv_status st = clvi_pack_journal_open(p->ctx, p->desc->output, text, p->desc->restart, &p->journal);
    clvi_free(p->ctx, text);
    p->resuming = st == CLV_OK && p->journal.count > 0;
    if (st == CLV_OK) clvi_file_sweep(p->desc->output);      /* the journal keeps other packs away */
    return st;
}

/* ---- images ---- */

static bool tell(pack *p, const char *bad)
{
    p->progress.bad_message = bad;
    return !p->report || p->report(&p->progress, p->user);
}

static bool note(pack *p, const char *text)
{
    p->progress.bad_message = NULL;
    p->progress.note = text;
    const bool go_on = !p->report || p->report(&p->progress, p->user);
    p->progress.note = NULL;
    return go_on;
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
    clvi_pack_totals *t = &p->totals;
    if (t->height == 0) {
        t->height = item->height;
        t->width = item->width;
    }
    if (item->height == t->height && item->width == t->width) return CLV_OK;
    char where[CLVI_DATA_MAX_LOCATION];
    clv_dataset_locate(item->ds, item->index, where, sizeof where);
    return clvi_fail(CLV_ERR_SHAPE, "'%s' has %" PRId64 "x%" PRId64 " pixels, images before it %" PRId64 "x%" PRId64
                     "; give a size to bring all to one", where, item->width, item->height, t->width, t->height);
}

static void add_stats(clvi_pack_totals *t, const clvi_packed *item)
{
    t->pixels += (uint64_t)(item->height * item->width);
    for (int64_t c = 0; c < item->channels; c++) {
        t->sum[c] += item->sum[c];
        t->square[c] += (double)item->square[c];
    }
}

/* Notes an image that was made, or was found made. */
static clv_status take(pack *p, clvi_packed *item, bool keep)
{
    p->progress.done++;
    item->place = -1;
    if (!keep) return note_bad(p, item);
    item->place = clvi_pack_file_add(&p->file, (int64_t)item->size, clv_dataset_label(item->ds, item->index),
                                     item->checksum);
    return CLV_OK;
}

static void make_range(void *arg, int64_t begin, int64_t end)
{
    pack *p = arg;
    for (int64_t i = begin; i < end; i++) clvi_pack_image(&p->packers[clvi_thread_index()], p->desc, &p->items[i]);
}

static void write_range(void *arg, int64_t begin, int64_t end)
{
    pack *p = arg;
    for (int64_t i = begin; i < end; i++) {
        clvi_packed *item = &p->items[i];
        if (item->place < 0) continue;
        item->status = clvi_pack_file_write(&p->file, item->place, item->data.data, item->size);
        if (item->status != CLV_OK) snprintf(item->message, sizeof item->message, "%s", clv_error_message());
    }
}

/* Makes a batch and records it, in this order: its bytes are in the file before the journal says so. */
static clv_status make_batch(pack *p, int64_t n)
{
    clvi_pack_record r = { 0 };
    clvi_parallel_for(p->pool, n, 1, make_range, p);
    for (int64_t i = 0; i < n; i++) {
        clvi_packed *item = &p->items[i];
        const bool keep = item->status == CLV_OK;
        if (item->status == CLV_ERR_NOMEM) return clvi_fail(item->status, "%s", item->message);
        if (keep && p->desc->format == CLV_PACK_RAW) CLV_TRY(check_size(p, item));
        if (keep && p->counting && item->channels > 0) add_stats(&p->totals, item);
        CLV_TRY(take(p, item, keep));
        r.kept |= (uint64_t)keep << i;
        r.size[i] = keep ? (int64_t)item->size : 0;
        r.checksum[i] = keep ? item->checksum : 0;
    }
    clvi_parallel_for(p->pool, n, 1, write_range, p);
    for (int64_t i = 0; i < n; i++)
        if (r.kept >> i & 1 && p->items[i].status != CLV_OK)
            return clvi_fail(p->items[i].status, "%s", p->items[i].message);
    r.totals = p->totals;
    return clvi_pack_journal_append(&p->journal, &r);
}

static void compare_range(void *arg, int64_t begin, int64_t end)
{
    pack *p = arg;
    for (int64_t i = begin; i < end; i++) {
        clvi_packed *item = &p->items[i];
        if (item->place < 0) continue;
        item->status = clvi_buffer_reserve(p->ctx, &item->data, item->size);
        if (item->status == CLV_OK && (!clvi_pack_file_read(&p->file, item->place, item->data.data, item->size) ||
                                       clvi_crc32c(0, item->data.data, item->size) != item->checksum))
            item->status = CLV_ERR_FORMAT;
    }
}

/* Takes a batch over as an interrupted pack recorded it, if its bytes are those. */
static clv_status take_over(pack *p, int64_t n, const clvi_pack_record *r, bool *sound)
{
    const clv_pack_progress before = p->progress;
    const int64_t had = p->file.split[p->file.split_count - 1].count, skipped = p->skipped_count;
    for (int64_t i = 0; i < n; i++) {
        clvi_packed *item = &p->items[i];
        item->size = (size_t)r->size[i];
        item->checksum = r->checksum[i];
        snprintf(item->message, sizeof item->message, "image %" PRId64 " of '%s' could not be decoded before the "
                 "interruption", item->index, item->ds->path);
        CLV_TRY(take(p, item, r->kept >> i & 1));
    }
    clvi_parallel_for(p->pool, n, 1, compare_range, p);
    for (int64_t i = 0; i < n; i++) {
        if (p->items[i].place >= 0 && p->items[i].status == CLV_ERR_NOMEM) return CLV_ERR_NOMEM;
        *sound = *sound && (p->items[i].place < 0 || p->items[i].status == CLV_OK);
    }
    p->totals = *sound ? r->totals : p->totals;
    if (*sound) return CLV_OK;
    p->progress = before;
    while (p->skipped_count > skipped) clvi_free(p->ctx, p->skipped[--p->skipped_count]);
    clvi_pack_file_take_back(&p->file, had);
    return CLV_OK;
}

/* Nothing recorded is left, or it is not what is in the file: from here on images are made. */
static clv_status end_resuming(pack *p, bool sound)
{
    char text[256];
    p->resuming = false;
    CLV_TRY(clvi_pack_file_cut(&p->file));
    snprintf(text, sizeof text, "going on after %" PRId64 " of %" PRId64 " images of an interrupted pack%s",
             p->progress.done, p->progress.total, sound ? "" : "; what follows them is damaged and is made anew");
    return note(p, text) ? CLV_OK : CLV_STOPPED;
}

static clv_status pack_batch(pack *p, int64_t n)
{
    clvi_pack_record r;
    bool sound = true;
    if (p->resuming && clvi_pack_journal_next(&p->journal, &r)) {
        CLV_TRY(take_over(p, n, &r, &sound));
        if (sound) return CLV_OK;
        clvi_pack_journal_reject(&p->journal);
    }
    if (p->resuming) CLV_TRY(end_resuming(p, sound));
    return make_batch(p, n);
}

/* Images [begin, end) of a source. */
static clv_status pack_source(pack *p, const source *s, int64_t begin, int64_t end)
{
    for (int64_t first = begin; first < end; first += CLVI_PACK_BATCH) {
        const int64_t n = CLVI_MIN(CLVI_PACK_BATCH, end - first);
        for (int64_t i = 0; i < n; i++) {
            p->items[i].ds = s->ds;
            p->items[i].index = first + i;
        }
        CLV_TRY(pack_batch(p, n));
        if (!tell(p, NULL)) return CLV_STOPPED;
    }
    return CLV_OK;
}

/* ---- files ---- */

/* The part of a split that goes into a shard: an equal run of its images, in order. */
static clv_status pack_split(pack *p, int split, int shard)
{
    const char *name = p->splits.name[split];
    const int64_t total = p->split_count[split];
    const int64_t begin = total * shard / p->desc->shards, end = total * (shard + 1) / p->desc->shards;
    int64_t at = 0;
    p->progress.split = name;
    p->counting = p->splits.count == 1 || find_split(p, "train") < 0 || strcmp(name, "train") == 0;
    CLV_TRY(clvi_pack_file_begin(&p->file, name, end - begin, p->labelled[split]));
    for (int64_t i = 0; i < p->source_count; i++) {
        const source *s = &p->sources[i];
        if (s->split != split) continue;
        CLV_TRY(pack_source(p, s, CLVI_MAX(begin - at, 0), CLVI_MIN(end - at, s->info.count)));
        at += s->info.count;
    }
    return CLV_OK;
}

static clv_status write_names(pack *p, clvi_h5 *h5)
{
    CLV_TRY(clvi_h5_set_attr_text(h5, "/", "format", "cleave-data-1"));
    if (!p->named) return CLV_OK;
    return clvi_h5_set_attr_texts(h5, "/", "class_names", p->named->info.classes, p->named->ds->class_names);
}

static clv_status write_stats(pack *p, clvi_h5 *h5)
{
    double mean[CLV_DATA_MAX_CHANNELS], std[CLV_DATA_MAX_CHANNELS];
    const clvi_pack_totals *t = &p->totals;
    if (t->pixels == 0) return CLV_OK;
    for (int64_t c = 0; c < p->channels; c++) {
        const double n = (double)t->pixels, m = (double)t->sum[c] / n;
        mean[c] = m / 255.0;
        std[c] = sqrt(fmax(t->square[c] / n - m * m, 0.0)) / 255.0;
        if (std[c] <= 0) return CLV_OK;   /* a constant channel cannot be divided by its deviation */
    }
    CLV_TRY(clvi_h5_set_attr_f64s(h5, "/", "mean", (int)p->channels, mean));
    return clvi_h5_set_attr_f64s(h5, "/", "std", (int)p->channels, std);
}

/* What is known when all images are done. */
static clv_status write_summary(pack *p, clvi_h5 *h5)
{
    CLV_TRY(write_names(p, h5));
    CLV_TRY(write_stats(p, h5));
    if (p->skipped_count == 0) return CLV_OK;
    CLV_TRY(clvi_h5_set_attr_i64(h5, "/", "skipped_count", p->progress.bad));
    return clvi_h5_set_attr_texts(h5, "/", "skipped", p->skipped_count, (const char *const *)p->skipped);
}

/* Bad images fail the pack at the end, after all were named. */
static bool failed(const pack *p)
{
    return p->progress.bad > 0 && !p->desc->skip_bad;
}

static clv_status finish_file(pack *p)
{
    clvi_h5 *h5 = NULL;
    const bool raw = p->desc->format == CLV_PACK_RAW, alone = p->desc->shards == 1;
    if (p->file.finished) return CLV_OK;
    CLV_TRY(clvi_pack_file_build(&p->file, raw ? p->totals.height : 0, p->totals.width, p->channels, &h5));
    const clv_status st = alone ? write_summary(p, h5) : write_names(p, h5);
    if (st != CLV_OK) {
        clvi_h5_close(h5);
        return st;
    }
    CLV_TRY(clvi_h5_commit(h5));
    p->file.finished = true;
    return CLV_OK;
}

/* OUT.h5, or OUT-00003-of-00008.h5. */
static clv_status name_file(const pack *p, int shard, char *path, size_t size)
{
    const char *out = p->desc->output, *dot = strrchr(out, '.'), *slash = strrchr(out, '/');
    const bool has_end = dot && (!slash || dot > slash + 1) && dot > out;
    const int stem = has_end ? (int)(dot - out) : (int)strlen(out);
    const int n = p->desc->shards == 1 ? snprintf(path, size, "%s", out)
                                       : snprintf(path, size, "%.*s-%05d-of-%05d%s", stem, out, shard, p->desc->shards,
                                                  has_end ? dot : "");
    CLV_CHECK(n > 0 && (size_t)n < size, CLV_ERR_INVALID, "clv_pack: the path of the output is too long");
    return CLV_OK;
}

static clv_status pack_file(pack *p, int shard)
{
    char path[PATH_MAX];
    CLV_TRY(name_file(p, shard, path, sizeof path));
    CLV_TRY(clvi_pack_file_open(p->ctx, path, p->resuming && p->journal.next < p->journal.count, &p->file));
    for (int64_t i = 0; i < p->splits.count; i++) CLV_TRY(pack_split(p, (int)i, shard));
    return failed(p) ? CLV_OK : finish_file(p);
}

/* The file that names the shards, in their order, and tells what is true of all. */
static clv_status write_set(pack *p)
{
    char (*names)[PATH_MAX] = clvi_calloc(p->ctx, (size_t)p->desc->shards, sizeof *names);
    const char **list = clvi_calloc(p->ctx, (size_t)p->desc->shards, sizeof *list);
    clvi_h5 *h5 = NULL;
    clv_status st = names && list ? CLV_OK : CLV_ERR_NOMEM;
    for (int i = 0; i < p->desc->shards && st == CLV_OK; i++) {
        st = name_file(p, i, names[i], sizeof names[i]);
        const char *slash = strrchr(names[i], '/');
        list[i] = slash ? slash + 1 : names[i];
    }
    if (st == CLV_OK) st = clvi_h5_create(p->ctx, p->desc->output, false, &h5);
    if (st == CLV_OK) st = write_summary(p, h5);
    if (st == CLV_OK) st = clvi_h5_set_attr_texts(h5, "/", "shards", p->desc->shards, list);
    if (st == CLV_OK) st = clvi_h5_commit(h5);
    else clvi_h5_close(h5);
    clvi_free(p->ctx, names);
    clvi_free(p->ctx, list);
    return st;
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
    CLV_CHECK(d->shards >= 1 && d->shards <= CLV_PACK_MAX_SHARDS, CLV_ERR_INVALID,
              "clv_pack: shards is %d, expected 1 to %d", d->shards, CLV_PACK_MAX_SHARDS);
    CLV_CHECK(d->format != CLV_PACK_ORIGINAL || (d->size == 0 && !d->exif_orientation), CLV_ERR_INVALID,
              "clv_pack: original files are neither resized nor turned; use raw or jpeg");
    return CLV_OK;
}

static clv_status run(pack *p)
{
    CLV_TRY(open_sources(p));
    CLV_TRY(make_workers(p));
    CLV_TRY(open_journal(p));
    for (int i = 0; i < p->desc->shards; i++) {
        CLV_TRY(pack_file(p, i));
        clvi_pack_file_close(&p->file, failed(p));
        if (!failed(p)) p->finished++;
    }
    CLV_CHECK(!failed(p), CLV_ERR_FORMAT,
              "'%s' is not written: %" PRId64 " of %" PRId64 " images cannot be decoded, the first is '%s'",
              p->desc->output, p->progress.bad, p->progress.total, p->skipped[0]);
    return p->desc->shards > 1 ? write_set(p) : CLV_OK;
}

/* What was stopped, by the user or by the machine, can go on; everything else would only fail again. */
static bool can_go_on(clv_status st)
{
    return st == CLV_STOPPED || st == CLV_ERR_IO || st == CLV_ERR_NOMEM;
}

static void leave_or_remove(pack *p, clv_status st)
{
    char path[PATH_MAX];
    const bool keep = can_go_on(st);
    clvi_pack_file_close(&p->file, st != CLV_OK && !keep);
    if (!p->journal.path) return;
    for (int i = 0; st != CLV_OK && !keep && i < p->finished; i++)
        if (name_file(p, i, path, sizeof path) == CLV_OK) (void)unlink(path);
    clvi_pack_journal_close(p->ctx, &p->journal, !keep);
}

static void release(pack *p)
{
    clv_context *ctx = p->ctx;
    for (int i = 0; p->packers && i < p->desc->jobs; i++)
        if (p->packers[i].ctx) clvi_packer_free(&p->packers[i]);
    for (int i = 0; p->items && i < CLVI_PACK_BATCH; i++) clvi_free(ctx, p->items[i].data.data);
    for (int64_t i = 0; p->sources && i < p->source_count; i++) clv_dataset_destroy(p->sources[i].ds);
    for (int64_t i = 0; i < p->skipped_count; i++) clvi_free(ctx, p->skipped[i]);
    clvi_free(ctx, p->skipped);
    clvi_free(ctx, p->packers);
    clvi_free(ctx, p->items);
    clvi_free(ctx, p->sources);
    clv_context_destroy(p->pool);
}

clv_status clv_pack(clv_context *ctx, const clv_pack_desc *desc, clv_pack_fn progress, void *user)
{
    CLV_CHECK(ctx && desc, CLV_ERR_INVALID, "clv_pack: an argument is NULL");
    CLV_TRY(check_desc(desc));
    pack *p = clvi_calloc(ctx, 1, sizeof *p);   /* names and paths make it large for a stack */
    if (!p) return CLV_ERR_NOMEM;
    p->ctx = ctx;
    p->desc = desc;
    p->report = progress;
    p->user = user;
    p->file.fd = -1;
    const clv_status st = run(p);
    leave_or_remove(p, st);
    release(p);
    clvi_free(ctx, p);
    return st;
}
