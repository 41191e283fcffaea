/* test_bank_fifo.c: the MoCo queue: where rows go, what is remembered of them, files. */
#include "tests/support/test.h"
#include "memorybank/bank.h"
#include "core/rng.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clv_bank *make_bank(test_env *t, const char *capacity, const char *dim, const char *init)
{
    clv_bank *bank = NULL;
    const clv_option options[] = { { "capacity", capacity }, { "dim", dim }, { "init", init }, { "seed", "7" } };
    assert_ok(clv_bank_create(t->ctx, "fifo", options, 4, &bank));
    return bank;
}

static const float *rows_of(const clv_bank *bank)
{
    return clv_bank_rows(bank).data;
}

static int64_t i64_at(clv_view view, int64_t i)
{
    return ((const int64_t *)view.data)[i];
}

static int valid_at(const clv_bank *bank, int64_t i)
{
    return ((const uint8_t *)clv_bank_valid(bank).data)[i];
}

/* Pushes `count` rows of one value each: first, first + 1, ... */
static void push_numbers(clv_bank *bank, int64_t count, float first)
{
    float rows[64];
    assert_true(count <= 64);
    for (int64_t i = 0; i < count; i++) rows[i] = first + (float)i;
    const clv_view view = clv_view_2d(rows, CLV_F32, count, 1);
    assert_ok(clv_bank_push(bank, &view, NULL, NULL));
}

static void a_random_bank_has_unit_rows_that_all_take_part(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t, "37", "19", "random");
    clv_bank_statistics stats;
    assert_ok(clv_bank_stats(bank, &stats));
    assert_int_equal(stats.valid, 37);
    assert_near(stats.fill, 1, 0);
    assert_near(stats.norm_min, 1, 1e-6);
    assert_near(stats.norm_max, 1, 1e-6);
    assert_true(stats.mean_norm < 0.5);
    assert_int_equal(i64_at(clv_bank_ids(bank), 0), -1);
    assert_int_equal(i64_at(clv_bank_labels(bank), 36), -1);
    assert_int_equal(i64_at(clv_bank_born(bank), 5), 0);
    clv_bank_destroy(bank);
}

static void random_rows_depend_on_the_seed_and_not_on_threads(void **state)
{
    test_env *t = *state;
    clv_context *one = test_context(t, 1);
    const clv_option same[] = { { "capacity", "1000" }, { "dim", "7" }, { "seed", "7" } };
    const clv_option other[] = { { "capacity", "1000" }, { "dim", "7" }, { "seed", "8" } };
    clv_bank *a = NULL, *b = NULL, *c = NULL;
    assert_ok(clv_bank_create(t->ctx, "fifo", same, 3, &a));
    assert_ok(clv_bank_create(one, "fifo", same, 3, &b));
    assert_ok(clv_bank_create(t->ctx, "fifo", other, 3, &c));
    assert_memory_equal(rows_of(a), rows_of(b), 7000 * sizeof(float));
    assert_memory_not_equal(rows_of(a), rows_of(c), 7000 * sizeof(float));
    clv_bank_destroy(a);
    clv_bank_destroy(b);
    clv_bank_destroy(c);
    clv_context_destroy(one);
}

static void an_empty_bank_fills_up_row_by_row(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t, "5", "1", "empty");
    assert_int_equal(valid_at(bank, 0), 0);
    push_numbers(bank, 3, 10);
    assert_int_equal(valid_at(bank, 2), 1);
    assert_int_equal(valid_at(bank, 3), 0);
    assert_int_equal(clv_bank_pointer(bank), 3);
    push_numbers(bank, 3, 20);
    assert_int_equal(valid_at(bank, 4), 1);
    assert_int_equal(clv_bank_pointer(bank), 1);
    assert_near(rows_of(bank)[0], 22, 0);   /* wrapped */
    assert_near(rows_of(bank)[1], 11, 0);
    clv_bank_destroy(bank);
}

static void a_batch_may_exceed_the_capacity(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t, "4", "1", "empty");
    push_numbers(bank, 3, 100);
    push_numbers(bank, 11, 0);   /* slots 3,0,1,2, 3,0,1,2, 3,0,1 */
    assert_int_equal(clv_bank_pointer(bank), 2);
    const float want[] = { 9, 10, 7, 8 };
    assert_memory_equal(rows_of(bank), want, sizeof want);
    push_numbers(bank, 8, 50);   /* a multiple of the capacity leaves the position where it was */
    assert_int_equal(clv_bank_pointer(bank), 2);
    const float again[] = { 56, 57, 54, 55 };
    assert_memory_equal(rows_of(bank), again, sizeof again);
    clv_bank_destroy(bank);
}

/* Equation: queue[(ptr+i) mod K] = k_i for i = 0..B-1, ptr = (ptr+B) mod K; written as plainly as that. */
static void any_sequence_of_pushes_equals_the_definition(void **state)
{
    test_env *t = *state;
    clvi_rng rng = clvi_rng_make(1, CLVI_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 60; round++) {
        const int64_t K = 1 + (int64_t)clvi_rng_below(&rng, 23);
        int64_t ptr = 0, ids[64], want_id[23], want_born[23];
        float rows[64], want[23] = { 0 };
        char capacity[24];
        snprintf(capacity, sizeof capacity, "%d", (int)K);
        clv_bank *bank = make_bank(t, capacity, "1", "empty");
        for (int64_t j = 0; j < K; j++) want_id[j] = -1, want_born[j] = 0;
        for (int push = 1; push <= 8; push++) {
            const int64_t B = (int64_t)clvi_rng_below(&rng, 64);
            for (int64_t i = 0; i < B; i++) {
                rows[i] = clvi_rng_f32(&rng);
                ids[i] = (int64_t)clvi_rng_below(&rng, 1000);
                want[(ptr + i) % K] = rows[i];
                want_id[(ptr + i) % K] = ids[i];
                want_born[(ptr + i) % K] = push;
            }
            ptr = (ptr + B) % K;
            const clv_view view = clv_view_2d(rows, CLV_F32, B, 1);
            assert_ok(clv_bank_push(bank, &view, ids, NULL));
            assert_int_equal(clv_bank_pointer(bank), ptr);
            assert_memory_equal(rows_of(bank), want, (size_t)K * sizeof *want);
            assert_memory_equal(clv_bank_ids(bank).data, want_id, (size_t)K * sizeof *want_id);
            assert_memory_equal(clv_bank_born(bank).data, want_born, (size_t)K * sizeof *want_born);
        }
        clv_bank_destroy(bank);
    }
}

static void ids_labels_and_ages_follow_their_rows(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t, "4", "1", "empty");
    const float rows[] = { 1, 2, 3 };
    const int64_t ids[] = { 71, 72, 73 }, labels[] = { 0, 1, 0 };
    const clv_view view = clv_view_2d((void *)rows, CLV_F32, 3, 1);
    assert_ok(clv_bank_push(bank, &view, ids, labels));
    assert_ok(clv_bank_push(bank, &view, NULL, labels));
    assert_int_equal(i64_at(clv_bank_ids(bank), 2), 73);
    assert_int_equal(i64_at(clv_bank_ids(bank), 3), -1);
    assert_int_equal(i64_at(clv_bank_labels(bank), 0), 1);
    clv_bank_statistics stats;
    assert_ok(clv_bank_stats(bank, &stats));
    assert_near(stats.age_mean, 0.25, 0);   /* one row of the first push is left, one push old */
    assert_near(stats.age_max, 1, 0);
    assert_int_equal(clv_bank_pushes(bank), 2);
    clv_bank_destroy(bank);
}

static void rows_of_any_stride_and_float_type_are_taken(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t, "4", "2", "empty");
    const double columns[] = { 1, 2, 3, 4, 5, 6 };   /* [3,2] stored column after column */
    clv_view view = clv_view_2d((void *)columns, CLV_F64, 3, 2);
    view.stride[0] = 1;
    view.stride[1] = 3;
    assert_ok(clv_bank_push(bank, &view, NULL, NULL));
    const float want[] = { 1, 4, 2, 5, 3, 6 };
    assert_memory_equal(rows_of(bank), want, sizeof want);
    const uint16_t bf16[] = { 0x3f80, 0xc000 };      /* 1, -2 */
    view = clv_view_2d((void *)bf16, CLV_BF16, 1, 2);
    assert_ok(clv_bank_push(bank, &view, NULL, NULL));
    assert_near(rows_of(bank)[7], -2, 0);
    clv_bank_destroy(bank);
}

static void a_refused_push_changes_nothing(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t, "4", "2", "empty");
    float rows[8] = { 1, 2, 3, 4 };
    const int64_t ids[] = { 1, -2 };
    clv_view view = clv_view_2d(rows, CLV_F32, 2, 3);
    assert_fails(clv_bank_push(bank, &view, NULL, NULL), CLV_ERR_SHAPE, "expected floats [*,2]");
    view = clv_view_2d(rows, CLV_I64, 1, 2);
    assert_fails(clv_bank_push(bank, &view, NULL, NULL), CLV_ERR_SHAPE, "int64");
    view = clv_view_1d(rows, CLV_F32, 2);
    assert_fails(clv_bank_push(bank, &view, NULL, NULL), CLV_ERR_SHAPE, "1 dimensions");
    view = clv_view_2d(NULL, CLV_F32, 2, 2);
    assert_fails(clv_bank_push(bank, &view, NULL, NULL), CLV_ERR_INVALID, "NULL");
    view = clv_view_2d(rows, CLV_F32, 2, 2);
    assert_fails(clv_bank_push(bank, &view, ids, NULL), CLV_ERR_INVALID, "id 1 is -2");
    assert_fails(clv_bank_push(bank, &view, NULL, ids), CLV_ERR_INVALID, "label 1 is -2");
    assert_int_equal(clv_bank_pushes(bank), 0);
    assert_int_equal(clv_bank_pointer(bank), 0);
    assert_int_equal(valid_at(bank, 0), 0);
    clv_bank_destroy(bank);
}

static void unknown_kinds_and_bad_options_are_named(void **state)
{
    test_env *t = *state;
    clv_bank *bank = (clv_bank *)t;
    const clv_option zero[] = { { "capacity", "0" } }, typo[] = { { "capcity", "4" } };
    const clv_option huge[] = { { "capacity", "1099511627776" }, { "dim", "1048576" } };
    assert_fails(clv_bank_create(t->ctx, "fif", NULL, 0, &bank), CLV_ERR_INVALID, "did you mean 'fifo'");
    assert_null(bank);
    assert_fails(clv_bank_create(t->ctx, "fifo", zero, 1, &bank), CLV_ERR_INVALID, "capacity");
    assert_fails(clv_bank_create(t->ctx, "fifo", typo, 1, &bank), CLV_ERR_INVALID, "did you mean 'capacity'");
    assert_fails(clv_bank_create(t->ctx, "fifo", huge, 2, &bank), CLV_ERR_NOMEM,
                 "1099511627776 rows of 1048576 values do not fit");
    assert_null(bank);
}

static void the_registry_describes_every_kind(void **state)
{
    (void)state;
    clv_class_info info;
    clv_option_info option;
    assert_true(clv_bank_kind_count() >= 1);
    for (int i = 0; i < clv_bank_kind_count(); i++) {
        assert_true(clv_bank_kind_at(i, &info));
        assert_int_equal(clv_bank_kind_find(info.name), i);
        assert_true(info.summary[0] && info.source[0]);
        for (int j = 0; j < info.option_count; j++) {
            assert_true(clv_bank_kind_option(i, j, &option));
            assert_true(option.help[0]);
        }
        assert_false(clv_bank_kind_option(i, info.option_count, &option));
    }
    assert_false(clv_bank_kind_at(clv_bank_kind_count(), &info));
    assert_int_equal(clv_bank_kind_find("none-such"), -1);
}

/* ---- search ---- */

static void search_finds_the_best_rows_and_ties_go_to_the_lower_slot(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t, "6", "2", "empty");
    const float rows[] = { 1, 0, 0, 1, 1, 0, 2, 0, -1, 0 };   /* 5 of 6 slots */
    const float queries[] = { 1, 0, 0, -1 };
    const clv_view view = clv_view_2d((void *)rows, CLV_F32, 5, 2), q = clv_view_2d((void *)queries, CLV_F32, 2, 2);
    int64_t index[12];
    double score[12];
    assert_ok(clv_bank_push(bank, &view, NULL, NULL));
    assert_ok(clv_bank_search(bank, &q, 6, index, score));
    const int64_t want[] = { 3, 0, 2, 1, 4, -1, 0, 2, 3, 4, 1, -1 };
    const double want_score[] = { 2, 1, 1, 0, -1, 0, 0, 0, 0, 0, -1, 0 };
    assert_memory_equal(index, want, sizeof want);
    for (int i = 0; i < 12; i++) assert_near(score[i], want_score[i], 0);
    assert_ok(clv_bank_search(bank, &q, 1, index, NULL));
    assert_int_equal(index[0], 3);
    assert_fails(clv_bank_search(bank, &q, 7, index, NULL), CLV_ERR_INVALID, "k is 7");
    assert_fails(clv_bank_search(bank, &q, 0, index, NULL), CLV_ERR_INVALID, "k is 0");
    clv_bank_destroy(bank);
}

/* ---- files ---- */

static clv_bank *used_bank(test_env *t)
{
    clv_bank *bank = make_bank(t, "9", "3", "random");
    float rows[21];
    int64_t ids[7], labels[7];
    for (int i = 0; i < 21; i++) rows[i] = (float)sin(i + 1);
    for (int i = 0; i < 7; i++) ids[i] = 100 + i, labels[i] = i % 3;
    const clv_view view = clv_view_2d(rows, CLV_F32, 7, 3);
    assert_ok(clv_bank_push(bank, &view, ids, labels));
    assert_ok(clv_bank_push(bank, &view, ids, NULL));
    return bank;
}

static void assert_same_bank(const clv_bank *a, const clv_bank *b)
{
    const size_t K = (size_t)a->capacity;
    assert_int_equal(b->capacity, a->capacity);
    assert_int_equal(b->dim, a->dim);
    assert_int_equal(b->dtype, a->dtype);
    assert_int_equal(b->pushes, a->pushes);
    assert_int_equal(b->cursor, a->cursor);
    assert_memory_equal(a->rows, b->rows, a->rows_size);
    assert_memory_equal(a->valid, b->valid, K);
    assert_memory_equal(a->ids, b->ids, K * sizeof(int64_t));
    assert_memory_equal(a->labels, b->labels, K * sizeof(int64_t));
    assert_memory_equal(a->born, b->born, K * sizeof(int64_t));
}

static void a_saved_bank_comes_back_to_the_bit_and_goes_on_alike(void **state)
{
    test_env *t = *state;
    clv_bank *bank = used_bank(t), *copy = NULL;
    const char *path = test_path(t, "bank.h5");
    assert_ok(clv_bank_save(bank, path));
    assert_ok(clv_bank_load(t->ctx, path, &copy));
    assert_same_bank(bank, copy);
    const float rows[] = { 3, 2, 1 };
    const clv_view view = clv_view_2d((void *)rows, CLV_F32, 1, 3);
    assert_ok(clv_bank_push(bank, &view, NULL, NULL));
    assert_ok(clv_bank_push(copy, &view, NULL, NULL));
    assert_same_bank(bank, copy);
    clv_bank_destroy(bank);
    clv_bank_destroy(copy);
}

static void a_float64_bank_comes_back_to_the_bit(void **state)
{
    test_env *t = *state;
    const clv_option options[] = { { "capacity", "5" }, { "dim", "3" }, { "dtype", "float64" } };
    clv_bank *bank = NULL, *copy = NULL;
    assert_ok(clv_bank_create(t->ctx, "fifo", options, 3, &bank));
    assert_ok(clv_bank_save(bank, test_path(t, "bank.h5")));
    assert_ok(clv_bank_load(t->ctx, test_path(t, "bank.h5"), &copy));
    assert_int_equal(clv_bank_rows(copy).dtype, CLV_F64);
    assert_same_bank(bank, copy);
    clv_bank_destroy(bank);
    clv_bank_destroy(copy);
}

static void a_bank_in_a_checkpoint_is_read_in_place(void **state)
{
    test_env *t = *state;
    clv_bank *bank = used_bank(t), *other = make_bank(t, "9", "3", "random"), *small = make_bank(t, "8", "3", "random");
    const void *rows = other->rows;
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "checkpoint.h5"), true, &h5));
    assert_ok(clvi_bank_write(bank, h5, "state/queue"));
    assert_ok(clvi_h5_commit(h5));
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "checkpoint.h5"), &h5));
    assert_ok(clvi_bank_read(other, h5, "state/queue"));
    assert_same_bank(bank, other);
    assert_ptr_equal(other->rows, rows);   /* graphs are bound to it */
    assert_fails(clvi_bank_read(small, h5, "state/queue"), CLV_ERR_FORMAT, "'capacity' is '9', expected '8'");
    assert_fails(clvi_bank_read(other, h5, "state/none"), CLV_ERR_FORMAT, "");
    assert_same_bank(bank, other);
    clvi_h5_close(h5);
    clv_bank_destroy(bank);
    clv_bank_destroy(other);
    clv_bank_destroy(small);
}

static clv_status create_and_load(clv_context *ctx, void *arg)
{
    clv_bank *bank = NULL, *copy = NULL;
    const clv_option options[] = { { "capacity", "5" }, { "dim", "3" } };
    clv_status st = clv_bank_create(ctx, "fifo", options, 2, &bank);
    if (st == CLV_OK) st = clv_bank_save(bank, arg);
    if (st == CLV_OK) st = clv_bank_load(ctx, arg, &copy);
    clv_bank_destroy(bank);
    clv_bank_destroy(copy);
    return st;
}

static void each_refused_allocation_is_survived(void **state)
{
    test_env *t = *state;
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(t, "bank.h5"));
    test_each_allocation_fails(t, create_and_load, path);
}

TEST_MAIN(TEST(a_random_bank_has_unit_rows_that_all_take_part),
          TEST(random_rows_depend_on_the_seed_and_not_on_threads),
          TEST(an_empty_bank_fills_up_row_by_row),
          TEST(a_batch_may_exceed_the_capacity),
          TEST(any_sequence_of_pushes_equals_the_definition),
          TEST(ids_labels_and_ages_follow_their_rows),
          TEST(rows_of_any_stride_and_float_type_are_taken),
          TEST(a_refused_push_changes_nothing),
          TEST(unknown_kinds_and_bad_options_are_named),
          TEST(the_registry_describes_every_kind),
          TEST(search_finds_the_best_rows_and_ties_go_to_the_lower_slot),
          TEST(a_saved_bank_comes_back_to_the_bit_and_goes_on_alike),
          TEST(a_float64_bank_comes_back_to_the_bit),
          TEST(a_bank_in_a_checkpoint_is_read_in_place),
          TEST(each_refused_allocation_is_survived))
