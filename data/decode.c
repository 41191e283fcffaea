/* decode.c: one encoded image to RGB pixels: telling the format, reading the file, turning the picture upright. */
#include "data/decode.h"
#include "core/checked.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

clv_status clvi_buffer_reserve(clv_context *ctx, clvi_buffer *buffer, size_t size)
{
    if (size <= buffer->capacity) return CLV_OK;
    clvi_free(ctx, buffer->data);          /* old contents are of no use */
    buffer->capacity = 0;
    buffer->data = clvi_calloc(ctx, 1, size);
    if (!buffer->data) return CLV_ERR_NOMEM;
    buffer->capacity = size;
    return CLV_OK;
}

clv_status clv_decoder_create(clv_context *ctx, const clv_decoder_desc *desc, clv_decoder **out)
{
    CLV_CHECK(ctx && out, CLV_ERR_INVALID, "clv_decoder_create: an argument is NULL");
    *out = NULL;
    CLV_CHECK(!desc || desc->struct_size == sizeof *desc, CLV_ERR_INVALID,
              "clv_decoder_desc: struct_size is %zu; start from CLV_DECODER_DESC_INIT", desc ? desc->struct_size : 0);
    clv_decoder *decoder = clvi_calloc(ctx, 1, sizeof *decoder);
    if (!decoder) return CLV_ERR_NOMEM;
    decoder->ctx = ctx;
    decoder->exif_orientation = desc && desc->exif_orientation;
    decoder->reduced = 1;
    *out = decoder;
    return CLV_OK;
}

void clv_decoder_destroy(clv_decoder *decoder)
{
    if (!decoder) return;
    clvi_jpeg_free(decoder);
    clvi_free(decoder->ctx, decoder->file.data);
    clvi_free(decoder->ctx, decoder->pixels.data);
    clvi_free(decoder->ctx, decoder->spare.data);
    clvi_free(decoder->ctx, decoder);
}

clv_status clvi_decoder_begin(clv_decoder *decoder, const char *kind, int64_t height, int64_t width, clv_image *out)
{
    CLV_CHECK(height >= 1 && width >= 1 && height <= CLV_DATA_MAX_SIDE && width <= CLV_DATA_MAX_SIDE &&
              height * width <= CLV_DATA_MAX_PIXELS, CLV_ERR_FORMAT,
              "%s: %" PRId64 "x%" PRId64 " pixels; expected sides of 1 to %d and at most %" PRId64 " pixels", kind,
              width, height, CLV_DATA_MAX_SIDE, CLV_DATA_MAX_PIXELS);
    CLV_TRY(clvi_buffer_reserve(decoder->ctx, &decoder->pixels, (size_t)(height * width * 3)));
    *out = (clv_image){ decoder->pixels.data, height, width, 3, width * 3 };
    return CLV_OK;
}

/* EXIF orientation o: the stored picture must be mirrored (2, 4, 5, 7), transposed (5..8) to stand upright. */
static clv_status turn_upright(clv_decoder *decoder, int orientation, clv_image *image)
{
    const int64_t h = image->height, w = image->width;
    const bool swap = orientation >= 5;
    const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    CLV_TRY(clvi_buffer_reserve(decoder->ctx, &decoder->spare, (size_t)(h * w * 3)));
    const int64_t out_h = swap ? w : h, out_w = swap ? h : w;
    for (int64_t y = 0; y < out_h; y++) {
        for (int64_t x = 0; x < out_w; x++) {
            int64_t sy = swap ? x : y, sx = swap ? y : x;
            if (flip_x) sx = w - 1 - sx;
            if (flip_y) sy = h - 1 - sy;
            memcpy(decoder->spare.data + (y * out_w + x) * 3, image->pixels + sy * image->row_stride + sx * 3, 3);
        }
    }
    const clvi_buffer turned = decoder->spare;
    decoder->spare = decoder->pixels;
    decoder->pixels = turned;
    *image = (clv_image){ turned.data, out_h, out_w, 3, out_w * 3 };
    return CLV_OK;
}

static clv_status decode(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out)
{
    static const uint8_t jpeg[] = { 0xff, 0xd8, 0xff }, png[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    int orientation = 1;
    decoder->reduced = 1;
    if (size >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        CLV_TRY(clvi_jpeg_decode(decoder, bytes, size, out, &orientation));
    else if (size >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        CLV_TRY(clvi_png_decode(decoder, bytes, size, out, &orientation));
    else
        return clvi_fail(CLV_ERR_FORMAT, "expected the first bytes of a JPEG or PNG file, in %zu bytes", size);
    return decoder->exif_orientation && orientation != 1 ? turn_upright(decoder, orientation, out) : CLV_OK;
}

clv_status clv_decoder_decode(clv_decoder *decoder, const char *what, const void *bytes, size_t size, clv_image *out)
{
    CLV_CHECK(decoder && what && bytes && out, CLV_ERR_INVALID, "clv_decoder_decode: an argument is NULL");
    const clv_status st = decode(decoder, bytes, size, out);
    return st == CLV_OK ? st : clvi_fail_in(st, what);
}

static clv_status read_file(clv_decoder *decoder, int fd, const char *path, size_t *size)
{
    struct stat info;
    CLV_CHECK(fstat(fd, &info) == 0 && S_ISREG(info.st_mode), CLV_ERR_IO, "'%s' is no regular file", path);
    CLV_CHECK((uint64_t)info.st_size <= CLVI_IMAGE_FILE_LIMIT, CLV_ERR_FORMAT, "'%s' has %lld bytes; the limit is %zu",
              path, (long long)info.st_size, CLVI_IMAGE_FILE_LIMIT);
    *size = 0;
    CLV_TRY(clvi_buffer_reserve(decoder->ctx, &decoder->file, (size_t)info.st_size + 1));
    while (*size < (size_t)info.st_size) {
        const ssize_t n = read(fd, decoder->file.data + *size, (size_t)info.st_size - *size);
        if (n < 0 && errno == EINTR) continue;
        CLV_CHECK(n >= 0, CLV_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
        if (n == 0) break;
        *size += (size_t)n;
    }
    return CLV_OK;
}

clv_status clvi_decoder_read_file(clv_decoder *decoder, const char *path, size_t *size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);   /* a pipe of that name would keep us waiting */
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    const clv_status st = read_file(decoder, fd, path, size);
    close(fd);
    return st;
}

clvi_image_name clvi_image_name_kind(const char *name)
{
    static const char *const decodable[] = { ".jpg", ".jpeg", ".png" };
    static const char *const refused[] = { ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp" };
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name) return CLVI_NAME_OTHER;
    for (size_t i = 0; i < CLVI_COUNT(decodable); i++)
        if (strcasecmp(dot, decodable[i]) == 0) return CLVI_NAME_DECODABLE;
    for (size_t i = 0; i < CLVI_COUNT(refused); i++)
        if (strcasecmp(dot, refused[i]) == 0) return CLVI_NAME_REFUSED;
    return CLVI_NAME_OTHER;
}
