/* blocked.h: what kernels of our own share that work in oneDNN's blocked layouts: 16 channels of a pixel as one vector.
 * Channels are a multiple of 16. */
#ifndef CLVI_DEVICE_ONEDNN_BLOCKED_H
#define CLVI_DEVICE_ONEDNN_BLOCKED_H

#include "device/cpu/half.h"
#include "device/onednn/onednn.h"
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

/* Floats in blocks of 16 channels, of 8, of which two are taken together, and bfloat16 in blocks of 16. */
typedef enum clvi_blocked {
    CLVI_BLOCKED_WIDE, CLVI_BLOCKED_NARROW, CLVI_BLOCKED_HALF, CLVI_BLOCKED_KINDS
} clvi_blocked;

/* Keeps the layout of [N,C,H,W] where it is one of these, else asks for the one of this machine. */
clv_status clvi_blocked_choose(const clvi_op_call *call, clvi_desc *x) CLV_NODISCARD;

static inline clvi_blocked clvi_blocked_kind(const clvi_desc *x)
{
    const dnnl_memory_desc_t *md = (const dnnl_memory_desc_t *)(const void *)x->opaque;
    if (x->dtype == CLV_BF16) return CLVI_BLOCKED_HALF;
    return md->format_desc.blocking.inner_blks[0] == CLVI_LANES ? CLVI_BLOCKED_WIDE : CLVI_BLOCKED_NARROW;
}

/* For `CLVI_INLINE void body(void *arg, int64_t begin, int64_t end, const clvi_blocked k)`: its variants, by kind, as
 * body_kinds. */
#define CLVI_BLOCKED_VARIANTS(body)                                                                                    \
    CLVI_INLINE void body##_wide(void *arg, int64_t begin, int64_t end) { body(arg, begin, end, CLVI_BLOCKED_WIDE); }  \
    CLVI_INLINE void body##_narrow(void *arg, int64_t begin, int64_t end)                                              \
    {                                                                                                                  \
        body(arg, begin, end, CLVI_BLOCKED_NARROW);                                                                    \
    }                                                                                                                  \
    CLVI_INLINE void body##_half(void *arg, int64_t begin, int64_t end) { body(arg, begin, end, CLVI_BLOCKED_HALF); }  \
    CLVI_ISA_VARIANTS(body##_wide)                                                                                     \
    CLVI_ISA_VARIANTS(body##_narrow)                                                                                   \
    CLVI_ISA_VARIANTS(body##_half)                                                                                     \
    static const clvi_range_fn *const body##_kinds[CLVI_BLOCKED_KINDS] = { body##_wide_table, body##_narrow_table,     \
                                                                           body##_half_table };

/* Bytes of 16 channels of `pixels` pixels. */
CLVI_INLINE size_t clvi_blocked_size(int64_t pixels, const clvi_blocked k)
{
    return (size_t)pixels * CLVI_LANES * (k == CLVI_BLOCKED_HALF ? sizeof(uint16_t) : sizeof(float));
}

CLVI_INLINE void clvi_blocked_load(clvi_v16f *v, const void *from, int64_t pixel, int64_t pixels, const clvi_blocked k)
{
    const float *x = from;
    if (k == CLVI_BLOCKED_HALF) {
        clvi_load_half(v, (const uint16_t *)from + pixel * CLVI_LANES, CLVI_LANES);
    } else if (k == CLVI_BLOCKED_WIDE) {
        memcpy(v, x + pixel * CLVI_LANES, sizeof *v);
    } else {
        float both[CLVI_LANES];
        memcpy(both, x + pixel * 8, sizeof both / 2);
        memcpy(both + 8, x + (pixels + pixel) * 8, sizeof both / 2);
        memcpy(v, both, sizeof *v);
    }
}

/* Past the caches: nobody reads it soon enough. */
CLVI_INLINE void clvi_blocked_put(void *to, const void *from, size_t bytes, bool past_caches)
{
#if defined(__x86_64__)
    __m128i quarter[4];
    if (past_caches) {
        memcpy(quarter, from, bytes);
        for (size_t i = 0; i < bytes / sizeof *quarter; i++) _mm_stream_si128((__m128i *)to + i, quarter[i]);
        return;
    }
#endif
    memcpy(to, from, bytes);
}

CLVI_INLINE void clvi_blocked_store(void *to, const clvi_v16f *v, int64_t pixel, int64_t pixels, const clvi_blocked k,
                                    bool past_caches)
{
    float *y = to;
    if (k == CLVI_BLOCKED_HALF) {
        clvi_v16h half;
        clvi_round_half(&half, v);
        clvi_blocked_put((uint16_t *)to + pixel * CLVI_LANES, &half, sizeof half, past_caches);
    } else if (k == CLVI_BLOCKED_WIDE) {
        clvi_blocked_put(y + pixel * CLVI_LANES, v, sizeof *v, past_caches);
    } else {
        clvi_blocked_put(y + pixel * 8, v, sizeof *v / 2, past_caches);
        clvi_blocked_put(y + (pixels + pixel) * 8, (const char *)v + sizeof *v / 2, sizeof *v / 2, past_caches);
    }
}

#endif
