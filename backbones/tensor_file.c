/* tensor_file.c: which reader a file of tensors needs, and what all of them share: the table of tensors, and values to
 * float32. */
#include "backbones/tensor_file.h"
#include "core/bf16.h"
#include "core/checked.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *name; size_t size; } stored[CLVI_STORED_COUNT] = {
    [CLVI_STORED_F64] = { "float64", 8 }, [CLVI_STORED_F32] = { "float32", 4 },  [CLVI_STORED_F16] = { "float16", 2 },
    [CLVI_STORED_BF16] = { "bfloat16", 2 }, [CLVI_STORED_I64] = { "int64", 8 },  [CLVI_STORED_I32] = { "int32", 4 },
    [CLVI_STORED_I16] = { "int16", 2 },   [CLVI_STORED_I8] = { "int8", 1 },      [CLVI_STORED_U8] = { "uint8", 1 },
    [CLVI_STORED_BOOL] = { "bool", 1 },
};

size_t clvi_stored_size(clvi_stored type)
{
    return stored[type].size;
}

const char *clvi_stored_name(clvi_stored type)
{
    return stored[type].name;
}

const char *clvi_shown(const char *name, char text[CLVI_SHOWN])
{
    size_t n = 0;
    for (; name[n] && n < CLVI_SHOWN - 4; n++) text[n] = name[n] < ' ' || name[n] > '~' ? '?' : name[n];
    memcpy(text + n, name[n] ? "..." : "", name[n] ? 4 : 1);
    return text;
}

/* ---- the table ---- */

typedef struct block {
    struct block *next;
    _Alignas(CLVI_ALIGN) unsigned char bytes[];
} block;

void *clvi_tensor_file_alloc(clvi_tensor_file *file, size_t size)
{
    size_t total;
    block *b = clvi_add_size(sizeof *b, size, &total) ? clvi_calloc(file->ctx, 1, total) : NULL;
    if (!b) return NULL;
    b->next = file->blocks;
    file->blocks = b;
    return b->bytes;
}

clv_status clvi_tensor_file_add(clvi_tensor_file *file, const clvi_tensor *tensor)
{
    char shown[CLVI_SHOWN];
    const size_t length = strlen(tensor->name);
    CLV_CHECK(length <= CLVI_TENSOR_NAME_MAX, CLV_ERR_FORMAT, "'%s': a name of %zu bytes, expected at most %d",
              clvi_shown(tensor->name, shown), length, CLVI_TENSOR_NAME_MAX);
    CLV_CHECK(file->count < CLVI_TENSOR_MAX, CLV_ERR_FORMAT, "more than %d tensors", CLVI_TENSOR_MAX);
    if (file->count == file->capacity) {
        const int64_t wanted = file->capacity ? 2 * file->capacity : 64;
        clvi_tensor *grown = clvi_realloc(file->ctx, file->tensor, (size_t)wanted * sizeof *grown);
        if (!grown) return CLV_ERR_NOMEM;
        file->tensor = grown;
        file->capacity = wanted;
    }
    char *name = clvi_tensor_file_alloc(file, length + 1);
    if (!name) return CLV_ERR_NOMEM;
    memcpy(name, tensor->name, length);
    file->tensor[file->count] = *tensor;
    file->tensor[file->count++].name = name;
    return CLV_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const clvi_tensor *)a)->name, ((const clvi_tensor *)b)->name);
}

clv_status clvi_tensor_file_sort(clvi_tensor_file *file)
{
    if (file->count > 0) qsort(file->tensor, (size_t)file->count, sizeof *file->tensor, by_name);
    for (int64_t i = 1; i < file->count; i++) {
        char shown[CLVI_SHOWN];
        CLV_CHECK(strcmp(file->tensor[i - 1].name, file->tensor[i].name) != 0, CLV_ERR_FORMAT,
                  "two tensors are called '%s'", clvi_shown(file->tensor[i].name, shown));
    }
    return CLV_OK;
}

const clvi_tensor *clvi_tensor_find(const clvi_tensor_file *file, const char *name)
{
    const clvi_tensor key = { .name = name };
    return file->count ? bsearch(&key, file->tensor, (size_t)file->count, sizeof key, by_name) : NULL;
}

const char *clvi_tensor_meta(const clvi_tensor_file *file, const char *key)
{
    for (int i = 0; i < file->meta_count; i++)
        if (!strcmp(file->meta[i].name, key)) return file->meta[i].value;
    return NULL;
}

/* ---- opening ---- */

static bool begins(const uint8_t *bytes, size_t size, const char *with, size_t length)
{
    return size >= length && !memcmp(bytes, with, length);
}

static clv_status read_any(clvi_tensor_file *file, const uint8_t *bytes, size_t size)
{
    /* torch.save before 1.6: pickle protocol 2 of the number 0x1950a86a20f9469cfc6c; before 0.1.10, a tar. */
    static const char legacy[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    static const char again[] = "load it with PyTorch and save it again: "
                                "torch.save(torch.load(path, map_location='cpu', weights_only=True), new_path)";
    CLV_CHECK(!begins(bytes, size, legacy, sizeof legacy - 1), CLV_ERR_UNSUPPORTED,
              "this is the format PyTorch wrote before version 1.6, which is not read; %s", again);
    CLV_CHECK(!(size > 262 && !memcmp(bytes + 257, "ustar", 5)), CLV_ERR_UNSUPPORTED,
              "this is a tar archive, as the first versions of PyTorch wrote them, which is not read; %s", again);
    CLV_CHECK(!begins(bytes, size, "\x89HDF\r\n\x1a\n", 8), CLV_ERR_UNSUPPORTED,
              "this is a HDF5 file, expected safetensors, or what torch.save writes");
    if (begins(bytes, size, "PK\3\4", 4)) {
        file->kind = "PyTorch zip";
        CLV_TRY(clvi_pth_read(file, bytes, size));
    } else {
        CLV_CHECK(size > 8 && bytes[8] == '{', CLV_ERR_FORMAT,
                  "neither safetensors nor what torch.save writes (a zip archive)");
        file->kind = "safetensors";
        CLV_TRY(clvi_safetensors_read(file, bytes, size));
    }
    return clvi_tensor_file_sort(file);
}

clv_status clvi_tensor_file_memory(clv_context *ctx, const uint8_t *bytes, size_t size, clvi_tensor_file **out)
{
    *out = NULL;
    clvi_tensor_file *file = clvi_calloc(ctx, 1, sizeof *file);
    if (!file) return CLV_ERR_NOMEM;
    file->ctx = ctx;
    const clv_status st = read_any(file, bytes, size);
    if (st != CLV_OK) {
        clvi_tensor_file_close(file);
        return st;
    }
    *out = file;
    return CLV_OK;
}

clv_status clvi_tensor_file_open(clv_context *ctx, const char *path, clvi_tensor_file **out)
{
    clvi_map map;
    *out = NULL;
    CLV_TRY(clvi_map_open(path, &map));
    const clv_status st = clvi_tensor_file_memory(ctx, map.data, map.size, out);
    if (st != CLV_OK) {
        char what[1100];
        clvi_map_close(&map);
        snprintf(what, sizeof what, "'%s'", path);
        return clvi_fail_in(st, what);
    }
    (*out)->map = map;
    return CLV_OK;
}

void clvi_tensor_file_close(clvi_tensor_file *file)
{
    if (!file) return;
    for (block *b = file->blocks, *next; b; b = next) {
        next = b->next;
        clvi_free(file->ctx, b);
    }
    clvi_free(file->ctx, file->tensor);
    clvi_map_close(&file->map);
    clvi_free(file->ctx, file);
}

/* ---- values ---- */

int64_t clvi_tensor_count(const clvi_tensor *t)
{
    const clv_view view = clv_view_dense(NULL, CLV_F32, t->ndim, t->shape);
    return clv_view_count(&view);
}

/* IEEE 754 binary16. */
static float half_value(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float sign = half & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    return sign * ldexpf((float)(exponent ? fraction + 1024 : fraction), exponent ? exponent - 25 : -24);
}

static float value_at(const clvi_tensor *t, const uint8_t *p)
{
    uint16_t half;
    float single;
    double twice;
    switch (t->type) {
    case CLVI_STORED_F32: memcpy(&single, p, sizeof single); return single;
    case CLVI_STORED_F64: memcpy(&twice, p, sizeof twice); return (float)twice;
    default: memcpy(&half, p, sizeof half);
    }
    return t->type == CLVI_STORED_F16 ? half_value(half) : clvi_bf16_value(half);
}

clv_status clvi_tensor_values(const clvi_tensor *t, float *out)
{
    char shown[CLVI_SHOWN];
    CLV_CHECK(t->type <= CLVI_STORED_BF16, CLV_ERR_FORMAT, "'%s' is %s, expected numbers with a fraction",
              clvi_shown(t->name, shown), clvi_stored_name(t->type));
    int64_t at[CLV_MAX_DIMS] = { 0 }, place = 0;
    const int64_t count = clvi_tensor_count(t), size = (int64_t)clvi_stored_size(t->type);
    for (int64_t i = 0; i < count; i++) {
        out[i] = value_at(t, t->data + place * size);
        CLV_CHECK(isfinite(out[i]), CLV_ERR_NUMERIC, "'%s': value %" PRId64 " is %g, expected a finite float32",
                  clvi_shown(t->name, shown), i, (double)out[i]);
        for (int d = t->ndim - 1; d >= 0; d--) {
            place += t->stride[d];
            if (++at[d] < t->shape[d]) break;
            place -= at[d] * t->stride[d];
            at[d] = 0;
        }
    }
    return CLV_OK;
}
