/* conv2d_norm.c: a convolution with the batch norm (in evaluation), the addition and the relu behind it as one graph of
 * cuDNN. In float32 the scale of a channel goes into the weights, as an engine that needs no compiling wants it; in
 * bfloat16, where that would round them twice, it is part of the graph, and cuDNN compiles a kernel. Where it has
 * none the convolution runs alone, and one pass of our own does the rest. Scales are made anew at every run: parameters
 * may have changed, and it costs one pass over the weights. */
#include "core/checked.h"
#include "device/cuda/conv2d.h"
#include <string.h>

enum { X, W, GAMMA, BETA, MEAN, VAR, SUM };

typedef struct norm_state {
    clvi_cudnn_exec exec;
    int64_t         then;            /* what the graph does behind the convolution: CLVI_DNN_... */
    bool            pads;
    size_t          offset, x, weights;   /* in the scratch memory, which begins with the scales; x: padded */
} norm_state;

static void release(clvi_op_call *call)
{
    norm_state *s = call->state;
    if (!s) return;
    clvi_cudnn_release(&s->exec);
    clvi_free(call->ctx, s);
    call->state = NULL;
}

static bool is_or_absent(const clvi_desc *desc, clv_dtype type)
{
    return desc->dtype == type || desc->dtype == CLV_DTYPE_COUNT;
}

static bool accepts(const clvi_op_call *call)
{
    const clv_dtype type = call->in[X].dtype;
    for (int i = GAMMA; i <= VAR; i++)
        if (!is_or_absent(&call->in[i], CLV_F32)) return false;
    return (type == CLV_F32 || type == CLV_BF16) && call->in[W].dtype == type && call->out[0].dtype == type &&
           is_or_absent(&call->in[SUM], type) && clvi_desc_count(&call->in[X]) > 0 &&
           clvi_desc_count(&call->out[0]) > 0 && ((const clvi_conv2d_norm_attr *)call->attr)->conv.groups == 1;
}

/* Where things lie in the scratch memory. */
static void place(clvi_op_call *call, norm_state *s)
{
    const size_t bytes = (size_t)call->out[0].shape[1] * sizeof(float), vector = (bytes + 255) & ~(size_t)255;
    const bool folds = s->then && !(s->then & CLVI_DNN_SCALE);
    s->offset = vector;
    s->x = 2 * vector;
    s->weights = s->x + (s->pads ? clvi_cudnn_padded(&call->in[X]) : 0);
    call->scratch_size = s->weights + (s->pads ? clvi_cudnn_padded(&call->in[W]) : folds ? call->in[W].bytes : 0);
}

static clv_status prepare(clvi_op_call *call)
{
    const clvi_conv2d_norm_attr *attr = call->attr;
    const bool half = call->in[X].dtype == CLV_BF16, adds = call->in[SUM].dtype != CLV_DTYPE_COUNT;
    clvi_dnn_conv wish = { .direction = CLVI_DNN_FORWARD, .type = half ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT,
                           .tf32 = call->tf32 };
    clvi_desc *const role[] = { &call->in[X], &call->in[W], &call->out[0], adds ? &call->in[SUM] : NULL };
    int64_t *const shape[] = { wish.x, wish.w, wish.y };
    for (int i = 0; i < 4 && role[i]; i++) {
        clvi_desc_make_nhwc(role[i]);
        if (i < 3) memcpy(shape[i], role[i]->shape, sizeof wish.x);
    }
    memcpy(wish.stride, attr->conv.stride, sizeof wish.stride);
    memcpy(wish.pad, attr->conv.pad, sizeof wish.pad);
    wish.then = CLVI_DNN_BIAS | (half ? CLVI_DNN_SCALE : 0) | (adds ? CLVI_DNN_SUM : 0) |
                (attr->relu ? CLVI_DNN_RELU : 0);
    norm_state *s = call->state = clvi_calloc(call->ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    const cudnnBackendDescriptor_t device = clvi_cuda_of(call->ctx)->properties;
    const clvi_dnn_timer *timer = clvi_cuda_timer(clvi_cuda_of(call->ctx));
    clv_status st = clvi_dnn_conv_plan_padded(&wish, device, CLVI_CUDA_WORKSPACE, timer, &s->exec.plan, &s->pads);
    if (st == CLV_ERR_UNSUPPORTED) {
        wish.then = 0;
        st = clvi_dnn_conv_plan_padded(&wish, device, CLVI_CUDA_WORKSPACE, timer, &s->exec.plan, &s->pads);
    }
    s->then = wish.then;
    place(call, s);
    if (st != CLV_OK) release(call);
    return st;
}

/* x and w as the plan wants them. */
static clv_status make_operands(const clvi_op_call *call, const norm_state *s, float *scale, void **x, void **w)
{
    *x = call->in_data[X];
    *w = call->in_data[W];
    if (s->pads) {
        *x = (char *)call->scratch + s->x;
        *w = (char *)call->scratch + s->weights;
        CLV_TRY(clvi_cudnn_pad(call, &call->in[X], call->in_data[X], *x));
        CLV_TRY(clvi_cudnn_pad(call, &call->in[W], call->in_data[W], *w));
    } else if (s->then && !(s->then & CLVI_DNN_SCALE)) {
        *w = (char *)call->scratch + s->weights;
        CLV_TRY(clvi_cuda_norm_weights(call, scale, *w));
    }
    return CLV_OK;
}

static clv_status run(const clvi_op_call *call)
{
    int64_t names[CLVI_CUDNN_MAX_ARGS] = { CLVI_DNN_X_NAME, CLVI_DNN_W_NAME, CLVI_DNN_Y_NAME };
    norm_state *s = call->state;
    float *scale = call->scratch, *offset = (float *)((char *)call->scratch + s->offset);
    void *address[CLVI_CUDNN_MAX_ARGS] = { NULL, NULL, call->out_data[0] };
    const struct { int64_t bit, name; void *address; } more[] = {
        { CLVI_DNN_SCALE, CLVI_DNN_SCALE_NAME, scale },
        { CLVI_DNN_BIAS, CLVI_DNN_BIAS_NAME, offset },
        { CLVI_DNN_SUM, CLVI_DNN_SUM_NAME, call->in_data[SUM] },
    };
    int count = 3;
    for (int i = 0; i < 3; i++) {
        if (!(s->then & more[i].bit)) continue;
        names[count] = more[i].name;
        address[count++] = more[i].address;
    }
    CLV_TRY(clvi_cuda_norm_channels(call, scale, offset));
    CLV_TRY(make_operands(call, s, scale, &address[0], &address[1]));
    CLV_TRY(clvi_cudnn_run(call, &s->exec, count, names, address));
    return s->then ? CLV_OK : clvi_cuda_norm_results(call, scale, offset);
}

const clvi_kernel clvi_kernel_cudnn_conv2d_norm = {
    .op = "conv2d_norm", .name = "cudnn", .accepts = accepts, .prepare = prepare, .run = run, .release = release,
};
