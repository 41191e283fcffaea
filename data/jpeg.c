/* jpeg.c: JPEG to RGB through TurboJPEG. Gray becomes R = G = B; CMYK and YCCK become RGB the simple way, R = C*K.
 * Any warning of the decoder is an error, because a truncated picture is only a warning to it. The exception are stray
 * bytes between segments, which are common and harmless: they are dropped and the picture is decoded again. */
#include "data/decode.h"
#include <string.h>
#include <turbojpeg.h>

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

/* Copies the file without what lies between the segments before the first scan. */
static clv_status drop_stray_bytes(clv_decoder *decoder, const uint8_t **bytes, size_t *size)
{
    CLV_TRY(clvi_buffer_reserve(decoder->ctx, &decoder->spare, *size));
    uint8_t *clean = decoder->spare.data;
    size_t used = 2;
    memcpy(clean, *bytes, used);
    segment s = { 0 };
    for (size_t pos = 2; s.marker != 0xda; pos = s.end) {
        CLV_CHECK(next_segment(*bytes, *size, pos, &s), CLV_ERR_FORMAT,
                  "JPEG: ends before the first scan, after byte %zu", pos);
        memcpy(clean + used, *bytes + s.start, s.end - s.start);
        used += s.end - s.start;
    }
    memcpy(clean + used, *bytes + s.end, *size - s.end);
    *bytes = clean;
    *size = used + (*size - s.end);
    return CLV_OK;
}

static bool is_stray_bytes_warning(const clv_decoder *decoder)
{
    return tjGetErrorCode(decoder->jpeg) == TJERR_WARNING &&
           strstr(tjGetErrorStr2(decoder->jpeg), "extraneous bytes before marker") != NULL;
}

static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++) rgb[3 * i + c] = (uint8_t)((cmyk[4 * i + c] * cmyk[4 * i + 3] + 127) / 255);
}

static clv_status decode_once(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out, bool *stray)
{
    int width = 0, height = 0, sampling = 0, space = 0;
    const int header = tjDecompressHeader3(decoder->jpeg, bytes, (unsigned long)size, &width, &height, &sampling,
                                           &space);
    *stray = header != 0 && is_stray_bytes_warning(decoder);
    CLV_CHECK(header == 0, CLV_ERR_FORMAT, "JPEG: %s", tjGetErrorStr2(decoder->jpeg));
    CLV_TRY(clvi_decoder_begin(decoder, "JPEG", height, width, out));

    const bool cmyk = space == TJCS_CMYK || space == TJCS_YCCK;
    uint8_t *dst = decoder->pixels.data;
    clvi_buffer four = { 0 };
    if (cmyk) {
        CLV_TRY(clvi_buffer_reserve(decoder->ctx, &four, (size_t)width * (size_t)height * 4));
        dst = four.data;
    }
    const int bad = tjDecompress2(decoder->jpeg, bytes, (unsigned long)size, dst, width, 0, height,
                                  cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS);
    if (!bad && cmyk) cmyk_to_rgb(four.data, decoder->pixels.data, (int64_t)width * height);
    clvi_free(decoder->ctx, four.data);
    *stray = bad && is_stray_bytes_warning(decoder);
    CLV_CHECK(!bad, CLV_ERR_FORMAT, "JPEG: %s", tjGetErrorStr2(decoder->jpeg));
    return CLV_OK;
}

/* After a failure the handle remembers half a picture, so the next one gets a fresh handle. */
static clv_status decode_afresh(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out, bool *stray)
{
    if (!decoder->jpeg) decoder->jpeg = tjInitDecompress();
    CLV_CHECK(decoder->jpeg, CLV_ERR_NOMEM, "JPEG: cannot start the decoder: %s", tjGetErrorStr2(NULL));
    const clv_status st = decode_once(decoder, bytes, size, out, stray);
    if (st != CLV_OK) {
        tjDestroy(decoder->jpeg);
        decoder->jpeg = NULL;
    }
    return st;
}

clv_status clvi_jpeg_decode(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out, int *orientation)
{
    bool stray = false;
    *orientation = find_orientation(bytes, size);
    const clv_status st = decode_afresh(decoder, bytes, size, out, &stray);
    if (!stray) return st;
    CLV_TRY(drop_stray_bytes(decoder, &bytes, &size));
    return decode_afresh(decoder, bytes, size, out, &stray);
}
