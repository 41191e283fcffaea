/* replay.c: runs a fuzz target without libFuzzer: on every file of its corpus, and on mutations of each, the same in
 * every run.
 *
 *     fuzz_NAME [FOLDER [MUTATIONS]]      default: tests/fuzz/corpus/NAME, 1000 mutations of each file (fewer
 *                                         where a child process opens it first) */
#include "core/checked.h"
#include "core/file.h"
#include "core/rng.h"
#include "tests/fuzz/fuzz.h"
#include <dirent.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEED_LIMIT ((size_t)1 << 20)
#define INPUT_TIME 150   /* seconds after which one input counts as a hang */

/* One of a few kinds of damage that files suffer or enemies do. Returns the new size. */
static size_t damage(clvi_rng *rng, uint8_t *bytes, size_t size, size_t capacity)
{
    static const uint8_t extreme[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    if (size == 0) return size;
    const size_t at = (size_t)clvi_rng_below(rng, size);
    const size_t some = (size_t)clvi_rng_below(rng, 64) + 1, n = CLVI_MIN(size - at, some);
    const uint8_t value = extreme[clvi_rng_below(rng, sizeof extreme)];
    switch (clvi_rng_below(rng, 6)) {
    case 0: bytes[at] ^= (uint8_t)(1u << clvi_rng_below(rng, 8)); return size;
    case 1: bytes[at] = (uint8_t)clvi_rng_u32(rng); return size;
    case 2: memset(bytes + at, value, CLVI_MIN(n, 8)); return size;
    case 3: memmove(bytes + at, bytes + at + n, size - at - n); return size - n;
    case 4: return at;
    default:
        if (capacity - size < n) return size;
        memmove(bytes + at + n, bytes + at, size - at);
        return size + n;
    }
}

/* A copy of exactly the size, so that a sanitizer sees a read beyond it. */
static void run_on(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    fuzz_require(copy);
    memcpy(copy, bytes, size);
    alarm(INPUT_TIME);
    LLVMFuzzerTestOneInput(copy, size);
    alarm(0);
    free(copy);
}

static long replay(const uint8_t *seed, size_t size, int64_t number, long mutations)
{
    const size_t capacity = size + 256;
    uint8_t *bytes = malloc(capacity);
    fuzz_require(bytes);
    run_on(seed, size);
    for (long m = 0; m < mutations; m++) {
        clvi_rng rng = clvi_rng_make(0, CLVI_RNG_TEST, (uint32_t)m, (uint64_t)number, 0);
        size_t n = size;
        memcpy(bytes, seed, size);
        for (uint64_t i = clvi_rng_below(&rng, 4) + 1; i > 0; i--) n = damage(&rng, bytes, n, capacity);
        run_on(bytes, n);
    }
    free(bytes);
    return mutations + 1;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static const char *default_folder(const char *program)
{
    static char folder[256];
    const char *name = strstr(program, "fuzz_");
    while (name && strstr(name + 1, "fuzz_")) name = strstr(name + 1, "fuzz_");
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%.200s", name ? name + 5 : "");
    return folder;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : default_folder(argv[0]);
    const long usual = strstr(folder, "h5data") ? 40 : strstr(folder, "sealed") ? 300 : 1000;
    const long mutations = argc > 2 ? strtol(argv[2], NULL, 10) : usual;
    struct dirent **files = NULL;
    const int n = scandir(folder, &files, NULL, by_name);
    long runs = 0;
    for (int i = 0; i < n; i++) {
        char path[1024];
        uint8_t *seed = NULL;
        size_t size = 0;
        snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
        if (files[i]->d_name[0] != '.') {
            if (clvi_file_read(fuzz_context(), path, SEED_LIMIT, &seed, &size) != CLV_OK) {
                fprintf(stderr, "%s\n", clv_error_message());
                return 1;
            }
            runs += replay(seed, size, i, mutations);
            clvi_free(fuzz_context(), seed);
        }
        free(files[i]);
    }
    free(files);
    if (runs == 0) fprintf(stderr, "no corpus in '%s'\n", folder);
    else printf("%ld inputs\n", runs);
    return runs == 0;
}
