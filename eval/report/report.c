/* report.c: a run directory as one HTML file. The page depends on the run and its data sets alone: the same run gives
 * the same bytes. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "core/file.h"
#include "eval/report/figures.h"
#include "eval/report/pictures.h"
#include "eval/report/style.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE  4096
#define MAX_EPOCHS 60 /* rows of the table of epochs */

/* ---- headline figures ---- */

static void open_fact(clvi_text *page, const char *name)
{
    clvi_text_print(page, "<div><dt>%s</dt><dd>", name);
}

static void put_knn(clvi_text *page, const clvi_run *run)
{
    const int64_t best = clvi_run_find_epoch(run, CLVI_RUN_KNN, true);
    open_fact(page, "best kNN accuracy");
    if (best < 0) {
        clvi_text_put(page, "&ndash;</dd><dd>not measured</dd></div>\n");
        return;
    }
    clvi_text_print(page, "%.2f %%</dd><dd>epoch %" PRId64 "; ", (double)run->epochs[best].line.value[CLVI_RUN_KNN],
                    run->epochs[best].epoch);
    clvi_text_escape(page, run->protocol ? run->protocol : "protocol unknown");
    clvi_text_put(page, "</dd></div>\n");
}

static void put_loss(clvi_text *page, const clvi_run *run)
{
    const int64_t last = clvi_run_find_epoch(run, CLVI_RUN_LOSS, false);
    open_fact(page, "final loss");
    if (last < 0)
        clvi_text_put(page, "&ndash;</dd><dd>no epoch finished</dd></div>\n");
    else
        clvi_text_print(page, "%.4f</dd><dd>mean of epoch %" PRId64 "</dd></div>\n",
                        (double)run->epochs[last].line.value[CLVI_RUN_LOSS], run->epochs[last].epoch);
}

static void put_progress(clvi_text *page, const clvi_run *run)
{
    const clvi_run_epoch *last = run->epoch_count ? &run->epochs[run->epoch_count - 1] : NULL;
    const int64_t steps = CLVI_MAX(last ? last->line.step : 0,
                                   run->step_count ? run->steps[run->step_count - 1].step : 0);
    open_fact(page, "epochs");
    clvi_text_print(page, "%" PRId64 "</dd><dd>", last ? last->epoch : 0);
    if (clvi_run_option_value(run, "epochs")[0]) {
        clvi_text_put(page, "of ");
        clvi_text_escape(page, clvi_run_option_value(run, "epochs"));
        clvi_text_put(page, "; ");
    }
    clvi_text_print(page, "%" PRId64 " steps</dd></div>\n", steps);
}

static void put_throughput(clvi_text *page, const clvi_run *run)
{
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t i = 0; i < run->epoch_count; i++) {
        const float value = run->epochs[i].line.value[CLVI_RUN_IMAGES];
        if (!isfinite(value)) continue;
        sum += (double)value;
        count++;
    }
    open_fact(page, "images per second");
    if (count)
        clvi_text_print(page, "%.0f</dd><dd>mean over epochs</dd></div>\n", sum / (double)count);
    else
        clvi_text_put(page, "&ndash;</dd><dd>not measured</dd></div>\n");
}

static void put_images(clvi_text *page, const clvi_pictures *pictures)
{
    clv_dataset_info info = { .count = 0 };
    open_fact(page, "training images");
    if (!pictures->train) {
        clvi_text_put(page, "&ndash;</dd><dd>the data set is gone</dd></div>\n");
        return;
    }
    clv_dataset_describe(pictures->train, &info);
    clvi_text_print(page, "%" PRId64 "</dd><dd>", info.count);
    if (info.has_labels) clvi_text_print(page, "%" PRId64 " classes", info.classes);
    if (pictures->val) {
        clv_dataset_describe(pictures->val, &info);
        clvi_text_print(page, "; %" PRId64 " held out", info.count);
    }
    clvi_text_put(page, "</dd></div>\n");
}

/* ---- sections ---- */

/* The run's name is its folder's. */
static void put_name(clvi_text *page, const char *directory)
{
    char name[PATH_SIZE];
    snprintf(name, sizeof name, "%s", directory);
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--) name[n - 1] = 0;
    const char *slash = strrchr(name, '/');
    clvi_text_escape(page, slash && slash[1] ? slash + 1 : name);
}

static void put_head(clvi_text *page, const char *directory, const clvi_run *run)
{
    clvi_text_put(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    put_name(page, directory);
    clvi_text_put(page, " - Cleave</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n");
    clvi_text_put(page, clvi_report_style);
    clvi_text_put(page, "</style>\n</head>\n<body>\n<h1>");
    put_name(page, directory);
    clvi_text_put(page, "</h1>\n<p class=\"lead\">");
    static const char *const told[] = { "method", "arch", "data" };
    for (size_t i = 0; i < CLVI_COUNT(told); i++) {
        const char *value = clvi_run_option_value(run, told[i]);
        if (!value[0]) continue;
        clvi_text_print(page, "%s%s ", i ? " &middot; " : "", told[i]);
        clvi_text_escape(page, value);
    }
    clvi_text_put(page, "</p>\n");
}

static void put_headline(clvi_text *page, const clvi_run *run, const clvi_pictures *pictures)
{
    clvi_text_put(page, "<dl class=\"facts\">\n");
    put_knn(page, run);
    put_loss(page, run);
    put_progress(page, run);
    put_throughput(page, run);
    put_images(page, pictures);
    clvi_text_put(page, "</dl>\n");
    if (run->bad_lines)
        clvi_text_print(page,
                        "<p class=\"missing\">%" PRId64
                        " lines of metrics.jsonl could not be read and were passed over.</p>\n",
                        run->bad_lines);
}

static clv_status put_figures(clvi_text *page, const clvi_run *run)
{
    clvi_text_put(page, "<h2>Curves</h2>\n<div class=\"figures\">\n");
    CLV_TRY(clvi_figures_curves(run, page));
    clvi_text_put(page, "</div>\n<h2>Scores</h2>\n<p>How alike the training pairs are, -1 to 1: the stronger the "
                        "colour, the more of an epoch's "
                        "scores lie there.</p>\n<div class=\"figures\">\n");
    CLV_TRY(clvi_figures_scores(run, page));
    clvi_text_put(page, "</div>\n");
    return page->status;
}

static void put_neighbours(clvi_text *page, const clvi_run *run, clvi_pictures *pictures)
{
    clvi_text_put(page, "<h2>Nearest neighbours</h2>\n");
    if (run->examples == 0) {
        clvi_text_put(page, "<p class=\"missing\">The run holds no examples: it has not measured kNN accuracy.</p>\n");
        return;
    }
    if (!pictures->train || (pictures->held_out && !pictures->val)) {
        clvi_text_put(page, "<p class=\"missing\">Images cannot be shown, numbers stand for them: ");
        clvi_text_escape(page, pictures->why[0] ? pictures->why : "the configuration names no data set");
        clvi_text_put(page, "</p>\n");
    }
    clvi_text_print(
        page, "<p>%s. A green frame and &#10003; mark the query's own class, a red one and &#10007; another.</p>\n",
        pictures->held_out ? "Held-out images and the training images whose features are most alike"
                           : "Training images and the others whose features are most alike");
    clvi_pictures_neighbours(pictures, run, page);
}

static void put_legend(clvi_text *page, const clvi_run *run, const clvi_pictures *pictures)
{
    bool present[CLVI_FIGURES_CLASSES] = { false }, more = false;
    for (int64_t i = 0; i < run->rows; i++) {
        if (run->labels[i] >= 0 && run->labels[i] < CLVI_FIGURES_CLASSES)
            present[run->labels[i]] = true;
        else
            more = true;
    }
    clvi_text_put(page, "<div class=\"legend\">");
    for (int64_t c = 0; c < CLVI_FIGURES_CLASSES; c++) {
        if (!present[c]) continue;
        clvi_text_put(page, "<span>");
        clvi_figures_class_mark(c, page);
        clvi_text_put(page, " ");
        clvi_pictures_class(pictures, c, page);
        clvi_text_put(page, "</span>\n");
    }
    if (more) clvi_text_put(page, "<span>and more, which look like these again</span>\n");
    clvi_text_put(page, "</div>\n");
}

static clv_status put_scatter(clvi_text *page, const clvi_run *run, const clvi_pictures *pictures)
{
    clvi_text_put(page, "<h2>Features</h2>\n");
    if (run->rows == 0) {
        clvi_text_put(page, "<p class=\"missing\">The run holds no features: it has not measured kNN accuracy.</p>\n");
        return page->status;
    }
    clvi_text_print(page,
                    "<figure>\n<figcaption><b>Principal components</b> %" PRId64
                    " images by the two directions in which their "
                    "features of %" PRId64 " values differ most.</figcaption>\n",
                    run->rows, run->dim);
    CLV_TRY(clvi_figures_scatter(run, page));
    put_legend(page, run, pictures);
    clvi_text_put(page, "</figure>\n");
    return page->status;
}

static void put_cell(clvi_text *page, const clvi_run_epoch *epoch, clvi_run_metric metric, const char *format)
{
    char text[64] = "&ndash;";
    const double value = (double)epoch->line.value[metric];
    if (isfinite(value)) snprintf(text, sizeof text, format, value);
    clvi_text_print(page, "<td>%s</td>", text);
}

/* Of many epochs, evenly spaced ones and always the last. */
static void put_epochs(clvi_text *page, const clvi_run *run)
{
    static const struct {
        const char *heading, *format;
        clvi_run_metric metric;
    } columns[] = {
        { "loss", "%.4f", CLVI_RUN_LOSS },
        { "kNN top-1 (%)", "%.2f", CLVI_RUN_KNN },
        { "pretext top-1 (%)", "%.2f", CLVI_RUN_PRETEXT },
        { "learning rate", "%.5g", CLVI_RUN_LR },
        { "images/s", "%.1f", CLVI_RUN_IMAGES },
        { "step (s)", "%.3f", CLVI_RUN_TIME_STEP },
        { "of it data (s)", "%.3f", CLVI_RUN_TIME_DATA },
    };
    const int64_t every = (run->epoch_count + MAX_EPOCHS - 1) / MAX_EPOCHS;
    clvi_text_put(page, "<h2>Epochs</h2>\n");
    if (run->epoch_count == 0) {
        clvi_text_put(page, "<p class=\"missing\">No epoch is finished.</p>\n");
        return;
    }
    if (every > 1) clvi_text_print(page, "<p>One epoch in %" PRId64 ", and the last.</p>\n", every);
    clvi_text_put(page, "<div class=\"wide\"><table class=\"numbers\">\n<thead><tr><th>epoch</th>");
    for (size_t c = 0; c < CLVI_COUNT(columns); c++) clvi_text_print(page, "<th>%s</th>", columns[c].heading);
    clvi_text_put(page, "</tr></thead>\n<tbody>\n");
    for (int64_t i = 0; i < run->epoch_count; i++) {
        if ((i + 1) % every && i + 1 < run->epoch_count) continue;
        clvi_text_print(page, "<tr><td>%" PRId64 "</td>", run->epochs[i].epoch);
        for (size_t c = 0; c < CLVI_COUNT(columns); c++)
            put_cell(page, &run->epochs[i], columns[c].metric, columns[c].format);
        clvi_text_put(page, "</tr>\n");
    }
    clvi_text_put(page, "</tbody>\n</table></div>\n");
}

static void put_configuration(clvi_text *page, const clvi_run *run)
{
    clvi_text_put(page, "<h2>Configuration</h2>\n<dl class=\"config\">\n");
    for (int64_t i = 0; i < run->option_count; i++) {
        clvi_text_put(page, "<div><dt>");
        clvi_text_escape(page, run->options[i].name);
        clvi_text_put(page, "</dt><dd>");
        clvi_text_escape(page, run->options[i].value);
        clvi_text_put(page, "</dd></div>\n");
    }
    clvi_text_print(page, "</dl>\n<h2>Versions</h2>\n<p>Report by Cleave %s; run by Cleave ", clv_version());
    clvi_text_escape(page, run->version ? run->version : "(no checkpoint tells)");
    clvi_text_put(page, ".</p>\n</body>\n</html>\n");
}

static clv_status put_page(clvi_text *page, const char *directory, const clvi_run *run, clvi_pictures *pictures)
{
    put_head(page, directory, run);
    put_headline(page, run, pictures);
    CLV_TRY(put_figures(page, run));
    put_neighbours(page, run, pictures);
    CLV_TRY(put_scatter(page, run, pictures));
    put_epochs(page, run);
    put_configuration(page, run);
    return page->status;
}

clv_status clv_report_write(clv_context *ctx, const char *run, const char *output)
{
    CLV_CHECK(ctx && run, CLV_ERR_INVALID, "clv_report_write: context and run must not be NULL");
    char path[PATH_SIZE];
    const int n = output ? snprintf(path, sizeof path, "%s", output)
                         : snprintf(path, sizeof path, "%s/report.html", run);
    CLV_CHECK(n > 0 && n < PATH_SIZE, CLV_ERR_INVALID,
              "clv_report_write: the output's path is empty or longer than %d bytes", PATH_SIZE);
    clvi_run read;
    clvi_pictures pictures = { .ctx = ctx };
    clvi_text page = { .ctx = ctx };
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clvi_run_read(ctx, run, &read));
    CLV_TRY_OR_DONE(clvi_pictures_open(ctx, &read, &pictures));
    CLV_TRY_OR_DONE(put_page(&page, run, &read, &pictures));
    st = clvi_file_write(path, page.bytes, page.size);
done:
    clvi_text_free(&page);
    clvi_pictures_release(&pictures);
    clvi_run_release(&read);
    return st;
}
