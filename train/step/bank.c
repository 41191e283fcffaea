/* bank.c: a method's memory bank: made as the settings say, given to the losses, filled, told of. Checkpoints keep it
 * with the rest of the method (method.c). */
#include "train/step/method.h"
#include "core/checked.h"
#include "memorybank/bank.h"
#include "tensor/op.h"

#include <cleave/profile.h>
#include <stdio.h>

enum { MORE = 4 };     /* options a kind has of its own */

clv_status clvi_method_open_bank(clvi_method *m, const char *kind, int64_t dim, const clv_option *more,
                                 int n_more)
{
    const clvi_settings *s = m->settings;
    CLV_TRY(clvi_graph_status(m->graph));          /* a graph that has failed does not know how long rows are */
    char capacity[24], values[24], seed[24];
    snprintf(capacity, sizeof capacity, "%" PRId64, s->moco_k);
    snprintf(values, sizeof values, "%" PRId64, dim);
    snprintf(seed, sizeof seed, "%" PRId64, s->seed);
    clv_option options[5 + MORE] = {
        { "capacity", capacity }, { "dim", values }, { "seed", seed }, { "init", s->queue_init ? "empty" : "random" },
        { "dtype", s->moco_queue_dtype == CLVI_QUEUE_BF16 ? "bfloat16" : "float32" },
    };
    CLV_CHECK(n_more <= MORE, CLV_ERR_INTERNAL, "bank '%s': more options than there is room for", kind);
    for (int i = 0; i < n_more; i++) options[5 + i] = more[i];
    CLV_TRY(clv_bank_create(m->ctx, kind, options, 5 + n_more, &m->bank));
    const clv_view rows = clv_bank_rows(m->bank), valid = clv_bank_valid(m->bank);
    (void)clvi_method_give_input(m, "queue", &rows);
    (void)clvi_method_give_input(m, "valid", &valid);
    return CLV_OK;
}

clv_status clvi_method_push(clvi_method *m, const clv_view *rows, const clv_batch *batch)
{
    const int64_t begin = clv_profile_begin(m->ctx);
    CLV_TRY((m->queued ? clvi_bank_push_behind : clv_bank_push)(m->bank, rows, batch->ids, batch->labels));
    clv_profile_end(m->ctx, begin, "bank push");
    return CLV_OK;
}

clv_status clvi_method_open_repulsor(clvi_method *m, clv_node x)
{
    const clvi_settings *s = m->settings;
    int64_t in[CLV_MAX_DIMS] = { 0 };
    (void)clv_node_shape(m->graph, x, in);
    const int64_t shape[2] = { s->queue_dim, in[1] };
    const clv_init init = { CLV_INIT_UNIFORM_FAN, 0.0, in[1] };
    char momentum[40];
    snprintf(momentum, sizeof momentum, "%.17g", s->queue_momentum);
    const clv_option more[] = {
        { "update", s->queue_update == CLVI_QUEUE_EMA ? "ema" : "fifo" }, { "momentum", momentum },
        { "normalize", clvi_objective_option(&m->objective, "repulsor", "normalize") },
    };
    clvi_method_give(m, s->queue_dim > 0 ? "unprojected" : "row", x);
    if (s->queue_dim > 0)
        clvi_method_give(m, "projection",
                         clv_parameter(m->graph, "repulsor.weight", CLV_PARAM_TRAINABLE, 2, shape, init));
    return clvi_method_open_bank(m, "repulsor", s->queue_dim > 0 ? s->queue_dim : in[1], more, CLVI_COUNT(more));
}

clv_status clvi_method_push_repulsor(clvi_method *m, const clv_batch *batch)
{
    clv_view rows;
    if (!m->bank) return CLV_OK;
    if (m->queued) rows = clv_view_2d(m->pushed, CLV_F32, m->batch, clv_bank_dim(m->bank));
    else CLV_TRY(clv_graph_read(m->graph, clvi_objective_kept(&m->objective), &rows));
    return clvi_method_push(m, &rows, batch);
}

clv_status clvi_method_enqueue_repulsor(clvi_method *m, const clv_batch *batch)
{
    const clv_node rows = clvi_objective_kept(&m->objective);
    if (!m->bank) return CLV_OK;
    clvi_method_enqueue(m, clvi_graph_place_of(m->graph, rows), batch, 0, 1);
    return clvi_graph_fetch(m->graph, rows, m->pushed);
}

size_t clvi_method_bank_size(const clvi_method *m)
{
    const clv_view rows = clv_bank_rows(m->bank);
    return (size_t)clv_view_count(&rows) * clv_dtype_size(rows.dtype);
}

void clvi_method_describe_bank(const clvi_method *m, void (*line)(const char *text, void *user), void *user)
{
    char text[256];
    const clv_view rows = clv_bank_rows(m->bank);
    snprintf(text, sizeof text,
             "bank: %s, %" PRId64 " x %" PRId64 " %s, %.1f MiB; every query sees %" PRId64 " negatives",
             clv_bank_kind(m->bank), rows.shape[0], rows.shape[1], clv_dtype_name(rows.dtype),
             (double)clvi_method_bank_size(m) / 1048576.0, rows.shape[0]);
    line(text, user);
}
