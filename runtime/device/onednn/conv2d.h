/* conv2d.h: what convolutions with something behind them share with the plain one. */
#ifndef CLVI_DEVICE_ONEDNN_CONV2D_H
#define CLVI_DEVICE_ONEDNN_CONV2D_H

#include "device/attr.h"
#include "device/onednn/onednn.h"

/* A forward convolution of x (in[0]) with w (in[1]), a bias [O] in float32, and operations on the result. The algorithm
 * is the one plain convolutions of that shape have, where oneDNN can do it so. */
clv_status clvi_onednn_conv2d_fused(clvi_op_call *call, const clvi_conv2d_attr *attr, const_dnnl_post_ops_t post,
                                    dnnl_primitive_desc_t *out) CLV_NODISCARD;

#endif
