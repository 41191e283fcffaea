/* similarity.h: how alike rows are, whichever way they are compared; a strip of rows against all others at a time. */
#ifndef CLVI_EVAL_SIMILARITY_H
#define CLVI_EVAL_SIMILARITY_H

#include <cleave/eval.h>
#include "eval/gemm_tile.h"

typedef struct clvi_similarity {
    clv_context   *ctx;
    int64_t        left, right, dim, strip;     /* rows; rows of a strip */
    float         *left_rows, *right_rows;
    double        *left_norm, *right_norm;      /* squared lengths; L2 only */
    clvi_gemm_tile tile;
    float         *scores;                      /* [strip, right] */
} clvi_similarity;

/* left [n,D] and right [m,D], checked; `what` opens messages. right NULL: the same rows. m >= 1 and D >= 1. */
clv_status clvi_similarity_create(clv_context *ctx, clv_knn_distance distance, const clv_view *left, const clv_view *right,
                                  const char *what, clvi_similarity *out) CLV_NODISCARD;
void clvi_similarity_destroy(clvi_similarity *s);
/* scores [n,right] of rows [first, first + n), n up to the strip: cosines, or minus the distances. Valid until the next
 * call. */
clv_status clvi_similarity_strip(clvi_similarity *s, int64_t first, int64_t n, const float **scores) CLV_NODISCARD;

#endif
