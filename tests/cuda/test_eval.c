/* test_eval.c: what is measured on a device is what the host measures: nearest neighbours with their vote, every other
 * protocol, features of an encoder. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "core/rng.h"
#include "tests/support/train.h"
#include <cleave/eval.h>
#include <math.h>
#include <string.h>

enum { BANK = 613, QUERIES = 97, DIM = 19, K = 11, CLASSES = 5 };

static float bank[BANK][DIM], queries[QUERIES][DIM];
static int64_t bank_labels[BANK], query_labels[QUERIES];

/* A cloud for each class; the clouds overlap. */
static void fill(float *rows, int64_t *labels, int64_t count, uint64_t stream)
{
    clvi_rng rng = clvi_rng_make(11, CLVI_RNG_TEST, 0, stream, 0);
    for (int64_t i = 0; i < count; i++) {
        labels[i] = i % CLASSES;
        for (int64_t d = 0; d < DIM; d++)
            rows[i * DIM + d] = (float)((d % CLASSES == labels[i]) + 0.8 * clvi_rng_normal(&rng));
    }
}

/* Sums in another order: neighbours as near as rounding can tell may change places. */
static void assert_same_neighbours(const int64_t *a, const float *x, const int64_t *b, const float *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        assert_near(y[i], x[i], 2e-6 * (1 + fabs((double)x[i])));
        if (a[i] == b[i]) continue;
        const bool tie = (i % K > 0 && fabsf(x[i] - x[i - 1]) < 1e-5f) || (i % K < K - 1 && fabsf(x[i] - x[i + 1]) < 1e-5f);
        assert_true(tie || i % K == K - 1);
    }
}

static void neighbours_are_the_hosts(void **state)
{
    static int64_t index[2][BANK * K];
    static float score[2][BANK * K];
    test_env *t = *state;
    clv_context *device = test_device_context(t), *where[2] = { t->ctx, device };
    fill(bank[0], bank_labels, BANK, 0);
    fill(queries[0], query_labels, QUERIES, 1);
    const clv_view b = clv_view_2d(bank, CLV_F32, BANK, DIM), q = clv_view_2d(queries, CLV_F32, QUERIES, DIM);
    for (int distance = 0; distance <= CLV_KNN_L2; distance++)
        for (int left_out = 0; left_out < 2; left_out++) {
            clv_knn_desc desc = CLV_KNN_DESC_INIT;
            desc.k = K;
            desc.distance = (clv_knn_distance)distance;
            desc.leave_one_out = left_out;
            for (int w = 0; w < 2; w++)
                assert_ok(clv_knn_search(where[w], &desc, &b, left_out ? &b : &q, index[w], score[w]));
            assert_same_neighbours(index[0], score[0], index[1], score[1], (left_out ? BANK : QUERIES) * K);
        }
    clv_context_destroy(device);
}

static void votes_are_the_hosts(void **state)
{
    test_env *t = *state;
    static int64_t predicted[2][QUERIES];
    clv_context *device = test_device_context(t), *where[2] = { t->ctx, device };
    clv_knn_result r[2];
    fill(bank[0], bank_labels, BANK, 0);
    fill(queries[0], query_labels, QUERIES, 1);
    const clv_view b = clv_view_2d(bank, CLV_F32, BANK, DIM), q = clv_view_2d(queries, CLV_F32, QUERIES, DIM);
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    desc.k = K;
    for (int w = 0; w < 2; w++)
        assert_ok(clv_knn_classify(where[w], &desc, &b, bank_labels, &q, query_labels, predicted[w], &r[w]));
    assert_memory_equal(predicted[0], predicted[1], sizeof predicted[0]);
    assert_true(r[0].top1 > 50 && r[0].top1 < 100);
    assert_near(r[1].top1, r[0].top1, 0);
    assert_near(r[1].top5, r[0].top5, 0);
    clv_context_destroy(device);
}

/* Figures of a protocol, in percent or degrees, by a context. */
typedef void protocol_fn(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4]);

static void linear(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4])
{
    clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
    clv_linear_result r;
    desc.strengths = 3;
    assert_ok(clv_linear_probe(ctx, &desc, b, bank_labels, q, query_labels, NULL, &r));
    figure[0] = r.top1;
    figure[1] = r.held_out_top1;
    figure[2] = 100 * r.loss;
}

static void retrieval(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4])
{
    clv_retrieval_desc desc = CLV_RETRIEVAL_DESC_INIT;
    clv_retrieval_result r;
    assert_ok(clv_retrieval_measure(ctx, &desc, b, bank_labels, q, query_labels, &r));
    figure[0] = r.recall[0];
    figure[1] = r.map;
    figure[2] = r.r_precision;
}

static void clustering(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4])
{
    (void)q;
    static int64_t assignment[BANK];
    clv_cluster_desc desc = CLV_CLUSTER_DESC_INIT;
    clv_cluster_result r;
    desc.clusters = CLASSES;
    desc.restarts = 2;
    assert_ok(clv_kmeans(ctx, &desc, b, assignment, &r));
    assert_ok(clv_partitions_compare(ctx, assignment, bank_labels, BANK, &figure[0], &figure[1]));
    figure[2] = r.inertia;
}

static void verification(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4])
{
    (void)b;
    clv_verification_desc desc = CLV_VERIFICATION_DESC_INIT;
    clv_verification_result r;
    assert_ok(clv_verification_measure(ctx, &desc, q, query_labels, &r));
    figure[0] = r.tar[0];
    figure[1] = r.eer;
    figure[2] = r.auc;
}

static void few_shot(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4])
{
    (void)q;
    clv_few_shot_desc desc = CLV_FEW_SHOT_DESC_INIT;
    clv_few_shot_result r;
    desc.episodes = 20;
    assert_ok(clv_few_shot_measure(ctx, &desc, b, bank_labels, &r));
    figure[0] = r.accuracy;
}

static void angles(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4])
{
    (void)q;
    clv_angles_result r;
    assert_ok(clv_angles_measure(ctx, b, bank_labels, &r));
    figure[0] = r.intra;
    figure[1] = r.inter;
}

static void frechet(clv_context *ctx, const clv_view *b, const clv_view *q, double figure[4])
{
    clv_frechet_result r;
    assert_ok(clv_frechet_distance(ctx, b, q, &r));
    figure[0] = r.distance;
    figure[1] = r.mean;
}

static void figures_are_the_hosts(void **state)
{
    static const struct { const char *name; protocol_fn *measure; } protocols[] = {
        { "linear", linear }, { "retrieval", retrieval }, { "clustering", clustering },
        { "verification", verification }, { "few-shot", few_shot }, { "angles", angles }, { "frechet", frechet },
    };
    test_env *t = *state;
    clv_context *device = test_device_context(t), *where[2] = { t->ctx, device };
    fill(bank[0], bank_labels, BANK, 0);
    fill(queries[0], query_labels, QUERIES, 1);
    const clv_view b = clv_view_2d(bank, CLV_F32, BANK, DIM), q = clv_view_2d(queries, CLV_F32, QUERIES, DIM);
    for (size_t p = 0; p < CLVI_COUNT(protocols); p++) {
        double figure[2][4] = { { 0 } };
        for (int w = 0; w < 2; w++) protocols[p].measure(where[w], &b, &q, figure[w]);
        assert_true(figure[0][0] > 0);
        for (int i = 0; i < 4; i++)
            if (!(fabs(figure[1][i] - figure[0][i]) <= 1e-4 * (1 + fabs(figure[0][i]))))
                fail_msg("%s: figure %d is %.9g on the device, %.9g on the host", protocols[p].name, i, figure[1][i],
                         figure[0][i]);
    }
    clv_context_destroy(device);
}

static void features_are_the_hosts(void **state)
{
    test_env *t = *state;
    static float rows[2][16 * 64];
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    assert_ok(test_run(t, test_run_config(t, "run", "epochs", "1", NULL), NULL, NULL));
    desc.checkpoint = test_path(t, "run");
    test_embed(t, &desc, rows[0]);
    clv_context *host = t->ctx, *device = test_device_context(t);
    t->ctx = device;
    test_embed(t, &desc, rows[1]);
    t->ctx = host;
    double largest = 0;
    for (size_t i = 0; i < CLVI_COUNT(rows[0]); i++) largest = fmax(largest, fabs((double)rows[0][i]));
    assert_true(largest > 0);
    for (size_t i = 0; i < CLVI_COUNT(rows[0]); i++) assert_near(rows[1][i], rows[0][i], 1e-5 * largest);
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = { TEST(neighbours_are_the_hosts), TEST(votes_are_the_hosts),
                                       TEST(figures_are_the_hosts), TEST(features_are_the_hosts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
