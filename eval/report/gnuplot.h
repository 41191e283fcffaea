/* gnuplot.h: figures, drawn by gnuplot, as SVG to be put inside an HTML page. */
#ifndef CLVI_EVAL_REPORT_GNUPLOT_H
#define CLVI_EVAL_REPORT_GNUPLOT_H

#include "eval/report/text.h"

/* Runs gnuplot on `script`, which must hold nothing from outside but numbers: gnuplot can run programs. Appends one
 * <svg> to `page`. Terminal, border and grid are set before the script. Black is the page's own text colour.
 *
 *   name    of letters and digits, another one for every figure of a page: ids start with it
 *   label   what the figure shows, for those who cannot see it; plain text without markup
 *
 * Errors: CLV_ERR_UNSUPPORTED when gnuplot is not installed or takes longer than a minute; CLV_ERR_IO; CLV_ERR_INTERNAL
 * when gnuplot refuses the script. */
clv_status clvi_gnuplot(const char *name, const char *label, int width, int height, const clvi_text *script,
                        clvi_text *page) CLV_NODISCARD;

#endif
