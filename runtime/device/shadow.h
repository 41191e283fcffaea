/* shadow.h: host memory whose rows change a few at a time (a memory bank), and its copy on the context's device, which
 * gets the changed rows only. Graphs that have such memory bound read the copy. */
#ifndef CLVI_DEVICE_SHADOW_H
#define CLVI_DEVICE_SHADOW_H

#include "core/context.h"

typedef struct clvi_shadow clvi_shadow;

/* A copy of `rows` rows of `row_size` bytes at `host`, which stays the owner's. *out is NULL where the context computes on
 * the host. Errors: CLV_ERR_NOMEM. */
clv_status clvi_shadow_create(clv_context *ctx, const void *host, int64_t rows, size_t row_size,
                              clvi_shadow **out) CLV_NODISCARD;
/* NULL is accepted, here and below. No graph that read it may run any more. */
void clvi_shadow_destroy(clvi_shadow *shadow);

/* Rows [first, first + count) have changed. */
void clvi_shadow_touch(clvi_shadow *shadow, int64_t first, int64_t count);

/* The shadow of what lies at `host`, or NULL. */
clvi_shadow *clvi_shadow_find(const clv_context *ctx, const void *host);
/* Where it is, and bringing the changed rows there. */
void *clvi_shadow_memory(const clvi_shadow *shadow);
clv_status clvi_shadow_update(clvi_shadow *shadow) CLV_NODISCARD;

#endif
