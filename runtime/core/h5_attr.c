/* h5_attr.c: attributes of HDF5 files, numbers and texts, and the names of attributes and members. */
#include "core/checked.h"
#include "core/h5_heap.h"
#include "core/h5_parts.h"
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT    ((size_t)1 << 20)
#define MAX_TEXTS   ((size_t)64 << 20)
#define MAX_ENTRIES 1000000

/* ---- lists of texts: one block of pointers and characters ---- */

typedef struct text_list {
    clv_context *ctx;
    const char  *path;        /* of the file, for messages */
    char        *chars;       /* each text with its terminating 0 */
    size_t       used, room;
    int64_t      count;
    clv_status   st;
} text_list;

static bool list_add(text_list *list, const char *text, size_t length)
{
    if (list->count >= MAX_ENTRIES || length > MAX_TEXT || list->used + length + 1 > MAX_TEXTS) {
        list->st = clvi_fail(CLV_ERR_FORMAT, "%s: more than %d entries or %zu bytes of text", list->path, MAX_ENTRIES,
                             MAX_TEXTS);
        return false;
    }
    if (list->room - list->used < length + 1) {
        const size_t room = 2 * list->room + length + 1;
        char *grown = clvi_realloc(list->ctx, list->chars, room);
        if (!grown) {
            list->st = CLV_ERR_NOMEM;
            return false;
        }
        list->chars = grown;
        list->room = room;
    }
    memcpy(list->chars + list->used, text, length);
    list->chars[list->used + length] = 0;
    list->used += length + 1;
    list->count++;
    return true;
}

/* Makes the block and frees the list. */
static clv_status list_finish(text_list *list, int64_t *count, char ***out)
{
    const size_t pointers = (size_t)list->count * sizeof(char *);
    char **block = list->st == CLV_OK ? clvi_calloc(list->ctx, 1, pointers + list->used) : NULL;
    if (block) {
        char *chars = (char *)block + pointers;
        if (list->used) memcpy(chars, list->chars, list->used);
        for (int64_t i = 0; i < list->count; i++, chars += strlen(chars) + 1) block[i] = chars;
        *count = list->count;
        *out = block;
    } else if (list->st == CLV_OK) {
        list->st = CLV_ERR_NOMEM;
    }
    clvi_free(list->ctx, list->chars);
    return list->st;
}

static herr_t add_member(hid_t group, const char *name, const H5L_info_t *info, void *arg)
{
    (void)group, (void)info;
    return list_add(arg, name, strlen(name)) ? 0 : -1;
}

static herr_t add_attribute(hid_t object, const char *name, const H5A_info_t *info, void *arg)
{
    (void)object, (void)info;
    return list_add(arg, name, strlen(name)) ? 0 : -1;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

clv_status clvi_h5_list(clvi_h5 *h5, const char *group, bool attributes, int64_t *count, char ***names)
{
    CLVI_H5_QUIET;
    hid_t object;
    CLV_TRY(clvi_h5_open_object(h5, group, &object));
    text_list list = { .ctx = h5->ctx, .path = h5->path };
    hsize_t index = 0;
    const herr_t result = attributes ? H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, &index, add_attribute, &list)
                                     : H5Literate(object, H5_INDEX_NAME, H5_ITER_NATIVE, &index, add_member, &list);
    if (result < 0 && list.st == CLV_OK) list.st = clvi_h5_fail(h5, CLV_ERR_FORMAT, "list", group);
    clvi_h5_close_id(object);
    CLV_TRY(list_finish(&list, count, names));
    qsort(*names, (size_t)*count, sizeof **names, compare_texts);
    return CLV_OK;
}

/* ---- attributes, reading ---- */

typedef struct attribute {
    hid_t       id, type, space;
    H5T_class_t class;
    size_t      item;         /* bytes of an entry */
    int64_t     count;
} attribute;

static void close_attr(attribute *a)
{
    clvi_h5_close_id(a->space);
    clvi_h5_close_id(a->type);
    clvi_h5_close_id(a->id);
}

static clv_status examine_attr(const clvi_h5 *h5, const char *object, const char *name, attribute *a)
{
    a->type = H5Aget_type(a->id);
    a->space = H5Aget_space(a->id);
    if (a->type < 0 || a->space < 0) return clvi_h5_fail(h5, CLV_ERR_FORMAT, "describe attribute", name);
    a->class = clvi_h5_class_of(a->type);
    a->item = H5Tget_size(a->type);
    a->count = H5Sget_simple_extent_npoints(a->space);
    size_t bytes;
    CLV_CHECK(a->count >= 0 && a->count <= MAX_ENTRIES && clvi_mul_size((size_t)a->count, a->item, &bytes) &&
                  bytes <= MAX_TEXTS && bytes <= h5->size,
              CLV_ERR_FORMAT, "%s: attribute '%.200s' of '%.200s' is too large", h5->path, name, object);
    return CLV_OK;
}

static clv_status open_attr(const clvi_h5 *h5, const char *object, const char *name, attribute *out)
{
    hid_t owner;
    attribute a = { .type = H5I_INVALID_HID, .space = H5I_INVALID_HID };
    CLV_TRY(clvi_h5_open_object(h5, object, &owner));
    const bool there = H5Aexists(owner, name) > 0;
    a.id = there ? H5Aopen(owner, name, H5P_DEFAULT) : H5I_INVALID_HID;
    clv_status st = CLV_OK;
    if (!there)
        st = clvi_fail(CLV_ERR_FORMAT, "%s: '%.200s' has no attribute '%.200s'", h5->path, *object ? object : "/",
                       name);
    else if (a.id < 0) st = clvi_h5_fail(h5, CLV_ERR_FORMAT, "open attribute", name);
    clvi_h5_close_id(owner);
    if (st == CLV_OK) st = examine_attr(h5, object, name, &a);
    if (st != CLV_OK) close_attr(&a);
    else *out = a;
    return st;
}

bool clvi_h5_has_attr(clvi_h5 *h5, const char *object, const char *attr)
{
    CLVI_H5_QUIET;
    hid_t owner;
    if (!clvi_h5_exists(h5, object)) return false;
    if (clvi_h5_open_object(h5, object, &owner) != CLV_OK) return false;
    const bool there = H5Aexists(owner, attr) > 0;
    clvi_h5_close_id(owner);
    return there;
}

clv_status clvi_h5_attr_stat(clvi_h5 *h5, const char *object, const char *attr, clv_dtype *dtype, int64_t *count)
{
    CLVI_H5_QUIET;
    attribute a;
    CLV_TRY(open_attr(h5, object, attr, &a));
    clv_status st = CLV_OK;
    if (a.class == H5T_FLOAT) *dtype = CLV_F64;
    else if (a.class == H5T_INTEGER) *dtype = CLV_I64;
    else if (a.class == H5T_STRING) *dtype = CLV_U8;
    else st = clvi_fail(CLV_ERR_FORMAT, "%s: attribute '%.200s' is neither number nor text", h5->path, attr);
    *count = a.count;
    close_attr(&a);
    return st;
}

/* Exactly n numbers; integers only where `integers` says so. */
static clv_status read_numbers(const clvi_h5 *h5, const char *object, const char *attr, int64_t n, bool integers,
                               void *out)
{
    attribute a;
    CLV_TRY(open_attr(h5, object, attr, &a));
    clv_status st = CLV_OK;
    CLV_CHECK_OR_DONE(a.class == H5T_INTEGER || (a.class == H5T_FLOAT && !integers), CLV_ERR_FORMAT,
                      "%s: attribute '%.200s' of '%.200s' is not %s", h5->path, attr, object,
                      integers ? "a whole number" : "a number");
    CLV_CHECK_OR_DONE(a.count == n, CLV_ERR_FORMAT,
                      "%s: attribute '%.200s' of '%.200s' has %" PRId64 " entries, want %" PRId64, h5->path, attr,
                      object, a.count, n);
    if (n > 0 && H5Aread(a.id, integers ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE, out) < 0)
        st = clvi_h5_fail(h5, CLV_ERR_FORMAT, "read attribute", attr);
done:
    close_attr(&a);
    return st;
}

clv_status clvi_h5_attr_f64(clvi_h5 *h5, const char *object, const char *attr, double *out)
{
    CLVI_H5_QUIET;
    return read_numbers(h5, object, attr, 1, false, out);
}

clv_status clvi_h5_attr_f64s(clvi_h5 *h5, const char *object, const char *attr, int n, double *out)
{
    CLVI_H5_QUIET;
    return read_numbers(h5, object, attr, n, false, out);
}

clv_status clvi_h5_attr_i64(clvi_h5 *h5, const char *object, const char *attr, int64_t *out)
{
    CLVI_H5_QUIET;
    return read_numbers(h5, object, attr, 1, true, out);
}

/* Strings of fixed length: padded with zeros or blanks, perhaps without a terminating 0. */
static clv_status add_fixed(const clvi_h5 *h5, const char *attr, const attribute *a, text_list *list)
{
    char *raw = clvi_calloc(h5->ctx, (size_t)a->count, a->item);
    if (!raw) return CLV_ERR_NOMEM;
    const bool blanks = H5Tget_strpad(a->type) == H5T_STR_SPACEPAD;
    clv_status st = CLV_OK;
    if (a->count > 0 && H5Aread(a->id, a->type, raw) < 0) st = clvi_h5_fail(h5, CLV_ERR_FORMAT, "read attribute", attr);
    for (int64_t i = 0; i < a->count && st == CLV_OK; i++) {
        const char *text = raw + (size_t)i * a->item;
        size_t length = strnlen(text, a->item);
        while (blanks && length > 0 && text[length - 1] == ' ') length--;
        if (!list_add(list, text, length)) st = list->st;
    }
    clvi_free(h5->ctx, raw);
    return st;
}

/* The file's bytes, where they are mapped or where HDF5 keeps its copy of an image, and its user block's size. */
static clv_status file_bytes(const clvi_h5 *h5, const uint8_t **bytes, uint64_t *base)
{
    void *image = NULL;
    hsize_t block = 0;   /* the user block's size */
    size_t address_size = 0, length_size = 0;
    const hid_t plan = H5Fget_create_plist(h5->file);
    const bool known = H5Pget_userblock(plan, &block) >= 0 && H5Pget_sizes(plan, &address_size, &length_size) >= 0;
    clvi_h5_close_id(plan);
    CLV_CHECK(known && address_size == 8 && length_size == 8 && !h5->writing, CLV_ERR_UNSUPPORTED,
              "%s: texts of variable length are read only from finished files with 8-byte addresses", h5->path);
    if (!h5->map.data && H5Fget_vfd_handle(h5->file, H5P_DEFAULT, &image) < 0)
        return clvi_h5_fail(h5, CLV_ERR_FORMAT, "find the bytes of", h5->path);
    *bytes = h5->map.data ? h5->map.data : *(const uint8_t **)image;
    *base = block;
    return CLV_OK;
}

static clv_status add_variable(const clvi_h5 *h5, const char *attr, const attribute *a, text_list *list)
{
    const uint8_t *bytes = NULL;
    uint64_t base = 0;
    CLV_TRY(file_bytes(h5, &bytes, &base));
    uint8_t *refs = clvi_calloc(h5->ctx, (size_t)a->count, CLVI_H5_REF_SIZE);
    if (!refs) return CLV_ERR_NOMEM;
    clv_status st = CLV_OK;
    if (clvi_h5_heap_refs(a->id, a->count, refs) != CLV_OK)
        st = clvi_h5_fail(h5, CLV_ERR_FORMAT, "read attribute", attr);
    for (int64_t i = 0; i < a->count && st == CLV_OK; i++) {
        const char *text;
        size_t length;
        st = clvi_h5_heap_text(bytes, h5->size, base, refs + i * CLVI_H5_REF_SIZE, &text, &length);
        if (st != CLV_OK) st = clvi_fail(st, "%s: attribute '%.200s': %s", h5->path, attr, clv_error_message());
        else if (!list_add(list, text, length)) st = list->st;
    }
    clvi_free(h5->ctx, refs);
    return st;
}

static clv_status read_texts(const clvi_h5 *h5, const char *object, const char *attr, int64_t *count, char ***out)
{
    attribute a;
    CLV_TRY(open_attr(h5, object, attr, &a));
    text_list list = { .ctx = h5->ctx, .path = h5->path };
    if (a.class != H5T_STRING)
        list.st = clvi_fail(CLV_ERR_FORMAT, "%s: attribute '%.200s' of '%.200s' is not text", h5->path, attr, object);
    else if (H5Tis_variable_str(a.type) > 0) list.st = add_variable(h5, attr, &a, &list);
    else list.st = add_fixed(h5, attr, &a, &list);
    close_attr(&a);
    return list_finish(&list, count, out);
}

clv_status clvi_h5_attr_texts(clvi_h5 *h5, const char *object, const char *attr, int64_t *count, char ***out)
{
    CLVI_H5_QUIET;
    return read_texts(h5, object, attr, count, out);
}

clv_status clvi_h5_attr_text(clvi_h5 *h5, const char *object, const char *attr, char **out)
{
    CLVI_H5_QUIET;
    int64_t count;
    char **texts;
    CLV_TRY(read_texts(h5, object, attr, &count, &texts));
    clv_status st = CLV_OK;
    CLV_CHECK_OR_DONE(count == 1, CLV_ERR_FORMAT, "%s: attribute '%.200s' of '%.200s' has %" PRId64 " entries, want 1",
                      h5->path, attr, object, count);
    *out = clvi_strdup(h5->ctx, texts[0]);
    if (!*out) st = CLV_ERR_NOMEM;
done:
    clvi_free(h5->ctx, texts);
    return st;
}

/* ---- attributes, writing ---- */

/* Writes n entries, or one without dimensions when n is negative. An attribute of that name is replaced. */
static clv_status set_attr(const clvi_h5 *h5, const char *object, const char *attr, hid_t type, int64_t n,
                           const void *values)
{
    hid_t owner;
    CLV_TRY(clvi_h5_open_object(h5, object, &owner));
    const hsize_t count = n < 0 ? 1 : (hsize_t)n;
    const hid_t space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, NULL);
    if (H5Aexists(owner, attr) > 0) (void)H5Adelete(owner, attr);
    const hid_t id = H5Acreate2(owner, attr, type, space, H5P_DEFAULT, H5P_DEFAULT);
    clv_status st = CLV_OK;
    if (id < 0 || (count > 0 && H5Awrite(id, type, values) < 0))
        st = clvi_h5_fail(h5, CLV_ERR_IO, "write attribute", attr);
    clvi_h5_close_id(id);
    clvi_h5_close_id(space);
    clvi_h5_close_id(owner);
    return st;
}

clv_status clvi_h5_set_attr_f64(clvi_h5 *h5, const char *object, const char *attr, double v)
{
    CLVI_H5_QUIET;
    return set_attr(h5, object, attr, H5T_NATIVE_DOUBLE, -1, &v);
}

clv_status clvi_h5_set_attr_f64s(clvi_h5 *h5, const char *object, const char *attr, int n, const double *v)
{
    CLVI_H5_QUIET;
    CLV_CHECK(n >= 0, CLV_ERR_INVALID, "%s: attribute '%.200s' would have %d entries", h5->path, attr, n);
    return set_attr(h5, object, attr, H5T_NATIVE_DOUBLE, n, v);
}

clv_status clvi_h5_set_attr_i64(clvi_h5 *h5, const char *object, const char *attr, int64_t v)
{
    CLVI_H5_QUIET;
    return set_attr(h5, object, attr, H5T_NATIVE_INT64, -1, &v);
}

/* Fixed-length UTF-8. Variable-length strings would go through a heap that other files fill differently, and reading
 * them back makes HDF5 believe lengths found in the file. */
static clv_status set_texts(const clvi_h5 *h5, const char *object, const char *attr, int64_t n, const char *const *v)
{
    const int64_t count = n < 0 ? 1 : n;
    size_t width = 1, bytes;
    for (int64_t i = 0; i < count; i++) width = CLVI_MAX(width, strlen(v[i]) + 1);
    CLV_CHECK(count <= MAX_ENTRIES && width <= MAX_TEXT + 1 && clvi_mul_size((size_t)count, width, &bytes) &&
                  bytes <= MAX_TEXTS,
              CLV_ERR_INVALID, "%s: attribute '%.200s' is too large: %" PRId64 " texts of %zu bytes", h5->path, attr,
              count, width);
    char *packed = clvi_calloc(h5->ctx, (size_t)count, width);
    if (!packed) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < count; i++) memcpy(packed + (size_t)i * width, v[i], strlen(v[i]));
    const hid_t type = H5Tcopy(H5T_C_S1);
    (void)H5Tset_size(type, width);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    const clv_status st = set_attr(h5, object, attr, type, n, packed);
    clvi_h5_close_id(type);
    clvi_free(h5->ctx, packed);
    return st;
}

clv_status clvi_h5_set_attr_text(clvi_h5 *h5, const char *object, const char *attr, const char *v)
{
    CLVI_H5_QUIET;
    return set_texts(h5, object, attr, -1, &v);
}

clv_status clvi_h5_set_attr_texts(clvi_h5 *h5, const char *object, const char *attr, int64_t n, const char *const *v)
{
    CLVI_H5_QUIET;
    CLV_CHECK(n >= 0, CLV_ERR_INVALID, "%s: attribute '%.200s' would have %" PRId64 " entries", h5->path, attr, n);
    return set_texts(h5, object, attr, n, v);
}
