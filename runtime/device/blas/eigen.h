/* eigen.h: eigenvalues and eigenvectors of a symmetric matrix, through LAPACK. */
#ifndef CLVI_DEVICE_BLAS_EIGEN_H
#define CLVI_DEVICE_BLAS_EIGEN_H

#include "core/context.h"

/* Eigenvalues, ascending, into values [n]; a [n,n] is destroyed; work [3n] is scratch. Errors: CLV_ERR_NUMERIC. */
clv_status clvi_symmetric_eigenvalues(int64_t n, double *a, double *values, double *work) CLV_NODISCARD;

/* The same, and row i of a becomes the unit eigenvector of values[i]. */
clv_status clvi_symmetric_eigenvectors(int64_t n, double *a, double *values, double *work) CLV_NODISCARD;

#endif
