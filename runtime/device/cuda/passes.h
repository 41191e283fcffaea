/* passes.h: passes of our own beside what libraries compute: before and after a convolution of cuDNN's. */
#ifndef CLVI_DEVICE_CUDA_PASSES_H
#define CLVI_DEVICE_CUDA_PASSES_H

#include "device/device.h"

/* pack.cu. Pixels, or weights, of `channels` bfloat16 values, channels last, as such of 8, zeros behind. */
clv_status clvi_cuda_pad(const clvi_op_call *call, int64_t pixels, int64_t channels, const void *from,
                         void *to) CLV_NODISCARD;
/* The first `channels` of `padded` bfloat16 values of each pixel as float32. */
clv_status clvi_cuda_widen(const clvi_op_call *call, int64_t pixels, int64_t channels, int64_t padded, const void *from,
                           void *to) CLV_NODISCARD;

/* conv2d_direct.cu: of a batch norm in evaluation, a channel's scale = gamma / sqrt(var + eps) and offset = beta -
 * scale mean; weights [O, ...] times the scale of their channel; y = relu?(y scale + offset + sum?), channels last (the
 * call's operand 6 and the relu where they are wanted). Vectors are float32, y float32 or bfloat16. */
clv_status clvi_cuda_norm_channels(const clvi_op_call *call, float *scale, float *offset) CLV_NODISCARD;
clv_status clvi_cuda_norm_weights(const clvi_op_call *call, const float *scale, float *weights) CLV_NODISCARD;
clv_status clvi_cuda_norm_results(const clvi_op_call *call, const float *scale, const float *offset) CLV_NODISCARD;

#endif
