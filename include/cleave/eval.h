/* eval.h: what an encoder is worth: nearest neighbours on features, and the health of the features themselves. */
#ifndef CLEAVE_EVAL_H
#define CLEAVE_EVAL_H

#include <cleave/base.h>
#include <cleave/data.h>
#include <cleave/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- k nearest neighbours ---- */

typedef enum clv_knn_distance {
    CLV_KNN_COSINE,           /* rows scaled to unit length, dot product */
    CLV_KNN_CENTRED_COSINE,   /* each row minus its own mean first: the strong baseline on pixels */
    CLV_KNN_L2                /* Euclidean distance */
} clv_knn_distance;

typedef enum clv_knn_vote {
    CLV_KNN_EXPONENTIAL,      /* weight exp(similarity / temperature): Wu et al. 2018, arXiv:1805.01978, section 3.4 */
    CLV_KNN_MAJORITY          /* weight 1; ties go to the class of the nearest tied neighbour */
} clv_knn_vote;

typedef struct clv_knn_desc {
    size_t           struct_size;   /* CLV_KNN_DESC_INIT: the MoCo demo's protocol */
    int64_t          k;             /* clipped to the bank's rows */
    double           temperature;
    clv_knn_distance distance;
    clv_knn_vote     vote;          /* CLV_KNN_L2 needs CLV_KNN_MAJORITY */
    bool             leave_one_out; /* bank and queries are the same rows: a row is not its own neighbour */
} clv_knn_desc;

#define CLV_KNN_DESC_INIT { .struct_size = sizeof(clv_knn_desc), .k = 200, .temperature = 0.1 }

typedef struct clv_knn_result {
    double  top1, top5;       /* percent of the queries; top5 counts a class among the five with most weight */
    int64_t queries, bank;    /* rows */
    int64_t k;                /* as used */
} clv_knn_result;

/* Classifies queries by the labels of their k nearest bank rows, exactly. bank [M,D], queries [Q,D]: float32 host
 * views with dense rows; labels >= 0. predicted [Q] may be NULL. Memory beyond the results is bounded by tiles, not by Q*M.
 * Ties go to the lower bank index; the result does not depend on the number of threads.
 * Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (labels below 0, k < 1, empty bank), CLV_ERR_NUMERIC (a feature is not finite),
 * CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_knn_classify(clv_context *ctx, const clv_knn_desc *desc, const clv_view *bank,
                                    const int64_t *bank_labels, const clv_view *queries, const int64_t *query_labels,
                                    int64_t *predicted, clv_knn_result *out) CLV_NODISCARD;

/* The k best bank rows of every query, best first: index and similarity, each [Q,k]; L2 gives minus the distance. */
CLV_API clv_status clv_knn_search(clv_context *ctx, const clv_knn_desc *desc, const clv_view *bank,
                                  const clv_view *queries, int64_t *index, float *similarity) CLV_NODISCARD;

/* Pixels as features: [count, H*W*C] float32 0..1 of `count` images from `first`; all images of one size.
 * Errors: those of clv_dataset_image; CLV_ERR_SHAPE if sizes vary or features does not fit. */
CLV_API clv_status clv_pixel_features(clv_context *ctx, const clv_dataset *ds, int64_t first, int64_t count,
                                      const clv_view *features) CLV_NODISCARD;

/* ---- health of a representation ---- */

/* Figures that tell a living representation from a collapsed one long before accuracy does. */
typedef struct clv_health {
    double std;               /* mean over dimensions of the std of unit-length features, times sqrt(D): 1 when spread
                                 over the sphere, 0 when collapsed to a point (SimSiam, arXiv:2011.10566, section 4.1) */
    double effective_rank;    /* exp of the entropy of the normalised singular values (RankMe, arXiv:2210.02885): 1..min(n,D) */
    double uniformity;        /* log mean exp(-2 |x - y|^2) over pairs (Wang and Isola 2020, arXiv:2005.10242, eq. 2) */
    double alignment;         /* mean |x - x'|^2 of positive pairs (eq. 1); 0 without pairs */
} clv_health;

/* features [n,D] float32, pairs [n,D] the other views of the same samples or NULL; rows are scaled to unit length first.
 * n >= 2. Errors: CLV_ERR_SHAPE, CLV_ERR_NUMERIC, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_health_measure(clv_context *ctx, const clv_view *features, const clv_view *pairs, clv_health *out)
    CLV_NODISCARD;

#define CLV_SCORE_BINS 64

/* Scores (dot products of unit rows, -1..1) of positives and negatives. Empty sets give zeros. */
typedef struct clv_scores {
    double  positive_mean, positive_variance, negative_mean, negative_variance;
    double  pretext_top1;                     /* percent of the queries whose positive beats every negative */
    int64_t positive_histogram[CLV_SCORE_BINS], negative_histogram[CLV_SCORE_BINS];   /* equal bins over [-1, 1] */
} clv_scores;

/* query, key [n,D], bank [K,D] float32 unit rows (the bank also bfloat16); valid [K] u8 or NULL. Memory O(n * tile). */
CLV_API clv_status clv_scores_measure(clv_context *ctx, const clv_view *query, const clv_view *key, const clv_view *bank,
                                      const uint8_t *valid, clv_scores *out) CLV_NODISCARD;

/* ---- report ---- */

/* One self-contained HTML file from a run directory: curves, score distributions, neighbours, a PCA scatter, the
 * configuration. It opens offline: pictures and figures are inside. `output` NULL: report.html in the run directory.
 * Figures are drawn by gnuplot, which must be installed: CLV_ERR_UNSUPPORTED else. Errors: CLV_ERR_IO, CLV_ERR_FORMAT. */
CLV_API clv_status clv_report_write(clv_context *ctx, const char *run, const char *output) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
