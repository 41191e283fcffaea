/* eval_tagging.c: cleave eval tagging: a tagger's spans beside those of a tagged file. */
#include "cli/eval.h"

#include <stdlib.h>

static void put(cli_outcome *out, const char *name, double value)
{
    snprintf(out->figure[out->count].name, sizeof out->figure[out->count].name, "%s", name);
    out->figure[out->count++].value = value;
}

static void put_counts(cli_outcome *out, const clv_span_counts *c)
{
    put(out, "precision", c->precision);
    put(out, "recall", c->recall);
    put(out, "F1", c->f1);
}

static void print(const clv_span_result *r, const clv_corpus_info *info, bool ema, cli_eval_form form)
{
    char title[CLV_SPAN_MAX_TYPE + 16] = "tagging";
    cli_outcome all = { .count = 0 };
    put_counts(&all, &r->all);
    put(&all, "accuracy", r->accuracy);
    snprintf(all.how, sizeof all.how,
             "spans as conlleval counts them, micro; %s%lld sentences, %lld words, %lld spans, %lld predicted, "
             "%lld right", ema ? "average of the weights; " : "",
             (long long)info->sentences, (long long)info->words, (long long)r->all.present, (long long)r->all.predicted,
             (long long)r->all.right);
    const cli_protocol protocol = { .name = "tagging", .title = title };
    cli_eval_print(&protocol, &all, form, true);
    for (int64_t i = 0; i < r->types; i++) {
        const clv_span_counts *c = &r->type[i].counts;
        cli_outcome one = { .count = 0 };
        put_counts(&one, c);
        snprintf(title, sizeof title, "tagging %s", r->type[i].name);
        snprintf(one.how, sizeof one.how, "%lld spans, %lld predicted, %lld right", (long long)c->present,
                 (long long)c->predicted, (long long)c->right);
        cli_eval_print(&protocol, &one, form, false);
    }
}

int cli_eval_tagging(cli *c, const clv_tagger_desc *desc, const char *data, cli_eval_form form)
{
    clv_tagger *tagger = NULL;
    clv_corpus *corpus = NULL;
    clv_corpus_info info = { .words = 0 };
    clv_span_result result;
    int64_t *predicted = NULL;
    clv_status st = clv_tagger_open(c->ctx, desc, &tagger);
    if (st == CLV_OK) st = clv_corpus_open(c->ctx, data, &corpus);
    if (st == CLV_OK) {
        clv_corpus_describe(corpus, &info);
        predicted = calloc((size_t)info.words, sizeof *predicted);
        st = predicted ? clv_tagger_tag(tagger, corpus, predicted, &result) : CLV_ERR_NOMEM;
    }
    if (st == CLV_OK) print(&result, &info, desc->ema, form);
    free(predicted);
    clv_corpus_destroy(corpus);
    clv_tagger_destroy(tagger);
    return st == CLV_OK ? CLI_OK : cli_fail(st);
}
