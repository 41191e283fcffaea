/* The report of a run, on run directories made by hand. */
#include <cleave/eval.h>
#include "core/file.h"
#include "core/h5.h"
#include "eval/report/gnuplot.h"
#include "eval/report/run.h"
#include "tests/support/pictures.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a run ---- */

static void write_text(const char *path, const char *text)
{
    assert_ok(clvi_file_write(path, text, strlen(text)));
}

static void make_config(test_env *t, const char *extra)
{
    char text[2048];
    snprintf(text, sizeof text,
             "data: \"%s\"\nsplit: \"\"\nval-data: \"\"\nval-split: \"\"\nmethod: moco\narch: resnet8\nepochs: 4\n%s",
             test_path(t, "data.h5"), extra);
    write_text(test_path(t, "run/config.yaml"), text);
}

static void put_histogram(FILE *file, const char *name, int peak)
{
    fprintf(file, ", \"%s\": [", name);
    for (int b = 0; b < CLV_SCORE_BINS; b++)
        fprintf(file, "%s%d", b ? ", " : "", abs(b - peak) < 5 ? 10 - 2 * abs(b - peak) : 0);
    fprintf(file, "]");
}

static void put_line(FILE *file, int epoch, int step, bool end)
{
    fprintf(
        file,
        "{\"kind\": \"%s\", \"epoch\": %d, \"step\": %d, \"total_step\": %d, \"train/loss\": %g, \"train/lr\": 0.03, "
        "\"train/pretext_top1\": %d, \"health/std\": 0.9, \"health/eff_rank\": 12, \"health/uniformity\": -2, "
        "\"health/alignment\": 0.5, \"scores/positive_mean\": 0.7, \"scores/positive_var\": 0.01, "
        "\"scores/negative_mean\": 0.1, "
        "\"scores/negative_var\": 0.04, \"train/queue_fill\": 1, \"train/queue_age\": 3",
        end ? "epoch" : "step", epoch, step % 5, step, 5.0 / step, step);
    if (end) {
        fprintf(file, ", \"val/knn_top1\": %d.25, \"val/knn_protocol\": \"kNN k=3\", \"train/images_per_second\": 100",
                10 * epoch);
        put_histogram(file, "scores/positive_histogram", 54);
        put_histogram(file, "scores/negative_histogram", 34);
    }
    fprintf(file, "}\n");
}

static void make_metrics(test_env *t, int epochs)
{
    FILE *file = fopen(test_path(t, "run/metrics.jsonl"), "w");
    assert_non_null(file);
    for (int e = 1; e <= epochs; e++) {
        for (int s = 1; s <= 5; s++) put_line(file, e, (e - 1) * 5 + s, false);
        put_line(file, e, e * 5, true);
    }
    fclose(file);
}

#define ROWS 12
#define DIM  4

static void write_view(clvi_h5 *h5, const char *name, clv_view view)
{
    assert_ok(clvi_h5_write(h5, name, &view));
}

static void make_examples(test_env *t, int64_t neighbour)
{
    float features[ROWS * DIM], similarity[4] = { 0.9f, 0.8f, 0.7f, 0.6f };
    int64_t ids[ROWS], labels[ROWS], near[4] = { 3, 1, 5, neighbour };
    for (int i = 0; i < ROWS; i++) {
        ids[i] = i;
        labels[i] = i % 3;
        for (int j = 0; j < DIM; j++) features[i * DIM + j] = (float)((i * (j + 3)) % 7);
    }
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "run/examples.h5"), true, &h5));
    write_view(h5, "features", clv_view_2d(features, CLV_F32, ROWS, DIM));
    write_view(h5, "ids", clv_view_1d(ids, CLV_I64, ROWS));
    write_view(h5, "labels", clv_view_1d(labels, CLV_I64, ROWS));
    write_view(h5, "example_ids", clv_view_1d(ids, CLV_I64, 2));
    write_view(h5, "example_labels", clv_view_1d(labels, CLV_I64, 2));
    write_view(h5, "neighbour_ids", clv_view_2d(near, CLV_I64, 2, 2));
    write_view(h5, "neighbour_similarity", clv_view_2d(similarity, CLV_F32, 2, 2));
    assert_ok(clvi_h5_commit(h5));
}

static void make_run(test_env *t, const char *extra)
{
    assert_ok(clvi_mkdirs(test_path(t, "run")));
    make_config(t, extra);
    make_metrics(t, 4);
    make_examples(t, 1); /* the last neighbour is the query itself */
    picture_write_h5(t, test_path(t, "data.h5"), "", ROWS, 8, 8, 3, true);
}

/* The report as text; free(). */
static char *read_report(test_env *t)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(clvi_file_read(t->ctx, test_path(t, "run/report.html"), (size_t)1 << 26, &bytes, &size));
    char *text = strdup((const char *)bytes);
    clvi_free(t->ctx, bytes);
    assert_non_null(text);
    return text;
}

static char *report(test_env *t)
{
    assert_ok(clv_report_write(t->ctx, test_path(t, "run"), NULL));
    return read_report(t);
}

static void assert_has(const char *html, const char *text)
{
    if (!strstr(html, text)) fail_msg("the report does not contain '%s'", text);
}

static void assert_has_not(const char *html, const char *text)
{
    const char *at = strstr(html, text);
    if (at) fail_msg("the report contains '%.60s'", at);
}

static int count_of(const char *html, const char *text)
{
    int count = 0;
    for (const char *at = html; (at = strstr(at, text)); at++) count++;
    return count;
}

/* ---- markup ---- */

#define DEPTH 64

/* End of the tag that opens at `at`: '>' outside of quotes. */
static const char *tag_end(const char *at)
{
    char quote = 0;
    for (; *at && (quote || *at != '>'); at++) {
        if (quote && *at == quote)
            quote = 0;
        else if (!quote && (*at == '"' || *at == '\''))
            quote = *at;
    }
    if (!*at) fail_msg("a tag has no end");
    return at;
}

/* Every element that is opened is closed, in order. */
static void check_balance(const char *html)
{
    static const char *const empty[] = { "meta", "link", "img" };
    char open[DEPTH][32];
    int depth = 0;
    for (const char *at = strchr(html, '<'); at; at = strchr(at, '<')) {
        const bool closes = at[1] == '/';
        char name[32] = "";
        const char *end = tag_end(at);
        sscanf(at + 1 + closes, "%31[a-zA-Z0-9!]", name);
        if (!name[0]) fail_msg("a bare '<' before '%.30s'", at);
        bool leaf = name[0] == '!' || end[-1] == '/';
        for (size_t i = 0; i < 3; i++) leaf = leaf || !strcmp(name, empty[i]);
        if (closes) {
            if (depth == 0 || strcmp(open[depth - 1], name))
                fail_msg("</%s> closes %s", name, depth ? open[depth - 1] : "nothing");
            depth--;
        } else if (!leaf) {
            if (depth == DEPTH) fail_msg("too deep at <%s>", name);
            memcpy(open[depth++], name, sizeof name);
        }
        at = end;
    }
    if (depth) fail_msg("<%s> is not closed", open[depth - 1]);
}

/* No id twice, and what refers to one refers to one that is there. */
static void check_ids(const char *html)
{
    for (const char *at = html; (at = strstr(at, " id=")); at++) {
        char id[80], same[100];
        if (sscanf(at, " id=%*[\"']%78[A-Za-z0-9_]", id) != 1) fail_msg("an odd id: %.40s", at);
        snprintf(same, sizeof same, "%c%s%c", at[4], id, at[4]);
        if (strstr(at + 5 + strlen(id), same)) fail_msg("id '%s' twice", id);
    }
    for (const char *at = html; (at = strstr(at, "href='#")); at++) {
        char id[80], definition[100];
        assert_int_equal(sscanf(at, "href='#%78[A-Za-z0-9_]", id), 1);
        snprintf(definition, sizeof definition, " id='%s'", id);
        assert_has(html, definition);
    }
}

/* Nothing is loaded: all that is referred to is inside. */
static void check_self_contained(const char *html)
{
    assert_has_not(html, "http");
    assert_has_not(html, "<script");
    assert_has_not(html, "@import");
    assert_int_equal(count_of(html, "src="), count_of(html, "src=\"data:image/png;base64,"));
    assert_int_equal(count_of(html, "href="), count_of(html, "href='#") + count_of(html, "href=\"data:,\"") +
                                                  count_of(html, "href='data:image/png;base64,"));
    assert_int_equal(count_of(html, "url("), count_of(html, "url(#"));
}

/* ---- what must hold ---- */

static void a_report_has_all_its_sections(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    char *html = report(t);
    static const char *const wanted[] = {
        "<title>run - Cleave</title>",
        "40.25 %",
        "kNN k=3",
        "Learning rate",
        "kNN accuracy",
        "Pretext accuracy",
        "Effective rank",
        "Alignment and uniformity",
        "Memory bank",
        "Positive scores",
        "Negative scores",
        "Nearest neighbours",
        "0.900 &#10003; a",
        "0.800 &#10007; b",
        "Principal components",
        "first component",
        "Configuration",
        "<dt>arch</dt><dd>resnet8</dd>",
        "Report by Cleave",
        "Gradient norm: not measured",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) assert_has(html, wanted[i]);
    assert_int_equal(count_of(html, "<svg"), 12);
    assert_int_equal(count_of(html, "<img alt=\"\" src=\"data:image/png;base64,"), 5); /* not its own neighbour */
    free(html);
}

static void a_report_is_well_formed_and_loads_nothing(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    char *html = report(t);
    check_balance(html);
    check_ids(html);
    check_self_contained(html);
    free(html);
}

static void the_same_run_gives_the_same_bytes(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    char *first = report(t), *second = report(t);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void text_from_outside_is_escaped(void **state)
{
    test_env *t = *state;
    make_run(t, "evil<b>: \"</dd><script src=\\\"x\\\">&'</script>\"\naug: \"`touch gone` \\x01\"\n");
    char *html = report(t);
    assert_has_not(html, "<script");
    assert_has(html, "&lt;/dd&gt;&lt;script src=&quot;x&quot;&gt;&amp;&#39;&lt;/script&gt;");
    assert_has(html, "evil&lt;b&gt;");
    check_balance(html);
    free(html);
}

static void the_version_of_the_run_is_told_where_a_checkpoint_has_one(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    write_text(test_path(t, "run/last.h5"), "damaged");
    char *html = report(t);
    assert_has(html, "run by Cleave (no checkpoint tells).");
    free(html);
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "run/last.h5"), true, &h5));
    assert_ok(clvi_h5_set_attr_text(h5, "/", "version", "0.0.7<"));
    assert_ok(clvi_h5_commit(h5));
    html = report(t);
    assert_has(html, "run by Cleave 0.0.7&lt;.");
    free(html);
}

static void damaged_lines_of_metrics_are_passed_over(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    FILE *file = fopen(test_path(t, "run/metrics.jsonl"), "a");
    assert_non_null(file);
    fputs("not json\n"
          "{\"kind\": \"step\", \"total_step\": 3}\n" /* before what came last */
          "{\"kind\": \"epoch\", \"epoch\": -1, \"total_step\": 1000}\n"
          "{\"kind\": \"step\", \"total_step\": 100, \"train/loss\": 1e300}\n" /* good, but for a loss that is none */
          "[1, 2]\n"
          "{\"kind\": \"epoch\", \"epoch\": 5, \"total_step\": 200, \"scores/positive_histogram\": [1e99, \"a\"]}\n"
          "{\"kind\": \"st",
          file);
    fclose(file);
    clvi_run run;
    assert_ok(clvi_run_read(t->ctx, test_path(t, "run"), &run));
    assert_int_equal(run.bad_lines, 5);
    assert_int_equal(run.step_count, 21);
    assert_true(isnan(run.steps[20].value[CLVI_RUN_LOSS]));
    assert_int_equal(run.epoch_count, 5);
    assert_false(run.epochs[4].has_histograms);
    clvi_run_release(&run);
    char *html = report(t);
    assert_has(html, "5 lines of metrics.jsonl could not be read");
    check_balance(html);
    free(html);
}

static void a_run_of_a_single_epoch_has_figures(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    make_metrics(t, 1);
    char *html = report(t);
    assert_int_equal(count_of(html, "<svg"), 12);
    free(html);
}

/* Values as only a damaged file has them must not make gnuplot refuse. */
static void numbers_of_any_kind_give_figures(void **state)
{
    test_env *t = *state;
    static const char *const values[] = { "0", "-7", "1e12", "-1e12", "1e-300", "1e13" };
    static const char *const names[] = { "train/loss",      "train/lr",   "train/grad_norm",      "health/alignment",
                                         "train/queue_age", "health/std", "scores/positive_mean", "scores/positive_var",
                                         "val/knn_top1" };
    make_run(t, "");
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        FILE *file = fopen(test_path(t, "run/metrics.jsonl"), "w");
        assert_non_null(file);
        for (int line = 0; line < 4; line++) {
            fprintf(file, "{\"kind\": \"%s\", \"epoch\": %d, \"total_step\": %d", line & 1 ? "epoch" : "step",
                    900 * line + 1, line);
            for (size_t n = 0; n < sizeof names / sizeof *names; n++)
                fprintf(file, ", \"%s\": %s", names[n], values[v]);
            fprintf(file, "}\n");
        }
        fclose(file);
        char *html = report(t);
        assert_has(html, "Alignment and uniformity");
        check_balance(html);
        free(html);
    }
    write_text(test_path(t, "run/metrics.jsonl"),
               "{\"kind\": \"step\", \"total_step\": 0, \"health/uniformity\": -1}\n");
    free(report(t));
}

static void a_run_that_measured_nothing_has_sentences_instead_of_figures(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    write_text(test_path(t, "run/metrics.jsonl"), "");
    assert_int_equal(unlink(test_path(t, "run/examples.h5")), 0);
    char *html = report(t);
    assert_has_not(html, "<svg");
    assert_has(html, "Loss: not measured in this run.");
    assert_has(html, "The run holds no examples");
    assert_has(html, "No epoch is finished.");
    check_balance(html);
    free(html);
}

static void a_data_set_that_is_gone_leaves_out_the_pictures(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    assert_int_equal(unlink(test_path(t, "data.h5")), 0);
    char *html = report(t);
    assert_has(html, "Images cannot be shown");
    assert_has(html, "data.h5");
    assert_has_not(html, "<img");
    check_balance(html);
    free(html);
}

static void neighbours_that_are_not_in_the_data_set_are_numbers(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    make_examples(t, INT64_MAX);
    char *html = report(t);
    assert_has(html, "<span class=\"gone\">9223372036854775807</span>");
    free(html);
}

static void missing_and_damaged_files_are_named(void **state)
{
    test_env *t = *state;
    assert_fails(clv_report_write(t->ctx, test_path(t, "nowhere"), NULL), CLV_ERR_IO,
                 "is not a run directory: no such folder");
    make_run(t, "");
    write_text(test_path(t, "run/examples.h5"), "no HDF5 at all");
    assert_fails(clv_report_write(t->ctx, test_path(t, "run"), NULL), CLV_ERR_FORMAT, "examples.h5");
    make_examples(t, 2);
    write_text(test_path(t, "run/config.yaml"), "data: [a, b]\n");
    assert_fails(clv_report_write(t->ctx, test_path(t, "run"), NULL), CLV_ERR_FORMAT,
                 "config.yaml, line 1: expected one plain value");
    write_text(test_path(t, "run/config.yaml"), "");
    assert_fails(clv_report_write(t->ctx, test_path(t, "run"), NULL), CLV_ERR_FORMAT, "expected a mapping");
    make_config(t, "");
    assert_int_equal(unlink(test_path(t, "run/metrics.jsonl")), 0);
    assert_fails(clv_report_write(t->ctx, test_path(t, "run"), NULL), CLV_ERR_IO, "no metrics.jsonl");
    assert_int_equal(unlink(test_path(t, "run/config.yaml")), 0);
    assert_fails(clv_report_write(t->ctx, test_path(t, "run"), NULL), CLV_ERR_IO, "it has no config.yaml");
    assert_int_not_equal(access(test_path(t, "run/report.html"), F_OK), 0);
}

static void examples_whose_arrays_do_not_fit_together_are_refused(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    float features[6] = { 0 };
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, test_path(t, "run/examples.h5"), true, &h5));
    write_view(h5, "features", clv_view_1d(features, CLV_F32, 6));
    assert_ok(clvi_h5_commit(h5));
    assert_fails(clv_report_write(t->ctx, test_path(t, "run"), NULL), CLV_ERR_FORMAT, "'features': expected a matrix");
}

/* A program of this name in the test's folder. */
static void make_program(test_env *t, const char *name, const char *script)
{
    const char *path = test_path(t, name);
    write_text(path, script);
    assert_int_equal(chmod(path, 0700), 0);
}

/* The test's folder is all there is in PATH. */
static clv_status report_with_own_path(test_env *t)
{
    char *path = strdup(getenv("PATH"));
    setenv("PATH", t->folder, 1);
    const clv_status st = clv_report_write(t->ctx, test_path(t, "run"), NULL);
    setenv("PATH", path, 1);
    free(path);
    assert_int_not_equal(access(test_path(t, "run/report.html"), F_OK), 0);
    return st;
}

static void without_gnuplot_the_message_says_what_to_install(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    assert_fails(report_with_own_path(t), CLV_ERR_UNSUPPORTED, "timeout, which is not installed");
    make_program(t, "timeout", "#!/bin/sh\nexec /usr/bin/timeout \"$@\"\n");
    assert_fails(report_with_own_path(t), CLV_ERR_UNSUPPORTED, "gnuplot, which is not installed (Debian: gnuplot-nox)");
}

static void a_gnuplot_that_fails_to_draw_is_told(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    make_program(t, "timeout", "#!/bin/sh\nexit 124\n"); /* as it ends when the time is up */
    assert_fails(report_with_own_path(t), CLV_ERR_UNSUPPORTED, "did not finish a figure within 60 seconds");
    make_program(t, "timeout", "#!/bin/sh\necho '<svg>'\n");
    assert_fails(report_with_own_path(t), CLV_ERR_INTERNAL, "gnuplot drew no figure for 'Loss'");
}

static void what_gnuplot_says_is_passed_on(void **state)
{
    test_env *t = *state;
    clvi_text script = { .ctx = t->ctx }, page = { .ctx = t->ctx };
    clvi_text_put(&script, "plot nothing_of_the_kind\n");
    assert_fails(clvi_gnuplot("x", "a figure", 100, 100, &script, &page), CLV_ERR_INTERNAL, "undefined variable");
    clvi_text_free(&script);
    clvi_text_free(&page);
}

static clv_status read_and_release(clv_context *ctx, void *directory)
{
    clvi_run run;
    const clv_status st = clvi_run_read(ctx, directory, &run);
    clvi_run_release(&run);
    return st;
}

static void reading_a_run_survives_every_refused_allocation(void **state)
{
    test_env *t = *state;
    make_run(t, "");
    char directory[600];
    snprintf(directory, sizeof directory, "%s", test_path(t, "run"));
    test_each_allocation_fails(t, read_and_release, directory);
}

static void text_is_escaped_and_encoded(void **state)
{
    test_env *t = *state;
    clvi_text text = { .ctx = t->ctx };
    clvi_text_escape(&text, "a\xff\xc3\xa9\xc0\x80\x1b\xed\xa0\x80");
    assert_string_equal(text.bytes, "a&#xfffd;\xc3\xa9&#xfffd;&#xfffd;&#xfffd;&#xfffd;&#xfffd;&#xfffd;");
    clvi_text_free(&text);
    static const struct {
        const char *plain, *coded;
    } pairs[] = {
        { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foobar", "Zm9vYmFy" }
    }; /* RFC 4648, section 10 */
    for (size_t i = 0; i < 5; i++) {
        clvi_text_base64(&text, (const uint8_t *)pairs[i].plain, strlen(pairs[i].plain));
        assert_string_equal(text.bytes ? text.bytes : "", pairs[i].coded);
        clvi_text_free(&text);
    }
}

TEST_MAIN(TEST(a_report_has_all_its_sections), TEST(a_report_is_well_formed_and_loads_nothing),
          TEST(the_same_run_gives_the_same_bytes), TEST(text_from_outside_is_escaped),
          TEST(the_version_of_the_run_is_told_where_a_checkpoint_has_one),
          TEST(damaged_lines_of_metrics_are_passed_over), TEST(a_run_of_a_single_epoch_has_figures),
          TEST(numbers_of_any_kind_give_figures), TEST(a_run_that_measured_nothing_has_sentences_instead_of_figures),
          TEST(a_data_set_that_is_gone_leaves_out_the_pictures),
          TEST(neighbours_that_are_not_in_the_data_set_are_numbers), TEST(missing_and_damaged_files_are_named),
          TEST(examples_whose_arrays_do_not_fit_together_are_refused),
          TEST(without_gnuplot_the_message_says_what_to_install), TEST(what_gnuplot_says_is_passed_on),
          TEST(a_gnuplot_that_fails_to_draw_is_told), TEST(reading_a_run_survives_every_refused_allocation),
          TEST(text_is_escaped_and_encoded))
