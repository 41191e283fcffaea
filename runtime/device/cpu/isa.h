/* isa.h: one body, compiled for every instruction set a run may pick from (clvi_cpu_isa). Bodies are plain loops and
 * GCC vector types; because products and sums are not contracted, all variants of a body give the same bits. */
#ifndef CLVI_DEVICE_CPU_ISA_H
#define CLVI_DEVICE_CPU_ISA_H

#include "core/parallel.h"
#include "device/device.h"
#include <string.h>

#if defined(__x86_64__)
#define CLVI_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define CLVI_TARGET_AVX512                                                                                             \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#define CLVI_TARGET_AVX512_BF16                                                                                        \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,prefer-vector-width=512")))
#else
#define CLVI_TARGET_AVX2
#define CLVI_TARGET_AVX512
#define CLVI_TARGET_AVX512_BF16
#endif

#define CLVI_INLINE static inline __attribute__((always_inline))

/* For `CLVI_INLINE void body(void *arg, int64_t begin, int64_t end)`: its variants, and a table of them. */
#define CLVI_ISA_VARIANTS(body) CLVI_ISA_VARIANTS_(body)
#define CLVI_ISA_VARIANTS_(body)                                                                                       \
    static void body##_plain(void *arg, int64_t begin, int64_t end) { body(arg, begin, end); }                         \
    CLVI_TARGET_AVX2 static void body##_avx2(void *arg, int64_t begin, int64_t end) { body(arg, begin, end); }         \
    CLVI_TARGET_AVX512 static void body##_avx512(void *arg, int64_t begin, int64_t end) { body(arg, begin, end); }     \
    static const clvi_range_fn body##_table[] = { body##_plain, body##_avx2, body##_avx512 };

/* The variant of a table for this machine. */
static inline clvi_range_fn clvi_isa_pick(const clvi_range_fn *table)
{
    const clvi_isa isa = clvi_cpu_isa();
    return table[isa < CLVI_ISA_AVX512 ? isa : CLVI_ISA_AVX512];
}

/* ---- 16 floats, or 8 doubles, at a time ---- */

#define CLVI_LANES 16
typedef float   clvi_v16f __attribute__((vector_size(64)));
typedef int32_t clvi_v16i __attribute__((vector_size(64)));
typedef double  clvi_v8d __attribute__((vector_size(64)));
typedef double  clvi_v16d __attribute__((vector_size(128)));

/* Elements i .. i+15 of an array of n, `fill` beyond its end. */
CLVI_INLINE void clvi_load16(clvi_v16f *v, const float *x, int64_t i, int64_t n, float fill)
{
    if (i + CLVI_LANES <= n) {
        memcpy(v, x + i, sizeof *v);
        return;
    }
    float lane[CLVI_LANES];
    for (int k = 0; k < CLVI_LANES; k++) lane[k] = i + k < n ? x[i + k] : fill;
    memcpy(v, lane, sizeof *v);
}

CLVI_INLINE void clvi_store16(const clvi_v16f *v, float *y, int64_t i, int64_t n)
{
    if (i + CLVI_LANES <= n) {
        memcpy(y + i, v, sizeof *v);
        return;
    }
    for (int k = 0; i + k < n; k++) y[i + k] = (*v)[k];
}

/* a[k] where keep[k] is all ones, b[k] where it is 0. */
CLVI_INLINE void clvi_select16(clvi_v16f *v, const clvi_v16i *keep, const clvi_v16f *a, const clvi_v16f *b)
{
    clvi_v16i ia, ib;
    memcpy(&ia, a, sizeof ia);
    memcpy(&ib, b, sizeof ib);
    ia = (ia & *keep) | (ib & ~*keep);
    memcpy(v, &ia, sizeof ia);
}

/* 16 floats as doubles, and doubles as floats. All 16 at once: GCC cuts conversions of half as many into quarters. */
CLVI_INLINE void clvi_widen16(clvi_v8d half[2], const clvi_v16f *v)
{
    const clvi_v16d wide = __builtin_convertvector(*v, clvi_v16d);
    memcpy(half, &wide, sizeof wide);
}

CLVI_INLINE void clvi_narrow16(clvi_v16f *v, const clvi_v8d half[2])
{
    clvi_v16d wide;
    memcpy(&wide, half, sizeof wide);
    *v = __builtin_convertvector(wide, clvi_v16f);
}

/* Adds 16 floats to 8 sums in double. */
CLVI_INLINE void clvi_add16(clvi_v8d *sum, const clvi_v16f *v)
{
    clvi_v8d half[2];
    clvi_widen16(half, v);
    *sum += half[0];
    *sum += half[1];
}

CLVI_INLINE double clvi_total8(const clvi_v8d *v)
{
    const clvi_v8d s = *v;
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* e^x, 0 below the smallest normal float, inf above the largest, NaN for NaN; relative error below 2e-7.
 * x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite), e^r by its Taylor polynomial of degree 7. */
CLVI_INLINE void clvi_exp16(clvi_v16f *v)
{
    const float round = 12582912.0f;   /* 1.5 * 2^23: adding it leaves an integer in the low bits */
    const clvi_v16f x = *v;
    const clvi_v16i zero = x < -87.0f, infinite = x > 88.3f;
    const clvi_v16f shifted = x * 1.44269504f + round;
    const clvi_v16f n = shifted - round;
    const clvi_v16f r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    clvi_v16f p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    clvi_v16i bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;         /* 2^n: what `round` left above the low bits is shifted out */
    clvi_v16f power;
    memcpy(&power, &bits, sizeof power);
    clvi_v16f e = p * power;
    const clvi_v16f nothing = { 0 }, everything = nothing + __builtin_inff();
    clvi_select16(&e, &infinite, &everything, &e);
    clvi_select16(v, &zero, &nothing, &e);
}

/* ln x for a normal x > 0; relative error below 3e-7. x = 2^n m with m near 1, ln m = 2 artanh((m-1)/(m+1)). */
CLVI_INLINE void clvi_log16(clvi_v16f *v)
{
    clvi_v16i bits;
    memcpy(&bits, v, sizeof bits);
    const clvi_v16i n = (bits - 0x3f3504f3) >> 23;     /* m lies in [sqrt 1/2, sqrt 2) */
    bits -= n << 23;
    clvi_v16f m;
    memcpy(&m, &bits, sizeof m);
    const clvi_v16f s = (m - 1) / (m + 1), z = s * s;
    clvi_v16f p = z * (1.0f / 9) + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    p = (p * z + 1) * (2 * s);
    const clvi_v16f e = __builtin_convertvector(n, clvi_v16f);
    const clvi_v16i nan = *v != *v;
    p = e * 0.693359375f + (e * -2.12194440e-4f + p);
    clvi_select16(v, &nan, v, &p);
}

/* ln(1 + v) for v in [0, 1], to the last digits where v is small, too: 2 artanh(v / (2 + v)). */
CLVI_INLINE void clvi_log1p16(clvi_v16f *v)
{
    const clvi_v16f s = *v / (*v + 2), z = s * s;
    clvi_v16f p = z * (1.0f / 15) + 1.0f / 13;
    p = p * z + 1.0f / 11;
    p = p * z + 1.0f / 9;
    p = p * z + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    *v = (p * z + 1) * (2 * s);
}

/* e^v, and e^v - 1: by its series where v is small. */
CLVI_INLINE void clvi_exp_less1_16(clvi_v16f *e, clvi_v16f *less1, const clvi_v16f *v)
{
    const clvi_v16f x = *v;
    const clvi_v16i few = x * x < 0.25f;      /* one comparison: GCC takes two that are joined apart, lane by lane */
    *e = x;
    clvi_exp16(e);
    clvi_v16f p = x * (1.0f / 40320) + 1.0f / 5040;
    p = p * x + 1.0f / 720;
    p = p * x + 1.0f / 120;
    p = p * x + 1.0f / 24;
    p = p * x + 1.0f / 6;
    p = p * x + 0.5f;
    p = (p * x + 1) * x;
    const clvi_v16f rest = *e - 1;
    clvi_select16(less1, &few, &p, &rest);
}

/* ---- eight vectors become one: lane k of it is made of the lanes of v[k] ---- */

typedef float   clvi_v8f __attribute__((vector_size(32)));
typedef int32_t clvi_v8i __attribute__((vector_size(32)));

/* The lanes of v[2k] and v[2k+1], in two halves that are to be combined; three levels make eight vectors one. */
CLVI_INLINE void clvi_halves8(clvi_v8f *a, clvi_v8f *b, int level)
{
    const clvi_v8f x = *a, y = *b;
    if (level == 0) {
        *a = __builtin_shuffle(x, y, (clvi_v8i) { 0, 1, 2, 3, 8, 9, 10, 11 });
        *b = __builtin_shuffle(x, y, (clvi_v8i) { 4, 5, 6, 7, 12, 13, 14, 15 });
    } else if (level == 1) {
        *a = __builtin_shuffle(x, y, (clvi_v8i) { 0, 1, 4, 5, 8, 9, 12, 13 });
        *b = __builtin_shuffle(x, y, (clvi_v8i) { 2, 3, 6, 7, 10, 11, 14, 15 });
    } else {
        *a = __builtin_shuffle(x, y, (clvi_v8i) { 0, 2, 4, 6, 8, 10, 12, 14 });
        *b = __builtin_shuffle(x, y, (clvi_v8i) { 1, 3, 5, 7, 9, 11, 13, 15 });
    }
}

CLVI_INLINE void clvi_sums8(clvi_v8f *out, const clvi_v16f v[8])
{
    clvi_v8f s[8], half[2];
    for (int k = 0; k < 8; k++) {
        memcpy(half, &v[k], sizeof half);
        s[k] = half[0] + half[1];
    }
#pragma GCC unroll 3
    for (int level = 0; level < 3; level++)
        for (int k = 0; k < 4 >> level; k++) {
            half[0] = s[2 * k], half[1] = s[2 * k + 1];
            clvi_halves8(&half[0], &half[1], level);
            s[k] = half[0] + half[1];
        }
    *out = s[0];
}

/* a = the larger of both; a NaN may be left behind. */
CLVI_INLINE void clvi_keep_larger8(clvi_v8f *a, const clvi_v8f *b)
{
    const clvi_v8i larger = *b > *a;
    clvi_v8i ia, ib;
    memcpy(&ia, a, sizeof ia);
    memcpy(&ib, b, sizeof ib);
    ia = (ib & larger) | (ia & ~larger);
    memcpy(a, &ia, sizeof ia);
}

CLVI_INLINE void clvi_largest8(clvi_v8f *out, const clvi_v16f v[8])
{
    clvi_v8f s[8], half[2];
    for (int k = 0; k < 8; k++) {
        memcpy(half, &v[k], sizeof half);
        clvi_keep_larger8(&half[0], &half[1]);
        s[k] = half[0];
    }
#pragma GCC unroll 3
    for (int level = 0; level < 3; level++)
        for (int k = 0; k < 4 >> level; k++) {
            half[0] = s[2 * k], half[1] = s[2 * k + 1];
            clvi_halves8(&half[0], &half[1], level);
            clvi_keep_larger8(&half[0], &half[1]);
            s[k] = half[0];
        }
    *out = s[0];
}

#endif
