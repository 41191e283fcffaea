/* lines.c: lines between ranks. All of them end at rank 0, which passes on what is for all. */
#include "train/comm/backends/lines.h"
#include "train/comm/backend.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 120, GREETING = 10, SILENCE = 60 };  /* seconds: for all to come; to say hello; of a dead machine */
enum { PAUSE = 50 };                                   /* milliseconds between two looks for the lost */

enum { DATA = 0x434c5601, GOODBYE, LOST };

/* What goes before everything: what it is, and its size, or the rank that is lost. */
typedef struct word {
    int32_t kind, value;
} word;

typedef struct greeting {
    char    name[8];
    int32_t ranks, rank;
} greeting;

static const char name[8] = "cleave 1";

static int  my_rank, n_ranks;
static int *line;                      /* by rank, -1 where there is none; beside rank 0 each has one */

static int say(char *why, const char *text, int rank)
{
    snprintf(why, CLVI_COMM_WHY, text, rank);
    return 1;
}

static int system_error(const char *call, char *why)
{
    const int error = errno;
    snprintf(why, CLVI_COMM_WHY, "%s: %s", call, strerror(error));
    return 1;
}

int lines_number(const char *text)
{
    const long value = strtol(text, NULL, 10);
    return value >= 0 && value < INT_MAX ? (int)value : 0;
}

/* ---- bytes ---- */

static int send_all(int fd, const void *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        const ssize_t n = send(fd, (const char *)data + at, size - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 1;
        at += (size_t)n;
    }
    return 0;
}

static int receive_all(int fd, void *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        const ssize_t n = recv(fd, (char *)data + at, size - at, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 1;
        at += (size_t)n;
    }
    return 0;
}

/* Rank r has gone: rank 0, which alone sees it, tells the others. */
static int missed(int r, char *why)
{
    const word told = { LOST, r };
    for (int other = 1; my_rank == 0 && other < n_ranks; other++)
        if (other != r && line[other] >= 0) (void)send_all(line[other], &told, sizeof told);
    return say(why, "rank %d has gone: it was killed, its machine cannot be reached, or its own messages say why", r);
}

/* A goodbye takes the line away; what is data stays for who wants it. */
static int look_at(int r, char *why)
{
    word head;
    const ssize_t n = recv(line[r], &head, sizeof head, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
    if (n <= 0) return missed(r, why);
    if (n < (ssize_t)sizeof head || head.kind == DATA) return 0;
    if (head.kind == LOST) return missed(head.value, why);
    close(line[r]);
    line[r] = -1;
    return 0;
}

/* Whoever ends may have said before which rank it misses. */
static int tell(int r, const void *data, size_t size, char *why)
{
    const word head = { DATA, (int32_t)size };
    if (line[r] >= 0 && !send_all(line[r], &head, sizeof head) && !send_all(line[r], data, size)) return 0;
    return line[r] >= 0 && look_at(r, why) ? 1 : missed(r, why);
}

static int hear(int r, void *data, size_t size, char *why)
{
    word head = { 0, 0 };
    if (line[r] < 0 || receive_all(line[r], &head, sizeof head)) return missed(r, why);
    if (head.kind == LOST) return missed(head.value, why);
    if (head.kind == GOODBYE) return say(why, "rank %d has ended before the others", r);
    if (head.kind != DATA || head.value != (int32_t)size)
        return say(why, "rank %d makes other calls, or something else answers in its place", r);
    return receive_all(line[r], data, size) ? missed(r, why) : 0;
}

int lines_broadcast(void *x, size_t size, char *why)
{
    if (my_rank != 0) return hear(0, x, size, why);
    for (int r = 1; r < n_ranks; r++)
        if (tell(r, x, size, why)) return 1;
    return 0;
}

int lines_gather(void *x, size_t size, char *why)
{
    char *at = x;
    if (my_rank != 0 && tell(0, at + (size_t)my_rank * size, size, why)) return 1;
    for (int r = 1; my_rank == 0 && r < n_ranks; r++)
        if (hear(r, at + (size_t)r * size, size, why)) return 1;
    return lines_broadcast(x, size * (size_t)n_ranks, why);
}

/* ---- the lost ---- */

bool lines_are_due(void)
{
    static int64_t last;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const int64_t now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    if (now - last < PAUSE) return false;
    last = now;
    return true;
}

int lines_lost(char *why)
{
    for (int r = 0; line && r < n_ranks; r++)
        if (line[r] >= 0 && look_at(r, why)) return 1;
    return 0;
}

void lines_close(void)
{
    for (int r = 0; line && r < n_ranks; r++)
        if (line[r] >= 0) close(line[r]);
    free(line);
    line = NULL;
}

static void say_goodbye(void)
{
    const word bye = { GOODBYE, my_rank };
    for (int r = 0; line && r < n_ranks; r++)
        if (line[r] >= 0) (void)send_all(line[r], &bye, sizeof bye);
}

/* ---- finding each other ---- */

/* torchrun listens at MASTER_PORT itself: the next one is ours. */
static int resolve(struct addrinfo **out, char *why)
{
    const char *address = getenv("MASTER_ADDR"), *port = getenv("MASTER_PORT");
    const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
    char service[16];
    snprintf(service, sizeof service, "%d", (port ? lines_number(port) : 29500) + 1);
    const int error = getaddrinfo(address ? address : "127.0.0.1", service, &hints, out);
    if (error) snprintf(why, CLVI_COMM_WHY, "MASTER_ADDR '%.80s': %s", address ? address : "", gai_strerror(error));
    return error != 0;
}

static void wait_at_most(int fd, int seconds)
{
    const struct timeval t = { seconds, 0 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}

/* A machine that is gone does not close its lines: it falls silent. */
static void watch_for_silence(int fd)
{
    const int on = 1, wait = SILENCE / 2, again = SILENCE / 6, times = 3, most = SILENCE * 1000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &wait, sizeof wait);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &again, sizeof again);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &most, sizeof most);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Whoever does not say hello as ranks do is none. */
static int welcome(int fd, int *come, char *why)
{
    greeting hello;
    wait_at_most(fd, GREETING);
    if (receive_all(fd, &hello, sizeof hello) || memcmp(hello.name, name, sizeof name) != 0) {
        close(fd);
        return 0;
    }
    wait_at_most(fd, 0);
    const bool fits = hello.ranks == n_ranks && hello.rank > 0 && hello.rank < n_ranks && line[hello.rank] < 0;
    if (!fits) {
        snprintf(why, CLVI_COMM_WHY, "a process came that is rank %d of %d, to %d ranks that know of none or have it",
                 hello.rank, hello.ranks, n_ranks);
        close(fd);
        return 1;
    }
    watch_for_silence(fd);
    line[hello.rank] = fd;
    ++*come;
    return 0;
}

/* As rank 0. */
static int receive_ranks(const struct addrinfo *at, char *why)
{
    const int on = 1, fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0) return system_error("socket", why);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    wait_at_most(fd, PATIENCE);
    int failed = bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, n_ranks) != 0;
    if (failed) (void)system_error("listening for the other ranks (MASTER_ADDR, MASTER_PORT + 1)", why);
    for (int come = 1; come < n_ranks && !failed;) {
        const int other = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        failed = other < 0 ? 1 : welcome(other, &come, why);
        if (other < 0) snprintf(why, CLVI_COMM_WHY, "%d of %d ranks came in %d s", come, n_ranks, PATIENCE);
    }
    close(fd);
    return failed;
}

/* As any other. */
static int call_rank_0(const struct addrinfo *at, char *why)
{
    greeting hello = { .ranks = n_ranks, .rank = my_rank };
    memcpy(hello.name, name, sizeof name);
    for (int tenths = 0; tenths < 10 * PATIENCE; tenths++) {
        const struct timespec nap = { 0, 100000000 };
        const int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0);
        if (fd < 0) return system_error("socket", why);
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0 && !send_all(fd, &hello, sizeof hello)) {
            watch_for_silence(fd);
            line[0] = fd;
            return 0;
        }
        close(fd);
        nanosleep(&nap, NULL);                              /* rank 0 is not there yet */
    }
    snprintf(why, CLVI_COMM_WHY, "rank 0 was not heard of in %d s (MASTER_ADDR, MASTER_PORT)", PATIENCE);
    return 1;
}

int lines_open(int rank, int ranks, char *why)
{
    struct addrinfo *at = NULL;
    my_rank = rank;
    n_ranks = ranks;
    line = calloc((size_t)ranks, sizeof *line);
    if (!line) return system_error("calloc", why);
    for (int r = 0; r < ranks; r++) line[r] = -1;
    if (resolve(&at, why)) return 1;
    const int failed = rank == 0 ? receive_ranks(at, why) : call_rank_0(at, why);
    freeaddrinfo(at);
    if (!failed) atexit(say_goodbye);
    return failed;
}
