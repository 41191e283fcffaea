/* golden.c: a case of a file of golden vectors: a group with the options of the loss as attributes, and
 * inputs/<name>. */
#include "losses/golden.h"
#include "core/checked.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_ELEMENTS (INT64_C(1) << 26)

/* Attributes about the numbers, not of the loss, unless it has an option of the name. */
static const char *const about[] = { "loss", "kind", "variant", "head", "reference", "note", "fp32_loss_abs_err",
                                     "fp32_grad_rel_err", "decision_margin", "official_max_rel_diff" };

void clvi_golden_path(char path[CLVI_GOLDEN_PATH], const char *case_name, const char *group, const char *name)
{
    snprintf(path, CLVI_GOLDEN_PATH, "%s/%s/%s", case_name, group, name);
}

/* Whether a message begins with `name` and what ends one: "name: ...", "name/inputs". */
static bool tells_of(const char *message, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(message, name, n) == 0 && (message[n] == ':' || message[n] == '/');
}

clv_status clvi_golden_fail_in(clv_status st, const char *name)
{
    return st == CLV_OK || tells_of(clv_error_message(), name) ? st : clvi_fail_in(st, name);
}

/* ---- the file ---- */

clv_status clvi_golden_class(clv_context *ctx, clvi_h5 *h5, const char *name, const clvi_loss_class **out)
{
    char *format = NULL, *loss = NULL;
    clv_status st = CLV_OK;
    if (clvi_h5_has_attr(h5, "/", "format") || !name) CLV_TRY_OR_DONE(clvi_h5_attr_text(h5, "/", "format", &format));
    CLV_CHECK_OR_DONE(!format || strcmp(format, CLVI_GOLDEN_FORMAT) == 0, CLV_ERR_FORMAT,
                      "format is '%.32s', expected '%s'", format, CLVI_GOLDEN_FORMAT);
    if (clvi_h5_has_attr(h5, "/", "loss") || !name) CLV_TRY_OR_DONE(clvi_h5_attr_text(h5, "/", "loss", &loss));
    CLV_TRY_OR_DONE(clvi_loss_class_find(name ? name : loss, out));
    CLV_CHECK_OR_DONE(!name || !loss || clvi_name_equal(name, loss), CLV_ERR_INVALID,
                      "the file is about the loss '%.64s', not '%.64s'", loss, name);
done:
    clvi_free(ctx, loss);
    clvi_free(ctx, format);
    return st;
}

clv_status clvi_golden_kind(clv_context *ctx, clvi_h5 *h5, const char *name, bool *is_loss)
{
    char *kind = NULL;
    CLV_CHECK(strlen(name) < CLVI_GOLDEN_NAME, CLV_ERR_FORMAT, "a case's name is longer than %d bytes",
              CLVI_GOLDEN_NAME - 1);
    *is_loss = true;
    if (!clvi_h5_has_attr(h5, name, "kind")) return CLV_OK;
    CLV_TRY(clvi_h5_attr_text(h5, name, "kind", &kind));
    *is_loss = strcmp(kind, "loss") == 0;
    clvi_free(ctx, kind);
    return CLV_OK;
}

/* ---- memory ---- */

static clv_status add_memory(clvi_golden_case *c, clv_dtype dtype, int ndim, const int64_t *shape, clv_view *out)
{
    int64_t count = 1;
    for (int i = 0; i < ndim; i++)
        CLV_CHECK(shape[i] >= 0 && clvi_mul_i64(count, shape[i], &count) && count <= MAX_ELEMENTS, CLV_ERR_FORMAT,
                  "%s: an array has more than %" PRId64 " elements", c->name, MAX_ELEMENTS);
    CLV_CHECK(c->n_memory < (int)CLVI_COUNT(c->memory), CLV_ERR_FORMAT, "%s: too many arrays", c->name);
    void *block = clvi_calloc(c->ctx, (size_t)count, clv_dtype_size(dtype));
    if (!block) return CLV_ERR_NOMEM;
    c->memory[c->n_memory++] = block;
    *out = clv_view_dense(block, dtype, ndim, shape);
    return CLV_OK;
}

void clvi_golden_free(clvi_golden_case *c)
{
    for (int i = 0; i < c->n_memory; i++) clvi_free(c->ctx, c->memory[i]);
    c->n_memory = 0;
}

/* ---- options ---- */

static clv_status text_of_attr(const clvi_golden_case *c, const char *attr, char text[CLVI_GOLDEN_NAME])
{
    clv_dtype dtype;
    int64_t count, integer = 0;
    double real = 0;
    char *string = NULL;
    CLV_TRY(clvi_h5_attr_stat(c->h5, c->name, attr, &dtype, &count));
    if (dtype == CLV_F64) {
        CLV_TRY(clvi_h5_attr_f64(c->h5, c->name, attr, &real));
        snprintf(text, CLVI_GOLDEN_NAME, "%.17g", real);
    } else if (dtype == CLV_I64) {
        CLV_TRY(clvi_h5_attr_i64(c->h5, c->name, attr, &integer));
        snprintf(text, CLVI_GOLDEN_NAME, "%" PRId64, integer);
    } else {
        CLV_TRY(clvi_h5_attr_text(c->h5, c->name, attr, &string));
        snprintf(text, CLVI_GOLDEN_NAME, "%s", string);
        clvi_free(c->ctx, string);
    }
    return CLV_OK;
}

/* An attribute that is no option must be about the numbers, or say that there is "none" of the kind. */
static bool may_be_no_option(const clvi_golden_case *c, const char *attr)
{
    char text[CLVI_GOLDEN_NAME];
    for (size_t i = 0; i < CLVI_COUNT(about); i++)
        if (strcmp(about[i], attr) == 0) return true;
    return text_of_attr(c, attr, text) == CLV_OK && strcmp(text, "none") == 0;
}

static clv_status add_option(clvi_golden_case *c, const clvi_option *option, const char *attr)
{
    const int i = c->n_options;
    CLV_CHECK(i < CLVI_GOLDEN_OPTIONS, CLV_ERR_FORMAT, "%s: more than %d options", c->name, CLVI_GOLDEN_OPTIONS);
    CLV_TRY(text_of_attr(c, attr, c->option_text[i]));
    c->option[i] = (clv_option) { option->info.name, c->option_text[i] };
    c->n_options++;
    double t = 1;
    if (strcmp(attr, "temperature") == 0 || strcmp(attr, "tau") == 0)
        CLV_TRY(clvi_h5_attr_f64(c->h5, c->name, attr, &t));
    c->temperature = fmin(c->temperature, t);
    return CLV_OK;
}

static clv_status read_options(clvi_golden_case *c, clvi_golden_stranger_fn fn, void *user)
{
    char **names = NULL;
    int64_t n = 0;
    clv_status st = CLV_OK;
    CLV_TRY(clvi_h5_list(c->h5, c->name, true, &n, &names));
    c->temperature = 1;
    for (int64_t i = 0; i < n && st == CLV_OK; i++) {
        const clvi_option *option = clvi_option_find(c->cls->options, names[i]);
        if (option) st = add_option(c, option, names[i]);
        else if (!may_be_no_option(c, names[i])) fn(names[i], true, user);
    }
    clvi_free(c->ctx, names);
    if (st == CLV_OK) st = clvi_loss_parse(c->cls, c->option, c->n_options, c->params);
    if (st == CLV_OK) c->variant = clvi_loss_variant_of(c->cls, c->params);
    return st;
}

/* ---- inputs, outputs, value ---- */

static clv_status read_input(clvi_golden_case *c, clv_dtype dtype, const clvi_loss_port *port)
{
    char path[CLVI_GOLDEN_PATH];
    clvi_h5_info info;
    clvi_golden_path(path, c->name, "inputs", port->name);
    CLV_TRY(clvi_h5_stat(c->h5, path, &info));
    clv_loss_tensor *in = &c->in[c->n_in++];
    in->name = port->name;
    CLV_TRY(add_memory(c, clvi_loss_port_is_float(port) ? dtype : clvi_loss_port_dtype(port), info.ndim, info.shape,
                       &in->view));
    CLV_TRY(clvi_h5_read(c->h5, path, &in->view));
    if (!clvi_loss_port_has_grad(port)) return CLV_OK;
    clv_loss_tensor *grad = &c->grad[c->n_grad++];
    grad->name = port->name;
    return add_memory(c, dtype, info.ndim, info.shape, &grad->view);
}

clv_status clvi_golden_read(clvi_golden_case *c, clv_dtype dtype, clvi_golden_stranger_fn fn, void *user)
{
    char path[CLVI_GOLDEN_PATH], **names = NULL;
    int64_t n = 0;
    clv_status st = CLV_OK;
    CLV_TRY(read_options(c, fn, user));
    snprintf(path, sizeof path, "%s/inputs", c->name);
    CLV_TRY(clvi_h5_list(c->h5, path, false, &n, &names));
    for (int64_t i = 0; i < n && st == CLV_OK; i++) {
        const int port = clvi_loss_port_find(c->variant->in, CLVI_LOSS_MAX_IN, names[i]);
        if (port >= 0) st = read_input(c, dtype, &c->variant->in[port]);
        else fn(names[i], false, user);
    }
    clvi_free(c->ctx, names);
    return st;
}

clv_status clvi_golden_add_output(clvi_golden_case *c, int port, clv_dtype dtype, int ndim, const int64_t *shape)
{
    clv_loss_tensor *out = &c->out[c->n_out++];
    const clv_dtype own = clvi_loss_port_dtype(&c->variant->out[port]);
    out->name = c->variant->out[port].name;
    return add_memory(c, own == CLV_F32 ? dtype : own, ndim, shape, &out->view);
}

clv_status clvi_golden_evaluate(clvi_golden_case *c, bool reference)
{
    clv_loss *loss = NULL;
    CLV_TRY(clv_loss_create(c->ctx, c->cls->name, c->option, c->n_options, &loss));
    clv_loss_set_reference(loss, reference);
    const clv_status st = clv_loss_eval(loss, c->in, c->n_in, c->grad, c->n_grad, c->out, c->n_out, &c->value);
    clv_loss_destroy(loss);
    return st;
}
