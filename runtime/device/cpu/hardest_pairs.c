/* hardest_pairs.c: the farthest row with a row's label and the nearest with another one, 16 distances at a time. What
 * counts as in ref_triplet.c. */
#include "device/cpu/isa.h"
#include "device/cpu/label_numbers.h"
#include "device/cpu/ref.h"
#include <math.h>

typedef clvi_v16f v16f;
typedef clvi_v16i v16i;

/* A number for each label in scratch, -1 for rows that take no part and for the 16 behind the last; then the table that
 * finds the numbers. */
typedef struct numbered {
    const clvi_op_call *call;
    const int32_t      *label;
    _Atomic bool        infinite;     /* a distance is, or is not a number */
} numbered;

static bool accepts(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 && call->in[0].shape[0] < INT32_MAX - CLVI_LANES;
}

static clv_status prepare(clvi_op_call *call)
{
    const int64_t n = call->in[0].shape[0];
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = sizeof(int32_t) * (size_t)(n + CLVI_LANES + clvi_label_slots(n));
    return CLV_OK;
}

/* d and the place where it is, if it is larger than the largest of its lane. */
CLVI_INLINE void keep_larger(v16f *largest, v16i *place, const v16f *d, const v16i *at)
{
    const v16i larger = *d > *largest;
    *place = (*at & larger) | (*place & ~larger);
    clvi_select16(largest, &larger, d, largest);
}

/* The place of the largest of all lanes, the lowest of equals; -1 where no lane has one. */
CLVI_INLINE int64_t place_of_largest(const v16f *largest, const v16i *place)
{
    float d[CLVI_LANES];
    int32_t at[CLVI_LANES];
    int best = 0;
    memcpy(d, largest, sizeof d);
    memcpy(at, place, sizeof at);
    for (int k = 1; k < CLVI_LANES; k++)
        if (d[k] > d[best] || (d[k] == d[best] && at[k] < at[best])) best = k;
    return at[best];
}

/* False where a distance is infinite, or is not a number. Each comparison has a variable of its own: GCC takes what
 * joins several apart, lane by lane. */
CLVI_INLINE bool hardest_of_row(const numbered *rows, int64_t i, int64_t *far, int64_t *near)
{
    static const v16i lanes = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    static const v16f zeros;
    const v16f none = zeros - INFINITY;
    const int64_t n = rows->call->in[0].shape[0];
    const float *d = (const float *)rows->call->in_data[0] + i * n;
    v16f farthest = none, nearest = none, odd = zeros, v, minus, positive, negative;
    v16i far_at = lanes - CLVI_LANES, near_at = far_at, label, at = lanes;
    for (int64_t j = 0; j < n; j += CLVI_LANES, at += CLVI_LANES) {
        clvi_load16(&v, d, j, n, 0);
        memcpy(&label, rows->label + j, sizeof label);
        odd += v * 0;
        minus = -v;
        const v16i same = label == rows->label[i], known = label >= 0;
        clvi_select16(&positive, &same, &v, &none);
        clvi_select16(&negative, &same, &none, &minus);
        clvi_select16(&negative, &known, &negative, &none);
        if (i >= j && i < j + CLVI_LANES) positive[i - j] = -INFINITY;
        keep_larger(&farthest, &far_at, &positive, &at);
        keep_larger(&nearest, &near_at, &negative, &at);
    }
    *far = place_of_largest(&farthest, &far_at);
    *near = place_of_largest(&nearest, &near_at);
    float total = 0;
    for (int k = 0; k < CLVI_LANES; k++) total += odd[k];
    return total == 0;
}

CLVI_INLINE void rows_body(void *arg, int64_t begin, int64_t end)
{
    numbered *rows = arg;
    int64_t *positive = rows->call->out_data[0], *negative = rows->call->out_data[1];
    unsigned char *valid = rows->call->out_data[2];
    for (int64_t i = begin; i < end; i++) {
        int64_t far = -1, near = -1;
        if (rows->label[i] >= 0 && !hardest_of_row(rows, i, &far, &near)) rows->infinite = true;
        valid[i] = far >= 0 && near >= 0;
        positive[i] = valid[i] ? far : -1;
        negative[i] = valid[i] ? near : -1;
    }
}
CLVI_ISA_VARIANTS(rows_body)

extern const clvi_kernel clvi_kernel_ref_hardest_pairs;

static clv_status run(const clvi_op_call *call)
{
    const int64_t n = call->in[0].shape[0], *label = call->in_data[1];
    int32_t *number = call->scratch;
    numbered rows = { .call = call, .label = number };
    clvi_label_numbers(label, n, n, number + n + CLVI_LANES, number);
    for (int64_t i = 0; i < n + CLVI_LANES; i++)
        if (i >= n || label[i] < 0) number[i] = -1;
    clvi_parallel_for(call->ctx, n, 16, clvi_isa_pick(rows_body_table), &rows);
    /* Which is taken then, the reference's walk says. */
    return rows.infinite ? clvi_kernel_ref_hardest_pairs.run(call) : CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_hardest_pairs = {
    .op = "hardest_pairs", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = run,
};
