/* test_alloc_core.c: each allocation of the core refused in turn gives CLV_ERR_NOMEM and leaves nothing behind. */
#include "tests/support/test.h"
#include "core/file.h"
#include "core/h5.h"
#include <dirent.h>
#include <string.h>

static clv_status read_file(clv_context *ctx, void *arg)
{
    uint8_t *bytes;
    size_t size;
    CLV_TRY(clvi_file_read(ctx, arg, 100, &bytes, &size));
    clvi_free(ctx, bytes);
    return CLV_OK;
}

static void reading_a_file(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "x");
    assert_ok(clvi_file_write(path, "abc", 3));
    test_each_allocation_fails(t, read_file, (void *)(uintptr_t)path);
}

static clv_status take_blocks(clv_context *ctx, void *arg)
{
    (void)arg;
    clv_status st = CLV_ERR_NOMEM;
    void *arena = clvi_arena_alloc(ctx, 10000);
    char *text = arena ? clvi_strdup(ctx, "text") : NULL;
    char *grown = text ? clvi_realloc(ctx, text, 100) : NULL;
    if (grown) {
        text = grown;
        st = CLV_OK;
    }
    clvi_free(ctx, text);
    clvi_arena_free(ctx, arena, 10000);
    return st;
}

static void taking_blocks(void **state)
{
    test_each_allocation_fails(*state, take_blocks, NULL);
}

static clv_status make_context(clv_context *ctx, void *arg)
{
    (void)ctx;
    test_env *t = arg;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *other;
    desc.allocator = t->ctx->allocator;
    CLV_TRY(clv_context_create(&desc, &other));
    clv_context_destroy(other);
    return CLV_OK;
}

static void making_a_context(void **state)
{
    test_each_allocation_fails(*state, make_context, *state);
}

static clv_status fill_h5(clvi_h5 *h5)
{
    float x[6] = { 0 };
    const char *const texts[2] = { "a", "bc" };
    const clv_view v = clv_view_2d(x, CLV_F32, 2, 3);
    CLV_TRY(clvi_h5_write(h5, "g/x", &v));
    CLV_TRY(clvi_h5_set_attr_text(h5, "g", "name", "text"));
    return clvi_h5_set_attr_texts(h5, "g", "names", 2, texts);
}

static clv_status write_h5(clv_context *ctx, void *arg)
{
    clvi_h5 *h5;
    CLV_TRY(clvi_h5_create(ctx, arg, true, &h5));
    const clv_status st = fill_h5(h5);
    if (st == CLV_OK) return clvi_h5_commit(h5);
    clvi_h5_close(h5);
    return st;
}

static clv_status read_h5(clv_context *ctx, void *arg)
{
    clvi_h5 *h5;
    char *text = NULL, **texts = NULL, **names = NULL;
    int64_t count;
    CLV_TRY(clvi_h5_open(ctx, arg, &h5));
    clv_status st = clvi_h5_attr_text(h5, "g", "name", &text);
    if (st == CLV_OK) st = clvi_h5_attr_texts(h5, "g", "names", &count, &texts);
    if (st == CLV_OK) st = clvi_h5_list(h5, "g", true, &count, &names);
    clvi_free(ctx, text);
    clvi_free(ctx, texts);
    clvi_free(ctx, names);
    clvi_h5_close(h5);
    return st;
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

static void writing_and_reading_hdf5(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "d/x.h5");
    assert_ok(clvi_mkdirs(test_path(t, "d")));
    test_each_allocation_fails(t, write_h5, (void *)(uintptr_t)path);
    assert_int_equal(entries(test_path(t, "d")), 1);   /* no temporary files */
    test_each_allocation_fails(t, read_h5, (void *)(uintptr_t)path);
}

static clv_status open_memory(clv_context *ctx, void *arg)
{
    clvi_h5 *h5;
    const clvi_map *map = arg;
    CLV_TRY(clvi_h5_open_memory(ctx, map->data, map->size, &h5));
    clvi_h5_close(h5);
    return CLV_OK;
}

static void reading_hdf5_from_memory(void **state)
{
    test_env *t = *state;
    clvi_map map;
    const char *path = test_path(t, "x.h5");
    assert_ok(write_h5(t->ctx, (void *)(uintptr_t)path));
    assert_ok(clvi_map_open(path, &map));
    test_each_allocation_fails(t, open_memory, &map);
    clvi_map_close(&map);
}

TEST_MAIN(TEST(reading_a_file), TEST(taking_blocks), TEST(making_a_context), TEST(writing_and_reading_hdf5),
          TEST(reading_hdf5_from_memory))
