/* angles.c: how narrow classes are, and how far apart, as angles. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "core/parallel.h"
#include "eval/rows.h"

#include <math.h>

enum { MAX_LABELS = 1 << 20, CENTRE_CHUNK = 8 };

static const double degrees = 57.29577951308232;

typedef struct angles_job {
    const clv_view *rows;             /* [n,D] */
    int64_t        *part;             /* [labels]: which of the classes that have rows a label is */
    double         *centre;           /* [parts,D], unit length */
    double         *sum, *least;      /* [parts]: angles to the other centres */
    int64_t         dim, parts;
} angles_job;

/* Of unit vectors; one of zeros is at right angles to everything. */
static double angle(double cosine)
{
    return degrees * acos(fmin(fmax(cosine, -1.0), 1.0));
}

static void centre_angles(void *arg, int64_t begin, int64_t end)
{
    const angles_job *job = arg;
    const int64_t dim = job->dim;
    for (int64_t a = begin; a < end; a++) {
        job->least[a] = 180.0;
        for (int64_t b = 0; b < job->parts; b++) {
            double cosine = 0.0;
            if (b == a) continue;
            for (int64_t k = 0; k < dim; k++) cosine += job->centre[a * dim + k] * job->centre[b * dim + k];
            job->sum[a] += angle(cosine);
            job->least[a] = fmin(job->least[a], angle(cosine));
        }
    }
}

static const float *row_of(const angles_job *job, int64_t i)
{
    return (const float *)job->rows->data + i * job->rows->stride[0];
}

/* One over the length; 0 for zeros. In float64: at small angles the last bit of a float32 cosine is hundredths of a
 * degree. */
static double scale_of(const float *row, int64_t dim)
{
    double squares = 0.0;
    for (int64_t k = 0; k < dim; k++) squares += (double)row[k] * row[k];
    return squares > 0 ? 1.0 / sqrt(squares) : 0.0;
}

/* Means of the rows of each class, scaled to unit length. */
static void make_centres(const angles_job *job, const int64_t *labels, int64_t n)
{
    const int64_t dim = job->dim;
    for (int64_t i = 0; i < n; i++) {
        const float *row = row_of(job, i);
        const double scale = scale_of(row, dim);
        for (int64_t k = 0; k < dim; k++) job->centre[job->part[labels[i]] * dim + k] += scale * row[k];
    }
    for (int64_t c = 0; c < job->parts; c++) {
        double *centre = job->centre + c * dim, squares = 0.0;
        for (int64_t k = 0; k < dim; k++) squares += centre[k] * centre[k];
        for (int64_t k = 0; k < dim; k++) centre[k] *= squares > 0 ? 1.0 / sqrt(squares) : 0.0;
    }
}

static void measure(clv_context *ctx, angles_job *job, const int64_t *labels, clv_angles_result *out)
{
    make_centres(job, labels, out->rows);
    for (int64_t i = 0; i < out->rows; i++) {
        const double *centre = job->centre + job->part[labels[i]] * job->dim;
        const float *row = row_of(job, i);
        double product = 0.0;
        for (int64_t k = 0; k < job->dim; k++) product += centre[k] * row[k];
        out->intra += angle(product * scale_of(row, job->dim)) / (double)out->rows;
    }
    clvi_parallel_for(ctx, job->parts, CENTRE_CHUNK, centre_angles, job);
    for (int64_t c = 0; c < job->parts; c++) {
        out->inter += job->sum[c] / (double)(job->parts * (job->parts - 1));
        out->nearest += job->least[c] / (double)job->parts;
    }
}

/* Which labels have rows, numbered without gaps. */
static clv_status find_parts(clv_context *ctx, angles_job *job, const int64_t *labels, int64_t n, int64_t classes)
{
    job->part = clvi_calloc(ctx, (size_t)classes, sizeof *job->part);
    if (!job->part) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) job->part[labels[i]] = 1;
    for (int64_t c = 0; c < classes; c++) job->part[c] = job->part[c] ? job->parts++ : -1;
    CLV_CHECK(job->parts >= 2, CLV_ERR_INVALID, "angles: the rows are of %" PRId64 " classes; two have an angle",
              job->parts);
    return CLV_OK;
}

clv_status clv_angles_measure(clv_context *ctx, const clv_view *rows, const int64_t *labels, clv_angles_result *out)
{
    CLV_CHECK(ctx && rows && labels && out, CLV_ERR_INVALID, "clv_angles_measure: an argument is NULL");
    CLV_TRY(clvi_rows_check(rows, "angles"));
    const int64_t n = rows->shape[0];
    int64_t classes = 0;
    angles_job job = { .rows = rows, .dim = rows->shape[1] };
    CLV_TRY(clvi_labels_check(labels, n, MAX_LABELS, "angles", &classes));
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(find_parts(ctx, &job, labels, n, classes));
    job.centre = clvi_calloc(ctx, (size_t)(job.parts * (job.dim + 2)), sizeof *job.centre);
    CLV_CHECK_OR_DONE(job.centre, CLV_ERR_NOMEM, "angles: no memory for %" PRId64 " centres", job.parts);
    job.sum = job.centre + job.parts * job.dim;
    job.least = job.sum + job.parts;
    *out = (clv_angles_result){ .rows = n, .classes = job.parts };
    measure(ctx, &job, labels, out);
done:
    clvi_free(ctx, job.centre);
    clvi_free(ctx, job.part);
    return st;
}
