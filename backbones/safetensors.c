/* safetensors.c: the safetensors format: 8 bytes with the length of a header, the header in JSON, the values.
 * https://github.com/huggingface/safetensors, section "Format". As the reference implementation does, a file is refused
 * when its values overlap, leave a hole, or do not fill the file. */
#include "backbones/tensor_file.h"
#include "core/checked.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The reference implementation allows 100 MB. A parsed header takes many times its size, and CLVI_TENSOR_MAX tensors
 * with long names fit here. */
#define HEADER_MAX ((size_t)16 << 20)

static const struct { const char *name; clvi_stored type; } dtypes[] = {
    { "F32", CLVI_STORED_F32 }, { "F16", CLVI_STORED_F16 }, { "BF16", CLVI_STORED_BF16 }, { "F64", CLVI_STORED_F64 },
    { "I64", CLVI_STORED_I64 }, { "I32", CLVI_STORED_I32 }, { "I16", CLVI_STORED_I16 },   { "I8", CLVI_STORED_I8 },
    { "U8", CLVI_STORED_U8 },   { "BOOL", CLVI_STORED_BOOL },
};

/* ---- reading ---- */

typedef struct range {
    uint64_t    begin, end;
    const char *name;
} range;

/* A whole number of the array, from 0. */
static bool whole(const json_t *array, size_t i, int64_t *out)
{
    const json_t *number = json_array_get(array, i);
    if (!json_is_integer(number) || json_integer_value(number) < 0) return false;
    *out = json_integer_value(number);
    return true;
}

static clv_status read_type(const json_t *entry, const char *shown, clvi_stored *type)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    CLV_CHECK(name, CLV_ERR_FORMAT, "'%s': no dtype", shown);
    for (size_t i = 0; i < CLVI_COUNT(dtypes); i++)
        if (!strcmp(dtypes[i].name, name)) {
            *type = dtypes[i].type;
            return CLV_OK;
        }
    char text[CLVI_SHOWN];
    return clvi_fail(CLV_ERR_UNSUPPORTED, "'%s': dtype '%s' is not read", shown, clvi_shown(name, text));
}

/* Shape with dense strides; *bytes: what the values take. */
static clv_status read_shape(const json_t *entry, const char *shown, clvi_tensor *t, uint64_t *bytes)
{
    const json_t *shape = json_object_get(entry, "shape");
    CLV_CHECK(json_is_array(shape), CLV_ERR_FORMAT, "'%s': no shape", shown);
    CLV_CHECK(json_array_size(shape) <= CLV_MAX_DIMS, CLV_ERR_UNSUPPORTED,
              "'%s' has %zu dimensions, at most %d are read", shown, json_array_size(shape), CLV_MAX_DIMS);
    t->ndim = (int)json_array_size(shape);
    for (int d = 0; d < t->ndim; d++)
        CLV_CHECK(whole(shape, (size_t)d, &t->shape[d]), CLV_ERR_FORMAT,
                  "'%s': its shape holds something else than whole numbers from 0", shown);
    const clv_view dense = clv_view_dense(NULL, CLV_F32, t->ndim, t->shape);
    const int64_t count = clv_view_count(&dense);
    CLV_CHECK(count >= 0 && !__builtin_mul_overflow((uint64_t)count, (uint64_t)clvi_stored_size(t->type), bytes),
              CLV_ERR_FORMAT, "'%s': its shape overflows", shown);
    memcpy(t->stride, dense.stride, sizeof t->stride);
    return CLV_OK;
}

static clv_status read_tensor(clvi_tensor_file *file, const char *name, const json_t *entry, const uint8_t *values,
                              size_t size, range *place)
{
    char shown[CLVI_SHOWN];
    clvi_tensor t = { .name = name };
    int64_t begin, end;
    uint64_t bytes;
    clvi_shown(name, shown);
    CLV_CHECK(json_is_object(entry), CLV_ERR_FORMAT, "'%s': no description of a tensor", shown);
    CLV_TRY(read_type(entry, shown, &t.type));
    CLV_TRY(read_shape(entry, shown, &t, &bytes));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    CLV_CHECK(json_array_size(offsets) == 2 && whole(offsets, 0, &begin) && whole(offsets, 1, &end) && begin <= end,
              CLV_ERR_FORMAT, "'%s': data_offsets are not [begin, end]", shown);
    CLV_CHECK((uint64_t)end <= size, CLV_ERR_FORMAT, "'%s': its values end at byte %" PRId64 " of %zu", shown, end,
              size);
    CLV_CHECK((uint64_t)(end - begin) == bytes, CLV_ERR_FORMAT,
              "'%s': its shape takes %" PRIu64 " bytes, data_offsets give %" PRId64, shown, bytes, end - begin);
    t.data = values + begin;
    *place = (range) { (uint64_t)begin, (uint64_t)end, name };
    return clvi_tensor_file_add(file, &t);
}

static clv_status read_meta(clvi_tensor_file *file, json_t *meta)
{
    CLV_CHECK(json_is_object(meta), CLV_ERR_FORMAT, "__metadata__ is no map of strings");
    file->meta = clvi_tensor_file_alloc(file, json_object_size(meta) * sizeof *file->meta);
    if (!file->meta) return CLV_ERR_NOMEM;
    const char *key;
    json_t *value;
    json_object_foreach(meta, key, value) {
        CLV_CHECK(json_is_string(value), CLV_ERR_FORMAT, "__metadata__ is no map of strings");
        const size_t length = strlen(key), rest = json_string_length(value);
        char *text = clvi_tensor_file_alloc(file, length + rest + 2);
        if (!text) return CLV_ERR_NOMEM;
        memcpy(text, key, length);
        memcpy(text + length + 1, json_string_value(value), rest);
        file->meta[file->meta_count++] = (clv_option) { text, text + length + 1 };
    }
    return CLV_OK;
}

static int by_place(const void *a, const void *b)
{
    const range *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The values follow each other from the first byte to the last. */
static clv_status check_places(range *places, size_t count, size_t size)
{
    uint64_t at = 0;
    char shown[CLVI_SHOWN];
    if (count > 0) qsort(places, count, sizeof *places, by_place);
    for (size_t i = 0; i < count; i++) {
        clvi_shown(places[i].name, shown);
        CLV_CHECK(places[i].begin >= at, CLV_ERR_FORMAT, "'%s': its values overlap another tensor's", shown);
        CLV_CHECK(places[i].begin == at, CLV_ERR_FORMAT, "a hole of %" PRIu64 " bytes before the values of '%s'",
                  places[i].begin - at, shown);
        at = places[i].end;
    }
    CLV_CHECK(at == size, CLV_ERR_FORMAT, "%" PRIu64 " bytes follow the last tensor", (uint64_t)size - at);
    return CLV_OK;
}

static clv_status read_header(clvi_tensor_file *file, json_t *header, const uint8_t *values, size_t size)
{
    range *places = clvi_calloc(file->ctx, json_object_size(header), sizeof *places);
    if (!places) return CLV_ERR_NOMEM;
    clv_status st = CLV_OK;
    size_t count = 0;
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry) {
        if (!strcmp(name, "__metadata__")) CLV_TRY_OR_DONE(read_meta(file, entry));
        else CLV_TRY_OR_DONE(read_tensor(file, name, entry, values, size, &places[count++]));
    }
    st = check_places(places, count, size);
done:
    clvi_free(file->ctx, places);
    return st;
}

clv_status clvi_safetensors_read(clvi_tensor_file *file, const uint8_t *bytes, size_t size)
{
    uint64_t length = 0;
    CLV_CHECK(size > 8, CLV_ERR_FORMAT, "%zu bytes are no safetensors file", size);
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    CLV_CHECK(length <= size - 8, CLV_ERR_FORMAT, "a header of %" PRIu64 " bytes in a file of %zu", length, size);
    CLV_CHECK(length <= HEADER_MAX, CLV_ERR_FORMAT, "a header of %" PRIu64 " bytes, expected at most %zu", length,
              HEADER_MAX);
    json_error_t error;
    json_t *header = json_loadb((const char *)bytes + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    CLV_CHECK(header, CLV_ERR_FORMAT, "its header is no JSON: %s", error.text);
    const clv_status st = json_is_object(header)
                              ? read_header(file, header, bytes + 8 + length, size - 8 - (size_t)length)
                              : clvi_fail(CLV_ERR_FORMAT, "its header is no JSON object");
    json_decref(header);
    return st;
}

/* ---- writing ---- */

static const char *dtype_of(clv_dtype dtype)
{
    static const char *const names[CLV_DTYPE_COUNT] = {
        [CLV_F32] = "F32", [CLV_F64] = "F64", [CLV_BF16] = "BF16",
        [CLV_U8] = "U8",   [CLV_I32] = "I32", [CLV_I64] = "I64",
    };
    return names[dtype];
}

static uint64_t bytes_of(const clv_view *view)
{
    return (uint64_t)clv_view_count(view) * clv_dtype_size(view->dtype);
}

/* Order of the values: wide types first, so that each is aligned to its size, as the reference implementation does. */
static void place(const clv_view *views, int64_t count, int64_t *order)
{
    int64_t n = 0;
    for (size_t size = 8; size >= 1; size /= 2)
        for (int64_t i = 0; i < count; i++)
            if (clv_dtype_size(views[i].dtype) == size) order[n++] = i;
}

static json_t *describe(const clv_view *view, uint64_t *at)
{
    json_t *shape = json_array();
    for (int d = 0; d < view->ndim; d++) json_array_append_new(shape, json_integer(view->shape[d]));
    const uint64_t begin = *at;
    *at += bytes_of(view);
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_of(view->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)*at);
}

/* The header's text (free() it); NULL: out of memory, or a name that is no UTF-8. */
static char *make_header(const char *const *names, const clv_view *views, const int64_t *order, int64_t count,
                         const clv_option *meta, int meta_count)
{
    json_t *header = json_object(), *map = json_object();
    uint64_t at = 0;
    bool ok = header && map;
    for (int i = 0; ok && i < meta_count; i++)
        ok = json_object_set_new(map, meta[i].name, json_string(meta[i].value)) == 0;
    if (ok && meta_count > 0) ok = json_object_set(header, "__metadata__", map) == 0;
    for (int64_t i = 0; ok && i < count; i++)
        ok = json_object_set_new(header, names[order[i]], describe(&views[order[i]], &at)) == 0;
    char *text = ok ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(map);
    json_decref(header);
    return text;
}

static bool write_all(FILE *out, const char *header, const clv_view *views, const int64_t *order, int64_t count)
{
    const size_t length = strlen(header), padded = (length + 7) / 8 * 8;
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)padded >> 8 * i);
    bool ok = fwrite(size, 1, 8, out) == 8 && fwrite(header, 1, length, out) == length
              && fwrite("       ", 1, padded - length, out) == padded - length;
    for (int64_t i = 0; ok && i < count; i++) {
        const clv_view *v = &views[order[i]];
        ok = fwrite(v->data, 1, (size_t)bytes_of(v), out) == bytes_of(v);
    }
    return ok;
}

static clv_status check_views(const clv_view *views, const char *const *names, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        CLV_CHECK(clv_view_is_dense(&views[i]) && clv_view_count(&views[i]) >= 0, CLV_ERR_SHAPE,
                  "safetensors: '%s' is not dense", names[i]);
    return CLV_OK;
}

clv_status clvi_safetensors_write(clv_context *ctx, const char *path, const char *const *names, const clv_view *views,
                                  int64_t count, const clv_option *meta, int meta_count)
{
    char temp[1200];
    char *header = NULL;
    FILE *out = NULL;
    clv_status st = CLV_OK;
    CLV_TRY(check_views(views, names, count));
    CLV_TRY(clvi_file_temp(path, temp, sizeof temp));
    int64_t *order = clvi_calloc(ctx, (size_t)count, sizeof *order);
    if (!order) return CLV_ERR_NOMEM;
    place(views, count, order);
    header = make_header(names, views, order, count, meta, meta_count);
    CLV_CHECK_OR_DONE(header, CLV_ERR_INVALID, "'%s': its header cannot be made (memory, or text that is no UTF-8)",
                      path);
    out = fopen(temp, "wb");
    CLV_CHECK_OR_DONE(out, CLV_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    bool ok = write_all(out, header, views, order, count);
    const int error = errno;
    ok = fclose(out) == 0 && ok;
    if (!ok) (void)remove(temp);
    CLV_CHECK_OR_DONE(ok, CLV_ERR_IO, "cannot write '%s': %s", path, strerror(error));
    st = clvi_file_commit(temp, path);
done:
    free(header);
    clvi_free(ctx, order);
    return st;
}
