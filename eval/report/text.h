/* text.h: a growing text with what HTML asks for: escaping and base64. */
#ifndef CLVI_EVAL_REPORT_TEXT_H
#define CLVI_EVAL_REPORT_TEXT_H

#include "core/context.h"

/* The first failure is kept and later calls do nothing, so that a page is written without a check on every line. */
typedef struct clvi_text {
    clv_context *ctx;
    char        *bytes;       /* NULL or size bytes and a 0 */
    size_t       size, capacity;
    clv_status   status;
} clvi_text;

void clvi_text_free(clvi_text *text);

void clvi_text_put(clvi_text *text, const char *literal);
void clvi_text_put_bytes(clvi_text *text, const char *bytes, size_t size);
void clvi_text_print(clvi_text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Text from anywhere, for the inside of elements and of attributes in double quotes. Bytes that are not UTF-8 and
 * control characters become U+FFFD. */
void clvi_text_escape(clvi_text *text, const char *untrusted);

void clvi_text_base64(clvi_text *text, const uint8_t *bytes, size_t size);

#endif
