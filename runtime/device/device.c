/* device.c: the table of kernels, and what the processor can do. */
#include "device/backend.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CLVI_KERNEL(ident) extern const clvi_kernel clvi_kernel_##ident;
#include "device/kernels.def"
#undef CLVI_KERNEL

static const clvi_kernel *const kernels[] = {
#define CLVI_KERNEL(ident) &clvi_kernel_##ident,
#include "device/kernels.def"
#undef CLVI_KERNEL
    NULL
};

/* ---- kernels ---- */

const clvi_kernel *clvi_kernel_at(int i)
{
    const int count = (int)(sizeof kernels / sizeof kernels[0]) - 1;
    return i >= 0 && i < count ? kernels[i] : NULL;
}

/* Every floating-point value has the type of the first one, float32 or float64; integers do not matter. */
static bool one_float_type(const clvi_op_call *call)
{
    clv_dtype type = CLV_DTYPE_COUNT;
    for (int i = 0; i < call->n_in + call->n_out; i++) {
        const clv_dtype t = i < call->n_in ? call->in[i].dtype : call->out[i - call->n_in].dtype;
        if (t == CLV_BF16) return false;
        if (t != CLV_F32 && t != CLV_F64) continue;
        if (type != CLV_DTYPE_COUNT && t != type) return false;
        type = t;
    }
    return true;
}

const clvi_kernel *clvi_kernel_next(const clvi_op_call *call, const char *name, const clvi_kernel *after)
{
    bool seen = !after;
    const struct clvi_device *device = call->ctx ? call->ctx->device : NULL;
    for (const clvi_kernel *const *k = device ? device->backend->kernels : kernels; *k; k++) {
        if (!seen) {
            seen = *k == after;
            continue;
        }
        if (strcmp((*k)->op, call->op) != 0 || (name && strcmp((*k)->name, name) != 0)) continue;
        if ((*k)->accepts ? (*k)->accepts(call) : one_float_type(call)) return *k;
    }
    return NULL;
}

const clvi_kernel *clvi_kernel_find(const clvi_op_call *call, bool reference)
{
    return clvi_kernel_next(call, reference ? "reference" : NULL, NULL);
}

/* ---- processor ---- */

static clvi_isa detect_isa(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CLVI_ISA_PLAIN;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return CLVI_ISA_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? CLVI_ISA_AVX512_BF16 : CLVI_ISA_AVX512;
#else
    return CLVI_ISA_PLAIN;
#endif
}

/* What CLEAVE_CPU_ISA allows; anything it does not name allows all. */
static clvi_isa allowed_isa(void)
{
    const char *name = getenv("CLEAVE_CPU_ISA");
    if (!name) return CLVI_ISA_AVX512_BF16;
    if (strcmp(name, "plain") == 0) return CLVI_ISA_PLAIN;
    if (strcmp(name, "avx2") == 0) return CLVI_ISA_AVX2;
    if (strcmp(name, "avx512") == 0) return CLVI_ISA_AVX512;
    return CLVI_ISA_AVX512_BF16;
}

clvi_isa clvi_cpu_isa(void)
{
    static atomic_int known;   /* 1 + the answer; two threads that race find the same */
    const int cached = atomic_load_explicit(&known, memory_order_relaxed);
    if (cached) return (clvi_isa)(cached - 1);
    const clvi_isa can = detect_isa(), may = allowed_isa();
    const clvi_isa isa = can < may ? can : may;
    atomic_store_explicit(&known, (int)isa + 1, memory_order_relaxed);
    return isa;
}
