/* guard.c: steps whose loss or gradient is not finite, and what is not finite. Such a step is refused before anything
 * is updated from it. Left out instead of ending the run, it also gives back the running statistics of batch norm,
 * which the forward pass has moved: they are all that a step changes before its gradient is known, but for the momentum
 * encoder, which has followed the network as it was. */
#include "train/trainer.h"
#include "core/checked.h"
#include "device/backend.h"
#include "device/cpu/flat.h"

#include <math.h>
#include <stdio.h>

enum { MOST_IN_A_ROW = 25 };       /* steps left out before the run is thought lost */

/* The first parameter (running statistics, too, where values are asked for) that is not all finite, or NULL. */
static clv_status find(clv_trainer *t, clv_params *params, clv_param_part part, const char **name)
{
    *name = NULL;
    for (int64_t i = 0; i < clv_params_count(params) && !*name; i++) {
        clv_param_info info;
        CLV_TRY(clv_params_info(params, i, &info));
        if (part == CLV_PARAM_GRADIENT && info.kind != CLV_PARAM_TRAINABLE) continue;
        clv_view values = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        values.data = clvi_calloc(t->ctx, (size_t)clv_view_count(&values), sizeof(float));
        if (!values.data) return CLV_ERR_NOMEM;
        const clv_status st = clv_params_read(params, i, part, &values);
        if (st == CLV_OK && !clvi_cpu_flat_all_finite(t->ctx, CLV_F32, clv_view_count(&values), values.data))
            *name = info.name;
        clvi_free(t->ctx, values.data);
        CLV_TRY(st);
    }
    return CLV_OK;
}

clv_status clvi_guard_check(clv_trainer *t)
{
    for (int key = 0; key < 2; key++) {
        clv_params *params = clvi_method_params(t->method, key);
        const char *name = NULL;
        clv_view flat;
        if (!params) continue;
        CLV_TRY(clv_params_flat(params, CLV_PARAM_VALUE, &flat));
        const int64_t rest = (int64_t)(clvi_params_buffer_size(params) / clv_dtype_size(flat.dtype));
        if (clvi_flat_all_finite(t->ctx, flat.dtype, clv_view_count(&flat), flat.data) &&
            clvi_flat_all_finite(t->ctx, flat.dtype, rest, clvi_params_buffers(params)))
            continue;
        CLV_TRY(find(t, params, CLV_PARAM_VALUE, &name));
        return clvi_fail(CLV_ERR_NUMERIC, "after %" PRId64 " steps: parameter '%s'%s is not finite", t->at.total,
                         name ? name : "?", key ? " of the momentum encoder" : "");
    }
    return CLV_OK;
}

/* ---- running statistics as they were ---- */

clv_status clvi_guard_begin(clv_trainer *t)
{
    if (t->settings->on_nan != CLVI_ON_NAN_SKIP) return CLV_OK;
    for (int key = 0; key < 2; key++) {
        clv_params *params = clvi_method_params(t->method, key);
        const size_t size = params ? clvi_params_buffer_size(params) : 0;
        if (size == 0) continue;
        if (!t->statistics[key]) t->statistics[key] = clvi_device_alloc(t->ctx, size);
        if (!t->statistics[key]) return CLV_ERR_NOMEM;
        CLV_TRY(clvi_device_copy(t->ctx, t->statistics[key], clvi_params_buffers(params), size, CLVI_COPY_ON_DEVICE));
    }
    return CLV_OK;
}

static clv_status give_back(clv_trainer *t)
{
    for (int key = 0; key < 2; key++) {
        clv_params *params = clvi_method_params(t->method, key);
        if (!t->statistics[key]) continue;
        CLV_TRY(clvi_device_copy(t->ctx, clvi_params_buffers(params), t->statistics[key],
                                 clvi_params_buffer_size(params), CLVI_COPY_ON_DEVICE));
    }
    return CLV_OK;
}

void clvi_guard_end(clv_trainer *t)
{
    for (int key = 0; key < 2; key++) {
        clv_params *params = clvi_method_params(t->method, key);
        if (!t->statistics[key]) continue;
        clvi_verdict_restore(t->ctx, clvi_params_buffer_size(params), clvi_params_buffers(params), t->statistics[key],
                             t->method->verdict);
    }
}

void clvi_guard_release(clv_trainer *t)
{
    for (int key = 0; key < 2; key++)
        if (t->statistics[key])
            clvi_device_free(t->ctx, t->statistics[key], clvi_params_buffer_size(clvi_method_params(t->method, key)));
}

/* ---- refusing ---- */

clv_status clvi_guard_refuse(clv_trainer *t, const clvi_step_result *r)
{
    const char *name = r->bad;
    const double loss = r->loss;
    char what[512];
    if (!clvi_method_is_queued(t->method))
        CLV_TRY(find(t, clvi_method_params(t->method, false), CLV_PARAM_GRADIENT, &name));
    snprintf(what, sizeof what, "epoch %" PRId64 ", step %" PRId64 ": %s%.300s%s is not finite (loss %g)",
             t->at.epoch + 1, t->at.step + 1, name ? "the gradient of '" : "the loss", name ? name : "",
             name ? "'" : "", isnan(loss) ? NAN : loss);                          /* the sign of a NaN tells nothing */
    CLV_CHECK(t->settings->on_nan == CLVI_ON_NAN_SKIP, CLV_ERR_NUMERIC, "%s", what);
    if (!clvi_method_is_queued(t->method)) CLV_TRY(give_back(t));
    CLV_TRY(clvi_guard_check(t));                                /* no later step could be finite */
    CLV_CHECK(++t->skipped_in_a_row < MOST_IN_A_ROW, CLV_ERR_NUMERIC, "%s, as %d steps in a row", what, MOST_IN_A_ROW);
    clvi_trainer_note(t, "step left out: %s", what);
    t->at.step++;
    t->at.total++;
    t->at.skipped++;
    return CLV_OK;
}
