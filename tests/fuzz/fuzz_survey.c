/* fuzz_survey.c: what the child process says of an HDF5 data set, which is believed as little as the file itself. The
 * images are in the same bytes. */
#include "tests/fuzz/fuzz_dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    const int fd = fuzz_file(data, size, path, sizeof path);
    fuzz_survey(path, path);
    close(fd);
    return 0;
}
