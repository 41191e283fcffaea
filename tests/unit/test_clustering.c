/* test_clustering.c: k-means and the agreement of partitions, against scikit-learn and values worked by hand. */
#include "tests/support/rows.h"
#include "tests/support/test.h"
#include <cleave/eval.h>

#include <math.h>
#include <string.h>

/* ---- partitions ---- */

/* normalized_mutual_info_score and adjusted_rand_score of scikit-learn 1.9.1. */
static void agreement_is_that_of_scikit_learn(void **state)
{
    test_env *t = *state;
    enum { N = 90 };
    int64_t a[N], b[N], c[N];
    double nmi = 0, ari = 0;
    test_labels(a, N, 4);
    for (int64_t i = 0; i < N; i++) {
        b[i] = (i * i + i / 7) % 5;
        c[i] = i % 6 == 0 ? b[i] % 4 : a[i];
    }
    assert_ok(clv_partitions_compare(t->ctx, a, b, N, &nmi, &ari));
    assert_near(nmi, 0.028361480459320507, 1e-12);
    assert_near(ari, -0.012897807651604247, 1e-12);
    assert_ok(clv_partitions_compare(t->ctx, a, c, N, &nmi, &ari));
    assert_near(nmi, 0.6968897667814468, 1e-12);
    assert_near(ari, 0.6847358450911044, 1e-12);
}

static void agreement_of_small_partitions_is_as_by_hand(void **state)
{
    test_env *t = *state;
    const int64_t halves[4] = { 3, 3, -9, -9 }, other[4] = { 0, 1, 0, 1 }, same[4] = { 1, 1, 1, 1 },
                  each[4] = { 1, 2, 3, 4 };
    double nmi = 0, ari = 0;
    assert_ok(clv_partitions_compare(t->ctx, halves, halves, 4, &nmi, &ari));
    assert_near(nmi, 1, 1e-12);
    assert_near(ari, 1, 1e-12);
    assert_ok(clv_partitions_compare(t->ctx, halves, other, 4, &nmi, &ari));      /* independent */
    assert_near(nmi, 0, 1e-12);
    assert_near(ari, -0.5, 1e-12);                                                /* (0 - 2*2/6) / (2 - 2*2/6) */
    assert_ok(clv_partitions_compare(t->ctx, halves, same, 4, &nmi, &ari));
    assert_near(nmi, 0, 1e-12);
    assert_near(ari, 0, 1e-12);
    assert_ok(clv_partitions_compare(t->ctx, halves, each, 4, &nmi, &ari)); /* log 2 over the mean of log 2, log 4 */
    assert_near(nmi, 2.0 / 3.0, 1e-12);
    assert_near(ari, 0, 1e-12);
    assert_ok(clv_partitions_compare(t->ctx, same, same, 4, &nmi, &ari));
    assert_near(nmi, 1, 0);
    assert_near(ari, 1, 0);
    assert_ok(clv_partitions_compare(t->ctx, each, halves, 1, &nmi, &ari));
    assert_near(nmi, 1, 0);
    assert_near(ari, 1, 0);
    assert_fails(clv_partitions_compare(t->ctx, each, halves, 0, &nmi, &ari), CLV_ERR_INVALID, "n is 0");
}

/* ---- k-means ---- */

static void separate_heaps_are_found(void **state)
{
    test_env *t = *state;
    enum { N = 60, DIM = 3, K = 3 };
    float x[N * DIM];
    int64_t labels[N], assignment[N], again[N];
    test_rows(x, N * DIM, 6);
    test_labels(labels, N, K);
    for (int i = 0; i < N; i++) x[i * DIM + labels[i]] += 1;
    const clv_view rows = clv_view_2d(x, CLV_F32, N, DIM);
    clv_cluster_desc desc = CLV_CLUSTER_DESC_INIT;
    clv_cluster_result r;
    double nmi = 0, ari = 0;
    desc.clusters = K;
    desc.unit = false;
    assert_ok(clv_kmeans(t->ctx, &desc, &rows, assignment, &r));
    assert_near(r.inertia, 14.590310172314766, 1e-4); /* KMeans(3, n_init=10, tol=0) of scikit-learn 1.9.1 */
    assert_true(r.settled && r.steps >= 2);
    assert_ok(clv_partitions_compare(t->ctx, labels, assignment, N, &nmi, &ari));
    assert_near(nmi, 1, 1e-12);
    assert_near(ari, 1, 1e-12);
    clv_context *one = test_context(t, 1);
    assert_ok(clv_kmeans(one, &desc, &rows, again, &r));
    clv_context_destroy(one);
    assert_memory_equal(assignment, again, sizeof again);
}

static void a_line_is_cut_as_by_hand(void **state)
{
    test_env *t = *state;
    float x[5][1] = { { 0 }, { 1 }, { 10 }, { 11 }, { 12 } };
    int64_t a[5];
    const clv_view rows = clv_view_2d(x, CLV_F32, 5, 1);
    clv_cluster_desc desc = CLV_CLUSTER_DESC_INIT;
    clv_cluster_result r;
    desc.unit = false;
    desc.clusters = 2;
    assert_ok(clv_kmeans(t->ctx, &desc, &rows, a, &r));
    assert_near(r.inertia, 2.5, 1e-6);                            /* 2 * 0.25 + 1 + 0 + 1 */
    assert_true(a[0] == a[1] && a[2] == a[3] && a[3] == a[4] && a[0] != a[2]);
    desc.clusters = 1;
    assert_ok(clv_kmeans(t->ctx, &desc, &rows, a, &r));
    assert_near(r.inertia, 366 - 5 * 6.8 * 6.8, 1e-4);
    desc.clusters = 5;
    assert_ok(clv_kmeans(t->ctx, &desc, &rows, a, &r));
    assert_near(r.inertia, 0, 1e-9);
    desc.unit = true;                                             /* all of one direction but the zero row */
    desc.clusters = 2;
    assert_ok(clv_kmeans(t->ctx, &desc, &rows, a, &r));
    assert_near(r.inertia, 0, 1e-9);
    assert_true(a[0] != a[1] && a[1] == a[4]);
}

static void equal_rows_still_fill_every_cluster(void **state)
{
    test_env *t = *state;
    float x[4][2] = { { 1, 2 }, { 1, 2 }, { 1, 2 }, { 1, 2 } };
    int64_t a[4], count[3] = { 0, 0, 0 };
    const clv_view rows = clv_view_2d(x, CLV_F32, 4, 2);
    clv_cluster_desc desc = CLV_CLUSTER_DESC_INIT;
    clv_cluster_result r;
    desc.clusters = 3;
    assert_ok(clv_kmeans(t->ctx, &desc, &rows, a, &r));
    for (int i = 0; i < 4; i++) count[a[i]]++;
    assert_true(count[0] && count[1] && count[2]);
    assert_near(r.inertia, 0, 1e-9);
}

static void wrong_input_is_named(void **state)
{
    test_env *t = *state;
    float x[2][2] = { { 1, 2 }, { 1, NAN } };
    int64_t a[2];
    const clv_view bad = clv_view_2d(x, CLV_F32, 2, 2), rows = clv_view_2d(x, CLV_F32, 1, 2),
                   empty = clv_view_2d(x, CLV_F32, 2, 0);
    clv_cluster_desc desc = CLV_CLUSTER_DESC_INIT;
    clv_cluster_result r;
    assert_fails(clv_kmeans(t->ctx, &desc, &rows, a, &r), CLV_ERR_INVALID, "0 clusters of 1 rows");
    desc.clusters = 2;
    assert_fails(clv_kmeans(t->ctx, &desc, &rows, a, &r), CLV_ERR_INVALID, "2 clusters of 1 rows");
    assert_fails(clv_kmeans(t->ctx, &desc, &bad, a, &r), CLV_ERR_NUMERIC, "row 1, column 1");
    assert_fails(clv_kmeans(t->ctx, &desc, &empty, a, &r), CLV_ERR_SHAPE, "no values");
    desc.clusters = 1;
    desc.restarts = 0;
    assert_fails(clv_kmeans(t->ctx, &desc, &rows, a, &r), CLV_ERR_INVALID, "0 restarts");
}

static clv_status cluster_once(clv_context *ctx, void *arg)
{
    float x[4][2] = { { 1, 2 }, { 1, 3 }, { 9, 2 }, { 9, 3 } };
    int64_t a[4];
    const clv_view rows = clv_view_2d(x, CLV_F32, 4, 2);
    clv_cluster_desc desc = CLV_CLUSTER_DESC_INIT;
    clv_cluster_result r;
    double nmi, ari;
    (void)arg;
    desc.clusters = 2;
    const clv_status st = clv_kmeans(ctx, &desc, &rows, a, &r);
    return st == CLV_OK ? clv_partitions_compare(ctx, a, a, 4, &nmi, &ari) : st;
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    test_each_allocation_fails(*state, cluster_once, NULL);
}

TEST_MAIN(TEST(agreement_is_that_of_scikit_learn), TEST(agreement_of_small_partitions_is_as_by_hand),
          TEST(separate_heaps_are_found), TEST(a_line_is_cut_as_by_hand), TEST(equal_rows_still_fill_every_cluster),
          TEST(wrong_input_is_named), TEST(running_out_of_memory_leaves_nothing_behind))
