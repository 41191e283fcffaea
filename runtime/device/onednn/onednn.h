/* onednn.h: what the oneDNN kernels share: memory descriptors to and from ours, and a primitive with its arguments.
 * oneDNN asks OpenMP how many threads there are, when a primitive is made and again when it runs; the calls below see
 * to it that the answer is the context's number both times, and leave the caller's setting as it was. */
#ifndef CLVI_DEVICE_ONEDNN_ONEDNN_H
#define CLVI_DEVICE_ONEDNN_ONEDNN_H

#include "device/device.h"
#include <oneapi/dnnl/dnnl.h>

/* CLV_OK, or an error that names the operation and what failed; CLV_ERR_UNSUPPORTED when oneDNN has no kernel. */
clv_status clvi_onednn_check(dnnl_status_t status, const clvi_op_call *call, const char *what);

/* True for a value of that type whose every extent is at least 1. */
bool clvi_onednn_is(const clvi_desc *desc, clv_dtype type);
/* Its bytes, as oneDNN calls them: float32 and bfloat16 are what it is asked to work on here. */
dnnl_data_type_t clvi_onednn_type(clv_dtype type);

/* ---- descriptors ---- */

/* The same shape and layout; a layout nobody has decided counts as dense. */
clv_status clvi_onednn_import(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md);
/* The same shape, the layout left to oneDNN. */
clv_status clvi_onednn_import_any(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md);
/* Gives desc the layout of md (and its size); strided where it can be said so. Shape and type stay. */
void clvi_onednn_export(const dnnl_memory_desc_t *md, clvi_desc *desc);
/* [N,C,H,W] in the blocked layout convolutions use on this machine, and filters [O,I,h,w]. */
clv_status clvi_onednn_blocked(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md);
clv_status clvi_onednn_blocked_filters(const clvi_op_call *call, const clvi_desc *desc, dnnl_memory_desc_t *md);
/* Are its blocks 16 channels long (AVX-512), not 8? */
bool clvi_onednn_is_wide(void);

/* ---- primitives ---- */

#define CLVI_ONEDNN_MAX_ARGS 12

/* A primitive and its arguments; all zero is empty. */
typedef struct clvi_onednn_exec {
    dnnl_stream_t    stream;
    dnnl_primitive_t primitive;
    int              count;
    dnnl_exec_arg_t  args[CLVI_ONEDNN_MAX_ARGS];
    void            *bound[CLVI_ONEDNN_MAX_ARGS];
} clvi_onednn_exec;

/* A primitive descriptor that takes its scratch memory from the caller. `hint` as in dnnl_primitive_desc_create. */
dnnl_status_t clvi_onednn_primitive_desc(const clvi_op_call *call, const_dnnl_op_desc_t op_desc,
                                         const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out);
/* The same with operations on the result, as it is written (dnnl_post_ops_t). */
dnnl_status_t clvi_onednn_primitive_desc_post(const clvi_op_call *call, const_dnnl_op_desc_t op_desc,
                                              const_dnnl_primitive_desc_t hint, const_dnnl_post_ops_t post,
                                              dnnl_primitive_desc_t *out);
/* The reorder's one. */
dnnl_status_t clvi_onednn_reorder_desc(const clvi_op_call *call, const dnnl_memory_desc_t *from,
                                       const dnnl_memory_desc_t *to, dnnl_primitive_desc_t *out);

/* Makes the primitive; argument 0 is its scratch memory, of `*scratch_size` bytes (rounded up to CLVI_ALIGN). */
clv_status clvi_onednn_exec_create(const clvi_op_call *call, const_dnnl_primitive_desc_t pd, clvi_onednn_exec *exec,
                                   size_t *scratch_size);
/* Appends an argument (DNNL_ARG_...); its memory is bound later. *index receives its place. */
clv_status clvi_onednn_exec_add(const clvi_op_call *call, clvi_onednn_exec *exec, int arg, const dnnl_memory_desc_t *md,
                                int *index);
clv_status clvi_onednn_exec_bind(const clvi_op_call *call, clvi_onednn_exec *exec, int index, void *data);
clv_status clvi_onednn_exec_run(const clvi_op_call *call, const clvi_onednn_exec *exec);
void clvi_onednn_exec_destroy(clvi_onednn_exec *exec);

static inline size_t clvi_onednn_round(size_t bytes)
{
    return (bytes + CLVI_ALIGN - 1) & ~(size_t)(CLVI_ALIGN - 1);
}

#endif
