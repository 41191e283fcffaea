/* test_losses.c: every loss on a device against its golden vectors, in float32 and float64, within the tolerances that
 * hold on the host. */
#include "tests/cuda/device.h"
#include <cleave/loss.h>
#include <math.h>
#include <stdio.h>

#define FOLDER "tests/golden/losses/"

typedef struct tally {
    int    compared, failed;
    double worst;             /* error / tolerance */
    char   first[512];        /* what failed */
} tally;

static void count(const clv_loss_check_result *r, void *user)
{
    tally *sum = user;
    if (r->verdict == CLV_CHECK_NOT_COMPARED) return;      /* tests/golden/test_losses.c knows what those are */
    if (r->verdict == CLV_CHECK_FAILED) {
        if (!sum->failed++)
            snprintf(sum->first, sizeof sum->first, "%s: off by %.3g, allowed %.3g: %s", r->name, r->error,
                     r->tolerance, r->note);
        return;
    }
    sum->compared++;
    if (r->tolerance > 0) sum->worst = fmax(sum->worst, r->error / r->tolerance);
}

/* Says what is wrong with a loss; NULL if nothing is. */
static const char *verdict(const tally *sum)
{
    if (sum->failed) return sum->first;
    return sum->compared >= 10 ? NULL : "hardly anything was compared";
}

static void check_all(test_env *t, clv_dtype dtype)
{
    clv_context *ctx = test_device_context(t);
    clv_class_info info;
    int bad = 0;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        char path[256];
        tally sum = { 0 };
        int64_t failed = -1;
        snprintf(path, sizeof path, FOLDER "%s.h5", info.name);
        assert_ok(clv_loss_check(ctx, path, dtype, false, count, &sum, &failed));
        assert_int_equal(failed, sum.failed);
        const char *wrong = verdict(&sum);
        print_message("%s: %d arrays in %s, worst uses %.2g of its tolerance\n", info.name, sum.compared,
                      clv_dtype_name(dtype), sum.worst);
        if (wrong) print_error("%s in %s: %s\n", info.name, clv_dtype_name(dtype), wrong);
        bad += wrong != NULL;
    }
    clv_context_destroy(ctx);
    assert_int_equal(bad, 0);
}

static void golden_vectors_hold_in_float64(void **state)
{
    check_all(*state, CLV_F64);
}

static void golden_vectors_hold_in_float32(void **state)
{
    check_all(*state, CLV_F32);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(golden_vectors_hold_in_float64),
        TEST(golden_vectors_hold_in_float32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
