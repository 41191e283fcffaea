/* test_file.c: bounded reads, mappings, whole-or-absent writes, checksums. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "core/file.h"
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void what_is_written_is_read_back(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x");
    uint8_t *bytes;
    size_t size;
    assert_ok(clvi_file_write(path, "first", 5));
    assert_ok(clvi_file_write(path, "second\0!", 8));
    assert_ok(clvi_file_read(t->ctx, path, 8, &bytes, &size));
    assert_int_equal(size, 8);
    assert_memory_equal(bytes, "second\0!", 9);   /* and a 0 behind */
    clvi_free(t->ctx, bytes);
    assert_ok(clvi_file_write(path, "", 0));
    assert_ok(clvi_file_read(t->ctx, path, 0, &bytes, &size));
    assert_int_equal(size, 0);
    assert_int_equal(bytes[0], 0);
    clvi_free(t->ctx, bytes);
}

static void reads_are_bounded(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x");
    uint8_t *bytes;
    size_t size;
    assert_ok(clvi_file_write(path, "12345", 5));
    assert_fails(clvi_file_read(t->ctx, path, 4, &bytes, &size), CLV_ERR_FORMAT,
                 "has 5 bytes, more than the 4 allowed");
}

static void what_is_no_regular_file_is_refused(void **state)
{
    test_env *t = *state;
    uint8_t *bytes;
    size_t size;
    clvi_map map;
    const char *absent = test_path(t, "absent"), *pipe = test_path(t, "pipe");
    assert_fails(clvi_file_read(t->ctx, absent, 10, &bytes, &size), CLV_ERR_IO, "No such file");
    assert_non_null(strstr(clv_error_message(), absent));
    assert_fails(clvi_map_open(absent, &map), CLV_ERR_IO, "No such file");
    assert_fails(clvi_file_read(t->ctx, "/", 10, &bytes, &size), CLV_ERR_IO, "not a regular file");
    assert_fails(clvi_file_read(t->ctx, "/dev/zero", 10, &bytes, &size), CLV_ERR_IO, "not a regular file");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_fails(clvi_map_open(pipe, &map), CLV_ERR_IO, "not a regular file");   /* and does not wait for a writer */
}

static void maps_show_the_file(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x");
    clvi_map map;
    assert_ok(clvi_file_write(path, "abc", 3));
    assert_ok(clvi_map_open(path, &map));
    assert_int_equal(map.size, 3);
    assert_memory_equal(map.data, "abc", 3);
    clvi_map_close(&map);
    assert_null(map.data);
    clvi_map_close(&map);
    assert_ok(clvi_file_write(path, "", 0));
    assert_ok(clvi_map_open(path, &map));
    assert_null(map.data);
    assert_int_equal(map.size, 0);
    clvi_map_close(&map);
}

static int entries(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    if (!dir) return -1;
    while (readdir(dir)) count++;
    closedir(dir);
    return count - 2;   /* without . and .. */
}

static void a_failed_write_leaves_nothing_behind(void **state)
{
    test_env *t = *state;
    const char *folder = test_path(t, "d"), *in_the_way = test_path(t, "d/taken");
    assert_ok(clvi_mkdirs(in_the_way));
    assert_fails(clvi_file_write(in_the_way, "x", 1), CLV_ERR_IO, "cannot rename");
    assert_int_equal(entries(folder), 1);
    assert_fails(clvi_file_write(test_path(t, "no/such/folder"), "x", 1), CLV_ERR_IO, "cannot create");
}

static void what_killed_writers_left_is_swept(void **state)
{
    test_env *t = *state;
    static const char *const names[] = { "x", "x.tmp-12-0", "x.tmp-12-34", "x.tmp-12-3b", "x.tmp", "xx.tmp-12-0",
                                         "y.tmp-1-1" };
    static const bool stays[] = { true, false, false, true, true, true, true };
    char path[PATH_MAX];
    (void)test_path(t, "x");
    for (size_t i = 0; i < CLVI_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", t->folder, names[i]);
        assert_ok(clvi_file_write(path, "", 0));
    }
    snprintf(path, sizeof path, "%s/x", t->folder);
    clvi_file_sweep(path);
    for (size_t i = 0; i < CLVI_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", t->folder, names[i]);
        assert_int_equal(access(path, F_OK) == 0, stays[i]);
    }
    clvi_file_sweep("/nowhere/x");
}

static void committing_what_is_not_there_fails(void **state)
{
    test_env *t = *state;
    assert_fails(clvi_file_commit(test_path(t, "absent"), test_path(t, "x")), CLV_ERR_IO, "cannot open");
    assert_int_equal(access(test_path(t, "x"), F_OK), -1);
}

static void temporary_names_are_beside_the_file_and_differ(void **state)
{
    (void)state;
    char a[64], b[64], small[8];
    assert_ok(clvi_file_temp("dir/name", a, sizeof a));
    assert_ok(clvi_file_temp("dir/name", b, sizeof b));
    assert_int_equal(strncmp(a, "dir/name.tmp-", 13), 0);
    assert_string_not_equal(a, b);
    assert_fails(clvi_file_temp("dir/name", small, sizeof small), CLV_ERR_INVALID, "too long");
}

static void directories_come_with_their_parents(void **state)
{
    test_env *t = *state;
    struct stat info;
    const char *path = test_path(t, "a/b//c/");
    assert_ok(clvi_mkdirs(path));
    assert_ok(clvi_mkdirs(path));
    assert_int_equal(stat(path, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    assert_ok(clvi_mkdirs("/"));
    assert_ok(clvi_file_write(test_path(t, "a/file"), "x", 1));
    assert_fails(clvi_mkdirs(test_path(t, "a/file")), CLV_ERR_IO, "File exists");
    assert_fails(clvi_mkdirs(test_path(t, "a/file/below")), CLV_ERR_IO, "a/file'");
    assert_fails(clvi_mkdirs(""), CLV_ERR_INVALID, "0 characters");
}

/* RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
static void crc32c_gives_the_known_answers(void **state)
{
    (void)state;
    uint8_t bytes[32] = { 0 };
    for (int portable = 0; portable < 2; portable++) {
        uint32_t (*crc)(uint32_t, const void *, size_t) = portable ? clvi_crc32c_portable : clvi_crc32c;
        assert_int_equal(crc(0, "123456789", 9), 0xe3069283);
        assert_int_equal(crc(0, "", 0), 0);
        memset(bytes, 0, sizeof bytes);
        assert_int_equal(crc(0, bytes, sizeof bytes), 0x8a9136aa);
        memset(bytes, 0xff, sizeof bytes);
        assert_int_equal(crc(0, bytes, sizeof bytes), 0x62a8ab43);
        for (uint8_t i = 0; i < 32; i++) bytes[i] = i;
        assert_int_equal(crc(0, bytes, sizeof bytes), 0x46dd794e);
    }
}

static void crc32c_can_be_taken_in_pieces(void **state)
{
    (void)state;
    uint8_t bytes[100];
    for (uint8_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 + 11);
    const uint32_t whole = clvi_crc32c(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        assert_int_equal(clvi_crc32c(clvi_crc32c(0, bytes, cut), bytes + cut, sizeof bytes - cut), whole);
        assert_int_equal(clvi_crc32c(0, bytes + cut, sizeof bytes - cut),
                         clvi_crc32c_portable(0, bytes + cut, sizeof bytes - cut));
    }
}

TEST_MAIN(TEST(what_is_written_is_read_back), TEST(reads_are_bounded), TEST(what_is_no_regular_file_is_refused),
          TEST(maps_show_the_file), TEST(a_failed_write_leaves_nothing_behind),
          TEST(committing_what_is_not_there_fails), TEST(what_killed_writers_left_is_swept),
          TEST(temporary_names_are_beside_the_file_and_differ), TEST(directories_come_with_their_parents),
          TEST(crc32c_gives_the_known_answers), TEST(crc32c_can_be_taken_in_pieces))
