/* fuzz_idx.c: headers of IDX files. */
#include "data/parse.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    clvi_idx idx;
    if (clvi_idx_parse("fuzz", data, size, &idx) != CLV_OK) return 0;
    size_t values = 1;
    for (int i = 0; i < idx.ndim; i++) values *= (size_t)idx.dim[i];
    fuzz_require(idx.header <= size && values == idx.values);
    return 0;
}
