/* fuzz_tensors.c: safetensors and .pth files: whatever the bytes are, each tensor that is found can be read to its last
 * value. */
#include "backbones/tensor_file.h"
#include "tests/fuzz/fuzz.h"

enum { MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float values[MOST];
    clvi_tensor_file *file = NULL;
    if (clvi_tensor_file_memory(fuzz_context(), data, size, &file) != CLV_OK) return 0;
    for (int64_t i = 0; i < file->count; i++) {
        const clvi_tensor *t = &file->tensor[i];
        const int64_t count = clvi_tensor_count(t);
        fuzz_require(count >= 0 && clvi_tensor_find(file, t->name) == t);
        /* A tensor of stride 0 may have any number of values; whoever reads one has compared its shape first. */
        if (count <= MOST) (void)!clvi_tensor_values(t, values);
    }
    clvi_tensor_file_close(file);
    return 0;
}
