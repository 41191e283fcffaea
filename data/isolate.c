/* isolate.c: a forked child for parsing HDF5. libhdf5 is large and known to crash on damaged metadata; a crash in the
 * child is an error message in the parent.
 *
 * Forking a threaded process is safe only if no lock the child needs is held by another thread. The child uses libc's
 * allocator, which glibc keeps usable across fork, and libhdf5, whose one global lock is held by the forking thread
 * itself: the fork happens inside a callback of libhdf5. */
#include "data/isolate.h"
#include "data/dataset.h"
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILD_CPU_SECONDS  60
#define CHILD_WALL_SECONDS 120
#define CHILD_EXTRA_MEMORY ((rlim_t)1 << 30)   /* beyond what the process had and the data it may load */

typedef struct verdict {
    clv_status status;
    char       message[1024];
} verdict;

static void limit(int what, rlim_t value)
{
    struct rlimit now;
    if (getrlimit(what, &now) != 0) return;
    if (now.rlim_max == RLIM_INFINITY || value < now.rlim_max) now.rlim_max = value;
    now.rlim_cur = now.rlim_max;
    (void)setrlimit(what, &now);
}

static rlim_t address_space(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return RLIM_INFINITY;
    if (fscanf(file, "%llu", &pages) != 1) pages = 0;
    fclose(file);
    return pages ? (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) : RLIM_INFINITY;
}

static void confine_child(void)
{
    static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGXCPU, SIGXFSZ, SIGTERM };
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++) signal(deadly[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const rlim_t space = address_space();
    if (space != RLIM_INFINITY) limit(RLIMIT_AS, space + CLVI_DATA_MAX_LOADED + CHILD_EXTRA_MEMORY);
    limit(RLIMIT_FSIZE, CLVI_DATA_MAX_LOADED + CHILD_EXTRA_MEMORY);
    limit(RLIMIT_CPU, CHILD_CPU_SECONDS);
    limit(RLIMIT_CORE, 0);
}

static _Noreturn void run_child(clvi_isolated_fn fn, void *arg, int fd, int pipe_end)
{
    confine_child();
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = 1;
    clv_context *ctx = NULL;
    verdict v = { .status = clv_context_create(&desc, &ctx) };
    if (v.status == CLV_OK) v.status = fn(ctx, arg, fd);
    if (v.status != CLV_OK) snprintf(v.message, sizeof v.message, "%s", clv_error_message());
    const ssize_t n = write(pipe_end, &v, sizeof v);   /* shorter than PIPE_BUF: whole or not at all */
    _exit(n == (ssize_t)sizeof v ? 0 : 1);             /* no exit handlers: they belong to the parent */
}

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* True when the child's whole verdict arrived in time. */
static bool wait_for_verdict(int pipe_end, verdict *v)
{
    const double deadline = now_seconds() + CHILD_WALL_SECONDS;
    for (;;) {
        const double left = deadline - now_seconds();
        struct pollfd p = { .fd = pipe_end, .events = POLLIN };
        if (left <= 0) return false;
        const int ready = poll(&p, 1, (int)(left * 1000) + 1);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return false;
        const ssize_t n = read(pipe_end, v, sizeof *v);
        if (n < 0 && errno == EINTR) continue;
        v->message[sizeof v->message - 1] = 0;
        return n == (ssize_t)sizeof *v;
    }
}

static herr_t fork_under_lock(hid_t list, const char *name, void *arg)
{
    (void)list;
    (void)name;
    *(pid_t *)arg = fork();
    return 1;   /* stop after the first property; in the child this returns as well, still holding the lock */
}

/* fork() while this thread holds libhdf5's lock. In the child the library is in a state of rest. */
static pid_t fork_from_hdf5(void)
{
    pid_t pid = -1;
    int first = 0;
    errno = EAGAIN;
    const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0) return -1;
    H5Piterate(list, &first, fork_under_lock, &pid);
    const int error = errno;
    if (pid != 0) H5Pclose(list);
    errno = error;
    return pid;
}

static clv_status supervise(const char *path, clvi_isolated_fn fn, void *arg, int fd, int ends[2])
{
    const pid_t pid = fork_from_hdf5();
    if (pid == 0) run_child(fn, arg, fd, ends[1]);
    CLV_CHECK(pid > 0, CLV_ERR_IO, "cannot start a process to read '%s': %s", path, strerror(errno));
    close(ends[1]);   /* so that the child's death ends the wait */
    ends[1] = -1;

    verdict v = { 0 };
    const bool finished = wait_for_verdict(ends[0], &v);
    if (!finished) kill(pid, SIGKILL);
    /* The caller's own handler may have reaped the child already; the verdict does not depend on it. */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    CLV_CHECK(finished, CLV_ERR_FORMAT,
              "'%s' cannot be read: the HDF5 library crashed on it or exceeded %d seconds; the file is damaged, hostile "
              "or very large and compressed", path, CHILD_CPU_SECONDS);
    return v.status == CLV_OK ? CLV_OK : clvi_fail(v.status, "%s", v.message);
}

clv_status clvi_isolate(const char *path, clvi_isolated_fn fn, void *arg, clvi_map *result)
{
    clv_status st = CLV_OK;
    int ends[2] = { -1, -1 };
    char name[64];
    const int fd = memfd_create("cleave-data", MFD_CLOEXEC);
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot make a memory file to read '%s': %s", path, strerror(errno));
    CLV_CHECK_OR_DONE(pipe2(ends, O_CLOEXEC) == 0, CLV_ERR_IO, "cannot make a pipe to read '%s': %s", path,
                      strerror(errno));
    st = supervise(path, fn, arg, fd, ends);
    if (st != CLV_OK) goto done;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    st = clvi_map_open(name, result);
done:
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0) close(ends[i]);
    close(fd);
    return st;
}
