/* test_dataset_files.c: CIFAR, IDX and folders of images: what is read, and what is refused with which words. */
#include "tests/support/pictures.h"
#include "core/file.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static clv_status open_set(test_env *t, const char *name, const char *split, clv_dataset **ds)
{
    return clv_dataset_open(t->ctx, test_path(t, name), split, ds);
}

/* ---- CIFAR ---- */

static size_t cifar_records(uint8_t *out, int labels_each, int count, int first)
{
    const size_t record = (size_t)labels_each + 3072;
    for (int i = 0; i < count; i++) {
        uint8_t *p = out + (size_t)i * record;
        p[labels_each - 1] = (uint8_t)((first + i) % 10);
        for (int c = 0; c < 3; c++)
            for (int k = 0; k < 1024; k++) p[labels_each + c * 1024 + k] = picture_value(first + i, k / 32, k % 32, c);
    }
    return (size_t)count * record;
}

static void write_cifar(test_env *t, const char *name, int labels_each, int count, int first, size_t extra)
{
    uint8_t *bytes = calloc(1, 40000);
    const size_t size = cifar_records(bytes, labels_each, count, first);
    assert_ok(clvi_file_write(test_path(t, name), bytes, size + extra));
    free(bytes);
}

static void cifar_batches_are_joined_and_made_interleaved(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    clv_image image;
    static const char names[] = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    assert_ok(clvi_mkdirs(test_path(t, "c")));
    write_cifar(t, "c/data_batch_1.bin", 1, 5, 0, 0);
    write_cifar(t, "c/data_batch_2.bin", 1, 4, 5, 0);
    write_cifar(t, "c/test_batch.bin", 1, 2, 20, 0);
    assert_ok(clvi_file_write(test_path(t, "c/batches.meta.txt"), names, sizeof names - 1));
    assert_ok(open_set(t, "c", NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_string_equal(info.kind, "cifar");
    assert_string_equal(info.split, "train");
    assert_int_equal(info.count, 9);
    assert_int_equal(info.classes, 10);
    assert_string_equal(clv_dataset_class_name(ds, clv_dataset_label(ds, 6)), "frog");
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    assert_ok(clv_dataset_image(ds, 7, decoder, &image));
    for (int64_t k = 0; k < 3072; k++)
        assert_int_equal(image.pixels[k], picture_value(7, k / 96, k / 3 % 32, k % 3));
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
    assert_ok(open_set(t, "c", "test", &ds));
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.count, 2);
    clv_dataset_destroy(ds);
    assert_ok(open_set(t, "c/data_batch_2.bin", NULL, &ds));
    assert_int_equal(clv_dataset_label(ds, 0), 5);
    clv_dataset_destroy(ds);
    assert_fails(open_set(t, "c", "val", &ds), CLV_ERR_INVALID, "no split 'val'; it has 'test', 'train'");
}

static void damaged_cifar_files_are_refused(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    write_cifar(t, "data_batch_1.bin", 1, 2, 0, 5);
    assert_fails(open_set(t, "data_batch_1.bin", NULL, &ds), CLV_ERR_FORMAT,
                 "has 6151 bytes; expected a multiple of 3073 (CIFAR-10)");
    write_cifar(t, "test.bin", 1, 1, 0, 0);
    assert_fails(open_set(t, "test.bin", NULL, &ds), CLV_ERR_FORMAT, "multiple of 3074 (CIFAR-100)");
    write_cifar(t, "train.bin", 2, 2, 3, 0);
    assert_ok(open_set(t, "train.bin", NULL, &ds));
    assert_int_equal(clv_dataset_label(ds, 1), 4);
    clv_dataset_destroy(ds);
    uint8_t bad[3073] = { 10 };
    assert_ok(clvi_file_write(test_path(t, "data_batch_1.bin"), bad, sizeof bad));
    assert_fails(open_set(t, "data_batch_1.bin", NULL, &ds), CLV_ERR_FORMAT, "label 10 of record 0 is not below 10");
    assert_ok(clvi_file_write(test_path(t, "data_batch_1.bin"), bad, 0));
    assert_fails(open_set(t, "data_batch_1.bin", NULL, &ds), CLV_ERR_FORMAT, "has 0 bytes");
}

/* ---- IDX ---- */

static size_t idx_header(uint8_t *out, int ndim, const uint32_t *dim)
{
    out[0] = out[1] = 0;
    out[2] = 8;
    out[3] = (uint8_t)ndim;
    for (int i = 0; i < ndim; i++)
        for (int b = 0; b < 4; b++) out[4 + 4 * i + b] = (uint8_t)(dim[i] >> (24 - 8 * b));
    return 4 + 4 * (size_t)ndim;
}

static size_t idx_images(uint8_t *out, uint32_t count)
{
    size_t n = idx_header(out, 3, (uint32_t[]){ count, 4, 5 });
    for (uint32_t i = 0; i < count; i++, n += 20) picture_fill(out + n, i, 4, 5, 1);
    return n;
}

static size_t idx_labels(uint8_t *out, uint32_t count)
{
    size_t n = idx_header(out, 1, &count);
    for (uint32_t i = 0; i < count; i++) out[n++] = (uint8_t)(i % 4);
    return n;
}

static void write_gz(const char *path, const void *bytes, size_t size)
{
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)size), (int)size);
    assert_int_equal(gzclose(file), Z_OK);
}

static void expect_idx(const clv_dataset *ds, test_env *t, int64_t count)
{
    clv_dataset_info info;
    clv_decoder *decoder = NULL;
    clv_image image;
    clv_dataset_describe(ds, &info);
    assert_string_equal(info.kind, "idx");
    assert_int_equal(info.count, count);
    assert_int_equal(info.channels, 1);
    assert_int_equal(info.height, 4);
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    assert_ok(clv_dataset_image(ds, 2, decoder, &image));
    for (int64_t k = 0; k < 20; k++) assert_int_equal(image.pixels[k], picture_value(2, k / 5, k % 5, 0));
    clv_decoder_destroy(decoder);
}

static void idx_files_are_read_plain_and_gzipped_with_their_labels(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    uint8_t bytes[512];
    assert_ok(clvi_mkdirs(test_path(t, "m")));
    assert_ok(clvi_file_write(test_path(t, "m/train-images-idx3-ubyte"), bytes, idx_images(bytes, 6)));
    assert_ok(clvi_file_write(test_path(t, "m/train-labels-idx1-ubyte"), bytes, idx_labels(bytes, 6)));
    write_gz(test_path(t, "m/t10k-images-idx3-ubyte.gz"), bytes, idx_images(bytes, 3));
    write_gz(test_path(t, "m/t10k-labels-idx1-ubyte.gz"), bytes, idx_labels(bytes, 3));
    assert_ok(open_set(t, "m", NULL, &ds));
    expect_idx(ds, t, 6);
    assert_int_equal(clv_dataset_label(ds, 5), 1);
    clv_dataset_destroy(ds);
    assert_ok(open_set(t, "m", "test", &ds));
    expect_idx(ds, t, 3);
    assert_int_equal(clv_dataset_label(ds, 2), 2);
    clv_dataset_destroy(ds);
    assert_ok(open_set(t, "m/t10k-images-idx3-ubyte.gz", NULL, &ds));
    expect_idx(ds, t, 3);
    assert_int_equal(clv_dataset_label(ds, 2), 2);
    clv_dataset_destroy(ds);
    assert_ok(clvi_file_write(test_path(t, "alone.idx"), bytes, idx_images(bytes, 6)));
    assert_ok(open_set(t, "alone.idx", NULL, &ds));
    expect_idx(ds, t, 6);
    assert_int_equal(clv_dataset_label(ds, 2), -1);
    clv_dataset_destroy(ds);
}

static void damaged_idx_files_are_refused(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    uint8_t bytes[512] = { 0 };
    const char *name = "train-images-idx3-ubyte", *path = test_path(t, name);
    size_t n = idx_images(bytes, 6);
    assert_ok(clvi_file_write(path, bytes, n - 1));
    assert_fails(open_set(t, name, NULL, &ds), CLV_ERR_FORMAT, "the header promises 120 values, 119 follow");
    assert_ok(clvi_file_write(path, bytes, n + 1));
    assert_fails(open_set(t, name, NULL, &ds), CLV_ERR_FORMAT, "the header promises 120 values, 121 follow");
    assert_ok(clvi_file_write(path, bytes, 9));
    assert_fails(open_set(t, name, NULL, &ds), CLV_ERR_FORMAT, "ends inside the dimensions, at byte 9");
    n = idx_header(bytes, 4, (uint32_t[]){ UINT32_MAX, UINT32_MAX, UINT32_MAX, 3 });
    assert_ok(clvi_file_write(path, bytes, n));
    assert_fails(open_set(t, name, NULL, &ds), CLV_ERR_FORMAT, "dimensions overflow");
    n = idx_labels(bytes, 7);
    assert_ok(clvi_file_write(path, bytes, n));
    assert_fails(open_set(t, name, NULL, &ds), CLV_ERR_FORMAT, "expected images (3 or 4 dimensions), got 1");
    assert_ok(clvi_file_write(test_path(t, "train-labels-idx1-ubyte"), bytes, n));
    assert_ok(clvi_file_write(path, bytes, idx_images(bytes, 6)));
    assert_fails(open_set(t, name, NULL, &ds), CLV_ERR_FORMAT,
                 "holds 7 labels in 1 dimensions, but there are 6 images");
}

static void a_gzip_bomb_or_damaged_gzip_is_refused(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    uint8_t bytes[512] = { 0 }, *packed = NULL;
    size_t size = 0;
    const char *path = test_path(t, "images.gz");
    write_gz(path, bytes, idx_header(bytes, 3, (uint32_t[]){ 60000, 1000, 1000 }));
    assert_fails(open_set(t, "images.gz", NULL, &ds), CLV_ERR_UNSUPPORTED, "the header promises 60000000000 values");
    write_gz(path, bytes, idx_header(bytes, 3, (uint32_t[]){ 4000, 1000, 1000 }));
    assert_fails(open_set(t, "images.gz", NULL, &ds), CLV_ERR_FORMAT, "which a file of");
    write_gz(path, bytes, idx_images(bytes, 6) - 3);
    assert_fails(open_set(t, "images.gz", NULL, &ds), CLV_ERR_FORMAT, "the header promises 120 values, 117 follow");
    write_gz(path, bytes, idx_images(bytes, 6) + 3);
    assert_fails(open_set(t, "images.gz", NULL, &ds), CLV_ERR_FORMAT, "more values follow than the header promises");
    write_gz(path, bytes, idx_images(bytes, 6));
    assert_ok(clvi_file_read(t->ctx, path, 1 << 16, &packed, &size));
    packed[size - 6] ^= 1;   /* the checksum at the end */
    assert_ok(clvi_file_write(path, packed, size));
    clvi_free(t->ctx, packed);
    assert_fails(open_set(t, "images.gz", NULL, &ds), CLV_ERR_FORMAT, "gzip data are damaged");
}

/* ---- folders of images ---- */

static void folders_are_classes_in_sorted_order(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    clv_dataset_info info;
    char where[600];
    static const char *const order[] = { "ant/a.JPG", "ant/b.png", "ant/sub/a.jpg", "bee/Z.jpeg", "bee/a.jpg" };
    assert_ok(clvi_mkdirs(test_path(t, "f/train/bee")));
    assert_ok(clvi_mkdirs(test_path(t, "f/train/ant/sub")));
    assert_ok(clvi_mkdirs(test_path(t, "f/val/ant")));
    picture_write_jpeg(test_path(t, "f/train/bee/a.jpg"), 4, 9, 8);
    picture_write_jpeg(test_path(t, "f/train/bee/Z.jpeg"), 3, 9, 8);
    picture_write_jpeg(test_path(t, "f/train/ant/sub/a.jpg"), 2, 9, 8);
    picture_write_png(test_path(t, "f/train/ant/b.png"), 1, 9, 8);
    picture_write_png(test_path(t, "f/train/ant/a.JPG"), 0, 9, 8);   /* a PNG by content: that is what counts */
    assert_ok(clvi_file_write(test_path(t, "f/train/ant/notes.txt"), "x", 1));
    picture_write_png(test_path(t, "f/val/ant/q.png"), 9, 9, 8);
    assert_ok(open_set(t, "f", NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_string_equal(info.split, "train");
    assert_int_equal(info.count, 5);
    assert_int_equal(info.classes, 2);
    assert_string_equal(clv_dataset_class_name(ds, 1), "bee");
    clv_decoder *decoder = NULL;
    clv_image image;
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    for (int i = 0; i < 5; i++) {
        clv_dataset_locate(ds, i, where, sizeof where);
        assert_non_null(strstr(where, order[i]));
        assert_int_equal(clv_dataset_label(ds, i), i >= 3);
        assert_ok(clv_dataset_image(ds, i, decoder, &image));
        assert_near(image.pixels[0], picture_value(i, 0, 0, 0), 12);
    }
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
    assert_ok(open_set(t, "f", "val", &ds));
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.count, 1);
    clv_dataset_destroy(ds);
}

static void folders_that_cannot_be_meant_are_refused_by_name(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    assert_ok(clvi_mkdirs(test_path(t, "f/ant")));
    assert_fails(open_set(t, "f", NULL, &ds), CLV_ERR_FORMAT, "f/ant': the class holds no picture");
    assert_ok(clvi_file_write(test_path(t, "f/ant/p.WebP"), "x", 1));
    assert_fails(open_set(t, "f", NULL, &ds), CLV_ERR_UNSUPPORTED, "f/ant/p.WebP': pictures of this kind are not read");
    assert_ok(clvi_mkdirs(test_path(t, "g/ant")));
    picture_write_png(test_path(t, "g/ant/a.png"), 0, 4, 4);
    picture_write_png(test_path(t, "g/b.png"), 0, 4, 4);
    assert_fails(open_set(t, "g", NULL, &ds), CLV_ERR_FORMAT, "holds both folders and pictures ('b.png')");
    assert_ok(clvi_mkdirs(test_path(t, "empty")));
    assert_fails(open_set(t, "empty", NULL, &ds), CLV_ERR_FORMAT, "holds no picture");
    assert_fails(open_set(t, "nowhere", NULL, &ds), CLV_ERR_IO, "nowhere': No such file");
    assert_ok(clvi_file_write(test_path(t, "text"), "hello", 5));
    assert_fails(open_set(t, "text", NULL, &ds), CLV_ERR_FORMAT, "is no data set: expected");
}

static clv_status open_path(clv_context *ctx, void *path)
{
    clv_dataset *ds = NULL;
    const clv_status st = clv_dataset_open(ctx, path, NULL, &ds);
    clv_dataset_destroy(ds);
    return st;
}

static void running_out_of_memory_is_an_error_not_a_leak(void **state)
{
    test_env *t = *state;
    char path[512];
    assert_ok(clvi_mkdirs(test_path(t, "f/ant")));
    assert_ok(clvi_mkdirs(test_path(t, "f/bee")));
    picture_write_png(test_path(t, "f/ant/a.png"), 0, 4, 4);
    picture_write_png(test_path(t, "f/bee/a.png"), 0, 4, 4);
    snprintf(path, sizeof path, "%s", test_path(t, "f"));
    test_each_allocation_fails(t, open_path, path);
    write_cifar(t, "data_batch_1.bin", 1, 2, 0, 0);
    snprintf(path, sizeof path, "%s", test_path(t, "data_batch_1.bin"));
    test_each_allocation_fails(t, open_path, path);
    uint8_t bytes[512];
    snprintf(path, sizeof path, "%s", test_path(t, "x.gz"));
    write_gz(path, bytes, idx_images(bytes, 6));
    test_each_allocation_fails(t, open_path, path);
}

static void the_kinds_can_be_listed(void **state)
{
    (void)state;
    clv_class_info info;
    int n = 0;
    for (; clv_dataset_kind_at(n, &info); n++) assert_true(info.name && info.summary && info.source);
    assert_int_equal(n, 5);
    assert_false(clv_dataset_kind_at(-1, &info));
}

static void the_split_held_out_is_test_before_val(void **state)
{
    (void)state;
    clv_dataset_splits splits = { .count = 3, .name = { "train", "val", "test" } };
    assert_string_equal(clv_dataset_held_out(&splits), "test");
    splits.count = 2;
    assert_string_equal(clv_dataset_held_out(&splits), "val");
    splits.count = 1;
    assert_null(clv_dataset_held_out(&splits));
    splits.count = 0;
    assert_null(clv_dataset_held_out(&splits));
}

TEST_MAIN(
    TEST(the_split_held_out_is_test_before_val),
    TEST(cifar_batches_are_joined_and_made_interleaved),
    TEST(damaged_cifar_files_are_refused),
    TEST(idx_files_are_read_plain_and_gzipped_with_their_labels),
    TEST(damaged_idx_files_are_refused),
    TEST(a_gzip_bomb_or_damaged_gzip_is_refused),
    TEST(folders_are_classes_in_sorted_order),
    TEST(folders_that_cannot_be_meant_are_refused_by_name),
    TEST(running_out_of_memory_is_an_error_not_a_leak),
    TEST(the_kinds_can_be_listed),
)
