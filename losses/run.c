/* run.c: evaluates a loss on inputs from a file and writes a file of golden vectors: the options in effect, the inputs,
 * and what comes out. */
#include "losses/golden.h"
#include "core/checked.h"
#include <cleave/base.h>
#include <stdio.h>
#include <string.h>

typedef struct run {
    clv_context           *ctx;
    clvi_h5               *in, *out;
    const clvi_loss_class *cls;
    clv_dtype              dtype;
    bool                   reference;
    clv_loss_run_fn        fn;
    void                  *user;
    char                   unknown_option[CLVI_GOLDEN_NAME], unused[CLVI_GOLDEN_NAME];   /* of the case at work */
} run;

static void note_stranger(const char *name, bool attribute, void *user)
{
    run *r = user;
    snprintf(attribute ? r->unknown_option : r->unused, CLVI_GOLDEN_NAME, "%s", name);
}

/* ---- evaluating ---- */

/* Room for every auxiliary output. */
static clv_status make_outputs(run *r, clvi_golden_case *c)
{
    clv_loss *loss = NULL;
    CLV_TRY(clv_loss_create(r->ctx, r->cls->name, c->option, c->n_options, &loss));
    clv_status st = CLV_OK;
    for (int i = 0; i < clvi_loss_port_count(c->variant->out, CLVI_LOSS_MAX_OUT) && st == CLV_OK; i++) {
        int ndim = 0;
        int64_t shape[CLV_MAX_DIMS];
        st = clv_loss_output_shape(loss, c->in, c->n_in, c->variant->out[i].name, &ndim, shape);
        if (st == CLV_OK && ndim >= 0) st = clvi_golden_add_output(c, i, r->dtype, ndim, shape);
    }
    clv_loss_destroy(loss);
    return st;
}

/* ---- writing ---- */

static clv_status write_option(run *r, const char *name, const clvi_option *o, const void *params)
{
    char attr[CLVI_GOLDEN_NAME], text[CLVI_GOLDEN_NAME];
    const char *field = (const char *)params + o->offset;
    snprintf(attr, sizeof attr, "%s", o->info.name);
    for (char *c = attr; *c; c++)
        if (*c == '-') *c = '_';
    double real = 0;
    int64_t integer = 0;
    switch (o->info.type) {
    case CLV_OPTION_F64:
        memcpy(&real, field, sizeof real);
        return clvi_h5_set_attr_f64(r->out, name, attr, real);
    case CLV_OPTION_I64:
        memcpy(&integer, field, sizeof integer);
        return clvi_h5_set_attr_i64(r->out, name, attr, integer);
    case CLV_OPTION_BOOL: return clvi_h5_set_attr_i64(r->out, name, attr, *(const bool *)field);
    default:
        clvi_option_format(o, params, text, sizeof text);
        return clvi_h5_set_attr_text(r->out, name, attr, text);
    }
}

static clv_status write_attributes(run *r, const clvi_golden_case *c)
{
    char reference[128];
    snprintf(reference, sizeof reference, "cleave %s, %s, %s kernels", clv_version(), clv_dtype_name(r->dtype),
             r->reference ? "plain" : "fast");
    CLV_TRY(clvi_h5_group(r->out, c->name));
    CLV_TRY(clvi_h5_set_attr_text(r->out, c->name, "kind", "loss"));
    CLV_TRY(clvi_h5_set_attr_text(r->out, c->name, "loss", r->cls->name));
    CLV_TRY(clvi_h5_set_attr_text(r->out, c->name, "reference", reference));
    for (const clvi_option *o = r->cls->options; o && o->info.name; o++)
        CLV_TRY(write_option(r, c->name, o, c->params));
    return CLV_OK;
}

static clv_status write_arrays(run *r, const clvi_golden_case *c, const char *group, const char *prefix,
                               const clv_loss_tensor *tensors, int n)
{
    for (int i = 0; i < n; i++) {
        char name[CLVI_GOLDEN_NAME], path[CLVI_GOLDEN_PATH];
        snprintf(name, sizeof name, "%s%s", prefix, tensors[i].name);
        clvi_golden_path(path, c->name, group, name);
        CLV_TRY(clvi_h5_write(r->out, path, &tensors[i].view));
    }
    return CLV_OK;
}

static clv_status write_case(run *r, clvi_golden_case *c)
{
    char path[CLVI_GOLDEN_PATH];
    const clv_view value = clv_view_dense(&c->value, CLV_F64, 0, NULL);
    CLV_TRY(write_attributes(r, c));
    snprintf(path, sizeof path, "%s/inputs", c->name);
    CLV_TRY(clvi_h5_group(r->out, path));
    CLV_TRY(write_arrays(r, c, "inputs", "", c->in, c->n_in));
    clvi_golden_path(path, c->name, "outputs", "loss");
    CLV_TRY(clvi_h5_write(r->out, path, &value));
    CLV_TRY(write_arrays(r, c, "outputs", "grad_", c->grad, c->n_grad));
    return write_arrays(r, c, "outputs", "", c->out, c->n_out);
}

/* ---- cases ---- */

static clv_status run_loss_case(run *r, clvi_golden_case *c)
{
    char note[2 * CLVI_GOLDEN_NAME] = "";
    r->unknown_option[0] = r->unused[0] = 0;
    CLV_TRY(clvi_golden_read(c, r->dtype, note_stranger, r));
    CLV_CHECK(!r->unknown_option[0], CLV_ERR_INVALID, "'%s' is no option of %s", r->unknown_option, r->cls->name);
    CLV_TRY(make_outputs(r, c));
    CLV_TRY(clvi_golden_evaluate(c, r->reference));
    CLV_TRY(write_case(r, c));
    if (r->unused[0]) snprintf(note, sizeof note, "'%s' is no input of the loss and was left out", r->unused);
    if (r->fn) r->fn(c->name, c->value, note, r->user);
    return CLV_OK;
}

static clv_status run_case(run *r, const char *name, int64_t *ran)
{
    bool is_loss = false;
    clvi_golden_case *c = clvi_calloc(r->ctx, 1, sizeof *c);
    if (!c) return CLV_ERR_NOMEM;
    c->ctx = r->ctx, c->h5 = r->in, c->cls = r->cls, c->name = name;
    clv_status st = clvi_golden_kind(r->ctx, r->in, name, &is_loss);
    if (st == CLV_OK && is_loss) {
        ++*ran;
        st = run_loss_case(r, c);
    }
    clvi_golden_free(c);
    clvi_free(r->ctx, c);
    return clvi_golden_fail_in(st, name);
}

static clv_status run_cases(run *r)
{
    char **names = NULL;
    int64_t n = 0, ran = 0;
    CLV_TRY(clvi_h5_set_attr_text(r->out, "/", "format", CLVI_GOLDEN_FORMAT));
    CLV_TRY(clvi_h5_set_attr_text(r->out, "/", "loss", r->cls->name));
    CLV_TRY(clvi_h5_list(r->in, "/", false, &n, &names));
    clv_status st = CLV_OK;
    for (int64_t i = 0; i < n && st == CLV_OK; i++) st = run_case(r, names[i], &ran);
    clvi_free(r->ctx, names);
    if (st == CLV_OK && ran == 0)
        st = clvi_fail(CLV_ERR_FORMAT, "no cases: expected groups that hold a group 'inputs'");
    return st;
}

clv_status clv_loss_run(clv_context *ctx, const char *name, const char *in, const char *out, clv_dtype dtype,
                        bool reference, clv_loss_run_fn fn, void *user)
{
    CLV_CHECK(ctx && name && in && out, CLV_ERR_INVALID, "clv_loss_run: an argument is NULL");
    CLV_CHECK(dtype == CLV_F32 || dtype == CLV_F64 || dtype == CLV_BF16, CLV_ERR_INVALID,
              "clv_loss_run: dtype must be float32, float64 or bfloat16, is %s", clv_dtype_name(dtype));
    run r = { .ctx = ctx, .dtype = dtype, .reference = reference, .fn = fn, .user = user };
    CLV_TRY(clvi_loss_class_find(name, &r.cls));
    CLV_TRY(clvi_h5_open_untrusted(ctx, in, &r.in));
    clv_status st = clvi_golden_class(ctx, r.in, name, &r.cls);
    if (st == CLV_OK) st = clvi_h5_create(ctx, out, false, &r.out);
    if (st == CLV_OK) st = run_cases(&r);
    st = clvi_golden_fail_in(st, in);
    clvi_h5_close(r.in);
    if (st == CLV_OK) return clvi_h5_commit(r.out);
    clvi_h5_close(r.out);
    return st;
}
