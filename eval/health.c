/* health.c: spread, rank, uniformity and alignment of features. At most 256 rows, evenly spaced, enter the quantities that
 * look at pairs, so that a look at every logged step costs next to nothing. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "device/blas/eigen.h"
#include "eval/rows.h"

#include <math.h>

#define PAIR_ROWS 256

static double dot(const float *a, const float *b, int64_t dim)
{
    double sum = 0.0;
    for (int64_t j = 0; j < dim; j++) sum += (double)a[j] * b[j];
    return sum;
}

static double spread(const float *z, int64_t n, int64_t dim)
{
    double total = 0.0;
    for (int64_t j = 0; j < dim; j++) {
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += z[i * dim + j];
            squares += (double)z[i * dim + j] * z[i * dim + j];
        }
        const double mean = sum / (double)n;
        total += sqrt(fmax(squares / (double)n - mean * mean, 0.0));
    }
    return total / (double)dim * sqrt((double)dim);
}

/* exp(entropy) of singular values over their sum; `gram` holds eigenvalues of Z Z^T, their squares. */
static double rank_of_spectrum(const double *eigenvalues, int64_t n)
{
    double sum = 0.0, entropy = 0.0;
    for (int64_t i = 0; i < n; i++) sum += sqrt(fmax(eigenvalues[i], 0.0));
    for (int64_t i = 0; sum > 0 && i < n; i++) {
        const double p = sqrt(fmax(eigenvalues[i], 0.0)) / sum;
        if (p > 0) entropy -= p * log(p);
    }
    return exp(entropy);
}

static double log_mean_potential(const double *gram, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) sum += exp(-2.0 * fmax(gram[i * n + i] + gram[j * n + j] - 2.0 * gram[i * n + j], 0.0));
    return log(sum / (0.5 * (double)n * (double)(n - 1)));
}

/* Rank and uniformity from the Gram matrix of `m` of the rows; memory: m * m + 4m doubles. */
static clv_status pair_figures(const float *z, int64_t n, int64_t dim, int64_t m, double *memory, clv_health *out)
{
    double *gram = memory, *values = gram + m * m, *work = values + m;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j <= i; j++)
            gram[i * m + j] = gram[j * m + i] = dot(z + i * n / m * dim, z + j * n / m * dim, dim);
    out->uniformity = log_mean_potential(gram, m);
    CLV_TRY(clvi_symmetric_eigenvalues(m, gram, values, work));
    out->effective_rank = rank_of_spectrum(values, m);
    return CLV_OK;
}

static double alignment(const float *z, const float *pair, int64_t n, int64_t dim)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n * dim; i++) sum += ((double)z[i] - pair[i]) * ((double)z[i] - pair[i]);
    return sum / (double)n;
}

clv_status clv_health_measure(clv_context *ctx, const clv_view *features, const clv_view *pairs, clv_health *out)
{
    CLV_CHECK(ctx && features && out, CLV_ERR_INVALID, "clv_health_measure: an argument is NULL");
    CLV_TRY(clvi_rows_check(features, "health"));
    const int64_t n = features->shape[0], dim = features->shape[1], m = CLVI_MIN(n, PAIR_ROWS);
    CLV_CHECK(n >= 2 && dim >= 1, CLV_ERR_SHAPE, "health: needs at least 2 rows of 1 value, got %" PRId64 " of %" PRId64, n, dim);
    float *z = NULL, *other = NULL;
    double *memory = NULL;
    clv_status st = CLV_OK;
    *out = (clv_health){ 0 };
    CLV_TRY_OR_DONE(clvi_rows_copy(ctx, features, false, true, &z));
    if (pairs) {
        CLV_TRY_OR_DONE(clvi_rows_check(pairs, "health, pairs"));
        CLV_CHECK_OR_DONE(pairs->shape[0] == n && pairs->shape[1] == dim, CLV_ERR_SHAPE, "health: pairs have another shape");
        CLV_TRY_OR_DONE(clvi_rows_copy(ctx, pairs, false, true, &other));
        out->alignment = alignment(z, other, n, dim);
    }
    out->std = spread(z, n, dim);
    memory = clvi_calloc(ctx, (size_t)(m * m + 4 * m), sizeof *memory);
    CLV_CHECK_OR_DONE(memory, CLV_ERR_NOMEM, "health: no memory");
    st = pair_figures(z, n, dim, m, memory, out);
done:
    clvi_free(ctx, memory);
    clvi_free(ctx, other);
    clvi_free(ctx, z);
    return st;
}
