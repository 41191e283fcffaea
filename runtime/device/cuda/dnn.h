/* dnn.h: plans of cuDNN's graph interface for one convolution, and what may be done to its result before it is written.
 * No device is needed to make one, only its description. */
#ifndef CLVI_DEVICE_CUDA_DNN_H
#define CLVI_DEVICE_CUDA_DNN_H

#include "core/status.h"
#include <cudnn.h>

enum { CLVI_DNN_CHANNELS = 8 };

/* What is computed from the other two. */
typedef enum clvi_dnn_direction { CLVI_DNN_FORWARD, CLVI_DNN_DATA, CLVI_DNN_WEIGHTS } clvi_dnn_direction;

/* What happens to a result, in this order: times a float32 of each channel, plus one, plus a value like y, relu. */
enum { CLVI_DNN_SCALE = 1, CLVI_DNN_BIAS = 2, CLVI_DNN_SUM = 4, CLVI_DNN_RELU = 8 };

/* Shapes in the order N,C,H,W and K,C,R,S; in memory the channels come last in both. */
typedef struct clvi_dnn_conv {
    clvi_dnn_direction direction;
    cudnnDataType_t    type;         /* of all three: CUDNN_DATA_FLOAT or CUDNN_DATA_BFLOAT16; sums in float32 */
    int64_t            x[4], w[4], y[4], stride[2], pad[2];
    int64_t            then;         /* forward: CLVI_DNN_... */
    bool               tf32;         /* operands of float32 may be rounded to TF32 */
} clvi_dnn_conv;

typedef struct clvi_dnn_plan {
    cudnnBackendDescriptor_t plan;
    int64_t workspace, engine;
    bool    tensor_core;
    bool    kept;                    /* it came from the cache (kept.h) */
    int64_t ns;                      /* how long it takes, where that was measured; else 0 */
} clvi_dnn_plan;

/* Measures how long a plan takes, in nanoseconds. CLV_ERR_NOMEM ends the choice; a plan that fails otherwise is passed
 * over. */
typedef struct clvi_dnn_timer {
    clv_status (*time)(void *user, const clvi_dnn_conv *conv, const clvi_dnn_plan *plan, int64_t *ns);
    void *user;
} clvi_dnn_timer;

enum { CLVI_DNN_TIMED = 8 };         /* plans that a timer is given at most */

/* Names of the operands in a variant pack. */
enum {
    CLVI_DNN_X_NAME = 1, CLVI_DNN_W_NAME, CLVI_DNN_Y_NAME, CLVI_DNN_SCALE_NAME, CLVI_DNN_BIAS_NAME, CLVI_DNN_SUM_NAME
};

/* The first plan of cuDNN's own ranking that keeps the rules: bfloat16 on tensor cores; float32 strictly so, without
 * them, or, with tf32, on them, where an engine within the limits can; sums in a fixed order; at most `workspace`
 * bytes. With a timer (NULL: none) the fastest of the first CLVI_DNN_TIMED such plans. It is kept for later runs, which
 * measure nothing again. `device` is a finalised DEVICEPROP descriptor. Errors: CLV_ERR_UNSUPPORTED when there is none,
 * CLV_ERR_DEVICE; the timer's last, where none could be run. */
clv_status clvi_dnn_conv_plan(const clvi_dnn_conv *conv, cudnnBackendDescriptor_t device, int64_t workspace,
                              const clvi_dnn_timer *timer, clvi_dnn_plan *out) CLV_NODISCARD;
/* The same, where it can be with x and w of eight channels, zeros behind what there is: pictures have three, tensor cores
 * take eight at a time, and cuDNN would pad in its workspace, 206 MB for 256 pictures of 224 pixels. `pads` says what the
 * plan wants. */
clv_status clvi_dnn_conv_plan_padded(const clvi_dnn_conv *conv, cudnnBackendDescriptor_t device, int64_t workspace,
                                     const clvi_dnn_timer *timer, clvi_dnn_plan *out, bool *pads) CLV_NODISCARD;
/* NULL inside is accepted. */
void clvi_dnn_plan_free(clvi_dnn_plan *plan);

/* A status as ours, with cuDNN's own words after `what`. */
clv_status clvi_dnn_status(cudnnStatus_t error, const char *what) CLV_NODISCARD;
#define CLVI_DNN(call) CLV_TRY(clvi_dnn_status((call), #call))

#endif
