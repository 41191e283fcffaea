/* text.c: the trainer's data when they are words: corpora, batches of words, span F1 on what is held out. */
#include "train/text.h"
#include "train/trained/tagging.h"
#include "core/checked.h"

#include <stdio.h>
#include <string.h>

struct clvi_text {
    clv_corpus     *train, *val;      /* val NULL: nothing is measured */
    clv_corpus_info info;             /* of train */
    clvi_words     *words, *val_words;
    clv_tagger     *tagger;           /* over the method's parameters; made at its first use, as what follows */
    int64_t        *predicted;        /* [words of val] */
};

clvi_words *clvi_text_words(const clvi_text *text)
{
    return text->words;
}

clv_status clvi_text_open(clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    clvi_text *text = t->text = clvi_calloc(t->ctx, 1, sizeof *text);
    if (!text) return CLV_ERR_NOMEM;
    CLV_TRY(clv_corpus_open(t->ctx, s->data, &text->train));
    clv_corpus_describe(text->train, &text->info);
    CLV_CHECK(text->info.words >= s->batch_size, CLV_ERR_INVALID,
              "'%s' has %" PRId64 " words, fewer than one batch of %" PRId64, s->data, text->info.words, s->batch_size);
    t->info = (clv_dataset_info) { .kind = "conll", .path = text->info.path, .split = "", .count = text->info.words,
                                   .channels = 1, .classes = text->info.tags, .has_labels = true };
    if (s->val_freq > 0 && s->val_data[0]) return clv_corpus_open(t->ctx, s->val_data, &text->val);
    if (s->val_freq > 0) clvi_trainer_note(t, "no val-data: span F1 is not measured");
    return CLV_OK;
}

clv_status clvi_text_open_words(clv_trainer *t)
{
    clvi_words_desc desc = clvi_words_desc_of(t->settings);
    desc.batch_size = t->method->division.local;
    desc.drop = t->settings->word_drop;
    desc.seed = (uint64_t)t->settings->seed;
    desc.rank = t->method->division.rank;
    desc.ranks = t->method->division.ranks;
    return clvi_words_create(t->ctx, t->text->train, &desc, &t->text->words);
}

void clvi_text_release(clv_trainer *t)
{
    clvi_text *text = t->text;
    if (!text) return;
    clvi_free(t->ctx, text->predicted);
    clv_tagger_destroy(text->tagger);
    clvi_words_destroy(text->val_words);
    clvi_words_destroy(text->words);
    clv_corpus_destroy(text->val);
    clv_corpus_destroy(text->train);
    clvi_free(t->ctx, text);
}

/* ---- monitor ---- */

static clv_status prepare(clv_trainer *t)
{
    clvi_text *text = t->text;
    const clvi_words_desc desc = clvi_words_desc_of(t->settings);
    clv_corpus_info val;
    clv_corpus_describe(text->val, &val);
    text->predicted = clvi_calloc(t->ctx, (size_t)val.words, sizeof *text->predicted);
    if (!text->predicted) return CLV_ERR_NOMEM;
    CLV_TRY(clvi_words_create(t->ctx, text->val, &desc, &text->val_words));
    snprintf(t->protocol, sizeof t->protocol, "as conlleval, micro, %" PRId64 " sentences, %" PRId64 " words",
             val.sentences, val.words);
    return clvi_tagger_over(t->config, clvi_method_judged(t->method), text->info.tag_name, text->info.tags,
                            t->settings->batch_size, &text->tagger);
}

clv_status clvi_text_measure(clv_trainer *t, clv_progress *p)
{
    clvi_text *text = t->text;
    clv_span_result spans;
    if (!text->val) return CLV_OK;
    if (!text->tagger) CLV_TRY(prepare(t));
    CLV_TRY(clvi_tagger_judge(text->tagger, text->val, text->val_words, text->predicted, &spans));
    p->has_spans = true;
    p->spans = spans.all;
    p->spans_protocol = t->protocol;
    return CLV_OK;
}

/* ---- checkpoints ---- */

clv_status clvi_text_write(const clvi_text *text, clvi_h5 *h5)
{
    return clvi_h5_set_attr_texts(h5, "/", "tags", text->info.tags, text->info.tag_name);
}

clv_status clvi_text_check(const clv_trainer *t, clvi_h5 *h5, const char *path)
{
    const clv_corpus_info *info = &t->text->info;
    int64_t tags = 0;
    char **names = NULL;
    CLV_TRY(clvi_h5_attr_texts(h5, "/", "tags", &tags, &names));
    bool same = tags == info->tags;
    for (int64_t i = 0; same && i < tags; i++) same = !strcmp(names[i], info->tag_name[i]);
    clvi_free(t->ctx, names);
    CLV_CHECK(same, CLV_ERR_INVALID, "'%s' was made with other tags than those of '%s'", path, info->path);
    return CLV_OK;
}
