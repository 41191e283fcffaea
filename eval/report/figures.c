/* figures.c: scripts for gnuplot from the numbers of a run. */
#include "eval/report/figures.h"
#include "core/checked.h"
#include "eval/pca.h"
#include "eval/report/gnuplot.h"

#include <math.h>
#include <string.h>

#define WIDTH       520
#define HEIGHT      300
#define MAX_POINTS  500 /* of a curve; more are averaged in groups */
#define MAX_COLUMNS 240 /* of a heat map */
#define FEW         40  /* points that are shown one by one */

#define BLUE   "#2f7ed8" /* these keep their contrast on white and on near black */
#define ORANGE "#e8743b"
#define GREY   "#8a8f98"

/* ---- the horizontal axis ---- */

/* Steps of an epoch, as far as the run tells; 0: it does not, and curves are over steps. */
static double steps_per_epoch(const clvi_run *run)
{
    if (run->epoch_count == 0) return 0.0;
    const clvi_run_epoch *last = &run->epochs[run->epoch_count - 1];
    return (double)last->line.step / (double)last->epoch;
}

static void put_axis(clvi_text *script, const clvi_run *run)
{
    clvi_text_put(script, steps_per_epoch(run) > 0 ? "set xlabel \"epoch\"\n" : "set xlabel \"step\"\n");
    clvi_text_put(script, "set xrange [*<0:*]\n");
    if (run->epoch_count > 0 && run->epochs[run->epoch_count - 1].epoch <= 12) clvi_text_put(script, "set xtics 1\n");
}

/* ---- curves ---- */

typedef enum source { FROM_STEPS, FROM_EPOCHS } source;

typedef struct series {
    clvi_run_metric metric;
    source          from;
    const char     *title, *color;
    bool            second;     /* against the right axis */
} series;

typedef struct curves {
    const char *name, *heading, *note, *ylabel, *y2label;
    bool        logarithmic, from_zero;
    int         count;
    series      series[2];
} curves;

/* clang-format off: a table */
static const curves all_curves[] = {
    { "loss", "Loss", "Steps as logged, and the mean of each epoch.", "loss", NULL, false, false, 2,
      { { CLVI_RUN_LOSS, FROM_STEPS, "step", GREY, false },
        { CLVI_RUN_LOSS, FROM_EPOCHS, "epoch mean", BLUE, false } } },
    { "knn", "kNN accuracy",
      "Images of the held-out split (or left out one by one), classified by their nearest training images.",
      "top-1 (%)", NULL, false, false, 1, { { CLVI_RUN_KNN, FROM_EPOCHS, "kNN top-1", BLUE, false } } },
    { "accuracy", "Accuracy of the classifier", "Of the classifier under training, on held-out images.", "top-1 (%)", NULL,
      false, false, 1, { { CLVI_RUN_ACC1, FROM_EPOCHS, "top-1", BLUE, false } } },
    { "pretext", "Pretext accuracy", "Queries whose positive beats every negative.", "top-1 (%)", NULL, false, true, 2,
      { { CLVI_RUN_PRETEXT, FROM_STEPS, "step", GREY, false },
        { CLVI_RUN_PRETEXT, FROM_EPOCHS, "epoch mean", BLUE, false } } },
    { "lr", "Learning rate", "As the schedule set it.", "learning rate", NULL, false, true, 1,
      { { CLVI_RUN_LR, FROM_STEPS, "learning rate", BLUE, false } } },
    { "std", "Spread of the features",
      "Standard deviation of unit-length features times the root of their size: near 1 when spread over the sphere, "
      "0 when collapsed to a point.",
      "std", NULL, false, true, 1, { { CLVI_RUN_STD, FROM_STEPS, "std", BLUE, false } } },
    { "rank", "Effective rank", "How many directions the features use.", "effective rank", NULL, false, true, 1,
      { { CLVI_RUN_RANK, FROM_STEPS, "effective rank", BLUE, false } } },
    { "sphere", "Alignment and uniformity",
      "Alignment: mean squared distance of positive pairs. Uniformity: the lower, the more even over the sphere.",
      "alignment", "uniformity", false, false, 2,
      { { CLVI_RUN_ALIGNMENT, FROM_STEPS, "alignment", BLUE, false },
        { CLVI_RUN_UNIFORMITY, FROM_STEPS, "uniformity", ORANGE, true } } },
    { "queue", "Memory bank", "Share of its rows that hold keys, and how many steps old these are on average.", "fill",
      "age (steps)", false, true, 2,
      { { CLVI_RUN_QUEUE_FILL, FROM_STEPS, "fill", BLUE, false },
        { CLVI_RUN_QUEUE_AGE, FROM_STEPS, "age", ORANGE, true } } },
    { "gradient", "Gradient norm", "Of all parameters together, before the step.", "norm", NULL, true, false, 1,
      { { CLVI_RUN_GRAD_NORM, FROM_STEPS, "gradient norm", BLUE, false } } },
    { "images", "Throughput", "Mean of each epoch.", "images per second", NULL, false, true, 1,
      { { CLVI_RUN_IMAGES, FROM_EPOCHS, "images per second", BLUE, false } } },
};
/* clang-format on */

static const clvi_run_line *line_at(const clvi_run *run, source from, int64_t i)
{
    return from == FROM_STEPS ? &run->steps[i] : &run->epochs[i].line;
}

static int64_t lines_of(const clvi_run *run, source from)
{
    return from == FROM_STEPS ? run->step_count : run->epoch_count;
}

/* Values that are there. A logarithmic axis has no place for 0. */
static bool is_there(float value, bool logarithmic)
{
    return isfinite(value) && (!logarithmic || value > 0);
}

static int64_t count_values(const clvi_run *run, const series *s, bool logarithmic)
{
    int64_t count = 0;
    for (int64_t i = 0; i < lines_of(run, s->from); i++)
        count += is_there(line_at(run, s->from, i)->value[s->metric], logarithmic);
    return count;
}

/* Writes block $d<index>, groups of neighbours averaged; returns the number of points. */
static int64_t put_points(clvi_text *script, const clvi_run *run, const series *s, int index, bool logarithmic)
{
    const double per_epoch = steps_per_epoch(run), unit = per_epoch > 0 ? 1.0 / per_epoch : 1.0;
    const int64_t count = count_values(run, s, logarithmic), group = CLVI_MAX((count + MAX_POINTS - 1) / MAX_POINTS, 1);
    double x = 0.0, y = 0.0;
    int64_t in_group = 0, points = 0;
    clvi_text_print(script, "$d%d << EOD\n", index);
    for (int64_t i = 0, seen = 0; i < lines_of(run, s->from); i++) {
        const clvi_run_line *line = line_at(run, s->from, i);
        if (!is_there(line->value[s->metric], logarithmic)) continue;
        x += (double)line->step * unit;
        y += line->value[s->metric];
        seen++;
        if (++in_group < group && seen < count) continue;
        clvi_text_print(script, "%.6g %.6g\n", x / (double)in_group, y / (double)in_group);
        points++;
        x = y = 0.0;
        in_group = 0;
    }
    clvi_text_put(script, "EOD\n");
    return points;
}

static void put_missing(clvi_text *page, const char *heading)
{
    clvi_text_print(page, "<p class=\"missing\">%s: not measured in this run.</p>\n", heading);
}

/* Opens a <figure>; notes come from this file and need no escaping. */
static void put_caption(clvi_text *page, const char *heading, const char *note)
{
    clvi_text_print(page, "<figure>\n<figcaption><b>%s</b> %s</figcaption>\n", heading, note);
}

static clv_status draw_curves(const clvi_run *run, const curves *c, clvi_text *page)
{
    clvi_text script = { .ctx = page->ctx };
    int64_t points[2] = { 0 };
    clv_status st = CLV_OK;
    put_axis(&script, run);
    clvi_text_print(&script, "set ylabel \"%s\" offset 1,0\n", c->ylabel);
    if (c->y2label)
        clvi_text_print(&script, "set y2label \"%s\"\nset y2tics\nset border 11\n", c->y2label);
    else
        clvi_text_put(&script, "set rmargin 2\n");
    if (c->count == 1) clvi_text_put(&script, "unset key\nset tmargin 1\n");
    if (c->logarithmic) clvi_text_put(&script, "set logscale y\n");
    if (c->from_zero) clvi_text_put(&script, "set yrange [*<0:*]\nset y2range [*<0:*]\n");
    for (int i = 0; i < c->count; i++) points[i] = put_points(&script, run, &c->series[i], i, c->logarithmic);
    if (points[0] + points[1] == 0) {
        put_missing(page, c->heading);
        goto done;
    }
    for (int i = 0, drawn = 0; i < c->count; i++) {
        const series *s = &c->series[i];
        if (points[i] == 0) continue;
        clvi_text_print(&script, "%s $d%d using 1:2 %s with %s lw %s dt %d lc rgb \"%s\" title \"%s\"",
                        drawn++ ? "," : "plot", i, s->second && points[0] ? "axes x1y2" : "",
                        points[i] <= FEW ? "linespoints pt 7 ps 0.4" : "lines",
                        i == 0 && c->series[1].from == FROM_EPOCHS && c->count == 2 ? "1" : "2",
                        s->second ? 2 : 1, s->color, s->title);
    }
    clvi_text_put(&script, "\n");
    put_caption(page, c->heading, c->note);
    CLV_TRY_OR_DONE(clvi_gnuplot(c->name, c->heading, WIDTH, HEIGHT, &script, page));
    clvi_text_put(page, "</figure>\n");
done:
    clvi_text_free(&script);
    return st;
}

clv_status clvi_figures_curves(const clvi_run *run, clvi_text *page)
{
    for (size_t i = 0; i < CLVI_COUNT(all_curves); i++) CLV_TRY(draw_curves(run, &all_curves[i], page));
    return page->status;
}

/* ---- scores ---- */

typedef struct scores {
    const char *name, *heading, *note, *color;
    clvi_run_metric mean, variance;
    bool positive;
} scores;

static const scores both_scores[] = {
    { "positives", "Positive scores",
      "Similarity of the two views of one image. They should end well above the negative ones.", BLUE,
      CLVI_RUN_POSITIVE_MEAN, CLVI_RUN_POSITIVE_VAR, true },
    { "negatives", "Negative scores", "Similarity to keys of other images. They should come down towards 0.", ORANGE,
      CLVI_RUN_NEGATIVE_MEAN, CLVI_RUN_NEGATIVE_VAR, false },
};

/* Histograms joined into columns of equally many epochs. */
typedef struct heat_map {
    int64_t first, last, columns; /* epoch e lies between e - 1 and e, as in the curves */
    double width;                 /* epochs of a column */
    float *share;                 /* [columns, CLV_SCORE_BINS]; a column without epochs is 0 */
    float highest;
} heat_map;

static clv_status make_heat_map(const clvi_run *run, bool positive, heat_map *map)
{
    *map = (heat_map){ .first = 0 };
    for (int64_t i = 0; i < run->epoch_count; i++) {
        if (!run->epochs[i].has_histograms) continue;
        if (!map->first) map->first = run->epochs[i].epoch;
        map->last = run->epochs[i].epoch;
    }
    if (!map->first) return CLV_OK;
    const int64_t epochs = map->last - map->first + 1;
    int64_t members[MAX_COLUMNS] = { 0 };
    map->columns = CLVI_MIN(epochs, MAX_COLUMNS);
    map->width = (double)epochs / (double)map->columns;
    map->share = clvi_calloc(run->ctx, (size_t)map->columns * CLV_SCORE_BINS, sizeof *map->share);
    if (!map->share) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < run->epoch_count; i++) {
        const clvi_run_epoch *e = &run->epochs[i];
        if (!e->has_histograms) continue;
        const int64_t column = (e->epoch - map->first) * map->columns / epochs;
        members[column]++;
        for (int b = 0; b < CLV_SCORE_BINS; b++)
            map->share[column * CLV_SCORE_BINS + b] += positive ? e->positive[b] : e->negative[b];
    }
    for (int64_t i = 0; i < map->columns * CLV_SCORE_BINS; i++) {
        map->share[i] /= (float)CLVI_MAX(members[i / CLV_SCORE_BINS], 1);
        map->highest = fmaxf(map->highest, map->share[i]);
    }
    return CLV_OK;
}

/* Share as opacity, so that the page's own ground is "none". gnuplot wants two columns: a single one is halved. */
static void put_heat(clvi_text *script, const heat_map *map, const char *color)
{
    unsigned rgb = 0;
    for (const char *c = color + 1; *c; c++) rgb = rgb * 16 + (unsigned)(*c <= '9' ? *c - '0' : *c - 'a' + 10);
    const int64_t parts = map->columns == 1 ? 2 : 1;
    clvi_text_put(script, "$heat << EOD\n");
    for (int64_t c = 0; c < map->columns * parts; c++)
        for (int b = 0; b < CLV_SCORE_BINS; b++) {
            const double share = map->share[c / parts * CLV_SCORE_BINS + b] / (double)map->highest;
            const double x = (double)map->first - 1.0 + ((double)c + 0.5) * map->width / (double)parts;
            clvi_text_print(script, "%.6g %.6g %u %u %u %d\n", x, (b + 0.5) * 2.0 / CLV_SCORE_BINS - 1.0, rgb >> 16,
                            rgb >> 8 & 255, rgb & 255, (int)lrint(255.0 * sqrt(share)));
        }
    clvi_text_put(script, "EOD\n");
}

/* Mean and standard deviation over steps (or epochs, where no step was logged); the number of points. */
static int64_t put_means(clvi_text *script, const clvi_run *run, const scores *sc)
{
    const source from = run->step_count ? FROM_STEPS : FROM_EPOCHS;
    const double per_epoch = steps_per_epoch(run), unit = per_epoch > 0 ? 1.0 / per_epoch : 1.0;
    const int64_t count = lines_of(run, from), every = CLVI_MAX((count + MAX_POINTS - 1) / MAX_POINTS, 1);
    int64_t points = 0;
    clvi_text_put(script, "$mean << EOD\n");
    for (int64_t i = every - 1; i < count; i += every) {
        const clvi_run_line *line = line_at(run, from, i);
        const float mean = line->value[sc->mean], variance = line->value[sc->variance];
        if (!(fabsf(mean) <= 1) || !(variance >= 0)) continue;   /* no scores */
        clvi_text_print(script, "%.6g %.6g %.6g\n", (double)line->step * unit, (double)mean, sqrt((double)variance));
        points++;
    }
    clvi_text_put(script, "EOD\n");
    return points;
}

static clv_status draw_scores(const clvi_run *run, const scores *s, clvi_text *page)
{
    clvi_text script = { .ctx = page->ctx };
    heat_map map;
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(make_heat_map(run, s->positive, &map));
    const bool means = put_means(&script, run, s) > 0;
    if (!map.first && !means) {
        put_missing(page, s->heading);
        goto done;
    }
    put_axis(&script, run);
    clvi_text_put(&script, "set ylabel \"score\" offset 1,0\nset yrange [-1:1]\nset rmargin 2\nset tics out\n");
    if (map.first) put_heat(&script, &map, s->color);
    if (map.first) clvi_text_print(&script, "set xrange [0:%" PRId64 "]\n", map.last);
    if (map.first)
        clvi_text_print(&script, "plot $heat using 1:2:3:4:5:6 with rgbalpha notitle%s", means ? ", " : "");
    else
        clvi_text_put(&script, "plot ");
    if (means)
        clvi_text_put(&script, "$mean using 1:2 with lines lw 1.6 lc rgb \"black\" title \"mean\","
                               " $mean using 1:($2-$3) with lines lw 0.8 dt 2 lc rgb \"black\" title \"mean +- std\","
                               " $mean using 1:($2+$3) with lines lw 0.8 dt 2 lc rgb \"black\" notitle");
    clvi_text_put(&script, "\n");
    put_caption(page, s->heading, s->note);
    CLV_TRY_OR_DONE(clvi_gnuplot(s->name, s->heading, WIDTH, HEIGHT, &script, page));
    clvi_text_put(page, "</figure>\n");
done:
    clvi_free(run->ctx, map.share);
    clvi_text_free(&script);
    return st;
}

clv_status clvi_figures_scores(const clvi_run *run, clvi_text *page)
{
    for (size_t i = 0; i < CLVI_COUNT(both_scores); i++) CLV_TRY(draw_scores(run, &both_scores[i], page));
    return page->status;
}

/* ---- scatter ---- */

static const char *const class_colors[] = {
    "#2f7ed8", "#e8743b", "#2ca58d", "#d1495b", "#8e6bd1", "#c79a1e", "#4fb3d9", "#d977b4",
    "#7f9c3b", "#8a8f98", "#a0673f", "#5a6fd6", "#3fb55f", "#b54fc0", "#d98c4f",
};
static const struct {
    int point;
    const char *mark;
} class_marks[] = {
    { 7, "&#9679;" },
    { 5, "&#9632;" },
    { 9, "&#9650;" },
    { 13, "&#9670;" },
};
_Static_assert(CLVI_FIGURES_CLASSES ==
                   sizeof class_colors / sizeof *class_colors * sizeof class_marks / sizeof *class_marks,
               "looks");

/* 0.. of CLVI_FIGURES_CLASSES; classes beyond look like earlier ones. */
static size_t look_of(int64_t label)
{
    return (size_t)CLVI_MAX(label, 0) % CLVI_FIGURES_CLASSES;
}

void clvi_figures_class_mark(int64_t label, clvi_text *page)
{
    const size_t look = look_of(label);
    clvi_text_print(page, "<i style=\"color:%s\">%s</i>", class_colors[look % CLVI_COUNT(class_colors)],
                    class_marks[look / CLVI_COUNT(class_colors)].mark);
}

/* One block per mark; the colour is a column. */
static void put_scatter(clvi_text *script, const clvi_run *run, const double *xy)
{
    const char *separator = "plot ";
    clvi_text plot = { .ctx = script->ctx };
    for (size_t m = 0; m < CLVI_COUNT(class_marks); m++) {
        bool any = false;
        for (int64_t i = 0; i < run->rows; i++) {
            const size_t look = look_of(run->labels[i]);
            if (look / CLVI_COUNT(class_colors) != m) continue;
            if (!any) clvi_text_print(script, "$p%zu << EOD\n", m);
            any = true;
            clvi_text_print(script, "%.5g %.5g 0x%s\n", xy[2 * i], xy[2 * i + 1],
                            class_colors[look % CLVI_COUNT(class_colors)] + 1);
        }
        if (!any) continue;
        clvi_text_put(script, "EOD\n");
        clvi_text_print(&plot, "%s$p%zu using 1:2:3 with points pt %d ps 0.5 lc rgb variable notitle", separator, m,
                        class_marks[m].point);
        separator = ", ";
    }
    if (plot.status != CLV_OK) script->status = plot.status;
    clvi_text_put(script, plot.bytes ? plot.bytes : "");
    clvi_text_put(script, "\n");
    clvi_text_free(&plot);
}

clv_status clvi_figures_scatter(const clvi_run *run, clvi_text *page)
{
    double share[2];
    clvi_text script = { .ctx = page->ctx };
    clv_status st = CLV_OK;
    double *xy = clvi_calloc(run->ctx, (size_t)run->rows, 2 * sizeof *xy);
    if (!xy) return CLV_ERR_NOMEM;
    CLV_TRY_OR_DONE(clvi_pca(run->ctx, run->features, run->rows, run->dim, xy, share));
    clvi_text_print(
        &script,
        "set xlabel \"first component (%.1f %% of the variance)\"\nset ylabel \"second component (%.1f %%)\"\n"
        "set format \"\"\nset lmargin 4\nset rmargin 2\nset tmargin 1\n",
        100 * share[0], 100 * share[1]);
    put_scatter(&script, run, xy);
    CLV_TRY_OR_DONE(
        clvi_gnuplot("scatter", "Features on their first two principal components", 1100, 640, &script, page));
done:
    clvi_text_free(&script);
    clvi_free(run->ctx, xy);
    return st;
}
