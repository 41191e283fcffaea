/* read_idx.c: the IDX format of MNIST and Fashion-MNIST, plain or gzip. The header (big-endian): 0, 0, type 8, number
 * of dimensions, the dimensions; then unsigned bytes. Labels lie in a file of their own, paired by name. */
#include "data/dataset.h"
#include "core/checked.h"
#include "data/parse.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define HEADER_MAX (4 + 4 * CLVI_IDX_MAX_DIMS)

static const struct split_name { const char *split, *prefix; } split_names[] = {
    { "train", "train-" }, { "test", "t10k-" }, { "test", "test-" },
};
static const char *const image_names[] = { "images-idx3-ubyte", "images.idx3-ubyte", "images-idx4-ubyte" };
static const char *const label_names[] = { "labels-idx1-ubyte", "labels.idx1-ubyte", "labels-idx1-ubyte" };
static const char *const endings[] = { "", ".gz" };

clv_status clvi_idx_parse(const char *path, const uint8_t *bytes, size_t size, clvi_idx *out)
{
    clvi_idx idx = { .values = 1 };
    CLV_CHECK(size >= 4, CLV_ERR_FORMAT, "'%s': IDX file ends inside the magic number, at byte %zu", path, size);
    CLV_CHECK(bytes[0] == 0 && bytes[1] == 0 && bytes[2] == 8, CLV_ERR_FORMAT,
              "'%s': expected IDX with unsigned bytes (00 00 08 nn), got %02x %02x %02x %02x", path, bytes[0], bytes[1],
              bytes[2], bytes[3]);
    idx.ndim = bytes[3];
    CLV_CHECK(idx.ndim >= 1 && idx.ndim <= CLVI_IDX_MAX_DIMS, CLV_ERR_FORMAT,
              "'%s': IDX with %d dimensions, expected 1 to %d", path, idx.ndim, CLVI_IDX_MAX_DIMS);
    idx.header = 4 + 4 * (size_t)idx.ndim;
    CLV_CHECK(size >= idx.header, CLV_ERR_FORMAT, "'%s': IDX file ends inside the dimensions, at byte %zu", path, size);
    for (int i = 0; i < idx.ndim; i++) {
        const uint8_t *p = bytes + 4 + 4 * i;
        idx.dim[i] = (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        CLV_CHECK(clvi_mul_size(idx.values, (size_t)idx.dim[i], &idx.values), CLV_ERR_FORMAT,
                  "'%s': the IDX dimensions overflow", path);
    }
    *out = idx;
    return CLV_OK;
}

/* The first file "folder/prefix + name[.gz]" that exists, for any of `names`. */
static bool find_file(const char *folder, const char *prefix, const char *const *names, char *path, size_t size)
{
    struct stat info;
    for (size_t n = 0; n < CLVI_COUNT(image_names); n++) {
        for (size_t e = 0; e < CLVI_COUNT(endings); e++) {
            snprintf(path, size, "%s/%s%s%s", folder, prefix, names[n], endings[e]);
            if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) return true;
        }
    }
    return false;
}

static bool find_split(const char *folder, const char *split, const char **prefix, char *path, size_t size)
{
    for (size_t i = 0; i < CLVI_COUNT(split_names); i++) {
        *prefix = split_names[i].prefix;
        const bool wanted = strcmp(split, split_names[i].split) == 0;
        if (wanted && find_file(folder, *prefix, image_names, path, size)) return true;
    }
    return false;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static clv_status splits(clv_context *ctx, const char *path, clv_dataset_splits *out)
{
    const char *prefix;
    char file[4352];
    (void)ctx;
    if (!is_folder(path)) return CLV_OK;
    if (find_split(path, "train", &prefix, file, sizeof file)) CLV_TRY(clvi_splits_add(out, path, "train"));
    if (find_split(path, "test", &prefix, file, sizeof file)) CLV_TRY(clvi_splits_add(out, path, "test"));
    return CLV_OK;
}

static bool probe(const char *path)
{
    clv_dataset_splits have = { 0 };
    if (is_folder(path)) return splits(NULL, path, &have) == CLV_OK && have.count > 0;
    uint8_t head[4];
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    const bool whole = fread(head, 1, 4, file) == 4;
    fclose(file);
    const bool gzip = whole && head[0] == 0x1f && head[1] == 0x8b;   /* no other kind is read from .gz */
    return gzip || (whole && head[0] == 0 && head[1] == 0 && head[2] == 8 && head[3] >= 1 &&
                    head[3] <= CLVI_IDX_MAX_DIMS);
}

/* Inflates exactly what the header promises. */
static clv_status inflate_values(clv_dataset *ds, gzFile file, const char *path, int slot, clvi_idx *idx,
                                 const uint8_t **values)
{
    uint8_t head[HEADER_MAX];
    int got = gzread(file, head, sizeof head);
    CLV_CHECK(got >= 0, CLV_ERR_FORMAT, "'%s': gzip data are damaged", path);
    CLV_TRY(clvi_idx_parse(path, head, (size_t)got, idx));
    CLV_CHECK(idx->values <= (size_t)CLVI_DATA_MAX_LOADED, CLV_ERR_UNSUPPORTED,
              "'%s': the header promises %zu values; at most %" PRId64 " are inflated", path, idx->values,
              CLVI_DATA_MAX_LOADED);
    struct stat info;
    CLV_CHECK(stat(path, &info) == 0 && idx->values / 1100 <= (size_t)info.st_size, CLV_ERR_FORMAT,
              "'%s': the header promises %zu values, which a file of %lld bytes cannot hold", path, idx->values,
              (long long)info.st_size);
    uint8_t *data = ds->owned[slot] = clvi_calloc(ds->ctx, 1, idx->values + 1);
    if (!data) return CLV_ERR_NOMEM;

    CLV_CHECK(gzrewind(file) == 0 && gzread(file, head, (unsigned)idx->header) == (int)idx->header, CLV_ERR_FORMAT,
              "'%s': gzip data are damaged", path);
    size_t done = 0;
    while (done < idx->values) {
        got = gzread(file, data + done, (unsigned)CLVI_MIN(idx->values - done, (size_t)1 << 24));
        if (got <= 0) break;
        done += (size_t)got;
    }
    CLV_CHECK(done == idx->values, CLV_ERR_FORMAT, "'%s': the header promises %zu values, %zu follow%s", path,
              idx->values, done, got < 0 ? " before the gzip data are damaged" : "");
    got = gzread(file, data + done, 1);   /* reaching the end also checks gzip's own checksum */
    CLV_CHECK(got == 0, CLV_ERR_FORMAT, "'%s': %s", path,
              got > 0 ? "more values follow than the header promises" : "gzip data are damaged");
    *values = data;
    return CLV_OK;
}

static clv_status map_values(const char *path, clvi_map *map, clvi_idx *idx, const uint8_t **values)
{
    CLV_TRY(clvi_map_open(path, map));
    CLV_TRY(clvi_idx_parse(path, map->data, map->size, idx));
    CLV_CHECK(idx->values == map->size - idx->header, CLV_ERR_FORMAT,
              "'%s': the header promises %zu values, %zu follow", path, idx->values, map->size - idx->header);
    *values = map->data + idx->header;
    return CLV_OK;
}

/* The values of one file: mapped when plain, else inflated into ds->owned[slot]. */
static clv_status load(clv_dataset *ds, const char *path, int slot, clvi_idx *idx, const uint8_t **values)
{
    gzFile file = gzopen(path, "rb");
    CLV_CHECK(file, CLV_ERR_IO, "cannot open '%s'", path);
    const bool plain = gzdirect(file);
    const clv_status st = plain ? CLV_OK : inflate_values(ds, file, path, slot, idx, values);
    gzclose(file);
    return plain ? map_values(path, &ds->map[slot], idx, values) : st;
}

static clv_status load_labels(clv_dataset *ds, const char *path)
{
    clvi_idx idx;
    const uint8_t *values = NULL;
    CLV_TRY(load(ds, path, 1, &idx, &values));
    CLV_CHECK(idx.ndim == 1 && idx.dim[0] == ds->info.count, CLV_ERR_FORMAT,
              "'%s' holds %" PRId64 " labels in %d dimensions, but there are %" PRId64 " images", path, idx.dim[0],
              idx.ndim, ds->info.count);
    int64_t *labels = ds->owned[2] = clvi_calloc(ds->ctx, (size_t)ds->info.count, sizeof *labels);
    if (!labels) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < ds->info.count; i++) labels[i] = values[i];
    return clvi_dataset_set_labels(ds, labels);
}

/* An images file given by its own path: its folder and what precedes "images-..."; false when it is named otherwise. */
static bool split_path(const char *path, char *folder, char *prefix, size_t size)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t n = 0; n < CLVI_COUNT(image_names); n++) {
        const char *at = strstr(name, image_names[n]);
        if (!at) continue;
        snprintf(folder, size, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
        snprintf(prefix, size, "%.*s", (int)(at - name), name);
        return true;
    }
    return false;
}

static clv_status open_idx(clv_dataset *ds, const char *wanted)
{
    char folder[4096], own_prefix[4096] = "", images[4352], labels[4352];
    clv_dataset_splits have = { 0 };
    const char *split = NULL, *prefix = own_prefix;
    CLV_TRY(splits(ds->ctx, ds->path, &have));
    CLV_TRY(clvi_choose_split(&have, ds->path, wanted, &split));
    CLV_TRY(clvi_dataset_set_split(ds, split));
    bool paired = true;
    snprintf(folder, sizeof folder, "%s", ds->path);
    snprintf(images, sizeof images, "%s", ds->path);
    if (is_folder(ds->path))
        CLV_CHECK(find_split(folder, split, &prefix, images, sizeof images), CLV_ERR_IO, "'%s' changed", ds->path);
    else
        paired = split_path(ds->path, folder, own_prefix, sizeof folder);

    clvi_idx idx;
    size_t bytes = 0;
    CLV_TRY(load(ds, images, 0, &idx, &ds->pixels));
    CLV_CHECK(idx.ndim >= 3, CLV_ERR_FORMAT, "'%s': expected images (3 or 4 dimensions), got %d", images, idx.ndim);
    ds->info.count = idx.dim[0];
    ds->info.height = idx.dim[1];
    ds->info.width = idx.dim[2];
    ds->info.channels = idx.ndim == 4 ? idx.dim[3] : 1;
    CLV_TRY(clvi_check_geometry(images, ds->info.count, ds->info.height, ds->info.width, ds->info.channels, &bytes));
    if (!paired || !find_file(folder, prefix, label_names, labels, sizeof labels)) return CLV_OK;
    return load_labels(ds, labels);
}

const clvi_reader clvi_reader_idx = {
    .name = "idx",
    .summary = "IDX files of MNIST and Fashion-MNIST, plain or .gz; a folder or one images file",
    .source = "http://yann.lecun.com/exdb/mnist/",
    .probe = probe, .open = open_idx, .splits = splits,
};
