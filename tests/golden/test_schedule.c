/* test_schedule.c: the momentum schedule against the golden vectors. */
#include "tests/support/test.h"
#include "core/h5.h"
#include "train/config/schedule.h"

static void momentum_follows_the_half_cosine(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    clvi_h5_info info;
    double base, epochs, epoch[32], want[32];
    assert_ok(clvi_h5_open(t->ctx, "tests/golden/losses/moco_queue.h5", &h5));
    assert_ok(clvi_h5_stat(h5, "cosine_momentum/inputs/epoch", &info));
    assert_true(info.ndim == 1 && info.shape[0] >= 3 && info.shape[0] <= 32);
    assert_ok(clvi_h5_attr_f64(h5, "cosine_momentum", "base_momentum", &base));
    assert_ok(clvi_h5_attr_f64(h5, "cosine_momentum", "epochs", &epochs));
    const clv_view epoch_view = clv_view_1d(epoch, CLV_F64, info.shape[0]);
    const clv_view want_view = clv_view_1d(want, CLV_F64, info.shape[0]);
    assert_ok(clvi_h5_read(h5, "cosine_momentum/inputs/epoch", &epoch_view));
    assert_ok(clvi_h5_read(h5, "cosine_momentum/outputs/momentum", &want_view));
    for (int64_t i = 0; i < info.shape[0]; i++)
        assert_near(clvi_momentum_cosine(base, epoch[i], epochs), want[i], 1e-15);
    clvi_h5_close(h5);
}

TEST_MAIN(TEST(momentum_follows_the_half_cosine))
