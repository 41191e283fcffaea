/* runtime.c: CUDA devices: opening, memory, copies, waiting, and what goes wrong. */
#include "device/cuda/cuda.h"
#include "device/cuda/arch.h"
#include "device/cuda/augment.h"
#include "device/cuda/flat.h"
#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

clv_status clvi_cuda_status(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return CLV_OK;
    return clvi_fail(error == cudaErrorMemoryAllocation ? CLV_ERR_NOMEM : CLV_ERR_DEVICE, "%s: %s (%s)", what,
                     cudaGetErrorString(error), cudaGetErrorName(error));
}

clv_status clvi_blas_status(cublasStatus_t error, const char *what)
{
    if (error == CUBLAS_STATUS_SUCCESS) return CLV_OK;
    return clvi_fail(CLV_ERR_DEVICE, "%s: %s", what, cublasLtGetStatusString(error));
}

clv_status clvi_cuda_launched(const char *op, cudaError_t error)
{
    return clvi_cuda_status(error, op);
}

/* ---- devices ---- */

/* Of the libraries that were loaded, which may be newer than those of the build. */
static void tell_versions(char *text, size_t size)
{
    int runtime = 0;
    const size_t dnn = cudnnGetVersion(), blas = cublasLtGetVersion();
    cudaRuntimeGetVersion(&runtime);
    snprintf(text, size, "CUDA %d.%d, cuDNN %zu.%zu.%zu, cuBLASLt %zu.%zu.%zu", runtime / 1000, runtime % 1000 / 10,
             dnn / 10000, dnn % 10000 / 100, dnn % 100, blas / 10000, blas % 10000 / 100, blas % 100);
}

static int count_devices(char *why, size_t size)
{
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return count;
    char versions[96];
    tell_versions(versions, sizeof versions);
    if (error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary)
        snprintf(why, size, "there is no NVIDIA driver, or one older than the libraries want (%s)", versions);
    else snprintf(why, size, "the driver finds no GPU (%s; %s)", cudaGetErrorString(error), versions);
    return 0;
}

static bool describe(int ordinal, char *text, size_t size)
{
    struct cudaDeviceProp p;
    char versions[96];
    if (cudaGetDeviceProperties(&p, ordinal) != cudaSuccess) return false;
    tell_versions(versions, sizeof versions);
    snprintf(text, size, "%s, compute capability %d.%d, %.0f GiB, %s", p.name, p.major, p.minor,
             (double)p.totalGlobalMem / (1 << 30), versions);
    return true;
}

static void close_device(clvi_device *base)
{
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    if (d->properties) cudnnBackendDestroyDescriptor(d->properties);
    if (d->dnn) cudnnDestroy(d->dnn);
    if (d->blas) cublasLtDestroy(d->blas);
    cudaFree(d->workspace);
    cudaFree(d->fault);
    for (int i = 0; i < CLVI_SLOTS; i++) {
        if (d->copied[i]) cudaEventDestroy(d->copied[i]);
        if (d->left[i]) cudaEventDestroy(d->left[i]);
    }
    if (d->copies) cudaStreamDestroy(d->copies);
    if (d->stream) cudaStreamDestroy(d->stream);
    clvi_free(base->ctx, d);
}

static clv_status open_libraries(clvi_cuda_device *d)
{
    const int32_t ordinal = d->base.ordinal;
    CLVI_LT(cublasLtCreate(&d->blas));
    CLVI_DNN(cudnnCreate(&d->dnn));
    CLVI_DNN(cudnnSetStream(d->dnn, d->stream));
    CLVI_DNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &d->properties));
    CLVI_DNN(cudnnBackendSetAttribute(d->properties, CUDNN_ATTR_DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, 1, &ordinal));
    CLVI_DNN(cudnnBackendFinalize(d->properties));
    return CLV_OK;
}

static clv_status check_arch(int ordinal)
{
    int major = 0, minor = 0;
    CLVI_CU(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal));
    CLVI_CU(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal));
    CLV_CHECK(clvi_cuda_arch_runs_on(CLV_CUDA_ARCH, major, minor), CLV_ERR_UNSUPPORTED,
              "cuda:%d has compute capability %d.%d, and kernels were built for %d.%d: make CUDA=1 CUDA_ARCH=%d%d builds "
              "them for it", ordinal, major, minor, CLV_CUDA_ARCH / 10, CLV_CUDA_ARCH % 10, major, minor);
    return CLV_OK;
}

static clv_status start(clvi_cuda_device *d)
{
    CLV_TRY(check_arch(d->base.ordinal));
    CLVI_CU(cudaSetDevice(d->base.ordinal));
    CLVI_CU(cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking));
    CLVI_CU(cudaStreamCreateWithFlags(&d->copies, cudaStreamNonBlocking));
    d->base.stream = d->stream;
    for (int i = 0; i < CLVI_SLOTS; i++) {
        CLVI_CU(cudaEventCreateWithFlags(&d->copied[i], cudaEventDisableTiming));
        CLVI_CU(cudaEventCreateWithFlags(&d->left[i], cudaEventDisableTiming));
    }
    CLVI_CU(cudaMalloc((void **)&d->fault, sizeof *d->fault));
    d->base.fault = d->fault;
    CLVI_CU(cudaMemsetAsync(d->fault, 0, sizeof *d->fault, d->stream));
    return open_libraries(d);
}

extern const clvi_backend clvi_backend_cuda;

static clv_status open_device(clv_context *ctx, int ordinal, clvi_device **out)
{
    clvi_cuda_device *d = clvi_calloc(ctx, 1, sizeof *d);
    if (!d) return CLV_ERR_NOMEM;
    d->base = (clvi_device) { .backend = &clvi_backend_cuda, .ctx = ctx, .ordinal = ordinal };
    const clv_status st = start(d);
    if (st == CLV_OK) *out = &d->base;
    else close_device(&d->base);
    return st;
}

cudaStream_t clvi_cuda_stream(clv_context *ctx)
{
    return clvi_cuda_of(ctx)->stream;
}

clvi_cuda_fault *clvi_cuda_fault_of(clvi_device *device)
{
    return ((clvi_cuda_device *)device)->fault;
}

/* ---- memory ---- */

static clv_status alloc(clvi_device *base, size_t size, void **out)
{
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    size_t free_bytes = 0, all = 0;
    CLVI_CU(cudaSetDevice(base->ordinal));
    const cudaError_t error = cudaMalloc(out, size ? size : 1);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();          /* not for the next call to find */
        cudaMemGetInfo(&free_bytes, &all);
        return clvi_fail(CLV_ERR_NOMEM, "cuda:%d: out of memory: %zu MiB are wanted, %zu of %zu MiB are free",
                         base->ordinal, size >> 20, free_bytes >> 20, all >> 20);
    }
    CLVI_CU(error);
    CLVI_CU(cudaMemsetAsync(*out, 0, size, d->stream));
    return CLV_OK;
}

static void release(clvi_device *base, void *memory)
{
    (void)base;
    cudaFree(memory);
}

void *clvi_cuda_workspace(clvi_cuda_device *d)
{
    if (!d->workspace && alloc(&d->base, CLVI_CUDA_WORKSPACE, &d->workspace) != CLV_OK) return NULL;
    return d->workspace;
}

/* Until the event has come, or, with NULL, all work of the stream is done. */
static clv_status wait_for(clvi_cuda_device *d, cudaEvent_t event)
{
    if (!d->base.watch)
        return clvi_cuda_status(event ? cudaEventSynchronize(event) : cudaStreamSynchronize(d->stream), "waiting");
    for (;;) {
        const cudaError_t state = event ? cudaEventQuery(event) : cudaStreamQuery(d->stream);
        if (state != cudaErrorNotReady) return clvi_cuda_status(state, "waiting");
        (void)cudaGetLastError();                                /* "not ready" is not for the next launch to find */
        CLV_TRY(d->base.watch(d->base.watch_user));
    }
}

static clv_status copy(clvi_device *base, void *to, const void *from, size_t size, clvi_copy kind)
{
    static const enum cudaMemcpyKind kinds[] = {
        [CLVI_COPY_TO_DEVICE] = cudaMemcpyHostToDevice, [CLVI_COPY_TO_HOST] = cudaMemcpyDeviceToHost,
        [CLVI_COPY_ON_DEVICE] = cudaMemcpyDeviceToDevice, [CLVI_COPY_LATER] = cudaMemcpyDeviceToHost,
    };
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    const bool waits = kind == CLVI_COPY_TO_HOST || kind == CLVI_COPY_TO_DEVICE;
    if (size == 0) return CLV_OK;
    if (waits && base->watch) CLV_TRY(wait_for(d, NULL));        /* the copy itself may wait, and would not watch */
    CLVI_CU(cudaMemcpyAsync(to, from, size, kinds[kind], d->stream));
    if (kind == CLVI_COPY_TO_HOST) CLVI_CU(cudaStreamSynchronize(d->stream));
    return CLV_OK;
}

static clv_status fill(clvi_device *base, void *memory, int byte, size_t size)
{
    if (size) CLVI_CU(cudaMemsetAsync(memory, byte, size, ((clvi_cuda_device *)base)->stream));
    return CLV_OK;
}

static clv_status wait(clvi_device *base)
{
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    clvi_cuda_fault fault;
    CLV_TRY(wait_for(d, NULL));
    CLVI_CU(cudaMemcpyAsync(&fault, d->fault, sizeof fault, cudaMemcpyDeviceToHost, d->stream));
    CLVI_CU(cudaStreamSynchronize(d->stream));
    if (fault.kind == CLVI_FAULT_NONE) return CLV_OK;
    CLVI_CU(cudaMemsetAsync(d->fault, 0, sizeof *d->fault, d->stream));
    return clvi_cuda_fault_status(&fault);
}

/* ---- recording: a CUDA graph of what the stream would have been given ---- */

struct clvi_recording {
    cudaGraphExec_t runnable;
};

static clv_status record(clvi_device *base)
{
    CLVI_CU(cudaStreamBeginCapture(((clvi_cuda_device *)base)->stream, cudaStreamCaptureModeThreadLocal));
    return CLV_OK;
}

static clv_status recorded(clvi_device *base, clvi_recording **out)
{
    cudaGraph_t graph = NULL;
    const cudaError_t ended = cudaStreamEndCapture(((clvi_cuda_device *)base)->stream, &graph);
    clvi_recording *r = out && ended == cudaSuccess ? clvi_calloc(base->ctx, 1, sizeof *r) : NULL;
    clv_status st = clvi_cuda_status(ended, "cudaStreamEndCapture");
    if (st == CLV_OK && out) st = r ? clvi_cuda_status(cudaGraphInstantiate(&r->runnable, graph, 0), "cudaGraphInstantiate")
                                    : CLV_ERR_NOMEM;
    if (graph) cudaGraphDestroy(graph);
    if (out) *out = st == CLV_OK ? r : NULL;
    if (st != CLV_OK) clvi_free(base->ctx, r);
    return st;
}

static clv_status play(clvi_device *base, clvi_recording *r)
{
    CLVI_CU(cudaGraphLaunch(r->runnable, ((clvi_cuda_device *)base)->stream));
    return CLV_OK;
}

static void forget(clvi_device *base, clvi_recording *r)
{
    if (!r) return;
    cudaGraphExecDestroy(r->runnable);
    clvi_free(base->ctx, r);
}

/* ---- slots ---- */

static clv_status alloc_host(clvi_device *base, size_t size, void **out)
{
    CLVI_CU(cudaSetDevice(base->ordinal));
    CLVI_CU(cudaHostAlloc(out, size ? size : 1, cudaHostAllocDefault));
    memset(*out, 0, size);
    return CLV_OK;
}

static void free_host(clvi_device *base, void *memory)
{
    (void)base;
    cudaFreeHost(memory);
}

static clv_status send(clvi_device *base, int slot, void *to, const void *from, size_t size)
{
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    CLVI_CU(cudaStreamWaitEvent(d->copies, d->left[slot], 0));
    CLVI_CU(cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, d->copies));
    CLVI_CU(cudaEventRecord(d->copied[slot], d->copies));
    return CLV_OK;
}

static clv_status enter(clvi_device *base, int slot)
{
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    CLVI_CU(cudaStreamWaitEvent(d->stream, d->copied[slot], 0));
    return CLV_OK;
}

static clv_status leave(clvi_device *base, int slot)
{
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    CLVI_CU(cudaEventRecord(d->left[slot], d->stream));
    return CLV_OK;
}

static clv_status reach(clvi_device *base, int slot, bool copied)
{
    clvi_cuda_device *d = (clvi_cuda_device *)base;
    return wait_for(d, copied ? d->copied[slot] : d->left[slot]);
}

/* ---- the table ---- */

#define CLVI_KERNEL(ident) extern const clvi_kernel clvi_kernel_##ident;
#define CLVI_LIBRARY_KERNEL(ident) CLVI_KERNEL(ident)
#include "device/cuda/kernels.def"
#undef CLVI_KERNEL

static const clvi_kernel *const kernels[] = {
#define CLVI_KERNEL(ident) &clvi_kernel_##ident,
#include "device/cuda/kernels.def"
#undef CLVI_LIBRARY_KERNEL
#undef CLVI_KERNEL
    NULL
};

const clvi_backend clvi_backend_cuda = {
    .abi = CLVI_BACKEND_ABI, .name = "cuda", .kernels = kernels, .count = count_devices, .describe = describe,
    .open = open_device, .close = close_device, .alloc = alloc, .free = release, .copy = copy, .fill = fill,
    .wait = wait, .record = record, .recorded = recorded, .play = play, .forget = forget,
    .alloc_host = alloc_host, .free_host = free_host, .send = send, .enter = enter, .leave = leave, .reach = reach,
    .flat = &clvi_cuda_flat_passes, .augment = clvi_cuda_augment,
    .step = &clvi_cuda_step_passes, .benchmarks = true,
};
