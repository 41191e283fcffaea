/* test_dataset_list.c: text files that list pictures. */
#include "tests/support/pictures.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *write_list(test_env *t, const char *name, const char *text, size_t size)
{
    const char *path = test_path(t, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
    return path;
}

static clv_dataset *open_list(test_env *t, const char *text)
{
    clv_dataset *ds = NULL;
    assert_ok(clv_dataset_open(t->ctx, write_list(t, "list.txt", text, strlen(text)), NULL, &ds));
    return ds;
}

/* Pictures 0.png to 3.png, the last in a folder with a space in its name. */
static void write_pictures(test_env *t)
{
    static const char *const names[] = { "0.png", "1.png", "2.png", "a folder/3.png" };
    (void)mkdir(test_path(t, "a folder"), 0777);
    for (int i = 0; i < 4; i++) picture_write_png(test_path(t, names[i]), i, 5 + i, 7);
}

/* Image i of the set is picture `number`. */
static void expect_picture(test_env *t, const clv_dataset *ds, int64_t i, int number)
{
    clv_decoder *decoder = NULL;
    clv_image image;
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    assert_ok(clv_dataset_image(ds, i, decoder, &image));
    assert_int_equal(image.height, 5 + number);
    assert_int_equal(image.pixels[3], picture_value(number, 0, 1, 0));
    clv_decoder_destroy(decoder);
}

static void pictures_come_in_the_order_of_the_list_with_their_classes(void **state)
{
    test_env *t = *state;
    clv_dataset_info info;
    char where[256];
    write_pictures(t);
    clv_dataset *ds = open_list(t, "# a comment\n2.png dog\r\n\n  0.png\tcat \na folder/3.png   dog\n0.png ant");
    clv_dataset_describe(ds, &info);
    assert_string_equal(info.kind, "list");
    assert_int_equal(info.count, 4);
    assert_int_equal(info.channels, 3);
    assert_int_equal(info.classes, 3);
    static const int numbers[] = { 2, 0, 3, 0 };
    static const char *const classes[] = { "dog", "cat", "dog", "ant" };
    for (int64_t i = 0; i < 4; i++) {
        expect_picture(t, ds, i, numbers[i]);
        assert_string_equal(clv_dataset_class_name(ds, clv_dataset_label(ds, i)), classes[i]);
    }
    assert_string_equal(clv_dataset_class_name(ds, 0), "ant");   /* sorted */
    clv_dataset_locate(ds, 2, where, sizeof where);
    assert_non_null(strstr(where, "/a folder/3.png"));
    clv_dataset_destroy(ds);
}

static void numbers_are_class_ids_and_no_class_is_no_label(void **state)
{
    test_env *t = *state;
    clv_dataset_info info;
    write_pictures(t);
    clv_dataset *ds = open_list(t, "\xef\xbb\xbf" "1.png 7\n2.png -1\n0.png 0\n");
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.classes, 8);
    assert_false(info.has_class_names);
    assert_int_equal(clv_dataset_label(ds, 0), 7);
    assert_int_equal(clv_dataset_label(ds, 1), -1);
    clv_dataset_destroy(ds);
    ds = open_list(t, "a folder/3.png\n1.png\t\n");
    clv_dataset_describe(ds, &info);
    assert_false(info.has_labels);
    expect_picture(t, ds, 0, 3);
    clv_dataset_destroy(ds);
}

static void paths_are_relative_to_the_list_or_to_its_root_or_absolute(void **state)
{
    test_env *t = *state;
    char text[1024];
    write_pictures(t);
    (void)mkdir(test_path(t, "lists"), 0777);
    clv_dataset *ds = NULL;
    const char *list = test_path(t, "lists/train.tsv");
    snprintf(text, sizeof text, "#root ../a folder\n3.png\n../1.png\n%s\n", test_path(t, "2.png"));
    write_list(t, "lists/train.tsv", text, strlen(text));
    assert_ok(clv_dataset_open(t->ctx, list, NULL, &ds));
    expect_picture(t, ds, 0, 3);
    expect_picture(t, ds, 1, 1);
    expect_picture(t, ds, 2, 2);
    clv_dataset_destroy(ds);
    snprintf(text, sizeof text, "#root\t%s\n3.png\n", test_path(t, "a folder"));
    write_list(t, "lists/train.tsv", text, strlen(text));
    assert_ok(clv_dataset_open(t->ctx, list, NULL, &ds));
    expect_picture(t, ds, 0, 3);
    clv_dataset_destroy(ds);
}

static void wrong_lines_are_refused_with_their_number(void **state)
{
    static char long_line[5000];
    memset(long_line, 'x', sizeof long_line - 1);
    const struct {
        const char *text, *message;
        clv_status  status;
    } wrong[] = {
        { "", "lists no picture", CLV_ERR_FORMAT },
        { "# nothing\n\n", "lists no picture", CLV_ERR_FORMAT },
        { "a.png 1\n\nb 2\n", "line 3: 'b' is no path to a picture (.jpg, .jpeg, .png)", CLV_ERR_FORMAT },
        { "a.png\nb.webp\n", "line 2: 'b.webp': pictures of this kind are not read", CLV_ERR_UNSUPPORTED },
        { "a.png x\nb.png\n", "line 2: has no class, but line 1 has one", CLV_ERR_FORMAT },
        { "\na.png\nb.png\tx", "line 3: has a class, but line 2 has none", CLV_ERR_FORMAT },
        { "a.png\tx\ty\n", "line 1: more than two columns", CLV_ERR_FORMAT },
        { "a.png 1\nb.png -2\n", "line 2: the class -2 is not -1 (not known) to 999999", CLV_ERR_FORMAT },
        { "a.png 1000000\n", "line 1: the class 1000000 is not", CLV_ERR_FORMAT },
        { "a.png 99999999999999999999999\n", "line 1: the class 9999", CLV_ERR_FORMAT },
        { "a.png\n#root x\n", "line 2: #root stands once, before the first picture", CLV_ERR_FORMAT },
        { "#root x\n#root y\na.png", "line 2: #root stands once", CLV_ERR_FORMAT },
        { long_line, "line 1: has more than 4096 bytes", CLV_ERR_FORMAT },
    };
    test_env *t = *state;
    clv_dataset *ds = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(clv_dataset_open(t->ctx, write_list(t, "w.lst", wrong[i].text, strlen(wrong[i].text)), NULL, &ds),
                     wrong[i].status, wrong[i].message);
    assert_fails(clv_dataset_open(t->ctx, write_list(t, "w.list", "a.png\nb\0.png\n", 13), NULL, &ds), CLV_ERR_FORMAT,
                 "line 2: holds a byte 0");
    assert_fails(clv_dataset_open(t->ctx, write_list(t, "w.txt", "a.png\n", 6), "val", &ds), CLV_ERR_INVALID,
                 "has no split 'val'");
    assert_null(ds);
}

/* A list may name what is not there, or no file: that is found when it is read, and waits for nothing. */
static void files_that_cannot_be_read_are_named(void **state)
{
    test_env *t = *state;
    clv_decoder *decoder = NULL;
    clv_image image;
    assert_int_equal(mkfifo(test_path(t, "pipe.jpg"), 0600), 0);
    clv_dataset *ds = open_list(t, "absent.png\npipe.jpg\n/dev/zero.png\n");
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    assert_fails(clv_dataset_image(ds, 0, decoder, &image), CLV_ERR_IO, "/absent.png': No such file");
    assert_fails(clv_dataset_image(ds, 1, decoder, &image), CLV_ERR_IO, "/pipe.jpg' is no regular file");
    assert_fails(clv_dataset_image(ds, 2, decoder, &image), CLV_ERR_IO, "'/dev/zero.png'");
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
}

static clv_status open_and_close(clv_context *ctx, void *path)
{
    clv_dataset *ds = NULL;
    const clv_status st = clv_dataset_open(ctx, path, "[:50%]", &ds);
    clv_dataset_destroy(ds);
    return st;
}

static void running_out_of_memory_is_an_error_not_a_leak(void **state)
{
    test_env *t = *state;
    const char *path = write_list(t, "list.txt", "#root x\na.png b\nb.png a\n", 24);
    test_each_allocation_fails(t, open_and_close, (void *)(uintptr_t)path);
}

TEST_MAIN(
    TEST(pictures_come_in_the_order_of_the_list_with_their_classes),
    TEST(numbers_are_class_ids_and_no_class_is_no_label),
    TEST(paths_are_relative_to_the_list_or_to_its_root_or_absolute),
    TEST(wrong_lines_are_refused_with_their_number),
    TEST(files_that_cannot_be_read_are_named),
    TEST(running_out_of_memory_is_an_error_not_a_leak),
)
