/* test_loader_forms.c: in which form views come, where they lie, how much memory they take, and what each rank gets. */
#include "tests/support/isa.h"
#include "tests/support/pictures.h"
#include <cleave/augment.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 23, BATCH = 5, VIEWS = 2 };

static clv_dataset *open_set(test_env *t, int64_t channels)
{
    clv_dataset *ds = NULL;
    const char *path = test_path(t, channels ? "raw.h5" : "encoded.h5");
    if (channels) picture_write_h5(t, path, "train", COUNT, 19, 23, channels, true);
    else picture_write_encoded_h5(t, path, COUNT);
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    return ds;
}

static clv_loader_desc desc_of(const clv_transform *transforms, int workers)
{
    clv_loader_desc d = CLV_LOADER_DESC_INIT;
    d.batch_size = BATCH;
    d.views = VIEWS;
    d.transforms = transforms;
    d.workers = workers;
    d.drop_last = false;
    return d;
}

/* The nearest of the two neighbours a bfloat16 can be, ties to the even one. */
static uint16_t nearest_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t low = bits & 0xffff0000u, high = low + 0x10000u;
    float a, b;
    memcpy(&a, &low, sizeof a);
    memcpy(&b, &high, sizeof b);
    const double below = fabs((double)value - a), above = fabs((double)b - value);
    const bool up = above < below || (above == below && (low >> 16 & 1));
    return (uint16_t)((up ? high : low) >> 16);
}

static void expect_form(const clv_view *plain, const clv_view *view, clv_dtype dtype, int64_t channels)
{
    const int64_t have = plain->shape[1], pixels = plain->shape[0] * plain->shape[2] * plain->shape[3];
    assert_int_equal(view->dtype, dtype);
    assert_int_equal(view->shape[0], plain->shape[0]);
    assert_int_equal(view->shape[1], channels);
    assert_int_equal(view->stride[3], channels);
    assert_int_equal(view->stride[1], 1);
    assert_int_equal((uintptr_t)view->data % 64, 0);
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t c = 0; c < channels; c++) {
            const float value = c < have ? ((const float *)plain->data)[i * have + c] : 0.0f;
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            if (dtype == CLV_BF16)
                assert_int_equal(((const uint16_t *)view->data)[i * channels + c], c < have ? nearest_half(value) : 0);
            else assert_int_equal(((const uint32_t *)view->data)[i * channels + c], bits);
        }
}

static void compare_forms(test_env *t, const clv_dataset *ds, const clv_transform *transforms)
{
    static const struct {
        clv_dtype dtype;
        int64_t   channels;
    } forms[] = { { CLV_BF16, 0 }, { CLV_BF16, 4 }, { CLV_BF16, 8 }, { CLV_F32, 4 }, { CLV_F32, 8 }, { CLV_F32, 0 } };
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        clv_loader_desc plain = desc_of(transforms, 0), other = desc_of(transforms, 2);
        clv_loader *a = NULL, *b = NULL;
        clv_batch x, y;
        other.dtype = forms[f].dtype;
        other.channels = forms[f].channels;
        assert_ok(clv_loader_create(t->ctx, ds, &plain, &a));
        assert_ok(clv_loader_create(t->ctx, ds, &other, &b));
        for (int k = 0; k < 6; k++) {   /* the last of an epoch is not full */
            assert_ok(clv_loader_next(a, &x));
            assert_ok(clv_loader_next(b, &y));
            for (int64_t v = 0; v < VIEWS; v++)
                expect_form(&x.view[v], &y.view[v], other.dtype, other.channels ? other.channels : info.channels);
        }
        clv_loader_destroy(b);
        clv_loader_destroy(a);
    }
}

static void views_come_in_the_form_that_is_asked_for(void **state)
{
    static const int64_t channels[] = { 3, 1, 0 };   /* 0: JPEG and PNG */
    static const char text[] = "random-resized-crop size=17; flip; color-jitter p=1; normalize mean=0.485 std=0.229";
    static const char eval[] = "center-crop size=19 margin=1; normalize mean=0.1 std=0.3";
    test_env *t = *state;
    clv_augment *a = NULL, *b = NULL;
    clv_transform transforms[VIEWS];
    assert_ok(clv_augment_create(t->ctx, text, NULL, 0, &a));
    assert_ok(clv_augment_create(t->ctx, eval, NULL, 0, &b));
    assert_ok(clv_augment_transform(a, &transforms[0]));
    assert_ok(clv_augment_transform(b, &transforms[1]));
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        clv_dataset *ds = open_set(t, channels[i]);
        compare_forms(t, ds, transforms);
        if (channels[i]) compare_forms(t, ds, NULL);
        clv_dataset_destroy(ds);
    }
    clv_augment_destroy(b);
    clv_augment_destroy(a);
}

static clv_status only_floats(void *user, const clv_image *in, uint64_t seed, uint32_t epoch, uint64_t sample,
                              uint32_t view, void *scratch, size_t scratch_size, float *out)
{
    (void)user, (void)in, (void)seed, (void)epoch, (void)sample, (void)view, (void)scratch, (void)scratch_size;
    out[0] = 0;
    return CLV_OK;
}

static void forms_there_are_not_are_refused(void **state)
{
    static const clv_transform plain[VIEWS] = { { .apply = only_floats, .height = 1, .width = 1 },
                                                { .apply = only_floats, .height = 1, .width = 1 } };
    test_env *t = *state;
    clv_loader *loader = NULL;
    clv_dataset *ds = open_set(t, 3);
    clv_loader_desc d = desc_of(NULL, 1);
    d.dtype = CLV_U8;
    assert_fails(clv_loader_create(t->ctx, ds, &d, &loader), CLV_ERR_INVALID, "float32 or bfloat16, not uint8");
    d = desc_of(NULL, 1);
    static const int64_t wrong[] = { -1, 1, 2, 5, 7, 16 };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        d.channels = wrong[i];
        assert_fails(clv_loader_create(t->ctx, ds, &d, &loader), CLV_ERR_INVALID, "views have as many, 4 or 8");
    }
    d = desc_of(plain, 1);
    d.channels = 4;
    assert_fails(clv_loader_create(t->ctx, ds, &d, &loader), CLV_ERR_INVALID, "view 0 has no apply_part");
    clv_dataset_destroy(ds);
}

static void batches_take_the_memory_that_is_told_in_pages_of_their_own(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_set(t, 3);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int prefetch = 1; prefetch <= 4; prefetch++)
        for (int half = 0; half < 2; half++) {
            clv_loader *loader = NULL;
            clv_batch b;
            const void *slots[16] = { NULL };
            int used = 0;
            clv_loader_desc d = desc_of(NULL, 2);
            d.prefetch = prefetch;
            d.dtype = half ? CLV_BF16 : CLV_F32;
            assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
            const size_t view = ((size_t)BATCH * 19 * 23 * 3 * (half ? 2 : 4) + 63) / 64 * 64;
            assert_int_equal(clv_loader_memory(loader), (size_t)(prefetch + 1) * VIEWS * view);
            for (int k = 0; k < 40; k++) {
                assert_ok(clv_loader_next(loader, &b));
                assert_int_equal((uintptr_t)b.view[0].data % page, 0);
                int s = 0;
                while (s < used && slots[s] != b.view[0].data) s++;
                if (s == used) slots[used++] = b.view[0].data;
                assert_true(used <= prefetch + 1);
            }
            clv_loader_destroy(loader);
        }
    clv_dataset_destroy(ds);
}

/* All ranks make the same number of steps; what one drops or lacks follows from the whole batch alone. */
static void every_rank_drops_the_same(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_set(t, 1);
    for (int ranks = 1; ranks <= 4; ranks++)
        for (int drop = 0; drop < 2; drop++) {
            int seen[COUNT] = { 0 }, total = 0;
            const int64_t whole = (int64_t)ranks * BATCH, steps = drop ? COUNT / whole : (COUNT + whole - 1) / whole;
            for (int rank = 0; rank < ranks; rank++) {
                clv_loader *loader = NULL;
                clv_batch b;
                clv_loader_desc d = desc_of(NULL, 0);
                d.rank = rank;
                d.ranks = ranks;
                d.drop_last = drop;
                assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
                assert_int_equal(clv_loader_steps_per_epoch(loader), steps);
                for (int64_t s = 0; s < steps; s++) {
                    assert_ok(clv_loader_next(loader, &b));
                    assert_int_equal(b.step, s);
                    if (drop || s + 1 < steps) assert_int_equal(b.count, BATCH);
                    for (int64_t i = 0; i < b.count; i++) assert_int_equal(seen[b.ids[i]]++, 0);
                    total += (int)b.count;
                }
                clv_loader_destroy(loader);
            }
            assert_int_equal(total, drop ? steps * whole : COUNT);
        }
    clv_dataset_destroy(ds);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(views_come_in_the_form_that_is_asked_for),
        TEST(forms_there_are_not_are_refused),
        TEST(batches_take_the_memory_that_is_told_in_pages_of_their_own),
        TEST(every_rank_drops_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
