/* fuzz_sealed.c: the files Cleave seals, checkpoints, banks and sets of banks. The input is what stands behind the
 * seal; a right seal is put before it, so that damage gets past the checksum to the readers. */
#include "core/file.h"
#include "tests/fuzz/fuzz.h"
#include "train/files/checkpoint.h"
#include <cleave/bank.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SEAL = 512 };

static int sealed_file(const uint8_t *data, size_t size)
{
    uint8_t seal[SEAL] = "CLEAVE1\n";
    const uint32_t crc = clvi_crc32c(0, data, size);
    for (int i = 0; i < 8; i++) seal[8 + i] = (uint8_t)((uint64_t)size >> 8 * i);
    for (int i = 0; i < 4; i++) seal[16 + i] = (uint8_t)(crc >> 8 * i);
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_require(fd >= 0 && write(fd, seal, SEAL) == SEAL && write(fd, data, size) == (ssize_t)size);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    clv_config *config = NULL;
    clvi_checkpoint *checkpoint = NULL;
    clvi_position position;
    clv_bank *bank = NULL;
    clv_bank_set *set = NULL;
    const int fd = sealed_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fuzz_require(clv_config_create(fuzz_context(), &config) == CLV_OK);
    if (clvi_checkpoint_open(fuzz_context(), path, config, &checkpoint) == CLV_OK)
        (void)!clvi_checkpoint_position(checkpoint, &position);
    if (clv_bank_load(fuzz_context(), path, &bank) == CLV_OK) fuzz_require(clv_bank_pointer(bank) < clv_bank_capacity(bank));
    if (clv_bank_set_load(fuzz_context(), path, &set) == CLV_OK)
        fuzz_require(clv_bank_set_count(set) == 0 || clv_bank_set_find(set, clv_bank_set_name(set, 0)));
    clv_bank_destroy(bank);
    clv_bank_set_destroy(set);
    clvi_checkpoint_close(checkpoint);
    clv_config_destroy(config);
    close(fd);
    return 0;
}
