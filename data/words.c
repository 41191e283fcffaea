/* words.c: features of words, windows of sentences, and batches in a seeded order. */
#include "data/words.h"
#include "core/checked.h"
#include "core/context.h"
#include "core/rng.h"

#include <string.h>

struct clvi_words {
    clv_context    *ctx;
    clv_corpus_info info;
    clvi_words_desc desc;
    int32_t        *feature;          /* [words, FEATURES] */
    int32_t        *sentence;         /* [words] */
    int64_t         steps, epoch, step;
    clv_view        view;             /* of the batch */
    int64_t        *labels, *ids;
};

/* ---- features ---- */

/* FNV-1a, begun at another place for each kind of feature. */
static int32_t row_of(const clvi_words *w, int kind, const char *text, size_t size)
{
    uint64_t h = UINT64_C(14695981039346656037) ^ (uint64_t)kind;
    h *= UINT64_C(1099511628211);
    for (size_t i = 0; i < size; i++) h = (h ^ (uint8_t)text[i]) * UINT64_C(1099511628211);
    return (int32_t)((h ^ h >> 32) % (uint64_t)w->desc.rows);
}

static bool continues(char c)
{
    return ((uint8_t)c & 0xc0) == 0x80;                    /* a further byte of a character in UTF-8 */
}

static char kind_of(char c)
{
    if (c >= 'A' && c <= 'Z') return 'A';
    if ((c >= 'a' && c <= 'z') || (uint8_t)c >= 0x80) return 'a';
    return c >= '0' && c <= '9' ? '0' : c;
}

static size_t shape_of(const char *word, size_t size, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        const char kind = kind_of(word[i]);
        const bool run = kind == 'A' || kind == 'a' || kind == '0';
        if (!run || n == 0 || out[n - 1] != kind) out[n++] = kind;
    }
    return n;
}

static void describe(const clvi_words *w, const char *word, int32_t *out)
{
    char text[CLV_TEXT_MAX_LINE];
    const size_t size = CLVI_MIN(strlen(word), sizeof text);
    *out++ = row_of(w, 1, text, shape_of(word, size, text));
    for (size_t i = 0; i < size; i++) text[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] + 32) : word[i];
    *out++ = row_of(w, 0, text, size);
    size_t head = 0, tail = size;
    for (int k = 1; k <= 3; k++) {                         /* no row once that would be all of it */
        if (head < size) head++;
        while (head < size && continues(text[head])) head++;
        if (tail > 0) tail--;
        while (tail > 0 && continues(text[tail])) tail--;
        *out++ = head < size ? row_of(w, 2 * k, text, head) : -1;
        *out++ = head < size ? row_of(w, 2 * k + 1, text + tail, size - tail) : -1;
    }
}

static void describe_all(clvi_words *w)
{
    for (int64_t s = 0; s < w->info.sentences; s++)
        for (int64_t i = w->info.first[s]; i < w->info.first[s + 1]; i++) {
            w->sentence[i] = (int32_t)s;
            describe(w, w->info.word[i], w->feature + i * CLVI_WORD_FEATURES);
        }
}

/* ---- making ---- */

static int64_t global_batch(const clvi_words *w)
{
    return w->desc.batch_size * CLVI_MAX(w->desc.ranks, 1);
}

clv_status clvi_words_create(clv_context *ctx, const clv_corpus *corpus, const clvi_words_desc *desc, clvi_words **out)
{
    *out = NULL;
    clvi_words *w = clvi_calloc(ctx, 1, sizeof *w);
    if (!w) return CLV_ERR_NOMEM;
    w->ctx = ctx;
    w->desc = *desc;
    clv_corpus_describe(corpus, &w->info);
    const size_t words = (size_t)w->info.words, batch = (size_t)desc->batch_size;
    w->steps = w->info.words / global_batch(w);
    w->feature = clvi_calloc(ctx, words * CLVI_WORD_FEATURES, sizeof *w->feature);
    w->sentence = clvi_calloc(ctx, words, sizeof *w->sentence);
    w->labels = clvi_calloc(ctx, batch, sizeof *w->labels);
    w->ids = clvi_calloc(ctx, batch, sizeof *w->ids);
    w->view = clv_view_2d(NULL, CLV_I64, desc->batch_size, clvi_words_width(w));
    w->view.data = clvi_calloc(ctx, (size_t)clv_view_count(&w->view), sizeof(int64_t));
    if (!w->feature || !w->sentence || !w->labels || !w->ids || !w->view.data) {
        clvi_words_destroy(w);
        return CLV_ERR_NOMEM;
    }
    describe_all(w);
    *out = w;
    return CLV_OK;
}

void clvi_words_destroy(clvi_words *w)
{
    if (!w) return;
    clvi_free(w->ctx, w->feature);
    clvi_free(w->ctx, w->sentence);
    clvi_free(w->ctx, w->labels);
    clvi_free(w->ctx, w->ids);
    clvi_free(w->ctx, w->view.data);
    clvi_free(w->ctx, w);
}

int64_t clvi_words_width(const clvi_words *w)
{
    return (2 * w->desc.context + 1) * CLVI_WORD_FEATURES;
}

size_t clvi_words_memory(const clvi_words *w)
{
    return (size_t)w->info.words * (CLVI_WORD_FEATURES + 1) * sizeof(int32_t) +
           (size_t)w->desc.batch_size * (size_t)(clvi_words_width(w) + 2) * sizeof(int64_t);
}

/* ---- windows ---- */

/* The word at a place of the window around word i, or -1. */
static int64_t neighbour(const clvi_words *w, int64_t i, int64_t offset)
{
    const int64_t j = i + offset;
    if (i >= w->info.words || j < 0 || j >= w->info.words) return -1;
    return w->sentence[j] == w->sentence[i] ? j : -1;
}

static void fill_window(const clvi_words *w, int64_t i, int64_t *out)
{
    for (int64_t offset = -w->desc.context; offset <= w->desc.context; offset++) {
        const int64_t j = neighbour(w, i, offset);
        for (int f = 0; f < CLVI_WORD_FEATURES; f++) *out++ = j < 0 ? -1 : w->feature[j * CLVI_WORD_FEATURES + f];
    }
}

void clvi_words_fill(const clvi_words *w, int64_t first, int64_t count, int64_t *out)
{
    for (int64_t i = 0; i < count; i++) fill_window(w, first + i, out + i * clvi_words_width(w));
}

static void drop(const clvi_words *w, int64_t i, int64_t *window)
{
    clvi_rng rng = clvi_rng_make(w->desc.seed, CLVI_RNG_WORD_DROP, (uint32_t)w->epoch, (uint64_t)i, 0);
    for (int64_t f = 0; w->desc.drop > 0 && f < clvi_words_width(w); f++)
        if (clvi_rng_f32(&rng) < (float)w->desc.drop) window[f] = -1;
}

/* ---- batches ---- */

int64_t clvi_words_steps_per_epoch(const clvi_words *w)
{
    return w->steps;
}

clv_status clvi_words_seek(clvi_words *w, uint32_t epoch, int64_t step)
{
    CLV_CHECK(step >= 0 && step < w->steps, CLV_ERR_INVALID, "step %" PRId64 ": an epoch of '%s' has %" PRId64, step,
              w->info.path, w->steps);
    w->epoch = epoch;
    w->step = step;
    return CLV_OK;
}

void clvi_words_next(clvi_words *w, clv_batch *out)
{
    const int64_t n = w->desc.batch_size, begin = w->step * global_batch(w) + w->desc.rank * n;
    int64_t *numbers = w->view.data;
    for (int64_t b = 0; b < n; b++) {
        const int64_t i = (int64_t)clvi_rng_permute(w->desc.seed, CLVI_RNG_ORDER, (uint32_t)w->epoch,
                                                    (uint64_t)w->info.words, (uint64_t)(begin + b));
        fill_window(w, i, numbers + b * clvi_words_width(w));
        drop(w, i, numbers + b * clvi_words_width(w));
        w->labels[b] = w->info.tag[i];
        w->ids[b] = i;
    }
    *out = (clv_batch) { .epoch = (uint32_t)w->epoch, .step = w->step, .count = n, .views = 1, .view = &w->view,
                         .labels = w->labels, .ids = w->ids };
    if (++w->step < w->steps) return;
    w->step = 0;
    w->epoch++;
}
