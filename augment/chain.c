/* chain.c: the text of a chain to steps and back, and overrides. */
#include "augment/chain.h"
#include <stdio.h>
#include <string.h>

#define MAX_TEXT  8192
#define MAX_WORD  160

/* ---- reading ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_end(char c)
{
    return c == ';' || c == '\n' || c == '\0';
}

/* The next word of a step into `word`; its length, 0 at the step's end. */
static clv_status next_word(const char **at, char word[MAX_WORD], size_t *length)
{
    const char *from = *at;
    while (is_space(*from)) from++;
    const char *end = from;
    while (!is_space(*end) && !is_end(*end)) end++;
    *length = (size_t)(end - from);
    CLV_CHECK(*length < MAX_WORD, CLV_ERR_INVALID, "augmentation text: a word starting '%.40s' is longer than %d bytes",
              from, MAX_WORD - 1);
    memcpy(word, from, *length);
    word[*length] = '\0';
    *at = end;
    return CLV_OK;
}

static clv_status fail_unknown_step(const char *name)
{
    const char *names[64] = { NULL };
    size_t n = 0;
    for (int i = 0; i < clv_augment_count() && n + 1 < CLVI_COUNT(names); i++)
        names[n++] = clv_augment_info_at(i)->name;
    for (int i = 0; i < clv_augment_preset_count() && n + 1 < CLVI_COUNT(names); i++)
        names[n++] = clv_augment_preset_at(i)->name;
    CLV_CHECK(!clv_augment_preset_find(name), CLV_ERR_INVALID,
              "'%.64s' is a preset and stands alone, without values or other steps beside it", name);
    const char *near = clv_nearest_name(name, names);
    return clvi_fail(CLV_ERR_INVALID, "no augmentation or preset '%.64s'%s%s%s", name, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

clv_status clvi_chain_append(clv_augment *a, const clvi_augment_class *class)
{
    CLV_CHECK(a->count < CLVI_CHAIN_MAX, CLV_ERR_INVALID, "augmentation text: more than %d steps", CLVI_CHAIN_MAX);
    clvi_augment_step *step = &a->step[a->count];
    void *params = clvi_calloc(a->ctx, 1, class->params_size);
    if (!params) return CLV_ERR_NOMEM;
    *step = (clvi_augment_step) { class, params, 0 };
    for (int i = 0; i < a->count; i++) step->occurrence += a->step[i].class == class;
    a->count++;
    clvi_options_default(class->options, params);
    return CLV_OK;
}

/* "crop-min" is what users of MoCo's code call it. */
static const char *canonical(const char *name)
{
    static const char *const alias[][2] = { { "crop-min", "scale-min" }, { "crop-max", "scale-max" } };
    for (size_t i = 0; i < CLVI_COUNT(alias); i++)
        if (clvi_name_equal(alias[i][0], name)) return alias[i][1];
    return name;
}

static clv_status set_option(clvi_augment_step *step, const char *name, const char *value)
{
    char what[MAX_WORD];
    snprintf(what, sizeof what, "augmentation '%s'", step->class->info.name);
    return clvi_option_set(step->class->options, step->params, what, canonical(name), value);
}

static clv_status parse_step(clv_augment *a, const char **at)
{
    char word[MAX_WORD];
    size_t length = 0;
    CLV_TRY(next_word(at, word, &length));
    if (length == 0) return CLV_OK;   /* "a;;b" or an empty line */
    const clvi_augment_class *class = clvi_augment_class_find(word);
    if (!class) return fail_unknown_step(word);
    CLV_TRY(clvi_chain_append(a, class));
    for (;;) {
        CLV_TRY(next_word(at, word, &length));
        if (length == 0) return CLV_OK;
        char *equals = strchr(word, '=');
        CLV_CHECK(equals && equals > word, CLV_ERR_INVALID,
                  "augmentation '%s': '%.64s' is not option=value (steps are separated by ';')", class->info.name,
                  word);
        *equals = '\0';
        CLV_TRY(set_option(&a->step[a->count - 1], word, equals + 1));
    }
}

clv_status clvi_chain_parse(clv_augment *a, const char *text)
{
    const size_t length = strnlen(text, MAX_TEXT + 1);
    CLV_CHECK(length <= MAX_TEXT, CLV_ERR_INVALID, "augmentation text: longer than %d bytes", MAX_TEXT);
    for (const char *at = text;; at++) {
        CLV_TRY(parse_step(a, &at));
        if (*at == '\0') return CLV_OK;
    }
}

/* ---- overrides ---- */

static clv_status fail_unreached(const clv_augment *a, const char *name)
{
    const char *names[CLVI_CHAIN_MAX * 8] = { NULL };
    size_t n = 0;
    for (int i = 0; i < a->count; i++)
        for (const clvi_option *o = a->step[i].class->options; o && o->info.name && n + 1 < CLVI_COUNT(names); o++)
            names[n++] = o->info.name;
    const char *near = clv_nearest_name(name, names);
    return clvi_fail(CLV_ERR_INVALID, "no step of this augmentation has an option '%.64s'%s%s%s", name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* "flip.p" to its step's class and "p"; a name without a point reaches any class. */
static clv_status split_override(const char *name, const clvi_augment_class **class, const char **option)
{
    char step[MAX_WORD];
    const char *point = strchr(name, '.');
    *class = NULL;
    *option = name;
    if (!point) return CLV_OK;
    CLV_CHECK((size_t)(point - name) < sizeof step, CLV_ERR_INVALID, "augmentation option '%.64s' is too long", name);
    memcpy(step, name, (size_t)(point - name));
    step[point - name] = '\0';
    *class = clvi_augment_class_find(step);
    *option = point + 1;
    return *class ? CLV_OK : fail_unknown_step(step);
}

clv_status clvi_chain_override(clv_augment *a, const clv_option *given)
{
    const clvi_augment_class *class = NULL, *reached = NULL;
    const char *name = NULL;
    CLV_CHECK(given->name && given->value, CLV_ERR_INVALID, "clv_augment_create: an override has no name or no value");
    CLV_TRY(split_override(given->name, &class, &name));
    for (int i = 0; i < a->count; i++) {
        clvi_augment_step *step = &a->step[i];
        if (class && step->class != class) continue;
        if (!class && !clvi_option_find(step->class->options, canonical(name))) continue;
        CLV_CHECK(!reached || reached == step->class, CLV_ERR_INVALID,
                  "augmentation option '%s' is ambiguous: write '%s.%s' or '%s.%s'", name, reached->info.name, name,
                  step->class->info.name, name);
        CLV_TRY(set_option(step, name, given->value));
        reached = step->class;
    }
    return reached ? CLV_OK : fail_unreached(a, given->name);
}

/* ---- writing ---- */

/* Appends as snprintf would; a NULL text only counts. */
static void put(char *text, size_t capacity, size_t *used, const char *part)
{
    const size_t n = strlen(part);
    if (text && *used + n < capacity) memcpy(text + *used, part, n + 1);
    *used += n;
}

static size_t format_chain(const clv_augment *a, char *text, size_t capacity)
{
    size_t used = 0;
    for (int i = 0; i < a->count; i++) {
        const clvi_augment_step *step = &a->step[i];
        put(text, capacity, &used, i ? "; " : "");
        put(text, capacity, &used, step->class->info.name);
        for (const clvi_option *o = step->class->options; o && o->info.name; o++) {
            char value[MAX_WORD];
            clvi_option_format(o, step->params, value, sizeof value);
            put(text, capacity, &used, " ");
            put(text, capacity, &used, o->info.name);
            put(text, capacity, &used, "=");
            put(text, capacity, &used, value);
        }
    }
    return used + 1;
}

clv_status clvi_chain_format(const clv_augment *a, char **text)
{
    const size_t size = format_chain(a, NULL, 0);
    *text = clvi_calloc(a->ctx, size, 1);
    if (!*text) return CLV_ERR_NOMEM;
    format_chain(a, *text, size);
    return CLV_OK;
}
