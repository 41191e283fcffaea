/* losses.c: every loss with random inputs of any size. */
#include "tests/support/losses.h"
#include "core/rng.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void test_losses_each(void (*fn)(const char *name, const char *variant, void *user), void *user)
{
    clv_class_info info;
    clv_loss_port port;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        const char *last = "";
        for (int j = 0; clv_loss_input_at(i, j, &port); j++) {
            const bool same = port.variant == last || (port.variant && last && strcmp(port.variant, last) == 0);
            if (!same || (j == 0 && !port.variant)) fn(info.name, port.variant, user);
            last = port.variant;
        }
    }
}

/* "B,1+K" with the lengths put in; "..." as one dimension, D. */
static clv_view view_of(const clv_loss_port *port, clv_dtype dtype, test_length_fn length, void *user)
{
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    int ndim = port->shape[0] != 0;
    for (const char *c = port->shape; *c; c++) {
        if (*c == ',') ndim++;
        else if (*c == '.') shape[ndim - 1] = length('D', user);
        else if (*c >= '0' && *c <= '9') shape[ndim - 1] += *c - '0';
        else if (*c != '+') shape[ndim - 1] += length(*c, user);
    }
    clv_view view = clv_view_dense(NULL, dtype, ndim, shape);
    view.data = calloc((size_t)clv_view_count(&view) + 1, clv_dtype_size(dtype));
    return view;
}

static void fill(const clv_view *view, clvi_rng *rng)
{
    const int64_t n = clv_view_count(view);
    for (int64_t i = 0; i < n; i++) {
        if (view->dtype == CLV_F64) ((double *)view->data)[i] = clvi_rng_normal(rng);
        else if (view->dtype == CLV_U8) ((uint8_t *)view->data)[i] = clvi_rng_below(rng, 4) > 0;
        else ((int64_t *)view->data)[i] = (int64_t)clvi_rng_below(rng, 5);
    }
}

static bool belongs(const clv_loss_port *port, const char *variant)
{
    return !variant || (port->variant && strcmp(port->variant, variant) == 0);
}

/* Whether an input is given. Where inputs exclude each other, optional ones take the place of others. */
static bool is_given(const char *loss, const clv_loss_port *port, bool optional)
{
    if (strcmp(loss, "repulsor") == 0 && strcmp(port->name, "z") == 0) return !optional;
    return optional || !port->optional;
}

static clv_dtype dtype_of(const clv_loss_port *port)
{
    return port->dtype == CLV_F32 ? CLV_F64 : port->dtype;
}

/* The option that divides the exponents of a loss, or NULL. */
static const char *temperature_of(int loss)
{
    clv_option_info info;
    for (int i = 0; clv_loss_option_at(loss, i, &info); i++)
        if (strcmp(info.name, "temperature") == 0 || strcmp(info.name, "tau") == 0) return info.name;
    return NULL;
}

/* Options without which a loss is no function of its inputs alone, or not of the sizes asked for. */
static const struct { const char *loss, *option, *value; char length; } needed[] = {
    { "mochi", "stop-grad-synthetic", "false", 0 }, { "mochi", "s", NULL, 'S' }, { "mochi", "s-prime", NULL, 'P' },
};

static int add_needed(const char *loss, clv_option *options, int n, char text[][24], test_length_fn length, void *user)
{
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (strcmp(needed[i].loss, loss) != 0) continue;
        if (!needed[i].value) snprintf(text[i], sizeof text[i], "%lld", (long long)length(needed[i].length, user));
        options[n++] = (clv_option) { needed[i].option, needed[i].value ? needed[i].value : text[i] };
    }
    return n;
}

test_loss *test_loss_make(clv_context *ctx, const char *name, const char *variant, const char *temperature,
                          bool optional, uint64_t seed, test_length_fn length, void *user)
{
    return test_loss_make_with(ctx, name, variant, NULL, temperature, optional, seed, length, user);
}

test_loss *test_loss_make_with(clv_context *ctx, const char *name, const char *variant, const clv_option *more,
                               const char *temperature, bool optional, uint64_t seed, test_length_fn length,
                               void *user)
{
    test_loss *l = calloc(1, sizeof *l);
    const int index = clv_loss_find(name);
    const char *divisor = temperature_of(index);
    clv_option options[3 + sizeof needed / sizeof needed[0]];
    char text[sizeof needed / sizeof needed[0]][24];
    int n_options = 0;
    clv_loss_port port;
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 0, 0, 0);
    l->name = name;
    l->variant = variant;
    if (divisor) options[n_options++] = (clv_option) { divisor, temperature };
    if (variant) options[n_options++] = (clv_option) { "variant", variant };
    n_options = add_needed(name, options, n_options, text, length, user);
    if (more) options[n_options++] = *more;   /* the last of two of a name counts */
    assert_ok(clv_loss_create(ctx, name, options, n_options, &l->loss));
    for (int i = 0; clv_loss_input_at(index, i, &port); i++) {
        if (!belongs(&port, variant) || !is_given(name, &port, optional)) continue;
        l->in[l->n_in] = (clv_loss_tensor) { port.name, view_of(&port, dtype_of(&port), length, user) };
        fill(&l->in[l->n_in++].view, &rng);
        if (port.differentiable)
            l->grad[l->n_grad++] = (clv_loss_tensor) { port.name, view_of(&port, CLV_F64, length, user) };
    }
    for (int i = 0; clv_loss_output_at(index, i, &port); i++)
        if (belongs(&port, variant))
            l->out[l->n_out++] = (clv_loss_tensor) { port.name, view_of(&port, dtype_of(&port), length, user) };
    return l;
}

static void narrow(clv_view *x)
{
    if (x->dtype != CLV_F64) return;
    float *values = calloc((size_t)clv_view_count(x) + 1, sizeof *values);
    for (int64_t i = 0; i < clv_view_count(x); i++) values[i] = (float)((double *)x->data)[i];
    free(x->data);
    x->data = values;
    x->dtype = CLV_F32;
}

void test_loss_narrow(test_loss *l)
{
    for (int i = 0; i < l->n_in; i++) narrow(&l->in[i].view);
    for (int i = 0; i < l->n_grad; i++) narrow(&l->grad[i].view);
    for (int i = 0; i < l->n_out; i++) narrow(&l->out[i].view);
}

void test_loss_free(test_loss *l)
{
    if (!l) return;
    clv_loss_destroy(l->loss);
    for (int i = 0; i < TEST_LOSS_PORTS; i++) {
        free(l->in[i].view.data);
        free(l->grad[i].view.data);
        free(l->out[i].view.data);
    }
    free(l);
}

clv_status test_loss_eval(test_loss *l)
{
    return clv_loss_eval(l->loss, l->in, l->n_in, l->grad, l->n_grad, l->out, l->n_out, &l->value);
}

static clv_view *find(clv_loss_tensor *tensors, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(tensors[i].name, name) == 0) return &tensors[i].view;
    return NULL;
}

clv_view *test_loss_input(test_loss *l, const char *name)
{
    return find(l->in, l->n_in, name);
}

clv_view *test_loss_grad(test_loss *l, const char *name)
{
    return find(l->grad, l->n_grad, name);
}

clv_view *test_loss_output(test_loss *l, const char *name)
{
    return find(l->out, l->n_out, name);
}
