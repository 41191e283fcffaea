/* pair_dist.c: squared distances of all pairs of rows and their gradient in float32, 16 columns at a time. Formulas as
 * in ref_pair_dist.c.
 *
 * Rows go in square blocks that stay in the cache; a block above the diagonal gives the one below, too. */
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"

#define BLOCK   32      /* rows and columns of a block of distances */
#define COLUMNS 1024    /* of x taken at a time: 2 BLOCK rows of them fit the second-level cache */
#define GROUP   8       /* rows j that meet row i: eight sums are made one vector */

CLVI_INLINE void add_squares(clvi_v16f *part, const clvi_v16f *a, const float *b, int64_t d, int64_t n)
{
    clvi_v16f gap;
    clvi_load16(&gap, b, d, n, 0);
    gap -= *a;
    *part += gap * gap;
}

/* What row a is away from four others, by lane; n columns. */
CLVI_INLINE void gaps_of_four(const float *a, const float *const *b, int64_t n, clvi_v16f *part)
{
    clvi_v16f va, p = { 0 }, q = p, r = p, s = p;
    int64_t d = 0;
    for (; d + CLVI_LANES <= n; d += CLVI_LANES) {
        memcpy(&va, a + d, sizeof va);
        add_squares(&p, &va, b[0], d, INT64_MAX), add_squares(&q, &va, b[1], d, INT64_MAX);
        add_squares(&r, &va, b[2], d, INT64_MAX), add_squares(&s, &va, b[3], d, INT64_MAX);
    }
    if (d < n) {
        clvi_load16(&va, a, d, n, 0);
        add_squares(&p, &va, b[0], d, n), add_squares(&q, &va, b[1], d, n);
        add_squares(&r, &va, b[2], d, n), add_squares(&s, &va, b[3], d, n);
    }
    part[0] = p, part[1] = q, part[2] = r, part[3] = s;
}

CLVI_INLINE void add_gaps(const float *a, const float *const *b, int64_t n, double sum[GROUP])
{
    clvi_v16f part[GROUP];
    clvi_v8f total;
    float each[GROUP];
    gaps_of_four(a, b, n, part);
    gaps_of_four(a, b + 4, n, part + 4);
    clvi_sums8(&total, part);
    memcpy(each, &total, sizeof each);
    for (int k = 0; k < GROUP; k++) sum[k] += (double)each[k];
}

/* Block `item` of the upper triangle, counted row by row. */
static void block_at(int64_t item, int64_t blocks, int64_t *row, int64_t *col)
{
    *row = 0;
    while (item >= blocks - *row) item -= blocks - (*row)++;
    *col = *row + item;
}

CLVI_INLINE void forward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[0].shape[0], dim = call->in[0].shape[1];
    const float *x = call->in_data[0];
    float *y = call->out_data[0];
    for (int64_t item = begin; item < end; item++) {
        int64_t row, col;
        double sum[BLOCK][BLOCK] = { { 0 } };
        block_at(item, (rows + BLOCK - 1) / BLOCK, &row, &col);
        const int64_t i0 = row * BLOCK, j0 = col * BLOCK;
        const int64_t height = CLVI_MIN(BLOCK, rows - i0), width = CLVI_MIN(BLOCK, rows - j0);
        for (int64_t d = 0; d < dim; d += COLUMNS)
            for (int64_t i = 0; i < height; i++)
                for (int64_t j = 0; j < width; j += GROUP) {
                    const float *b[GROUP];
                    for (int k = 0; k < GROUP; k++) b[k] = x + CLVI_MIN(j0 + j + k, rows - 1) * dim + d;
                    add_gaps(x + (i0 + i) * dim + d, b, CLVI_MIN(COLUMNS, dim - d), &sum[i][j]);
                }
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < width; j++) {
                y[(i0 + i) * rows + j0 + j] = (float)sum[i][j];
                y[(j0 + j) * rows + i0 + i] = (float)sum[i][j];
            }
    }
}
CLVI_ISA_VARIANTS(forward_body)

/* dx_i = 2 sum_j w_ij (x_i - x_j), w = dy + dy^T, a few columns of x at a time. */
CLVI_INLINE void backward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[1].shape[0], dim = call->in[1].shape[1];
    const float *dy = call->in_data[0], *x = call->in_data[1];
    for (int64_t i = begin; i < end; i++) {
        const float *xi = x + i * dim;
        float *dx = (float *)call->out_data[0] + i * dim;
        memset(dx, 0, (size_t)dim * sizeof *dx);
        for (int64_t j = 0; j < rows; j++) {
            const float w = 2 * (dy[i * rows + j] + dy[j * rows + i]), *xj = x + j * dim;
            if (w == 0) continue;
#pragma GCC ivdep
            for (int64_t d = 0; d < dim; d++) dx[d] += w * (xi[d] - xj[d]);
        }
    }
}
CLVI_ISA_VARIANTS(backward_body)

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

static clv_status forward(const clvi_op_call *call)
{
    const int64_t blocks = (call->in[0].shape[0] + BLOCK - 1) / BLOCK;
    clvi_parallel_for(call->ctx, blocks * (blocks + 1) / 2, 1, clvi_isa_pick(forward_body_table), (void *)call);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[1].shape[0], 4, clvi_isa_pick(backward_body_table), (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_pair_dist = {
    .op = "pair_dist", .name = "cpu", .accepts = accepts, .run = forward,
};
const clvi_kernel clvi_kernel_cpu_pair_dist_bwd = {
    .op = "pair_dist_bwd", .name = "cpu", .accepts = accepts, .run = backward,
};
