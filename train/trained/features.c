/* features.c: feature rows to files: HDF5 or safetensors with labels and ids, or a NumPy array (format 1.0, "A Simple
 * File Format for NumPy Arrays", NEP 1). */
#include <cleave/train.h>
#include "backbones/tensor_file.h"
#include "core/file.h"
#include "core/h5.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static clv_status save_h5(clv_context *ctx, const char *path, const clv_view *features, const int64_t *labels,
                          const int64_t *ids, const clv_option *attributes, int attribute_count)
{
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_create(ctx, path, false, &h5));
    clv_status st = CLV_OK;
    const int64_t n = features->shape[0];
    const clv_view label_view = clv_view_1d((void *)labels, CLV_I64, n), id_view = clv_view_1d((void *)ids, CLV_I64, n);
    CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", "format", "cleave-features-1"));
    for (int i = 0; i < attribute_count; i++)
        CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", attributes[i].name, attributes[i].value));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "features", features));
    if (labels) CLV_TRY_OR_DONE(clvi_h5_write(h5, "labels", &label_view));
    if (ids) CLV_TRY_OR_DONE(clvi_h5_write(h5, "ids", &id_view));
    return clvi_h5_commit(h5);
done:
    clvi_h5_close(h5);
    return st;
}

/* Header of a C-ordered little-endian float32 array, padded so that the data start at a multiple of 64. */
static size_t npy_header(char header[128], int64_t rows, int64_t cols)
{
    memset(header, ' ', 128);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    char text[118];
    const int n = snprintf(text, sizeof text,
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRId64 ", %" PRId64 "), }", rows,
                           cols);
    memcpy(header + 10, text, (size_t)n);
    header[127] = '\n';
    return 128;
}

static clv_status save_npy(const char *path, const clv_view *features)
{
    char temp[1200], header[128];
    CLV_TRY(clvi_file_temp(path, temp, sizeof temp));
    FILE *file = fopen(temp, "wb");
    CLV_CHECK(file, CLV_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    const size_t size = npy_header(header, features->shape[0], features->shape[1]);
    const size_t count = (size_t)clv_view_count(features);
    bool ok = fwrite(header, 1, size, file) == size && fwrite(features->data, sizeof(float), count, file) == count;
    const int error = errno;
    ok = fclose(file) == 0 && ok;
    if (!ok) {
        remove(temp);
        return clvi_fail(CLV_ERR_IO, "cannot write '%s': %s", path, strerror(error));
    }
    return clvi_file_commit(temp, path);
}

static clv_status save_safetensors(clv_context *ctx, const char *path, const clv_view *features, const int64_t *labels,
                                   const int64_t *ids, const clv_option *attributes, int attribute_count)
{
    const char *names[3] = { "features" };
    clv_view views[3] = { *features };
    int64_t count = 1;
    for (int i = 0; i < 2; i++) {
        if (!(i ? ids : labels)) continue;
        names[count] = i ? "ids" : "labels";
        views[count++] = clv_view_1d((void *)(i ? ids : labels), CLV_I64, features->shape[0]);
    }
    return clvi_safetensors_write(ctx, path, names, views, count, attributes, attribute_count);
}

static bool ends(const char *text, const char *end)
{
    const size_t n = strlen(text), length = strlen(end);
    return n > length && !strcmp(text + n - length, end);
}

clv_status clv_features_save(clv_context *ctx, const char *path, const clv_view *features, const int64_t *labels,
                             const int64_t *ids, const clv_option *attributes, int attribute_count)
{
    CLV_CHECK(ctx && path && features, CLV_ERR_INVALID, "clv_features_save: an argument is NULL");
    CLV_CHECK(features->ndim == 2 && features->dtype == CLV_F32 && clv_view_is_dense(features), CLV_ERR_SHAPE,
              "clv_features_save: features must be dense float32 [n, D]");
    if (ends(path, ".npy")) return save_npy(path, features);
    if (ends(path, ".safetensors"))
        return save_safetensors(ctx, path, features, labels, ids, attributes, attribute_count);
    return save_h5(ctx, path, features, labels, ids, attributes, attribute_count);
}
