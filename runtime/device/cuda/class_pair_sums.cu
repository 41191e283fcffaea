/* class_pair_sums.cu: inner products over pairs of equal and of different labels, by class sums, and the gradient.
 * Formulas and edge cases as in cpu/ref_class_pair_sums.c. A class goes by the first of its rows, so labels may be any
 * numbers; its rows are added in their order. */
#include "device/cuda/cu.h"

/* What both operations begin with, in scratch memory. */
struct classes {
    int64_t rows, cols;
    int64_t *first;        /* [rows]: the first row with the row's label; -1 for a negative one */
    double  *size;         /* [rows]: of the classes, at their first rows, as the following: how many rows */
    double  *part;         /* [rows]: |S_c|^2 - the rows' squares */
    double  *gap;          /* [cols]: T^2 - the classes' squares, forward */
    double  *sum;          /* [rows,cols]: S_c */
};

static clv_status class_pairs_prepare(clvi_op_call *call)
{
    const clvi_desc *x = &call->in[strcmp(call->op, "class_pair_sums") == 0 ? 0 : 2];
    for (int i = 0; i < call->n_in; i++)
        if (clvi_cu_present(&call->in[i])) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = sizeof(double) * (size_t)(3 * x->shape[0] + x->shape[1] + x->shape[0] * x->shape[1]);
    return CLV_OK;
}

static classes classes_of(const clvi_op_call *call, int x)
{
    classes c = { call->in[x].shape[0], call->in[x].shape[1], (int64_t *)call->scratch, nullptr, nullptr, nullptr,
                  nullptr };
    c.size = (double *)(c.first + c.rows);
    c.part = c.size + c.rows;
    c.gap = c.part + c.rows;
    c.sum = c.gap + c.cols;
    return c;
}

/* What row i is divided by. */
template <class T> struct divisors {
    const T *norm;
    double   eps;
    bool     unit;

    __device__ double of(int64_t i) const
    {
        const double divisor = !unit ? 1 : norm[i] > eps ? (double)norm[i] : eps;
        return divisor > 0 ? divisor : 1;
    }
};

template <class T> static divisors<T> divisors_of(const clvi_op_call *call, const T *norm)
{
    const clvi_class_pairs_attr *attr = (const clvi_class_pairs_attr *)call->attr;
    return divisors<T>{ norm, attr->eps, attr->unit };
}

template <class T> static clv_status write_norms(const clvi_op_call *call, const classes c, const T *x, T *norm)
{
    return clvi_cu_rows(call, c.rows, [=] __device__ (int64_t i) {
        double square = 0;
        for (int64_t j = threadIdx.x; j < c.cols; j += CLVI_CU_THREADS)
            square += (double)x[i * c.cols + j] * (double)x[i * c.cols + j];
        square = clvi_cu_block_sum(square);
        if (threadIdx.x == 0) norm[i] = (T)sqrt(square);
    });
}

/* A class's rows are a block's work. */
template <class T>
static clv_status add_up(const clvi_op_call *call, const classes c, const int64_t *label, const T *x,
                         const divisors<T> by)
{
    CLV_TRY(clvi_cu_each(call, c.rows, [=] __device__ (int64_t i) {
        int64_t first = 0;
        while (label[first] != label[i]) first++;
        c.first[i] = label[i] < 0 ? -1 : first;
    }));
    return clvi_cu_rows(call, c.rows, [=] __device__ (int64_t i) {
        if (c.first[i] != i) return;
        double part = 0;
        int64_t size = 0;
        for (int64_t j = threadIdx.x; j < c.cols; j += CLVI_CU_THREADS) {
            double sum = 0, squares = 0;
            for (int64_t k = i; k < c.rows; k++) {
                if (c.first[k] != i) continue;
                const double v = (double)x[k * c.cols + j] / by.of(k);
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
    });
}

/* A column's classes are a thread's work. */
template <class T> static clv_status add_classes(const clvi_op_call *call, const classes c, T *all)
{
    return clvi_cu_each(call, c.cols, [=] __device__ (int64_t j) {
        double total = 0, squares = 0;
        for (int64_t i = 0; i < c.rows; i++) {
            if (c.first[i] != i) continue;
            const double sum = c.sum[i * c.cols + j];
            total += sum;
            squares += sum * sum;
        }
        all[j] = (T)total;
        c.gap[j] = total * total - squares;
    });
}

template <class T> static clv_status class_pair_sums_of(const clvi_op_call *call)
{
    const classes c = classes_of(call, 0);
    const T *x = (const T *)call->in_data[0];
    const int64_t *label = (const int64_t *)call->in_data[1];
    T *same = (T *)call->out_data[0], *different = (T *)call->out_data[1];
    T *n_same = (T *)call->out_data[2], *n_different = (T *)call->out_data[3], *norm = (T *)call->out_data[4];
    CLV_TRY(write_norms(call, c, x, norm));
    CLV_TRY(add_up(call, c, label, x, divisors_of<T>(call, norm)));
    CLV_TRY(add_classes(call, c, (T *)call->out_data[5]));
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

/* dx = g, where rows have unit length up to multiples of f. */
template <class T> static clv_status gradient_by_rows(const clvi_op_call *call, const classes c, const T *x, T *dx)
{
    const T *dsame = (const T *)call->in_data[0], *ddifferent = (const T *)call->in_data[1];
    const T *total = (const T *)call->in_data[5];
    const bool unit = ((const clvi_class_pairs_attr *)call->attr)->unit;
    return clvi_cu_each(call, c.rows * c.cols, [=] __device__ (int64_t at) {
        const int64_t first = c.first[at / c.cols], j = at % c.cols;
        if (first < 0) {
            dx[at] = T(0);
            return;
        }
        const double same = dsame && c.size[first] > 1 ? 2 * (double)*dsame : 0;
        const double different = ddifferent ? 2 * (double)*ddifferent : 0, sum = c.sum[first * c.cols + j];
        dx[at] = (T)(same * (unit ? sum : sum - (double)x[at]) + different * (double)(total[j] - (T)sum));
    });
}

/* dx = (dx - f <f, dx>) / |x| */
template <class T>
static clv_status gradient_by_x(const clvi_op_call *call, const classes c, const T *x, const divisors<T> by, T *dx)
{
    return clvi_cu_rows(call, c.rows, [=] __device__ (int64_t i) {
        const double length = by.norm[i];
        double along = 0;
        for (int64_t at = i * c.cols + threadIdx.x; at < (i + 1) * c.cols; at += CLVI_CU_THREADS)
            along += (double)x[at] * (double)dx[at];
        along = clvi_cu_block_sum(along);
        for (int64_t at = i * c.cols + threadIdx.x; at < (i + 1) * c.cols; at += CLVI_CU_THREADS)
            dx[at] = length <= by.eps ? T(0) : (T)(((double)dx[at] - (double)x[at] / length * (along / length)) / length);
    });
}

template <class T> static clv_status class_pair_sums_bwd_of(const clvi_op_call *call)
{
    const classes c = classes_of(call, 2);
    const T *x = (const T *)call->in_data[2];
    const divisors<T> by = divisors_of<T>(call, (const T *)call->in_data[4]);
    T *dx = (T *)call->out_data[0];
    CLV_TRY(add_up(call, c, (const int64_t *)call->in_data[3], x, by));
    CLV_TRY(gradient_by_rows(call, c, x, dx));
    return by.unit ? gradient_by_x(call, c, x, by, dx) : CLV_OK;
}

static clv_status class_pair_sums_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], class_pair_sums_bwd_of, call);
}
CLVI_CU_KERNEL_WITH(class_pair_sums_bwd, nullptr, class_pairs_prepare);
