/* fuzz_imagefolder_name.c: names of files in folders of images. */
#include "data/decode.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *name = malloc(size + 1);
    fuzz_require(name);
    memcpy(name, data, size);
    name[size] = 0;
    const clvi_image_name kind = clvi_image_name_kind(name);
    fuzz_require(kind == CLVI_NAME_OTHER || (strchr(name, '.') && strrchr(name, '.') != name));
    free(name);
    return 0;
}
