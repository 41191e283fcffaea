/* class_pair_sums.c: class_pair_sums and its gradient in float32, for every instruction set; sums in double. Formulas
 * and edge cases as in ref_class_pair_sums.c. */
#include "device/cpu/class_runs.h"
#include "device/cpu/isa.h"

#define COLS CLVI_CLASS_COLS

/* Some columns of the rows, in the order of their labels. */
typedef struct strip {
    const float   *x;
    const int64_t *labels, *order;
    int64_t        rows, first, stride, width;
} strip;

CLVI_INLINE strip strip_of(const clvi_op_call *call, int x, int64_t from, int64_t to)
{
    strip s = { (const float *)call->in_data[x] + from, call->in_data[x + 1], call->scratch, call->in[x].shape[0], 0,
                call->in[x].shape[1], to - from };
    s.first = clvi_label_first(s.labels, s.order, s.rows);
    return s;
}

/* sum = the rows of a run. */
CLVI_INLINE void sum_run(const strip *s, int64_t begin, int64_t end, double sum[COLS])
{
    memset(sum, 0, COLS * sizeof *sum);
    for (int64_t i = begin; i < end; i++) {
        const float *row = s->x + s->order[i] * s->stride;
        for (int64_t j = 0; j < s->width; j++) sum[j] += row[j];
    }
}

CLVI_INLINE void add_squares(const strip *s, double square[COLS])
{
    for (int64_t i = s->first; i < s->rows; i++) {
        const float *row = s->x + s->order[i] * s->stride;
        for (int64_t j = 0; j < s->width; j++) square[j] += (double)row[j] * row[j];
    }
}

CLVI_INLINE void forward_body(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    const strip s = strip_of(call, 0, from, to);
    double *part = clvi_class_parts(call) + from / COLS * 2;
    double total[COLS] = { 0 }, classes[COLS] = { 0 }, rows[COLS] = { 0 }, sum[COLS];
    add_squares(&s, rows);
    for (int64_t begin = s.first, end; begin < s.rows; begin = end) {
        end = clvi_label_run(s.labels, s.order, begin, s.rows);
        sum_run(&s, begin, end, sum);
        for (int64_t j = 0; j < s.width; j++) {
            total[j] += sum[j];
            classes[j] += sum[j] * sum[j];
        }
    }
    part[0] = part[1] = 0;
    for (int64_t j = 0; j < s.width; j++) {
        part[0] += classes[j] - rows[j];
        part[1] += total[j] * total[j] - classes[j];
    }
}
CLVI_ISA_VARIANTS(forward_body)

CLVI_INLINE void backward_body(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    const strip s = strip_of(call, 2, from, to);
    const double same = call->in_data[0] ? 2 * (double)*(const float *)call->in_data[0] : 0;
    const double different = call->in_data[1] ? 2 * (double)*(const float *)call->in_data[1] : 0;
    float *dx = (float *)call->out_data[0] + from;
    double total[COLS], sum[COLS];
    for (int64_t i = 0; i < s.first; i++) memset(dx + s.order[i] * s.stride, 0, (size_t)s.width * sizeof *dx);
    sum_run(&s, s.first, s.rows, total);
    for (int64_t begin = s.first, end; begin < s.rows; begin = end) {
        end = clvi_label_run(s.labels, s.order, begin, s.rows);
        sum_run(&s, begin, end, sum);
        for (int64_t i = begin; i < end; i++) {
            const float *x = s.x + s.order[i] * s.stride;
            float *y = dx + s.order[i] * s.stride;
#pragma GCC ivdep
            for (int64_t j = 0; j < s.width; j++)
                y[j] = (float)(same * (sum[j] - x[j]) + different * (total[j] - sum[j]));
        }
    }
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
