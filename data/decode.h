/* decode.h: encoded images to RGB. Nothing is believed: sizes are checked before memory is taken, and a picture
 * that is not whole is an error. */
#ifndef CLVI_DATA_DECODE_H
#define CLVI_DATA_DECODE_H

#include <cleave/data.h>
#include "core/context.h"

#define CLVI_IMAGE_FILE_LIMIT ((size_t)256 << 20)   /* bytes of one encoded image */

/* Memory that grows and is kept. */
typedef struct clvi_buffer {
    uint8_t *data;
    size_t   capacity;
} clvi_buffer;
clv_status clvi_buffer_reserve(clv_context *ctx, clvi_buffer *buffer, size_t size) CLV_NODISCARD;

/* Who decodes for views says here what of a picture of this size they need; `window` comes in as everything. */
typedef struct clvi_decode_plan {
    void (*choose)(void *user, int64_t height, int64_t width, clv_window *window);
    void *user;
} clvi_decode_plan;

struct clv_decoder {
    clv_context *ctx;
    bool         exif_orientation;
    clvi_decode_plan plan;   /* choose may be NULL: everything, as it is */
    int64_t      reduced;    /* by how much the last picture was: its pixels are as clv_part says */
    void        *jpeg;       /* of jpeg.c, made with the first JPEG */
    clvi_buffer  file;       /* encoded bytes of a file */
    clvi_buffer  pixels;     /* RGB */
    clvi_buffer  spare;      /* CMYK before it is RGB, a picture being turned */
};

/* Reads the file at `path` into decoder->file. */
clv_status clvi_decoder_read_file(clv_decoder *decoder, const char *path, size_t *size) CLV_NODISCARD;

/* Each fills decoder->pixels. *orientation is the EXIF tag, 1 to 8; 1 when there is none or it makes no sense.
 * Messages start with "JPEG: " or "PNG: "; the caller puts the name before them. */
clv_status clvi_jpeg_decode(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out, int *orientation)
    CLV_NODISCARD;
clv_status clvi_png_decode(clv_decoder *decoder, const uint8_t *bytes, size_t size, clv_image *out, int *orientation)
    CLV_NODISCARD;

void clvi_jpeg_free(clv_decoder *decoder);

/* Checks the size of a picture and makes room for its RGB pixels. */
clv_status clvi_decoder_begin(clv_decoder *decoder, const char *kind, int64_t height, int64_t width, clv_image *out)
    CLV_NODISCARD;

/* EXIF tag 0x0112 of a TIFF block, or 1. */
int clvi_exif_orientation(const uint8_t *tiff, size_t size);

typedef enum clvi_image_name { CLVI_NAME_OTHER, CLVI_NAME_DECODABLE, CLVI_NAME_REFUSED } clvi_image_name;
/* What a file's extension promises: torchvision's list, of which JPEG and PNG are decoded. */
clvi_image_name clvi_image_name_kind(const char *name);

#endif
