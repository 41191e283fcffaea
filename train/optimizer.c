/* optimizer.c: what all optimisers share: their state, and keeping it in a checkpoint. */
#include "train/optimizer.h"
#include "device/backend.h"
#include "train/weights.h"

#include <string.h>

clv_status clvi_optimizer_create(clv_params *params, clv_context *ctx, const clvi_settings *settings,
                                 clvi_optimizer **out)
{
    const clvi_optimizer_class *cls = NULL;
    CLV_TRY(clvi_optimizer_find(settings->optimizer, &cls));
    clvi_optimizer *o = clvi_calloc(ctx, 1, sizeof *o);
    if (!o) return CLV_ERR_NOMEM;
    *o = (clvi_optimizer){
        .cls = cls, .ctx = ctx, .params = params, .momentum = settings->momentum,
        .weight_decay = settings->weight_decay, .nesterov = settings->nesterov,
        .held_from = INT64_MAX, .state_size = clvi_params_arena_size(params),
    };
    for (int i = 0; i < cls->states; i++) {
        o->state[i] = clvi_device_alloc(ctx, o->state_size);
        if (!o->state[i]) {
            clvi_optimizer_destroy(o);
            return CLV_ERR_NOMEM;
        }
    }
    *out = o;
    return CLV_OK;
}

void clvi_optimizer_destroy(clvi_optimizer *o)
{
    if (!o) return;
    for (int i = 0; i < o->cls->states; i++)
        clvi_device_free(o->ctx, o->state[i], o->state_size);
    clvi_free(o->ctx, o);
}

clv_status clvi_optimizer_hold(clvi_optimizer *o, const char *prefix, double lr)
{
    for (int64_t i = 0; i < clv_params_count(o->params); i++) {
        const clvi_param *p = clvi_params_at(o->params, i);
        if (p->kind != CLV_PARAM_TRAINABLE) continue;
        const bool held = !strncmp(p->name, prefix, strlen(prefix));
        CLV_CHECK(held || o->held_from == INT64_MAX, CLV_ERR_INTERNAL, "optimiser: '%s' comes after '%s'", p->name,
                  prefix);
        if (held && o->held_from == INT64_MAX)
            o->held_from = (int64_t)(p->offset / clv_dtype_size(clvi_params_dtype(o->params)));
    }
    o->held_lr = lr;
    return CLV_OK;
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
