/* test_eval.c: nearest neighbours against brute force, health and scores against values worked by hand. */
#include "tests/support/test.h"
#include "core/rng.h"
#include <cleave/eval.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- kNN ---- */

static float *random_rows(int64_t n, int64_t dim, uint64_t seed)
{
    float *rows = malloc((size_t)(n * dim) * sizeof *rows);
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 0, 0, 0);
    assert_non_null(rows);
    for (int64_t i = 0; i < n * dim; i++) rows[i] = (float)clvi_rng_normal(&rng);
    return rows;
}

static double similarity(const float *a, const float *b, int64_t dim, clv_knn_distance distance)
{
    double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0, l2 = 0;
    for (int64_t j = 0; distance == CLV_KNN_CENTRED_COSINE && j < dim; j++) {
        ma += a[j] / (double)dim;
        mb += b[j] / (double)dim;
    }
    for (int64_t j = 0; j < dim; j++) {
        ab += (a[j] - ma) * (b[j] - mb);
        aa += (a[j] - ma) * (a[j] - ma);
        bb += (b[j] - mb) * (b[j] - mb);
        l2 += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
    }
    return distance == CLV_KNN_L2 ? -sqrt(l2) : ab / sqrt(aa * bb);
}

static void search_finds_what_brute_force_finds(void **state)
{
    test_env *t = *state;
    enum { BANK = 2500, QUERIES = 300, DIM = 13, K = 7 };
    float *bank = random_rows(BANK, DIM, 1), *queries = random_rows(QUERIES, DIM, 2);
    const clv_view b = clv_view_2d(bank, CLV_F32, BANK, DIM), q = clv_view_2d(queries, CLV_F32, QUERIES, DIM);
    int64_t *index = malloc(QUERIES * K * sizeof *index);
    float *score = malloc(QUERIES * K * sizeof *score);
    for (int distance = CLV_KNN_COSINE; distance <= CLV_KNN_L2; distance++) {
        clv_knn_desc desc = CLV_KNN_DESC_INIT;
        desc.k = K;
        desc.distance = (clv_knn_distance)distance;
        assert_ok(clv_knn_search(t->ctx, &desc, &b, &q, index, score));
        for (int64_t i = 0; i < QUERIES; i += 37) {
            for (int64_t j = 0; j < K; j++) {
                const double own = similarity(queries + i * DIM, bank + index[i * K + j] * DIM, DIM, desc.distance);
                int64_t better = 0;
                assert_near(score[i * K + j], own, 1e-4);
                for (int64_t other = 0; other < BANK; other++)
                    better += similarity(queries + i * DIM, bank + other * DIM, DIM, desc.distance) > own + 1e-9;
                assert_int_equal(better, j);
            }
        }
    }
    free(bank);
    free(queries);
    free(index);
    free(score);
}

static void the_result_does_not_depend_on_threads(void **state)
{
    test_env *t = *state;
    enum { BANK = 700, DIM = 32, K = 20 };
    float *rows = random_rows(BANK, DIM, 3), scores[2][BANK * K];
    static int64_t index[2][BANK * K];
    const clv_view view = clv_view_2d(rows, CLV_F32, BANK, DIM);
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    desc.k = K;
    desc.leave_one_out = true;
    for (int i = 0; i < 2; i++) {
        clv_context *ctx = test_context(t, i ? 3 : 1);
        assert_ok(clv_knn_search(ctx, &desc, &view, &view, index[i], scores[i]));
        clv_context_destroy(ctx);
    }
    assert_memory_equal(index[0], index[1], sizeof index[0]);
    assert_memory_equal(scores[0], scores[1], sizeof scores[0]);
    for (int64_t i = 0; i < BANK * K; i++) assert_true(index[0][i] != i / K);
    free(rows);
}

static void votes_weigh_by_similarity_and_ties_go_to_the_nearest(void **state)
{
    test_env *t = *state;
    /* One near row of class 2, two far ones of class 0, one opposite of class 1. */
    float bank[4][2] = { { 1, 0 }, { 0, 1 }, { 0.1f, 1 }, { -1, 0 } }, query[1][2] = { { 1, 0.05f } };
    const int64_t labels[4] = { 2, 0, 0, 1 }, wanted[1] = { 2 };
    const clv_view b = clv_view_2d(bank, CLV_F32, 4, 2), q = clv_view_2d(query, CLV_F32, 1, 2);
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    clv_knn_result r;
    int64_t predicted = -1;
    desc.k = 3;
    desc.temperature = 0.1;
    assert_ok(clv_knn_classify(t->ctx, &desc, &b, labels, &q, wanted, &predicted, &r));
    assert_int_equal(predicted, 2);
    assert_near(r.top1, 100, 0);
    desc.vote = CLV_KNN_MAJORITY;
    assert_ok(clv_knn_classify(t->ctx, &desc, &b, labels, &q, wanted, &predicted, &r));
    assert_int_equal(predicted, 0);
    assert_near(r.top1, 0, 0);
    assert_near(r.top5, 100, 0);
    desc.k = 2;                                            /* one vote each: the nearer one's class */
    assert_ok(clv_knn_classify(t->ctx, &desc, &b, labels, &q, wanted, &predicted, &r));
    assert_int_equal(predicted, 2);
}

static void a_tiny_temperature_does_not_overflow(void **state)
{
    test_env *t = *state;
    float bank[2][2] = { { 1, 0 }, { 0.9f, 0.1f } }, query[1][2] = { { 1, 0 } };
    const int64_t labels[2] = { 1, 0 }, wanted[1] = { 1 };
    const clv_view b = clv_view_2d(bank, CLV_F32, 2, 2), q = clv_view_2d(query, CLV_F32, 1, 2);
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    clv_knn_result r;
    desc.temperature = 1e-4;
    assert_ok(clv_knn_classify(t->ctx, &desc, &b, labels, &q, wanted, NULL, &r));
    assert_near(r.top1, 100, 0);
    assert_int_equal(r.k, 2);
}

static void wrong_input_is_named(void **state)
{
    test_env *t = *state;
    float bank[2][2] = { { 1, 0 }, { 0, 1 } };
    const int64_t labels[2] = { 0, 1 }, bad[2] = { 0, -1 };
    const clv_view b = clv_view_2d(bank, CLV_F32, 2, 2), none = clv_view_2d(bank, CLV_F32, 0, 2);
    const clv_view thin = clv_view_2d(bank, CLV_F32, 2, 1);
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    clv_knn_result r;
    assert_fails(clv_knn_classify(t->ctx, &desc, &none, labels, &b, labels, NULL, &r), CLV_ERR_INVALID, "no rows");
    assert_fails(clv_knn_classify(t->ctx, &desc, &b, labels, &thin, labels, NULL, &r), CLV_ERR_SHAPE, "2 values, queries 1");
    assert_fails(clv_knn_classify(t->ctx, &desc, &b, bad, &b, labels, NULL, &r), CLV_ERR_INVALID, "label -1");
    desc.distance = CLV_KNN_L2;
    assert_fails(clv_knn_classify(t->ctx, &desc, &b, labels, &b, labels, NULL, &r), CLV_ERR_INVALID, "exponential");
    desc.distance = CLV_KNN_COSINE;
    desc.k = 0;
    assert_fails(clv_knn_classify(t->ctx, &desc, &b, labels, &b, labels, NULL, &r), CLV_ERR_INVALID, "k is 0");
    desc.k = 1;
    bank[1][0] = NAN;
    assert_fails(clv_knn_classify(t->ctx, &desc, &b, labels, &b, labels, NULL, &r), CLV_ERR_NUMERIC, "row 1");
}

static clv_status classify_once(clv_context *ctx, void *arg)
{
    float bank[3][2] = { { 1, 0 }, { 0, 1 }, { 1, 1 } };
    const int64_t labels[3] = { 0, 1, 0 };
    const clv_view b = clv_view_2d(bank, CLV_F32, 3, 2);
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    clv_knn_result r;
    (void)arg;
    return clv_knn_classify(ctx, &desc, &b, labels, &b, labels, NULL, &r);
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    test_each_allocation_fails(*state, classify_once, NULL);
}

/* ---- health and scores ---- */

static void spread_features_are_healthy_and_one_point_is_not(void **state)
{
    test_env *t = *state;
    enum { N = 400, DIM = 16 };
    float *rows = random_rows(N, DIM, 5);
    const clv_view view = clv_view_2d(rows, CLV_F32, N, DIM);
    clv_health h;
    assert_ok(clv_health_measure(t->ctx, &view, &view, &h));
    assert_near(h.std, 1, 0.05);
    assert_true(h.effective_rank > 14 && h.effective_rank <= 16.0001);
    assert_true(h.uniformity < -3);
    assert_near(h.alignment, 0, 1e-12);
    for (int64_t i = 0; i < N * DIM; i++) rows[i] = (float)(i % DIM);
    assert_ok(clv_health_measure(t->ctx, &view, NULL, &h));
    assert_near(h.std, 0, 1e-3);
    assert_near(h.effective_rank, 1, 1e-2);
    assert_near(h.uniformity, 0, 1e-6);
    free(rows);
}

static void alignment_and_uniformity_are_the_papers(void **state)
{
    test_env *t = *state;
    float x[2][2] = { { 2, 0 }, { 0, 3 } }, y[2][2] = { { 0, 5 }, { 0, 1 } };
    const clv_view a = clv_view_2d(x, CLV_F32, 2, 2), b = clv_view_2d(y, CLV_F32, 2, 2);
    clv_health h;
    assert_ok(clv_health_measure(t->ctx, &a, &b, &h));
    assert_near(h.alignment, 1, 1e-12);          /* squared distances 2 and 0 */
    assert_near(h.uniformity, -4, 1e-6);         /* log exp(-2 * 2) */
    assert_near(h.effective_rank, 2, 1e-6);
    assert_fails(clv_health_measure(t->ctx, &(clv_view){ .ndim = 1 }, NULL, &h), CLV_ERR_SHAPE, "[n, D]");
}

static void scores_are_counted_over_the_valid_rows(void **state)
{
    test_env *t = *state;
    float q[2][2] = { { 1, 0 }, { 0, 1 } }, k[2][2] = { { 1, 0 }, { 1, 0 } }, bank[3][2] = { { 0, 1 }, { -1, 0 }, { 1, 0 } };
    const uint8_t valid[3] = { 1, 1, 0 };
    const clv_view query = clv_view_2d(q, CLV_F32, 2, 2), key = clv_view_2d(k, CLV_F32, 2, 2);
    const clv_view rows = clv_view_2d(bank, CLV_F32, 3, 2);
    clv_scores s;
    assert_ok(clv_scores_measure(t->ctx, &query, &key, &rows, valid, &s));
    assert_near(s.positive_mean, 0.5, 1e-12);
    assert_near(s.positive_variance, 0.25, 1e-12);
    assert_near(s.negative_mean, 0, 1e-12);      /* 0, -1, 1, 0 */
    assert_near(s.negative_variance, 0.5, 1e-12);
    assert_near(s.pretext_top1, 50, 1e-12);
    assert_int_equal(s.negative_histogram[0], 1);
    assert_int_equal(s.negative_histogram[CLV_SCORE_BINS - 1], 1);
    assert_int_equal(s.negative_histogram[CLV_SCORE_BINS / 2], 2);
    const uint16_t half[3][2] = { { 0, 0x3f80 }, { 0xbf80, 0 }, { 0x3f80, 0 } };
    const clv_view half_rows = clv_view_2d((void *)half, CLV_BF16, 3, 2);
    clv_scores again;
    assert_ok(clv_scores_measure(t->ctx, &query, &key, &half_rows, valid, &again));
    assert_memory_equal(&again, &s, sizeof s);
    assert_fails(clv_scores_measure(t->ctx, &half_rows, &key, &rows, valid, &s), CLV_ERR_SHAPE, "dense float32");
}

TEST_MAIN(TEST(search_finds_what_brute_force_finds), TEST(the_result_does_not_depend_on_threads),
          TEST(votes_weigh_by_similarity_and_ties_go_to_the_nearest), TEST(a_tiny_temperature_does_not_overflow),
          TEST(wrong_input_is_named), TEST(running_out_of_memory_leaves_nothing_behind),
          TEST(spread_features_are_healthy_and_one_point_is_not), TEST(alignment_and_uniformity_are_the_papers),
          TEST(scores_are_counted_over_the_valid_rows))
