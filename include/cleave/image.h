/* image.h: a picture in memory, a contact sheet of several, and writing one as PNG. */
#ifndef CLEAVE_IMAGE_H
#define CLEAVE_IMAGE_H

#include <cleave/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A borrowed picture of bytes in [height, width, channels] order: pixel (y, x) starts at
 * pixels + y * row_stride + x * channels. row_stride counts bytes and is at least width * channels. */
typedef struct clv_image {
    const uint8_t *pixels;
    int64_t height, width, channels;
    int64_t row_stride;
} clv_image;

/* A picture whose rows follow each other without gaps. */
static inline clv_image clv_image_dense(const uint8_t *pixels, int64_t height, int64_t width, int64_t channels)
{
    const clv_image image = { pixels, height, width, channels, width * channels };
    return image;
}

/* Writes the picture (1 channel: grey, 3: RGB) as a PNG file that is either whole or absent.
 * Errors: CLV_ERR_INVALID for another channel count or an empty picture, CLV_ERR_IO, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_image_write_png(clv_context *ctx, const char *path, const clv_image *image) CLV_NODISCARD;

/* Where the tiles of a contact sheet lie: `columns` tiles a row, each cell as large as the largest tile, `padding`
 * pixels of background between cells and around them. A smaller tile is centred in its cell. */
typedef struct clv_contact_sheet_desc {
    size_t  struct_size;   /* set by CLV_CONTACT_SHEET_DESC_INIT */
    int64_t columns;       /* 0: as square as possible */
    int64_t padding;       /* pixels */
    int64_t zoom;          /* every pixel becomes zoom x zoom; at least 1 */
    uint8_t background;    /* grey level */
} clv_contact_sheet_desc;

#define CLV_CONTACT_SHEET_DESC_INIT                                                                                    \
    { .struct_size = sizeof(clv_contact_sheet_desc), .columns = 0, .padding = 2, .zoom = 1, .background = 255 }

/* Size of the sheet for these pictures, and, when `pixels` is not NULL, the sheet itself in it:
 * [*height, *width, *channels] dense. channels is 3 when any picture has 3, else 1; grey tiles are spread over RGB.
 * Call it once with NULL to learn the size. desc may be NULL for the defaults.
 * Errors: CLV_ERR_INVALID for no pictures, an empty one, or channels other than 1 and 3; CLV_ERR_UNSUPPORTED when the
 * sheet would have more than 2^30 bytes. Thread-safe. */
CLV_API clv_status clv_contact_sheet(const clv_contact_sheet_desc *desc, const clv_image *images, int64_t count,
                                     uint8_t *pixels, int64_t *height, int64_t *width, int64_t *channels)
    CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
