/* attr.h: the attributes of each operation. A backward operation has the attributes of its forward one. */
#ifndef CLVI_DEVICE_ATTR_H
#define CLVI_DEVICE_ATTR_H

#include <stdbool.h>
#include <stdint.h>

/* conv2d, conv2d_bwd_data, conv2d_bwd_weights: x [N,C,H,W], w [O,C,kh,kw]. */
typedef struct clvi_conv2d_attr {
    int64_t stride[2], pad[2];     /* height, width */
} clvi_conv2d_attr;

/* batch_norm, batch_norm_bwd. */
typedef struct clvi_batch_norm_attr {
    int64_t groups;    /* split batch norm: the batch is cut into this many equal runs of samples */
    double  eps;
    double  momentum;  /* weight of the new sample, as in PyTorch (0.1) */
    bool    training;  /* batch statistics, and running ones updated; else running statistics are used */
    bool    relu;      /* fused */
} clvi_batch_norm_attr;

/* max_pool2d, max_pool2d_bwd, avg_pool2d, avg_pool2d_bwd (padding not counted in the average). */
typedef struct clvi_pool2d_attr {
    int64_t kernel[2], stride[2], pad[2];
} clvi_pool2d_attr;

/* add: y = a + b, optionally relu(a + b). */
typedef struct clvi_add_attr {
    bool relu;
} clvi_add_attr;

/* matmul: y = op(a) op(b), [M,K] x [K,N] after the transpositions. */
typedef struct clvi_matmul_attr {
    bool trans_a, trans_b;
} clvi_matmul_attr;

/* scale: y = factor * x + offset. */
typedef struct clvi_scale_attr {
    double factor, offset;
} clvi_scale_attr;

/* l2norm_rows, l2norm_rows_bwd: y = x / max(|x|, eps). */
typedef struct clvi_l2norm_attr {
    double eps;
} clvi_l2norm_attr;

/* reduce: sum or mean over one axis, or over everything (axis -1, result a scalar). */
typedef struct clvi_reduce_attr {
    int  axis;
    bool mean;
} clvi_reduce_attr;

/* concat along an axis (2 to 8 inputs); slice [begin, begin + length) of an axis. */
typedef struct clvi_concat_attr {
    int axis;
} clvi_concat_attr;
typedef struct clvi_slice_attr {
    int     axis;
    int64_t begin, length;
    int64_t full;      /* slice_bwd: length of the whole axis */
} clvi_slice_attr;

/* bank_nce: InfoNCE of queries against their key and a bank, in one walk over the bank. See losses/info_nce_bank.c. */
typedef struct clvi_bank_nce_attr {
    double temperature;
    bool   unit_rows;  /* all rows are known to be unit length or zero: logits lie in [-1/t, 1/t] */
} clvi_bank_nce_attr;

#endif
