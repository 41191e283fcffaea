/* tensor_file.h: files of named tensors from elsewhere: safetensors and PyTorch's .pth. A file is mapped and examined
 * whole before a value is read: names, types, shapes and places are known to be sound, values stay where they are. The
 * bytes may come from a stranger; no memory is taken that the size of the file does not justify. */
#ifndef CLVI_BACKBONES_TENSOR_FILE_H
#define CLVI_BACKBONES_TENSOR_FILE_H

#include "core/context.h"
#include "core/file.h"
#include <cleave/option.h>
#include <cleave/view.h>

typedef enum clvi_stored {
    CLVI_STORED_F64, CLVI_STORED_F32, CLVI_STORED_F16, CLVI_STORED_BF16, CLVI_STORED_I64, CLVI_STORED_I32,
    CLVI_STORED_I16, CLVI_STORED_I8, CLVI_STORED_U8, CLVI_STORED_BOOL, CLVI_STORED_COUNT
} clvi_stored;

/* Bytes of an element, and its name in messages ("float16"). */
size_t clvi_stored_size(clvi_stored type);
const char *clvi_stored_name(clvi_stored type);

typedef struct clvi_tensor {
    const char    *name;
    clvi_stored    type;
    int            ndim;
    int64_t        shape[CLV_MAX_DIMS], stride[CLV_MAX_DIMS];   /* strides in elements, from 0 */
    const uint8_t *data;                                        /* element 0: little-endian, aligned to nothing */
} clvi_tensor;

typedef struct clvi_tensor_file {
    clv_context *ctx;
    clvi_map     map;              /* data NULL when the bytes are the caller's */
    const char  *kind;             /* "safetensors", "PyTorch zip" */
    clvi_tensor *tensor;           /* sorted by name, no name twice */
    int64_t      count, capacity;
    clv_option  *meta;             /* safetensors: __metadata__ */
    int          meta_count;
    void        *blocks;           /* memory of names and of what had to be inflated */
} clvi_tensor_file;

#define CLVI_TENSOR_NAME_MAX 512   /* longest name, without its end */
#define CLVI_TENSOR_MAX      65536 /* tensors of a file */

/* Opens a file by its content, not by its name. Errors: CLV_ERR_IO, CLV_ERR_NOMEM, CLV_ERR_FORMAT (damaged),
 * CLV_ERR_UNSUPPORTED (a format or type that is not read; the message says what to do). *out is NULL on error. */
clv_status clvi_tensor_file_open(clv_context *ctx, const char *path, clvi_tensor_file **out) CLV_NODISCARD;
/* The same over bytes that outlive the file. */
clv_status clvi_tensor_file_memory(clv_context *ctx, const uint8_t *bytes, size_t size, clvi_tensor_file **out)
    CLV_NODISCARD;
/* NULL is accepted. */
void clvi_tensor_file_close(clvi_tensor_file *file);

/* By name, or NULL. */
const clvi_tensor *clvi_tensor_find(const clvi_tensor_file *file, const char *name);
const char *clvi_tensor_meta(const clvi_tensor_file *file, const char *key);
int64_t clvi_tensor_count(const clvi_tensor *tensor);
/* All values in plain order as float32. Errors: CLV_ERR_FORMAT for integers; CLV_ERR_NUMERIC when one is not finite. */
clv_status clvi_tensor_values(const clvi_tensor *tensor, float *out) CLV_NODISCARD;

/* ---- safetensors.c ---- */

/* Writes dense views as a safetensors file, whole or not at all: float32, float64, bfloat16, uint8, int32, int64.
 * `meta` becomes __metadata__. The same arguments give the same bytes. */
clv_status clvi_safetensors_write(clv_context *ctx, const char *path, const char *const *names, const clv_view *views,
                                  int64_t count, const clv_option *meta, int meta_count) CLV_NODISCARD;

/* ---- for the readers ---- */

/* The two readers: fill a file over `bytes`. */
clv_status clvi_safetensors_read(clvi_tensor_file *file, const uint8_t *bytes, size_t size) CLV_NODISCARD;
clv_status clvi_pth_read(clvi_tensor_file *file, const uint8_t *bytes, size_t size) CLV_NODISCARD;
/* Memory that lives as long as the file. */
void *clvi_tensor_file_alloc(clvi_tensor_file *file, size_t size);
/* Appends a tensor; its name is copied. */
clv_status clvi_tensor_file_add(clvi_tensor_file *file, const clvi_tensor *tensor) CLV_NODISCARD;
/* Once all are there. CLV_ERR_FORMAT when two have one name. */
clv_status clvi_tensor_file_sort(clvi_tensor_file *file) CLV_NODISCARD;
/* Text of a file in a message: what is not printable ASCII becomes '?', the end of a long one "...". Returns text. */
#define CLVI_SHOWN 96
const char *clvi_shown(const char *name, char text[CLVI_SHOWN]);

#endif
