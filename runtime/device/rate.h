/* rate.h: the rate that a tensor of its own has in LARS and LAMB, for C and for kernels alike: a device computes it
 * where the norms are, so that no step waits for them. */
#ifndef CLVI_DEVICE_RATE_H
#define CLVI_DEVICE_RATE_H

#include <math.h>
#include <stdbool.h>

#ifdef __CUDACC__
#define CLVI_RATE_FN static inline __host__ __device__
#else
#define CLVI_RATE_FN static inline
#endif

/* factor trust |w| / (|g| + decay |w| + eps), with a `clip` factor min(that / clip, 1); `factor` alone where there
 * are no squares or one is 0, and then, if `drops`, no weight decay either. */
typedef struct clvi_flat_rate {
    double        trust, decay, eps, clip, factor;
    bool          drops;
    const double *squares;               /* |w|^2 and |g|^2 on the context's device; NULL: none */
} clvi_flat_rate;

CLVI_RATE_FN double clvi_flat_rate_of(const clvi_flat_rate *r, double *weight_decay)
{
    if (!r->squares || !(r->squares[0] > 0) || !(r->squares[1] > 0)) {
        if (r->drops) *weight_decay = 0;
        return r->factor;
    }
    const double norm = sqrt(r->squares[0]);
    double rate = r->trust * norm / (sqrt(r->squares[1]) + r->decay * norm + r->eps);
    if (r->clip > 0 && !(rate / r->clip < 1)) rate = r->clip;
    return r->factor * (r->clip > 0 ? rate / r->clip : rate);
}

#endif
