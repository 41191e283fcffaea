/* objective.c: the loss of a recipe: text to terms, terms to a graph, and what they say about a step. */
#include "train/step/objective.h"
#include "core/checked.h"
#include "losses/loss.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text to terms ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_end(char c)
{
    return c == ';' || c == '\n' || c == '\0';
}

/* A copy of text[0..length) that lives as long as the objective. */
static clv_status keep(clvi_objective *o, const char *text, size_t length, char **out)
{
    CLV_CHECK(length < sizeof o->text - o->used, CLV_ERR_INVALID, "loss: longer than %zu bytes", sizeof o->text - 1);
    *out = o->text + o->used;
    memcpy(*out, text, length);
    (*out)[length] = '\0';
    o->used += length + 1;
    return CLV_OK;
}

/* The next word of a term, or NULL at its end. */
static clv_status next_word(clvi_objective *o, const char **at, char **word)
{
    const char *from = *at;
    while (is_space(*from)) from++;
    const char *end = from;
    while (!is_space(*end) && !is_end(*end)) end++;
    *at = end;
    *word = NULL;
    return end > from ? keep(o, from, (size_t)(end - from), word) : CLV_OK;
}

static clv_status cannot_take(const char *method, const clvi_takes *takes, const char *loss, const char *variant)
{
    char known[512] = "";
    size_t used = 0;
    for (const clvi_takes *t = takes; t->loss && used < sizeof known; t++) {
        const int n = snprintf(known + used, sizeof known - used, "%s%s%s%s", t == takes ? "" : ", ", t->loss,
                               t->variant ? " variant=" : "", t->variant ? t->variant : "");
        used += n > 0 ? (size_t)n : 0;
    }
    return clvi_fail(CLV_ERR_INVALID, "method '%s' cannot take the loss %s%s%s; it takes %s", method, loss,
                     variant ? " variant=" : "", variant ? variant : "", known);
}

static int find_option(const clvi_term *term, const char *name)
{
    for (int i = 0; i < term->n_options; i++)
        if (clvi_name_equal(term->options[i].name, name)) return i;
    return -1;
}

static clv_status add_option(clvi_term *term, const char *name, const char *value)
{
    CLV_CHECK(term->n_options < (int)CLVI_COUNT(term->options), CLV_ERR_INVALID, "loss '%s': more than %zu options",
              term->name, CLVI_COUNT(term->options));
    term->options[term->n_options++] = (clv_option) { name, value };
    return CLV_OK;
}

static clv_status read_weight(clvi_term *term, const char *value)
{
    char *end = NULL;
    term->weight = strtod(value, &end);
    CLV_CHECK(end != value && !*end && isfinite(term->weight), CLV_ERR_INVALID,
              "loss '%s': weight must be a number, is '%s'", term->name, value);
    return CLV_OK;
}

/* "option=value". A term's weight is a number before the loss unless the loss has an option of that name. */
static clv_status read_option(clvi_term *term, const clvi_loss_class *cls, char *word)
{
    char *equals = strchr(word, '=');
    CLV_CHECK(equals && equals > word, CLV_ERR_INVALID,
              "loss '%s': '%.64s' is not option=value (losses are separated by ';')", cls->name, word);
    *equals = '\0';
    CLV_CHECK(find_option(term, word) < 0, CLV_ERR_INVALID, "loss '%s': %s is set twice", cls->name, word);
    if (!clvi_option_find(cls->options, "weight") && !strcmp(word, "weight")) return read_weight(term, equals + 1);
    return add_option(term, word, equals + 1);
}

/* The entry for the loss in the variant that was asked for, or in the first one. */
static clv_status choose(clvi_term *term, const char *loss, const char *method, const clvi_takes *takes)
{
    const int i = find_option(term, "variant");
    const char *variant = i >= 0 ? term->options[i].value : NULL;
    for (term->takes = takes; term->takes->loss; term->takes++)
        if (!strcmp(term->takes->loss, loss)
            && (!variant || (term->takes->variant && clvi_name_equal(term->takes->variant, variant))))
            break;
    if (!term->takes->loss) return cannot_take(method, takes, loss, variant);
    return !variant && term->takes->variant ? add_option(term, "variant", term->takes->variant) : CLV_OK;
}

static clv_status parse_term(clvi_objective *o, const char **at, const char *method, const clvi_takes *takes)
{
    _Alignas(16) char params[CLVI_LOSS_MAX_PARAMS];
    const clvi_loss_class *cls = NULL;
    char *word = NULL;
    CLV_TRY(next_word(o, at, &word));
    if (!word) return CLV_OK;                              /* "a;;b" or an empty line */
    CLV_TRY(clvi_loss_class_find(word, &cls));
    CLV_CHECK(o->n_terms < CLVI_MAX_TERMS, CLV_ERR_INVALID, "loss: more than %d losses", CLVI_MAX_TERMS);
    clvi_term *term = &o->term[o->n_terms];
    *term = (clvi_term) { .weight = 1 };
    int same = 1;
    for (int i = 0; i < o->n_terms; i++) same += !strcmp(o->term[i].takes->loss, cls->name);
    snprintf(term->name, sizeof term->name, same > 1 ? "%s%d" : "%s", cls->name, same);
    for (;;) {
        CLV_TRY(next_word(o, at, &word));
        if (!word) break;
        CLV_TRY(read_option(term, cls, word));
    }
    CLV_TRY(clvi_loss_parse(cls, term->options, term->n_options, params));
    CLV_TRY(choose(term, cls->name, method, takes));
    o->n_terms++;
    return CLV_OK;
}

clv_status clvi_objective_parse(const char *text, const char *method, const clvi_takes *takes, clvi_objective *out)
{
    *out = (clvi_objective) { .n_terms = 0 };
    for (const char *at = text;; at++) {
        CLV_TRY(parse_term(out, &at, method, takes));
        if (*at == '\0') break;
    }
    if (out->n_terms > 0) return CLV_OK;
    const char *own = takes->loss;
    return parse_term(out, &own, method, takes);
}

/* ---- asking and setting ---- */

static const clvi_loss_class *class_of(const clvi_term *term)
{
    const clvi_loss_class *cls = NULL;
    return clvi_loss_class_find(term->takes->loss, &cls) == CLV_OK ? cls : NULL;
}

bool clvi_objective_has(const clvi_objective *o, const char *option)
{
    for (int i = 0; i < o->n_terms; i++)
        if (clvi_option_find(class_of(&o->term[i])->options, option)) return true;
    return false;
}

bool clvi_objective_reads(const clvi_objective *o, const char *value)
{
    for (int i = 0; i < o->n_terms; i++)
        for (size_t r = 0; r < CLVI_COUNT(o->term[i].takes->reads) && o->term[i].takes->reads[r].port; r++)
            if (!strcmp(o->term[i].takes->reads[r].value, value)) return true;
    return false;
}

bool clvi_objective_uses(const clvi_objective *o, const char *loss)
{
    for (int i = 0; i < o->n_terms; i++)
        if (!strcmp(o->term[i].takes->loss, loss)) return true;
    return false;
}

const char *clvi_objective_option(const clvi_objective *o, const char *loss, const char *option)
{
    for (int i = 0; i < o->n_terms; i++) {
        if (strcmp(o->term[i].takes->loss, loss) != 0) continue;
        const clvi_option *known = clvi_option_find(class_of(&o->term[i])->options, option);
        const int given = find_option(&o->term[i], option);
        if (known) return given >= 0 ? o->term[i].options[given].value : known->info.def;
    }
    return NULL;
}

clv_status clvi_objective_set(clvi_objective *o, const char *option, const char *value, const char *why)
{
    char *kept = NULL;
    CLV_TRY(keep(o, value, strlen(value), &kept));
    for (int i = 0; i < o->n_terms; i++) {
        clvi_term *term = &o->term[i];
        if (!clvi_option_find(class_of(term)->options, option)) continue;
        CLV_CHECK(find_option(term, option) < 0, CLV_ERR_INVALID, "loss '%s': %s %s", term->name, option, why);
        CLV_TRY(add_option(term, option, kept));
    }
    return CLV_OK;
}

clv_status clvi_objective_take(clvi_objective *o, const char *option, double *value)
{
    bool found = false;
    *value = 0;
    for (int i = 0; i < o->n_terms; i++) {
        clvi_term *term = &o->term[i];
        const clvi_option *known = clvi_option_find(class_of(term)->options, option);
        if (!known) continue;
        const int given = find_option(term, option);
        const double here = strtod(given >= 0 ? term->options[given].value : known->info.def, NULL);
        CLV_CHECK(!found || here == *value, CLV_ERR_INVALID, "loss '%s': %s differs from that of another loss",
                  term->name, option);
        found = true;
        *value = here;
        if (given < 0) continue;
        term->n_options--;
        memmove(&term->options[given], &term->options[given + 1],
                (size_t)(term->n_options - given) * sizeof term->options[0]);
    }
    return CLV_OK;
}

/* ---- in the graph ---- */

static const clvi_given *find_given(const clvi_given *given, int n_given, const char *name)
{
    for (int i = 0; name && i < n_given; i++)
        if (!strcmp(given[i].name, name)) return &given[i];
    return NULL;
}

/* A number, or one a row; but not the loss's own parts, whose mean is the loss. */
static bool is_metric(const clvi_loss_port *port)
{
    return clvi_loss_port_dtype(port) == CLV_F32 && !strchr(port->shape, ',') && strncmp(port->name, "per_", 4) != 0
           && strcmp(port->name, "loss_vec") != 0;
}

static const clvi_loss_variant *variant_of(const clvi_term *term)
{
    _Alignas(16) char params[CLVI_LOSS_MAX_PARAMS];
    const clvi_loss_class *cls = class_of(term);
    if (clvi_loss_parse(cls, term->options, term->n_options, params) != CLV_OK) return cls->variants;
    return clvi_loss_variant_of(cls, params);
}

static clv_node term_node(clvi_term *term, clv_graph *g, const clv_loss_value *inputs, int n, const char *keep)
{
    const clvi_loss_port *ports = variant_of(term)->out;
    clv_loss_value outputs[CLVI_LOSS_MAX_OUT];
    const int n_out = clvi_loss_port_count(ports, CLVI_LOSS_MAX_OUT);
    for (int p = 0; p < n_out; p++) outputs[p] = (clv_loss_value) { ports[p].name, CLV_NONE };
    const clv_node value = clv_loss_node(g, term->takes->loss, term->options, term->n_options, inputs, n, outputs,
                                         n_out);
    term->kept = CLV_NONE;
    for (int p = 0; p < n_out; p++) {
        if (is_metric(&ports[p]) && !clvi_node_none(outputs[p].node)) term->figures |= UINT32_C(1) << p;
        if (keep && !strcmp(ports[p].name, keep)) term->kept = outputs[p].node;
    }
    if (!clvi_node_none(term->kept)) clv_graph_output(g, term->kept);
    return value;
}

clv_node clvi_objective_kept(const clvi_objective *o)
{
    for (int i = 0; i < o->n_terms; i++)
        if (!clvi_node_none(o->term[i].kept)) return o->term[i].kept;
    return CLV_NONE;
}

clv_node clvi_objective_node(clvi_objective *o, clv_graph *g, const clvi_given *given, int n_given, const char *keep)
{
    clv_node sum = CLV_NONE;
    for (int i = 0; i < o->n_terms; i++) {
        clvi_term *term = &o->term[i];
        clv_loss_value inputs[CLVI_MAX_GIVEN];
        int n = 0;
        for (size_t r = 0; r < CLVI_COUNT(term->takes->reads) && term->takes->reads[r].port; r++) {
            const clvi_given *value = find_given(given, n_given, term->takes->reads[r].value);
            if (value) inputs[n++] = (clv_loss_value) { term->takes->reads[r].port, value->node };
        }
        term->value = term_node(term, g, inputs, n, keep);
        if (o->n_terms > 1) clv_graph_output(g, term->value);
        const clv_node part = term->weight == 1 ? term->value : clv_scale(g, term->value, term->weight, 0);
        sum = i == 0 ? part : clv_add(g, sum, part);
    }
    for (int i = 0; i < n_given; i++)
        if (!given[i].view.data) clv_graph_output(g, given[i].node);
    return sum;
}

/* ---- looking at a step ---- */

typedef struct look_term {
    clv_loss       *loss;
    int             n_in, n_out;
    clv_loss_tensor in[CLVI_MAX_GIVEN], out[CLVI_LOSS_MAX_OUT];
    const clvi_given *from[CLVI_MAX_GIVEN];
    char            names[CLVI_LOSS_MAX_OUT + 1][CLVI_TERM_NAME + 40];    /* of metrics; the last: the term's value */
} look_term;

typedef struct clvi_look {
    clv_context *ctx;
    look_term    term[CLVI_MAX_TERMS];
} clvi_look;

void clvi_objective_release(clvi_objective *o)
{
    if (!o->look) return;
    for (int i = 0; i < CLVI_MAX_TERMS; i++) {
        clv_loss_destroy(o->look->term[i].loss);
        for (int k = 0; k < o->look->term[i].n_out; k++) clvi_free(o->look->ctx, o->look->term[i].out[k].view.data);
    }
    clvi_free(o->look->ctx, o->look);
    o->look = NULL;
}

static clv_status prepare_outputs(const clvi_term *term, clvi_look *look, look_term *l)
{
    const clvi_loss_port *ports = variant_of(term)->out;
    for (int p = 0; p < clvi_loss_port_count(ports, CLVI_LOSS_MAX_OUT); p++) {
        int ndim = -1;
        int64_t shape[CLV_MAX_DIMS] = { 0 };
        if (!(term->figures >> p & 1)) continue;
        CLV_TRY(clv_loss_output_shape(l->loss, l->in, l->n_in, ports[p].name, &ndim, shape));
        if (ndim < 0) continue;
        clv_view view = clv_view_dense(NULL, CLV_F32, ndim, shape);
        if (clv_view_count(&view) == 0) continue;
        view.data = clvi_calloc(look->ctx, (size_t)clv_view_count(&view), sizeof(float));
        if (!view.data) return CLV_ERR_NOMEM;
        snprintf(l->names[l->n_out], sizeof l->names[0], "%s/%s", term->name, ports[p].name);
        l->out[l->n_out++] = (clv_loss_tensor) { ports[p].name, view };
    }
    return CLV_OK;
}

static clv_status prepare_term(const clvi_term *term, clvi_look *look, look_term *l, clv_graph *g,
                               const clvi_given *given, int n_given)
{
    CLV_TRY(clv_loss_create(look->ctx, term->takes->loss, term->options, term->n_options, &l->loss));
    snprintf(l->names[CLVI_LOSS_MAX_OUT], sizeof l->names[0], "%s/loss", term->name);
    for (size_t r = 0; r < CLVI_COUNT(term->takes->reads) && term->takes->reads[r].port; r++) {
        const clvi_given *value = find_given(given, n_given, term->takes->reads[r].value);
        if (!value) continue;
        clv_view view = value->view;
        if (!view.data) {
            int64_t shape[CLV_MAX_DIMS];
            const int ndim = clv_node_shape(g, value->node, shape);
            view = clv_view_dense(NULL, clv_node_dtype(g, value->node), ndim, shape);
        }
        l->from[l->n_in] = value;
        l->in[l->n_in++] = (clv_loss_tensor) { term->takes->reads[r].port, view };
    }
    return prepare_outputs(term, look, l);
}

clv_status clvi_objective_prepare(clvi_objective *o, clv_context *ctx, clv_graph *g, const clvi_given *given,
                                  int n_given)
{
    o->look = clvi_calloc(ctx, 1, sizeof *o->look);
    if (!o->look) return CLV_ERR_NOMEM;
    o->look->ctx = ctx;
    for (int i = 0; i < o->n_terms; i++)
        CLV_TRY(prepare_term(&o->term[i], o->look, &o->look->term[i], g, given, n_given));
    return CLV_OK;
}

static void add_metric(clvi_metrics *out, const char *name, double value)
{
    if (out->count < CLVI_MAX_METRICS) out->at[out->count++] = (clv_metric) { name, value };
}

static clv_status look_at(look_term *l, clv_graph *g, clvi_metrics *out)
{
    for (int i = 0; i < l->n_in; i++) {
        l->in[i].view = l->from[i]->view;
        if (!l->in[i].view.data) CLV_TRY(clv_graph_read(g, l->from[i]->node, &l->in[i].view));
    }
    CLV_TRY(clv_loss_eval(l->loss, l->in, l->n_in, NULL, 0, l->out, l->n_out, NULL));
    for (int i = 0; i < l->n_out; i++) {
        const int64_t n = clv_view_count(&l->out[i].view);
        double sum = 0;
        for (int64_t j = 0; j < n; j++) sum += ((const float *)l->out[i].view.data)[j];
        add_metric(out, l->names[i], sum / (double)n);
    }
    return CLV_OK;
}

clv_status clvi_objective_look(clvi_objective *o, clv_graph *g, clvi_metrics *out)
{
    for (int i = 0; i < o->n_terms; i++) {
        look_term *l = &o->look->term[i];
        clv_view value;
        if (o->n_terms > 1) {
            CLV_TRY(clv_graph_read(g, o->term[i].value, &value));
            add_metric(out, l->names[CLVI_LOSS_MAX_OUT], *(const float *)value.data);
        }
        if (l->n_out > 0) CLV_TRY(look_at(l, g, out));
    }
    return CLV_OK;
}
