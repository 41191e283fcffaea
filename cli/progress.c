/* progress.c: how far a long command is: a redrawn line with rate and time left on a terminal, else plain lines. */
#include "cli/cli.h"

#include <time.h>

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cli_duration(double seconds, char text[32])
{
    const long long s = seconds > 0 && seconds < 1e12 ? (long long)(seconds + 0.5) : 0;
    if (s >= 3600) snprintf(text, 32, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(text, 32, "%lld:%02lld", s / 60, s % 60);
}

cli_progress cli_progress_begin(const cli *c, const char *what)
{
    return (cli_progress){ c->terminal, what, cli_now(), 0.0 };
}

void cli_progress_show(cli_progress *p, long long done, long long total, const char *extra)
{
    const double now = cli_now(), elapsed = now - p->begin;
    const double pause = p->terminal ? 0.1 : 10.0;
    if (done < total && now - p->shown < pause) return;
    p->shown = now;
    char left[32];
    const double rate = elapsed > 0 ? (double)done / elapsed : 0.0;
    cli_duration(rate > 0 ? (double)(total - done) / rate : 0.0, left);
    fprintf(stderr, "%s%s: %lld/%lld  %.0f/s  ETA %s%s%s%s", p->terminal ? "\r\033[K" : "", p->what, done, total, rate,
            left, extra ? "  " : "", extra ? extra : "", p->terminal ? "" : "\n");
    fflush(stderr);
}

void cli_progress_end(cli_progress *p)
{
    if (p->terminal && p->shown > 0) fputc('\n', stderr);
}

static char printable(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
}

const char *cli_printable(const char *text, char *out, size_t size)
{
    snprintf(out, size, "%s", text);
    for (char *c = out; *c; c++) *c = printable(*c);
    return out;
}

void cli_print_line(const char *text, void *user)
{
    (void)user;
    for (const char *c = text; *c; c++) putchar(printable(*c));
    putchar('\n');
}
