/* fuzz_augment.c: texts of chains. What is accepted describes itself in a text that gives the same chain back, and can be
 * applied to a small picture within the scratch it asks for. */
#include <cleave/augment.h>
#include "tests/fuzz/fuzz.h"
#include <math.h>
#include <string.h>

enum { HEIGHT = 7, WIDTH = 5, MAX_SIDE = 256 };

static void apply(const clv_augment *a)
{
    clv_transform t;
    uint8_t pixels[HEIGHT * WIDTH * 3];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37);
    fuzz_require(clv_augment_transform(a, &t) == CLV_OK);
    if (t.height > MAX_SIDE) return;
    const clv_image image = clv_image_dense(pixels, HEIGHT, WIDTH, 3);
    const int64_t size = t.scratch_size(t.user, HEIGHT, WIDTH, 3);
    fuzz_require(size >= 0);
    void *scratch = malloc((size_t)size);
    float *out = malloc((size_t)(t.height * t.width * 3) * sizeof *out);
    fuzz_require(scratch && out);
    fuzz_require(t.apply(t.user, &image, 1, 2, 3, 4, scratch, (size_t)size, out) == CLV_OK);
    fuzz_require(isfinite(out[0]));
    free(scratch);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    clv_augment *a = NULL, *again = NULL;
    char *text = malloc(size + 1);
    fuzz_require(text != NULL);
    if (size) memcpy(text, data, size);
    text[size] = '\0';
    if (clv_augment_create(fuzz_context(), text, NULL, 0, &a) == CLV_OK) {
        fuzz_require(clv_augment_create(fuzz_context(), clv_augment_describe(a), NULL, 0, &again) == CLV_OK);
        fuzz_require(strcmp(clv_augment_describe(a), clv_augment_describe(again)) == 0);
        apply(a);
    }
    clv_augment_destroy(again);
    clv_augment_destroy(a);
    free(text);
    return 0;
}
