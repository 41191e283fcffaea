/* tf32.h: TF32, what tensor cores make of float32 operands: 10 bits of mantissa instead of 23, the range of float32. For
 * kernels that multiply by other means where a call says tf32; included by .cu files after cu.h. */
#ifndef CLVI_DEVICE_CUDA_TF32_H
#define CLVI_DEVICE_CUDA_TF32_H

/* Rounded to nearest, ties away from zero, as cvt.rna.tf32.f32 does; infinity and NaN stay what they are. NVIDIA's
 * libraries may round otherwise. */
static __device__ __forceinline__ float clvi_cu_tf32(float x)
{
    const unsigned bits = __float_as_uint(x);
    return (bits & 0x7f800000u) == 0x7f800000u ? x : __uint_as_float((bits + 0x1000u) & 0xffffe000u);
}

/* An operand of a product; other types than float32 are never rounded. */
template <class T> __device__ __forceinline__ double clvi_cu_operand(T x, bool) { return (double)x; }

template <> __device__ __forceinline__ double clvi_cu_operand<float>(float x, bool tf32)
{
    return (double)(tf32 ? clvi_cu_tf32(x) : x);
}

#endif
