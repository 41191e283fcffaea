/* flow_matching.c: a network learns the velocity that carries noise to pictures along straight lines: Lipman et al. 2023,
 * arXiv:2210.02747; the path is that of Liu et al. 2023, arXiv:2209.03003 (rectified flow):
 *
 *   x_t = (1 - t) noise + t picture,   target = picture - noise,   L = mean (v(x_t, t) - target)^2
 *
 * t is uniform, or logistic of a standard normal (Esser et al. 2024, arXiv:2403.03206, section 3.1). Noise and t of a
 * picture are a function of seed, epoch and picture. Losses of features (dispersive, repulsor) read those of the
 * backbone's middle. */
#include "train/step/method.h"
#include "core/checked.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "tensor/op.h"

#include <math.h>
#include <string.h>

typedef struct flow_matching {
    clvi_method base;
    int64_t     patch;             /* of the velocity's order */
    clv_view    noisy;             /* the images of a batch with noise, as the loader lays them out */
    clv_view    target, time;      /* [n,H W C] in the velocity's order; [n,CLVI_TIME_VALUES] */
} flow_matching;

static const clvi_takes takes[] = {
    { "mse", NULL, { { "prediction", "velocity" }, { "target", "target" } } },
    { "dispersive", "infonce_l2", { { "z", "middle" } } },
    { "dispersive", "infonce_cos", { { "z", "middle" } } },
    { "dispersive", "hinge", { { "z", "middle" } } },
    { "dispersive", "covariance", { { "z", "middle" } } },
    { "repulsor", NULL, { { "z", "row" }, { "x", "unprojected" }, { "w", "projection" }, { "bank", "queue" },
                          { "bank_valid", "valid" } } },
    { .loss = NULL }
};

/* ---- a batch with noise ---- */

typedef struct noise_job {
    flow_matching   *m;
    const clv_batch *batch;
    const int64_t   *ids;          /* of this rank's images */
    uint64_t         seed;
} noise_job;

static double draw_time(clvi_rng *rng, int kind)
{
    return kind == CLVI_FLOW_TIME_UNIFORM ? clvi_rng_f64(rng) : 1 / (1 + exp(-clvi_rng_normal(rng)));
}

static void noise_one(const noise_job *job, int64_t i)
{
    const clvi_method_setup *s = &job->m->base.setup;
    const int64_t size = s->height * s->width * s->channels;
    const float *picture = (const float *)job->batch->view[0].data + i * size;
    float *noisy = (float *)job->m->noisy.data + i * size, *target = (float *)job->m->target.data + i * size;
    clvi_rng rng = clvi_rng_make(job->seed, CLVI_RNG_FLOW, job->batch->epoch, (uint64_t)job->ids[i], 0);
    const double t = draw_time(&rng, job->m->base.settings->flow_time);
    clvi_time_values(1 - t, (float *)job->m->time.data + i * CLVI_TIME_VALUES);
    int64_t at = 0;
    for (int64_t y = 0; y < s->height; y++)
        for (int64_t x = 0; x < s->width; x++)
            for (int64_t c = 0; c < s->channels; c++, at++) {
                const double noise = clvi_rng_normal(&rng);
                noisy[at] = (float)((1 - t) * noise + t * picture[at]);
                target[clvi_patch_place(job->m->patch, s->width, s->channels, y, x, c)] = (float)(picture[at] - noise);
            }
}

static void noise_rows(void *arg, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) noise_one(arg, i);
}

/* ---- the method ---- */

static clv_status make_rows(clvi_method *m, int64_t values, clv_view *out)
{
    const int64_t n = m->division.local;
    float *data = clvi_calloc(m->ctx, (size_t)CLVI_MAX(n * values, 1), sizeof *data);
    if (!data) return CLV_ERR_NOMEM;
    *out = clv_view_2d(data, CLV_F32, n, values);
    return CLV_OK;
}

static clv_status open(clvi_method *base)
{
    flow_matching *m = (flow_matching *)base;
    const clvi_method_setup *s = &base->setup;
    const int64_t size = s->channels * s->height * s->width;
    CLV_TRY(make_rows(base, size, &m->noisy));
    CLV_TRY(make_rows(base, size, &m->target));
    return make_rows(base, CLVI_TIME_VALUES, &m->time);
}

static clv_status build(clvi_method *base)
{
    flow_matching *m = (flow_matching *)base;
    clvi_generated made;
    const clv_node time = clvi_method_beside(base, "time", &m->time);
    const clv_node target = clvi_method_beside(base, "target", &m->target);
    clvi_method_generate(base, time, &made);
    m->patch = made.patch;
    const clv_node middle = clvi_method_rows(base, made.features);
    clvi_method_give(base, "velocity", clvi_method_rows(base, made.velocity));
    clvi_method_give(base, "target", clvi_method_rows(base, clv_stop_gradient(base->network, target)));
    clvi_method_give(base, "middle", middle);
    return clvi_objective_uses(&base->objective, "repulsor") ? clvi_method_open_repulsor(base, middle) : CLV_OK;
}

static clv_status forward(clvi_method *base, const clv_batch *batch, const clvi_step *at, clvi_step_result *out)
{
    flow_matching *m = (flow_matching *)base;
    const clvi_division *d = &base->division;
    const noise_job job = { m, batch, batch->ids + d->rank * d->local, at->seed };
    clv_view view = batch->view[0];
    clvi_parallel_for(base->ctx, d->local, 1, noise_rows, (void *)&job);
    view.data = m->noisy.data;
    base->number[0] = at->total;
    return clvi_method_run(base, &view, &out->loss);
}

static void close(clvi_method *base)
{
    flow_matching *m = (flow_matching *)base;
    clvi_free(base->ctx, m->noisy.data);
    clvi_free(base->ctx, m->target.data);
    clvi_free(base->ctx, m->time.data);
}

static const char *const uses[] = {
    "moco-k", "queue-init", "moco-queue-dtype", "queue-update", "queue-momentum", "queue-dim", "flow-time", NULL,
};

extern const clvi_method_class clvi_method_flow_matching;
const clvi_method_class clvi_method_flow_matching = {
    .info = { "flow_matching", "a generator: the velocity that carries noise to pictures", "arXiv:2210.02747", 0 },
    .size = sizeof(flow_matching), .views = 1, .takes = takes, .keeps = "projected", .uses = uses, .open = open,
    .reads_images = true, .build = build, .forward = forward, .queues = true,
    .enqueue = clvi_method_enqueue_repulsor, .update = clvi_method_push_repulsor, .close = close,
};
