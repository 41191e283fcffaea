/* test_corpus.c: tagged text: what is read, what is refused, what words become. */
#include "core/file.h"
#include "data/words.h"
#include "tests/support/test.h"

#include <cleave/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clv_status try_open(test_env *t, const char *bytes, size_t size, clv_corpus **out)
{
    assert_ok(clvi_file_write(test_path(t, "text"), bytes, size));
    return clv_corpus_open(t->ctx, test_path(t, "text"), out);
}

static clv_corpus *opened(test_env *t, const char *text, clv_corpus_info *info)
{
    clv_corpus *corpus = NULL;
    assert_ok(try_open(t, text, strlen(text), &corpus));
    clv_corpus_describe(corpus, info);
    return corpus;
}

/* ---- reading ---- */

static void words_tags_and_sentences_are_those_of_the_file(void **state)
{
    clv_corpus_info info;
    clv_corpus *corpus = opened(*state, "\n\nEmpire\tB-location\nState\tI-location\n\t\nis\tO\n \n\nup\tO", &info);
    static const char *const words[] = { "Empire", "State", "is", "up" };
    static const char *const tags[] = { "B-location", "I-location", "O", "O" };
    static const int64_t first[] = { 0, 2, 3, 4 };
    assert_int_equal(info.words, 4);
    assert_int_equal(info.sentences, 3);
    assert_int_equal(info.tags, 3);
    for (int i = 0; i < 4; i++) assert_string_equal(info.word[i], words[i]);
    for (int i = 0; i < 4; i++) assert_string_equal(info.tag_name[info.tag[i]], tags[i]);
    assert_memory_equal(info.first, first, sizeof first);
    clv_corpus_destroy(corpus);
}

static void the_word_is_the_first_column_and_the_tag_the_last(void **state)
{
    clv_corpus_info info;
    clv_corpus *corpus = opened(*state, "-DOCSTART- -X- -X- O\r\n\r\nEU  NNP  B-NP  B-ORG \r\nNew York \tx\t I-LOC\r\n", &info);
    assert_int_equal(info.words, 3);
    assert_int_equal(info.sentences, 2);
    assert_string_equal(info.word[0], "-DOCSTART-");
    assert_string_equal(info.word[1], "EU");
    assert_string_equal(info.tag_name[info.tag[1]], "B-ORG");
    assert_string_equal(info.word[2], "New York");                 /* between tabs, a space is part of the word */
    assert_string_equal(info.tag_name[info.tag[2]], "I-LOC");
    clv_corpus_destroy(corpus);
}

static void numbers_of_tags_do_not_depend_on_the_order_of_sentences(void **state)
{
    clv_corpus_info a, b;
    clv_corpus *first = opened(*state, "x O\n\ny B-b\nz B-a\n", &a);
    clv_corpus *second = opened(*state, "y B-b\nz B-a\n\nx O\n", &b);
    static const char *const sorted[] = { "B-a", "B-b", "O" };
    for (int i = 0; i < 3; i++) {
        assert_string_equal(a.tag_name[i], sorted[i]);
        assert_string_equal(b.tag_name[i], sorted[i]);
    }
    assert_int_equal(a.tag[1], b.tag[0]);
    clv_corpus_destroy(second);
    clv_corpus_destroy(first);
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "", "has no words" },
        { " \t\r\n\n\t\n", "has no words" },
        { "a\tO\nb\n", "line 2: expected a word and its tag, got one column: 'b'" },
        { "a\tO\n\tO\n", "line 2: expected a word and its tag, got one column: 'O'" },
        { "a O\n\nb person\n", "line 3: the tag 'person' is neither O nor B-TYPE nor I-TYPE" },
        { "a E-person\n", "line 1: the tag 'E-person'" },
        { "a B-\n", "line 1: the tag 'B-'" },
        { "a o\n", "line 1: the tag 'o'" },
        { "a B-x\"y\n", "line 1: the tag 'B-x\"y' has a byte that is none of" },
        { "a B-abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij\n", "has more than 63 bytes" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clv_corpus *corpus = NULL;
        assert_fails(try_open(*state, cases[i].text, strlen(cases[i].text), &corpus), CLV_ERR_FORMAT, cases[i].why);
        assert_null(corpus);
    }
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    static char text[3 * CLV_TEXT_MAX_LINE];
    clv_corpus *corpus = NULL;
    assert_fails(try_open(*state, "a O\nb\0c O\n", 11, &corpus), CLV_ERR_FORMAT, "line 2 has a byte 0");
    memset(text, 'x', sizeof text);
    memcpy(text, "a O\n", 4);
    assert_fails(try_open(*state, text, sizeof text, &corpus), CLV_ERR_FORMAT, "line 2 has 12284 bytes, more than 4096");
    assert_fails(clv_corpus_open(((test_env *)*state)->ctx, "no/such/file", &corpus), CLV_ERR_IO, "no/such/file");
    assert_null(corpus);
}

static void the_longest_line_is_read(void **state)
{
    static char text[CLV_TEXT_MAX_LINE + 1];
    clv_corpus_info info;
    memset(text, 'x', CLV_TEXT_MAX_LINE - 2);
    memcpy(text + CLV_TEXT_MAX_LINE - 2, " O", 2);
    clv_corpus *corpus = opened(*state, text, &info);
    assert_int_equal(strlen(info.word[0]), CLV_TEXT_MAX_LINE - 2);
    clv_corpus_destroy(corpus);
}

static void too_many_tags_are_refused(void **state)
{
    static char text[(CLV_TEXT_MAX_TAGS + 1) * 16];
    size_t used = 0;
    clv_corpus *corpus = NULL;
    for (int i = 0; i <= CLV_TEXT_MAX_TAGS; i++) used += (size_t)snprintf(text + used, 16, "w B-t%d\n", i);
    assert_fails(try_open(*state, text, used, &corpus), CLV_ERR_FORMAT, "line 257: more than 256 different tags");
}

static clv_status open_text(clv_context *ctx, void *path)
{
    clv_corpus *corpus = NULL;
    const clv_status st = clv_corpus_open(ctx, path, &corpus);
    clv_corpus_destroy(corpus);
    return st;
}

static void running_out_of_memory_leaves_nothing(void **state)
{
    test_env *t = *state;
    char path[512];
    assert_ok(clvi_file_write(test_path(t, "text"), "a O\n", 4));
    snprintf(path, sizeof path, "%s", test_path(t, "text"));
    test_each_allocation_fails(t, open_text, path);
}

/* ---- words ---- */

enum { F = CLVI_WORD_FEATURES };

static clvi_words *make(test_env *t, const clv_corpus *corpus, clvi_words_desc desc)
{
    clvi_words *w = NULL;
    assert_ok(clvi_words_create(t->ctx, corpus, &desc, &w));
    return w;
}

static void features_say_what_words_share(void **state)
{
    test_env *t = *state;
    clv_corpus_info info;
    clv_corpus *corpus = opened(t, "Paris O\nPARIS O\nparis O\nPariah O\nDebris O\nab O\n", &info);
    clvi_words *w = make(t, corpus, (clvi_words_desc) { .rows = 1 << 20, .batch_size = 1 });
    int64_t row[6][F];
    enum { SHAPE, WORD, HEAD1, TAIL1, HEAD2, TAIL2, HEAD3, TAIL3 };
    clvi_words_fill(w, 0, 6, row[0]);
    for (int f = WORD; f < F; f++) assert_true(row[0][f] == row[1][f] && row[0][f] == row[2][f] && row[0][f] >= 0);
    assert_true(row[0][SHAPE] != row[1][SHAPE] && row[0][SHAPE] != row[2][SHAPE]);
    assert_true(row[0][SHAPE] == row[3][SHAPE] && row[0][WORD] != row[3][WORD]);
    assert_true(row[0][HEAD3] == row[3][HEAD3] && row[0][TAIL1] != row[3][TAIL1]);
    assert_true(row[0][TAIL3] == row[4][TAIL3] && row[0][HEAD1] != row[4][HEAD1]);
    assert_true(row[5][HEAD1] >= 0 && row[5][HEAD2] == -1 && row[5][TAIL3] == -1);
    for (int i = 0; i < 6; i++)
        for (int f = 0; f < F; f++) assert_true(row[i][f] < 1 << 20);
    clvi_words_destroy(w);
    clv_corpus_destroy(corpus);
}

static void characters_are_not_cut(void **state)
{
    test_env *t = *state;
    clv_corpus_info info;
    clv_corpus *corpus = opened(t, "\xc3\xa9t\xc3\xa9 O\n\xc3\xa8t\xc3\xa8 O\n\x80 O\n", &info);   /* ete, with accents */
    clvi_words *w = make(t, corpus, (clvi_words_desc) { .rows = 1 << 20, .batch_size = 1 });
    int64_t row[3][F];
    clvi_words_fill(w, 0, 3, row[0]);
    assert_true(row[0][2] != row[1][2] && row[0][2] >= 0);         /* the first byte alone would be the same */
    assert_true(row[0][4] >= 0 && row[0][6] == -1);                /* three characters, five bytes */
    clvi_words_destroy(w);
    clv_corpus_destroy(corpus);
}

static void windows_end_with_the_sentence(void **state)
{
    test_env *t = *state;
    clv_corpus_info info;
    clv_corpus *corpus = opened(t, "a O\nb O\n\nc O\n", &info);
    clvi_words *w = make(t, corpus, (clvi_words_desc) { .context = 1, .rows = 1 << 20, .batch_size = 1 });
    int64_t window[4][3][F];
    assert_int_equal(clvi_words_width(w), 3 * F);
    clvi_words_fill(w, 0, 4, window[0][0]);                        /* one more than there are */
    for (int f = 0; f < F; f++) {
        assert_int_equal(window[0][0][f], -1);
        assert_int_equal(window[0][1][f], window[1][0][f]);        /* a */
        assert_int_equal(window[0][2][f], window[1][1][f]);        /* b */
        assert_int_equal(window[1][2][f], -1);
        assert_int_equal(window[2][0][f], -1);
        assert_int_equal(window[2][2][f], -1);
        for (int p = 0; p < 3; p++) assert_int_equal(window[3][p][f], -1);
    }
    assert_true(window[2][1][1] >= 0 && window[2][1][1] != window[1][1][1]);
    clvi_words_destroy(w);
    clv_corpus_destroy(corpus);
}

static clv_corpus *alphabet(test_env *t, clv_corpus_info *info)
{
    char text[26 * 8];
    size_t used = 0;
    for (int i = 0; i < 26; i++) used += (size_t)snprintf(text + used, 8, "w%c %s\n", 'a' + i, i % 2 ? "O" : "B-x");
    return opened(t, text, info);
}

static void an_epoch_has_every_word_once_and_every_rank_its_share(void **state)
{
    test_env *t = *state;
    clv_corpus_info info;
    clv_corpus *corpus = alphabet(t, &info);
    int64_t together[24], ids[24];
    clvi_words *one = make(t, corpus, (clvi_words_desc) { .rows = 64, .batch_size = 6, .seed = 3 });
    assert_int_equal(clvi_words_steps_per_epoch(one), 4);
    for (int e = 0; e < 2; e++) {
        bool seen[26] = { false };
        for (int s = 0; s < 4; s++) {
            clv_batch batch;
            clvi_words_next(one, &batch);
            assert_true(batch.epoch == (uint32_t)e && batch.step == s && batch.count == 6);
            for (int i = 0; i < 6; i++) {
                assert_false(seen[batch.ids[i]]);
                seen[batch.ids[i]] = true;
                assert_int_equal(batch.labels[i], info.tag[batch.ids[i]]);
                if (e == 0) together[s * 6 + i] = batch.ids[i];
            }
        }
    }
    for (int r = 0; r < 2; r++) {
        clvi_words *w = make(t, corpus, (clvi_words_desc) { .rows = 64, .batch_size = 3, .seed = 3, .rank = r, .ranks = 2 });
        assert_int_equal(clvi_words_steps_per_epoch(w), 4);
        for (int s = 0; s < 4; s++) {
            clv_batch batch;
            clvi_words_next(w, &batch);
            memcpy(ids + s * 6 + r * 3, batch.ids, 3 * sizeof *ids);
        }
        clvi_words_destroy(w);
    }
    assert_memory_equal(ids, together, sizeof ids);
    clvi_words_destroy(one);
    clv_corpus_destroy(corpus);
}

static void what_is_dropped_is_a_function_of_seed_epoch_and_word(void **state)
{
    test_env *t = *state;
    clv_corpus_info info;
    clv_corpus *corpus = alphabet(t, &info);
    int64_t first[6 * F], full[F], dropped = 0, all = 0;
    clvi_words *w = make(t, corpus, (clvi_words_desc) { .rows = 64, .batch_size = 6, .drop = 0.25, .seed = 3 });
    clv_batch batch;
    for (int s = 0; s < 400; s++) {
        clvi_words_next(w, &batch);
        const int64_t *numbers = batch.view[0].data;
        if (s == 2) memcpy(first, numbers, sizeof first);
        for (int i = 0; i < 6; i++) {
            clvi_words_fill(w, batch.ids[i], 1, full);
            for (int f = 0; f < F; f++) {
                assert_true(numbers[i * F + f] == full[f] || numbers[i * F + f] == -1);
                all += full[f] >= 0;
                dropped += full[f] >= 0 && numbers[i * F + f] == -1;
            }
        }
    }
    assert_near((double)dropped / (double)all, 0.25, 0.015);       /* five standard deviations of 10,000 draws and more */
    assert_ok(clvi_words_seek(w, 0, 2));
    clvi_words_next(w, &batch);
    assert_memory_equal(batch.view[0].data, first, sizeof first);
    assert_fails(clvi_words_seek(w, 0, 4), CLV_ERR_INVALID, "step 4: an epoch of");
    clvi_words_destroy(w);
    clv_corpus_destroy(corpus);
}

TEST_MAIN(TEST(words_tags_and_sentences_are_those_of_the_file), TEST(the_word_is_the_first_column_and_the_tag_the_last),
          TEST(numbers_of_tags_do_not_depend_on_the_order_of_sentences), TEST(what_is_wrong_is_told_with_its_line),
          TEST(bytes_that_are_no_text_are_refused), TEST(the_longest_line_is_read), TEST(too_many_tags_are_refused),
          TEST(running_out_of_memory_leaves_nothing), TEST(features_say_what_words_share), TEST(characters_are_not_cut),
          TEST(windows_end_with_the_sentence), TEST(an_epoch_has_every_word_once_and_every_rank_its_share),
          TEST(what_is_dropped_is_a_function_of_seed_epoch_and_word))
