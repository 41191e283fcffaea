/* test_knn.c: nearest neighbours found on a device are those the host finds, with their vote. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "core/rng.h"
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

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = { TEST(neighbours_are_the_hosts), TEST(votes_are_the_hosts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
