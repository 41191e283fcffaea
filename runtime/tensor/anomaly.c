/* anomaly.c: which operation made the first NaN: clv_context_detect_anomaly. */
#include "tensor/graph.h"
#include "core/checked.h"
#include "device/backend.h"
#include <stdio.h>
#include <string.h>

typedef enum found { FINITE, INFINITE, NOT_A_NUMBER } found;

/* As unsigned numbers, without the sign: above the infinity's are the NaNs. */
#define WORST(type, infinity)                                                                                          \
    do {                                                                                                               \
        const type *x = data;                                                                                          \
        type most = 0;                                                                                                 \
        for (size_t i = 0; i < bytes / sizeof *x; i++) {                                                               \
            const type size = (type)(x[i] << 1) >> 1;                                                                  \
            if (size > most) most = size;                                                                              \
        }                                                                                                              \
        return most > (infinity) ? NOT_A_NUMBER : most == (infinity) ? INFINITE : FINITE;                              \
    } while (0)

static found worst_of(clv_dtype type, const void *data, size_t bytes)
{
    switch (type) {
    case CLV_F64: WORST(uint64_t, UINT64_C(0x7ff0000000000000));
    case CLV_F32: WORST(uint32_t, UINT32_C(0x7f800000));
    case CLV_BF16: WORST(uint16_t, 0x7f80);
    default: return FINITE;
    }
}

/* All that lies in the operand's memory: padding of a library's layout is zeros. */
static clv_status look_at(clv_context *ctx, const clvi_desc *d, const void *data, found *out)
{
    *out = FINITE;
    if (!data || d->bytes == 0 || (d->dtype != CLV_F64 && d->dtype != CLV_F32 && d->dtype != CLV_BF16)) return CLV_OK;
    void *copy = ctx->device ? clvi_calloc(ctx, 1, d->bytes) : NULL;
    if (ctx->device && !copy) return CLV_ERR_NOMEM;
    const clv_status st = copy ? clvi_device_copy(ctx, copy, data, d->bytes, CLVI_COPY_TO_HOST) : CLV_OK;
    if (st == CLV_OK) *out = worst_of(d->dtype, copy ? copy : data, d->bytes);
    clvi_free(ctx, copy);
    return st;
}

static const char *name_of(const clv_graph *g, int32_t value)
{
    const clvi_storage *s = clvi_graph_storage((clv_graph *)(uintptr_t)g, value);
    if (s && s->kind == CLVI_STORAGE_PARAM) return clvi_params_at(g->params, s->param)->name;
    return g->values[value].name;
}

/* What of the operands is not finite, but those that the results were written over. */
static clv_status describe_operands(clv_graph *g, const clvi_step *step, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < step->call.n_in; i++) {
        found what = FINITE;
        bool overwritten = step->in[i] < 0;
        for (int k = 0; k < step->call.n_out; k++)
            overwritten |= step->call.in_data[i] == step->call.out_data[k];
        if (!overwritten) CLV_TRY(look_at(g->ctx, &step->call.in[i], step->call.in_data[i], &what));
        if (what == FINITE || used >= size) continue;
        const char *name = name_of(g, step->in[i]);
        used += (size_t)snprintf(text + used, size - used, "%s operand %d%s%s%s has %s", used ? "," : "; its", i,
                                 name ? " '" : "", name ? name : "", name ? "'" : "",
                                 what == INFINITE ? "an infinity" : "a NaN");
    }
    return CLV_OK;
}

clv_status clvi_graph_check_step(clv_graph *g, int32_t index)
{
    const clvi_step *step = &g->steps[index];
    char shape[CLVI_SHAPE_TEXT], operands[512];
    found what;
    for (int i = 0; i < step->call.n_out; i++) {
        const clvi_desc *d = &step->call.out[i];
        if (!step->call.wanted[i]) continue;
        CLV_TRY(look_at(g->ctx, d, step->call.out_data[i], &what));
        if (what != NOT_A_NUMBER) continue;
        CLV_TRY(describe_operands(g, step, operands, sizeof operands));
        return clvi_fail(CLV_ERR_NUMERIC, "%s pass, operation %d of %d, %s (kernel %s): result %d, %s %s, has a NaN%s",
                         index < g->forward_steps ? "forward" : "backward", (int)index + 1, (int)g->n_steps,
                         step->call.op, step->kernel->name, i, clv_dtype_name(d->dtype),
                         clvi_shape_text(shape, d->ndim, d->shape), operands);
    }
    return CLV_OK;
}

clv_status clv_context_detect_anomaly(clv_context *ctx, bool on)
{
    CLV_CHECK(ctx, CLV_ERR_INVALID, "clv_context_detect_anomaly: an argument is NULL");
    ctx->detect_anomaly = on;
    return CLV_OK;
}
