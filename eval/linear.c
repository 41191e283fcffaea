/* linear.c: a linear classifier on features that stay as they are: multinomial logistic regression, minimised with
 * L-BFGS once for every strength of its regulariser, strongest first, each from where the one before ended. */
#include <cleave/eval.h>
#include <cleave/graph.h>
#include "core/checked.h"
#include "core/parallel.h"
#include "eval/gemm_tile.h"
#include "eval/lbfgs.h"
#include "eval/rows.h"
#include "eval/subset.h"

#include <math.h>
#include <string.h>

enum { TILE = 4096, CHUNK = 64, MAX_CLASSES = 1 << 20 };

typedef struct probe {
    clv_context   *ctx;
    int64_t        width;                    /* of a row: its values, standardised, and a 1 for the bias */
    int64_t        classes, tile, rows, fit; /* fit: rows from the first that the objective sees */
    double         lambda;
    double        *mean, *scale;             /* [width - 1] */
    float         *x;                        /* [rows + tile, width]; what is held out lies last */
    int64_t       *labels;
    double        *best, *weights;           /* [classes, width] */
    float         *narrow;                   /* the weights in float32 */
    float         *residual;                 /* [tile, classes]: probabilities minus the label's 1, divided by fit */
    double        *losses;                   /* [tile] */
    const float   *scores;                   /* of a tile */
    const int64_t *tile_labels;
    int64_t        tile_rows;
    clvi_gemm_tile forward;
    clv_graph     *backward;
    clv_node       in_residual, in_rows, out_gradient;
} probe;

/* ---- value and gradient ---- */

static void soften(void *arg, int64_t begin, int64_t end)
{
    const probe *p = arg;
    for (int64_t i = begin; i < end; i++) {
        const float *score = p->scores + i * p->classes;
        float *r = p->residual + i * p->classes, top = score[0];
        double sum = 0.0;
        for (int64_t c = 1; c < p->classes; c++) top = fmaxf(top, score[c]);
        for (int64_t c = 0; c < p->classes; c++) sum += r[c] = expf(score[c] - top);
        const float scale = (float)(1.0 / (sum * (double)p->fit));
        for (int64_t c = 0; c < p->classes; c++) r[c] *= scale;
        r[p->tile_labels[i]] -= (float)(1.0 / (double)p->fit);
        p->losses[i] = log(sum) + top - score[p->tile_labels[i]];
    }
}

/* Adds what rows [first, first + n) give. */
static clv_status add_tile(probe *p, int64_t first, int64_t n, double *value, double *gradient)
{
    float *x = p->x + first * p->width;
    CLV_TRY(clvi_gemm_tile_run(&p->forward, x, p->tile, p->narrow, p->classes, &p->scores));
    p->tile_labels = p->labels + first;
    clvi_parallel_for(p->ctx, n, CHUNK, soften, p);
    memset(p->residual + n * p->classes, 0, (size_t)((p->tile - n) * p->classes) * sizeof *p->residual);
    const clv_view residual = clv_view_2d(p->residual, CLV_F32, p->tile, p->classes);
    const clv_view rows = clv_view_2d(x, CLV_F32, p->tile, p->width);
    clv_view out;
    CLV_TRY(clv_graph_bind(p->backward, p->in_residual, &residual));
    CLV_TRY(clv_graph_bind(p->backward, p->in_rows, &rows));
    CLV_TRY(clv_graph_run(p->backward));
    CLV_TRY(clv_graph_read(p->backward, p->out_gradient, &out));
    for (int64_t i = 0; i < n; i++) *value += p->losses[i] / (double)p->fit;
    for (int64_t i = 0; i < p->classes * p->width; i++) gradient[i] += ((const float *)out.data)[i];
    return CLV_OK;
}

static void narrow(probe *p, const double *weights)
{
    for (int64_t i = 0; i < p->classes * p->width; i++) p->narrow[i] = (float)weights[i];
}

/* Mean cross entropy + lambda / 2 |W|^2; the biases, last in each row, are free. */
static clv_status objective(void *arg, const double *weights, double *value, double *gradient)
{
    probe *p = arg;
    narrow(p, weights);
    *value = 0.0;
    memset(gradient, 0, (size_t)(p->classes * p->width) * sizeof *gradient);
    for (int64_t first = 0; first < p->fit; first += p->tile)
        CLV_TRY(add_tile(p, first, CLVI_MIN(p->tile, p->fit - first), value, gradient));
    for (int64_t i = 0; i < p->classes * p->width; i++) {
        if (i % p->width == p->width - 1) continue;
        *value += 0.5 * p->lambda * weights[i] * weights[i];
        gradient[i] += p->lambda * weights[i];
    }
    return CLV_OK;
}

/* ---- predictions ---- */

/* Counts right answers among rows x [n (and a tile more), width]. */
static clv_status count_right(probe *p, const double *weights, const float *x, const int64_t *labels, int64_t n,
                              int64_t *predicted, int64_t *right, int64_t *right5)
{
    const float *scores = NULL;
    narrow(p, weights);
    *right = *right5 = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i % p->tile == 0)
            CLV_TRY(clvi_gemm_tile_run(&p->forward, x + i * p->width, p->tile, p->narrow, p->classes, &scores));
        const float *score = scores + i % p->tile * p->classes;
        int64_t best = 0, above = 0;
        for (int64_t c = 1; c < p->classes; c++)
            if (score[c] > score[best]) best = c;
        if (predicted) predicted[i] = best;
        *right += best == labels[i];
        if (labels[i] >= p->classes) continue;          /* a class that training never saw */
        for (int64_t c = 0; c < p->classes; c++)
            above += score[c] > score[labels[i]] || (score[c] == score[labels[i]] && c < labels[i]);
        *right5 += above < 5;
    }
    return CLV_OK;
}

/* ---- the sweep ---- */

static clv_status fit(probe *p, const clv_linear_desc *desc, double lambda, int64_t rows, int64_t *steps)
{
    p->lambda = lambda;
    p->fit = rows;
    const clvi_lbfgs problem = { .n = p->classes * p->width, .steps = desc->steps, .tolerance = 1e-6,
                                 .objective = objective, .arg = p };
    return clvi_lbfgs_minimise(p->ctx, &problem, p->weights, steps);
}

/* The i-th strength, from the strongest. */
static double strength(const clv_linear_desc *desc, int64_t i)
{
    if (desc->strengths == 1) return sqrt(desc->lambda_min * desc->lambda_max);
    return desc->lambda_max * pow(desc->lambda_min / desc->lambda_max, (double)i / (double)(desc->strengths - 1));
}

/* Mean cross entropy of the training rows. p->best is scratch. */
static clv_status mean_loss(probe *p, double *loss)
{
    p->lambda = 0.0;
    return objective(p, p->weights, loss, p->best);
}

/* Chooses lambda on the rows held out; equally good: the stronger. */
static clv_status sweep(probe *p, const clv_linear_desc *desc, clv_linear_result *out)
{
    const int64_t held = out->held_out, kept = p->rows - held;
    int64_t best = -1, right = 0, right5 = 0, steps = 0;
    out->lambda = sqrt(desc->lambda_min * desc->lambda_max);
    for (int64_t i = 0; i < desc->strengths && held > 0; i++) {
        CLV_TRY(fit(p, desc, strength(desc, i), kept, &steps));
        CLV_TRY(count_right(p, p->weights, p->x + kept * p->width, p->labels + kept, held, NULL, &right, &right5));
        if (right <= best) continue;
        best = right;
        out->lambda = p->lambda;
        out->held_out_top1 = 100.0 * (double)right / (double)held;
        memcpy(p->best, p->weights, (size_t)(p->classes * p->width) * sizeof *p->best);
    }
    memcpy(p->weights, p->best, (size_t)(p->classes * p->width) * sizeof *p->best);
    CLV_TRY(fit(p, desc, out->lambda, p->rows, &out->steps));
    return mean_loss(p, &out->loss);
}

/* ---- rows ---- */

/* Rows `index` of a view, standardised, with the 1; zeros for a tile behind them. */
static float *standardise(const probe *p, const clv_view *view, const int64_t *index, int64_t n)
{
    float *x = clvi_calloc(p->ctx, (size_t)(n + p->tile), (size_t)p->width * sizeof *x);
    for (int64_t i = 0; x && i < n; i++) {
        const float *from = (const float *)view->data + (index ? index[i] : i) * view->stride[0];
        float *to = x + i * p->width;
        for (int64_t j = 0; j < p->width - 1; j++) to[j] = (float)((from[j] - p->mean[j]) * p->scale[j]);
        to[p->width - 1] = 1.0f;
    }
    return x;
}

/* Mean and 1 / standard deviation of every column; a column that never changes counts as zero. */
static void measure(probe *p, const clv_view *view, const int64_t *index)
{
    for (int64_t pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < p->rows; i++) {
            const float *row = (const float *)view->data + index[i] * view->stride[0];
            for (int64_t j = 0; j < p->width - 1; j++)
                if (pass) p->scale[j] += (row[j] - p->mean[j]) * (row[j] - p->mean[j]) / (double)p->rows;
                else p->mean[j] += row[j] / (double)p->rows;
        }
    for (int64_t j = 0; j < p->width - 1; j++) {
        const double deviation = sqrt(p->scale[j]);
        p->scale[j] = deviation > 1e-6 * fabs(p->mean[j]) ? 1.0 / deviation : 0.0;
    }
}

/* The rows that train, those held out last: index [n]; p->rows and *held are set. */
static clv_status order_rows(probe *p, const clv_linear_desc *desc, const int64_t *labels, int64_t n, bool *chosen,
                             int64_t *index, int64_t *held)
{
    int64_t at = 0, last = 0;
    CLV_TRY(clvi_subset_choose(p->ctx, labels, n, desc->share, false, desc->seed, chosen, &p->rows));
    for (int64_t i = 0; i < n; i++)
        if (chosen[i]) {
            index[at] = i;
            p->labels[at++] = labels[i];
        }
    CLV_TRY(clvi_subset_choose(p->ctx, p->labels, p->rows, desc->held_out, true, desc->seed, chosen, held));
    int64_t *behind = index + n;                       /* a second half as scratch */
    at = 0;
    for (int64_t i = 0; i < p->rows; i++)
        if (chosen[i]) behind[last++] = index[i];
        else index[at++] = index[i];
    memcpy(index + at, behind, (size_t)last * sizeof *index);
    for (int64_t i = 0; i < p->rows; i++) p->labels[i] = labels[index[i]];
    return CLV_OK;
}

static clv_status build_backward(probe *p)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    CLV_TRY(clv_graph_create(p->ctx, &desc, &p->backward));
    p->in_residual = clv_input(p->backward, "residual", CLV_F32, 2, (int64_t[]){ p->tile, p->classes });
    p->in_rows = clv_input(p->backward, "rows", CLV_F32, 2, (int64_t[]){ p->tile, p->width });
    p->out_gradient = clv_matmul(p->backward, p->in_residual, true, p->in_rows, false);
    clv_graph_output(p->backward, p->out_gradient);
    return clv_graph_finish(p->backward);
}

static clv_status prepare(probe *p, const clv_linear_desc *desc, const clv_view *train, const int64_t *labels,
                          bool *chosen, int64_t *index, int64_t *held)
{
    CLV_TRY(order_rows(p, desc, labels, train->shape[0], chosen, index, held));
    p->tile = CLVI_MIN((int64_t)TILE, p->rows);
    measure(p, train, index);
    p->x = standardise(p, train, index, p->rows);
    const size_t count = (size_t)p->classes * (size_t)p->width;
    p->weights = clvi_calloc(p->ctx, count, sizeof *p->weights);
    p->best = clvi_calloc(p->ctx, count, sizeof *p->best);
    p->narrow = clvi_calloc(p->ctx, count, sizeof *p->narrow);
    p->residual = clvi_calloc(p->ctx, (size_t)p->tile * (size_t)p->classes, sizeof *p->residual);
    p->losses = clvi_calloc(p->ctx, (size_t)p->tile, sizeof *p->losses);
    if (!p->x || !p->weights || !p->best || !p->narrow || !p->residual || !p->losses) return CLV_ERR_NOMEM;
    CLV_TRY(clvi_gemm_tile_create(p->ctx, p->tile, p->classes, p->width, &p->forward));
    return build_backward(p);
}

static void release(probe *p)
{
    void *const memory[] = {
        p->mean, p->scale, p->x, p->labels, p->best, p->weights, p->narrow, p->residual, p->losses
    };
    for (size_t i = 0; i < CLVI_COUNT(memory); i++) clvi_free(p->ctx, memory[i]);
    clvi_gemm_tile_destroy(&p->forward);
    clv_graph_destroy(p->backward);
}

static clv_status run(probe *p, const clv_linear_desc *desc, const clv_view *train, const int64_t *labels,
                      bool *chosen, int64_t *index, clv_linear_result *out)
{
    const size_t n = (size_t)train->shape[0], dim = (size_t)p->width - 1;
    p->mean = clvi_calloc(p->ctx, dim, sizeof *p->mean);
    p->scale = clvi_calloc(p->ctx, dim, sizeof *p->scale);
    p->labels = clvi_calloc(p->ctx, n, sizeof *p->labels);
    if (!p->mean || !p->scale || !p->labels) return CLV_ERR_NOMEM;
    CLV_TRY(prepare(p, desc, train, labels, chosen, index, &out->held_out));
    out->rows = p->rows;
    out->classes = p->classes;
    return sweep(p, desc, out);
}

static clv_status judge(probe *p, const clv_view *test, const int64_t *labels, int64_t *predicted,
                        clv_linear_result *out)
{
    const int64_t n = test->shape[0];
    int64_t right = 0, right5 = 0;
    float *x = standardise(p, test, NULL, n);
    if (!x) return CLV_ERR_NOMEM;
    const clv_status st = count_right(p, p->weights, x, labels, n, predicted, &right, &right5);
    clvi_free(p->ctx, x);
    out->queries = n;
    out->top1 = 100.0 * (double)right / (double)CLVI_MAX(n, INT64_C(1));
    out->top5 = 100.0 * (double)right5 / (double)CLVI_MAX(n, INT64_C(1));
    return st;
}

static clv_status check(const clv_linear_desc *desc, const clv_view *train, const int64_t *labels, const clv_view *test,
                        const int64_t *test_labels, int64_t *classes)
{
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID, "linear probe: start from CLV_LINEAR_DESC_INIT");
    CLV_CHECK(desc->lambda_min > 0.0 && desc->lambda_min <= desc->lambda_max && desc->lambda_max < 1e12,
              CLV_ERR_INVALID, "linear probe: lambda runs from %g to %g; expected 0 < least <= most < 1e12",
              desc->lambda_min, desc->lambda_max);
    CLV_CHECK(desc->strengths >= 1 && desc->steps >= 1, CLV_ERR_INVALID,
              "linear probe: %" PRId64 " strengths of %" PRId64 " steps; both must be positive", desc->strengths,
              desc->steps);
    CLV_CHECK(desc->share > 0.0 && desc->share <= 1.0 && desc->held_out > 0.0 && desc->held_out < 1.0, CLV_ERR_INVALID,
              "linear probe: share is %g, held out %g; expected above 0, up to 1 and below 1", desc->share,
              desc->held_out);
    CLV_TRY(clvi_rows_check(train, "linear probe, training"));
    CLV_TRY(clvi_rows_check(test, "linear probe, test"));
    CLV_CHECK(train->shape[0] > 0, CLV_ERR_INVALID, "linear probe: there are no rows to train on");
    CLV_CHECK(train->shape[1] == test->shape[1] && train->shape[1] > 0, CLV_ERR_SHAPE,
              "linear probe: training rows have %" PRId64 " values, test rows %" PRId64, train->shape[1],
              test->shape[1]);
    CLV_TRY(clvi_labels_check(labels, train->shape[0], MAX_CLASSES, "linear probe, training", classes));
    int64_t any = 0;
    return clvi_labels_check(test_labels, test->shape[0], INT64_MAX, "linear probe, test", &any);
}

clv_status clv_linear_probe(clv_context *ctx, const clv_linear_desc *desc, const clv_view *train, const int64_t *labels,
                            const clv_view *test, const int64_t *test_labels, int64_t *predicted,
                            clv_linear_result *out)
{
    CLV_CHECK(ctx && desc && train && labels && test && test_labels && out, CLV_ERR_INVALID,
              "clv_linear_probe: an argument is NULL");
    probe p = { .ctx = ctx };
    CLV_TRY(check(desc, train, labels, test, test_labels, &p.classes));
    p.width = train->shape[1] + 1;
    *out = (clv_linear_result){ .rows = 0 };
    bool *chosen = clvi_calloc(ctx, (size_t)train->shape[0], sizeof *chosen);
    int64_t *index = clvi_calloc(ctx, (size_t)train->shape[0], 2 * sizeof *index);
    clv_status st = chosen && index ? run(&p, desc, train, labels, chosen, index, out) : CLV_ERR_NOMEM;
    clvi_free(ctx, chosen);
    clvi_free(ctx, index);
    if (st == CLV_OK) st = judge(&p, test, test_labels, predicted, out);
    release(&p);
    return st;
}
