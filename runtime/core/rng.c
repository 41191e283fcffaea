/* rng.c: streams of random numbers and permutations from Philox4x32-10. */
#include "core/rng_inline.h"

clvi_rng clvi_rng_make(uint64_t seed, clvi_rng_purpose purpose, uint32_t epoch, uint64_t sample, uint32_t view)
{
    return clvi_rng_inline_make(seed, purpose, epoch, sample, view);
}

uint32_t clvi_rng_u32(clvi_rng *rng)
{
    return clvi_rng_inline_u32(rng);
}

float clvi_rng_f32(clvi_rng *rng)
{
    return clvi_rng_inline_f32(rng);
}

double clvi_rng_f64(clvi_rng *rng)
{
    return clvi_rng_inline_f64(rng);
}

double clvi_rng_uniform(clvi_rng *rng, double lo, double hi)
{
    return clvi_rng_inline_uniform(rng, lo, hi);
}

uint64_t clvi_rng_below(clvi_rng *rng, uint64_t n)
{
    return clvi_rng_inline_below(rng, n);
}

double clvi_rng_normal(clvi_rng *rng)
{
    return clvi_rng_inline_normal(rng);
}

double clvi_rng_beta(clvi_rng *rng, double a, double b)
{
    return clvi_rng_inline_beta(rng, a, b);
}

uint64_t clvi_rng_permute(uint64_t seed, clvi_rng_purpose purpose, uint32_t epoch, uint64_t n, uint64_t i)
{
    return clvi_rng_inline_permute(seed, purpose, epoch, n, i);
}
