/* ref_draw.c: mochi_draw, beta_draw, permutation: random numbers as pure functions of (seed, step, row, stream). */
#include "core/rng_inline.h"
#include "device/cpu/draw.h"
#include "device/cpu/ref.h"

static bool any_type(const clvi_op_call *call)
{
    (void)call;
    return true;
}

int64_t clvi_draw_step(const clvi_draw_attr *attr, const void *given)
{
    return given ? *(const int64_t *)given : attr->step;
}

clvi_rng clvi_draw_stream(const clvi_draw_attr *attr, int64_t step, int64_t row, uint32_t stream)
{
    const uint64_t high = (uint64_t)step >> 32;
    return clvi_rng_make(attr->seed, CLVI_RNG_LOSS, (uint32_t)step, high << 32 | (uint64_t)row, attr->stream + stream);
}

static void put(void *data, clv_dtype dtype, int64_t i, double x)
{
    if (dtype == CLV_F64) ((double *)data)[i] = x;
    else ((float *)data)[i] = (float)x;
}

/* ---- mochi_draw ---- */

/* Rows that a list has: those without one come last. */
static int64_t listed(const int64_t *list, int64_t top)
{
    int64_t n = top;
    while (n > 0 && list[n - 1] < 0) n--;
    return n;
}

/* A rank below n, or -1 when there is none. */
static int64_t draw_rank(clvi_rng *rng, int64_t n)
{
    return n > 0 ? (int64_t)clvi_rng_below(rng, (uint64_t)n) : -1;
}

void clvi_draw_mixes(const clvi_draw_attr *attr, int64_t step, int64_t row, const int64_t *list, int64_t top,
                     const clvi_mixes_row *to)
{
    const int64_t n = step < 0 ? 0 : listed(list, top);
    clvi_rng rng = clvi_draw_stream(attr, step, row, 0);
    for (int64_t c = 0; c < attr->rows; c++) {
        to->i[c] = draw_rank(&rng, n);
        to->j[c] = draw_rank(&rng, n);
        put(to->a, to->dtype, c, clvi_rng_f64(&rng));
    }
    rng = clvi_draw_stream(attr, step, row, 1);
    for (int64_t c = 0; c < attr->cols; c++) {
        to->j_q[c] = draw_rank(&rng, n);
        put(to->b, to->dtype, c, clvi_rng_uniform(&rng, 0, 0.5));
    }
}

static void draw_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_draw_attr *attr = call->attr;
    const int64_t top = call->in[0].shape[1], step = clvi_draw_step(attr, call->in_data[1]);
    const int64_t size = (int64_t)clv_dtype_size(call->out[2].dtype);
    for (int64_t b = begin; b < end; b++) {
        const int64_t pair = b * attr->rows, query = b * attr->cols;
        const clvi_mixes_row to = { .i = (int64_t *)call->out_data[0] + pair, .j = (int64_t *)call->out_data[1] + pair,
                                    .j_q = (int64_t *)call->out_data[3] + query,
                                    .a = (char *)call->out_data[2] + pair * size,
                                    .b = (char *)call->out_data[4] + query * size, .dtype = call->out[2].dtype };
        clvi_draw_mixes(attr, step, b, (const int64_t *)call->in_data[0] + b * top, top, &to);
    }
}

static clv_status mochi_draw(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 4, draw_range, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_mochi_draw = {
    .op = "mochi_draw", .name = "reference", .accepts = any_type, .run = mochi_draw,
};

/* ---- beta_draw ---- */

/* The offset is added in the type of the result. Before the first step all are 1. */
static void draw_beta(const clvi_op_call *call, int64_t row, int64_t step)
{
    const clvi_draw_attr *attr = call->attr;
    const clvi_rng stream = clvi_draw_stream(attr, step, row, 0);
    for (int64_t c = 0; c < attr->cols; c++) {
        const int64_t at = row * attr->cols + c;
        float pair[2];
        clvi_rng_beta_pair(&stream, (uint32_t)(c / 2), (float)(1 / attr->alpha), pair);
        if (step < 0) put(call->out_data[0], (clv_dtype)attr->dtype, at, 1);
        else if (attr->dtype == CLV_F64) ((double *)call->out_data[0])[at] = attr->offset + (double)pair[c % 2];
        else ((float *)call->out_data[0])[at] = (float)attr->offset + pair[c % 2];
    }
}

static void beta_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t step = clvi_draw_step(call->attr, call->in_data[0]);
    for (int64_t row = begin; row < end; row++) draw_beta(call, row, step);
}

static clv_status beta_draw(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->out[0].shape[0], 16, beta_range, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_beta_draw = {
    .op = "beta_draw", .name = "reference", .accepts = any_type, .run = beta_draw,
};

/* ---- permutation ---- */

int64_t clvi_draw_permutation(const clvi_draw_attr *attr, int64_t step, int64_t i)
{
    const uint64_t seed = attr->seed + ((uint64_t)attr->stream << 32 ^ (uint64_t)step >> 32);
    return (int64_t)clvi_rng_permute(seed, CLVI_RNG_LOSS, (uint32_t)step, (uint64_t)attr->rows, (uint64_t)i);
}

static void permutation_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_draw_attr *attr = call->attr;
    const int64_t step = clvi_draw_step(attr, call->in_data[0]);
    for (int64_t i = begin; i < end; i++)
        ((int64_t *)call->out_data[0])[i] = clvi_draw_permutation(attr, step, i);
}

static clv_status permutation(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->out[0].shape[0], 256, permutation_range, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_permutation = {
    .op = "permutation", .name = "reference", .accepts = any_type, .run = permutation,
};
