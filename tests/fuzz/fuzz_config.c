/* fuzz_config.c: YAML configurations. What is accepted saves as a text that loads to the same. */
#include "tests/fuzz/fuzz.h"
#include "train/config/config.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    clv_config *a = NULL, *b = NULL;
    char *text = NULL;
    fuzz_require(clv_config_create(fuzz_context(), &a) == CLV_OK && clv_config_create(fuzz_context(), &b) == CLV_OK);
    if (clvi_config_parse(a, "fuzz", (const char *)data, size) == CLV_OK && clvi_config_text(a, &text) == CLV_OK) {
        fuzz_require(clvi_config_parse(b, "again", text, strlen(text)) == CLV_OK);
        fuzz_require(!memcmp(&a->settings, &b->settings, sizeof a->settings));
    }
    clvi_free(fuzz_context(), text);
    clv_config_destroy(b);
    clv_config_destroy(a);
    return 0;
}
