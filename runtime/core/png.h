/* png.h: a picture to PNG bytes. */
#ifndef CLVI_CORE_PNG_H
#define CLVI_CORE_PNG_H

#include "core/context.h"

/* pixels: [height, width, channels] dense bytes, 1 (grey) or 3 (RGB) channels, sides of 1..2^20. *bytes is released
 * with clvi_free. Errors: CLV_ERR_INVALID, CLV_ERR_NOMEM. */
clv_status clvi_png_encode(clv_context *ctx, const uint8_t *pixels, int64_t channels, int64_t height, int64_t width,
                           uint8_t **bytes, size_t *size) CLV_NODISCARD;

#endif
