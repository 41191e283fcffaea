/* dataset.c: opening a data set of whatever kind and asking it for images, labels and names. */
#include "data/dataset.h"
#include "core/checked.h"
#include "data/decode.h"
#include "data/slice.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CLVI_READER(NAME) extern const clvi_reader clvi_reader_##NAME;
#include "data/registry.def"
#undef CLVI_READER

static const clvi_reader *const readers[] = {
#define CLVI_READER(NAME) &clvi_reader_##NAME,
#include "data/registry.def"
#undef CLVI_READER
};

bool clv_dataset_kind_at(int index, clv_class_info *info)
{
    if (index < 0 || (size_t)index >= CLVI_COUNT(readers)) return false;
    const clvi_reader *r = readers[index];
    *info = (clv_class_info){ .name = r->name, .summary = r->summary, .source = r->source };
    return true;
}

static clv_status find_reader(const char *path, const clvi_reader **out)
{
    struct stat info;
    CLV_CHECK(stat(path, &info) == 0, CLV_ERR_IO, "cannot open data set '%s': %s", path, strerror(errno));
    for (size_t i = 0; i < CLVI_COUNT(readers); i++) {
        if (readers[i]->probe(path)) {
            *out = readers[i];
            return CLV_OK;
        }
    }
    return clvi_fail(CLV_ERR_FORMAT,
                     "'%s' is no data set: expected an HDF5 file, a CIFAR or IDX file or folder, a folder of images, or a "
                     "list of files (.txt, .tsv, .lst, .list)",
                     path);
}

static clv_status open_whole(clv_context *ctx, const char *path, const char *split, clv_dataset **out)
{
    const clvi_reader *reader = NULL;
    CLV_TRY(find_reader(path, &reader));

    clv_dataset *ds = clvi_calloc(ctx, 1, sizeof *ds);
    if (!ds) return CLV_ERR_NOMEM;
    ds->ctx = ctx;
    ds->path = clvi_strdup(ctx, path);
    clv_status st = ds->path ? reader->open(ds, split) : CLV_ERR_NOMEM;
    if (st != CLV_OK) {
        clv_dataset_destroy(ds);
        return st;
    }
    ds->info.kind = reader->name;
    ds->info.path = ds->path;
    ds->info.split = ds->split;
    ds->info.raw = ds->pixels || (ds->shard_count && ds->shard[0]->pixels);
    ds->info.has_class_names = ds->class_names != NULL;
    *out = ds;
    return CLV_OK;
}

clv_status clv_dataset_open(clv_context *ctx, const char *path, const char *split, clv_dataset **out)
{
    CLV_CHECK(ctx && path && out, CLV_ERR_INVALID, "clv_dataset_open: an argument is NULL");
    *out = NULL;
    clvi_slice slice;
    clv_dataset *whole = NULL;
    CLV_TRY(clvi_slice_parse(split, &slice));
    CLV_TRY(open_whole(ctx, path, slice.split, &whole));
    if (slice.text) {
        const clv_status st = clvi_slice_make(whole, &slice, out);
        if (st != CLV_OK) clv_dataset_destroy(whole);
        return st;
    }
    *out = whole;
    return CLV_OK;
}

void clv_dataset_destroy(clv_dataset *ds)
{
    if (!ds) return;
    clv_context *ctx = ds->ctx;
    clv_dataset_destroy(ds->whole);
    for (int64_t i = 0; i < ds->shard_count; i++) clv_dataset_destroy(ds->shard[i]);
    clvi_free(ctx, ds->shard);
    clvi_free(ctx, ds->shard_first);
    for (size_t i = 0; i < CLVI_COUNT(ds->owned); i++) clvi_free(ctx, ds->owned[i]);
    for (size_t i = 0; i < CLVI_COUNT(ds->map); i++) clvi_map_close(&ds->map[i]);
    clvi_free(ctx, ds->path);
    clvi_free(ctx, ds);
}

clv_status clv_dataset_list_splits(clv_context *ctx, const char *path, clv_dataset_splits *out)
{
    CLV_CHECK(ctx && path && out, CLV_ERR_INVALID, "clv_dataset_list_splits: an argument is NULL");
    const clvi_reader *reader = NULL;
    CLV_TRY(find_reader(path, &reader));
    *out = (clv_dataset_splits){ 0 };
    return reader->splits(ctx, path, out);
}

void clv_dataset_describe(const clv_dataset *ds, clv_dataset_info *out)
{
    *out = ds->info;
}

const clv_dataset *clvi_dataset_holder(const clv_dataset *ds, int64_t *i)
{
    if (*i < 0 || *i >= ds->info.count) return ds;
    if (ds->whole) {
        *i = clvi_slice_image(ds, *i);
        ds = ds->whole;
    }
    if (ds->shard_count == 0) return ds;
    int64_t low = 0, high = ds->shard_count;   /* the first of low is not above i, that of high is */
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (ds->shard_first[middle] <= *i) low = middle;
        else high = middle;
    }
    *i -= ds->shard_first[low];
    return ds->shard[low];
}

int64_t clv_dataset_label(const clv_dataset *ds, int64_t i)
{
    ds = clvi_dataset_holder(ds, &i);
    return ds->labels && i >= 0 && i < ds->info.count ? ds->labels[i] : -1;
}

const char *clv_dataset_class_name(const clv_dataset *ds, int64_t c)
{
    return ds->class_names && c >= 0 && c < ds->info.classes ? ds->class_names[c] : NULL;
}

void clv_dataset_locate(const clv_dataset *ds, int64_t i, char *text, size_t size)
{
    ds = clvi_dataset_holder(ds, &i);
    const char *slash = ds->split[0] ? "/" : "";
    if (ds->file_at && i >= 0 && i < ds->info.count) {
        const char *name = ds->file_text + ds->file_at[i];
        if (name[0] == '/') snprintf(text, size, "%s", name);
        else snprintf(text, size, "%s/%s", ds->file_root, name);
    } else {
        snprintf(text, size, "%s%s%s [%" PRId64 "]", ds->path, slash, ds->split, i);
    }
}

clv_status clvi_dataset_encoded(const clv_dataset *ds, int64_t i, const char *what, clv_decoder *decoder,
                                const uint8_t **bytes, size_t *size)
{
    ds = clvi_dataset_holder(ds, &i);
    if (ds->file_at) {
        CLV_TRY(clvi_decoder_read_file(decoder, what, size));
        *bytes = decoder->file.data;
        return CLV_OK;
    }
    *bytes = ds->bytes + ds->offsets[i];
    *size = (size_t)(ds->offsets[i + 1] - ds->offsets[i]);
    return CLV_OK;
}

clv_status clv_dataset_image(const clv_dataset *ds, int64_t i, clv_decoder *decoder, clv_image *out)
{
    CLV_CHECK(ds && decoder && out, CLV_ERR_INVALID, "clv_dataset_image: an argument is NULL");
    CLV_CHECK(i >= 0 && i < ds->info.count, CLV_ERR_INVALID,
              "clv_dataset_image: image %" PRId64 " of '%s', which has %" PRId64, i, ds->path, ds->info.count);
    ds = clvi_dataset_holder(ds, &i);
    if (ds->pixels) {
        const int64_t row = ds->info.width * ds->info.channels;
        *out = (clv_image){ ds->pixels + i * ds->info.height * row, ds->info.height, ds->info.width,
                            ds->info.channels, row };
        return CLV_OK;
    }
    char what[CLVI_DATA_MAX_LOCATION];
    const uint8_t *bytes = NULL;
    size_t size = 0;
    clv_dataset_locate(ds, i, what, sizeof what);
    CLV_TRY(clvi_dataset_encoded(ds, i, what, decoder, &bytes, &size));
    return clv_decoder_decode(decoder, what, bytes, size, out);
}

uint32_t clvi_dataset_identity(const clv_dataset *ds)
{
    struct stat info;
    const int64_t shape[4] = { ds->info.count, ds->info.height, ds->info.width, ds->info.channels };
    if (ds->whole) return clvi_crc32c(clvi_dataset_identity(ds->whole), ds->split, strlen(ds->split));
    uint32_t sum = clvi_crc32c(0, shape, sizeof shape);
    if (ds->labels) sum = clvi_crc32c(sum, ds->labels, (size_t)ds->info.count * sizeof *ds->labels);
    for (int64_t c = 0; ds->class_names && c < ds->info.classes; c++)
        sum = clvi_crc32c(sum, ds->class_names[c], strlen(ds->class_names[c]) + 1);
    for (int64_t i = 0; ds->file_at && i < ds->info.count; i++)
        sum = clvi_crc32c(sum, ds->file_text + ds->file_at[i], strlen(ds->file_text + ds->file_at[i]) + 1);
    for (int64_t i = 0; i < ds->shard_count; i++) {
        const uint32_t part = clvi_dataset_identity(ds->shard[i]);
        sum = clvi_crc32c(sum, &part, sizeof part);
    }
    if (stat(ds->path, &info) == 0 && S_ISREG(info.st_mode)) {
        const int64_t file[3] = { info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec };
        sum = clvi_crc32c(sum, file, sizeof file);
    }
    return sum;
}

/* ---- for readers ---- */

clv_status clvi_dataset_set_split(clv_dataset *ds, const char *split)
{
    const int n = snprintf(ds->split, sizeof ds->split, "%s", split);
    CLV_CHECK(n >= 0 && (size_t)n < sizeof ds->split, CLV_ERR_INVALID, "the split '%s' has more than %zu characters",
              split, sizeof ds->split - 1);
    return CLV_OK;
}

clv_status clvi_splits_add(clv_dataset_splits *splits, const char *path, const char *name)
{
    CLV_CHECK(splits->count < CLV_DATA_MAX_SPLITS, CLV_ERR_FORMAT, "'%s' has more than %d splits", path,
              CLV_DATA_MAX_SPLITS);
    CLV_CHECK(strlen(name) < sizeof splits->name[0], CLV_ERR_FORMAT,
              "'%s': the split '%s' has more than %zu characters", path, name, sizeof splits->name[0] - 1);
    int64_t at = splits->count++;
    for (; at > 0 && strcmp(splits->name[at - 1], name) > 0; at--)
        memcpy(splits->name[at], splits->name[at - 1], sizeof splits->name[at]);
    memcpy(splits->name[at], name, strlen(name) + 1);
    return CLV_OK;
}

static const char *find_split(const clv_dataset_splits *splits, const char *name)
{
    for (int64_t i = 0; i < splits->count; i++)
        if (strcmp(splits->name[i], name) == 0) return splits->name[i];
    return NULL;
}

const char *clv_dataset_held_out(const clv_dataset_splits *splits)
{
    static const char *const usual[] = { "test", "val" };
    for (size_t i = 0; i < CLVI_COUNT(usual); i++)
        if (find_split(splits, usual[i])) return usual[i];
    return NULL;
}

clv_status clvi_choose_split(const clv_dataset_splits *splits, const char *path, const char *wanted, const char **out)
{
    if (!wanted && splits->count == 0) *out = "";
    else if (!wanted && splits->count == 1) *out = splits->name[0];
    else *out = find_split(splits, wanted ? wanted : "train");
    if (*out) return CLV_OK;

    char list[CLV_DATA_MAX_SPLITS * 68] = "";
    size_t used = 0;
    for (int64_t i = 0; i < splits->count; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s'%s'", i ? ", " : "", splits->name[i]);
    return clvi_fail(CLV_ERR_INVALID, "'%s' has no split '%s'; it has %s", path, wanted ? wanted : "train",
                     splits->count ? list : "no splits");
}

clv_status clvi_dataset_set_labels(clv_dataset *ds, const int64_t *labels)
{
    const int64_t limit = ds->class_names ? ds->info.classes : CLVI_DATA_MAX_CLASSES;
    int64_t largest = -1;
    for (int64_t i = 0; i < ds->info.count; i++) {
        CLV_CHECK(labels[i] >= -1 && labels[i] < limit, CLV_ERR_FORMAT,
                  "'%s': label %" PRId64 " of image %" PRId64 " is not below %" PRId64 "%s", ds->path, labels[i], i,
                  limit, ds->class_names ? ", the number of class names" : "");
        largest = CLVI_MAX(largest, labels[i]);
    }
    if (!ds->class_names) ds->info.classes = largest + 1;
    ds->labels = labels;
    ds->info.has_labels = true;
    return CLV_OK;
}

clv_status clvi_check_geometry(const char *path, int64_t count, int64_t height, int64_t width, int64_t channels,
                               size_t *bytes)
{
    CLV_CHECK(count >= 1 && count <= CLVI_DATA_MAX_COUNT, CLV_ERR_FORMAT, "'%s': expected at least one image, got %"
              PRId64, path, count);
    CLV_CHECK(channels >= 1 && channels <= CLV_DATA_MAX_CHANNELS, CLV_ERR_FORMAT,
              "'%s': expected 1 to %d channels, got %" PRId64, path, CLV_DATA_MAX_CHANNELS, channels);
    CLV_CHECK(height >= 1 && width >= 1 && height <= CLV_DATA_MAX_SIDE && width <= CLV_DATA_MAX_SIDE &&
              height * width <= CLV_DATA_MAX_PIXELS, CLV_ERR_FORMAT,
              "'%s': images of %" PRId64 "x%" PRId64 ": expected sides of 1 to %d and at most %" PRId64 " pixels", path,
              width, height, CLV_DATA_MAX_SIDE, CLV_DATA_MAX_PIXELS);
    CLV_CHECK(clvi_mul_size((size_t)count, (size_t)(height * width * channels), bytes) && *bytes <= INT64_MAX / 2,
              CLV_ERR_FORMAT, "'%s': the size of %" PRId64 " images overflows", path, count);
    return CLV_OK;
}

clv_status clvi_dataset_read_names(clv_dataset *ds, const char *path, int slot)
{
    struct stat info;
    uint8_t *text = NULL;
    size_t size = 0;
    if (stat(path, &info) != 0) return CLV_OK;
    CLV_TRY(clvi_file_read(ds->ctx, path, 1 << 20, &text, &size));

    /* One block: pointers, then the text with its line ends turned into 0. */
    size_t lines = 1;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    const char **names = clvi_calloc(ds->ctx, 1, lines * sizeof *names + size + 1);
    if (names) {
        char *copy = (char *)(names + lines);
        memcpy(copy, text, size);
        int64_t n = 0;
        for (char *line = copy, *end = NULL; line && line < copy + size; line = end) {
            end = memchr(line, '\n', (size_t)(copy + size - line));
            if (end) *end++ = 0;
            line[strcspn(line, "\r\n")] = 0;
            if (line[0]) names[n++] = line;
        }
        ds->owned[slot] = names;
        if (n > 0) {
            ds->class_names = names;
            ds->info.classes = n;
        }
    }
    clvi_free(ds->ctx, text);
    return names ? CLV_OK : CLV_ERR_NOMEM;
}
