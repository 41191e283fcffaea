/* isolate.c: a forked child for parsing HDF5. libhdf5 is large and known to crash on damaged metadata; a crash in the
 * child is an error message in the parent.
 *
 * Forking a threaded process is safe only if no lock the child needs is held by another thread. The child uses libc's
 * allocator, which glibc keeps usable across fork, and libhdf5, whose global lock is held by the forking thread itself:
 * the fork happens inside a callback of libhdf5, so the library is at rest. That lock is a counter guarded by a mutex
 * which a thread that wants in holds for some instructions, and a condition variable on which such threads wait; a child
 * forked just then hangs, at its first call or when it has signalled as many waiters as there were. A sanitizer's
 * allocator has many locks, some to spin on and some, one for each size, to sleep on. The child is therefore asked for a
 * sign of life after more calls than there are waiters, and after allocations that need what it would spin on. A child
 * that gives none, or at any time later does not run for a while, is replaced by another. */
#include "core/isolate.h"
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
#define CHILD_TRIES        6      /* waiting 1, 2, 4, ... seconds while it does nothing */
#define CHILD_LOOK_MS      100
#define CHILD_TRIAL_CALLS  1000   /* before it: more than there are threads waiting for libhdf5 */
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

static void confine_child(rlim_t space)
{
    static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGXCPU, SIGXFSZ, SIGTERM };
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++) signal(deadly[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (space != RLIM_INFINITY) limit(RLIMIT_AS, space + CLVI_ISOLATED_BYTES + CHILD_EXTRA_MEMORY);
    limit(RLIMIT_FSIZE, CLVI_ISOLATED_BYTES + CHILD_EXTRA_MEMORY);
    limit(RLIMIT_CPU, CHILD_CPU_SECONDS);
    limit(RLIMIT_CORE, 0);
}

typedef struct job {
    const char      *path;
    clvi_isolated_fn fn;
    void            *arg;
    int              fd;        /* the result */
    rlim_t           space;     /* what the process already uses */
} job;

static _Noreturn void run_child(const job *j, int pipe_end)
{
    unsigned version[3];
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = 1;
    clv_context *ctx = NULL;
    verdict v = { .status = clv_context_create(&desc, &ctx) };
    for (int i = 0; i < CHILD_TRIAL_CALLS; i++) H5get_libversion(&version[0], &version[1], &version[2]);
    for (size_t size = 16; ctx && size <= (size_t)1 << 22; size *= 4) clvi_free(ctx, clvi_calloc(ctx, 1, size));
    if (write(pipe_end, "", 1) != 1) _exit(1);   /* the sign of life: libhdf5's and the allocator's locks are free */
    confine_child(j->space);
    if (v.status == CLV_OK) v.status = j->fn(ctx, j->arg, j->fd);
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

/* The processor time of a child, which grows while it lives and does anything. */
static double used_seconds(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) return -1;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What became of a wait for a child: it wrote; it died or took too long; it stood still. */
typedef enum outcome { CHILD_WROTE, CHILD_FAILED, CHILD_STUCK } outcome;

/* Waits for `size` bytes, which the child writes in one go, at most so many seconds. */
static outcome wait_for(pid_t pid, int pipe_end, double seconds, double patience, void *bytes, size_t size)
{
    const double deadline = now_seconds() + seconds;
    double used = -1, since = now_seconds();
    for (;;) {
        struct pollfd p = { .fd = pipe_end, .events = POLLIN };
        const int ready = poll(&p, 1, CHILD_LOOK_MS);
        const ssize_t n = ready > 0 ? read(pipe_end, bytes, size) : -1;
        if (n >= 0) return n == (ssize_t)size ? CHILD_WROTE : CHILD_FAILED;
        if (ready != 0 && errno != EINTR) return CHILD_FAILED;
        const double now = now_seconds(), uses = used_seconds(pid);
        if (uses > used) since = now;
        used = uses;
        if (now > since + patience) return CHILD_STUCK;
        if (now > deadline) return CHILD_FAILED;
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

/* Nothing depends on how it ended, nor whether it can: locks are needed for that, too. The caller's own handler may have
 * reaped it already. */
static void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

/* A child from its start to its verdict. */
static clv_status try_child(const job *j, double patience, verdict *v, outcome *out)
{
    int ends[2];
    char sign;
    CLV_CHECK(ftruncate(j->fd, 0) == 0 && lseek(j->fd, 0, SEEK_SET) == 0 && pipe2(ends, O_CLOEXEC) == 0, CLV_ERR_IO,
              "cannot start a process to read '%s': %s", j->path, strerror(errno));
    const pid_t pid = fork_from_hdf5();
    if (pid == 0) run_child(j, ends[1]);
    const int error = errno;
    close(ends[1]);   /* so that the child's death ends the wait */
    if (pid > 0) {
        const bool lives = wait_for(pid, ends[0], patience, patience, &sign, 1) == CHILD_WROTE;
        *out = lives ? wait_for(pid, ends[0], CHILD_WALL_SECONDS, patience, v, sizeof *v) : CHILD_STUCK;
        reap(pid);
    }
    close(ends[0]);
    CLV_CHECK(pid > 0, CLV_ERR_IO, "cannot start a process to read '%s': %s", j->path, strerror(error));
    return CLV_OK;
}

static clv_status supervise(const job *j)
{
    verdict v = { 0 };
    outcome out = CHILD_STUCK;
    for (int try = 0; try < CHILD_TRIES && out == CHILD_STUCK; try++) CLV_TRY(try_child(j, 1 << try, &v, &out));
    CLV_CHECK(out != CHILD_STUCK, CLV_ERR_IO, "'%s' cannot be read: none of %d processes started for it went on",
              j->path, CHILD_TRIES);
    CLV_CHECK(out == CHILD_WROTE, CLV_ERR_FORMAT,
              "'%s' cannot be read: the HDF5 library crashed on it or exceeded %d seconds; the file is damaged, "
              "hostile or very large and compressed", j->path, CHILD_CPU_SECONDS);
    v.message[sizeof v.message - 1] = 0;
    return v.status == CLV_OK ? CLV_OK : clvi_fail(v.status, "%s", v.message);
}

clv_status clvi_isolate(const char *path, clvi_isolated_fn fn, void *arg, clvi_map *result)
{
    char name[64];
    const int fd = memfd_create("cleave-isolated", MFD_CLOEXEC);
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot make a memory file to read '%s': %s", path, strerror(errno));
    const job j = { path, fn, arg, fd, address_space() };
    clv_status st = supervise(&j);
    if (st == CLV_OK) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        st = clvi_map_open(name, result);
    }
    close(fd);
    return st;
}
