/* graph.h: the inside of a graph: values, nodes, and the plan that running follows.
 *
 * A value is an input, a parameter, or an output of a node. Nodes are kept in the order they were added, so each comes
 * after what it reads. clv_graph_finish turns live nodes into steps (a step is a node with its kernel, or a reorder)
 * and gives every value a storage: a piece of the planned arena, of a parameter arena, or the caller's memory. */
#ifndef CLVI_TENSOR_GRAPH_H
#define CLVI_TENSOR_GRAPH_H

#include "device/backend.h"
#include "tensor/op.h"
#include "tensor/params.h"

typedef enum clvi_value_kind { CLVI_VALUE_COMPUTED, CLVI_VALUE_INPUT, CLVI_VALUE_PARAM } clvi_value_kind;

typedef struct clvi_value {
    clvi_desc       desc;        /* layout: as bound, as the set has it, or (computed) dense until planned */
    clvi_value_kind kind;
    int32_t         node;        /* the node that computes it, or -1 */
    int64_t         param;       /* CLVI_VALUE_PARAM: index in the set */
    char           *name;        /* CLVI_VALUE_INPUT */
    bool            keep;        /* can be read after a run */
    bool            fused;       /* exists no more: its node now computes the value after it */
    bool            used;        /* something live reads it */
    int32_t         alias;       /* shares the memory of this value; -1: has its own */
    int32_t         conversion;  /* another value with the same elements in another layout, chained; -1: end */
    int32_t         storage;     /* -1: none */
    const clvi_kernel *by;       /* the kernel that computes it, once chosen */
} clvi_value;

typedef struct clvi_node {
    const clvi_op_class *cls;
    void   *attr;
    int     n_in, n_out;
    int32_t in[CLVI_MAX_IN], out[CLVI_MAX_OUT];   /* values; -1: absent */
    bool    live;
    bool    fused;                               /* done by the node before it */
    bool    again;                               /* repeats another one for the backward pass: no effect a second time */
} clvi_node;

typedef struct clvi_step {
    const clvi_kernel *kernel;
    clvi_op_call       call;
    int32_t            in[CLVI_MAX_IN], out[CLVI_MAX_OUT];
    int32_t            scratch;          /* storage; -1: needs none */
    double             flops;
} clvi_step;

typedef enum clvi_storage_kind {
    CLVI_STORAGE_ARENA,      /* offset into the planned arena */
    CLVI_STORAGE_INPUT,      /* what the caller bound */
    CLVI_STORAGE_PARAM,      /* in the set's values */
    CLVI_STORAGE_GRADIENT    /* in the set's gradients */
} clvi_storage_kind;

typedef struct clvi_storage {
    clvi_storage_kind kind;
    size_t  bytes, offset;   /* bytes: rounded up to CLVI_ALIGN */
    size_t  input_bytes;     /* CLVI_STORAGE_INPUT: as the caller has them */
    int32_t first, last;     /* steps in which it is in use; last may be n_steps: kept */
    int64_t param;
    bool    scratch;         /* of one step, not of a value */
    int32_t merged;          /* lives in this storage (in-place operations); -1: stands alone */
    void   *data;            /* set at the first run, or when an input is bound: on the context's device */
    void   *host;            /* where that is not the host: what an input was bound to; a copy of what was read */
    bool    fresh;           /* `host` was bound since it was last brought there */
    void   *shown;           /* a copy of what was read, of an input that has no `host` */
    void   *staged;          /* memory of the graph's own for an input, filled from `host` at every run */
} clvi_storage;

typedef struct clvi_gradient {
    int64_t param;
    int32_t value;           /* -1: the loss does not depend on the parameter; zeroed at every run */
    bool    settled;         /* the value has the parameter's layout and memory that nobody else claims */
} clvi_gradient;

struct clv_graph {
    clv_context *ctx;
    clv_params  *params;
    bool         own_params, training, reference, recompute;
    clv_dtype    dtype;
    clv_precision precision;                     /* resolved: never AUTO */
    const struct clvi_rank_sum *ranks;           /* batch norm is over all of them; NULL: over what the graph sees */
    int32_t      tag;                            /* in the upper bits of each handle, so that foreign ones are seen */
    clv_status   status;                         /* the first error, and its message */
    char         message[512];

    clvi_value  *values;
    int32_t      n_values, cap_values;
    clvi_node   *nodes;
    int32_t      n_nodes, cap_nodes;

    bool         fused, differentiated, finished, ran;
    int32_t     *grad;                           /* of value i, for the n_grad values there were; -1: none */
    int32_t      n_grad;

    clvi_step   *steps;
    int32_t      n_steps, cap_steps;
    int32_t      forward_nodes, forward_steps;   /* those before the backward pass, which may be empty */
    clvi_gradient *gradients;                    /* one a trainable parameter of the set, when differentiated */
    int32_t      n_gradients;
    clvi_storage *storages;
    int32_t      n_storages;
    size_t       arena_size, scratch_size, unplanned;   /* scratch_size: the most a step asks for, within the arena */
    unsigned char *arena;                        /* NULL until the first run */
    bool         ready;                          /* memory is there and pointers are set, but for inputs */
    bool         eager;                          /* its runs are never recorded */
    clvi_recording *recording;                   /* of a whole run on a device; NULL: none yet */
};

/* ---- building ---- */

/* Index of the value behind a handle, or -1 with the graph's error set; `what` names the caller. */
int32_t clvi_graph_value(clv_graph *g, clv_node x, const char *what);
/* The same without touching the graph: -1 and no error. */
int32_t clvi_graph_peek(const clv_graph *g, clv_node x);
clv_node clvi_graph_handle(const clv_graph *g, int32_t value);
/* A value with `desc`, computed by nobody yet; -1 when memory ran out (error set). */
int32_t clvi_graph_add_value(clv_graph *g, const clvi_desc *desc);
/* Room for one more item in a growing array of the graph. */
bool clvi_graph_grow(clv_graph *g, void **items, int32_t count, int32_t *capacity, size_t size);
/* For a backward pass: of each of the n_values values, itself, or the same value computed again (recompute.c). */
typedef struct clvi_recompute {
    bool    *redo;     /* of each node: its first result is not kept */
    int32_t *again;    /* of each value: its repetition, or -1 */
} clvi_recompute;
clv_status clvi_recompute_plan(clv_graph *g, int32_t loss, clvi_recompute *out) CLV_NODISCARD;
int32_t clvi_recompute_value(clv_graph *g, clvi_recompute *r, int32_t value);
void clvi_recompute_free(clv_graph *g, clvi_recompute *r);

/* ---- passes, in the order clv_graph_finish makes them ---- */

/* relu(batch_norm(x)) and relu(add(a, b)) become one node. `loss` (or -1) is not fused away. Once a graph. */
clv_status clvi_graph_fuse(clv_graph *g, int32_t loss) CLV_NODISCARD;
/* batch_norm(x) + y, with its relu or without, becomes one node where there is a kernel for it, and so does the sum of
 * two batch norms. After what may take the batch norm or the add otherwise. */
clv_status clvi_graph_fuse_sums(clv_graph *g, int32_t loss) CLV_NODISCARD;
/* The sum of two gradients that only a batch norm's gradient reads is taken there. Of a differentiated graph. */
clv_status clvi_graph_fuse_gradients(clv_graph *g) CLV_NODISCARD;
/* In a graph without a backward pass, a convolution, the batch norm in evaluation behind it, and an addition (with its
 * relu) behind that become one node. After clvi_graph_fuse. */
clv_status clvi_graph_fold(clv_graph *g) CLV_NODISCARD;
/* The node that computes input k of `node`, when it is an `op` whose result nobody else reads; else NULL. */
clvi_node *clvi_graph_sole_source(clv_graph *g, const clvi_node *node, int k, const char *op, const int32_t *uses);
/* How often each value is read, kept ones once more: n_values counts to be freed. NULL: out of memory. */
int32_t *clvi_graph_count_uses(const clv_graph *g, int32_t loss);
/* Marks what has to run (nodes) and what is read (values). */
void clvi_graph_mark_live(clv_graph *g);
/* Was the value narrowed to bfloat16? What the caller binds so is meant so. */
bool clvi_graph_halved(const clv_graph *g, int32_t value);
/* Does the node compute in bfloat16? Known once what it reads is planned. */
bool clvi_graph_halves(const clv_graph *g, const clvi_node *node);
/* Gives the operands of its call the types the rule of its operation asks for, or (not half) float32. */
void clvi_graph_set_types(const clv_graph *g, const clvi_node *node, bool half, clvi_op_call *call);
/* Chooses kernels, types and layouts; makes the steps. */
clv_status clvi_graph_choose(clv_graph *g) CLV_NODISCARD;
/* Storages, lifetimes, in-place sharing, offsets. */
clv_status clvi_graph_place(clv_graph *g) CLV_NODISCARD;

/* The copy of a kept value that clv_graph_read shows: dense, and not narrowed to bfloat16. */
int32_t clvi_graph_shown(const clv_graph *g, int32_t value);
/* The value whose memory a value has. */
int32_t clvi_graph_root(const clv_graph *g, int32_t value);
/* The storage a value is in (after merging), or NULL. */
clvi_storage *clvi_graph_storage(const clv_graph *g, int32_t value);

/* ---- running ---- */

/* Frees what running took. */
void clvi_graph_release_memory(clv_graph *g);
/* Allocates what a run needs and sets pointers; no-op from the second time on. */
clv_status clvi_graph_make_ready(clv_graph *g) CLV_NODISCARD;
clv_status clvi_graph_run_step(clv_graph *g, int32_t step) CLV_NODISCARD;
/* CLV_ERR_NUMERIC if a result of the step, which has run, has a NaN. */
clv_status clvi_graph_check_step(clv_graph *g, int32_t step) CLV_NODISCARD;
/* Has a kept value computed straight into `memory` (dense; what else the graph reads and writes does not touch it), or,
 * NULL, into the graph's own again. A value that is not the graph's own to place stays where it is. Once ready. */
void clvi_graph_divert(clv_graph *g, clv_node output, void *memory);

#endif
