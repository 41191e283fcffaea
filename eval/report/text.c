/* text.c: a growing text with what HTML asks for. */
#include "eval/report/text.h"
#include "core/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_LIMIT ((size_t)1 << 30)

void clvi_text_free(clvi_text *text)
{
    clvi_free(text->ctx, text->bytes);
    *text = (clvi_text){ .ctx = text->ctx };
}

/* Room for `more` bytes and the 0. */
static bool reserve(clvi_text *text, size_t more)
{
    if (text->status != CLV_OK) return false;
    if (more >= TEXT_LIMIT - text->size) {
        text->status = clvi_fail(CLV_ERR_UNSUPPORTED, "the text is longer than %zu bytes", TEXT_LIMIT);
        return false;
    }
    if (text->size + more < text->capacity) return true;
    const size_t capacity = 2 * (text->size + more) + 256;
    char *grown = clvi_realloc(text->ctx, text->bytes, capacity);
    if (!grown) {
        text->status = CLV_ERR_NOMEM;
        return false;
    }
    text->bytes = grown;
    text->capacity = capacity;
    return true;
}

void clvi_text_put_bytes(clvi_text *text, const char *bytes, size_t size)
{
    if (!reserve(text, size)) return;
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    text->bytes[text->size] = 0;
}

void clvi_text_put(clvi_text *text, const char *literal)
{
    clvi_text_put_bytes(text, literal, strlen(literal));
}

void clvi_text_print(clvi_text *text, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line) {
        if (text->status == CLV_OK)
            text->status = clvi_fail(CLV_ERR_INTERNAL, "a piece of the report is longer than %zu bytes", sizeof line);
        return;
    }
    clvi_text_put_bytes(text, line, (size_t)n);
}

/* Length of the UTF-8 sequence at p, or 0 when there is none. Overlong forms and surrogates are none. */
static size_t utf8_length(const unsigned char *p)
{
    const size_t length = p[0] < 0x80                   ? 1
                          : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                          : (p[0] & 0xf0) == 0xe0       ? 3
                          : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                        : 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0; /* the final 0 ends this, too */
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0;
    if (p[0] == 0xed && p[1] >= 0xa0) return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] >= 0x90) return 0;
    return length;
}

/* What stands for a character with a meaning of its own, or NULL. */
static const char *entity(unsigned char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    case '\n':
    case '\t': return NULL;
    default: return c < 0x20 || c == 0x7f ? "&#xfffd;" : NULL;
    }
}

void clvi_text_escape(clvi_text *text, const char *untrusted)
{
    for (const unsigned char *p = (const unsigned char *)untrusted; *p;) {
        const size_t length = utf8_length(p);
        const char *instead = length == 0 ? "&#xfffd;" : entity(*p);
        if (instead) clvi_text_put(text, instead);
        if (!instead) clvi_text_put_bytes(text, (const char *)p, length);
        p += CLVI_MAX(length, (size_t)1);
    }
}

void clvi_text_base64(clvi_text *text, const uint8_t *bytes, size_t size)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (size > TEXT_LIMIT || !reserve(text, (size + 2) / 3 * 4)) return;
    char *out = text->bytes + text->size;
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        *out++ = digit[three >> 18];
        *out++ = digit[three >> 12 & 63];
        *out++ = left > 1 ? digit[three >> 6 & 63] : '=';
        *out++ = left > 2 ? digit[three & 63] : '=';
    }
    *out = 0;
    text->size = (size_t)(out - text->bytes);
}
