/* winograd_tile.h: the arithmetic of Winograd's F(4x4,3x3) on vectors of 16 channels (Lavin and Gray 2016,
 * arXiv:1509.09308): one 4x4 piece of the result of a 3x3 convolution from 6x6 values, as 36 products. With d the values,
 * g the filter, and * element by element:
 *
 *   y = A' [(G g G') * (B' d B)] A            and of the gradients            dg = G' [(A dy A') * (B' d B)] G
 *
 * The matrices follow from six points where polynomials are evaluated (Toom and Cook). The usual 0, 1, -1, 2, -2 and
 * infinity lose three times as much to rounding as the points here, 0, P, -P, Q, -Q and infinity (on choosing them:
 * Barabasz et al. 2018, arXiv:1803.10986). Each function applies one matrix to a row or a column; both sides of a matrix
 * are its two calls. AVX-512 only. */
#ifndef CLVI_DEVICE_ONEDNN_WINOGRAD_TILE_H
#define CLVI_DEVICE_ONEDNN_WINOGRAD_TILE_H

#include "device/cpu/isa.h"
#include <immintrin.h>

#define WIDE CLVI_TARGET_AVX512 static inline __attribute__((always_inline))

enum { WINOGRAD_OUT = 4, WINOGRAD_IN = 6, WINOGRAD_POINTS = 36, WINOGRAD_TAPS = 9 };

/* All of these, their squares and cubes are floats without rounding. */
#define P  0.625f
#define Q  1.5f
#define P2 (P * P)
#define Q2 (Q * Q)
/* What makes a filter's value at a point count once: the product of its distances from the other points. */
#define AT_0 (1 / (P2 * Q2))
#define AT_P (1 / (2 * P2 * (P2 - Q2)))
#define AT_Q (1 / (2 * Q2 * (Q2 - P2)))

WIDE __m512 winograd_fma(float a, __m512 x, __m512 y)
{
    return _mm512_fmadd_ps(_mm512_set1_ps(a), x, y);
}

WIDE __m512 winograd_scale(float a, __m512 x)
{
    return _mm512_set1_ps(a) * x;
}

/* B' d */
WIDE void winograd_spread(__m512 to[6], const __m512 d[6])
{
    const __m512 even = winograd_fma(-Q2, d[2], d[4]), odd = winograd_fma(-Q2, d[1], d[3]);
    const __m512 even2 = winograd_fma(-P2, d[2], d[4]), odd2 = winograd_fma(-P2, d[1], d[3]);
    to[0] = winograd_fma(P2 * Q2, d[0], winograd_fma(-(P2 + Q2), d[2], d[4]));
    to[1] = winograd_fma(P, odd, even);
    to[2] = winograd_fma(-P, odd, even);
    to[3] = winograd_fma(Q, odd2, even2);
    to[4] = winograd_fma(-Q, odd2, even2);
    to[5] = winograd_fma(P2 * Q2, d[1], winograd_fma(-(P2 + Q2), d[3], d[5]));
}

/* A' m */
WIDE void winograd_gather(__m512 to[4], const __m512 m[6])
{
    const __m512 s = m[1] + m[2], d = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    to[0] = m[0] + s + s2;
    to[1] = winograd_fma(Q, d2, winograd_scale(P, d));
    to[2] = winograd_fma(Q2, s2, winograd_scale(P2, s));
    to[3] = winograd_fma(Q2 * Q, d2, winograd_fma(P2 * P, d, m[5]));
}

/* A dy */
WIDE void winograd_spread_gradient(__m512 to[6], const __m512 y[4])
{
    const __m512 even = winograd_fma(P2, y[2], y[0]), odd = winograd_fma(P2 * P, y[3], winograd_scale(P, y[1]));
    const __m512 even2 = winograd_fma(Q2, y[2], y[0]), odd2 = winograd_fma(Q2 * Q, y[3], winograd_scale(Q, y[1]));
    to[0] = y[0];
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = even2 + odd2;
    to[4] = even2 - odd2;
    to[5] = y[3];
}

/* G g */
WIDE void winograd_spread_filter(__m512 to[6], const __m512 g[3])
{
    const __m512 even = winograd_scale(AT_P, winograd_fma(P2, g[2], g[0])), odd = winograd_scale(AT_P * P, g[1]);
    const __m512 even2 = winograd_scale(AT_Q, winograd_fma(Q2, g[2], g[0])), odd2 = winograd_scale(AT_Q * Q, g[1]);
    to[0] = winograd_scale(AT_0, g[0]);
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = even2 + odd2;
    to[4] = even2 - odd2;
    to[5] = g[2];
}

/* G' u */
WIDE void winograd_gather_filter(__m512 to[3], const __m512 u[6])
{
    const __m512 s = winograd_scale(AT_P, u[1] + u[2]), d = winograd_scale(AT_P * P, u[1] - u[2]);
    const __m512 s2 = winograd_scale(AT_Q, u[3] + u[4]), d2 = winograd_scale(AT_Q * Q, u[3] - u[4]);
    to[0] = winograd_fma(AT_0, u[0], s + s2);
    to[1] = d + d2;
    to[2] = winograd_fma(P2, s, winograd_fma(Q2, s2, u[5]));
}

/* ---- products: ROWS x COLUMNS vectors of results stay in registers; v has 16 values in a row ---- */

/* sum[r] += sum over 16 k of v[r][k] u[k]. */
WIDE void winograd_product(__m512 *sum, const float *v, const float *u, int64_t u_column, const int rows,
                           const int columns)
{
#pragma GCC unroll 2
    for (int k = 0; k < CLVI_LANES; k++) {
        __m512 w[4];
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++) w[j] = _mm512_loadu_ps(u + j * u_column + k * CLVI_LANES);
#pragma GCC unroll 24
        for (int r = 0; r < rows; r++) {
            const __m512 x = _mm512_set1_ps(v[r * CLVI_LANES + k]);
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++) sum[r * columns + j] = _mm512_fmadd_ps(x, w[j], sum[r * columns + j]);
        }
    }
}

/* sum[r] += sum over t of v[t][r] w[t]. */
WIDE void winograd_product_of_columns(__m512 *sum, const float *v, const float *w, int64_t w_column, int64_t count,
                                      const int rows, const int columns)
{
    for (int64_t t = 0; t < count; t++) {
        __m512 y[4];
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++) y[j] = _mm512_loadu_ps(w + j * w_column + t * CLVI_LANES);
#pragma GCC unroll 24
        for (int r = 0; r < rows; r++) {
            const __m512 x = _mm512_set1_ps(v[t * CLVI_LANES + r]);
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++) sum[r * columns + j] = _mm512_fmadd_ps(x, y[j], sum[r * columns + j]);
        }
    }
}

#endif
