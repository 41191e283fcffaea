/* test_spans.c: precision, recall and F1 of spans, against values worked by hand and conlleval's rules. */
#include "tests/support/test.h"

#include <cleave/eval.h>
#include <stdio.h>
#include <string.h>

enum { MAX_WORDS = 64, MAX_NAMES = 16 };

/* Tags written one after the other with spaces between; "|" ends a sentence. */
typedef struct tags {
    char        text[512];
    const char *name[MAX_NAMES];
    int64_t     names, words, sentences, tag[MAX_WORDS], first[MAX_WORDS + 1];
} tags;

static void read_tags(const char *text, tags *t)
{
    char *rest = NULL;
    *t = (tags) { .words = 0 };
    snprintf(t->text, sizeof t->text, "%s", text);
    for (char *word = strtok_r(t->text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        int64_t n = 0;
        if (!strcmp(word, "|")) {
            t->first[++t->sentences] = t->words;
            continue;
        }
        while (n < t->names && strcmp(t->name[n], word) != 0) n++;
        if (n == t->names) t->name[t->names++] = word;
        t->tag[t->words++] = n;
    }
    t->first[++t->sentences] = t->words;
}

static clv_status try_measure(const char *truth, const char *predicted, clv_span_result *out)
{
    tags t, p;
    read_tags(truth, &t);
    read_tags(predicted, &p);
    assert_int_equal(t.words, p.words);
    const clv_tagging a = { t.tag, t.name, t.names }, b = { p.tag, p.name, p.names };
    return clv_spans_measure(&a, &b, t.first, t.sentences, out);
}

/* How many spans there are, are predicted, and are right. */
static void assert_spans(const char *truth, const char *predicted, int present, int found, int right)
{
    clv_span_result r;
    assert_ok(try_measure(truth, predicted, &r));
    if (r.all.present != present || r.all.predicted != found || r.all.right != right)
        fail_msg("'%s' and '%s': %d, %d, %d spans, expected %d, %d, %d", truth, predicted, (int)r.all.present,
                 (int)r.all.predicted, (int)r.all.right, present, found, right);
}

static void whole_spans_count(void **state)
{
    (void)state;
    assert_spans("O O", "O O", 0, 0, 0);
    assert_spans("B-a I-a O", "B-a I-a O", 1, 1, 1);
    assert_spans("B-a I-a O", "B-a O O", 1, 1, 0);                 /* ends too early */
    assert_spans("B-a O O", "B-a I-a O", 1, 1, 0);                 /* too late */
    assert_spans("O B-a I-a", "B-a I-a I-a", 1, 1, 0);             /* begins too early */
    assert_spans("B-a I-a O", "B-b I-b O", 1, 1, 0);               /* of another type */
    assert_spans("B-a B-a", "B-a B-a", 2, 2, 2);
    assert_spans("B-a B-a", "B-a I-a", 2, 1, 0);
    assert_spans("B-a I-a", "B-a B-a", 1, 2, 0);
    assert_spans("B-a I-a O B-b", "O O O B-b", 2, 1, 1);
}

/* What conlleval makes of sequences that IOB2 does not have. */
static void broken_sequences_are_read_as_conlleval_does(void **state)
{
    (void)state;
    assert_spans("I-a I-a O", "B-a I-a O", 1, 1, 1);               /* I- at the start of a sentence begins a span */
    assert_spans("O I-a O", "O B-a O", 1, 1, 1);                   /* and after O */
    assert_spans("B-a I-b O", "B-a B-b O", 2, 2, 2);               /* another type begins a span, and ends one */
    assert_spans("I-a I-b I-a", "B-a B-b B-a", 3, 3, 3);
    assert_spans("B-a I-b I-b", "B-a I-b B-b", 2, 3, 1);
    assert_spans("I-a B-a", "B-a B-a", 2, 2, 2);
    assert_spans("B-a I-a O", "B-a I-b O", 1, 2, 0);
}

static void a_span_ends_with_its_sentence(void **state)
{
    (void)state;
    assert_spans("B-a | I-a O", "B-a | I-a O", 2, 2, 2);
    assert_spans("B-a I-a | I-a", "B-a I-a | B-a", 2, 2, 2);
    assert_spans("O B-a", "O B-a", 1, 1, 1);                       /* to the last word */
}

/* Four spans there, five predicted, two right: 40 %, 50 %, and 2 / (1/0.4 + 1/0.5) = 44.44 %. */
static void figures_are_those_worked_by_hand(void **state)
{
    (void)state;
    clv_span_result r;
    assert_ok(try_measure("B-per I-per O B-loc O | B-loc I-loc O O B-per",
                          "B-per I-per O B-per O | B-loc I-loc B-org O O ", &r));
    assert_true(r.all.present == 4 && r.all.predicted == 4 && r.all.right == 2 && r.words == 10);
    assert_ok(try_measure("B-per I-per O B-loc O | B-loc I-loc O O B-per",
                          "B-per I-per O B-per I-org | B-loc I-loc B-org O O", &r));
    assert_true(r.all.present == 4 && r.all.predicted == 5 && r.all.right == 2);
    assert_near(r.all.precision, 40, 1e-12);
    assert_near(r.all.recall, 50, 1e-12);
    assert_near(r.all.f1, 400.0 / 9, 1e-12);
    assert_near(r.accuracy, 60, 1e-12);                            /* 6 of 10 words */
    assert_int_equal(r.types, 3);
    assert_string_equal(r.type[0].name, "loc");
    assert_true(r.type[0].counts.present == 2 && r.type[0].counts.predicted == 1 && r.type[0].counts.right == 1);
    assert_near(r.type[0].counts.f1, 200.0 / 3, 1e-12);
    assert_string_equal(r.type[1].name, "org");
    assert_true(r.type[1].counts.present == 0 && r.type[1].counts.predicted == 2 && r.type[1].counts.f1 == 0);
    assert_string_equal(r.type[2].name, "per");
    assert_true(r.type[2].counts.present == 2 && r.type[2].counts.predicted == 2 && r.type[2].counts.right == 1);
    assert_near(r.type[2].counts.precision, 50, 1e-12);
}

static void nothing_to_divide_by_is_zero(void **state)
{
    (void)state;
    clv_span_result r;
    assert_ok(try_measure("O O", "O O", &r));
    assert_true(r.all.precision == 0 && r.all.recall == 0 && r.all.f1 == 0 && r.accuracy == 100);
    assert_ok(try_measure("B-a O", "O O", &r));
    assert_true(r.all.precision == 0 && r.all.recall == 0 && r.all.f1 == 0 && r.accuracy == 50);
    assert_ok(clv_spans_measure(&(clv_tagging) { (const int64_t[]){ 0 }, (const char *const[]){ "O" }, 1 },
                                &(clv_tagging) { (const int64_t[]){ 0 }, (const char *const[]){ "O" }, 1 },
                                (const int64_t[]){ 0 }, 0, &r));
    assert_true(r.words == 0 && r.accuracy == 0);
}

static void what_cannot_be_counted_is_refused(void **state)
{
    (void)state;
    clv_span_result r;
    char names[70][8];
    const char *name[70];
    const int64_t zero[2] = { 0, 0 }, beyond[1] = { 1 }, first[2] = { 0, 1 }, back[2] = { 1, 0 };
    const char *const o[] = { "O" };
    const clv_tagging good = { zero, o, 1 }, bad = { beyond, o, 1 };
    assert_fails(try_measure("B-a E-a", "O O", &r), CLV_ERR_INVALID, "the tag 'E-a' is neither");
    assert_fails(try_measure("B-a B-", "O O", &r), CLV_ERR_INVALID, "the tag 'B-' is neither");
    assert_fails(clv_spans_measure(&good, &bad, first, 1, &r), CLV_ERR_INVALID, "word 0 has tag 0 of 1 and 1 of 1");
    assert_fails(clv_spans_measure(&good, &good, back, 1, &r), CLV_ERR_INVALID, "sentence 0 goes from word 1 to 0");
    assert_fails(clv_spans_measure(&good, NULL, first, 1, &r), CLV_ERR_INVALID, "an argument is NULL");
    for (int i = 0; i < 70; i++) {
        snprintf(names[i], sizeof names[i], "B-t%d", i);
        name[i] = names[i];
    }
    const clv_tagging many = { zero, name, 65 }, all = { zero, name, 64 };
    assert_ok(clv_spans_measure(&all, &good, first, 1, &r));
    assert_fails(clv_spans_measure(&many, &good, first, 1, &r), CLV_ERR_UNSUPPORTED, "more than 64 types");
}

TEST_MAIN(TEST(whole_spans_count), TEST(broken_sequences_are_read_as_conlleval_does), TEST(a_span_ends_with_its_sentence),
          TEST(figures_are_those_worked_by_hand), TEST(nothing_to_divide_by_is_zero), TEST(what_cannot_be_counted_is_refused))
