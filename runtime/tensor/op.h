/* op.h: what an operation is: a shape rule, a backward rule, attributes. One file op_<name>.c each, listed in ops.def.
 * A backward operation is an operation like any other, with its own kernels. */
#ifndef CLVI_TENSOR_OP_H
#define CLVI_TENSOR_OP_H

#include <cleave/graph.h>
#include "device/attr.h"
#include "device/device.h"

/* What an operation computes in bfloat16 when its graph may (precision.c). All zero: nothing. */
typedef struct clvi_half_rule {
    unsigned in, out;      /* bit i: that input, that output is bfloat16; the others stay as they are */
    int      like;         /* only where this input, counted from 1, came in bfloat16; 0: always */
} clvi_half_rule;

typedef struct clvi_op_class {
    const char *name;
    size_t      attr_size;
    int         n_in;      /* number of inputs; -1: 1 to CLVI_MAX_IN */
    unsigned    optional;  /* bit i: input i may be CLV_NONE */
    /* Checks in[] and fills n_out and out[] (dtype, ndim, shape; layout is done by the caller). Messages start with the
     * operation's name: "l2norm_rows: expected 2 dimensions, got 1". */
    clv_status (*infer)(clvi_op_call *call);
    /* Builds gradients of the inputs from those of the outputs: grad_in[i] = CLV_NONE where there is none. grad_out[i]
     * is CLV_NONE when the loss does not depend on output i. need[i]: somebody wants the gradient of input i.
     * NULL: not differentiable, gradients stop here. */
    void (*backward)(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in);
    bool effect;     /* a training graph runs it even when nobody reads its outputs (batch norm's running statistics) */
    bool alias;      /* out[0] is in[0] under another shape: no kernel, the two share memory */
    int  workspace;  /* 1 + index of the output only its own kernel understands: whoever reads it must have a kernel of
                      * the same name; 0: none */
    double (*flops)(const clvi_op_call *call);   /* NULL: not counted */
    clvi_half_rule half;
} clvi_op_class;

/* Appends an operation; attr is copied. out receives n_out handles (outputs the caller does not name may be ignored).
 * Returns the first output, or CLV_NONE when the graph has an error. Inputs may be CLV_NONE where the class allows. */
clv_node clvi_op(clv_graph *g, const char *op, const void *attr, const clv_node *in, int n_in, clv_node *out,
                 int n_out);

/* The same with one or two inputs, first output only. */
clv_node clvi_op1(clv_graph *g, const char *op, const void *attr, clv_node a);
clv_node clvi_op2(clv_graph *g, const char *op, const void *attr, clv_node a, clv_node b);
/* A constant of the graph's type. */
clv_node clvi_fill(clv_graph *g, int ndim, const int64_t *shape, double value);
/* x [N,C,H,W] with squares dropped while training (op_block_mask.c); count as clv_drop_path has it. */
clv_node clvi_drop_block(clv_graph *g, clv_node x, clv_node count, const clvi_block_mask_attr *attr);
/* The type the graph computes in. */
clv_dtype clvi_graph_dtype(const clv_graph *g);
static inline bool clvi_node_none(clv_node x) { return x.id == CLV_NONE.id; }

/* clv_precision_resolve for what the context computes on: another device than the processor has bfloat16. */
clv_status clvi_precision_settle(const clv_context *ctx, clv_precision wanted, clv_precision *out) CLV_NODISCARD;
/* Sets the graph's first error. */
void clvi_graph_fail(clv_graph *g, clv_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The first error as a status, its message made the thread's. */
clv_status clvi_graph_status(const clv_graph *g) CLV_NODISCARD;

const clvi_op_class *clvi_op_class_find(const char *name);
const clvi_op_class *clvi_op_class_at(int i);     /* NULL past the end */

/* Helpers of shape rules. */
clv_status clvi_op_want_dims(const clvi_op_call *call, int input, int ndim) CLV_NODISCARD;
clv_status clvi_op_want_same_shape(const clvi_op_call *call, int a, int b) CLV_NODISCARD;
clv_status clvi_op_want_float(const clvi_op_call *call, int input) CLV_NODISCARD;
/* A float input of `ndim` dimensions. */
clv_status clvi_op_want(const clvi_op_call *call, int input, int ndim) CLV_NODISCARD;
bool clvi_op_has(const clvi_op_call *call, int input);
/* The next output: like in[j], of a shape, a workspace. */
void clvi_op_out_like(clvi_op_call *call, int in);
void clvi_op_out(clvi_op_call *call, clv_dtype dtype, int ndim, const int64_t *shape);
void clvi_op_out_workspace(clvi_op_call *call);
/* "[2,3]" into a buffer of CLVI_SHAPE_TEXT bytes; returns it. */
#define CLVI_SHAPE_TEXT 136
const char *clvi_shape_text(char *text, int ndim, const int64_t *shape);

/* ---- running a graph in pieces ---- */

/* The two halves of clv_graph_run, to be called in turn: outputs of the first can be read after it, and inputs may hold
 * other values in the second, where only that reads them. Repeating the first half alone is fine. */
clv_status clvi_graph_run_forward(clv_graph *g) CLV_NODISCARD;
clv_status clvi_graph_run_backward(clv_graph *g) CLV_NODISCARD;
/* The second half in stretches: from a step of it, counted from 0, up to another, which may lie beyond the last. They
 * follow one another, from 0 on. */
clv_status clvi_graph_run_stretch(clv_graph *g, int32_t first, int32_t end) CLV_NODISCARD;
/* How many steps of the second half it takes until the gradient of each parameter of the set is what it will be, into
 * steps [parameters]; 0 where the loss does not depend on it. Of a finished graph. */
void clvi_graph_gradient_steps(const clv_graph *g, int32_t *steps);
/* What the graph sees is piece `index` of a batch cut into such pieces: what is drawn for each row (drop_path) is what
 * would be drawn for it in the whole batch. */
void clvi_graph_set_piece(clv_graph *g, int64_t index);
/* The same, of piece first + *piece, which lies on the context's device, where every run reads it. */
void clvi_graph_number_pieces(clv_graph *g, int64_t first, const int64_t *piece);

/* ---- graphs whose values stay on the device ---- */

/* An input is what lies at `memory` of the context's device when the graph runs: instead of clv_graph_bind. */
clv_status clvi_graph_feed(clv_graph *g, clv_node input, void *memory) CLV_NODISCARD;
/* Where a kept value is on the context's device, dense, from the first run on. */
void *clvi_graph_place_of(clv_graph *g, clv_node output);
/* A kept value to memory of the host, dense, as clvi_tape_fetch brings it. */
clv_status clvi_graph_fetch(clv_graph *g, clv_node output, void *to) CLV_NODISCARD;

#endif
