/* fuzz_list.c: text files that list pictures. */
#include "core/context.h"
#include "data/parse.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    clvi_file_list l;
    char *text = malloc(size + 1);
    fuzz_require(text);
    memcpy(text, data, size);
    text[size] = 0;
    if (clvi_list_parse(fuzz_context(), "list.txt", text, size, &l) == CLV_OK) {
        fuzz_require(l.count > 0);
        for (int64_t i = 0; i < l.count; i++) {
            const clvi_file_entry *e = &l.entry[i];
            fuzz_require(strlen(text + e->path) > 4 && (size_t)e->path < size && (size_t)e->class <= size);
            fuzz_require((text[e->class] != 0) == l.classes && !strpbrk(text + e->path, "\n\t"));
        }
    }
    clvi_free(fuzz_context(), l.entry);
    free(text);
    return 0;
}
