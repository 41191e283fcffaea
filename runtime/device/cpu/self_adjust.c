/* self_adjust.c: self_adjust and its gradient in float32 for rows of few logits. 16 rows are transposed into a tile and
 * go through the formulas side by side, one a lane. Formulas and edge cases as in ref_overlap.c.
 *
 * Everything is relative to the largest entry but one, r, so that 1-p keeps its digits where p is 1. With m the largest
 * entry, f_c = e^(x_c - r) for the others, F their sum, t = e^(r - m) and Z = 1 + t F:
 *
 *   largest entry:  p = 1/Z,      1-p = t F/Z
 *   others:         p = t f_c/Z,  1-p = (1 + t (F - f_c))/Z
 */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"

#define MAX_COLS 64
#define CHUNK    8192    /* elements of a thread's share: fewer are not worth waking another one */

typedef clvi_v16f v16f;
typedef clvi_v16i v16i;

/* A tile's rows: what the formulas above are made of. */
typedef struct tile {
    int     cols, rows;
    v16i    top;                    /* index of the largest entry */
    v16f    gap;                    /* r - m */
    v16f    t, rest, sum;           /* t, F, Z */
    v16f    f[MAX_COLS];            /* 0 at the largest entry */
} tile;

static const v16f zeros;

/* The transpose of 16 by 16 floats: four rounds of taking turns from the lower and upper half of the rows. */
CLVI_INLINE void transpose16(v16f v[CLVI_LANES])
{
    const v16i low = { 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23 }, high = low + 8;
    for (int round = 0; round < 4; round++) {
        v16f w[CLVI_LANES];
        for (int k = 0; k < CLVI_LANES / 2; k++) {
            w[2 * k] = __builtin_shuffle(v[k], v[k + 8], low);
            w[2 * k + 1] = __builtin_shuffle(v[k], v[k + 8], high);
        }
        for (int k = 0; k < CLVI_LANES; k++) v[k] = w[k];
    }
}

/* v[c] gets column c of 16 rows; rows beyond the last are 0. `left` floats may be read from x on. */
CLVI_INLINE void transpose_in(v16f *v, const float *x, int rows, int cols, int64_t left)
{
    for (int c = 0; c < cols; c += CLVI_LANES) {
        v16f block[CLVI_LANES];
        for (int k = 0; k < CLVI_LANES; k++)
            if (k < rows) clvi_load16(&block[k], x, k * cols + c, left, 0);
            else block[k] = zeros;
        transpose16(block);
        for (int k = 0; k < CLVI_LANES; k++) v[c + k] = block[k];
    }
}

/* Row by row: what is written beyond a row's end is put right by the next one. */
CLVI_INLINE void transpose_out(float *y, const v16f *v, int rows, int cols)
{
    v16f block[MAX_COLS / CLVI_LANES][CLVI_LANES];
    for (int c = 0; c < cols; c += CLVI_LANES) {
        for (int k = 0; k < CLVI_LANES; k++) block[c / CLVI_LANES][k] = v[c + k];
        transpose16(block[c / CLVI_LANES]);
    }
    for (int k = 0; k < rows; k++)
        for (int c = 0; c < cols; c += CLVI_LANES)
            clvi_store16(&block[c / CLVI_LANES][k], y, k * cols + c, rows * cols);
}

/* All ones where the lanes are equal; indices are not negative, and this is one subtraction in every instruction set. */
CLVI_INLINE void is_index(v16i *same, const v16i *index, int c)
{
    *same = ((*index ^ c) - 1) >> 31;
}

CLVI_INLINE void read_tile(tile *s, const float *x, int rows, int cols, int64_t left)
{
    s->rows = rows, s->cols = cols;
    transpose_in(s->f, x, rows, cols, left);
    v16f max = zeros - __builtin_inff(), second = max;
    v16i top = { 0 };
    for (int c = 0; c < cols; c++) {
        const v16f v = s->f[c];
        const v16i first = v > max, runner_up = v > second;
        clvi_select16(&second, &runner_up, &v, &second);
        clvi_select16(&second, &first, &max, &second);
        clvi_select16(&max, &first, &v, &max);
        top = (first & c) | (~first & top);
    }
    const v16f lowest = zeros - __FLT_MAX__;               /* all others -infinity: their f is 0, not infinity - infinity */
    const v16i below = second < lowest;
    clvi_select16(&second, &below, &lowest, &second);
    s->top = top;
    s->gap = second - max;
    s->t = s->gap;
    clvi_exp16(&s->t);
    s->t += max - max;                                     /* infinity is no probability */
    s->rest = zeros;
    for (int c = 0; c < cols; c++) {
        v16i is_top;
        is_index(&is_top, &top, c);
        v16f f = s->f[c] - second;
        clvi_exp16(&f);
        clvi_select16(&f, &is_top, &zeros, &f);
        s->f[c] = f;
        s->rest += f;
    }
    s->sum = s->t * s->rest + 1;
}

/* p, 1-p and (1-p)^alpha of column c; log_top is log(1-p) of the largest entries. */
typedef struct entry {
    v16i is_top;
    v16f p, q, power;
} entry;

CLVI_INLINE void read_entry(entry *e, const tile *s, int c, float alpha, const v16f *inverse, const v16f *log_top)
{
    const v16f tf = s->t * s->f[c], all = s->t * s->rest;
    v16f one = zeros + 1.0f, top = one, own = all;
    is_index(&e->is_top, &s->top, c);
    own = all - tf + 1;
    clvi_select16(&top, &e->is_top, &one, &tf);
    clvi_select16(&own, &e->is_top, &all, &own);
    e->p = top * *inverse;
    e->q = own * *inverse;
    e->power = one;
    if (alpha <= 0) return;
    v16f log_q = e->q;
    clvi_log16(&log_q);
    clvi_select16(&log_q, &e->is_top, log_top, &log_q);
    e->power = log_q * alpha;
    clvi_exp16(&e->power);
}

CLVI_INLINE void read_shared(const tile *s, float alpha, v16f *inverse, v16f *log_top)
{
    *inverse = 1 / s->sum;
    *log_top = zeros;
    if (alpha <= 0) return;
    *log_top = s->rest * *inverse;
    clvi_log16(log_top);
    *log_top += s->gap;
}

CLVI_INLINE void forward_tile(const clvi_op_call *call, int64_t at, int rows, int cols)
{
    const float alpha = (float)((const clvi_self_adjust_attr *)call->attr)->alpha;
    const int64_t left = (int64_t)rows * cols;             /* what follows may be another thread's */
    float *p_out = clvi_ref_output(call, 1);
    v16f p[MAX_COLS], w[MAX_COLS], inverse, log_top;
    tile s;
    entry e;
    read_tile(&s, (const float *)call->in_data[0] + at, rows, cols, left);
    read_shared(&s, alpha, &inverse, &log_top);
    for (int c = 0; c < cols; c++) {
        read_entry(&e, &s, c, alpha, &inverse, &log_top);
        p[c] = e.p;
        w[c] = e.p * e.power;
    }
    transpose_out((float *)call->out_data[0] + at, w, rows, cols);
    if (p_out) transpose_out(p_out + at, p, rows, cols);
}

/* With u = dw w, S the sum of u and S' of u/(1-p), both without the largest entry, u* = u of the largest:
 *   largest entry:  dx = u* (1-p) - p (S + alpha (u* + S - S'))
 *   others:         dx = u - p ((1 + alpha) (S + u*) - alpha (S' - u/(1-p))) + alpha u* f/F */
CLVI_INLINE void backward_tile(const clvi_op_call *call, int64_t at, int rows, int cols)
{
    const float alpha = (float)((const clvi_self_adjust_attr *)call->attr)->alpha;
    const int64_t left = (int64_t)rows * cols;
    v16f u[MAX_COLS], p[MAX_COLS], over_q[MAX_COLS], inverse, log_top;
    v16f sum = zeros, sum_over = zeros, u_top = zeros, q_top = zeros;
    v16i any = { 0 };
    tile s;
    entry e;
    read_tile(&s, (const float *)call->in_data[1] + at, rows, cols, left);
    transpose_in(u, (const float *)call->in_data[0] + at, rows, cols, left);
    read_shared(&s, alpha, &inverse, &log_top);
    for (int c = 0; c < cols; c++) {
        any |= u[c] != 0;
        read_entry(&e, &s, c, alpha, &inverse, &log_top);
        u[c] *= e.p * e.power;
        p[c] = e.p;
        clvi_select16(&u_top, &e.is_top, &u[c], &u_top);
        clvi_select16(&q_top, &e.is_top, &e.q, &q_top);
        v16f rest = u[c];
        clvi_select16(&rest, &e.is_top, &zeros, &rest);
        sum += rest;
        if (alpha > 0) over_q[c] = rest / e.q;
        if (alpha > 0) clvi_select16(&over_q[c], &e.is_top, &zeros, &over_q[c]);
        if (alpha > 0) sum_over += over_q[c];
    }
    const v16f all = (sum + u_top) * (1 + alpha), share = alpha * u_top / s.rest;
    const v16f top = u_top * q_top - inverse * (sum + alpha * (u_top + (sum - sum_over)));
    for (int c = 0; c < cols; c++) {
        v16i is_top;
        is_index(&is_top, &s.top, c);
        v16f dx = u[c] - p[c] * all;
        if (alpha > 0) dx += alpha * p[c] * (sum_over - over_q[c]) + share * s.f[c];
        clvi_select16(&dx, &is_top, &top, &dx);
        clvi_select16(&u[c], &any, &dx, &zeros);
    }
    transpose_out((float *)call->out_data[0] + at, u, rows, cols);
}

#define BODY(name, tile_fn)                                                                                            \
    CLVI_INLINE void name(void *arg, int64_t begin, int64_t end)                                                       \
    {                                                                                                                  \
        const clvi_op_call *call = arg;                                                                                \
        const int cols = (int)call->out[0].shape[1];                                                                   \
        for (int64_t i = begin; i < end; i += CLVI_LANES)                                                              \
            tile_fn(call, i * cols, (int)CLVI_MIN(CLVI_LANES, end - i), cols);                                         \
    }                                                                                                                  \
    CLVI_ISA_VARIANTS(name)
BODY(forward_body, forward_tile)
BODY(backward_body, backward_tile)

static bool accepts(const clvi_op_call *call)
{
    const clvi_self_adjust_attr *attr = call->attr;
    const int64_t cols = call->out[0].shape[1];
    return call->out[0].dtype == CLV_F32 && attr->logits && cols > 1 && cols <= MAX_COLS;
}

static clv_status run(const clvi_op_call *call, const clvi_range_fn *table)
{
    const int64_t rows = call->out[0].shape[0], chunk = CHUNK / (call->out[0].shape[1] * CLVI_LANES) * CLVI_LANES;
    clvi_parallel_for(call->ctx, rows, chunk, clvi_isa_pick(table), (void *)call);
    return CLV_OK;
}

static clv_status forward(const clvi_op_call *call)
{
    return run(call, forward_body_table);
}

static clv_status backward(const clvi_op_call *call)
{
    return run(call, backward_body_table);
}

const clvi_kernel clvi_kernel_cpu_self_adjust = {
    .op = "self_adjust", .name = "cpu", .accepts = accepts, .run = forward, .in_place = { 1 },
};
const clvi_kernel clvi_kernel_cpu_self_adjust_bwd = {
    .op = "self_adjust_bwd", .name = "cpu", .accepts = accepts, .run = backward, .in_place = { 1 },
};
