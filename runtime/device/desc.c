/* desc.c: descriptions of values: counting, and comparing layouts. Compiled into each backend, too. */
#include "device/device.h"
#include <string.h>

int64_t clvi_desc_count(const clvi_desc *desc)
{
    int64_t count = 1;
    for (int i = 0; i < desc->ndim; i++) count *= desc->shape[i];
    return count;
}

void clvi_desc_make_dense(clvi_desc *desc)
{
    int64_t step = 1;
    for (int i = desc->ndim - 1; i >= 0; i--) {
        desc->stride[i] = step;
        step *= desc->shape[i];
    }
    desc->layout = CLVI_LAYOUT_STRIDED;
    desc->opaque_size = 0;
    desc->bytes = (size_t)step * clv_dtype_size(desc->dtype);
}

void clvi_desc_make_nhwc(clvi_desc *desc)
{
    clvi_desc_make_dense(desc);
    const int64_t c = desc->shape[1], h = desc->shape[2], w = desc->shape[3];
    desc->stride[0] = h * w * c;
    desc->stride[1] = 1;
    desc->stride[2] = w * c;
    desc->stride[3] = c;
}

/* The stride of a dimension of length 1 says nothing. */
static bool same_strides(const clvi_desc *desc, const int64_t *stride)
{
    for (int i = 0; i < desc->ndim; i++)
        if (desc->shape[i] > 1 && desc->stride[i] != stride[i]) return false;
    return true;
}

bool clvi_desc_is_dense(const clvi_desc *desc)
{
    if (desc->layout != CLVI_LAYOUT_STRIDED) return false;
    int64_t step = 1;
    for (int i = desc->ndim - 1; i >= 0; i--) {
        if (desc->shape[i] > 1 && desc->stride[i] != step) return false;
        step *= desc->shape[i];
    }
    return true;
}

bool clvi_desc_same_layout(const clvi_desc *a, const clvi_desc *b)
{
    if (a->layout != b->layout || a->dtype != b->dtype || a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i]) return false;
    if (a->layout == CLVI_LAYOUT_STRIDED) return same_strides(a, b->stride);
    return a->layout == CLVI_LAYOUT_OPAQUE && a->bytes == b->bytes && a->opaque_size == b->opaque_size &&
           memcmp(a->opaque, b->opaque, a->opaque_size) == 0;
}

void clvi_desc_copy_layout(clvi_desc *desc, const clvi_desc *like)
{
    desc->layout = like->layout;
    desc->bytes = like->bytes;
    memcpy(desc->stride, like->stride, sizeof desc->stride);
    desc->opaque_size = like->opaque_size;
    memcpy(desc->opaque, like->opaque, like->opaque_size);
}

int64_t clvi_desc_extent(const clvi_desc *desc, int begin, int end)
{
    int64_t n = 1;
    for (int i = begin; i < end; i++) n *= desc->shape[i];
    return n;
}

/* A strided value whose elements fill its memory: its strides are a dense one's in another order. */
static bool without_gaps(const clvi_desc *desc)
{
    int64_t expected = 1;
    bool used[CLV_MAX_DIMS] = { false };
    for (int found = 0; found < desc->ndim; found++) {
        int next = -1;
        for (int i = 0; i < desc->ndim && next < 0; i++)
            if (!used[i] && (desc->shape[i] == 1 || desc->stride[i] == expected)) next = i;
        if (next < 0) return false;
        used[next] = true;
        expected *= desc->shape[next];
    }
    return true;
}

clv_status clvi_prepare_alike(clvi_op_call *call)
{
    clvi_desc *x = &call->in[0];
    if (x->layout == CLVI_LAYOUT_ANY || (x->layout == CLVI_LAYOUT_STRIDED && !without_gaps(x))) clvi_desc_make_dense(x);
    for (int i = 1; i < call->n_in; i++) clvi_desc_copy_layout(&call->in[i], x);
    clvi_desc_copy_layout(&call->out[0], x);
    return CLV_OK;
}
