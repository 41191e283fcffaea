/* read_imagefolder.c: FOLDER/[split/]class/.../picture.jpg, as torchvision's ImageFolder reads it: classes are the
 * sorted names of the folders, pictures of a class come in order of folder and name. A folder that holds pictures and
 * no folders is a set without labels. */
#include "data/dataset.h"
#include "core/checked.h"
#include "data/decode.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 16   /* folders below a class; ends loops of symbolic links */

typedef struct listing {
    clv_context *ctx;
    const char  *root;          /* the data set's path, for messages */
    char        *text;          /* names one after another */
    size_t       used, capacity;
    int64_t     *at;            /* where in text each name starts */
    int64_t      count, room;
} listing;

static void listing_free(listing *l)
{
    clvi_free(l->ctx, l->text);
    clvi_free(l->ctx, l->at);
    *l = (listing){ .ctx = l->ctx, .root = l->root };
}

static clv_status listing_add(listing *l, const char *name)
{
    const size_t size = strlen(name) + 1;
    if (l->capacity - l->used < size) {
        const size_t capacity = CLVI_MAX(2 * l->capacity, l->used + size + 4096);
        char *text = clvi_realloc(l->ctx, l->text, capacity);
        if (!text) return CLV_ERR_NOMEM;
        l->text = text;
        l->capacity = capacity;
    }
    if (l->count == l->room) {
        const int64_t room = 2 * l->room + 64;
        int64_t *at = clvi_realloc(l->ctx, l->at, (size_t)room * sizeof *at);
        if (!at) return CLV_ERR_NOMEM;
        l->at = at;
        l->room = room;
    }
    memcpy(l->text + l->used, name, size);
    l->at[l->count++] = (int64_t)l->used;
    l->used += size;
    return CLV_OK;
}

/* By folder, then by name: what Python's sorted(os.walk(...)) with sorted names gives. */
static int by_folder_and_name(const void *a, const void *b, void *text)
{
    const char *x = (const char *)text + *(const int64_t *)a, *y = (const char *)text + *(const int64_t *)b;
    const char *xs = strrchr(x, '/'), *ys = strrchr(y, '/');
    const size_t xn = xs ? (size_t)(xs - x) : 0, yn = ys ? (size_t)(ys - y) : 0;
    const int folder = memcmp(x, y, CLVI_MIN(xn, yn));
    if (folder) return folder;
    if (xn != yn) return xn < yn ? -1 : 1;
    return strcmp(x + xn, y + yn);
}

static void listing_sort(listing *l, int64_t from)
{
    if (l->count == from) return;   /* there may be no array at all */
    qsort_r(l->at + from, (size_t)(l->count - from), sizeof *l->at, by_folder_and_name, l->text);
}

static clv_status join_path(const char *root, const char *below, char *out, size_t size)
{
    const int n = snprintf(out, size, "%s%s%s", root, below[0] ? "/" : "", below);
    CLV_CHECK(n >= 0 && (size_t)n < size, CLV_ERR_FORMAT, "'%s/%s': the path is too long", root, below);
    return CLV_OK;
}

static bool is_folder(const char *root, const char *below)
{
    char path[PATH_MAX];
    struct stat info;
    const int n = snprintf(path, sizeof path, "%s/%s", root, below);
    return n > 0 && (size_t)n < sizeof path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The entries of root/below, as paths below root: folders into one listing, decodable pictures into the other. Either
 * may be NULL. */
static clv_status list_entries(const char *root, const char *below, listing *folders, listing *pictures)
{
    char path[PATH_MAX], entry[PATH_MAX];
    clv_status st = CLV_OK;
    CLV_TRY(join_path(root, below, path, sizeof path));
    DIR *dir = opendir(path);
    CLV_CHECK(dir, CLV_ERR_IO, "cannot open folder '%s': %s", path, strerror(errno));
    for (const struct dirent *e = readdir(dir); e && st == CLV_OK; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        CLV_TRY_OR_DONE(join_path(below[0] ? below : e->d_name, below[0] ? e->d_name : "", entry, sizeof entry));
        const bool plain = e->d_type == DT_REG || e->d_type == DT_DIR;   /* else a link, or not told here */
        if (plain ? e->d_type == DT_DIR : is_folder(root, entry)) {
            if (folders) st = listing_add(folders, entry);
            continue;
        }
        const clvi_image_name kind = clvi_image_name_kind(e->d_name);
        CLV_CHECK_OR_DONE(!pictures || kind != CLVI_NAME_REFUSED, CLV_ERR_UNSUPPORTED,
                          "'%s/%s': pictures of this kind are not read; convert it to PNG or JPEG", root, entry);
        if (pictures && kind == CLVI_NAME_DECODABLE) st = listing_add(pictures, entry);
    }
done:
    closedir(dir);
    return st;
}

static clv_status list_class(const char *root, const char *below, int depth, listing *pictures)
{
    listing folders = { .ctx = pictures->ctx, .root = root };
    CLV_CHECK(depth <= MAX_DEPTH, CLV_ERR_FORMAT, "'%s/%s': more than %d folders deep", root, below, MAX_DEPTH);
    clv_status st = list_entries(root, below, &folders, pictures);
    for (int64_t i = 0; i < folders.count && st == CLV_OK; i++)
        st = list_class(root, folders.text + folders.at[i], depth + 1, pictures);
    listing_free(&folders);
    return st;
}

/* A class may have any name, so only folders called so are taken for splits, and only when all of them are. */
static bool is_split_name(const char *name)
{
    static const char *const names[] = { "train", "test", "val", "valid", "validation", "unlabeled", "unlabelled" };
    for (size_t i = 0; i < CLVI_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static clv_status splits(clv_context *ctx, const char *path, clv_dataset_splits *out)
{
    listing folders = { .ctx = ctx, .root = path };
    clv_status st = list_entries(path, "", &folders, NULL);
    bool all = folders.count > 0;
    for (int64_t i = 0; i < folders.count; i++) all = all && is_split_name(folders.text + folders.at[i]);
    for (int64_t i = 0; all && i < folders.count && st == CLV_OK; i++)
        st = clvi_splits_add(out, path, folders.text + folders.at[i]);
    listing_free(&folders);
    return st;
}

static clv_status keep_labels(clv_dataset *ds, listing *classes, const int64_t *first)
{
    int64_t *labels = ds->owned[2] = clvi_calloc(ds->ctx, (size_t)ds->info.count, sizeof *labels);
    const char **names = ds->owned[3] = clvi_calloc(ds->ctx, 1, (size_t)classes->count * sizeof *names + classes->used);
    if (!labels || !names) return CLV_ERR_NOMEM;
    char *text = (char *)(names + classes->count);
    memcpy(text, classes->text, classes->used);
    for (int64_t c = 0; c < classes->count; c++) {
        const char *name = text + classes->at[c], *slash = strrchr(name, '/');
        names[c] = slash ? slash + 1 : name;   /* without the split */
        for (int64_t i = first[c]; i < first[c + 1]; i++) labels[i] = c;
    }
    ds->class_names = names;
    ds->info.classes = classes->count;
    return clvi_dataset_set_labels(ds, labels);
}

/* All pictures, class by class; first[c] is where class c starts. */
static clv_status list_classes(clv_dataset *ds, listing *classes, listing *pictures, int64_t *first)
{
    for (int64_t c = 0; c < classes->count; c++) {
        const char *name = classes->text + classes->at[c];
        first[c] = pictures->count;
        CLV_TRY(list_class(ds->path, name, 1, pictures));
        CLV_CHECK(pictures->count > first[c], CLV_ERR_FORMAT,
                  "'%s/%s': the class holds no picture (.jpg, .jpeg, .png)", ds->path, name);
        listing_sort(pictures, first[c]);
    }
    first[classes->count] = pictures->count;
    return CLV_OK;
}

static void take_pictures(clv_dataset *ds, listing *pictures)
{
    ds->owned[0] = ds->file_text = pictures->text;
    ds->owned[1] = ds->file_at = pictures->at;
    ds->file_root = ds->path;
    ds->info.count = pictures->count;
    ds->info.channels = 3;
    pictures->text = NULL;
    pictures->at = NULL;
}

static clv_status open_imagefolder(clv_dataset *ds, const char *wanted)
{
    clv_status st = CLV_OK;
    clv_dataset_splits have = { 0 };
    const char *split = NULL;
    int64_t *first = NULL;
    listing classes = { .ctx = ds->ctx, .root = ds->path }, pictures = classes;
    CLV_TRY(splits(ds->ctx, ds->path, &have));
    CLV_TRY(clvi_choose_split(&have, ds->path, wanted, &split));
    CLV_TRY(clvi_dataset_set_split(ds, split));

    CLV_TRY_OR_DONE(list_entries(ds->path, split, &classes, &pictures));
    CLV_CHECK_OR_DONE(classes.count == 0 || pictures.count == 0, CLV_ERR_FORMAT,
                      "'%s' holds both folders and pictures ('%s'); expected one folder per class, or pictures only",
                      ds->path, pictures.count ? pictures.text + pictures.at[0] : "");
    CLV_CHECK_OR_DONE(classes.count > 0 || pictures.count > 0, CLV_ERR_FORMAT,
                      "'%s%s%s' holds no picture: expected class/*.jpg, .jpeg or .png", ds->path, split[0] ? "/" : "",
                      split);
    listing_sort(&classes, 0);
    listing_sort(&pictures, 0);
    first = clvi_calloc(ds->ctx, (size_t)classes.count + 1, sizeof *first);
    CLV_CHECK_OR_DONE(first, CLV_ERR_NOMEM, "out of memory");
    if (classes.count) CLV_TRY_OR_DONE(list_classes(ds, &classes, &pictures, first));
    take_pictures(ds, &pictures);
    if (classes.count) st = keep_labels(ds, &classes, first);
done:
    clvi_free(ds->ctx, first);
    listing_free(&classes);
    listing_free(&pictures);
    return st;
}

static bool probe(const char *path)
{
    return is_folder(path, ".");
}

const clvi_reader clvi_reader_imagefolder = {
    .name = "imagefolder",
    .summary = "a folder per class with JPEG and PNG files, below a folder per split if wanted",
    .source = "torchvision.datasets.ImageFolder",
    .probe = probe, .open = open_imagefolder, .splits = splits,
};
