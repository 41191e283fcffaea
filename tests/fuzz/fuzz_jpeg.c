/* fuzz_jpeg.c: JPEG pictures, with their EXIF orientation, whole and in part. */
#include "data/decode.h"
#include "tests/fuzz/fuzz.h"

static uint64_t sum_of(const clv_image *image, const clv_window *w)
{
    uint64_t sum = 0;
    for (int64_t y = w->y; y < w->y + w->height; y++)
        for (int64_t i = w->x * 3; i < (w->x + w->width) * 3; i++)
            sum = sum * 31 + image->pixels[y * image->row_stride + i];   /* all of it is there */
    return sum;
}

static void give_window(void *user, int64_t height, int64_t width, clv_window *window)
{
    *window = *(const clv_window *)user;
    fuzz_require(window->y + window->height <= height && window->x + window->width <= width);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static clv_decoder *decoder;
    clv_image image, part;
    int orientation = 0;
    if (!decoder && clv_decoder_create(fuzz_context(), NULL, &decoder) != CLV_OK) abort();
    decoder->plan = (clvi_decode_plan){ 0 };
    if (size < 3 || clvi_jpeg_decode(decoder, data, size, &image, &orientation) != CLV_OK) return 0;
    fuzz_require(orientation >= 1 && orientation <= 8);
    clv_window all = { 0, 0, image.height, image.width, 1 }, w = all;
    (void)sum_of(&image, &all);
    if (image.height * image.width > 1 << 20) return 0;   /* three times would be slow, and not tell more */

    w.y = data[size / 2] * image.height / 256;
    w.x = data[size / 3] * image.width / 256;
    w.height = 1 + data[size / 4] * (image.height - w.y - 1) / 255;
    w.width = 1 + data[size / 5] * (image.width - w.x - 1) / 255;
    const uint64_t want = sum_of(&image, &w);
    decoder->plan = (clvi_decode_plan){ give_window, &w };
    fuzz_require(clvi_jpeg_decode(decoder, data, size, &part, &orientation) == CLV_OK);
    fuzz_require(sum_of(&part, &w) == want);
    w.reduce = 2 << data[size - 3] % 3;
    fuzz_require(clvi_jpeg_decode(decoder, data, size, &part, &orientation) == CLV_OK);
    return 0;
}
