/* profile.h: what graphs tell a profile. */
#ifndef CLVI_CORE_PROFILE_H
#define CLVI_CORE_PROFILE_H

#include <cleave/profile.h>
#include "core/context.h"

/* One operation that is over. Names must stay valid as long as the profile. */
typedef struct clvi_profile_work {
    const char *name, *kernel;
    double      flops, bytes;
} clvi_profile_work;

/* Nanoseconds; never 0. */
int64_t clvi_profile_clock(void);
void clvi_profile_add(clv_profile *p, int64_t begin, int64_t end, const clvi_profile_work *work);

#endif
