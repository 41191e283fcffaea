/* bank_nce_isa.c: what bank_nce.c does to one tile of a bank, for each instruction set: the two products, weighing,
 * packing keys. */
#include "device/cpu/bank_nce_isa.h"
#include "device/cpu/isa.h"
#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- the products, for each instruction set ---- */

/* Keeps a vector in a register, where the compiler would rather read it from memory for each of its uses. */
#if defined(__x86_64__)
#define LOAD_ONCE(x) __asm__("" : "+v"(x))
#else
#define LOAD_ONCE(x) (void)(x)
#endif

#define LANES 4
#define TILE_Q 4
#define TERMS 1
#define TILE_D 4
#define FMA(a, b, c) ((a) * (b) + (c))
#define ABOVE(x, floor)                                                                                                \
    ((unsigned)((x)[0] > (floor)) | (unsigned)((x)[1] > (floor)) << 1 | (unsigned)((x)[2] > (floor)) << 2 |            \
     (unsigned)((x)[3] > (floor)) << 3)
#define TARGET
#define TILE(name) name##_plain
#include "device/cpu/bank_nce_tile.h"

#if defined(__x86_64__)
#define LANES 8
#define TILE_Q 4
#define TERMS 1
#define TILE_D 4
#define FMA(a, b, c) ((TILE(vec))_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define ABOVE(x, floor)                                                                                                \
    (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_set1_ps(floor), _CMP_GT_OQ))
#define TARGET CLVI_TARGET_AVX2
#define TILE(name) name##_avx2
#include "device/cpu/bank_nce_tile.h"

#define LANES 16
#define TILE_Q 8
#define TERMS 1
#define TILE_D 8
#define FMA(a, b, c) ((TILE(vec))_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define ABOVE(x, floor) (unsigned)_mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_set1_ps(floor), _CMP_GT_OQ)
#define TARGET CLVI_TARGET_AVX512
#define TILE(name) name##_avx512
#include "device/cpu/bank_nce_tile.h"

#define LANES 16
#define TILE_Q 8
#define TERMS 2
#define TILE_D 8
#define FMA(a, b, c) ((TILE(vec))_mm512_dpbf16_ps((__m512)(c), (__m512bh)(a), (__m512bh)(b)))
#define ABOVE(x, floor) (unsigned)_mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_set1_ps(floor), _CMP_GT_OQ)
#define TARGET CLVI_TARGET_AVX512_BF16
#define TILE(name) name##_avx512_bf16
#include "device/cpu/bank_nce_tile.h"
#endif

/* ---- weighing one query's scores ---- */

/* Scores of keys that do not count become -inf; the maximum rises to the largest of the others, and then acc is
 * rescaled. keep: all ones for a key that counts, 0 for one that does not; NULL: all do. A constant maximum never
 * rises. */
CLVI_INLINE void raise_max(float *score, int64_t count, const int32_t *keep, bool constant, clvi_bank_running *r,
                           float *acc, int64_t columns)
{
    clvi_v16f v, max16, nothing;
    clvi_v16i k16;
    for (int i = 0; i < CLVI_LANES; i++) nothing[i] = -INFINITY;
    max16 = nothing;
    for (int64_t j = count; j % CLVI_LANES; j++) score[j] = -INFINITY;
    for (int64_t j = 0; (keep || !constant) && j < count; j += CLVI_LANES) {
        memcpy(&v, score + j, sizeof v);
        if (keep) {
            memcpy(&k16, keep + j, sizeof k16);
            clvi_select16(&v, &k16, &v, &nothing);
            memcpy(score + j, &v, sizeof v);
        }
        const clvi_v16i larger = v > max16;
        clvi_select16(&max16, &larger, &v, &max16);
    }
    float max = r->max;
    for (int i = 0; !constant && i < CLVI_LANES; i++) max = max16[i] > max ? max16[i] : max;
    if (!(max > r->max)) return;
    const float factor = expf(r->max - max);
    r->sum *= factor;
    r->max = max;
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; c++) acc[c] *= factor;
}

/* What scores are shifted by: 0 if nothing counts so far, for e^{-inf}, not e^{-inf + inf}. */
CLVI_INLINE float shift_of(const clvi_bank_running *r)
{
    return r->max == -INFINITY ? 0 : r->max;
}

CLVI_INLINE void add_weights(clvi_bank_running *r, const clvi_v16f *sum)
{
    clvi_v8d total = { 0 };
    clvi_add16(&total, sum);
    r->sum += clvi_total8(&total);
}

/* Scores of `count` keys become weights. */
CLVI_INLINE void weigh_body(float *score, int64_t count, const int32_t *keep, bool constant, clvi_bank_running *r,
                            float *acc, int64_t columns)
{
    raise_max(score, count, keep, constant, r, acc, columns);
    const float shift = shift_of(r);
    clvi_v16f v, sum = { 0 };
    for (int64_t j = 0; j < count; j += CLVI_LANES) {
        memcpy(&v, score + j, sizeof v);
        v -= shift;
        clvi_exp16(&v);
        sum += v;
        memcpy(score + j, &v, sizeof v);
    }
    add_weights(r, &sum);
}

#define WEIGH(isa, target)                                                                                             \
    target static void weigh_##isa(float *score, int64_t count, const int32_t *keep, bool constant,                    \
                                   clvi_bank_running *r, float *acc, int64_t columns)                                  \
    {                                                                                                                  \
        weigh_body(score, count, keep, constant, r, acc, columns);                                                     \
    }
WEIGH(plain, )
#if defined(__x86_64__)
WEIGH(avx2, CLVI_TARGET_AVX2)
WEIGH(avx512, CLVI_TARGET_AVX512)

/* e^x for x <= 0 in half the steps of clvi_exp16: 0 far below the smallest float, NaN for NaN, relative error below
 * 2e-7. */
CLVI_INLINE CLVI_TARGET_AVX512_BF16 __m512 exp_of_negative(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-110), x);     /* the second where one is NaN */
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 720);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

/* The weights move together as bfloat16. */
CLVI_TARGET_AVX512_BF16 static void weigh_avx512_bf16(float *score, int64_t count, const int32_t *keep, bool constant,
                                                      clvi_bank_running *r, float *acc, int64_t columns)
{
    raise_max(score, count, keep, constant, r, acc, columns);
    const __m512 shift = _mm512_set1_ps(shift_of(r));
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < count; j += CLVI_LANES) {
        const __m512 e = exp_of_negative(_mm512_sub_ps(_mm512_loadu_ps(score + j), shift));
        const __m256bh half = _mm512_cvtneps_pbh(e);
        sum = _mm512_add_ps(sum, e);
        memcpy((uint16_t *)score + j, &half, sizeof half);
    }
    add_weights(r, (const clvi_v16f *)&sum);
}
#endif

/* ---- packing keys ---- */

typedef clvi_bank_word word;
typedef word word4 __attribute__((vector_size(16)));
typedef word word4_any __attribute__((vector_size(16), aligned(4), may_alias));

/* The first words / 4 * 4 words of four rows, transposed. */
static void pack_four(const word *row, int64_t stride, int64_t words, int64_t width, word *to)
{
    const word4 low = { 0, 4, 1, 5 }, high = { 2, 6, 3, 7 };
    for (int64_t d = 0; d + 4 <= words; d += 4, row += 4, to += 4 * width) {
        const word4 a = *(const word4_any *)row, b = *(const word4_any *)(row + stride);
        const word4 c = *(const word4_any *)(row + 2 * stride), e = *(const word4_any *)(row + 3 * stride);
        const word4 ac = __builtin_shuffle(a, c, low), be = __builtin_shuffle(b, e, low);
        const word4 ac2 = __builtin_shuffle(a, c, high), be2 = __builtin_shuffle(b, e, high);
        *(word4_any *)to = __builtin_shuffle(ac, be, low);
        *(word4_any *)(to + width) = __builtin_shuffle(ac, be, high);
        *(word4_any *)(to + 2 * width) = __builtin_shuffle(ac2, be2, low);
        *(word4_any *)(to + 3 * width) = __builtin_shuffle(ac2, be2, high);
    }
}

/* Keys become columns; those beyond `count` are zeros. */
static void pack_panel_plain(const word *rows, int64_t stride, int64_t count, int64_t words, int64_t width, word *to)
{
    for (int64_t k = 0; k < width; k += 4) {
        const bool four = k + 4 <= count;
        if (four) pack_four(rows + k * stride, stride, words, width, to + k);
        for (int64_t i = k; i < k + 4; i++)
            for (int64_t d = four ? words / 4 * 4 : 0; d < words; d++)
                to[d * width + i] = i < count ? rows[i * stride + d] : 0;
    }
}

#if defined(__x86_64__)
/* 16 words of 16 rows, transposed: pairs of words, of those, and then quarters of vectors change places. */
CLVI_TARGET_AVX512 static void pack_sixteen(const word *row, int64_t stride, int64_t width, word *to)
{
    __m512i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(row + i * stride);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
            a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 16; j += 8) {
            b[i + j] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0x88);
            b[i + j + 4] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0xdd);
        }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        _mm512_storeu_si512(to + i * width, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
        _mm512_storeu_si512(to + (i + 8) * width, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
    }
}

CLVI_TARGET_AVX512 static void pack_panel_avx512(const word *rows, int64_t stride, int64_t count, int64_t words,
                                                 int64_t width, word *to)
{
    const int64_t whole = words / 16 * 16;
    for (int64_t k = 0; k < width; k += 16) {
        const int64_t packed = k + 16 <= count ? whole : 0;
        for (int64_t d = 0; d < packed; d += 16)
            pack_sixteen(rows + k * stride + d, stride, width, to + d * width + k);
        for (int64_t d = packed; d < words; d++)
            for (int64_t i = k; i < k + 16; i++) to[d * width + i] = i < count ? rows[i * stride + d] : 0;
    }
}
#endif

const clvi_bank_isa *clvi_bank_isa_pick(bool pairs)
{
    static const clvi_bank_isa plain = { 4, 12, false, pack_panel_plain, scores_plain, accumulate_all_plain,
                                         weigh_plain, list_plain };
#if defined(__x86_64__)
    static const clvi_bank_isa avx2 = { 4, 24, false, pack_panel_plain, scores_avx2, accumulate_all_avx2, weigh_avx2,
                                        list_avx2 };
    static const clvi_bank_isa avx512 = { 8, 48, false, pack_panel_avx512, scores_avx512, accumulate_all_avx512,
                                          weigh_avx512, list_avx512 };
    static const clvi_bank_isa avx512_bf16 = { 8, 48, true, pack_panel_avx512, scores_avx512_bf16,
                                               accumulate_all_avx512_bf16, weigh_avx512_bf16, list_avx512_bf16 };
    if (pairs && clvi_cpu_isa() >= CLVI_ISA_AVX512_BF16) return &avx512_bf16;
    if (clvi_cpu_isa() >= CLVI_ISA_AVX512) return &avx512;
    if (clvi_cpu_isa() >= CLVI_ISA_AVX2) return &avx2;
#else
    (void)pairs;
#endif
    return &plain;
}
