/* optimizer.c: what all optimisers share: their state, and keeping it in a checkpoint. */
#include "train/optimizers/optimizer.h"
#include "train/files/weights.h"
#include "core/checked.h"
#include "device/backend.h"
#include "device/flat.h"

#include <stdio.h>
#include <string.h>

/* ---- which tensors are treated how ---- */

/* Biases, and scales and shifts of norms, are what has one dimension (or none). */
static bool excluded(const clvi_param *p, clvi_excludes rule, bool told)
{
    return p->desc.ndim <= 1 && (rule == CLVI_EXCLUDES_ALWAYS || (rule == CLVI_EXCLUDES_IF_TOLD && told));
}

static clvi_span span_of(const clvi_optimizer *o, const clvi_param *p)
{
    const clvi_optimizer_class *cls = o->cls;
    const clvi_settings *s = o->settings;
    const int64_t begin = (int64_t)(p->offset / clv_dtype_size(clvi_params_dtype(o->params)));
    return (clvi_span){
        .begin = begin, .decay = !excluded(p, cls->no_decay, s->exclude_bias_n_norm_wd),
        .adapt = cls->adapts && !excluded(p, cls->no_adapt, s->exclude_bias_n_norm_lars),
        .held = o->held && !strncmp(p->name, o->held, strlen(o->held)),
        .bias = s->lr_biases > 0 && p->desc.ndim <= 1,
        .frozen = o->only && strncmp(p->name, o->only, strlen(o->only)) != 0,
    };
}

static bool same(const clvi_span *a, const clvi_span *b)
{
    return a->decay == b->decay && !a->adapt && !b->adapt && a->held == b->held && a->bias == b->bias &&
           a->frozen == b->frozen;
}

/* The whole arena in spans. */
static void divide(clvi_optimizer *o)
{
    o->spans = 0;
    for (int64_t i = 0; i < clv_params_count(o->params); i++) {
        const clvi_param *p = clvi_params_at(o->params, i);
        if (p->kind != CLV_PARAM_TRAINABLE) continue;
        const clvi_span span = span_of(o, p);
        clvi_span *last = o->spans ? &o->span[o->spans - 1] : NULL;
        if (last && same(last, &span)) continue;
        if (last) last->end = span.begin;
        o->span[o->spans++] = span;
    }
    if (o->spans) o->span[o->spans - 1].end = (int64_t)(o->state_size / clv_dtype_size(clvi_params_dtype(o->params)));
}

/* ---- making ---- */

static clv_status init(clvi_optimizer *o)
{
    const size_t most = (size_t)CLVI_MAX(clv_params_count(o->params), INT64_C(1));
    o->span = clvi_calloc(o->ctx, most, sizeof *o->span);
    if (!o->span) return CLV_ERR_NOMEM;
    if (o->cls->measure) {
        o->sums_size = 2 * most * sizeof *o->sums;
        o->sums = clvi_device_alloc(o->ctx, o->sums_size);
        if (!o->sums) return CLV_ERR_NOMEM;
    }
    for (int i = 0; i < o->cls->states; i++) {
        o->state[i] = clvi_device_alloc(o->ctx, o->state_size);
        if (!o->state[i]) return CLV_ERR_NOMEM;
    }
    divide(o);
    return CLV_OK;
}

clv_status clvi_optimizer_create(clv_params *params, clv_context *ctx, const clvi_settings *settings,
                                 clvi_optimizer **out)
{
    const clvi_optimizer_class *cls = NULL;
    *out = NULL;
    CLV_TRY(clvi_optimizer_find(settings->optimizer, &cls));
    clvi_optimizer *o = clvi_calloc(ctx, 1, sizeof *o);
    if (!o) return CLV_ERR_NOMEM;
    *o = (clvi_optimizer){
        .cls = cls, .ctx = ctx, .params = params, .settings = settings,
        .eps = settings->eps > 0 ? settings->eps : cls->eps, .state_size = clvi_params_arena_size(params),
    };
    const clv_status st = init(o);
    if (st != CLV_OK) {
        clvi_optimizer_destroy(o);
        return st;
    }
    *out = o;
    return CLV_OK;
}

void clvi_optimizer_destroy(clvi_optimizer *o)
{
    if (!o) return;
    for (int i = 0; i < o->cls->states; i++)
        clvi_device_free(o->ctx, o->state[i], o->state_size);
    clvi_device_free(o->ctx, o->sums, o->sums_size);
    clvi_free(o->ctx, o->span);
    clvi_free(o->ctx, o);
}

clv_status clvi_optimizer_hold(clvi_optimizer *o, const char *prefix, double lr)
{
    o->held = prefix;
    o->held_lr = lr;
    divide(o);
    for (int64_t i = 0; i < o->spans; i++)
        if (o->span[i].held) return CLV_OK;
    return clvi_fail(CLV_ERR_INTERNAL, "optimiser: no parameter begins with '%s'", prefix);
}

void clvi_optimizer_only(clvi_optimizer *o, const char *prefix)
{
    o->only = prefix;
    divide(o);
}

/* ---- a step ---- */

void clvi_optimizer_clip(clvi_optimizer *o, double norm)
{
    clv_view g;
    const double most = o->settings->clip_grad, factor = most / (norm + 1e-6);
    if (most == 0 || factor >= 1 || clv_params_flat(o->params, CLV_PARAM_GRADIENT, &g)) return;
    clvi_flat_scale(o->ctx, g.dtype, clv_view_count(&g), factor, g.data);
}

/* What a step works on: the whole arenas. */
typedef struct arenas {
    clv_view            w, g;
    clvi_flat_followers followers;
} arenas;

static clv_status open_arenas(clvi_optimizer *o, const clvi_follower *follower, arenas *out)
{
    *out = (arenas){ .followers.k = { NULL } };
    CLV_TRY(clv_params_flat(o->params, CLV_PARAM_VALUE, &out->w));
    CLV_TRY(clv_params_flat(o->params, CLV_PARAM_GRADIENT, &out->g));
    for (int f = 0; follower && f < CLVI_FLAT_FOLLOWERS && follower[f].params; f++) {
        clv_view k;
        CLV_TRY(clv_params_flat(follower[f].params, CLV_PARAM_VALUE, &k));
        CLV_CHECK(clv_view_count(&k) == clv_view_count(&out->w), CLV_ERR_INTERNAL,
                  "optimiser: what follows is no clone");
        out->followers.k[f] = k.data;
        out->followers.m[f] = follower[f].momentum;
    }
    return CLV_OK;
}

/* What a step does to span number `i`. */
static clvi_update update_of(const clvi_optimizer *o, int64_t i, const arenas *a, double lr)
{
    const clvi_span *s = &o->span[i];
    const size_t at = (size_t)s->begin * clv_dtype_size(a->w.dtype);
    if (s->bias) lr *= o->settings->lr_biases / o->settings->lr;      /* the schedule is theirs, too */
    clvi_update u = {
        .dtype = a->w.dtype, .n = s->end - s->begin, .w = (char *)a->w.data + at, .g = (char *)a->g.data + at,
        .lr = s->held ? o->held_lr : lr, .weight_decay = s->decay ? o->settings->weight_decay : 0, .adapt = s->adapt,
        .followers = a->followers,
    };
    for (int f = 0; f < CLVI_FLAT_FOLLOWERS && u.followers.k[f]; f++) u.followers.k[f] = (char *)u.followers.k[f] + at;
    for (int k = 0; k < o->cls->states; k++) u.state[k] = (char *)o->state[k] + at;
    if (o->sums) u.squares = o->sums + 2 * i;
    return u;
}

/* Weights that stay as they are: only what follows them moves. */
static void follow(clvi_optimizer *o, const clvi_update *u)
{
    for (int f = 0; f < CLVI_FLAT_FOLLOWERS && u->followers.k[f]; f++)
        clvi_flat_ema(o->ctx, u->dtype, u->n, u->followers.k[f], u->w, u->followers.m[f]);
}

clv_status clvi_optimizer_step(clvi_optimizer *o, double lr, const clvi_follower follower[CLVI_FLAT_FOLLOWERS])
{
    arenas a;
    CLV_TRY(open_arenas(o, follower, &a));
    for (int64_t i = 0; i < o->spans; i++) {
        const clvi_update u = update_of(o, i, &a, lr);
        if (o->cls->measure) o->cls->measure(o, &u, o->sums + 2 * i);
        (o->span[i].frozen ? follow : o->cls->update)(o, &u);
    }
    o->steps++;
    return CLV_OK;
}

/* ---- telling and keeping ---- */

clv_status clvi_optimizer_describe(const clvi_optimizer *o, void (*line)(const char *text, void *user), void *user)
{
    for (int64_t i = 0; i < clv_params_count(o->params); i++) {
        const clvi_param *p = clvi_params_at(o->params, i);
        char text[512];
        int used = 0;
        if (p->kind != CLV_PARAM_TRAINABLE) continue;
        const clvi_span span = span_of(o, p);
        used = snprintf(text, sizeof text, "parameter: %.300s [", p->name);
        for (int d = 0; d < p->desc.ndim; d++)
            used += snprintf(text + used, sizeof text - (size_t)used, "%s%" PRId64, d ? "," : "", p->desc.shape[d]);
        if (span.frozen) snprintf(text + used, sizeof text - (size_t)used, "]: frozen");
        else used += snprintf(text + used, sizeof text - (size_t)used, "]: weight decay %g",
                              span.decay ? o->settings->weight_decay : 0.0);
        if (span.bias && !span.frozen)
            used += snprintf(text + used, sizeof text - (size_t)used, ", lr-biases");
        if (o->cls->adapts && !span.frozen)
            snprintf(text + used, sizeof text - (size_t)used, ", %s", span.adapt ? "own rate" : "no own rate");
        line(text, user);
    }
    return CLV_OK;
}

bool clvi_optimizer_uses(const clvi_optimizer_class *cls, const char *setting)
{
    for (const char *const *name = cls->uses; name && *name; name++)
        if (!strcmp(*name, setting)) return true;
    return false;
}

clv_status clvi_optimizer_write(const clvi_optimizer *o, clvi_h5 *h5, const char *group)
{
    CLV_TRY(clvi_h5_group(h5, group));
    CLV_TRY(clvi_h5_set_attr_text(h5, group, "name", o->cls->info.name));
    CLV_TRY(clvi_h5_set_attr_i64(h5, group, "steps", o->steps));
    for (int i = 0; i < o->cls->states; i++)
        CLV_TRY(clvi_weights_write_arena(o->ctx, o->params, o->state[i], h5, group, o->cls->state_name[i]));
    return CLV_OK;
}

clv_status clvi_optimizer_read(clvi_optimizer *o, clvi_h5 *h5, const char *group)
{
    CLV_TRY(clvi_h5_attr_i64(h5, group, "steps", &o->steps));
    for (int i = 0; i < o->cls->states; i++)
        CLV_TRY(clvi_weights_read_arena(o->ctx, o->params, o->state[i], h5, group, o->cls->state_name[i]));
    return CLV_OK;
}
