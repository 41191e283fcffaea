/* test_h5.c: HDF5 files: what is written comes back, the same content gives the same bytes, damage is found. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/h5.h"
#include <dirent.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- writing and reading back ---- */

static void write_members(clvi_h5 *h5)
{
    float f[6] = { 0, 0.5f, -1, 1e30f, 4, 5 };
    int64_t i[4] = { 1, -2, INT64_MAX, 4 };
    uint8_t u[3] = { 0, 128, 255 };
    const double numbers[3] = { 0.1, 0.2, 0.3 };
    const char *const texts[3] = { "cat", "", "a longer name" };
    clv_view v = clv_view_2d(f, CLV_F32, 2, 3);
    assert_ok(clvi_h5_write(h5, "model/layer1/weight", &v));
    v = clv_view_1d(i, CLV_I64, 4);
    assert_ok(clvi_h5_write(h5, "model/steps", &v));
    v = clv_view_1d(u, CLV_U8, 3);
    assert_ok(clvi_h5_write(h5, "/bytes", &v));
    v = clv_view_dense(f + 1, CLV_F32, 0, NULL);
    assert_ok(clvi_h5_write(h5, "scalar", &v));
    v = clv_view_2d(NULL, CLV_F64, 0, 7);
    assert_ok(clvi_h5_write(h5, "empty", &v));
    assert_ok(clvi_h5_group(h5, "a/b"));
    assert_ok(clvi_h5_group(h5, "a/b"));
    assert_ok(clvi_h5_set_attr_f64(h5, "", "loss", 0.1));
    assert_ok(clvi_h5_set_attr_i64(h5, "/", "seed", -7));
    assert_ok(clvi_h5_set_attr_f64s(h5, "a/b", "mean", 3, numbers));
    assert_ok(clvi_h5_set_attr_text(h5, "a", "name", "first"));
    assert_ok(clvi_h5_set_attr_text(h5, "a", "name", "na\xc3\xafve"));   /* replaces */
    assert_ok(clvi_h5_set_attr_texts(h5, "bytes", "classes", 3, texts));
    assert_ok(clvi_h5_set_attr_texts(h5, "bytes", "none", 0, NULL));
}

static void write_sample(test_env *t, const char *path, bool sealed)
{
    clvi_h5 *h5;
    assert_ok(clvi_h5_create(t->ctx, path, sealed, &h5));
    write_members(h5);
    assert_ok(clvi_h5_commit(h5));
}

static void check_sample(clvi_h5 *h5)
{
    float f[6];
    double d[3];
    int64_t i[4], n;
    uint8_t u[3];
    clvi_h5_info info;
    clv_view v = clv_view_2d(f, CLV_F32, 2, 3);
    assert_ok(clvi_h5_read(h5, "model/layer1/weight", &v));
    assert_near(f[3], 1e30f, 0);
    v = clv_view_1d(i, CLV_I64, 4);
    assert_ok(clvi_h5_read(h5, "/model/steps", &v));
    assert_int_equal(i[2], INT64_MAX);
    v = clv_view_1d(u, CLV_U8, 3);
    assert_ok(clvi_h5_read(h5, "bytes", &v));
    assert_int_equal(u[2], 255);
    v = clv_view_1d(f, CLV_F32, 1);
    assert_ok(clvi_h5_read(h5, "scalar", &v));
    assert_near(f[0], 0.5, 0);
    v = clv_view_2d(NULL, CLV_F64, 0, 7);
    assert_ok(clvi_h5_read(h5, "empty", &v));
    assert_ok(clvi_h5_stat(h5, "empty", &info));
    assert_int_equal(info.ndim, 2);
    assert_int_equal(info.shape[0], 0);
    assert_int_equal(info.shape[1], 7);
    assert_int_equal(info.dtype, CLV_F64);
    assert_ok(clvi_h5_attr_f64(h5, "", "loss", d));
    assert_near(d[0], 0.1, 0);
    assert_ok(clvi_h5_attr_i64(h5, "/", "seed", &n));
    assert_int_equal(n, -7);
    assert_ok(clvi_h5_attr_f64(h5, "/", "seed", d));
    assert_near(d[0], -7, 0);
    assert_ok(clvi_h5_attr_f64s(h5, "a/b", "mean", 3, d));
    assert_near(d[2], 0.3, 0);
}

static void what_is_written_comes_back(void **state)
{
    test_env *t = *state;
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *path = test_path(t, "x.h5");
        clvi_h5 *h5;
        write_sample(t, path, sealed);
        assert_int_equal(clvi_h5_is_sealed(path), sealed);
        assert_ok(clvi_h5_open(t->ctx, path, &h5));
        check_sample(h5);
        clvi_h5_close(h5);
    }
    clvi_h5_close(NULL);
}

static void a_file_in_memory_reads_like_one_on_disk(void **state)
{
    test_env *t = *state;
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *path = test_path(t, "x.h5");
        clvi_map map;
        clvi_h5 *h5;
        write_sample(t, path, sealed);
        assert_ok(clvi_map_open(path, &map));
        assert_ok(clvi_h5_open_memory(t->ctx, map.data, map.size, &h5));
        clvi_map_close(&map);
        check_sample(h5);
        clvi_h5_close(h5);
    }
}

static void texts_come_back(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5;
    char *text, **texts;
    int64_t count;
    clv_dtype dtype;
    write_sample(t, test_path(t, "x.h5"), true);
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "x.h5"), &h5));
    assert_ok(clvi_h5_attr_text(h5, "a", "name", &text));
    assert_string_equal(text, "na\xc3\xafve");
    clvi_free(t->ctx, text);
    assert_ok(clvi_h5_attr_texts(h5, "bytes", "classes", &count, &texts));
    assert_int_equal(count, 3);
    assert_string_equal(texts[0], "cat");
    assert_string_equal(texts[1], "");
    assert_string_equal(texts[2], "a longer name");
    clvi_free(t->ctx, texts);
    assert_ok(clvi_h5_attr_texts(h5, "bytes", "none", &count, &texts));
    assert_int_equal(count, 0);
    clvi_free(t->ctx, texts);
    assert_fails(clvi_h5_attr_text(h5, "bytes", "classes", &text), CLV_ERR_FORMAT, "has 3 entries, want 1");
    assert_fails(clvi_h5_attr_text(h5, "", "loss", &text), CLV_ERR_FORMAT, "attribute 'loss' of '' is not text");
    assert_ok(clvi_h5_attr_stat(h5, "bytes", "classes", &dtype, &count));
    assert_int_equal(dtype, CLV_U8);
    assert_int_equal(count, 3);
    assert_ok(clvi_h5_attr_stat(h5, "", "seed", &dtype, &count));
    assert_int_equal(dtype, CLV_I64);
    assert_ok(clvi_h5_attr_stat(h5, "", "loss", &dtype, &count));
    assert_int_equal(dtype, CLV_F64);
    clvi_h5_close(h5);
}

static void members_and_attributes_are_listed_in_order(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5;
    char **names;
    int64_t count;
    const char *const members[] = { "a", "bytes", "empty", "model", "scalar" };
    write_sample(t, test_path(t, "x.h5"), false);
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "x.h5"), &h5));
    assert_ok(clvi_h5_list(h5, "/", false, &count, &names));
    assert_int_equal(count, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(names[i], members[i]);
    clvi_free(t->ctx, names);
    assert_ok(clvi_h5_list(h5, "", true, &count, &names));
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "loss");
    assert_string_equal(names[1], "seed");
    clvi_free(t->ctx, names);
    assert_ok(clvi_h5_list(h5, "a/b", false, &count, &names));
    assert_int_equal(count, 0);
    clvi_free(t->ctx, names);
    assert_fails(clvi_h5_list(h5, "nowhere", false, &count, &names), CLV_ERR_FORMAT, "there is no 'nowhere'");
    assert_fails(clvi_h5_list(h5, "bytes", false, &count, &names), CLV_ERR_FORMAT, "cannot list 'bytes'");
    assert_true(clvi_h5_has(h5, "model/layer1/weight"));
    assert_true(clvi_h5_has(h5, "model"));
    assert_true(clvi_h5_has(h5, "/"));
    assert_false(clvi_h5_has(h5, "model/layer2/weight"));
    assert_false(clvi_h5_has(h5, "bytes/weight"));
    assert_true(clvi_h5_has_attr(h5, "bytes", "classes"));
    assert_false(clvi_h5_has_attr(h5, "bytes", "colour"));
    assert_false(clvi_h5_has_attr(h5, "nowhere", "colour"));
    clvi_h5_close(h5);
}

static void attributes_may_be_large(void **state)
{
    test_env *t = *state;
    enum { N = 20000 };
    static char names[N][12];
    static const char *texts[N];
    clvi_h5 *h5;
    char **back;
    int64_t count;
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "n%08d", i);
        texts[i] = names[i];
    }
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "x.h5"), true, &h5));
    assert_ok(clvi_h5_group(h5, "g"));
    assert_ok(clvi_h5_set_attr_texts(h5, "/", "classes", N, texts));
    assert_ok(clvi_h5_set_attr_texts(h5, "g", "classes", N, texts));
    assert_ok(clvi_h5_commit(h5));
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "x.h5"), &h5));
    for (int g = 0; g < 2; g++) {
        assert_ok(clvi_h5_attr_texts(h5, g ? "g" : "", "classes", &count, &back));
        assert_int_equal(count, N);
        assert_string_equal(back[N - 1], "n00019999");
        clvi_free(t->ctx, back);
    }
    clvi_h5_close(h5);
}

static void the_same_content_gives_the_same_bytes(void **state)
{
    test_env *t = *state;
    for (int sealed = 0; sealed < 2; sealed++) {
        clvi_map a, b;
        write_sample(t, test_path(t, "a.h5"), sealed);
        free(memset(malloc(100000), 0xee, 100000));   /* so that memory HDF5 does not clear would show */
        sleep(1);                                     /* so that a time would show */
        write_sample(t, test_path(t, "longer name.h5"), sealed);
        assert_ok(clvi_map_open(test_path(t, "a.h5"), &a));
        assert_ok(clvi_map_open(test_path(t, "longer name.h5"), &b));
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        clvi_map_close(&a);
        clvi_map_close(&b);
    }
}

static void each_type_comes_back_with_its_place(void **state)
{
    test_env *t = *state;
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *path = test_path(t, "x.h5");
        uint8_t bytes[8 * 200], back[8 * 200];
        clvi_h5 *h5;
        clvi_map map;
        clvi_h5_info info;
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7 % 64);
        assert_ok(clvi_h5_create(t->ctx, path, sealed, &h5));
        for (int d = 0; d < CLV_DTYPE_COUNT; d++) {
            const clv_view v = clv_view_2d(bytes, (clv_dtype)d, 2, 100);
            assert_ok(clvi_h5_write(h5, clv_dtype_name((clv_dtype)d), &v));
        }
        assert_ok(clvi_h5_commit(h5));
        assert_ok(clvi_h5_open(t->ctx, path, &h5));
        assert_ok(clvi_map_open(path, &map));
        for (int d = 0; d < CLV_DTYPE_COUNT; d++) {
            const clv_view v = clv_view_2d(back, (clv_dtype)d, 2, 100);
            const size_t size = 200 * clv_dtype_size((clv_dtype)d);
            assert_ok(clvi_h5_read(h5, clv_dtype_name((clv_dtype)d), &v));
            assert_memory_equal(back, bytes, size);
            assert_ok(clvi_h5_stat(h5, clv_dtype_name((clv_dtype)d), &info));
            assert_int_equal(info.dtype, d);
            assert_true(info.offset > 0 && (size_t)info.offset + size <= map.size);
            assert_memory_equal(map.data + info.offset, bytes, size);
            if (size >= 512) assert_int_equal(info.offset % 64, 0);
        }
        clvi_map_close(&map);
        clvi_h5_close(h5);
    }
}

static void rows_are_written_and_read_in_parts(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5;
    float x[4][3], y[2][3];
    const int64_t shape[] = { 10, 3 };
    for (int i = 0; i < 12; i++) x[i / 3][i % 3] = (float)i;
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "x.h5"), false, &h5));
    assert_ok(clvi_h5_create_dataset(h5, "g/rows", CLV_F32, 2, shape));
    clv_view v = clv_view_2d(x, CLV_F32, 4, 3);
    assert_ok(clvi_h5_write_rows(h5, "g/rows", 0, &v));
    assert_ok(clvi_h5_write_rows(h5, "g/rows", 6, &v));
    assert_fails(clvi_h5_write_rows(h5, "g/rows", 7, &v), CLV_ERR_INVALID, "has 10 rows, no 4 from row 7");
    v = clv_view_2d(x, CLV_F32, 3, 4);
    assert_fails(clvi_h5_write_rows(h5, "g/rows", 0, &v), CLV_ERR_SHAPE, "9 values in the file, 12 in the view");
    assert_ok(clvi_h5_commit(h5));
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "x.h5"), &h5));
    v = clv_view_2d(y, CLV_F32, 2, 3);
    assert_ok(clvi_h5_read_rows(h5, "g/rows", 8, 2, &v));
    assert_near(y[1][2], 11, 0);
    assert_ok(clvi_h5_read_rows(h5, "g/rows", 4, 2, &v));
    assert_near(y[0][0], 0, 0);   /* never written */
    assert_fails(clvi_h5_read_rows(h5, "g/rows", 9, 2, &v), CLV_ERR_INVALID, "no 2 from row 9");
    assert_fails(clvi_h5_read_rows(h5, "g/rows", -1, 2, &v), CLV_ERR_INVALID, "no 2 from row -1");
    assert_fails(clvi_h5_read_rows(h5, "g/rows", 0, INT64_MAX, &v), CLV_ERR_INVALID, "rows");
    assert_fails(clvi_h5_read_rows(h5, "g/rows", 0, 3, &v), CLV_ERR_SHAPE, "9 values");
    v = clv_view_2d(NULL, CLV_F32, 0, 3);
    assert_ok(clvi_h5_read_rows(h5, "g/rows", 10, 0, &v));
    clvi_h5_close(h5);
}

static void types_are_converted_but_integers_exactly(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5;
    int64_t i[2] = { 3, 300 };
    double d[2] = { 1, 2.5 }, back[2];
    uint8_t u[2];
    int32_t m[2];
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "x.h5"), false, &h5));
    clv_view v = clv_view_1d(i, CLV_I64, 2);
    assert_ok(clvi_h5_write(h5, "i", &v));
    v = clv_view_1d(d, CLV_F64, 2);
    assert_ok(clvi_h5_write(h5, "d", &v));
    assert_ok(clvi_h5_commit(h5));
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "x.h5"), &h5));
    v = clv_view_1d(back, CLV_F64, 2);
    assert_ok(clvi_h5_read(h5, "i", &v));
    assert_near(back[1], 300, 0);
    v = clv_view_1d(m, CLV_I32, 2);
    assert_ok(clvi_h5_read(h5, "i", &v));
    assert_int_equal(m[1], 300);
    v = clv_view_1d(u, CLV_U8, 2);
    assert_fails(clvi_h5_read(h5, "i", &v), CLV_ERR_FORMAT, "cannot read data set 'i'");
    v = clv_view_1d(m, CLV_I32, 2);
    assert_fails(clvi_h5_read(h5, "d", &v), CLV_ERR_FORMAT, "cannot read data set 'd'");
    clvi_h5_close(h5);
}

/* ---- refusing ---- */

static void what_is_not_there_is_named(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5;
    double d[4];
    int64_t n;
    clvi_h5_info info;
    const clv_view v = clv_view_1d(d, CLV_F64, 4);
    const char *path = test_path(t, "x.h5");
    write_sample(t, path, false);
    assert_ok(clvi_h5_open(t->ctx, path, &h5));
    assert_fails(clvi_h5_stat(h5, "model/no", &info), CLV_ERR_FORMAT, "x.h5: there is no data set 'model/no'");
    assert_fails(clvi_h5_stat(h5, "model", &info), CLV_ERR_FORMAT, "cannot open data set 'model'");
    assert_fails(clvi_h5_read(h5, "bytes", &v), CLV_ERR_SHAPE, "data set 'bytes': 3 values in the file, 4 in the view");
    assert_fails(clvi_h5_attr_f64(h5, "a", "size", d), CLV_ERR_FORMAT, "x.h5: 'a' has no attribute 'size'");
    assert_fails(clvi_h5_attr_f64(h5, "", "size", d), CLV_ERR_FORMAT, "'/' has no attribute 'size'");
    assert_fails(clvi_h5_attr_f64(h5, "b", "size", d), CLV_ERR_FORMAT, "there is no 'b'");
    assert_fails(clvi_h5_attr_f64s(h5, "a/b", "mean", 2, d), CLV_ERR_FORMAT, "has 3 entries, want 2");
    assert_fails(clvi_h5_attr_i64(h5, "", "loss", &n), CLV_ERR_FORMAT, "is not a whole number");
    assert_fails(clvi_h5_attr_f64(h5, "a", "name", d), CLV_ERR_FORMAT, "is not a number");
    assert_fails(clvi_h5_commit(h5), CLV_ERR_INVALID, "nothing to commit");
}

static void what_is_not_hdf5_is_refused(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    assert_fails(clvi_h5_open(t->ctx, test_path(t, "absent.h5"), &h5), CLV_ERR_IO, "No such file");
    assert_ok(clvi_file_write(test_path(t, "x.h5"), "not at all", 10));
    assert_fails(clvi_h5_open(t->ctx, test_path(t, "x.h5"), &h5), CLV_ERR_FORMAT, "as HDF5");
    assert_ok(clvi_file_write(test_path(t, "x.h5"), "", 0));
    assert_fails(clvi_h5_open(t->ctx, test_path(t, "x.h5"), &h5), CLV_ERR_FORMAT, "as HDF5");
    assert_fails(clvi_h5_open_memory(t->ctx, "junk", 4, &h5), CLV_ERR_FORMAT, "as HDF5");
    assert_fails(clvi_h5_open_memory(t->ctx, NULL, 0, &h5), CLV_ERR_FORMAT, "empty");
    assert_null(h5);
}

static void any_damaged_byte_of_a_sealed_file_is_found(void **state)
{
    test_env *t = *state;
    uint8_t *bytes;
    size_t size;
    clvi_h5 *h5;
    write_sample(t, test_path(t, "x.h5"), true);
    assert_ok(clvi_file_read(t->ctx, test_path(t, "x.h5"), 1 << 20, &bytes, &size));
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= (uint8_t)(1 << i % 8);
        assert_fails(clvi_h5_open_memory(t->ctx, bytes, size, &h5), CLV_ERR_FORMAT, "damaged");
        bytes[i] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t cut = 16; cut < size; cut += 97)
        assert_fails(clvi_h5_open_memory(t->ctx, bytes, cut, &h5), CLV_ERR_FORMAT, "damaged");
    assert_ok(clvi_h5_open_memory(t->ctx, bytes, size, &h5));
    clvi_h5_close(h5);
    assert_ok(clvi_file_write(test_path(t, "y.h5"), bytes, size - 1));
    assert_true(clvi_h5_is_sealed(test_path(t, "y.h5")));
    assert_fails(clvi_h5_open(t->ctx, test_path(t, "y.h5"), &h5), CLV_ERR_FORMAT, "damaged: the seal promises");
    bytes[size - 1] ^= 1;
    assert_ok(clvi_file_write(test_path(t, "y.h5"), bytes, size));
    assert_fails(clvi_h5_open(t->ctx, test_path(t, "y.h5"), &h5), CLV_ERR_FORMAT, "damaged: checksum");
    clvi_free(t->ctx, bytes);
    assert_false(clvi_h5_is_sealed(test_path(t, "absent.h5")));
}

static void a_file_without_a_seal_is_not_shown_to_hdf5_where_one_is_wanted(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    write_sample(t, test_path(t, "sealed.h5"), true);
    write_sample(t, test_path(t, "plain.h5"), false);
    assert_ok(clvi_h5_open_sealed(t->ctx, test_path(t, "sealed.h5"), "checkpoint", &h5));
    assert_true(clvi_h5_sealed(h5));
    clvi_h5_close(h5);
    assert_fails(clvi_h5_open_sealed(t->ctx, test_path(t, "plain.h5"), "checkpoint", &h5), CLV_ERR_FORMAT,
                 "is no checkpoint: it does not begin with Cleave's seal");
    assert_null(h5);
    assert_ok(clvi_h5_open_untrusted(t->ctx, test_path(t, "plain.h5"), &h5));
    assert_false(clvi_h5_sealed(h5));
    clvi_h5_close(h5);
    const char *damaged = test_path(t, "damaged.h5");
    uint8_t *bytes;
    size_t size;
    assert_ok(clvi_file_read(t->ctx, test_path(t, "sealed.h5"), 1 << 20, &bytes, &size));
    bytes[size / 2] ^= 1;
    assert_ok(clvi_file_write(damaged, bytes, size));
    assert_fails(clvi_h5_open_sealed(t->ctx, damaged, "checkpoint", &h5), CLV_ERR_FORMAT, "damaged: checksum");
    assert_fails(clvi_h5_open_untrusted(t->ctx, damaged, &h5), CLV_ERR_FORMAT, "damaged: checksum");
    assert_null(h5);
    clvi_free(t->ctx, bytes);
}

static int entries(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    if (!dir) return -1;
    while (readdir(dir)) count++;
    closedir(dir);
    return count - 2;
}

static void giving_up_leaves_nothing_and_keeps_the_old_file(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5;
    const char *path = test_path(t, "d/x.h5");
    assert_ok(clvi_mkdirs(test_path(t, "d")));
    assert_ok(clvi_h5_create(t->ctx, path, true, &h5));
    assert_ok(clvi_h5_group(h5, "g"));
    clvi_h5_close(h5);
    assert_int_equal(entries(test_path(t, "d")), 0);
    write_sample(t, path, true);
    assert_ok(clvi_h5_create(t->ctx, path, true, &h5));
    assert_ok(clvi_h5_group(h5, "g"));
    clvi_h5_close(h5);
    assert_int_equal(entries(test_path(t, "d")), 1);
    assert_ok(clvi_h5_open(t->ctx, path, &h5));
    check_sample(h5);
    clvi_h5_close(h5);
    assert_fails(clvi_h5_create(t->ctx, test_path(t, "no/x.h5"), true, &h5), CLV_ERR_IO, "No such file");
    assert_ok(clvi_mkdirs(test_path(t, "d/taken")));
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "d/taken"), true, &h5));
    assert_fails(clvi_h5_commit(h5), CLV_ERR_IO, "cannot rename");
    assert_int_equal(entries(test_path(t, "d")), 2);
}

/* ---- files by others, written with HDF5 itself ---- */

static hid_t foreign_begin(const char *path)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static hid_t foreign_dataset(hid_t file, const char *name, hid_t type, int ndim, const hsize_t *shape, hid_t plan)
{
    const hid_t space = ndim ? H5Screate_simple(ndim, shape, NULL) : H5Screate(H5S_SCALAR);
    const hid_t id = H5Dcreate2(file, name, type, space, H5P_DEFAULT, plan, H5P_DEFAULT);
    assert_true(space >= 0 && id >= 0);
    H5Sclose(space);
    return id;
}

/* Bytes of two data sets lie in a file before HDF5 sees it: one of 7 bytes, one of 100,000. */
static void a_file_is_built_around_bytes_that_are_there(void **state)
{
    test_env *t = *state;
    const char *temp = test_path(t, "x.part"), *path = test_path(t, "x.h5");
    const int64_t small = CLVI_H5_HEAD, large = CLVI_H5_HEAD + 64, end = large + 100000;
    uint8_t *bytes = malloc((size_t)end), *file = NULL, back[100000];
    size_t size = 0;
    clvi_h5 *h5;
    for (int64_t i = 0; i < end; i++) bytes[i] = (uint8_t)(i * 37 >> 3);
    /* The second time over what a half-written file left. */
    for (int attempt = 0; attempt < 2; attempt++) {
        if (attempt == 0) assert_ok(clvi_file_write(temp, bytes, (size_t)end));
        assert_ok(clvi_h5_create_around(t->ctx, temp, path, end, &h5));
        assert_ok(clvi_h5_adopt(h5, "a/small", 1, (int64_t[]) { 7 }, small));
        assert_ok(clvi_h5_adopt(h5, "b/large", 2, (int64_t[]) { 1000, 100 }, large));
        assert_fails(clvi_h5_adopt(h5, "c", 1, (int64_t[]) { 7 }, end - 6), CLV_ERR_INVALID, "no 7 bytes were kept");
        write_members(h5);
        if (attempt == 0) clvi_h5_close(h5);
        else assert_ok(clvi_h5_commit(h5));
        assert_int_equal(access(temp, F_OK), attempt == 0 ? 0 : -1);
    }
    assert_ok(clvi_h5_open(t->ctx, path, &h5));
    check_sample(h5);
    clv_view v = clv_view_2d(back, CLV_U8, 1000, 100);
    assert_ok(clvi_h5_read(h5, "b/large", &v));
    assert_memory_equal(back, bytes + large, sizeof back);
    v = clv_view_1d(back, CLV_U8, 7);
    assert_ok(clvi_h5_read(h5, "a/small", &v));
    assert_memory_equal(back, bytes + small, 7);
    clvi_h5_close(h5);
    assert_ok(clvi_file_read(t->ctx, path, 1 << 20, &file, &size));
    assert_memory_equal(file + small, bytes + small, 7);
    assert_true((int64_t)size > end && (int64_t)size < end + 16384);
    clvi_free(t->ctx, file);
    free(bytes);
}

static void sizes_beyond_the_file_are_refused(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x.h5");
    const hsize_t huge[] = { (hsize_t)1 << 40 }, chunk[] = { 1024 }, wide[] = { (hsize_t)1 << 29 };
    const hsize_t most[] = { (hsize_t)1 << 32, (hsize_t)1 << 31 };
    const hid_t file = foreign_begin(path), plan = H5Pcreate(H5P_DATASET_CREATE);
    H5Dclose(foreign_dataset(file, "contiguous", H5T_NATIVE_FLOAT, 1, huge, H5P_DEFAULT));   /* never allocated */
    H5Pset_chunk(plan, 1, chunk);
    H5Dclose(foreign_dataset(file, "chunked", H5T_NATIVE_FLOAT, 1, huge, plan));
    H5Pset_chunk(plan, 1, wide);
    H5Dclose(foreign_dataset(file, "wide", H5T_NATIVE_FLOAT, 1, wide, plan));
    H5Pset_chunk(plan, 2, (hsize_t[]) { 1, 1 });
    H5Dclose(foreign_dataset(file, "most", H5T_NATIVE_UINT8, 2, most, plan));
    H5Pclose(plan);
    H5Fclose(file);
    clvi_h5 *h5;
    clvi_h5_info info;
    float x;
    const clv_view v = clv_view_1d(&x, CLV_F32, 1);
    assert_ok(clvi_h5_open(t->ctx, path, &h5));
    assert_fails(clvi_h5_stat(h5, "contiguous", &info), CLV_ERR_FORMAT, "promises 4398046511104 bytes, the file has");
    assert_fails(clvi_h5_read_rows(h5, "contiguous", 0, 1, &v), CLV_ERR_FORMAT, "promises");
    assert_fails(clvi_h5_stat(h5, "chunked", &info), CLV_ERR_FORMAT, "more than 4096 times the file's");
    assert_fails(clvi_h5_stat(h5, "wide", &info), CLV_ERR_FORMAT, "chunks of data set 'wide' are larger than");
    assert_fails(clvi_h5_stat(h5, "most", &info), CLV_ERR_FORMAT, "overflows");
    clvi_h5_close(h5);
}

static void what_leads_to_other_files_is_refused(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x.h5");
    const hsize_t shape[] = { 4 };
    char outside[600];
    snprintf(outside, sizeof outside, "%s", test_path(t, "secret"));
    assert_ok(clvi_file_write(outside, "secretsecretsecret", 16));
    write_sample(t, test_path(t, "other.h5"), false);
    const hid_t file = foreign_begin(path), plan = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(plan, outside, 0, 16);
    H5Dclose(foreign_dataset(file, "external", H5T_NATIVE_FLOAT, 1, shape, plan));
    H5Pclose(plan);
    const hid_t virtual = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, (hsize_t[]) { 3 }, NULL);
    H5Pset_virtual(virtual, space, test_path(t, "other.h5"), "bytes", space);
    H5Dclose(foreign_dataset(file, "virtual", H5T_NATIVE_UINT8, 1, (hsize_t[]) { 3 }, virtual));
    H5Pclose(virtual);
    H5Sclose(space);
    H5Lcreate_external(test_path(t, "other.h5"), "/", file, "link", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/", file, "loop", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    clvi_h5 *h5;
    clvi_h5_info info;
    assert_ok(clvi_h5_open(t->ctx, path, &h5));
    assert_fails(clvi_h5_stat(h5, "external", &info), CLV_ERR_UNSUPPORTED, "lies in other files");
    assert_fails(clvi_h5_stat(h5, "virtual", &info), CLV_ERR_UNSUPPORTED, "put together from other data sets");
    assert_fails(clvi_h5_stat(h5, "link/bytes", &info), CLV_ERR_FORMAT, "there is no data set 'link/bytes'");
    assert_fails(clvi_h5_stat(h5, "loop/loop/external", &info), CLV_ERR_FORMAT, "there is no data set");
    assert_false(clvi_h5_has(h5, "link"));
    clvi_h5_close(h5);
}

static void other_types_ranks_and_filters(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x.h5");
    const hsize_t ones[7] = { 1, 1, 1, 1, 1, 1, 1 }, shape[] = { 64 };
    const hid_t file = foreign_begin(path), plan = H5Pcreate(H5P_DATASET_CREATE), text = H5Tcopy(H5T_C_S1);
    const hid_t pair = H5Tcreate(H5T_COMPOUND, 8), null = H5Screate(H5S_NULL);
    int32_t numbers[64], back[64];
    for (int i = 0; i < 64; i++) numbers[i] = i * i - 50;
    H5Tinsert(pair, "x", 0, H5T_NATIVE_FLOAT);
    H5Dclose(foreign_dataset(file, "pair", pair, 0, NULL, H5P_DEFAULT));
    H5Dclose(foreign_dataset(file, "text", text, 0, NULL, H5P_DEFAULT));
    H5Dclose(foreign_dataset(file, "rank7", H5T_NATIVE_FLOAT, 7, ones, H5P_DEFAULT));
    H5Dclose(H5Dcreate2(file, "null", H5T_NATIVE_FLOAT, null, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    hid_t id = foreign_dataset(file, "big-endian", H5T_STD_I16BE, 1, shape, H5P_DEFAULT);
    H5Dwrite(id, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers);
    H5Dclose(id);
    H5Pset_chunk(plan, 1, (hsize_t[]) { 10 });
    H5Pset_shuffle(plan);
    H5Pset_deflate(plan, 6);
    H5Pset_fletcher32(plan);
    id = foreign_dataset(file, "packed", H5T_NATIVE_INT32, 1, shape, plan);
    H5Dwrite(id, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers);
    H5Dclose(id);
    H5Pset_scaleoffset(plan, H5Z_SO_INT, 0);
    H5Dclose(foreign_dataset(file, "scaled", H5T_NATIVE_INT32, 1, shape, plan));
    H5Sclose(null);
    H5Tclose(pair);
    H5Tclose(text);
    H5Pclose(plan);
    H5Fclose(file);
    clvi_h5 *h5;
    clvi_h5_info info;
    const clv_view v = clv_view_1d(back, CLV_I32, 64);
    assert_ok(clvi_h5_open(t->ctx, path, &h5));
    assert_fails(clvi_h5_stat(h5, "pair", &info), CLV_ERR_FORMAT, "'pair' does not hold numbers");
    assert_fails(clvi_h5_stat(h5, "text", &info), CLV_ERR_FORMAT, "'text' does not hold numbers");
    assert_fails(clvi_h5_stat(h5, "rank7", &info), CLV_ERR_FORMAT, "'rank7' has 7 dimensions, want 0 to 6");
    assert_fails(clvi_h5_stat(h5, "null", &info), CLV_ERR_FORMAT, "'null' has");
    assert_fails(clvi_h5_stat(h5, "scaled", &info), CLV_ERR_UNSUPPORTED, "uses HDF5 filter 6");
    const char *const readable[] = { "big-endian", "packed" };
    for (int i = 0; i < 2; i++) {
        assert_ok(clvi_h5_stat(h5, readable[i], &info));
        assert_int_equal(info.dtype, CLV_I32);
        assert_int_equal(info.offset, -1);
        memset(back, 0, sizeof back);
        assert_ok(clvi_h5_read(h5, readable[i], &v));
        assert_memory_equal(back, numbers, sizeof back);
    }
    clvi_h5_close(h5);
}

static void foreign_attribute(hid_t file, const char *name, hid_t type, hsize_t count, const void *values)
{
    const hid_t space = H5Screate_simple(1, &count, NULL);
    const hid_t id = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(id >= 0 && H5Awrite(id, type, values) >= 0);
    H5Aclose(id);
    H5Sclose(space);
}

static void other_peoples_strings_are_read(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x.h5");
    const char *const words[2] = { "variable", "of any length" };
    const hid_t file = foreign_begin(path), variable = H5Tcopy(H5T_C_S1), blanks = H5Tcopy(H5T_FORTRAN_S1);
    const hid_t full = H5Tcopy(H5T_C_S1);
    H5Tset_size(variable, H5T_VARIABLE);
    H5Tset_cset(variable, H5T_CSET_UTF8);
    H5Tset_size(blanks, 6);
    H5Tset_size(full, 3);
    H5Tset_strpad(full, H5T_STR_NULLPAD);
    foreign_attribute(file, "variable", variable, 2, words);
    foreign_attribute(file, "blanks", blanks, 2, "one   two 2 ");
    foreign_attribute(file, "full", full, 2, "abcdef");
    H5Tclose(variable);
    H5Tclose(blanks);
    H5Tclose(full);
    H5Fclose(file);
    const struct { const char *name, *want[2]; } known[] = {
        { "variable", { "variable", "of any length" } }, { "blanks", { "one", "two 2" } }, { "full", { "abc", "def" } },
    };
    clvi_h5 *h5;
    assert_ok(clvi_h5_open(t->ctx, path, &h5));
    for (int i = 0; i < 3; i++) {
        char **texts;
        int64_t count;
        assert_ok(clvi_h5_attr_texts(h5, "", known[i].name, &count, &texts));
        assert_int_equal(count, 2);
        for (int j = 0; j < 2; j++) assert_string_equal(texts[j], known[i].want[j]);
        clvi_free(t->ctx, texts);
    }
    clvi_h5_close(h5);
}

static herr_t print_somewhere(hid_t stack, void *arg)
{
    (void)stack, (void)arg;
    return 0;
}

static void the_applications_own_error_printing_is_kept(void **state)
{
    test_env *t = *state;
    H5E_auto2_t before, after;
    void *before_arg, *arg;
    clvi_h5 *h5;
    int mark;
    H5Eget_auto2(H5E_DEFAULT, &before, &before_arg);
    H5Eset_auto2(H5E_DEFAULT, print_somewhere, &mark);
    assert_fails(clvi_h5_open_memory(t->ctx, "junk", 4, &h5), CLV_ERR_FORMAT, "as HDF5");
    H5Eget_auto2(H5E_DEFAULT, &after, &arg);
    H5Eset_auto2(H5E_DEFAULT, before, before_arg);
    assert_true(after == print_somewhere);
    assert_ptr_equal(arg, &mark);
}

/* Data are read some chunks at a time: the pieces must meet, whatever the chunks are. */
static void data_in_chunks_of_any_shape_come_back_whole(void **state)
{
    enum { ROWS = 299, COUNT = ROWS * 5 * 7 };
    static const hsize_t shape[] = { ROWS, 5, 7 };
    static const hsize_t chunks[][3] = { { 1, 5, 7 }, { 1, 1, 1 }, { 3, 2, 7 }, { 7, 5, 3 }, { 50, 5, 7 },
                                           { ROWS, 5, 7 } };
    test_env *t = *state;
    static int32_t numbers[COUNT], back[COUNT];
    for (int i = 0; i < COUNT; i++) numbers[i] = i * 7919;
    const clv_view v = clv_view_dense(back, CLV_I32, 3, (const int64_t[]) { ROWS, 5, 7 });
    for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) {
        const char *path = test_path(t, "chunks.h5");
        const hid_t file = foreign_begin(path), plan = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_chunk(plan, 3, chunks[k]);
        const hid_t id = foreign_dataset(file, "x", H5T_NATIVE_INT32, 3, shape, plan);
        H5Dwrite(id, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers);
        H5Dclose(id);
        H5Pclose(plan);
        H5Fclose(file);
        clvi_h5 *h5;
        assert_ok(clvi_h5_open(t->ctx, path, &h5));
        memset(back, 0, sizeof back);
        assert_ok(clvi_h5_read(h5, "x", &v));
        assert_memory_equal(back, numbers, sizeof back);
        clvi_h5_close(h5);
    }
}

TEST_MAIN(TEST(a_file_without_a_seal_is_not_shown_to_hdf5_where_one_is_wanted),
          TEST(what_is_written_comes_back), TEST(a_file_in_memory_reads_like_one_on_disk), TEST(texts_come_back),
          TEST(members_and_attributes_are_listed_in_order), TEST(attributes_may_be_large),
          TEST(the_same_content_gives_the_same_bytes), TEST(each_type_comes_back_with_its_place),
          TEST(rows_are_written_and_read_in_parts), TEST(types_are_converted_but_integers_exactly),
          TEST(what_is_not_there_is_named), TEST(what_is_not_hdf5_is_refused),
          TEST(any_damaged_byte_of_a_sealed_file_is_found), TEST(giving_up_leaves_nothing_and_keeps_the_old_file),
          TEST(a_file_is_built_around_bytes_that_are_there), TEST(sizes_beyond_the_file_are_refused),
          TEST(what_leads_to_other_files_is_refused), TEST(data_in_chunks_of_any_shape_come_back_whole),
          TEST(other_types_ranks_and_filters), TEST(other_peoples_strings_are_read),
          TEST(the_applications_own_error_printing_is_kept))
