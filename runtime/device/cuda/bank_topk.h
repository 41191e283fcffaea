/* bank_topk.h: the lists of bank_topk.cu, for the kernels that give them. */
#ifndef CLVI_DEVICE_CUDA_BANK_TOPK_H
#define CLVI_DEVICE_CUDA_BANK_TOPK_H

#include "device/cuda/bank.h"

/* Bytes of scratch for lists of `top`. */
size_t clvi_cu_topk_scratch(int64_t queries, int64_t rows, int64_t top);

/* The `top` rows with the largest <query, row> that count for each query, into slots and scores (NULL: not wanted)
 * [queries, top]. */
clv_status clvi_cu_topk(const clvi_op_call *call, const clvi_cu_bank<float> &p, int64_t top, void *scratch,
                        int64_t *slots, float *scores);
clv_status clvi_cu_topk(const clvi_op_call *call, const clvi_cu_bank<double> &p, int64_t top, void *scratch,
                        int64_t *slots, double *scores);

#endif
