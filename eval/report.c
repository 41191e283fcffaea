/* report.c: a run directory as one HTML file. */
#include <cleave/eval.h>
#include "core/file.h"
#include "eval/report_run.h"
#include "eval/report_text.h"

#include <stdio.h>

static void put_page(clvi_text *page, const clvi_run *run)
{
    clvi_text_put(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Cleave</title>\n</head>\n<body>\n");
    clvi_text_put(page, "<h2>Configuration</h2>\n<table>\n");
    for (int64_t i = 0; i < run->option_count; i++) {
        clvi_text_put(page, "<tr><th>");
        clvi_text_escape(page, run->options[i].name);
        clvi_text_put(page, "</th><td>");
        clvi_text_escape(page, run->options[i].value);
        clvi_text_put(page, "</td></tr>\n");
    }
    clvi_text_put(page, "</table>\n</body>\n</html>\n");
}

clv_status clv_report_write(clv_context *ctx, const char *run, const char *output)
{
    CLV_CHECK(ctx && run, CLV_ERR_INVALID, "clv_report_write: context and run must not be NULL");
    char path[4096];
    const int n = output ? snprintf(path, sizeof path, "%s", output) : snprintf(path, sizeof path, "%s/report.html", run);
    CLV_CHECK(n > 0 && n < (int)sizeof path, CLV_ERR_INVALID, "clv_report_write: the output's path is empty or too long");
    clvi_run read;
    clvi_text page = { .ctx = ctx };
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clvi_run_read(ctx, run, &read));
    put_page(&page, &read);
    CLV_TRY_OR_DONE(page.status);
    st = clvi_file_write(path, page.bytes, page.size);
done:
    clvi_text_free(&page);
    clvi_run_release(&read);
    return st;
}
