/* fuzz_cifar.c: records of CIFAR-10 (first byte even) and CIFAR-100 (odd). */
#include "data/parse.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t count = 0;
    if (size < 1) return 0;
    const int labels_each = 1 + data[0] % 2;
    if (clvi_cifar_parse("fuzz", data + 1, size - 1, labels_each, NULL, NULL, &count) != CLV_OK) return 0;
    uint8_t *pixels = malloc((size_t)count * 3072);
    int64_t *labels = malloc((size_t)count * sizeof *labels);
    fuzz_require(pixels && labels);
    if (clvi_cifar_parse("fuzz", data + 1, size - 1, labels_each, pixels, labels, &count) == CLV_OK)
        for (int64_t i = 0; i < count; i++) fuzz_require(labels[i] >= 0 && labels[i] < (labels_each == 1 ? 10 : 100));
    free(pixels);
    free(labels);
    return 0;
}
