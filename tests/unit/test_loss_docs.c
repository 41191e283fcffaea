/* test_loss_docs.c: the tables in the pages of losses and banks are what the code says, line by line. A failure prints
 * the line the page should have. */
#include "tests/support/test.h"
#include <cleave/bank.h>
#include <cleave/loss.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_page(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("there is no page %s", path);
    char *text = calloc(1, 1 << 17);
    const size_t n = fread(text, 1, (1 << 17) - 1, file);
    fclose(file);
    assert_true(n > 0);
    return text;
}

/* 1 when the page lacks the line. */
static int want_line(const char *page, const char *path, const char *line)
{
    if (strstr(page, line)) return 0;
    print_error("%s lacks the line\n%s\n", path, line);
    return 1;
}

static void print_range(char *text, size_t size, const clv_option_info *o)
{
    if (o->type == CLV_OPTION_F64 || o->type == CLV_OPTION_I64)
        snprintf(text, size, "%.16g to %.16g", o->min, o->max);
    else if (o->type == CLV_OPTION_CHOICE)
        snprintf(text, size, "%s", o->choices);
    else
        snprintf(text, size, "%s", o->type == CLV_OPTION_BOOL ? "true, false" : "text");
    for (char *c = text; *c; c++)
        if (*c == '|') *c = '/';   /* a bar would end the cell */
}

static int want_option(const char *page, const char *path, const clv_option_info *o)
{
    char range[256], line[1024];
    print_range(range, sizeof range, o);
    snprintf(line, sizeof line, "| `%s` | %s | %s | %s%s%s%s |", o->name, o->def, range, o->help, o->symbol ? " (" : "",
             o->symbol ? o->symbol : "", o->symbol ? ")" : "");
    return want_line(page, path, line);
}

static const char *type_of(const clv_loss_port *port)
{
    return port->dtype == CLV_U8 ? "uint8" : port->dtype == CLV_I64 ? "int64" : "float";
}

static int want_port(const char *page, const char *path, const clv_loss_port *p)
{
    char line[1024];
    snprintf(line, sizeof line, "| `%s` | [%s] | %s | %s%s |", p->name, p->shape,
             p->differentiable ? "float, gradient" : type_of(p), p->help, p->optional ? " (optional)" : "");
    return want_line(page, path, line);
}

/* Lines that `cleave loss show` prints, too; the page may set names in them in type of their own. */
static int want_lines(const char *page, const char *path, const char *lines)
{
    char *plain = calloc(1, strlen(page) + 1);
    size_t n = 0;
    int lacking = 0;
    for (const char *c = page; *c; c++)
        if (*c != '`') plain[n++] = *c;
    for (size_t length; lines && *lines; lines += length + (lines[length] == '\n')) {
        char line[512];
        length = strcspn(lines, "\n");
        snprintf(line, sizeof line, "%.*s\n", (int)length, lines);
        lacking += want_line(plain, path, line);
    }
    free(plain);
    return lacking;
}

static void pages_of_losses_say_what_the_tables_say(void **state)
{
    (void)state;
    clv_class_info info;
    clv_option_info option;
    clv_loss_port port;
    int lacking = 0;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        char path[256];
        snprintf(path, sizeof path, "docs/losses/%s.md", info.name);
        char *page = read_page(path);
        assert_non_null(clv_loss_formula(i));
        lacking += want_lines(page, path, clv_loss_formula(i)) + want_lines(page, path, clv_loss_published(i));
        for (int j = 0; clv_loss_option_at(i, j, &option); j++) lacking += want_option(page, path, &option);
        for (int j = 0; clv_loss_input_at(i, j, &port); j++) lacking += want_port(page, path, &port);
        for (int j = 0; clv_loss_output_at(i, j, &port); j++) lacking += want_port(page, path, &port);
        free(page);
    }
    assert_int_equal(lacking, 0);
}

static void the_page_of_banks_says_what_the_tables_say(void **state)
{
    (void)state;
    clv_class_info info;
    clv_option_info option;
    const char *path = "docs/memorybanks.md";
    char *page = read_page(path);
    int lacking = 0;
    for (int i = 0; clv_bank_kind_at(i, &info); i++)
        for (int j = 0; clv_bank_kind_option(i, j, &option); j++) lacking += want_option(page, path, &option);
    free(page);
    assert_int_equal(lacking, 0);
}

TEST_MAIN(TEST(pages_of_losses_say_what_the_tables_say), TEST(the_page_of_banks_says_what_the_tables_say))
