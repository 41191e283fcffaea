/* rng.h: Philox4x32-10 (Salmon et al. 2011). Counter-based: a draw is a pure function of
 * (seed, purpose, epoch, sample, view, draw), so neither threads nor order of calls nor a resume can change it.
 * Known answer: key 0, counter 0 give 6627e8d5 e169c58d bc57ac4c 9b00dbd8. */
#ifndef CLVI_CORE_RNG_H
#define CLVI_CORE_RNG_H

#include <stdint.h>

/* What a stream of numbers is for; part of the key, so no two purposes share numbers. Append only: the values are part
 * of what makes a run repeatable across versions. */
typedef enum clvi_rng_purpose {
    CLVI_RNG_INIT = 1,      /* parameters: sample = running number of the parameter */
    CLVI_RNG_ORDER,         /* order of samples in an epoch */
    CLVI_RNG_CROP, CLVI_RNG_FLIP, CLVI_RNG_JITTER, CLVI_RNG_GRAY, CLVI_RNG_BLUR, CLVI_RNG_SOLARIZE, CLVI_RNG_ERASE,
    CLVI_RNG_BANK,          /* initial rows of a bank */
    CLVI_RNG_SHUFFLE,       /* shuffling batch norm: sample = step */
    CLVI_RNG_LOSS,          /* draws inside a loss */
    CLVI_RNG_SUBSET,        /* choosing a subset for evaluation */
    CLVI_RNG_TEST,
    CLVI_RNG_AFFINE,        /* random affine maps of pictures */
    CLVI_RNG_DROP_PATH,     /* stochastic depth: epoch = run of the graph, sample = row, view = path */
    CLVI_RNG_MIX,           /* mixing images of a batch: sample = step */
    CLVI_RNG_FLOW,          /* flow matching: time and noise of a picture in an epoch */
    CLVI_RNG_SAMPLE,        /* where generated pictures begin: sample = number of the picture */
    CLVI_RNG_WORD_DROP,     /* features of words left out: sample = word */
    CLVI_RNG_SLICE          /* which images are in a part of a split */
} clvi_rng_purpose;

typedef struct clvi_rng {
    uint32_t key[2];
    uint32_t counter[4];    /* draw, view and sample's high bits, sample, epoch */
    uint32_t block[4];
    int      left;          /* unused words of block */
} clvi_rng;

clvi_rng clvi_rng_make(uint64_t seed, clvi_rng_purpose purpose, uint32_t epoch, uint64_t sample, uint32_t view);
uint32_t clvi_rng_u32(clvi_rng *rng);
/* [0, 1) with 24 random bits (exact in float). */
float clvi_rng_f32(clvi_rng *rng);
/* [0, 1) with 53 random bits. */
double clvi_rng_f64(clvi_rng *rng);
/* [lo, hi). */
double clvi_rng_uniform(clvi_rng *rng, double lo, double hi);
/* 0 <= r < n, unbiased; n >= 1. */
uint64_t clvi_rng_below(clvi_rng *rng, uint64_t n);
/* Standard normal (Box-Muller, one value a call). */
double clvi_rng_normal(clvi_rng *rng);
/* Beta(a, b), 0 <= x <= 1, from two gammas (Marsaglia and Tsang 2000); a, b > 0. */
double clvi_rng_beta(clvi_rng *rng, double a, double b);

/* Position i of a pseudo-random permutation of 0..n-1 given by (seed, purpose, epoch): O(1), nothing stored
 * (Feistel network with cycle walking). */
uint64_t clvi_rng_permute(uint64_t seed, clvi_rng_purpose purpose, uint32_t epoch, uint64_t n, uint64_t i);

#endif
