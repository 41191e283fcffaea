/* test_dataset_slice.c: parts of splits by fractions: disjoint, together the whole, the same every time. */
#include "tests/support/pictures.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 97 };

/* Images of 2 x 2 pixels, number i of value i and class i % 3. */
static const char *write_set(test_env *t, const char *split)
{
    const char *path = test_path(t, split[0] ? "splits.h5" : "whole.h5");
    picture_write_h5(t, path, split, COUNT, 2, 2, 1, true);
    return path;
}

static clv_dataset *open_part(test_env *t, const char *path, const char *split)
{
    clv_dataset *ds = NULL;
    assert_ok(clv_dataset_open(t->ctx, path, split, &ds));
    return ds;
}

/* Counts how often each image of the whole, told by its place, is in the part. */
static void count_images(const clv_dataset *ds, int seen[COUNT])
{
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    for (int64_t i = 0; i < info.count; i++) {
        char where[256];
        clv_dataset_locate(ds, i, where, sizeof where);
        const long number = strtol(strrchr(where, '[') + 1, NULL, 10);
        assert_in_range(number, 0, COUNT - 1);
        assert_int_equal(clv_dataset_label(ds, i), number % 3);
        seen[number]++;
    }
}

static void parts_are_disjoint_and_make_up_the_whole(void **state)
{
    static const char *const cuts[][3] = { { "[:90%]", "[90%:]", "" }, { "[:12.5%]", "[12.5%:33%]", "[33%:]" },
                                           { "[0%:50%]", "[50%:100%]", "" }, { "[:0.001%]", "[0.001%:]", "" } };
    test_env *t = *state;
    const char *path = write_set(t, "");
    for (size_t k = 0; k < 3; k++) {
        int seen[COUNT] = { 0 };
        int64_t total = 0;
        for (int part = 0; part < 3 && cuts[k][part][0]; part++) {
            clv_dataset_info info;
            clv_dataset *ds = open_part(t, path, cuts[k][part]);
            clv_dataset_describe(ds, &info);
            assert_string_equal(info.split, cuts[k][part]);
            assert_int_equal(info.classes, 3);
            assert_true(info.raw && info.has_labels && info.has_class_names);
            total += info.count;
            count_images(ds, seen);
            clv_dataset_destroy(ds);
        }
        assert_int_equal(total, COUNT);
        for (int i = 0; i < COUNT; i++) assert_int_equal(seen[i], 1);
    }
    clv_dataset *ds = NULL;
    assert_fails(clv_dataset_open(t->ctx, path, cuts[3][0], &ds), CLV_ERR_INVALID, "none of its 97 images");
}

static void a_part_is_a_draw_and_the_same_every_time(void **state)
{
    test_env *t = *state;
    const char *path = write_set(t, "train");
    clv_dataset *a = open_part(t, path, "train[:50%]"), *b = open_part(t, path, "[:50%]");
    clv_dataset_info info;
    clv_dataset_describe(b, &info);
    assert_string_equal(info.split, "train[:50%]");
    assert_int_equal(info.count, COUNT / 2);
    int first[COUNT] = { 0 }, second[COUNT] = { 0 }, early = 0;
    count_images(a, first);
    count_images(b, second);
    assert_memory_equal(first, second, sizeof first);
    for (int i = 0; i < COUNT / 2; i++) early += first[i];
    assert_in_range(early, 12, 36);   /* about half of them, not all */
    clv_dataset_destroy(b);
    clv_dataset_destroy(a);
}

static void a_part_feeds_a_loader_and_is_read_like_the_whole(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "encoded.h5");
    picture_write_encoded_h5(t, path, 20);
    clv_dataset *whole = open_part(t, path, NULL), *part = open_part(t, path, "[25%:]");
    clv_decoder *one = NULL, *two = NULL;
    assert_ok(clv_decoder_create(t->ctx, NULL, &one));
    assert_ok(clv_decoder_create(t->ctx, NULL, &two));
    for (int64_t i = 0; i < 15; i++) {
        char where[256];
        clv_image a, b;
        clv_dataset_locate(part, i, where, sizeof where);
        assert_ok(clv_dataset_image(part, i, two, &b));
        assert_ok(clv_dataset_image(whole, strtol(strrchr(where, '[') + 1, NULL, 10), one, &a));
        assert_int_equal(a.height, b.height);
        assert_memory_equal(a.pixels, b.pixels, (size_t)(a.height * a.row_stride));
    }
    clv_image none;
    assert_fails(clv_dataset_image(part, 15, one, &none), CLV_ERR_INVALID, "image 15 of");
    assert_int_equal(clv_dataset_label(part, 15), -1);
    clv_decoder_destroy(two);
    clv_decoder_destroy(one);
    clv_dataset_destroy(part);
    clv_dataset_destroy(whole);
}

static void wrong_parts_are_refused(void **state)
{
    static const char *const wrong[] = { "train[", "train[]", "train[:]x", "train[10:20]", "train[50%:20%]", "[:101%]",
                                         "train[20%]", "train[:50%", "train[-1%:]", "train[1e1%:]", "train[50%:50%]" };
    test_env *t = *state;
    const char *path = write_set(t, "train");
    clv_dataset *ds = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(clv_dataset_open(t->ctx, path, wrong[i], &ds), CLV_ERR_INVALID,
                     "a part of a split is written NAME[A%:B%]");
    assert_fails(clv_dataset_open(t->ctx, path, "val[:50%]", &ds), CLV_ERR_INVALID, "has no split 'val'; it has 'train'");
    assert_null(ds);
    ds = open_part(t, path, "train[:]");   /* all of it, in an order of its own */
    clv_dataset_destroy(ds);
}

TEST_MAIN(
    TEST(parts_are_disjoint_and_make_up_the_whole),
    TEST(a_part_is_a_draw_and_the_same_every_time),
    TEST(a_part_feeds_a_loader_and_is_read_like_the_whole),
    TEST(wrong_parts_are_refused),
)
