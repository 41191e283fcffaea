/* pack.cu: bfloat16 between our values and cuDNN's: channels padded to what tensor cores take, gradients widened. */
#include "device/cuda/cu.h"
extern "C" {
#include "device/cuda/passes.h"
}

struct alignas(16) eight {
    unsigned pair[4];
};

/* A pixel a thread, written as one word of 16 bytes. */
extern "C" clv_status clvi_cuda_pad(const clvi_op_call *call, int64_t pixels, int64_t channels, const void *from,
                                    void *to)
{
    const uint16_t *x = (const uint16_t *)from;
    eight *y = (eight *)to;
    return clvi_cu_each(call, pixels, [=] __device__ (int64_t i) {
        eight pixel = { { 0, 0, 0, 0 } };
        for (int c = 0; c < 8; c++)
            if (c < channels) pixel.pair[c / 2] |= (unsigned)x[i * channels + c] << (c % 2 * 16);
        y[i] = pixel;
    });
}

extern "C" clv_status clvi_cuda_widen(const clvi_op_call *call, int64_t pixels, int64_t channels, int64_t padded,
                                      const void *from, void *to)
{
    const clvi_cu_half *x = (const clvi_cu_half *)from;
    float *y = (float *)to;
    return clvi_cu_each(call, pixels * channels, [=] __device__ (int64_t i) {
        y[i] = x[i / channels * padded + i % channels];
    });
}
