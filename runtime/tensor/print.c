/* print.c: a plan as text. */
#include "tensor/graph.h"
#include "core/checked.h"
#include <stdio.h>
#include <stdarg.h>

typedef struct text {
    char   line[2048];
    size_t used;
} text;

static void put(text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(t->line + t->used, sizeof t->line - t->used, fmt, args);
    va_end(args);
    if (n > 0) t->used = CLVI_MIN(t->used + (size_t)n, sizeof t->line - 1);
}

static const char *layout_name(const clvi_desc *desc)
{
    if (desc->layout == CLVI_LAYOUT_OPAQUE) return "opaque";
    return clvi_desc_is_dense(desc) ? "dense" : "strided";
}

static void put_place(const clv_graph *g, int32_t value, text *t)
{
    const clvi_storage *s = clvi_graph_storage(g, value);
    if (!s) return;
    switch (s->kind) {
    case CLVI_STORAGE_ARENA: put(t, " @%zu+%zu", s->offset, s->bytes); break;
    case CLVI_STORAGE_GRADIENT: put(t, " grad %s", clvi_params_at(g->params, s->param)->name); break;
    case CLVI_STORAGE_PARAM: put(t, " %s", clvi_params_at(g->params, s->param)->name); break;
    case CLVI_STORAGE_INPUT: put(t, " input"); break;
    }
}

static void put_value(const clv_graph *g, int32_t value, text *t)
{
    if (value < 0) {
        put(t, " -");
        return;
    }
    const clvi_desc *desc = &g->values[value].desc;
    char shape[CLVI_SHAPE_TEXT];
    put(t, " %%%d %s%s %s", (int)value, clv_dtype_name(desc->dtype), clvi_shape_text(shape, desc->ndim, desc->shape),
        layout_name(desc));
    put_place(g, value, t);
}

static void put_step(const clv_graph *g, int32_t index, text *t)
{
    const clvi_step *step = &g->steps[index];
    put(t, "%4d %-20s %-10s", (int)index, step->call.op, step->kernel->name);
    for (int i = 0; i < step->call.n_in; i++) {
        put(t, i ? "," : "");
        put_value(g, step->in[i], t);
    }
    put(t, " ->");
    for (int i = 0; i < step->call.n_out; i++) {
        put(t, i ? "," : "");
        put_value(g, step->out[i], t);
    }
    if (step->call.scratch_size) put(t, "  scratch %zu", step->call.scratch_size);
    if (step->flops > 0) put(t, "  %.3f MFLOP", step->flops * 1e-6);
}

clv_status clv_graph_print(const clv_graph *g, void (*line)(const char *text, void *user), void *user)
{
    CLV_CHECK(g && line, CLV_ERR_INVALID, "clv_graph_print: an argument is NULL");
    clv_graph_memory_t m;
    CLV_TRY(clvi_graph_status(g));
    CLV_CHECK(g->finished, CLV_ERR_INVALID, "clv_graph_print: finish the graph first");
    CLV_TRY(clv_graph_memory(g, &m));
    double flops = 0;
    for (int32_t i = 0; i < g->n_steps; i++) {
        text t = { .used = 0 };
        put_step(g, i, &t);
        line(t.line, user);
        flops += g->steps[i].flops;
    }
    text t = { .used = 0 };
    put(&t, "%d steps, %.3f MFLOP; bytes: parameters %zu, gradients %zu, activations %zu (unplanned %zu), largest scratch %zu",
        (int)g->n_steps, flops * 1e-6, m.parameters, m.gradients, m.activations, m.unplanned, m.scratch);
    line(t.line, user);
    return CLV_OK;
}
