/* h5_untrusted.c: trying an HDF5 file in a child before this process opens it. libhdf5 is known to crash on damaged
 * metadata; what it survives once, it survives again. */
#include "core/h5_parts.h"
#include "core/isolate.h"
#include <stdio.h>

#define MAX_DEPTH 16

/* Reads every attribute of an object as whatever it is. What cannot be read is refused where it is wanted, not here. */
static clv_status try_attributes(clv_context *ctx, clvi_h5 *h5, const char *object)
{
    int64_t count = 0;
    char **names = NULL;
    CLV_TRY(clvi_h5_list(h5, object, true, &count, &names));
    for (int64_t i = 0; i < count; i++) {
        clv_dtype dtype = CLV_U8;
        int64_t entries = 0, integer = 0;
        double real = 0.0;
        char **texts = NULL;
        if (clvi_h5_attr_stat(h5, object, names[i], &dtype, &entries) != CLV_OK) continue;
        if (dtype == CLV_U8 && clvi_h5_attr_texts(h5, object, names[i], &entries, &texts) == CLV_OK) clvi_free(ctx, texts);
        if (dtype == CLV_I64) (void)!clvi_h5_attr_i64(h5, object, names[i], &integer);
        if (dtype == CLV_F64) (void)!clvi_h5_attr_f64(h5, object, names[i], &real);
    }
    clvi_free(ctx, names);
    return CLV_OK;
}

/* Contiguous data are bytes at an offset that is checked; everything else HDF5 takes apart. */
static void try_data(clv_context *ctx, clvi_h5 *h5, const char *name, const clvi_h5_info *info)
{
    clv_view view = clv_view_dense(NULL, info->dtype, info->ndim, info->shape);
    const int64_t count = clv_view_count(&view);
    if (info->offset >= 0 || count < 0) return;
    view.data = clvi_calloc(ctx, (size_t)count, clv_dtype_size(info->dtype));
    if (view.data) (void)!clvi_h5_read(h5, name, &view);
    clvi_free(ctx, view.data);
}

static clv_status try_group(clv_context *ctx, clvi_h5 *h5, const char *group, int depth)
{
    int64_t count = 0;
    char **names = NULL;
    CLV_TRY(try_attributes(ctx, h5, group));
    CLV_TRY(clvi_h5_list(h5, group, false, &count, &names));
    clv_status st = CLV_OK;
    for (int64_t i = 0; i < count && st == CLV_OK; i++) {
        char path[1024];
        clvi_h5_info info;
        const int length = snprintf(path, sizeof path, "%s%s%s", depth ? group : "", depth ? "/" : "", names[i]);
        if (length < 0 || (size_t)length >= sizeof path) continue;
        if (clvi_h5_stat(h5, path, &info) == CLV_OK) {
            try_data(ctx, h5, path, &info);
            (void)!try_attributes(ctx, h5, path);
        } else if (depth < MAX_DEPTH) st = try_group(ctx, h5, path, depth + 1);
    }
    clvi_free(ctx, names);
    return st;
}

/* A file that is mapped, its seal verified. */
typedef struct trial {
    const char *path;
    clvi_map    map;
    bool        sealed;
} trial;

static clv_status try_file(clv_context *ctx, void *arg, int fd)
{
    trial *t = arg;
    (void)fd;
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_open_map(ctx, t->path, &t->map, t->sealed, &h5));
    (void)!try_group(ctx, h5, "/", 0);      /* what is merely wrong is told, by name, when it is used */
    clvi_h5_close(h5);
    return CLV_OK;
}

/* `t` is mapped; its map is the handle's, or closed. */
static clv_status open_tried(clv_context *ctx, trial *t, clvi_h5 **out)
{
    clvi_map nothing = { NULL, 0 };
    const clv_status st = clvi_isolate(t->path, try_file, t, &nothing);
    clvi_map_close(&nothing);
    if (st == CLV_OK) return clvi_h5_open_map(ctx, t->path, &t->map, t->sealed, out);
    clvi_map_close(&t->map);
    return st;
}

clv_status clvi_h5_open_untrusted(clv_context *ctx, const char *path, clvi_h5 **out)
{
    trial t = { .path = path };
    *out = NULL;
    CLV_TRY(clvi_h5_map(path, &t.map, &t.sealed));
    return open_tried(ctx, &t, out);
}

clv_status clvi_h5_open_sealed(clv_context *ctx, const char *path, const char *what, clvi_h5 **out)
{
    trial t = { .path = path };
    *out = NULL;
    CLV_TRY(clvi_h5_map(path, &t.map, &t.sealed));
    if (t.sealed) return open_tried(ctx, &t, out);
    clvi_map_close(&t.map);
    return clvi_fail(CLV_ERR_FORMAT, "'%s' is no %s: it does not begin with Cleave's seal", path, what);
}
