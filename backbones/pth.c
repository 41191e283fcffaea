/* pth.c: what torch.save writes since PyTorch 1.6: a zip archive with a pickle (data.pkl) that describes tensors by
 * storage, offset, shape and strides, and a member (data/KEY) with the bytes of each storage. Nested dictionaries
 * become one table of tensors, their keys joined by dots. */
#include "backbones/pickle.h"
#include "backbones/zip.h"
#include "core/checked.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16        /* of dictionaries in dictionaries */
#define VISITS_MAX 1000000  /* of their items: a dictionary may be in many places */

typedef struct reader {
    clvi_tensor_file *file;
    clvi_zip          zip;
    clvi_pickle       pickle;
    const char       *root;           /* folder of the archive, with its '/'; not terminated */
    size_t            root_length;
    int64_t           visits;
    char              name[CLVI_TENSOR_NAME_MAX + 1];
} reader;

/* ---- the archive ---- */

static clvi_zip_entry *find(reader *r, const char *leaf, size_t length)
{
    char path[1024];
    if (r->root_length + length > sizeof path) return NULL;
    memcpy(path, r->root, r->root_length);
    memcpy(path + r->root_length, leaf, length);
    return clvi_zip_find(&r->zip, path, r->root_length + length);
}

static clv_status find_root(reader *r)
{
    static const char leaf[] = "data.pkl";
    const size_t n = sizeof leaf - 1;
    bool found = false;
    for (int64_t i = 0; i < r->zip.count && !found; i++) {
        const clvi_zip_entry *e = &r->zip.entry[i];
        if (e->length < n || memcmp(e->name + e->length - n, leaf, n) != 0) continue;
        if (e->length > n && e->name[e->length - n - 1] != '/') continue;
        r->root = e->name;
        r->root_length = e->length - n;
        found = true;
    }
    CLV_CHECK(found, CLV_ERR_FORMAT, "a zip archive, but not one of torch.save: it holds no data.pkl");
    CLV_CHECK(!find(r, "constants.pkl", 13), CLV_ERR_UNSUPPORTED,
              "this is a TorchScript archive; save the state_dict instead: torch.save(model.state_dict(), path)");
    clvi_zip_entry *order = find(r, "byteorder", 9);
    if (!order) return CLV_OK;
    CLV_TRY(clvi_zip_data(&r->zip, order));
    CLV_CHECK(order->size == 6 && !memcmp(order->data, "little", 6), CLV_ERR_UNSUPPORTED,
              "its numbers are not little-endian");
    return CLV_OK;
}

/* ---- tensors ---- */

/* A whole number from 0 among the arguments. */
static bool number(const reader *r, const clvi_pickle_value *args, uint32_t i, int64_t *out)
{
    const clvi_pickle_value *v = clvi_pickle_item(&r->pickle, args, i);
    if (!v || v->kind != CLVI_PICKLE_INT || v->integer < 0) return false;
    *out = v->integer;
    return true;
}

/* ('storage', type, key, place, count): type and bytes. */
static clv_status read_storage(reader *r, const clvi_pickle_value *id, clvi_tensor *t, int64_t *count)
{
    char leaf[80], shown[CLVI_SHOWN];
    clvi_shown(r->name, shown);
    const clvi_pickle_value *args = id && id->kind == CLVI_PICKLE_PERSISTENT ? &r->pickle.value[id->first] : NULL;
    const clvi_pickle_value *type = args ? clvi_pickle_item(&r->pickle, args, 1) : NULL;
    const clvi_pickle_value *key = args ? clvi_pickle_item(&r->pickle, args, 2) : NULL;
    CLV_CHECK(type && type->kind == CLVI_PICKLE_GLOBAL && type->global->role == CLVI_ROLE_STORAGE && key
                  && key->kind == CLVI_PICKLE_TEXT && key->length < 64 && number(r, args, 4, count),
              CLV_ERR_FORMAT, "'%s': its storage is not described as torch.save does", shown);
    t->type = (clvi_stored)type->global->detail;
    const int length = snprintf(leaf, sizeof leaf, "data/%.*s", (int)key->length, key->text);
    clvi_zip_entry *entry = find(r, leaf, (size_t)length);
    CLV_CHECK(entry, CLV_ERR_FORMAT, "'%s': its storage '%s' is not in the archive", shown, leaf + 5);
    CLV_TRY(clvi_zip_data(&r->zip, entry));
    CLV_CHECK((uint64_t)*count <= entry->size / clvi_stored_size(t->type), CLV_ERR_FORMAT,
              "'%s': a storage of %" PRId64 " values in %" PRIu64 " bytes", shown, *count, entry->size);
    t->data = entry->data;
    return CLV_OK;
}

/* Every element lies in the storage. */
static clv_status check_bounds(const clvi_tensor *t, const char *shown, int64_t offset, int64_t count)
{
    int64_t last = offset;
    bool empty = false, ok = true;
    for (int d = 0; d < t->ndim; d++) {
        int64_t step = 0;
        empty = empty || t->shape[d] == 0;
        ok = ok && clvi_mul_i64(t->shape[d] - 1, t->stride[d], &step) && clvi_add_i64(last, step, &last);
    }
    CLV_CHECK(clvi_tensor_count(t) >= 0, CLV_ERR_FORMAT, "'%s': its shape overflows", shown);
    CLV_CHECK(empty || (ok && last < count), CLV_ERR_FORMAT,
              "'%s' reaches outside of its storage of %" PRId64 " values", shown, count);
    return CLV_OK;
}

/* (storage, offset, shape, strides, ...) */
static clv_status read_tensor(reader *r, const clvi_pickle_value *v)
{
    char shown[CLVI_SHOWN];
    clvi_tensor t = { .name = r->name };
    int64_t count = 0, offset;
    const clvi_pickle_value *args = &r->pickle.value[v->first];
    const clvi_pickle_value *shape = clvi_pickle_item(&r->pickle, args, 2);
    const clvi_pickle_value *strides = clvi_pickle_item(&r->pickle, args, 3);
    clvi_shown(r->name, shown);
    CLV_TRY(read_storage(r, clvi_pickle_item(&r->pickle, args, 0), &t, &count));
    CLV_CHECK(number(r, args, 1, &offset) && shape && strides && shape->kind == CLVI_PICKLE_TUPLE
                  && strides->kind == CLVI_PICKLE_TUPLE && shape->length == strides->length,
              CLV_ERR_FORMAT, "'%s': no offset, shape and strides as torch.save writes them", shown);
    CLV_CHECK(shape->length <= CLV_MAX_DIMS, CLV_ERR_UNSUPPORTED,
              "'%s' has %" PRIu32 " dimensions, at most %d are read", shown, shape->length, CLV_MAX_DIMS);
    t.ndim = (int)shape->length;
    for (uint32_t d = 0; d < shape->length; d++)
        CLV_CHECK(number(r, shape, d, &t.shape[d]) && number(r, strides, d, &t.stride[d]), CLV_ERR_FORMAT,
                  "'%s': a shape or stride that is no whole number", shown);
    CLV_TRY(check_bounds(&t, shown, offset, count));
    if (clvi_tensor_count(&t) > 0) t.data += (size_t)offset * clvi_stored_size(t.type);
    return clvi_tensor_file_add(r->file, &t);
}

/* ---- dictionaries ---- */

/* Puts a key behind the name so far; false where it is no name, or too long. */
static bool add_key(reader *r, size_t length, const clvi_pickle_value *key)
{
    char digits[24];
    const char *text = digits;
    size_t n;
    if (key->kind == CLVI_PICKLE_TEXT) {
        text = key->text;
        n = key->length;
    } else {
        n = (size_t)snprintf(digits, sizeof digits, "%" PRId64, key->integer);
    }
    const size_t dot = length > 0;
    if (n > CLVI_TENSOR_NAME_MAX || length + dot + n > CLVI_TENSOR_NAME_MAX || memchr(text, 0, n)) return false;
    if (dot) r->name[length] = '.';
    memcpy(r->name + length + dot, text, n);
    r->name[length + dot + n] = 0;
    return true;
}

static clv_status read_dict(reader *r, const clvi_pickle_value *dict, size_t length, int depth)
{
    CLV_CHECK(depth < DEPTH_MAX, CLV_ERR_FORMAT, "dictionaries more than %d deep", DEPTH_MAX);
    for (uint32_t at = dict->first; at; at = r->pickle.cell[at].next) {
        const clvi_pickle_value *key = &r->pickle.value[r->pickle.cell[at].key];
        const clvi_pickle_value *value = &r->pickle.value[r->pickle.cell[at].value];
        CLV_CHECK(++r->visits <= VISITS_MAX, CLV_ERR_FORMAT, "more than %d items in dictionaries", VISITS_MAX);
        if (value->kind != CLVI_PICKLE_TENSOR && value->kind != CLVI_PICKLE_DICT) continue;
        if (key->kind != CLVI_PICKLE_TEXT && key->kind != CLVI_PICKLE_INT) continue;
        CLV_CHECK(add_key(r, length, key), CLV_ERR_FORMAT, "a key of a dictionary is too long, or no text");
        if (value->kind == CLVI_PICKLE_TENSOR) CLV_TRY(read_tensor(r, value));
        else CLV_TRY(read_dict(r, value, strlen(r->name), depth + 1));
        r->name[length] = 0;
    }
    return CLV_OK;
}

static clv_status read_pickle(reader *r)
{
    clvi_zip_entry *entry = find(r, "data.pkl", 8);
    CLV_TRY(clvi_zip_data(&r->zip, entry));
    CLV_TRY(clvi_pickle_read(r->file->ctx, entry->data, (size_t)entry->size, &r->pickle));
    const clvi_pickle_value *root = &r->pickle.value[r->pickle.root];
    CLV_CHECK(root->kind == CLVI_PICKLE_DICT, CLV_ERR_FORMAT, "it holds no dictionary of tensors (a state_dict)");
    return read_dict(r, root, 0, 0);
}

clv_status clvi_pth_read(clvi_tensor_file *file, const uint8_t *bytes, size_t size)
{
    reader *r = clvi_calloc(file->ctx, 1, sizeof *r);
    if (!r) return CLV_ERR_NOMEM;
    r->file = file;
    clv_status st = clvi_zip_open(file, bytes, size, &r->zip);
    if (st == CLV_OK) st = find_root(r);
    if (st == CLV_OK) st = read_pickle(r);
    if (r->pickle.ctx) clvi_pickle_close(&r->pickle);
    clvi_free(file->ctx, r);
    return st;
}
