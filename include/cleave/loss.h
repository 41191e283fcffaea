/* loss.h: the losses: what there are, one evaluation on the caller's own memory, and as part of a graph. Each loss has
 * a page, docs/losses/<name>.md. */
#ifndef CLEAVE_LOSS_H
#define CLEAVE_LOSS_H

#include <cleave/base.h>
#include <cleave/graph.h>
#include <cleave/option.h>
#include <cleave/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- which losses there are; static storage, thread-safe ---- */

/* How many losses there are. */
CLV_API int clv_loss_count(void);
/* Index of a loss by name ("info_nce"; '-' and '_' are the same), or -1. */
CLV_API int clv_loss_find(const char *name);
/* Name, summary and source of a loss, and its options one by one. False past the end. */
CLV_API bool clv_loss_info_at(int loss, clv_class_info *out);
CLV_API bool clv_loss_option_at(int loss, int index, clv_option_info *out);
/* The formula of a loss, in lines; NULL past the end. */
CLV_API const char *clv_loss_formula(int loss);
/* Settings its source was published with, in lines; NULL where there are none, and past the end. */
CLV_API const char *clv_loss_published(int loss);

/* A named input or auxiliary output. */
typedef struct clv_loss_port {
    const char *name;        /* "query" */
    const char *shape;       /* "B,D": a letter is the same length wherever it stands in one variant; "1+K" is a sum;
                                "B,..." has any dimensions after the first; "" is a scalar */
    clv_dtype   dtype;       /* CLV_F32: a float of any type; CLV_U8: a mask of 0 and 1; CLV_I64: labels, ids */
    bool        optional;
    bool        differentiable;
    const char *variant;     /* the value of the option `variant` it belongs to; NULL for losses without */
    const char *help;
} clv_loss_port;
/* Inputs and outputs of all variants, variant after variant. False past the end. */
CLV_API bool clv_loss_input_at(int loss, int index, clv_loss_port *out);
CLV_API bool clv_loss_output_at(int loss, int index, clv_loss_port *out);

/* ---- evaluating a loss on the caller's memory ---- */

/* A loss with its options. Threads: one call at a time per loss; different losses are independent. */
typedef struct clv_loss clv_loss;

/* Errors: CLV_ERR_INVALID (no such loss or option, a value out of range), CLV_ERR_NOMEM. *out is NULL on error. */
CLV_API clv_status clv_loss_create(clv_context *ctx, const char *name, const clv_option *options, int n_options,
                                   clv_loss **out) CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_loss_destroy(clv_loss *loss);

/* True: only the plain C kernels, to check the fast ones against. Off at first. */
CLV_API void clv_loss_set_reference(clv_loss *loss, bool reference);

/* A named piece of the caller's memory: host, any strides. Floats may be float32, float64 or bfloat16. */
typedef struct clv_loss_tensor {
    const char *name;
    clv_view    view;
} clv_loss_tensor;

/* Computes the loss, the gradients asked for, and the auxiliary outputs asked for.
 *
 *   inputs   by name, in any order; optional ones may be left out. Read only.
 *   grads    named like the inputs; d value / d input is written into each view, which has the input's shape
 *   outputs  auxiliary outputs by name, written into each view (shapes: clv_loss_output_at)
 *   value    the loss; may be NULL
 *
 * Everything is computed in float64 if any float input is float64, else in float32. A row of zeros normalises to zeros
 * and gets a zero gradient. What empty and degenerate inputs give is on the loss's page; the result is always finite
 * for finite inputs. The first call with new shapes, types or names plans and allocates; further calls like it allocate
 * nothing. The result does not depend on the number of threads.
 *
 * Errors: CLV_ERR_INVALID (a name that is unknown, twice or missing), CLV_ERR_SHAPE, CLV_ERR_NOMEM. Messages name the
 * loss and the input. Source: the loss's clv_class_info. */
CLV_API clv_status clv_loss_eval(clv_loss *loss, const clv_loss_tensor *inputs, int n_inputs,
                                 const clv_loss_tensor *grads, int n_grads, const clv_loss_tensor *outputs,
                                 int n_outputs, double *value) CLV_NODISCARD;

/* Bytes that clv_loss_eval will allocate for inputs like these (data may be NULL) and all their gradients. Errors as
 * clv_loss_eval. */
CLV_API clv_status clv_loss_memory(clv_loss *loss, const clv_loss_tensor *inputs, int n_inputs, size_t *bytes)
    CLV_NODISCARD;

/* Shape of an auxiliary output for inputs like these (data may be NULL). *ndim is -1 for an output that these inputs
 * and options leave undefined. Errors as clv_loss_eval. */
CLV_API clv_status clv_loss_output_shape(clv_loss *loss, const clv_loss_tensor *inputs, int n_inputs,
                                         const char *output, int *ndim, int64_t shape[CLV_MAX_DIMS]) CLV_NODISCARD;

/* ---- several losses with weights in one evaluation ---- */

/* A weighted sum of losses. Threads: one call at a time per sum. */
typedef struct clv_loss_sum clv_loss_sum;

typedef struct clv_loss_term {
    const char       *loss;        /* "opl" */
    double            weight;      /* of any sign */
    const clv_option *options;
    int               n_options;
    const char       *name;        /* how the term is called; NULL: like the loss. Two terms need two names */
} clv_loss_term;

/* What a term gave: both without the weight. */
typedef struct clv_loss_term_result {
    const char *name;              /* owned by the sum */
    double      weight, value;
    double      gradient_norm;     /* Euclidean, over all gradients asked for that the term has a part in */
} clv_loss_term_result;

/* 1 to 32 terms, copied. Errors: those of clv_loss_create; CLV_ERR_INVALID for a name that is there twice or has a '.'.
 * *out is NULL on error. */
CLV_API clv_status clv_loss_sum_create(clv_context *ctx, const clv_loss_term *terms, int n_terms, clv_loss_sum **out)
    CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_loss_sum_destroy(clv_loss_sum *sum);
/* A term's weight from the next evaluation on. */
CLV_API clv_status clv_loss_sum_set_weight(clv_loss_sum *sum, const char *name, double weight) CLV_NODISCARD;

/* Computes all terms, value = sum of weight x value, and the gradients of that sum.
 *
 *   inputs   a term reads its input "logits" from the tensor "NAME.logits" (NAME: the term), or else from "logits",
 *            which all terms share
 *   grads    named like the inputs: the gradient with respect to that tensor, of all terms that read it
 *   results  room for one a term, in their order; may be NULL
 *   value    may be NULL
 *
 * A term costs what its clv_loss_eval costs, and memory for its own gradients in float64. Further calls with the same
 * shapes, types and names allocate nothing.
 * Errors: those of clv_loss_eval, naming the term; CLV_ERR_INVALID for a tensor no term reads or differentiates. */
CLV_API clv_status clv_loss_sum_eval(clv_loss_sum *sum, const clv_loss_tensor *inputs, int n_inputs,
                                     const clv_loss_tensor *grads, int n_grads, clv_loss_term_result *results,
                                     double *value) CLV_NODISCARD;

/* ---- a loss as part of a graph ---- */

typedef struct clv_loss_value {
    const char *name;
    clv_node    node;
} clv_loss_value;

/* Appends a loss to a graph and returns its scalar. Inputs by name, optional ones may be left out or CLV_NONE; masks
 * are uint8, ids and labels int64 values. `outputs` (may be NULL) come with names and get their nodes; those that
 * nobody reads cost nothing. Errors are kept by the graph like those of every builder. */
CLV_API clv_node clv_loss_node(clv_graph *g, const char *name, const clv_option *options, int n_options,
                               const clv_loss_value *inputs, int n_inputs, clv_loss_value *outputs, int n_outputs);

/* ---- comparing with golden vectors ---- */

typedef struct clv_loss_check_result {
    const char *name;        /* of the case, "typical_b32/grad_query" for one array of it */
    double      error;       /* largest deviation, relative to the largest entry of the reference (loss: absolute) */
    double      tolerance;   /* 0 where nothing could be measured: see the note */
    enum { CLV_CHECK_PASSED, CLV_CHECK_FAILED, CLV_CHECK_NOT_COMPARED } verdict;
    const char *note;        /* why it was not compared, or what failed; "" else */
} clv_loss_check_result;
typedef void (*clv_loss_check_fn)(const clv_loss_check_result *result, void *user);

/* Compares a loss with a file of golden vectors ("cleave-golden-1", docs/losses/README.md): value, every gradient and
 * auxiliary output of every case, each reported to fn. dtype: CLV_F32, CLV_F64, or CLV_BF16: inputs, gradients and
 * outputs in bfloat16, compared with what the plain kernels give in float64 for the rounded inputs. Errors: CLV_ERR_IO,
 * CLV_ERR_FORMAT if the file cannot be read or has no case; differences are no error, but counted in *failed, and so is
 * a case that cannot be read or evaluated: the others are compared all the same. */
CLV_API clv_status clv_loss_check(clv_context *ctx, const char *path, clv_dtype dtype, bool reference,
                                  clv_loss_check_fn fn, void *user, int64_t *failed) CLV_NODISCARD;

/* note: what of the case was left out, or "". */
typedef void (*clv_loss_run_fn)(const char *case_name, double value, const char *note, void *user);

/* Evaluates a loss on every case of a file: groups with the options as attributes and inputs/<name>, as in a file of
 * golden vectors; outputs, and the file's attributes `format` and `loss`, may be missing. Writes a file of golden
 * vectors with the options in effect, the inputs, the value, every gradient and auxiliary output. dtype: CLV_F32,
 * CLV_F64 or CLV_BF16 (inputs and outputs; computed in float32). fn may be NULL. Errors: CLV_ERR_IO, CLV_ERR_FORMAT (a
 * file), and those of clv_loss_create and clv_loss_eval, naming file and case; `out` appears only if all went well. */
CLV_API clv_status clv_loss_run(clv_context *ctx, const char *name, const char *in, const char *out, clv_dtype dtype,
                                bool reference, clv_loss_run_fn fn, void *user) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
