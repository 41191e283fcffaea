/* test_bank_nce_graph.c: clv_bank_nce in a graph: the composed form is its oracle, mistakes get clear messages. */
#include "tensor/bank.h"
#include "tests/support/test.h"
#include <cleave/graph.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 5, D = 6, K = 40 };

static double values[3][K * D];
static const int64_t ids[B] = { 0, 1, 2, -1, 3 };
static int64_t bank_ids[K];
static unsigned char valid[K];

static void fill_values(void)
{
    uint64_t state = 5;
    for (int which = 0; which < 3; which++)
        for (int i = 0; i < K * D; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            values[which][i] = (double)(state >> 40) / 8388608.0 - 1;
        }
    for (int j = 0; j < K; j++) bank_ids[j] = j % 6, valid[j] = j % 4 != 3;
}

/* Nodes of the six inputs, and their numbers once the graph is finished. */
typedef struct inputs {
    clv_node query, key, bank, valid, ids, bank_ids;
} inputs;

static inputs make_inputs(clv_graph *g)
{
    return (inputs){
        clv_input(g, "query", CLV_F64, 2, (int64_t[]) { B, D }), clv_input(g, "key", CLV_F64, 2, (int64_t[]) { B, D }),
        clv_input(g, "bank", CLV_F64, 2, (int64_t[]) { K, D }), clv_input(g, "valid", CLV_U8, 1, (int64_t[]) { K }),
        clv_input(g, "ids", CLV_I64, 1, (int64_t[]) { B }), clv_input(g, "bank_ids", CLV_I64, 1, (int64_t[]) { K }),
    };
}

static void bind_inputs(clv_graph *g, const inputs *in)
{
    const clv_node rows[] = { in->query, in->key, in->bank };
    for (int i = 0; i < 3; i++) {
        const clv_view v = clv_view_dense(values[i], CLV_F64, 2, (int64_t[]) { i == 2 ? K : B, D });
        assert_ok(clv_graph_bind(g, rows[i], &v));
    }
    const clv_view v = clv_view_dense(valid, CLV_U8, 1, (int64_t[]) { K });
    const clv_view a = clv_view_dense((void *)ids, CLV_I64, 1, (int64_t[]) { B });
    const clv_view b = clv_view_dense(bank_ids, CLV_I64, 1, (int64_t[]) { K });
    assert_ok(clv_graph_bind(g, in->valid, &v));
    assert_ok(clv_graph_bind(g, in->ids, &a));
    assert_ok(clv_graph_bind(g, in->bank_ids, &b));
}

static clv_node fused(clv_graph *g, const inputs *in)
{
    clv_bank_nce_desc desc = CLV_BANK_NCE_DESC_INIT;
    desc.query = in->query, desc.key = in->key, desc.bank = in->bank;
    desc.valid = in->valid, desc.ids = in->ids, desc.bank_ids = in->bank_ids;
    desc.temperature = 0.5;
    return clv_bank_nce(g, &desc, NULL);
}

/* The same from small operations, on [B,1+K] logits. `counted` is uint8 [B,K]. */
static clv_node composed(clv_graph *g, const inputs *in, clv_node counted)
{
    const clv_node positive = clv_reshape(g, clv_row_dot(g, in->query, in->key), 2, (int64_t[]) { B, 1 });
    const clv_node negative = clv_matmul(g, in->query, false, in->bank, true);
    const clv_node logits = clv_scale(g, clv_concat(g, (clv_node[]) { positive, negative }, 2, 1), 2, 0);
    return clv_softmax_xent(g, logits, clv_iota(g, CLV_I64, B, 0, 0), counted);
}

/* Loss of each query, then the gradient of sum_b (b + 1) per_row_b. */
static void solve(test_env *t, bool as_one, double per_row[B], double gradient[B * D])
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.dtype = CLV_F64;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const inputs in = make_inputs(g);
    const clv_node counted = clv_input(g, "counted", CLV_U8, 2, (int64_t[]) { B, 1 + K });
    const clv_node weight = clv_input(g, "weight", CLV_F64, 1, (int64_t[]) { B });
    const clv_node loss = as_one ? fused(g, &in) : composed(g, &in, counted);
    assert_ok(clv_graph_backward(g, clv_reduce(g, clv_mul(g, loss, weight), -1, false)));
    const clv_node dq = clv_graph_gradient(g, in.query);
    clv_graph_output(g, loss);
    clv_graph_output(g, dq);
    assert_ok(clv_graph_finish(g));
    bind_inputs(g, &in);
    unsigned char counts[B][1 + K];
    double weights[B];
    for (int b = 0; b < B; b++) {
        weights[b] = b + 1;
        counts[b][0] = 1;
        for (int j = 0; j < K; j++) counts[b][1 + j] = valid[j] && (ids[b] < 0 || ids[b] != bank_ids[j]);
    }
    const clv_view c = clv_view_dense(counts, CLV_U8, 2, (int64_t[]) { B, 1 + K });
    const clv_view w = clv_view_dense(weights, CLV_F64, 1, (int64_t[]) { B });
    clv_view out;
    assert_ok(clv_graph_bind(g, counted, &c));
    assert_ok(clv_graph_bind(g, weight, &w));
    assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, loss, &out));
    memcpy(per_row, out.data, B * sizeof *per_row);
    assert_ok(clv_graph_read(g, dq, &out));
    memcpy(gradient, out.data, B * D * sizeof *gradient);
    clv_graph_destroy(g);
}

static void one_node_equals_its_composed_form(void **state)
{
    double loss[2][B], gradient[2][B * D];
    fill_values();
    solve(*state, true, loss[0], gradient[0]);
    solve(*state, false, loss[1], gradient[1]);
    for (int b = 0; b < B; b++) assert_near(loss[0][b], loss[1][b], 1e-12);
    for (int i = 0; i < B * D; i++) assert_near(gradient[0][i], gradient[1][i], 1e-12);
}

/* What clv_graph_finish says about a description. */
static void check_refused(test_env *t, int mistake, clv_status status, const char *text)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.dtype = CLV_F64;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const inputs in = make_inputs(g);
    clv_bank_nce_desc nce = CLV_BANK_NCE_DESC_INIT;
    nce.query = in.query, nce.key = in.key, nce.bank = in.bank;
    if (mistake == 0) nce.temperature = 0;
    if (mistake == 1) nce.bank = clv_input(g, "wide", CLV_F64, 2, (int64_t[]) { K, D + 1 });
    if (mistake == 2) nce.key = in.bank;
    if (mistake == 3) nce.valid = clv_input(g, "short", CLV_U8, 1, (int64_t[]) { K - 1 });
    if (mistake == 4) nce.ids = in.ids;
    if (mistake == 5) nce.valid = in.bank_ids;
    if (mistake == 6) nce.temperature = NAN;
    clv_graph_output(g, clv_bank_nce(g, &nce, NULL));
    assert_fails(clv_graph_finish(g), status, text);
    clv_graph_destroy(g);
}

static void mistakes_are_refused_with_the_numbers(void **state)
{
    check_refused(*state, 0, CLV_ERR_INVALID, "bank_nce: temperature is 0, want more than 0");
    check_refused(*state, 1, CLV_ERR_SHAPE, "bank_nce: rows of the bank have 7 values, queries have 6");
    check_refused(*state, 2, CLV_ERR_SHAPE, "bank_nce");
    check_refused(*state, 3, CLV_ERR_SHAPE, "bank_nce: valid must be uint8 [40], is uint8 [39]");
    check_refused(*state, 4, CLV_ERR_INVALID, "bank_nce: ids and bank_ids come together");
    check_refused(*state, 5, CLV_ERR_SHAPE, "bank_nce: valid must be uint8 [40], is int64 [40]");
    check_refused(*state, 6, CLV_ERR_INVALID, "bank_nce: temperature is");
}

/* ---- rows that are moved ---- */

/* Loss of each query and the gradient of their sum, in float64: moved in the walk, or before it. */
static void solve_moved(test_env *t, bool in_walk, double per_row[B], double gradient[B * D])
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.dtype = CLV_F64;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const inputs in = make_inputs(g);
    const clvi_draw lambda = { .seed = 4, .step_input = CLV_NONE }, index = { .seed = 4, .step_input = CLV_NONE,
                                                                              .stream = 1 };
    clvi_bank_move move = { .mix = true, .unit = true, .eps = 1e-12, .lambda = CLV_NONE, .index = CLV_NONE,
                            .step = CLV_NONE, .lambda_draw = clvi_beta_draw_attr(K, D, 1.6, 0, CLV_F64, &lambda),
                            .index_draw = clvi_permutation_attr(K, &index) };
    clv_bank_nce_desc nce = CLV_BANK_NCE_DESC_INIT;
    nce.query = in.query, nce.key = in.key, nce.bank = in.bank, nce.valid = in.valid, nce.temperature = 0.5;
    if (!in_walk)
        nce.bank = clv_l2norm_rows(g, clvi_lerp(g, in.bank, in.bank,
                                                clvi_beta_draw(g, K, D, 1.6, 0, CLV_F64, &lambda),
                                                clvi_permutation(g, K, &index)), 1e-12);
    const clv_node loss = clvi_bank_nce(g, &nce, in_walk ? &move : NULL, 0).per_row;
    assert_ok(clv_graph_backward(g, clv_reduce(g, loss, -1, false)));
    const clv_node dq = clv_graph_gradient(g, in.query);
    clv_graph_output(g, loss);
    clv_graph_output(g, dq);
    assert_ok(clv_graph_finish(g));
    bind_inputs(g, &in);
    assert_ok(clv_graph_run(g));
    clv_view out;
    assert_ok(clv_graph_read(g, loss, &out));
    memcpy(per_row, out.data, B * sizeof *per_row);
    assert_ok(clv_graph_read(g, dq, &out));
    memcpy(gradient, out.data, B * D * sizeof *gradient);
    clv_graph_destroy(g);
}

static void rows_moved_in_the_walk_equal_rows_moved_before(void **state)
{
    double loss[2][B], gradient[2][B * D];
    fill_values();
    solve_moved(*state, true, loss[0], gradient[0]);
    solve_moved(*state, false, loss[1], gradient[1]);
    for (int b = 0; b < B; b++) assert_near(loss[0][b], loss[1][b], 1e-12);
    for (int i = 0; i < B * D; i++) assert_near(gradient[0][i], gradient[1][i], 1e-12);
}

static void mistakes_in_moves_are_refused(void **state)
{
    static const char *const texts[] = { "bank_nce: moved rows cannot be listed",
                                         "bank_nce: lambda must be [1 or 40,1 or 6], is [3,1]",
                                         "bank_nce: alpha is 0, want more than 0",
                                         "bank_nce: index must be int64 [40], is int64 [5]" };
    test_env *t = *state;
    for (int mistake = 0; mistake < 4; mistake++) {
        clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
        clv_graph *g = NULL;
        desc.dtype = CLV_F64;
        assert_ok(clv_graph_create(t->ctx, &desc, &g));
        const inputs in = make_inputs(g);
        clv_bank_nce_desc nce = CLV_BANK_NCE_DESC_INIT;
        nce.query = in.query, nce.key = in.key, nce.bank = in.bank;
        clvi_bank_move move = { .mix = mistake > 0, .unit = true, .eps = 1e-12, .lambda = CLV_NONE,
                                .index = mistake == 3 ? in.ids : CLV_NONE, .step = CLV_NONE,
                                .lambda_draw = { .rows = mistake == 1 ? 3 : K, .cols = 1,
                                                 .alpha = mistake == 2 ? 0 : 1.6 } };
        clv_graph_output(g, clvi_bank_nce(g, &nce, &move, mistake == 0 ? 5 : 0).per_row);
        assert_fails(clv_graph_finish(g), mistake % 2 ? CLV_ERR_SHAPE : CLV_ERR_INVALID, texts[mistake]);
        clv_graph_destroy(g);
    }
}

/* ---- rows of bfloat16 ---- */

static clv_graph *graph_of(test_env *t, clv_dtype dtype)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.dtype = dtype;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    return g;
}

static void bfloat16_values_can_be_widened(void **state)
{
    static const uint16_t half[] = { 0x3f80, 0xc000, 0x3dcc, 0x0001 };   /* 1, -2, 0.099609375, 2^-133 */
    static const clv_dtype types[] = { CLV_F32, CLV_F64 };
    for (int i = 0; i < 2; i++) {
        clv_graph *g = graph_of(*state, types[i]);
        const clv_node x = clv_input(g, "x", CLV_BF16, 2, (int64_t[]) { 2, 2 }), y = clv_widen(g, x);
        const clv_view in = clv_view_2d((void *)half, CLV_BF16, 2, 2);
        double wide[4];
        clv_view out, exact = clv_view_2d(wide, CLV_F64, 2, 2);
        clv_graph_output(g, y);
        assert_ok(clv_graph_finish(g));
        assert_ok(clv_graph_bind(g, x, &in));
        assert_ok(clv_graph_run(g));
        assert_ok(clv_graph_read(g, y, &out));
        assert_int_equal(out.dtype, types[i]);
        assert_ok(clv_view_copy(&exact, &out));
        const double want[] = { 1, -2, 0.099609375, 0x1p-133 };
        for (int j = 0; j < 4; j++) assert_true(wide[j] == want[j]);
        clv_graph_destroy(g);
    }
}

static void bfloat16_goes_nowhere_else(void **state)
{
    for (int mistake = 0; mistake < 4; mistake++) {
        clv_graph *g = graph_of(*state, CLV_F32);
        const clv_node half = clv_input(g, "half", CLV_BF16, 2, (int64_t[]) { B, D });
        const clv_node full = clv_input(g, "full", CLV_F32, 2, (int64_t[]) { B, D });
        clv_bank_nce_desc desc = CLV_BANK_NCE_DESC_INIT;
        desc.query = mistake == 1 ? half : full;
        desc.key = mistake == 2 ? half : full;
        desc.bank = half;
        clv_graph_output(g, mistake == 0   ? clv_matmul(g, full, false, half, true)
                            : mistake == 3 ? clv_widen(g, full)
                                           : clv_bank_nce(g, &desc, NULL));
        assert_fails(clv_graph_finish(g), CLV_ERR_SHAPE,
                     mistake == 3 ? "widen: expected bfloat16, got float32" : "must be floating point, is bfloat16");
        clv_graph_destroy(g);
    }
}

TEST_MAIN(
    TEST(one_node_equals_its_composed_form),
    TEST(mistakes_are_refused_with_the_numbers),
    TEST(rows_moved_in_the_walk_equal_rows_moved_before),
    TEST(mistakes_in_moves_are_refused),
    TEST(bfloat16_values_can_be_widened),
    TEST(bfloat16_goes_nowhere_else),
)
