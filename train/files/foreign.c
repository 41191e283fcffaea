/* foreign.c: the backbone of a file of weights is the registered one whose every parameter is in the file, in its
 * shape; of several (ResNet-18 is a part of ResNet-34) the one with the most parameters. */
#include "train/files/foreign.h"
#include "train/files/checkpoint.h"
#include "train/step/network.h"
#include "core/checked.h"
#include "tensor/graph.h"

#include <cleave/backbone.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SIDE 224      /* of the images networks are built for to see their parameters */

/* Names and shapes of the backbone's parameters; no memory for them. */
static clv_status schema(clv_context *ctx, const clvi_settings *s, int64_t channels, clv_params **out)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    clv_node features;
    CLV_TRY(clv_params_create(ctx, CLV_F32, out));
    desc.params = *out;
    CLV_TRY(clv_graph_create(ctx, &desc, &g));
    const int64_t side = s->size ? s->size : SIDE;
    const clv_node images = clv_input_image(g, "images", 1, channels, side, side);
    clv_status st = clvi_network_backbone(g, s, 1, images, &features);
    if (st == CLV_OK) st = clvi_graph_status(g);
    clv_graph_destroy(g);
    return st;
}

/* ---- which network ---- */

typedef struct search {
    clv_config       *config;
    clvi_foreign     *foreign;
    clvi_settings     best, nearest;
    int64_t           best_count, channels;
    int64_t           nearest_lacks, nearest_channels;    /* of its parameters, not in the file in their shape */
    bool              any, small;                         /* any: there is a nearest */
    bool              explains;                           /* nothing fits: only the nearest is looked for */
} search;

static bool is_given(const clv_config *config, const char *name)
{
    return config->source[clvi_settings_find(name) - clvi_settings_table] != CLVI_FROM_DEFAULT;
}

static int64_t lacks(const clvi_match *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->backbone; i++) n += !clvi_match_fits(m, i);
    return n;
}

/* The file's weights of the layer that sees the pictures. */
static const clvi_tensor *first_convolution(const clvi_match *m)
{
    for (int64_t i = 0; i < m->backbone; i++)
        if (m->tensor[i] && m->tensor[i]->ndim == 4) return m->tensor[i];
    return NULL;
}

static bool has_option(const char *arch, const char *name, const char **choices)
{
    const clv_option_info *o;
    for (int i = 0; (o = clv_backbone_option_at(arch, i)); i++)
        if (!strcmp(o->name, name)) {
            if (choices) *choices = o->choices;
            return true;
        }
    return false;
}

/* What the file's first and last layer tell. */
typedef struct told {
    int64_t channels, width;
    int64_t dim, side;      /* of a backbone that ends in a linear layer on all places; 0: of another */
} told;

static void read_last_layer(const clvi_match *m, const clvi_settings *try, told *out)
{
    const clvi_tensor *fc = clvi_match_tensor(m, "fc.weight");
    if (!has_option(try->arch, "dim", NULL) || !fc || fc->ndim != 2) return;
    out->dim = fc->shape[0];
    out->side = 16 * (int64_t)lround(sqrt((double)fc->shape[1] / (8.0 * (double)out->width)));
}

/* Matches one network; what the file tells goes back. */
static clv_status match_once(search *s, const clvi_settings *try, told *out, bool *done)
{
    clv_params *params = NULL;
    clvi_match m = { 0 };
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(schema(s->config->ctx, try, out->channels, &params));
    const int64_t count = clv_params_count(params);
    if (!s->explains && (count > s->foreign->file->count || count < s->best_count)) {     /* with any width */
        *done = true;
        goto done;
    }
    CLV_TRY_OR_DONE(clvi_match_find(s->foreign->file, params, count, s->foreign->key, &m));
    const int64_t lacking = lacks(&m);
    if (m.found && (!s->any || lacking < s->nearest_lacks)) {
        s->nearest = *try;
        s->nearest_lacks = lacking;
        s->nearest_channels = out->channels;
        s->any = true;
    }
    const clvi_tensor *first = first_convolution(&m);
    *done = !first || !lacking;
    if (first) {
        out->channels = first->shape[1];
        out->width = first->shape[0];
        read_last_layer(&m, try, out);
    }
    /* Of equals, the one that needs no width of its own: vit_base, not vit_small of another width. */
    if (lacking || count < s->best_count || (count == s->best_count && (try->width || !s->best.width))) goto done;
    s->best = *try;
    s->best_count = count;
    s->channels = out->channels;
    s->small = first && first->shape[2] == 3;
done:
    clvi_match_free(&m);
    clv_params_destroy(params);
    return st;
}

/* One backbone with one stem: as it is, then with the file's channels and last layer, then with its width. */
static clv_status try_network(search *s, const clvi_settings *try)
{
    clvi_settings with = *try;
    told file = { .channels = 3 };
    bool done = false;
    CLV_TRY(match_once(s, &with, &file, &done));
    if (done) return CLV_OK;
    if (file.channels < 1 || file.channels > CLV_DATA_MAX_CHANNELS || file.width < 1 || file.width > 4096)
        return CLV_OK;
    if (file.dim >= 1 && file.dim <= 65536 && !is_given(s->config, "moco-dim")) with.moco_dim = file.dim;
    if (file.side >= 1 && file.side <= 4096 && !is_given(s->config, "size")) with.size = file.side;
    CLV_TRY(match_once(s, &with, &file, &done));
    if (done || is_given(s->config, "width") || !has_option(with.arch, "width", NULL)) return CLV_OK;
    with.width = file.width;
    return match_once(s, &with, &file, &done);
}

/* One backbone: its own stem, then the others, until one fits; stems that look alike in a file are told by --stem. */
static clv_status try_arch(search *s, const char *arch)
{
    clvi_settings try = s->config->settings;
    const int64_t before = s->best_count;
    snprintf(try.arch, sizeof try.arch, "%s", arch);
    CLV_TRY(try_network(s, &try));
    if (is_given(s->config, "stem") || !has_option(arch, "stem", NULL)) return CLV_OK;
    const clv_option_info *stem = &clvi_settings_find("stem")->info;
    int choices = 1;
    for (const char *c = stem->choices; *c; c++) choices += *c == '|';
    for (try.stem = 1; try.stem < choices && s->best_count == before; try.stem++) CLV_TRY(try_network(s, &try));
    return CLV_OK;
}

/* Why nothing fits: what the nearest network lacks. */
static clv_status explain(const search *s)
{
    clv_params *params = NULL;
    clvi_match m = { 0 };
    clv_status st = CLV_OK;
    const char *arch = s->any ? s->nearest.arch : s->config->settings.arch;
    CLV_CHECK(s->any || is_given(s->config, "arch"), CLV_ERR_FORMAT,
              "it holds no weights of a known backbone, under any name or prefix that is known");
    CLV_TRY_OR_DONE(schema(s->config->ctx, s->any ? &s->nearest : &s->config->settings,
                           s->any ? s->nearest_channels : 3, &params));
    CLV_TRY_OR_DONE(clvi_match_find(s->foreign->file, params, clv_params_count(params), s->foreign->key, &m));
    st = clvi_match_check(&m, arch);
    if (st == CLV_OK) st = clvi_fail(CLV_ERR_FORMAT, "%s does not fit", arch);
    if (!is_given(s->config, "arch")) st = clvi_fail_in(st, "no backbone fits; the nearest lacks something");
done:
    clvi_match_free(&m);
    clv_params_destroy(params);
    return st;
}

static clv_status try_all(search *s)
{
    const clv_class_info *info;
    if (is_given(s->config, "arch")) return try_arch(s, s->config->settings.arch);
    for (int i = 0; (info = clv_backbone_info_at(i)); i++) CLV_TRY(try_arch(s, info->name));
    return CLV_OK;
}

static clv_status find_network(search *s)
{
    CLV_TRY(try_all(s));
    if (!s->best_count) {
        s->explains = true;
        CLV_TRY(try_all(s));
        return explain(s);
    }
    clvi_settings *own = &s->config->settings;
    memcpy(own->arch, s->best.arch, sizeof own->arch);
    own->stem = s->best.stem;
    own->width = s->best.width;
    own->moco_dim = s->best.moco_dim;
    own->size = s->best.size;
    s->foreign->channels = s->channels;
    s->foreign->small = s->small;
    return CLV_OK;
}

/* ---- the head ---- */

static clv_status set_count(clv_config *config, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return is_given(config, name) ? CLV_OK : clv_config_set(config, name, text);
}

/* A linear layer, or two with a ReLU between them, as torchvision's classifiers and MoCo have. */
static clv_status find_head(clv_config *config, clvi_foreign *f)
{
    clv_params *params = NULL;
    clvi_match m = { 0 };
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(schema(config->ctx, &config->settings, f->channels, &params));
    CLV_TRY_OR_DONE(clvi_match_find(f->file, params, clv_params_count(params), f->key, &m));
    const clvi_tensor *one = clvi_match_tensor(&m, "fc.weight"), *hidden = clvi_match_tensor(&m, "fc.0.weight"),
                      *last = clvi_match_tensor(&m, "fc.2.weight");
    const bool two = hidden && last && hidden->ndim == 2 && last->ndim == 2 && clvi_match_tensor(&m, "fc.0.bias")
                     && clvi_match_tensor(&m, "fc.2.bias") && !clvi_match_tensor(&m, "fc.1.running_mean");
    f->head = two || (one && one->ndim == 2);
    if (!f->head) goto done;
    CLV_TRY_OR_DONE(is_given(config, "mlp") ? CLV_OK : clv_config_set(config, "mlp", two ? "true" : "false"));
    CLV_TRY_OR_DONE(set_count(config, "moco-dim", (two ? last : one)->shape[0]));
    if (two) CLV_TRY_OR_DONE(set_count(config, "moco-mlp-dim", hidden->shape[0]));
done:
    clvi_match_free(&m);
    clv_params_destroy(params);
    return st;
}

/* ---- opening and reading ---- */

/* What files that Cleave wrote say about themselves. */
static clv_status read_meta(clv_config *config, const clvi_tensor_file *file)
{
    static const char *const names[] = { "arch", "stem", "width", "patch", "size", "eval-aug" };
    for (size_t i = 0; i < CLVI_COUNT(names); i++) {
        char key[32];
        snprintf(key, sizeof key, "cleave.%s", names[i]);
        const char *value = clvi_tensor_meta(file, key);
        if (value && !is_given(config, names[i])) CLV_TRY(clv_config_set(config, names[i], value));
    }
    return CLV_OK;
}

clv_status clvi_foreign_examine(clv_config *config, clvi_foreign *f)
{
    CLV_TRY(read_meta(config, f->file));
    search *s = clvi_calloc(config->ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    s->config = config;
    s->foreign = f;
    const clv_status st = find_network(s);
    clvi_free(config->ctx, s);
    CLV_TRY(st);
    return find_head(config, f);
}

static clv_status in_file(clv_status st, const char *path)
{
    char what[CLVI_PATH_SIZE + 8];
    snprintf(what, sizeof what, "'%s'", path);
    return clvi_fail_in(st, what);
}

clv_status clvi_foreign_open(clv_config *config, const char *path, bool key, clvi_foreign *out)
{
    *out = (clvi_foreign) { .key = key };
    CLV_TRY(clvi_tensor_file_open(config->ctx, path, &out->file));
    const clv_status st = clvi_foreign_examine(config, out);
    return st == CLV_OK ? CLV_OK : in_file(st, path);
}

void clvi_foreign_release(clvi_foreign *f)
{
    clvi_tensor_file_close(f->file);
    *f = (clvi_foreign) { 0 };
}

clv_status clvi_foreign_read(const clvi_foreign *f, const clvi_settings *settings, clv_params *params,
                             clvi_line_fn line, void *user)
{
    clv_params *backbone = NULL;
    clvi_match m = { 0 };
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(schema(f->file->ctx, settings, f->channels, &backbone));
    CLV_TRY_OR_DONE(clvi_match_find(f->file, params, clv_params_count(backbone), f->key, &m));
    CLV_TRY_OR_DONE(clvi_match_check(&m, settings->arch));
    CLV_TRY_OR_DONE(clvi_match_load(&m, params));
    if (line) clvi_match_report(&m, line, user);
done:
    clvi_match_free(&m);
    clv_params_destroy(backbone);
    return st;
}

/* ---- checkpoints as files of tensors ---- */

static clv_status add_dataset(clvi_tensor_file *file, clvi_h5 *h5, const char *name)
{
    char path[CLVI_TENSOR_NAME_MAX + 16];
    clvi_h5_info info;
    snprintf(path, sizeof path, "model/%s", name);
    CLV_TRY(clvi_h5_stat(h5, path, &info));
    CLV_CHECK(info.offset >= 0, CLV_ERR_FORMAT, "'%s' is not contiguous", path);     /* so no larger than the file */
    clv_view values = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
    values.data = clvi_tensor_file_alloc(file, (size_t)clv_view_count(&values) * sizeof(float));
    if (!values.data) return CLV_ERR_NOMEM;
    CLV_TRY(clvi_h5_read(h5, path, &values));
    clvi_tensor t = { .name = name, .type = CLVI_STORED_F32, .ndim = info.ndim, .data = values.data };
    memcpy(t.shape, values.shape, sizeof t.shape);
    memcpy(t.stride, values.stride, sizeof t.stride);
    return clvi_tensor_file_add(file, &t);
}

/* The query network of a checkpoint; the caller closes the file in any case. */
static clv_status open_checkpoint(clv_context *ctx, const char *path, clvi_tensor_file **out)
{
    clv_config *config = NULL;
    clvi_checkpoint *checkpoint = NULL;
    char **names = NULL;
    int64_t count = 0;
    clv_status st = CLV_OK;
    *out = clvi_calloc(ctx, 1, sizeof **out);
    if (!*out) return CLV_ERR_NOMEM;
    (*out)->ctx = ctx;
    CLV_TRY_OR_DONE(clv_config_create(ctx, &config));
    CLV_TRY_OR_DONE(clvi_checkpoint_open(ctx, path, config, &checkpoint));
    CLV_TRY_OR_DONE(clvi_h5_list(checkpoint->h5, "model", false, &count, &names));
    for (int64_t i = 0; i < count; i++) CLV_TRY_OR_DONE(add_dataset(*out, checkpoint->h5, names[i]));
    st = clvi_tensor_file_sort(*out);
done:
    clvi_free(ctx, names);
    clvi_checkpoint_close(checkpoint);
    clv_config_destroy(config);
    return st;
}

static bool is_checkpoint(const char *path)
{
    struct stat info;
    return (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) || clvi_h5_is_sealed(path);
}

clv_status clvi_foreign_load(clv_context *ctx, const clvi_settings *settings, int64_t channels, clv_params *params,
                             clvi_line_fn line, void *user)
{
    clvi_foreign f = { .channels = channels };
    const char *path = settings->weights;
    const bool checkpoint = is_checkpoint(path);
    clv_status st = checkpoint ? open_checkpoint(ctx, path, &f.file) : clvi_tensor_file_open(ctx, path, &f.file);
    if (st == CLV_OK) {
        st = clvi_foreign_read(&f, settings, params, line, user);
        if (st != CLV_OK) st = in_file(st, path);
    }
    clvi_foreign_release(&f);
    return st;
}
