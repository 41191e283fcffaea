/* sum.c: several losses with weights in one evaluation. Each term is a clv_loss of its own that writes its gradients
 * into memory of its own, so that its value and the length of its gradient can be told; then the sum is formed. */
#include "losses/loss.h"
#include "core/checked.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAME  64
#define MAX_TERMS 32

typedef struct term {
    char      name[MAX_NAME];
    double    weight;
    clv_loss *loss;
    const clvi_loss_variant *variant;
    clv_loss_tensor in[CLVI_LOSS_MAX_IN], grad[CLVI_LOSS_MAX_IN];   /* of the call at work */
    int       n_in, n_grad;
    int       to[CLVI_LOSS_MAX_IN];            /* grad[i] belongs to this gradient of the caller */
    double   *memory;                          /* grad[] one after another */
    int64_t   capacity;                        /* its elements */
} term;

struct clv_loss_sum {
    clv_context *ctx;
    int          n_terms;
    term         terms[MAX_TERMS];
};

/* ---- making ---- */

static clv_status make_term(clv_loss_sum *sum, const clv_loss_term *given)
{
    _Alignas(16) char params[CLVI_LOSS_MAX_PARAMS];
    const clvi_loss_class *cls = NULL;
    CLV_CHECK(given->loss, CLV_ERR_INVALID, "clv_loss_sum_create: term %d has no loss", sum->n_terms);
    CLV_CHECK(isfinite(given->weight), CLV_ERR_INVALID, "clv_loss_sum_create: term %d: weight is %g", sum->n_terms,
              given->weight);
    term *t = &sum->terms[sum->n_terms];
    const int length = snprintf(t->name, sizeof t->name, "%s", given->name ? given->name : given->loss);
    CLV_CHECK(length > 0 && length < MAX_NAME && !strchr(t->name, '.'), CLV_ERR_INVALID,
              "clv_loss_sum_create: '%s' is no name for a term: want 1 to %d bytes without '.'", t->name, MAX_NAME - 1);
    for (int i = 0; i < sum->n_terms; i++)
        CLV_CHECK(strcmp(sum->terms[i].name, t->name) != 0, CLV_ERR_INVALID,
                  "clv_loss_sum_create: two terms are called '%s'", t->name);
    CLV_TRY(clv_loss_create(sum->ctx, given->loss, given->options, given->n_options, &t->loss));
    sum->n_terms++;
    t->weight = given->weight;
    CLV_TRY(clvi_loss_class_find(given->loss, &cls));
    CLV_TRY(clvi_loss_parse(cls, given->options, given->n_options, params));
    t->variant = clvi_loss_variant_of(cls, params);
    return CLV_OK;
}

clv_status clv_loss_sum_create(clv_context *ctx, const clv_loss_term *terms, int n_terms, clv_loss_sum **out)
{
    CLV_CHECK(ctx && terms && out, CLV_ERR_INVALID, "clv_loss_sum_create: an argument is NULL");
    *out = NULL;
    CLV_CHECK(n_terms >= 1 && n_terms <= MAX_TERMS, CLV_ERR_INVALID, "clv_loss_sum_create: %d terms, want 1 to %d",
              n_terms, MAX_TERMS);
    clv_loss_sum *sum = clvi_calloc(ctx, 1, sizeof *sum);
    if (!sum) return CLV_ERR_NOMEM;
    sum->ctx = ctx;
    clv_status st = CLV_OK;
    for (int i = 0; i < n_terms && st == CLV_OK; i++) st = make_term(sum, &terms[i]);
    if (st != CLV_OK) {
        clv_loss_sum_destroy(sum);
        return st;
    }
    *out = sum;
    return CLV_OK;
}

void clv_loss_sum_destroy(clv_loss_sum *sum)
{
    if (!sum) return;
    for (int i = 0; i < sum->n_terms; i++) {
        clv_loss_destroy(sum->terms[i].loss);
        clvi_free(sum->ctx, sum->terms[i].memory);
    }
    clvi_free(sum->ctx, sum);
}

clv_status clv_loss_sum_set_weight(clv_loss_sum *sum, const char *name, double weight)
{
    CLV_CHECK(sum && name && isfinite(weight), CLV_ERR_INVALID,
              "clv_loss_sum_set_weight: an argument is NULL or not finite");
    for (int i = 0; i < sum->n_terms; i++)
        if (strcmp(sum->terms[i].name, name) == 0) {
            sum->terms[i].weight = weight;
            return CLV_OK;
        }
    return clvi_fail(CLV_ERR_INVALID, "clv_loss_sum_set_weight: there is no term '%.64s'", name);
}

/* ---- who reads what ---- */

/* Index of the tensor a port reads: "term.port", else "port"; -1 for none. */
static int find_tensor(const term *t, const char *port, const clv_loss_tensor *tensors, int n)
{
    const size_t length = strlen(t->name);
    int shared = -1;
    for (int i = 0; i < n; i++) {
        const char *name = tensors[i].name ? tensors[i].name : "";
        if (strncmp(name, t->name, length) == 0 && name[length] == '.' && clvi_name_equal(name + length + 1, port))
            return i;
        if (clvi_name_equal(name, port)) shared = i;
    }
    return shared;
}

static int find_exactly(const char *name, const clv_loss_tensor *tensors, int n)
{
    for (int i = 0; name && i < n; i++)
        if (tensors[i].name && clvi_name_equal(tensors[i].name, name)) return i;
    return -1;
}

/* Chooses the term's inputs, and of the gradients asked for those that reach it. */
static void choose(term *t, const clv_loss_tensor *inputs, int n_inputs, const clv_loss_tensor *grads, int n_grads,
                   bool *read)
{
    t->n_in = t->n_grad = 0;
    for (int p = 0; p < clvi_loss_port_count(t->variant->in, CLVI_LOSS_MAX_IN); p++) {
        const clvi_loss_port *port = &t->variant->in[p];
        const int i = find_tensor(t, port->name, inputs, n_inputs);
        if (i < 0) continue;
        read[i] = true;
        t->in[t->n_in++] = (clv_loss_tensor) { port->name, inputs[i].view };
        const int g = clvi_loss_port_has_grad(port) ? find_exactly(inputs[i].name, grads, n_grads) : -1;
        if (g < 0) continue;
        t->to[t->n_grad] = g;
        t->grad[t->n_grad++] = (clv_loss_tensor) { port->name, grads[g].view };
    }
}

/* Memory for the term's own gradients, in float64 whatever the caller's type. */
static clv_status place(clv_loss_sum *sum, term *t)
{
    int64_t total = 0;
    for (int i = 0; i < t->n_grad; i++) {
        const int64_t count = clv_view_count(&t->grad[i].view);
        CLV_CHECK(count >= 0 && clvi_add_i64(total, count, &total), CLV_ERR_SHAPE,
                  "clv_loss_sum_eval: gradient of '%s' has an impossible shape", t->grad[i].name);
    }
    if (total > t->capacity) {
        clvi_free(sum->ctx, t->memory);
        t->capacity = 0;
        t->memory = clvi_calloc(sum->ctx, (size_t)total, sizeof *t->memory);
        if (!t->memory) return CLV_ERR_NOMEM;
        t->capacity = total;
    }
    int64_t at = 0;
    for (int i = 0; i < t->n_grad; i++) {
        clv_view *view = &t->grad[i].view;
        *view = clv_view_dense(t->memory ? t->memory + at : NULL, CLV_F64, view->ndim, view->shape);
        at += clv_view_count(view);
    }
    return CLV_OK;
}

/* ---- adding up ---- */

/* Length of the term's gradient over everything asked for, then the gradient times the weight. */
static double weigh(term *t)
{
    double squares = 0;
    for (int i = 0; i < t->n_grad; i++) {
        double *x = t->grad[i].view.data;
        const int64_t n = clv_view_count(&t->grad[i].view);
        for (int64_t j = 0; j < n; j++) {
            squares += x[j] * x[j];
            x[j] *= t->weight;
        }
    }
    return sqrt(squares);
}

/* The caller's gradient g: the first term's memory that has it collects the others', one copy goes out. */
static clv_status deliver(clv_loss_sum *sum, const clv_loss_tensor *grad, int g)
{
    clv_view total = { .data = NULL };
    bool found = false;
    for (int i = 0; i < sum->n_terms; i++)
        for (int k = 0; k < sum->terms[i].n_grad; k++) {
            const clv_view *view = &sum->terms[i].grad[k].view;
            if (sum->terms[i].to[k] != g) continue;
            for (int64_t j = 0; found && j < clv_view_count(view); j++)
                ((double *)total.data)[j] += ((const double *)view->data)[j];
            if (!found) total = *view;
            found = true;
        }
    CLV_CHECK(found, CLV_ERR_INVALID, "clv_loss_sum_eval: no term has a gradient for '%.64s'",
              grad->name ? grad->name : "(null)");
    return clv_view_count(&grad->view) == 0 ? CLV_OK : clv_view_copy(&grad->view, &total);
}

static clv_status choose_all(clv_loss_sum *sum, const clv_loss_tensor *inputs, int n_inputs,
                             const clv_loss_tensor *grads, int n_grads)
{
    bool read[CLVI_LOSS_MAX_IN * MAX_TERMS] = { false };
    CLV_CHECK(n_inputs >= 0 && n_inputs <= (int)CLVI_COUNT(read), CLV_ERR_INVALID, "clv_loss_sum_eval: %d inputs",
              n_inputs);
    for (int i = 0; i < sum->n_terms; i++) choose(&sum->terms[i], inputs, n_inputs, grads, n_grads, read);
    for (int i = 0; i < n_inputs; i++) {
        const char *name = inputs[i].name ? inputs[i].name : "(null)";
        CLV_CHECK(read[i], CLV_ERR_INVALID, "clv_loss_sum_eval: no term reads '%.64s'", name);
        CLV_CHECK(find_exactly(name, inputs, i) < 0, CLV_ERR_INVALID, "clv_loss_sum_eval: '%.64s' is given twice",
                  name);
    }
    for (int i = 0; i < n_grads; i++)
        CLV_CHECK(find_exactly(grads[i].name, grads, i) < 0, CLV_ERR_INVALID,
                  "clv_loss_sum_eval: gradient '%.64s' is given twice", grads[i].name);
    return CLV_OK;
}

clv_status clv_loss_sum_eval(clv_loss_sum *sum, const clv_loss_tensor *inputs, int n_inputs,
                             const clv_loss_tensor *grads, int n_grads, clv_loss_term_result *results, double *value)
{
    double total = 0;
    CLV_CHECK(sum && (inputs || n_inputs == 0) && (grads || n_grads == 0), CLV_ERR_INVALID,
              "clv_loss_sum_eval: an argument is NULL");
    CLV_TRY(choose_all(sum, inputs, n_inputs, grads, n_grads));
    for (int i = 0; i < sum->n_terms; i++) {
        term *t = &sum->terms[i];
        double one = 0;
        CLV_TRY(place(sum, t));
        const clv_status st = clv_loss_eval(t->loss, t->in, t->n_in, t->grad, t->n_grad, NULL, 0, &one);
        if (st != CLV_OK) return clvi_fail_in(st, t->name);
        const double length = weigh(t);
        total += t->weight * one;
        if (results) results[i] = (clv_loss_term_result) { t->name, t->weight, one, length };
    }
    for (int i = 0; i < n_grads; i++) CLV_TRY(deliver(sum, &grads[i], i));
    if (value) *value = total;
    return CLV_OK;
}
