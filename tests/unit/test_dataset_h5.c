/* test_dataset_h5.c: Cleave's HDF5 data sets: what is read, and what is refused with which words. */
#include "tests/support/pictures.h"
#include "core/file.h"
#include "core/h5.h"
#include <hdf5.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void expect_pixels(const clv_dataset *ds, clv_decoder *decoder, int64_t i, double tolerance)
{
    clv_image image;
    assert_ok(clv_dataset_image(ds, i, decoder, &image));
    for (int64_t y = 0; y < image.height; y++)
        for (int64_t x = 0; x < image.width; x++)
            for (int64_t c = 0; c < image.channels; c++)
                assert_near(image.pixels[y * image.row_stride + x * image.channels + c], picture_value(i, y, x, c),
                            tolerance);
}

static void raw_images_are_mapped_and_labelled(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "a.h5");
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    char where[600];
    picture_write_h5(t, path, "train", 7, 6, 5, 3, true);
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_string_equal(info.kind, "h5");
    assert_string_equal(info.split, "train");
    assert_int_equal(info.count, 7);
    assert_int_equal(info.height, 6);
    assert_int_equal(info.width, 5);
    assert_int_equal(info.channels, 3);
    assert_int_equal(info.classes, 3);
    assert_true(info.raw && info.has_labels && info.has_class_names && !info.has_stats);
    assert_int_equal(clv_dataset_label(ds, 5), 2);
    assert_int_equal(clv_dataset_label(ds, 7), -1);
    assert_string_equal(clv_dataset_class_name(ds, 2), "c");
    assert_null(clv_dataset_class_name(ds, 3));
    clv_dataset_locate(ds, 4, where, sizeof where);
    assert_non_null(strstr(where, "a.h5/train [4]"));
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    for (int64_t i = 0; i < 7; i++) expect_pixels(ds, decoder, i, 0);
    clv_image image;
    assert_fails(clv_dataset_image(ds, 7, decoder, &image), CLV_ERR_INVALID, "image 7 of");
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
}

static void a_set_without_splits_labels_or_colour_opens(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "gray.h5");
    clv_dataset *ds = NULL;
    clv_dataset_info info;
    clv_dataset_splits splits;
    picture_write_h5(t, path, "", 3, 4, 4, 1, false);
    assert_ok(clv_dataset_list_splits(t->ctx, path, &splits));
    assert_int_equal(splits.count, 0);
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.channels, 1);
    assert_int_equal(info.classes, 0);
    assert_false(info.has_labels);
    assert_int_equal(clv_dataset_label(ds, 0), -1);
    clv_dataset_destroy(ds);
    assert_fails(clv_dataset_open(t->ctx, path, "train", &ds), CLV_ERR_INVALID, "no split 'train'; it has no splits");
}

static void encoded_images_mix_jpeg_and_png(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "e.h5");
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    clv_image image;
    picture_write_encoded_h5(t, path, 6);
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_false(info.raw);
    assert_int_equal(info.height, 0);
    assert_int_equal(info.channels, 3);
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    for (int64_t i = 0; i < 6; i++) {
        assert_ok(clv_dataset_image(ds, i, decoder, &image));
        assert_int_equal(image.height, 16 + i);
        assert_int_equal(image.width, 20);
        expect_pixels(ds, decoder, i, i % 2 ? 0 : 20);
    }
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
}

/* Writes a chunked, deflated data set as h5py would. */
static void write_compressed(const char *path)
{
    const hsize_t dims[4] = { 5, 6, 4, 1 }, chunk[4] = { 2, 6, 4, 1 };
    uint8_t pixels[5 * 6 * 4];
    for (int64_t i = 0; i < 5; i++) picture_fill(pixels + i * 24, i, 6, 4, 1);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(4, dims, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 4, chunk);
    H5Pset_deflate(plist, 6);
    const hid_t set = H5Dcreate2(file, "images", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    assert_true(H5Dwrite(set, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, pixels) >= 0);
    H5Dclose(set);
    H5Pclose(plist);
    H5Sclose(space);
    H5Fclose(file);
}

static void compressed_images_are_loaded_whole(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "z.h5");
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    write_compressed(path);
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    for (int64_t i = 0; i < 5; i++) expect_pixels(ds, decoder, i, 0);
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
}

/* A file with one split "train" of `images` [n, 4, 4, 1] and whatever labels are given. */
static const char *write_labels(test_env *t, int64_t n, int64_t label_count, int64_t label)
{
    const char *path = test_path(t, "labels.h5");
    uint8_t pixels[16 * 8] = { 0 };
    int64_t labels[16];
    clvi_h5 *h5 = NULL;
    for (int i = 0; i < 16; i++) labels[i] = label;
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, (int64_t[]){ n, 4, 4, 1 });
    const clv_view values = clv_view_1d(labels, CLV_I64, label_count);
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "train/images", &images));
    assert_ok(clvi_h5_write(h5, "train/labels", &values));
    assert_ok(clvi_h5_set_attr_texts(h5, "/", "class_names", 2, (const char *const[]){ "x", "y" }));
    assert_ok(clvi_h5_commit(h5));
    return path;
}

static void labels_that_do_not_fit_are_refused(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    assert_fails(clv_dataset_open(t->ctx, write_labels(t, 5, 4, 0), NULL, &ds), CLV_ERR_FORMAT,
                 "data set 'train/labels' has 4 entries, expected 5");
    assert_fails(clv_dataset_open(t->ctx, write_labels(t, 5, 5, 2), NULL, &ds), CLV_ERR_FORMAT,
                 "label 2 of image 0 is not below 2, the number of class names");
    assert_fails(clv_dataset_open(t->ctx, write_labels(t, 5, 5, -2), NULL, &ds), CLV_ERR_FORMAT, "label -2 of image 0");
    assert_ok(clv_dataset_open(t->ctx, write_labels(t, 5, 5, -1), NULL, &ds));
    clv_dataset_destroy(ds);
}

static const char *write_offsets(test_env *t, int64_t second, int64_t last)
{
    const char *path = test_path(t, "offsets.h5");
    uint8_t bytes[100] = { 0 };
    int64_t offsets[3] = { 0, second, last };
    clvi_h5 *h5 = NULL;
    const clv_view blob = clv_view_1d(bytes, CLV_U8, 100), places = clv_view_1d(offsets, CLV_I64, 3);
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "bytes", &blob));
    assert_ok(clvi_h5_write(h5, "offsets", &places));
    assert_ok(clvi_h5_commit(h5));
    return path;
}

static void offsets_outside_the_bytes_are_refused(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    clv_image image;
    assert_fails(clv_dataset_open(t->ctx, write_offsets(t, 50, 101), NULL, &ds), CLV_ERR_FORMAT, "there are 100 bytes");
    assert_fails(clv_dataset_open(t->ctx, write_offsets(t, 80, 60), NULL, &ds), CLV_ERR_FORMAT,
                 "offset 1 is larger than the next one");
    assert_fails(clv_dataset_open(t->ctx, write_offsets(t, INT64_MIN, 60), NULL, &ds), CLV_ERR_FORMAT,
                 "offset 0 is larger than the next one");
    assert_ok(clv_dataset_open(t->ctx, write_offsets(t, 50, 100), NULL, &ds));
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    assert_fails(clv_dataset_image(ds, 1, decoder, &image), CLV_ERR_FORMAT,
                 "offsets.h5 [1]: expected the first bytes of a JPEG or PNG file, in 50 bytes");
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
}

static void other_layouts_are_refused_with_what_was_expected(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    clvi_h5 *h5 = NULL;
    float values[60] = { 0 };
    const clv_view flat = clv_view_dense(values, CLV_F32, 4, (int64_t[]){ 5, 2, 2, 3 });
    const char *path = test_path(t, "f32.h5");
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "images", &flat));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_dataset_open(t->ctx, path, NULL, &ds), CLV_ERR_FORMAT, "'images' is float32, expected uint8");
    path = test_path(t, "none.h5");
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "train/pictures", &flat));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_dataset_open(t->ctx, path, NULL, &ds), CLV_ERR_FORMAT, "holds no images: expected 'images'");
    assert_null(ds);
}

static void a_truncated_or_damaged_file_never_gives_a_data_set_beyond_its_end(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "whole.h5"), *cut = test_path(t, "cut.h5");
    uint8_t *bytes = NULL;
    size_t size = 0;
    picture_write_h5(t, path, "train", 4, 8, 8, 3, true);
    assert_ok(clvi_file_read(t->ctx, path, 1 << 20, &bytes, &size));
    for (size_t n = 0; n < size; n += size / 24) {
        clv_dataset *ds = NULL;
        assert_ok(clvi_file_write(cut, bytes, n));
        const clv_status st = clv_dataset_open(t->ctx, cut, NULL, &ds);
        assert_true(st == CLV_ERR_FORMAT || st == CLV_ERR_IO);
        assert_non_null(strstr(clv_error_message(), "cut.h5"));
    }
    clvi_free(t->ctx, bytes);
}

/* libhdf5's lock must not be left locked in the child when other threads use the library. */
static void *use_hdf5(void *path)
{
    for (int i = 0; i < 1000; i++) {
        const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
        if (file >= 0) H5Fclose(file);
    }
    return NULL;
}

static void opening_works_while_other_threads_use_hdf5(void **state)
{
    test_env *t = *state;
    char path[512], other[512];
    pthread_t threads[2];
    snprintf(path, sizeof path, "%s", test_path(t, "a.h5"));
    snprintf(other, sizeof other, "%s", test_path(t, "other.h5"));
    picture_write_h5(t, path, "train", 4, 8, 8, 3, true);
    picture_write_h5(t, other, "train", 4, 8, 8, 3, true);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, use_hdf5, other), 0);
    for (int i = 0; i < 20; i++) {
        clv_dataset *ds = NULL;
        assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
        clv_dataset_destroy(ds);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
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
    snprintf(path, sizeof path, "%s", test_path(t, "m.h5"));
    picture_write_h5(t, path, "train", 4, 8, 8, 3, true);
    test_each_allocation_fails(t, open_path, path);
}

TEST_MAIN(
    TEST(raw_images_are_mapped_and_labelled),
    TEST(a_set_without_splits_labels_or_colour_opens),
    TEST(encoded_images_mix_jpeg_and_png),
    TEST(compressed_images_are_loaded_whole),
    TEST(labels_that_do_not_fit_are_refused),
    TEST(offsets_outside_the_bytes_are_refused),
    TEST(other_layouts_are_refused_with_what_was_expected),
    TEST(a_truncated_or_damaged_file_never_gives_a_data_set_beyond_its_end),
    TEST(opening_works_while_other_threads_use_hdf5),
    TEST(running_out_of_memory_is_an_error_not_a_leak),
)
