/* test_generator.c: flow matching from training to pictures: a run goes on to the same bits, what it generates is a
 * function of seed and number alone, and it learns where pictures lie. */
#include "backbones/backbone.h"
#include "core/h5.h"
#include "tests/support/train.h"

#include <cleave/backbone.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN "center-crop size=16 margin=1; normalize mean=0.5 std=0.25"

enum { SIDE = 16, PICTURES = 6, SIZE = SIDE * SIDE };

static clv_config *flow_config(test_env *t, const char *directory, const char *name, const char *value)
{
    return test_run_config(t, directory, "method", "flow_matching", "arch", "uvit", "width", "16", "aug",
                           CHAIN, "eval-aug", CHAIN, "size", "0", "moco-dim", "128", "moco-m",
                           "0.999", "optimizer", "adamw", "momentum", "0.9", "lr", "0.003", "loss",
                           "mse; repulsor weight=0.1", "moco-k", "48", "knn-layer", "backbone", name, value, NULL);
}

static bool stops(const clv_progress *p, void *user)
{
    return p->kind != CLV_PROGRESS_STEP || p->total_step != *(const int64_t *)user;
}

static bool never(const clv_progress *p, void *user)
{
    (void)p;
    (void)user;
    return true;
}

static void generate(test_env *t, const char *run, const clv_generator_desc *like, int64_t first, int64_t count,
                     uint8_t *pixels)
{
    clv_generator_desc desc = *like;
    clv_generator *g = NULL;
    int64_t shape[4] = { count, 0, 0, 0 };
    desc.checkpoint = test_path(t, run);
    assert_ok(clv_generator_open(t->ctx, &desc, &g));
    clv_generator_shape(g, &shape[1], &shape[2], &shape[3]);
    assert_true(shape[1] == SIDE && shape[2] == SIDE && shape[3] == 1);
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, shape);
    assert_ok(clv_generator_sample(g, first, count, &images, NULL, NULL));
    clv_generator_destroy(g);
}

static int largest_difference(const uint8_t *a, const uint8_t *b, int64_t n)
{
    int worst = 0;
    for (int64_t i = 0; i < n; i++) worst = abs(a[i] - b[i]) > worst ? abs(a[i] - b[i]) : worst;
    return worst;
}

static void a_run_goes_on_to_the_same_bits_and_pictures_depend_on_seed_and_number(void **state)
{
    test_env *t = *state;
    int64_t stop_at = 7;
    assert_ok(test_run(t, flow_config(t, "whole", "workers", "0"), never, NULL));
    assert_int_equal(test_run(t, flow_config(t, "cut", "workers", "2"), stops, &stop_at), CLV_STOPPED);
    assert_ok(test_run(t, flow_config(t, "cut", "resume", "auto"), never, NULL));
    assert_true(test_same_file(t, "whole/last.h5", "cut/last.h5"));

    clv_generator_desc desc = CLV_GENERATOR_DESC_INIT;
    uint8_t all[PICTURES * SIZE], again[PICTURES * SIZE], later[PICTURES * SIZE];
    desc.steps = 4;
    generate(t, "whole", &desc, 0, PICTURES, all);
    generate(t, "whole/last.h5", &desc, 0, PICTURES, again);
    assert_memory_equal(all, again, sizeof all);
    desc.batch_size = 4;                                               /* in two batches, and a part */
    generate(t, "whole", &desc, 0, PICTURES, again);
    assert_true(largest_difference(all, again, sizeof all) <= 1);
    generate(t, "whole", &desc, 2, PICTURES - 2, later);
    assert_true(largest_difference(all + 2 * SIZE, later, (PICTURES - 2) * SIZE) <= 1);
    desc.seed = 1;
    generate(t, "whole", &desc, 0, PICTURES, again);
    assert_memory_not_equal(all, again, sizeof all);
}

/* Steps of a half of the length: Euler's error halves, Heun's falls to a quarter; both tend to one picture. */
static void solvers_tend_to_one_picture(void **state)
{
    test_env *t = *state;
    clv_generator_desc heun = CLV_GENERATOR_DESC_INIT, euler = CLV_GENERATOR_DESC_INIT;
    uint8_t exact[PICTURES * SIZE], coarse[PICTURES * SIZE], fine[PICTURES * SIZE];
    assert_ok(test_run(t, flow_config(t, "run", "epochs", "1"), never, NULL));
    heun.steps = 100;
    generate(t, "run", &heun, 0, PICTURES, exact);
    euler.solver = CLV_SOLVER_EULER;
    euler.steps = 2;
    generate(t, "run", &euler, 0, PICTURES, coarse);
    euler.steps = 100;
    generate(t, "run", &euler, 0, PICTURES, fine);
    const int far = largest_difference(exact, coarse, sizeof exact), near = largest_difference(exact, fine, sizeof exact);
    assert_true(near <= 4 && far > near);
    heun.steps = 12;
    generate(t, "run", &heun, 0, PICTURES, fine);
    assert_true(largest_difference(exact, fine, sizeof exact) < far);
}

/* The data's mean brightness is 100 of 255; noise of mean 0.5 and deviation 0.25 would give 127. */
static void pictures_are_where_the_data_lie(void **state)
{
    test_env *t = *state;
    clv_generator_desc desc = CLV_GENERATOR_DESC_INIT;
    uint8_t pixels[4 * PICTURES * SIZE];
    clv_dataset *ds = NULL;
    clv_stats_desc stats_desc = CLV_STATS_DESC_INIT;
    clv_stats stats;
    double mean = 0;
    assert_ok(test_run(t, flow_config(t, "run", "epochs", "8"), never, NULL));
    generate(t, "run", &desc, 0, 4 * PICTURES, pixels);
    for (size_t i = 0; i < sizeof pixels; i++) mean += pixels[i] / 255.0 / sizeof pixels;
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
    assert_ok(clv_dataset_stats(t->ctx, ds, &stats_desc, NULL, NULL, &stats));
    clv_dataset_destroy(ds);
    assert_near(mean, stats.mean[0], 0.06);

    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, (int64_t[]) { 4 * PICTURES, SIDE, SIDE, 1 });
    assert_ok(clv_images_save(t->ctx, test_path(t, "made.h5"), &images));
    clv_dataset_info info;
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "made.h5"), NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_true(info.count == 4 * PICTURES && info.height == SIDE && info.channels == 1 && !info.has_labels);
    clv_dataset_destroy(ds);
}

/* Every value has a place of its own, and a patch's are together. */
static void places_in_a_row_of_velocities_are_a_permutation(void **state)
{
    bool seen[8 * 12 * 3] = { false };
    (void)state;
    for (int64_t y = 0; y < 8; y++)
        for (int64_t x = 0; x < 12; x++)
            for (int64_t c = 0; c < 3; c++) {
                const int64_t at = clvi_patch_place(4, 12, 3, y, x, c);
                assert_true(at >= 0 && at < 8 * 12 * 3 && !seen[at]);
                assert_int_equal(at / (4 * 4 * 3), y / 4 * 3 + x / 4);
                seen[at] = true;
            }
}

/* As features the network is told what a generator is told of a picture without noise. */
static void features_are_those_of_a_generator_without_noise(void **state)
{
    test_env *t = *state;
    float pixels[2 * 3 * 64], times[2 * CLVI_TIME_VALUES], rows[2][2 * 128];
    clv_params *params = NULL;
    assert_ok(clv_params_create(t->ctx, CLV_F32, &params));
    for (int i = 0; i < 2 * 3 * 64; i++) pixels[i] = sinf((float)i);
    for (int i = 0; i < 2; i++) clvi_time_values(0, times + i * CLVI_TIME_VALUES);
    for (int k = 0; k < 2; k++) {
        clv_graph *g = NULL;
        clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
        clvi_generated made = { .patch = 0 };
        desc.params = params;
        assert_ok(clv_graph_create(t->ctx, &desc, &g));
        const clv_node images = clv_input_image(g, "images", 2, 3, 8, 8);
        const clv_node time = clv_input(g, "time", CLV_F32, 2, (int64_t[]) { 2, CLVI_TIME_VALUES });
        if (k == 0) assert_ok(clvi_backbone_generator(g, "uvit", NULL, 0, "", images, time, &made));
        else assert_ok(clv_backbone_node(g, "uvit", NULL, 0, "", images, &made.features));
        clv_graph_output(g, made.features);
        assert_ok(clv_graph_finish(g));
        if (k == 0) assert_ok(clv_params_init(params, 3));
        const clv_view image = clv_view_nhwc(pixels, CLV_F32, 2, 3, 8, 8);
        const clv_view share = clv_view_2d(times, CLV_F32, 2, CLVI_TIME_VALUES);
        assert_ok(clv_graph_bind(g, images, &image));
        if (k == 0) assert_ok(clv_graph_bind(g, time, &share));
        clv_view out;
        assert_ok(clv_graph_run(g));
        assert_ok(clv_graph_read(g, made.features, &out));
        memcpy(rows[k], out.data, sizeof rows[k]);
        clv_graph_destroy(g);
    }
    for (int i = 0; i < 2 * 128; i++) assert_near(rows[0][i], rows[1][i], 1e-5);
    assert_memory_not_equal(rows[0], rows[0] + 128, 128 * sizeof(float));
    clv_params_destroy(params);
}

static void what_does_not_generate_is_refused(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    clv_config *config = flow_config(t, "run", "arch", "resnet8");
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID,
                 "resnet8 gives features, it does not generate pictures; expected uvit");
    clv_config_destroy(config);
    config = flow_config(t, "run", "depth", "4");
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID, "depth 4");
    clv_config_destroy(config);
    config = test_run_config(t, "run", "flow-time", "logit-normal", NULL);
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID,
                 "flow-time 'logit-normal' cannot act with method 'moco'");
    clv_config_destroy(config);

    clv_generator *g = NULL;
    clv_generator_desc desc = CLV_GENERATOR_DESC_INIT;
    assert_ok(test_run(t, test_run_config(t, "other", "epochs", "1", NULL), never, NULL));
    desc.checkpoint = test_path(t, "other");
    assert_fails(clv_generator_open(t->ctx, &desc, &g), CLV_ERR_INVALID, "by the method 'moco', which generates nothing");
    desc.steps = 0;
    assert_fails(clv_generator_open(t->ctx, &desc, &g), CLV_ERR_INVALID, "0 steps");
    desc.steps = 1;
    desc.checkpoint = test_path(t, "absent");
    assert_fails(clv_generator_open(t->ctx, &desc, &g), CLV_ERR_IO, "absent");
    assert_null(g);
}

TEST_MAIN(TEST(a_run_goes_on_to_the_same_bits_and_pictures_depend_on_seed_and_number),
          TEST(solvers_tend_to_one_picture), TEST(pictures_are_where_the_data_lie),
          TEST(places_in_a_row_of_velocities_are_a_permutation), TEST(features_are_those_of_a_generator_without_noise),
          TEST(what_does_not_generate_is_refused))
