/* optimizer.c: what all optimisers share: their state, and keeping it in a checkpoint. */
#include "train/optimizer.h"
#include "train/weights.h"

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
        .state_size = clvi_params_arena_size(params),
    };
    for (int i = 0; i < cls->states; i++) {
        o->state[i] = clvi_arena_alloc(ctx, o->state_size);
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
        if (o->state[i]) clvi_arena_free(o->ctx, o->state[i], o->state_size);
    clvi_free(o->ctx, o);
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
