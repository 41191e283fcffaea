/* meter.h: health and scores with memory that is kept between looks, for the training loop, which must not allocate. The
 * public functions make a meter for one look. */
#ifndef CLVI_EVAL_METER_H
#define CLVI_EVAL_METER_H

#include <cleave/eval.h>
#include "eval/gemm_tile.h"

typedef struct clvi_health_meter {
    clv_context *ctx;
    int64_t      rows, dim, pair_rows;
    float       *z, *other;      /* [rows, dim] unit rows */
    double      *memory;         /* Gram matrix, its eigenvalues, LAPACK's scratch */
} clvi_health_meter;

clv_status clvi_health_meter_create(clv_context *ctx, int64_t rows, int64_t dim, clvi_health_meter *out) CLV_NODISCARD;
void clvi_health_meter_destroy(clvi_health_meter *m);
/* features, and pairs if given, are [rows, dim]. */
clv_status clvi_health_meter_look(clvi_health_meter *m, const clv_view *features, const clv_view *pairs, clv_health *out)
    CLV_NODISCARD;

typedef struct clvi_score_meter {
    clvi_gemm_tile tile;
    float         *highest;      /* [queries] */
    float         *wide;         /* rows of a bank of bfloat16 */
} clvi_score_meter;

clv_status clvi_score_meter_create(clv_context *ctx, int64_t queries, int64_t dim, clvi_score_meter *out) CLV_NODISCARD;
void clvi_score_meter_destroy(clvi_score_meter *m);
/* At most as many queries as the meter was made for. */
clv_status clvi_score_meter_look(clvi_score_meter *m, const clv_view *query, const clv_view *key, const clv_view *bank,
                                 const uint8_t *valid, clv_scores *out) CLV_NODISCARD;

#endif
