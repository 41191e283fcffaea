/* tagging.c: the network that tags words; and a trained one, ready to tag a corpus. */
#include "train/trained/tagging.h"
#include "train/files/checkpoint.h"
#include "train/step/method.h"
#include "train/step/network.h"
#include "train/files/weights.h"
#include "core/checked.h"

#include <string.h>

struct clv_tagger {
    clv_context       *ctx;
    clv_config        *config;
    clv_params        *params;
    bool               owns_params;
    clv_graph         *graph;
    clv_node           words, scores;
    int64_t            batch, tags;
    const char *const *tag_name;
    char             **owned_names;
    int64_t           *numbers;       /* of a batch */
};

/* ---- the network ---- */

clvi_words_desc clvi_words_desc_of(const clvi_settings *s)
{
    return (clvi_words_desc) { .context = s->context, .rows = s->word_rows, .batch_size = 1 };
}

clv_node clvi_tagger_nodes(clv_graph *g, const clvi_settings *s, clv_node words)
{
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    (void)clv_node_shape(g, words, shape);
    const int64_t n = shape[0], places = 2 * s->context + 1, all = n * places * CLVI_WORD_FEATURES;
    const int64_t table_shape[2] = { s->word_rows, s->word_dim };
    const int64_t weight_shape[2] = { s->moco_dim, places * s->word_dim };
    const int64_t apart[3] = { n * places, CLVI_WORD_FEATURES, s->word_dim }, window[2] = { n, places * s->word_dim };
    const clv_init uniform = { CLV_INIT_UNIFORM_FAN, 0.0, places * s->word_dim };
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };       /* a row that training never meets says nothing */
    const clv_node table = clv_parameter(g, "words.weight", CLV_PARAM_TRAINABLE, 2, table_shape, zero);
    const clv_node w = clv_parameter(g, "conv.weight", CLV_PARAM_TRAINABLE, 2, weight_shape, uniform);
    const clv_node b = clv_parameter(g, "conv.bias", CLV_PARAM_TRAINABLE, 1, &s->moco_dim, uniform);
    const clv_node rows = clv_gather_rows(g, table, clv_reshape(g, words, 1, &all));
    const clv_node vectors = clv_reduce(g, clv_reshape(g, rows, 3, apart), 1, false);
    return clv_relu(g, clv_linear(g, clv_reshape(g, vectors, 2, window), w, b));
}

/* ---- making ---- */

static clv_status build(clv_tagger *t)
{
    const clvi_settings *s = &t->config->settings;
    const int64_t shape[2] = { t->batch, (2 * s->context + 1) * CLVI_WORD_FEATURES };
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = t->params;
    CLV_TRY(clv_graph_create(t->ctx, &desc, &t->graph));
    t->words = clv_input(t->graph, "words", CLV_I64, 2, shape);
    t->scores = clvi_classifier_node(t->graph, clvi_tagger_nodes(t->graph, s, t->words), t->tags, false, false, NULL);
    clv_graph_output(t->graph, t->scores);
    CLV_TRY(clv_graph_finish(t->graph));
    t->numbers = clvi_calloc(t->ctx, (size_t)(shape[0] * shape[1]), sizeof *t->numbers);
    if (!t->numbers) return CLV_ERR_NOMEM;
    const clv_view view = clv_view_2d(t->numbers, CLV_I64, shape[0], shape[1]);
    return clv_graph_bind(t->graph, t->words, &view);
}

void clv_tagger_destroy(clv_tagger *t)
{
    if (!t) return;
    clv_graph_destroy(t->graph);
    if (t->owns_params) clv_params_destroy(t->params);
    clv_config_destroy(t->config);
    clvi_free(t->ctx, t->owned_names);
    clvi_free(t->ctx, t->numbers);
    clvi_free(t->ctx, t);
}

clv_status clvi_tagger_over(const clv_config *config, clv_params *params, const char *const *tag_name, int64_t tags,
                            int64_t batch_size, clv_tagger **out)
{
    *out = NULL;
    clv_tagger *t = clvi_calloc(config->ctx, 1, sizeof *t);
    if (!t) return CLV_ERR_NOMEM;
    *t = (clv_tagger) { .ctx = config->ctx, .params = params, .batch = batch_size, .tags = tags, .tag_name = tag_name };
    clv_status st = clv_config_create(t->ctx, &t->config);
    if (st == CLV_OK) t->config->settings = config->settings;
    if (st == CLV_OK && !params) {
        st = clv_params_create(t->ctx, CLV_F32, &t->params);
        t->owns_params = st == CLV_OK;
    }
    if (st == CLV_OK) st = build(t);
    if (st != CLV_OK) {
        clv_tagger_destroy(t);
        return st;
    }
    *out = t;
    return CLV_OK;
}

static clv_status check_run(const clv_config *config, const char *path, bool ema)
{
    const clvi_method_class *method = NULL;
    CLV_TRY(clvi_method_find(config->settings.method, &method));
    CLV_CHECK(method->text, CLV_ERR_INVALID, "'%s': method '%s' trains no tagger", path, method->info.name);
    CLV_CHECK(!ema || config->settings.ema_decay > 0, CLV_ERR_INVALID,
              "'%s': no average of the weights was kept (ema-decay)", path);
    return CLV_OK;
}

clv_status clv_tagger_open(clv_context *ctx, const clv_tagger_desc *desc, clv_tagger **out)
{
    CLV_CHECK(ctx && desc && out, CLV_ERR_INVALID, "clv_tagger_open: an argument is NULL");
    *out = NULL;
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID, "clv_tagger_open: use CLV_TAGGER_DESC_INIT");
    CLV_CHECK(desc->checkpoint && desc->batch_size >= 1, CLV_ERR_INVALID,
              "clv_tagger_open: checkpoint and a positive batch_size are required");
    clv_config *config = NULL;
    clvi_checkpoint *file = NULL;
    clv_tagger *t = NULL;
    char **names = NULL;
    int64_t tags = 0;
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clv_config_create(ctx, &config));
    CLV_TRY_OR_DONE(clvi_checkpoint_open(ctx, desc->checkpoint, config, &file));
    CLV_TRY_OR_DONE(check_run(config, file->path, desc->ema));
    CLV_TRY_OR_DONE(clvi_h5_attr_texts(file->h5, "/", "tags", &tags, &names));
    CLV_CHECK_OR_DONE(tags >= 1 && tags <= CLV_TEXT_MAX_TAGS, CLV_ERR_FORMAT, "'%s': %" PRId64 " tags", file->path,
                      tags);
    CLV_TRY_OR_DONE(clvi_tagger_over(config, NULL, (const char *const *)names, tags, desc->batch_size, &t));
    t->owned_names = names;
    names = NULL;
    CLV_TRY_OR_DONE(clvi_weights_read(ctx, t->params, file->h5, desc->ema ? "ema_model" : "model"));
    *out = t;
    t = NULL;
done:
    clvi_free(ctx, names);
    clv_tagger_destroy(t);
    clvi_checkpoint_close(file);
    clv_config_destroy(config);
    return st;
}

/* ---- tagging ---- */

static int64_t best_of(const float *scores, int64_t n)
{
    int64_t best = 0;
    for (int64_t c = 1; c < n; c++)
        if (scores[c] > scores[best]) best = c;
    return best;
}

clv_status clvi_tagger_judge(clv_tagger *t, const clv_corpus *corpus, const clvi_words *words, int64_t *predicted,
                             clv_span_result *out)
{
    clv_corpus_info info;
    clv_corpus_describe(corpus, &info);
    for (int64_t done = 0; done < info.words; done += t->batch) {
        clv_view scores;
        clvi_words_fill(words, done, t->batch, t->numbers);
        CLV_TRY(clv_graph_run(t->graph));
        CLV_TRY(clv_graph_read(t->graph, t->scores, &scores));
        for (int64_t i = 0; i < CLVI_MIN(t->batch, info.words - done); i++)
            predicted[done + i] = best_of((const float *)scores.data + i * t->tags, t->tags);
    }
    const clv_tagging truth = { info.tag, info.tag_name, info.tags }, said = { predicted, t->tag_name, t->tags };
    return out ? clv_spans_measure(&truth, &said, info.first, info.sentences, out) : CLV_OK;
}

clv_status clv_tagger_tag(clv_tagger *t, const clv_corpus *corpus, int64_t *predicted, clv_span_result *out)
{
    CLV_CHECK(t && corpus && predicted, CLV_ERR_INVALID, "clv_tagger_tag: an argument is NULL");
    const clvi_words_desc desc = clvi_words_desc_of(&t->config->settings);
    clvi_words *words = NULL;
    CLV_TRY(clvi_words_create(t->ctx, corpus, &desc, &words));
    const clv_status st = clvi_tagger_judge(t, corpus, words, predicted, out);
    clvi_words_destroy(words);
    return st;
}

const char *clv_tagger_tag_name(const clv_tagger *t, int64_t tag)
{
    return t && tag >= 0 && tag < t->tags ? t->tag_name[tag] : NULL;
}
