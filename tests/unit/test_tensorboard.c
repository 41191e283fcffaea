/* test_tensorboard.c: event files: records are framed and summed as TensorBoard reads them, and say what the log says.
 * tests/cli/tensorboard.sh has the real package read them. */
#include "core/file.h"
#include "tests/support/train.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 4096 };

typedef struct records {
    int            count;
    const uint8_t *data[MOST];
    size_t         size[MOST];
    uint8_t       *bytes;
} records;

static uint64_t little(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | at[i];
    return value;
}

/* The sum by its definition, without the instructions that the writer uses. */
static uint32_t masked(const uint8_t *bytes, size_t size)
{
    const uint32_t crc = clvi_crc32c_portable(0, bytes, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* All records of the `which`-th event file of a run directory, each with right sums. */
static void read_records(test_env *t, const char *run, size_t which, records *out)
{
    char pattern[600];
    glob_t found;
    size_t size = 0;
    snprintf(pattern, sizeof pattern, "%s/events.out.tfevents.*", test_path(t, run));
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(which < found.gl_pathc);
    assert_ok(clvi_file_read(t->ctx, found.gl_pathv[which], 1 << 26, &out->bytes, &size));
    globfree(&found);
    out->count = 0;
    for (size_t at = 0; at < size;) {
        const uint64_t length = little(out->bytes + at, 8);
        assert_true(at + 16 + length <= size);
        assert_int_equal(little(out->bytes + at + 8, 4), masked(out->bytes + at, 8));
        assert_int_equal(little(out->bytes + at + 12 + length, 4), masked(out->bytes + at + 12, length));
        assert_true(out->count < MOST);
        out->data[out->count] = out->bytes + at + 12;
        out->size[out->count++] = length;
        at += 16 + length;
    }
}

static int count_of(const records *r, const char *tag)
{
    int count = 0;
    for (int i = 0; i < r->count; i++) count += memmem(r->data[i], r->size[i], tag, strlen(tag)) != NULL;
    return count;
}

static int lines_of(test_env *t, const char *name, const char *what)
{
    char line[8192];
    int count = 0;
    FILE *file = fopen(test_path(t, name), "rb");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) count += strstr(line, what) != NULL;
    fclose(file);
    return count;
}

static void a_run_writes_what_its_log_says(void **state)
{
    test_env *t = *state;
    records r;
    assert_ok(test_run(t, test_run_config(t, "run", "tensorboard", "true", NULL), NULL, NULL));
    read_records(t, "run", 0, &r);
    assert_non_null(memmem(r.data[0], r.size[0], "brain.Event:2", 13));
    assert_int_equal(count_of(&r, "train/loss_mean"), lines_of(t, "run/metrics.jsonl", "\"kind\": \"step\""));
    assert_int_equal(count_of(&r, "health/std"), lines_of(t, "run/metrics.jsonl", "\"kind\": \"step\""));
    assert_int_equal(count_of(&r, "val/knn_top1"), 2);
    assert_int_equal(count_of(&r, "scores/negative_mean"), count_of(&r, "scores/positive_mean"));
    assert_int_equal(count_of(&r, "weights/conv1.weight"), 2);           /* an epoch each */
    assert_int_equal(count_of(&r, "gradients/conv1.weight"), 2);
    assert_int_equal(count_of(&r, "train/views"), 2);
    assert_int_equal(count_of(&r, "\x89PNG"), 2);
    clvi_free(t->ctx, r.bytes);
    assert_int_equal(lines_of(t, "run/projector/features.tsv", "\t"), 160);
    assert_int_equal(lines_of(t, "run/projector/labels.tsv", "\t"), 161);       /* with its heading */
    assert_true(test_has_file(t, "run/projector/sprite.png"));
    assert_int_equal(lines_of(t, "run/projector_config.pbtxt", "projector/"), 3);
}

static bool stop_in_epoch_2(const clv_progress *p, void *user)
{
    (void)user;
    return !(p->kind == CLV_PROGRESS_STEP && p->epoch == 2 && p->step == 4);
}

/* A run that goes on says from where its predecessors' word is void: at step 15. */
static void a_run_that_goes_on_voids_what_it_does_again(void **state)
{
    test_env *t = *state;
    records r;
    clv_config *config = test_run_config(t, "run", "tensorboard", "true", NULL);
    assert_int_equal(test_run(t, config, stop_in_epoch_2, NULL), CLV_STOPPED);
    glob_t found;
    char pattern[600], other[700];
    snprintf(pattern, sizeof pattern, "%s/events.out.tfevents.*", test_path(t, "run"));
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    snprintf(other, sizeof other, "%s/events.out.tfevents.0000000001", test_path(t, "run"));
    assert_int_equal(rename(found.gl_pathv[0], other), 0);               /* within a second the names would be one */
    globfree(&found);
    assert_ok(test_run(t, test_run_config(t, "run", "tensorboard", "true", "resume", "auto", NULL), NULL, NULL));
    read_records(t, "run", 1, &r);
    static const uint8_t start[] = { 0x10, 15, 0x3a, 2, 0x08, 1 };       /* step = 15; restart { status = 1 } */
    assert_non_null(memmem(r.data[1], r.size[1], start, sizeof start));
    clvi_free(t->ctx, r.bytes);
}

static void unasked_nothing_is_written(void **state)
{
    test_env *t = *state;
    glob_t found;
    char pattern[600];
    assert_ok(test_run(t, test_run_config(t, "run", "epochs", "1", NULL), NULL, NULL));
    snprintf(pattern, sizeof pattern, "%s/*tfevents*", test_path(t, "run"));
    assert_int_equal(glob(pattern, 0, NULL, &found), GLOB_NOMATCH);
    assert_false(test_has_file(t, "run/projector_config.pbtxt"));
}

TEST_MAIN(TEST(a_run_writes_what_its_log_says), TEST(a_run_that_goes_on_voids_what_it_does_again),
          TEST(unasked_nothing_is_written))
