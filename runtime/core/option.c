/* option.c: text to fields of a params struct and back, as a table says. */
#include "core/option.h"
#include "core/checked.h"
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 64   /* longer names are not searched for near ones */

typedef union option_value {
    double      f64;
    int64_t     i64;
    bool        boolean;
    int         choice;
    const char *string;
} option_value;

/* ---- names ---- */

static char plain(char c)
{
    return c == '_' ? '-' : c;
}

static bool name_equal_n(const char *a, const char *b, size_t n)
{
    size_t i = 0;
    while (i < n && a[i] && plain(a[i]) == plain(b[i])) i++;
    return i == n;
}

bool clvi_name_equal(const char *a, const char *b)
{
    const size_t n = strlen(a);
    return n == strlen(b) && name_equal_n(a, b, n);
}

/* Damerau-Levenshtein (optimal string alignment): inserts, deletes, replacements and swaps of neighbours. */
static int edit_distance(const char *a, const char *b)
{
    int rows[3][MAX_NAME + 1] = { 0 };
    const int n = (int)strlen(a), m = (int)strlen(b);
    int *before = rows[0], *above = rows[1], *row = rows[2];
    for (int j = 0; j <= m; j++) above[j] = j;
    for (int i = 1; i <= n; i++) {
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            const bool same = plain(a[i - 1]) == plain(b[j - 1]);
            row[j] = CLVI_MIN(CLVI_MIN(above[j], row[j - 1]) + 1, above[j - 1] + !same);
            if (i > 1 && j > 1 && plain(a[i - 1]) == plain(b[j - 2]) && plain(a[i - 2]) == plain(b[j - 1]))
                row[j] = CLVI_MIN(row[j], before[j - 2] + 1);
        }
        int *const oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[m];
}

typedef struct nearest_name {
    const char *name;
    int         distance;
} nearest_name;

/* A name starts out wanting a candidate within a third of its length. */
static nearest_name nearest_begin(const char *name)
{
    return (nearest_name) { NULL, (int)CLVI_MIN(strlen(name), (size_t)MAX_NAME) / 3 + 2 };
}

static void nearest_offer(nearest_name *best, const char *name, const char *candidate)
{
    if (strlen(name) > MAX_NAME || strlen(candidate) > MAX_NAME) return;
    const int distance = edit_distance(name, candidate);
    if (distance >= best->distance || distance >= (int)strlen(candidate)) return;
    *best = (nearest_name) { candidate, distance };
}

const char *clv_nearest_name(const char *name, const char *const *candidates)
{
    nearest_name best = nearest_begin(name);
    for (; *candidates; candidates++) nearest_offer(&best, name, *candidates);
    return best.name;
}

/* ---- tables ---- */

int clvi_option_count(const clvi_option *table)
{
    int count = 0;
    while (table && table[count].info.name) count++;
    return count;
}

const clvi_option *clvi_option_find(const clvi_option *table, const char *name)
{
    for (; table && table->info.name; table++)
        if (clvi_name_equal(table->info.name, name)) return table;
    return NULL;
}

static clv_status fail_unknown(const clvi_option *table, const char *what, const char *name)
{
    nearest_name best = nearest_begin(name);
    char known[512] = "";
    size_t used = 0;
    for (const clvi_option *o = table; o && o->info.name; o++) {
        nearest_offer(&best, name, o->info.name);
        const int put = snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", o->info.name);
        used = CLVI_MIN(used + (size_t)CLVI_MAX(put, 0), sizeof known - 1);
    }
    if (best.name)
        return clvi_fail(CLV_ERR_INVALID, "%s: no option '%.64s'; did you mean '%s'?", what, name, best.name);
    return clvi_fail(CLV_ERR_INVALID, "%s: no option '%.64s'; %s%s", what, name, used ? "there are " : "it takes none",
                     known);
}

/* ---- parsing ---- */

/* Numbers are written with a point whatever the program's locale is. */
static locale_t enter_c_locale(void)
{
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);   /* glibc's static one: nothing is allocated */
    return c ? uselocale(c) : (locale_t)0;
}

static void leave_c_locale(locale_t before)
{
    if (before) (void)uselocale(before);
}

static bool parse_f64(const char *text, double *out)
{
    if (!*text || text[strspn(text, "0123456789+-.eE")]) return false;   /* no blanks, hexadecimals, inf or nan */
    const locale_t before = enter_c_locale();
    char *end;
    *out = strtod(text, &end);
    leave_c_locale(before);
    return *end == 0 && isfinite(*out);
}

static bool parse_i64(const char *text, int64_t *out)
{
    if (!*text || text[strspn(text, "0123456789+-")]) return false;
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *end == 0 && errno == 0;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[2][4] = { { "false", "no", "0", "off" }, { "true", "yes", "1", "on" } };
    for (int value = 0; value < 2; value++) {
        for (int i = 0; i < 4; i++) {
            if (strcmp(text, words[value][i]) != 0) continue;
            *out = value;
            return true;
        }
    }
    return false;
}

static bool parse_choice(const char *choices, const char *text, int *out)
{
    const size_t length = strlen(text);
    for (int index = 0; ; index++) {
        const size_t n = strcspn(choices, "|");
        if (n == length && name_equal_n(choices, text, n)) {
            *out = index;
            return true;
        }
        if (!choices[n]) return false;
        choices += n + 1;
    }
}

static clv_status parse_value(const clvi_option *o, const char *what, const char *text, option_value *out)
{
    const clv_option_info *info = &o->info;
    switch (info->type) {
    case CLV_OPTION_F64:
        CLV_CHECK(parse_f64(text, &out->f64), CLV_ERR_INVALID, "%s: option '%s' wants a number, got '%.64s'", what,
                  info->name, text);
        CLV_CHECK(out->f64 >= info->min && out->f64 <= info->max, CLV_ERR_INVALID,
                  "%s: option '%s' must be from %.6g to %.6g, got %.64s", what, info->name, info->min, info->max, text);
        return CLV_OK;
    case CLV_OPTION_I64:
        CLV_CHECK(parse_i64(text, &out->i64), CLV_ERR_INVALID, "%s: option '%s' wants a whole number, got '%.64s'",
                  what, info->name, text);
        CLV_CHECK((double)out->i64 >= info->min && (double)out->i64 <= info->max, CLV_ERR_INVALID,
                  "%s: option '%s' must be from %.19g to %.19g, got %.64s", what, info->name, info->min, info->max,
                  text);
        return CLV_OK;
    case CLV_OPTION_BOOL:
        CLV_CHECK(parse_bool(text, &out->boolean), CLV_ERR_INVALID, "%s: option '%s' wants true or false, got '%.64s'",
                  what, info->name, text);
        return CLV_OK;
    case CLV_OPTION_CHOICE:
        CLV_CHECK(parse_choice(info->choices, text, &out->choice), CLV_ERR_INVALID,
                  "%s: option '%s' must be one of %s, got '%.64s'", what, info->name, info->choices, text);
        return CLV_OK;
    case CLV_OPTION_STRING:
        CLV_CHECK(strlen(text) < o->size, CLV_ERR_INVALID, "%s: option '%s' takes at most %zu bytes, got %zu", what,
                  info->name, o->size - 1, strlen(text));
        out->string = text;
        return CLV_OK;
    }
    return clvi_fail(CLV_ERR_INTERNAL, "%s: option '%s' has the unknown type %d", what, info->name, (int)info->type);
}

static void store(const clvi_option *o, void *params, const option_value *value)
{
    char *field = (char *)params + o->offset;
    if (o->info.type == CLV_OPTION_STRING) strncpy(field, value->string, o->size);   /* fills up with zeros */
    else memcpy(field, value, o->size);
}

clv_status clvi_option_set(const clvi_option *table, void *params, const char *what, const char *name,
                           const char *value)
{
    CLV_CHECK(name && value, CLV_ERR_INVALID, "%s: an option's name or value is NULL", what);
    const clvi_option *o = clvi_option_find(table, name);
    if (!o) return fail_unknown(table, what, name);
    option_value parsed = { 0 };
    CLV_TRY(parse_value(o, what, value, &parsed));
    store(o, params, &parsed);
    return CLV_OK;
}

void clvi_options_default(const clvi_option *table, void *params)
{
    for (const clvi_option *o = table; o && o->info.name; o++) {
        option_value parsed = { 0 };
        if (parse_value(o, "default", o->info.def ? o->info.def : "", &parsed) == CLV_OK) store(o, params, &parsed);
        else memset((char *)params + o->offset, 0, o->size);   /* a mistake in the table, which a test looks for */
    }
}

clv_status clvi_options_parse(const clvi_option *table, void *params, const char *what, const clv_option *given,
                              int count)
{
    CLV_CHECK(count == 0 || (count > 0 && given), CLV_ERR_INVALID, "%s: options are NULL, but their count is %d", what,
              count);
    clvi_options_default(table, params);
    for (int i = 0; i < count; i++) CLV_TRY(clvi_option_set(table, params, what, given[i].name, given[i].value));
    return CLV_OK;
}

/* ---- formatting ---- */

/* The fewest digits that read back as the same value: 17 always do. */
static int format_f64(double value, char *text, size_t size)
{
    const locale_t before = enter_c_locale();
    char shortest[40];
    int length = 0;
    for (int digits = 1; digits <= 17; digits++) {
        length = snprintf(shortest, sizeof shortest, "%.*g", digits, value);
        if (strtod(shortest, NULL) == value) break;
    }
    leave_c_locale(before);
    if (size > 0) snprintf(text, size, "%s", shortest);
    return length;
}

static int format_choice(const char *choices, int index, char *text, size_t size)
{
    for (; index > 0; index--) {
        choices += strcspn(choices, "|");
        if (*choices) choices++;
    }
    return snprintf(text, size, "%.*s", (int)strcspn(choices, "|"), choices);
}

int clvi_option_format(const clvi_option *option, const void *params, char *text, size_t size)
{
    const char *field = (const char *)params + option->offset;
    option_value value = { 0 };
    if (option->info.type != CLV_OPTION_STRING) memcpy(&value, field, option->size);
    switch (option->info.type) {
    case CLV_OPTION_F64: return format_f64(value.f64, text, size);
    case CLV_OPTION_I64: return snprintf(text, size, "%" PRId64, value.i64);
    case CLV_OPTION_BOOL: return snprintf(text, size, "%s", value.boolean ? "true" : "false");
    case CLV_OPTION_CHOICE: return format_choice(option->info.choices, value.choice, text, size);
    case CLV_OPTION_STRING: return snprintf(text, size, "%s", field);
    }
    return -1;
}
