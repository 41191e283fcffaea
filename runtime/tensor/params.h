/* params.h: parameters in flat arenas: one table of names, shapes and places (the schema, shared by clones), and the
 * memory. Trainable parameters come first, buffers in a second arena of their own. */
#ifndef CLVI_TENSOR_PARAMS_H
#define CLVI_TENSOR_PARAMS_H

#include <cleave/graph.h>
#include "device/device.h"

typedef struct clvi_param {
    char          *name;
    clv_param_kind kind;
    clv_init       init;
    clvi_desc      desc;     /* layout CLVI_LAYOUT_ANY until the first graph finishes */
    size_t         offset;   /* bytes into the arena of its kind; 64-byte aligned */
} clvi_param;

/* Finds or adds. Errors when the shape or kind differs, or when the set is laid out and the name is new. */
clv_status clvi_params_add(clv_params *p, const char *name, clv_param_kind kind, int ndim, const int64_t *shape,
                           clv_init init, int64_t *index) CLV_NODISCARD;
clvi_param *clvi_params_at(clv_params *p, int64_t index);
bool clvi_params_laid_out(const clv_params *p);
/* Places every parameter (undecided layouts become dense) and allocates the values. */
clv_status clvi_params_lay_out(clv_params *p) CLV_NODISCARD;
/* Allocates the gradient arena if it is not there. */
clv_status clvi_params_need_gradients(clv_params *p) CLV_NODISCARD;
void *clvi_params_data(clv_params *p, int64_t index, clv_param_part part);
clv_dtype clvi_params_dtype(const clv_params *p);

/* The same conversions on a caller's own arena of the trainable parameters (an optimiser's momentum):
 * clvi_params_arena_size bytes, laid out as the values are. */
size_t clvi_params_arena_size(const clv_params *p);
/* Bytes of the buffers (batch norm's running statistics). */
size_t clvi_params_buffer_size(const clv_params *p);
/* Those bytes, on the context's device; NULL before the set is laid out. */
void *clvi_params_buffers(clv_params *p);
clv_status clvi_params_read_arena(const clv_params *p, int64_t index, const void *arena, const clv_view *dst)
    CLV_NODISCARD;
clv_status clvi_params_write_arena(const clv_params *p, int64_t index, void *arena, const clv_view *src) CLV_NODISCARD;

#endif
