/* supervised.c: a classifier trained with labels, alone or with a loss on its features beside (opl, triplet, circle,
 * dispersive, repulsor). Losses of logits see a linear classifier on the pooled features; margin losses (arcface,
 * cosface, unpg) see directions of classes on an embedding, a linear layer on the features (`moco-dim`), because pooled
 * features have no negative entries. Repulsor has a bank of earlier embeddings, projected if `queue-dim` says so. */
#include "train/step/method.h"
#include "train/step/network.h"
#include "core/checked.h"
#include "device/backend.h"
#include "tensor/op.h"
#include "train/step/mix.h"

#define LOGITS { { "logits", "logits" }, { "targets", "labels" } }
#define ROWS   { { "features", "embedding" }, { "labels", "labels" } }
#define MARGIN { { "features", "embedding" }, { "weight", "weight" }, { "labels", "labels" } }

typedef struct supervised {
    clvi_method base;
    clv_node    scores;       /* [B,C] what the classifier says; none without one */
    float      *shares;       /* [B,C] of each class in an image, when images are mixed; else NULL */
    float      *others;       /* where it is mixed, the images of another rank that this one's meet; NULL: their own */
    float      *mixed;        /* the batch on the device, where it is mixed there; else NULL */
} supervised;

static const clvi_takes takes[] = {
    { "cross_entropy", "hard", LOGITS },
    { "focal", "softmax", LOGITS },
    { "dice", "multiclass_official", LOGITS },
    { "arcface", NULL, MARGIN },
    { "cosface", NULL, MARGIN },
    { "unpg", NULL, MARGIN },
    { "opl", NULL, ROWS },
    { "triplet", "batch_hard", ROWS },
    { "triplet", "batch_hard_soft", ROWS },
    { "triplet", "batch_all", ROWS },
    { "circle", "pairwise", ROWS },
    { "dispersive", "infonce_l2", { { "z", "embedding" } } },
    { "dispersive", "infonce_cos", { { "z", "embedding" } } },
    { "dispersive", "hinge", { { "z", "embedding" } } },
    { "dispersive", "covariance", { { "z", "embedding" } } },
    { "repulsor", NULL, { { "z", "row" }, { "x", "unprojected" }, { "w", "projection" }, { "bank", "queue" },
                          { "bank_valid", "valid" } } },
    { .loss = NULL }
};

static const clvi_takes takes_mixed[] = {
    { "cross_entropy", "soft", { { "logits", "logits" }, { "targets", "shares" } } },
    { .loss = NULL }
};

static bool has_margin(const clvi_objective *o)
{
    return clvi_objective_reads(o, "weight");
}

static size_t images_size(const clvi_method *base)
{
    const clvi_method_setup *s = &base->setup;
    return (size_t)(base->division.local * s->channels * s->height * s->width) * sizeof(float);
}

/* The first image of the whole batch meets the last: those of the first rank those of the last rank, and so on. */
static int met_by(const clvi_method *base)
{
    return base->division.ranks - 1 - base->division.rank;
}

static clv_status open(clvi_method *base)
{
    supervised *m = (supervised *)base;
    if (!clvi_mix_wanted(base->settings)) return CLV_OK;
    m->shares = clvi_calloc(base->ctx, (size_t)(base->batch * base->setup.classes), sizeof *m->shares);
    if (!m->shares) return CLV_ERR_NOMEM;
    if (base->ctx->device && !(m->mixed = clvi_device_alloc(base->ctx, images_size(base)))) return CLV_ERR_NOMEM;
    if (met_by(base) == base->division.rank) return CLV_OK;
    m->others = clvi_device_alloc(base->ctx, images_size(base));
    return m->others ? CLV_OK : CLV_ERR_NOMEM;
}

static void close(clvi_method *base)
{
    clvi_device_free(base->ctx, ((supervised *)base)->mixed, images_size(base));
    clvi_device_free(base->ctx, ((supervised *)base)->others, images_size(base));
    clvi_free(base->ctx, ((supervised *)base)->shares);
}

static clv_status build(clvi_method *base)
{
    supervised *m = (supervised *)base;
    clv_graph *g = base->graph;
    const bool margin = has_margin(&base->objective), freeze = base->settings->freeze;
    clv_node x = clvi_method_rows(base, clvi_method_embed(base, 0, NULL)), w = CLV_NONE;
    if (freeze) x = clv_stop_gradient(g, x);
    m->scores = CLV_NONE;
    CLV_CHECK(!freeze || clvi_objective_reads(&base->objective, "logits"), CLV_ERR_INVALID,
              "freeze trains a linear classifier alone: the loss must be one of logits");
    CLV_CHECK(!margin || !clvi_objective_reads(&base->objective, "logits"), CLV_ERR_INVALID,
              "loss: a loss of logits and a margin loss have two different classifiers; choose one");
    clvi_method_give(base, "embedding", x);
    if (clvi_objective_reads(&base->objective, "labels")) (void)clvi_method_give_labels(base, "labels", 1);
    if (margin || clvi_objective_reads(&base->objective, "logits"))
        m->scores = clvi_classifier_node(g, x, base->setup.classes, margin, freeze, &w);
    if (!clvi_node_none(m->scores)) clvi_method_give(base, margin ? "weight" : "logits", margin ? w : m->scores);
    if (m->shares) {
        const clv_view view = clv_view_2d(m->shares, CLV_F32, base->batch, base->setup.classes);
        (void)clvi_method_give_input(base, "shares", &view);
    }
    if (!clvi_node_none(m->scores)) clv_graph_output(g, m->scores);
    return clvi_objective_uses(&base->objective, "repulsor") ? clvi_method_open_repulsor(base, x) : CLV_OK;
}

static clv_status ready(clvi_method *base)
{
    if (base->settings->freeze) clvi_optimizer_only(base->optimizer, "classifier.");
    return CLV_OK;
}

/* The images of the rank that this one's meet: ranks swap. */
static clv_status meet(supervised *m, const float *images)
{
    clvi_method *base = &m->base;
    if (!m->others) return CLV_OK;
    return clvi_comm_swap_arena(base->setup.comm, met_by(base), images, m->others, images_size(base));
}

/* Those on the host stay as they are: a step may be queued twice. What is swapped was not needed if nothing is mixed,
 * but every step of a device is the same. */
static clv_status mix_there(supervised *m, const clvi_mix *how, clv_view *images)
{
    clv_context *ctx = m->base.ctx;
    const float *sent = images->device ? images->data
                                       : clvi_tape_bring(ctx, images->data, images_size(&m->base), m->mixed);
    CLV_TRY(meet(m, sent));
    clvi_rows_mix(ctx, how, images->shape, sent, m->others, m->mixed);
    images->data = m->mixed;
    images->device = 1;
    return CLV_OK;
}

/* On the host images are mixed where they lie: the batch is this step's alone. */
static clv_status mix(supervised *m, clv_view *images, const clvi_step *at)
{
    clvi_method *base = &m->base;
    const clvi_mix how = clvi_mix_draw(base->settings, (uint32_t)at->epoch, (uint64_t)at->total, images->shape[2],
                                       images->shape[3]);
    clvi_mix_targets(&how, base->labels, base->batch, base->setup.classes, m->shares);
    if (m->mixed) return mix_there(m, &how, images);
    if (how.lambda == 1) return CLV_OK;
    CLV_TRY(meet(m, images->data));
    clvi_mix_images(&how, images, m->others);
    return CLV_OK;
}

static clv_status forward(clvi_method *base, const clv_batch *batch, const clvi_step *at, clvi_step_result *out)
{
    supervised *m = (supervised *)base;
    clv_view images = batch->view[0];
    if (m->shares) CLV_TRY(mix(m, &images, at));
    return clvi_method_run(base, &images, &out->loss);
}

static clv_status look(clvi_method *m, const clv_batch *batch, clvi_metrics *out)
{
    const clv_node scores = ((const supervised *)m)->scores;
    return clvi_node_none(scores) ? CLV_OK : clvi_method_accuracy(m, scores, batch, out);
}

static const clvi_takes *choose_takes(const clvi_settings *s)
{
    return clvi_mix_wanted(s) ? takes_mixed : takes;
}

static const char *choose_head(const clvi_settings *s)
{
    clvi_objective o;
    return clvi_objective_parse(s->loss, "supervised", choose_takes(s), &o) == CLV_OK && has_margin(&o) ? "linear" : NULL;
}

static const char *const uses[] = {
    "moco-k", "queue-init", "moco-queue-dtype", "queue-update", "queue-momentum", "queue-dim", "freeze",
    "val-freq", "mixup-alpha", "cutmix-alpha", NULL,
};

extern const clvi_method_class clvi_method_supervised;
const clvi_method_class clvi_method_supervised = {
    .info = { "supervised", "a classifier trained with labels", NULL, 0 },
    .size = sizeof(supervised), .views = 1, .labels = true, .classifies = true, .takes = takes, .keeps = "projected",
    .choose_takes = choose_takes, .uses = uses, .choose_head = choose_head, .open = open, .build = build,
    .ready = ready, .forward = forward, .queues = true, .enqueue = clvi_method_enqueue_repulsor,
    .update = clvi_method_push_repulsor, .look = look, .close = close,
};
