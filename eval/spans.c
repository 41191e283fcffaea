/* spans.c: precision, recall and F1 of spans of IOB2 tags, as conlleval counts them. */
#include <cleave/eval.h>
#include "core/status.h"

#include <string.h>

/* What a tag says: whether it is B-, and the number of its type; -1: O. */
typedef struct meaning {
    bool begins;
    int  type;
} meaning;

enum { MAX_TAGS = 1 + 2 * CLV_SPAN_MAX_TYPES };

typedef struct side {
    const clv_tagging *tags;
    meaning            of[MAX_TAGS];
    int64_t            start;          /* of the span at work */
    int                type;           /* of it; -1: there is none */
} side;

/* The number of a type, whose names are kept in alphabetical order only at the end. */
static clv_status find_type(clv_span_result *r, const char *name, int *type)
{
    for (*type = 0; *type < r->types; ++*type)
        if (!strcmp(r->type[*type].name, name)) return CLV_OK;
    CLV_CHECK(r->types < CLV_SPAN_MAX_TYPES && strlen(name) < CLV_SPAN_MAX_TYPE, CLV_ERR_UNSUPPORTED,
              "spans: more than %d types, or one whose name has more than %d bytes: '%.64s'", CLV_SPAN_MAX_TYPES,
              CLV_SPAN_MAX_TYPE - 1, name);
    memcpy(r->type[r->types++].name, name, strlen(name) + 1);
    return CLV_OK;
}

static clv_status understand(const clv_tagging *tags, clv_span_result *r, side *out)
{
    *out = (side) { .tags = tags, .type = -1 };
    CLV_CHECK(tags->tag && tags->name && tags->tags >= 0, CLV_ERR_INVALID, "clv_spans_measure: an argument is NULL");
    CLV_CHECK(tags->tags <= MAX_TAGS, CLV_ERR_UNSUPPORTED, "spans: %" PRId64 " tags, at most %d are counted",
              tags->tags, MAX_TAGS);
    for (int64_t i = 0; i < tags->tags; i++) {
        const char *name = tags->name[i];
        out->of[i] = (meaning) { name[0] == 'B', -1 };
        if (!strcmp(name, "O")) continue;
        CLV_CHECK((name[0] == 'B' || name[0] == 'I') && name[1] == '-' && name[2], CLV_ERR_INVALID,
                  "spans: the tag '%.64s' is neither O nor B-TYPE nor I-TYPE", name);
        CLV_TRY(find_type(r, name + 2, &out->of[i].type));
    }
    return CLV_OK;
}

/* Spans at work that end before a word with this meaning. */
static bool ends(const side *s, meaning next)
{
    return s->type >= 0 && (next.begins || next.type != s->type);
}

static void advance(side *s, meaning next, int64_t at)
{
    if (s->type >= 0 && !ends(s, next)) return;
    s->type = next.type;
    s->start = at;
}

/* A word's meaning on both sides, O past the end of a sentence: counts the spans that end before it. */
static void step(side *truth, side *predicted, meaning t, meaning p, int64_t at, clv_span_result *r)
{
    const bool t_ends = ends(truth, t), p_ends = ends(predicted, p);
    if (t_ends) r->type[truth->type].counts.present++;
    if (p_ends) r->type[predicted->type].counts.predicted++;
    if (t_ends && p_ends && truth->type == predicted->type && truth->start == predicted->start)
        r->type[truth->type].counts.right++;
    advance(truth, t, at);
    advance(predicted, p, at);
}

static clv_status walk(side *truth, side *predicted, int64_t begin, int64_t end, int64_t *same, clv_span_result *r)
{
    static const meaning outside = { false, -1 };
    for (int64_t w = begin; w < end; w++) {
        const int64_t t = truth->tags->tag[w], p = predicted->tags->tag[w];
        CLV_CHECK(t >= 0 && t < truth->tags->tags && p >= 0 && p < predicted->tags->tags, CLV_ERR_INVALID,
                  "spans: word %" PRId64 " has tag %" PRId64 " of %" PRId64 " and %" PRId64 " of %" PRId64, w, t,
                  truth->tags->tags, p, predicted->tags->tags);
        *same += !strcmp(truth->tags->name[t], predicted->tags->name[p]);
        step(truth, predicted, truth->of[t], predicted->of[p], w, r);
    }
    step(truth, predicted, outside, outside, end, r);
    return CLV_OK;
}

static double percent(int64_t part, int64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

static void conclude(clv_span_counts *c)
{
    c->precision = percent(c->right, c->predicted);
    c->recall = percent(c->right, c->present);
    const double sum = c->precision + c->recall;
    c->f1 = sum > 0 ? 2 * c->precision * c->recall / sum : 0.0;
}

/* By insertion: they are few. */
static void sort_types(clv_span_result *r)
{
    for (int64_t i = 1; i < r->types; i++)
        for (int64_t j = i; j > 0 && strcmp(r->type[j - 1].name, r->type[j].name) > 0; j--) {
            const __typeof__(r->type[0]) other = r->type[j];
            r->type[j] = r->type[j - 1];
            r->type[j - 1] = other;
        }
}

clv_status clv_spans_measure(const clv_tagging *truth, const clv_tagging *predicted, const int64_t *first,
                             int64_t sentences, clv_span_result *out)
{
    CLV_CHECK(truth && predicted && first && out && sentences >= 0, CLV_ERR_INVALID,
              "clv_spans_measure: an argument is NULL");
    *out = (clv_span_result) { .words = 0 };
    side t, p;
    int64_t same = 0;
    CLV_TRY(understand(truth, out, &t));
    CLV_TRY(understand(predicted, out, &p));
    for (int64_t s = 0; s < sentences; s++) {
        CLV_CHECK(first[s] >= 0 && first[s] <= first[s + 1], CLV_ERR_INVALID,
                  "spans: sentence %" PRId64 " goes from word %" PRId64 " to %" PRId64, s, first[s], first[s + 1]);
        CLV_TRY(walk(&t, &p, first[s], first[s + 1], &same, out));
        out->words += first[s + 1] - first[s];
    }
    for (int64_t i = 0; i < out->types; i++) {
        clv_span_counts *c = &out->type[i].counts;
        conclude(c);
        out->all.predicted += c->predicted;
        out->all.present += c->present;
        out->all.right += c->right;
    }
    conclude(&out->all);
    out->accuracy = percent(same, out->words);
    sort_types(out);
    return CLV_OK;
}
