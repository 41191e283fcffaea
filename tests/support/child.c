/* child.c: programs that a test starts. */
#include "tests/support/child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAP = 10, MERCY = 5 };            /* milliseconds between two looks; seconds between asking and killing */

pid_t test_child_start(const char *const *args, const char *const *set, const char *log)
{
    const pid_t child = fork();
    if (child != 0) return child;
    const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) _exit(127);
    for (; set && set[0]; set += 2) setenv(set[0], set[1], 1);
    execvp(args[0], (char *const *)args);
    perror(args[0]);
    _exit(127);
}

/* How many of them are left after `limit` seconds. */
static int wait_for(const pid_t *child, bool *ended, int *status, int n, int limit)
{
    const struct timespec nap = { 0, NAP * 1000000L };
    int left = n;
    for (long looks = limit * 1000L / NAP; looks > 0 && left > 0; looks--) {
        left = 0;
        for (int i = 0; i < n; i++) {
            int how = 0;
            if (!ended[i] && waitpid(child[i], &how, WNOHANG) == child[i]) {
                ended[i] = true;
                status[i] = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
            }
            left += !ended[i];
        }
        if (left > 0) nanosleep(&nap, NULL);
    }
    return left;
}

static void tell_state(pid_t child, const char *log)
{
    char command[1024];
    snprintf(command, sizeof command, "ps -o pid,stat,cputimes,args -p %d --ppid %d >>'%s' 2>&1", (int)child,
             (int)child, log);
    (void)!system(command);
}

bool test_child_wait(const pid_t *child, int *status, int n, int limit, const char *log)
{
    bool *ended = calloc((size_t)n, sizeof *ended);
    if (!ended) abort();
    const bool all = wait_for(child, ended, status, n, limit) == 0;
    for (int i = 0; i < n; i++)
        if (!ended[i]) tell_state(child[i], log);
    for (int i = 0; i < n; i++)
        if (!ended[i]) kill(child[i], SIGTERM);          /* mpirun then ends its ranks, those that are stopped, too */
    if (!all) (void)wait_for(child, ended, status, n, MERCY);
    for (int i = 0; i < n; i++) {
        if (ended[i]) continue;
        kill(child[i], SIGKILL);
        (void)waitpid(child[i], &status[i], 0);
    }
    free(ended);
    return all;
}

void test_child_show(const char *log)
{
    FILE *file = fopen(log, "r");
    char text[4096];
    for (size_t n; file && (n = fread(text, 1, sizeof text, file)) > 0;) (void)fwrite(text, 1, n, stdout);
    if (file) fclose(file);
}
