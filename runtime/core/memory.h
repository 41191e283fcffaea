/* memory.h: how much memory the system can give. */
#ifndef CLVI_CORE_MEMORY_H
#define CLVI_CORE_MEMORY_H

#include <stddef.h>

/* Bytes that can be had without swapping: what the kernel tells as MemAvailable in the file `meminfo`, and no more than
 * the file `limit` says (memory.max of a control group; "max": none). 0 where nothing is told. Any thread. */
size_t clvi_memory_available_in(const char *meminfo, const char *limit);

/* The same for this process, with the limit of a container it may run in. */
size_t clvi_memory_available(void);

#endif
