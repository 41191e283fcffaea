/* memory.c: how much memory the system can give. */
#include "core/memory.h"
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

size_t clvi_memory_available_in(const char *meminfo, const char *limit)
{
    char line[256];
    uint64_t available = 0, kib, bytes;
    FILE *f = fopen(meminfo, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1 && kib < SIZE_MAX / 1024) available = kib * 1024;
    if (f) fclose(f);
    f = fopen(limit, "re");
    if (f && fscanf(f, "%" SCNu64, &bytes) == 1 && bytes < available) available = bytes;
    if (f) fclose(f);
    return available;
}

size_t clvi_memory_available(void)
{
    return clvi_memory_available_in("/proc/meminfo", "/sys/fs/cgroup/memory.max");
}
