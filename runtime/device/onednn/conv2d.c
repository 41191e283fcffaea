/* conv2d.c: convolution and its two gradients through oneDNN, in the layouts it prefers: activations in blocks of
 * channels, images as planes, weights in blocks of both. Where it pays, the arithmetic is Winograd's F(4x4,3x3) (Lavin
 * and Gray 2016, arXiv:1509.09308): a quarter of the multiplications, relative rms error about 1e-6 instead of 2e-7.
 * The choice depends on shapes only, never on a measurement, so that two runs give the same bits.
 *
 * CLEAVE_CONV=direct|winograd|auto in the environment overrides it: winograd wherever oneDNN has it, direct nowhere. */
#include "device/onednn/conv2d.h"
#include <stdlib.h>
#include <string.h>

typedef enum direction { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS } direction;
enum { X, W, Y };               /* the three values by role, whichever of them is the result */

/* What each direction reads and writes, and what oneDNN calls it. */
static const struct {
    int          in[2], out;
    dnnl_query_t query[3];
    int          arg[3];
} directions[] = {
    [FORWARD] = { { X, W }, Y, { dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md },
                  { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST } },
    [BACKWARD_DATA] = { { Y, W }, X, { dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md },
                        { DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST } },
    [BACKWARD_WEIGHTS] = { { X, Y }, W, { dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md },
                           { DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST } },
};

typedef struct problem {
    direction  dir;
    clvi_desc *value[3];
    const clvi_conv2d_attr *attr;
    bool                  bias;      /* forward only, as the next */
    const_dnnl_post_ops_t post;      /* NULL: none */
} problem;

typedef struct conv_state {
    clvi_onednn_exec exec;
    int in[2], out;             /* places of the arguments */
} conv_state;

static problem problem_of(clvi_op_call *call, direction dir)
{
    problem p = { .dir = dir, .attr = call->attr };
    for (int i = 0; i < 2; i++) p.value[directions[dir].in[i]] = &call->in[i];
    p.value[directions[dir].out] = &call->out[0];
    return p;
}

static bool are_images(const clvi_op_call *call, clv_dtype in, clv_dtype out)
{
    return clvi_onednn_is(&call->in[0], in) && clvi_onednn_is(&call->in[1], in) && clvi_onednn_is(&call->out[0], out) &&
           call->in[0].ndim == 4 && call->in[1].ndim == 4 && call->out[0].ndim == 4;
}

/* All in float32; or what is read in bfloat16, and what is written as well, but for the gradient of weights. */
static bool conv_accepts(const clvi_op_call *call)
{
    if (call->n_in != 2 || call->n_out < 1 || ((const clvi_conv2d_attr *)call->attr)->groups != 1) return false;
    const clv_dtype out = strcmp(call->op, "conv2d_bwd_weights") == 0 ? CLV_F32 : CLV_BF16;
    return are_images(call, CLV_F32, CLV_F32) || are_images(call, CLV_BF16, out);
}

/* ---- which algorithm ---- */

/* Measured on one and two cores with AVX-512: below these numbers direct is as fast or faster; gradients of weights
 * want more channels. Tiles are 4x4 pieces of output; few do not repay transforming the weights. */
#define WINOGRAD_MIN_CHANNELS         32
#define WINOGRAD_MIN_CHANNELS_WEIGHTS 64
#define WINOGRAD_MIN_TILES            128
/* Where many weights meet few pixels bfloat16 gains little, and float32 Winograd gives their gradient sooner even if x
 * and dy must be widened for it; on maps that 4x4 tiles fill, from so many channels on. Batch 256, two cores, ms:
 * 512 channels 4x4 27 to 48 against 18, 256 channels 8x8 21 to 25 against 18 to 20. */
#define WINOGRAD_MIN_CHANNELS_WIDENED 256
/* Scratch memory beyond this is no bargain, unless the values it works on are that large themselves. */
#define WINOGRAD_SCRATCH      ((size_t)200 << 20)

static bool winograd_pays(const problem *p)
{
    const int64_t *w = p->value[W]->shape, *y = p->value[Y]->shape;
    const int64_t tiles = y[0] * ((y[2] + 3) / 4) * ((y[3] + 3) / 4);
    const int64_t least = p->dir == BACKWARD_WEIGHTS ? WINOGRAD_MIN_CHANNELS_WEIGHTS : WINOGRAD_MIN_CHANNELS;
    return w[0] >= least && w[1] >= least && tiles >= WINOGRAD_MIN_TILES;
}

static bool widening_pays(const problem *p)
{
    const int64_t *w = p->value[W]->shape, *y = p->value[Y]->shape;
    return p->dir == BACKWARD_WEIGHTS && p->value[X]->dtype == CLV_BF16 && w[0] >= WINOGRAD_MIN_CHANNELS_WIDENED &&
           w[1] >= WINOGRAD_MIN_CHANNELS_WIDENED && y[2] % 4 == 0 && y[3] % 4 == 0;
}

static bool winograd_possible(const problem *p)
{
    const clvi_conv2d_attr *a = p->attr;
    const int64_t *w = p->value[W]->shape;
    return p->value[X]->dtype != CLV_BF16 && p->value[Y]->dtype != CLV_BF16 && w[2] == 3 && w[3] == 3 &&
           a->stride[0] == 1 && a->stride[1] == 1;
}

/* CLEAVE_CONV decides, else the rule. */
static bool want_winograd(const problem *p, bool *forced)
{
    const char *mode = getenv("CLEAVE_CONV");
    *forced = mode && strcmp(mode, "winograd") == 0;
    if (!winograd_possible(p) || (mode && strcmp(mode, "direct") == 0)) return false;
    return *forced || winograd_pays(p);
}

/* ---- descriptors ---- */

static dnnl_status_t describe(dnnl_convolution_desc_t *c, direction dir, dnnl_alg_kind_t algorithm, const problem *p,
                              const dnnl_memory_desc_t md[3])
{
    const dnnl_dims_t stride = { p->attr->stride[0], p->attr->stride[1] };
    const dnnl_dims_t pad = { p->attr->pad[0], p->attr->pad[1] };
    dnnl_memory_desc_t bias;
    switch (dir) {
    case FORWARD:
        if (p->bias && dnnl_memory_desc_init_by_tag(&bias, 1, (dnnl_dims_t){ md[W].dims[0] }, dnnl_f32, dnnl_a))
            return dnnl_invalid_arguments;
        return dnnl_convolution_forward_desc_init(c, dnnl_forward_training, algorithm, &md[X], &md[W],
                                                  p->bias ? &bias : NULL, &md[Y], stride, pad, pad);
    case BACKWARD_DATA:
        return dnnl_convolution_backward_data_desc_init(c, algorithm, &md[X], &md[W], &md[Y], stride, pad, pad);
    default:
        return dnnl_convolution_backward_weights_desc_init(c, algorithm, &md[X], &md[W], NULL, &md[Y], stride, pad,
                                                           pad);
    }
}

/* A primitive descriptor with every layout left open; *out stays NULL where oneDNN has no Winograd kernel. */
static clv_status choose(const clvi_op_call *call, direction dir, dnnl_alg_kind_t algorithm, const problem *p,
                         const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out)
{
    dnnl_memory_desc_t md[3];
    dnnl_convolution_desc_t c;
    for (int i = 0; i < 3; i++) CLV_TRY(clvi_onednn_import_any(call, p->value[i], &md[i]));
    if (dir == FORWARD) md[W].data_type = md[X].data_type;      /* a hint for the float32 gradient of weights, too */
    CLV_TRY(clvi_onednn_check(describe(&c, dir, algorithm, p, md), call, "shapes"));
    const dnnl_status_t st = clvi_onednn_primitive_desc_post(call, &c, hint, p->post, out);
    if (st == dnnl_unimplemented && algorithm == dnnl_convolution_winograd) return CLV_OK;
    return clvi_onednn_check(st, call, "no kernel");
}

static bool scratch_is_modest(const_dnnl_primitive_desc_t pd, const problem *p)
{
    const size_t values = (size_t)(clvi_desc_count(p->value[X]) + clvi_desc_count(p->value[Y])) * sizeof(float);
    const size_t scratch = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0));
    return scratch <= WINOGRAD_SCRATCH || scratch / 3 <= values;
}

static clv_status choose_winograd(const clvi_op_call *call, const problem *p, const_dnnl_primitive_desc_t hint,
                                  dnnl_primitive_desc_t *out)
{
    bool forced;
    if (!want_winograd(p, &forced)) return CLV_OK;
    CLV_TRY(choose(call, p->dir, dnnl_convolution_winograd, p, hint, out));
    if (*out && !forced && !scratch_is_modest(*out, p)) {
        dnnl_primitive_desc_destroy(*out);
        *out = NULL;
    }
    return CLV_OK;
}

/* The same problem in float32, or *out stays NULL. The plan widens what the kernel then asks for. */
static clv_status choose_widened(const clvi_op_call *call, const problem *p, dnnl_primitive_desc_t *out)
{
    dnnl_primitive_desc_t hint = NULL;
    p->value[X]->dtype = p->value[Y]->dtype = CLV_F32;
    CLV_TRY(choose(call, FORWARD, dnnl_convolution_direct, p, NULL, &hint));
    const clv_status st = choose_winograd(call, p, hint, out);
    dnnl_primitive_desc_destroy(hint);
    if (!*out) p->value[X]->dtype = p->value[Y]->dtype = CLV_BF16;
    return st;
}

static clv_status choose_algorithm(const clvi_op_call *call, const problem *p, dnnl_primitive_desc_t *out)
{
    dnnl_primitive_desc_t hint = NULL;
    if (widening_pays(p)) CLV_TRY(choose_widened(call, p, out));
    if (*out) return CLV_OK;
    if (p->dir != FORWARD) CLV_TRY(choose(call, FORWARD, dnnl_convolution_direct, p, NULL, &hint));
    clv_status st = choose_winograd(call, p, hint, out);
    if (st == CLV_OK && !*out) st = choose(call, p->dir, dnnl_convolution_direct, p, hint, out);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return st;
}

clv_status clvi_onednn_conv2d_fused(clvi_op_call *call, const clvi_conv2d_attr *attr, const_dnnl_post_ops_t post,
                                    dnnl_primitive_desc_t *out)
{
    problem p = { .dir = FORWARD, .attr = attr, .bias = true, .post = post };
    p.value[X] = &call->in[0];
    p.value[W] = &call->in[1];
    p.value[Y] = &call->out[0];
    return choose_algorithm(call, &p, out);
}

/* ---- the kernels ---- */

static void conv_release(clvi_op_call *call)
{
    conv_state *s = call->state;
    if (!s) return;
    clvi_onednn_exec_destroy(&s->exec);
    clvi_free(call->ctx, s);
    call->state = NULL;
}

/* Gives the value of a role the layout the primitive wants, and the primitive an argument for it. */
static clv_status settle(const clvi_op_call *call, const problem *p, int role, const_dnnl_primitive_desc_t pd,
                         int *place)
{
    conv_state *s = call->state;
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, directions[p->dir].query[role], 0);
    clvi_onednn_export(md, p->value[role]);
    return clvi_onednn_exec_add(call, &s->exec, directions[p->dir].arg[role], md, place);
}

static clv_status conv_prepare(clvi_op_call *call, direction dir)
{
    const problem p = problem_of(call, dir);
    clv_status st = CLV_OK;
    dnnl_primitive_desc_t pd = NULL;
    conv_state *s = clvi_calloc(call->ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    call->state = s;
    CLV_TRY_OR_DONE(choose_algorithm(call, &p, &pd));
    CLV_TRY_OR_DONE(clvi_onednn_exec_create(call, pd, &s->exec, &call->scratch_size));
    for (int i = 0; i < 2; i++) CLV_TRY_OR_DONE(settle(call, &p, directions[dir].in[i], pd, &s->in[i]));
    CLV_TRY_OR_DONE(settle(call, &p, directions[dir].out, pd, &s->out));
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (st != CLV_OK) conv_release(call);
    return st;
}

static clv_status forward_prepare(clvi_op_call *call)
{
    return conv_prepare(call, FORWARD);
}

static clv_status data_prepare(clvi_op_call *call)
{
    return conv_prepare(call, BACKWARD_DATA);
}

static clv_status weights_prepare(clvi_op_call *call)
{
    return conv_prepare(call, BACKWARD_WEIGHTS);
}

static clv_status conv_run(const clvi_op_call *call)
{
    conv_state *s = call->state;
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, 0, call->scratch));
    for (int i = 0; i < 2; i++) CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->in[i], call->in_data[i]));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->out, call->out_data[0]));
    return clvi_onednn_exec_run(call, &s->exec);
}

const clvi_kernel clvi_kernel_onednn_conv2d = {
    .op = "conv2d", .name = "onednn",
    .accepts = conv_accepts, .prepare = forward_prepare, .run = conv_run, .release = conv_release,
};

const clvi_kernel clvi_kernel_onednn_conv2d_bwd_data = {
    .op = "conv2d_bwd_data", .name = "onednn",
    .accepts = conv_accepts, .prepare = data_prepare, .run = conv_run, .release = conv_release,
};

const clvi_kernel clvi_kernel_onednn_conv2d_bwd_weights = {
    .op = "conv2d_bwd_weights", .name = "onednn",
    .accepts = conv_accepts, .prepare = weights_prepare, .run = conv_run, .release = conv_release,
};
