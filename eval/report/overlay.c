/* overlay.c: figures of several runs: curves over each other, and distributions of scores. Runs are told apart
 * by colour, and the page says whose it is: names of folders never reach gnuplot. */
#include "eval/report/figures.h"
#include "core/checked.h"
#include "eval/report/gnuplot.h"

#include <math.h>

#define WIDTH  520
#define HEIGHT 300

static const char *const colors[CLV_REPORT_RUNS] = {
    "#2f7ed8", "#e8743b", "#2ca58d", "#d1495b", "#8e6bd1", "#c79a1e",
    "#4fb3d9", "#d977b4", "#7f9c3b", "#8a8f98", "#a0673f", "#5a6fd6",
};

const char *clvi_figures_run_color(int run)
{
    return colors[run];
}

static const struct {
    const char     *name, *heading, *note, *ylabel;
    clvi_run_metric metric;
} overlays[] = {
    { "loss", "Loss", "Mean of each epoch. Losses of different methods do not compare.", "loss", CLVI_RUN_LOSS },
    { "knn", "kNN accuracy", "By each run's own protocol, which stands in the table.", "top-1 (%)", CLVI_RUN_KNN },
    { "acc", "Accuracy of the classifier", "On held-out images.", "top-1 (%)", CLVI_RUN_ACC1 },
    { "pretext", "Pretext accuracy", "Queries whose positive beats every negative.", "top-1 (%)", CLVI_RUN_PRETEXT },
    { "std", "Spread of the features", "1: over the sphere; 0: collapsed to a point.", "std", CLVI_RUN_STD },
    { "rank", "Effective rank", "How many directions the features use.", "effective rank", CLVI_RUN_RANK },
    { "lr", "Learning rate", "At the end of each epoch.", "learning rate", CLVI_RUN_LR },
    { "images", "Throughput", "Mean of each epoch.", "images per second", CLVI_RUN_IMAGES },
};

/* Writes block $d<index>; whether it holds anything. */
static bool put_block(clvi_text *script, const clvi_run *run, int index, clvi_run_metric metric)
{
    bool any = false;
    clvi_text_print(script, "$d%d << EOD\n", index);
    for (int64_t i = 0; i < run->epoch_count; i++) {
        const double value = (double)run->epochs[i].line.value[metric];
        if (!isfinite(value)) continue;
        clvi_text_print(script, "%" PRId64 " %.6g\n", run->epochs[i].epoch, value);
        any = true;
    }
    clvi_text_put(script, "EOD\n");
    return any;
}

static clv_status draw_overlay(const clvi_run *runs, int count, size_t which, clvi_text *page)
{
    clvi_text script = { .ctx = page->ctx }, plot = { .ctx = page->ctx };
    clv_status st = CLV_OK;
    const char *separator = "plot ";
    clvi_text_put(&script, "set xlabel \"epoch\"\nset rmargin 2\nunset key\nset tmargin 1\n");
    clvi_text_print(&script, "set ylabel \"%s\" offset 1,0\n", overlays[which].ylabel);
    for (int r = 0; r < count; r++) {
        if (!put_block(&script, &runs[r], r, overlays[which].metric)) continue;
        clvi_text_print(&plot, "%s$d%d using 1:2 with linespoints pt 7 ps 0.3 lw 2 lc rgb \"%s\"", separator, r,
                        colors[r]);
        separator = ", ";
    }
    if (!plot.size) goto done;                                /* no run has it */
    clvi_text_put_bytes(&script, plot.bytes, plot.size);
    clvi_text_put(&script, "\n");
    if (plot.status != CLV_OK) script.status = plot.status;
    clvi_text_print(page, "<figure>\n<figcaption><b>%s</b> %s</figcaption>\n", overlays[which].heading,
                    overlays[which].note);
    CLV_TRY_OR_DONE(clvi_gnuplot(overlays[which].name, overlays[which].heading, WIDTH, HEIGHT, &script, page));
    clvi_text_put(page, "</figure>\n");
done:
    clvi_text_free(&plot);
    clvi_text_free(&script);
    return st;
}

clv_status clvi_figures_overlay(const clvi_run *runs, int count, clvi_text *page)
{
    for (size_t i = 0; i < CLVI_COUNT(overlays); i++) CLV_TRY(draw_overlay(runs, count, i, page));
    return page->status;
}

/* Density, so that the area under each curve is 1. */
static void put_density(clvi_text *script, const char *name, int run, const float *share)
{
    const double width = 2.0 / CLV_SCORE_BINS;
    clvi_text_print(script, "$%s%d << EOD\n", name, run);
    for (int b = 0; b < CLV_SCORE_BINS; b++)
        clvi_text_print(script, "%.6g %.6g\n", (b + 0.5) * width - 1.0, (double)share[b] / width);
    clvi_text_put(script, "EOD\n");
}

clv_status clvi_figures_distribution(const clvi_run *runs, const int64_t *at, int count, clvi_text *page)
{
    clvi_text script = { .ctx = page->ctx };
    clvi_text_put(&script, "set xlabel \"score: cosine of query and key\"\nset ylabel \"density\"\nset xrange [-1:1]\n"
                           "set yrange [0:*]\nset rmargin 2\n");
    for (int r = 0; r < count; r++) {
        put_density(&script, "p", r, runs[r].epochs[at[r]].positive);
        put_density(&script, "n", r, runs[r].epochs[at[r]].negative);
    }
    for (int r = 0; r < count; r++)
        clvi_text_print(&script, "%s $n%d using 1:2 with lines lw 2 dt 2 lc rgb \"%s\" title \"%d: negatives\", "
                        "$p%d using 1:2 with lines lw 2 lc rgb \"%s\" title \"%d: positives\"", r ? "," : "plot", r,
                        colors[r], r + 1, r, colors[r], r + 1);
    clvi_text_put(&script, "\n");
    const clv_status st = clvi_gnuplot("scores", "Distribution of scores", 900, 480, &script, page);
    clvi_text_free(&script);
    return st;
}
