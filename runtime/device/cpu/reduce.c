/* reduce.c: sums and means over everything, over the last axis and over one before it, and their gradients, in float32
 * with sums in double. Edge cases as in ref_reduce.c. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"

#define CHUNK      65536
#define MAX_CHUNKS 512       /* of a sum over everything: its partial results live on the stack */
#define STRIP      64        /* columns whose sums are in registers at once */

/* x as matrices [rows, cols], one below the other; sums go along the rows or, down, the columns of each matrix. */
typedef struct matrix {
    const float *x;
    float       *y;
    int64_t      rows, cols, outer;      /* outer: matrices; 1 unless down */
    bool         down;
    double       divisor, *partial;
    int64_t      chunk;
} matrix;

static matrix matrix_of(const clvi_op_call *call, const clvi_desc *x)
{
    const clvi_reduce_attr *attr = call->attr;
    const bool all = attr->axis < 0, down = !all && attr->axis < x->ndim - 1;
    const int split = all ? 0 : down ? attr->axis + 1 : x->ndim - 1;         /* columns begin here */
    const int64_t cols = clvi_desc_extent(x, split, x->ndim), outer = down ? clvi_desc_extent(x, 0, attr->axis) : 1;
    const int64_t rows = down ? x->shape[attr->axis] : clvi_desc_extent(x, 0, split), length = down ? rows : cols;
    return (matrix){ .x = call->in_data[0], .y = call->out_data[0], .rows = rows, .cols = cols, .outer = outer,
                     .down = down, .divisor = attr->mean ? (double)CLVI_MAX(length, 1) : 1 };
}

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

/* ---- sums ---- */

CLVI_INLINE double sum_of(const float *x, int64_t n)
{
    clvi_v8d sum = { 0 };
    int64_t i = 0;
    for (; i + CLVI_LANES <= n; i += CLVI_LANES) {
        clvi_v16f v;
        memcpy(&v, x + i, sizeof v);
        clvi_add16(&sum, &v);
    }
    double total = i > 0 ? clvi_total8(&sum) : 0;
    for (; i < n; i++) total += x[i];
    return total;
}

CLVI_INLINE void part_body(void *arg, int64_t begin, int64_t end)
{
    const matrix *m = arg;
    m->partial[begin / m->chunk] = sum_of(m->x + begin, end - begin);
}
CLVI_ISA_VARIANTS(part_body)

CLVI_INLINE void rows_body(void *arg, int64_t begin, int64_t end)
{
    const matrix *m = arg;
    const double factor = 1 / m->divisor;
    for (int64_t i = begin; i < end; i++) m->y[i] = (float)(sum_of(m->x + i * m->cols, m->cols) * factor);
}
CLVI_ISA_VARIANTS(rows_body)

CLVI_INLINE void strip_of(const matrix *m, const float *x, float *y, int64_t width)
{
    double sum[STRIP] = { 0 };
    for (int64_t i = 0; i < m->rows; i++, x += m->cols)
        for (int64_t j = 0; j < width; j++) sum[j] += x[j];
    for (int64_t j = 0; j < width; j++) y[j] = (float)(sum[j] / m->divisor);
}

/* Columns are counted through all matrices. */
CLVI_INLINE void columns_body(void *arg, int64_t begin, int64_t end)
{
    const matrix *m = arg;
    for (int64_t at = begin, width; at < end; at += width) {
        const int64_t column = at % m->cols, before = at / m->cols * m->rows;
        width = CLVI_MIN(CLVI_MIN(end - at, m->cols - column), STRIP);
        strip_of(m, m->x + before * m->cols + column, m->y + at, width);
    }
}
CLVI_ISA_VARIANTS(columns_body)

/* Chunks grow with the number of elements, never with that of threads, and are added in order. */
static double sum_all(clv_context *ctx, matrix *m)
{
    double partial[MAX_CHUNKS] = { 0 }, sum = 0;
    m->chunk = CLVI_MAX(CHUNK, (m->cols + MAX_CHUNKS - 1) / MAX_CHUNKS);
    m->partial = partial;
    clvi_parallel_for(ctx, m->cols, m->chunk, clvi_isa_pick(part_body_table), m);
    for (int64_t i = 0; i * m->chunk < m->cols; i++) sum += partial[i];
    return sum;
}

static int64_t rows_at_once(const matrix *m)
{
    return CLVI_MAX(1, CHUNK / CLVI_MAX(m->cols, 1));
}

/* Whole strips. */
static int64_t columns_at_once(const matrix *m)
{
    return CLVI_MAX(1, CHUNK / STRIP / CLVI_MAX(m->rows, 1)) * STRIP;
}

static clv_status reduce(const clvi_op_call *call)
{
    matrix m = matrix_of(call, &call->in[0]);
    if (m.down)
        clvi_parallel_for(call->ctx, m.outer * m.cols, columns_at_once(&m), clvi_isa_pick(columns_body_table), &m);
    else if (m.rows == 1) m.y[0] = (float)(sum_all(call->ctx, &m) / m.divisor);
    else clvi_parallel_for(call->ctx, m.rows, rows_at_once(&m), clvi_isa_pick(rows_body_table), &m);
    return CLV_OK;
}

/* ---- gradients ---- */

CLVI_INLINE void fill_body(void *arg, int64_t begin, int64_t end)
{
    const matrix *m = arg;
    const float value = (float)(m->x[0] / m->divisor);
    for (int64_t i = begin; i < end; i++) m->y[i] = value;
}
CLVI_ISA_VARIANTS(fill_body)

CLVI_INLINE void spread_body(void *arg, int64_t begin, int64_t end)
{
    const matrix *m = arg;
    for (int64_t i = begin; i < end; i++) {
        const float value = (float)(m->x[i] / m->divisor);
        float *row = m->y + i * m->cols;
        for (int64_t j = 0; j < m->cols; j++) row[j] = value;
    }
}
CLVI_ISA_VARIANTS(spread_body)

CLVI_INLINE void repeat_body(void *arg, int64_t begin, int64_t end)
{
    const matrix *m = arg;
    const float factor = (float)(1 / m->divisor);
    for (int64_t i = begin; i < end; i++) {
        const float *x = m->x + i / m->rows * m->cols;
        float *row = m->y + i * m->cols;
#pragma GCC ivdep
        for (int64_t j = 0; j < m->cols; j++) row[j] = x[j] * factor;
    }
}
CLVI_ISA_VARIANTS(repeat_body)

static clv_status reduce_bwd(const clvi_op_call *call)
{
    matrix m = matrix_of(call, &call->out[0]);
    if (m.down)
        clvi_parallel_for(call->ctx, m.outer * m.rows, rows_at_once(&m), clvi_isa_pick(repeat_body_table), &m);
    else if (m.rows == 1) clvi_parallel_for(call->ctx, m.cols, CHUNK, clvi_isa_pick(fill_body_table), &m);
    else clvi_parallel_for(call->ctx, m.rows, rows_at_once(&m), clvi_isa_pick(spread_body_table), &m);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_reduce = { .op = "reduce", .name = "cpu", .accepts = accepts, .run = reduce };
const clvi_kernel clvi_kernel_cpu_reduce_bwd = {
    .op = "reduce_bwd", .name = "cpu", .accepts = accepts, .run = reduce_bwd,
};
