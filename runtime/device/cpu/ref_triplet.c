/* ref_triplet.c: hardest_pairs, triplet_sum. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <string.h>

#define SELF "device/cpu/ref_triplet.c"
#include "device/cpu/real.h"

static bool real_distances(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 || call->in[0].dtype == CLV_F64;
}

static clv_status hardest_pairs(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 16,
                      call->in[0].dtype == CLV_F64 ? hardest_pairs_range_f64 : hardest_pairs_range_f32, (void *)call);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_hardest_pairs = {
    .op = "hardest_pairs", .name = "reference", .accepts = real_distances, .run = hardest_pairs,
};

/* Three sums a row. */
static clv_status prepare_sum(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = 3 * sizeof(double) * (size_t)call->in[0].shape[0];
    return CLV_OK;
}

static clv_status triplet_sum(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 4, triplet_sum_range);
    for (int k = 0; k < 3; k++) {
        double sum = 0;
        for (int64_t i = 0; i < call->in[0].shape[0]; i++) sum += ((const double *)call->scratch)[3 * i + k];
        if (call->out[k].dtype == CLV_F64) *(double *)call->out_data[k] = sum;
        else *(float *)call->out_data[k] = (float)sum;
    }
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_triplet_sum = {
    .op = "triplet_sum", .name = "reference", .prepare = prepare_sum, .run = triplet_sum,
};

#else

/* The farthest other row with the label and the nearest with another one, the first of equals; both -1 unless there
 * are both. Rows with a negative label take no part. */
static void FN(hardest_pairs_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t n = call->in[0].shape[0], *label = call->in_data[1];
    int64_t *positive = call->out_data[0], *negative = call->out_data[1];
    unsigned char *valid = call->out_data[2];
    for (int64_t i = begin; i < end; i++) {
        const REAL *d = (const REAL *)call->in_data[0] + i * n;
        int64_t far = -1, near = -1;
        for (int64_t j = 0; j < n && label[i] >= 0; j++) {
            if (j == i || label[j] < 0) continue;
            if (label[j] == label[i] && (far < 0 || d[j] > d[far])) far = j;
            if (label[j] != label[i] && (near < 0 || d[j] < d[near])) near = j;
        }
        valid[i] = far >= 0 && near >= 0;
        positive[i] = valid[i] ? far : -1;
        negative[i] = valid[i] ? near : -1;
    }
}

static void FN(triplet_sum_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double margin = ((const clvi_triplet_sum_attr *)call->attr)->margin;
    const int64_t n = call->in[0].shape[0], *label = call->in_data[1];
    REAL *slopes = clvi_ref_output(call, 3);
    for (int64_t a = begin; a < end; a++) {
        const REAL *d = (const REAL *)call->in_data[0] + a * n;
        REAL *slope = slopes ? slopes + a * n : NULL;
        double sum = 0, active = 0, triplets = 0;
        if (slope) memset(slope, 0, (size_t)n * sizeof *slope);
        for (int64_t p = 0; p < n && label[a] >= 0; p++) {
            if (p == a || label[p] != label[a]) continue;
            for (int64_t k = 0; k < n; k++) {
                if (label[k] < 0 || label[k] == label[a]) continue;
                const double gap = (double)d[p] - d[k] + margin;
                triplets++;
                if (gap <= 0) continue;
                sum += gap;
                active++;
                if (slope) slope[p]++, slope[k]--;
            }
        }
        double *part = (double *)call->scratch + 3 * a;
        part[0] = sum, part[1] = active, part[2] = triplets;
    }
}

#endif
