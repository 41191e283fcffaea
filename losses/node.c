/* node.c: a loss as part of a graph: options parsed, inputs found by name and checked, formula appended. */
#include "losses/loss.h"
#include "core/checked.h"
#include <stdio.h>
#include <string.h>

clv_status clvi_loss_parse(const clvi_loss_class *cls, const clv_option *options, int n_options, void *params)
{
    char what[64];
    snprintf(what, sizeof what, "loss '%s'", cls->name);
    CLV_CHECK(cls->params_size <= CLVI_LOSS_MAX_PARAMS, CLV_ERR_INTERNAL, "%s: its options take too much room", what);
    return clvi_options_parse(cls->options, params, what, options, n_options);
}

clv_status clvi_loss_unknown_port(const clvi_loss_class *cls, const clvi_loss_port *ports, int max, const char *what,
                                  const char *name)
{
    const char *names[CLVI_LOSS_MAX_OUT + 1] = { NULL };
    char known[256] = "";
    size_t used = 0;
    for (int i = 0; i < clvi_loss_port_count(ports, max) && used < sizeof known; i++) {
        names[i] = ports[i].name;
        const int n = snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", ports[i].name);
        used += n > 0 ? (size_t)n : 0;
    }
    const char *near = name ? clv_nearest_name(name, names) : NULL;
    if (near)
        return clvi_fail(CLV_ERR_INVALID, "%s: no %s '%.64s'; did you mean '%s'?", cls->name, what, name, near);
    return clvi_fail(CLV_ERR_INVALID, "%s: no %s '%.64s'; there are %s", cls->name, what, name ? name : "(null)",
                     known);
}

/* Fills in[] by name and checks shapes and types. */
static clv_status take_inputs(const clv_graph *g, const clvi_loss_class *cls, const clvi_loss_variant *variant,
                              const clv_loss_value *inputs, int n, clv_node in[CLVI_LOSS_MAX_IN])
{
    clvi_loss_letters letters;
    clvi_loss_letters_init(&letters);
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++) in[i] = CLV_NONE;
    for (int i = 0; i < n; i++) {
        const int port = clvi_loss_port_find(variant->in, CLVI_LOSS_MAX_IN, inputs[i].name);
        if (port < 0)
            return clvi_loss_unknown_port(cls, variant->in, CLVI_LOSS_MAX_IN, "input", inputs[i].name);
        CLV_CHECK(clvi_node_none(in[port]), CLV_ERR_INVALID, "%s: input '%s' is given twice", cls->name,
                  inputs[i].name);
        in[port] = inputs[i].node;
    }
    for (int i = 0; i < clvi_loss_port_count(variant->in, CLVI_LOSS_MAX_IN); i++) {
        const clvi_loss_port *port = &variant->in[i];
        int64_t shape[CLV_MAX_DIMS];
        if (clvi_node_none(in[i])) {
            CLV_CHECK(clvi_loss_port_is_optional(port), CLV_ERR_INVALID, "%s: input '%s' is missing", cls->name,
                      port->name);
            continue;
        }
        const int ndim = clv_node_shape(g, in[i], shape);
        CLV_CHECK(ndim >= 0, CLV_ERR_INVALID, "%s: input '%s' is not a value of this graph", cls->name, port->name);
        const clv_dtype dtype = clv_node_dtype(g, in[i]), want = clvi_loss_port_dtype(port);
        const bool stored = clvi_loss_port_is_stored(port) && dtype == CLV_BF16;
        const bool right = clvi_loss_port_is_float(port) ? dtype == CLV_F32 || dtype == CLV_F64 || stored
                                                         : dtype == want;
        CLV_CHECK(right, CLV_ERR_SHAPE, "%s: input '%s' must be %s, is %s", cls->name, port->name,
                  clvi_loss_port_is_float(port) ? "floating point" : clv_dtype_name(want), clv_dtype_name(dtype));
        CLV_TRY(clvi_loss_shape_match(cls, port, "", ndim, shape, &letters));
    }
    return CLV_OK;
}

static clv_status append(clv_graph *g, const char *name, const clv_option *options, int n_options,
                         const clv_loss_value *inputs, int n_inputs, clv_loss_value *outputs, int n_outputs,
                         clv_node *loss)
{
    _Alignas(16) char params[CLVI_LOSS_MAX_PARAMS];
    clv_node in[CLVI_LOSS_MAX_IN], out[CLVI_LOSS_MAX_OUT];
    const clvi_loss_class *cls = NULL;
    CLV_CHECK(name && (inputs || n_inputs == 0) && (outputs || n_outputs == 0), CLV_ERR_INVALID,
              "clv_loss_node: an argument is NULL");
    CLV_TRY(clvi_loss_class_find(name, &cls));
    CLV_TRY(clvi_loss_parse(cls, options, n_options, params));
    const clvi_loss_variant *variant = clvi_loss_variant_of(cls, params);
    CLV_TRY(take_inputs(g, cls, variant, inputs, n_inputs, in));
    for (int i = 0; i < CLVI_LOSS_MAX_OUT; i++) out[i] = CLV_NONE;
    *loss = variant->build(g, in, params, out);
    for (int i = 0; i < n_outputs; i++) {
        const int port = clvi_loss_port_find(variant->out, CLVI_LOSS_MAX_OUT, outputs[i].name);
        if (port < 0)
            return clvi_loss_unknown_port(cls, variant->out, CLVI_LOSS_MAX_OUT, "output", outputs[i].name);
        outputs[i].node = out[port];
    }
    return CLV_OK;
}

clv_node clv_loss_node(clv_graph *g, const char *name, const clv_option *options, int n_options,
                       const clv_loss_value *inputs, int n_inputs, clv_loss_value *outputs, int n_outputs)
{
    clv_node loss = CLV_NONE;
    for (int i = 0; outputs && i < n_outputs; i++) outputs[i].node = CLV_NONE;
    const clv_status st = append(g, name, options, n_options, inputs, n_inputs, outputs, n_outputs, &loss);
    if (st == CLV_OK) return loss;
    clvi_graph_fail(g, st, "%s", clv_error_message());
    return CLV_NONE;
}
