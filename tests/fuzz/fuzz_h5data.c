/* fuzz_h5data.c: HDF5 data sets, opened as users open them: through the child process. With CLEAVE_FUZZ_DIRECT set both
 * sides, the child's and this one's, work in this process: a thousand times as many inputs, and crashes of libhdf5
 * among them, which tests/fuzz/contained.sh tells from ours. */
#include "tests/fuzz/fuzz_dataset.h"

static void open_here(const uint8_t *data, size_t size, const char *path)
{
    char survey[64];
    clvi_h5 *h5 = NULL;
    clv_status st = clvi_h5_open_memory(fuzz_context(), data, size, &h5);
    const int fd = fuzz_file(NULL, 0, survey, sizeof survey);
    if (st == CLV_OK) st = clvi_survey_write(fuzz_context(), h5, path, (int64_t)size, NULL, false, fd);
    fuzz_require(st != CLV_ERR_INTERNAL);
    if (st == CLV_OK) fuzz_survey(path, survey);
    clvi_h5_close(h5);
    close(fd);
}

static void open_through_child(const char *path)
{
    clv_dataset *ds = NULL;
    if (clv_dataset_open(fuzz_context(), path, NULL, &ds) != CLV_OK) return;
    fuzz_read(ds);
    clv_dataset_destroy(ds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    const int fd = fuzz_file(data, size, path, sizeof path);
    if (getenv("CLEAVE_FUZZ_DIRECT")) open_here(data, size, path);
    else open_through_child(path);
    close(fd);
    return 0;
}
