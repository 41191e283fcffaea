/* class_pair_sums.cu: inner products over pairs of equal and of different labels, by class sums, and the gradient
 *   dx_i = 2 dsame (S_c - x_i) + 2 ddifferent (T - S_c).
 * Rows with a negative label take no part. A class goes by the first of its rows, so labels may be any numbers; its
 * rows are added in their order. Sums are exact where classes have one row. */
#include "device/cuda/cu.h"

/* What both operations begin with, in scratch memory. */
struct classes {
    int64_t rows, cols;
    int64_t *first;        /* [rows]: the first row with the row's label; -1 for a negative one */
    double  *size;         /* [rows]: of the classes, at their first rows, as the following: how many rows */
    double  *part;         /* [rows]: |S_c|^2 - the rows' squares */
    double  *total;        /* [cols]: T */
    double  *gap;          /* [cols]: T^2 - the classes' squares */
    double  *sum;          /* [rows,cols]: S_c */
};

static clv_status class_pairs_prepare(clvi_op_call *call)
{
    const clvi_desc *x = &call->in[call->n_in - 2];     /* labels come last */
    for (int i = 0; i < call->n_in; i++)
        if (clvi_cu_present(&call->in[i])) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = sizeof(double) * (size_t)(3 * x->shape[0] + 2 * x->shape[1] + x->shape[0] * x->shape[1]);
    return CLV_OK;
}

static classes classes_of(const clvi_op_call *call)
{
    const clvi_desc *x = &call->in[call->n_in - 2];
    classes c = { x->shape[0], x->shape[1], (int64_t *)call->scratch, nullptr, nullptr, nullptr, nullptr, nullptr };
    c.size = (double *)(c.first + c.rows);
    c.part = c.size + c.rows;
    c.total = c.part + c.rows;
    c.gap = c.total + c.cols;
    c.sum = c.gap + c.cols;
    return c;
}

/* A class's rows are a block's work, then a column's classes a thread's. */
template <class T> static clv_status add_up(const clvi_op_call *call, const classes c, const T *x)
{
    const int64_t *label = (const int64_t *)call->in_data[call->n_in - 1];
    CLV_TRY(clvi_cu_each(call, c.rows, [=] __device__ (int64_t i) {
        int64_t first = 0;
        while (label[first] != label[i]) first++;
        c.first[i] = label[i] < 0 ? -1 : first;
    }));
    CLV_TRY(clvi_cu_rows(call, c.rows, [=] __device__ (int64_t i) {
        if (c.first[i] != i) return;
        double part = 0;
        int64_t size = 0;
        for (int64_t j = threadIdx.x; j < c.cols; j += CLVI_CU_THREADS) {
            double sum = 0, squares = 0;
            for (int64_t k = i; k < c.rows; k++) {
                if (c.first[k] != i) continue;
                const double v = (double)x[k * c.cols + j];
                sum += v;
                squares += v * v;
            }
            c.sum[i * c.cols + j] = sum;
            part += sum * sum - squares;
        }
        for (int64_t k = i + threadIdx.x; k < c.rows; k += CLVI_CU_THREADS) size += c.first[k] == i;
        part = clvi_cu_block_sum(part);
        size = clvi_cu_block_sum(size);
        if (threadIdx.x == 0) c.part[i] = part, c.size[i] = (double)size;
    }));
    return clvi_cu_each(call, c.cols, [=] __device__ (int64_t j) {
        double total = 0, squares = 0;
        for (int64_t i = 0; i < c.rows; i++) {
            if (c.first[i] != i) continue;
            const double sum = c.sum[i * c.cols + j];
            total += sum;
            squares += sum * sum;
        }
        c.total[j] = total;
        c.gap[j] = total * total - squares;
    });
}

template <class T> static clv_status class_pair_sums_of(const clvi_op_call *call)
{
    const classes c = classes_of(call);
    T *same = (T *)call->out_data[0], *different = (T *)call->out_data[1];
    T *n_same = (T *)call->out_data[2], *n_different = (T *)call->out_data[3];
    CLV_TRY(add_up(call, c, (const T *)call->in_data[0]));
    return clvi_cu_rows(call, 1, [=] __device__ (int64_t) {
        double parts = 0, gaps = 0, pairs = 0, taking_part = 0;
        for (int64_t i = threadIdx.x; i < c.rows; i += CLVI_CU_THREADS) {
            taking_part += c.first[i] >= 0;
            if (c.first[i] != i) continue;
            parts += c.part[i];
            pairs += c.size[i] * (c.size[i] - 1);
        }
        for (int64_t j = threadIdx.x; j < c.cols; j += CLVI_CU_THREADS) gaps += c.gap[j];
        parts = clvi_cu_block_sum(parts);
        gaps = clvi_cu_block_sum(gaps);
        pairs = clvi_cu_block_sum(pairs);
        taking_part = clvi_cu_block_sum(taking_part);
        if (threadIdx.x != 0) return;
        *same = (T)parts;
        *different = (T)gaps;
        *n_same = (T)pairs;
        *n_different = (T)(taking_part * (taking_part - 1) - pairs);
    });
}

static clv_status class_pair_sums(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->in[0], class_pair_sums_of, call);
}
CLVI_CU_KERNEL_WITH(class_pair_sums, nullptr, class_pairs_prepare);

template <class T> static clv_status class_pair_sums_bwd_of(const clvi_op_call *call)
{
    const classes c = classes_of(call);
    const T *dsame = (const T *)call->in_data[0], *ddifferent = (const T *)call->in_data[1];
    const T *x = (const T *)call->in_data[2];
    T *dx = (T *)call->out_data[0];
    CLV_TRY(add_up(call, c, x));
    return clvi_cu_each(call, c.rows * c.cols, [=] __device__ (int64_t at) {
        const int64_t first = c.first[at / c.cols], j = at % c.cols;
        const double same = dsame ? 2 * (double)*dsame : 0, different = ddifferent ? 2 * (double)*ddifferent : 0;
        const double sum = first >= 0 ? c.sum[first * c.cols + j] : 0;
        dx[at] = first >= 0 ? (T)(same * (sum - (double)x[at]) + different * (c.total[j] - sum)) : T(0);
    });
}

static clv_status class_pair_sums_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], class_pair_sums_bwd_of, call);
}
CLVI_CU_KERNEL_WITH(class_pair_sums_bwd, nullptr, class_pairs_prepare);
