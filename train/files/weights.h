/* weights.h: parameter sets in HDF5 files: a data set for each parameter, torchvision's names, plain order (OIHW). */
#ifndef CLVI_TRAIN_WEIGHTS_H
#define CLVI_TRAIN_WEIGHTS_H

#include "core/h5.h"
#include "tensor/params.h"

/* All parameters and buffers under `group`. Reading wants every one, of the right shape; other members are ignored. */
clv_status clvi_weights_write(clv_context *ctx, const clv_params *params, clvi_h5 *h5, const char *group) CLV_NODISCARD;
clv_status clvi_weights_read(clv_context *ctx, clv_params *params, clvi_h5 *h5, const char *group) CLV_NODISCARD;

/* An arena laid out like the trainable parameters (optimiser state), under group/name. */
clv_status clvi_weights_write_arena(clv_context *ctx, const clv_params *params, const void *arena, clvi_h5 *h5,
                                    const char *group, const char *name) CLV_NODISCARD;
clv_status clvi_weights_read_arena(clv_context *ctx, const clv_params *params, void *arena, clvi_h5 *h5,
                                   const char *group, const char *name) CLV_NODISCARD;

/* Copies every buffer (running statistics) of `from` into `to`: weight 1 replaces, less averages. `scratch` holds as
 * many floats as clvi_weights_mix_scratch says. */
int64_t clvi_weights_mix_scratch(const clv_params *params);
clv_status clvi_weights_mix_buffers(clv_context *ctx, clv_params *to, const clv_params *from, double weight,
                                    float *scratch) CLV_NODISCARD;

#endif
