/* test_bank_set.c: banks with names: found, refused, saved and loaded together. */
#include "tests/support/test.h"
#include "memorybank/bank.h"
#include <stdio.h>
#include <string.h>

static const clv_option small[] = { { "capacity", "5" }, { "dim", "3" } };

static clv_bank_set *make_set(test_env *t)
{
    clv_bank_set *set = NULL;
    clv_bank *bank = NULL;
    assert_ok(clv_bank_set_create(t->ctx, &set));
    assert_ok(clv_bank_set_add(set, "view_2", "fifo", small, 2, &bank));
    assert_ptr_equal(bank, clv_bank_set_find(set, "view_2"));
    assert_ok(clv_bank_set_add(set, "centres", "class_centres", small, 2, NULL));
    assert_ok(clv_bank_set_add(set, "view-1", "labelled", small, 2, NULL));
    return set;
}

static void banks_are_found_by_name_and_listed_in_order(void **state)
{
    clv_bank_set *set = make_set(*state);
    static const char *const names[] = { "centres", "view-1", "view_2" };
    assert_int_equal(clv_bank_set_count(set), 3);
    for (int i = 0; i < 3; i++) assert_string_equal(clv_bank_set_name(set, i), names[i]);
    assert_null(clv_bank_set_name(set, 3));
    assert_null(clv_bank_set_name(set, -1));
    assert_string_equal(clv_bank_kind(clv_bank_set_find(set, "view-1")), "labelled");
    assert_null(clv_bank_set_find(set, "view"));
    assert_null(clv_bank_set_find(set, NULL));
    clv_bank_set_destroy(set);
    clv_bank_set_destroy(NULL);
}

static void names_that_are_taken_or_no_names_are_refused(void **state)
{
    test_env *t = *state;
    clv_bank_set *set = make_set(t);
    static const char *const bad[] = { "", "a/b", "..", "two words", "\xc3\xa9",
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
    clv_bank *bank = (clv_bank *)t;
    for (int i = 0; i < 6; i++)
        assert_fails(clv_bank_set_add(set, bad[i], "fifo", small, 2, &bank), CLV_ERR_INVALID, "letters, digits");
    assert_null(bank);
    assert_fails(clv_bank_set_add(set, "centres", "fifo", small, 2, NULL), CLV_ERR_INVALID, "a bank 'centres' already");
    assert_fails(clv_bank_set_add(set, "more", "fofi", small, 2, NULL), CLV_ERR_INVALID, "did you mean 'fifo'");
    assert_int_equal(clv_bank_set_count(set), 3);
    for (int i = 3; i < 256; i++) {
        char name[16];
        snprintf(name, sizeof name, "bank%d", i);
        assert_ok(clv_bank_set_add(set, name, "fifo", small, 2, NULL));
    }
    assert_fails(clv_bank_set_add(set, "last", "fifo", small, 2, NULL), CLV_ERR_INVALID, "one more than 256");
    clv_bank_set_destroy(set);
}

static void a_set_comes_back_whole(void **state)
{
    test_env *t = *state;
    clv_bank_set *set = make_set(t), *copy = NULL;
    const float rows[] = { 1, 2, 3, 4, 5, 6 };
    const int64_t labels[] = { 4, 2 };
    const clv_view view = clv_view_2d((void *)rows, CLV_F32, 2, 3);
    assert_ok(clv_bank_push(clv_bank_set_find(set, "centres"), &view, NULL, labels));
    assert_ok(clv_bank_push(clv_bank_set_find(set, "view_2"), &view, labels, NULL));
    assert_ok(clv_bank_set_save(set, test_path(t, "banks.h5")));
    assert_ok(clv_bank_set_load(t->ctx, test_path(t, "banks.h5"), &copy));
    assert_int_equal(clv_bank_set_count(copy), 3);
    for (int i = 0; i < 3; i++) {
        const clv_bank *a = clv_bank_set_find(set, clv_bank_set_name(set, i));
        const clv_bank *b = clv_bank_set_find(copy, clv_bank_set_name(copy, i));
        assert_string_equal(clv_bank_set_name(copy, i), clv_bank_set_name(set, i));
        assert_string_equal(clv_bank_kind(a), clv_bank_kind(b));
        assert_memory_equal(a->rows, b->rows, a->rows_size);
        assert_memory_equal(a->valid, b->valid, 5);
        assert_memory_equal(a->ids, b->ids, 5 * sizeof(int64_t));
        assert_memory_equal(a->labels, b->labels, 5 * sizeof(int64_t));
        assert_memory_equal(a->born, b->born, 5 * sizeof(int64_t));
        assert_int_equal(a->pushes, b->pushes);
    }
    clv_bank_set_destroy(set);
    clv_bank_set_destroy(copy);
}

static void an_empty_set_is_a_set(void **state)
{
    test_env *t = *state;
    clv_bank_set *set = NULL, *copy = NULL;
    assert_ok(clv_bank_set_create(t->ctx, &set));
    assert_ok(clv_bank_set_save(set, test_path(t, "none.h5")));
    assert_ok(clv_bank_set_load(t->ctx, test_path(t, "none.h5"), &copy));
    assert_int_equal(clv_bank_set_count(copy), 0);
    clv_bank_set_destroy(set);
    clv_bank_set_destroy(copy);
}

static void files_without_good_banks_are_refused_with_the_reason(void **state)
{
    test_env *t = *state;
    clv_bank_set *set = make_set(t), *copy = (clv_bank_set *)t;
    clvi_h5 *h5 = NULL;
    assert_fails(clv_bank_set_load(t->ctx, test_path(t, "absent.h5"), &copy), CLV_ERR_IO, "absent.h5");
    assert_null(copy);
    assert_ok(clv_bank_save(clv_bank_set_find(set, "centres"), test_path(t, "bank.h5")));
    assert_fails(clv_bank_set_load(t->ctx, test_path(t, "bank.h5"), &copy), CLV_ERR_FORMAT, "banks");
    assert_fails(clv_bank_set_load(t->ctx, test_path(t, "bank.h5"), &copy), CLV_ERR_FORMAT, "bank.h5");
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "odd.h5"), false, &h5));
    assert_ok(clvi_bank_write(clv_bank_set_find(set, "centres"), h5, "banks/good"));
    assert_ok(clvi_bank_write(clv_bank_set_find(set, "centres"), h5, "banks/two words"));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_bank_set_load(t->ctx, test_path(t, "odd.h5"), &copy), CLV_ERR_FORMAT, "'two words' is not made");
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "hollow.h5"), false, &h5));
    assert_ok(clvi_h5_group(h5, "banks/hollow"));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_bank_set_load(t->ctx, test_path(t, "hollow.h5"), &copy), CLV_ERR_FORMAT, "format");
    assert_null(copy);
    clv_bank_set_destroy(set);
}

static clv_status save_and_load(clv_context *ctx, void *arg)
{
    clv_bank_set *set = NULL, *copy = NULL;
    clv_status st = clv_bank_set_create(ctx, &set);
    if (st == CLV_OK) st = clv_bank_set_add(set, "a", "fifo", small, 2, NULL);
    if (st == CLV_OK) st = clv_bank_set_add(set, "b", "instance", small, 2, NULL);
    if (st == CLV_OK) st = clv_bank_set_save(set, arg);
    if (st == CLV_OK) st = clv_bank_set_load(ctx, arg, &copy);
    clv_bank_set_destroy(set);
    clv_bank_set_destroy(copy);
    return st;
}

static void each_refused_allocation_is_survived(void **state)
{
    test_env *t = *state;
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(t, "banks.h5"));
    test_each_allocation_fails(t, save_and_load, path);
}

TEST_MAIN(TEST(banks_are_found_by_name_and_listed_in_order), TEST(names_that_are_taken_or_no_names_are_refused),
          TEST(a_set_comes_back_whole), TEST(an_empty_set_is_a_set),
          TEST(files_without_good_banks_are_refused_with_the_reason), TEST(each_refused_allocation_is_survived))
