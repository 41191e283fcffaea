/* pack_journal.c: see pack_journal.h. The file: a head, the text, then records of one size, in this machine's byte order. */
#include "data/pack_journal.h"
#include "core/checked.h"
#include "core/file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "CLVPACK1"

typedef struct head {
    char     magic[8];
    uint32_t size, checksum;   /* of the text */
} head;

static bool read_at(int fd, void *bytes, size_t size, int64_t at)
{
    return pread(fd, bytes, size, (off_t)at) == (ssize_t)size;
}

static clv_status write_at(const clvi_pack_journal *j, const void *bytes, size_t size, int64_t at)
{
    ssize_t n;
    do n = pwrite(j->fd, bytes, size, (off_t)at);
    while (n < 0 && errno == EINTR);
    CLV_CHECK(n == (ssize_t)size, CLV_ERR_IO, "cannot write '%s': %s", j->path, strerror(n < 0 ? errno : ENOSPC));
    return CLV_OK;
}

/* Says which line of the two texts is the first that differs. */
static clv_status refuse(const clvi_pack_journal *j, const char *theirs, const char *ours)
{
    size_t line = 0;
    for (size_t i = 0; theirs[i] == ours[i] && ours[i]; i++)
        if (ours[i] == '\n') line = i + 1;
    const int m = (int)strcspn(theirs + line, "\n"), n = (int)strcspn(ours + line, "\n");
    return clvi_fail(CLV_ERR_INVALID, "'%s' is of an interrupted pack with '%.*s', this one has '%.*s': give the same "
                     "settings to go on, or restart to begin anew", j->path, m, theirs + line, n, ours + line);
}

static clv_status check_text(clv_context *ctx, const clvi_pack_journal *j, const head *h, int64_t file_size,
                             const char *ours)
{
    const bool sound = memcmp(h->magic, MAGIC, sizeof h->magic) == 0 && h->size <= file_size - (int64_t)sizeof *h;
    CLV_CHECK(sound, CLV_ERR_FORMAT, "'%s' is damaged: give restart to begin anew", j->path);
    char *theirs = clvi_calloc(ctx, 1, (size_t)h->size + 1);
    if (!theirs) return CLV_ERR_NOMEM;
    clv_status st = CLV_OK;
    if (!read_at(j->fd, theirs, h->size, sizeof *h) || clvi_crc32c(0, theirs, h->size) != h->checksum)
        st = clvi_fail(CLV_ERR_FORMAT, "'%s' is damaged: give restart to begin anew", j->path);
    else if (strcmp(theirs, ours) != 0)
        st = refuse(j, theirs, ours);
    clvi_free(ctx, theirs);
    return st;
}

static clv_status begin(clvi_pack_journal *j, const char *text)
{
    head h = { .magic = MAGIC, .size = (uint32_t)strlen(text) };
    h.checksum = clvi_crc32c(0, text, h.size);
    CLV_CHECK(ftruncate(j->fd, 0) == 0, CLV_ERR_IO, "cannot write '%s': %s", j->path, strerror(errno));
    CLV_TRY(write_at(j, text, h.size, sizeof h));
    return write_at(j, &h, sizeof h, 0);   /* last: without a head there is no journal */
}

static clv_status open_or_begin(clv_context *ctx, clvi_pack_journal *j, const char *text, bool restart)
{
    head h;
    struct stat info;
    CLV_CHECK(flock(j->fd, LOCK_EX | LOCK_NB) == 0, CLV_ERR_INVALID, "'%s': another pack is writing it", j->path);
    CLV_CHECK(fstat(j->fd, &info) == 0, CLV_ERR_IO, "cannot examine '%s': %s", j->path, strerror(errno));
    j->start = (int64_t)(sizeof h + strlen(text));
    if (restart || !read_at(j->fd, &h, sizeof h, 0) || h.magic[0] == 0) return begin(j, text);
    CLV_TRY(check_text(ctx, j, &h, info.st_size, text));
    j->count = (info.st_size - j->start) / (int64_t)sizeof(clvi_pack_record);
    return CLV_OK;
}

clv_status clvi_pack_journal_open(clv_context *ctx, const char *output, const char *text, bool restart,
                                  clvi_pack_journal *out)
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s.journal", output);
    CLV_CHECK(n > 0 && (size_t)n < sizeof path, CLV_ERR_INVALID, "the path '%.80s...' is too long", output);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    clvi_pack_journal j = { .fd = fd, .path = clvi_strdup(ctx, path) };
    const clv_status st = j.path ? open_or_begin(ctx, &j, text, restart) : CLV_ERR_NOMEM;
    if (st == CLV_OK) {
        *out = j;
    } else {
        close(fd);
        clvi_free(ctx, j.path);
    }
    return st;
}

static uint32_t seal_of(const clvi_pack_record *r)
{
    return clvi_crc32c(0, r, offsetof(clvi_pack_record, seal));
}

bool clvi_pack_journal_next(clvi_pack_journal *j, clvi_pack_record *out)
{
    if (j->next == j->count) return false;
    const int64_t at = j->start + j->next * (int64_t)sizeof *out;
    if (!read_at(j->fd, out, sizeof *out, at) || out->number != (uint64_t)j->next || out->seal != seal_of(out)) {
        j->count = j->next;
        return false;
    }
    j->next++;
    return true;
}

void clvi_pack_journal_reject(clvi_pack_journal *j)
{
    j->count = --j->next;
}

clv_status clvi_pack_journal_append(clvi_pack_journal *j, clvi_pack_record *record)
{
    record->number = (uint64_t)j->next;
    record->seal = seal_of(record);
    CLV_TRY(write_at(j, record, sizeof *record, j->start + j->next * (int64_t)sizeof *record));
    j->count = ++j->next;
    return CLV_OK;
}

void clvi_pack_journal_close(clv_context *ctx, clvi_pack_journal *j, bool done)
{
    if (!j->path) return;
    if (done) (void)unlink(j->path);
    close(j->fd);
    clvi_free(ctx, j->path);
    j->path = NULL;
}
