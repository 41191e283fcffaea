/* jpeg.c: JPEG to RGB through libjpeg-turbo. Gray becomes R = G = B; CMYK and YCCK become RGB the simple way, R = C*K.
 * Any warning of the decoder is an error, because a truncated picture is only a warning to it. The exception are stray
 * bytes between segments before the first scan, which are common and harmless.
 *
 * Where the decoder's plan asks for a window, rows above it are not transformed, what is beside it neither, and what is
 * below not even read; its pixels are those of the whole. */
#include "data/decode.h"
#include "core/checked.h"
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

#define MAX_SCANS 500   /* a progressive picture has about ten; each costs time and few bytes */
#define ROWS      16    /* handed out at once: those of a block with chroma of half the size */
#define MARGIN    32    /* columns beside a window: upsampling looks at neighbours, and parts begin at whole blocks */

typedef struct reader {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr         error;
    struct jpeg_progress_mgr      progress;
    jmp_buf                       failed;
    bool                          in_header;
    char                          message[JMSG_LENGTH_MAX];
} reader;

/* ---- what libjpeg calls ---- */

static reader *reader_of(j_common_ptr info)
{
    return (reader *)info->client_data;
}

static _Noreturn void fail(j_common_ptr info)
{
    reader *r = reader_of(info);
    info->err->format_message(info, r->message);
    longjmp(r->failed, 1);
}

static void take_message(j_common_ptr info, int level)
{
    const bool harmless = info->err->msg_code == JWRN_EXTRANEOUS_DATA && reader_of(info)->in_header;
    if (level < 0 && !harmless) fail(info);   /* others are for the curious */
}

static void limit_scans(j_common_ptr info)
{
    reader *r = reader_of(info);
    if (r->info.input_scan_number <= MAX_SCANS) return;
    snprintf(r->message, sizeof r->message, "more than %d scans", MAX_SCANS);
    longjmp(r->failed, 1);
}

/* Calls work(r, arg); false with a message when libjpeg gave up. */
static bool guarded(reader *r, void (*work)(reader *r, void *arg), void *arg)
{
    if (setjmp(r->failed)) return false;
    work(r, arg);
    return true;
}

static void create(reader *r, void *arg)
{
    (void)arg;
    jpeg_create_decompress(&r->info);
    r->info.progress = &r->progress;
}

static clv_status reader_open(clv_decoder *decoder)
{
    if (decoder->jpeg) return CLV_OK;
    reader *r = clvi_calloc(decoder->ctx, 1, sizeof *r);
    if (!r) return CLV_ERR_NOMEM;
    r->info.err = jpeg_std_error(&r->error);
    r->error.error_exit = fail;
    r->error.emit_message = take_message;
    r->progress.progress_monitor = limit_scans;
    r->info.client_data = r;
    decoder->jpeg = r;
    if (guarded(r, create, NULL)) return CLV_OK;
    const clv_status st = clvi_fail(CLV_ERR_NOMEM, "JPEG: cannot start the decoder: %s", r->message);
    clvi_jpeg_free(decoder);
    return st;
}

void clvi_jpeg_free(clv_decoder *decoder)
{
    reader *r = decoder->jpeg;
    if (!r) return;
    jpeg_destroy_decompress(&r->info);
    clvi_free(decoder->ctx, r);
    decoder->jpeg = NULL;
}

/* ---- EXIF ---- */

typedef struct segment {
    int            marker;
    size_t         start, end;   /* of the whole segment, marker included */
    const uint8_t *body;
    size_t         body_size;
} segment;

/* The next marker segment at or after `pos`; false at the end of what can be told apart. */
static bool next_segment(const uint8_t *bytes, size_t size, size_t pos, segment *out)
{
    for (; size - pos >= 4; pos++) {
        if (bytes[pos] != 0xff || bytes[pos + 1] == 0x00 || bytes[pos + 1] == 0xff) continue;
        const size_t length = (size_t)bytes[pos + 2] << 8 | bytes[pos + 3];
        if (length < 2 || length > size - pos - 2) return false;
        *out = (segment){ bytes[pos + 1], pos, pos + 2 + length, bytes + pos + 4, length - 2 };
        return true;
    }
    return false;
}

static int find_orientation(const uint8_t *bytes, size_t size)
{
    segment s;
    for (size_t pos = 2; next_segment(bytes, size, pos, &s) && s.marker != 0xda; pos = s.end)
        if (s.marker == 0xe1 && s.body_size > 6 && memcmp(s.body, "Exif\0", 6) == 0)
            return clvi_exif_orientation(s.body + 6, s.body_size - 6);
    return 1;
}

/* ---- pixels ---- */

typedef struct source {
    const uint8_t *bytes;
    size_t         size;
} source;

static void read_header(reader *r, void *arg)
{
    const source *s = arg;
    r->in_header = true;
    jpeg_mem_src(&r->info, s->bytes, (unsigned long)s->size);
    (void)jpeg_read_header(&r->info, TRUE);
    r->in_header = false;
}

/* Where pixels go, `depth` bytes each: rows of `stride` bytes from `pixels` on; the window in pixels that are written. */
typedef struct target {
    uint8_t *pixels;
    int64_t  stride, depth;
    JDIMENSION top, bottom, left, right;
} target;

/* What is above, beside and below the window is left out. */
static void read_pixels(reader *r, void *arg)
{
    const target *t = arg;
    jpeg_start_decompress(&r->info);
    JDIMENSION first = t->left > MARGIN ? t->left - MARGIN : 0;
    JDIMENSION width = CLVI_MIN(t->right + MARGIN, r->info.output_width) - first;
    const JDIMENSION height = r->info.output_height;
    if (width < r->info.output_width) jpeg_crop_scanline(&r->info, &first, &width);
    if (t->top > 0) (void)jpeg_skip_scanlines(&r->info, t->top);
    while (r->info.output_scanline < t->bottom) {
        JSAMPROW row[ROWS];
        const JDIMENSION at = r->info.output_scanline, n = CLVI_MIN(ROWS, t->bottom - at);
        for (JDIMENSION i = 0; i < n; i++) row[i] = t->pixels + (int64_t)(at + i) * t->stride + first * t->depth;
        (void)jpeg_read_scanlines(&r->info, row, n);
    }
    if (t->bottom < height) jpeg_abort_decompress(&r->info);
    else (void)jpeg_finish_decompress(&r->info);
}

static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++) rgb[3 * i + c] = (uint8_t)((cmyk[4 * i + c] * cmyk[4 * i + 3] + 127) / 255);
}

/* All of it, unless somebody needs less and the file has its end: only reading it all would tell that it is cut. */
static clv_status choose_window(const clv_decoder *decoder, const source *s, int orientation, int64_t height,
                                int64_t width, clv_window *w)
{
    const bool ends = s->bytes[s->size - 2] == 0xff && s->bytes[s->size - 1] == 0xd9;
    if (decoder->plan.choose && ends && (orientation == 1 || !decoder->exif_orientation))
        decoder->plan.choose(decoder->plan.user, height, width, w);
    const bool inside = w->y >= 0 && w->x >= 0 && w->height >= 1 && w->width >= 1 && w->y < height && w->x < width &&
                        w->height <= height - w->y && w->width <= width - w->x;
    CLV_CHECK(inside && (w->reduce == 1 || w->reduce == 2 || w->reduce == 4 || w->reduce == 8), CLV_ERR_INVALID,
              "JPEG: a transform's window is %" PRId64 "x%" PRId64 " pixels at %" PRId64 ",%" PRId64 " reduced by %"
              PRId64 ", in a picture of %" PRId64 "x%" PRId64, w->width, w->height, w->x, w->y, w->reduce, width, height);
    return CLV_OK;
}

static clv_status decode(clv_decoder *decoder, reader *r, source *s, clv_image *out, int orientation)
{
    struct jpeg_decompress_struct *info = &r->info;
    CLV_CHECK(guarded(r, read_header, s), CLV_ERR_FORMAT, "JPEG: %s", r->message);
    const int64_t height = info->image_height, width = info->image_width;
    CLV_TRY(clvi_decoder_begin(decoder, "JPEG", height, width, out));

    const bool cmyk = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
    clv_window w = { 0, 0, height, width, 1 };
    if (!cmyk) CLV_TRY(choose_window(decoder, s, orientation, height, width, &w));
    target t = { decoder->pixels.data, (width + w.reduce - 1) / w.reduce * 3, 3, (JDIMENSION)(w.y / w.reduce),
                 (JDIMENSION)((w.y + w.height + w.reduce - 1) / w.reduce), (JDIMENSION)(w.x / w.reduce),
                 (JDIMENSION)((w.x + w.width + w.reduce - 1) / w.reduce) };
    if (cmyk) {
        CLV_TRY(clvi_buffer_reserve(decoder->ctx, &decoder->spare, (size_t)(width * height * 4)));
        t.pixels = decoder->spare.data;
        t.stride = width * 4;
        t.depth = 4;
    }
    info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    info->scale_num = 1;
    info->scale_denom = (unsigned)w.reduce;
    CLV_CHECK(guarded(r, read_pixels, &t), CLV_ERR_FORMAT, "JPEG: %s", r->message);
    if (cmyk) cmyk_to_rgb(t.pixels, decoder->pixels.data, width * height);
    else out->row_stride = t.stride;
    decoder->reduced = w.reduce;
    return CLV_OK;
}

clv_status clvi_jpeg_decode(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out, int *orientation)
{
    source s = { bytes, size };
    *orientation = find_orientation(bytes, size);
    CLV_TRY(reader_open(decoder));
    const clv_status st = decode(decoder, decoder->jpeg, &s, out, *orientation);
    /* It may be in the middle of a picture. */
    if (st != CLV_OK) jpeg_abort_decompress(&((reader *)decoder->jpeg)->info);
    return st;
}
