/* test_report_compare.c: several runs on one page, and the picture of their scores, on run directories made by hand. */
#include <cleave/eval.h>
#include "core/file.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void put_histogram(char *text, size_t size, const char *name, int peak)
{
    const size_t n = strlen(text);
    size_t used = n + (size_t)snprintf(text + n, size - n, ", \"scores/%s_histogram\": [", name);
    for (int b = 0; b < CLV_SCORE_BINS; b++)
        used += (size_t)snprintf(text + used, size - used, "%s%d", b ? ", " : "", abs(b - peak) < 5 ? 3 : 0);
    snprintf(text + used, size - used, "]");
}

static const char *make_run(test_env *t, const char *name, const char *setting, double knn, bool scores)
{
    static char text[16384];
    char path[64];
    mkdir(test_path(t, name), 0777);
    snprintf(text, sizeof text, "method: moco\narch: resnet8\nresults-dir: \"%s\"\nepochs: 3\nlr: %s\n", name, setting);
    snprintf(path, sizeof path, "%s/config.yaml", name);
    assert_ok(clvi_file_write(test_path(t, path), text, strlen(text)));
    text[0] = 0;
    for (int e = 1; e <= 3; e++) {
        const size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "{\"kind\": \"epoch\", \"epoch\": %d, \"step\": 5, \"total_step\": %d, "
                 "\"train/loss\": %g, \"val/knn_top1\": %g, \"val/knn_protocol\": \"kNN k=3 <of %s>\"", e, 5 * e, 7.5 - e,
                 e == 2 ? knn + 5 : knn, name);
        if (scores) put_histogram(text, sizeof text, "positive", 50);
        if (scores) put_histogram(text, sizeof text, "negative", 32);
        strcat(text, "}\n");
    }
    snprintf(path, sizeof path, "%s/metrics.jsonl", name);
    assert_ok(clvi_file_write(test_path(t, path), text, strlen(text)));
    return strdup(test_path(t, name));
}

static char *read_text(test_env *t, const char *name)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(clvi_file_read(t->ctx, test_path(t, name), 1 << 24, &bytes, &size));
    char *text = malloc(size + 1);
    assert_non_null(text);
    memcpy(text, bytes, size);
    text[size] = 0;
    clvi_free(t->ctx, bytes);
    return text;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++) n++;
    return n;
}

static void runs_stand_beside_each_other(void **state)
{
    test_env *t = *state;
    const char *runs[2] = { make_run(t, "a", "0.03", 40.25, true), make_run(t, "b", "0.06", 50.5, false) };
    char out[512];
    snprintf(out, sizeof out, "%s", test_path(t, "both.html"));
    assert_ok(clv_report_compare(t->ctx, runs, 2, out));
    char *html = read_text(t, "both.html");
    assert_non_null(strstr(html, "<h1>2 runs</h1>"));
    assert_non_null(strstr(html, "<td>4.5000</td><td>40.25</td><td>45.25</td>"));       /* loss, last, best */
    assert_non_null(strstr(html, "<td>4.5000</td><td>50.50</td><td>55.50</td>"));
    assert_non_null(strstr(html, "kNN k=3 &lt;of b&gt;"));                              /* the protocol, escaped */
    assert_int_equal(count(html, "<figure>"), 2);                                       /* what some run has: loss, kNN */
    assert_non_null(strstr(html, "<tr><th>lr</th>"));
    assert_null(strstr(html, "<tr><th>epochs</th>"));                                   /* the same in both */
    assert_null(strstr(html, "<tr><th>results-dir</th>"));
    free(html);
    for (int i = 0; i < 2; i++) free((char *)runs[i]);
}

static void scores_are_drawn_as_a_picture_of_its_own(void **state)
{
    test_env *t = *state;
    const char *runs[2] = { make_run(t, "a", "0.03", 40, true), make_run(t, "b", "0.03", 40, false) };
    char out[512];
    snprintf(out, sizeof out, "%s", test_path(t, "scores.svg"));
    assert_ok(clv_plot_scores(t->ctx, runs, 1, 0, out));
    char *svg = read_text(t, "scores.svg");
    assert_memory_equal(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39);
    assert_non_null(strstr(svg, "1: positives"));
    assert_non_null(strstr(svg, "1: negatives"));
    free(svg);
    assert_ok(clv_plot_scores(t->ctx, runs, 1, 2, out));
    assert_fails(clv_plot_scores(t->ctx, runs, 1, 9, out), CLV_ERR_INVALID, "has no scores of epoch 9");
    assert_fails(clv_plot_scores(t->ctx, runs, 2, 0, out), CLV_ERR_INVALID, "only methods with a bank of keys have");
    for (int i = 0; i < 2; i++) free((char *)runs[i]);
}

static void bad_input_is_named(void **state)
{
    test_env *t = *state;
    const char *run = make_run(t, "a", "0.03", 40, true), *runs[CLV_REPORT_RUNS + 1];
    for (int i = 0; i <= CLV_REPORT_RUNS; i++) runs[i] = run;
    assert_fails(clv_report_compare(t->ctx, runs, 1, "x.html"), CLV_ERR_INVALID, "expected 2 to 12 runs, got 1");
    assert_fails(clv_report_compare(t->ctx, runs, CLV_REPORT_RUNS + 1, "x.html"), CLV_ERR_INVALID, "got 13");
    runs[1] = "/nowhere/at/all";
    assert_fails(clv_report_compare(t->ctx, runs, 2, "x.html"), CLV_ERR_IO, "no such folder");
    assert_fails(clv_plot_scores(t->ctx, runs, 0, 0, "x.svg"), CLV_ERR_INVALID, "expected 1 to 12 runs, got 0");
    free((char *)run);
}

TEST_MAIN(TEST(runs_stand_beside_each_other), TEST(scores_are_drawn_as_a_picture_of_its_own), TEST(bad_input_is_named))
