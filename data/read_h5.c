/* h5.c: the reader of Cleave's HDF5 data sets (docs/formats.md). A child process surveys the file; this side believes
 * nothing of the survey before checking it, and maps contiguous images straight from the file. */
#include "data/dataset.h"
#include "core/checked.h"
#include "core/isolate.h"
#include "data/survey.h"
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

static clv_status survey(const request *r, clvi_map *map)
{
    CLV_TRY(clvi_isolate(r->path, survey_in_child, (void *)r, map));
    const clvi_survey *s = (const void *)map->data;
    CLV_CHECK(map->size >= sizeof *s && s->magic == CLVI_SURVEY_MAGIC && s->splits.count >= 0 &&
              s->splits.count <= CLV_DATA_MAX_SPLITS, CLV_ERR_FORMAT, "'%s': its survey makes no sense", r->path);
    return CLV_OK;
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

static clv_status take_names(clv_dataset *ds, const clvi_map *map, const clvi_survey *s)
{
    if (s->names_at < 0) return CLV_OK;
    const char *text = part(map, s->names_at, s->names_size, 1);
    CLV_CHECK(text && s->names_count >= 1 && s->names_count <= CLVI_DATA_MAX_CLASSES, CLV_ERR_FORMAT,
              "'%s': the attribute class_names is damaged", ds->path);
    const char **names = clvi_calloc(ds->ctx, (size_t)s->names_count, sizeof *names);
    if (!names) return CLV_ERR_NOMEM;
    ds->owned[0] = names;
    const char *end = text + s->names_size;
    for (int64_t i = 0; i < s->names_count; i++) {
        const char *zero = memchr(text, 0, (size_t)(end - text));
        CLV_CHECK(zero, CLV_ERR_FORMAT, "'%s': the attribute class_names is damaged", ds->path);
        names[i] = text;
        text = zero + 1;
    }
    ds->class_names = names;
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

static clv_status open_h5(clv_dataset *ds, const char *split)
{
    request r = { .path = ds->path, .split = split };
    CLV_TRY(file_size(ds->path, &r.file_size));
    CLV_TRY(survey(&r, &ds->map[0]));
    const clvi_map *map = &ds->map[0];
    const clvi_survey *s = (const void *)map->data;
    CLV_CHECK(memchr(s->split, 0, sizeof s->split), CLV_ERR_FORMAT, "'%s': its survey makes no sense", ds->path);
    CLV_TRY(clvi_dataset_set_split(ds, s->split));
    CLV_TRY(s->encoded ? take_offsets(ds, map, s) : take_raw_geometry(ds, s));
    CLV_TRY(take_blob(ds, s));
    ds->info.count = s->count;
    CLV_TRY(take_names(ds, map, s));
    CLV_TRY(take_stats(ds, s));
    if (s->checksums_at >= 0) {
        ds->checksums = part(map, s->checksums_at, s->count * 8, 8);
        CLV_CHECK(ds->checksums, CLV_ERR_FORMAT, "'%s': the checksums are damaged", ds->path);
    }
    if (s->labels_at < 0) return CLV_OK;
    const int64_t *labels = part(map, s->labels_at, s->count * 8, 8);
    CLV_CHECK(labels, CLV_ERR_FORMAT, "'%s': the labels are damaged", ds->path);
    return clvi_dataset_set_labels(ds, labels);
}

static clv_status splits(clv_context *ctx, const char *path, clv_dataset_splits *out)
{
    (void)ctx;
    request r = { .path = path, .list = true };
    clvi_map map = { 0 };
    const clv_status st = survey(&r, &map);
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
