/* gnuplot.c: running gnuplot, and making its SVG fit for a page that holds several. */
#include "eval/report/gnuplot.h"
#include "core/checked.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS   "60"
#define SVG_LIMIT ((size_t)64 << 20)

static const char preamble[] = "set terminal svg size %d,%d dynamic name \"%s\" font \"sans-serif,12\" noenhanced\n"
                               "set border 3 lw 0.7\n"
                               "set tics scale 0.5 nomirror\n"
                               "set grid lt 1 lw 0.5 lc rgb \"#a0808080\"\n"
                               "set key outside top right horizontal samplen 2\n"
                               "set lmargin 10\n";

/* ---- the process: files in memory for what goes in and for errors, a pipe for the figure ---- */

typedef struct process {
    int in, out, err; /* our ends, -1: none */
    int child_out;
    pid_t pid; /* 0: not started, or over */
} process;

static void close_end(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Its status as waitpid gives it, or -1 when the caller has ignored or reaped it. */
static int process_wait(process *p)
{
    int status = 0;
    pid_t got;
    while ((got = waitpid(p->pid, &status, 0)) < 0 && errno == EINTR) continue;
    p->pid = 0;
    return got < 0 ? -1 : status;
}

static void process_end(process *p)
{
    close_end(&p->out); /* whoever still writes there is ended by that */
    if (p->pid > 0) process_wait(p);
    close_end(&p->in);
    close_end(&p->err);
    close_end(&p->child_out);
}

static clv_status open_ends(process *p, const char *head, const clvi_text *script)
{
    int ends[2];
    CLV_CHECK(pipe2(ends, O_CLOEXEC) == 0, CLV_ERR_IO, "gnuplot: cannot make a pipe: %s", strerror(errno));
    p->out = ends[0];
    p->child_out = ends[1];
    p->in = memfd_create("cleave-gnuplot", MFD_CLOEXEC);
    p->err = memfd_create("cleave-gnuplot", MFD_CLOEXEC);
    CLV_CHECK(p->in >= 0 && p->err >= 0, CLV_ERR_IO, "gnuplot: cannot make a file in memory: %s", strerror(errno));
    const size_t size = strlen(head);
    CLV_CHECK(write(p->in, head, size) == (ssize_t)size &&
                  write(p->in, script->bytes, script->size) == (ssize_t)script->size && lseek(p->in, 0, SEEK_SET) == 0,
              CLV_ERR_IO, "gnuplot: cannot write its script: %s", strerror(errno));
    return CLV_OK;
}

/* Its messages and numbers shall not depend on the user's settings, so it gets hardly any environment. It runs under
 * `timeout`: a library that sends signals itself could hit a stranger, since a program may reap our child before us. */
static clv_status spawn(process *p)
{
    char path[4096];
    const char *given = getenv("PATH");
    const int n = snprintf(path, sizeof path, "PATH=%s", given ? given : "/usr/bin:/bin");
    char *const arguments[] = { (char[]){ "timeout" }, (char[]){ "-k5" }, (char[]){ SECONDS },
                                (char[]){ "gnuplot" }, (char[]){ "-d" },  NULL };
    char *const environment[] = { (char[]){ "LC_ALL=C" }, n < (int)sizeof path ? path : NULL, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    CLV_CHECK(posix_spawn_file_actions_init(&files) == 0, CLV_ERR_NOMEM, "gnuplot: no memory to start it");
    int error = posix_spawnattr_init(&attributes);
    if (!error) {
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        error = posix_spawn_file_actions_adddup2(&files, p->in, STDIN_FILENO);
        if (!error) error = posix_spawn_file_actions_adddup2(&files, p->child_out, STDOUT_FILENO);
        if (!error) error = posix_spawn_file_actions_adddup2(&files, p->err, STDERR_FILENO);
        if (!error) error = posix_spawnp(&p->pid, "timeout", &files, &attributes, arguments, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    if (error) p->pid = 0;
    CLV_CHECK(error != ENOENT, CLV_ERR_UNSUPPORTED,
              "figures are drawn by gnuplot under timeout, which is not installed (Debian: coreutils)");
    CLV_CHECK(error == 0, CLV_ERR_IO, "cannot start gnuplot: %s", strerror(error));
    close_end(&p->child_out); /* else the pipe never ends */
    return CLV_OK;
}

static clv_status read_output(process *p, clvi_text *svg)
{
    char block[65536];
    for (;;) {
        const ssize_t n = read(p->out, block, sizeof block);
        if (n < 0 && errno == EINTR) continue;
        CLV_CHECK(n >= 0, CLV_ERR_IO, "cannot read from gnuplot: %s", strerror(errno));
        if (n == 0 || svg->status != CLV_OK) return svg->status;
        CLV_CHECK(svg->size + (size_t)n <= SVG_LIMIT, CLV_ERR_UNSUPPORTED, "gnuplot's figure is larger than %zu bytes",
                  SVG_LIMIT);
        clvi_text_put_bytes(svg, block, (size_t)n);
    }
}

/* What it said last, on one line. */
static void last_words(int fd, char *text, size_t size)
{
    const ssize_t n = pread(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = 0;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20) *c = ' ';
}

static clv_status join(process *p)
{
    const int status = process_wait(p);
    if (status < 0) return CLV_OK; /* nobody knows, and the figure itself is looked at next */
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    char words[512];
    last_words(p->err, words, sizeof words);
    CLV_CHECK(code != 127, CLV_ERR_UNSUPPORTED,
              "figures are drawn by gnuplot, which is not installed (Debian: gnuplot-nox)");
    CLV_CHECK(code != 124 && code != 137, CLV_ERR_UNSUPPORTED, "gnuplot did not finish a figure within %s seconds",
              SECONDS);
    CLV_CHECK(code == 0, CLV_ERR_INTERNAL, "gnuplot refused a figure: %s", words);
    return CLV_OK;
}

static clv_status run(const char *head, const clvi_text *script, clvi_text *svg)
{
    process p = { .in = -1, .out = -1, .err = -1, .child_out = -1 };
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(open_ends(&p, head, script));
    CLV_TRY_OR_DONE(spawn(&p));
    CLV_TRY_OR_DONE(read_output(&p, svg));
    st = join(&p);
done:
    process_end(&p);
    return st;
}

/* ---- the figure ---- */

/* What is changed on the way into the page: '@' stands for the figure's name. Ids would clash with those of the next
 * figure; black would not be seen on a dark page; titles would pop up under the pointer. */
static const struct {
    const char *from, *to;
} edits[] = {
    { "id=\"gnuplot_canvas\"", "" },
    { " id='", " id='@" },
    { "href='#", "href='#@" },
    { "url(#", "url(#@" },
    { "rgb(  0,   0,   0)", "currentColor" },
    { "\"black\"", "\"currentColor\"" },
    { "'black'", "'currentColor'" },
};

static void put_edited(clvi_text *page, const char *name, const char *line, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t skip = 0;
        for (size_t e = 0; e < CLVI_COUNT(edits) && !skip; e++) {
            const size_t length = strlen(edits[e].from);
            if (size - at < length || memcmp(line + at, edits[e].from, length)) continue;
            const char *mark = strchr(edits[e].to, '@');
            clvi_text_put_bytes(page, edits[e].to, mark ? (size_t)(mark - edits[e].to) : strlen(edits[e].to));
            if (mark) clvi_text_put(page, name);
            skip = length;
        }
        const char *title = !skip && size - at > 7 && !memcmp(line + at, "<title>", 7)
                                ? memmem(line + at, size - at, "</title>", 8)
                                : NULL;
        if (title) skip = (size_t)(title - line) + 8 - at;
        if (!skip) clvi_text_put_bytes(page, line + at, 1);
        at += CLVI_MAX(skip, (size_t)1);
    }
}

/* Line by line; a group that holds nothing, of which gnuplot writes many, is left out. */
static void put_body(clvi_text *page, const char *name, const char *body, const char *end)
{
    while (body < end) {
        const char *stop = memchr(body, '\n', (size_t)(end - body)), *next = stop ? stop + 1 : end;
        if (!strncmp(body, "<g ", 3) && !strncmp(next, "</g>\n", 5)) {
            body = next + 5;
            continue;
        }
        put_edited(page, name, body, (size_t)(next - body));
        body = next;
    }
}

clv_status clvi_gnuplot(const char *name, const char *label, int width, int height, const clvi_text *script,
                        clvi_text *page)
{
    char head[sizeof preamble + 128];
    snprintf(head, sizeof head, preamble, width, height, name);
    clvi_text svg = { .ctx = page->ctx };
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(page->status);
    CLV_TRY_OR_DONE(script->status);
    CLV_TRY_OR_DONE(run(head, script, &svg));
    const char *body = svg.bytes ? strstr(svg.bytes, "<g id=\"gnuplot_canvas\"") : NULL;
    const char *end = body ? strstr(body, "</svg>") : NULL;
    CLV_CHECK_OR_DONE(end, CLV_ERR_INTERNAL, "gnuplot drew no figure for '%s'", label);
    clvi_text_print(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, height);
    clvi_text_escape(page, label);
    clvi_text_put(page, "\">\n");
    put_body(page, name, body, end);
    clvi_text_put(page, "</svg>\n");
    st = page->status;
done:
    clvi_text_free(&svg);
    return st;
}
