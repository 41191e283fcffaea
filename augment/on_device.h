/* on_device.h: views made by a device, of pictures that were packed for it (pack.h). */
#ifndef CLVI_AUGMENT_ON_DEVICE_H
#define CLVI_AUGMENT_ON_DEVICE_H

#include "augment/pack.h"

typedef struct clvi_view_maker clvi_view_maker;

/* For batches of `pictures` on the context's device. The packer stays. Errors: CLV_ERR_UNSUPPORTED without a device;
 * CLV_ERR_NOMEM. */
clv_status clvi_view_maker_create(clv_context *ctx, const clvi_packer *packer, int64_t pictures,
                                  clvi_view_maker **out) CLV_NODISCARD;
void clvi_view_maker_destroy(clvi_view_maker *maker);

/* Queues what makes the views of a batch, whose `rooms` lie on the host one after another; part of the step at work
 * (device/tape.h), if there is one. view[v] is [pictures, C, side, side] by shape, N, H, W, C in the device's memory
 * (device 1): float32, with the bits of clv_transform.apply; each time in the same place. */
clv_status clvi_view_maker_queue(clvi_view_maker *maker, const void *rooms, clv_view *view) CLV_NODISCARD;

/* Bytes that it holds on the device. */
size_t clvi_view_maker_memory(const clvi_view_maker *maker);

#endif
