/* registry.c: which losses there are and what they take. */
#include "losses/loss.h"
#include "core/checked.h"

#define PORT_FLAGS (CLVI_PORT_OPTIONAL | CLVI_PORT_STORED)

static const clvi_loss_class *const classes[] = {
#define CLV_LOSS(name) &clvi_loss_##name,
#include "losses/registry.def"
#undef CLV_LOSS
};

int clv_loss_count(void)
{
    return (int)CLVI_COUNT(classes);
}

int clv_loss_find(const char *name)
{
    for (int i = 0; name && i < clv_loss_count(); i++)
        if (clvi_name_equal(classes[i]->name, name)) return i;
    return -1;
}

bool clv_loss_info_at(int loss, clv_class_info *out)
{
    if (loss < 0 || loss >= clv_loss_count()) return false;
    const clvi_loss_class *cls = classes[loss];
    *out = (clv_class_info) { cls->name, cls->summary, cls->source, clvi_option_count(cls->options) };
    return true;
}

bool clv_loss_option_at(int loss, int index, clv_option_info *out)
{
    clv_class_info info;
    if (!clv_loss_info_at(loss, &info) || index < 0 || index >= info.option_count) return false;
    *out = classes[loss]->options[index].info;
    return true;
}

const char *clv_loss_formula(int loss)
{
    return loss < 0 || loss >= clv_loss_count() ? NULL : classes[loss]->formula;
}

const char *clv_loss_published(int loss)
{
    return loss < 0 || loss >= clv_loss_count() ? NULL : classes[loss]->published;
}

/* Port `index`, counted through all variants. */
static bool port_at(int loss, int index, bool output, clv_loss_port *out)
{
    if (loss < 0 || loss >= clv_loss_count() || index < 0) return false;
    for (const clvi_loss_variant *v = classes[loss]->variants; v->build; v++) {
        const clvi_loss_port *ports = output ? v->out : v->in;
        const int count = clvi_loss_port_count(ports, output ? CLVI_LOSS_MAX_OUT : CLVI_LOSS_MAX_IN);
        if (index < count) {
            const clvi_loss_port *p = &ports[index];
            *out = (clv_loss_port) { p->name, p->shape, clvi_loss_port_dtype(p), clvi_loss_port_is_optional(p),
                                     !output && clvi_loss_port_has_grad(p), v->name, p->help };
            return true;
        }
        index -= count;
    }
    return false;
}

bool clv_loss_input_at(int loss, int index, clv_loss_port *out)
{
    return port_at(loss, index, false, out);
}

bool clv_loss_output_at(int loss, int index, clv_loss_port *out)
{
    return port_at(loss, index, true, out);
}

clv_status clvi_loss_class_find(const char *name, const clvi_loss_class **out)
{
    const char *names[CLVI_COUNT(classes) + 1] = { NULL };
    const int i = clv_loss_find(name);
    if (i >= 0) {
        *out = classes[i];
        return CLV_OK;
    }
    for (size_t j = 0; j < CLVI_COUNT(classes); j++) names[j] = classes[j]->name;
    const char *near = clv_nearest_name(name, names);
    return near ? clvi_fail(CLV_ERR_INVALID, "loss: no '%.64s'; did you mean '%s'?", name, near)
                : clvi_fail(CLV_ERR_INVALID, "loss: no '%.64s'", name);
}

const clvi_loss_variant *clvi_loss_variant_of(const clvi_loss_class *cls, const void *params)
{
    const clvi_option *option = clvi_option_find(cls->options, "variant");
    return cls->variants + (option ? *(const int *)(const void *)((const char *)params + option->offset) : 0);
}

/* ---- ports ---- */

int clvi_loss_port_count(const clvi_loss_port *ports, int max)
{
    int count = 0;
    while (count < max && ports[count].name) count++;
    return count;
}

int clvi_loss_port_find(const clvi_loss_port *ports, int max, const char *name)
{
    for (int i = 0; name && i < max && ports[i].name; i++)
        if (clvi_name_equal(ports[i].name, name)) return i;
    return -1;
}

clv_dtype clvi_loss_port_dtype(const clvi_loss_port *port)
{
    const int kind = port->kind & ~PORT_FLAGS;
    return kind == CLVI_PORT_MASK ? CLV_U8 : kind == CLVI_PORT_INDEX ? CLV_I64 : CLV_F32;
}

bool clvi_loss_port_is_float(const clvi_loss_port *port)
{
    return clvi_loss_port_dtype(port) == CLV_F32;
}

bool clvi_loss_port_is_optional(const clvi_loss_port *port)
{
    return port->kind & CLVI_PORT_OPTIONAL;
}

bool clvi_loss_port_is_stored(const clvi_loss_port *port)
{
    return port->kind & CLVI_PORT_STORED;
}

bool clvi_loss_port_has_grad(const clvi_loss_port *port)
{
    return (port->kind & ~PORT_FLAGS) == CLVI_PORT_GRAD;
}
