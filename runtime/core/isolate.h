/* isolate.h: running a piece of work on untrusted bytes where it cannot take this process down. */
#ifndef CLVI_CORE_ISOLATE_H
#define CLVI_CORE_ISOLATE_H

#include "core/context.h"
#include "core/file.h"

/* The most a child may write, and hold beyond what the process had and a margin. */
#define CLVI_ISOLATED_BYTES (INT64_C(4) << 30)

/* Runs in the child. `ctx` is the child's own; results go into the file `fd`. */
typedef clv_status (*clvi_isolated_fn)(clv_context *ctx, void *arg, int fd);

/* Forks, calls fn in the child under limits on memory, file size, processor time and wall time, and maps what it wrote
 * into *result (clvi_map_close it). The child's failure, status and message, becomes this call's; a child that dies or
 * does not finish is CLV_ERR_FORMAT. What the child wrote is as untrusted as the file it read. */
clv_status clvi_isolate(const char *path, clvi_isolated_fn fn, void *arg, clvi_map *result) CLV_NODISCARD;

#endif
