/* golden.h: reading files of golden vectors ("cleave-golden-1", docs/losses/README.md), to compare and to run. */
#ifndef CLVI_LOSSES_GOLDEN_H
#define CLVI_LOSSES_GOLDEN_H

#include "losses/loss.h"
#include "core/h5.h"

#define CLVI_GOLDEN_FORMAT  "cleave-golden-1"
#define CLVI_GOLDEN_NAME    96     /* bytes of a case's name with its terminating 0 */
#define CLVI_GOLDEN_PATH    (3 * CLVI_GOLDEN_NAME)
#define CLVI_GOLDEN_OPTIONS 32

/* Something in a case that the loss does not know: an attribute, or an input. */
typedef void (*clvi_golden_stranger_fn)(const char *name, bool attribute, void *user);

/* One case: what goes in and where it comes out. All memory is of the blocks in `memory`. */
typedef struct clvi_golden_case {
    clv_context           *ctx;
    clvi_h5               *h5;
    const clvi_loss_class *cls;
    const char            *name;
    const clvi_loss_variant *variant;
    int             n_options, n_in, n_grad, n_out;
    clv_option      option[CLVI_GOLDEN_OPTIONS];
    char            option_text[CLVI_GOLDEN_OPTIONS][CLVI_GOLDEN_NAME];
    clv_loss_tensor in[CLVI_LOSS_MAX_IN], grad[CLVI_LOSS_MAX_IN], out[CLVI_LOSS_MAX_OUT];
    double          value;
    double          temperature;   /* the smallest of temperature and tau; 1 if there is none */
    void           *memory[2 * CLVI_LOSS_MAX_IN + CLVI_LOSS_MAX_OUT];
    int             n_memory;
    _Alignas(16) char params[CLVI_LOSS_MAX_PARAMS];   /* the options in effect */
} clvi_golden_case;

/* The file's class: its attribute `loss`, or the class of `name` where it has none. Errors: CLV_ERR_FORMAT (another
 * format), CLV_ERR_INVALID (no such loss, or the file is about another one than `name`, which may be NULL). */
clv_status clvi_golden_class(clv_context *ctx, clvi_h5 *h5, const char *name, const clvi_loss_class **out)
    CLV_NODISCARD;
/* *is_loss: the case is about the loss's value (its attribute `kind` is "loss" or missing). */
clv_status clvi_golden_kind(clv_context *ctx, clvi_h5 *h5, const char *name, bool *is_loss) CLV_NODISCARD;

/* Reads the options and inputs of a case, floats as `dtype`, and makes room for the gradients of differentiable inputs.
 * An empty struct is what to start from; c->ctx, h5, cls and name are set by the caller. */
clv_status clvi_golden_read(clvi_golden_case *c, clv_dtype dtype, clvi_golden_stranger_fn fn, void *user) CLV_NODISCARD;
/* Room for an auxiliary output (index into the variant's table). */
clv_status clvi_golden_add_output(clvi_golden_case *c, int port, clv_dtype dtype, int ndim, const int64_t *shape)
    CLV_NODISCARD;
clv_status clvi_golden_evaluate(clvi_golden_case *c, bool reference) CLV_NODISCARD;
void clvi_golden_free(clvi_golden_case *c);

void clvi_golden_path(char path[CLVI_GOLDEN_PATH], const char *case_name, const char *group, const char *name);
/* The message with the name of the case (or file) before it, unless it is there already. */
clv_status clvi_golden_fail_in(clv_status st, const char *name);

#endif
