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

/* Logarithm of a Gamma(shape) value: Marsaglia and Tsang 2000, "A simple method for generating gamma variables". For
 * shapes below 1, Gamma(shape + 1) times U^(1/shape), which may be far too small for anything but its logarithm. */
static double log_gamma(clvi_rng *rng, double shape)
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

double clvi_rng_beta(clvi_rng *rng, double a, double b)
{
    const double x = log_gamma(rng, a);
    return 1 / (1 + exp(log_gamma(rng, b) - x));
}

uint64_t clvi_rng_permute(uint64_t seed, clvi_rng_purpose purpose, uint32_t epoch, uint64_t n, uint64_t i)
{
    return clvi_rng_inline_permute(seed, purpose, epoch, n, i);
}
