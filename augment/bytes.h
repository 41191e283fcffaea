/* bytes.h: what functions written by hand for CLVI_PATH_AVX512 share. */
#ifndef CLVI_AUGMENT_BYTES_H
#define CLVI_AUGMENT_BYTES_H

#include "augment/augment.h"

#if CLVI_AUGMENT_BYTES
#include <immintrin.h>

#define CLVI_BYTES 64   /* of a register */

/* For functions with arrays of registers, or tables read by registers, on their stack: the stack that GCC's address
 * sanitizer keeps to find uses after return is not aligned for those. */
#define CLVI_BYTES_ON_STACK CLVI_AUGMENT_AVX512 __attribute__((no_sanitize_address))
#define CLVI_BYTES_INLINE CLVI_AUGMENT_AVX512 static inline __attribute__((always_inline))

/* The first n places of a register, all of them for more. */
CLVI_BYTES_INLINE __mmask64 clvi_bytes_first(int64_t n)
{
    return n >= CLVI_BYTES ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

/* table[index] for a table of 256 bytes. */
CLVI_BYTES_INLINE __m512i clvi_bytes_lookup(const uint8_t *table, __m512i index)
{
    const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + CLVI_BYTES);
    const __m512i c = _mm512_loadu_si512(table + 2 * CLVI_BYTES), d = _mm512_loadu_si512(table + 3 * CLVI_BYTES);
    const __m512i low = _mm512_permutex2var_epi8(a, index, b), high = _mm512_permutex2var_epi8(c, index, d);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

#endif
#endif
