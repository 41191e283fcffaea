/* test_draws.c: beta_draw and permutation: the distribution, and that each draw is a function of seed, step and stream
 * alone. */
#include "tensor/bank.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The step comes from an input instead of from `draw` if `given` is not NULL. */
typedef struct wanted {
    clvi_draw      draw;
    const int64_t *given;
    int64_t        rows, cols;
    double         alpha, offset;    /* alpha 0: a permutation of `rows` */
} wanted;

/* Draws in one graph into `out`: rows * cols doubles, or rows int64. */
static void draw_into(clv_context *ctx, const wanted *w, void *out)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    clv_view view;
    clvi_draw draw = w->draw;
    desc.dtype = CLV_F64;
    assert_ok(clv_graph_create(ctx, &desc, &g));
    draw.step_input = w->given ? clv_input(g, "step", CLV_I64, 1, (int64_t[]) { 1 }) : CLV_NONE;
    const clv_node x = w->alpha > 0 ? clvi_beta_draw(g, w->rows, w->cols, w->alpha, w->offset, CLV_F64, &draw)
                                    : clvi_permutation(g, w->rows, &draw);
    clv_graph_output(g, x);
    assert_ok(clv_graph_finish(g));
    const clv_view step = clv_view_1d((void *)(uintptr_t)w->given, CLV_I64, 1);
    if (w->given) assert_ok(clv_graph_bind(g, draw.step_input, &step));
    assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, x, &view));
    memcpy(out, view.data, (size_t)clv_view_count(&view) * 8);
    clv_graph_destroy(g);
}

/* ---- beta_draw ---- */

enum { ROWS = 400, COLS = 100, N = ROWS * COLS };

static double *draw_beta(clv_context *ctx, double alpha, double offset, uint64_t seed, int64_t step)
{
    double *x = calloc(N, sizeof *x);
    const wanted w = { .draw = { .seed = seed, .step = step }, .rows = ROWS, .cols = COLS, .alpha = alpha,
                       .offset = offset };
    draw_into(ctx, &w, x);
    return x;
}

/* Central moments of Beta(a,a): variance 1/(4(2a+1)), third 0, fourth 3/(16(2a+1)(2a+3)). Bounds: five standard
 * deviations of each mean. */
static void draws_have_the_moments_of_a_beta_distribution(void **state)
{
    test_env *t = *state;
    static const double alphas[] = { 0.2, 1, 1.6, 2, 50 };
    for (int k = 0; k < 10; k++) {
        const double a = alphas[k / 2], offset = k % 2, variance = 1 / (4 * (2 * a + 1));
        const double fourth = 3 / (16 * (2 * a + 1) * (2 * a + 3));
        double *x = draw_beta(t->ctx, a, offset, 1 + (uint64_t)k, 3), sum[5] = { 0 };
        for (int i = 0; i < N; i++) {
            const double d = x[i] - offset - 0.5;
            assert_true(d >= -0.5 && d <= 0.5);
            sum[1] += d, sum[2] += d * d, sum[3] += d * d * d, sum[4] += d * d * d * d;
        }
        assert_near(sum[1] / N, 0, 5 * sqrt(variance / N));
        assert_near(sum[2] / N, variance, 5 * sqrt((fourth - variance * variance) / N));
        assert_near(sum[3] / N, 0, 5 * sqrt(fourth / 4 / N));           /* |d| <= 1/2: d^6 <= d^4 / 4 */
        assert_near(sum[4] / N, fourth, 5 * sqrt(fourth / 16 / N));     /* and d^8 <= d^4 / 16 */
        free(x);
    }
}

/* 1 / (1 + d1 / (1 + d2 / ...)), the continued fraction of the incomplete beta function (Lentz's method). */
static double beta_fraction(double x, double a, double b)
{
    double f = 1, c = INFINITY, d = 1;
    for (int i = 1; i < 10000 && !(fabs(c * d - 1) < 1e-14); i++) {
        const int m = i / 2;
        const double term = i % 2 ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                                  : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 / (1 + term * d);
        c = 1 + term / c;
        f *= c * d;
    }
    return f;
}

/* The probability that Beta(a,a) is at most x. */
static double beta_distribution(double x, double a)
{
    if (x <= 0 || x >= 1) return x >= 1;
    if (x > 0.5) return 1 - beta_distribution(1 - x, a);
    return exp(a * log(x) + a * log(1 - x) + lgamma(2 * a) - 2 * lgamma(a)) / a * beta_fraction(x, a, a);
}

static int order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* sqrt(n) times Kolmogorov's largest distance between sorted numbers and Beta(a,a); a number may be off by the 4e-7
 * that the generator promises. */
static double distance_to_beta(const double *x, int n, double a)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, fmax((i + 1.0) / n - beta_distribution(x[i] + 4e-7, a),
                               beta_distribution(x[i] - 4e-7, a) - (double)i / n));
    return most * sqrt(n);
}

/* Kolmogorov's limit law: 2.2 is exceeded once in eight thousand; numbers of a law a fifth off are far beyond it. */
static void draws_follow_the_distribution_itself(void **state)
{
    test_env *t = *state;
    static const double alphas[] = { 0.2, 0.5, 1, 1.6, 2, 50, 1e4 };
    assert_near(beta_distribution(0.3, 1), 0.3, 1e-12);
    assert_near(beta_distribution(0.3, 2), 0.216, 1e-12);
    assert_near(beta_distribution(0.9, 0.5), 0.79516723530086655, 1e-10);       /* 2/pi asin sqrt 0.9 */
    for (int k = 0; k < 7; k++) {
        double *x = draw_beta(t->ctx, alphas[k], 0, 100 + (uint64_t)k, 5);
        qsort(x, N, sizeof *x, order);
        const double right = distance_to_beta(x, N, alphas[k]);
        if (!(right < 2.2)) fail_msg("Beta(%g,%g): distance %g", alphas[k], alphas[k], right);
        assert_true(distance_to_beta(x, N, 1.2 * alphas[k]) > 3);
        assert_true(distance_to_beta(x, N, alphas[k] / 1.2) > 3);
        free(x);
    }
}

static void a_number_does_not_depend_on_the_length_of_its_row(void **state)
{
    test_env *t = *state;
    enum { LONG = 131 };
    static const int64_t lengths[] = { 1, 2, 3, 7, 8, 9, 15, 31, 32, 33, 64, 65, 130 };
    double all[LONG], some[LONG];
    wanted w = { .draw = { .seed = 3, .step = 4 }, .rows = 1, .cols = LONG, .alpha = 1.6, .offset = 1 };
    draw_into(t->ctx, &w, all);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        w.cols = lengths[i];
        draw_into(t->ctx, &w, some);
        assert_memory_equal(some, all, (size_t)lengths[i] * sizeof *all);
    }
}

static void before_the_first_step_all_are_one(void **state)
{
    test_env *t = *state;
    for (int64_t cols = 1; cols <= 70; cols += 23) {
        double x[70];
        const wanted w = { .draw = { .seed = 3, .step = -1 }, .rows = 1, .cols = cols, .alpha = 2, .offset = 1 };
        draw_into(t->ctx, &w, x);
        for (int64_t i = 0; i < cols; i++) assert_true(x[i] == 1);
    }
}

/* Products of numbers that do not know of each other: mean 0, variance `variance` squared. */
static void assert_unrelated(const double *x, const double *y, int n, double mean, double variance)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - mean) * (y[i] - mean);
    assert_near(sum / n, 0, 5 * variance / sqrt(n));
}

static void rows_columns_steps_and_seeds_are_unrelated(void **state)
{
    test_env *t = *state;
    double *x = draw_beta(t->ctx, 2, 0, 1, 7), *step = draw_beta(t->ctx, 2, 0, 1, 8);
    double *seed = draw_beta(t->ctx, 2, 0, 2, 7), *far = draw_beta(t->ctx, 2, 0, 1, 7 + (1LL << 32));
    assert_unrelated(x, x + 1, N - 1, 0.5, 0.05);
    assert_unrelated(x, x + COLS, N - COLS, 0.5, 0.05);
    assert_unrelated(x, step, N, 0.5, 0.05);
    assert_unrelated(x, seed, N, 0.5, 0.05);
    assert_unrelated(x, far, N, 0.5, 0.05);   /* steps that agree in their low 32 bits */
    free(x), free(step), free(seed), free(far);
}

/* ---- permutation ---- */

static void draw_permutation(clv_context *ctx, int64_t length, uint64_t seed, int64_t step, int64_t *to)
{
    const wanted w = { .draw = { .seed = seed, .step = step, .stream = 2 }, .rows = length };
    draw_into(ctx, &w, to);
}

static void a_permutation_has_every_number_once(void **state)
{
    test_env *t = *state;
    static const int64_t lengths[] = { 1, 2, 3, 7, 16, 17, 255, 256, 257, 1000, 4096, 65537 };
    int64_t *x = calloc(65537, sizeof *x);
    uint8_t *seen = calloc(65537, 1);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int64_t step = 0; step < 3; step++) {
            draw_permutation(t->ctx, lengths[i], 5, step, x);
            memset(seen, 0, 65537);
            for (int64_t j = 0; j < lengths[i]; j++) {
                assert_in_range(x[j], 0, lengths[i] - 1);
                assert_int_equal(seen[x[j]]++, 0);
            }
        }
    free(x), free(seen);
}

static void an_empty_permutation_is_one(void **state)
{
    test_env *t = *state;
    int64_t nothing[1] = { 17 };
    draw_permutation(t->ctx, 0, 5, 0, nothing);
    assert_int_equal(nothing[0], 17);
}

/* Each number as often at each place, within five standard deviations, over seeds and over steps. */
static void every_number_comes_to_every_place(void **state)
{
    test_env *t = *state;
    enum { LENGTH = 6, DRAWS = 3000 };
    for (int over = 0; over < 2; over++) {
        int count[LENGTH][LENGTH] = { { 0 } };
        int64_t x[LENGTH];
        for (int i = 0; i < DRAWS; i++) {
            draw_permutation(t->ctx, LENGTH, over ? 1 : (uint64_t)i, over ? i : 1, x);
            for (int j = 0; j < LENGTH; j++) count[j][x[j]]++;
        }
        const double p = 1.0 / LENGTH, deviation = sqrt(DRAWS * p * (1 - p));
        for (int j = 0; j < LENGTH; j++)
            for (int k = 0; k < LENGTH; k++) assert_near(count[j][k], DRAWS * p, 5 * deviation);
    }
}

/* ---- both ---- */

static void check_repeats(test_env *t, const wanted *w, size_t bytes)
{
    char *first = calloc(bytes, 1), *again = calloc(bytes, 1);
    wanted other = *w;
    const int64_t step = w->draw.step;
    draw_into(t->ctx, w, first);
    for (int threads = 1; threads <= 3; threads += 2) {     /* the context has two */
        clv_context *ctx = test_context(t, threads);
        draw_into(ctx, w, again);
        assert_memory_equal(again, first, bytes);
        clv_context_destroy(ctx);
    }
    other.draw.step = step + 1;
    draw_into(t->ctx, &other, again);
    assert_memory_not_equal(again, first, bytes);
    other.given = &step;                                    /* replaces the step above */
    draw_into(t->ctx, &other, again);
    assert_memory_equal(again, first, bytes);
    other = *w;
    other.draw.seed++;
    draw_into(t->ctx, &other, again);
    assert_memory_not_equal(again, first, bytes);
    other = *w;
    other.draw.stream++;
    draw_into(t->ctx, &other, again);
    assert_memory_not_equal(again, first, bytes);
    free(first), free(again);
}

static void draws_depend_on_seed_step_and_stream_alone(void **state)
{
    static const int64_t steps[] = { 0, 9, 1LL << 40 };
    for (int i = 0; i < 3; i++) {
        const wanted beta = { .draw = { .seed = 4, .step = steps[i], .stream = 1 }, .rows = 70, .cols = 9,
                              .alpha = 1.6 };
        const wanted order = { .draw = { .seed = 4, .step = steps[i], .stream = 2 }, .rows = 700 };
        check_repeats(*state, &beta, 70 * 9 * sizeof(double));
        check_repeats(*state, &order, 700 * sizeof(int64_t));
    }
}

static void wrong_draws_are_refused(void **state)
{
    test_env *t = *state;
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    for (int mistake = 0; mistake < 2; mistake++) {
        clv_graph *g = NULL;
        assert_ok(clv_graph_create(t->ctx, &desc, &g));
        const clv_node two = clv_input(g, "step", CLV_I64, 1, (int64_t[]) { 2 });
        const clvi_draw draw = { .step_input = mistake ? two : CLV_NONE };
        clv_graph_output(g, clvi_beta_draw(g, 2, 3, mistake ? 1 : 0, 0, CLV_F32, &draw));
        assert_fails(clv_graph_finish(g), mistake ? CLV_ERR_SHAPE : CLV_ERR_INVALID,
                     mistake ? "beta_draw: the step must be one int64" : "beta_draw: alpha is 0");
        clv_graph_destroy(g);
    }
}

TEST_MAIN(TEST(draws_have_the_moments_of_a_beta_distribution), TEST(draws_follow_the_distribution_itself),
          TEST(a_number_does_not_depend_on_the_length_of_its_row), TEST(before_the_first_step_all_are_one),
          TEST(rows_columns_steps_and_seeds_are_unrelated),
          TEST(a_permutation_has_every_number_once), TEST(an_empty_permutation_is_one),
          TEST(every_number_comes_to_every_place), TEST(draws_depend_on_seed_step_and_stream_alone),
          TEST(wrong_draws_are_refused))
