/* precision.h: --precision of the benches that compare with PyTorch. */
#ifndef CLEAVE_BENCH_PRECISION_H
#define CLEAVE_BENCH_PRECISION_H

#include <cleave/graph.h>
#include <string.h>

#define BENCH_PRECISIONS "fp32|tf32|bf16"

static inline const char *bench_precision_name(clv_precision precision)
{
    return precision == CLV_PRECISION_BF16 ? "bf16" : precision == CLV_PRECISION_TF32 ? "tf32" : "fp32";
}

static inline bool bench_read_precision(const char *text, clv_precision *out)
{
    for (*out = CLV_PRECISION_FULL; *out < CLV_PRECISION_AUTO; ++*out)
        if (strcmp(text, bench_precision_name(*out)) == 0) return true;
    return false;
}

#endif
