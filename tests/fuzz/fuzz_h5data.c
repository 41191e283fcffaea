/* fuzz_h5data.c: HDF5 data sets, opened as users open them: through the child process. With CLEAVE_FUZZ_DIRECT set the
 * file is parsed in this process instead, which hunts for crashes of libhdf5 itself. */
#include "data/survey.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int memory_file(const uint8_t *data, size_t size)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    return fd;
}

static void parse_here(const uint8_t *data, size_t size)
{
    clvi_h5 *h5 = NULL;
    const int fd = memory_file(NULL, 0);
    if (clvi_h5_open_memory(fuzz_context(), data, size, &h5) == CLV_OK &&
        clvi_survey_write(fuzz_context(), h5, "fuzz", (int64_t)size, NULL, false, fd) == CLV_ERR_INTERNAL) abort();
    clvi_h5_close(h5);
    close(fd);
}

static void open_and_read(const char *path)
{
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    clv_image image;
    uint64_t sum = 0;
    if (clv_dataset_open(fuzz_context(), path, NULL, &ds) != CLV_OK) return;
    if (clv_decoder_create(fuzz_context(), NULL, &decoder) != CLV_OK) abort();
    clv_dataset_describe(ds, &info);
    for (int64_t i = 0; i < info.count && i < 64; i++) {
        fuzz_require(clv_dataset_label(ds, i) < (info.classes ? info.classes : 1));
        if (clv_dataset_image(ds, i, decoder, &image) != CLV_OK) continue;
        for (int64_t k = 0; k < image.height * image.row_stride; k++) sum += image.pixels[k];
    }
    for (int64_t c = 0; c < info.classes; c++)
        if (clv_dataset_class_name(ds, c)) sum += strlen(clv_dataset_class_name(ds, c));
    fuzz_require(sum != UINT64_MAX);
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    if (getenv("CLEAVE_FUZZ_DIRECT")) {
        parse_here(data, size);
        return 0;
    }
    const int fd = memory_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    open_and_read(path);
    close(fd);
    return 0;
}
