/* test_option.c: options from text and back. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "core/option.h"
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sample {
    double  learning_rate;
    int64_t batch_size;
    bool    normalize;
    char    name[8];
    int     kind;
    double  any;
} sample;

static const clvi_option table[] = {
    CLVI_OPTION_F64(sample, learning_rate, "learning-rate", "0.03", 1e-6, 10, "step length", NULL),
    CLVI_OPTION_I64(sample, batch_size, "batch-size", "256", 1, 65536, "samples per step", "B"),
    CLVI_OPTION_BOOL(sample, normalize, "normalize", "true", "scale rows to unit length"),
    CLVI_OPTION_STRING(sample, name, "name", "net", "of the run"),
    CLVI_OPTION_CHOICE(sample, kind, "kind", "fixed-step", "cosine|fixed-step|none", "of schedule"),
    CLVI_OPTION_F64(sample, any, "any", "0", -CLVI_OPTION_ANY, CLVI_OPTION_ANY, "any number", NULL),
    CLVI_OPTION_END
};

static sample defaults(void)
{
    sample s;
    memset(&s, 0x55, sizeof s);
    clvi_options_default(table, &s);
    return s;
}

static clv_status set(sample *s, const char *name, const char *value)
{
    return clvi_option_set(table, s, "run 'x'", name, value);
}

static void defaults_are_those_of_the_table(void **state)
{
    (void)state;
    const sample s = defaults();
    assert_near(s.learning_rate, 0.03, 0);
    assert_int_equal(s.batch_size, 256);
    assert_true(s.normalize);
    assert_string_equal(s.name, "net");
    assert_int_equal(s.kind, 1);
}

static void tables_are_counted_and_searched(void **state)
{
    (void)state;
    assert_int_equal(clvi_option_count(table), 6);
    assert_int_equal(clvi_option_count(NULL), 0);
    assert_ptr_equal(clvi_option_find(table, "batch_size"), &table[1]);
    assert_ptr_equal(clvi_option_find(table, "batch-size"), &table[1]);
    assert_null(clvi_option_find(table, "batch"));
    assert_null(clvi_option_find(NULL, "batch-size"));
}

static void good_values_are_taken(void **state)
{
    (void)state;
    sample s = defaults();
    assert_ok(set(&s, "learning_rate", "1e-3"));
    assert_ok(set(&s, "batch-size", "65536"));
    assert_ok(set(&s, "name", "seven77"));
    assert_ok(set(&s, "kind", "fixed_step"));
    assert_near(s.learning_rate, 1e-3, 0);
    assert_int_equal(s.batch_size, 65536);
    assert_string_equal(s.name, "seven77");
    assert_int_equal(s.kind, 1);
    assert_ok(set(&s, "name", ""));
    assert_string_equal(s.name, "");
}

static void truth_has_four_spellings(void **state)
{
    (void)state;
    const char *const yes[] = { "true", "yes", "1", "on" }, *const no[] = { "false", "no", "0", "off" };
    sample s = defaults();
    for (int i = 0; i < 4; i++) {
        assert_ok(set(&s, "normalize", no[i]));
        assert_false(s.normalize);
        assert_ok(set(&s, "normalize", yes[i]));
        assert_true(s.normalize);
    }
}

static void bad_values_are_refused_and_change_nothing(void **state)
{
    (void)state;
    const struct { const char *name, *value, *text; } bad[] = {
        { "learning-rate", "fast", "run 'x': option 'learning-rate' wants a number, got 'fast'" },
        { "learning-rate", "", "wants a number" },      { "learning-rate", " 1", "wants a number" },
        { "learning-rate", "1 ", "wants a number" },    { "learning-rate", "1x", "wants a number" },
        { "learning-rate", "0x1", "wants a number" },   { "learning-rate", "nan", "wants a number" },
        { "any", "inf", "wants a number" },             { "any", "1e999", "wants a number" },
        { "any", "1,5", "wants a number" },             { "any", "1e", "wants a number" },
        { "learning-rate", "11", "must be from 1e-06 to 10, got 11" },
        { "learning-rate", "0", "must be from" },       { "batch-size", "0", "must be from 1 to 65536, got 0" },
        { "batch-size", "65537", "must be from" },      { "batch-size", "1.0", "wants a whole number" },
        { "batch-size", "1e3", "wants a whole number" }, { "batch-size", "", "wants a whole number" },
        { "batch-size", "99999999999999999999", "wants a whole number" },
        { "normalize", "maybe", "wants true or false, got 'maybe'" },
        { "name", "too long", "takes at most 7 bytes, got 8" },
        { "kind", "linear", "must be one of cosine|fixed-step|none, got 'linear'" },
        { "kind", "cosine|fixed-step", "must be one of" }, { "kind", "", "must be one of" },
        { "kind", "cos", "must be one of" },
    };
    for (size_t i = 0; i < CLVI_COUNT(bad); i++) {
        sample s = defaults();
        const sample before = s;
        assert_fails(set(&s, bad[i].name, bad[i].value), CLV_ERR_INVALID, bad[i].text);
        assert_memory_equal(&s, &before, sizeof s);
    }
    sample s = defaults();
    assert_fails(set(&s, "name", NULL), CLV_ERR_INVALID, "NULL");
}

static void an_unknown_name_comes_with_the_nearest(void **state)
{
    (void)state;
    sample s = defaults();
    assert_fails(set(&s, "lerning-rate", "1"), CLV_ERR_INVALID,
                 "run 'x': no option 'lerning-rate'; did you mean 'learning-rate'?");
    assert_fails(set(&s, "batch_szie", "1"), CLV_ERR_INVALID, "did you mean 'batch-size'?");
    assert_fails(set(&s, "zzzzzz", "1"), CLV_ERR_INVALID, "there are learning-rate, batch-size, normalize");
    assert_fails(clvi_option_set(NULL, &s, "loss 'y'", "a", "1"), CLV_ERR_INVALID, "it takes none");
}

static void the_nearest_name_is_near(void **state)
{
    (void)state;
    const char *const names[] = { "moco", "simclr", "supcon", NULL };
    assert_string_equal(clv_nearest_name("mcoo", names), "moco");
    assert_string_equal(clv_nearest_name("sincler", names), "simclr");
    assert_null(clv_nearest_name("barlow-twins", names));
    assert_null(clv_nearest_name("x", names));
    assert_null(clv_nearest_name("", names));
    char longer[200];
    memset(longer, 'm', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_null(clv_nearest_name(longer, names));
}

static void names_are_equal_but_for_dashes(void **state)
{
    (void)state;
    assert_true(clvi_name_equal("a-b_c", "a_b-c"));
    assert_false(clvi_name_equal("ab", "abc"));
    assert_false(clvi_name_equal("abc", "ab"));
    assert_false(clvi_name_equal("a-b", "a b"));
    assert_true(clvi_name_equal("", ""));
}

static void given_options_come_after_the_defaults_in_turn(void **state)
{
    (void)state;
    const clv_option given[] = { { "batch-size", "8" }, { "kind", "none" }, { "batch_size", "16" } };
    sample s;
    assert_ok(clvi_options_parse(table, &s, "run", given, 3));
    assert_int_equal(s.batch_size, 16);
    assert_int_equal(s.kind, 2);
    assert_near(s.learning_rate, 0.03, 0);
    assert_ok(clvi_options_parse(table, &s, "run", NULL, 0));
    assert_int_equal(s.batch_size, 256);
    assert_fails(clvi_options_parse(table, &s, "run", NULL, 1), CLV_ERR_INVALID, "options are NULL");
}

static void text_reads_back_as_the_same_value(void **state)
{
    (void)state;
    const double values[] = { 0.1, 1.0 / 3, 1e-300, 5e-324, -1.7976931348623157e308, 123456789.125, 0.07, 100, -0.0 };
    for (size_t i = 0; i < CLVI_COUNT(values); i++) {
        sample s = defaults(), back = defaults();
        char text[64];
        s.any = values[i];
        assert_in_range(clvi_option_format(&table[5], &s, text, sizeof text), 1, 30);
        assert_ok(set(&back, "any", text));
        assert_memory_equal(&s.any, &back.any, sizeof s.any);
    }
}

static void text_is_the_shortest(void **state)
{
    (void)state;
    sample s = defaults();
    char text[32];
    assert_int_equal(clvi_option_format(&table[0], &s, text, sizeof text), 4);
    assert_string_equal(text, "0.03");
    assert_int_equal(clvi_option_format(&table[1], &s, text, sizeof text), 3);
    assert_string_equal(text, "256");
    assert_int_equal(clvi_option_format(&table[2], &s, text, sizeof text), 4);
    assert_string_equal(text, "true");
    assert_int_equal(clvi_option_format(&table[4], &s, text, sizeof text), 10);
    assert_string_equal(text, "fixed-step");
    assert_int_equal(clvi_option_format(&table[3], &s, text, 2), 3);   /* the length wanted; the text is cut off */
    assert_string_equal(text, "n");
    assert_int_equal(clvi_option_format(&table[0], &s, NULL, 0), 4);
}

static void the_programs_locale_does_not_matter(void **state)
{
    (void)state;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) skip();
    sample s = defaults();
    char text[32];
    const clv_status st = set(&s, "learning-rate", "1.5");
    clvi_option_format(&table[0], &s, text, sizeof text);
    setlocale(LC_NUMERIC, "C");
    assert_ok(st);
    assert_near(s.learning_rate, 1.5, 0);
    assert_string_equal(text, "1.5");
}

TEST_MAIN(TEST(defaults_are_those_of_the_table), TEST(tables_are_counted_and_searched), TEST(good_values_are_taken),
          TEST(truth_has_four_spellings), TEST(bad_values_are_refused_and_change_nothing),
          TEST(an_unknown_name_comes_with_the_nearest), TEST(the_nearest_name_is_near),
          TEST(names_are_equal_but_for_dashes), TEST(given_options_come_after_the_defaults_in_turn),
          TEST(text_reads_back_as_the_same_value), TEST(text_is_the_shortest),
          TEST(the_programs_locale_does_not_matter))
