/* layer_norm.c: layer_norm and its gradient in float32, 16 columns at a time. Formulas as in ref_layer_norm.c.
 *
 * Backward cuts the rows into parts by their number alone; each part adds up its share of dgamma and dbeta in scratch
 * memory, and the parts are added in order: the number of threads changes no bit. */
#include "core/checked.h"
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>

#define MAX_PARTS 32
#define PART_ROWS 64        /* at least */

/* ---- forward ---- */

/* Sum of f(x) in double over a row, f being the value or the square of its distance from a mean. */
CLVI_INLINE double row_sum(const float *x, int64_t cols)
{
    clvi_v8d sum = { 0 };
    clvi_v16f v;
    for (int64_t j = 0; j < cols; j += CLVI_LANES) {
        clvi_load16(&v, x, j, cols, 0);
        clvi_add16(&sum, &v);
    }
    return clvi_total8(&sum);
}

CLVI_INLINE double row_squares(const float *x, int64_t cols, float mean)
{
    clvi_v8d sum = { 0 };
    clvi_v16f v;
    for (int64_t j = 0; j < cols; j += CLVI_LANES) {
        clvi_load16(&v, x, j, cols, mean);
        v -= mean;
        v *= v;
        clvi_add16(&sum, &v);
    }
    return clvi_total8(&sum);
}

CLVI_INLINE void forward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_layer_norm_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    const float *gamma = call->in_data[1], *beta = call->in_data[2];
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in_data[0] + i * cols;
        float *y = (float *)call->out_data[0] + i * cols;
        const float mean = (float)(row_sum(x, cols) / (double)cols);
        const float scale = (float)(1 / sqrt(row_squares(x, cols, mean) / (double)cols + attr->eps));
#pragma GCC ivdep
        for (int64_t j = 0; j < cols; j++) y[j] = (x[j] - mean) * scale * gamma[j] + beta[j];
        ((float *)call->out_data[1])[i] = mean;
        ((float *)call->out_data[2])[i] = scale;
    }
}
CLVI_ISA_VARIANTS(forward_body)

/* ---- backward ---- */

static int64_t parts_of(const clvi_op_call *call)
{
    return CLVI_MAX(CLVI_MIN(call->in[0].shape[0] / PART_ROWS, MAX_PARTS), 1);
}

/* Parts [begin, end): dx of their rows, and [2,D] of scratch each: dgamma, dbeta. */
CLVI_INLINE void backward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1], parts = parts_of(call);
    const float *gamma = call->in_data[2];
    for (int64_t part = begin; part < end; part++) {
        float *dgamma = (float *)call->scratch + 2 * part * cols, *dbeta = dgamma + cols;
        memset(dgamma, 0, 2 * (size_t)cols * sizeof *dgamma);
        for (int64_t i = rows * part / parts; i < rows * (part + 1) / parts; i++) {
            const float *dy = (const float *)call->in_data[0] + i * cols;
            const float *x = (const float *)call->in_data[1] + i * cols;
            const float mean = ((const float *)call->in_data[3])[i], scale = ((const float *)call->in_data[4])[i];
            float *dx = (float *)call->out_data[0] + i * cols;
            clvi_v8d all = { 0 }, along = { 0 };
            clvi_v16f e, h;
            for (int64_t j = 0; j < cols; j += CLVI_LANES) {
                clvi_v16f v;
                clvi_load16(&e, dy, j, cols, 0);
                clvi_load16(&v, gamma, j, cols, 0);
                clvi_load16(&h, x, j, cols, mean);
                e *= v;
                h = (h - mean) * scale * e;
                clvi_add16(&all, &e);
                clvi_add16(&along, &h);
            }
            const float a = (float)(clvi_total8(&all) / (double)cols), b = (float)(clvi_total8(&along) / (double)cols);
#pragma GCC ivdep
            for (int64_t j = 0; j < cols; j++) {
                const float g = dy[j], unit = (x[j] - mean) * scale;
                dgamma[j] += g * unit;
                dbeta[j] += g;
                dx[j] = scale * (g * gamma[j] - a - unit * b);
            }
        }
    }
}
CLVI_ISA_VARIANTS(backward_body)

/* Columns [begin, end) of the [2,D] sums. */
static void add_parts(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1], parts = parts_of(call);
    const float *scratch = call->scratch;
    for (int64_t j = begin; j < end; j++) {
        double sum = 0;
        for (int64_t part = 0; part < parts; part++) sum += scratch[2 * part * cols + j];
        ((float *)call->out_data[j < cols ? 1 : 2])[j < cols ? j : j - cols] = (float)sum;
    }
}

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

static clv_status forward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 32, clvi_isa_pick(forward_body_table), (void *)call);
    return CLV_OK;
}

static clv_status backward_prepare(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = (size_t)(2 * parts_of(call) * call->in[0].shape[1]) * sizeof(float);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, parts_of(call), 1, clvi_isa_pick(backward_body_table), (void *)call);
    clvi_parallel_for(call->ctx, 2 * call->in[0].shape[1], 256, add_parts, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_layer_norm = {
    .op = "layer_norm", .name = "cpu", .accepts = accepts, .run = forward, .in_place = { 1 },
};
const clvi_kernel clvi_kernel_cpu_layer_norm_bwd = {
    .op = "layer_norm_bwd", .name = "cpu", .accepts = accepts, .prepare = backward_prepare, .run = backward,
    .in_place = { 1 },
};
