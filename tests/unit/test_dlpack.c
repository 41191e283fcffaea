/* test_dlpack.c: giving tensors away and borrowing them. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "core/dlpack.h"
#include <cleave/view.h>
#include <string.h>

/* Where a receiver compiled with the standard's own header looks (64-bit). */
static void structs_have_the_standards_layout(void **state)
{
    (void)state;
    assert_int_equal(sizeof(DLDataType), 4);
    assert_int_equal(sizeof(DLTensor), 48);
    assert_int_equal(offsetof(DLTensor, device), 8);
    assert_int_equal(offsetof(DLTensor, ndim), 16);
    assert_int_equal(offsetof(DLTensor, dtype), 20);
    assert_int_equal(offsetof(DLTensor, shape), 24);
    assert_int_equal(offsetof(DLTensor, strides), 32);
    assert_int_equal(offsetof(DLTensor, byte_offset), 40);
    assert_int_equal(sizeof(DLManagedTensor), 64);
    assert_int_equal(offsetof(DLManagedTensor, manager_ctx), 48);
    assert_int_equal(offsetof(DLManagedTensor, deleter), 56);
    assert_int_equal(sizeof(DLManagedTensorVersioned), 80);
    assert_int_equal(offsetof(DLManagedTensorVersioned, manager_ctx), 8);
    assert_int_equal(offsetof(DLManagedTensorVersioned, deleter), 16);
    assert_int_equal(offsetof(DLManagedTensorVersioned, flags), 24);
    assert_int_equal(offsetof(DLManagedTensorVersioned, dl_tensor), 32);
}

static void count_release(void *owner)
{
    ++*(int *)owner;
}

static void each_type_comes_back_as_it_went(void **state)
{
    (void)state;
    const struct { uint8_t code, bits; } want[] = { { 2, 32 }, { 2, 64 }, { 4, 16 }, { 1, 8 }, { 0, 32 }, { 0, 64 } };
    int64_t memory[24] = { 0 };
    for (int i = 0; i < CLV_DTYPE_COUNT; i++) {
        clv_view v = clv_view_nhwc(memory, (clv_dtype)i, 1, 3, 2, 4), back;
        DLManagedTensor *plain;
        DLManagedTensorVersioned *versioned;
        int released = 0;
        bool read_only = false;
        assert_ok(clv_view_to_dlpack(&v, count_release, &released, &plain));
        assert_int_equal(plain->dl_tensor.dtype.code, want[i].code);
        assert_int_equal(plain->dl_tensor.dtype.bits, want[i].bits);
        assert_int_equal(plain->dl_tensor.dtype.lanes, 1);
        assert_int_equal(plain->dl_tensor.device.device_type, 1);
        assert_ok(clv_view_from_dlpack(plain, &back));
        assert_memory_equal(&back, &v, sizeof v);
        assert_int_equal(released, 0);
        plain->deleter(plain);
        assert_int_equal(released, 1);
        assert_ok(clv_view_to_dlpack_versioned(&v, true, count_release, &released, &versioned));
        assert_int_equal(versioned->version.major, 1);
        assert_ok(clv_view_from_dlpack_versioned(versioned, &read_only, &back));
        assert_true(read_only);
        assert_memory_equal(&back, &v, sizeof v);
        versioned->deleter(versioned);
        assert_int_equal(released, 2);
    }
}

static void a_tensor_may_have_no_owner(void **state)
{
    (void)state;
    float x[2] = { 1, 2 };
    const clv_view v = clv_view_1d(x, CLV_F32, 2);
    DLManagedTensor *plain;
    DLManagedTensorVersioned *versioned;
    bool read_only = true;
    clv_view back;
    assert_ok(clv_view_to_dlpack(&v, NULL, NULL, &plain));
    plain->deleter(plain);
    assert_ok(clv_view_to_dlpack_versioned(&v, false, NULL, NULL, &versioned));
    assert_ok(clv_view_from_dlpack_versioned(versioned, &read_only, &back));
    assert_false(read_only);
    versioned->deleter(versioned);
}

typedef struct foreign {
    DLManagedTensorVersioned versioned;
    DLManagedTensor          plain;
    int64_t                  shape[8];
    int64_t                  strides[8];
    double                   data[8];
} foreign;

/* A 2 x 3 float32 tensor as somebody else would make it, 8 bytes into its memory. */
static foreign *make_foreign(foreign *f)
{
    *f = (foreign) { .shape = { 2, 3, 1, 1, 1, 1, 1, 1 }, .strides = { 3, 1 } };
    f->plain.dl_tensor = (DLTensor) { .data = f->data, .device = { CLVI_DL_CPU, 0 }, .ndim = 2,
                                      .dtype = { CLVI_DL_FLOAT, 32, 1 }, .shape = f->shape, .byte_offset = 8 };
    f->versioned.version = (DLPackVersion) { 1, 3 };
    f->versioned.dl_tensor = f->plain.dl_tensor;
    return f;
}

static void foreign_tensors_are_borrowed(void **state)
{
    (void)state;
    foreign f;
    clv_view v;
    assert_ok(clv_view_from_dlpack(&make_foreign(&f)->plain, &v));
    assert_ptr_equal(v.data, (char *)f.data + 8);
    assert_true(clv_view_is_dense(&v));   /* strides NULL: row-major */
    assert_int_equal(v.shape[1], 3);
    f.plain.dl_tensor.strides = (int64_t[]) { 1, 2 };
    assert_ok(clv_view_from_dlpack(&f.plain, &v));
    assert_int_equal(v.stride[1], 2);
}

static void foreign_tensors_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    foreign f;
    clv_view v;
    DLTensor *t = &make_foreign(&f)->plain.dl_tensor;
    t->device.device_type = 2;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_UNSUPPORTED, "on device type 2, want the CPU");
    t = &make_foreign(&f)->plain.dl_tensor;
    t->ndim = 7;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_UNSUPPORTED, "7 dimensions, want 0 to 6");
    t->ndim = -1;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_UNSUPPORTED, "-1 dimensions");
    t = &make_foreign(&f)->plain.dl_tensor;
    t->dtype.lanes = 4;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_UNSUPPORTED, "4 lanes, want 1");
    const DLDataType unknown[] = { { CLVI_DL_FLOAT, 16, 1 }, { CLVI_DL_UINT, 16, 1 }, { CLVI_DL_INT, 8, 1 },
                                   { 5, 64, 1 }, { CLVI_DL_BFLOAT, 32, 1 } };
    for (size_t i = 0; i < CLVI_COUNT(unknown); i++) {
        t = &make_foreign(&f)->plain.dl_tensor;
        t->dtype = unknown[i];
        assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_UNSUPPORTED, "no such type here");
    }
    t = &make_foreign(&f)->plain.dl_tensor;
    t->byte_offset = 2;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_UNSUPPORTED, "not aligned");
    t = &make_foreign(&f)->plain.dl_tensor;
    t->data = NULL;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_INVALID, "no data");
    make_foreign(&f)->shape[0] = -1;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_INVALID, "negative");
    f.shape[0] = INT64_MAX;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_INVALID, "overflowing");
    make_foreign(&f)->plain.dl_tensor.shape = NULL;
    assert_fails(clv_view_from_dlpack(&f.plain, &v), CLV_ERR_INVALID, "shape is NULL");
    assert_fails(clv_view_from_dlpack(NULL, &v), CLV_ERR_INVALID, "an argument is NULL");
}

static void another_major_version_is_refused(void **state)
{
    (void)state;
    foreign f;
    clv_view v;
    bool read_only;
    assert_ok(clv_view_from_dlpack_versioned(&make_foreign(&f)->versioned, &read_only, &v));
    f.versioned.version.major = 2;
    assert_fails(clv_view_from_dlpack_versioned(&f.versioned, &read_only, &v), CLV_ERR_UNSUPPORTED,
                 "DLPack version 2.3, want 1.x");
}

static void bad_views_are_not_given_away(void **state)
{
    (void)state;
    float x[2];
    clv_view v = clv_view_1d(x, CLV_F32, 2);
    DLManagedTensor *plain;
    int released = 0;
    v.device = 1;
    assert_fails(clv_view_to_dlpack(&v, count_release, &released, &plain), CLV_ERR_INVALID, "device 1");
    v.device = 0;
    v.dtype = CLV_DTYPE_COUNT;
    assert_fails(clv_view_to_dlpack(&v, count_release, &released, &plain), CLV_ERR_INVALID, "unknown type");
    assert_fails(clv_view_to_dlpack(NULL, count_release, &released, &plain), CLV_ERR_INVALID, "NULL");
    assert_int_equal(released, 0);   /* the caller still owns it */
}

TEST_MAIN(TEST(structs_have_the_standards_layout), TEST(each_type_comes_back_as_it_went),
          TEST(a_tensor_may_have_no_owner), TEST(foreign_tensors_are_borrowed),
          TEST(foreign_tensors_that_do_not_fit_are_refused), TEST(another_major_version_is_refused),
          TEST(bad_views_are_not_given_away))
