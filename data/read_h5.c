/* h5.c: the reader of Cleave's HDF5 data sets (docs/formats.md). A child process surveys the file; this side believes
 * nothing of the survey before checking it, and maps contiguous images straight from the file. */
#include "data/dataset.h"
#include "core/checked.h"
#include "core/isolate.h"
#include "data/survey.h"
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct request {
    const char *path;
    const char *split;     /* NULL: as clv_dataset_open */
    bool        list;      /* only the splits */
    int64_t     file_size;
} request;

static bool probe(const char *path)
{
    static const uint8_t signature[8] = { 0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n' };
    uint8_t head[8];
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return false;
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    bool found = false;
    /* HDF5 allows a user block of 0, 512, 1024, ... bytes; those up to 8 KiB are looked behind. */
    for (long at = 0; at <= 8192 && !found; at = at ? 2 * at : 512)
        found = fseek(file, at, SEEK_SET) == 0 && fread(head, 1, 8, file) == 8 && memcmp(head, signature, 8) == 0;
    fclose(file);
    return found;
}

static clv_status survey_in_child(clv_context *ctx, void *arg, int fd)
{
    const request *r = arg;
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_open(ctx, r->path, &h5));
    const clv_status st = clvi_survey_write(ctx, h5, r->path, r->file_size, r->split, r->list, fd);
    clvi_h5_close(h5);
    return st;
}

static clv_status check_head(const char *path, const clvi_map *map)
{
    const clvi_survey *s = (const void *)map->data;
    CLV_CHECK(map->size >= sizeof *s && s->magic == CLVI_SURVEY_MAGIC && s->splits.count >= 0 &&
              s->splits.count <= CLV_DATA_MAX_SPLITS, CLV_ERR_FORMAT, "'%s': its survey makes no sense", path);
    return CLV_OK;
}

static clv_status survey(const request *r, clvi_map *map)
{
    CLV_TRY(clvi_isolate(r->path, survey_in_child, (void *)r, map));
    return check_head(r->path, map);
}

/* `size` bytes at `at` of a map, or NULL when they do not lie inside or are not aligned for int64. */
static const void *part(const clvi_map *map, int64_t at, int64_t size, int64_t align)
{
    const bool inside = at >= 0 && size >= 0 && (uint64_t)at <= map->size && (uint64_t)size <= map->size - (uint64_t)at;
    return inside && at % align == 0 ? map->data + at : NULL;
}

static clv_status take_offsets(clv_dataset *ds, const clvi_map *map, const clvi_survey *s)
{
    const int64_t *offsets = s->count < CLVI_DATA_MAX_COUNT ? part(map, s->offsets_at, (s->count + 1) * 8, 8) : NULL;
    CLV_CHECK(s->count >= 1 && offsets, CLV_ERR_FORMAT, "'%s': the offsets are damaged", ds->path);
    CLV_CHECK(offsets[0] >= 0 && offsets[s->count] <= s->blob_size, CLV_ERR_FORMAT,
              "'%s': offsets go from %" PRId64 " to %" PRId64 ", but there are %" PRId64 " bytes", ds->path, offsets[0],
              offsets[s->count], s->blob_size);
    for (int64_t i = 0; i < s->count; i++)
        CLV_CHECK(offsets[i] <= offsets[i + 1], CLV_ERR_FORMAT, "'%s': offset %" PRId64 " is larger than the next one",
                  ds->path, i);
    ds->offsets = offsets;
    ds->info.channels = 3;
    return CLV_OK;
}

/* Pixels or encoded bytes: from the file itself or, when they had to be read, from the survey. */
static clv_status take_blob(clv_dataset *ds, const clvi_survey *s)
{
    const uint8_t *blob = NULL;
    if (s->blob_in_file >= 0) {
        CLV_TRY(clvi_map_open(ds->path, &ds->map[1]));
        blob = part(&ds->map[1], s->blob_in_file, s->blob_size, 1);
    } else {
        blob = part(&ds->map[0], s->blob_at, s->blob_size, 1);
    }
    CLV_CHECK(blob, CLV_ERR_FORMAT, "'%s' is truncated: its images should be %" PRId64 " bytes at byte %" PRId64,
              ds->path, s->blob_size, s->blob_in_file);
    if (s->encoded) ds->bytes = blob;
    else ds->pixels = blob;
    return CLV_OK;
}

static clv_status take_raw_geometry(clv_dataset *ds, const clvi_survey *s)
{
    size_t bytes = 0;
    CLV_TRY(clvi_check_geometry(ds->path, s->count, s->height, s->width, s->channels, &bytes));
    CLV_CHECK((int64_t)bytes == s->blob_size, CLV_ERR_FORMAT, "'%s': its survey makes no sense", ds->path);
    ds->info.height = s->height;
    ds->info.width = s->width;
    ds->info.channels = s->channels;
    return CLV_OK;
}

/* Strings of a survey: an array in ds->owned[slot] of places in the map. */
static clv_status take_texts(clv_dataset *ds, const clvi_map *map, const char *attr, int64_t at, int64_t size,
                             int64_t count, int64_t limit, int slot)
{
    const char *text = part(map, at, size, 1);
    CLV_CHECK(text && count >= 1 && count <= limit, CLV_ERR_FORMAT, "'%s': the attribute %s is damaged", ds->path, attr);
    const char **names = ds->owned[slot] = clvi_calloc(ds->ctx, (size_t)count, sizeof *names);
    if (!names) return CLV_ERR_NOMEM;
    const char *end = text + size;
    for (int64_t i = 0; i < count; i++) {
        const char *zero = memchr(text, 0, (size_t)(end - text));
        CLV_CHECK(zero, CLV_ERR_FORMAT, "'%s': the attribute %s is damaged", ds->path, attr);
        names[i] = text;
        text = zero + 1;
    }
    return CLV_OK;
}

static clv_status take_names(clv_dataset *ds, const clvi_map *map, const clvi_survey *s)
{
    if (s->names_at < 0) return CLV_OK;
    CLV_TRY(take_texts(ds, map, "class_names", s->names_at, s->names_size, s->names_count, CLVI_DATA_MAX_CLASSES, 0));
    ds->class_names = ds->owned[0];
    ds->info.classes = s->names_count;
    return CLV_OK;
}

static clv_status take_stats(clv_dataset *ds, const clvi_survey *s)
{
    if (!s->has_stats) return CLV_OK;
    for (int64_t c = 0; c < ds->info.channels; c++) {
        CLV_CHECK(isfinite(s->mean[c]) && isfinite(s->std[c]) && s->std[c] > 0, CLV_ERR_FORMAT,
                  "'%s': mean %g and std %g of channel %" PRId64 " must be finite, and std above 0", ds->path,
                  s->mean[c], s->std[c], c);
        ds->info.mean[c] = s->mean[c];
        ds->info.std[c] = s->std[c];
    }
    ds->info.has_stats = true;
    return CLV_OK;
}

static clv_status file_size(const char *path, int64_t *out)
{
    struct stat info;
    CLV_CHECK(stat(path, &info) == 0, CLV_ERR_IO, "cannot open '%s'", path);
    *out = info.st_size;
    return CLV_OK;
}

static clv_status take_index(clv_dataset *ds, const clvi_map *map, const clvi_survey *s)
{
    if (s->checksums_at >= 0) {
        ds->checksums = part(map, s->checksums_at, s->count * 8, 8);
        CLV_CHECK(ds->checksums, CLV_ERR_FORMAT, "'%s': the checksums are damaged", ds->path);
    }
    if (s->labels_at < 0) return CLV_OK;
    const int64_t *labels = part(map, s->labels_at, s->count * 8, 8);
    CLV_CHECK(labels, CLV_ERR_FORMAT, "'%s': the labels are damaged", ds->path);
    return clvi_dataset_set_labels(ds, labels);
}

/* A file that holds its images itself; its survey is in ds->map[0]. */
static clv_status take_images(clv_dataset *ds)
{
    const clvi_map *map = &ds->map[0];
    const clvi_survey *s = (const void *)map->data;
    CLV_CHECK(memchr(s->split, 0, sizeof s->split), CLV_ERR_FORMAT, "'%s': its survey makes no sense", ds->path);
    CLV_TRY(clvi_dataset_set_split(ds, s->split));
    CLV_TRY(s->encoded ? take_offsets(ds, map, s) : take_raw_geometry(ds, s));
    CLV_TRY(take_blob(ds, s));
    ds->info.count = s->count;
    CLV_TRY(take_names(ds, map, s));
    CLV_TRY(take_stats(ds, s));
    return take_index(ds, map, s);
}

/* ---- shards ---- */

/* Shards lie beside the file that names them, and nowhere else. */
static clv_status shard_path(const char *path, const char *name, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    const int folder = slash ? (int)(slash - path + 1) : 0;
    CLV_CHECK(name[0] && name[0] != '.' && !strchr(name, '/'), CLV_ERR_FORMAT,
              "'%s': the shard '%.200s' is not the name of a file beside it", path, name);
    const int n = snprintf(out, size, "%.*s%s", folder, path, name);
    CLV_CHECK(n > 0 && (size_t)n < size, CLV_ERR_FORMAT, "'%s': the name of a shard is too long", path);
    return CLV_OK;
}

static clv_status open_shard(clv_dataset *set, const char *name, const char *split, clv_dataset **out)
{
    char path[PATH_MAX];
    CLV_TRY(shard_path(set->path, name, path, sizeof path));
    clv_dataset *ds = *out = clvi_calloc(set->ctx, 1, sizeof *ds);
    if (!ds) return CLV_ERR_NOMEM;
    ds->ctx = set->ctx;
    ds->path = clvi_strdup(set->ctx, path);
    if (!ds->path) return CLV_ERR_NOMEM;
    request r = { .path = ds->path, .split = split };
    CLV_TRY(file_size(ds->path, &r.file_size));
    CLV_TRY(survey(&r, &ds->map[0]));
    CLV_CHECK(((const clvi_survey *)(const void *)ds->map[0].data)->shards_at < 0, CLV_ERR_FORMAT,
              "'%s' is a shard of '%s' and names shards itself", ds->path, set->path);
    return take_images(ds);
}

/* Shards must agree in everything but their images and labels. */
static clv_status join_shard(clv_dataset *set, const clv_dataset *ds)
{
    const clv_dataset *first = set->shard[0];
    const clv_dataset_info *a = &first->info, *b = &ds->info;
    CLV_CHECK(a->height == b->height && a->width == b->width && a->channels == b->channels &&
              !first->pixels == !ds->pixels && a->has_labels == b->has_labels && !strcmp(first->split, ds->split),
              CLV_ERR_FORMAT, "'%s' and '%s', shards of '%s', hold different kinds of images", first->path, ds->path,
              set->path);
    CLV_CHECK(!set->class_names || b->classes <= set->info.classes, CLV_ERR_FORMAT,
              "'%s' has %" PRId64 " classes, '%s' names %" PRId64, ds->path, b->classes, set->path, set->info.classes);
    set->info.count += b->count;
    set->info.classes = CLVI_MAX(set->info.classes, b->classes);
    return CLV_OK;
}

static clv_status open_shards(clv_dataset *ds, const clvi_survey *s, const char *split)
{
    CLV_TRY(take_texts(ds, &ds->map[0], "shards", s->shards_at, s->shards_size, s->shards_count, CLV_PACK_MAX_SHARDS, 1));
    CLV_TRY(take_names(ds, &ds->map[0], s));
    const char *const *name = ds->owned[1];
    const size_t n = (size_t)s->shards_count;
    ds->shard = clvi_calloc(ds->ctx, n, sizeof *ds->shard);
    ds->shard_first = clvi_calloc(ds->ctx, n + 1, sizeof *ds->shard_first);
    if (!ds->shard || !ds->shard_first) return CLV_ERR_NOMEM;
    ds->shard_count = s->shards_count;
    for (size_t i = 0; i < n; i++) {
        CLV_TRY(open_shard(ds, name[i], split, &ds->shard[i]));
        CLV_TRY(join_shard(ds, ds->shard[i]));
        ds->shard_first[i + 1] = ds->info.count;
    }
    const clv_dataset_info *first = &ds->shard[0]->info;
    ds->info.height = first->height;
    ds->info.width = first->width;
    ds->info.channels = first->channels;
    ds->info.has_labels = first->has_labels;
    CLV_CHECK(!s->has_stats || s->channels == first->channels, CLV_ERR_FORMAT,
              "'%s': mean and std have %" PRId64 " channels, its shards %" PRId64, ds->path, s->channels, first->channels);
    CLV_TRY(take_stats(ds, s));
    return clvi_dataset_set_split(ds, ds->shard[0]->split);
}

clv_status clvi_dataset_from_survey(clv_dataset *ds, const char *split)
{
    CLV_TRY(check_head(ds->path, &ds->map[0]));
    const clvi_survey *s = (const void *)ds->map[0].data;
    return s->shards_at >= 0 ? open_shards(ds, s, split) : take_images(ds);
}

static clv_status open_h5(clv_dataset *ds, const char *split)
{
    request r = { .path = ds->path, .split = split };
    CLV_TRY(file_size(ds->path, &r.file_size));
    CLV_TRY(clvi_isolate(ds->path, survey_in_child, &r, &ds->map[0]));
    return clvi_dataset_from_survey(ds, split);
}

/* The splits of a set are those of its first shard. */
static clv_status survey_first_shard(const char *path, clvi_map *map)
{
    char first[PATH_MAX];
    const clvi_survey *s = (const void *)map->data;
    const char *name = part(map, s->shards_at, s->shards_size, 1);
    CLV_CHECK(name && memchr(name, 0, (size_t)s->shards_size), CLV_ERR_FORMAT, "'%s': the attribute shards is damaged",
              path);
    CLV_TRY(shard_path(path, name, first, sizeof first));
    clvi_map_close(map);
    return survey(&(request){ .path = first, .list = true }, map);
}

static clv_status splits(clv_context *ctx, const char *path, clv_dataset_splits *out)
{
    (void)ctx;
    request r = { .path = path, .list = true };
    clvi_map map = { 0 };
    clv_status st = survey(&r, &map);
    if (st == CLV_OK && ((const clvi_survey *)(const void *)map.data)->shards_at >= 0)
        st = survey_first_shard(path, &map);
    if (st == CLV_OK) {
        *out = ((const clvi_survey *)(const void *)map.data)->splits;
        for (size_t i = 0; i < CLV_DATA_MAX_SPLITS; i++) out->name[i][sizeof out->name[i] - 1] = 0;
    }
    clvi_map_close(&map);
    return st;
}

const clvi_reader clvi_reader_h5 = {
    .name = "h5",
    .summary = "Cleave's HDF5 layout: images or encoded bytes, labels, splits as groups",
    .source = "docs/formats.md",
    .probe = probe, .open = open_h5, .splits = splits,
};
