/* test_bank.c: saving a bank survives kills and full disks; loading one survives any file. */
#include "tests/support/test.h"
#include "memorybank/bank.h"
#include "core/rng.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static clv_bank *make_bank(clv_context *ctx, const char *seed)
{
    clv_bank *bank = NULL;
    const clv_option options[] = { { "capacity", "64" }, { "dim", "16" }, { "seed", seed } };
    assert_ok(clv_bank_create(ctx, "fifo", options, 3, &bank));
    return bank;
}

/* A child that saves two banks in turn for ever, without a test's machinery. */
static void save_for_ever(const char *path)
{
    clv_context *ctx = NULL;
    clv_bank *bank[2] = { NULL };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = 1;
    if (clv_context_create(&desc, &ctx) != CLV_OK) _exit(1);
    for (int i = 0; i < 2; i++) {
        const clv_option options[] = { { "capacity", "64" }, { "dim", "16" }, { "seed", i ? "1" : "0" } };
        if (clv_bank_create(ctx, "fifo", options, 3, &bank[i]) != CLV_OK) _exit(1);
    }
    for (int i = 0; ; i = !i)
        if (clv_bank_save(bank[i], path) != CLV_OK) _exit(1);
}

static void a_save_that_is_killed_leaves_a_whole_file(void **state)
{
    test_env *t = *state;
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(t, "bank.h5"));
    clv_bank *first = make_bank(t->ctx, "0");
    assert_ok(clv_bank_save(first, path));
    clvi_rng rng = clvi_rng_make(3, CLVI_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 20; round++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) save_for_ever(path);
        const struct timespec pause = { 0, 2000000 + (long)clvi_rng_below(&rng, 30000000) };
        int status = 0;
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));   /* it did not stop by itself */
        clv_bank *bank = NULL;
        assert_ok(clv_bank_load(t->ctx, path, &bank));
        assert_int_equal(clv_bank_capacity(bank), 64);
        clv_bank_destroy(bank);
    }
    clv_bank_destroy(first);
}

/* Files may not grow beyond `limit` bytes while the bank is saved. */
static clv_status save_with_limit(const clv_bank *bank, const char *path, rlim_t limit)
{
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = limit;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const clv_status st = clv_bank_save(bank, path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    return st;
}

static void a_disk_that_fills_up_at_any_point_leaves_the_old_file(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "bank.h5");
    clv_bank *bank = make_bank(t->ctx, "0"), *copy = NULL;
    assert_ok(clv_bank_save(bank, path));
    float row[16] = { 0 };
    const clv_view view = clv_view_2d(row, CLV_F32, 1, 16);
    assert_ok(clv_bank_push(bank, &view, NULL, NULL));
    clv_status st = CLV_ERR_IO;
    int failures = 0;
    for (rlim_t limit = 0; st != CLV_OK; limit += 400, failures++) {
        st = save_with_limit(bank, path, limit);
        if (st != CLV_OK) assert_fails(st, CLV_ERR_IO, "bank.h5");
        assert_ok(clv_bank_load(t->ctx, path, &copy));
        assert_int_equal(clv_bank_pushes(copy), st == CLV_OK);
        clv_bank_destroy(copy);
    }
    assert_true(failures > 10);
    clv_bank_destroy(bank);
}

static void places_that_cannot_be_written_or_read_are_named(void **state)
{
    test_env *t = *state;
    clv_bank *bank = make_bank(t->ctx, "0"), *copy = NULL;
    assert_fails(clv_bank_save(bank, test_path(t, "no/such/folder/bank.h5")), CLV_ERR_IO, "no/such/folder");
    assert_fails(clv_bank_load(t->ctx, test_path(t, "absent.h5"), &copy), CLV_ERR_IO, "absent.h5");
    assert_null(copy);
    clv_bank_destroy(bank);
}

/* ---- hostile files ---- */

static uint8_t *read_bytes(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *bytes = malloc(1 << 20);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void write_bytes(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static void damage_of_a_saved_file_is_recognised(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "bank.h5");
    clv_bank *bank = make_bank(t->ctx, "0"), *copy = NULL;
    size_t size;
    assert_ok(clv_bank_save(bank, path));
    uint8_t *bytes = read_bytes(path, &size);
    clvi_rng rng = clvi_rng_make(4, CLVI_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 100; round++) {
        const size_t at = round < 24 ? (size_t)round : 512 + (size_t)clvi_rng_below(&rng, size - 512);
        const uint8_t bit = (uint8_t)(1u << clvi_rng_below(&rng, 8));
        bytes[at] ^= bit;
        write_bytes(path, bytes, size);
        bytes[at] ^= bit;
        const clv_status st = clv_bank_load(t->ctx, path, &copy);
        if (st == CLV_OK) fail_msg("a changed byte at %zu was not noticed", at);
        assert_fails(st, CLV_ERR_FORMAT, "bank.h5");
        assert_null(copy);
    }
    for (int round = 0; round < 20; round++) {
        write_bytes(path, bytes, (size_t)clvi_rng_below(&rng, size));
        assert_fails(clv_bank_load(t->ctx, path, &copy), CLV_ERR_FORMAT, "bank.h5");
    }
    free(bytes);
    clv_bank_destroy(bank);
}

/* A file without a seal, as somebody else might write it: every part can be spoilt. */
typedef struct spoil {
    const char *part;         /* "" for none, "@name" for an attribute */
    clv_dtype   dtype;
    int64_t     shape0, value;
    const char *text;         /* of the attribute */
    const char *message;
} spoil;

static bool is_part(const spoil *s, const char *name)
{
    return s->part[0] != '@' && strcmp(s->part, name) == 0;
}

static void write_part(clvi_h5 *h5, const spoil *s, const char *name, clv_dtype dtype, int64_t n, int64_t dim)
{
    static int64_t block[64];
    char path[64];
    memset(block, 0, sizeof block);
    if (is_part(s, name)) {
        dtype = s->dtype;
        n = s->shape0;
        if (dtype == CLV_I64) block[1] = s->value;
        else if (dtype == CLV_U8) memset(block, (int)s->value, sizeof block);
        else memset(block, 0xff, sizeof block);   /* NaN */
        if (n < 0) return;
    }
    snprintf(path, sizeof path, "bank/%s", name);
    const clv_view view = dim ? clv_view_2d(block, dtype, n, dim) : clv_view_1d(block, dtype, n);
    assert_ok(clvi_h5_write(h5, path, &view));
}

static void write_attr(clvi_h5 *h5, const spoil *s, const char *name, const char *value)
{
    if (s->part[0] == '@' && strcmp(s->part + 1, name) == 0) value = s->text;
    if (value) assert_ok(clvi_h5_set_attr_text(h5, "bank", name, value));
}

static void write_spoilt(test_env *t, const char *path, const spoil *s)
{
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_group(h5, "bank"));
    write_attr(h5, s, "format", "cleave-bank-1");
    write_attr(h5, s, "kind", "fifo");
    write_attr(h5, s, "capacity", "4");
    write_attr(h5, s, "dim", "2");
    write_attr(h5, s, "dtype", "float32");
    write_attr(h5, s, "init", "empty");
    write_attr(h5, s, "seed", "0");
    assert_ok(clvi_h5_set_attr_i64(h5, "bank", "pushes", strcmp(s->part, "@pushes") == 0 ? s->value : 3));
    write_part(h5, s, "rows", CLV_F32, 4, 2);
    write_part(h5, s, "valid", CLV_U8, 4, 0);
    write_part(h5, s, "ids", CLV_I64, 4, 0);
    write_part(h5, s, "labels", CLV_I64, 4, 0);
    write_part(h5, s, "born", CLV_I64, 4, 0);
    write_part(h5, s, "cursor", CLV_I64, 1, 0);
    assert_ok(clvi_h5_commit(h5));
}

static void files_that_lie_are_refused_with_the_reason(void **state)
{
    test_env *t = *state;
    static const spoil spoils[] = {
        { "@format", 0, 0, 0, "cleave-bank-9", "'cleave-bank-9', expected 'cleave-bank-1'" },
        { "@format", 0, 0, 0, NULL, "format" },
        { "@kind", 0, 0, 0, "stack", "no kind 'stack'" },
        { "@kind", 0, 0, 0, "instance", "momentum" },
        { "@capacity", 0, 0, 0, "5", "expected [5,2]" },
        { "@capacity", 0, 0, 0, "1099511627776", "expected [1099511627776,2]" },
        { "@capacity", 0, 0, 0, "-1", "capacity" },
        { "@dim", 0, 0, 0, "many", "dim" },
        { "@dim", 0, 0, 0, NULL, "dim" },
        { "@dtype", 0, 0, 0, "float16", "dtype" },
        { "@dtype", 0, 0, 0, "float64", "expected float64" },
        { "@dtype", 0, 0, 0, "bfloat16", "expected bfloat16" },
        { "@pushes", 0, 0, -1, NULL, "'pushes' is -1" },
        { "rows", CLV_F32, 3, 0, NULL, "expected [4,2]" },
        { "rows", CLV_F32, 4, 0, NULL, "row 0 is not finite" },
        { "rows", CLV_F32, -1, 0, NULL, "rows" },
        { "valid", CLV_U8, 4, 2, NULL, "bank/valid: entry 0 is 2" },
        { "valid", CLV_U8, 5, 0, NULL, "bank/valid" },
        { "ids", CLV_I64, 4, -2, NULL, "bank/ids: entry 1 is -2" },
        { "ids", CLV_F32, 4, 0, NULL, "expected int64" },
        { "labels", CLV_I64, 4, -9, NULL, "bank/labels: entry 1 is -9" },
        { "born", CLV_I64, 4, 4, NULL, "bank/born: entry 1 is 4" },
        { "born", CLV_I64, -1, 0, NULL, "born" },
        { "cursor", CLV_I64, 2, 4, NULL, "bank/cursor" },
    };
    clv_bank *bank = NULL;
    write_spoilt(t, test_path(t, "good.h5"), &(spoil) { .part = "" });
    assert_ok(clv_bank_load(t->ctx, test_path(t, "good.h5"), &bank));
    clv_bank_destroy(bank);
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        const char *path = test_path(t, "bad.h5");
        write_spoilt(t, path, &spoils[i]);
        assert_fails(clv_bank_load(t->ctx, path, &bank), CLV_ERR_FORMAT, spoils[i].message);
        assert_fails(clv_bank_load(t->ctx, path, &bank), CLV_ERR_FORMAT, "bad.h5");
        assert_null(bank);
    }
}

static void other_files_are_no_banks(void **state)
{
    test_env *t = *state;
    clv_bank *bank = NULL;
    write_bytes(test_path(t, "text"), (const uint8_t *)"rows: 4\n", 8);
    assert_fails(clv_bank_load(t->ctx, test_path(t, "text"), &bank), CLV_ERR_FORMAT, "text");
    write_bytes(test_path(t, "empty"), (const uint8_t *)"", 0);
    assert_fails(clv_bank_load(t->ctx, test_path(t, "empty"), &bank), CLV_ERR_FORMAT, "empty");
}

TEST_MAIN(TEST(a_save_that_is_killed_leaves_a_whole_file),
          TEST(a_disk_that_fills_up_at_any_point_leaves_the_old_file),
          TEST(places_that_cannot_be_written_or_read_are_named),
          TEST(damage_of_a_saved_file_is_recognised),
          TEST(files_that_lie_are_refused_with_the_reason),
          TEST(other_files_are_no_banks))
