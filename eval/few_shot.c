/* few_shot.c: classes that training never saw, told apart by a few examples of each, in many small tasks. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "core/rng.h"
#include "eval/rows.h"

#include <math.h>
#include <string.h>

enum { MOST = 1 << 20, EPISODES = 2 };    /* the generator's view: other draws than those of clv_stratified_subset */

typedef struct few_shot {
    const clv_few_shot_desc *desc;
    float   *rows;                    /* [n,D], unit length */
    int64_t  dim, classes;            /* classes with rows enough */
    int64_t *order;                   /* [n]: rows, class by class */
    int64_t *first, *count;           /* [labels]: where the rows of the classes begin in it, and how many they are */
    int64_t *picked;                  /* [ways, shots + queries]: of an episode */
    float   *centre;                  /* [ways,D] */
} few_shot;

/* Rows class by class; only classes with rows enough keep a place. */
static clv_status sort_rows(clv_context *ctx, few_shot *f, const int64_t *labels, int64_t n, int64_t limit)
{
    const int64_t enough = f->desc->shots + f->desc->queries;
    f->order = clvi_calloc(ctx, (size_t)(n + 2 * limit), sizeof *f->order);
    if (!f->order) return CLV_ERR_NOMEM;
    f->first = f->order + n;
    f->count = f->first + limit;
    for (int64_t i = 0; i < n; i++) f->count[labels[i]]++;
    for (int64_t c = 1; c < limit; c++) f->first[c] = f->first[c - 1] + f->count[c - 1];
    for (int64_t i = 0; i < n; i++) f->order[f->first[labels[i]]++] = i;
    for (int64_t c = 0; c < limit; c++) {
        const int64_t count = f->count[c], first = f->first[c] - count;
        if (count < enough) continue;
        f->count[f->classes] = count;
        f->first[f->classes++] = first;
    }
    CLV_CHECK(f->classes >= f->desc->ways, CLV_ERR_INVALID,
              "few-shot: %" PRId64 " classes have %" PRId64 " rows or more; a task takes %" PRId64, f->classes, enough,
              f->desc->ways);
    return CLV_OK;
}

static uint64_t wide(clvi_rng *rng)
{
    const uint64_t high = clvi_rng_u32(rng);
    return high << 32 | clvi_rng_u32(rng);
}

/* Classes of an episode, and of each its examples, then its queries. */
static void pick(few_shot *f, int64_t episode)
{
    const int64_t each = f->desc->shots + f->desc->queries;
    clvi_rng rng = clvi_rng_make(f->desc->seed, CLVI_RNG_SUBSET, (uint32_t)episode, 0, EPISODES);
    const uint64_t classes = wide(&rng);
    for (int64_t w = 0; w < f->desc->ways; w++) {
        const uint64_t c = clvi_rng_permute(classes, CLVI_RNG_SUBSET, 0, (uint64_t)f->classes, (uint64_t)w);
        const uint64_t rows = wide(&rng);
        for (int64_t i = 0; i < each; i++)
            f->picked[w * each + i] = f->order[f->first[c] + (int64_t)clvi_rng_permute(
                rows, CLVI_RNG_SUBSET, 0, (uint64_t)f->count[c], (uint64_t)i)];
    }
}

static double product(const float *a, const float *b, int64_t dim)
{
    double sum = 0.0;
    for (int64_t k = 0; k < dim; k++) sum += (double)a[k] * b[k];
    return sum;
}

/* The direction of the mean of the examples. */
static void make_centre(few_shot *f, int64_t way)
{
    float *centre = f->centre + way * f->dim;
    memset(centre, 0, (size_t)f->dim * sizeof *centre);
    for (int64_t s = 0; s < f->desc->shots; s++) {
        const float *row = f->rows + f->picked[way * (f->desc->shots + f->desc->queries) + s] * f->dim;
        for (int64_t k = 0; k < f->dim; k++) centre[k] += row[k];
    }
    const double squares = product(centre, centre, f->dim);
    for (int64_t k = 0; k < f->dim; k++) centre[k] *= (float)(squares > 0 ? 1.0 / sqrt(squares) : 0.0);
}

/* Percent of the queries whose own centre is the nearest; ties go to the class drawn first. */
static double play(few_shot *f, int64_t episode)
{
    const int64_t ways = f->desc->ways, each = f->desc->shots + f->desc->queries;
    int64_t right = 0;
    pick(f, episode);
    for (int64_t w = 0; w < ways; w++) make_centre(f, w);
    for (int64_t q = 0; q < ways * f->desc->queries; q++) {
        const int64_t way = q / f->desc->queries;
        const float *row = f->rows + f->picked[way * each + f->desc->shots + q % f->desc->queries] * f->dim;
        int64_t best = 0;
        double most = -INFINITY;
        for (int64_t w = 0; w < ways; w++) {
            const double near = product(row, f->centre + w * f->dim, f->dim);
            if (near > most) {
                most = near;
                best = w;
            }
        }
        right += best == way;
    }
    return 100.0 * (double)right / (double)(ways * f->desc->queries);
}

/* There are rows enough for a task, so neither is larger than they are. */
static clv_status make_room(clv_context *ctx, few_shot *f, const clv_view *rows)
{
    const int64_t ways = f->desc->ways;
    CLV_TRY(clvi_rows_copy(ctx, rows, false, true, &f->rows));
    f->picked = clvi_calloc(ctx, (size_t)(ways * (f->desc->shots + f->desc->queries)), sizeof *f->picked);
    f->centre = clvi_calloc(ctx, (size_t)ways * (size_t)f->dim, sizeof *f->centre);
    return f->picked && f->centre ? CLV_OK : CLV_ERR_NOMEM;
}

static void measure(few_shot *f, clv_few_shot_result *out)
{
    const int64_t episodes = f->desc->episodes;
    double squares = 0.0;
    *out = (clv_few_shot_result){ .classes = f->classes, .episodes = episodes };
    for (int64_t e = 0; e < episodes; e++) {
        const double accuracy = play(f, e), before = accuracy - out->accuracy;
        out->accuracy += before / (double)(e + 1);
        squares += before * (accuracy - out->accuracy);
    }
    if (episodes > 1) out->interval = 1.96 * sqrt(squares / (double)(episodes - 1) / (double)episodes);
}

static clv_status check(const clv_few_shot_desc *desc)
{
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID, "few-shot: start from CLV_FEW_SHOT_DESC_INIT");
    const bool some = desc->ways >= 2 && desc->shots >= 1 && desc->queries >= 1 && desc->episodes >= 1;
    const bool bounded = desc->ways <= MOST && desc->shots <= MOST && desc->queries <= MOST && desc->episodes <= MOST;
    CLV_CHECK(some && bounded, CLV_ERR_INVALID, "few-shot: %" PRId64 " tasks of %" PRId64 " classes, %" PRId64
              " examples and %" PRId64 " queries of each", desc->episodes, desc->ways, desc->shots, desc->queries);
    return CLV_OK;
}

clv_status clv_few_shot_measure(clv_context *ctx, const clv_few_shot_desc *desc, const clv_view *rows,
                                const int64_t *labels, clv_few_shot_result *out)
{
    int64_t limit = 0;
    CLV_CHECK(ctx && desc && rows && labels && out, CLV_ERR_INVALID, "clv_few_shot_measure: an argument is NULL");
    CLV_TRY(check(desc));
    CLV_TRY(clvi_rows_check(rows, "few-shot"));
    CLV_TRY(clvi_labels_check(labels, rows->shape[0], MOST, "few-shot", &limit));
    few_shot f = { .desc = desc, .dim = rows->shape[1] };
    clv_status st = sort_rows(ctx, &f, labels, rows->shape[0], limit);
    if (st == CLV_OK) st = make_room(ctx, &f, rows);
    if (st == CLV_OK) measure(&f, out);
    clvi_free(ctx, f.centre);
    clvi_free(ctx, f.picked);
    clvi_free(ctx, f.rows);
    clvi_free(ctx, f.order);
    return st;
}
