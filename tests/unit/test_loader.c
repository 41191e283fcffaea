/* test_loader.c: order, bits, epochs, seeking, errors and shutdown of the loader. */
#include "tests/support/pictures.h"
#include <cleave/augment.h>
#include "core/context.h"
#include "core/file.h"
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT 37

/* A transform whose output tells all of its arguments: pixel (0, 0) of the input and a hash of the rest. */
static clv_status tell_arguments(void *user, const clv_image *in, uint64_t seed, uint32_t epoch, uint64_t sample,
                                 uint32_t view, void *scratch, size_t scratch_size, float *out)
{
    (void)user;
    assert_true(scratch_size >= 64);
    memset(scratch, 1, scratch_size);
    for (int64_t i = 0; i < 4 * in->channels; i++) {
        uint64_t h = seed * 31 + epoch;
        h = (h * 1000003 + sample) * 1000003 + view + (uint64_t)i;
        out[i] = (float)(h % 65521) + (float)in->pixels[i % in->channels] / 256.0f;
    }
    return CLV_OK;
}

static int64_t want_scratch(void *user, int64_t height, int64_t width, int64_t channels)
{
    (void)user, (void)height, (void)width, (void)channels;
    return 64;
}

static const clv_transform two_views[2] = {
    { .apply = tell_arguments, .scratch_size = want_scratch, .height = 2, .width = 2 },
    { .apply = tell_arguments, .scratch_size = want_scratch, .height = 2, .width = 2 },
};

static clv_loader_desc small_desc(int workers)
{
    clv_loader_desc d = CLV_LOADER_DESC_INIT;
    d.batch_size = 8;
    d.views = 2;
    d.transforms = two_views;
    d.seed = 7;
    d.workers = workers;
    return d;
}

static clv_dataset *open_raw(test_env *t)
{
    clv_dataset *ds = NULL;
    const char *path = test_path(t, "raw.h5");
    picture_write_h5(t, path, "train", COUNT, 6, 5, 3, true);
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    return ds;
}

static clv_dataset *open_encoded(test_env *t)
{
    clv_dataset *ds = NULL;
    const char *path = test_path(t, "encoded.h5");
    picture_write_encoded_h5(t, path, COUNT);
    assert_ok(clv_dataset_open(t->ctx, path, NULL, &ds));
    return ds;
}

/* FNV-1a over everything a batch says. */
static uint64_t hash(uint64_t h, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) h = (h ^ ((const uint8_t *)bytes)[i]) * UINT64_C(1099511628211);
    return h;
}

static uint64_t hash_batch(uint64_t h, const clv_batch *b)
{
    h = hash(h, &b->epoch, sizeof b->epoch);
    h = hash(h, &b->step, sizeof b->step);
    h = hash(h, b->labels, (size_t)b->count * sizeof *b->labels);
    h = hash(h, b->ids, (size_t)b->count * sizeof *b->ids);
    for (int64_t v = 0; v < b->views; v++)
        h = hash(h, b->view[v].data, (size_t)clv_view_count(&b->view[v]) * sizeof(float));
    return h;
}

static uint64_t hash_run(test_env *t, const clv_dataset *ds, const clv_loader_desc *desc, int batches)
{
    clv_loader *loader = NULL;
    clv_batch b;
    uint64_t h = UINT64_C(14695981039346656037);
    assert_ok(clv_loader_create(t->ctx, ds, desc, &loader));
    for (int i = 0; i < batches; i++) {
        assert_ok(clv_loader_next(loader, &b));
        h = hash_batch(h, &b);
    }
    clv_loader_destroy(loader);
    return h;
}

static void any_number_of_workers_gives_the_same_bits(void **state)
{
    test_env *t = *state;
    clv_dataset *sets[] = { open_raw(t), open_encoded(t) };
    static const int workers[] = { 1, 2, 7 };
    for (int s = 0; s < 2; s++) {
        clv_loader_desc d = small_desc(0);
        d.drop_last = false;
        const uint64_t expected = hash_run(t, sets[s], &d, 17);
        for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
            for (d.prefetch = 1; d.prefetch <= 5; d.prefetch += 2) {
                d.workers = workers[i];
                assert_true(hash_run(t, sets[s], &d, 17) == expected);
            }
        }
        d.seed++;
        assert_true(hash_run(t, sets[s], &d, 17) != expected);
        clv_dataset_destroy(sets[s]);
    }
}

static void an_epoch_visits_every_image_once_in_a_seeded_order(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_raw(t);
    clv_loader *loader = NULL;
    clv_batch b;
    clv_loader_desc d = small_desc(2);
    int seen[COUNT] = { 0 };
    int64_t moved = 0;
    d.drop_last = false;
    assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
    assert_int_equal(clv_loader_steps_per_epoch(loader), 5);
    for (int i = 0; i < 5; i++) {
        assert_ok(clv_loader_next(loader, &b));
        assert_int_equal(b.epoch, 0);
        assert_int_equal(b.step, i);
        assert_int_equal(b.count, i < 4 ? 8 : 5);
        assert_int_equal(b.view[1].shape[0], b.count);
        for (int64_t j = 0; j < b.count; j++) {
            seen[b.ids[j]]++;
            moved += b.ids[j] != 8 * i + j;
            assert_int_equal(b.labels[j], b.ids[j] % 3);
        }
    }
    for (int i = 0; i < COUNT; i++) assert_int_equal(seen[i], 1);
    assert_true(moved > COUNT / 2);
    assert_ok(clv_loader_next(loader, &b));
    assert_int_equal(b.epoch, 1);
    assert_int_equal(b.step, 0);
    clv_loader_destroy(loader);
    clv_dataset_destroy(ds);
}

static void ranks_share_a_global_batch_without_overlap(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_raw(t);
    clv_loader_desc whole = small_desc(0), part = small_desc(1);
    clv_loader *a = NULL, *r[2] = { NULL };
    clv_batch all, b;
    whole.batch_size = 12;
    whole.drop_last = part.drop_last = false;
    part.batch_size = 6;
    part.ranks = 2;
    assert_ok(clv_loader_create(t->ctx, ds, &whole, &a));
    for (part.rank = 0; part.rank < 2; part.rank++) assert_ok(clv_loader_create(t->ctx, ds, &part, &r[part.rank]));
    for (int step = 0; step < 8; step++) {
        assert_ok(clv_loader_next(a, &all));
        int64_t at = 0;
        for (int k = 0; k < 2; k++) {
            assert_ok(clv_loader_next(r[k], &b));
            assert_memory_equal(b.ids, all.ids + at, (size_t)b.count * sizeof *b.ids);
            at += b.count;
        }
        assert_int_equal(at, all.count);
    }
    for (int k = 0; k < 2; k++) clv_loader_destroy(r[k]);
    clv_loader_destroy(a);
    clv_dataset_destroy(ds);
}

static void without_transforms_pixels_are_scaled_to_one(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_raw(t);
    clv_loader *loader = NULL;
    clv_batch b;
    clv_loader_desc d = small_desc(0);
    d.transforms = NULL;
    d.shuffle = false;
    d.views = 1;
    assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
    assert_ok(clv_loader_next(loader, &b));
    const clv_view *v = &b.view[0];
    assert_int_equal(v->shape[1], 3);
    assert_int_equal(v->shape[2], 6);
    assert_int_equal(v->shape[3], 5);
    const float *p = v->data;
    assert_near(p[2 * v->stride[0] + 1 * v->stride[1] + 3 * v->stride[2] + 4 * v->stride[3]],
                picture_value(2, 3, 4, 1) / 255.0, 1e-6);
    clv_loader_destroy(loader);
    clv_dataset_destroy(ds);
}

static void seeking_gives_the_batches_of_an_uninterrupted_run(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_encoded(t);
    for (int workers = 0; workers <= 3; workers += 3) {
        clv_loader_desc d = small_desc(workers);
        clv_loader *loader = NULL;
        clv_batch b;
        uint64_t straight[12];
        assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
        for (int i = 0; i < 12; i++) {
            assert_ok(clv_loader_next(loader, &b));
            straight[i] = hash_batch(1, &b);
        }
        for (int i = 11; i >= 0; i -= 3) {
            assert_ok(clv_loader_seek(loader, (uint32_t)i / 4, i % 4));
            assert_ok(clv_loader_next(loader, &b));
            assert_true(hash_batch(1, &b) == straight[i]);
        }
        assert_fails(clv_loader_seek(loader, 0, 4), CLV_ERR_INVALID, "step 4, but an epoch has 4 steps");
        clv_loader_destroy(loader);
    }
    clv_dataset_destroy(ds);
}

static void a_bad_picture_stops_the_epoch_by_name_and_stays_bad(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = NULL;
    uint8_t jpeg[20000];
    assert_ok(clvi_mkdirs(test_path(t, "set")));
    for (int i = 0; i < 12; i++) {
        char name[64];
        snprintf(name, sizeof name, "set/p%02d.jpg", i);
        const size_t size = picture_jpeg(i, 24, 24, jpeg, sizeof jpeg);
        assert_ok(clvi_file_write(test_path(t, name), jpeg, i == 5 || i == 9 ? size / 2 : size));
    }
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "set"), NULL, &ds));
    for (int workers = 0; workers <= 4; workers += 2) {
        clv_loader *loader = NULL;
        clv_batch b;
        clv_loader_desc d = small_desc(workers);
        d.batch_size = 4;
        d.shuffle = false;
        assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
        assert_ok(clv_loader_next(loader, &b));
        assert_fails(clv_loader_next(loader, &b), CLV_ERR_FORMAT, "set/p05.jpg: JPEG: Premature end");
        assert_fails(clv_loader_next(loader, &b), CLV_ERR_FORMAT, "set/p05.jpg");
        assert_ok(clv_loader_seek(loader, 1, 0));
        assert_ok(clv_loader_next(loader, &b));
        assert_int_equal(b.epoch, 1);
        clv_loader_destroy(loader);
    }
    clv_dataset_destroy(ds);
}

static void a_raw_source_allocates_nothing_once_it_runs(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_raw(t);
    clv_loader *loader = NULL;
    clv_batch b;
    const clv_loader_desc d = small_desc(2);
    assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
    const uint64_t before = clvi_alloc_count();
    for (int i = 0; i < 50; i++) assert_ok(clv_loader_next(loader, &b));
    assert_int_equal(clvi_alloc_count(), before);
    double waited = -1, total = -1;
    clv_loader_times(loader, &waited, &total);
    assert_true(waited >= 0 && waited <= total && isfinite(total));
    clv_loader_destroy(loader);
    clv_dataset_destroy(ds);
}

static void a_loader_can_be_destroyed_at_any_moment(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_encoded(t);
    for (int i = 0; i < 40; i++) {
        clv_loader *loader = NULL;
        clv_batch b;
        clv_loader_desc d = small_desc(1 + i % 4);
        d.prefetch = 1 + i % 3;
        assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
        for (int j = 0; j < i % 5; j++) assert_ok(clv_loader_next(loader, &b));
        clv_loader_destroy(loader);
    }
    clv_loader_destroy(NULL);
    clv_dataset_destroy(ds);
}

static clv_status count_call(void *user, const clv_image *in, uint64_t seed, uint32_t epoch, uint64_t sample,
                             uint32_t view, void *scratch, size_t scratch_size, float *out)
{
    atomic_fetch_add((atomic_int *)user, 1);
    return tell_arguments(NULL, in, seed, epoch, sample, view, scratch, scratch_size, out);
}

/* A run that is only described must not fill gigabytes with images nobody asks for. */
static void nothing_is_made_before_a_batch_is_asked_for(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_raw(t);
    clv_loader *loader = NULL;
    clv_batch b;
    atomic_int calls = 0;
    clv_transform counting[2] = { two_views[0], two_views[1] };
    clv_loader_desc d = small_desc(2);
    for (int v = 0; v < 2; v++) counting[v].apply = count_call, counting[v].user = &calls;
    d.transforms = counting;
    assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
    assert_ok(clv_loader_seek(loader, 1, 2));
    usleep(50000);
    assert_int_equal(atomic_load(&calls), 0);
    assert_ok(clv_loader_next(loader, &b));
    assert_int_equal(b.epoch, 1);
    assert_int_equal(b.step, 2);
    clv_loader_destroy(loader);
    clv_dataset_destroy(ds);
}

static void wrong_settings_are_refused_with_a_useful_message(void **state)
{
    test_env *t = *state;
    clv_dataset *raw = open_raw(t), *encoded = open_encoded(t);
    clv_loader *loader = NULL;
    clv_loader_desc d = small_desc(1);
    d.batch_size = 64;
    assert_fails(clv_loader_create(t->ctx, raw, &d, &loader), CLV_ERR_INVALID, "37 images, fewer than the batch of 64");
    d = small_desc(1);
    d.views = 0;
    assert_fails(clv_loader_create(t->ctx, raw, &d, &loader), CLV_ERR_INVALID, "views is 0");
    d = small_desc(-1);
    assert_fails(clv_loader_create(t->ctx, raw, &d, &loader), CLV_ERR_INVALID, "workers is -1");
    d = small_desc(1);
    d.rank = 2, d.ranks = 2;
    assert_fails(clv_loader_create(t->ctx, raw, &d, &loader), CLV_ERR_INVALID, "rank 2 of 2");
    d = small_desc(1);
    d.struct_size = 3;
    assert_fails(clv_loader_create(t->ctx, raw, &d, &loader), CLV_ERR_INVALID, "CLV_LOADER_DESC_INIT");
    d = small_desc(1);
    d.transforms = NULL;
    assert_fails(clv_loader_create(t->ctx, encoded, &d, &loader), CLV_ERR_SHAPE, "vary in size");
    assert_null(loader);
    clv_dataset_destroy(raw);
    clv_dataset_destroy(encoded);
}

static clv_status create_and_run(clv_context *ctx, void *ds)
{
    clv_loader *loader = NULL;
    clv_batch b;
    const clv_loader_desc d = small_desc(0);
    clv_status st = clv_loader_create(ctx, ds, &d, &loader);
    if (st == CLV_OK) st = clv_loader_next(loader, &b);
    clv_loader_destroy(loader);
    return st;
}

static void running_out_of_memory_is_an_error_not_a_leak(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_encoded(t);
    test_each_allocation_fails(t, create_and_run, ds);
    clv_dataset_destroy(ds);
}

static void large_and_small_crops_are_views_of_one_loader(void **state)
{
    test_env *t = *state;
    enum { VIEWS = 8, LARGE = 32, SMALL = 12 };
    clv_dataset *ds = open_encoded(t);
    clv_augment *large = NULL, *small = NULL;
    clv_transform view[VIEWS];
    clv_loader *loader = NULL;
    clv_decoder *decoder = NULL;
    clv_batch b;
    clv_image image;
    static float alone[LARGE * LARGE * 3];
    assert_ok(clv_augment_create(t->ctx, "swav-multicrop", &(clv_option){ "size", "32" }, 1, &large));
    assert_ok(clv_augment_create(t->ctx, "swav-multicrop-small", &(clv_option){ "size", "12" }, 1, &small));
    for (int v = 0; v < VIEWS; v++) assert_ok(clv_augment_transform(v < 2 ? large : small, &view[v]));
    clv_loader_desc d = small_desc(2);
    d.views = VIEWS;
    d.transforms = view;
    assert_ok(clv_loader_create(t->ctx, ds, &d, &loader));
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    assert_ok(clv_loader_next(loader, &b));
    assert_int_equal(b.views, VIEWS);
    for (int v = 0; v < VIEWS; v++) {
        const int64_t side = v < 2 ? LARGE : SMALL;
        assert_int_equal(b.view[v].shape[2], side);
        assert_int_equal(b.view[v].shape[3], side);
        assert_ok(clv_dataset_image(ds, b.ids[3], decoder, &image));
        const size_t size = (size_t)view[v].scratch_size(view[v].user, image.height, image.width, 3);
        void *scratch = aligned_alloc(64, (size + 63) / 64 * 64);
        assert_ok(view[v].apply(view[v].user, &image, d.seed, 0, (uint64_t)b.ids[3], (uint32_t)v, scratch, size, alone));
        assert_memory_equal(alone, (float *)b.view[v].data + 3 * b.view[v].stride[0], (size_t)(side * side * 3) * 4);
        free(scratch);
    }
    clv_decoder_destroy(decoder);
    clv_loader_destroy(loader);
    clv_augment_destroy(small);
    clv_augment_destroy(large);
    clv_dataset_destroy(ds);
}

TEST_MAIN(
    TEST(large_and_small_crops_are_views_of_one_loader),
    TEST(any_number_of_workers_gives_the_same_bits),
    TEST(an_epoch_visits_every_image_once_in_a_seeded_order),
    TEST(ranks_share_a_global_batch_without_overlap),
    TEST(without_transforms_pixels_are_scaled_to_one),
    TEST(seeking_gives_the_batches_of_an_uninterrupted_run),
    TEST(a_bad_picture_stops_the_epoch_by_name_and_stays_bad),
    TEST(a_raw_source_allocates_nothing_once_it_runs),
    TEST(a_loader_can_be_destroyed_at_any_moment),
    TEST(nothing_is_made_before_a_batch_is_asked_for),
    TEST(wrong_settings_are_refused_with_a_useful_message),
    TEST(running_out_of_memory_is_an_error_not_a_leak),
)
