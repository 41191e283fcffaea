/* test_h5_heap.c: texts in a global heap, built by hand so that each field can lie. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "core/h5_heap.h"
#include <string.h>

enum { BASE = 8, ADDRESS = 24, SIZE = 160, COLLECTION = 96 };

static void put(uint8_t *p, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(value >> 8 * i);
}

/* A collection of two texts, "hello" and "wide world", followed by free space. */
static uint8_t *make_heap(uint8_t file[SIZE])
{
    uint8_t *at = file + BASE + ADDRESS;
    memset(file, 0, SIZE);
    memcpy(at, "GCOL\1", 5);
    put(at + 8, COLLECTION, 8);
    put(at + 16, 1, 2);
    put(at + 24, 5, 8);
    memcpy(at + 32, "hello", 5);
    put(at + 40, 2, 2);
    put(at + 48, 10, 8);
    memcpy(at + 56, "wide world", 10);
    put(at + 80, COLLECTION - 72, 8);
    return at;
}

static clv_status find(const uint8_t *file, uint64_t wanted, uint64_t address, uint64_t index, const char **text,
                       size_t *length)
{
    uint8_t ref[CLVI_H5_REF_SIZE];
    put(ref, wanted, 4);
    put(ref + 4, address, 8);
    put(ref + 12, index, 4);
    return clvi_h5_heap_text(file, SIZE, BASE, ref, text, length);
}

static void texts_are_found_by_index(void **state)
{
    (void)state;
    uint8_t file[SIZE];
    const char *text;
    size_t length;
    make_heap(file);
    assert_ok(find(file, 5, ADDRESS, 1, &text, &length));
    assert_int_equal(length, 5);
    assert_memory_equal(text, "hello", 5);
    assert_ok(find(file, 10, ADDRESS, 2, &text, &length));
    assert_int_equal(length, 10);
    assert_memory_equal(text, "wide world", 10);
    assert_ok(find(file, 3, ADDRESS, 1, &text, &length));
    assert_int_equal(length, 3);
    assert_ok(find(file, 0, 0, 0, &text, &length));
    assert_int_equal(length, 0);
}

static void references_that_lie_are_refused(void **state)
{
    (void)state;
    uint8_t file[SIZE];
    const char *text;
    size_t length;
    make_heap(file);
    assert_fails(find(file, 5, ADDRESS, 3, &text, &length), CLV_ERR_FORMAT, "has no object 3");
    assert_fails(find(file, 5, ADDRESS, UINT32_MAX, &text, &length), CLV_ERR_FORMAT, "has no object");
    assert_fails(find(file, 6, ADDRESS, 1, &text, &length), CLV_ERR_FORMAT, "longer than its place");
    assert_fails(find(file, UINT32_MAX, ADDRESS, 1, &text, &length), CLV_ERR_FORMAT, "longer than its place");
    assert_fails(find(file, 5, ADDRESS + 1, 1, &text, &length), CLV_ERR_FORMAT, "no global heap");
    const uint64_t outside[] = { SIZE, SIZE - BASE, SIZE - BASE - 15, UINT64_MAX, UINT64_MAX - BASE, INT64_MAX };
    for (size_t i = 0; i < CLVI_COUNT(outside); i++)
        assert_fails(find(file, 5, outside[i], 1, &text, &length), CLV_ERR_FORMAT, "behind the end of the file");
}

static void heaps_that_lie_are_refused(void **state)
{
    (void)state;
    uint8_t file[SIZE];
    const char *text;
    size_t length;
    const uint64_t sizes[] = { 0, 15, SIZE, UINT64_MAX };
    for (size_t i = 0; i < CLVI_COUNT(sizes); i++) {
        put(make_heap(file) + 8, sizes[i], 8);
        assert_fails(find(file, 5, ADDRESS, 1, &text, &length), CLV_ERR_FORMAT, "no global heap");
    }
    const uint64_t lengths[] = { COLLECTION, UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 23 };
    for (size_t i = 0; i < CLVI_COUNT(lengths); i++) {
        put(make_heap(file) + 24, lengths[i], 8);
        assert_fails(find(file, 5, ADDRESS, 2, &text, &length), CLV_ERR_FORMAT, "ends behind its end");
    }
}

static void any_changed_byte_is_read_within_bounds(void **state)
{
    (void)state;
    uint8_t file[SIZE];
    int refused = 0;
    for (int i = 0; i < SIZE; i++) {
        for (int value = 0; value < 256; value++) {
            const char *text;
            size_t length;
            make_heap(file);
            file[i] = (uint8_t)value;
            if (find(file, 10, ADDRESS, 2, &text, &length) != CLV_OK) refused++;
            else assert_true(text >= (char *)file && text + length <= (char *)file + SIZE && length <= 10);
        }
    }
    assert_true(refused > 1000);
}

TEST_MAIN(TEST(texts_are_found_by_index), TEST(references_that_lie_are_refused), TEST(heaps_that_lie_are_refused),
          TEST(any_changed_byte_is_read_within_bounds))
