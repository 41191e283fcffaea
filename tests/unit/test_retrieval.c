/* test_retrieval.c: Recall@k, mean average precision and R-precision against scikit-learn and values worked by hand. */
#include "tests/support/rows.h"
#include "tests/support/test.h"
#include <cleave/eval.h>

#include <math.h>
#include <string.h>

enum { GALLERY = 50, QUERIES = 20, DIM = 5, CLASSES = 4 };

typedef struct figures {
    double recall[CLV_RETRIEVAL_DEPTHS], map, r_precision;
} figures;

static void assert_figures(const clv_retrieval_result *r, const figures *wanted)
{
    for (int k = 0; k < CLV_RETRIEVAL_DEPTHS; k++) assert_near(r->recall[k], wanted->recall[k], 1e-9);
    assert_near(r->map, wanted->map, 1e-9);
    assert_near(r->r_precision, wanted->r_precision, 1e-9);
}

/* numpy and average_precision_score of scikit-learn 1.9.1. */
static void figures_are_those_of_scikit_learn(void **state)
{
    static const figures cosine = { { 30, 55, 80, 100 }, 36.33467350690681, 33.75 };
    static const figures itself = { { 32, 42, 68, 94 }, 31.52933148786465, 27.1812865497076 };
    static const figures l2 = { { 25, 60, 80, 95 }, 35.70692542383516, 32.75 };
    test_env *t = *state;
    float g[GALLERY * DIM], q[QUERIES * DIM];
    int64_t gl[GALLERY], ql[QUERIES];
    test_rows(g, GALLERY * DIM, 3);
    test_rows(q, QUERIES * DIM, 4);
    test_labels(gl, GALLERY, CLASSES);
    test_labels(ql, QUERIES, CLASSES);
    const clv_view gallery = clv_view_2d(g, CLV_F32, GALLERY, DIM), queries = clv_view_2d(q, CLV_F32, QUERIES, DIM);
    clv_retrieval_desc desc = CLV_RETRIEVAL_DESC_INIT;
    clv_retrieval_result r, again;
    assert_ok(clv_retrieval_measure(t->ctx, &desc, &gallery, gl, &queries, ql, &r));
    assert_figures(&r, &cosine);
    assert_int_equal(r.queries, QUERIES);
    assert_int_equal(r.gallery, GALLERY);
    assert_int_equal(r.without, 0);
    clv_context *one = test_context(t, 1);
    assert_ok(clv_retrieval_measure(one, &desc, &gallery, gl, &queries, ql, &again));
    clv_context_destroy(one);
    assert_memory_equal(&r, &again, sizeof r);
    desc.distance = CLV_KNN_L2;
    assert_ok(clv_retrieval_measure(t->ctx, &desc, &gallery, gl, &queries, ql, &r));
    assert_figures(&r, &l2);
    desc.distance = CLV_KNN_COSINE;
    desc.leave_one_out = true;
    assert_ok(clv_retrieval_measure(t->ctx, &desc, &gallery, gl, &gallery, gl, &r));
    assert_figures(&r, &itself);
}

static void ranks_are_counted_as_by_hand(void **state)
{
    test_env *t = *state;
    /* From the query on the first axis: rows 0 (class 1), 1 (class 0), 2 and 3 (classes 1 and 0, equal), 4 (class 0). */
    float g[5][2] = { { 1, 0 }, { 2, 0.2f }, { 1, 1 }, { 3, 3 }, { -1, 0 } }, q[2][2] = { { 5, 0 }, { 0, 1 } };
    const int64_t gl[5] = { 1, 0, 1, 0, 0 }, ql[2] = { 0, 7 };
    const clv_view gallery = clv_view_2d(g, CLV_F32, 5, 2), queries = clv_view_2d(q, CLV_F32, 2, 2);
    clv_retrieval_desc desc = CLV_RETRIEVAL_DESC_INIT;
    clv_retrieval_result r;
    assert_ok(clv_retrieval_measure(t->ctx, &desc, &gallery, gl, &queries, ql, &r));
    const figures wanted = { { 0, 100, 100, 100 }, 100.0 * (1.0 / 2 + 2.0 / 4 + 3.0 / 5) / 3, 100.0 / 3 };
    assert_figures(&r, &wanted);
    assert_int_equal(r.queries, 1);
    assert_int_equal(r.without, 1);                  /* class 7 is nowhere */
}

static void wrong_input_is_named(void **state)
{
    test_env *t = *state;
    float g[2][2] = { { 1, 0 }, { 0, 1 } };
    const int64_t labels[2] = { 0, 1 }, bad[2] = { 0, -4 };
    const clv_view rows = clv_view_2d(g, CLV_F32, 2, 2), none = clv_view_2d(g, CLV_F32, 0, 2),
                   thin = clv_view_2d(g, CLV_F32, 2, 1);
    clv_retrieval_desc desc = CLV_RETRIEVAL_DESC_INIT;
    clv_retrieval_result r;
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &none, labels, &rows, labels, &r), CLV_ERR_INVALID, "no rows");
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &rows, labels, &none, labels, &r), CLV_ERR_INVALID,
                 "none of 0 queries");
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &rows, labels, &thin, labels, &r), CLV_ERR_SHAPE, "1 values");
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &rows, bad, &rows, labels, &r), CLV_ERR_INVALID,
                 "label -4 of row 1");
    desc.leave_one_out = true;
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &rows, labels, &rows, labels, &r), CLV_ERR_INVALID,
                 "none of 2 queries");
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &rows, labels, &none, labels, &r), CLV_ERR_SHAPE,
                 "leave-one-out");
    desc.depth[2] = 0;
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &rows, labels, &rows, labels, &r), CLV_ERR_INVALID, "depth 0");
    g[1][1] = NAN;
    desc.depth[2] = 1;
    assert_fails(clv_retrieval_measure(t->ctx, &desc, &rows, labels, &rows, labels, &r), CLV_ERR_NUMERIC, "row 1");
}

static clv_status measure_once(clv_context *ctx, void *arg)
{
    float g[3][2] = { { 1, 0 }, { 0, 1 }, { 1, 1 } };
    const int64_t labels[3] = { 0, 1, 0 };
    const clv_view rows = clv_view_2d(g, CLV_F32, 3, 2);
    clv_retrieval_desc desc = CLV_RETRIEVAL_DESC_INIT;
    clv_retrieval_result r;
    (void)arg;
    desc.distance = CLV_KNN_L2;
    return clv_retrieval_measure(ctx, &desc, &rows, labels, &rows, labels, &r);
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    test_each_allocation_fails(*state, measure_once, NULL);
}

TEST_MAIN(TEST(figures_are_those_of_scikit_learn), TEST(ranks_are_counted_as_by_hand), TEST(wrong_input_is_named),
          TEST(running_out_of_memory_leaves_nothing_behind))
