/* loss.h: what a loss is: an option table, named inputs and outputs, and a formula written in graph operations.
 *
 * Variants of one loss that take different inputs are entries of its variant table, each with its own formula; the
 * loss's option `variant` (an int field, a choice in the same order) picks one. A loss without that option has one. */
#ifndef CLVI_LOSSES_LOSS_H
#define CLVI_LOSSES_LOSS_H

#include <cleave/loss.h>
#include "core/context.h"
#include "core/option.h"
#include "tensor/op.h"

#define CLVI_LOSS_MAX_IN     12
#define CLVI_LOSS_MAX_OUT    16
#define CLVI_LOSS_MAX_PARAMS 512   /* bytes of a params struct */

/* What an input or output is; the flags below may be or'ed to it. */
enum {
    CLVI_PORT_GRAD,            /* float; the loss is differentiable in it */
    CLVI_PORT_FLOAT,           /* float; a constant */
    CLVI_PORT_MASK,            /* u8 */
    CLVI_PORT_INDEX,           /* i64: labels, ids */
    CLVI_PORT_OPTIONAL = 16,
    CLVI_PORT_STORED = 32      /* a CLVI_PORT_FLOAT that may be bfloat16 in the graph, as banks store rows */
};

typedef struct clvi_loss_port {
    const char *name;
    const char *shape;         /* as in clv_loss_port */
    int         kind;
    const char *help;
} clvi_loss_port;

/* Appends the formula and returns the scalar. in[] and out[] are in table order; optional inputs that were not given
 * are CLV_NONE, shapes and types are checked. */
typedef clv_node (*clvi_loss_build_fn)(clv_graph *g, const clv_node *in, const void *params, clv_node *out);

typedef struct clvi_loss_variant {
    const char        *name;                      /* NULL for the only one */
    clvi_loss_port     in[CLVI_LOSS_MAX_IN];      /* end with a NULL name when there is room */
    clvi_loss_port     out[CLVI_LOSS_MAX_OUT];
    clvi_loss_build_fn build;
} clvi_loss_variant;

typedef struct clvi_loss_class {
    const char              *name;
    const char              *summary;
    const char              *source;              /* paper and equation */
    const char              *formula;             /* in lines; the page has them, too */
    const char              *published;           /* settings the source or its code uses; NULL: none */
    size_t                   params_size;
    const clvi_option       *options;
    const clvi_loss_variant *variants;            /* end with build NULL */
} clvi_loss_class;

#define CLV_LOSS(name) extern const clvi_loss_class clvi_loss_##name;
#include "losses/registry.def"
#undef CLV_LOSS

/* ---- registry.c ---- */

/* Errors: CLV_ERR_INVALID with the nearest known name. */
clv_status clvi_loss_class_find(const char *name, const clvi_loss_class **out) CLV_NODISCARD;
const clvi_loss_variant *clvi_loss_variant_of(const clvi_loss_class *cls, const void *params);
int clvi_loss_port_count(const clvi_loss_port *ports, int max);
/* Index of a port by name, or -1. */
int clvi_loss_port_find(const clvi_loss_port *ports, int max, const char *name);
clv_dtype clvi_loss_port_dtype(const clvi_loss_port *port);
bool clvi_loss_port_is_float(const clvi_loss_port *port);
bool clvi_loss_port_is_stored(const clvi_loss_port *port);
bool clvi_loss_port_is_optional(const clvi_loss_port *port);
bool clvi_loss_port_has_grad(const clvi_loss_port *port);

/* ---- shape.c: shapes written as text ---- */

/* The lengths behind the letters; -1: not known yet. */
typedef struct clvi_loss_letters {
    int64_t length[26];
} clvi_loss_letters;

void clvi_loss_letters_init(clvi_loss_letters *letters);
/* Compares a shape with a port's text, learning letters that are new. Errors: CLV_ERR_SHAPE naming loss and port;
 * `what` stands before the port's name ("gradient of "). */
clv_status clvi_loss_shape_match(const clvi_loss_class *cls, const clvi_loss_port *port, const char *what, int ndim,
                                 const int64_t *shape, clvi_loss_letters *letters) CLV_NODISCARD;

/* The port's shape from letters that are known. Returns the number of dimensions, -1 when a letter is not known. */
int clvi_loss_shape_of(const clvi_loss_port *port, const clvi_loss_letters *letters, int64_t shape[CLV_MAX_DIMS]);

/* ---- node.c ---- */

clv_status clvi_loss_parse(const clvi_loss_class *cls, const clv_option *options, int n_options, void *params)
    CLV_NODISCARD;
/* "info_nce: no input 'qurey'; did you mean 'query'?" */
clv_status clvi_loss_unknown_port(const clvi_loss_class *cls, const clvi_loss_port *ports, int max, const char *what,
                                  const char *name);

/* ---- builders that formulas share (terms.c) ---- */

/* n(x) where `normalize`, else x. */
clv_node clvi_unit_rows(clv_graph *g, clv_node x, bool normalize, double eps);
/* Sum of the squares of a matrix's entries. */
clv_node clvi_sum_squares(clv_graph *g, clv_node x);
/* Sum of the squares of the off-diagonal entries of x^T x; with fewer rows than columns by x x^T, whose squares have the
 * same sum. */
clv_node clvi_off_diagonal_squares(clv_graph *g, clv_node x);
/* uint8 [n,n]: 0 on the diagonal, else 1. */
clv_node clvi_off_diagonal(clv_graph *g, int64_t n);
/* <x_i,x_j>/t, 0 on the diagonal. */
clv_node clvi_pair_logits(clv_graph *g, clv_node x, double temperature);
/* Mean of per_row [B] over the rows with a label (0 to classes - 1; negative: none), 0 when there are none. */
clv_node clvi_labelled_mean(clv_graph *g, clv_node per_row, clv_node labels, int64_t classes);
/* scale cos(x_i, w_c) [B,C]: the logits of a classifier of directions. */
clv_node clvi_cosine_logits(clv_graph *g, clv_node unit_x, clv_node weight, double scale, double eps);
/* A value with one element as a scalar. */
clv_node clvi_scalar(clv_graph *g, clv_node x);
/* Length of an axis; 0 when the graph has an error. */
int64_t clvi_node_length(const clv_graph *g, clv_node x, int axis);

#endif
