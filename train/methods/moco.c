/* moco.c: momentum contrast. He et al. 2020, arXiv:1911.05722, algorithm 1 (v1); Chen et al. 2020, arXiv:2003.04297
 * (v2: the mlp head and stronger augmentation are settings, not another method).
 *
 * A step: the key encoder follows the query encoder (theta_k = m theta_k + (1-m) theta_q); keys without gradient, their
 * batch shuffled over the groups of split batch norm; InfoNCE against the bank as it was; SGD; then the keys are
 * enqueued. With several groups, batch norm sees what it would see on as many devices (section 3.3, "Shuffling BN").
 *
 * The loss may also mix harder negatives (MoCHi, arXiv:2010.01028) or move the features (FT, arXiv:2108.02982). Labels
 * reach a loss only from a labelled bank. */
#include "train/step/method.h"
#include "train/step/network.h"
#include "train/step/teacher.h"
#include "core/checked.h"
#include "device/backend.h"
#include "tensor/op.h"

#include <stdio.h>
#include <string.h>

typedef struct moco {
    clvi_method base;
    double      warmup;                         /* epochs without mixes, or moved features */
    int64_t    *ids;                            /* [B] of the batch at work */
    float      *queries;                        /* symmetric: [B,D] of the first direction */
    void       *sum;                            /* symmetric: gradient arena of the first direction */
    float      *first;                          /* symmetric, steps given to a device as a whole: its loss */
    size_t      sum_size;
} moco;

static const clvi_takes takes[] = {
    { "moco_queue", NULL, { { "query", "query" }, { "key", "key" }, { "queue", "queue" }, { "queue_valid", "valid" },
                            { "ids", "mask" }, { "queue_ids", "queue_mask" } } },
    { "mochi", NULL, { { "query", "query" }, { "key", "key" }, { "queue", "queue" }, { "queue_valid", "valid" },
                       { "labels", "labels" }, { "queue_labels", "queue_labels" }, { "step", "step" } } },
    { "feature_transform", NULL, { { "q", "query" }, { "k", "key" }, { "queue", "queue" }, { "queue_valid", "valid" },
                                   { "step", "step" } } },
    { .loss = NULL }
};

/* ---- building ---- */

static clv_status check_labels(const moco *m, const clvi_settings *s)
{
    const char *oracle = clvi_objective_option(&m->base.objective, "mochi", "oracle");
    const bool labelled = s->bank == CLVI_BANK_KIND_LABELLED;
    CLV_CHECK(!labelled || m->base.setup.classes > 0, CLV_ERR_INVALID, "a labelled bank needs data with labels");
    CLV_CHECK(labelled || !oracle || !strcmp(oracle, "false"), CLV_ERR_INVALID,
              "loss 'mochi': the oracle needs labels, and so bank 'labelled'");
    CLV_CHECK(labelled || s->queue_mask != CLVI_QUEUE_MASK_CLASS, CLV_ERR_INVALID,
              "queue-mask 'class' needs labels, and so bank 'labelled'");
    return CLV_OK;
}

static clv_status moco_open(clvi_method *base)
{
    moco *m = (moco *)base;
    const clvi_settings *s = base->settings;
    CLV_TRY(check_labels(m, s));
    CLV_TRY(clvi_objective_take(&base->objective, "warmup-epochs", &m->warmup));
    CLV_TRY(clvi_objective_set(&base->objective, "epoch", "0", "is the run's"));
    m->ids = clvi_calloc(base->ctx, (size_t)base->batch, sizeof *m->ids);
    return m->ids ? CLV_OK : CLV_ERR_NOMEM;
}

static void give_masks(moco *m, int kind)
{
    const clv_view own = clv_view_1d(m->ids, CLV_I64, m->base.batch), label = clv_view_1d(m->base.labels, CLV_I64,
                                                                                          m->base.batch);
    const clv_view rows = kind == CLVI_QUEUE_MASK_CLASS ? clv_bank_labels(m->base.bank) : clv_bank_ids(m->base.bank);
    if (kind == CLVI_QUEUE_MASK_NONE) return;
    (void)clvi_method_give_input(&m->base, "mask", kind == CLVI_QUEUE_MASK_CLASS ? &label : &own);
    (void)clvi_method_give_input(&m->base, "queue_mask", &rows);
}

static clv_status moco_build(clvi_method *base)
{
    moco *m = (moco *)base;
    const clvi_settings *s = base->settings;
    clvi_method_give(base, "query", clvi_method_rows(base, clvi_method_embed(base, 0, NULL)));
    (void)clvi_method_give_target(base, "key", 1);
    CLV_TRY(clvi_method_open_bank(base, s->bank == CLVI_BANK_KIND_LABELLED ? "labelled" : "fifo", base->dim, NULL,
                                  0));
    if (clvi_objective_reads(&base->objective, "mask")) give_masks(m, s->queue_mask);
    if (clvi_objective_reads(&base->objective, "step")) (void)clvi_method_give_step(base, "step");
    if (clvi_objective_reads(&base->objective, "labels") && s->bank == CLVI_BANK_KIND_LABELLED) {
        const clv_view labels = clv_bank_labels(base->bank);
        (void)clvi_method_give_labels(base, "labels", 1);
        (void)clvi_method_give_input(base, "queue_labels", &labels);
    }
    return CLV_OK;
}

/* Memory of the second direction, once the network is known. */
static clv_status moco_ready(clvi_method *base)
{
    moco *m = (moco *)base;
    if (!base->settings->symmetric) return CLV_OK;
    const size_t rows = (size_t)(base->batch * base->dim);
    base->keys[0] = clvi_calloc(base->ctx, rows, sizeof(float));
    m->queries = clvi_calloc(base->ctx, rows, sizeof(float));
    m->sum_size = clvi_params_arena_size(base->params);
    m->sum = clvi_device_alloc(base->ctx, m->sum_size);
    if (base->queued) m->first = clvi_device_alloc(base->ctx, sizeof *m->first);
    return base->keys[0] && m->queries && m->sum && (m->first || !base->queued) ? CLV_OK : CLV_ERR_NOMEM;
}

static void moco_close(clvi_method *base)
{
    moco *m = (moco *)base;
    clvi_device_free(base->ctx, m->sum, m->sum_size);
    clvi_device_free(base->ctx, m->first, sizeof *m->first);
    clvi_free(base->ctx, m->queries);
    clvi_free(base->ctx, m->ids);
}

/* ---- a step ---- */

/* One direction: keys of one view, then loss and gradients of the other view's queries. Each direction has its own
 * shuffle and its own draws inside the loss. */
static clv_status direction(moco *m, const clv_batch *batch, const clvi_step *at, int d, double *loss)
{
    clvi_method *base = &m->base;
    const int key = 1 - d;
    const bool mixes = at->epoch >= m->warmup;
    base->number[0] = !mixes ? -1 : base->settings->symmetric ? 2 * at->total + d : at->total;
    CLV_TRY(clvi_method_embed_target(base, &batch->view[key], at, d, key));
    CLV_TRY(clvi_method_move(base, "key", key));
    return clvi_method_run(base, &batch->view[d], loss);
}

/* The second direction: its loss and gradients are added to the first's. */
static clv_status other_direction(moco *m, const clv_batch *batch, const clvi_step *at, double *loss)
{
    clvi_method *base = &m->base;
    clv_view g;
    double second = 0.0;
    CLV_TRY(clv_params_flat(base->params, CLV_PARAM_GRADIENT, &g));
    CLV_TRY(clvi_device_copy(base->ctx, m->sum, g.data, (size_t)clv_view_count(&g) * clv_dtype_size(g.dtype),
                             CLVI_COPY_ON_DEVICE));
    if (base->queued)
        CLV_TRY(clvi_device_copy(base->ctx, m->first, base->loss_there, sizeof *m->first, CLVI_COPY_ON_DEVICE));
    CLV_TRY(clvi_graph_fetch(base->graph, base->unit[0], m->queries));
    CLV_TRY(direction(m, batch, at, 1, &second));
    clvi_flat_axpy(base->ctx, g.dtype, clv_view_count(&g), 1.0, m->sum, g.data);
    if (base->queued) clvi_flat_axpy(base->ctx, CLV_F32, 1, 1.0, m->first, base->loss_there);
    *loss += second;
    return CLV_OK;
}

static clv_status moco_forward(clvi_method *base, const clv_batch *batch, const clvi_step *at, clvi_step_result *out)
{
    moco *m = (moco *)base;
    memcpy(m->ids, batch->ids, (size_t)base->batch * sizeof *m->ids);
    CLV_TRY(clvi_teacher_follow(base->teacher, base->params, at->key_momentum));
    CLV_TRY(direction(m, batch, at, 0, &out->loss));
    return base->settings->symmetric ? other_direction(m, batch, at, &out->loss) : CLV_OK;
}

static clv_status moco_rows(clvi_method *base, clvi_step_result *out)
{
    out->key = clv_view_2d(base->keys[1], CLV_F32, base->batch, base->dim);
    out->query = clv_view_2d(((moco *)base)->queries, CLV_F32, base->batch, base->dim);
    return base->settings->symmetric ? CLV_OK : clv_graph_read(base->graph, base->unit[0], &out->query);
}

/* The views whose keys are enqueued, in order: the demo enqueues the first view's first. */
static int first_view(const clvi_method *base)
{
    return base->settings->symmetric ? 0 : 1;
}

static clv_status moco_enqueue(clvi_method *base, const clv_batch *batch)
{
    const int first = first_view(base);
    for (int v = first; v < 2; v++) {
        clvi_method_enqueue(base, base->there[v], batch, v - first, 2 - first);
        CLV_TRY(clvi_tape_fetch(base->ctx, base->keys[v], base->there[v],
                                (size_t)(base->batch * base->dim) * sizeof(float)));
    }
    return CLV_OK;
}

static clv_status moco_update(clvi_method *base, const clv_batch *batch)
{
    for (int v = first_view(base); v < 2; v++) {
        const clv_view keys = clv_view_2d(base->keys[v], CLV_F32, base->batch, base->dim);
        CLV_TRY(clvi_method_push(base, &keys, batch));
    }
    return CLV_OK;
}

/* ---- telling ---- */

static void moco_memory(const clvi_method *base, clvi_method_bytes *bytes)
{
    bytes->gradients += ((const moco *)base)->sum_size;
}

static clv_status moco_describe(clvi_method *base, void (*line)(const char *text, void *user), void *user)
{
    const moco *m = (const moco *)base;
    char text[128];
    if (m->warmup <= 0) return CLV_OK;
    snprintf(text, sizeof text, "warm-up: nothing is mixed or moved in the first %g epochs", m->warmup);
    line(text, user);
    return CLV_OK;
}

static const char *moco_head(const clvi_settings *s)
{
    return s->mlp ? "mlp" : "linear";
}

static const char *const uses[] = {
    "mlp",  "moco-k",     "moco-m",     "moco-m-cos",       "symmetric", "shuffle-bn", "bn-buffers",
    "bank", "queue-init", "queue-mask", "moco-queue-dtype", NULL,
};

extern const clvi_method_class clvi_method_moco;
const clvi_method_class clvi_method_moco = {
    .info = { "moco", "momentum contrast, v1 and v2, asymmetric or symmetric", "arXiv:1911.05722, arXiv:2003.04297",
              0 },
    .size = sizeof(moco), .views = 2, .teacher = true, .takes = takes, .uses = uses, .choose_head = moco_head,
    .build = moco_build, .open = moco_open, .ready = moco_ready, .forward = moco_forward, .rows = moco_rows,
    .update = moco_update, .queues = true, .enqueue = moco_enqueue,
    .memory = moco_memory, .describe = moco_describe, .close = moco_close,
};
