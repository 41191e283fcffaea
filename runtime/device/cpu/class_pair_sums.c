/* class_pair_sums.c: class_pair_sums and its gradient in float32, for every instruction set; sums in double. Formulas
 * and edge cases as in ref_class_pair_sums.c. */
#include "core/checked.h"
#include "device/cpu/class_runs.h"
#include "device/cpu/isa.h"

#define COLS  CLVI_CLASS_COLS
#define AHEAD 4      /* rows */

/* Some columns of the rows, in the order of their labels. */
typedef struct strip {
    const float   *x;
    const int64_t *labels, *order;
    int64_t        rows, first, stride;
} strip;

CLVI_INLINE strip strip_of(const clvi_op_call *call, int x, int64_t from)
{
    strip s = { (const float *)call->in_data[x] + from, call->in_data[x + 1], call->scratch, call->in[x].shape[0], 0,
                call->in[x].shape[1] };
    s.first = clvi_label_first(s.labels, s.order, s.rows);
    return s;
}

CLVI_INLINE const float *row_at(const strip *s, int64_t i)
{
    return s->x + s->order[i] * s->stride;
}

#define COLUMNS _Pragma("omp simd")

CLVI_INLINE void add_rows(const float *restrict a, const float *restrict b, int64_t width, double *restrict sum)
{
    COLUMNS for (int64_t j = 0; j < width; j++) sum[j] += (double)a[j] + b[j];
}

CLVI_INLINE void add_row(const float *restrict a, int64_t width, double *restrict sum)
{
    COLUMNS for (int64_t j = 0; j < width; j++) sum[j] += a[j];
}

CLVI_INLINE void add_square(const float *restrict a, int64_t width, double *restrict square)
{
    COLUMNS for (int64_t j = 0; j < width; j++) square[j] += (double)a[j] * a[j];
}

/* y = same (sum - x) + others */
CLVI_INLINE void pass_back(const float *restrict x, float *restrict y, int64_t width, double same,
                           const double *restrict sum, const double *restrict others)
{
    COLUMNS for (int64_t j = 0; j < width; j++) y[j] = (float)(same * (sum[j] - x[j]) + others[j]);
}

/* Rows come in no order that the processor could guess. */
CLVI_INLINE void fetch_ahead(const strip *s, int64_t i, int64_t width)
{
    const float *x = row_at(s, CLVI_MIN(i + AHEAD, s->rows - 1));
    for (int64_t j = 0; j < width; j += CLVI_LANES) __builtin_prefetch(x + j);
}

/* sum = the rows of a run, and square (unless NULL) += their squares. Two rows at a time: half as many visits to the
 * sums. Alone in its loop, the one over the columns would be jammed over rows and then not be vector code. */
CLVI_INLINE void sum_run(const strip *s, int64_t begin, int64_t end, int64_t width, double *sum, double *square)
{
    memset(sum, 0, (size_t)width * sizeof *sum);
    int64_t i = begin;
    for (; i + 1 < end; i += 2) {
        fetch_ahead(s, i, width);
        fetch_ahead(s, i + 1, width);
        add_rows(row_at(s, i), row_at(s, i + 1), width, sum);
        if (square) add_square(row_at(s, i), width, square);
        if (square) add_square(row_at(s, i + 1), width, square);
    }
    if (i == end) return;
    fetch_ahead(s, i, width);
    add_row(row_at(s, i), width, sum);
    if (square) add_square(row_at(s, i), width, square);
}

CLVI_INLINE void forward_strip(const clvi_op_call *call, int64_t from, int64_t width)
{
    const strip s = strip_of(call, 0, from);
    double *part = clvi_class_parts(call) + from / COLS * 2;
    _Alignas(64) double total[COLS] = { 0 }, classes[COLS] = { 0 }, rows[COLS] = { 0 }, sum[COLS];
    for (int64_t begin = s.first, end; begin < s.rows; begin = end) {
        end = clvi_label_run(s.labels, s.order, begin, s.rows);
        sum_run(&s, begin, end, width, sum, rows);
        for (int64_t j = 0; j < width; j++) {
            total[j] += sum[j];
            classes[j] += sum[j] * sum[j];
        }
    }
    part[0] = part[1] = 0;
    for (int64_t j = 0; j < width; j++) {
        part[0] += classes[j] - rows[j];
        part[1] += total[j] * total[j] - classes[j];
    }
}

CLVI_INLINE void forward_body(void *arg, int64_t from, int64_t to)
{
    for (; from < to; from += COLS) forward_strip(arg, from, CLVI_MIN(COLS, to - from));
}
CLVI_ISA_VARIANTS(forward_body)

/* dx = 2 dsame (S_c - x) + 2 ddifferent (T - S_c) */
CLVI_INLINE void backward_strip(const clvi_op_call *call, int64_t from, int64_t width)
{
    const strip s = strip_of(call, 2, from);
    const double same = call->in_data[0] ? 2 * (double)*(const float *)call->in_data[0] : 0;
    const double different = call->in_data[1] ? 2 * (double)*(const float *)call->in_data[1] : 0;
    float *dx = (float *)call->out_data[0] + from;
    _Alignas(64) double total[COLS], sum[COLS], others[COLS];
    for (int64_t i = 0; i < s.first; i++) memset(dx + s.order[i] * s.stride, 0, (size_t)width * sizeof *dx);
    sum_run(&s, s.first, s.rows, width, total, NULL);
    for (int64_t begin = s.first, end; begin < s.rows; begin = end) {
        end = clvi_label_run(s.labels, s.order, begin, s.rows);
        sum_run(&s, begin, end, width, sum, NULL);
        for (int64_t j = 0; j < width; j++) others[j] = different * (total[j] - sum[j]);
        for (int64_t i = begin; i < end; i++)
            pass_back(row_at(&s, i), dx + s.order[i] * s.stride, width, same, sum, others);
    }
}

CLVI_INLINE void backward_body(void *arg, int64_t from, int64_t to)
{
    for (; from < to; from += COLS) backward_strip(arg, from, CLVI_MIN(COLS, to - from));
}
CLVI_ISA_VARIANTS(backward_body)

static clv_status forward(const clvi_op_call *call)
{
    return clvi_class_pair_sums(call, clvi_isa_pick(forward_body_table));
}

static clv_status backward(const clvi_op_call *call)
{
    return clvi_class_pair_sums_bwd(call, clvi_isa_pick(backward_body_table));
}

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

const clvi_kernel clvi_kernel_cpu_class_pair_sums = {
    .op = "class_pair_sums", .name = "cpu", .accepts = accepts, .prepare = clvi_class_pairs_prepare, .run = forward,
};
const clvi_kernel clvi_kernel_cpu_class_pair_sums_bwd = {
    .op = "class_pair_sums_bwd", .name = "cpu", .accepts = accepts, .prepare = clvi_class_pairs_prepare,
    .run = backward,
};
