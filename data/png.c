/* png.c: PNG to RGB through libspng. Palettes are expanded, 16 bits become their upper 8, gray becomes R = G = B, and
 * alpha is dropped (colours under it stay as stored). */
#include "data/decode.h"
#include <spng.h>

#define PNG_CHUNK_LIMIT ((size_t)8 << 20)    /* of one ancillary chunk */
#define PNG_CACHE_LIMIT ((size_t)32 << 20)   /* of all that libspng keeps */
#define DEFLATE_MAX_RATIO 1100               /* deflate cannot do better than 1032 : 1 */

#define TRY_SPNG(e, what)                                                                                              \
    do {                                                                                                               \
        const int error_ = (e);                                                                                        \
        CLV_CHECK(!error_, error_ == SPNG_EMEM ? CLV_ERR_NOMEM : CLV_ERR_FORMAT, "PNG: %s: %s", what,                  \
                  spng_strerror(error_));                                                                              \
    } while (0)

/* A file that promises more than deflate can squeeze into it is refused before memory is taken. */
static clv_status check_ratio(const struct spng_ihdr *header, size_t size)
{
    static const int samples[] = { 1, 0, 3, 1, 2, 0, 4 };   /* by colour type, which spng has checked */
    const uint64_t bits = (uint64_t)header->width * (uint64_t)(samples[header->color_type] * header->bit_depth);
    const uint64_t bytes = (bits + 7) / 8 * header->height;
    CLV_CHECK(bytes / DEFLATE_MAX_RATIO <= size, CLV_ERR_FORMAT,
              "PNG: %" PRIu32 "x%" PRIu32 " pixels of %" PRIu64 " bytes cannot be in a file of %zu bytes", header->width,
              header->height, bytes, size);
    return CLV_OK;
}

static clv_status decode(spng_ctx *png, clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out,
                         int *orientation)
{
    struct spng_ihdr header;
    struct spng_exif exif;
    size_t needed = 0;
    TRY_SPNG(spng_set_crc_action(png, SPNG_CRC_ERROR, SPNG_CRC_DISCARD), "checksum rule");
    TRY_SPNG(spng_set_chunk_limits(png, PNG_CHUNK_LIMIT, PNG_CACHE_LIMIT), "chunk limits");
    TRY_SPNG(spng_set_image_limits(png, CLV_DATA_MAX_SIDE, CLV_DATA_MAX_SIDE), "size limits");
    TRY_SPNG(spng_set_png_buffer(png, bytes, size), "buffer");
    TRY_SPNG(spng_get_ihdr(png, &header), "header");
    CLV_TRY(check_ratio(&header, size));
    CLV_TRY(clvi_decoder_begin(decoder, "PNG", header.height, header.width, out));
    TRY_SPNG(spng_decoded_image_size(png, SPNG_FMT_RGB8, &needed), "size");
    CLV_CHECK(needed == (size_t)(out->height * out->row_stride), CLV_ERR_INTERNAL, "PNG: the decoder wants %zu bytes",
              needed);
    TRY_SPNG(spng_decode_image(png, decoder->pixels.data, needed, SPNG_FMT_RGB8, 0), "pixels");
    *orientation = spng_get_exif(png, &exif) == 0
                 ? clvi_exif_orientation((const uint8_t *)exif.data, exif.length) : 1;
    return CLV_OK;
}

clv_status clvi_png_decode(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out, int *orientation)
{
    spng_ctx *png = spng_ctx_new(0);
    CLV_CHECK(png, CLV_ERR_NOMEM, "PNG: cannot start the decoder");
    const clv_status st = decode(png, decoder, bytes, size, out, orientation);
    spng_ctx_free(png);
    return st;
}
