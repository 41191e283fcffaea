/* text.h: sentences of words with tags from files nobody trusts. File layout: docs/formats.md. */
#ifndef CLEAVE_TEXT_H
#define CLEAVE_TEXT_H

#include <cleave/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLV_TEXT_MAX_BYTES (INT64_C(256) << 20)   /* of a file */
#define CLV_TEXT_MAX_LINE  4096                   /* bytes of a line, its end left out */
#define CLV_TEXT_MAX_TAG   64                     /* bytes of a tag */
#define CLV_TEXT_MAX_TAGS  256                    /* different ones */

/* Sentences of words, each with a tag. Read-only once opened. Threads: all functions below may be called from several
 * threads at once on one corpus, except destroy. */
typedef struct clv_corpus clv_corpus;

/* What points somewhere points into the corpus. */
typedef struct clv_corpus_info {
    const char        *path;                  /* as opened */
    int64_t            words, sentences;      /* at least one of each */
    const char *const *word;                  /* [words]: without tabs and line ends, ending with 0 */
    const int64_t     *tag;                   /* [words]: below tags */
    const int64_t     *first;                 /* [sentences + 1]: first word of each sentence, and `words` */
    int64_t            tags;
    const char *const *tag_name;              /* [tags], in the order of strcmp: "B-person", ..., "O" */
} clv_corpus_info;

/* Opens a file of a word a line, its first column, with the tag in the last one; columns are separated by tabs or, in a
 * line without any, by spaces; empty lines separate sentences. Tags are those of IOB2: O, B-TYPE, I-TYPE; an I- that
 * continues nothing is kept as it is.
 *
 * Errors: CLV_ERR_IO if the file cannot be read; CLV_ERR_FORMAT, naming file and line: only one column, a tag of another
 * form, a line that is too long, a byte 0; a file without words, with too many different tags, or larger than
 * CLV_TEXT_MAX_BYTES; CLV_ERR_INVALID; CLV_ERR_NOMEM. *out is NULL on error. */
CLV_API clv_status clv_corpus_open(clv_context *ctx, const char *path, clv_corpus **out) CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_corpus_destroy(clv_corpus *corpus);
CLV_API void clv_corpus_describe(const clv_corpus *corpus, clv_corpus_info *out);

#ifdef __cplusplus
}
#endif
#endif
