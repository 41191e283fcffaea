/* device.h: what a kernel is, and the table a plan chooses from.
 *
 * A value has a type, a shape and a layout. A layout is strided, or opaque: understood by one device library only
 * (oneDNN's blocked and Winograd formats). A kernel sees the layouts its inputs arrive in and says which it wants; the
 * plan inserts a `reorder` where the two differ. */
#ifndef CLVI_DEVICE_DEVICE_H
#define CLVI_DEVICE_DEVICE_H

#include "core/context.h"
#include <cleave/view.h>

typedef enum clvi_layout {
    CLVI_LAYOUT_ANY,      /* not decided: a parameter nobody has laid out yet */
    CLVI_LAYOUT_STRIDED,  /* `stride` says where elements are */
    CLVI_LAYOUT_OPAQUE    /* `opaque` belongs to device/onednn (a dnnl_memory_desc_t) */
} clvi_layout;

#define CLVI_OPAQUE_SIZE 1024

typedef struct clvi_desc {
    clv_dtype   dtype;
    int         ndim;
    int64_t     shape[CLV_MAX_DIMS];
    clvi_layout layout;
    int64_t     stride[CLV_MAX_DIMS];
    size_t      bytes;                          /* memory the value takes in this layout, padding included */
    size_t      opaque_size;                    /* bytes of `opaque` in use */
    _Alignas(16) unsigned char opaque[CLVI_OPAQUE_SIZE];
} clvi_desc;

/* Row-major strides and byte size for desc->shape. */
void clvi_desc_make_dense(clvi_desc *desc);
/* N,H,W,C order for a 4-dimensional shape [N,C,H,W]. */
void clvi_desc_make_nhwc(clvi_desc *desc);
bool clvi_desc_is_dense(const clvi_desc *desc);
/* Same layout: an element is at the same place in both. */
bool clvi_desc_same_layout(const clvi_desc *a, const clvi_desc *b);
/* The same layout as `like` for an equal shape. */
void clvi_desc_copy_layout(clvi_desc *desc, const clvi_desc *like);
int64_t clvi_desc_count(const clvi_desc *desc);
/* Product of the extents of dimensions [begin, end). */
int64_t clvi_desc_extent(const clvi_desc *desc, int begin, int end);

#define CLVI_MAX_IN  10
#define CLVI_MAX_OUT 6

/* One operation of a plan, as its kernel sees it. Everything but `in_data`, `out_data` and `scratch` is fixed when the
 * plan is made. An input or output that is absent has in_data NULL and dtype CLV_DTYPE_COUNT. */
typedef struct clvi_op_call {
    clv_context *ctx;
    const char  *op;
    const void  *attr;                          /* the operation's struct from device/attr.h, or NULL */
    bool         tf32;                          /* products may round float32 operands to TF32 */
    int          n_in, n_out;
    clvi_desc    in[CLVI_MAX_IN], out[CLVI_MAX_OUT];
    bool         wanted[CLVI_MAX_OUT];          /* somebody reads this output; if not, its memory is for this call only */
    const clvi_desc *out_hint[CLVI_MAX_OUT];    /* during prepare: the layout its reader needs (a parameter's gradient),
                                                 * or NULL. Giving it saves a reorder; it may be ignored */
    bool         in_fixed[CLVI_MAX_IN];         /* the layout cannot be chosen (a bound input, a laid-out parameter) */
    void        *in_data[CLVI_MAX_IN];
    void        *out_data[CLVI_MAX_OUT];
    size_t       scratch_size;                  /* set by prepare; memory shared with other operations */
    void        *scratch;
    void        *state;                         /* the kernel's own, made by prepare, freed by release */
} clvi_op_call;

typedef struct clvi_kernel {
    const char *op;
    const char *name;                           /* "reference", "onednn", "blas", "cpu" */
    /* Can it do this call (types, shapes, attributes)? NULL: every float32 and float64 call. */
    bool (*accepts)(const clvi_op_call *call);
    /* Chooses layouts: may rewrite in[i]'s layout to the one it wants and out[i]'s to the one it gives (both come dense
     * or as produced, a parameter nobody has laid out yet CLVI_LAYOUT_ANY), sets scratch_size, makes state. An output
     * given 0 bytes has out_data NULL. Only `reorder` finds the layout asked for in out[0], and leaves both alone. A
     * prepare that fails leaves nothing behind; CLV_ERR_UNSUPPORTED: the plan takes the next kernel. The call is moved
     * in memory afterwards. NULL: all inputs and outputs dense. */
    clv_status (*prepare)(clvi_op_call *call);
    clv_status (*run)(const clvi_op_call *call);
    void (*release)(clvi_op_call *call);
    /* Output i may share memory with input `in_place[i] - 1` (0: no). Done only where both have the same layout. */
    int8_t in_place[CLVI_MAX_OUT];
} clvi_kernel;

/* The `prepare` of an elementwise kernel: the first input's layout becomes everybody's; one with gaps, or not decided,
 * becomes dense. */
clv_status clvi_prepare_alike(clvi_op_call *call) CLV_NODISCARD;

/* The best kernel of the context's device that accepts the call; with `reference` only the plain C one, which is the
 * host's. NULL when there is none. */
const clvi_kernel *clvi_kernel_find(const clvi_op_call *call, bool reference);

/* The next best after `after` (NULL: the best), with `name` only among kernels of that name. */
const clvi_kernel *clvi_kernel_next(const clvi_op_call *call, const char *name, const clvi_kernel *after);

/* Walks the host's kernels (device/kernels.def): tests go through them. NULL past the end. */
const clvi_kernel *clvi_kernel_at(int i);

/* Which instruction sets the CPU kernels may use: CLEAVE_CPU_ISA=plain|avx2|avx512 lowers it. */
typedef enum clvi_isa { CLVI_ISA_PLAIN, CLVI_ISA_AVX2, CLVI_ISA_AVX512, CLVI_ISA_AVX512_BF16 } clvi_isa;
clvi_isa clvi_cpu_isa(void);

#endif
