/* pack_image.c: decodes, resizes and encodes one image for a packed data set. Called from several threads. */
#include "data/pack.h"
#include "core/checked.h"
#include <math.h>
#include <string.h>
#include <turbojpeg.h>

static clv_status keep(clvi_packer *p, clvi_packed *item, const void *bytes, size_t size)
{
    CLV_TRY(clvi_buffer_reserve(p->ctx, &item->data, size));
    memcpy(item->data.data, bytes, size);
    item->size = size;
    return CLV_OK;
}

/* torchvision's Resize: the shorter side becomes `size`, the longer int(size * longer / shorter). */
static clv_status resize_shorter_side(clvi_packer *p, clv_image *image, int64_t size)
{
    const int64_t h = image->height, w = image->width, shorter = CLVI_MIN(h, w), longer = CLVI_MAX(h, w);
    if (shorter == size) return CLV_OK;
    const int64_t other = size * longer / shorter;
    CLV_CHECK(other <= CLV_DATA_MAX_SIDE && size * other <= CLV_DATA_MAX_PIXELS, CLV_ERR_UNSUPPORTED,
              "resizing %" PRId64 "x%" PRId64 " to a shorter side of %" PRId64 " gives %" PRId64 " pixels on the other",
              w, h, size, other);
    return clvi_resize(p->ctx, &p->resizer, image, h <= w ? size : other, h <= w ? other : size, image);
}

/* torchvision's CenterCrop, whose rounding of halves goes to the even place. */
static void crop_centre(clv_image *image, int64_t size)
{
    const int64_t top = (int64_t)rint((double)(image->height - size) / 2.0);
    const int64_t left = (int64_t)rint((double)(image->width - size) / 2.0);
    image->pixels += top * image->row_stride + left * image->channels;
    image->height = image->width = size;
}

static void count_pixels(const clv_image *image, clvi_packed *item)
{
    memset(item->sum, 0, sizeof item->sum);
    memset(item->square, 0, sizeof item->square);
    item->height = image->height;
    item->width = image->width;
    item->channels = image->channels;
    for (int64_t y = 0; y < image->height; y++) {
        const uint8_t *p = image->pixels + y * image->row_stride;
        for (int64_t x = 0; x < image->width; x++) {
            for (int64_t c = 0; c < image->channels; c++, p++) {
                item->sum[c] += *p;
                item->square[c] += (uint64_t)*p * *p;
            }
        }
    }
}

static clv_status keep_raw(clvi_packer *p, clvi_packed *item, const clv_image *image)
{
    const size_t row = (size_t)(image->width * image->channels);
    item->size = row * (size_t)image->height;
    CLV_TRY(clvi_buffer_reserve(p->ctx, &item->data, item->size));
    for (int64_t y = 0; y < image->height; y++)
        memcpy(item->data.data + (size_t)y * row, image->pixels + y * image->row_stride, row);
    return CLV_OK;
}

static clv_status keep_jpeg(clvi_packer *p, clvi_packed *item, const clv_image *image, int quality)
{
    CLV_CHECK(image->channels == 1 || image->channels == 3, CLV_ERR_UNSUPPORTED,
              "JPEG holds 1 or 3 channels, not %" PRId64, image->channels);
    if (!p->jpeg) p->jpeg = tjInitCompress();
    CLV_CHECK(p->jpeg, CLV_ERR_NOMEM, "cannot start the JPEG encoder: %s", tjGetErrorStr2(NULL));
    const int gray = image->channels == 1, sampling = gray ? TJSAMP_GRAY : TJSAMP_420;
    unsigned long size = tjBufSize((int)image->width, (int)image->height, sampling);
    CLV_TRY(clvi_buffer_reserve(p->ctx, &item->data, size));
    unsigned char *out = item->data.data;
    const int bad = tjCompress2(p->jpeg, image->pixels, (int)image->width, (int)image->row_stride, (int)image->height,
                                gray ? TJPF_GRAY : TJPF_RGB, &out, &size, sampling, quality, TJFLAG_NOREALLOC);
    CLV_CHECK(!bad, CLV_ERR_DEVICE, "cannot encode as JPEG: %s", tjGetErrorStr2(p->jpeg));
    item->size = size;
    return CLV_OK;
}

/* The pixels that are packed, counted. */
static clv_status make_pixels(clvi_packer *p, const clv_pack_desc *desc, clvi_packed *item, clv_image *image)
{
    CLV_TRY(clv_dataset_image(item->ds, item->index, p->decoder, image));
    const bool raw = desc->format == CLV_PACK_RAW;
    if (desc->size > 0 && (raw || CLVI_MIN(image->height, image->width) > desc->size))
        CLV_TRY(resize_shorter_side(p, image, desc->size));
    if (desc->size > 0 && raw) crop_centre(image, desc->size);
    count_pixels(image, item);
    return CLV_OK;
}

static clv_status pack_pixels(clvi_packer *p, const clv_pack_desc *desc, clvi_packed *item)
{
    clv_image image;
    const bool raw = desc->format == CLV_PACK_RAW;
    CLV_TRY(make_pixels(p, desc, item, &image));
    return raw ? keep_raw(p, item, &image) : keep_jpeg(p, item, &image, desc->quality);
}

static clv_status pack_original(clvi_packer *p, const clv_pack_desc *desc, clvi_packed *item)
{
    char what[CLVI_DATA_MAX_LOCATION];
    const uint8_t *bytes = NULL;
    size_t size = 0;
    clv_image image;
    clv_dataset_locate(item->ds, item->index, what, sizeof what);
    CLV_TRY(clvi_dataset_encoded(item->ds, item->index, what, p->decoder, &bytes, &size));
    CLV_TRY(keep(p, item, bytes, size));
    if (!desc->verify) return CLV_OK;
    CLV_TRY(clv_decoder_decode(p->decoder, what, item->data.data, size, &image));
    count_pixels(&image, item);
    return CLV_OK;
}

void clvi_pack_image(clvi_packer *packer, const clv_pack_desc *desc, clvi_packed *item)
{
    item->height = item->width = item->channels = 0;
    const bool original = desc->format == CLV_PACK_ORIGINAL;
    item->status = original ? pack_original(packer, desc, item) : pack_pixels(packer, desc, item);
    if (item->status == CLV_OK) item->checksum = clvi_crc32c(0, item->data.data, item->size);
    if (item->status != CLV_OK) snprintf(item->message, sizeof item->message, "%s", clv_error_message());
}

void clvi_pack_measure(clvi_packer *packer, const clv_pack_desc *desc, clvi_packed *item)
{
    clv_image image;
    item->height = item->width = item->channels = 0;
    item->status = make_pixels(packer, desc, item, &image);
    if (item->status != CLV_OK) snprintf(item->message, sizeof item->message, "%s", clv_error_message());
}

void clvi_packer_free(clvi_packer *packer)
{
    clv_decoder_destroy(packer->decoder);
    clvi_resizer_free(packer->ctx, &packer->resizer);
    if (packer->jpeg) tjDestroy(packer->jpeg);
    *packer = (clvi_packer){ 0 };
}
