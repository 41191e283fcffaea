/* compare.c: several runs on one page, and the picture of their scores. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "core/file.h"
#include "eval/report/figures.h"
#include "eval/report/style.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct several {
    int                count;
    const char *const *path;
    clvi_run           run[CLV_REPORT_RUNS];
} several;

static clv_status read_all(clv_context *ctx, const char *const *runs, int least, int count, several *out)
{
    CLV_CHECK(count >= least && count <= CLV_REPORT_RUNS, CLV_ERR_INVALID, "expected %d to %d runs, got %d", least,
              CLV_REPORT_RUNS, count);
    out->path = runs;
    for (int r = 0; r < count; r++) {
        out->count = r + 1;                                  /* a run that cannot be read is released, too */
        CLV_TRY(clvi_run_read(ctx, runs[r], &out->run[r]));
    }
    return CLV_OK;
}

static void release_all(several *s)
{
    for (int r = 0; r < s->count; r++) clvi_run_release(&s->run[r]);
}

static void put_mark(clvi_text *page, int run)
{
    clvi_text_print(page, "<i style=\"color:%s\">&#9679;</i> ", clvi_figures_run_color(run));
}

/* ---- the table ---- */

static void put_figure(clvi_text *page, const clvi_run *run, clvi_run_metric metric, bool best, const char *format)
{
    char text[64] = "&ndash;";
    const int64_t at = clvi_run_find_epoch(run, metric, best);
    if (at >= 0) snprintf(text, sizeof text, format, (double)run->epochs[at].line.value[metric]);
    clvi_text_print(page, "<td>%s</td>", text);
}

static void put_row(clvi_text *page, const several *s, int r)
{
    const clvi_run *run = &s->run[r];
    clvi_text_put(page, "<tr><td>");
    put_mark(page, r);
    clvi_text_escape(page, s->path[r]);
    clvi_text_put(page, "</td><td>");
    clvi_text_escape(page, clvi_run_option_value(run, "method"));
    clvi_text_put(page, "</td><td>");
    clvi_text_escape(page, clvi_run_option_value(run, "arch"));
    clvi_text_print(page, "</td><td>%" PRId64 "</td>", run->epoch_count ? run->epochs[run->epoch_count - 1].epoch : 0);
    put_figure(page, run, CLVI_RUN_LOSS, false, "%.4f");
    put_figure(page, run, CLVI_RUN_KNN, false, "%.2f");
    put_figure(page, run, CLVI_RUN_KNN, true, "%.2f");
    put_figure(page, run, CLVI_RUN_ACC1, false, "%.2f");
    put_figure(page, run, CLVI_RUN_IMAGES, false, "%.0f");
    clvi_text_put(page, "<td>");
    clvi_text_escape(page, run->protocol ? run->protocol : "no kNN");
    clvi_text_put(page, "</td></tr>\n");
}

static void put_table(clvi_text *page, const several *s)
{
    clvi_text_put(page, "<h2>Final figures</h2>\n<div class=\"wide\"><table class=\"numbers\">\n<thead><tr><th>run</th>"
                        "<th>method</th><th>arch</th><th>epochs</th><th>loss</th><th>kNN, last (%)</th>"
                        "<th>kNN, best (%)</th><th>held-out acc@1 (%)</th><th>images/s</th><th>kNN protocol</th></tr>"
                        "</thead>\n<tbody>\n");
    for (int r = 0; r < s->count; r++) put_row(page, s, r);
    clvi_text_put(page, "</tbody>\n</table></div>\n");
}

/* ---- settings ---- */

static bool differs(const several *s, const char *name)
{
    if (!strcmp(name, "results-dir")) return false;
    const char *first = clvi_run_option_value(&s->run[0], name);
    for (int r = 1; r < s->count; r++)
        if (strcmp(first, clvi_run_option_value(&s->run[r], name)) != 0) return true;
    return false;
}

/* A run of another version may have settings that the others do not know. */
static bool told_before(const several *s, int run, const char *name)
{
    for (int r = 0; r < run; r++)
        for (int64_t i = 0; i < s->run[r].option_count; i++)
            if (!strcmp(s->run[r].options[i].name, name)) return true;
    return false;
}

static void put_settings(clvi_text *page, const several *s)
{
    bool any = false;
    clvi_text_put(page, "<h2>Settings that differ</h2>\n<div class=\"wide\"><table class=\"numbers\">\n<tbody>\n");
    for (int r = 0; r < s->count; r++)
        for (int64_t i = 0; i < s->run[r].option_count; i++) {
            const char *name = s->run[r].options[i].name;
            if (told_before(s, r, name) || !differs(s, name)) continue;
            clvi_text_put(page, "<tr><th>");
            clvi_text_escape(page, name);
            clvi_text_put(page, "</th>");
            for (int k = 0; k < s->count; k++) {
                clvi_text_put(page, "<td>");
                put_mark(page, k);
                clvi_text_escape(page, clvi_run_option_value(&s->run[k], name));
                clvi_text_put(page, "</td>");
            }
            clvi_text_put(page, "</tr>\n");
            any = true;
        }
    clvi_text_put(page, "</tbody>\n</table></div>\n");
    if (!any) clvi_text_put(page, "<p>None.</p>\n");
}

static clv_status put_page(clvi_text *page, const several *s)
{
    clvi_text_print(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                          "content=\"width=device-width,initial-scale=1\">\n<title>%d runs - Cleave</title>\n"
                          "<link rel=\"icon\" href=\"data:,\">\n<style>\n", s->count);
    clvi_text_put(page, clvi_report_style);
    clvi_text_print(page, "</style>\n</head>\n<body>\n<h1>%d runs</h1>\n<div class=\"legend\">", s->count);
    for (int r = 0; r < s->count; r++) {
        clvi_text_put(page, "<span>");
        put_mark(page, r);
        clvi_text_escape(page, s->path[r]);
        clvi_text_put(page, "</span>\n");
    }
    clvi_text_put(page, "</div>\n");
    put_table(page, s);
    clvi_text_put(page, "<h2>Curves</h2>\n<div class=\"figures\">\n");
    CLV_TRY(clvi_figures_overlay(s->run, s->count, page));
    clvi_text_put(page, "</div>\n");
    put_settings(page, s);
    clvi_text_print(page, "<p>Report by Cleave %s.</p>\n</body>\n</html>\n", clv_version());
    return page->status;
}

clv_status clv_report_compare(clv_context *ctx, const char *const *runs, int count, const char *output)
{
    CLV_CHECK(ctx && runs && output, CLV_ERR_INVALID, "clv_report_compare: an argument is NULL");
    several s = { .count = 0 };
    clvi_text page = { .ctx = ctx };
    clv_status st = read_all(ctx, runs, 2, count, &s);
    if (st == CLV_OK) st = put_page(&page, &s);
    if (st == CLV_OK) st = clvi_file_write(output, page.bytes, page.size);
    clvi_text_free(&page);
    release_all(&s);
    return st;
}

/* ---- scores ---- */

/* Index of the epoch asked for, or of the last with histograms. */
static clv_status find_scores(const several *s, int r, int64_t epoch, int64_t *at)
{
    const clvi_run *run = &s->run[r];
    *at = -1;
    for (int64_t i = 0; i < run->epoch_count; i++)
        if (run->epochs[i].has_histograms && (epoch == 0 || run->epochs[i].epoch == epoch)) *at = i;
    CLV_CHECK(*at >= 0 || epoch == 0, CLV_ERR_INVALID, "'%s' has no scores of epoch %" PRId64, s->path[r], epoch);
    CLV_CHECK(*at >= 0, CLV_ERR_INVALID, "'%s' has no scores: only methods with a bank of keys have, after an epoch",
              s->path[r]);
    return CLV_OK;
}

static clv_status draw_scores(const several *s, int64_t epoch, clvi_text *svg)
{
    static const char open[] = "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" "
                               "style=\"background:white;color:black\"";
    int64_t at[CLV_REPORT_RUNS];
    clvi_text inside = { .ctx = svg->ctx };
    for (int r = 0; r < s->count; r++) CLV_TRY(find_scores(s, r, epoch, &at[r]));
    const clv_status st = clvi_figures_distribution(s->run, at, s->count, &inside);
    if (st == CLV_OK && inside.status == CLV_OK) {
        clvi_text_put(svg, open);
        clvi_text_put_bytes(svg, inside.bytes + 4, inside.size - 4);         /* after "<svg" */
    }
    clvi_text_free(&inside);
    return st == CLV_OK ? svg->status : st;
}

clv_status clv_plot_scores(clv_context *ctx, const char *const *runs, int count, int64_t epoch, const char *output)
{
    CLV_CHECK(ctx && runs && output && epoch >= 0, CLV_ERR_INVALID, "clv_plot_scores: an argument is NULL or below 0");
    several s = { .count = 0 };
    clvi_text svg = { .ctx = ctx };
    clv_status st = read_all(ctx, runs, 1, count, &s);
    if (st == CLV_OK) st = draw_scores(&s, epoch, &svg);
    if (st == CLV_OK) st = clvi_file_write(output, svg.bytes, svg.size);
    clvi_text_free(&svg);
    release_all(&s);
    return st;
}
