/* health.c: spread, rank, uniformity and alignment of features. At most 256 rows, evenly spaced, enter the quantities that
 * look at pairs, so that a look at every logged step costs next to nothing. */
#include "eval/meter.h"
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

clv_status clvi_health_meter_create(clv_context *ctx, int64_t rows, int64_t dim, clvi_health_meter *out)
{
    CLV_CHECK(rows >= 2 && dim >= 1, CLV_ERR_SHAPE, "health: needs at least 2 rows of 1 value, got %" PRId64 " of %" PRId64, rows,
              dim);
    const int64_t m = CLVI_MIN(rows, PAIR_ROWS);
    *out = (clvi_health_meter){ .ctx = ctx, .rows = rows, .dim = dim, .pair_rows = m };
    out->z = clvi_calloc(ctx, (size_t)rows * (size_t)dim, sizeof *out->z);
    out->other = clvi_calloc(ctx, (size_t)rows * (size_t)dim, sizeof *out->other);
    out->memory = clvi_calloc(ctx, (size_t)(m * m + 4 * m), sizeof *out->memory);
    if (out->z && out->other && out->memory) return CLV_OK;
    clvi_health_meter_destroy(out);
    return CLV_ERR_NOMEM;
}

void clvi_health_meter_destroy(clvi_health_meter *m)
{
    if (!m->ctx) return;
    clvi_free(m->ctx, m->z);
    clvi_free(m->ctx, m->other);
    clvi_free(m->ctx, m->memory);
    *m = (clvi_health_meter){ .ctx = NULL };
}

static clv_status take(const clvi_health_meter *m, const clv_view *rows, const char *what, float *out)
{
    CLV_TRY(clvi_rows_check(rows, what));
    CLV_CHECK(rows->shape[0] == m->rows && rows->shape[1] == m->dim, CLV_ERR_SHAPE,
              "%s: expected [%" PRId64 ", %" PRId64 "], got [%" PRId64 ", %" PRId64 "]", what, m->rows, m->dim, rows->shape[0],
              rows->shape[1]);
    clvi_rows_ready(rows, false, true, out);
    return CLV_OK;
}

clv_status clvi_health_meter_look(clvi_health_meter *m, const clv_view *features, const clv_view *pairs, clv_health *out)
{
    *out = (clv_health){ 0 };
    CLV_TRY(take(m, features, "health", m->z));
    if (pairs) {
        CLV_TRY(take(m, pairs, "health, pairs", m->other));
        out->alignment = alignment(m->z, m->other, m->rows, m->dim);
    }
    out->std = spread(m->z, m->rows, m->dim);
    return pair_figures(m->z, m->rows, m->dim, m->pair_rows, m->memory, out);
}

clv_status clv_health_measure(clv_context *ctx, const clv_view *features, const clv_view *pairs, clv_health *out)
{
    CLV_CHECK(ctx && features && out, CLV_ERR_INVALID, "clv_health_measure: an argument is NULL");
    CLV_CHECK(features->ndim == 2, CLV_ERR_SHAPE, "health: expected [n, D], got %d dimensions", features->ndim);
    clvi_health_meter meter;
    CLV_TRY(clvi_health_meter_create(ctx, features->shape[0], features->shape[1], &meter));
    const clv_status st = clvi_health_meter_look(&meter, features, pairs, out);
    clvi_health_meter_destroy(&meter);
    return st;
}
