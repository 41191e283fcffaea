/* weights.c: parameters and optimiser state to HDF5 and back. */
#include "train/files/weights.h"
#include "core/checked.h"
#include "device/flat.h"

#include <stdio.h>
#include <string.h>

#define NAME_SIZE 320

/* Memory for one parameter in plain order. */
static clv_status plain_buffer(clv_context *ctx, const clv_params *params, const clv_param_info *info, clv_view *out)
{
    *out = clv_view_dense(NULL, clvi_params_dtype(params), info->ndim, info->shape);
    out->data = clvi_calloc(ctx, (size_t)clv_view_count(out), clv_dtype_size(out->dtype));
    return out->data ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status read_checked(clvi_h5 *h5, const char *name, const clv_view *dst)
{
    clvi_h5_info info;
    CLV_TRY(clvi_h5_stat(h5, name, &info));
    bool same = info.ndim == dst->ndim;
    for (int d = 0; same && d < dst->ndim; d++) same = info.shape[d] == dst->shape[d];
    CLV_CHECK(same, CLV_ERR_FORMAT, "'%s' has another shape than this network's", name);
    return clvi_h5_read(h5, name, dst);
}

/* One parameter (arena NULL: of the set itself) to or from the file. */
static clv_status move(clv_context *ctx, clv_params *params, int64_t i, void *arena, clvi_h5 *h5, const char *group,
                       bool write)
{
    clv_param_info info;
    CLV_TRY(clv_params_info(params, i, &info));
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s/%s", group, info.name);
    clv_view plain;
    CLV_TRY(plain_buffer(ctx, params, &info, &plain));
    clv_status st = CLV_OK;
    if (write) {
        CLV_TRY_OR_DONE(arena ? clvi_params_read_arena(params, i, arena, &plain)
                              : clv_params_read(params, i, CLV_PARAM_VALUE, &plain));
        CLV_TRY_OR_DONE(clvi_h5_write(h5, name, &plain));
    } else {
        CLV_TRY_OR_DONE(read_checked(h5, name, &plain));
        CLV_TRY_OR_DONE(arena ? clvi_params_write_arena(params, i, arena, &plain)
                              : clv_params_write(params, i, &plain));
    }
done:
    clvi_free(ctx, plain.data);
    return st;
}

static clv_status move_all(clv_context *ctx, clv_params *params, void *arena, clvi_h5 *h5, const char *group,
                           bool write)
{
    if (write) CLV_TRY(clvi_h5_group(h5, group));
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        CLV_TRY(clv_params_info(params, i, &info));
        if (arena && info.kind != CLV_PARAM_TRAINABLE) continue;
        CLV_TRY(move(ctx, params, i, arena, h5, group, write));
    }
    return CLV_OK;
}

clv_status clvi_weights_write(clv_context *ctx, const clv_params *params, clvi_h5 *h5, const char *group)
{
    return move_all(ctx, (clv_params *)params, NULL, h5, group, true);
}

clv_status clvi_weights_read(clv_context *ctx, clv_params *params, clvi_h5 *h5, const char *group)
{
    return move_all(ctx, params, NULL, h5, group, false);
}

clv_status clvi_weights_write_arena(clv_context *ctx, const clv_params *params, const void *arena, clvi_h5 *h5,
                                    const char *group, const char *name)
{
    char path[NAME_SIZE];
    snprintf(path, sizeof path, "%s/%s", group, name);
    return move_all(ctx, (clv_params *)params, (void *)arena, h5, path, true);
}

clv_status clvi_weights_read_arena(clv_context *ctx, const clv_params *params, void *arena, clvi_h5 *h5,
                                   const char *group, const char *name)
{
    char path[NAME_SIZE];
    snprintf(path, sizeof path, "%s/%s", group, name);
    return move_all(ctx, (clv_params *)params, arena, h5, path, false);
}

static clv_status mix_buffer(clv_params *to, const clv_params *from, int64_t i, double weight, const clv_view *a,
                             const clv_view *b)
{
    CLV_TRY(clv_params_read(to, i, CLV_PARAM_VALUE, a));
    CLV_TRY(clv_params_read(from, i, CLV_PARAM_VALUE, b));
    float *x = a->data;
    const float *y = b->data;
    for (int64_t j = 0; j < clv_view_count(a); j++) x[j] = (float)((1.0 - weight) * x[j] + weight * y[j]);
    return clv_params_write(to, i, a);
}

/* Entries of parameter i if it is a buffer, else 0; its shape into `plain`. */
static int64_t buffer_size(const clv_params *params, int64_t i, clv_view *plain)
{
    clv_param_info info;
    if (clv_params_info(params, i, &info) != CLV_OK || info.kind != CLV_PARAM_BUFFER) return 0;
    *plain = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
    return clv_view_count(plain);
}

int64_t clvi_weights_mix_scratch(const clv_params *params)
{
    int64_t largest = 0;
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_view plain;
        largest = CLVI_MAX(largest, buffer_size(params, i, &plain));
    }
    return 2 * largest;
}

/* On a device all of them at once: clones have the same places. */
static void mix_on_device(clv_context *ctx, clv_params *to, const clv_params *from, double weight)
{
    const clv_dtype dtype = clvi_params_dtype(to);
    clvi_flat_ema(ctx, dtype, (int64_t)(clvi_params_buffer_size(to) / clv_dtype_size(dtype)), clvi_params_buffers(to),
                  clvi_params_buffers((clv_params *)from), 1.0 - weight);
}

clv_status clvi_weights_mix_buffers(clv_context *ctx, clv_params *to, const clv_params *from, double weight,
                                    float *scratch)
{
    if (ctx->device) {
        mix_on_device(ctx, to, from, weight);
        return CLV_OK;
    }
    for (int64_t i = 0; i < clv_params_count(to); i++) {
        clv_view a;
        const int64_t n = buffer_size(to, i, &a);
        if (n == 0) continue;
        clv_view b = a;
        a.data = scratch;
        b.data = scratch + n;
        CLV_TRY(mix_buffer(to, from, i, weight, &a, &b));
    }
    return CLV_OK;
}
