/* shadow.c: copies of host memory on a device, kept up to date row by row. */
#include "device/shadow.h"
#include "device/backend.h"
#include <string.h>

struct clvi_shadow {
    clv_context  *ctx;
    const char   *host;
    char         *memory;
    int64_t       rows;
    size_t        row_size;
    uint8_t      *changed;       /* of each row */
    int64_t       first, end;    /* no row before and after them has changed */
    clvi_shadow  *next;          /* of the device */
};

clv_status clvi_shadow_create(clv_context *ctx, const void *host, int64_t rows, size_t row_size, clvi_shadow **out)
{
    *out = NULL;
    if (!ctx->device) return CLV_OK;
    clvi_shadow *s = clvi_calloc(ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    *s = (clvi_shadow) { .ctx = ctx, .host = host, .rows = rows, .row_size = row_size, .next = ctx->device->shadows };
    s->changed = clvi_calloc(ctx, (size_t)rows, 1);
    s->memory = clvi_device_alloc(ctx, (size_t)rows * row_size);
    if (!s->changed || !s->memory) {
        clvi_device_free(ctx, s->memory, (size_t)rows * row_size);
        clvi_free(ctx, s->changed);
        clvi_free(ctx, s);
        return CLV_ERR_NOMEM;
    }
    clvi_shadow_touch(s, 0, rows);
    ctx->device->shadows = *out = s;
    return CLV_OK;
}

void clvi_shadow_destroy(clvi_shadow *s)
{
    if (!s) return;
    clvi_shadow **at = &s->ctx->device->shadows;
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    clvi_device_free(s->ctx, s->memory, (size_t)s->rows * s->row_size);
    clvi_free(s->ctx, s->changed);
    clvi_free(s->ctx, s);
}

void clvi_shadow_touch(clvi_shadow *s, int64_t first, int64_t count)
{
    if (!s || count == 0) return;
    memset(s->changed + first, 1, (size_t)count);
    const bool none = s->first == s->end;
    if (none || first < s->first) s->first = first;
    if (none || first + count > s->end) s->end = first + count;
}

clvi_shadow *clvi_shadow_find(const clv_context *ctx, const void *host)
{
    clvi_shadow *s = ctx->device ? ctx->device->shadows : NULL;
    while (s && s->host != host) s = s->next;
    return s;
}

void *clvi_shadow_memory(const clvi_shadow *s)
{
    return s->memory;
}

/* One copy for every run of changed rows. */
clv_status clvi_shadow_update(clvi_shadow *s)
{
    for (int64_t begin = s->first, end; begin < s->end; begin = end) {
        end = begin + 1;
        if (!s->changed[begin]) continue;
        while (end < s->end && s->changed[end]) end++;
        const size_t at = (size_t)begin * s->row_size, size = (size_t)(end - begin) * s->row_size;
        CLV_TRY(clvi_device_copy(s->ctx, s->memory + at, s->host + at, size, CLVI_COPY_TO_DEVICE));
        memset(s->changed + begin, 0, (size_t)(end - begin));
    }
    s->first = s->end = 0;
    return CLV_OK;
}
