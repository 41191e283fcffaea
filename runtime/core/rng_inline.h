/* rng_inline.h: the inside of rng.c as inline functions, so that kernels of a device draw the host's numbers: C, and
 * CUDA for host and device. Draws made of integers have the same bits everywhere, and beta_of's where products and sums
 * are not contracted; those through log and cos differ as far as those functions do. */
#ifndef CLVI_CORE_RNG_INLINE_H
#define CLVI_CORE_RNG_INLINE_H

#include "core/rng.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>

#ifdef __CUDACC__
#define CLVI_HD static __host__ __device__ inline
#else
#define CLVI_HD static inline
#endif

#define CLVI_RNG_FEISTEL_ROUNDS 8

CLVI_HD void clvi_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < 4; i++) out[i] = counter[i];
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        const uint64_t a = (uint64_t)0xd2511f53u * out[0], b = (uint64_t)0xcd9e8d57u * out[2];
        const uint32_t next[4] = { (uint32_t)(b >> 32) ^ out[1] ^ k0, (uint32_t)b,
                                   (uint32_t)(a >> 32) ^ out[3] ^ k1, (uint32_t)a };
        for (int i = 0; i < 4; i++) out[i] = next[i];
    }
}

/* SplitMix64's output function: a bijection in which each input bit reaches every output bit. */
CLVI_HD uint64_t clvi_rng_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

CLVI_HD clvi_rng clvi_rng_inline_make(uint64_t seed, clvi_rng_purpose purpose, uint32_t epoch, uint64_t sample,
                                      uint32_t view)
{
    /* The counter has room for 2^56 samples and 256 views; what exceeds that goes into the key, so nothing is lost. */
    const uint64_t rest = (uint64_t)purpose | (sample >> 56) << 16 | (uint64_t)(view >> 8) << 32;
    const uint64_t key = clvi_rng_mix64(seed + clvi_rng_mix64(rest * UINT64_C(0x9e3779b97f4a7c15)));
    const clvi_rng rng = {
        { (uint32_t)key, (uint32_t)(key >> 32) },
        { 0, (view & 0xff) | (uint32_t)(sample >> 32) << 8, (uint32_t)sample, epoch }, { 0, 0, 0, 0 }, 0,
    };
    return rng;
}

CLVI_HD uint32_t clvi_rng_inline_u32(clvi_rng *rng)
{
    if (rng->left == 0) {
        clvi_rng_philox(rng->counter, rng->key, rng->block);
        rng->counter[0]++;
        rng->left = 4;
    }
    return rng->block[4 - rng->left--];
}

CLVI_HD uint64_t clvi_rng_u64(clvi_rng *rng)
{
    const uint64_t high = clvi_rng_inline_u32(rng);
    return high << 32 | clvi_rng_inline_u32(rng);
}

CLVI_HD float clvi_rng_inline_f32(clvi_rng *rng)
{
    return (float)(clvi_rng_inline_u32(rng) >> 8) * 0x1p-24f;
}

CLVI_HD double clvi_rng_inline_f64(clvi_rng *rng)
{
    return (double)(clvi_rng_u64(rng) >> 11) * 0x1p-53;
}

CLVI_HD double clvi_rng_inline_uniform(clvi_rng *rng, double lo, double hi)
{
    const double x = lo + (hi - lo) * clvi_rng_inline_f64(rng);
    return x < hi || lo >= hi ? x : nextafter(hi, lo);   /* rounding may reach hi, which is excluded */
}

/* Lemire 2019, "Fast random integer generation in an interval", arXiv:1805.10941. */
CLVI_HD uint64_t clvi_rng_inline_below(clvi_rng *rng, uint64_t n)
{
    unsigned __int128 product = (unsigned __int128)clvi_rng_u64(rng) * n;
    if ((uint64_t)product < n) {
        const uint64_t reject = -n % n;   /* 2^64 mod n */
        while ((uint64_t)product < reject) product = (unsigned __int128)clvi_rng_u64(rng) * n;
    }
    return (uint64_t)(product >> 64);
}

CLVI_HD double clvi_rng_inline_normal(clvi_rng *rng)
{
    const double radius = sqrt(-2.0 * log(1.0 - clvi_rng_inline_f64(rng)));
    return radius * cos(2.0 * M_PI * clvi_rng_inline_f64(rng));
}

/* ---- Beta(alpha, alpha) ---- */

CLVI_HD uint32_t clvi_rng_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

CLVI_HD float clvi_rng_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* -ln x for a normal x > 0: x = 2^n m with m near 1, ln m = 2 artanh((m-1)/(m+1)). */
CLVI_HD float clvi_rng_minus_log(float x)
{
    const uint32_t bits = clvi_rng_bits(x);
    const int32_t n = (int32_t)(bits - 0x3f3504f3u) >> 23;     /* m lies in [sqrt 1/2, sqrt 2) */
    const float m = clvi_rng_of_bits(bits - ((uint32_t)n << 23));
    const float s = (1 - m) / (1 + m), z = s * s;
    float p = z * (1.0f / 9) + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    p = (p * z + 1) * (2 * s);
    return (float)n * -0.693359375f + ((float)n * 2.12194440e-4f + p);
}

/* e^-y and 1 - e^-y for 0 <= y <= 87: -y = n ln 2 + r, e^r - 1 by its Taylor polynomial. */
CLVI_HD float clvi_rng_decay(float y, float *rest)
{
    const float round = 12582912.0f;   /* 1.5 * 2^23: adding it leaves an integer in the low bits */
    const float shifted = y * -1.44269504f + round, n = shifted - round;
    const float r = (-y - n * 0.693359375f) - n * -2.12194440e-4f;
    const float power = clvi_rng_of_bits((clvi_rng_bits(shifted) + 127) << 23);
    float p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r;
    *rest = (1 - power) - power * p;
    return power + power * p;
}

/* sin(pi/2 t) for 0 <= t <= 1: the Taylor polynomial. */
CLVI_HD float clvi_rng_quarter_sine(float t)
{
    const float z = t * t;
    float p = z * 5.6921729e-8f - 3.5988432e-6f;
    p = p * z + 1.6044118e-4f;
    p = p * z - 4.6817541e-3f;
    p = p * z + 7.9692626e-2f;
    p = p * z - 6.4596410e-1f;
    return (p * z + 1.5707963f) * t;
}

/* What follows Beta(alpha,alpha), from two random words and 1/alpha, within 4e-7 of
 *   1/2 +- sqrt(s / (w + s)) / 2,    w = U^(1/alpha), s = (1 - w) S^2, S the sine of a random angle
 * (Bailey 1994, "Polar generation of random variates with the t-distribution", and t^2 / (2 alpha + t^2); Devroye 1996,
 * "Random variate generation in one line of code"). Nothing is rejected, and nothing but rounded sums, products,
 * quotients and roots of floats is in it: the same bits wherever no product goes into a sum unrounded. */
CLVI_HD float clvi_rng_beta_of(uint32_t u, uint32_t v, float inverse_alpha)
{
    const float most = 87;
    const float y = clvi_rng_minus_log((float)(int32_t)((u >> 8) + 1) * 0x1p-24f) * inverse_alpha;
    const int32_t below = (int32_t)clvi_rng_bits(y), limit = (int32_t)clvi_rng_bits(most);   /* ordered as y >= 0 */
    float rest;
    const float w = clvi_rng_decay(clvi_rng_of_bits((uint32_t)(below < limit ? below : limit)), &rest);
    const float sine = clvi_rng_quarter_sine((float)(int32_t)((v >> 7 & 0xfffffe) + 1) * 0x1p-24f);
    const float s = rest * sine * sine, away = 0.5f * sqrtf(s / (w + s));
    return 0.5f + clvi_rng_of_bits(clvi_rng_bits(away) | (v & 0x80000000u));
}

/* Numbers 2 i and 2 i + 1 of those that begin at `stream`. */
CLVI_HD void clvi_rng_beta_pair(const clvi_rng *stream, uint32_t i, float inverse_alpha, float pair[2])
{
    const uint32_t counter[4] = { i, stream->counter[1], stream->counter[2], stream->counter[3] };
    uint32_t word[4];
    clvi_rng_philox(counter, stream->key, word);
    pair[0] = clvi_rng_beta_of(word[0], word[1], inverse_alpha);
    pair[1] = clvi_rng_beta_of(word[2], word[3], inverse_alpha);
}

/* One pass through the network: a permutation of 0 .. 2^(2*half)-1. */
CLVI_HD uint64_t clvi_rng_feistel(clvi_rng *stream, int half, uint64_t x)
{
    const uint32_t mask = (uint32_t)((UINT64_C(1) << half) - 1);
    uint32_t left = (uint32_t)(x >> half), right = (uint32_t)x & mask;
    for (uint32_t round = 0; round < CLVI_RNG_FEISTEL_ROUNDS; round++) {
        stream->counter[0] = round;
        stream->counter[2] = right;
        clvi_rng_philox(stream->counter, stream->key, stream->block);
        const uint32_t next = left ^ (stream->block[0] & mask);
        left = right;
        right = next;
    }
    return (uint64_t)left << half | right;
}

CLVI_HD uint64_t clvi_rng_inline_permute(uint64_t seed, clvi_rng_purpose purpose, uint32_t epoch, uint64_t n,
                                         uint64_t i)
{
    clvi_rng stream = clvi_rng_inline_make(seed, purpose, epoch, 0, 0);
    stream.counter[1] = UINT32_MAX;   /* apart from the numbers clvi_rng_make gives for the same purpose */
    int half = 1;
    while (half < 32 && UINT64_C(1) << 2 * half < n) half++;
    /* The domain is less than four times n. What falls outside goes through again: the walk follows a cycle of the
     * permutation that holds i itself, so it comes back inside. */
    do i = clvi_rng_feistel(&stream, half, i);
    while (i >= n);
    return i;
}

#endif
