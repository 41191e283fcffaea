/* benchmark.c: how long a plan of cuDNN takes, for who chooses the fastest. */
#include "core/checked.h"
#include "device/cuda/conv2d.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WARM_UP = 3, RUNS = 10,
    FILL = 0x3c,                     /* a float or bfloat16 of such bytes is 0.0115: zeros would cost less power */
};

/* One allocation: the operands, and behind them what is written between runs to empty the L2 cache. */
typedef struct trial {
    clvi_cuda_device *device;
    clvi_cudnn_exec   exec;
    cudaEvent_t       start, end;
    int64_t           names[CLVI_CUDNN_MAX_ARGS];
    void             *address[CLVI_CUDNN_MAX_ARGS], *memory;
    size_t            size, cache;
    int               count;
} trial;

static void add_operand(trial *t, int64_t name, const int64_t shape[4], size_t bytes)
{
    for (int i = 0; i < 4; i++) bytes *= (size_t)shape[i];
    t->names[t->count] = name;
    t->address[t->count++] = (void *)t->size;            /* from the start of the memory, which is yet to be made */
    t->size += (bytes + 255) & ~(size_t)255;
}

static void add_operands(trial *t, const clvi_dnn_conv *c)
{
    const size_t bytes = c->type == CUDNN_DATA_BFLOAT16 ? sizeof(uint16_t) : sizeof(float);
    const int64_t channels[4] = { 1, c->y[1], 1, 1 };
    add_operand(t, CLVI_DNN_X_NAME, c->x, bytes);
    add_operand(t, CLVI_DNN_W_NAME, c->w, bytes);
    add_operand(t, CLVI_DNN_Y_NAME, c->y, bytes);
    if (c->then & CLVI_DNN_SCALE) add_operand(t, CLVI_DNN_SCALE_NAME, channels, sizeof(float));
    if (c->then & CLVI_DNN_BIAS) add_operand(t, CLVI_DNN_BIAS_NAME, channels, sizeof(float));
    if (c->then & CLVI_DNN_SUM) add_operand(t, CLVI_DNN_SUM_NAME, c->y, bytes);
}

static clv_status set_up(trial *t, const clvi_dnn_conv *c)
{
    clvi_device *base = &t->device->base;
    enum cudaStreamCaptureStatus state;
    int cache = 0;
    CLVI_CU(cudaStreamIsCapturing(t->device->stream, &state));
    CLV_CHECK(state == cudaStreamCaptureStatusNone, CLV_ERR_DEVICE, "nothing is timed while a step is recorded");
    CLVI_CU(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, base->ordinal));
    add_operands(t, c);
    t->cache = 2 * (size_t)cache;
    CLV_TRY(base->backend->alloc(base, t->size + t->cache, &t->memory));
    CLV_TRY(base->backend->fill(base, t->memory, FILL, t->size));
    for (int i = 0; i < t->count; i++) t->address[i] = (char *)t->memory + (size_t)t->address[i];
    CLVI_CU(cudaEventCreate(&t->start));
    CLVI_CU(cudaEventCreate(&t->end));
    return CLV_OK;
}

static void tear_down(trial *t)
{
    if (t->start) cudaEventDestroy(t->start);
    if (t->end) cudaEventDestroy(t->end);
    if (t->memory) t->device->base.backend->free(&t->device->base, t->memory);
    t->exec.plan.plan = NULL;        /* the caller's */
    clvi_cudnn_release(&t->exec);
}

/* Emptying the cache also keeps the device at work until the plan is launched: a launch is not what is measured. */
static clv_status run_once(trial *t, float *ms)
{
    const clvi_op_call call = { .ctx = t->device->base.ctx };
    CLVI_CU(cudaMemsetAsync((char *)t->memory + t->size, 0, t->cache, t->device->stream));
    CLVI_CU(cudaEventRecord(t->start, t->device->stream));
    CLV_TRY(clvi_cudnn_run(&call, &t->exec, t->count, t->names, t->address));
    CLVI_CU(cudaEventRecord(t->end, t->device->stream));
    CLVI_CU(cudaEventSynchronize(t->end));
    CLVI_CU(cudaEventElapsedTime(ms, t->start, t->end));
    return CLV_OK;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static clv_status measure(trial *t, int64_t *ns)
{
    float ms[RUNS];
    for (int i = 0; i < WARM_UP; i++) CLV_TRY(run_once(t, &ms[0]));
    for (int i = 0; i < RUNS; i++) CLV_TRY(run_once(t, &ms[i]));
    qsort(ms, RUNS, sizeof ms[0], by_value);
    *ns = llround(1e6 * 0.5 * ((double)ms[RUNS / 2 - 1] + (double)ms[RUNS / 2]));
    return CLV_OK;
}

/* A clvi_dnn_timer's, of a device. */
static clv_status time_plan(void *user, const clvi_dnn_conv *conv, const clvi_dnn_plan *plan, int64_t *ns)
{
    trial t = { .device = user, .exec = { .plan = *plan } };
    clv_status st = set_up(&t, conv);
    if (st == CLV_OK) st = measure(&t, ns);
    (void)cudaGetLastError();        /* not for the next launch to find */
    tear_down(&t);
    return st;
}

const clvi_dnn_timer *clvi_cuda_timer(clvi_cuda_device *d)
{
    d->timer = (clvi_dnn_timer) { time_plan, d };
    return d->base.benchmark ? &d->timer : NULL;
}
