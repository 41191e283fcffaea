/* fuzz_jpeg.c: JPEG pictures, with their EXIF orientation. */
#include "data/decode.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static clv_decoder *decoder;
    clv_image image;
    int orientation = 0;
    if (!decoder && clv_decoder_create(fuzz_context(), NULL, &decoder) != CLV_OK) abort();
    if (size < 3 || clvi_jpeg_decode(decoder, data, size, &image, &orientation) != CLV_OK) return 0;
    fuzz_require(orientation >= 1 && orientation <= 8);
    uint64_t sum = 0;
    for (int64_t i = 0; i < image.height * image.row_stride; i++) sum += image.pixels[i];   /* all of it is there */
    fuzz_require(sum <= 255u * (uint64_t)(image.height * image.row_stride));
    return 0;
}
