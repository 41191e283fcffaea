/* test_banks.c: what holds of every kind of bank and every stored type: any sequence of pushes equals the definition,
 * written as plainly as the papers do; files keep every bit; neither threads nor the cut of a batch matter. */
#include "tests/support/test.h"
#include "memorybank/bank.h"
#include "core/rng.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_K = 23, MOST_D = 5, MOST_B = 40 };

/* A bank as its kind's formula has it, in plain arrays. */
typedef struct model {
    const char *kind;
    clv_dtype   dtype;
    int64_t     K, D, pointer, pushes;
    double      momentum, row[MOST_K][MOST_D];
    bool        valid[MOST_K];
    int64_t     id[MOST_K], label[MOST_K], born[MOST_K], replaced;
    double      cosines;
} model;

typedef struct batch {
    int64_t B, id[MOST_B], label[MOST_B];
    float   row[MOST_B * MOST_D];
} batch;

static double rounded(const model *m, double x)
{
    if (m->dtype == CLV_BF16) return (double)clvi_bf16_value(clvi_bf16_round(x));
    return m->dtype == CLV_F64 ? x : (double)(float)x;
}

static void enter(model *m, int64_t slot, const batch *b, int64_t i, double momentum, bool unit)
{
    double next[MOST_D], sum = 0, old = 0, dot = 0, norm = 0;
    for (int64_t d = 0; d < m->D; d++) {
        const double x = (double)b->row[i * m->D + d];
        next[d] = m->valid[slot] ? momentum * m->row[slot][d] + (1 - momentum) * x : x;
        sum += next[d] * next[d];
    }
    for (int64_t d = 0; d < m->D; d++) {
        if (unit && sum > 0) next[d] /= sqrt(sum);
        dot += next[d] * m->row[slot][d];
        old += m->row[slot][d] * m->row[slot][d];
        norm += next[d] * next[d];
        m->row[slot][d] = rounded(m, next[d]);
    }
    if (m->born[slot] > 0) {
        m->replaced++;
        if (old > 0 && norm > 0) m->cosines += dot / sqrt(old * norm);
    }
    m->valid[slot] = true;
    m->id[slot] = b->id[i];
    m->label[slot] = b->label[i];
    m->born[slot] = m->pushes;
}

/* For a queue longer pushes than K overwrite themselves: only what stays counts as replacing. */
static void push_model(model *m, const batch *b)
{
    const bool queue = strcmp(m->kind, "fifo") == 0 || strcmp(m->kind, "labelled") == 0;
    m->pushes++;
    m->replaced = 0;
    m->cosines = 0;
    for (int64_t i = 0; i < b->B; i++) {
        const int64_t slot = m->pointer;
        if (strcmp(m->kind, "instance") == 0) {
            enter(m, b->id[i], b, i, m->momentum, true);
        } else if (strcmp(m->kind, "class_centres") == 0) {
            if (b->label[i] >= 0) enter(m, b->label[i], b, i, m->momentum, true);
        } else {
            if (!queue) enter(m, slot, b, i, m->momentum, true);
            else if (i >= b->B - m->K) enter(m, slot, b, i, 0, false);
            m->pointer = (slot + 1) % m->K;
        }
    }
}

static batch draw(clvi_rng *rng, const model *m)
{
    batch b = { .B = (int64_t)clvi_rng_below(rng, MOST_B + 1) };
    for (int64_t i = 0; i < b.B; i++) {
        b.id[i] = (int64_t)clvi_rng_below(rng, (uint64_t)m->K);
        b.label[i] = (int64_t)clvi_rng_below(rng, (uint64_t)m->K + 1) - 1;
        for (int64_t d = 0; d < m->D; d++) b.row[i * m->D + d] = clvi_rng_f32(rng) - 0.5f;
    }
    return b;
}

static clv_bank *make_bank(clv_context *ctx, const model *m)
{
    char capacity[24], dim[24], momentum[32];
    clv_bank *bank = NULL;
    snprintf(capacity, sizeof capacity, "%d", (int)m->K);
    snprintf(dim, sizeof dim, "%d", (int)m->D);
    snprintf(momentum, sizeof momentum, "%.17g", m->momentum);
    const clv_option options[] = { { "capacity", capacity }, { "dim", dim }, { "dtype", clv_dtype_name(m->dtype) },
                                   { "init", "empty" }, { "momentum", momentum }, { "update", "ema" } };
    const bool moves = clvi_option_find(clvi_bank_class_find(m->kind)->options, "momentum") != NULL;
    const int n = strcmp(m->kind, "repulsor") == 0 ? 6 : moves ? 5 : 4;
    assert_ok(clv_bank_create(ctx, m->kind, options, n, &bank));
    return bank;
}

static void push_bank(clv_bank *bank, const batch *b, int64_t first, int64_t count)
{
    const clv_view rows = clv_view_2d((void *)(b->row + first * bank->dim), CLV_F32, count, bank->dim);
    assert_ok(clv_bank_push(bank, &rows, b->id + first, b->label + first));
}

static void assert_equals_model(const clv_bank *bank, const model *m)
{
    /* Both round once; where their float64 differ in the last bit, rounding may go either way. */
    const double tolerance = m->dtype == CLV_F64 ? 1e-14 : m->dtype == CLV_F32 ? 0x1p-23 : 0x1p-7;
    clv_bank_statistics stats;
    assert_int_equal(clv_bank_pointer(bank), m->pointer);
    for (int64_t j = 0; j < m->K; j++) {
        assert_int_equal(bank->valid[j], m->valid[j]);
        assert_int_equal(bank->ids[j], m->valid[j] ? m->id[j] : -1);
        assert_int_equal(bank->labels[j], m->valid[j] ? m->label[j] : -1);
        assert_int_equal(bank->born[j], m->born[j]);
        for (int64_t d = 0; m->valid[j] && d < m->D; d++)
            assert_near(clvi_bank_value(bank, j * m->D + d), m->row[j][d], tolerance * fmax(fabs(m->row[j][d]), 1e-3));
    }
    assert_ok(clv_bank_stats(bank, &stats));
    assert_int_equal(stats.replaced, m->replaced);
    assert_near(stats.drift, m->replaced ? m->cosines / (double)m->replaced : 0,
                m->dtype == CLV_BF16 ? 1e-2 : 1e-6);
}

static void assert_same(const clv_bank *a, const clv_bank *b)
{
    const size_t K = (size_t)a->capacity;
    assert_memory_equal(a->rows, b->rows, a->rows_size);
    assert_memory_equal(a->valid, b->valid, K);
    assert_memory_equal(a->ids, b->ids, K * sizeof(int64_t));
    assert_memory_equal(a->labels, b->labels, K * sizeof(int64_t));
    assert_int_equal(a->cursor, b->cursor);
}

/* fn for every kind, type and a few sizes. */
static void for_all(test_env *t, void (*fn)(test_env *t, model *m, clvi_rng *rng))
{
    clv_class_info info;
    static const clv_dtype types[] = { CLV_F32, CLV_F64, CLV_BF16 };
    for (int kind = 0; clv_bank_kind_at(kind, &info); kind++)
        for (int type = 0; type < 3; type++)
            for (uint32_t round = 0; round < 6; round++) {
                clvi_rng rng = clvi_rng_make(11, CLVI_RNG_TEST, round, (uint64_t)kind, (uint32_t)type);
                model m = { .kind = info.name, .dtype = types[type] };
                m.K = 1 + (int64_t)clvi_rng_below(&rng, MOST_K);
                m.D = 1 + (int64_t)clvi_rng_below(&rng, MOST_D);
                m.momentum = round == 0 ? 0 : round == 1 ? 1 : clvi_rng_f64(&rng);
                fn(t, &m, &rng);
            }
}

static void pushes_and_model(test_env *t, model *m, clvi_rng *rng)
{
    clv_bank *bank = make_bank(t->ctx, m);
    for (int i = 0; i < 6; i++) {
        const batch b = draw(rng, m);
        push_bank(bank, &b, 0, b.B);
        push_model(m, &b);
        assert_equals_model(bank, m);
        for (int64_t j = 0; j < m->K; j++)   /* rounding the same numbers from now on */
            for (int64_t d = 0; d < m->D; d++) m->row[j][d] = clvi_bank_value(bank, j * m->D + d);
    }
    clv_bank_destroy(bank);
}

static void any_pushes_equal_the_definition(void **state)
{
    for_all(*state, pushes_and_model);
}

static void there_and_back(test_env *t, model *m, clvi_rng *rng)
{
    clv_bank *bank = make_bank(t->ctx, m), *copy = NULL;
    batch b = draw(rng, m);
    push_bank(bank, &b, 0, b.B);
    assert_ok(clv_bank_save(bank, test_path(t, "bank.h5")));
    assert_ok(clv_bank_load(t->ctx, test_path(t, "bank.h5"), &copy));
    assert_string_equal(clv_bank_kind(copy), m->kind);
    assert_int_equal(copy->dtype, m->dtype);
    assert_same(bank, copy);
    b = draw(rng, m);
    push_bank(bank, &b, 0, b.B);
    push_bank(copy, &b, 0, b.B);
    assert_same(bank, copy);
    assert_memory_equal(bank->born, copy->born, (size_t)m->K * sizeof(int64_t));
    clv_bank_destroy(bank);
    clv_bank_destroy(copy);
}

static void a_loaded_bank_goes_on_to_the_same_bits(void **state)
{
    for_all(*state, there_and_back);
}

static void cut_in_two(test_env *t, model *m, clvi_rng *rng)
{
    clv_bank *whole = make_bank(t->ctx, m), *parts = make_bank(t->ctx, m);
    for (int i = 0; i < 3; i++) {
        const batch b = draw(rng, m);
        const int64_t first = (int64_t)clvi_rng_below(rng, (uint64_t)b.B + 1);
        push_bank(whole, &b, 0, b.B);
        push_bank(parts, &b, 0, first);
        push_bank(parts, &b, first, b.B - first);
        assert_same(whole, parts);
    }
    clv_bank_destroy(whole);
    clv_bank_destroy(parts);
}

static void where_a_batch_is_cut_does_not_matter(void **state)
{
    for_all(*state, cut_in_two);
}

static void search_by_hand(test_env *t, model *m, clvi_rng *rng)
{
    clv_bank *bank = make_bank(t->ctx, m);
    const batch b = draw(rng, m), queries = draw(rng, m);
    int64_t index[MOST_B * MOST_K];
    double score[MOST_B * MOST_K];
    push_bank(bank, &b, 0, b.B);
    const clv_view q = clv_view_2d((void *)queries.row, CLV_F32, queries.B, m->D);
    assert_ok(clv_bank_search(bank, &q, m->K, index, score));
    for (int64_t i = 0; i < queries.B; i++)
        for (int64_t r = 0; r < m->K; r++) {
            const int64_t j = index[i * m->K + r];
            double want = 0;
            if (j < 0) {
                assert_true(r == m->K - 1 || index[i * m->K + r + 1] < 0);
                continue;
            }
            assert_int_equal(bank->valid[j], 1);
            for (int64_t d = 0; d < m->D; d++)
                want += (double)queries.row[i * m->D + d] * clvi_bank_value(bank, j * m->D + d);
            assert_near(score[i * m->K + r], want, 1e-14);
            if (r == 0) continue;
            const double before = score[i * m->K + r - 1];
            assert_true(before > score[i * m->K + r] || (before == score[i * m->K + r] && index[i * m->K + r - 1] < j));
        }
    clv_bank_destroy(bank);
}

static void a_search_for_all_rows_sorts_them(void **state)
{
    for_all(*state, search_by_hand);
}

TEST_MAIN(TEST(any_pushes_equal_the_definition), TEST(a_loaded_bank_goes_on_to_the_same_bits),
          TEST(where_a_batch_is_cut_does_not_matter), TEST(a_search_for_all_rows_sorts_them))
