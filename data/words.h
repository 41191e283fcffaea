/* words.h: the words of a corpus as numbers, and batches of them. A sample is one word, seen through a window of its
 * sentence: `context` words on either side, FEATURES numbers each, which are rows of a table. There is no vocabulary: what
 * is said of a word is hashed to a row (Weinberger et al. 2009, arXiv:0902.2206), and a row that training never met
 * stays what it was. */
#ifndef CLVI_DATA_WORDS_H
#define CLVI_DATA_WORDS_H

#include <cleave/data.h>
#include <cleave/text.h>

/* Of a word, letters A-Z made small: itself; its first one, two and three characters; its last ones; and the shape of what
 * is written: A for a run of capitals, a for one of other letters, 0 for one of digits, everything else as it is. */
enum { CLVI_WORD_FEATURES = 8, CLVI_MAX_CONTEXT = 16 };

typedef struct clvi_words_desc {
    int64_t  context;        /* 0..CLVI_MAX_CONTEXT */
    int64_t  rows;           /* of the table */
    int64_t  batch_size;     /* words of a batch on this rank */
    double   drop;           /* probability that a batch leaves a feature of a word out */
    uint64_t seed;
    int      rank, ranks;    /* as in clv_loader_desc */
} clvi_words_desc;

typedef struct clvi_words clvi_words;

/* The corpus is borrowed. Memory: CLVI_WORD_FEATURES int32 a word, and one batch. */
clv_status clvi_words_create(clv_context *ctx, const clv_corpus *corpus, const clvi_words_desc *desc,
                             clvi_words **out) CLV_NODISCARD;
void clvi_words_destroy(clvi_words *w);
/* Numbers of a sample: (2 context + 1) CLVI_WORD_FEATURES. */
int64_t clvi_words_width(const clvi_words *w);

/* Numbers of words first.. in the order of the corpus, nothing dropped: int64 [count, width], -1 for no row (beyond the
 * sentence, beyond the corpus, or a word too short for the feature). */
void clvi_words_fill(const clvi_words *w, int64_t first, int64_t count, int64_t *out);

/* As the functions of clv_loader: every epoch all words in another order, an incomplete last batch left out. The one
 * view of a batch is int64 [batch_size, width]; labels are tags. */
void clvi_words_next(clvi_words *w, clv_batch *out);
clv_status clvi_words_seek(clvi_words *w, uint32_t epoch, int64_t step) CLV_NODISCARD;
int64_t clvi_words_steps_per_epoch(const clvi_words *w);
size_t clvi_words_memory(const clvi_words *w);

#endif
