/* loss_bench.c: cleave loss bench: random inputs of given sizes, the answer compared with the plain kernels', then the
 * time of value and gradients. */
#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PORTS   16
#define MAX_OPTIONS 16
#define TOLERANCE   2e-4   /* of the largest entry, as in float32 comparisons with golden vectors */

typedef struct workload {
    clv_option      options[MAX_OPTIONS];
    int             n_options, n_in, n_grad;
    const char     *variant;                     /* NULL: the loss has no variants */
    clv_loss_tensor in[MAX_PORTS], grad[MAX_PORTS], expected[MAX_PORTS];
    clv_loss       *loss;
    char           *text;                        /* the options' names and values */
} workload;

/* ---- options ---- */

static int read_options(workload *w, const cli_loss_bench *b)
{
    w->text = strdup(b->options ? b->options : "");
    char *rest = w->text;
    for (char *item = strsep(&rest, ","); w->text && item; item = strsep(&rest, ",")) {
        char *equals = strchr(item, '=');
        if (!*item) continue;
        if (!equals || w->n_options == MAX_OPTIONS)
            return cli_usage(&cli_command_loss, "--options: expected NAME=VALUE,..., got '%s'", b->options);
        *equals = 0;
        w->options[w->n_options++] = (clv_option) { item, equals + 1 };
    }
    return CLI_OK;
}

/* The variant the options ask for, or the default. */
static void find_variant(workload *w, int loss)
{
    clv_option_info info;
    for (int i = 0; clv_loss_option_at(loss, i, &info); i++)
        if (!strcmp(info.name, "variant")) w->variant = info.def;
    for (int i = 0; i < w->n_options; i++)
        if (!strcmp(w->options[i].name, "variant")) w->variant = w->options[i].value;
}

/* ---- inputs ---- */

static int64_t length_of(const cli_loss_bench *b, char letter)
{
    switch (letter) {
    case 'B': case 'N': return b->batch;
    case 'D': case 'E': return b->dim;
    case 'K': case 'M': return b->bank;
    case 'C': return b->classes;
    default: return 2;   /* views, and whatever else is small */
    }
}

/* "B,1+K" with the lengths put in; "..." as one dimension. */
static clv_view view_of(const cli_loss_bench *b, const clv_loss_port *port)
{
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    int ndim = port->shape[0] != 0;
    for (const char *c = port->shape; *c; c++) {
        if (*c == ',' && ndim < CLV_MAX_DIMS) ndim++;
        else if (*c == '.') shape[ndim - 1] = b->dim;
        else if (*c >= '0' && *c <= '9') shape[ndim - 1] += *c - '0';
        else if (*c != '+') shape[ndim - 1] += length_of(b, *c);
    }
    clv_view view = clv_view_dense(NULL, port->dtype, ndim, shape);
    const int64_t count = clv_view_count(&view);
    if (count >= 0) view.data = calloc((size_t)count + 1, clv_dtype_size(port->dtype));
    return view;
}

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 33) / 2147483648.0;
}

/* Floats nearly normal, masks of ones, whole numbers below the number of classes. */
static void fill(const cli_loss_bench *b, const clv_view *view, uint64_t *state)
{
    const int64_t n = clv_view_count(view);
    for (int64_t i = 0; i < n; i++) {
        const double u = uniform(state);
        if (view->dtype == CLV_F32)
            ((float *)view->data)[i] = (float)(u + uniform(state) + uniform(state) + uniform(state) - 2);
        else if (view->dtype == CLV_U8) ((uint8_t *)view->data)[i] = 1;
        else ((int64_t *)view->data)[i] = (int64_t)(u * (double)b->classes);
    }
}

static bool belongs(const workload *w, const clv_loss_port *port)
{
    return !port->variant || !w->variant || strcmp(port->variant, w->variant) == 0;
}

/* Which optional input is given, too: the first with a gradient where no other input has one (repulsor: z, not x and
 * its projection); -1: none. */
static int substitute(const workload *w, int loss)
{
    clv_loss_port port;
    int first = -1;
    for (int i = 0; clv_loss_input_at(loss, i, &port); i++) {
        if (!belongs(w, &port) || !port.differentiable) continue;
        if (!port.optional) return -1;
        if (first < 0) first = i;
    }
    return first;
}

static bool make_inputs(workload *w, const cli_loss_bench *b, int loss)
{
    clv_loss_port port;
    uint64_t state = 1;
    const int also = substitute(w, loss);
    for (int i = 0; clv_loss_input_at(loss, i, &port) && w->n_in < MAX_PORTS; i++) {
        if (!belongs(w, &port) || (port.optional && i != also)) continue;
        clv_loss_tensor *in = &w->in[w->n_in++];
        *in = (clv_loss_tensor) { port.name, view_of(b, &port) };
        if (!in->view.data) return false;
        fill(b, &in->view, &state);
        if (!port.differentiable) continue;
        w->grad[w->n_grad] = (clv_loss_tensor) { port.name, view_of(b, &port) };
        w->expected[w->n_grad] = (clv_loss_tensor) { port.name, view_of(b, &port) };
        if (!w->grad[w->n_grad].view.data || !w->expected[w->n_grad].view.data) return false;
        w->n_grad++;
    }
    return true;
}

static void free_workload(workload *w)
{
    clv_loss_destroy(w->loss);
    for (int i = 0; i < MAX_PORTS; i++) {
        free(w->in[i].view.data);
        free(w->grad[i].view.data);
        free(w->expected[i].view.data);
    }
    free(w->text);
}

/* ---- the answer ---- */

/* Largest deviation, relative to the largest entry. */
static double deviation(const clv_view *got, const clv_view *want)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < clv_view_count(want); i++) {
        const double a = (double)((float *)got->data)[i], b = (double)((float *)want->data)[i];
        if (!(fabs(a - b) <= worst)) worst = fabs(a - b);
        largest = fmax(largest, fabs(b));
    }
    return largest > 0 ? worst / largest : worst;
}

static int compare(workload *w, double value, double expected)
{
    double worst = fabs(value - expected) / fmax(1, fabs(expected));
    for (int i = 0; i < w->n_grad; i++) {
        const double gap = deviation(&w->grad[i].view, &w->expected[i].view);
        if (!(gap <= worst)) worst = gap;
    }
    printf("loss %.9g, the plain kernels' %.9g; largest deviation %.1e\n", value, expected, worst);
    if (worst <= TOLERANCE) return CLI_OK;
    fprintf(stderr, "cleave: the answer differs from the plain kernels'\n");
    return CLI_FAILED;
}

static clv_status evaluate(workload *w, bool reference, double *value)
{
    clv_loss_set_reference(w->loss, reference);
    return clv_loss_eval(w->loss, w->in, w->n_in, reference ? w->expected : w->grad, w->n_grad, NULL, 0, value);
}

/* ---- the time ---- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(cli *c, workload *w, const cli_loss_bench *b)
{
    double value = 0, *seconds = calloc((size_t)b->repeat, sizeof *seconds);
    size_t bytes = 0;
    clv_status st = seconds ? clv_loss_memory(w->loss, w->in, w->n_in, &bytes) : CLV_ERR_NOMEM;
    for (int64_t i = 0; i < b->repeat && st == CLV_OK; i++) {
        const double begin = cli_now();
        st = evaluate(w, false, &value);
        seconds[i] = cli_now() - begin;
    }
    if (st == CLV_OK) {
        qsort(seconds, (size_t)b->repeat, sizeof *seconds, by_value);
        printf("%s: value and gradients, float32, %d threads, %" PRId64 " runs: median %.4f ms, %.4f to %.4f ms; "
               "%.2f MiB\n", b->loss, clv_context_threads(c->ctx), b->repeat, 1e3 * seconds[b->repeat / 2],
               1e3 * seconds[0], 1e3 * seconds[b->repeat - 1], (double)bytes / 1048576);
    }
    free(seconds);
    return st == CLV_OK ? CLI_OK : cli_fail(st);
}

static void print_sizes(const workload *w)
{
    for (int i = 0; i < w->n_in; i++) {
        printf("%s%s [", i ? ", " : "", w->in[i].name);
        for (int k = 0; k < w->in[i].view.ndim; k++) printf("%s%" PRId64, k ? "," : "", w->in[i].view.shape[k]);
        putchar(']');
    }
    putchar('\n');
}

int cli_bench_loss(cli *c, const cli_loss_bench *b)
{
    workload w = { .n_in = 0 };
    double value = 0, expected = 0;
    const int loss = clv_loss_find(b->loss);
    int status = read_options(&w, b);
    clv_status st = CLV_OK;
    if (status == CLI_OK) {
        find_variant(&w, loss);
        st = clv_loss_create(c->ctx, b->loss, w.options, w.n_options, &w.loss);
        if (st == CLV_OK && !make_inputs(&w, b, loss)) status = cli_usage(NULL, "loss bench: not enough memory");
    }
    if (status == CLI_OK && st == CLV_OK) {
        print_sizes(&w);
        st = evaluate(&w, true, &expected);
        if (st == CLV_OK) st = evaluate(&w, false, &value);
    }
    if (st != CLV_OK) status = cli_fail(st);
    if (status == CLI_OK) status = compare(&w, value, expected);
    if (status == CLI_OK) status = measure(c, &w, b);
    free_workload(&w);
    return status;
}
