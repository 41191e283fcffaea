/* test_backbones.c (golden): ViT, ConvNeXt, ResNet-12 and the networks for faces give the features and gradients that
 * timm, torchvision and PyTorch give for the same parameters, by the same names (written by backbones/make.py in
 * float64). */
#include "tests/support/test.h"
#include "tests/support/isa.h"
#include "core/h5.h"
#include "tensor/graph.h"

#include <cleave/backbone.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARAMETERS = 256, MAX_OPTIONS = 8 };

/* ---- the numbers both sides agree on ---- */

/* u(stream, k) in [-1, 1): splitmix64. */
static double number(uint64_t stream, uint64_t k)
{
    uint64_t z = ((stream << 32) + k + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z = z ^ (z >> 31);
    return (double)(z >> 11) / 4503599627370496.0 - 1.0;
}

static bool ends(const char *name, const char *with)
{
    const size_t a = strlen(name), b = strlen(with);
    return a >= b && strcmp(name + a - b, with) == 0;
}

static double first_value(const clv_param_info *info, uint64_t rank, int64_t k)
{
    const double u = number(rank + 1, (uint64_t)k);
    if (info->ndim == 2 || info->ndim == 4) {
        int64_t fan = 1;
        for (int d = 1; d < info->ndim; d++) fan *= info->shape[d];
        return u * sqrt(3.0 / (double)fan);
    }
    return ends(info->name, "weight") || ends(info->name, "layer_scale") ? 1 + 0.3 * u : 0.2 * u;
}

/* ---- a network and its golden file ---- */

typedef struct golden {
    clvi_h5 *h5;
    char    *names[MAX_PARAMETERS];     /* in order */
    int      n_names;
    clv_option options[MAX_OPTIONS];
    int      n_options;
    char    *text[2];                   /* what names and options point into */
} golden;

static int split(char *text, char **words, int room)
{
    char *rest = NULL;
    int n = 0;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        assert_true(n < room);
        words[n++] = word;
    }
    return n;
}

static golden open_golden(clv_context *ctx, const char *path)
{
    golden g = { 0 };
    char *words[MAX_OPTIONS];
    assert_ok(clvi_h5_open(ctx, path, &g.h5));
    assert_ok(clvi_h5_attr_text(g.h5, "/", "names", &g.text[0]));
    assert_ok(clvi_h5_attr_text(g.h5, "/", "options", &g.text[1]));
    g.n_names = split(g.text[0], g.names, MAX_PARAMETERS);
    g.n_options = split(g.text[1], words, MAX_OPTIONS);
    for (int i = 0; i < g.n_options; i++) {
        char *equals = strchr(words[i], '=');
        assert_non_null(equals);
        *equals = '\0';
        g.options[i] = (clv_option) { words[i], equals + 1 };
    }
    return g;
}

static void close_golden(clv_context *ctx, golden *g)
{
    for (int i = 0; i < 2; i++) clvi_free(ctx, g->text[i]);
    clvi_h5_close(g->h5);
}

/* A data set as float64. The caller frees it. */
static double *read(const golden *g, const char *name, int64_t shape[CLV_MAX_DIMS])
{
    clvi_h5_info info;
    assert_ok(clvi_h5_stat(g->h5, name, &info));
    int64_t count = 1;
    for (int d = 0; d < info.ndim; d++) count *= shape[d] = info.shape[d];
    double *data = malloc((size_t)count * sizeof *data);
    assert_non_null(data);
    const clv_view view = clv_view_dense(data, CLV_F64, info.ndim, info.shape);
    assert_ok(clvi_h5_read(g->h5, name, &view));
    return data;
}

static int rank_of(const golden *g, const char *name)
{
    for (int i = 0; i < g->n_names; i++)
        if (strcmp(g->names[i], name) == 0) return i;
    fail_msg("the other library has no parameter '%s'", name);
    return -1;
}

static bool is_statistic(const char *name)
{
    return ends(name, ".running_mean") || ends(name, ".running_var");
}

/* Position embeddings stay as they start: that is compared, too. */
static void fill_parameters(const golden *g, clv_params *p)
{
    int parameters = 0;
    for (int64_t i = 0; i < clv_params_count(p); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(p, i, &info));
        if (is_statistic(info.name)) continue;
        parameters++;
        const uint64_t rank = (uint64_t)rank_of(g, info.name);
        if (strcmp(info.name, "pos_embed") == 0) continue;
        int64_t count = 1;
        for (int d = 0; d < info.ndim; d++) count *= info.shape[d];
        double *values = malloc((size_t)count * sizeof *values);
        for (int64_t k = 0; k < count; k++) values[k] = first_value(&info, rank, k);
        const clv_view view = clv_view_dense(values, CLV_F64, info.ndim, info.shape);
        assert_ok(clv_params_write(p, i, &view));
        free(values);
    }
    assert_int_equal(parameters, g->n_names);
}

/* Relative to their length, or to `least` where it is smaller: that much of a gradient is rounding. */
static void check_gradients(const golden *g, clv_params *p, double tolerance, double least)
{
    int64_t shape[CLV_MAX_DIMS];
    double *want = read(g, "gradients", shape);
    assert_int_equal(shape[0], g->n_names);
    for (int64_t i = 0; i < clv_params_count(p); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(p, i, &info));
        if (info.kind != CLV_PARAM_TRAINABLE) continue;
        const int rank = rank_of(g, info.name);
        int64_t count = 1;
        for (int d = 0; d < info.ndim; d++) count *= info.shape[d];
        double *values = malloc((size_t)count * sizeof *values), squares = 0, along = 0;
        const clv_view view = clv_view_dense(values, CLV_F64, info.ndim, info.shape);
        assert_ok(clv_params_read(p, i, CLV_PARAM_GRADIENT, &view));
        for (int64_t k = 0; k < count; k++) {
            squares += values[k] * values[k];
            along += values[k] * number((uint64_t)rank + 2001, (uint64_t)k);
        }
        const double length = want[2 * rank], allowed = tolerance * (length + least);
        if (!(fabs(sqrt(squares) - length) <= allowed && fabs(along - want[2 * rank + 1]) <= allowed))
            fail_msg("gradient of %s: length %.9g and product %.9g, want %.9g and %.9g", info.name, sqrt(squares),
                     along, length, want[2 * rank + 1]);
        free(values);
    }
    free(want);
}

/* `numbers` as the graph's type. The caller frees it. */
static void *typed(const double *numbers, int64_t count, clv_dtype type)
{
    void *data = malloc((size_t)count * clv_dtype_size(type));
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++) {
        if (type == CLV_F64) ((double *)data)[i] = numbers[i];
        else ((float *)data)[i] = (float)numbers[i];
    }
    return data;
}

static double at(const clv_view *view, int64_t i)
{
    return view->dtype == CLV_F64 ? ((const double *)view->data)[i] : ((const float *)view->data)[i];
}

static void compare(test_env *t, const char *name, const char *path, clv_dtype type, double tolerance, double least)
{
    golden file = open_golden(t->ctx, path);
    int64_t s[CLV_MAX_DIMS], f[CLV_MAX_DIMS];
    double *images = read(&file, "images", s), *weights = read(&file, "weights", f), *want = read(&file, "features", f);
    void *pixels = typed(images, s[0] * s[1] * s[2] * s[3], type), *factors = typed(weights, f[0] * f[1], type);
    clv_graph *g = NULL;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.dtype = type;
    desc.training = true;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node x = clv_input_image(g, "images", s[0], s[3], s[1], s[2]), w = clv_input(g, "weights", type, 2, f);
    clv_node y;
    assert_ok(clv_backbone_node(g, name, file.options, file.n_options, "", x, &y));
    clv_graph_output(g, y);
    assert_ok(clv_graph_backward(g, clv_reduce(g, clv_mul(g, y, w), -1, false)));
    assert_ok(clv_graph_finish(g));
    clv_params *p = clv_graph_params(g);
    assert_ok(clv_params_init(p, 0));
    fill_parameters(&file, p);
    clv_view view = clv_view_nhwc(pixels, type, s[0], s[3], s[1], s[2]);
    assert_ok(clv_graph_bind(g, x, &view));
    view = clv_view_2d(factors, type, f[0], f[1]);
    assert_ok(clv_graph_bind(g, w, &view));
    assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, y, &view));
    for (int64_t i = 0; i < f[0] * f[1]; i++) assert_near(at(&view, i), want[i], tolerance);
    check_gradients(&file, p, tolerance, least);
    clv_graph_destroy(g);
    close_golden(t->ctx, &file);
    free(images), free(weights), free(want), free(pixels), free(factors);
}

static void vit_is_timms_with_moco_v3s_positions(void **state)
{
    compare(*state, "vit_small", "tests/golden/backbones/vit.h5", CLV_F64, 1e-11, 1e-3);
    compare(*state, "vit_base", "tests/golden/backbones/vit.h5", CLV_F32, 5e-5, 1e-3);
}

static void convnext_is_torchvisions(void **state)
{
    compare(*state, "convnext_tiny", "tests/golden/backbones/convnext.h5", CLV_F64, 1e-11, 1e-3);
    compare(*state, "convnext_tiny", "tests/golden/backbones/convnext.h5", CLV_F32, 5e-5, 1e-3);
}

/* What every later norm takes away again, a shift of a block's sum, has no gradient but rounding. */
static void iresnet_is_arcfaces(void **state)
{
    compare(*state, "iresnet18", "tests/golden/backbones/iresnet.h5", CLV_F64, 1e-11, 1e-3);
    compare(*state, "iresnet18", "tests/golden/backbones/iresnet.h5", CLV_F32, 5e-5, 0.1);
}

static void resnet12_is_metaoptnets(void **state)
{
    compare(*state, "resnet12", "tests/golden/backbones/resnet12.h5", CLV_F64, 1e-11, 1e-3);
    compare(*state, "resnet12", "tests/golden/backbones/resnet12.h5", CLV_F32, 5e-5, 0.1);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(resnet12_is_metaoptnets), TEST(vit_is_timms_with_moco_v3s_positions), TEST(convnext_is_torchvisions), TEST(iresnet_is_arcfaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
