/* test_backbones.c: every backbone by name: the number of its parameters and multiplications against what is published,
 * its features, its options, and what it says to pictures it cannot take. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "tensor/graph.h"
#include "tensor/op.h"

#include <cleave/backbone.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct network {
    clv_graph *graph;
    clv_node   features;
} network;

/* A graph that trains on two pictures of `side` x `side` pixels. The caller destroys it. */
static network build(test_env *t, const char *name, int64_t side, const clv_option *options, int count)
{
    network n;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.training = true;
    assert_ok(clv_graph_create(t->ctx, &desc, &n.graph));
    const clv_node images = clv_input_image(n.graph, "images", 2, 3, side, side);
    assert_ok(clv_backbone_node(n.graph, name, options, count, "", images, &n.features));
    return n;
}

static bool ends(const char *name, const char *with)
{
    const size_t a = strlen(name), b = strlen(with);
    return a >= b && strcmp(name + a - b, with) == 0;
}

/* What PyTorch counts: everything but running statistics. Names that contain `without` are left out. */
static int64_t parameters(const network *n, const char *without)
{
    const clv_params *p = clv_graph_params(n->graph);
    int64_t sum = 0;
    for (int64_t i = 0; i < clv_params_count(p); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(p, i, &info));
        if (ends(info.name, ".running_mean") || ends(info.name, ".running_var")) continue;
        if (without && strstr(info.name, without)) continue;
        int64_t size = 1;
        for (int d = 0; d < info.ndim; d++) size *= info.shape[d];
        sum += size;
    }
    return sum;
}

/* Multiplications of convolutions and matrix products for one picture, in units of 1e9. */
static double products(const network *n)
{
    const clv_graph *g = n->graph;
    double sum = 0;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const clvi_node *node = &g->nodes[i];
        if (!node->cls->flops) continue;
        clvi_op_call call = { .op = node->cls->name, .attr = node->attr, .n_in = node->n_in, .n_out = node->n_out };
        for (int k = 0; k < node->n_in; k++) call.in[k] = g->values[node->in[k]].desc;
        for (int k = 0; k < node->n_out; k++) call.out[k] = g->values[node->out[k]].desc;
        sum += node->cls->flops(&call);
    }
    return sum / 2 / 2 / 1e9;
}

/* Counts and multiplications are torchvision's (its Weights.meta), with a last layer of `classes`; those of the CIFAR
 * family are table 6 of arXiv:1512.03385, to two digits and without the weights of shortcuts, which that table's
 * networks do not have. */
static const struct {
    const char *name;
    int64_t features, classes, published;
    double  products;
} known[] = {
    { "resnet18", 512, 1000, 11689512, 1.814 },         { "resnet34", 512, 1000, 21797672, 3.664 },
    { "resnet50", 2048, 1000, 25557032, 4.089 },        { "resnet101", 2048, 1000, 44549160, 7.801 },
    { "resnet152", 2048, 1000, 60192808, 11.514 },      { "wide_resnet50_2", 2048, 1000, 68883240, 11.398 },
    { "wide_resnet101_2", 2048, 1000, 126886696, 22.753 },
    { "convnext_tiny", 768, 1000, 28589128, 4.456 },    { "vit_base", 768, 1000, 86567656, 17.564 },
    { "vit_small", 384, 1000, 22050664, 0 },            /* timm's vit_small_patch16_224 */
    { "resnet8", 64, 0, 0, 0 },                         /* in no table */
    { "resnet20", 64, 10, 270000, 0 },                  { "resnet32", 64, 10, 460000, 0 },
    { "resnet56", 64, 10, 850000, 0 },                  { "resnet110", 64, 10, 1700000, 0 },
    { "resnet12", 640, 0, 12424320, 0 },                /* the layers of the authors' code, counted by hand */
    { "iresnet18", 512, 0, 0, 0 }, { "iresnet34", 512, 0, 0, 0 },
    { "iresnet50", 512, 0, 0, 0 }, { "iresnet100", 512, 0, 0, 0 },
    { "uvit", 128, 0, 0, 0 },                           /* in no table of this size */
};

static void parameters_and_multiplications_are_as_published(void **state)
{
    for (int i = 0; clv_backbone_info_at(i); i++) {
        const char *name = clv_backbone_info_at(i)->name;
        size_t k = 0;
        while (k < CLVI_COUNT(known) && strcmp(known[k].name, name) != 0) k++;
        if (k == CLVI_COUNT(known)) fail_msg("backbone %s: nobody said how many parameters it must have", name);
        const bool cifar = known[k].published < 2000000;
        network n = build(*state, name, cifar ? 32 : 224, NULL, 0);
        int64_t shape[CLV_MAX_DIMS];
        assert_int_equal(clv_node_shape(n.graph, n.features, shape), 2);
        assert_int_equal(shape[1], known[k].features);
        const int64_t last = (known[k].features + 1) * known[k].classes;
        const int64_t count = parameters(&n, cifar ? "downsample" : NULL) + last;
        if (known[k].published && (cifar ? llabs(count - known[k].published) * 100 > known[k].published * 3
                                         : count != known[k].published))
            fail_msg("%s has %lld parameters, published are %lld", name, (long long)count,
                     (long long)known[k].published);
        const double computed = products(&n) + (double)(known[k].features * known[k].classes) / 1e9;
        if (known[k].products > 0 && fabs(computed - known[k].products) > 0.001 + 0.002 * known[k].products)
            fail_msg("%s takes %.3f billion multiplications, published are %.3f", name, computed, known[k].products);
        clv_graph_destroy(n.graph);
    }
}

/* As OpenVINO's model zoo counts the authors' MXNet networks, whose norms it has folded into the convolutions
 * (face-recognition-resnet34-arcface, face-recognition-resnet100-arcface-onnx); operations are two a multiplication. */
static void networks_for_faces_are_as_large_as_published(void **state)
{
    static const struct { const char *name; double millions, products; } zoo[] = {
        { "iresnet34", 34.129, 8.934 / 2 }, { "iresnet100", 65.132, 24.2115 / 2 },
    };
    for (size_t i = 0; i < CLVI_COUNT(zoo); i++) {
        network n = build(*state, zoo[i].name, 112, NULL, 0);
        assert_near((double)parameters(&n, NULL) / 1e6, zoo[i].millions, 0.001 * zoo[i].millions);
        assert_near(products(&n), zoo[i].products, 0.005 * zoo[i].products);
        clv_graph_destroy(n.graph);
    }
}

/* Chen et al. 2020, arXiv:2002.05709, table 6: ResNet-50 has 24 M parameters, with all widths times 2 94 M, times 4
 * 375 M. */
static void width_multiplies_all_stages(void **state)
{
    static const struct { const char *width; double millions; } papers[] = { { "64", 24 }, { "128", 94 }, { "256", 375 } };
    for (size_t i = 0; i < CLVI_COUNT(papers); i++) {
        const clv_option width = { "width", papers[i].width };
        network n = build(*state, "resnet50", 64, &width, 1);
        assert_near((double)parameters(&n, NULL) / 1e6, papers[i].millions, 0.6);
        clv_graph_destroy(n.graph);
    }
}

/* The shape of what the first layer gives, pool included: its place in the graph is that of the first relu, or of the
 * pool. */
static void stems_give_maps_of_their_size(void **state)
{
    static const struct { const char *stem; int64_t side; } stems[] = {
        { "imagenet", 8 }, { "cifar", 32 }, { "strided", 16 }, { "supcontrast", 32 }, { "lightly", 32 },
        { "solo-learn", 34 },
    };
    for (size_t i = 0; i < CLVI_COUNT(stems); i++) {
        const clv_option stem = { "stem", stems[i].stem };
        network n = build(*state, "resnet18", 32, &stem, 1);
        const clvi_node *last = NULL;
        for (int32_t k = 0; k < n.graph->n_nodes; k++) {
            const char *op = n.graph->nodes[k].cls->name;
            if (strcmp(op, "max_pool2d") == 0 || (strcmp(op, "relu") == 0 && !last)) last = &n.graph->nodes[k];
        }
        assert_non_null(last);
        assert_int_equal(n.graph->values[last->out[0]].desc.shape[2], stems[i].side);
        clv_graph_destroy(n.graph);
    }
    clv_graph *g = NULL;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    const clv_option bad = { "stem", "cifra" };
    clv_node out;
    assert_ok(clv_graph_create(((test_env *)*state)->ctx, &desc, &g));
    assert_fails(clv_backbone_node(g, "resnet18", &bad, 1, "", clv_input_image(g, "x", 1, 3, 8, 8), &out),
                 CLV_ERR_INVALID, "imagenet|cifar|strided|supcontrast|lightly|solo-learn");
    clv_graph_destroy(g);
}

static int last_scales(test_env *t, const char *name, const char *flag, double want)
{
    const clv_option zero = { "zero-init-residual", flag };
    network n = build(t, name, 32, &zero, 1);
    assert_ok(clv_graph_finish(n.graph));
    clv_params *p = clv_graph_params(n.graph);
    assert_ok(clv_params_init(p, 1));
    int found = 0;
    for (int64_t i = 0; i < clv_params_count(p); i++) {
        clv_param_info info;
        float gamma[4096];
        assert_ok(clv_params_info(p, i, &info));
        const char *last = strcmp(name, "resnet50") == 0 ? ".bn3.weight" : ".bn2.weight";
        if (!ends(info.name, last)) continue;
        const clv_view view = clv_view_dense(gamma, CLV_F32, 1, info.shape);
        assert_ok(clv_params_read(p, i, CLV_PARAM_VALUE, &view));
        for (int64_t c = 0; c < info.shape[0]; c++) assert_near(gamma[c], want, 0);
        found++;
    }
    clv_graph_destroy(n.graph);
    return found;
}

static void zero_init_residual_makes_every_block_start_as_its_shortcut(void **state)
{
    assert_int_equal(last_scales(*state, "resnet18", "true", 0), 8);
    assert_int_equal(last_scales(*state, "resnet50", "true", 0), 16);
    assert_int_equal(last_scales(*state, "resnet18", "false", 1), 8);
}

static void unknown_names_are_told_the_nearest(void **state)
{
    test_env *t = *state;
    clv_graph *g = NULL;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_node out;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node x = clv_input_image(g, "x", 1, 3, 32, 32);
    assert_fails(clv_backbone_node(g, "resnet5", NULL, 0, "", x, &out), CLV_ERR_INVALID, "did you mean 'resnet50'");
    assert_fails(clv_backbone_node(g, "wide_resnet50", NULL, 0, "", x, &out), CLV_ERR_INVALID, "'wide_resnet50_2'");
    const clv_option bad = { "widht", "32" };
    assert_fails(clv_backbone_node(g, "resnet18", &bad, 1, "", x, &out), CLV_ERR_INVALID, "'width'");
    clv_graph_destroy(g);
}

/* ---- networks of tokens ---- */

static clv_status finish_vit(test_env *t, int64_t height, int64_t width, const clv_option *options, int count)
{
    clv_graph *g = NULL;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_node out;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node x = clv_input_image(g, "x", 1, 3, height, width);
    assert_ok(clv_backbone_node(g, "vit_small", options, count, "", x, &out));
    const clv_status st = clv_graph_finish(g);
    clv_graph_destroy(g);
    return st;
}

static void pictures_that_are_no_whole_number_of_patches_are_refused(void **state)
{
    const clv_option odd[] = { { "width", "36" }, { "heads", "5" } }, few[] = { { "width", "6" }, { "heads", "1" } };
    assert_fails(finish_vit(*state, 32, 40, NULL, 0), CLV_ERR_SHAPE,
                 "vit: pictures of 32x40 pixels cannot be cut into patches of 16x16");
    assert_fails(finish_vit(*state, 32, 32, odd, 2), CLV_ERR_INVALID,
                 "vit: width 36 must be a multiple of 4 and of its 5 heads");
    assert_fails(finish_vit(*state, 32, 32, few, 2), CLV_ERR_INVALID,
                 "vit: width 6 must be a multiple of 4 and of its 1 heads");
}

static clv_param_kind kind_of(const network *n, const char *name)
{
    clv_param_info info;
    const clv_params *p = clv_graph_params(n->graph);
    const int64_t index = clv_params_find(p, name);
    assert_true(index >= 0);
    assert_ok(clv_params_info(p, index, &info));
    return info.kind;
}

static void the_projection_of_patches_is_trained_only_when_asked_for(void **state)
{
    const clv_option options[] = { { "depth", "1" }, { "stop-grad-conv1", "false" } };
    network n = build(*state, "vit_small", 32, options, 1);
    assert_int_equal(kind_of(&n, "patch_embed.proj.weight"), CLV_PARAM_BUFFER);
    assert_int_equal(kind_of(&n, "patch_embed.proj.bias"), CLV_PARAM_BUFFER);
    clv_graph_destroy(n.graph);
    n = build(*state, "vit_small", 32, options, 2);
    assert_int_equal(kind_of(&n, "patch_embed.proj.weight"), CLV_PARAM_TRAINABLE);
    assert_int_equal(kind_of(&n, "pos_embed"), CLV_PARAM_BUFFER);
    clv_graph_destroy(n.graph);
}

static int drops(const network *n)
{
    int count = 0;
    for (int32_t i = 0; i < n->graph->n_nodes; i++) count += strcmp(n->graph->nodes[i].cls->name, "drop_path") == 0;
    return count;
}

/* Two paths a block of a transformer, one of ConvNeXt; the first block's rate is 0. */
static void paths_are_dropped_in_every_block_but_the_first(void **state)
{
    const clv_option vit[] = { { "depth", "3" }, { "drop-path", "0.2" } }, convnext[] = { { "drop-path", "0.2" } };
    network n = build(*state, "vit_small", 32, vit, 2);
    assert_int_equal(drops(&n), 4);
    assert_int_equal(kind_of(&n, "blocks.2.drop_path1.count"), CLV_PARAM_BUFFER);
    clv_graph_destroy(n.graph);
    n = build(*state, "convnext_tiny", 32, convnext, 1);
    assert_int_equal(drops(&n), 17);
    clv_graph_destroy(n.graph);
    n = build(*state, "convnext_tiny", 32, NULL, 0);
    assert_int_equal(drops(&n), 0);
    clv_graph_destroy(n.graph);
}

static void networks_for_faces_drop_values_before_their_linear_layer(void **state)
{
    const clv_option options[] = { { "width", "8" }, { "dim", "24" }, { "dropout", "0.4" } };
    network n = build(*state, "iresnet18", 32, options, 3);
    int64_t shape[CLV_MAX_DIMS];
    assert_int_equal(drops(&n), 1);
    assert_int_equal(kind_of(&n, "dropout.count"), CLV_PARAM_BUFFER);
    assert_int_equal(kind_of(&n, "layer1.0.prelu.weight"), CLV_PARAM_TRAINABLE);
    assert_int_equal(clv_node_shape(n.graph, n.features, shape), 2);
    assert_int_equal(shape[1], 24);
    clv_graph_destroy(n.graph);
}

enum { SAMPLES = 6, CHANNELS = 8, SIDE = 12, MAP = SIDE * SIDE };

/* Runs DropBlock on ones, `runs` times; the last result, [SAMPLES,CHANNELS,SIDE,SIDE]. */
static void drop_block(test_env *t, const clvi_block_mask_attr *attr, int64_t piece, int runs, float *out)
{
    static float ones[SAMPLES * CHANNELS * MAP];
    const int64_t samples = piece < 0 ? SAMPLES : SAMPLES / 2, one = 1, shape[] = { samples, CHANNELS, SIDE, SIDE };
    clv_graph *g = NULL;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.training = true;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    for (size_t i = 0; i < CLVI_COUNT(ones); i++) ones[i] = 1;
    const clv_node x = clv_input(g, "x", CLV_F32, 4, shape);
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    const clv_node y = clvi_drop_block(g, x, clv_parameter(g, "count", CLV_PARAM_BUFFER, 1, &one, zero), attr);
    clv_graph_output(g, y);
    assert_ok(clv_graph_finish(g));
    assert_ok(clv_params_init(clv_graph_params(g), 1));
    if (piece > 0) clvi_graph_set_piece(g, piece);
    clv_view view = clv_view_dense(ones, CLV_F32, 4, shape);
    assert_ok(clv_graph_bind(g, x, &view));
    for (int i = 0; i < runs; i++) assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, y, &view));
    memcpy(out, view.data, (size_t)clv_view_count(&view) * sizeof *out);
    clv_graph_destroy(g);
}

/* Is each zero in a square of zeros? Returns how many there are. */
static int check_squares(const float *map, int block)
{
    int zeros = 0;
    for (int i = 0; i < MAP; i++) {
        if (map[i] != 0) continue;
        bool covered = false;
        for (int top = i / SIDE - block + 1; top <= i / SIDE; top++)
            for (int left = i % SIDE - block + 1; left <= i % SIDE; left++) {
                bool all = top >= 0 && left >= 0 && top + block <= SIDE && left + block <= SIDE;
                for (int k = 0; all && k < block * block; k++)
                    all = map[(top + k / block) * SIDE + left + k % block] == 0;
                covered = covered || all;
            }
        assert_true(covered);
        zeros++;
    }
    return zeros;
}

static void squares_are_dropped_and_means_stay(void **state)
{
    static float y[SAMPLES * CHANNELS * MAP], again[SAMPLES * CHANNELS * MAP], piece[SAMPLES * CHANNELS * MAP / 2];
    clvi_block_mask_attr attr = { .path = { .rate = 0.2, .seed = 7, .stream = 2 }, .block = 3 };
    int zeros = 0;
    drop_block(*state, &attr, -1, 1, y);
    for (int n = 0; n < SAMPLES; n++) {
        double sum = 0;
        for (int c = 0; c < CHANNELS; c++) zeros += check_squares(y + (n * CHANNELS + c) * MAP, 3);
        for (int i = 0; i < CHANNELS * MAP; i++) sum += y[n * CHANNELS * MAP + i];
        assert_near(sum / (CHANNELS * MAP), 1, 1e-5);
    }
    /* Squares overlap: a little less than the rate. */
    assert_near((double)zeros / (SAMPLES * CHANNELS * MAP), 0.18, 0.03);
    drop_block(*state, &attr, -1, 2, again);
    assert_true(memcmp(y, again, sizeof y) != 0);
    drop_block(*state, &attr, 1, 1, piece);          /* the second half of the batch, alone */
    assert_memory_equal(piece, y + SAMPLES / 2 * CHANNELS * MAP, sizeof piece);
    attr.ramp = 1e9;
    drop_block(*state, &attr, -1, 1, y);
    for (int i = 0; i < SAMPLES * CHANNELS * MAP; i++) assert_near(y[i], 1, 0);
}

static void what_resnet12_drops_is_behind_its_blocks(void **state)
{
    const clv_option options[] = { { "width", "8" }, { "dropout", "0.1" }, { "drop-block", "2" } };
    network n = build(*state, "resnet12", 32, options, 3);
    int masks = 0;
    for (int32_t i = 0; i < n.graph->n_nodes; i++) masks += !strcmp(n.graph->nodes[i].cls->name, "block_mask");
    assert_int_equal(drops(&n), 2);
    assert_int_equal(masks, 2);
    assert_int_equal(kind_of(&n, "layer1.0.drop.count"), CLV_PARAM_BUFFER);
    assert_int_equal(kind_of(&n, "layer4.0.drop.count"), CLV_PARAM_BUFFER);
    clv_graph_destroy(n.graph);
}

TEST_MAIN(TEST(parameters_and_multiplications_are_as_published), TEST(width_multiplies_all_stages),
          TEST(stems_give_maps_of_their_size), TEST(zero_init_residual_makes_every_block_start_as_its_shortcut),
          TEST(unknown_names_are_told_the_nearest), TEST(networks_for_faces_are_as_large_as_published),
          TEST(networks_for_faces_drop_values_before_their_linear_layer), TEST(squares_are_dropped_and_means_stay),
          TEST(what_resnet12_drops_is_behind_its_blocks),
          TEST(pictures_that_are_no_whole_number_of_patches_are_refused),
          TEST(the_projection_of_patches_is_trained_only_when_asked_for),
          TEST(paths_are_dropped_in_every_block_but_the_first))
