/* test_tensor_file.c: safetensors and .pth files: what is read, and what hostile ones are told. */
#include "tests/support/test.h"
#include "backbones/tensor_file.h"
#include "core/bf16.h"
#include "core/checked.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES "tests/golden/torch/"

static clvi_tensor_file *open_file(test_env *t, const char *path)
{
    clvi_tensor_file *file = NULL;
    assert_ok(clvi_tensor_file_open(t->ctx, path, &file));
    return file;
}

static const clvi_tensor *find(const clvi_tensor_file *file, const char *prefix, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const clvi_tensor *tensor = clvi_tensor_find(file, full);
    if (!tensor) fail_msg("no tensor '%s'", full);
    return tensor;
}

static void check_shape(const clvi_tensor *tensor, int ndim, const int64_t *shape)
{
    assert_int_equal(tensor->ndim, ndim);
    for (int d = 0; d < ndim; d++) assert_int_equal(tensor->shape[d], shape[d]);
}

static void check_values(const clvi_tensor *tensor, int count, const float *want)
{
    float got[32];
    assert_int_equal(clvi_tensor_count(tensor), count);
    assert_ok(clvi_tensor_values(tensor, got));
    for (int i = 0; i < count; i++) assert_true(got[i] == want[i]);
}

#define VALUES(tensor, ...)                                                                                            \
    check_values(tensor, (int)(sizeof((float[]) { __VA_ARGS__ }) / sizeof(float)), (float[]) { __VA_ARGS__ })

/* The tensors of make_files.py. */
static void check_common(const clvi_tensor_file *file, const char *prefix)
{
    float single[24];
    for (int i = 0; i < 24; i++) single[i] = (float)i / 8 - 1;
    check_shape(find(file, prefix, "single"), 3, (int64_t[]) { 2, 3, 4 });
    check_values(find(file, prefix, "single"), 24, single);
    VALUES(find(file, prefix, "twice"), 0, 0.0625f, 0.125f, 0.1875f, 0.25f, 0.3125f);
    VALUES(find(file, prefix, "half"), 0.5f, -2, ldexpf(1, -24), 65504);
    VALUES(find(file, prefix, "brain"), 1, -3.5f);
    check_shape(find(file, prefix, "whole"), 0, NULL);
    assert_int_equal(find(file, prefix, "whole")->type, CLVI_STORED_I64);
    assert_int_equal(find(file, prefix, "bytes")->type, CLVI_STORED_U8);
    assert_int_equal(find(file, prefix, "truth")->type, CLVI_STORED_BOOL);
    check_shape(find(file, prefix, "none"), 2, (int64_t[]) { 0, 3 });
    assert_int_equal(clvi_tensor_count(find(file, prefix, "none")), 0);
    float none;
    assert_fails(clvi_tensor_values(find(file, prefix, "whole"), &none), CLV_ERR_FORMAT, "is int64, expected numbers");
}

static void safetensors_of_the_package_are_read(void **state)
{
    clvi_tensor_file *file = open_file(*state, FILES "small.safetensors");
    assert_int_equal(file->count, 8);
    assert_string_equal(clvi_tensor_meta(file, "arch"), "resnet18");
    assert_null(clvi_tensor_meta(file, "other"));
    assert_null(clvi_tensor_find(file, "singl"));
    check_common(file, "");
    clvi_tensor_file_close(file);
}

static void what_torch_save_writes_is_read(void **state)
{
    static const char *const names[] = { "protocol2.pth", "protocol4.pth", "protocol5.pth", "deflated.pth" };
    for (size_t i = 0; i < CLVI_COUNT(names); i++) {
        char path[64];
        snprintf(path, sizeof path, FILES "%s", names[i]);
        clvi_tensor_file *file = open_file(*state, path);
        assert_int_equal(file->count, 13);
        check_common(file, "state_dict.");
        VALUES(find(file, "state_dict.", "part"), 0.0f + 8 / 8.0f - 1, 9 / 8.0f - 1, 10 / 8.0f - 1, 14 / 8.0f - 1,
               15 / 8.0f - 1, 16 / 8.0f - 1);
        VALUES(find(file, "state_dict.", "repeated"), 2.5f, 2.5f, 2.5f);
        VALUES(find(file, "state_dict.", "learnt"), 4, 5);
        VALUES(find(file, "optimizer.state.0.", "momentum_buffer"), 0, 1, 2);
        const clvi_tensor *turned = find(file, "state_dict.", "turned");
        float got[24];
        check_shape(turned, 2, (int64_t[]) { 6, 4 });
        assert_ok(clvi_tensor_values(turned, got));
        for (int r = 0; r < 6; r++)
            for (int c = 0; c < 4; c++) assert_true(got[4 * r + c] == (float)(6 * c + r) / 8 - 1);
        clvi_tensor_file_close(file);
    }
}

static void what_is_written_is_read_again_and_written_the_same(void **state)
{
    test_env *t = *state;
    float single[6] = { 1, -2, 3, 1e-40f, 0, 6 };
    uint16_t brain[2] = { clvi_bf16_round(1.5), clvi_bf16_round(-8) };
    int64_t whole = -3;
    uint8_t odd[3] = { 1, 2, 3 };
    const clv_view views[] = {
        clv_view_1d(odd, CLV_U8, 3), clv_view_2d(single, CLV_F32, 2, 3), clv_view_1d(brain, CLV_BF16, 2),
        clv_view_dense(&whole, CLV_I64, 0, NULL), clv_view_2d(single, CLV_F32, 0, 3),
    };
    const char *const names[] = { "odd", "a \"name\" \\ \xc3\xa4", "brain", "whole", "none" };
    const clv_option meta[] = { { "arch", "resnet18" }, { "note", "line\nline" } };
    uint8_t *first = NULL, *second = NULL;
    size_t first_size, second_size;
    for (int i = 0; i < 2; i++) {
        const char *path = test_path(t, "x.safetensors");
        assert_ok(clvi_safetensors_write(t->ctx, path, names, views, 5, meta, 2));
        assert_ok(clvi_file_read(t->ctx, path, 1 << 16, i ? &second : &first, i ? &second_size : &first_size));
    }
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    clvi_tensor_file *file = NULL;
    assert_ok(clvi_tensor_file_memory(t->ctx, first, first_size, &file));
    assert_int_equal(file->count, 5);
    check_values(find(file, "", names[1]), 6, single);
    VALUES(find(file, "", "brain"), 1.5f, -8);
    assert_int_equal((find(file, "", "whole")->data - first) % 8, 0);
    assert_memory_equal(find(file, "", "odd")->data, odd, 3);
    assert_string_equal(clvi_tensor_meta(file, "note"), "line\nline");
    clvi_tensor_file_close(file);
    clvi_free(t->ctx, first);
    clvi_free(t->ctx, second);
}

static void what_cannot_be_written_is_said(void **state)
{
    test_env *t = *state;
    float x = 1;
    clv_view view = clv_view_1d(&x, CLV_F32, 1);
    const char *name = "x", *bad = "\xff";
    assert_fails(clvi_safetensors_write(t->ctx, test_path(t, "a"), &bad, &view, 1, NULL, 0), CLV_ERR_INVALID, "UTF-8");
    assert_fails(clvi_safetensors_write(t->ctx, "/nowhere/a", &name, &view, 1, NULL, 0), CLV_ERR_IO, "'/nowhere/a'");
    view.stride[0] = 0;
    view.shape[0] = 2;
    assert_fails(clvi_safetensors_write(t->ctx, test_path(t, "a"), &name, &view, 1, NULL, 0), CLV_ERR_SHAPE, "dense");
}

static void values_that_are_not_finite_are_refused(void **state)
{
    test_env *t = *state;
    float x[2] = { 1, INFINITY }, got[2];
    const clv_view view = clv_view_1d(x, CLV_F32, 2);
    const char *name = "conv1.weight";
    assert_ok(clvi_safetensors_write(t->ctx, test_path(t, "a"), &name, &view, 1, NULL, 0));
    clvi_tensor_file *file = open_file(t, test_path(t, "a"));
    assert_fails(clvi_tensor_values(&file->tensor[0], got), CLV_ERR_NUMERIC, "'conv1.weight': value 1 is inf");
    clvi_tensor_file_close(file);
}

/* ---- hostile safetensors ---- */

/* A file with this header and `values` zero bytes. */
static clv_status open_header(test_env *t, const char *header, size_t values, clvi_tensor_file **out)
{
    static uint8_t bytes[4096];
    const size_t length = strlen(header);
    memset(bytes, 0, sizeof bytes);
    bytes[0] = (uint8_t)length;
    bytes[1] = (uint8_t)(length >> 8);
    memcpy(bytes + 8, header, length);
    return clvi_tensor_file_memory(t->ctx, bytes, 8 + length + values, out);
}

static void hostile_safetensors_are_refused(void **state)
{
    static const struct { const char *header; size_t values; clv_status status; const char *text; } cases[] = {
        { "{", 0, CLV_ERR_FORMAT, "no JSON" },
        { "{}", 4, CLV_ERR_FORMAT, "4 bytes follow the last tensor" },
        { "{\"a\":1}", 0, CLV_ERR_FORMAT, "'a': no description of a tensor" },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, CLV_ERR_FORMAT, "'a': no dtype" },
        { "{\"a\":{\"dtype\":\"F8\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, CLV_ERR_UNSUPPORTED, "dtype 'F8'" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, CLV_ERR_FORMAT, "'a': no shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, CLV_ERR_FORMAT, "whole numbers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, CLV_ERR_FORMAT, "whole numbers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, CLV_ERR_UNSUPPORTED,
          "7 dimensions" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, CLV_ERR_FORMAT,
          "overflows" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4, CLV_ERR_FORMAT,
          "overflows" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, CLV_ERR_FORMAT,
          "no JSON" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, CLV_ERR_FORMAT, "end at byte 8 of 4" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, CLV_ERR_FORMAT,
          "takes 8 bytes, data_offsets give 4" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, CLV_ERR_FORMAT, "not [begin, end]" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, CLV_ERR_FORMAT, "[begin, end]" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, CLV_ERR_FORMAT, "[begin, end]" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, CLV_ERR_FORMAT, "overlap" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, CLV_ERR_FORMAT,
          "a hole of 4 bytes before the values of 'a'" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
          "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, CLV_ERR_FORMAT, "no JSON: duplicate" },
        { "{\"__metadata__\":{\"a\":1}}", 0, CLV_ERR_FORMAT, "__metadata__" },
        { "{\"__metadata__\":[]}", 0, CLV_ERR_FORMAT, "__metadata__" },
        { "{\"\x1b[31m\":{}}", 0, CLV_ERR_FORMAT, "no JSON" },
        { "{\"\\u001b[31m\":{}}", 0, CLV_ERR_FORMAT, "'?[31m': no dtype" },
    };
    for (size_t i = 0; i < CLVI_COUNT(cases); i++) {
        clvi_tensor_file *file = NULL;
        assert_fails(open_header(*state, cases[i].header, cases[i].values, &file), cases[i].status, cases[i].text);
        assert_null(file);
    }
}

static void a_header_that_lies_about_its_length_takes_no_memory(void **state)
{
    test_env *t = *state;
    static uint8_t bytes[(17u << 20) + 16] = { [8] = '{' };
    clvi_tensor_file *file = NULL;
    memset(bytes, 0xff, 8);
    assert_fails(clvi_tensor_file_memory(t->ctx, bytes, 32, &file), CLV_ERR_FORMAT, "in a file of 32");
    memcpy(bytes, "\0\0\x10\1\0\0\0\0", 8);
    assert_fails(clvi_tensor_file_memory(t->ctx, bytes, sizeof bytes, &file), CLV_ERR_FORMAT,
                 "a header of 17825792 bytes, expected at most 16777216");
    assert_fails(clvi_tensor_file_memory(t->ctx, NULL, 0, &file), CLV_ERR_FORMAT, "neither safetensors nor");
    assert_fails(clvi_tensor_file_memory(t->ctx, (const uint8_t *)"\x89HDF\r\n\x1a\nxxx", 11, &file),
                 CLV_ERR_UNSUPPORTED, "HDF5");
}

static void files_cut_off_anywhere_are_refused(void **state)
{
    test_env *t = *state;
    static const char *const names[] = { FILES "small.safetensors", FILES "protocol2.pth", FILES "deflated.pth" };
    for (size_t i = 0; i < CLVI_COUNT(names); i++) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        assert_ok(clvi_file_read(t->ctx, names[i], 1 << 16, &bytes, &size));
        for (size_t n = 0; n < size; n++) {
            clvi_tensor_file *file = NULL;
            uint8_t *part = malloc(n ? n : 1);
            memcpy(part, bytes, n);
            assert_int_equal(clvi_tensor_file_memory(t->ctx, part, n, &file), CLV_ERR_FORMAT);
            free(part);
        }
        clvi_free(t->ctx, bytes);
    }
}

/* ---- hostile .pth ---- */

typedef struct archive {
    uint8_t bytes[1 << 17];
    size_t  size;
    struct { char name[32]; size_t header, packed, size; unsigned method; } member[8];
    int     members;
} archive;

static void number(archive *a, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) a->bytes[a->size++] = (uint8_t)(i < 8 ? v >> 8 * i : 0);
}

static void add(archive *a, const char *name, const void *bytes, size_t packed, size_t size, unsigned method)
{
    const size_t header = a->size, length = strlen(name);
    snprintf(a->member[a->members].name, sizeof a->member[0].name, "%s", name);
    a->member[a->members].header = header;
    a->member[a->members].packed = packed;
    a->member[a->members].size = size;
    a->member[a->members++].method = method;
    number(a, 0x04034b50, 4);
    number(a, 0, 22);
    number(a, length, 2);
    number(a, 0, 2);
    memcpy(a->bytes + a->size, name, length);
    memcpy(a->bytes + a->size + length, bytes, packed);
    a->size += length + packed;
}

static void finish(archive *a)
{
    const size_t directory = a->size;
    for (int i = 0; i < a->members; i++) {
        const size_t length = strlen(a->member[i].name);
        number(a, 0x02014b50, 4);
        number(a, 0, 6);
        number(a, a->member[i].method, 2);
        number(a, 0, 8);
        number(a, a->member[i].packed, 4);
        number(a, a->member[i].size, 4);
        number(a, length, 2);
        number(a, 0, 12);
        number(a, a->member[i].header, 4);
        memcpy(a->bytes + a->size, a->member[i].name, length);
        a->size += length;
    }
    const size_t end = a->size;
    number(a, 0x06054b50, 4);
    number(a, 0, 4);
    number(a, (uint64_t)a->members, 2);
    number(a, (uint64_t)a->members, 2);
    number(a, end - directory, 4);
    number(a, directory, 4);
    number(a, 0, 2);
}

/* An archive with this pickle and one storage, "0", of 16 zero bytes. */
static clv_status open_pickle(test_env *t, const char *pickle, size_t size, clvi_tensor_file **out)
{
    static archive a;
    memset(&a, 0, sizeof a);
    add(&a, "x/data.pkl", pickle, size, size, 0);
    add(&a, "x/data/0", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, 16, 0);
    finish(&a);
    *out = NULL;
    return clvi_tensor_file_memory(t->ctx, a.bytes, a.size, out);
}

#define PICKLE(text) "\x80\x02" text, sizeof("\x80\x02" text) - 1
/* The call that makes a tensor of these counts: storage, offset, shape and strides of one dimension. */
#define TENSOR(COUNT, OFFSET, SHAPE, STRIDE)                                                                           \
    "ctorch._utils\n_rebuild_tensor_v2\n(("                                                                            \
    "X\x07\0\0\0storage" "ctorch\nFloatStorage\n" "X\x01\0\0\0" "0" "X\x03\0\0\0" "cpu" COUNT "tQ" OFFSET              \
    SHAPE "\x85" STRIDE "\x85" "\x89" "}tR"
#define ONE(TENSOR) PICKLE("}X\x01\0\0\0a" TENSOR "s.")

static void a_pickle_by_hand_is_read(void **state)
{
    clvi_tensor_file *file = NULL;
    assert_ok(open_pickle(*state, ONE(TENSOR("K\4", "K\1", "K\2", "K\2")), &file));
    VALUES(find(file, "", "a"), 0, 0);
    clvi_tensor_file_close(file);
}

static void hostile_pickles_are_refused(void **state)
{
    static const struct { const char *pickle; size_t size; clv_status status; const char *text; } cases[] = {
        { PICKLE("cos\nsystem\n(X\x02\0\0\0lstR."), CLV_ERR_UNSUPPORTED, "'os.system', which is not on the list" },
        { PICKLE("cbuiltins\neval\n."), CLV_ERR_UNSUPPORTED, "'builtins.eval'" },
        { PICKLE("c\x1b[31m\nx\n."), CLV_ERR_UNSUPPORTED, "'?[31m.x'" },
        { PICKLE("X\x02\0\0\0osX\x06\0\0\0system\x93."), CLV_ERR_UNSUPPORTED, "'os.system'" },
        { PICKLE("(ios\nsystem\n."), CLV_ERR_UNSUPPORTED, "opcode 0x69" },
        { PICKLE("(cos\no."), CLV_ERR_FORMAT, "" },
        { PICKLE("\x82\1."), CLV_ERR_UNSUPPORTED, "opcode 0x82" },
        { PICKLE("}2."), CLV_ERR_UNSUPPORTED, "opcode 0x32" },
        { "\x80\6}.", 4, CLV_ERR_UNSUPPORTED, "protocol 6" },
        { "(dp0\n.", 6, CLV_ERR_UNSUPPORTED, "protocol 0 or 1" },
        { PICKLE("."), CLV_ERR_FORMAT, "nothing on the stack" },
        { PICKLE("}"), CLV_ERR_FORMAT, "ends too early" },
        { PICKLE("(."), CLV_ERR_FORMAT, "nothing on the stack" },
        { PICKLE("]."), CLV_ERR_FORMAT, "no dictionary of tensors" },
        { PICKLE("t."), CLV_ERR_FORMAT, "no mark" },
        { PICKLE("}(K\1u."), CLV_ERR_FORMAT, "a key without a value" },
        { PICKLE("(K\1d."), CLV_ERR_FORMAT, "a key without a value" },
        { PICKLE("(q\1."), CLV_ERR_FORMAT, "nothing to remember" },
        { PICKLE("h\1."), CLV_ERR_FORMAT, "a memo that was never made" },
        { PICKLE("}r\xff\xff\xff\xff."), CLV_ERR_FORMAT, "a memo number" },
        { PICKLE("X\xff\xff\xff\x7f."), CLV_ERR_FORMAT, "ends too early" },
        { PICKLE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), CLV_ERR_FORMAT, "ends too early" },
        { PICKLE("K\1)R."), CLV_ERR_FORMAT, "what cannot be called" },
        { PICKLE("ctorch.nn.parameter\nParameter\n)R."), CLV_ERR_FORMAT, "a parameter of nothing" },
        { PICKLE("K\1K\2a."), CLV_ERR_FORMAT, "another kind of value" },
        { ONE("ctorch._utils\n_rebuild_tensor_v2\n)R"), CLV_ERR_FORMAT, "'a': its storage is not described" },
        { ONE(TENSOR("K\5", "K\0", "K\1", "K\1")), CLV_ERR_FORMAT, "a storage of 5 values in 16 bytes" },
        { ONE(TENSOR("K\4", "K\1", "K\4", "K\1")), CLV_ERR_FORMAT, "'a' reaches outside of its storage of 4 values" },
        { ONE(TENSOR("K\4", "K\4", "K\1", "K\0")), CLV_ERR_FORMAT, "reaches outside" },
        { ONE(TENSOR("K\4", "J\xff\xff\xff\xff", "K\1", "K\1")), CLV_ERR_FORMAT, "no offset, shape and strides" },
        { ONE(TENSOR("K\4", "K\0", "J\xff\xff\xff\xff", "K\1")), CLV_ERR_FORMAT, "no whole number" },
        { ONE(TENSOR("K\4", "K\0", "K\2", "J\xff\xff\xff\xff")), CLV_ERR_FORMAT, "no whole number" },
        { ONE(TENSOR("K\4", "K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\2")), CLV_ERR_FORMAT,
          "reaches outside" },
        { ONE(TENSOR("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\0", "K\1", "K\1")), CLV_ERR_FORMAT,
          "a storage of" },
        { PICKLE("}(X\x03\0\0\0a\0b" TENSOR("K\4", "K\0", "K\1", "K\1") "u."), CLV_ERR_FORMAT, "no text" },
        { PICKLE("}(X\1\0\0\0a" TENSOR("K\4", "K\0", "K\1", "K\1") "X\1\0\0\0a" TENSOR("K\4", "K\0", "K\1", "K\1")
                 "u."), CLV_ERR_FORMAT, "two tensors are called 'a'" },
    };
    for (size_t i = 0; i < CLVI_COUNT(cases); i++) {
        clvi_tensor_file *file = NULL;
        assert_fails(open_pickle(*state, cases[i].pickle, cases[i].size, &file), cases[i].status, cases[i].text);
    }
}

static void a_dictionary_that_holds_itself_ends(void **state)
{
    clvi_tensor_file *file = NULL;
    assert_fails(open_pickle(*state, PICKLE("}q\0X\1\0\0\0ah\0s."), &file), CLV_ERR_FORMAT, "more than 16 deep");
    /* Ten levels, each holding the next one ten times. */
    char text[4096] = "\x80\x02}q\1";
    size_t n = 5;
    for (int level = 0; level < 10; level++) {
        memcpy(text + n, "}(", 2);
        n += 2;
        for (int i = 0; i < 10; i++) {
            const char item[] = { 'X', 1, 0, 0, 0, (char)('a' + i), 'h', (char)(level + 1) };
            memcpy(text + n, item, sizeof item);
            n += sizeof item;
        }
        const char end[] = { 'u', 'q', (char)(level + 2) };
        memcpy(text + n, end, sizeof end);
        n += sizeof end;
    }
    text[n++] = '.';
    assert_fails(open_pickle(*state, text, n, &file), CLV_ERR_FORMAT, "more than 1000000 items");
}

static void a_huge_tuple_costs_what_its_bytes_justify(void **state)
{
    static char text[60000];
    clvi_tensor_file *file = NULL;
    memcpy(text, "\x80\x02(", 3);
    memset(text + 3, 'N', sizeof text - 6);
    memcpy(text + sizeof text - 3, "t0}", 3);
    assert_fails(open_pickle(*state, text, sizeof text, &file), CLV_ERR_FORMAT, "ends too early");
}

static void hostile_archives_are_refused(void **state)
{
    test_env *t = *state;
    static archive a;
    clvi_tensor_file *file = NULL;
    memset(&a, 0, sizeof a);
    add(&a, "x/other", "", 0, 0, 0);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_FORMAT, "no data.pkl");

    memset(&a, 0, sizeof a);                 /* a bomb: deflated, and said to be 3 GiB */
    add(&a, "x/data.pkl", "\3\0", 2, (size_t)3 << 30, 8);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_FORMAT, "would inflate to more than");

    memset(&a, 0, sizeof a);                 /* more, and less, than it says */
    add(&a, "x/data.pkl", "\3\0", 2, 10, 8);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_FORMAT, "damaged");

    memset(&a, 0, sizeof a);
    add(&a, "x/data.pkl", "x", 1, 2, 0);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_FORMAT, "two sizes");

    memset(&a, 0, sizeof a);
    add(&a, "x/data.pkl", "x", 1, 1, 14);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_UNSUPPORTED, "method 14");

    memset(&a, 0, sizeof a);
    add(&a, "x/data.pkl", "x", 1, 1, 0);
    a.member[0].header = 1;
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_FORMAT,
                 "not where the directory says");

    memset(&a, 0, sizeof a);
    add(&a, "x/data.pkl", "x", 1, 1, 0);
    add(&a, "x/constants.pkl", "x", 1, 1, 0);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_UNSUPPORTED, "TorchScript");

    memset(&a, 0, sizeof a);
    add(&a, "x/data.pkl", "x", 1, 1, 0);
    add(&a, "x/byteorder", "big", 3, 3, 0);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_UNSUPPORTED, "little-endian");

    memset(&a, 0, sizeof a);
    add(&a, "x/data.pkl", "x", 1, 1, 0);
    add(&a, "x/data.pkl", "x", 1, 1, 0);
    finish(&a);
    assert_fails(clvi_tensor_file_memory(t->ctx, a.bytes, a.size, &file), CLV_ERR_FORMAT, "two members of one name");
}

static void old_files_are_refused_with_advice(void **state)
{
    test_env *t = *state;
    clvi_tensor_file *file = NULL;
    assert_fails(clvi_tensor_file_open(t->ctx, FILES "legacy.pth", &file), CLV_ERR_UNSUPPORTED,
                 "before version 1.6, which is not read; load it with PyTorch and save it again: torch.save(");
    assert_fails(clvi_tensor_file_open(t->ctx, "tests/absent.pth", &file), CLV_ERR_IO, "tests/absent.pth");
}

static clv_status open_and_close(clv_context *ctx, void *arg)
{
    clvi_tensor_file *file = NULL;
    const clv_status st = clvi_tensor_file_open(ctx, arg, &file);
    clvi_tensor_file_close(file);
    return st;
}

static void without_memory_nothing_is_left(void **state)
{
    test_each_allocation_fails(*state, open_and_close, FILES "deflated.pth");
    test_each_allocation_fails(*state, open_and_close, FILES "small.safetensors");
}

TEST_MAIN(TEST(safetensors_of_the_package_are_read), TEST(what_torch_save_writes_is_read),
          TEST(what_is_written_is_read_again_and_written_the_same), TEST(what_cannot_be_written_is_said),
          TEST(values_that_are_not_finite_are_refused), TEST(hostile_safetensors_are_refused),
          TEST(a_header_that_lies_about_its_length_takes_no_memory), TEST(files_cut_off_anywhere_are_refused),
          TEST(a_pickle_by_hand_is_read), TEST(hostile_pickles_are_refused),
          TEST(a_dictionary_that_holds_itself_ends), TEST(a_huge_tuple_costs_what_its_bytes_justify),
          TEST(hostile_archives_are_refused), TEST(old_files_are_refused_with_advice),
          TEST(without_memory_nothing_is_left))
