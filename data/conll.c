/* conll.c: tagged text as the shared tasks of CoNLL have it: a word a line, the tag last, an empty line between sentences.
 * The file is read whole and cut in place: words are pointers into it. */
#include <cleave/text.h>
#include "core/checked.h"
#include "core/context.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>

struct clv_corpus {
    clv_context    *ctx;
    clv_corpus_info info;
    char           *path;
    uint8_t        *bytes;
    const char    **word, **tag_name;
    int64_t        *tag, *first;
};

/* The line at work. */
typedef struct reader {
    clv_corpus *corpus;
    int64_t     number;        /* from 1 */
    bool        inside;        /* a sentence has begun */
} reader;

/* Room for every line that is not empty: each is a word, or an error. */
static int64_t count_words(const uint8_t *bytes, size_t size)
{
    int64_t n = 0;
    bool blank = true;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') blank = true;
        else if (blank && bytes[i] != ' ' && bytes[i] != '\t' && bytes[i] != '\r') {
            blank = false;
            n++;
        }
    }
    return n;
}

static clv_status check_tag(const reader *r, const char *tag)
{
    const char *path = r->corpus->path;
    const size_t length = strlen(tag);
    if (!strcmp(tag, "O")) return CLV_OK;
    CLV_CHECK((tag[0] == 'B' || tag[0] == 'I') && tag[1] == '-' && tag[2], CLV_ERR_FORMAT,
              "'%s', line %" PRId64 ": the tag '%.64s' is neither O nor B-TYPE nor I-TYPE", path, r->number, tag);
    CLV_CHECK(length < CLV_TEXT_MAX_TAG, CLV_ERR_FORMAT,
              "'%s', line %" PRId64 ": the tag '%.64s...' has more than %d bytes", path, r->number, tag,
              CLV_TEXT_MAX_TAG - 1);
    CLV_CHECK(strspn(tag, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/+-") == length,
              CLV_ERR_FORMAT, "'%s', line %" PRId64 ": the tag '%s' has a byte that is none of A-Z a-z 0-9 _ . : / + -",
              path, r->number, tag);
    return CLV_OK;
}

/* The number of a tag among those seen so far: the order they came in, until sort_tags. */
static clv_status find_tag(const reader *r, const char *tag, int64_t *out)
{
    clv_corpus *c = r->corpus;
    for (*out = 0; *out < c->info.tags; ++*out)
        if (!strcmp(c->tag_name[*out], tag)) return CLV_OK;
    CLV_CHECK(c->info.tags < CLV_TEXT_MAX_TAGS, CLV_ERR_FORMAT, "'%s', line %" PRId64 ": more than %d different tags",
              c->path, r->number, CLV_TEXT_MAX_TAGS);
    c->tag_name[c->info.tags++] = tag;
    return CLV_OK;
}

/* A line that is not empty, without white space at its ends: the word before the first separator, the tag after the
 * last one. */
static clv_status take_word(reader *r, char *line)
{
    clv_corpus *c = r->corpus;
    const char separator = strchr(line, '\t') ? '\t' : ' ';
    char *end = strchr(line, separator), *tag = strrchr(line, separator);
    CLV_CHECK(end, CLV_ERR_FORMAT, "'%s', line %" PRId64 ": expected a word and its tag, got one column: '%.64s'",
              c->path, r->number, line);
    while (end > line && end[-1] == ' ') end--;            /* "word  <tab>" */
    *end = 0;
    tag++;
    tag += strspn(tag, " ");
    CLV_TRY(check_tag(r, tag));
    if (!r->inside) c->first[c->info.sentences++] = c->info.words;
    r->inside = true;
    c->word[c->info.words] = line;
    CLV_TRY(find_tag(r, tag, &c->tag[c->info.words]));
    c->info.words++;
    return CLV_OK;
}

static clv_status take_line(reader *r, char *line, size_t length)
{
    const char *path = r->corpus->path;
    r->number++;
    CLV_CHECK(length <= CLV_TEXT_MAX_LINE, CLV_ERR_FORMAT,
              "'%s', line %" PRId64 " has %zu bytes, more than %d: is it a file of words and tags?", path, r->number,
              length, CLV_TEXT_MAX_LINE);
    CLV_CHECK(!memchr(line, 0, length), CLV_ERR_FORMAT, "'%s', line %" PRId64 " has a byte 0: it is no text", path,
              r->number);
    line[length] = 0;
    while (length > 0 && strchr(" \t\r", line[length - 1])) line[--length] = 0;
    line += strspn(line, " \t");
    if (line[0]) return take_word(r, line);
    r->inside = false;
    return CLV_OK;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Numbers of tags that do not depend on the order of the sentences. */
static void sort_tags(clv_corpus *c)
{
    const char *before[CLV_TEXT_MAX_TAGS];
    int64_t now[CLV_TEXT_MAX_TAGS];
    memcpy(before, c->tag_name, (size_t)c->info.tags * sizeof *before);
    qsort(c->tag_name, (size_t)c->info.tags, sizeof *c->tag_name, by_name);
    for (int64_t i = 0; i < c->info.tags; i++)
        for (now[i] = 0; c->tag_name[now[i]] != before[i];) now[i]++;
    for (int64_t w = 0; w < c->info.words; w++) c->tag[w] = now[c->tag[w]];
}

static clv_status read_corpus(clv_corpus *c)
{
    size_t size = 0;
    CLV_TRY(clvi_file_read(c->ctx, c->path, (size_t)CLV_TEXT_MAX_BYTES, &c->bytes, &size));
    const size_t room = (size_t)count_words(c->bytes, size);
    CLV_CHECK(room > 0, CLV_ERR_FORMAT, "'%s' has no words: expected a word and its tag a line", c->path);
    c->word = clvi_calloc(c->ctx, room, sizeof *c->word);
    c->tag = clvi_calloc(c->ctx, room, sizeof *c->tag);
    c->first = clvi_calloc(c->ctx, room + 1, sizeof *c->first);
    c->tag_name = clvi_calloc(c->ctx, CLV_TEXT_MAX_TAGS, sizeof *c->tag_name);
    if (!c->word || !c->tag || !c->first || !c->tag_name) return CLV_ERR_NOMEM;
    reader r = { .corpus = c };
    for (size_t at = 0; at < size;) {
        char *line = (char *)c->bytes + at;                /* a 0 follows the last one */
        const char *end = memchr(line, '\n', size - at);
        const size_t length = end ? (size_t)(end - line) : size - at;
        CLV_TRY(take_line(&r, line, length));
        at += length + 1;
    }
    c->first[c->info.sentences] = c->info.words;
    sort_tags(c);
    return CLV_OK;
}

clv_status clv_corpus_open(clv_context *ctx, const char *path, clv_corpus **out)
{
    CLV_CHECK(ctx && path && out, CLV_ERR_INVALID, "clv_corpus_open: an argument is NULL");
    *out = NULL;
    clv_corpus *c = clvi_calloc(ctx, 1, sizeof *c);
    if (!c) return CLV_ERR_NOMEM;
    c->ctx = ctx;
    c->path = clvi_strdup(ctx, path);
    const clv_status st = c->path ? read_corpus(c) : CLV_ERR_NOMEM;
    if (st != CLV_OK) {
        clv_corpus_destroy(c);
        return st;
    }
    c->info.path = c->path;
    c->info.word = c->word;
    c->info.tag = c->tag;
    c->info.first = c->first;
    c->info.tag_name = c->tag_name;
    *out = c;
    return CLV_OK;
}

void clv_corpus_destroy(clv_corpus *c)
{
    if (!c) return;
    clvi_free(c->ctx, c->word);
    clvi_free(c->ctx, c->tag);
    clvi_free(c->ctx, c->first);
    clvi_free(c->ctx, c->tag_name);
    clvi_free(c->ctx, c->bytes);
    clvi_free(c->ctx, c->path);
    clvi_free(c->ctx, c);
}

void clv_corpus_describe(const clv_corpus *c, clv_corpus_info *out)
{
    *out = c->info;
}
