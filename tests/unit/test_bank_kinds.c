/* test_bank_kinds.c: the kinds of banks beside fifo, by hand: which slot a row goes to, what the slot becomes, what is
 * refused; drift, pairs, stored types. */
#include "tests/support/test.h"
#include "memorybank/bank.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static clv_bank *make_bank(test_env *t, const char *kind, const clv_option *options, int n)
{
    clv_bank *bank = NULL;
    assert_ok(clv_bank_create(t->ctx, kind, options, n, &bank));
    return bank;
}

static clv_status push(clv_bank *bank, const double *rows, int64_t count, const int64_t *ids, const int64_t *labels)
{
    const clv_view view = clv_view_2d((void *)rows, CLV_F64, count, clv_bank_dim(bank));
    return clv_bank_push(bank, &view, ids, labels);
}

/* Slot j of a bank of two columns. */
static void assert_row(const clv_bank *bank, int64_t j, double x, double y)
{
    assert_near(clvi_bank_value(bank, 2 * j), x, 1e-12);
    assert_near(clvi_bank_value(bank, 2 * j + 1), y, 1e-12);
}

#define EXACT { "dim", "2" }, { "dtype", "float64" }

/* ---- instance ---- */

static void an_instance_moves_half_way_and_back_onto_the_sphere(void **state)
{
    const clv_option options[] = { { "capacity", "3" }, EXACT, { "init", "empty" } };
    clv_bank *bank = make_bank(*state, "instance", options, 4);
    const int64_t two = 2, zero = 0;
    const double first[] = { 3, 0 }, second[] = { 0, 1 };
    assert_ok(push(bank, first, 1, &two, NULL));
    assert_row(bank, 2, 1, 0);                       /* the first time it is the row, scaled */
    assert_ok(push(bank, second, 1, &two, &zero));
    assert_row(bank, 2, sqrt(0.5), sqrt(0.5));       /* n((1,0)/2 + (0,1)/2) */
    assert_int_equal(bank->ids[2], 2);
    assert_int_equal(bank->labels[2], 0);
    assert_int_equal(bank->born[2], 2);
    assert_int_equal(bank->valid[0], 0);
    assert_int_equal(clv_bank_pointer(bank), 0);
    clv_bank_destroy(bank);
}

static void an_instance_twice_in_a_batch_moves_twice(void **state)
{
    const clv_option options[] = { { "capacity", "3" }, EXACT, { "momentum", "0.25" }, { "init", "empty" } };
    clv_bank *once = make_bank(*state, "instance", options, 5), *twice = make_bank(*state, "instance", options, 5);
    const double rows[] = { 1, 0, 0, 2, -1, 1 };
    const int64_t ids[] = { 1, 1, 1 };
    assert_ok(push(once, rows, 3, ids, NULL));
    for (int i = 0; i < 3; i++) assert_ok(push(twice, rows + 2 * i, 1, ids, NULL));
    assert_memory_equal(once->rows, twice->rows, once->rows_size);
    clv_bank_destroy(once);
    clv_bank_destroy(twice);
}

static void random_instances_move_from_where_they_are(void **state)
{
    const clv_option options[] = { { "capacity", "3" }, EXACT };
    clv_bank *bank = make_bank(*state, "instance", options, 3);
    const int64_t one = 1;
    const double row[] = { 0.6, 0.8 };
    const double x = clvi_bank_value(bank, 2) / 2 + 0.3, y = clvi_bank_value(bank, 3) / 2 + 0.4;
    const double norm = sqrt(x * x + y * y);
    clv_bank_statistics stats;
    assert_ok(push(bank, row, 1, &one, NULL));
    assert_row(bank, 1, x / norm, y / norm);
    assert_ok(clv_bank_stats(bank, &stats));
    assert_int_equal(stats.replaced, 0);             /* a random row is nobody's: no drift */
    clv_bank_destroy(bank);
}

static void opposite_rows_leave_zeros_and_not_nan(void **state)
{
    const clv_option options[] = { { "capacity", "1" }, EXACT, { "init", "empty" } };
    clv_bank *bank = make_bank(*state, "instance", options, 4);
    const int64_t id = 0;
    const double row[] = { 1, 0 }, opposite[] = { -1, 0 }, huge[] = { 1e300, 1e300 }, tiny[] = { 1e-310, 0 };
    clv_bank_statistics stats;
    assert_ok(push(bank, row, 1, &id, NULL));
    assert_ok(push(bank, opposite, 1, &id, NULL));
    assert_row(bank, 0, 0, 0);
    assert_ok(clv_bank_stats(bank, &stats));
    assert_int_equal(stats.replaced, 1);
    assert_near(stats.drift, 0, 0);
    assert_ok(push(bank, huge, 1, &id, NULL));
    assert_row(bank, 0, sqrt(0.5), sqrt(0.5));
    clv_bank_destroy(bank);
    bank = make_bank(*state, "instance", options, 4);
    assert_ok(push(bank, tiny, 1, &id, NULL));
    assert_row(bank, 0, 1, 0);
    clv_bank_destroy(bank);
}

static void instances_need_an_id_that_has_a_slot(void **state)
{
    const clv_option options[] = { { "capacity", "3" }, EXACT };
    clv_bank *bank = make_bank(*state, "instance", options, 3);
    const double rows[] = { 1, 0, 0, 1 };
    const int64_t beyond[] = { 2, 3 }, none[] = { -1, 0 };
    assert_fails(push(bank, rows, 2, NULL, NULL), CLV_ERR_INVALID, "an instance bank needs ids");
    assert_fails(push(bank, rows, 2, beyond, NULL), CLV_ERR_INVALID, "id 1 is 3; expected 0 to 2");
    assert_fails(push(bank, rows, 2, none, NULL), CLV_ERR_INVALID, "id 0 is -1; expected 0 to 2");
    assert_int_equal(clv_bank_pushes(bank), 0);
    assert_ok(push(bank, rows, 0, NULL, NULL));
    clv_bank_destroy(bank);
}

/* ---- class centres ---- */

static void a_centre_is_a_moving_average_on_the_sphere(void **state)
{
    const clv_option options[] = { { "capacity", "4" }, EXACT, { "momentum", "0.9" } };
    clv_bank *bank = make_bank(*state, "class_centres", options, 4);
    const double rows[] = { 0, 5, 1, 0, 7, 7, 1, 0 };
    const int64_t labels[] = { 3, 3, -1, 0 };
    assert_ok(push(bank, rows, 4, NULL, labels));
    const double norm = sqrt(0.9 * 0.9 + 0.1 * 0.1);
    assert_row(bank, 3, 0.1 / norm, 0.9 / norm);
    assert_row(bank, 0, 1, 0);
    const uint8_t valid[] = { 1, 0, 0, 1 };          /* the row without a label went nowhere */
    assert_memory_equal(bank->valid, valid, 4);
    assert_int_equal(bank->labels[3], 3);
    clv_bank_destroy(bank);
}

static void centres_need_labels_that_have_a_slot(void **state)
{
    const clv_option options[] = { { "capacity", "4" }, EXACT };
    clv_bank *bank = make_bank(*state, "class_centres", options, 3);
    const double row[] = { 1, 0 };
    const int64_t four = 4;
    assert_fails(push(bank, row, 1, NULL, NULL), CLV_ERR_INVALID, "class centres need labels");
    assert_fails(push(bank, row, 1, NULL, &four), CLV_ERR_INVALID, "label 0 is 4; expected less than 4");
    clv_bank_destroy(bank);
}

/* ---- repulsor ---- */

static void a_repulsor_replaces_or_moves_around_its_ring(void **state)
{
    const clv_option fifo[] = { { "capacity", "2" }, EXACT };
    const clv_option ema[] = { { "capacity", "2" }, EXACT, { "update", "ema" }, { "momentum", "0.75" },
                               { "normalize", "false" } };
    const double rows[] = { 2, 0, 0, 2, 0, 4 };
    clv_bank *bank = make_bank(*state, "repulsor", fifo, 3);
    assert_ok(push(bank, rows, 3, NULL, NULL));
    assert_row(bank, 0, 0, 1);
    assert_row(bank, 1, 0, 1);
    assert_int_equal(clv_bank_pointer(bank), 1);
    clv_bank_destroy(bank);
    bank = make_bank(*state, "repulsor", ema, 6);
    assert_ok(push(bank, rows, 3, NULL, NULL));
    assert_row(bank, 0, 1.5, 1);                     /* 3/4 (2,0) + 1/4 (0,4) */
    assert_row(bank, 1, 0, 2);
    clv_bank_destroy(bank);
}

/* ---- labelled ---- */

static void a_labelled_bank_is_a_queue_that_needs_labels(void **state)
{
    const clv_option options[] = { { "capacity", "2" }, EXACT };
    clv_bank *bank = make_bank(*state, "labelled", options, 3);
    const double rows[] = { 1, 0, 0, 3, 2, 2 };
    const int64_t labels[] = { 4, -1, 6 };
    assert_fails(push(bank, rows, 3, labels, NULL), CLV_ERR_INVALID, "a labelled bank needs labels");
    assert_ok(push(bank, rows, 3, NULL, labels));
    assert_row(bank, 0, 2, 2);                       /* as given */
    assert_row(bank, 1, 0, 3);
    assert_int_equal(bank->labels[0], 6);
    assert_int_equal(clv_bank_pointer(bank), 1);
    clv_bank_destroy(bank);
}

static void pairs_have_a_label_in_common_or_not_and_are_never_the_same_sample(void **state)
{
    const clv_option options[] = { { "capacity", "5" }, EXACT };
    clv_bank *bank = make_bank(*state, "labelled", options, 3);
    const double rows[8] = { 0 };
    const int64_t ids[] = { 10, 11, 12, -1 }, labels[] = { 0, 0, 1, -1 };
    assert_ok(push(bank, rows, 4, ids, labels));     /* the fifth slot takes no part */
    const int64_t query_ids[] = { 10, -1, 12, 13 }, query_labels[] = { 0, 0, 0, -1 };
    uint8_t positive[20], negative[20];
    const clv_view p = clv_view_2d(positive, CLV_U8, 4, 5);
    clv_view n = clv_view_2d(negative, CLV_U8, 4, 5);
    n.stride[0] = 1;                                 /* column after column */
    n.stride[1] = 4;
    assert_ok(clv_bank_pairs(bank, 4, query_ids, query_labels, &p, &n));
    const uint8_t want[] = { 0, 1, 0, 0, 0,  1, 1, 0, 0, 0,  1, 1, 0, 0, 0,  0, 0, 0, 0, 0 };
    const uint8_t want_not[] = { 0, 0, 0, 0,  0, 0, 0, 0,  1, 1, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0 };
    assert_memory_equal(positive, want, sizeof want);
    assert_memory_equal(negative, want_not, sizeof want_not);
    const clv_view one = clv_view_2d(positive, CLV_U8, 1, 5);
    assert_ok(clv_bank_pairs(bank, 1, NULL, query_labels, &one, NULL));
    assert_int_equal(positive[0], 1);                /* without ids nothing is its own */
    assert_ok(clv_bank_pairs(bank, 0, NULL, NULL, NULL, NULL));
    n = clv_view_2d(negative, CLV_U8, 4, 4);
    assert_fails(clv_bank_pairs(bank, 4, NULL, query_labels, &p, &n), CLV_ERR_SHAPE, "negative must be uint8 [4,5]");
    assert_fails(clv_bank_pairs(bank, 4, NULL, NULL, &p, NULL), CLV_ERR_INVALID, "labels must not be NULL");
    assert_fails(clv_bank_pairs(bank, -1, NULL, query_labels, NULL, NULL), CLV_ERR_INVALID, "count is -1");
    clv_bank_destroy(bank);
}

/* ---- drift ---- */

static void drift_is_the_mean_cosine_of_old_and_new(void **state)
{
    const clv_option options[] = { { "capacity", "3" }, EXACT };
    clv_bank *bank = make_bank(*state, "fifo", options, 3);
    clv_bank_statistics stats;
    const double rows[] = { 1, 0, 0, 2 }, later[] = { 5, 0, 3, 0, 4, 0 };
    assert_ok(push(bank, rows, 2, NULL, NULL));
    assert_ok(clv_bank_stats(bank, &stats));
    assert_int_equal(stats.replaced, 0);
    assert_near(stats.drift, 0, 0);
    assert_ok(push(bank, later, 3, NULL, NULL));     /* slots 2 (random), 0, 1 */
    assert_ok(clv_bank_stats(bank, &stats));
    assert_int_equal(stats.replaced, 2);
    assert_near(stats.drift, 0.5, 1e-15);            /* cosines 1 and 0 */
    assert_ok(push(bank, later, 0, NULL, NULL));
    assert_ok(clv_bank_stats(bank, &stats));
    assert_int_equal(stats.replaced, 0);
    clv_bank_destroy(bank);
}

/* ---- stored types ---- */

static void bfloat16_rows_are_rounded_to_nearest_even(void **state)
{
    const clv_option options[] = { { "capacity", "3" }, { "dim", "2" }, { "dtype", "bfloat16" }, { "init", "empty" } };
    clv_bank *bank = make_bank(*state, "fifo", options, 4);
    const double rows[] = { 1 + 0x1p-8, 1 + 3 * 0x1p-8, 1 + 0x1p-8 + 0x1p-40, -0x1.fep127 };
    assert_ok(push(bank, rows, 2, NULL, NULL));
    assert_int_equal(clv_bank_rows(bank).dtype, CLV_BF16);
    assert_int_equal(bank->rows_size, 12);
    assert_row(bank, 0, 1, 1 + 0x1p-6);              /* ties go to the even one */
    assert_near(clvi_bank_value(bank, 2), 1 + 0x1p-7, 0);
    assert_near(clvi_bank_value(bank, 3), -0x1.fep127, 0);
    clv_bank_destroy(bank);
}

static void a_random_bfloat16_bank_is_the_float64_one_rounded(void **state)
{
    const clv_option half[] = { { "capacity", "50" }, { "dim", "7" }, { "dtype", "bfloat16" }, { "seed", "3" } };
    const clv_option full[] = { { "capacity", "50" }, { "dim", "7" }, { "dtype", "float64" }, { "seed", "3" } };
    clv_bank *a = make_bank(*state, "fifo", half, 4), *b = make_bank(*state, "fifo", full, 4);
    int64_t index[2][5];
    double score[2][5];
    for (int i = 0; i < 350; i++)
        assert_true(((const uint16_t *)a->rows)[i] == clvi_bf16_round(((const double *)b->rows)[i]));
    const clv_view query = clv_view_2d((double *)b->rows + 7 * 9, CLV_F64, 1, 7);
    assert_ok(clv_bank_search(a, &query, 5, index[0], score[0]));
    assert_ok(clv_bank_search(b, &query, 5, index[1], score[1]));
    assert_memory_equal(index[0], index[1], sizeof index[0]);
    for (int i = 0; i < 5; i++) assert_near(score[0][i], score[1][i], 0x1p-8);
    clv_bank_destroy(a);
    clv_bank_destroy(b);
}

static void values_the_type_cannot_hold_are_refused(void **state)
{
    static const struct { const char *dtype; double value; const char *text; } cases[] = {
        { "float64", NAN, "row 1 has the value nan; expected a finite float64" },
        { "float64", -INFINITY, "row 1 has the value -inf" },
        { "float32", 1e39, "row 1 has the value 1e+39; expected a finite float32" },
        { "bfloat16", 3.395e38, "expected a finite bfloat16" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const clv_option options[] = { { "capacity", "3" }, { "dim", "2" }, { "dtype", cases[i].dtype } };
        clv_bank *bank = make_bank(*state, "repulsor", options, 3);
        const double rows[] = { 1, 1, 0, cases[i].value };
        assert_fails(push(bank, rows, 2, NULL, NULL), CLV_ERR_NUMERIC, cases[i].text);
        assert_int_equal(clv_bank_pushes(bank), 0);
        assert_int_equal(bank->valid[0], 0);
        clv_bank_destroy(bank);
    }
}

TEST_MAIN(TEST(an_instance_moves_half_way_and_back_onto_the_sphere), TEST(an_instance_twice_in_a_batch_moves_twice),
          TEST(random_instances_move_from_where_they_are), TEST(opposite_rows_leave_zeros_and_not_nan),
          TEST(instances_need_an_id_that_has_a_slot), TEST(a_centre_is_a_moving_average_on_the_sphere),
          TEST(centres_need_labels_that_have_a_slot), TEST(a_repulsor_replaces_or_moves_around_its_ring),
          TEST(a_labelled_bank_is_a_queue_that_needs_labels),
          TEST(pairs_have_a_label_in_common_or_not_and_are_never_the_same_sample),
          TEST(drift_is_the_mean_cosine_of_old_and_new), TEST(bfloat16_rows_are_rounded_to_nearest_even),
          TEST(a_random_bfloat16_bank_is_the_float64_one_rounded), TEST(values_the_type_cannot_hold_are_refused))
