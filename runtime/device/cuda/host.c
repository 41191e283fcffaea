/* host.c: the backend's door. What its files use of the library they get through the table the library hands in. */
#include "device/backend.h"

static const clvi_backend_host *host;
extern const clvi_backend clvi_backend_cuda;

CLV_API clvi_backend_entry clvi_backend_get;

const clvi_backend *clvi_backend_get(const clvi_backend_host *from)
{
    host = from;
    return &clvi_backend_cuda;
}

clv_status clvi_fail(clv_status status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)host->vfail(status, fmt, args);
    va_end(args);
    return status;
}

void *clvi_calloc(clv_context *ctx, size_t count, size_t size)
{
    return host->calloc(ctx, count, size);
}

void clvi_free(clv_context *ctx, void *memory)
{
    host->free(ctx, memory);
}
