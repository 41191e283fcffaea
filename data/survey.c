/* survey.c: reads the structure of an HDF5 data set, its labels and whatever cannot be mapped. Runs in a child. */
#include "data/survey.h"
#include "core/checked.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFLATE_MAX_RATIO 1100   /* deflate cannot do better than 1032 : 1; a file promising more is a bomb */

#define MAX_PARTS 8   /* of a survey: its head, images, offsets, labels, checksums, two lists of strings */

typedef struct survey {
    clv_context *ctx;
    clvi_h5     *h5;
    const char  *path, *split;
    int64_t      file_size, size;   /* of the HDF5 file; of the survey so far */
    int          fd;
    clvi_survey  head;
    clvi_map     part[MAX_PARTS];   /* mapped while it is written */
    int          parts;
} survey;

static void member(const survey *s, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", s->split, s->split[0] ? "/" : "", name);
}

static bool has_member(clvi_h5 *h5, const char *group, const char *name)
{
    char full[320];
    snprintf(full, sizeof full, "%s%s%s", group, group[0] ? "/" : "", name);
    return clvi_h5_has(h5, full);
}

static bool holds_images(clvi_h5 *h5, const char *group)
{
    return has_member(h5, group, "images") ||
           ((has_member(h5, group, "bytes") || has_member(h5, group, "jpeg")) && has_member(h5, group, "offsets"));
}

static clv_status survey_splits(clvi_h5 *h5, const char *path, clv_dataset_splits *out)
{
    int64_t count = 0;
    char **names = NULL;
    if (holds_images(h5, "")) return CLV_OK;
    CLV_TRY(clvi_h5_list(h5, "/", false, &count, &names));
    for (int64_t i = 0; i < count; i++)
        if (strlen(names[i]) < sizeof out->name[0] && holds_images(h5, names[i]))
            CLV_TRY(clvi_splits_add(out, path, names[i]));
    CLV_CHECK(out->count > 0, CLV_ERR_FORMAT,
              "'%s' holds no images: expected 'images', or 'bytes' and 'offsets', in the root or in a group such as "
              "'train'", path);
    return CLV_OK;
}

/* Makes room for `size` bytes at the end of the survey and maps them; *at is where they will lie. */
static clv_status append(survey *s, int64_t size, int64_t *at, void **memory)
{
    const int64_t page = sysconf(_SC_PAGESIZE), place = (s->size + page - 1) / page * page;
    CLV_CHECK(size >= 0 && size <= CLVI_DATA_MAX_LOADED, CLV_ERR_FORMAT, "'%s' wants %" PRId64 " bytes of memory; "
              "the limit is %" PRId64, s->path, size, CLVI_DATA_MAX_LOADED);
    CLV_CHECK(ftruncate(s->fd, place + size + 8) == 0, CLV_ERR_IO, "cannot take %" PRId64 " bytes to read '%s': %s",
              size, s->path, strerror(errno));
    CLV_CHECK(s->parts < MAX_PARTS, CLV_ERR_INTERNAL, "'%s': the survey has too many parts", s->path);
    *memory = mmap(NULL, (size_t)size + 8, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, place);
    CLV_CHECK(*memory != MAP_FAILED, CLV_ERR_NOMEM, "cannot map %" PRId64 " bytes to read '%s': %s", size, s->path,
              strerror(errno));
#ifdef MADV_POPULATE_WRITE   /* from Linux 5.14 on; faults one by one take as long as HDF5 */
    (void)madvise(*memory, (size_t)size + 8, MADV_POPULATE_WRITE);
#endif
    s->part[s->parts++] = (clvi_map){ *memory, (size_t)size + 8 };
    *at = place;
    s->size = place + size + 8;
    return CLV_OK;
}

static clv_status stat_member(survey *s, const char *name, int ndim, clv_dtype dtype, char *full, size_t full_size,
                              clvi_h5_info *out)
{
    member(s, name, full, full_size);
    CLV_TRY(clvi_h5_stat(s->h5, full, out));
    CLV_CHECK(out->ndim == ndim || (ndim == 4 && out->ndim == 3), CLV_ERR_FORMAT,
              "'%s': data set '%s' has %d dimensions, expected %d", s->path, full, out->ndim, ndim);
    const bool whole = dtype != CLV_U8 && (out->dtype == CLV_I32 || out->dtype == CLV_I64 || out->dtype == CLV_U8);
    CLV_CHECK(out->dtype == dtype || whole, CLV_ERR_FORMAT, "'%s': data set '%s' is %s, expected %s", s->path, full,
              clv_dtype_name(out->dtype), clv_dtype_name(dtype));
    return CLV_OK;
}

static clv_status read_i64(survey *s, const char *name, int64_t expected, int64_t *at)
{
    char full[320];
    clvi_h5_info info;
    void *memory = NULL;
    CLV_TRY(stat_member(s, name, 1, CLV_I64, full, sizeof full, &info));
    CLV_CHECK(info.shape[0] == expected, CLV_ERR_FORMAT,
              "'%s': data set '%s' has %" PRId64 " entries, expected %" PRId64, s->path, full, info.shape[0], expected);
    CLV_TRY(append(s, expected * 8, at, &memory));
    const clv_view dst = clv_view_1d(memory, CLV_I64, expected);
    return clvi_h5_read(s->h5, full, &dst);
}

/* The large part: mapped by the parent when it lies in one piece, else read here. */
static clv_status take_blob(survey *s, const char *full, const clvi_h5_info *info)
{
    void *memory = NULL;
    s->head.blob_in_file = info->offset;
    if (info->offset >= 0) return CLV_OK;
    CLV_CHECK(s->head.blob_size <= CLVI_DATA_MAX_LOADED, CLV_ERR_UNSUPPORTED,
              "'%s': '%s' is compressed or chunked and has %" PRId64 " bytes; more than %" PRId64
              " must be stored contiguous", s->path, full, s->head.blob_size, CLVI_DATA_MAX_LOADED);
    CLV_CHECK(s->head.blob_size / DEFLATE_MAX_RATIO <= s->file_size, CLV_ERR_FORMAT,
              "'%s': '%s' promises %" PRId64 " bytes, which a file of %" PRId64 " bytes cannot hold", s->path, full,
              s->head.blob_size, s->file_size);
    CLV_TRY(append(s, s->head.blob_size, &s->head.blob_at, &memory));
    const clv_view dst = clv_view_dense(memory, CLV_U8, info->ndim, info->shape);
    return clvi_h5_read(s->h5, full, &dst);
}

static clv_status survey_raw(survey *s)
{
    char full[320];
    clvi_h5_info info;
    size_t bytes = 0;
    CLV_TRY(stat_member(s, "images", 4, CLV_U8, full, sizeof full, &info));
    s->head.count = info.shape[0];
    s->head.height = info.shape[1];
    s->head.width = info.shape[2];
    s->head.channels = info.ndim == 4 ? info.shape[3] : 1;
    CLV_TRY(clvi_check_geometry(s->path, s->head.count, s->head.height, s->head.width, s->head.channels, &bytes));
    s->head.blob_size = (int64_t)bytes;
    return take_blob(s, full, &info);
}

static clv_status survey_encoded(survey *s)
{
    char full[320];
    clvi_h5_info info;
    s->head.encoded = 1;
    s->head.channels = 3;
    CLV_TRY(stat_member(s, "offsets", 1, CLV_I64, full, sizeof full, &info));
    s->head.count = info.shape[0] - 1;
    CLV_CHECK(s->head.count >= 1 && s->head.count <= CLVI_DATA_MAX_LOADED / 8, CLV_ERR_FORMAT,
              "'%s': data set '%s' has %" PRId64 " entries; expected one more than there are images", s->path, full,
              info.shape[0]);
    CLV_TRY(read_i64(s, "offsets", info.shape[0], &s->head.offsets_at));
    const char *name = has_member(s->h5, s->split, "bytes") ? "bytes" : "jpeg";
    CLV_TRY(stat_member(s, name, 1, CLV_U8, full, sizeof full, &info));
    s->head.blob_size = info.shape[0];
    CLV_CHECK(s->head.blob_size >= 1, CLV_ERR_FORMAT, "'%s': data set '%s' is empty", s->path, full);
    return take_blob(s, full, &info);
}

static clv_status survey_texts(survey *s, const char *attr, int64_t *at, int64_t *size, int64_t *count)
{
    char **texts = NULL;
    void *memory = NULL;
    if (!clvi_h5_has_attr(s->h5, "/", attr)) return CLV_OK;
    CLV_TRY(clvi_h5_attr_texts(s->h5, "/", attr, count, &texts));
    for (int64_t i = 0; i < *count; i++) *size += (int64_t)strlen(texts[i]) + 1;
    const clv_status st = append(s, *size, at, &memory);
    char *text = memory;
    for (int64_t i = 0; i < *count && st == CLV_OK; i++) {
        const size_t n = strlen(texts[i]) + 1;
        memcpy(text, texts[i], n);
        text += n;
    }
    clvi_free(s->ctx, texts);
    return st;
}

static clv_status survey_names(survey *s)
{
    return survey_texts(s, "class_names", &s->head.names_at, &s->head.names_size, &s->head.names_count);
}

static clv_status survey_stats(survey *s)
{
    const int c = (int)s->head.channels;
    if (!clvi_h5_has_attr(s->h5, "/", "mean") || !clvi_h5_has_attr(s->h5, "/", "std")) return CLV_OK;
    CLV_TRY(clvi_h5_attr_f64s(s->h5, "/", "mean", c, s->head.mean));
    CLV_TRY(clvi_h5_attr_f64s(s->h5, "/", "std", c, s->head.std));
    s->head.has_stats = 1;
    return CLV_OK;
}

/* A file that names others: how many channels they have is told by the statistics only. */
static clv_status survey_set(survey *s)
{
    clv_dtype dtype;
    CLV_TRY(survey_texts(s, "shards", &s->head.shards_at, &s->head.shards_size, &s->head.shards_count));
    CLV_TRY(survey_names(s));
    if (!clvi_h5_has_attr(s->h5, "/", "mean")) return CLV_OK;
    CLV_TRY(clvi_h5_attr_stat(s->h5, "/", "mean", &dtype, &s->head.channels));
    CLV_CHECK(s->head.channels >= 1 && s->head.channels <= CLV_DATA_MAX_CHANNELS, CLV_ERR_FORMAT,
              "'%s': the attribute mean has %" PRId64 " entries, expected 1 to %d", s->path, s->head.channels,
              CLV_DATA_MAX_CHANNELS);
    return survey_stats(s);
}

static clv_status survey_split(survey *s, const char *wanted)
{
    CLV_TRY(clvi_choose_split(&s->head.splits, s->path, wanted, &s->split));
    memcpy(s->head.split, s->split, strlen(s->split) + 1);
    CLV_TRY(has_member(s->h5, s->split, "images") ? survey_raw(s) : survey_encoded(s));
    if (has_member(s->h5, s->split, "labels")) CLV_TRY(read_i64(s, "labels", s->head.count, &s->head.labels_at));
    if (has_member(s->h5, s->split, "checksums"))
        CLV_TRY(read_i64(s, "checksums", s->head.count, &s->head.checksums_at));
    CLV_TRY(survey_names(s));
    return survey_stats(s);
}

static clv_status survey_file(survey *s, const char *wanted, bool list)
{
    void *memory = NULL;
    int64_t at = 0;
    CLV_TRY(append(s, sizeof s->head, &at, &memory));
    if (clvi_h5_has_attr(s->h5, "/", "shards")) {
        CLV_TRY(survey_set(s));
    } else {
        CLV_TRY(survey_splits(s->h5, s->path, &s->head.splits));
        if (!list) CLV_TRY(survey_split(s, wanted));
    }
    memcpy(memory, &s->head, sizeof s->head);
    return CLV_OK;
}

clv_status clvi_survey_write(clv_context *ctx, clvi_h5 *h5, const char *path, int64_t file_size, const char *wanted,
                             bool list, int fd)
{
    survey s = { .ctx = ctx, .h5 = h5, .path = path, .split = "", .file_size = file_size, .fd = fd,
                 .head = { .magic = CLVI_SURVEY_MAGIC, .blob_in_file = -1, .blob_at = -1, .offsets_at = -1,
                           .labels_at = -1, .checksums_at = -1, .names_at = -1, .shards_at = -1 } };
    const clv_status st = survey_file(&s, wanted, list);
    for (int i = 0; i < s.parts; i++) clvi_map_close(&s.part[i]);
    return st;
}
