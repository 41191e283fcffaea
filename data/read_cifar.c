/* read_cifar.c: the binary version of CIFAR-10 and CIFAR-100 (Krizhevsky 2009). A record is one label byte (CIFAR-100:
 * coarse and fine), then 1024 red, 1024 green and 1024 blue bytes. */
#include "data/dataset.h"
#include "core/checked.h"
#include "data/parse.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SIDE   32
#define PLANE  (SIDE * SIDE)
#define PIXELS (3 * PLANE)

static bool is_file(const char *folder, const char *name)
{
    char path[4352];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool probe(const char *path)
{
    const char *name = base_name(path);
    if (is_folder(path))
        return is_file(path, "data_batch_1.bin") || is_file(path, "test_batch.bin") || is_file(path, "train.bin") ||
               is_file(path, "test.bin");
    return ends_with(name, ".bin") && (starts_with(name, "data_batch") || starts_with(name, "test") ||
                                       starts_with(name, "train"));
}

/* CIFAR-100's files are train.bin and test.bin; CIFAR-10's are called batches. */
static int label_bytes(const char *name)
{
    return strstr(name, "batch") ? 1 : 2;
}

clv_status clvi_cifar_parse(const char *path, const uint8_t *bytes, size_t size, int labels_each, uint8_t *pixels,
                            int64_t *labels, int64_t *count)
{
    const size_t record = (size_t)labels_each + PIXELS;
    const int classes = labels_each == 1 ? 10 : 100;
    *count = (int64_t)(size / record);
    CLV_CHECK(size > 0 && size % record == 0, CLV_ERR_FORMAT,
              "'%s' has %zu bytes; expected a multiple of %zu (CIFAR-%d)", path, size, record, classes);
    if (!pixels) return CLV_OK;
    for (int64_t i = 0; i < *count; i++) {
        const uint8_t *from = bytes + (size_t)i * record;
        labels[i] = from[labels_each - 1];
        CLV_CHECK(labels[i] < classes, CLV_ERR_FORMAT, "'%s': label %" PRId64 " of record %" PRId64
                  " is not below %d", path, labels[i], i, classes);
        from += labels_each;
        for (int64_t p = 0; p < PLANE; p++)
            for (int64_t c = 0; c < 3; c++) pixels[i * PIXELS + 3 * p + c] = from[c * PLANE + p];
    }
    return CLV_OK;
}

/* The files of a split, in order: data_batch_1.bin, data_batch_2.bin, ... or a single one. */
static int list_files(const char *folder, const char *split, char names[][32], int capacity)
{
    int n = 0;
    const char *single = strcmp(split, "test") == 0 ? "test.bin" : "train.bin";
    if (strcmp(split, "test") == 0 && is_file(folder, "test_batch.bin")) single = "test_batch.bin";
    if (is_file(folder, single)) {
        snprintf(names[n++], 32, "%s", single);
    } else if (strcmp(split, "train") == 0) {
        for (; n < capacity; n++) {
            snprintf(names[n], 32, "data_batch_%d.bin", n + 1);
            if (!is_file(folder, names[n])) break;
        }
    }
    return n;
}

static clv_status splits(clv_context *ctx, const char *path, clv_dataset_splits *out)
{
    char names[16][32];
    (void)ctx;
    if (!is_folder(path)) return CLV_OK;
    if (list_files(path, "train", names, 16) > 0) CLV_TRY(clvi_splits_add(out, path, "train"));
    if (list_files(path, "test", names, 16) > 0) CLV_TRY(clvi_splits_add(out, path, "test"));
    return CLV_OK;
}

typedef struct part {
    clvi_map map;
    char     path[4352];
    int64_t  count;
} part;

/* Joins the parts into one dense array of pixels in height, width, channel order. */
static clv_status join(clv_dataset *ds, part *parts, int n, int labels_each)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        CLV_TRY(clvi_cifar_parse(parts[i].path, parts[i].map.data, parts[i].map.size, labels_each, NULL, NULL,
                                 &parts[i].count));
        ds->info.count += parts[i].count;
    }
    CLV_TRY(clvi_check_geometry(ds->path, ds->info.count, SIDE, SIDE, 3, &bytes));
    CLV_CHECK(bytes <= CLVI_DATA_MAX_LOADED, CLV_ERR_UNSUPPORTED, "'%s' has %zu bytes; pack it first", ds->path, bytes);
    uint8_t *pixels = ds->owned[0] = clvi_calloc(ds->ctx, 1, bytes);
    int64_t *labels = ds->owned[1] = clvi_calloc(ds->ctx, (size_t)ds->info.count, sizeof *labels);
    if (!pixels || !labels) return CLV_ERR_NOMEM;
    for (int64_t i = 0, at = 0; i < n; at += parts[i++].count)
        CLV_TRY(clvi_cifar_parse(parts[i].path, parts[i].map.data, parts[i].map.size, labels_each,
                                 pixels + at * PIXELS, labels + at, &parts[i].count));
    ds->pixels = pixels;
    ds->info.height = ds->info.width = SIDE;
    ds->info.channels = 3;
    ds->info.classes = labels_each == 1 ? 10 : 100;
    return clvi_dataset_set_labels(ds, labels);
}

static clv_status read_names(clv_dataset *ds, const char *folder, int labels_each)
{
    char path[4352];
    const int64_t expected = labels_each == 1 ? 10 : 100;
    snprintf(path, sizeof path, "%s/%s", folder, labels_each == 1 ? "batches.meta.txt" : "fine_label_names.txt");
    CLV_TRY(clvi_dataset_read_names(ds, path, 2));
    CLV_CHECK(!ds->class_names || ds->info.classes == expected, CLV_ERR_FORMAT,
              "'%s' has %" PRId64 " class names, expected %" PRId64, path, ds->info.classes, expected);
    return CLV_OK;
}

static clv_status open_cifar(clv_dataset *ds, const char *wanted)
{
    clv_status st = CLV_OK;
    char names[16][32], folder[4096];
    int n = 1;
    part *parts = clvi_calloc(ds->ctx, 16, sizeof *parts);
    if (!parts) return CLV_ERR_NOMEM;

    snprintf(folder, sizeof folder, "%s", ds->path);
    clv_dataset_splits have = { 0 };
    const char *split = NULL;
    CLV_TRY_OR_DONE(splits(ds->ctx, ds->path, &have));
    CLV_TRY_OR_DONE(clvi_choose_split(&have, ds->path, wanted, &split));
    CLV_TRY_OR_DONE(clvi_dataset_set_split(ds, split));
    if (is_folder(ds->path)) {
        n = list_files(ds->path, split, names, 16);
    } else {
        const char *name = base_name(folder);
        CLV_CHECK_OR_DONE(strlen(name) < sizeof names[0], CLV_ERR_INVALID, "'%s': the name is too long", ds->path);
        memcpy(names[0], name, strlen(name) + 1);
        if (name == folder) snprintf(folder, sizeof folder, ".");
        else folder[name - folder - 1] = 0;
    }
    for (int i = 0; i < n; i++) {
        snprintf(parts[i].path, sizeof parts[i].path, "%s/%.31s", folder, names[i]);
        CLV_TRY_OR_DONE(clvi_map_open(parts[i].path, &parts[i].map));
    }
    CLV_TRY_OR_DONE(read_names(ds, folder, label_bytes(names[0])));
    st = join(ds, parts, n, label_bytes(names[0]));
done:
    for (int i = 0; i < 16; i++) clvi_map_close(&parts[i].map);
    clvi_free(ds->ctx, parts);
    return st;
}

const clvi_reader clvi_reader_cifar = {
    .name = "cifar",
    .summary = "CIFAR-10 and CIFAR-100 in their binary version, a folder or one of its files",
    .source = "Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html",
    .probe = probe, .open = open_cifar, .splits = splits,
};
