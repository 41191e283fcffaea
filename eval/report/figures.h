/* figures.h: the figures of a report, each an HTML <figure> appended to the page. What a run did not measure
 * gives a sentence instead. Errors: those of clvi_gnuplot. */
#ifndef CLVI_EVAL_REPORT_FIGURES_H
#define CLVI_EVAL_REPORT_FIGURES_H

#include "eval/report/run.h"
#include "eval/report/text.h"

clv_status clvi_figures_curves(const clvi_run *run, clvi_text *page) CLV_NODISCARD;
clv_status clvi_figures_scores(const clvi_run *run, clvi_text *page) CLV_NODISCARD;

/* The features' first two principal components; classes are told apart by colour and mark. */
clv_status clvi_figures_scatter(const clvi_run *run, clvi_text *page) CLV_NODISCARD;

/* A curve of each of up to CLV_REPORT_RUNS runs, epoch by epoch, over each other: all figures that some run has. */
clv_status clvi_figures_overlay(const clvi_run *runs, int count, clvi_text *page) CLV_NODISCARD;
/* Distributions of scores at an epoch of each run (indices into epochs), as the inside of one picture. */
clv_status clvi_figures_distribution(const clvi_run *runs, const int64_t *at, int count, clvi_text *page) CLV_NODISCARD;
/* The colour of a run there: "#2f7ed8". */
const char *clvi_figures_run_color(int run);

/* The colour and mark of a class there, as HTML. */
void clvi_figures_class_mark(int64_t label, clvi_text *page);
#define CLVI_FIGURES_CLASSES 60    /* classes that look different */

#endif
