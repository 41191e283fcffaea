/* queued.c: steps that a device is given as a whole, so that they can be recorded (device/tape.h) and the next can
 * be queued before the last is known. What goes over ranks is queued with the rest. Not those of methods that read
 * something back in between: they wait for the loss and for the length of the gradient, as on the host. */
#include "train/step/method.h"
#include "train/step/teacher.h"
#include "core/checked.h"
#include "device/backend.h"
#include "device/rows.h"
#include "memorybank/bank.h"
#include "tensor/op.h"

#include <math.h>

clv_status clvi_method_open_queue(clvi_method *m)
{
    const clvi_method_class *cls = m->cls;
    const bool in_parts = clvi_parts_here(&m->division) > 1;
    if (!m->ctx->device || !cls->queues || (m->bank && !cls->enqueue)) return CLV_OK;
    m->queued = true;
    const size_t rows = (size_t)(m->batch * m->dim) * sizeof(float), marks = (size_t)m->batch * sizeof(int64_t);
    for (int v = 0; v < cls->views && cls->teacher; v++)
        if (!(m->there[v] = clvi_device_alloc(m->ctx, rows))) return CLV_ERR_NOMEM;
    for (int i = 0; i < 2 && m->bank; i++)
        if (!(m->marks[i] = clvi_device_alloc(m->ctx, marks))) return CLV_ERR_NOMEM;
    if (m->bank && !cls->teacher)
        m->pushed = clvi_calloc(m->ctx, (size_t)(m->batch * clv_bank_dim(m->bank)), sizeof *m->pushed);
    if (m->bank && !cls->teacher && !m->pushed) return CLV_ERR_NOMEM;
    m->verdict = clvi_device_alloc(m->ctx, sizeof *m->verdict);
    if (!m->verdict) return CLV_ERR_NOMEM;
    CLV_TRY(clvi_tape_create(m->ctx, &m->tape));
    return in_parts ? clvi_parts_queue(m->parts) : CLV_OK;
}

void clvi_method_close_queue(clvi_method *m)
{
    clvi_tape_destroy(m->tape);
    for (int v = 0; v < CLVI_MAX_VIEWS; v++)
        clvi_device_free(m->ctx, m->there[v], (size_t)(m->batch * m->dim) * sizeof(float));
    for (int i = 0; i < 2; i++) clvi_device_free(m->ctx, m->marks[i], (size_t)m->batch * sizeof(int64_t));
    clvi_free(m->ctx, m->pushed);
    clvi_device_free(m->ctx, m->verdict, sizeof *m->verdict);
}

bool clvi_method_is_queued(const clvi_method *m)
{
    return m->queued;
}

bool clvi_method_runs_ahead(const clvi_method *m)
{
    return clvi_tape_runs_ahead(m->tape);
}

/* ---- a step ---- */

clv_status clvi_method_begin(clvi_method *m)
{
    CLV_TRY(clvi_tape_begin(m->tape));
    clvi_verdict_heed(m->ctx, m->verdict);
    return CLV_OK;
}

clv_status clvi_method_end(clvi_method *m, clv_status so_far)
{
    clvi_verdict_heed(m->ctx, NULL);
    if (so_far == CLV_OK) so_far = clvi_tape_end(m->tape);
    if (so_far != CLV_OK) clvi_tape_drop(m->tape);
    return so_far;
}

clv_status clvi_method_judge(clvi_method *m)
{
    clv_view g;
    CLV_TRY(clv_params_flat(m->params, CLV_PARAM_GRADIENT, &g));
    clvi_verdict_judge(m->ctx, g.dtype, clv_view_count(&g), g.data, m->loss_there, m->settings->clip_grad, m->verdict);
    return clvi_tape_fetch(m->ctx, &m->judged, m->verdict, sizeof m->judged);
}

clv_status clvi_method_clip_there(clvi_method *m)
{
    clv_view g;
    if (m->settings->clip_grad <= 0) return CLV_OK;
    CLV_TRY(clv_params_flat(m->params, CLV_PARAM_GRADIENT, &g));
    clvi_verdict_clip(m->ctx, g.dtype, clv_view_count(&g), g.data, m->verdict);
    return CLV_OK;
}

void clvi_method_enqueue(clvi_method *m, const float *rows, const clv_batch *batch, int nth, int of)
{
    const size_t size = (size_t)m->batch * sizeof(int64_t);
    const int64_t before = (int64_t)clvi_tape_waiting(m->tape) * of + nth;   /* pushes that the host has yet to make */
    clvi_ring ring;
    clvi_bank_ring(m->bank, &ring);
    const int64_t *ids = clvi_tape_bring(m->ctx, batch->ids, size, m->marks[0]);
    const int64_t *labels = clvi_tape_bring(m->ctx, batch->labels, size, m->marks[1]);
    const int64_t cursor = (clv_bank_pointer(m->bank) + before * m->batch) % ring.capacity;
    clvi_rows_enqueue(m->ctx, &ring, cursor, m->batch, rows, ids, labels);
}

/* ---- after it ---- */

/* The parameter that element `i` of the gradients belongs to. */
static const char *owner(const clvi_method *m, int64_t i)
{
    const size_t at = (size_t)i * clv_dtype_size(clvi_params_dtype(m->params));
    const char *name = NULL;
    for (int64_t p = 0; p < clv_params_count(m->params); p++) {
        const clvi_param *param = clvi_params_at(m->params, p);
        if (param->kind == CLV_PARAM_TRAINABLE && param->offset <= at) name = param->name;
    }
    return name;
}

clv_status clvi_method_collect(clvi_method *m, clvi_step_result *out, bool *stopped)
{
    CLV_TRY(clvi_tape_collect(m->tape));
    *out = (clvi_step_result){
        .loss = m->judged.loss, .grad_norm = sqrt(m->judged.squares), .bank = m->bank,
        .bad = m->judged.first_bad >= 0 ? owner(m, m->judged.first_bad) : NULL,
    };
    *stopped = m->judged.stopped != 0;
    return CLV_OK;
}

clv_status clvi_method_settle(clvi_method *m, const clv_batch *batch)
{
    return m->cls->update ? m->cls->update(m, batch) : CLV_OK;
}

clv_status clvi_method_resume(clvi_method *m, int64_t steps)
{
    m->optimizer->steps = steps;
    if (m->teacher) m->teacher->ahead = false;
    return clvi_device_fill(m->ctx, m->verdict, 0, sizeof *m->verdict);
}
