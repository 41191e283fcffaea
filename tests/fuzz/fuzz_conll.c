/* fuzz_conll.c: files of words and tags, and what becomes of them: numbers of words in windows, spans. */
#include "data/words.h"
#include "tests/fuzz/fuzz.h"
#include <cleave/eval.h>
#include <string.h>

static void check_corpus(const clv_corpus_info *c)
{
    fuzz_require(c->words >= 1 && c->sentences >= 1 && c->tags >= 1 && c->tags <= CLV_TEXT_MAX_TAGS);
    fuzz_require(c->first[0] == 0 && c->first[c->sentences] == c->words);
    for (int64_t s = 0; s < c->sentences; s++) fuzz_require(c->first[s] < c->first[s + 1]);
    for (int64_t i = 1; i < c->tags; i++) fuzz_require(strcmp(c->tag_name[i - 1], c->tag_name[i]) < 0);
    for (int64_t i = 0; i < c->words; i++) {
        fuzz_require(c->tag[i] >= 0 && c->tag[i] < c->tags);
        fuzz_require(strlen(c->word[i]) <= CLV_TEXT_MAX_LINE && !strpbrk(c->word[i], "\t\n"));
    }
}

static void check_windows(const clv_corpus *corpus, const clv_corpus_info *c)
{
    const clvi_words_desc desc = { .context = 2, .rows = 64, .batch_size = 3, .drop = 0.5 };
    int64_t window[5 * CLVI_WORD_FEATURES];
    clvi_words *words = NULL;
    clv_batch batch;
    fuzz_require(clvi_words_create(fuzz_context(), corpus, &desc, &words) == CLV_OK);
    fuzz_require(clvi_words_width(words) == 5 * CLVI_WORD_FEATURES);
    for (int64_t i = 0; i < c->words; i++) {
        clvi_words_fill(words, i, 1, window);
        for (int k = 0; k < 5 * CLVI_WORD_FEATURES; k++) fuzz_require(window[k] >= -1 && window[k] < desc.rows);
    }
    for (int64_t s = 0; s < clvi_words_steps_per_epoch(words) && s < 64; s++) {
        clvi_words_next(words, &batch);
        for (int k = 0; k < 3; k++) fuzz_require(batch.labels[k] == c->tag[batch.ids[k]]);
    }
    clvi_words_destroy(words);
}

/* Tags compared with themselves are all right. */
static void check_spans(const clv_corpus_info *c)
{
    const clv_tagging tags = { c->tag, c->tag_name, c->tags };
    clv_span_result r;
    const clv_status st = clv_spans_measure(&tags, &tags, c->first, c->sentences, &r);
    fuzz_require(st == CLV_OK || st == CLV_ERR_UNSUPPORTED);
    if (st == CLV_OK) fuzz_require(r.all.right == r.all.present && r.all.right == r.all.predicted && r.words == c->words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    clv_corpus *corpus = NULL;
    clv_corpus_info info;
    const int fd = fuzz_file(data, size, path, sizeof path);
    const clv_status st = clv_corpus_open(fuzz_context(), path, &corpus);
    fuzz_require(st == CLV_OK || st == CLV_ERR_FORMAT);
    if (st == CLV_OK) {
        clv_corpus_describe(corpus, &info);
        check_corpus(&info);
        check_windows(corpus, &info);
        check_spans(&info);
    }
    clv_corpus_destroy(corpus);
    close(fd);
    return 0;
}
