/* on_device.h: a chain of augmentations applied by a device. */
#ifndef CLVI_AUGMENT_ON_DEVICE_H
#define CLVI_AUGMENT_ON_DEVICE_H

#include "augment/augment.h"

/* View `number` of n pictures, which all have as many channels, into `out` on the context's device: float32
 * [n, side, side, channels], each with the bits that apply gives for the same (seed, epoch, samples[i], number).
 * Errors: CLV_ERR_UNSUPPORTED without a device, or for a step that is the host's alone; CLV_ERR_SHAPE;
 * CLV_ERR_NOMEM. */
clv_status clvi_augment_on_device(const clv_augment *augment, clv_context *ctx, int64_t n, const clv_image *pictures,
                                  uint64_t seed, uint32_t epoch, const uint64_t *samples, uint32_t number,
                                  float *out) CLV_NODISCARD;

#endif
