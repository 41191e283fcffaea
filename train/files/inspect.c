/* inspect.c: what is in a file Cleave wrote, for a person to read. The file may be anybody's, so it is read in a child
 * process, which hands over lines. */
#include <cleave/train.h>
#include "core/h5.h"
#include "core/isolate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_LINES_SIZE ((size_t)64 << 20)

typedef struct printer {
    FILE *out;
} printer;

static void say(const printer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const printer *p, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';      /* a terminal obeys control characters */
    fputs(text, p->out);
    fputc('\n', p->out);
}

/* Text of several lines, each indented. */
static void say_text(const printer *p, const char *name, const char *value)
{
    if (!strchr(value, '\n')) {
        say(p, "  %s: %s", name, value);
        return;
    }
    say(p, "  %s:", name);
    while (*value) {
        const size_t length = strcspn(value, "\n");
        say(p, "    %.*s", (int)length, value);
        value += length + (value[length] == '\n');
    }
}

static clv_status say_attribute(clv_context *ctx, clvi_h5 *h5, const char *object, const char *name, const printer *p)
{
    clv_dtype dtype;
    int64_t count = 0;
    CLV_TRY(clvi_h5_attr_stat(h5, object, name, &dtype, &count));
    if (count != 1) {
        say(p, "  %s: %" PRId64 " %s", name, count, dtype == CLV_U8 ? "strings" : "numbers");
        return CLV_OK;
    }
    char *text = NULL;
    double real = 0.0;
    int64_t integer = 0;
    switch (dtype) {
    case CLV_U8:
        CLV_TRY(clvi_h5_attr_text(h5, object, name, &text));
        say_text(p, name, text);
        clvi_free(ctx, text);
        return CLV_OK;
    case CLV_I64:
        CLV_TRY(clvi_h5_attr_i64(h5, object, name, &integer));
        say(p, "  %s: %" PRId64, name, integer);
        return CLV_OK;
    default:
        CLV_TRY(clvi_h5_attr_f64(h5, object, name, &real));
        say(p, "  %s: %.9g", name, real);
        return CLV_OK;
    }
}

static void say_dataset(const printer *p, const char *name, const clvi_h5_info *info)
{
    char shape[160] = "";
    size_t n = 0;
    for (int d = 0; d < info->ndim && n < sizeof shape; d++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%" PRId64, d ? " x " : "", info->shape[d]);
    say(p, "  %s: %s [%s]%s", name, clv_dtype_name(info->dtype), shape, info->offset >= 0 ? "" : " (chunked)");
}

#define MAX_DEPTH 8

static clv_status say_group(clv_context *ctx, clvi_h5 *h5, const char *group, int depth, const printer *p)
{
    int64_t count = 0;
    char **names = NULL;
    clv_status st = CLV_OK;
    say(p, "%s", group[0] ? group : "/");
    CLV_TRY_OR_DONE(clvi_h5_list(h5, group[0] ? group : "/", true, &count, &names));
    for (int64_t i = 0; i < count; i++)
        CLV_TRY_OR_DONE(say_attribute(ctx, h5, group[0] ? group : "/", names[i], p));
    clvi_free(ctx, names);
    names = NULL;
    CLV_TRY_OR_DONE(clvi_h5_list(h5, group[0] ? group : "/", false, &count, &names));
    for (int64_t i = 0; i < count; i++) {
        char path[512];
        clvi_h5_info info;
        snprintf(path, sizeof path, "%s%s%s", group, group[0] ? "/" : "", names[i]);
        if (clvi_h5_stat(h5, path, &info) == CLV_OK) say_dataset(p, path, &info);
        else if (depth < MAX_DEPTH) CLV_TRY_OR_DONE(say_group(ctx, h5, path, depth + 1, p));
    }
done:
    clvi_free(ctx, names);
    return st;
}

static clv_status inspect_in_child(clv_context *ctx, void *arg, int fd)
{
    const char *path = arg;
    const printer p = { fdopen(fd, "w") };
    CLV_CHECK(p.out, CLV_ERR_IO, "inspect: %s", strerror(errno));
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_open(ctx, path, &h5));
    say(&p, "%s: HDF5, %s", path, clvi_h5_sealed(h5) ? "sealed, checksum right" : "not sealed");
    const clv_status st = say_group(ctx, h5, "", 0, &p);
    clvi_h5_close(h5);
    CLV_CHECK(fflush(p.out) == 0, CLV_ERR_IO, "inspect: %s", strerror(errno));
    return st;
}

clv_status clv_inspect(clv_context *ctx, const char *path, void (*line)(const char *text, void *user), void *user)
{
    CLV_CHECK(ctx && path && line, CLV_ERR_INVALID, "clv_inspect: an argument is NULL");
    clvi_map lines = { NULL, 0 };
    CLV_TRY(clvi_isolate(path, inspect_in_child, (void *)path, &lines));
    for (size_t at = 0; at < lines.size && at < MAX_LINES_SIZE;) {
        const uint8_t *end = memchr(lines.data + at, '\n', lines.size - at);
        const size_t length = (end ? (size_t)(end - lines.data) : lines.size) - at;
        char text[4096];
        snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1),
                 (const char *)lines.data + at);
        line(text, user);
        at += length + 1;
    }
    clvi_map_close(&lines);
    return CLV_OK;
}
