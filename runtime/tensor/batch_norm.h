/* batch_norm.h: what batch_norm and sync_batch_norm ask alike. */
#ifndef CLVI_TENSOR_BATCH_NORM_H
#define CLVI_TENSOR_BATCH_NORM_H

#include "tensor/op.h"

/* The input must be [N,C] or [N,C,H,W] of floats. */
clv_status clvi_batch_norm_want(const clvi_op_call *call, int input);
/* dy, x, ... -> dx, dgamma, dbeta */
clv_status clvi_batch_norm_bwd_infer(clvi_op_call *call);

#endif
