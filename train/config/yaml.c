/* yaml.c: configurations as YAML: one flat mapping of option names to scalars, read and written through libyaml. */
#include "train/config/config.h"
#include "core/file.h"

#include <string.h>
#include <yaml.h>

#define YAML_LIMIT (1 << 20)

static clv_status parser_error(const char *what, const yaml_parser_t *parser)
{
    return clvi_fail(CLV_ERR_FORMAT, "%s, line %zu: %s", what, parser->problem_mark.line + 1,
                     parser->problem ? parser->problem : "not YAML");
}

/* Next event; the caller deletes it. */
static clv_status next_event(yaml_parser_t *parser, const char *what, yaml_event_t *event)
{
    return yaml_parser_parse(parser, event) ? CLV_OK : parser_error(what, parser);
}

/* Reads events up to one of the wanted type; stream and document starts are passed over. */
static clv_status expect_mapping(yaml_parser_t *parser, const char *what, bool *empty)
{
    for (;;) {
        yaml_event_t event;
        CLV_TRY(next_event(parser, what, &event));
        const yaml_event_type_t type = event.type;
        const size_t line = event.start_mark.line + 1;
        yaml_event_delete(&event);
        *empty = type == YAML_STREAM_END_EVENT;
        if (type == YAML_MAPPING_START_EVENT || *empty) return CLV_OK;
        CLV_CHECK(type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT, CLV_ERR_FORMAT,
                  "%s, line %zu: expected a mapping of options, 'key: value' on each line", what, line);
    }
}

static clv_status read_scalar(yaml_parser_t *parser, const char *what, char *text, size_t size, size_t *line, bool *end)
{
    yaml_event_t event;
    CLV_TRY(next_event(parser, what, &event));
    clv_status st = CLV_OK;
    *line = event.start_mark.line + 1;
    *end = event.type == YAML_MAPPING_END_EVENT;
    if (*end) goto done;
    CLV_CHECK_OR_DONE(event.type == YAML_SCALAR_EVENT, CLV_ERR_FORMAT,
                      "%s, line %zu: expected one plain value; lists and nested mappings have no meaning here", what,
                      *line);
    CLV_CHECK_OR_DONE(event.data.scalar.length < size && !memchr(event.data.scalar.value, 0, event.data.scalar.length),
                      CLV_ERR_FORMAT, "%s, line %zu: value of %zu bytes is too long", what, *line,
                      event.data.scalar.length);
    memcpy(text, event.data.scalar.value, event.data.scalar.length);
    text[event.data.scalar.length] = 0;
done:
    yaml_event_delete(&event);
    return st;
}

static clv_status read_mapping(clv_config *config, yaml_parser_t *parser, const char *what)
{
    bool seen[CLVI_MAX_SETTINGS] = { false };
    for (;;) {
        char key[128], value[4096];
        size_t line = 0;
        bool end = false;
        CLV_TRY(read_scalar(parser, what, key, sizeof key, &line, &end));
        if (end) return CLV_OK;
        CLV_TRY(read_scalar(parser, what, value, sizeof value, &line, &end));
        char where[CLVI_PATH_SIZE + 64];
        snprintf(where, sizeof where, "%s, line %zu", what, line);
        const clv_status st = clv_config_set(config, key, value);
        if (st != CLV_OK) return clvi_fail_in(st, where);
        const size_t index = (size_t)(clvi_settings_find(key) - clvi_settings_table);
        CLV_CHECK(!seen[index], CLV_ERR_FORMAT, "%s: '%s' is set twice", where, key);
        seen[index] = true;
        config->source[index] = CLVI_FROM_FILE;
    }
}

clv_status clvi_config_parse(clv_config *config, const char *what, const char *text, size_t size)
{
    yaml_parser_t parser;
    CLV_CHECK(yaml_parser_initialize(&parser), CLV_ERR_NOMEM, "%s: libyaml has no memory", what);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool empty = false;
    clv_status st = expect_mapping(&parser, what, &empty);
    if (st == CLV_OK && !empty) st = read_mapping(config, &parser, what);
    yaml_parser_delete(&parser);
    return st;
}

clv_status clv_config_load(clv_config *config, const char *path)
{
    CLV_CHECK(config && path, CLV_ERR_INVALID, "clv_config_load: an argument is NULL");
    uint8_t *bytes = NULL;
    size_t size = 0;
    CLV_TRY(clvi_file_read(config->ctx, path, YAML_LIMIT, &bytes, &size));
    const clv_status st = clvi_config_parse(config, path, (const char *)bytes, size);
    clvi_free(config->ctx, bytes);
    return st;
}

/* ---- writing ---- */

typedef struct text_buffer {
    clv_context *ctx;
    char        *text;
    size_t       size, capacity;
} text_buffer;

static int append(void *user, unsigned char *bytes, size_t size)
{
    text_buffer *b = user;
    if (b->size + size + 1 > b->capacity) {
        const size_t capacity = 2 * (b->size + size + 1);
        char *grown = clvi_realloc(b->ctx, b->text, capacity);
        if (!grown) return 0;
        b->text = grown;
        b->capacity = capacity;
    }
    memcpy(b->text + b->size, bytes, size);
    b->size += size;
    b->text[b->size] = 0;
    return 1;
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
    yaml_event_t event;
    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1, style)
           && yaml_emitter_emit(emitter, &event);
}

static bool emit_options(yaml_emitter_t *emitter, const clvi_settings *settings)
{
    yaml_event_t event;
    if (!yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) || !yaml_emitter_emit(emitter, &event))
        return false;
    if (!yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) || !yaml_emitter_emit(emitter, &event))
        return false;
    if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
        || !yaml_emitter_emit(emitter, &event))
        return false;
    for (const clvi_option *o = clvi_settings_table; o->info.name; o++) {
        char value[4096];
        if (clvi_option_format(o, settings, value, sizeof value) >= (int)sizeof value) return false;
        const bool text = o->info.type == CLV_OPTION_STRING;
        if (!emit_scalar(emitter, o->info.name, YAML_PLAIN_SCALAR_STYLE)
            || !emit_scalar(emitter, value, text ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE))
            return false;
    }
    return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event)
           && yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(emitter, &event)
           && yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

clv_status clvi_config_text(const clv_config *config, char **text)
{
    text_buffer buffer = { .ctx = config->ctx };
    yaml_emitter_t emitter;
    CLV_CHECK(yaml_emitter_initialize(&emitter), CLV_ERR_NOMEM, "configuration: libyaml has no memory");
    yaml_emitter_set_output(&emitter, append, &buffer);
    yaml_emitter_set_width(&emitter, -1);
    const bool ok = emit_options(&emitter, &config->settings) && yaml_emitter_flush(&emitter);
    yaml_emitter_delete(&emitter);
    if (!ok) {
        clvi_free(config->ctx, buffer.text);
        return clvi_fail(CLV_ERR_NOMEM, "configuration: cannot be written as YAML");
    }
    *text = buffer.text;
    return CLV_OK;
}

clv_status clv_config_save(const clv_config *config, const char *path)
{
    CLV_CHECK(config && path, CLV_ERR_INVALID, "clv_config_save: an argument is NULL");
    char *text = NULL;
    CLV_TRY(clvi_config_text(config, &text));
    const clv_status st = clvi_file_write(path, text, strlen(text));
    clvi_free(config->ctx, text);
    return st;
}
