/* events.c: event files. A record is the length of the data (8 bytes, little endian), a checksum of those 8 bytes, the
 * data, a checksum of the data; checksums are CRC-32C, turned and shifted so that a checksum inside data is none. */
#include "train/log/events.h"
#include "core/checked.h"
#include "core/file.h"

#include <errno.h>
#include <train/log/events.pb-c.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct clvi_events {
    clv_context *ctx;
    FILE        *file;
    uint8_t     *bytes;           /* of the record at work */
    size_t       capacity;
};

enum { HEAD = 12, RESTART_START = 1 };

static void put_little(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t masked(const uint8_t *bytes, size_t size)
{
    const uint32_t crc = clvi_crc32c(0, bytes, size);
    return ((crc >> 15) | (crc << 17)) + UINT32_C(0xa282ead8);
}

static clv_status need(clvi_events *e, size_t size)
{
    if (size <= e->capacity) return CLV_OK;
    uint8_t *grown = clvi_realloc(e->ctx, e->bytes, 2 * size);
    if (!grown) return CLV_ERR_NOMEM;
    e->bytes = grown;
    e->capacity = 2 * size;
    return CLV_OK;
}

static clv_status write_event(clvi_events *e, Clvi__Tb__Event *event)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    event->wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    const size_t size = clvi__tb__event__get_packed_size(event);
    CLV_TRY(need(e, HEAD + size + 4));
    put_little(e->bytes, size, 8);
    put_little(e->bytes + 8, masked(e->bytes, 8), 4);
    clvi__tb__event__pack(event, e->bytes + HEAD);
    put_little(e->bytes + HEAD + size, masked(e->bytes + HEAD, size), 4);
    CLV_CHECK(fwrite(e->bytes, 1, HEAD + size + 4, e->file) == HEAD + size + 4, CLV_ERR_IO, "event file: %s",
              strerror(errno));
    return CLV_OK;
}

static clv_status write_value(clvi_events *e, int64_t step, const char *tag, Clvi__Tb__Value *value)
{
    Clvi__Tb__Event event = CLVI__TB__EVENT__INIT;
    Clvi__Tb__Summary summary = CLVI__TB__SUMMARY__INIT;
    value->tag = (char *)tag;
    summary.n_value = 1;
    summary.value = &value;
    event.step = step;
    event.what_case = CLVI__TB__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return write_event(e, &event);
}

static clv_status write_opening(clvi_events *e, int64_t step)
{
    Clvi__Tb__Event version = CLVI__TB__EVENT__INIT, start = CLVI__TB__EVENT__INIT;
    Clvi__Tb__Restart restart = CLVI__TB__RESTART__INIT;
    version.what_case = CLVI__TB__EVENT__WHAT_FILE_VERSION;
    version.file_version = (char[]){ "brain.Event:2" };
    CLV_TRY(write_event(e, &version));
    if (step == 0) return clvi_events_flush(e);
    restart.status = RESTART_START;
    start.step = step + 1;                 /* the first that is void */
    start.what_case = CLVI__TB__EVENT__WHAT_RESTART;
    start.restart = &restart;
    CLV_TRY(write_event(e, &start));
    return clvi_events_flush(e);
}

clv_status clvi_events_open(clv_context *ctx, const char *directory, int64_t step, clvi_events **out)
{
    char path[4096], host[256] = "localhost";
    *out = NULL;
    (void)gethostname(host, sizeof host - 1);
    const int n = snprintf(path, sizeof path, "%s/events.out.tfevents.%010lld.%s.%ld.0", directory,
                           (long long)time(NULL), host, (long)getpid());
    CLV_CHECK(n > 0 && n < (int)sizeof path, CLV_ERR_INVALID, "run directory's path is too long");
    clvi_events *e = clvi_calloc(ctx, 1, sizeof *e);
    if (!e) return CLV_ERR_NOMEM;
    e->ctx = ctx;
    e->file = fopen(path, "wb");
    const clv_status st = e->file ? write_opening(e, step) : clvi_fail(CLV_ERR_IO, "cannot open '%s': %s", path,
                                                                       strerror(errno));
    if (st != CLV_OK) {
        clvi_events_close(e);
        return st;
    }
    *out = e;
    return CLV_OK;
}

void clvi_events_close(clvi_events *e)
{
    if (!e) return;
    if (e->file) fclose(e->file);
    clvi_free(e->ctx, e->bytes);
    clvi_free(e->ctx, e);
}

clv_status clvi_events_flush(clvi_events *e)
{
    CLV_CHECK(fflush(e->file) == 0, CLV_ERR_IO, "event file: %s", strerror(errno));
    return CLV_OK;
}

clv_status clvi_events_scalar(clvi_events *e, int64_t step, const char *tag, double value)
{
    Clvi__Tb__Value v = CLVI__TB__VALUE__INIT;
    v.value_case = CLVI__TB__VALUE__VALUE_SIMPLE_VALUE;
    v.simple_value = (float)value;
    return write_value(e, step, tag, &v);
}

clv_status clvi_events_histogram(clvi_events *e, int64_t step, const char *tag, const clvi_histogram *h)
{
    Clvi__Tb__Value v = CLVI__TB__VALUE__INIT;
    Clvi__Tb__Histogram histogram = CLVI__TB__HISTOGRAM__INIT;
    histogram.min = h->min;
    histogram.max = h->max;
    histogram.sum = h->sum;
    histogram.sum_squares = h->sum_squares;
    for (int i = 0; i < h->count; i++) histogram.num += h->counts[i];
    histogram.n_bucket_limit = histogram.n_bucket = (size_t)h->count;
    histogram.bucket_limit = h->limit;
    histogram.bucket = h->counts;
    v.value_case = CLVI__TB__VALUE__VALUE_HISTO;
    v.histo = &histogram;
    return write_value(e, step, tag, &v);
}

clv_status clvi_events_image(clvi_events *e, int64_t step, const char *tag, const uint8_t *png, size_t size,
                             int64_t height, int64_t width, int64_t channels)
{
    Clvi__Tb__Value v = CLVI__TB__VALUE__INIT;
    Clvi__Tb__Image image = CLVI__TB__IMAGE__INIT;
    image.height = (int32_t)height;
    image.width = (int32_t)width;
    image.colorspace = (int32_t)channels;
    image.encoded_image_string.data = (uint8_t *)png;
    image.encoded_image_string.len = size;
    v.value_case = CLVI__TB__VALUE__VALUE_IMAGE;
    v.image = &image;
    return write_value(e, step, tag, &v);
}
