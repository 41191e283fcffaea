/* test_torch.c: torchvision's features, and a whole step of MoCo v2 in PyTorch: golden/torch/make.py wrote both, in
 * float64. Weights and pictures follow from the formula that stands there, too.
 *
 * Tolerances: features 1e-4, where the largest are 15. Of the step, relative to the largest entry of each tensor:
 * gradients 5e-5 and running statistics 1e-5, as in parity/test_full_step.c, which says where they come from; values
 * 1e-6, and what the learning rate makes of the gradient's error. */
#include "tests/support/test.h"
#include "core/h5.h"
#include "train/step/method.h"

#include <cleave/backbone.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "tests/golden/torch/"

enum { SIDE = 224, IMAGES = 2, BATCH = 8, SMALL = 16, BANK = 64, DIM = 16 };

/* Number `i` of a name, in [-1, 1). */
static double number(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ z >> 31) >> 40) / 8388608.0 - 1.0;
}

static uint64_t seed_of(const char *salt, const char *name)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (const char *c = salt; *c; c++) h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001B3);
    for (const char *c = name; *c; c++) h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001B3);
    return h;
}

static bool ends(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && !strcmp(text + strlen(text) - strlen(end), end);
}

/* Parameter `info` of a network as make.py's `values` makes it. */
static void fill_parameter(const char *salt, const clv_param_info *info, int64_t count, float *out)
{
    const uint64_t seed = seed_of(salt, info->name);
    double factor = 0.1, offset = 0;
    if (ends(info->name, "running_var")) factor = 0.5, offset = 1;
    else if (ends(info->name, "weight") && info->ndim == 1) factor = 0.2, offset = 1;
    else if (info->ndim > 1) factor = sqrt(3.0 / ((double)count / (double)info->shape[0]));
    for (int64_t i = 0; i < count; i++) out[i] = (float)(offset + factor * number(seed, (uint64_t)i));
}

static void fill_all(clv_params *params, const char *salt)
{
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(params, i, &info));
        clv_view v = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        v.data = malloc((size_t)clv_view_count(&v) * sizeof(float));
        assert_non_null(v.data);
        fill_parameter(salt, &info, clv_view_count(&v), v.data);
        assert_ok(clv_params_write(params, i, &v));
        free(v.data);
    }
}

/* [n, side, side, 3] in memory from numbers in the order [n, 3, side, side]. */
static float *pictures(const char *salt, const char *name, int n, int side)
{
    const uint64_t seed = seed_of(salt, name);
    float *out = malloc((size_t)(n * side * side * 3) * sizeof *out);
    uint64_t at = 0;
    assert_non_null(out);
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < side * side; p++) out[(i * side * side + p) * 3 + c] = (float)(2 * number(seed, at++));
    return out;
}

/* ---- features ---- */

static void check_features(test_env *t, clvi_h5 *h5, const char *arch)
{
    char salt[64];
    clvi_h5_info info;
    clv_graph *g = NULL;
    clv_node features;
    clv_view got;
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    assert_ok(clvi_h5_stat(h5, arch, &info));
    float *want = malloc((size_t)(info.shape[0] * info.shape[1]) * sizeof *want);
    const clv_view view = clv_view_2d(want, CLV_F32, info.shape[0], info.shape[1]);
    assert_ok(clvi_h5_read(h5, arch, &view));
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node images = clv_input_image(g, "images", IMAGES, 3, SIDE, SIDE);
    assert_ok(clv_backbone_node(g, arch, NULL, 0, "", images, &features));
    clv_graph_output(g, features);
    assert_ok(clv_graph_finish(g));
    snprintf(salt, sizeof salt, "%s/", arch);
    fill_all(clv_graph_params(g), salt);
    float *pixels = pictures("", "images", IMAGES, SIDE);
    const clv_view input = clv_view_nhwc(pixels, CLV_F32, IMAGES, 3, SIDE, SIDE);
    assert_ok(clv_graph_bind(g, images, &input));
    assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, features, &got));
    assert_int_equal(clv_view_count(&got), clv_view_count(&view));
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < clv_view_count(&got); i++) {
        worst = fmax(worst, fabs((double)((const float *)got.data)[i] - (double)want[i]));
        largest = fmax(largest, fabs((double)want[i]));
    }
    print_message("%s: features up to %.1f, worst error %.2e\n", arch, largest, worst);
    assert_true(largest > 1 && worst <= 1e-4);
    free(pixels);
    free(want);
    clv_graph_destroy(g);
}

static void features_are_torchvisions(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    char **names = NULL;
    int64_t count = 0;
    assert_ok(clvi_h5_open(t->ctx, FOLDER "features.h5", &h5));
    assert_ok(clvi_h5_list(h5, "/", false, &count, &names));
    assert_true(count >= 2);
    for (int64_t i = 0; i < count; i++) check_features(t, h5, names[i]);
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

/* ---- a step ---- */

/* Every entry of a data set within `relative` of its largest, plus `absolute`; what is off is named. */
static void compare(clvi_h5 *h5, const char *name, const float *got, const clv_view *shape, double relative,
                    double absolute, double *worst)
{
    clvi_h5_info info;
    double largest = 0;
    assert_ok(clvi_h5_stat(h5, name, &info));
    const int64_t count = clv_view_count(shape);
    clv_view want = clv_view_dense(malloc((size_t)count * sizeof(float)), CLV_F32, shape->ndim, shape->shape);
    assert_ok(clvi_h5_read(h5, name, &want));
    const float *w = want.data;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)w[i]));
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs((double)got[i] - (double)w[i]);
        if (!(error <= relative * largest + absolute))
            fail_msg("%s [%lld]: %.9g, PyTorch has %.9g; the largest is %.3g", name, (long long)i, (double)got[i],
                     (double)w[i], largest);
        if (largest > 0) *worst = fmax(*worst, error / largest);
    }
    free(want.data);
}

typedef struct limits {
    const char *group;
    double      value, buffer, gradient_share;     /* the last: of the gradient's largest entry, on top */
} limits;

static double largest_gradient(clv_params *params, int64_t i, const clv_view *shape, float *values)
{
    clv_view v = *shape;
    v.data = values;
    double largest = 0;
    assert_ok(clv_params_read(params, i, CLV_PARAM_GRADIENT, &v));
    for (int64_t k = 0; k < clv_view_count(&v); k++) largest = fmax(largest, fabs((double)values[k]));
    return largest;
}

static void compare_set(clvi_h5 *h5, clv_params *query, clv_params *params, clv_param_part part, const limits *l)
{
    double worst = 0;
    int64_t compared = 0;
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        char name[160];
        assert_ok(clv_params_info(params, i, &info));
        if (part == CLV_PARAM_GRADIENT && info.kind == CLV_PARAM_BUFFER) continue;
        clv_view v = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        v.data = malloc((size_t)clv_view_count(&v) * sizeof(float));
        const bool trainable = info.kind == CLV_PARAM_TRAINABLE;
        const double gradient = trainable ? largest_gradient(query, i, &v, v.data) : 0;
        assert_ok(clv_params_read(params, i, part, &v));
        snprintf(name, sizeof name, "%s/%s", l->group, info.name);
        compare(h5, name, v.data, &v, trainable ? l->value : l->buffer, l->gradient_share * gradient, &worst);
        compared++;
        free(v.data);
    }
    assert_true(compared >= 64);        /* 20 convolutions, 20 batch norms, 2 linear layers */
    print_message("%s: %lld tensors, worst error %.2e of the largest entry\n", l->group, (long long)compared, worst);
}

static clv_config *step_config(test_env *t, clvi_h5 *h5)
{
    static const char *const plain[][2] = {
        { "arch", "resnet18" }, { "stem", "cifar" }, { "width", "4" }, { "mlp", "true" }, { "batch-size", "8" },
        { "moco-dim", "16" }, { "moco-k", "64" },
    };
    static const char *const stored[][2] = {
        { "momentum", "momentum" }, { "lr", "lr" }, { "moco-m", "moco_m" }, { "moco-t", "moco_t" },
        { "weight-decay", "weight_decay" },
    };
    clv_config *config = NULL;
    assert_ok(clv_config_create(t->ctx, &config));
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        assert_ok(clv_config_set(config, plain[i][0], plain[i][1]));
    for (size_t i = 0; i < sizeof stored / sizeof stored[0]; i++) {
        double x;
        char text[40];
        assert_ok(clvi_h5_attr_f64(h5, "/", stored[i][1], &x));
        snprintf(text, sizeof text, "%.17g", x);
        assert_ok(clv_config_set(config, stored[i][0], text));
    }
    return config;
}

/* Weights as make.py's, and its bank. A method gives its bank away with the first step only, so one is made before. */
static void prepare(clvi_method *m, const clv_batch *batch, const clvi_step *at, clvi_h5 *h5, int64_t *ids)
{
    static float rows[BANK * DIM];
    clvi_step_result result = { .bank = NULL };
    assert_ok(clvi_method_forward(m, batch, at, &result));
    assert_non_null(result.bank);
    const clv_view bank = clv_view_2d(rows, CLV_F32, BANK, DIM);
    assert_ok(clvi_h5_read(h5, "bank_start", &bank));
    assert_ok(clv_bank_push((clv_bank *)result.bank, &bank, ids, NULL));
    fill_all(clvi_method_params(m, false), "query/");
    fill_all(clvi_method_params(m, true), "key/");
}

static void check_step(test_env *t, clvi_h5 *h5, clv_config *config, const char *salt)
{
    clvi_method *m = NULL;
    clvi_step_result result = { .bank = NULL };
    int64_t ids[BANK], labels[BANK] = { 0 };
    double loss, worst = 0;
    const clvi_settings *s = &config->settings;
    const clvi_method_setup setup = { .ctx = t->ctx, .settings = s, .channels = 3, .height = SMALL, .width = SMALL };
    assert_ok(clvi_method_create(&setup, &m));
    float *first = pictures(salt, "first", BATCH, SMALL), *second = pictures(salt, "second", BATCH, SMALL);
    clv_view views[2] = { clv_view_nhwc(first, CLV_F32, BATCH, 3, SMALL, SMALL),
                          clv_view_nhwc(second, CLV_F32, BATCH, 3, SMALL, SMALL) };
    for (int i = 0; i < BANK; i++) ids[i] = i;
    const clv_batch batch = { .view = views, .ids = ids, .labels = labels };
    const clvi_step at = { .seed = 0, .total = 0, .lr = s->lr, .key_momentum = s->moco_m };
    prepare(m, &batch, &at, h5, ids);

    clv_params *query = clvi_method_params(m, false), *key = clvi_method_params(m, true);
    assert_ok(clvi_method_forward(m, &batch, &at, &result));
    assert_ok(clvi_h5_attr_f64(h5, "/", "loss", &loss));
    print_message("loss %.9g, error %.2e\n", loss, fabs(result.loss - loss));
    assert_near(result.loss, loss, 2e-6 * loss);
    compare_set(h5, query, query, CLV_PARAM_GRADIENT, &(limits) { "gradient", 5e-5, 0, 0 });
    assert_ok(clvi_method_update(m, &batch, &at));
    compare_set(h5, query, query, CLV_PARAM_VALUE, &(limits) { "query", 1e-6, 1e-5, s->lr * 5e-5 });
    compare_set(h5, query, key, CLV_PARAM_VALUE, &(limits) { "key", 1e-6, 1e-5, 0 });
    const clv_view bank = clv_bank_rows(result.bank);
    compare(h5, "bank", bank.data, &bank, 5e-6, 0, &worst);
    print_message("bank: worst error %.2e of the largest entry\n", worst);
    free(first);
    free(second);
    clvi_method_destroy(m);
}

static void a_step_is_pytorchs(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    char *salt = NULL;
    assert_ok(clvi_h5_open(t->ctx, FOLDER "step.h5", &h5));
    assert_ok(clvi_h5_attr_text(h5, "/", "salt", &salt));
    clv_config *config = step_config(t, h5);
    check_step(t, h5, config, salt);
    clv_config_destroy(config);
    clvi_free(t->ctx, salt);
    clvi_h5_close(h5);
}

TEST_MAIN(TEST(features_are_torchvisions), TEST(a_step_is_pytorchs))
