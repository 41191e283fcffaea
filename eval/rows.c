/* rows.c: checking, centring and scaling feature rows; sums in double. */
#include "eval/rows.h"
#include "core/checked.h"

#include <math.h>
#include <string.h>

clv_status clvi_rows_check(const clv_view *rows, const char *what)
{
    CLV_CHECK(rows && rows->ndim == 2 && rows->dtype == CLV_F32 && rows->device == 0, CLV_ERR_SHAPE,
              "%s: expected float32 [n, D] in host memory", what);
    CLV_CHECK(rows->shape[0] == 0 || rows->shape[1] == 0 || rows->stride[1] == 1, CLV_ERR_SHAPE,
              "%s: the values of a row must lie side by side", what);
    for (int64_t i = 0; i < rows->shape[0]; i++) {
        const float *x = (const float *)rows->data + i * rows->stride[0];
        for (int64_t j = 0; j < rows->shape[1]; j++)
            CLV_CHECK(isfinite(x[j]), CLV_ERR_NUMERIC, "%s: row %" PRId64 ", column %" PRId64 " is %g", what, i, j, x[j]);
    }
    return CLV_OK;
}

static void ready_row(float *x, int64_t dim, bool centre, bool unit)
{
    double sum = 0.0, squares = 0.0;
    if (centre) {
        for (int64_t j = 0; j < dim; j++) sum += x[j];
        const double mean = sum / (double)dim;
        for (int64_t j = 0; j < dim; j++) x[j] = (float)(x[j] - mean);
    }
    if (!unit) return;
    for (int64_t j = 0; j < dim; j++) squares += (double)x[j] * x[j];
    const double scale = squares > 0 ? 1.0 / sqrt(squares) : 0.0;
    for (int64_t j = 0; j < dim; j++) x[j] = (float)(x[j] * scale);
}

void clvi_rows_ready(const clv_view *rows, bool centre, bool unit, float *out)
{
    const int64_t dim = rows->shape[1];
    for (int64_t i = 0; i < rows->shape[0]; i++) {
        memcpy(out + i * dim, (const float *)rows->data + i * rows->stride[0], (size_t)dim * sizeof *out);
        ready_row(out + i * dim, dim, centre, unit);
    }
}

clv_status clvi_rows_copy(clv_context *ctx, const clv_view *rows, bool centre, bool unit, float **out)
{
    *out = clvi_calloc(ctx, (size_t)rows->shape[0] * (size_t)rows->shape[1], sizeof **out);
    if (!*out) return CLV_ERR_NOMEM;
    clvi_rows_ready(rows, centre, unit, *out);
    return CLV_OK;
}

clv_status clvi_labels_check(const int64_t *labels, int64_t n, int64_t limit, const char *what, int64_t *classes)
{
    *classes = 1;
    for (int64_t i = 0; i < n; i++) {
        CLV_CHECK(labels[i] >= 0 && labels[i] < limit, CLV_ERR_INVALID, "%s: label %" PRId64 " of row %" PRId64 " is out of range",
                  what, labels[i], i);
        *classes = CLVI_MAX(*classes, labels[i] + 1);
    }
    return CLV_OK;
}
