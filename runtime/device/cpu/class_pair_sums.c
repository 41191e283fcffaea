/* class_pair_sums.c: class_pair_sums and its gradient in float32, for every instruction set. Formulas and edge cases as
 * in ref_class_pair_sums.c.
 *
 * Work is cut into chunks of places in the order of the labels; a chunk takes the classes that begin in it, whole, so
 * that a row is in the first-level cache from its norm to its sum, or from the sum of its class to its gradient. A few
 * rows at a time are added up in float32, those sums in double. */
#include "device/cpu/class_runs.h"
#include "device/cpu/isa.h"
#include <math.h>

#define CHUNK      64    /* places, at least */
#define MAX_CHUNKS 64
#define GROUP      8     /* rows added up in float32 */

/* What a chunk has in scratch, in doubles: two sums, its total and the sum of a class. */
static int64_t padded_columns(const clvi_op_call *call, int x)
{
    return (call->in[x].shape[1] + CLVI_LANES - 1) / CLVI_LANES * CLVI_LANES;
}

static int64_t chunk_doubles(const clvi_op_call *call, int x)
{
    return CLVI_LANES + 2 * padded_columns(call, x);
}

static int64_t chunk_places(int64_t rows)
{
    return CLVI_MAX((rows + MAX_CHUNKS - 1) / MAX_CHUNKS, CHUNK);
}

static int64_t all_doubles(const clvi_op_call *call, int x)
{
    const int64_t rows = call->in[x].shape[0], places = chunk_places(rows);
    return (rows + places - 1) / places * chunk_doubles(call, x);
}

/* The rows and what they are divided by. */
typedef struct rows {
    const float   *x, *norm;
    const int64_t *labels, *order;
    int64_t        n, cols;
    double         eps;
    bool           unit;
} rows;

CLVI_INLINE rows rows_of(const clvi_op_call *call, int x, const float *norm)
{
    const clvi_class_pairs_attr *attr = call->attr;
    return (rows){ call->in_data[x], norm, call->in_data[x + 1], call->scratch, call->in[x].shape[0],
                   call->in[x].shape[1], attr->eps, attr->unit };
}

/* The first place from `place` on where a class begins. */
CLVI_INLINE int64_t class_from(const rows *r, int64_t place)
{
    return place == 0 ? 0 : clvi_label_run(r->labels, r->order, place - 1, r->n);
}

CLVI_INLINE float scale_of(const rows *r, int64_t row)
{
    const double divisor = !r->unit ? 1 : r->norm[row] > r->eps ? (double)r->norm[row] : r->eps;
    return divisor > 0 ? (float)(1 / divisor) : 1;
}

CLVI_INLINE double square_of_row(const float *x, int64_t cols)
{
    clvi_v8d sum = { 0 }, half[2];
    clvi_v16f v;
    for (int64_t j = 0; j < cols; j += CLVI_LANES) {
        clvi_load16(&v, x, j, cols, 0);
        clvi_widen16(half, &v);
        sum += half[0] * half[0];
        sum += half[1] * half[1];
    }
    return clvi_total8(&sum);
}

CLVI_INLINE double square_of_sum(const double *x, int64_t columns)
{
    clvi_v8d sum = { 0 }, v;
    for (int64_t j = 0; j < columns; j += 8) {
        memcpy(&v, x + j, sizeof v);
        sum += v * v;
    }
    return clvi_total8(&sum);
}

/* sum, or with `more` sum +, = the scaled rows at places [begin, end), GROUP at most. */
CLVI_INLINE void add_group(const rows *r, int64_t begin, int64_t end, bool more, double *sum)
{
    const float *x[GROUP];
    float scale[GROUP];
    const int64_t count = end - begin;
    for (int64_t i = 0; i < count; i++) {
        x[i] = r->x + r->order[begin + i] * r->cols;
        scale[i] = scale_of(r, r->order[begin + i]);
    }
    for (int64_t j = 0; j < r->cols; j += CLVI_LANES) {
        clvi_v16f v, w, group = { 0 };
        clvi_v8d now[2], before;
        int64_t i = 0;
        for (; i + 1 < count; i += 2) {
            clvi_load16(&v, x[i], j, r->cols, 0);
            clvi_load16(&w, x[i + 1], j, r->cols, 0);
            group += v * scale[i] + w * scale[i + 1];
        }
        if (i < count) {
            clvi_load16(&v, x[i], j, r->cols, 0);
            group += v * scale[i];
        }
        clvi_widen16(now, &group);
        for (int h = 0; h < 2; h++) {
            memcpy(&before, sum + j + 8 * h, sizeof before);
            if (more) now[h] += before;
            memcpy(sum + j + 8 * h, &now[h], sizeof now[h]);
        }
    }
}

CLVI_INLINE void add_class(const rows *r, int64_t begin, int64_t end, double *sum)
{
    for (int64_t at = begin; at < end; at += GROUP) add_group(r, at, CLVI_MIN(at + GROUP, end), at > begin, sum);
}

CLVI_INLINE void forward_body(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    float *norm = call->out_data[4];
    const rows r = rows_of(call, 0, norm);
    const int64_t columns = padded_columns(call, 0);
    double *part = clvi_class_doubles(call, 0) + from / chunk_places(r.n) * chunk_doubles(call, 0);
    double *total = part + CLVI_LANES, *sum = total + columns, same = 0, classes = 0;
    memset(total, 0, (size_t)columns * sizeof *total);
    for (int64_t begin = class_from(&r, from), end; begin < to; begin = end) {
        double squares = 0;
        end = clvi_label_run(r.labels, r.order, begin, r.n);
        for (int64_t i = begin; i < end; i++) {
            const double square = square_of_row(r.x + r.order[i] * r.cols, r.cols);
            norm[r.order[i]] = (float)sqrt(square);
            const double scale = scale_of(&r, r.order[i]);
            squares += square * scale * scale;
        }
        if (r.labels[r.order[begin]] < 0) continue;
        add_class(&r, begin, end, sum);
        for (int64_t j = 0; j < columns; j++) total[j] += sum[j];
        const double square = square_of_sum(sum, columns);
        classes += square;
        same += end - begin > 1 ? square - squares : 0;
    }
    part[0] = same;
    part[1] = classes;
}
CLVI_ISA_VARIANTS(forward_body)

/* The chunks' totals become the whole one, which is the first's. */
static void join_chunks(const clvi_op_call *call)
{
    const int64_t step = chunk_doubles(call, 0), columns = padded_columns(call, 0);
    double *first = clvi_class_doubles(call, 0), *total = first + CLVI_LANES;
    for (const double *part = first + step; part < first + all_doubles(call, 0); part += step) {
        first[0] += part[0];
        first[1] += part[1];
        for (int64_t j = 0; j < columns; j++) total[j] += part[CLVI_LANES + j];
    }
}

static clv_status forward(const clvi_op_call *call)
{
    const int64_t n = call->in[0].shape[0], cols = call->in[0].shape[1];
    const double *part = clvi_class_doubles(call, 0), *total = part + CLVI_LANES;
    float *to = call->out_data[5];
    if (n == 0) {
        memset(to, 0, (size_t)cols * sizeof *to);
        clvi_class_put_sums(call, 0, 0);
        return CLV_OK;
    }
    clvi_class_sort(call, 0, all_doubles(call, 0));
    clvi_parallel_for(call->ctx, n, chunk_places(n), clvi_isa_pick(forward_body_table), (void *)call);
    join_chunks(call);
    for (int64_t j = 0; j < cols; j++) to[j] = (float)total[j];
    clvi_class_put_sums(call, part[0], square_of_sum(total, padded_columns(call, 0)) - part[1]);
    return CLV_OK;
}

/* g = same sum + different (total - sum) */
CLVI_INLINE void class_gradient(const double *sum, const float *total, int64_t cols, double same, double different,
                                float *restrict g)
{
    for (int64_t j = 0; j < cols; j++) g[j] = (float)(same * sum[j] + different * (total[j] - (float)sum[j]));
}

/* y = (g - f <f, g>) / norm, f = x / norm; of a single column nothing is left. */
CLVI_INLINE void unit_gradient(const float *x, const float *g, int64_t cols, double norm, float *y)
{
    clvi_v8d sum = { 0 };
    clvi_v16f v, w;
    for (int64_t j = 0; j < cols;) {
        clvi_v16f part = { 0 };
        for (int k = 0; k < 4 && j < cols; k++, j += CLVI_LANES) {
            clvi_load16(&v, x, j, cols, 0);
            clvi_load16(&w, g, j, cols, 0);
            part += v * w;
        }
        clvi_add16(&sum, &part);
    }
    const float along = cols == 1 ? 0 : (float)(clvi_total8(&sum) / (norm * norm));
    const float scale = cols == 1 ? 0 : (float)(1 / norm);
    for (int64_t j = 0; j < cols; j += CLVI_LANES) {
        clvi_load16(&v, x, j, cols, 0);
        clvi_load16(&w, g, j, cols, 0);
        v = (w - v * along) * scale;
        clvi_store16(&v, y, j, cols);
    }
}

/* y = g - same x */
CLVI_INLINE void plain_gradient(const float *x, const float *g, int64_t cols, float same, float *restrict y)
{
    for (int64_t j = 0; j < cols; j++) y[j] = g[j] - same * x[j];
}

CLVI_INLINE void backward_body(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    const rows r = rows_of(call, 2, call->in_data[4]);
    const double both = clvi_class_grad(call, 0), different = clvi_class_grad(call, 1);
    double *sum = clvi_class_doubles(call, 2) + from / chunk_places(r.n) * chunk_doubles(call, 2);
    float *g = (float *)(sum + padded_columns(call, 2));
    for (int64_t begin = class_from(&r, from), end; begin < to; begin = end) {
        end = clvi_label_run(r.labels, r.order, begin, r.n);
        const bool taking_part = r.labels[r.order[begin]] >= 0;
        const double same = end - begin > 1 ? both : 0;
        if (taking_part) add_class(&r, begin, end, sum);
        if (taking_part) class_gradient(sum, call->in_data[5], r.cols, same, different, g);
        for (int64_t i = begin; i < end; i++) {
            const int64_t row = r.order[i];
            const float *x = r.x + row * r.cols;
            float *dx = (float *)call->out_data[0] + row * r.cols;
            if (!taking_part || (r.unit && r.norm[row] <= r.eps)) memset(dx, 0, (size_t)r.cols * sizeof *dx);
            else if (r.unit) unit_gradient(x, g, r.cols, r.norm[row], dx);
            else plain_gradient(x, g, r.cols, (float)same, dx);
        }
    }
}
CLVI_ISA_VARIANTS(backward_body)

static clv_status backward(const clvi_op_call *call)
{
    const int64_t n = call->in[2].shape[0];
    clvi_class_sort(call, 2, all_doubles(call, 2));
    clvi_parallel_for(call->ctx, n, chunk_places(n), clvi_isa_pick(backward_body_table), (void *)call);
    return CLV_OK;
}

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

static clv_status prepare(clvi_op_call *call)
{
    return clvi_class_pairs_prepare(call, 0, all_doubles(call, 0));
}

static clv_status prepare_bwd(clvi_op_call *call)
{
    return clvi_class_pairs_prepare(call, 2, all_doubles(call, 2));
}

const clvi_kernel clvi_kernel_cpu_class_pair_sums = {
    .op = "class_pair_sums", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = forward,
};
const clvi_kernel clvi_kernel_cpu_class_pair_sums_bwd = {
    .op = "class_pair_sums_bwd", .name = "cpu", .accepts = accepts, .prepare = prepare_bwd, .run = backward,
};
