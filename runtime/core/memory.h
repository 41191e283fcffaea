/* memory.h: how much memory the system can give. */
#ifndef CLVI_CORE_MEMORY_H
#define CLVI_CORE_MEMORY_H

#include <stddef.h>

/* Bytes that can be had without swapping: what the kernel tells as MemAvailable in `meminfo`, and no more than the limit in
 * `limit` (the file memory.max of a control group, "max" for none). 0 where nothing is told. Any thread. */
size_t clvi_memory_available_in(const char *meminfo, const char *limit);

/* The same for this process: /proc/meminfo, and the limit at the root of what it sees of control groups, as in a container. */
size_t clvi_memory_available(void);

#endif
