/* monitor.c: what a run says about itself: kNN accuracy, a classifier's accuracy, health of features, scores of positives
 * and negatives. */
#include "train/trainer.h"
#include "core/checked.h"

#include <stdio.h>
#include <string.h>

#define SCORE_QUERIES 64      /* rows of a batch whose scores against the whole bank are looked at */
#define COLLAPSE_STD  0.1     /* of 1 for a healthy representation */
#define COLLAPSE_RANK 1.5
#define EXAMPLES      8       /* queries whose neighbours the report shows */
#define NEIGHBOURS    8

/* ---- a step ---- */

static clv_status check_collapse(clv_trainer *t, const clv_health *h)
{
    if (t->text) return CLV_OK;                            /* most words are of one class, and at first all look alike */
    if (h->std >= COLLAPSE_STD && h->effective_rank >= COLLAPSE_RANK) return CLV_OK;
    CLV_CHECK(!t->settings->stop_on_collapse, CLV_ERR_NUMERIC,
              "epoch %" PRId64 ", step %" PRId64 ": the features have collapsed (std %.3f, effective rank %.2f)",
              t->at.epoch + 1, t->at.step + 1, h->std, h->effective_rank);
    if (!t->collapse_told)
        clvi_trainer_note(
            t, "epoch %" PRId64 ", step %" PRId64 ": the features are collapsing (std %.3f of 1, effective rank %.2f)",
            t->at.epoch + 1, t->at.step + 1, h->std, h->effective_rank);
    t->collapse_told = true;
    return CLV_OK;
}

clv_status clvi_monitor_step(clv_trainer *t, const clvi_step_result *step, clv_progress *p)
{
    const int64_t batch = step->query.shape[0], dim = step->query.shape[1];
    if (batch < 2) return CLV_OK;
    if (!t->health.ctx) CLV_TRY(clvi_health_meter_create(t->ctx, batch, dim, &t->health));
    CLV_TRY(clvi_health_meter_look(&t->health, &step->query, step->key.data ? &step->key : NULL, &p->health));
    if (step->bank && step->key.data) {
        clv_view query = step->query, key = step->key;
        query.shape[0] = key.shape[0] = CLVI_MIN(batch, SCORE_QUERIES);
        const clv_view rows = clv_bank_rows(step->bank), valid = clv_bank_valid(step->bank);
        if (!t->scores.highest) CLV_TRY(clvi_score_meter_create(t->ctx, query.shape[0], dim, &t->scores));
        CLV_TRY(clvi_score_meter_look(&t->scores, &query, &key, &rows, valid.data, &p->scores));
    }
    return check_collapse(t, &p->health);
}

/* ---- kNN ---- */

/* `wanted` (0: all) evenly spaced images of a data set, with their labels. */
static clv_status choose(clv_context *ctx, const clv_dataset *ds, int64_t wanted, int64_t *count, int64_t **ids,
                         int64_t **labels)
{
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    *count = wanted > 0 ? CLVI_MIN(wanted, info.count) : info.count;
    *ids = clvi_calloc(ctx, (size_t)*count, sizeof **ids);
    *labels = clvi_calloc(ctx, (size_t)*count, sizeof **labels);
    if (!*ids || !*labels) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < *count; i++) {
        (*ids)[i] = (int64_t)((__int128)i * info.count / *count);
        (*labels)[i] = clv_dataset_label(ds, (*ids)[i]);
    }
    return CLV_OK;
}

static clv_knn_desc knn_desc(const clv_trainer *t)
{
    clv_knn_desc desc = CLV_KNN_DESC_INIT;
    desc.k = t->settings->knn_k;
    desc.temperature = t->settings->knn_t;
    desc.leave_one_out = !t->val;
    return desc;
}

/* Images looked at at once: no more than a step computes, or a batch in parts would take its memory here after all. */
static int64_t images_at_once(const clvi_settings *s)
{
    return s->micro_batch_size > 0 ? CLVI_MIN(s->micro_batch_size, s->batch_size) : s->batch_size;
}

static clv_status prepare(clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    const clv_layer layer = s->knn_layer ? CLV_LAYER_EMBEDDING : CLV_LAYER_BACKBONE;
    CLV_TRY(clvi_encoder_over(t->config, clvi_method_judged(t->method), t->info.channels, t->eval_aug, layer,
                              images_at_once(s), &t->encoder));
    CLV_TRY(choose(t->ctx, t->train, s->knn_bank, &t->bank_count, &t->bank_ids, &t->bank_labels));
    const size_t dim = (size_t)clv_encoder_dim(t->encoder);
    t->bank_rows = clvi_calloc(t->ctx, (size_t)t->bank_count * dim, sizeof(float));
    if (!t->bank_rows) return CLV_ERR_NOMEM;
    if (t->val) {
        CLV_TRY(choose(t->ctx, t->val, s->knn_queries, &t->query_count, &t->query_ids, &t->query_labels));
        t->query_rows = clvi_calloc(t->ctx, (size_t)t->query_count * dim, sizeof(float));
        if (!t->query_rows) return CLV_ERR_NOMEM;
    }
    const clv_knn_desc desc = knn_desc(t);
    snprintf(t->protocol, sizeof t->protocol,
             "kNN k=%" PRId64 " T=%g %s cosine, %s, bank %" PRId64 ", %s %" PRId64,
             CLVI_MIN(desc.k, t->bank_count), desc.temperature, s->knn_layer ? "embedding" : "backbone",
             t->method->average ? "averaged query encoder" : "query encoder", t->bank_count,
             t->val ? "queries" : "leave-one-out", t->val ? t->query_count : t->bank_count);
    return CLV_OK;
}

void clvi_monitor_release(clv_trainer *t)
{
    clvi_health_meter_destroy(&t->health);
    clvi_score_meter_destroy(&t->scores);
    clv_encoder_destroy(t->encoder);
    clv_encoder_destroy(t->classifier);
    clvi_free(t->ctx, t->bank_ids);
    clvi_free(t->ctx, t->bank_labels);
    clvi_free(t->ctx, t->bank_rows);
    clvi_free(t->ctx, t->query_ids);
    clvi_free(t->ctx, t->query_labels);
    clvi_free(t->ctx, t->query_rows);
}

/* Bank and query rows as the kNN takes them: without held-out images both are the bank. */
typedef struct knn_sets {
    clv_view       bank, query;
    const int64_t *query_ids, *query_labels;
} knn_sets;

static knn_sets sets_of(const clv_trainer *t)
{
    const int64_t dim = clv_encoder_dim(t->encoder);
    const clv_view bank = clv_view_2d(t->bank_rows, CLV_F32, t->bank_count, dim);
    if (!t->val) return (knn_sets){ bank, bank, t->bank_ids, t->bank_labels };
    return (knn_sets){ bank, clv_view_2d(t->query_rows, CLV_F32, t->query_count, dim), t->query_ids, t->query_labels };
}

/* Row `row` of the search's result, `found` bank rows of which `wanted` are kept, moved to its place among kept rows:
 * image ids, without the image `self`. */
static void keep_others(const clv_trainer *t, int64_t self, int64_t found, int64_t wanted, int64_t row,
                        int64_t *neighbour, float *similarity)
{
    int64_t kept = 0;
    for (int64_t j = 0; j < found && kept < wanted; j++) {
        const int64_t id = t->bank_ids[neighbour[row * found + j]];
        if (id == self) continue;
        similarity[row * wanted + kept] = similarity[row * found + j];
        neighbour[row * wanted + kept++] = id;
    }
}

/* examples.h5, for the report: features of at most 2000 queries, and a few of them with their nearest bank images. */
static clv_status write_examples(clv_trainer *t, const knn_sets *sets)
{
    const int64_t n = CLVI_MIN(sets->query.shape[0], INT64_C(2000)), dim = sets->query.shape[1];
    const int64_t shown = CLVI_MIN(n, EXAMPLES);
    int64_t ids[EXAMPLES], labels[EXAMPLES], neighbour[EXAMPLES * (NEIGHBOURS + 1)];
    float similarity[EXAMPLES * (NEIGHBOURS + 1)];
    clv_knn_desc desc = knn_desc(t);
    /* Without held-out images a query finds itself first: one more is looked for, and it is dropped. */
    const int64_t own = t->val ? 0 : 1, wanted = CLVI_MIN(NEIGHBOURS, t->bank_count - own);
    desc.k = wanted + own;
    if (shown < 1 || wanted < 1) return CLV_OK;
    float *rows = clvi_calloc(t->ctx, (size_t)(shown * dim), sizeof *rows);
    if (!rows) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < shown; i++) {
        const int64_t at = i * sets->query.shape[0] / shown;
        ids[i] = sets->query_ids[at];
        labels[i] = sets->query_labels[at];
        memcpy(rows + i * dim, (const float *)sets->query.data + at * dim, (size_t)dim * sizeof *rows);
    }
    char path[CLVI_PATH_SIZE + 16];
    snprintf(path, sizeof path, "%s/examples.h5", t->settings->results_dir);
    clvi_h5 *h5 = NULL;
    clv_status st = CLV_OK;
    desc.leave_one_out = false;                            /* the rows are copies, in no order that the search knows */
    const clv_view some = clv_view_2d(rows, CLV_F32, shown, dim);
    CLV_TRY_OR_DONE(clv_knn_search(t->ctx, &desc, &sets->bank, &some, neighbour, similarity));
    for (int64_t i = 0; i < shown; i++) keep_others(t, own ? ids[i] : -1, desc.k, wanted, i, neighbour, similarity);
    CLV_TRY_OR_DONE(clvi_h5_create(t->ctx, path, true, &h5));
    const clv_view features = clv_view_2d(sets->query.data, CLV_F32, n, dim);
    const clv_view all_ids = clv_view_1d((void *)sets->query_ids, CLV_I64, n);
    const clv_view all_labels = clv_view_1d((void *)sets->query_labels, CLV_I64, n);
    const clv_view shown_ids = clv_view_1d(ids, CLV_I64, shown), shown_labels = clv_view_1d(labels, CLV_I64, shown);
    const clv_view near = clv_view_2d(neighbour, CLV_I64, shown, wanted),
                   sim = clv_view_2d(similarity, CLV_F32, shown, wanted);
    CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", "format", "cleave-examples-1"));
    CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", "protocol", t->protocol));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "features", &features));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "ids", &all_ids));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "labels", &all_labels));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "example_ids", &shown_ids));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "example_labels", &shown_labels));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "neighbour_ids", &near));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "neighbour_similarity", &sim));
    st = clvi_h5_commit(h5);
    h5 = NULL;
done:
    clvi_h5_close(h5);
    clvi_free(t->ctx, rows);
    return st;
}

clv_status clvi_monitor_knn(clv_trainer *t, double *top1)
{
    *top1 = -1.0;
    if (!t->info.has_labels) return CLV_OK;
    if (!t->encoder) CLV_TRY(prepare(t));
    const knn_sets sets = sets_of(t);
    CLV_TRY(clvi_encoder_embed_ids(t->encoder, t->train, t->bank_ids, 0, t->bank_count, &sets.bank, NULL, NULL));
    if (t->val)
        CLV_TRY(clvi_encoder_embed_ids(t->encoder, t->val, t->query_ids, 0, t->query_count, &sets.query, NULL, NULL));
    const clv_knn_desc desc = knn_desc(t);
    clv_knn_result result;
    CLV_TRY(clv_knn_classify(t->ctx, &desc, &sets.bank, t->bank_labels, &sets.query, sets.query_labels, NULL, &result));
    *top1 = result.top1;
    CLV_TRY(clvi_tensorboard_projector(t->tensorboard, &sets.query, sets.query_ids, sets.query_labels,
                                       t->val ? t->val : t->train));
    return write_examples(t, &sets);
}

/* ---- a classifier ---- */

/* Classes that score above the label's, those that score the same and come before it included. */
static int64_t rank_of(const float *scores, int64_t classes, int64_t label)
{
    int64_t rank = 0;
    if (label >= classes) return classes;                  /* a class that the training images do not have */
    for (int64_t c = 0; c < classes; c++)
        rank += scores[c] > scores[label] || (scores[c] == scores[label] && c < label);
    return rank;
}

static clv_status count_hits(clv_trainer *t, float *scores, double *top1, double *top5)
{
    const int64_t classes = clv_encoder_dim(t->classifier), batch = images_at_once(t->settings);
    clv_dataset_info info;
    clv_dataset_describe(t->val, &info);
    int64_t hits[2] = { 0 }, known = 0;
    for (int64_t first = 0; first < info.count; first += batch) {
        const int64_t n = CLVI_MIN(batch, info.count - first);
        const clv_view view = clv_view_2d(scores, CLV_F32, n, classes);
        CLV_TRY(clvi_encoder_embed_ids(t->classifier, t->val, NULL, first, n, &view, NULL, NULL));
        for (int64_t i = 0; i < n; i++) {
            const int64_t label = clv_dataset_label(t->val, first + i);
            if (label < 0) continue;
            const int64_t rank = rank_of(scores + i * classes, classes, label);
            known++;
            hits[0] += rank < 1;
            hits[1] += rank < 5;
        }
    }
    *top1 = known ? 100.0 * (double)hits[0] / (double)known : -1.0;
    *top5 = known ? 100.0 * (double)hits[1] / (double)known : -1.0;
    return CLV_OK;
}

clv_status clvi_monitor_classifier(clv_trainer *t, double *top1, double *top5)
{
    clv_params *params = clvi_method_judged(t->method);
    *top1 = *top5 = -1.0;
    if (!t->val || !t->method->cls->classifies || clv_params_find(params, "classifier.weight") < 0) return CLV_OK;
    if (!t->classifier)
        CLV_TRY(clvi_encoder_over(t->config, params, t->info.channels, t->eval_aug, CLVI_LAYER_SCORES,
                                  images_at_once(t->settings), &t->classifier));
    const size_t count = (size_t)(images_at_once(t->settings) * clv_encoder_dim(t->classifier));
    float *scores = clvi_calloc(t->ctx, count, sizeof *scores);
    if (!scores) return CLV_ERR_NOMEM;
    const clv_status st = count_hits(t, scores, top1, top5);
    clvi_free(t->ctx, scores);
    return st;
}
