/* dnn.c: builds the graph of one convolution, asks cuDNN how it can be done, and takes the first way that keeps the
 * rules, or the fastest of several. The device is named by a descriptor, never by a handle, so that all of this works
 * where there is none. */
#include "device/cuda/dnn.h"
#include "device/cuda/kept.h"
#include <stdio.h>
#include <string.h>

typedef cudnnBackendDescriptor_t desc;

#define MAX_CONFIGS 64

clv_status clvi_dnn_status(cudnnStatus_t error, const char *what)
{
    if (error == CUDNN_STATUS_SUCCESS) return CLV_OK;
    char detail[256] = "";
    cudnnGetLastErrorString(detail, sizeof detail);
    /* Codes of the 3000s mean that another engine may do it. */
    return clvi_fail((int)error / 1000 == 3 ? CLV_ERR_UNSUPPORTED : CLV_ERR_DEVICE, "%s: %s; %s", what,
                     cudnnGetErrorString(error), detail);
}

/* ---- attributes: one function a type, because cuDNN takes a wrong one in silence ---- */

static clv_status make(cudnnBackendDescriptorType_t type, desc *out)
{
    CLVI_DNN(cudnnBackendCreateDescriptor(type, out));
    return CLV_OK;
}

static void drop(desc d)
{
    if (d) cudnnBackendDestroyDescriptor(d);
}

static clv_status finalize(desc d)
{
    CLVI_DNN(cudnnBackendFinalize(d));
    return CLV_OK;
}

static clv_status set_int64(desc d, cudnnBackendAttributeName_t name, int64_t count, const int64_t *value)
{
    CLVI_DNN(cudnnBackendSetAttribute(d, name, CUDNN_TYPE_INT64, count, value));
    return CLV_OK;
}

static clv_status set_type(desc d, cudnnBackendAttributeName_t name, cudnnDataType_t value)
{
    CLVI_DNN(cudnnBackendSetAttribute(d, name, CUDNN_TYPE_DATA_TYPE, 1, &value));
    return CLV_OK;
}

static clv_status set_float(desc d, cudnnBackendAttributeName_t name, float value)
{
    CLVI_DNN(cudnnBackendSetAttribute(d, name, CUDNN_TYPE_FLOAT, 1, &value));
    return CLV_OK;
}

static clv_status set_desc(desc d, cudnnBackendAttributeName_t name, desc value)
{
    CLVI_DNN(cudnnBackendSetAttribute(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value));
    return CLV_OK;
}

/* ---- the graph ---- */

enum { MAX_OPERATIONS = 5, MAX_MADE = 24 };

/* Everything that lives until the plan is made. */
typedef struct graph {
    desc made[MAX_MADE], operation[MAX_OPERATIONS], graph, heuristic;
    int  n_made, n_operations;
} graph;

static void drop_graph(graph *g)
{
    drop(g->heuristic);
    drop(g->graph);
    while (g->n_made > 0) drop(g->made[--g->n_made]);
}

static clv_status make_for(graph *g, cudnnBackendDescriptorType_t type, desc *out)
{
    CLV_CHECK(g->n_made < MAX_MADE, CLV_ERR_INVALID, "a graph of more than %d descriptors", MAX_MADE);
    CLV_TRY(make(type, out));
    g->made[g->n_made++] = *out;
    return CLV_OK;
}

/* A value without a name is only between operations. */
static clv_status make_tensor(graph *g, const int64_t dims[4], cudnnDataType_t type, int64_t name, desc *out)
{
    const int64_t c = dims[1], h = dims[2], w = dims[3], alignment = 16;
    const int64_t strides[4] = { h * w * c, 1, w * c, c }, uid = name ? name : 100 + g->n_made;
    const bool is_virtual = !name;
    CLV_TRY(make_for(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    CLV_TRY(set_type(*out, CUDNN_ATTR_TENSOR_DATA_TYPE, type));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, dims));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_TENSOR_STRIDES, 4, strides));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &uid));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment));
    CLVI_DNN(cudnnBackendSetAttribute(*out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual));
    return finalize(*out);
}

static clv_status make_convolution(graph *g, const clvi_dnn_conv *c, desc *out)
{
    static const int64_t ones[2] = { 1, 1 }, spatial = 2;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    CLV_TRY(make_for(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
    CLV_TRY(set_type(*out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT));
    CLVI_DNN(cudnnBackendSetAttribute(*out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &spatial));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, c->pad));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, c->pad));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, ones));
    CLV_TRY(set_int64(*out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, c->stride));
    return finalize(*out);
}

/* What the three directions call their operands. */
typedef struct direction_names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t  conv, tensor[3], alpha, beta;
} direction_names;

static const direction_names names[] = {
    [CLVI_DNN_FORWARD] = {
        CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
        { CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y },
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
    },
    [CLVI_DNN_DATA] = {
        CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
        { CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY },
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
    },
    [CLVI_DNN_WEIGHTS] = {
        CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
        { CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY },
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
    },
};

static clv_status append_convolution(graph *g, const clvi_dnn_conv *c, desc y)
{
    const direction_names *n = &names[c->direction];
    desc tensor[3] = { NULL, NULL, y }, conv, operation;
    CLV_TRY(make_tensor(g, c->x, c->type, CLVI_DNN_X_NAME, &tensor[0]));
    CLV_TRY(make_tensor(g, c->w, c->type, CLVI_DNN_W_NAME, &tensor[1]));
    CLV_TRY(make_convolution(g, c, &conv));
    CLV_TRY(make_for(g, n->type, &operation));
    CLV_TRY(set_desc(operation, n->conv, conv));
    for (int i = 0; i < 3; i++) CLV_TRY(set_desc(operation, n->tensor[i], tensor[i]));
    CLV_TRY(set_float(operation, n->alpha, 1));
    CLV_TRY(set_float(operation, n->beta, 0));
    g->operation[g->n_operations++] = operation;
    return finalize(operation);
}

/* y = x, a pointwise operation on it; `other` is NULL for those of one operand. */
static clv_status append_pointwise(graph *g, cudnnPointwiseMode_t mode, desc x, desc other, desc y)
{
    desc pointwise, operation;
    CLV_TRY(make_for(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &pointwise));
    CLVI_DNN(cudnnBackendSetAttribute(pointwise, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    CLV_TRY(set_type(pointwise, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT));
    CLV_TRY(finalize(pointwise));
    CLV_TRY(make_for(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, &operation));
    CLV_TRY(set_desc(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise));
    CLV_TRY(set_desc(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x));
    if (other) CLV_TRY(set_desc(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, other));
    CLV_TRY(set_desc(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y));
    g->operation[g->n_operations++] = operation;
    return finalize(operation);
}

/* What comes after the convolution, in order. */
static const struct { int64_t bit, name; cudnnPointwiseMode_t mode; } after[] = {
    { CLVI_DNN_SCALE, CLVI_DNN_SCALE_NAME, CUDNN_POINTWISE_MUL },
    { CLVI_DNN_SUM,   CLVI_DNN_SUM_NAME,   CUDNN_POINTWISE_ADD },
    { CLVI_DNN_BIAS,  CLVI_DNN_BIAS_NAME,  CUDNN_POINTWISE_ADD },
    { CLVI_DNN_RELU,  0,                   CUDNN_POINTWISE_RELU_FWD },
};

static clv_status make_graph(const clvi_dnn_conv *c, graph *g)
{
    const int64_t channels[4] = { 1, c->y[1], 1, 1 };
    int64_t left = c->then;
    desc value, next, other;
    CLV_TRY(make_tensor(g, c->y, left ? CUDNN_DATA_FLOAT : c->type, left ? 0 : CLVI_DNN_Y_NAME, &value));
    CLV_TRY(append_convolution(g, c, value));
    for (int i = 0; i < 4; i++) {
        if (!(left & after[i].bit)) continue;
        left -= after[i].bit;
        other = NULL;
        if (after[i].bit == CLVI_DNN_SUM) CLV_TRY(make_tensor(g, c->y, c->type, after[i].name, &other));
        else if (after[i].name) CLV_TRY(make_tensor(g, channels, CUDNN_DATA_FLOAT, after[i].name, &other));
        CLV_TRY(make_tensor(g, c->y, left ? CUDNN_DATA_FLOAT : c->type, left ? 0 : CLVI_DNN_Y_NAME, &next));
        CLV_TRY(append_pointwise(g, after[i].mode, value, other, next));
        value = next;
    }
    CLV_TRY(make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &g->graph));
    CLVI_DNN(cudnnBackendSetAttribute(g->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                      g->n_operations, g->operation));
    return finalize(g->graph);
}

/* ---- choosing ---- */

/* Reads what an engine says of itself and keeps the rules of clvi_dnn_conv_plan. */
static clv_status look_at(const clvi_dnn_conv *c, desc config, int64_t most, clvi_dnn_plan *out, bool *fits)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0, one = 0;
    desc engine = NULL;
    *fits = false;
    CLV_TRY(make(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine));
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clvi_dnn_status(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &engine), "the engine of a configuration"));
    CLV_TRY_OR_DONE(clvi_dnn_status(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX,
        CUDNN_TYPE_INT64, 1, &one, &out->engine), "the index of an engine"));
    CLV_TRY_OR_DONE(clvi_dnn_status(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
        CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes), "the notes of an engine"));
    CLV_TRY_OR_DONE(clvi_dnn_status(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE,
        CUDNN_TYPE_INT64, 1, &one, &out->workspace), "the workspace of a configuration"));
    bool has[CUDNN_NUMERICAL_NOTE_TYPE_COUNT] = { false };
    for (int64_t i = 0; i < count; i++) has[notes[i]] = true;
    out->tensor_core = has[CUDNN_NUMERICAL_NOTE_TENSOR_CORE];
    const bool half = c->type == CUDNN_DATA_BFLOAT16;
    *fits = out->workspace <= most && !has[CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC] &&
            out->tensor_core == (half || c->tf32) && (half || !has[CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS]);
done:
    drop(engine);
    return st;
}

static clv_status make_plan(desc config, desc device, clvi_dnn_plan *out)
{
    CLV_TRY(make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &out->plan));
    CLV_TRY(set_desc(out->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config));
    CLV_TRY(set_desc(out->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device));
    return finalize(out->plan);
}

/* Plans that keep the rules, in the order of the ranking. */
typedef struct candidates {
    clvi_dnn_plan plan[CLVI_DNN_TIMED];
    int           count, wanted;
} candidates;

/* Those of these configurations that keep the rules and can be made plans, until there are as many as are wanted. Where
 * there is a plan already, what is wrong with another matters no more. */
static clv_status take(const clvi_dnn_conv *c, desc *configs, int64_t count, desc device, int64_t most, candidates *out)
{
    for (int64_t i = 0; i < count && out->count < out->wanted; i++) {
        clvi_dnn_plan *plan = &out->plan[out->count];
        bool fits;
        CLV_TRY(look_at(c, configs[i], most, plan, &fits));
        if (!fits) continue;
        const clv_status st = make_plan(configs[i], device, plan);
        if (st == CLV_OK) out->count++;
        else clvi_dnn_plan_free(plan);
        if (st != CLV_OK && st != CLV_ERR_UNSUPPORTED && out->count == 0) return st;
    }
    return CLV_OK;
}

/* The first of them or, with a timer, the fastest; there is one at least. */
static clv_status choose(const clvi_dnn_conv *c, candidates *all, const clvi_dnn_timer *timer, clvi_dnn_plan *out)
{
    clvi_dnn_plan *best = timer ? NULL : &all->plan[0];
    clv_status st = CLV_OK;
    for (int i = 0; timer && i < all->count; i++) {
        clvi_dnn_plan *plan = &all->plan[i];
        st = timer->time(timer->user, c, plan, &plan->ns);
        if (st == CLV_ERR_NOMEM) return st;
        if (st == CLV_OK && (!best || plan->ns < best->ns)) best = plan;
    }
    if (!best) return st;
    *out = *best;
    best->plan = NULL;               /* it is the caller's */
    return CLV_OK;
}

/* Asks one mode of the heuristics. The number it gives for an empty list is a bound; the second call tells how many
 * there are. */
static clv_status ask(const clvi_dnn_conv *c, graph *g, desc device, cudnnBackendHeurMode_t mode, int64_t most,
                      candidates *out)
{
    desc configs[MAX_CONFIGS] = { NULL };
    int64_t bound = 0, count = 0;
    clv_status st = CLV_OK;
    drop(g->heuristic);
    g->heuristic = NULL;
    CLV_TRY(make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &g->heuristic));
    CLV_TRY(set_desc(g->heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, g->graph));
    CLVI_DNN(cudnnBackendSetAttribute(g->heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    CLV_TRY(set_desc(g->heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device));
    CLV_TRY(finalize(g->heuristic));
    CLVI_DNN(cudnnBackendGetAttribute(g->heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0,
                                      &bound, NULL));
    if (bound > MAX_CONFIGS) bound = MAX_CONFIGS;
    for (int64_t i = 0; i < bound; i++) CLV_TRY_OR_DONE(make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i]));
    CLV_TRY_OR_DONE(clvi_dnn_status(cudnnBackendGetAttribute(g->heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
        CUDNN_TYPE_BACKEND_DESCRIPTOR, bound, &count, configs), "the configurations of a convolution"));
    CLV_TRY_OR_DONE(take(c, configs, count, device, most, out));
done:
    for (int64_t i = 0; i < bound; i++) drop(configs[i]);
    return st;
}

/* ---- plans of earlier runs ---- */

/* Everything that a plan depends on, in a line: how it was chosen, the library, the device as it describes itself, the
 * convolution, the rules. */
static bool make_key(const clvi_dnn_conv *c, desc device, int64_t workspace, bool timed, char *key, size_t size)
{
    char about[4096];
    int64_t count = 0;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    if (cudnnBackendGetAttribute(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, sizeof about,
                                 &count, about) != CUDNN_STATUS_SUCCESS || count <= 0 || count > (int64_t)sizeof about)
        return false;
    for (int64_t i = 0; i < count && about[i]; i++) h = (h ^ (unsigned char)about[i]) * UINT64_C(0x100000001b3);
    int n = snprintf(key, size, "%sconvolution %d type %d%s cudnn %zu device %016" PRIx64 " workspace %" PRId64,
                     timed ? "tuned " : "", (int)c->direction, (int)c->type, c->tf32 ? " tf32" : "", cudnnGetVersion(),
                     h, workspace);
    const int64_t *lists[] = { c->x, c->w, c->y, c->stride, c->pad, &c->then };
    static const int lengths[] = { 4, 4, 4, 2, 2, 1 };
    for (int l = 0; l < 6; l++)
        for (int i = 0; i < lengths[l] && n > 0 && (size_t)n < size; i++)
            n += snprintf(key + n, size - (size_t)n, " %" PRId64, lists[l][i]);
    return n > 0 && (size_t)n < size;
}

static clv_status plan_of_text(desc device, const char *json, int64_t size, clvi_dnn_plan *out)
{
    CLV_TRY(make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &out->plan));
    CLVI_DNN(cudnnBackendSetAttribute(out->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, size,
                                      json));
    CLV_TRY(set_desc(out->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device));
    return finalize(out->plan);
}

/* A line of what look_at found and the time measured, then the plan in cuDNN's own words. What cuDNN does not take back
 * is made anew. */
static bool take_kept(const char *key, desc device, int64_t workspace, clvi_dnn_plan *out)
{
    char data[CLVI_KEPT_MOST + 1];
    int tensor_core, used = 0;
    const size_t size = clvi_kept_read(key, data);
    data[size] = '\0';
    if (sscanf(data, "%" SCNd64 " %" SCNd64 " %d %" SCNd64 "\n%n", &out->workspace, &out->engine, &tensor_core,
               &out->ns, &used) != 4 || !used || out->workspace < 0 || out->workspace > workspace)
        return false;
    out->tensor_core = tensor_core;
    out->kept = plan_of_text(device, data + used, (int64_t)size - used, out) == CLV_OK;
    if (!out->kept) clvi_dnn_plan_free(out);
    return out->kept;
}

static void keep(const char *key, const clvi_dnn_plan *plan)
{
    char data[CLVI_KEPT_MOST];
    const int n = snprintf(data, sizeof data, "%" PRId64 " %" PRId64 " %d %" PRId64 "\n", plan->workspace,
                           plan->engine, plan->tensor_core, plan->ns);
    int64_t size = 0;
    if (cudnnBackendGetAttribute(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &size,
                                 NULL) != CUDNN_STATUS_SUCCESS || size <= 0 || size > (int64_t)sizeof data - n)
        return;
    if (cudnnBackendGetAttribute(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, size,
                                 &size, data + n) == CUDNN_STATUS_SUCCESS)
        clvi_kept_write(key, data, (size_t)(n + size));
}

/* ---- a convolution's plan ---- */

static clv_status ask_modes(const clvi_dnn_conv *conv, graph *g, desc device, int64_t workspace, candidates *out)
{
    CLV_TRY(ask(conv, g, device, CUDNN_HEUR_MODE_A, workspace, out));
    return out->count == out->wanted ? CLV_OK : ask(conv, g, device, CUDNN_HEUR_MODE_FALLBACK, workspace, out);
}

clv_status clvi_dnn_conv_plan(const clvi_dnn_conv *conv, cudnnBackendDescriptor_t device, int64_t workspace,
                              const clvi_dnn_timer *timer, clvi_dnn_plan *out)
{
    char key[1024];
    graph g = { .graph = NULL };
    candidates all = { .wanted = timer ? CLVI_DNN_TIMED : 1 };
    memset(out, 0, sizeof *out);
    const bool keeps = make_key(conv, device, workspace, timer, key, sizeof key);
    if (keeps && take_kept(key, device, workspace, out)) return CLV_OK;
    clv_status st = make_graph(conv, &g);
    if (st == CLV_OK) st = ask_modes(conv, &g, device, workspace, &all);
    if (st == CLV_OK && all.count == 0 && conv->tf32) {
        /* TF32 is a permission. A shape whose engines on tensor cores want too much workspace is done strictly. */
        clvi_dnn_conv strict = *conv;
        strict.tf32 = false;
        st = ask_modes(&strict, &g, device, workspace, &all);
    }
    drop_graph(&g);
    if (st == CLV_OK && all.count == 0)
        st = clvi_fail(CLV_ERR_UNSUPPORTED, "cuDNN has no engine for a convolution of these shapes and types");
    if (st == CLV_OK) st = choose(conv, &all, timer, out);
    while (all.count > 0) clvi_dnn_plan_free(&all.plan[--all.count]);
    if (st == CLV_OK && keeps) keep(key, out);
    return st;
}

clv_status clvi_dnn_conv_plan_padded(const clvi_dnn_conv *conv, cudnnBackendDescriptor_t device, int64_t workspace,
                                     const clvi_dnn_timer *timer, clvi_dnn_plan *out, bool *pads)
{
    clvi_dnn_conv padded = *conv;
    padded.x[1] = padded.w[1] = CLVI_DNN_CHANNELS;
    *pads = conv->type == CUDNN_DATA_BFLOAT16 && conv->x[1] < CLVI_DNN_CHANNELS && conv->direction != CLVI_DNN_DATA;
    if (*pads) {
        const clv_status st = clvi_dnn_conv_plan(&padded, device, workspace, timer, out);
        if (st != CLV_ERR_UNSUPPORTED) return st;
    }
    *pads = false;
    return clvi_dnn_conv_plan(conv, device, workspace, timer, out);
}

void clvi_dnn_plan_free(clvi_dnn_plan *plan)
{
    drop(plan->plan);
    plan->plan = NULL;
}
