/* pack_file.c: see pack_file.h. */
#include "data/pack_file.h"
#include "core/checked.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- opening ---- */

static clv_status open_left(clvi_pack_file *f)
{
    f->fd = open(f->part, O_RDWR | O_CLOEXEC);
    if (f->fd >= 0 || errno != ENOENT) return CLV_OK;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    f->finished = f->fd >= 0;
    CLV_CHECK(f->fd >= 0, CLV_ERR_FORMAT, "'%s' is gone, which an interrupted pack wrote: give restart to begin anew",
              f->part);
    return CLV_OK;
}

clv_status clvi_pack_file_open(clv_context *ctx, const char *path, bool resume, clvi_pack_file *out)
{
    clvi_pack_file *f = out;
    memset(f, 0, sizeof *f);
    f->ctx = ctx;
    f->fd = -1;
    f->end = CLVI_H5_HEAD;
    const int n = snprintf(f->part, sizeof f->part, "%s.part", path);
    CLV_CHECK(n > 0 && (size_t)n < sizeof f->part, CLV_ERR_INVALID, "the path '%.80s...' is too long", path);
    snprintf(f->path, sizeof f->path, "%s", path);
    if (resume) CLV_TRY(open_left(f));
    else f->fd = open(f->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    CLV_CHECK(f->fd >= 0, CLV_ERR_IO, "cannot write '%s': %s", f->part, strerror(errno));
    return CLV_OK;
}

static void free_split(clv_context *ctx, clvi_pack_split *s)
{
    clvi_free(ctx, s->offsets);
    clvi_free(ctx, s->labels);
    clvi_free(ctx, s->checksums);
}

void clvi_pack_file_close(clvi_pack_file *f, bool discard)
{
    if (!f->ctx) return;
    for (int i = 0; i < f->split_count; i++) free_split(f->ctx, &f->split[i]);
    if (discard && f->fd >= 0) (void)unlink(f->finished ? f->path : f->part);
    if (f->fd >= 0) close(f->fd);
    f->ctx = NULL;
}

/* ---- images ---- */

clv_status clvi_pack_file_begin(clvi_pack_file *f, const char *split, int64_t room, bool labelled)
{
    clvi_pack_split *s = &f->split[f->split_count++];
    f->end = (f->end + CLVI_ALIGN - 1) / CLVI_ALIGN * CLVI_ALIGN;
    s->name = split;
    s->place = f->end;
    s->room = room;
    s->labelled = labelled;
    s->offsets = clvi_calloc(f->ctx, (size_t)room + 1, sizeof *s->offsets);
    s->labels = clvi_calloc(f->ctx, (size_t)room, sizeof *s->labels);
    s->checksums = clvi_calloc(f->ctx, (size_t)room, sizeof *s->checksums);
    return s->offsets && s->labels && s->checksums ? CLV_OK : CLV_ERR_NOMEM;
}

int64_t clvi_pack_file_add(clvi_pack_file *f, int64_t size, int64_t label, uint32_t checksum)
{
    clvi_pack_split *s = &f->split[f->split_count - 1];
    const int64_t place = f->end;
    s->labels[s->count] = label;
    s->checksums[s->count] = checksum;
    f->end += size;
    s->offsets[++s->count] = f->end - s->place;
    return place;
}

void clvi_pack_file_take_back(clvi_pack_file *f, int64_t count)
{
    clvi_pack_split *s = &f->split[f->split_count - 1];
    s->count = count;
    f->end = s->place + s->offsets[count];
}

clv_status clvi_pack_file_write(const clvi_pack_file *f, int64_t place, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t n = pwrite(f->fd, bytes, size, (off_t)place);
        if (n < 0 && errno == EINTR) continue;
        CLV_CHECK(n > 0, CLV_ERR_IO, "cannot write '%s': %s", f->part, strerror(errno));
        place += n;
        bytes += n;
        size -= (size_t)n;
    }
    return CLV_OK;
}

bool clvi_pack_file_read(const clvi_pack_file *f, int64_t place, uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t n = pread(f->fd, bytes, size, (off_t)place);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        place += n;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

clv_status clvi_pack_file_cut(clvi_pack_file *f)
{
    CLV_CHECK(!f->finished, CLV_ERR_FORMAT, "'%s' is not what an interrupted pack wrote: give restart to begin anew",
              f->path);
    CLV_CHECK(ftruncate(f->fd, f->end) == 0, CLV_ERR_IO, "cannot write '%s': %s", f->part, strerror(errno));
    return CLV_OK;
}

/* ---- the end ---- */

static clv_status write_i64(clvi_h5 *h5, const char *split, const char *member, int64_t *values, int64_t n)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s", split, member);
    const clv_view src = clv_view_1d(values, CLV_I64, n);
    return clvi_h5_write(h5, name, &src);
}

static clv_status build_split(clvi_h5 *h5, clvi_pack_split *s, int64_t height, int64_t width, int64_t channels)
{
    char name[128];
    const bool raw = height > 0;
    snprintf(name, sizeof name, "%s/%s", s->name, raw ? "images" : "bytes");
    const int64_t pixels[4] = { s->count, height, width, channels }, bytes[1] = { s->offsets[s->count] };
    CLV_TRY(clvi_h5_adopt(h5, name, raw ? 4 : 1, raw ? pixels : bytes, s->place));
    if (!raw) CLV_TRY(write_i64(h5, s->name, "offsets", s->offsets, s->count + 1));
    CLV_TRY(write_i64(h5, s->name, "checksums", s->checksums, s->count));
    return s->labelled ? write_i64(h5, s->name, "labels", s->labels, s->count) : CLV_OK;
}

clv_status clvi_pack_file_build(clvi_pack_file *f, int64_t height, int64_t width, int64_t channels, clvi_h5 **out)
{
    clvi_h5 *h5 = NULL;
    for (int i = 0; i < f->split_count; i++)
        CLV_CHECK(f->split[i].offsets[f->split[i].count] > 0, CLV_ERR_FORMAT,
                  "none of the images of split '%s' in '%s' can be decoded", f->split[i].name, f->path);
    CLV_TRY(clvi_h5_create_around(f->ctx, f->part, f->path, f->end, &h5));
    clv_status st = CLV_OK;
    for (int i = 0; i < f->split_count && st == CLV_OK; i++)
        st = build_split(h5, &f->split[i], height, width, channels);
    if (st == CLV_OK) *out = h5;
    else clvi_h5_close(h5);
    return st;
}
