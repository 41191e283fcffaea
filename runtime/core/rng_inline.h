/* rng_inline.h: the inside of rng.c as inline functions, so that kernels of a device draw the host's numbers: C, and
 * CUDA for host and device. Draws made of integers have the same bits everywhere; those through log, cos, pow differ as
 * far as those functions do. */
#ifndef CLVI_CORE_RNG_INLINE_H
#define CLVI_CORE_RNG_INLINE_H

#include "core/rng.h"
#include <math.h>
#include <stdbool.h>

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

/* Logarithm of a Gamma(shape) value: Marsaglia and Tsang 2000, "A simple method for generating gamma variables". For
 * shapes below 1, Gamma(shape + 1) times U^(1/shape), which may be far too small for anything but its logarithm. */
CLVI_HD double clvi_rng_log_gamma(clvi_rng *rng, double shape)
{
    const double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = clvi_rng_inline_normal(rng), v = pow(1 + c * x, 3);
        const double u = 1 - clvi_rng_inline_f64(rng);
        if (!(v > 0) || log(u) >= 0.5 * x * x + d * (1 - v + log(v))) continue;
        const double boost = shape < 1 ? log(1 - clvi_rng_inline_f64(rng)) / shape : 0;
        return log(d * v) + boost;
    }
}

CLVI_HD double clvi_rng_inline_beta(clvi_rng *rng, double a, double b)
{
    const double x = clvi_rng_log_gamma(rng, a);
    return 1 / (1 + exp(clvi_rng_log_gamma(rng, b) - x));
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
