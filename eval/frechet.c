/* frechet.c: how far two sets of features are apart, as normal distributions. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "core/parallel.h"
#include "device/blas/eigen.h"
#include "eval/rows.h"

#include <math.h>
#include <string.h>

enum { ROW_CHUNK = 8 };

/* Mean [D] and covariance [D,D] of rows, over n - 1. */
typedef struct moments_job {
    const clv_view *rows;
    const double   *mean;
    double         *covariance;
} moments_job;

static const float *row_of(const clv_view *rows, int64_t i)
{
    return (const float *)rows->data + i * rows->stride[0];
}

static void mean_of(const clv_view *rows, double *mean)
{
    const int64_t n = rows->shape[0], dim = rows->shape[1];
    for (int64_t k = 0; k < dim; k++) mean[k] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < dim; k++) mean[k] += row_of(rows, i)[k];
    for (int64_t k = 0; k < dim; k++) mean[k] /= (double)n;
}

/* Rows [begin, end) of the covariance's lower triangle, and the same columns above. */
static void covariance_rows(void *arg, int64_t begin, int64_t end)
{
    const moments_job *job = arg;
    const int64_t n = job->rows->shape[0], dim = job->rows->shape[1];
    for (int64_t i = 0; i < n; i++) {
        const float *x = row_of(job->rows, i);
        for (int64_t r = begin; r < end; r++) {
            const double d = x[r] - job->mean[r];
            for (int64_t c = 0; c <= r; c++) job->covariance[r * dim + c] += d * (x[c] - job->mean[c]);
        }
    }
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c <= r; c++)
            job->covariance[c * dim + r] = job->covariance[r * dim + c] /= (double)(n - 1);
}

static void moments(clv_context *ctx, const clv_view *rows, double *mean, double *covariance)
{
    moments_job job = { rows, mean, covariance };
    mean_of(rows, mean);
    clvi_parallel_for(ctx, rows->shape[1], ROW_CHUNK, covariance_rows, &job);
}

/* out = a b or a b^T, all [n,n]: rows of out. */
typedef struct product_job {
    const double *a, *b;
    double       *out;
    int64_t       n;
    bool          transposed;
} product_job;

static void product_rows(void *arg, int64_t begin, int64_t end)
{
    const product_job *job = arg;
    const int64_t n = job->n;
    for (int64_t i = begin; i < end; i++) {
        double *out = job->out + i * n;
        for (int64_t j = 0; j < n; j++) out[j] = 0;
        for (int64_t k = 0; !job->transposed && k < n; k++)
            for (int64_t j = 0; j < n; j++) out[j] += job->a[i * n + k] * job->b[k * n + j];
        for (int64_t j = 0; job->transposed && j < n; j++)
            for (int64_t k = 0; k < n; k++) out[j] += job->a[i * n + k] * job->b[j * n + k];
    }
}

/* tr (C_a C_b)^(1/2): with C_a = V^T L V, the root of L^(1/2) V C_b V^T L^(1/2), which is symmetric and has the same
 * eigenvalues. Those of covariances that rounding makes negative count as 0. ca is destroyed; values [4 n], room [n,n]. */
static clv_status trace_of_root(clv_context *ctx, int64_t n, double *ca, const double *cb, double *room, double *values,
                                double *out)
{
    product_job job = { .a = ca, .b = cb, .out = room, .n = n };
    CLV_TRY(clvi_symmetric_eigenvectors(n, ca, values, values + n));
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) ca[i * n + k] *= sqrt(fmax(values[i], 0));
    clvi_parallel_for(ctx, n, ROW_CHUNK, product_rows, &job);
    double *square = room + n * n;
    job = (product_job){ .a = room, .b = ca, .out = square, .n = n, .transposed = true };
    clvi_parallel_for(ctx, n, ROW_CHUNK, product_rows, &job);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < i; k++)
            square[i * n + k] = square[k * n + i] = (square[i * n + k] + square[k * n + i]) / 2;
    CLV_TRY(clvi_symmetric_eigenvalues(n, square, values, values + n));
    *out = 0;
    for (int64_t i = 0; i < n; i++) *out += sqrt(fmax(values[i], 0));
    return CLV_OK;
}

static clv_status measure(clv_context *ctx, const clv_view *a, const clv_view *b, double *memory,
                          clv_frechet_result *out)
{
    const int64_t dim = a->shape[1], square = dim * dim;
    double *ca = memory, *cb = ca + square, *room = cb + square;          /* room: two squares */
    double *mean_a = room + 2 * square, *mean_b = mean_a + dim, *values = mean_b + dim;
    double root = 0;
    moments(ctx, a, mean_a, ca);
    moments(ctx, b, mean_b, cb);
    for (int64_t k = 0; k < dim; k++) {
        out->mean += (mean_a[k] - mean_b[k]) * (mean_a[k] - mean_b[k]);
        out->covariance += ca[k * dim + k] + cb[k * dim + k];
    }
    CLV_TRY(trace_of_root(ctx, dim, ca, cb, room, values, &root));
    out->covariance = fmax(out->covariance - 2 * root, 0);
    out->distance = out->mean + out->covariance;
    return CLV_OK;
}

clv_status clv_frechet_distance(clv_context *ctx, const clv_view *a, const clv_view *b, clv_frechet_result *out)
{
    CLV_CHECK(ctx && a && b && out, CLV_ERR_INVALID, "clv_frechet_distance: an argument is NULL");
    CLV_TRY(clvi_rows_check(a, "frechet: a"));
    CLV_TRY(clvi_rows_check(b, "frechet: b"));
    const int64_t dim = a->shape[1];
    CLV_CHECK(b->shape[1] == dim, CLV_ERR_SHAPE, "frechet: rows of %" PRId64 " values and of %" PRId64, dim,
              b->shape[1]);
    CLV_CHECK(a->shape[0] >= 2 && b->shape[0] >= 2, CLV_ERR_INVALID,
              "frechet: %" PRId64 " and %" PRId64 " rows; a covariance takes two", a->shape[0], b->shape[0]);
    *out = (clv_frechet_result){ .a = a->shape[0], .b = b->shape[0] };
    if (dim == 0) return CLV_OK;
    CLV_CHECK(dim <= 32768, CLV_ERR_UNSUPPORTED, "frechet: rows of %" PRId64 " values; at most 32768", dim);
    double *memory = clvi_calloc(ctx, (size_t)(4 * dim * dim + 6 * dim), sizeof *memory);
    if (!memory) return CLV_ERR_NOMEM;
    const clv_status st = measure(ctx, a, b, memory, out);
    clvi_free(ctx, memory);
    return st;
}
