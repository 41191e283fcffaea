/* eigen.c: LAPACK's dsyev. Declared here: LAPACK's C header is not installed everywhere OpenBLAS is. */
#include "device/blas/eigen.h"

extern void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
                   const int *lwork, int *info, size_t jobz_length, size_t uplo_length);

static clv_status solve(const char *job, int64_t n, double *a, double *values, double *work)
{
    const int order = (int)n, size = 3 * order;
    int info = 0;
    if (n == 0) return CLV_OK;
    dsyev_(job, "U", &order, a, &order, values, work, &size, &info, 1, 1);
    CLV_CHECK(info == 0, CLV_ERR_NUMERIC, "eigenvalues of a %" PRId64 " x %" PRId64 " matrix: LAPACK says %d", n, n, info);
    return CLV_OK;
}

clv_status clvi_symmetric_eigenvalues(int64_t n, double *a, double *values, double *work)
{
    return solve("N", n, a, values, work);
}

clv_status clvi_symmetric_eigenvectors(int64_t n, double *a, double *values, double *work)
{
    return solve("V", n, a, values, work);                 /* LAPACK's columns are rows here */
}
