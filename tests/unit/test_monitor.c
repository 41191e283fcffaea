/* test_monitor.c: what a run writes for its report. */
#include "tests/support/train.h"
#include "core/h5.h"

#include <string.h>

static void without_held_out_images_an_example_is_not_its_own_neighbour(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    clvi_h5_info info;
    int64_t ids[8], near[8 * 8];
    assert_ok(test_run(t, test_run_config(t, "run", "epochs", "1", "val-split", "", "knn-freq", "1", NULL), NULL, NULL));
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "run/examples.h5"), &h5));
    assert_ok(clvi_h5_stat(h5, "neighbour_ids", &info));
    assert_int_equal(info.shape[0], 8);
    assert_int_equal(info.shape[1], 8);
    const clv_view id_view = clv_view_1d(ids, CLV_I64, 8), near_view = clv_view_2d(near, CLV_I64, 8, 8);
    assert_ok(clvi_h5_read(h5, "example_ids", &id_view));
    assert_ok(clvi_h5_read(h5, "neighbour_ids", &near_view));
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) assert_int_not_equal(near[8 * i + j], ids[i]);
    clvi_h5_close(h5);
}

TEST_MAIN(TEST(without_held_out_images_an_example_is_not_its_own_neighbour))
