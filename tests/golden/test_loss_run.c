/* test_loss_run.c: evaluating losses on inputs from files: what comes out is right and complete, files of other writers
 * are read, and bfloat16 does what float64 does with the rounded inputs. */
#include "tests/support/test.h"
#include <cleave/loss.h>
#include "core/h5.h"
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "tests/golden/losses/"

typedef struct tally {
    const char *loss;
    int         compared, left_out, bad;
} tally;

static void count(const clv_loss_check_result *r, void *user)
{
    tally *sum = user;
    sum->compared += r->verdict != CLV_CHECK_NOT_COMPARED;
    sum->left_out += r->verdict == CLV_CHECK_NOT_COMPARED;
    if (r->verdict != CLV_CHECK_FAILED) return;
    print_error("%s %s: off by %.3g, allowed %.3g: %s\n", sum->loss, r->name, r->error, r->tolerance, r->note);
    sum->bad++;
}

static void what_comes_out_is_a_file_that_checks(void **state)
{
    test_env *t = *state;
    clv_class_info info;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        char path[256];
        tally given = { .loss = info.name }, made = { .loss = info.name };
        const char *out = test_path(t, "out.h5");
        snprintf(path, sizeof path, FOLDER "%s.h5", info.name);
        assert_ok(clv_loss_run(t->ctx, info.name, path, out, CLV_F64, false, NULL, NULL));
        assert_ok(clv_loss_check(t->ctx, path, CLV_F64, false, count, &given, NULL));
        assert_ok(clv_loss_check(t->ctx, out, CLV_F64, true, count, &made, NULL));
        print_message("%s: %d arrays written\n", info.name, made.compared);
        assert_int_equal(given.bad + made.bad, 0);
        assert_int_equal(made.left_out, 0);
        assert_true(made.compared >= given.compared);
    }
}

static void every_loss_takes_bfloat16(void **state)
{
    test_env *t = *state;
    clv_class_info info;
    int bad = 0;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        char path[256];
        tally sum = { .loss = info.name };
        snprintf(path, sizeof path, FOLDER "%s.h5", info.name);
        assert_ok(clv_loss_check(t->ctx, path, CLV_BF16, false, count, &sum, NULL));
        assert_true(sum.compared >= 4);
        bad += sum.bad;
    }
    assert_int_equal(bad, 0);
}

/* ---- writing HDF5 as others do ---- */

static hid_t new_group(hid_t file, const char *name)
{
    const hid_t plan = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(plan, 1);
    const hid_t group = H5Gcreate2(file, name, plan, H5P_DEFAULT, H5P_DEFAULT);
    H5Pclose(plan);
    assert_true(group >= 0);
    return group;
}

static void put(hid_t where, const char *name, hid_t file_type, hid_t type, int ndim, const hsize_t *shape,
                const void *data)
{
    const hid_t space = H5Screate_simple(ndim, shape, NULL);
    const hid_t set = H5Dcreate2(where, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

static void put_attr(hid_t where, const char *name, hid_t type, const void *data)
{
    const hid_t space = H5Screate(H5S_SCALAR), attr = H5Acreate2(where, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attr >= 0 && H5Awrite(attr, type, data) >= 0);
    H5Aclose(attr);
    H5Sclose(space);
}

/* ---- what the comparison must not overlook ---- */

static void copy_file(const char *from, const char *to)
{
    char block[4096];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    for (size_t n = fread(block, 1, sizeof block, in); n > 0; n = fread(block, 1, sizeof block, in))
        assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* Multiplies one number of a data set (at most 64 numbers). */
static void spoil(const char *path, const char *name, int index, double by)
{
    double values[64];
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(set >= 0 && H5Dget_storage_size(set) <= sizeof values);
    assert_true(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    values[index] *= by;
    assert_true(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(set);
    assert_true(H5Fclose(file) >= 0);
}

static int bad_in(test_env *t, const char *path, clv_dtype dtype)
{
    tally sum = { .loss = "feature_transform" };
    assert_ok(clv_loss_check(t->ctx, path, dtype, false, count, &sum, NULL));
    return sum.bad;
}

/* An output whose numbers are about 1e-18. */
static void small_numbers_are_compared_like_others(void **state)
{
    test_env *t = *state;
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(t, "small.h5"));
    copy_file(FOLDER "feature_transform.h5", path);
    assert_int_equal(bad_in(t, path, CLV_F64), 0);
    spoil(path, "pos_only_dim/outputs/exp_pos", 3, 1.01);
    assert_int_equal(bad_in(t, path, CLV_F64), 1);
    assert_int_equal(bad_in(t, path, CLV_F32), 1);
}

/* exp_pos of two queries: e^180, beyond float32, and e^2. */
static void write_overflow(const char *path)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), group = new_group(file, "one");
    const hid_t inputs = new_group(file, "one/inputs");
    const double t = 0.05, q[] = { 3, 0, 0.1, 0 }, k[] = { 3, 0, 1, 0 }, queue[] = { 0, 1 };
    const int no = 0;
    put_attr(group, "temperature", H5T_NATIVE_DOUBLE, &t);
    put_attr(group, "normalize", H5T_NATIVE_INT, &no);
    put(inputs, "q", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 2, (hsize_t[]) { 2, 2 }, q);
    put(inputs, "k", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 2, (hsize_t[]) { 2, 2 }, k);
    put(inputs, "queue", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 2, (hsize_t[]) { 1, 2 }, queue);
    put(inputs, "lambda_pos", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 2, (hsize_t[]) { 1, 1 }, &(double) { 1 });
    put(inputs, "lambda_neg", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 2, (hsize_t[]) { 1, 1 }, &(double) { 1 });
    put(inputs, "perm", H5T_STD_I64LE, H5T_NATIVE_INT, 1, (hsize_t[]) { 1 }, &no);
    H5Gclose(inputs);
    H5Gclose(group);
    assert_true(H5Fclose(file) >= 0);
}

static void a_number_beyond_the_type_hides_no_other(void **state)
{
    test_env *t = *state;
    char in[512], path[512];
    const clv_dtype types[] = { CLV_F64, CLV_F32, CLV_BF16 };
    snprintf(in, sizeof in, "%s", test_path(t, "in.h5"));
    snprintf(path, sizeof path, "%s", test_path(t, "overflow.h5"));
    write_overflow(in);
    assert_ok(clv_loss_run(t->ctx, "feature_transform", in, path, CLV_F64, false, NULL, NULL));
    for (int i = 0; i < 3; i++) assert_int_equal(bad_in(t, path, types[i]), 0);
    spoil(path, "one/outputs/exp_pos", 1, 1.1);
    assert_int_equal(bad_in(t, path, CLV_F32), 1);
}

static void a_case_that_fails_does_not_hide_the_others(void **state)
{
    test_env *t = *state;
    tally sum = { .loss = "feature_transform" };
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(t, "some.h5"));
    copy_file(FOLDER "feature_transform.h5", path);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Ldelete(file, "near_duplicate_positive_t0p01/inputs/queue", H5P_DEFAULT) >= 0);
    assert_true(H5Ldelete(file, "pos_only_dim/outputs/loss", H5P_DEFAULT) >= 0);
    H5Gclose(new_group(file, "a group of something else"));
    assert_true(H5Fclose(file) >= 0);
    int64_t failed = 0;
    tally whole = { .loss = "feature_transform" };
    assert_ok(clv_loss_check(t->ctx, FOLDER "feature_transform.h5", CLV_F64, false, count, &whole, NULL));
    assert_ok(clv_loss_check(t->ctx, path, CLV_F64, false, count, &sum, &failed));
    assert_int_equal(sum.bad, 3);
    assert_int_equal(failed, 3);
    assert_true(sum.compared > whole.compared / 2);
}

static void a_file_without_cases_is_no_success(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    const char *path = test_path(t, "empty.h5");
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_set_attr_text(h5, "/", "format", "cleave-golden-1"));
    assert_ok(clvi_h5_set_attr_text(h5, "/", "loss", "dice"));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_loss_check(t->ctx, path, CLV_F64, false, NULL, NULL, NULL), CLV_ERR_FORMAT, "no cases");
}

/* ---- files of others ---- */

/* As Python's h5py writes truth values: an enumeration of two bytes. */
static hid_t make_bool(void)
{
    const hid_t type = H5Tenum_create(H5T_NATIVE_INT8);
    H5Tenum_insert(type, "FALSE", &(int8_t) { 0 });
    H5Tenum_insert(type, "TRUE", &(int8_t) { 1 });
    return type;
}

static hid_t make_half(void)
{
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

/* One query whose key and only valid queue row are orthogonal and parallel to it: loss log(1 + e^{1/t}). */
static void write_foreign(const char *path, const char *attr)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), group = new_group(file, "one");
    const hid_t inputs = new_group(file, "one/inputs"), boolean = make_bool(), half = make_half();
    const float q[] = { 1, 0 }, k[] = { 0, 1 }, queue[] = { 1, 0, 0.6f, 0.8f }, t = 0.5f;
    const int8_t yes = 1, valid[] = { 1, 0 };
    put_attr(group, attr, H5T_NATIVE_FLOAT, &t);
    put_attr(group, "normalize", boolean, &yes);
    put(inputs, "query", half, H5T_NATIVE_FLOAT, 2, (hsize_t[]) { 1, 2 }, q);
    put(inputs, "key", H5T_IEEE_F32BE, H5T_NATIVE_FLOAT, 2, (hsize_t[]) { 1, 2 }, k);
    put(inputs, "queue", H5T_IEEE_F64LE, H5T_NATIVE_FLOAT, 2, (hsize_t[]) { 2, 2 }, queue);
    put(inputs, "queue_valid", boolean, boolean, 1, (hsize_t[]) { 2 }, valid);
    H5Tclose(half);
    H5Tclose(boolean);
    H5Gclose(inputs);
    H5Gclose(group);
    assert_true(H5Fclose(file) >= 0);
}

static void take_value(const char *name, double value, const char *note, void *user)
{
    assert_string_equal(name, "one");
    assert_string_equal(note, "");
    *(double *)user = value;
}

static void files_of_other_writers_are_read(void **state)
{
    test_env *t = *state;
    char in[512];
    double value = 0;
    tally sum = { .loss = "moco_queue" };
    snprintf(in, sizeof in, "%s", test_path(t, "in.h5"));
    write_foreign(in, "temperature");
    const char *out = test_path(t, "out.h5");
    assert_ok(clv_loss_run(t->ctx, "moco_queue", in, out, CLV_F64, false, take_value, &value));
    assert_near(value, log1p(exp(2)), 1e-14);
    assert_ok(clv_loss_check(t->ctx, out, CLV_F64, false, count, &sum, NULL));
    assert_int_equal(sum.compared, 5);   /* loss, gradient, logits, per_row, prob_pos */
    assert_int_equal(sum.bad, 0);
}

static void what_cannot_run_is_named_and_leaves_no_file(void **state)
{
    test_env *t = *state;
    char in[512], out[512];
    clvi_h5 *h5 = NULL;
    snprintf(in, sizeof in, "%s", test_path(t, "in.h5"));
    snprintf(out, sizeof out, "%s", test_path(t, "out.h5"));
    write_foreign(in, "temprature");
    assert_fails(clv_loss_run(t->ctx, "moco_queue", in, out, CLV_F64, false, NULL, NULL), CLV_ERR_INVALID,
                 "one: 'temprature' is no option of moco_queue");
    write_foreign(in, "temperature");
    assert_fails(clv_loss_run(t->ctx, "moco_quue", in, out, CLV_F64, false, NULL, NULL), CLV_ERR_INVALID,
                 "did you mean 'moco_queue'");
    assert_fails(clv_loss_run(t->ctx, "dice", in, out, CLV_F64, false, NULL, NULL), CLV_ERR_INVALID,
                 "'temperature' is no option of dice");
    assert_fails(clv_loss_run(t->ctx, "dice", FOLDER "focal.h5", out, CLV_F64, false, NULL, NULL), CLV_ERR_INVALID,
                 "about the loss 'focal'");
    assert_fails(clv_loss_run(t->ctx, "dice", test_path(t, "none.h5"), out, CLV_F64, false, NULL, NULL), CLV_ERR_IO,
                 "none.h5");
    assert_ok(clvi_h5_create(t->ctx, in, false, &h5));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_loss_run(t->ctx, "dice", in, out, CLV_F64, false, NULL, NULL), CLV_ERR_FORMAT, "no cases");
    assert_ok(clvi_h5_create(t->ctx, in, false, &h5));
    assert_ok(clvi_h5_group(h5, "one/inputs"));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_loss_run(t->ctx, "dice", in, out, CLV_F64, false, NULL, NULL), CLV_ERR_INVALID,
                 "one: dice: input 'logits' is missing");
    assert_fails(clv_loss_run(t->ctx, "dice", in, out, CLV_U8, false, NULL, NULL), CLV_ERR_INVALID, "uint8");
    assert_true(access(out, F_OK) != 0);
}

TEST_MAIN(TEST(what_comes_out_is_a_file_that_checks), TEST(every_loss_takes_bfloat16),
          TEST(small_numbers_are_compared_like_others), TEST(a_number_beyond_the_type_hides_no_other),
          TEST(a_case_that_fails_does_not_hide_the_others), TEST(a_file_without_cases_is_no_success),
          TEST(files_of_other_writers_are_read), TEST(what_cannot_run_is_named_and_leaves_no_file))
