/* report_figures.h: the figures of a report, each an HTML <figure> appended to the page. What a run did not measure
 * gives a sentence instead. Errors: those of clvi_gnuplot. */
#ifndef CLVI_EVAL_REPORT_FIGURES_H
#define CLVI_EVAL_REPORT_FIGURES_H

#include "eval/report_run.h"
#include "eval/report_text.h"

clv_status clvi_figures_curves(const clvi_run *run, clvi_text *page) CLV_NODISCARD;
clv_status clvi_figures_scores(const clvi_run *run, clvi_text *page) CLV_NODISCARD;

/* The features' first two principal components; classes are told apart by colour and mark. */
clv_status clvi_figures_scatter(const clvi_run *run, clvi_text *page) CLV_NODISCARD;

/* The colour and mark of a class there, as HTML. */
void clvi_figures_class_mark(int64_t label, clvi_text *page);
#define CLVI_FIGURES_CLASSES 60    /* classes that look different */

#endif
