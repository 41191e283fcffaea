/* read_list.c: a text file that lists pictures, a path a line, each with its class or none with any:
 *
 *     #root ../imagenet
 *     train/cat/1.jpg<tab>cat
 *
 * Every line is checked when the set is opened; the files are looked at when they are read. */
#include "data/dataset.h"
#include "core/checked.h"
#include "data/decode.h"
#include "data/parse.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define LIST_LIMIT ((size_t)1 << 30)   /* bytes of the file */
#define LINE_LIMIT 4096
#define BOM        "\xef\xbb\xbf"

/* ---- lines ---- */

typedef struct reading {
    const char     *path;
    clv_context    *ctx;
    clvi_file_list *list;
    int64_t         line, room, first_line;   /* first_line: of the first picture, for messages */
} reading;

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r", text[n - 1])) text[--n] = 0;
    return text;
}

/* Cuts a line into path and class, "" when there is none: at the tab or, without any, before the last word, unless the
 * line ends as a picture's name does. */
static clv_status cut(const reading *r, char *line, char **path, char **class)
{
    char *tab = strchr(line, '\t');
    *class = line + strlen(line);
    if (tab) {
        CLV_CHECK(!strchr(tab + 1, '\t'), CLV_ERR_FORMAT, "'%s', line %" PRId64 ": more than two columns", r->path,
                  r->line);
        *tab = 0;
        *class = trim(tab + 1);
    } else if (clvi_image_name_kind(line) == CLVI_NAME_OTHER && strrchr(line, ' ')) {
        *class = strrchr(line, ' ');
        *(*class)++ = 0;
    }
    *path = trim(line);
    return CLV_OK;
}

static clv_status check_path(const reading *r, const char *path)
{
    const clvi_image_name kind = clvi_image_name_kind(path);
    CLV_CHECK(kind != CLVI_NAME_REFUSED, CLV_ERR_UNSUPPORTED,
              "'%s', line %" PRId64 ": '%.200s': pictures of this kind are not read; convert it to PNG or JPEG",
              r->path, r->line, path);
    CLV_CHECK(kind == CLVI_NAME_DECODABLE, CLV_ERR_FORMAT,
              "'%s', line %" PRId64 ": '%.200s' is no path to a picture (.jpg, .jpeg, .png)", r->path, r->line, path);
    return CLV_OK;
}

/* All have a class or none has. */
static clv_status check_class(reading *r, const char *class)
{
    clvi_file_list *l = r->list;
    if (l->count == 0) {
        r->first_line = r->line;
        l->classes = *class != 0;
    }
    CLV_CHECK((*class != 0) == l->classes, CLV_ERR_FORMAT,
              "'%s', line %" PRId64 ": %s class, but line %" PRId64 " has %s; all lines have one or none has", r->path,
              r->line, *class ? "has a" : "has no", r->first_line, *class ? "none" : "one");
    return CLV_OK;
}

static clv_status add(reading *r, const char *path, const char *class)
{
    clvi_file_list *l = r->list;
    if (l->count == r->room) {
        r->room = 2 * r->room + 1024;
        clvi_file_entry *entry = clvi_realloc(r->ctx, l->entry, (size_t)r->room * sizeof *entry);
        if (!entry) return CLV_ERR_NOMEM;
        l->entry = entry;
    }
    l->entry[l->count++] = (clvi_file_entry){ path - l->text, class - l->text, r->line };
    return CLV_OK;
}

static clv_status take_line(reading *r, char *line)
{
    char *path = NULL, *class = NULL;
    line = trim(line);
    if (!*line) return CLV_OK;
    if (strncmp(line, "#root", 5) == 0 && (line[5] == ' ' || line[5] == '\t')) {
        CLV_CHECK(r->list->count == 0 && r->list->root < 0, CLV_ERR_FORMAT,
                  "'%s', line %" PRId64 ": #root stands once, before the first picture", r->path, r->line);
        r->list->root = trim(line + 6) - r->list->text;
        return CLV_OK;
    }
    if (*line == '#') return CLV_OK;
    CLV_TRY(cut(r, line, &path, &class));
    CLV_TRY(check_path(r, path));
    CLV_TRY(check_class(r, class));
    return add(r, path, class);
}

clv_status clvi_list_parse(clv_context *ctx, const char *path, char *text, size_t size, clvi_file_list *out)
{
    reading r = { .path = path, .ctx = ctx, .list = out };
    *out = (clvi_file_list){ .text = text, .root = -1 };
    char *at = strncmp(text, BOM, 3) == 0 ? text + 3 : text, *end = text + size;
    while (at < end) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;   /* where there is room for a 0 */
        r.line++;
        CLV_CHECK(stop - at <= LINE_LIMIT, CLV_ERR_FORMAT, "'%s', line %" PRId64 ": has more than %d bytes", path,
                  r.line, LINE_LIMIT);
        CLV_CHECK(!memchr(at, 0, (size_t)(stop - at)), CLV_ERR_FORMAT, "'%s', line %" PRId64 ": holds a byte 0", path,
                  r.line);
        *stop = 0;
        CLV_TRY(take_line(&r, at));
        at = stop + 1;
    }
    CLV_CHECK(out->count > 0, CLV_ERR_FORMAT, "'%s' lists no picture", path);
    return CLV_OK;
}

/* ---- classes ---- */

static bool is_number(const char *text)
{
    text += *text == '-';
    return *text && strspn(text, "0123456789") == strlen(text);
}

static bool all_numbers(const clvi_file_list *l)
{
    for (int64_t i = 0; i < l->count; i++)
        if (!is_number(l->text + l->entry[i].class)) return false;
    return true;
}

static clv_status number_classes(const char *path, const clvi_file_list *l, int64_t *labels)
{
    for (int64_t i = 0; i < l->count; i++) {
        const char *text = l->text + l->entry[i].class;
        const long value = strlen(text) <= 10 ? strtol(text, NULL, 10) : LONG_MAX;
        CLV_CHECK(value >= -1 && value < CLVI_DATA_MAX_CLASSES, CLV_ERR_FORMAT,
                  "'%s', line %" PRId64 ": the class %.40s is not -1 (not known) to %d", path, l->entry[i].line, text,
                  CLVI_DATA_MAX_CLASSES - 1);
        labels[i] = value;
    }
    return CLV_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names there are, in order, in ds->owned[slot]. */
static clv_status name_classes(clv_dataset *ds, const clvi_file_list *l, int64_t *labels, int slot)
{
    const char **names = ds->owned[slot] = clvi_calloc(ds->ctx, (size_t)l->count, sizeof *names);
    int64_t n = 0;
    if (!names) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < l->count; i++) names[i] = l->text + l->entry[i].class;
    qsort(names, (size_t)l->count, sizeof *names, by_text);
    for (int64_t i = 0; i < l->count; i++)
        if (n == 0 || strcmp(names[i], names[n - 1]) != 0) names[n++] = names[i];
    CLV_CHECK(n <= CLVI_DATA_MAX_CLASSES, CLV_ERR_FORMAT, "'%s' has %" PRId64 " classes; the limit is %d", ds->path, n,
              CLVI_DATA_MAX_CLASSES);
    for (int64_t i = 0; i < l->count; i++) {
        const char *name = l->text + l->entry[i].class;
        labels[i] = (const char **)bsearch(&name, names, (size_t)n, sizeof *names, by_text) - names;
    }
    ds->class_names = names;
    ds->info.classes = n;
    return CLV_OK;
}

static clv_status take_classes(clv_dataset *ds, const clvi_file_list *l)
{
    if (!l->classes) return CLV_OK;
    int64_t *labels = ds->owned[2] = clvi_calloc(ds->ctx, (size_t)l->count, sizeof *labels);
    if (!labels) return CLV_ERR_NOMEM;
    CLV_TRY(all_numbers(l) ? number_classes(ds->path, l, labels) : name_classes(ds, l, labels, 3));
    return clvi_dataset_set_labels(ds, labels);
}

/* ---- the set ---- */

/* What paths are relative to: the list's folder, or the root it names, which is relative to that. */
static clv_status take_root(clv_dataset *ds, const clvi_file_list *l)
{
    const char *slash = strrchr(ds->path, '/'), *named = l->root >= 0 ? l->text + l->root : "";
    const int folder = slash ? (int)CLVI_MAX(slash - ds->path, 1) : 0;
    char root[PATH_MAX];
    int n = 0;
    if (named[0] == '/') n = snprintf(root, sizeof root, "%s", named);
    else n = snprintf(root, sizeof root, "%.*s%s%s", CLVI_MAX(folder, 1), folder ? ds->path : ".", named[0] ? "/" : "",
                      named);
    CLV_CHECK(n > 0 && (size_t)n < sizeof root, CLV_ERR_FORMAT, "'%s': the path to its root is too long", ds->path);
    ds->owned[1] = clvi_strdup(ds->ctx, root);
    ds->file_root = ds->owned[1];
    return ds->owned[1] ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status take_files(clv_dataset *ds, const clvi_file_list *l)
{
    const size_t room = CLVI_DATA_MAX_LOCATION - strlen(ds->file_root) - 2;   /* a root is shorter than a path may be */
    int64_t *at = ds->owned[4] = ds->file_at = clvi_calloc(ds->ctx, (size_t)l->count, sizeof *at);
    if (!at) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < l->count; i++) {
        at[i] = l->entry[i].path;
        CLV_CHECK(strlen(l->text + at[i]) < room, CLV_ERR_FORMAT, "'%s', line %" PRId64 ": the path is too long",
                  ds->path, l->entry[i].line);
    }
    ds->file_text = l->text;
    ds->info.count = l->count;
    ds->info.channels = 3;
    return CLV_OK;
}

static clv_status open_list(clv_dataset *ds, const char *wanted)
{
    const clv_dataset_splits none = { 0 };
    const char *split = NULL;
    clvi_file_list l = { 0 };
    uint8_t *text = NULL;
    size_t size = 0;
    CLV_TRY(clvi_choose_split(&none, ds->path, wanted, &split));
    CLV_TRY(clvi_file_read(ds->ctx, ds->path, LIST_LIMIT, &text, &size));
    ds->owned[0] = text;
    clv_status st = clvi_list_parse(ds->ctx, ds->path, (char *)text, size, &l);
    if (st == CLV_OK) st = take_root(ds, &l);
    if (st == CLV_OK) st = take_files(ds, &l);
    if (st == CLV_OK) st = take_classes(ds, &l);
    clvi_free(ds->ctx, l.entry);
    return st;
}

static clv_status splits(clv_context *ctx, const char *path, clv_dataset_splits *out)
{
    (void)ctx, (void)path, (void)out;
    return CLV_OK;
}

static bool probe(const char *path)
{
    static const char *const endings[] = { ".txt", ".tsv", ".lst", ".list" };
    struct stat info;
    const char *dot = strrchr(path, '.');
    if (!dot || stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return false;
    for (size_t i = 0; i < CLVI_COUNT(endings); i++)
        if (strcasecmp(dot, endings[i]) == 0) return true;
    return false;
}

const clvi_reader clvi_reader_list = {
    .name = "list",
    .summary = "a text file: a path to a JPEG or PNG file a line, with its class or without",
    .source = "docs/formats.md",
    .probe = probe, .open = open_list, .splits = splits,
};
