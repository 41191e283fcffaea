/* conv2d.c: convolutions by cuDNN: forward, gradient of the data, gradient of the weights. Channels come last in every
 * operand; bfloat16 pictures are padded to eight. The gradient of bfloat16 weights is made in bfloat16, which is all
 * cuDNN offers, and widened to the float32 of the masters. */
#include "device/cuda/conv2d.h"
#include <string.h>

typedef struct conv {
    clvi_cudnn_exec exec;
    size_t          second;          /* in the scratch memory; padded, x lies before it */
    bool            pads;
} conv;

void clvi_cudnn_release(clvi_cudnn_exec *exec)
{
    if (exec->pack) cudnnBackendDestroyDescriptor(exec->pack);
    exec->pack = NULL;
    clvi_dnn_plan_free(&exec->plan);
}

static void release(clvi_op_call *call)
{
    conv *c = call->state;
    if (!c) return;
    clvi_cudnn_release(&c->exec);
    clvi_free(call->ctx, c);
    call->state = NULL;
}

static bool widens(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_BF16 && call->out[0].dtype == CLV_F32;
}

static bool accepts_any(const clvi_op_call *call)
{
    const clv_dtype type = call->in[0].dtype;
    return (type == CLV_F32 || type == CLV_BF16) && call->in[1].dtype == type &&
           clvi_desc_count(&call->in[0]) > 0 && clvi_desc_count(&call->out[0]) > 0 &&
           ((const clvi_conv2d_attr *)call->attr)->groups == 1;
}

static bool accepts(const clvi_op_call *call)
{
    return accepts_any(call) && call->out[0].dtype == call->in[0].dtype;
}

static bool accepts_weights(const clvi_op_call *call)
{
    return accepts_any(call) && (widens(call) || call->out[0].dtype == call->in[0].dtype);
}

/* x, w and y of a call: which of its operands they are. */
static void operands(clvi_op_call *call, clvi_dnn_direction direction, clvi_desc *role[3])
{
    clvi_desc *a = &call->in[0], *b = &call->in[1], *r = &call->out[0];
    clvi_desc *const roles[][3] = { { a, b, r }, { r, b, a }, { a, r, b } };
    memcpy(role, roles[direction], sizeof roles[direction]);
}

static clv_status prepare(clvi_op_call *call, clvi_dnn_direction direction)
{
    const clvi_conv2d_attr *attr = call->attr;
    clvi_dnn_conv wish = { .direction = direction,
                           .type = call->in[0].dtype == CLV_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT,
                           .tf32 = call->tf32 };
    clvi_desc *role[3];
    int64_t *const shape[3] = { wish.x, wish.w, wish.y };
    operands(call, direction, role);
    for (int i = 0; i < 3; i++) {
        clvi_desc_make_nhwc(role[i]);
        memcpy(shape[i], role[i]->shape, sizeof wish.x);
    }
    memcpy(wish.stride, attr->stride, sizeof wish.stride);
    memcpy(wish.pad, attr->pad, sizeof wish.pad);
    conv *c = call->state = clvi_calloc(call->ctx, 1, sizeof *c);
    if (!c) return CLV_ERR_NOMEM;
    const cudnnBackendDescriptor_t device = clvi_cuda_of(call->ctx)->properties;
    const clvi_dnn_timer *timer = clvi_cuda_timer(clvi_cuda_of(call->ctx));
    const clv_status st = direction == CLVI_DNN_FORWARD || widens(call)
        ? clvi_dnn_conv_plan_padded(&wish, device, CLVI_CUDA_WORKSPACE, timer, &c->exec.plan, &c->pads)
        : clvi_dnn_conv_plan(&wish, device, CLVI_CUDA_WORKSPACE, timer, &c->exec.plan);
    if (c->pads) c->second = clvi_cudnn_padded(role[0]);
    if (c->pads) call->scratch_size = c->second + clvi_cudnn_padded(role[1]);
    else if (widens(call)) call->scratch_size = (size_t)clvi_desc_count(role[1]) * clv_dtype_size(CLV_BF16);
    if (st != CLV_OK) release(call);
    return st;
}

static clv_status prepare_forward(clvi_op_call *call) { return prepare(call, CLVI_DNN_FORWARD); }
static clv_status prepare_data(clvi_op_call *call) { return prepare(call, CLVI_DNN_DATA); }
static clv_status prepare_weights(clvi_op_call *call) { return prepare(call, CLVI_DNN_WEIGHTS); }

static clv_status make_pack(clvi_cudnn_exec *exec, int count, const int64_t *names, void *workspace)
{
    if (exec->pack) cudnnBackendDestroyDescriptor(exec->pack);
    exec->pack = NULL;
    CLVI_DNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &exec->pack));
    CLVI_DNN(cudnnBackendSetAttribute(exec->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, names));
    CLVI_DNN(cudnnBackendSetAttribute(exec->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count,
                                      exec->address));
    CLVI_DNN(cudnnBackendSetAttribute(exec->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                                      &workspace));
    CLVI_DNN(cudnnBackendFinalize(exec->pack));
    return CLV_OK;
}

clv_status clvi_cudnn_run(const clvi_op_call *call, clvi_cudnn_exec *exec, int count, const int64_t *names,
                          void *const *addresses)
{
    clvi_cuda_device *d = clvi_cuda_of(call->ctx);
    if (!exec->pack || memcmp(addresses, exec->address, (size_t)count * sizeof *addresses) != 0) {
        void *workspace = clvi_cuda_workspace(d);
        if (!workspace) return CLV_ERR_NOMEM;
        memcpy(exec->address, addresses, (size_t)count * sizeof *addresses);
        CLV_TRY(make_pack(exec, count, names, workspace));
    }
    CLVI_DNN(cudnnBackendExecute(d->dnn, exec->plan.plan, exec->pack));
    return CLV_OK;
}

static clv_status run(const clvi_op_call *call, void *x, void *w, void *y)
{
    static const int64_t names[3] = { CLVI_DNN_X_NAME, CLVI_DNN_W_NAME, CLVI_DNN_Y_NAME };
    conv *c = call->state;
    return clvi_cudnn_run(call, &c->exec, 3, names, (void *[]) { x, w, y });
}

static clv_status forward(const clvi_op_call *call)
{
    const conv *c = call->state;
    void *x = call->in_data[0], *w = call->in_data[1];
    if (c->pads) {
        x = call->scratch;
        w = (char *)call->scratch + c->second;
        CLV_TRY(clvi_cudnn_pad(call, &call->in[0], call->in_data[0], x));
        CLV_TRY(clvi_cudnn_pad(call, &call->in[1], call->in_data[1], w));
    }
    return run(call, x, w, call->out_data[0]);
}

static clv_status data(const clvi_op_call *call)
{
    return run(call, call->out_data[0], call->in_data[1], call->in_data[0]);
}

static clv_status weights(const clvi_op_call *call)
{
    const conv *c = call->state;
    const clvi_desc *dw = &call->out[0];
    const int64_t channels = dw->shape[1], pixels = dw->shape[0] * dw->shape[2] * dw->shape[3];
    void *x = call->in_data[0], *narrow = (char *)call->scratch + c->second;
    if (!widens(call)) return run(call, x, call->out_data[0], call->in_data[1]);
    if (c->pads) {
        x = call->scratch;
        CLV_TRY(clvi_cudnn_pad(call, &call->in[0], call->in_data[0], x));
    }
    CLV_TRY(run(call, x, narrow, call->in_data[1]));
    return clvi_cuda_widen(call, pixels, channels, c->pads ? CLVI_DNN_CHANNELS : channels, narrow, call->out_data[0]);
}

const clvi_kernel clvi_kernel_cudnn_conv2d = {
    .op = "conv2d", .name = "cudnn", .accepts = accepts, .prepare = prepare_forward, .run = forward, .release = release,
};
const clvi_kernel clvi_kernel_cudnn_conv2d_bwd_data = {
    .op = "conv2d_bwd_data", .name = "cudnn", .accepts = accepts, .prepare = prepare_data, .run = data,
    .release = release,
};
const clvi_kernel clvi_kernel_cudnn_conv2d_bwd_weights = {
    .op = "conv2d_bwd_weights", .name = "cudnn", .accepts = accepts_weights, .prepare = prepare_weights, .run = weights,
    .release = release,
};
