/* test_stats.c: mean and standard deviation of a data set, against sums taken here. */
#include "tests/support/pictures.h"
#include "core/file.h"
#include <math.h>
#include <stdlib.h>

static clv_status stats_of(test_env *t, const char *path, int64_t size, int jobs, clv_pack_fn report, clv_stats *out)
{
    clv_dataset *ds = NULL;
    clv_stats_desc desc = CLV_STATS_DESC_INIT;
    desc.size = size;
    desc.jobs = jobs;
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    const clv_status st = clv_dataset_stats(t->ctx, ds, &desc, report, NULL, out);
    clv_dataset_destroy(ds);
    return st;
}

static void the_numbers_are_those_of_all_pixels_whatever_the_number_of_threads(void **state)
{
    test_env *t = *state;
    const char *path = test_path(t, "a.h5");
    enum { COUNT = 150, SIDE = 12 };
    clv_stats one, three;
    double sum[3] = { 0 }, square[3] = { 0 };
    picture_write_h5(t, path, "train", COUNT, SIDE, SIDE, 3, false);
    for (int64_t i = 0; i < COUNT; i++)
        for (int64_t y = 0; y < SIDE; y++)
            for (int64_t x = 0; x < SIDE; x++)
                for (int64_t c = 0; c < 3; c++) {
                    const double v = picture_value(i, y, x, c) / 255.0;
                    sum[c] += v;
                    square[c] += v * v;
                }
    assert_ok(stats_of(t, path, 0, 1, NULL, &one));
    assert_ok(stats_of(t, path, 0, 3, NULL, &three));
    assert_memory_equal(&one, &three, sizeof one);
    assert_int_equal(one.images, COUNT);
    assert_int_equal(one.channels, 3);
    assert_int_equal(one.pixels, COUNT * SIDE * SIDE);
    for (int c = 0; c < 3; c++) {
        const double n = COUNT * SIDE * SIDE, mean = sum[c] / n;
        assert_near(one.mean[c], mean, 1e-12);
        assert_near(one.std[c], sqrt(square[c] / n - mean * mean), 1e-9);
    }
}

static void a_size_measures_what_pack_would_write(void **state)
{
    test_env *t = *state;
    const char *folder = test_path(t, "pictures"), *out = test_path(t, "out.h5");
    clv_pack_desc pack = CLV_PACK_DESC_INIT;
    clv_dataset *ds = NULL;
    clv_dataset_info info;
    clv_stats stats;
    assert_ok(clvi_mkdirs(folder));
    picture_write_jpeg(test_path(t, "pictures/a.jpg"), 0, 40, 20);
    picture_write_png(test_path(t, "pictures/b.png"), 1, 24, 48);
    pack.sources = &folder;
    pack.source_count = 1;
    pack.output = out;
    pack.format = CLV_PACK_RAW;
    pack.size = 18;
    assert_ok(clv_pack(t->ctx, &pack, NULL, NULL));
    assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_ok(stats_of(t, folder, 18, 2, NULL, &stats));
    assert_int_equal(stats.pixels, 2 * 18 * 18);
    for (int c = 0; c < 3; c++) {
        assert_near(stats.mean[c], info.mean[c], 1e-14);
        assert_near(stats.std[c], info.std[c], 1e-14);
    }
    clv_dataset_destroy(ds);
}

static bool stop_at_once(const clv_pack_progress *p, void *user)
{
    (void)user;
    assert_true(p->done > 0 && p->done <= p->total);
    return false;
}

static void bad_pictures_and_settings_are_refused_by_name(void **state)
{
    test_env *t = *state;
    clv_stats stats = { .images = -7 };
    assert_ok(clvi_mkdirs(test_path(t, "pictures")));
    picture_write_jpeg(test_path(t, "pictures/a.jpg"), 0, 40, 20);
    const char *folder = test_path(t, "pictures");
    assert_fails(stats_of(t, folder, 0, 1, stop_at_once, &stats), CLV_STOPPED, "");
    assert_fails(stats_of(t, folder, -1, 1, NULL, &stats), CLV_ERR_INVALID, "size is -1, expected 0 to 8192");
    assert_fails(stats_of(t, folder, 0, 0, NULL, &stats), CLV_ERR_INVALID, "jobs is 0, expected 1 to 1024");
    assert_ok(clvi_file_write(test_path(t, "pictures/b.jpg"), "", 0));
    assert_fails(stats_of(t, folder, 0, 2, NULL, &stats), CLV_ERR_FORMAT, "pictures/b.jpg");
    assert_int_equal(stats.images, -7);
}

TEST_MAIN(TEST(the_numbers_are_those_of_all_pixels_whatever_the_number_of_threads),
          TEST(a_size_measures_what_pack_would_write), TEST(bad_pictures_and_settings_are_refused_by_name))
