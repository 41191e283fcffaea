/* check.c: compares a loss with a file of golden vectors (format "cleave-golden-1", see docs/losses/README.md).
 *
 * A case is a group with the options of the loss as attributes, inputs/<name>, and outputs/<name>. Everything in
 * outputs is either compared or reported as not compared; an attribute that is neither an option nor about the numbers
 * is a failure. */
#include "losses/loss.h"
#include "core/checked.h"
#include "core/h5.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT    "cleave-golden-1"
#define MAX_NAME  96
#define MAX_VALUE 96
#define MAX_OPTIONS 32
#define MAX_ELEMENTS (INT64_C(1) << 26)

/* Attributes about the numbers, not of the loss. */
static const char *const about[] = { "loss", "kind", "reference", "note", "fp32_loss_abs_err", "fp32_grad_rel_err",
                                     "decision_margin", "official_max_rel_diff" };

typedef struct check {
    clv_context           *ctx;
    clvi_h5               *h5;
    const clvi_loss_class *cls;
    clv_dtype              dtype;
    bool                   reference;
    clv_loss_check_fn      fn;
    void                  *user;
    int64_t                failed;
} check;

/* One case: what goes in and where it comes out. All memory is of the blocks in `memory`. */
typedef struct golden_case {
    const char     *name;
    int             n_options, n_in, n_grad, n_out;
    clv_option      option[MAX_OPTIONS];
    char            option_text[MAX_OPTIONS][MAX_VALUE];
    clv_loss_tensor in[CLVI_LOSS_MAX_IN], grad[CLVI_LOSS_MAX_IN], out[CLVI_LOSS_MAX_OUT];
    double          value, loss_error, grad_error;   /* errors of a plain float32 evaluation; 0 if not given */
    double          temperature;                     /* the smallest of temperature and tau; 1 if there is none */
    const clvi_loss_variant *variant;
    void           *memory[2 * CLVI_LOSS_MAX_IN + CLVI_LOSS_MAX_OUT];
    int             n_memory;
} golden_case;

static void report(check *k, const golden_case *c, const char *what, double error, double tolerance, int verdict,
                   const char *note)
{
    char name[2 * MAX_NAME];
    snprintf(name, sizeof name, "%s/%s", c->name, what);
    clv_loss_check_result result = { .name = name, .error = error, .tolerance = tolerance, .note = note };
    result.verdict = verdict;
    if (verdict == CLV_CHECK_FAILED) k->failed++;
    if (k->fn) k->fn(&result, k->user);
}

static void path_of(char path[3 * MAX_NAME], const golden_case *c, const char *group, const char *name)
{
    snprintf(path, 3 * MAX_NAME, "%s/%s/%s", c->name, group, name);
}

/* ---- memory and reading ---- */

static clv_status add_memory(check *k, golden_case *c, clv_dtype dtype, const clvi_h5_info *info, clv_view *out)
{
    int64_t count = 1;
    for (int i = 0; i < info->ndim; i++)
        CLV_CHECK(info->shape[i] >= 0 && clvi_mul_i64(count, info->shape[i], &count) && count <= MAX_ELEMENTS,
                  CLV_ERR_FORMAT, "%s: an array has more than %" PRId64 " elements", c->name, MAX_ELEMENTS);
    CLV_CHECK(c->n_memory < (int)CLVI_COUNT(c->memory), CLV_ERR_FORMAT, "%s: too many arrays", c->name);
    void *block = clvi_calloc(k->ctx, (size_t)count, clv_dtype_size(dtype));
    if (!block) return CLV_ERR_NOMEM;
    c->memory[c->n_memory++] = block;
    *out = clv_view_dense(block, dtype, info->ndim, info->shape);
    return CLV_OK;
}

static clv_status text_of_attr(check *k, const char *object, const char *attr, char text[MAX_VALUE])
{
    clv_dtype dtype;
    int64_t count, integer = 0;
    double real = 0;
    char *string = NULL;
    CLV_TRY(clvi_h5_attr_stat(k->h5, object, attr, &dtype, &count));
    if (dtype == CLV_F64) {
        CLV_TRY(clvi_h5_attr_f64(k->h5, object, attr, &real));
        snprintf(text, MAX_VALUE, "%.17g", real);
    } else if (dtype == CLV_I64) {
        CLV_TRY(clvi_h5_attr_i64(k->h5, object, attr, &integer));
        snprintf(text, MAX_VALUE, "%" PRId64, integer);
    } else {
        CLV_TRY(clvi_h5_attr_text(k->h5, object, attr, &string));
        snprintf(text, MAX_VALUE, "%s", string);
        clvi_free(k->ctx, string);
    }
    return CLV_OK;
}

static bool is_about(const char *attr)
{
    for (size_t i = 0; i < CLVI_COUNT(about); i++)
        if (strcmp(about[i], attr) == 0) return true;
    return false;
}

static bool has_variants(const clvi_loss_class *cls)
{
    return clvi_option_find(cls->options, "variant") != NULL;
}

static clv_status read_options(check *k, golden_case *c)
{
    char **names = NULL;
    int64_t n = 0;
    clv_status st = CLV_OK;
    CLV_TRY(clvi_h5_list(k->h5, c->name, true, &n, &names));
    c->temperature = 1;
    for (int64_t i = 0; i < n && st == CLV_OK && c->n_options < MAX_OPTIONS; i++) {
        if (is_about(names[i]) || (strcmp(names[i], "variant") == 0 && !has_variants(k->cls))) continue;
        const clvi_option *option = clvi_option_find(k->cls->options, names[i]);
        if (!option) {
            report(k, c, names[i], 0, 0, CLV_CHECK_FAILED, "an attribute that is no option of the loss");
            continue;
        }
        st = text_of_attr(k, c->name, names[i], c->option_text[c->n_options]);
        c->option[c->n_options] = (clv_option) { option->info.name, c->option_text[c->n_options] };
        c->n_options++;
        double t = 1;
        if (st == CLV_OK && (strcmp(names[i], "temperature") == 0 || strcmp(names[i], "tau") == 0))
            st = clvi_h5_attr_f64(k->h5, c->name, names[i], &t);
        c->temperature = fmin(c->temperature, t);
    }
    clvi_free(k->ctx, names);
    if (st == CLV_OK && clvi_h5_has_attr(k->h5, c->name, "fp32_loss_abs_err"))
        st = clvi_h5_attr_f64(k->h5, c->name, "fp32_loss_abs_err", &c->loss_error);
    if (st == CLV_OK && clvi_h5_has_attr(k->h5, c->name, "fp32_grad_rel_err"))
        st = clvi_h5_attr_f64(k->h5, c->name, "fp32_grad_rel_err", &c->grad_error);
    return st;
}

static clv_status read_input(check *k, golden_case *c, const clvi_loss_port *port)
{
    char path[3 * MAX_NAME];
    clvi_h5_info info;
    path_of(path, c, "inputs", port->name);
    CLV_TRY(clvi_h5_stat(k->h5, path, &info));
    clv_loss_tensor *in = &c->in[c->n_in++];
    in->name = port->name;
    CLV_TRY(add_memory(k, c, clvi_loss_port_is_float(port) ? k->dtype : clvi_loss_port_dtype(port), &info, &in->view));
    CLV_TRY(clvi_h5_read(k->h5, path, &in->view));
    if (!clvi_loss_port_has_grad(port)) return CLV_OK;
    clv_loss_tensor *grad = &c->grad[c->n_grad++];
    grad->name = port->name;
    return add_memory(k, c, k->dtype, &info, &grad->view);
}

static clv_status read_inputs(check *k, golden_case *c)
{
    char path[3 * MAX_NAME], **names = NULL;
    int64_t n = 0;
    clv_status st = CLV_OK;
    snprintf(path, sizeof path, "%s/inputs", c->name);
    CLV_TRY(clvi_h5_list(k->h5, path, false, &n, &names));
    for (int64_t i = 0; i < n && st == CLV_OK; i++) {
        const int port = clvi_loss_port_find(c->variant->in, CLVI_LOSS_MAX_IN, names[i]);
        if (port >= 0) st = read_input(k, c, &c->variant->in[port]);
        else report(k, c, names[i], 0, 0, CLV_CHECK_NOT_COMPARED, "not an input of the loss");
    }
    clvi_free(k->ctx, names);
    return st;
}

/* Room for every auxiliary output of the loss that the file has. */
static clv_status make_outputs(check *k, golden_case *c)
{
    for (int i = 0; i < clvi_loss_port_count(c->variant->out, CLVI_LOSS_MAX_OUT); i++) {
        char path[3 * MAX_NAME];
        clvi_h5_info info;
        path_of(path, c, "outputs", c->variant->out[i].name);
        if (!clvi_h5_has(k->h5, path)) continue;
        CLV_TRY(clvi_h5_stat(k->h5, path, &info));
        clv_loss_tensor *out = &c->out[c->n_out++];
        out->name = c->variant->out[i].name;
        const clv_dtype dtype = clvi_loss_port_dtype(&c->variant->out[i]);
        CLV_TRY(add_memory(k, c, dtype == CLV_F32 ? k->dtype : dtype, &info, &out->view));
    }
    return CLV_OK;
}

/* ---- comparing ---- */

static double element(const clv_view *view, int64_t i)
{
    switch (view->dtype) {
    case CLV_F32: return (double)((const float *)view->data)[i];
    case CLV_F64: return ((const double *)view->data)[i];
    case CLV_U8:  return ((const uint8_t *)view->data)[i];
    default:      return (double)((const int64_t *)view->data)[i];
    }
}

/* What float64 must reach, relative to the largest entry. */
static double tolerance_f64(const golden_case *c)
{
    return c->temperature < 0.05 ? 1e-7 : 1e-9;
}

static void judge(check *k, const golden_case *c, const char *what, double error, double tolerance)
{
    const bool good = error <= tolerance;   /* false for NaN */
    report(k, c, what, error, tolerance, good ? CLV_CHECK_PASSED : CLV_CHECK_FAILED,
           good ? "" : isfinite(error) ? "differs" : "not finite");
}

static clv_status compare_loss(check *k, const golden_case *c)
{
    char path[3 * MAX_NAME];
    double want = 0;
    path_of(path, c, "outputs", "loss");
    const clv_view view = clv_view_dense(&want, CLV_F64, 0, NULL);
    CLV_TRY(clvi_h5_read(k->h5, path, &view));
    const double scale = fmax(1, fabs(want));
    judge(k, c, "loss", fabs(c->value - want),
          k->dtype == CLV_F64 ? tolerance_f64(c) * scale : fmax(2e-5 * scale, 20 * c->loss_error));
    return CLV_OK;
}

/* Compares an array with outputs/<name>; the deviation is relative to the largest entry of the reference. */
static clv_status compare_array(check *k, const golden_case *c, const char *name, const clv_view *got)
{
    char path[3 * MAX_NAME];
    clvi_h5_info info;
    const int64_t n = clv_view_count(got);
    path_of(path, c, "outputs", name);
    CLV_TRY(clvi_h5_stat(k->h5, path, &info));
    bool same = info.ndim == got->ndim;
    for (int i = 0; same && i < got->ndim; i++) same = info.shape[i] == got->shape[i];
    CLV_CHECK(same, CLV_ERR_FORMAT, "%s: shape differs from what the loss gives", path);
    double *want = clvi_calloc(k->ctx, (size_t)n, sizeof *want);
    if (!want) return CLV_ERR_NOMEM;
    const clv_view view = clv_view_dense(want, CLV_F64, got->ndim, got->shape);
    const clv_status st = clvi_h5_read(k->h5, path, &view);
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < n && st == CLV_OK; i++) {
        const double x = element(got, i);
        if (!(fabs(x - want[i]) <= worst)) worst = fabs(x - want[i]);   /* NaN gets in and stays */
        if (isnan(worst)) break;
        largest = fmax(largest, fabs(want[i]));
    }
    clvi_free(k->ctx, want);
    if (st == CLV_OK)
        judge(k, c, name, largest > 0 ? worst / largest : worst,
              k->dtype == CLV_F64 ? tolerance_f64(c) : fmax(2e-4, 20 * c->grad_error));
    return st;
}

static clv_status compare_gradients(check *k, const golden_case *c)
{
    for (int i = 0; i < c->n_grad; i++) {
        char name[MAX_NAME + 16], path[3 * MAX_NAME];
        snprintf(name, sizeof name, "grad_%s_zeroed", c->grad[i].name);   /* zero rows get zero gradients here */
        path_of(path, c, "outputs", name);
        if (!clvi_h5_has(k->h5, path)) snprintf(name, sizeof name, "grad_%s", c->grad[i].name);
        path_of(path, c, "outputs", name);
        if (clvi_h5_has(k->h5, path)) CLV_TRY(compare_array(k, c, name, &c->grad[i].view));
        else report(k, c, name, 0, 0, CLV_CHECK_FAILED, "the file has no such gradient");
    }
    return CLV_OK;
}

/* Why an output of the file is not compared, or NULL if it is. */
static const char *not_compared(check *k, const golden_case *c, const char *name)
{
    if (strcmp(name, "loss") == 0) return NULL;
    for (int i = 0; i < c->n_out; i++)
        if (strcmp(c->out[i].name, name) == 0) return NULL;
    for (int i = 0; i < c->n_grad; i++) {
        const size_t n = strlen(c->grad[i].name);
        if (strncmp(name, "grad_", 5) != 0 || strncmp(name + 5, c->grad[i].name, n) != 0) continue;
        if (strcmp(name + 5 + n, "_zeroed") == 0) return NULL;
        char path[3 * MAX_NAME], zeroed[MAX_NAME + 16];
        snprintf(zeroed, sizeof zeroed, "grad_%s_zeroed", c->grad[i].name);
        path_of(path, c, "outputs", zeroed);
        if (name[5 + n] == 0) return clvi_h5_has(k->h5, path) ? "zero rows get zero gradients: see _zeroed" : NULL;
    }
    return "not an output of the loss";
}

static clv_status report_rest(check *k, const golden_case *c)
{
    char path[3 * MAX_NAME], **names = NULL;
    int64_t n = 0;
    snprintf(path, sizeof path, "%s/outputs", c->name);
    CLV_TRY(clvi_h5_list(k->h5, path, false, &n, &names));
    for (int64_t i = 0; i < n; i++) {
        const char *why = not_compared(k, c, names[i]);
        if (why) report(k, c, names[i], 0, 0, CLV_CHECK_NOT_COMPARED, why);
    }
    clvi_free(k->ctx, names);
    return CLV_OK;
}

static clv_status compare(check *k, golden_case *c)
{
    CLV_TRY(compare_loss(k, c));
    CLV_TRY(compare_gradients(k, c));
    for (int i = 0; i < c->n_out; i++) CLV_TRY(compare_array(k, c, c->out[i].name, &c->out[i].view));
    return report_rest(k, c);
}

/* ---- cases ---- */

static clv_status evaluate(check *k, golden_case *c)
{
    _Alignas(16) char params[CLVI_LOSS_MAX_PARAMS];
    clv_loss *loss = NULL;
    CLV_TRY(read_options(k, c));
    CLV_TRY(clvi_loss_parse(k->cls, c->option, c->n_options, params));
    c->variant = clvi_loss_variant_of(k->cls, params);
    CLV_TRY(read_inputs(k, c));
    CLV_TRY(make_outputs(k, c));
    CLV_TRY(clv_loss_create(k->ctx, k->cls->name, c->option, c->n_options, &loss));
    clv_loss_set_reference(loss, k->reference);
    const clv_status st = clv_loss_eval(loss, c->in, c->n_in, c->grad, c->n_grad, c->out, c->n_out, &c->value);
    clv_loss_destroy(loss);
    return st;
}

static clv_status check_case(check *k, const char *name)
{
    char *kind = NULL;
    golden_case *c = clvi_calloc(k->ctx, 1, sizeof *c);
    if (!c) return CLV_ERR_NOMEM;
    c->name = name;
    clv_status st = strlen(name) < MAX_NAME
                        ? clvi_h5_attr_text(k->h5, name, "kind", &kind)
                        : clvi_fail(CLV_ERR_FORMAT, "a case's name is longer than %d bytes", MAX_NAME - 1);
    if (st == CLV_OK && strcmp(kind, "loss") != 0) {
        report(k, c, "*", 0, 0, CLV_CHECK_NOT_COMPARED, "not about the loss's value");
    } else if (st == CLV_OK) {
        st = evaluate(k, c);
        if (st == CLV_OK) st = compare(k, c);
    }
    clvi_free(k->ctx, kind);
    for (int i = 0; i < c->n_memory; i++) clvi_free(k->ctx, c->memory[i]);
    clvi_free(k->ctx, c);
    return st == CLV_OK || strstr(clv_error_message(), name) ? st : clvi_fail_in(st, name);
}

static clv_status check_file(check *k)
{
    char *format = NULL, *loss = NULL, **names = NULL;
    int64_t n = 0;
    clv_status st = clvi_h5_attr_text(k->h5, "/", "format", &format);
    if (st == CLV_OK && strcmp(format, FORMAT) != 0)
        st = clvi_fail(CLV_ERR_FORMAT, "format is '%.32s', expected '%s'", format, FORMAT);
    if (st == CLV_OK) st = clvi_h5_attr_text(k->h5, "/", "loss", &loss);
    if (st == CLV_OK) st = clvi_loss_class_find(loss, &k->cls);
    if (st == CLV_OK) st = clvi_h5_list(k->h5, "/", false, &n, &names);
    for (int64_t i = 0; i < n && st == CLV_OK; i++) st = check_case(k, names[i]);
    clvi_free(k->ctx, names);
    clvi_free(k->ctx, loss);
    clvi_free(k->ctx, format);
    return st;
}

clv_status clv_loss_check(clv_context *ctx, const char *path, clv_dtype dtype, bool reference, clv_loss_check_fn fn,
                          void *user, int64_t *failed)
{
    CLV_CHECK(ctx && path, CLV_ERR_INVALID, "clv_loss_check: an argument is NULL");
    CLV_CHECK(dtype == CLV_F32 || dtype == CLV_F64, CLV_ERR_INVALID,
              "clv_loss_check: dtype must be float32 or float64, is %s", clv_dtype_name(dtype));
    check k = { .ctx = ctx, .dtype = dtype, .reference = reference, .fn = fn, .user = user };
    CLV_TRY(clvi_h5_open_untrusted(ctx, path, &k.h5));
    const clv_status st = check_file(&k);
    clvi_h5_close(k.h5);
    if (failed) *failed = k.failed;
    return st == CLV_OK || strstr(clv_error_message(), path) ? st : clvi_fail_in(st, path);
}
