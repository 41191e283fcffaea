/* course.c: a run's epochs beside a published trajectory. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "eval/report/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POINTS 64

/* Columns of the text and what they are in the log. */
static const struct {
    const char     *name, *metric;
    clvi_run_metric id;
    bool            is_loss;
} columns[] = {
    { "loss", "train/loss", CLVI_RUN_LOSS, true },
    { "knn", "val/knn_top1", CLVI_RUN_KNN, false },
    { "knn_best", "val/knn_best", CLVI_RUN_KNN_BEST, false },
    { "acc1", "val/acc1", CLVI_RUN_ACC1, false },
};
enum { COLUMNS = CLVI_COUNT(columns) };

typedef struct trajectory {
    int     count;
    int64_t epoch[MAX_POINTS];
    double  value[COLUMNS][MAX_POINTS];       /* NaN: not published */
} trajectory;

/* ---- the text ---- */

/* The next word of a row, or false at its end. */
static bool next_word(const char **at, char word[32])
{
    *at += strspn(*at, " \t");
    const size_t length = strcspn(*at, " \t;");
    if (length == 0 || length >= 32) return false;
    memcpy(word, *at, length);
    word[length] = 0;
    *at += length;
    return true;
}

/* What stands in each place of a row: a column, or COLUMNS for the epoch. */
static clv_status read_heading(const char **at, int place[COLUMNS + 1], int *places)
{
    char word[32];
    bool has_epoch = false;
    *places = 0;
    while (next_word(at, word)) {
        int found = strcmp(word, "epoch") ? -1 : COLUMNS;
        for (int c = 0; c < COLUMNS && found < 0; c++)
            if (!strcmp(columns[c].name, word)) found = c;
        CLV_CHECK(found >= 0, CLV_ERR_INVALID,
                  "published: no column '%s'; there are epoch, loss, knn, knn_best and acc1", word);
        for (int p = 0; p < *places; p++)
            CLV_CHECK(place[p] != found, CLV_ERR_INVALID, "published: the column '%s' is there twice", word);
        has_epoch |= found == COLUMNS;
        place[(*places)++] = found;
    }
    CLV_CHECK(has_epoch && *places > 1, CLV_ERR_INVALID,
              "published: expected a heading such as 'epoch loss knn' and rows such as '; 5 6.862 37.95'");
    return CLV_OK;
}

static clv_status read_number(const char *word, double *value)
{
    char *end = NULL;
    *value = strcmp(word, "-") ? strtod(word, &end) : (double)NAN;
    CLV_CHECK(!end || (*word && !*end && isfinite(*value)), CLV_ERR_INVALID, "published: '%s' is no number", word);
    return CLV_OK;
}

static clv_status read_row(const char **at, const int *place, int places, trajectory *out)
{
    const int row = out->count;
    char word[32];
    CLV_CHECK(row < MAX_POINTS, CLV_ERR_INVALID, "published: more than %d rows", MAX_POINTS);
    for (int c = 0; c < COLUMNS; c++) out->value[c][row] = (double)NAN;
    for (int p = 0; p < places; p++) {
        double value;
        CLV_CHECK(next_word(at, word), CLV_ERR_INVALID, "published: row %d has fewer words than the heading", row + 1);
        CLV_TRY(read_number(word, &value));
        if (place[p] < COLUMNS) {
            out->value[place[p]][row] = value;
            continue;
        }
        CLV_CHECK(value >= 1 && value <= 1e6 && floor(value) == value, CLV_ERR_INVALID,
                  "published: row %d: '%s' is no epoch", row + 1, word);
        out->epoch[row] = (int64_t)value;
    }
    CLV_CHECK(!next_word(at, word), CLV_ERR_INVALID, "published: row %d has more words than the heading", row + 1);
    CLV_CHECK(row == 0 || out->epoch[row] > out->epoch[row - 1], CLV_ERR_INVALID,
              "published: row %d: epochs must rise", row + 1);
    out->count++;
    return CLV_OK;
}

static clv_status parse(const char *text, trajectory *out)
{
    int place[COLUMNS + 1], places = 0;
    out->count = 0;
    CLV_TRY(read_heading(&text, place, &places));
    for (text += strspn(text, " \t"); *text == ';'; text += strspn(text, " \t")) {
        text++;
        CLV_TRY(read_row(&text, place, places, out));
    }
    CLV_CHECK(!*text && out->count > 0, CLV_ERR_INVALID,
              "published: expected rows after the heading, each after a ';'");
    return CLV_OK;
}

/* ---- comparing ---- */

/* What was published of a column after `epoch`, between two figures by a straight line; NaN before the first and after
 * the last. */
static double published_at(const trajectory *t, int column, int64_t epoch, bool *between)
{
    int below = -1;
    *between = false;
    for (int i = 0; i < t->count; i++) {
        const double value = t->value[column][i];
        if (isnan(value)) continue;
        if (t->epoch[i] == epoch) return value;
        if (t->epoch[i] > epoch) {
            if (below < 0) break;
            const double first = t->value[column][below], span = (double)(t->epoch[i] - t->epoch[below]);
            *between = true;
            return first + (value - first) * (double)(epoch - t->epoch[below]) / span;
        }
        below = i;
    }
    return (double)NAN;
}

static bool is_within(const clv_course_desc *desc, int column, double published, double found)
{
    return columns[column].is_loss ? fabs(found - published) <= desc->loss * fabs(published) :
                                     found >= published - desc->accuracy;
}

static void compare(const clvi_run *run, const trajectory *t, const clv_course_desc *desc, int column, clv_course *out)
{
    int64_t last = -1;                        /* index of the last epoch that measured this */
    const int first_row = out->count;
    for (int64_t i = 0; i < run->epoch_count; i++)
        if (isfinite(run->epochs[i].line.value[columns[column].id])) last = i;
    for (int64_t i = 0; i <= last && out->count < CLV_COURSE_ROWS; i++) {
        bool between;
        const double found = (double)run->epochs[i].line.value[columns[column].id];
        const double published = published_at(t, column, run->epochs[i].epoch, &between);
        if (!isfinite(found) || isnan(published) || (between && i != last)) continue;
        out->row[out->count++] = (clv_course_row){ .epoch = run->epochs[i].epoch, .metric = columns[column].metric,
                                                   .published = published, .found = found, .between = between,
                                                   .within = is_within(desc, column, published, found) };
    }
    if (out->count > first_row) out->on_course &= out->row[out->count - 1].within;
}

static clv_status measure(const clvi_run *run, const char *where, const clv_course_desc *desc, clv_course *out)
{
    trajectory t;
    const char *text = desc->published ? desc->published : clvi_run_option_value(run, "published");
    CLV_CHECK(text[0], CLV_ERR_INVALID, "'%s': its recipe says nothing of what was published (the setting 'published')",
              where);
    CLV_TRY(parse(text, &t));
    out->on_course = true;
    out->epochs = run->epoch_count ? run->epochs[run->epoch_count - 1].epoch : 0;
    out->horizon = t.epoch[t.count - 1];
    for (int c = 0; c < COLUMNS; c++) compare(run, &t, desc, c, out);
    CLV_CHECK(out->count > 0, CLV_ERR_INVALID,
              "'%s': nothing to compare yet: %" PRId64 " epochs are finished, figures are published from epoch %" PRId64
              " to %" PRId64, where, out->epochs, t.epoch[0], out->horizon);
    return CLV_OK;
}

clv_status clv_course_measure(clv_context *ctx, const char *run, const clv_course_desc *desc, clv_course *out)
{
    CLV_CHECK(ctx && run && desc && out, CLV_ERR_INVALID, "clv_course_measure: an argument is NULL");
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID,
              "clv_course_measure: start from CLV_COURSE_DESC_INIT");
    CLV_CHECK(desc->accuracy >= 0 && desc->loss >= 0, CLV_ERR_INVALID, "clv_course_measure: an allowance is below 0");
    clvi_run read;
    *out = (clv_course){ .count = 0 };
    clv_status st = clvi_run_read(ctx, run, &read);
    if (st == CLV_OK) st = measure(&read, run, desc, out);
    clvi_run_release(&read);
    return st;
}
