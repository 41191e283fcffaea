/* pca.c: principal components by subspace iteration: a block of directions is multiplied by the covariance and made
 * orthonormal again until it lies along the largest axes. A few directions more than the two that are wanted make it
 * converge fast (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, section 4.5); two products with the rows are all an
 * iteration takes, so the covariance itself is never made. */
#include "eval/pca.h"
#include "core/checked.h"
#include "device/blas/eigen.h"

#include <math.h>

#define BLOCK      8
#define ITERATIONS 40

typedef struct pca {
    int64_t n, dim, block;
    float *x;  /* [n, dim] rows less their mean */
    double *v; /* [block, dim] directions */
    double *w; /* [block, dim] covariance times directions */
} pca;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void centre(const float *rows, int64_t n, int64_t dim, double *mean, float *x)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < dim; j++) mean[j] += rows[i * dim + j] / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < dim; j++) x[i * dim + j] = (float)(rows[i * dim + j] - mean[j]);
}

static double along(const pca *p, int64_t row, const double *v)
{
    const float *x = p->x + row * p->dim;
    double sum = 0.0;
    for (int64_t j = 0; j < p->dim; j++) sum += x[j] * v[j];
    return sum;
}

/* w = X' X v for the whole block. */
static void multiply(pca *p)
{
    for (int64_t i = 0; i < p->block * p->dim; i++) p->w[i] = 0.0;
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t b = 0; b < p->block; b++) {
            const double t = along(p, i, p->v + b * p->dim);
            const float *x = p->x + i * p->dim;
            double *w = p->w + b * p->dim;
            for (int64_t j = 0; j < p->dim; j++) w[j] += t * x[j];
        }
}

/* v = w made orthonormal, in order; what depends on earlier ones becomes 0. Twice, for precision (Gram-Schmidt). */
static void orthonormalise(pca *p)
{
    for (int64_t b = 0; b < p->block; b++) {
        double *w = p->w + b * p->dim, *v = p->v + b * p->dim;
        const double before = sqrt(dot(w, w, p->dim));
        for (int pass = 0; pass < 2; pass++)
            for (int64_t a = 0; a < b; a++) {
                const double *other = p->v + a * p->dim;
                const double t = dot(w, other, p->dim);
                for (int64_t j = 0; j < p->dim; j++) w[j] -= t * other[j];
            }
        const double norm = sqrt(dot(w, w, p->dim));
        const double scale = norm > 1e-12 * before ? 1.0 / norm : 0.0;
        for (int64_t j = 0; j < p->dim; j++) v[j] = scale * w[j];
    }
}

static void start(pca *p)
{
    uint64_t state = 1; /* any start will do that is not orthogonal to the axes */
    for (int64_t i = 0; i < p->block * p->dim; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        p->w[i] = (double)(state >> 11) / 9007199254740992.0 - 0.5;
    }
    orthonormalise(p);
}

/* Turns the block within its own space so that direction 0 has the largest variance, 1 the next (Rayleigh and Ritz). */
static clv_status turn(pca *p)
{
    double t[BLOCK * BLOCK], values[BLOCK], work[3 * BLOCK];
    multiply(p);
    for (int64_t a = 0; a < p->block; a++)
        for (int64_t b = 0; b < p->block; b++)
            t[a * p->block + b] = dot(p->v + CLVI_MIN(a, b) * p->dim, p->w + CLVI_MAX(a, b) * p->dim, p->dim);
    CLV_TRY(clvi_symmetric_eigenvectors(p->block, t, values, work));
    for (int64_t a = 0; a < p->block; a++) {
        const double *weight = t + (p->block - 1 - a) * p->block; /* ascending: the last is the largest */
        for (int64_t j = 0; j < p->dim; j++) {
            double sum = 0.0;
            for (int64_t b = 0; b < p->block; b++) sum += weight[b] * p->v[b * p->dim + j];
            p->w[a * p->dim + j] = sum;
        }
    }
    orthonormalise(p);
    return CLV_OK;
}

static void place(const pca *p, double *xy, double share[2])
{
    double total = 0.0;
    for (int64_t i = 0; i < p->n * p->dim; i++) total += (double)p->x[i] * p->x[i];
    for (int c = 0; c < 2; c++) {
        const double *v = p->v + c * p->dim;
        int64_t largest = 0;
        double sum = 0.0;
        for (int64_t j = 1; c < p->block && j < p->dim; j++)
            if (fabs(v[j]) > fabs(v[largest])) largest = j;
        for (int64_t i = 0; i < p->n; i++) {
            const double t = c < p->block ? along(p, i, v) : 0.0;
            xy[2 * i + c] = c < p->block && v[largest] < 0 ? -t : t;
            sum += t * t;
        }
        share[c] = total > 0 ? sum / total : 0.0;
    }
}

clv_status clvi_pca(clv_context *ctx, const float *rows, int64_t n, int64_t dim, double *xy, double share[2])
{
    pca p = { .n = n, .dim = dim, .block = CLVI_MIN(dim, BLOCK) };
    p.x = clvi_calloc(ctx, (size_t)n * (size_t)dim, sizeof *p.x);
    p.v = clvi_calloc(ctx, (size_t)p.block * (size_t)dim, sizeof *p.v);
    p.w = clvi_calloc(ctx, (size_t)p.block * (size_t)dim, sizeof *p.w);
    clv_status st = p.x && p.v && p.w ? CLV_OK : CLV_ERR_NOMEM;
    if (st != CLV_OK) goto done;
    centre(rows, n, dim, p.v, p.x); /* the mean needs a place only here */
    start(&p);
    for (int i = 0; i < ITERATIONS; i++) {
        multiply(&p);
        orthonormalise(&p);
    }
    CLV_TRY_OR_DONE(turn(&p));
    place(&p, xy, share);
done:
    clvi_free(ctx, p.x);
    clvi_free(ctx, p.v);
    clvi_free(ctx, p.w);
    return st;
}
