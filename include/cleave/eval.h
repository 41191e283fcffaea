/* eval.h: what an encoder is worth: nearest neighbours, a linear classifier, retrieval, clustering, verification and
 * angles of features, spans of tags, and the health of the features themselves. */
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

/* ---- linear probe ---- */

/* Multinomial logistic regression on features that stay as they are: mean cross entropy + lambda / 2 |W|^2, the biases free,
 * every column standardised by the training rows' mean and standard deviation (a column that never changes counts as 0).
 * Minimised by L-BFGS from zero until no entry of the gradient is above 1e-6. lambda is chosen by top-1 on training rows
 * held out class by class, then all training rows are used: the protocol of Radford et al. 2021, arXiv:2103.00020,
 * with a shorter sweep. A share below 1 is the low-shot protocol: 0.01 and 0.1 are usual. */
typedef struct clv_linear_desc {
    size_t   struct_size;     /* CLV_LINEAR_DESC_INIT */
    double   lambda_min, lambda_max;
    int64_t  strengths;       /* lambdas tried, spaced evenly by their logarithm; 1: the geometric mean of the two */
    double   held_out;        /* 0 < share < 1 of every class to choose lambda by; one row of each stays behind */
    double   share;           /* 0 < share <= 1 of every class to train on, at least one row */
    int64_t  steps;           /* of L-BFGS for a lambda, at most */
    uint64_t seed;            /* of both draws */
} clv_linear_desc;

#define CLV_LINEAR_DESC_INIT                                                                                           \
    { .struct_size = sizeof(clv_linear_desc), .lambda_min = 1e-5, .lambda_max = 10.0, .strengths = 13,                 \
      .held_out = 0.2, .share = 1.0, .steps = 200 }

typedef struct clv_linear_result {
    double  top1, top5;       /* percent of the test rows; ties go to the lower class */
    double  lambda;           /* chosen; without rows to hold out the geometric mean of the range */
    double  held_out_top1;    /* percent, at that lambda */
    double  loss;             /* mean cross entropy of the training rows in the end */
    int64_t rows, queries;    /* trained on, tested */
    int64_t held_out;         /* of `rows`, while lambda was chosen */
    int64_t classes;          /* 1 + the largest training label */
    int64_t steps;            /* of the last fit */
} clv_linear_result;

/* train [M,D], test [Q,D]: float32 host views with dense rows; labels >= 0, those of train below 2^20. A class that only
 * the test rows have cannot be right. predicted [Q] may be NULL. Memory: copies of the rows, 28 times the weights [C,D+1] in
 * float64, a tile. The same input and number of threads give the same bits. Errors: CLV_ERR_SHAPE,
 * CLV_ERR_INVALID (a setting or label out of range, no training rows), CLV_ERR_NUMERIC (a feature is not finite),
 * CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_linear_probe(clv_context *ctx, const clv_linear_desc *desc, const clv_view *train,
                                    const int64_t *labels, const clv_view *test, const int64_t *test_labels,
                                    int64_t *predicted, clv_linear_result *out) CLV_NODISCARD;

/* Draws a share of every class, rounded and at least one row: chosen [n] tells which, *count how many. A pure function of
 * labels and seed. Errors: CLV_ERR_INVALID (share not in (0, 1]), CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_stratified_subset(clv_context *ctx, const int64_t *labels, int64_t n, double share, uint64_t seed,
                                         bool *chosen, int64_t *count) CLV_NODISCARD;

/* ---- retrieval ---- */

#define CLV_RETRIEVAL_DEPTHS 4

typedef struct clv_retrieval_desc {
    size_t           struct_size;                  /* CLV_RETRIEVAL_DESC_INIT */
    clv_knn_distance distance;
    bool             leave_one_out;                /* gallery and queries are the same rows: a row does not retrieve itself */
    int64_t          depth[CLV_RETRIEVAL_DEPTHS];  /* the k of Recall@k, each >= 1 */
} clv_retrieval_desc;

#define CLV_RETRIEVAL_DESC_INIT { .struct_size = sizeof(clv_retrieval_desc), .depth = { 1, 2, 4, 8 } }

/* Percent, means over the queries that have a row of their label in the gallery. */
typedef struct clv_retrieval_result {
    double  recall[CLV_RETRIEVAL_DEPTHS];   /* a row of the label is among the first k: Jegou et al. 2011, as metric learning
                                               uses it (Oh Song et al. 2016, arXiv:1511.06452) */
    double  map;                            /* mean average precision over the whole gallery */
    double  r_precision;                    /* share of the label among the first R, R its rows in the gallery */
    int64_t queries, gallery;               /* rows; queries: those counted */
    int64_t without;                        /* queries left out: the gallery has no row of their label */
} clv_retrieval_result;

/* Ranks the whole gallery for every query, exactly; ties go to the lower gallery index. gallery [M,D], queries [Q,D]:
 * float32 host views with dense rows; labels >= 0. Memory: copies of the rows, a tile, 40 bytes of every gallery row for
 * each thread. The result does not depend on the order of calls. Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (a label or depth
 * out of range, no gallery, no query with a row to find), CLV_ERR_NUMERIC, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_retrieval_measure(clv_context *ctx, const clv_retrieval_desc *desc, const clv_view *gallery,
                                         const int64_t *gallery_labels, const clv_view *queries,
                                         const int64_t *query_labels, clv_retrieval_result *out) CLV_NODISCARD;

/* ---- clustering ---- */

typedef struct clv_cluster_desc {
    size_t   struct_size;    /* CLV_CLUSTER_DESC_INIT */
    int64_t  clusters;       /* 1 .. rows */
    int64_t  restarts;       /* runs from other starts; the one with the least inertia counts */
    int64_t  steps;          /* of a run, at most */
    bool     unit;           /* rows are scaled to unit length first */
    uint64_t seed;
} clv_cluster_desc;

#define CLV_CLUSTER_DESC_INIT { .struct_size = sizeof(clv_cluster_desc), .restarts = 10, .steps = 300, .unit = true }

typedef struct clv_cluster_result {
    double  inertia;         /* sum of squared distances to the centres */
    int64_t steps;           /* of the run that counts */
    bool    settled;         /* it ended because no row changed its cluster */
} clv_cluster_result;

/* k-means of Lloyd 1982 from the starts of k-means++ (Arthur and Vassilvitskii 2007): rows [n,D] float32 with dense rows to
 * clusters assignment [n], 0 .. clusters - 1. A cluster that loses its rows takes the row farthest from its centre.
 * The same input, seed and number of threads give the same result. Errors: CLV_ERR_SHAPE,
 * CLV_ERR_INVALID (a setting out of range, more clusters than rows), CLV_ERR_NUMERIC, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_kmeans(clv_context *ctx, const clv_cluster_desc *desc, const clv_view *rows, int64_t *assignment,
                              clv_cluster_result *out) CLV_NODISCARD;

/* How far two partitions of n >= 1 rows, given as any integers, agree. nmi: mutual information over the arithmetic mean of
 * the entropies, 0..1; ari: the adjusted Rand index (Hubert and Arabie 1985), 1 for equal partitions, 0 expected of chance.
 * Two partitions into one part are equal: 1 and 1. Errors: CLV_ERR_INVALID, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_partitions_compare(clv_context *ctx, const int64_t *a, const int64_t *b, int64_t n, double *nmi,
                                          double *ari) CLV_NODISCARD;

/* ---- verification ---- */

#define CLV_VERIFICATION_RATES 4

typedef struct clv_verification_desc {
    size_t           struct_size;                  /* CLV_VERIFICATION_DESC_INIT */
    clv_knn_distance distance;
    double           rate[CLV_VERIFICATION_RATES]; /* 0..1: false acceptances allowed */
    int64_t          max_rows;                     /* of more rows, this many are drawn; at least 2 */
    uint64_t         seed;                         /* of that draw */
} clv_verification_desc;

#define CLV_VERIFICATION_DESC_INIT                                                                                     \
    { .struct_size = sizeof(clv_verification_desc), .rate = { 0.1, 0.01, 0.001, 0.0001 }, .max_rows = 4096 }

typedef struct clv_verification_result {
    double  tar[CLV_VERIFICATION_RATES];   /* percent of the genuine pairs accepted by the lowest threshold at which at most
                                              the rate of the impostor pairs is accepted */
    double  eer;                           /* percent: false acceptance equals false rejection, linear between thresholds */
    double  auc;                           /* percent of (genuine, impostor) pairs in order; equal scores count half */
    int64_t rows, genuine, impostors;      /* rows compared; pairs of one label, of two */
} clv_verification_result;

/* Compares every row with every other. rows [n,D] float32 with dense rows, labels >= 0. Memory: 4 bytes a pair. Errors:
 * CLV_ERR_SHAPE, CLV_ERR_INVALID (no genuine or no impostor pair, a setting out of range), CLV_ERR_NUMERIC, CLV_ERR_NOMEM.
 * Thread-safe. */
CLV_API clv_status clv_verification_measure(clv_context *ctx, const clv_verification_desc *desc, const clv_view *rows,
                                            const int64_t *labels, clv_verification_result *out) CLV_NODISCARD;

/* The same from scores of pairs of any origin, high for genuine ones; both arrays are sorted in place. Fills all of out but
 * rows, and reads only the rates of desc. Errors: CLV_ERR_INVALID (an array is empty), CLV_ERR_NUMERIC (NaN). */
CLV_API clv_status clv_verification_scores(const clv_verification_desc *desc, float *genuine, int64_t genuine_count,
                                           float *impostor, int64_t impostor_count, clv_verification_result *out) CLV_NODISCARD;

/* ---- few examples ---- */

/* Tasks of a few classes with a few examples each, drawn anew every time: Vinyals et al. 2016, arXiv:1606.04080. */
typedef struct clv_few_shot_desc {
    size_t   struct_size;             /* CLV_FEW_SHOT_DESC_INIT */
    int64_t  ways, shots, queries;    /* classes of a task; examples, and rows to tell, of each */
    int64_t  episodes;                /* tasks */
    uint64_t seed;
} clv_few_shot_desc;

#define CLV_FEW_SHOT_DESC_INIT                                                                                         \
    { .struct_size = sizeof(clv_few_shot_desc), .ways = 5, .shots = 1, .queries = 15, .episodes = 600 }

typedef struct clv_few_shot_result {
    double  accuracy;                 /* percent, mean over tasks */
    double  interval;                 /* 1.96 standard errors of that mean */
    int64_t classes, episodes;        /* classes with rows enough to be drawn */
} clv_few_shot_result;

/* A query belongs to the class whose examples' mean, all rows scaled to unit length, has the largest cosine with it (means
 * as in Snell et al. 2017, arXiv:1703.05175); ties go to the class drawn first. rows [n,D] float32 host view with dense
 * rows, labels 0 .. 2^20 - 1; classes of too few rows are left out. A task is a function of seed and its number. Memory:
 * a copy of the rows. Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (a setting or label out of range, too few classes),
 * CLV_ERR_NUMERIC, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_few_shot_measure(clv_context *ctx, const clv_few_shot_desc *desc, const clv_view *rows,
                                        const int64_t *labels, clv_few_shot_result *out) CLV_NODISCARD;

/* ---- angles ---- */

/* Degrees, between features and centres, the centre of a class being the direction of the mean of its features scaled
 * to unit length: Intra and Inter of Deng et al. 2019, arXiv:1801.07698, table 3, are `intra` and `nearest`. */
typedef struct clv_angles_result {
    double  intra;           /* of a row to the centre of its class, mean over rows */
    double  inter;           /* of two centres, mean over pairs of classes */
    double  nearest;         /* of a centre to the nearest other one, mean over classes */
    int64_t rows, classes;   /* classes that have rows */
} clv_angles_result;

/* rows [n,D] float32 host view with dense rows, labels 0 .. 2^20 - 1. A row, or a mean, of zeros is at right angles to
 * everything. Computed in float64; memory: 8 D bytes for each class. The result does not depend on the
 * number of threads. Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (a label out of range, fewer than two classes),
 * CLV_ERR_NUMERIC, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_angles_measure(clv_context *ctx, const clv_view *rows, const int64_t *labels,
                                      clv_angles_result *out) CLV_NODISCARD;

/* ---- distance of two sets of images ---- */

typedef struct clv_frechet_result {
    double  distance;        /* mean + covariance: the squared Frechet distance, as is usual */
    double  mean;            /* |mu_a - mu_b|^2 */
    double  covariance;      /* tr(C_a + C_b - 2 (C_a C_b)^(1/2)) */
    int64_t a, b;            /* rows */
} clv_frechet_result;

/* The Frechet distance of normal distributions with the means and covariances (over n - 1) of two sets of features:
 * Dowson and Landau 1982; for generated images Heusel et al. 2017, arXiv:1706.08500, eq. 6. Figures compare only with
 * the same network, layer and numbers of rows: few rows make it larger. a [n,D], b [m,D]: float32 host views with dense
 * rows, n, m >= 2. Computed in float64; memory 4 D D doubles. Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (too few rows),
 * CLV_ERR_NUMERIC, CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_frechet_distance(clv_context *ctx, const clv_view *a, const clv_view *b,
                                        clv_frechet_result *out) CLV_NODISCARD;

/* ---- spans ---- */

#define CLV_SPAN_MAX_TYPES 64
#define CLV_SPAN_MAX_TYPE  64                  /* bytes of a type's name, with the 0 */

/* Spans of one type, or of all. Percent: precision of those predicted, recall of those there are, f1 their harmonic mean;
 * 0 where there is nothing to divide by. */
typedef struct clv_span_counts {
    int64_t predicted, present, right;         /* right: begin, end and type agree */
    double  precision, recall, f1;
} clv_span_counts;

typedef struct clv_span_result {
    clv_span_counts all;                       /* micro: every span counts the same */
    int64_t words;
    double  accuracy;                          /* percent of the words with the right tag, O included */
    int64_t types;
    struct {
        char            name[CLV_SPAN_MAX_TYPE];
        clv_span_counts counts;
    } type[CLV_SPAN_MAX_TYPES];                /* in alphabetical order */
} clv_span_result;

/* Tags of all words of some sentences: O, B-TYPE or I-TYPE. */
typedef struct clv_tagging {
    const int64_t     *tag;                    /* [words], below `tags` */
    const char *const *name;                   /* [tags] */
    int64_t            tags;
} clv_tagging;

/* Spans of IOB2 tags, as the script conlleval of CoNLL-2000 and later tasks counts them (Tjong Kim Sang and Buchholz 2000):
 * a span begins at B-, and also at an I- after O, after another type or at the start of a sentence; it ends before the next
 * beginning, before O and with its sentence. first [sentences + 1]: the first word of each, in order, and the number of
 * words. Errors: CLV_ERR_INVALID (a tag of another form or out of range; sentences out of order), CLV_ERR_UNSUPPORTED (more
 * than CLV_SPAN_MAX_TYPES types, or a longer name). Thread-safe. */
CLV_API clv_status clv_spans_measure(const clv_tagging *truth, const clv_tagging *predicted, const int64_t *first,
                                     int64_t sentences, clv_span_result *out) CLV_NODISCARD;

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

/* ---- a run beside what was published of it ---- */

#define CLV_COURSE_ROWS 256

typedef struct clv_course_desc {
    size_t      struct_size;  /* CLV_COURSE_DESC_INIT */
    const char *published;    /* "epoch loss knn; 1 6.957 31.98; 5 6.862 -": columns epoch, loss, knn, knn_best and acc1 in
                               * any order, rows by rising epochs, - where there is no figure. NULL: the run's own setting */
    double      accuracy;     /* percentage points that an accuracy may be lower */
    double      loss;         /* share of the published loss that a loss may differ by, either way */
} clv_course_desc;

#define CLV_COURSE_DESC_INIT { .struct_size = sizeof(clv_course_desc), .accuracy = 3.0, .loss = 0.05 }

typedef struct clv_course_row {
    int64_t     epoch;        /* measured after so many */
    const char *metric;       /* "train/loss": static storage */
    double      published, found;
    bool        between;      /* published is interpolated: this epoch is not among those published */
    bool        within;       /* the allowance */
} clv_course_row;

typedef struct clv_course {
    bool           on_course;                /* the latest row of every metric is within the allowance */
    int64_t        epochs, horizon;          /* finished; last published */
    int            count;
    clv_course_row row[CLV_COURSE_ROWS];     /* by metric, then by epoch */
} clv_course;

/* Compares the epochs of a run directory with a published trajectory: at every published epoch where the run measured, and
 * at its last measured epoch. Errors: CLV_ERR_IO, CLV_ERR_FORMAT (the run is damaged), CLV_ERR_INVALID (the text is not as
 * above, nothing is published, the run has nothing to compare yet), CLV_ERR_NOMEM. Thread-safe. */
CLV_API clv_status clv_course_measure(clv_context *ctx, const char *run, const clv_course_desc *desc,
                                      clv_course *out) CLV_NODISCARD;

/* ---- report ---- */

/* One self-contained HTML file from a run directory: curves, score distributions, neighbours, a PCA scatter, the
 * configuration. It opens offline: pictures and figures are inside. `output` NULL: report.html in the run directory.
 * Figures are drawn by gnuplot, which must be installed: CLV_ERR_UNSUPPORTED else. Errors: CLV_ERR_IO, CLV_ERR_FORMAT. */
CLV_API clv_status clv_report_write(clv_context *ctx, const char *run, const char *output) CLV_NODISCARD;
#define CLV_REPORT_RUNS 12

/* Several runs, 2 to CLV_REPORT_RUNS, on one page: a table of their final figures with the protocol, their curves over each
 * other, and the settings in which they differ. Otherwise as clv_report_write. */
CLV_API clv_status clv_report_compare(clv_context *ctx, const char *const *runs, int count,
                                      const char *output) CLV_NODISCARD;
/* An SVG picture: how the scores of positives and of negatives are distributed in an epoch (0: the last that has
 * histograms) of up to CLV_REPORT_RUNS runs. Errors: those of clv_report_write; CLV_ERR_INVALID if a run has no scores there. */
CLV_API clv_status clv_plot_scores(clv_context *ctx, const char *const *runs, int count, int64_t epoch,
                                   const char *output) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
