/* check.c: compares a loss with a file of golden vectors. Everything in outputs is either compared or reported as not
 * compared; an attribute that is neither an option nor about the numbers is a failure.
 *
 * Errors are relative to the largest entry of an array. Two things cannot be compared like that, and are not:
 * entries beyond the largest number of the type (each must be that number), and gradients that are 0 but for what
 * float64 leaves of 1 - p where p rounds to 1.
 *
 * In bfloat16 the file's inputs are no longer the ones its outputs belong to. What is right then is what the plain
 * kernels give in float64 for the rounded inputs; rankings may come out otherwise, and a case where they do is told. */
#include "losses/golden.h"
#include "core/checked.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a sum in float32 may be off by, whatever its order: a case where one evaluation was lucky asks no more. */
#define SUMMED (64 * (double)FLT_EPSILON)

typedef struct check {
    clv_context           *ctx;
    clvi_h5               *h5;
    const clvi_loss_class *cls;
    clv_dtype              dtype;
    bool                   reference;
    clv_loss_check_fn      fn;
    void                  *user;
    int64_t                failed;
    clvi_golden_case      *now;                      /* the case at work */
    clvi_golden_case      *exact;                    /* bfloat16: the same in float64; else NULL */
    double                 loss_error, grad_error;   /* of a plain float32 evaluation of this case; < 0: not given */
} check;

static void report(check *k, const char *what, double error, double tolerance, int verdict, const char *note)
{
    char name[2 * CLVI_GOLDEN_NAME];
    snprintf(name, sizeof name, "%s/%s", k->now->name, what);
    clv_loss_check_result result = { .name = name, .error = error, .tolerance = tolerance, .note = note };
    result.verdict = verdict;
    if (verdict == CLV_CHECK_FAILED) k->failed++;
    if (k->fn) k->fn(&result, k->user);
}

static void report_stranger(const char *name, bool attribute, void *user)
{
    report(user, name, 0, 0, attribute ? CLV_CHECK_FAILED : CLV_CHECK_NOT_COMPARED,
           attribute ? "an attribute that is no option of the loss" : "not an input of the loss");
}

static void report_nothing(const char *name, bool attribute, void *user)
{
    (void)name, (void)attribute, (void)user;
}

/* ---- tolerances ---- */

/* float32: four times what it reached elsewhere, where the case tells; `unknown` where it does not. In bfloat16 inputs
 * are others, and the case's errors only a hint. */
static double of_float32(const check *k, double reached, double unknown)
{
    if (k->dtype == CLV_BF16) return fmax(unknown, 20 * reached);
    return reached < 0 ? unknown : fmax(SUMMED, 4 * reached);
}

static double of_value(const check *k, double want)
{
    const double scale = fmax(1, fabs(want));
    if (k->dtype == CLV_F64) return (k->now->temperature < 0.05 ? 1e-7 : 1e-9) * scale;
    return scale * of_float32(k, k->loss_error / scale, 2e-5);
}

/* Relative to the largest entry. What comes back in bfloat16 is rounded once more. */
static double of_array(const check *k)
{
    if (k->dtype == CLV_F64) return k->now->temperature < 0.05 ? 1e-7 : 1e-9;
    return of_float32(k, k->grad_error, 2e-4) + (k->dtype == CLV_BF16 ? 1.0 / 256 : 0);
}

/* An error in what was read or computed fails the case, or the array, and the others go on. */
static clv_status settle(check *k, const char *what, clv_status st)
{
    if (st == CLV_OK || st == CLV_ERR_NOMEM || st == CLV_ERR_IO || st == CLV_ERR_INTERNAL) return st;
    char message[512];
    snprintf(message, sizeof message, "%s", clv_error_message());
    report(k, what, 0, 0, CLV_CHECK_FAILED, message);
    return CLV_OK;
}

static void judge(check *k, const char *what, double error, double tolerance)
{
    const bool good = error <= tolerance;   /* false for NaN */
    report(k, what, error, tolerance, good ? CLV_CHECK_PASSED : CLV_CHECK_FAILED,
           good ? "" : isfinite(error) ? "differs" : "not finite");
}

/* ---- arrays ---- */

/* An array as float64, newly allocated. */
static clv_status widen(check *k, const clv_view *view, double **out)
{
    const int64_t n = clv_view_count(view);
    double *values = clvi_calloc(k->ctx, (size_t)n, sizeof *values);
    if (!values) return CLV_ERR_NOMEM;
    clv_status st = CLV_OK;
    if (view->dtype == CLV_U8 || view->dtype == CLV_I64) {
        for (int64_t i = 0; i < n; i++)
            values[i] = view->dtype == CLV_U8 ? ((const uint8_t *)view->data)[i]
                                              : (double)((const int64_t *)view->data)[i];
    } else {
        const clv_view dst = clv_view_dense(values, CLV_F64, view->ndim, view->shape);
        st = clv_view_copy(&dst, view);
    }
    if (st == CLV_OK) *out = values;
    else clvi_free(k->ctx, values);
    return st;
}

/* outputs/<name> of the file; its shape must be the loss's. */
static clv_status read_output(check *k, const char *name, const clv_view *like, double **out)
{
    char path[CLVI_GOLDEN_PATH];
    clvi_h5_info info;
    clvi_golden_path(path, k->now->name, "outputs", name);
    CLV_TRY(clvi_h5_stat(k->h5, path, &info));
    bool same = info.ndim == like->ndim;
    for (int i = 0; same && i < like->ndim; i++) same = info.shape[i] == like->shape[i];
    CLV_CHECK(same, CLV_ERR_FORMAT, "shape differs from what the loss gives");
    double *values = clvi_calloc(k->ctx, (size_t)clv_view_count(like), sizeof *values);
    if (!values) return CLV_ERR_NOMEM;
    const clv_view view = clv_view_dense(values, CLV_F64, like->ndim, like->shape);
    const clv_status st = clvi_h5_read(k->h5, path, &view);
    if (st == CLV_OK) *out = values;
    else clvi_free(k->ctx, values);
    return st;
}

/* The largest number of the type results come in. */
static double limit_of(const check *k)
{
    return k->dtype == CLV_F64 ? DBL_MAX : k->dtype == CLV_F32 ? FLT_MAX : 0x1.fep127;
}

static double largest_entry(const double *x, int64_t n, double limit)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs(x[i]) <= limit) largest = fmax(largest, fabs(x[i]));
    return largest;
}

/* What float32 cannot hold comes as its largest number, which bfloat16 rounds to infinity. */
static bool at_limit(const check *k, double got, double want)
{
    return got == copysign(limit_of(k), want) || (k->dtype == CLV_BF16 && got == copysign(INFINITY, want));
}

/* Largest deviation; infinite where an entry is not at the limit and should be, NaN where one is NaN. */
static double deviation(const check *k, const double *got, const double *want, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n && !isnan(worst); i++) {
        const bool beyond = isfinite(want[i]) && fabs(want[i]) > limit_of(k);
        const double gap = !beyond ? fabs(got[i] - want[i]) : at_limit(k, got[i], want[i]) ? 0 : INFINITY;
        if (!(gap <= worst)) worst = gap;   /* NaN gets in and stays */
    }
    return worst;
}

static bool is_gradient(const char *name)
{
    return strncmp(name, "grad_", 5) == 0;
}

/* exact: the right values; NULL: they are outputs/<name>. The file's largest entry belongs to the scale even then:
 * rounding may make duplicates of near duplicates, and the right gradient 0. */
static clv_status compare_array(check *k, const char *name, const clv_view *got, const clv_view *exact)
{
    double *a = NULL, *b = NULL, *rounded = NULL;
    const int64_t n = clv_view_count(got);
    clv_status st = widen(k, got, &a);
    if (st == CLV_OK) st = read_output(k, name, got, &b);
    if (st == CLV_OK && exact) st = widen(k, exact, &rounded);
    if (st == CLV_OK) {
        const double limit = limit_of(k);
        const double scale = fmax(largest_entry(b, n, limit), rounded ? largest_entry(rounded, n, limit) : 0);
        const double error = deviation(k, a, rounded ? rounded : b, n);
        if (scale > (is_gradient(name) ? DBL_EPSILON : 0)) judge(k, name, error / scale, of_array(k));
        else judge(k, name, error, k->dtype == CLV_F64 ? DBL_EPSILON : FLT_EPSILON);
    }
    clvi_free(k->ctx, rounded);
    clvi_free(k->ctx, b);
    clvi_free(k->ctx, a);
    return settle(k, name, st);
}

static clv_status compare_loss(check *k)
{
    char path[CLVI_GOLDEN_PATH];
    double want = 0;
    clvi_golden_path(path, k->now->name, "outputs", "loss");
    const clv_view view = clv_view_dense(&want, CLV_F64, 0, NULL);
    const clv_status st = clvi_h5_read(k->h5, path, &view);
    if (st != CLV_OK) return settle(k, "loss", st);
    if (k->exact) want = k->exact->value;
    judge(k, "loss", fabs(k->now->value - want), of_value(k, want));
    return CLV_OK;
}

static clv_status compare_gradients(check *k)
{
    for (int i = 0; i < k->now->n_grad; i++) {
        const clv_loss_tensor *grad = &k->now->grad[i];
        char name[CLVI_GOLDEN_NAME + 16], path[CLVI_GOLDEN_PATH];
        snprintf(name, sizeof name, "grad_%s_zeroed", grad->name);   /* zero rows get zero gradients here */
        clvi_golden_path(path, k->now->name, "outputs", name);
        if (!clvi_h5_has(k->h5, path)) snprintf(name, sizeof name, "grad_%s", grad->name);
        clvi_golden_path(path, k->now->name, "outputs", name);
        if (clvi_h5_has(k->h5, path))
            CLV_TRY(compare_array(k, name, &grad->view, k->exact ? &k->exact->grad[i].view : NULL));
        else report(k, name, 0, 0, CLV_CHECK_FAILED, "the file has no such gradient");
    }
    return CLV_OK;
}

/* Why an output of the file is not compared, or NULL if it is. */
static const char *not_compared(check *k, const char *name)
{
    if (strcmp(name, "loss") == 0) return NULL;
    for (int i = 0; i < k->now->n_out; i++)
        if (strcmp(k->now->out[i].name, name) == 0) return NULL;
    for (int i = 0; i < k->now->n_grad; i++) {
        const char *input = k->now->grad[i].name;
        const size_t n = strlen(input);
        if (strncmp(name, "grad_", 5) != 0 || strncmp(name + 5, input, n) != 0) continue;
        if (strcmp(name + 5 + n, "_zeroed") == 0) return NULL;
        char path[CLVI_GOLDEN_PATH], zeroed[CLVI_GOLDEN_NAME + 16];
        snprintf(zeroed, sizeof zeroed, "grad_%s_zeroed", input);
        clvi_golden_path(path, k->now->name, "outputs", zeroed);
        if (name[5 + n] == 0) return clvi_h5_has(k->h5, path) ? "zero rows get zero gradients: see _zeroed" : NULL;
    }
    return clvi_loss_port_find(k->now->variant->out, CLVI_LOSS_MAX_OUT, name) < 0 ? "not an output of the loss"
                                                                                  : "the loss gives another shape";
}

static clv_status report_rest(check *k)
{
    char path[CLVI_GOLDEN_PATH], **names = NULL;
    int64_t n = 0;
    snprintf(path, sizeof path, "%s/outputs", k->now->name);
    CLV_TRY(clvi_h5_list(k->h5, path, false, &n, &names));
    for (int64_t i = 0; i < n; i++) {
        const char *why = not_compared(k, names[i]);
        if (why) report(k, names[i], 0, 0, CLV_CHECK_NOT_COMPARED, why);
    }
    clvi_free(k->ctx, names);
    return CLV_OK;
}

/* A ranking or threshold (an output of whole numbers) came out otherwise than in float64. */
static bool decides_otherwise(const check *k)
{
    for (int i = 0; k->exact && i < k->now->n_out; i++) {
        const clv_view *a = &k->now->out[i].view, *b = &k->exact->out[i].view;
        if ((a->dtype == CLV_U8 || a->dtype == CLV_I64) &&
            memcmp(a->data, b->data, (size_t)clv_view_count(a) * clv_dtype_size(a->dtype)) != 0)
            return true;
    }
    return false;
}

static clv_status compare(check *k)
{
    if (decides_otherwise(k)) {
        report(k, "*", 0, 0, CLV_CHECK_NOT_COMPARED, "a decision comes out otherwise after rounding");
        return CLV_OK;
    }
    CLV_TRY(compare_loss(k));
    CLV_TRY(compare_gradients(k));
    for (int i = 0; i < k->now->n_out; i++)
        CLV_TRY(compare_array(k, k->now->out[i].name, &k->now->out[i].view, k->exact ? &k->exact->out[i].view : NULL));
    return report_rest(k);
}

/* ---- cases ---- */

static bool same_shape(const clvi_h5_info *info, int ndim, const int64_t *shape)
{
    bool same = info->ndim == ndim;
    for (int i = 0; same && i < ndim; i++) same = info->shape[i] == shape[i];
    return same;
}

/* Room for an auxiliary output if the file has it in the shape the loss gives. */
static clv_status make_output(clvi_golden_case *c, clv_dtype dtype, clv_loss *loss, int port)
{
    char path[CLVI_GOLDEN_PATH];
    clvi_h5_info info;
    int ndim;
    int64_t shape[CLV_MAX_DIMS];
    const char *name = c->variant->out[port].name;
    clvi_golden_path(path, c->name, "outputs", name);
    if (!clvi_h5_has(c->h5, path)) return CLV_OK;
    CLV_TRY(clvi_h5_stat(c->h5, path, &info));
    CLV_TRY(clv_loss_output_shape(loss, c->in, c->n_in, name, &ndim, shape));
    if (ndim >= 0 && !same_shape(&info, ndim, shape)) return CLV_OK;
    return clvi_golden_add_output(c, port, dtype, info.ndim, info.shape);
}

static clv_status make_outputs(clvi_golden_case *c, clv_dtype dtype)
{
    clv_loss *loss = NULL;
    CLV_TRY(clv_loss_create(c->ctx, c->cls->name, c->option, c->n_options, &loss));
    clv_status st = CLV_OK;
    for (int i = 0; i < clvi_loss_port_count(c->variant->out, CLVI_LOSS_MAX_OUT) && st == CLV_OK; i++)
        st = make_output(c, dtype, loss, i);
    clv_loss_destroy(loss);
    return st;
}

static clv_status evaluate(check *k)
{
    CLV_TRY(clvi_golden_read(k->now, k->dtype, report_stranger, k));
    CLV_TRY(make_outputs(k->now, k->dtype));
    return clvi_golden_evaluate(k->now, k->reference);
}

/* The same case on the rounded inputs in float64, with the plain kernels. */
static clv_status evaluate_exactly(check *k)
{
    CLV_TRY(clvi_golden_read(k->exact, CLV_F64, report_nothing, NULL));
    CLV_TRY(make_outputs(k->exact, CLV_F64));
    for (int i = 0; i < k->now->n_in; i++)
        CLV_TRY(clv_view_copy(&k->exact->in[i].view, &k->now->in[i].view));
    return clvi_golden_evaluate(k->exact, true);
}

static clv_status read_errors(check *k, const char *name)
{
    k->loss_error = k->grad_error = -1;
    if (clvi_h5_has_attr(k->h5, name, "fp32_loss_abs_err"))
        CLV_TRY(clvi_h5_attr_f64(k->h5, name, "fp32_loss_abs_err", &k->loss_error));
    if (clvi_h5_has_attr(k->h5, name, "fp32_grad_rel_err"))
        CLV_TRY(clvi_h5_attr_f64(k->h5, name, "fp32_grad_rel_err", &k->grad_error));
    return CLV_OK;
}

static clv_status check_loss_case(check *k, const char *name)
{
    CLV_TRY(read_errors(k, name));
    CLV_TRY(evaluate(k));
    if (k->exact) CLV_TRY(evaluate_exactly(k));
    return compare(k);
}

static clv_status check_case(check *k, const char *name)
{
    bool is_loss = false;
    clvi_golden_case *c = clvi_calloc(k->ctx, 2, sizeof *c);
    if (!c) return CLV_ERR_NOMEM;
    for (int i = 0; i < 2; i++) c[i].ctx = k->ctx, c[i].h5 = k->h5, c[i].cls = k->cls, c[i].name = name;
    k->now = &c[0];
    k->exact = k->dtype == CLV_BF16 ? &c[1] : NULL;
    clv_status st = clvi_golden_kind(k->ctx, k->h5, name, &is_loss);
    if (st == CLV_OK && !is_loss) report(k, "*", 0, 0, CLV_CHECK_NOT_COMPARED, "not about the loss's value");
    else if (st == CLV_OK) st = check_loss_case(k, name);
    st = settle(k, "*", st);
    for (int i = 0; i < 2; i++) clvi_golden_free(&c[i]);
    clvi_free(k->ctx, c);
    return st;
}

clv_status clv_loss_check(clv_context *ctx, const char *path, clv_dtype dtype, bool reference, clv_loss_check_fn fn,
                          void *user, int64_t *failed)
{
    CLV_CHECK(ctx && path, CLV_ERR_INVALID, "clv_loss_check: an argument is NULL");
    CLV_CHECK(dtype == CLV_F32 || dtype == CLV_F64 || dtype == CLV_BF16, CLV_ERR_INVALID,
              "clv_loss_check: dtype must be float32, float64 or bfloat16, is %s", clv_dtype_name(dtype));
    check k = { .ctx = ctx, .dtype = dtype, .reference = reference, .fn = fn, .user = user };
    char **names = NULL;
    int64_t n = 0;
    CLV_TRY(clvi_h5_open_untrusted(ctx, path, &k.h5));
    clv_status st = clvi_golden_class(ctx, k.h5, NULL, &k.cls);
    if (st == CLV_OK) st = clvi_h5_list(k.h5, "/", false, &n, &names);
    if (st == CLV_OK && n == 0) st = clvi_fail(CLV_ERR_FORMAT, "no cases: expected groups that hold a group 'inputs'");
    for (int64_t i = 0; i < n && st == CLV_OK; i++) st = check_case(&k, names[i]);
    clvi_free(ctx, names);
    clvi_h5_close(k.h5);
    if (failed) *failed = k.failed;
    return clvi_golden_fail_in(st, path);
}
