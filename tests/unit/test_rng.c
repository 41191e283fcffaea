/* test_rng.c: known answers, distributions, independence of streams, permutations. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "core/rng_inline.h"
#include <math.h>
#include <string.h>

static clvi_rng raw(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    return (clvi_rng) { .key = { k0, k1 }, .counter = { c0, c1, c2, c3 } };
}

/* The three vectors published with Random123 (kat_vectors). */
static void philox_gives_the_known_answers(void **state)
{
    (void)state;
    const struct { clvi_rng rng; uint32_t want[4]; } known[] = {
        { raw(0, 0, 0, 0, 0, 0), { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { raw(UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX),
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { raw(0xa4093822, 0x299f31d0, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344),
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < CLVI_COUNT(known); i++) {
        clvi_rng rng = known[i].rng;
        for (int j = 0; j < 4; j++) assert_int_equal(clvi_rng_u32(&rng), known[i].want[j]);
    }
}

/* These values are part of what makes a run repeatable: they may never change. */
static void streams_give_the_numbers_they_always_gave(void **state)
{
    (void)state;
    clvi_rng a = clvi_rng_make(1, CLVI_RNG_CROP, 2, 3, 1);
    clvi_rng b = clvi_rng_make(UINT64_MAX, CLVI_RNG_INIT, 0, UINT64_C(1) << 60, 300);
    const uint32_t got[] = { clvi_rng_u32(&a), clvi_rng_u32(&a), clvi_rng_u32(&b) };
    const uint32_t want[] = { 0x2360d77a, 0xe312895e, 0x5dc16268 };
    for (int i = 0; i < 3; i++) assert_int_equal(got[i], want[i]);
    const uint64_t order[] = { 2, 1, 9, 4, 7, 0, 3, 8, 5, 6 };
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(clvi_rng_permute(7, CLVI_RNG_ORDER, 1, 10, i), order[i]);
}

static void any_coordinate_changes_the_stream(void **state)
{
    (void)state;
    const clvi_rng streams[] = {
        clvi_rng_make(1, CLVI_RNG_TEST, 0, 0, 0), clvi_rng_make(2, CLVI_RNG_TEST, 0, 0, 0),
        clvi_rng_make(UINT64_C(1) << 40, CLVI_RNG_TEST, 0, 0, 0),
        clvi_rng_make(1, CLVI_RNG_CROP, 0, 0, 0), clvi_rng_make(1, CLVI_RNG_TEST, 1, 0, 0),
        clvi_rng_make(1, CLVI_RNG_TEST, 0, 1, 0), clvi_rng_make(1, CLVI_RNG_TEST, 0, UINT64_C(1) << 32, 0),
        clvi_rng_make(1, CLVI_RNG_TEST, 0, UINT64_C(1) << 56, 0),
        clvi_rng_make(1, CLVI_RNG_TEST, 0, UINT64_C(1) << 63, 0),
        clvi_rng_make(1, CLVI_RNG_TEST, 0, 0, 1), clvi_rng_make(1, CLVI_RNG_TEST, 0, 0, 256),
        clvi_rng_make(1, CLVI_RNG_TEST, 0, 0, UINT32_MAX),
    };
    for (size_t i = 0; i < CLVI_COUNT(streams); i++) {
        for (size_t j = 0; j < i; j++) {
            clvi_rng a = streams[i], b = streams[j];
            int same = 0;
            for (int k = 0; k < 64; k++) same += clvi_rng_u32(&a) == clvi_rng_u32(&b);
            assert_int_equal(same, 0);
        }
    }
}

static void a_stream_starts_over_from_its_coordinates(void **state)
{
    (void)state;
    clvi_rng a = clvi_rng_make(5, CLVI_RNG_TEST, 1, 2, 3);
    uint32_t first[50];
    for (int i = 0; i < 50; i++) first[i] = clvi_rng_u32(&a);
    clvi_rng b = clvi_rng_make(5, CLVI_RNG_TEST, 1, 2, 3);
    for (int i = 0; i < 50; i++) assert_int_equal(clvi_rng_u32(&b), first[i]);
}

static void fractions_are_uniform_and_below_one(void **state)
{
    (void)state;
    enum { N = 200000, BINS = 20 };
    clvi_rng rng = clvi_rng_make(1, CLVI_RNG_TEST, 0, 0, 0);
    int bin[BINS] = { 0 };
    for (int i = 0; i < N; i++) {
        const double x = i % 2 ? clvi_rng_f64(&rng) : (double)clvi_rng_f32(&rng);
        assert_true(x >= 0 && x < 1);
        bin[(int)(x * BINS)]++;
    }
    double chi2 = 0;
    for (int i = 0; i < BINS; i++) chi2 += pow(bin[i] - (double)N / BINS, 2) / ((double)N / BINS);
    assert_true(chi2 < 43.8);   /* 19 degrees of freedom, one in a thousand */
}

static void uniform_keeps_its_range(void **state)
{
    (void)state;
    clvi_rng rng = clvi_rng_make(1, CLVI_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < 10000; i++) {
        const double narrow = clvi_rng_uniform(&rng, 1.0, nextafter(1.0, 2.0));
        assert_near(narrow, 1.0, 0);   /* the only number in [1, next) */
        const double x = clvi_rng_uniform(&rng, -3, 5);
        assert_true(x >= -3 && x < 5);
    }
    assert_near(clvi_rng_uniform(&rng, 2, 2), 2, 0);
}

static void whole_numbers_are_unbiased(void **state)
{
    (void)state;
    enum { N = 120000 };
    const uint64_t sizes[] = { 1, 2, 3, 7, 12 };
    clvi_rng rng = clvi_rng_make(3, CLVI_RNG_TEST, 0, 0, 0);
    for (size_t s = 0; s < CLVI_COUNT(sizes); s++) {
        int count[12] = { 0 };
        for (int i = 0; i < N; i++) {
            const uint64_t r = clvi_rng_below(&rng, sizes[s]);
            assert_true(r < sizes[s]);
            count[r]++;
        }
        const double each = (double)N / (double)sizes[s];
        for (uint64_t i = 0; i < sizes[s]; i++) assert_near(count[i], each, 5 * sqrt(each));
    }
    /* Three quarters of 2^64: scaling without rejection would hit the multiples of three twice as often. */
    const uint64_t big = UINT64_C(3) << 62;
    int threes = 0;
    for (int i = 0; i < N; i++) threes += clvi_rng_below(&rng, big) % 3 == 0;
    assert_near(threes, N / 3, 5 * sqrt(N * 2.0 / 9));
}

static void normals_have_the_moments_of_a_normal(void **state)
{
    (void)state;
    enum { N = 200000 };
    clvi_rng rng = clvi_rng_make(4, CLVI_RNG_TEST, 0, 0, 0);
    double m[5] = { 0 };
    for (int i = 0; i < N; i++) {
        const double x = clvi_rng_normal(&rng);
        assert_true(isfinite(x));
        for (int k = 1; k <= 4; k++) m[k] += pow(x, k) / N;
    }
    assert_near(m[1], 0, 5 * sqrt(1.0 / N));
    assert_near(m[2], 1, 5 * sqrt(2.0 / N));
    assert_near(m[3], 0, 5 * sqrt(15.0 / N));
    assert_near(m[4], 3, 5 * sqrt(96.0 / N));
}

static void betas_have_the_moments_of_a_beta(void **state)
{
    (void)state;
    enum { N = 100000 };
    static const double shapes[][2] = { { 2, 2 }, { 1.6, 1.6 }, { 1, 1 }, { 0.4, 0.4 }, { 0.01, 0.01 }, { 3, 0.5 },
                                        { 500, 500 } };
    for (size_t s = 0; s < CLVI_COUNT(shapes); s++) {
        const double a = shapes[s][0], b = shapes[s][1], n = a + b;
        const double mean = a / n, var = a * b / (n * n * (n + 1));
        clvi_rng rng = clvi_rng_make(5, CLVI_RNG_TEST, 0, s, 0);
        double m[5] = { 0 };
        for (int i = 0; i < N; i++) {
            const double x = clvi_rng_beta(&rng, a, b);
            assert_true(x >= 0 && x <= 1);
            for (int k = 1; k <= 4; k++) m[k] += pow(x, k) / N;
        }
        double want = 1, of_square = 1;     /* E x^k = prod (a + j) / (n + j) */
        for (int k = 1; k <= 4; k++) {
            want *= (a + k - 1) / (n + k - 1);
            of_square = want;
            for (int j = k; j < 2 * k; j++) of_square *= (a + j) / (n + j);
            assert_near(m[k], want, 5 * sqrt((of_square - want * want) / N) + 1e-12);
        }
        assert_near(m[2] - m[1] * m[1], var, 0.02 * var + 5 * var / sqrt(N) + 1e-9);
        assert_near(m[1], mean, 5 * sqrt(var / N));
    }
}

/* The formula in double. A word gives U = (its upper 24 bits + 1) / 2^24 or a sign and an angle of 23 bits. */
static double beta_in_double(uint32_t u, uint32_t v, double alpha)
{
    const double log_w = log(((u >> 8) + 1) * 0x1p-24) / alpha, t = (2.0 * (v >> 8 & 0x7fffff) + 1) * 0x1p-24;
    const double s = -expm1(log_w) * pow(sin(M_PI / 2 * t), 2);
    return 0.5 + (v >> 31 ? -0.5 : 0.5) * sqrt(s / (exp(log_w) + s));
}

static void a_beta_of_two_words_is_near_its_formula(void **state)
{
    (void)state;
    static const double alphas[] = { 1e-3, 0.02, 0.2, 0.5, 1, 1.6, 2, 30, 1e3, 1e6 };
    static const uint32_t edges[] = { 0, 1, 0xff, 0x100, 0x7fffffff, 0x80000000, 0x800000ff, 0xfffffeff, UINT32_MAX };
    clvi_rng rng = clvi_rng_make(9, CLVI_RNG_TEST, 0, 0, 0);
    for (size_t k = 0; k < CLVI_COUNT(alphas); k++)
        for (size_t i = 0; i < 20000; i++) {
            const size_t e = CLVI_COUNT(edges);
            const uint32_t u = i < e * e ? edges[i / e] : clvi_rng_u32(&rng);
            const uint32_t v = i < e * e ? edges[i % e] : clvi_rng_u32(&rng);
            const float x = clvi_rng_beta_of(u, v, (float)(1 / alphas[k]));
            assert_true(x >= 0 && x <= 1);
            assert_near(x, beta_in_double(u, v, alphas[k]), 4e-7);
        }
}

/* These values are part of what a seed means: changing them changes every run. */
static void betas_of_two_words_keep_their_bits(void **state)
{
    (void)state;
    static const struct { uint32_t u, v; float inverse_alpha, want; } known[] = {
        { 0x6627e8d5, 0xe169c58d, 1 / 1.6f, 0x1.76fcc8p-3f }, { 0xbc57ac4c, 0x9b00dbd8, 0.5f, 0x1.bcbf54p-2f },
        { 0x00000000, 0x7fffffff, 0.5f, 0x1.fff8p-1f },       { 0xffffffff, 0x12345678, 5, 0.5f },
        { 0x00ff1234, 0x89abcdef, 1e3f, 0 },
    };
    for (size_t i = 0; i < CLVI_COUNT(known); i++)
        assert_true(clvi_rng_beta_of(known[i].u, known[i].v, known[i].inverse_alpha) == known[i].want);
}

static void a_permutation_hits_each_number_once(void **state)
{
    (void)state;
    const uint64_t sizes[] = { 1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4096 };
    for (size_t s = 0; s < CLVI_COUNT(sizes); s++) {
        char seen[4096] = { 0 };
        for (uint64_t i = 0; i < sizes[s]; i++) {
            const uint64_t r = clvi_rng_permute(9, CLVI_RNG_ORDER, (uint32_t)s, sizes[s], i);
            assert_true(r < sizes[s]);
            assert_int_equal(seen[r], 0);
            seen[r] = 1;
        }
    }
}

static void permutations_work_near_the_largest_size(void **state)
{
    (void)state;
    const uint64_t sizes[] = { UINT64_MAX, (UINT64_C(1) << 62) + 1, UINT64_C(1) << 32 };
    for (size_t s = 0; s < CLVI_COUNT(sizes); s++) {
        const uint64_t a = clvi_rng_permute(1, CLVI_RNG_ORDER, 0, sizes[s], 0);
        const uint64_t b = clvi_rng_permute(1, CLVI_RNG_ORDER, 0, sizes[s], sizes[s] - 1);
        assert_true(a < sizes[s] && b < sizes[s] && a != b);
    }
}

static void all_permutations_of_four_are_equally_likely(void **state)
{
    (void)state;
    enum { N = 24000 };
    int count[256] = { 0 };
    for (uint32_t epoch = 0; epoch < N; epoch++) {
        int code = 0;
        for (uint64_t i = 0; i < 4; i++) code = code * 4 + (int)clvi_rng_permute(2, CLVI_RNG_ORDER, epoch, 4, i);
        count[code]++;
    }
    int kinds = 0;
    double chi2 = 0;
    for (int i = 0; i < 256; i++) {
        if (!count[i]) continue;
        kinds++;
        chi2 += pow(count[i] - N / 24.0, 2) / (N / 24.0);
    }
    assert_int_equal(kinds, 24);
    assert_true(chi2 < 49.8);   /* 23 degrees of freedom, one in a thousand */
}

static void neighbours_are_torn_apart(void **state)
{
    (void)state;
    enum { N = 1000 };
    int adjacent = 0, fixed = 0;
    for (uint32_t epoch = 0; epoch < 20; epoch++) {
        uint64_t before = N + 10;
        for (uint64_t i = 0; i < N; i++) {
            const uint64_t r = clvi_rng_permute(3, CLVI_RNG_ORDER, epoch, N, i);
            adjacent += r == before + 1;
            fixed += r == i;
            before = r;
        }
    }
    assert_near(adjacent, 20, 5 * sqrt(20));   /* one a permutation, as for a random one */
    assert_near(fixed, 20, 5 * sqrt(20));
}

TEST_MAIN(TEST(philox_gives_the_known_answers), TEST(streams_give_the_numbers_they_always_gave),
          TEST(any_coordinate_changes_the_stream), TEST(a_stream_starts_over_from_its_coordinates),
          TEST(fractions_are_uniform_and_below_one), TEST(uniform_keeps_its_range), TEST(whole_numbers_are_unbiased),
          TEST(normals_have_the_moments_of_a_normal), TEST(betas_have_the_moments_of_a_beta),
          TEST(a_beta_of_two_words_is_near_its_formula), TEST(betas_of_two_words_keep_their_bits),
          TEST(a_permutation_hits_each_number_once),
          TEST(permutations_work_near_the_largest_size), TEST(all_permutations_of_four_are_equally_likely),
          TEST(neighbours_are_torn_apart))
