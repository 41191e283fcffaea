/* test_weights.c: networks found in files of weights: under the prefixes and names of other programs, and which
 * backbone they are of. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "train/trained/encoder.h"
#include "train/files/foreign.h"

#include <cleave/backbone.h>
#include <cleave/graph.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256, NAME = 160 };

/* The tensors of a network under other names, to be written. */
typedef struct shelf {
    char        text[MOST][NAME];
    const char *name[MOST];
    clv_view    view[MOST];
    float      *value[MOST];
    int         count;
} shelf;

/* Names and shapes of a backbone's parameters, for pictures of so many pixels. */
static clv_params *parameters_for(test_env *t, int64_t side, const char *arch, const clv_option *options, int count)
{
    clv_params *params = NULL;
    clv_graph *g = NULL;
    clv_node features;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    assert_ok(clv_params_create(t->ctx, CLV_F32, &params));
    desc.params = params;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node images = clv_input_image(g, "images", 1, 3, side, side);
    assert_ok(clv_backbone_node(g, arch, options, count, "", images, &features));
    clv_graph_destroy(g);
    return params;
}

static clv_params *parameters(test_env *t, const char *arch, const clv_option *options, int count)
{
    return parameters_for(t, 224, arch, options, count);
}

/* Value j of parameter i in a network with this mark. */
static float value_of(int64_t i, int64_t j, float mark)
{
    return mark + (float)i / 16 + (float)(j % 7) / 128;
}

/* Our name in another program's way. stage: the number of layer1; 0: as it is. */
static void other_name(const char *name, const char *prefix, int stage, bool shortcut, char out[NAME])
{
    int layer = 0, used = 0;
    const char *down = strstr(name, "downsample");
    if (stage && !strncmp(name, "conv1.", 6)) snprintf(out, NAME, "%s0%s", prefix, name + 5);
    else if (stage && !strncmp(name, "bn1.", 4)) snprintf(out, NAME, "%s1%s", prefix, name + 3);
    else if (stage && sscanf(name, "layer%d%n", &layer, &used) == 1)
        snprintf(out, NAME, "%s%d%s", prefix, stage + layer - 1, name + used);
    else snprintf(out, NAME, "%s%s", prefix, name);
    down = shortcut ? strstr(out, "downsample") : NULL;
    if (!down) return;
    char rest[NAME];
    snprintf(rest, sizeof rest, "%s", down + strlen("downsample"));
    snprintf(out + (down - out), NAME - (size_t)(down - out), "shortcut%s", rest);
}

static void shelve(shelf *s, const char *name, int ndim, const int64_t *shape, int64_t i, float mark)
{
    assert_true(s->count < MOST);
    clv_view v = clv_view_dense(NULL, CLV_F32, ndim, shape);
    const int64_t n = clv_view_count(&v);
    v.data = s->value[s->count] = malloc((size_t)n * sizeof(float));
    assert_non_null(v.data);
    for (int64_t j = 0; j < n; j++) s->value[s->count][j] = value_of(i, j, mark);
    snprintf(s->text[s->count], NAME, "%s", name);
    s->name[s->count] = s->text[s->count];
    s->view[s->count++] = v;
}

static void shelve_all(shelf *s, const clv_params *params, const char *prefix, int stage, bool shortcut, float mark)
{
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        char name[NAME];
        assert_ok(clv_params_info(params, i, &info));
        other_name(info.name, prefix, stage, shortcut, name);
        shelve(s, name, info.ndim, info.shape, i, mark);
    }
}

static const char *write_shelf(test_env *t, shelf *s)
{
    const char *path = test_path(t, "w.safetensors");
    assert_ok(clvi_safetensors_write(t->ctx, path, s->name, s->view, s->count, NULL, 0));
    for (int i = 0; i < s->count; i++) free(s->value[i]);
    return path;
}

/* ---- reports ---- */

static char told[8192];

static void tell(clv_log_level level, const char *line, void *user)
{
    (void)level, (void)user;
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", line);
}

/* Opens the file in a context that keeps what is said. */
static clv_status open_file(clv_context **ctx, const char *path, bool key, clv_encoder **out)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_encoder_desc encoder = CLV_ENCODER_DESC_INIT;
    desc.threads = 1;
    desc.log = tell;
    told[0] = 0;
    assert_ok(clv_context_create(&desc, ctx));
    encoder.weights = path;
    encoder.key = key;
    encoder.batch_size = 1;
    return clv_encoder_open(*ctx, &encoder, out);
}

/* Every parameter of the backbone is the file's. */
static void check_values(clv_encoder *e, int64_t count, float mark)
{
    clv_params *params = clvi_encoder_look(e).params;
    assert_true(clv_params_count(params) >= count);
    for (int64_t i = 0; i < count; i++) {
        clv_param_info info;
        assert_ok(clv_params_info(params, i, &info));
        clv_view v = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        float *got = v.data = malloc((size_t)clv_view_count(&v) * sizeof(float));
        assert_ok(clv_params_read(params, i, CLV_PARAM_VALUE, &v));
        for (int64_t j = 0; j < clv_view_count(&v); j++) assert_true(got[j] == value_of(i, j, mark));
        free(got);
    }
}

static const clv_option small[] = { { "stem", "cifar" }, { "width", "4" } };

static void every_known_way_of_naming_is_found(void **state)
{
    static const struct { const char *prefix, *owner; int stage; bool shortcut; } ways[] = {
        { "", "", 0, false },
        { "module.", "", 0, false },
        { "state_dict.module.encoder_q.", "the query encoder of MoCo v1 or v2", 0, false },
        { "state_dict.module.base_encoder.", "the base encoder of MoCo v3", 0, false },
        { "state_dict.module.encoder.", "the encoder of SimSiam", 0, false },
        { "model.encoder.module.", "the encoder of SupCon", 0, true },
        { "model.encoder.", "the encoder of SupCon or solo-learn", 0, true },
        { "state_dict.backbone.", "the backbone of solo-learn, lightly or mmpretrain", 0, false },
        { "state_dict.backbone.", "the backbone of solo-learn, lightly or mmpretrain", 4, false },
        { "backbone.", "the backbone of solo-learn, lightly or mmpretrain", 2, true },
        { "state_dict.encoder_q.net.", "the query encoder of MoCo's CIFAR demo", 3, false },
        { "classy_state_dict.base_model.model.trunk._feature_blocks.", "the trunk of VISSL", 0, false },
        { "anything.at.all.", "", 0, false },
    };
    test_env *t = *state;
    clv_params *params = parameters(t, "resnet18", small, 2);
    for (size_t i = 0; i < CLVI_COUNT(ways); i++) {
        static shelf s;
        clv_context *ctx = NULL;
        clv_encoder *e = NULL;
        char want[256];
        s.count = 0;
        shelve_all(&s, params, ways[i].prefix, ways[i].stage, ways[i].shortcut, 1);
        assert_ok(open_file(&ctx, write_shelf(t, &s), false, &e));
        check_values(e, clv_params_count(params), 1);
        snprintf(want, sizeof want, "100 tensors used%s%s%s%s%s\n", ways[i].prefix[0] ? " under '" : "", ways[i].prefix,
                 ways[i].prefix[0] ? "'" : "", ways[i].owner[0] ? ", " : "", ways[i].owner);
        if (!strstr(told, want)) fail_msg("expected '%s' in:\n%s", want, told);
        assert_non_null(strstr(told, "arch resnet18, stem cifar"));
        clv_encoder_destroy(e);
        clv_context_destroy(ctx);
    }
    clv_params_destroy(params);
}

/* Its last layer tells the size of the pictures and of the embedding. */
static void a_network_for_faces_is_found_with_its_size(void **state)
{
    static const clv_option narrow[] = { { "width", "4" }, { "dim", "24" } };
    static shelf s;
    test_env *t = *state;
    clv_context *ctx = NULL;
    clv_encoder *e = NULL;
    clv_params *params = parameters_for(t, 48, "iresnet18", narrow, 2);
    s.count = 0;
    shelve_all(&s, params, "module.", 0, false, 1);
    assert_ok(open_file(&ctx, write_shelf(t, &s), false, &e));
    check_values(e, clv_params_count(params), 1);
    assert_non_null(strstr(told, "arch iresnet18, stem default"));
    clv_encoder_destroy(e);
    clv_context_destroy(ctx);
    clv_params_destroy(params);
}

static void of_two_networks_the_one_asked_for_is_taken(void **state)
{
    test_env *t = *state;
    clv_params *params = parameters(t, "resnet8", NULL, 0);
    static const char *const prefixes[][2] = {
        { "module.encoder_q.", "module.encoder_k." }, { "backbone.", "momentum_backbone." },
        { "module.base_encoder.", "module.momentum_encoder." }, { "student.", "teacher." },
    };
    for (size_t i = 0; i < 2 * CLVI_COUNT(prefixes); i++) {
        static shelf s;
        clv_context *ctx = NULL;
        clv_encoder *e = NULL;
        const bool key = i % 2 == 1;
        s.count = 0;
        shelve_all(&s, params, prefixes[i / 2][0], 0, false, 1);
        shelve_all(&s, params, prefixes[i / 2][1], 0, false, 2);
        assert_ok(open_file(&ctx, write_shelf(t, &s), key, &e));
        check_values(e, clv_params_count(params), key ? 2 : 1);
        assert_non_null(strstr(told, "outside of the prefix, left out"));
        clv_encoder_destroy(e);
        clv_context_destroy(ctx);
    }
    clv_params_destroy(params);
}

static void what_is_not_used_is_told(void **state)
{
    static shelf s;
    test_env *t = *state;
    clv_context *ctx = NULL;
    clv_encoder *e = NULL;
    clv_params *params = parameters(t, "resnet8", NULL, 0);
    s.count = 0;
    shelve_all(&s, params, "encoder.", 0, false, 1);
    shelve(&s, "encoder.bn1.num_batches_tracked", 0, NULL, 0, 0);
    shelve(&s, "encoder.extra", 1, (int64_t[]) { 1 }, 0, 0);
    shelve(&s, "queue", 1, (int64_t[]) { 1 }, 0, 0);
    shelve(&s, "encoder.fc.weight", 2, (int64_t[]) { 10, 64 }, 0, 0);
    assert_ok(open_file(&ctx, write_shelf(t, &s), false, &e));
    assert_non_null(strstr(told, "weights: 1 unexpected, left out: encoder.extra\n"));
    assert_non_null(strstr(told, "weights: 1 outside of the prefix, left out: queue\n"));
    assert_non_null(strstr(told, "weights: 1 num_batches_tracked, which nothing here needs\n"));
    assert_non_null(strstr(told, "weights: 1 missing, as before training: fc.bias\n"));
    clv_encoder_destroy(e);
    clv_context_destroy(ctx);
    clv_params_destroy(params);
}

static void what_does_not_fit_is_named_with_both_shapes(void **state)
{
    static shelf s;
    test_env *t = *state;
    clv_context *ctx = NULL;
    clv_encoder *e = NULL;
    clv_params *params = parameters(t, "resnet8", NULL, 0);
    s.count = 0;
    shelve_all(&s, params, "", 0, false, 1);
    for (int i = 0; i < s.count; i++)
        if (!strcmp(s.name[i], "layer2.0.bn1.weight")) s.view[i].shape[0] = 31;
    assert_fails(open_file(&ctx, write_shelf(t, &s), false, &e), CLV_ERR_FORMAT,
                 "'layer2.0.bn1.weight': the file has [31], resnet8 wants [32]");
    assert_null(e);
    clv_context_destroy(ctx);
    s.count = 0;
    shelve_all(&s, params, "a.", 0, false, 1);
    snprintf(s.text[7], NAME, "a.other");
    assert_fails(open_file(&ctx, write_shelf(t, &s), false, &e), CLV_ERR_FORMAT, "of resnet8 is not in the file");
    clv_context_destroy(ctx);
    clv_params_destroy(params);
}

/* A file with the shapes of a network and no values: every stride is 0. */
static clvi_tensor_file *hollow(test_env *t, const clv_params *params)
{
    static const float nothing = 0;
    clvi_tensor_file *file = NULL;
    assert_ok(clvi_tensor_file_memory(t->ctx, (const uint8_t *)"\2\0\0\0\0\0\0\0{}", 10, &file));
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(params, i, &info));
        clvi_tensor tensor = { .name = info.name, .type = CLVI_STORED_F32, .ndim = info.ndim,
                               .data = (const uint8_t *)&nothing };
        memcpy(tensor.shape, info.shape, sizeof tensor.shape);
        assert_ok(clvi_tensor_file_add(file, &tensor));
    }
    assert_ok(clvi_tensor_file_sort(file));
    return file;
}

static void every_backbone_is_known_by_its_shapes(void **state)
{
    test_env *t = *state;
    const clv_class_info *info;
    int seen = 0;
    for (; (info = clv_backbone_info_at(seen)); seen++) {
        clv_params *params = parameters(t, info->name, NULL, 0);
        clv_config *config = NULL;
        clvi_foreign f = { .file = hollow(t, params) };
        char arch[64], width[16];
        assert_ok(clv_config_create(t->ctx, &config));
        assert_ok(clvi_foreign_examine(config, &f));
        assert_ok(clv_config_get(config, "arch", arch, sizeof arch));
        assert_ok(clv_config_get(config, "width", width, sizeof width));
        assert_string_equal(arch, info->name);
        assert_string_equal(width, "0");
        assert_int_equal(f.channels, 3);
        clvi_foreign_release(&f);
        clv_config_destroy(config);
        clv_params_destroy(params);
    }
    assert_true(seen >= 12);
}

TEST_MAIN(TEST(every_known_way_of_naming_is_found), TEST(a_network_for_faces_is_found_with_its_size),
          TEST(of_two_networks_the_one_asked_for_is_taken),
          TEST(what_is_not_used_is_told), TEST(what_does_not_fit_is_named_with_both_shapes),
          TEST(every_backbone_is_known_by_its_shapes))
