/* batch_norm.c: batch normalisation and its gradient on oneDNN's blocked layouts, with the ReLU fused.
 *
 * oneDNN has kernels for it, but their threads wait for each other in busy loops: with one more thread than cores (a
 * loader at work) they took 25 times as long. Here every pass is a plain parallel loop. It goes over units, blocks of
 * channels of one group, taking as many at a time as stay in the cache between the pass that gathers statistics and
 * the pass that uses them. A unit is cut into runs of samples; the cut depends on shapes only and sums are added in
 * order, in double, so the number of threads changes no bit.
 *
 * The workspace is beta: with it, x and the statistics, the backward pass finds again what the ReLU let through. */
#include "core/checked.h"
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/onednn/onednn.h"
#include <math.h>

#define RUN_FLOATS 32768                   /* of a run: stays in a core's own cache between its two sweeps */
#define SET_BYTES  ((size_t)8 << 20)       /* of the units taken at a time */

typedef struct geometry {
    int64_t groups, samples, pixels, channels;     /* samples of a group */
    int64_t blocks, width;                         /* of channels: how many, and channels in each */
    bool    padded;                                /* the last block has room for all its channels */
    int64_t sample_step, block_step, pixel_step;   /* in floats */
    int64_t run_samples, runs;                     /* of a unit */
    int64_t set;                                   /* units taken at a time */
} geometry;

/* What a unit's channels are treated with. */
typedef struct factors {
    float mean[CLVI_LANES], scale[CLVI_LANES], beta[CLVI_LANES];
    float constant[CLVI_LANES], slope[CLVI_LANES];   /* backward: dx = scale dy - constant - slope (x - mean) */
} factors;

/* Two sums over a run: of x and (x - its mean)^2, or of dy and dy (x - mean). */
typedef struct sums {
    double first[CLVI_LANES], second[CLVI_LANES];
} sums;

/* A pass over the runs of units from `unit` on; index i is run i % runs of unit + i / runs. */
typedef struct pass {
    const geometry *at;
    int64_t      unit, count;
    const float *x, *dy;
    float       *out;
    bool         relu;
    factors     *f;        /* one a unit of the set */
    sums        *partial;  /* one a run of the set */
} pass;

static bool is_absent_or_vector(const clvi_desc *desc)
{
    return desc->dtype == CLV_DTYPE_COUNT || (desc->dtype == CLV_F32 && desc->ndim == 1);
}

static bool is_normalisable(const clvi_desc *x)
{
    return clvi_onednn_is_f32(x) && (x->ndim == 2 || x->ndim == 4);
}

static bool forward_accepts(const clvi_op_call *call)
{
    return call->n_in == 5 && is_normalisable(&call->in[0]) && is_absent_or_vector(&call->in[1]) &&
           is_absent_or_vector(&call->in[2]);
}

static bool backward_accepts(const clvi_op_call *call)
{
    return call->n_in == 6 && is_normalisable(&call->in[1]) && call->in[0].dtype == CLV_F32 &&
           is_absent_or_vector(&call->in[2]);
}

/* ---- where elements are ---- */

static bool is_blocked(const dnnl_memory_desc_t *md)
{
    if (md->format_kind != dnnl_blocked || md->ndims != 4) return false;
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    return b->inner_nblks == 1 && b->inner_idxs[0] == 1 && b->inner_blks[0] <= CLVI_LANES &&
           b->strides[3] == b->inner_blks[0] && b->strides[2] == md->dims[3] * b->strides[3];
}

/* Four dimensions stay as they come when blocked, else they are wanted so; two are wanted dense. */
static clv_status choose_layout(const clvi_op_call *call, clvi_desc *desc, geometry *at)
{
    dnnl_memory_desc_t md;
    if (desc->ndim == 2) {
        clvi_desc_make_dense(desc);
        at->width = at->block_step = CLVI_LANES;
        at->sample_step = at->pixel_step = desc->shape[1];
        return CLV_OK;
    }
    if (desc->layout == CLVI_LAYOUT_OPAQUE) CLV_TRY(clvi_onednn_import(call, desc, &md));
    if (desc->layout != CLVI_LAYOUT_OPAQUE || !is_blocked(&md)) CLV_TRY(clvi_onednn_blocked(call, desc, &md));
    clvi_onednn_export(&md, desc);
    at->padded = true;
    at->width = at->pixel_step = md.format_desc.blocking.inner_blks[0];
    at->sample_step = md.format_desc.blocking.strides[0];
    at->block_step = md.format_desc.blocking.strides[1];
    return CLV_OK;
}

/* Groups exist in training only; otherwise N need not be a multiple. */
static clv_status choose_geometry(clvi_op_call *call, clvi_desc *x, bool backward)
{
    const clvi_batch_norm_attr *attr = call->attr;
    geometry *at = clvi_calloc(call->ctx, 1, sizeof *at);
    if (!at) return CLV_ERR_NOMEM;
    call->state = at;
    CLV_TRY(choose_layout(call, x, at));
    at->groups = attr->training ? attr->groups : 1;
    at->samples = x->shape[0] / at->groups;
    at->channels = x->shape[1];
    at->pixels = x->ndim == 4 ? x->shape[2] * x->shape[3] : 1;
    at->blocks = (at->channels + at->width - 1) / at->width;
    const int64_t per_sample = at->pixels * at->width;
    at->run_samples = CLVI_MAX(RUN_FLOATS / per_sample, (int64_t)1);
    at->runs = (at->samples + at->run_samples - 1) / at->run_samples;
    const size_t unit_bytes = (size_t)(at->samples * per_sample) * sizeof(float) * (backward ? 2 : 1);
    at->set = (int64_t)CLVI_MIN(CLVI_MAX(SET_BYTES / unit_bytes, (size_t)1), (size_t)(at->groups * at->blocks));
    call->scratch_size = (size_t)at->set * (sizeof(factors) + (size_t)at->runs * sizeof(sums));
    return CLV_OK;
}

CLVI_INLINE int64_t lanes_of(const geometry *at, int64_t block)
{
    return at->padded ? at->width : CLVI_MIN(at->width, at->channels - block * at->width);
}

/* Number of channels, without padding, in a block. */
static int channels_of(const geometry *at, int64_t block)
{
    return (int)CLVI_MIN(at->width, at->channels - block * at->width);
}

static int64_t run_count(const geometry *at, int64_t run)
{
    return CLVI_MIN(at->run_samples, at->samples - run * at->run_samples) * at->pixels;
}

/* ---- the four passes ---- */

/* Run i of a pass: offset of its first element, and its extent. */
typedef struct piece {
    int64_t offset, samples, lanes;
} piece;

CLVI_INLINE void find_piece(const pass *p, int64_t i, piece *out)
{
    const geometry *at = p->at;
    const int64_t unit = p->unit + i / at->runs, sample = i % at->runs * at->run_samples;
    const int64_t block = unit % at->blocks;
    out->offset = (unit / at->blocks * at->samples + sample) * at->sample_step + block * at->block_step;
    out->samples = CLVI_MIN(at->run_samples, at->samples - sample);
    out->lanes = lanes_of(at, block);
}

CLVI_INLINE void add_lanes(clvi_v8d sum[2], const clvi_v16f *v)
{
    clvi_v8f half[2];
    memcpy(half, v, sizeof half);
    sum[0] += __builtin_convertvector(half[0], clvi_v8d);
    sum[1] += __builtin_convertvector(half[1], clvi_v8d);
}

CLVI_INLINE void sum_run(const geometry *at, const float *x, const piece *r, clvi_v8d sum[2])
{
    for (int64_t n = 0; n < r->samples; n++) {
        for (int64_t p = 0; p < at->pixels; p++) {
            clvi_v16f v;
            clvi_load16(&v, x + n * at->sample_step + p * at->pixel_step, 0, r->lanes, 0);
            add_lanes(sum, &v);
        }
    }
}

CLVI_INLINE void sum_squares(const geometry *at, const float *x, const piece *r, const clvi_v16f *mean, clvi_v8d sum[2])
{
    for (int64_t n = 0; n < r->samples; n++) {
        for (int64_t p = 0; p < at->pixels; p++) {
            clvi_v16f v;
            clvi_load16(&v, x + n * at->sample_step + p * at->pixel_step, 0, r->lanes, 0);
            v -= *mean;
            v *= v;
            add_lanes(sum, &v);
        }
    }
}

/* The run's mean as both this pass and combine_statistics have it. */
static inline float run_mean(double sum, int64_t count)
{
    return (float)(sum / (double)count);
}

CLVI_INLINE void statistics(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    for (int64_t i = begin; i < end; i++) {
        piece r;
        float mean[CLVI_LANES];
        clvi_v8d sum[2] = { { 0 } }, squares[2] = { { 0 } };
        clvi_v16f m;
        find_piece(p, i, &r);
        sum_run(p->at, p->x + r.offset, &r, sum);
        memcpy(p->partial[i].first, sum, sizeof sum);
        for (int k = 0; k < CLVI_LANES; k++) mean[k] = run_mean(p->partial[i].first[k], r.samples * p->at->pixels);
        memcpy(&m, mean, sizeof m);
        sum_squares(p->at, p->x + r.offset, &r, &m, squares);
        memcpy(p->partial[i].second, squares, sizeof squares);
    }
}
CLVI_ISA_VARIANTS(statistics)

/* The two passes that write go backwards: what was read last is still in the cache. */
CLVI_INLINE void normalise(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const geometry *at = p->at;
    for (int64_t i = p->count - 1 - begin; i > p->count - 1 - end; i--) {
        const factors *f = &p->f[i / at->runs];
        piece r;
        clvi_v16f mean, scale, beta;
        const clvi_v16f zero = { 0 };
        find_piece(p, i, &r);
        memcpy(&mean, f->mean, sizeof mean), memcpy(&scale, f->scale, sizeof scale), memcpy(&beta, f->beta, sizeof beta);
        for (int64_t n = 0; n < r.samples; n++) {
            for (int64_t px = 0; px < at->pixels; px++) {
                const int64_t e = r.offset + n * at->sample_step + px * at->pixel_step;
                clvi_v16f v;
                clvi_load16(&v, p->x + e, 0, r.lanes, 0);
                v = (v - mean) * scale + beta;
                if (p->relu) {
                    const clvi_v16i negative = v < zero;
                    clvi_select16(&v, &negative, &zero, &v);
                }
                clvi_store16(&v, p->out + e, 0, r.lanes);
            }
        }
    }
}
CLVI_ISA_VARIANTS(normalise)

/* dy, or 0 where the ReLU let nothing through; and x - mean. */
CLVI_INLINE void load_pair(const pass *p, const factors *f, int64_t e, int64_t lanes, clvi_v16f *dy, clvi_v16f *x)
{
    clvi_v16f mean, scale, beta;
    const clvi_v16f zero = { 0 };
    memcpy(&mean, f->mean, sizeof mean), memcpy(&scale, f->scale, sizeof scale), memcpy(&beta, f->beta, sizeof beta);
    clvi_load16(dy, p->dy + e, 0, lanes, 0);
    clvi_load16(x, p->x + e, 0, lanes, 0);
    *x -= mean;
    if (p->relu) {
        const clvi_v16i passed = *x * scale + beta > zero;
        clvi_select16(dy, &passed, dy, &zero);
    }
}

CLVI_INLINE void gradient_sums(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const geometry *at = p->at;
    for (int64_t i = begin; i < end; i++) {
        const factors *f = &p->f[i / at->runs];
        piece r;
        clvi_v8d sum[2] = { { 0 } }, along[2] = { { 0 } };
        find_piece(p, i, &r);
        for (int64_t n = 0; n < r.samples; n++) {
            for (int64_t px = 0; px < at->pixels; px++) {
                clvi_v16f dy, x;
                load_pair(p, f, r.offset + n * at->sample_step + px * at->pixel_step, r.lanes, &dy, &x);
                add_lanes(sum, &dy);
                x *= dy;
                add_lanes(along, &x);
            }
        }
        memcpy(p->partial[i].first, sum, sizeof sum);
        memcpy(p->partial[i].second, along, sizeof along);
    }
}
CLVI_ISA_VARIANTS(gradient_sums)

CLVI_INLINE void gradient(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const geometry *at = p->at;
    for (int64_t i = p->count - 1 - begin; i > p->count - 1 - end; i--) {
        const factors *f = &p->f[i / at->runs];
        piece r;
        clvi_v16f scale, constant, slope;
        find_piece(p, i, &r);
        memcpy(&scale, f->scale, sizeof scale);
        memcpy(&constant, f->constant, sizeof constant), memcpy(&slope, f->slope, sizeof slope);
        for (int64_t n = 0; n < r.samples; n++) {
            for (int64_t px = 0; px < at->pixels; px++) {
                const int64_t e = r.offset + n * at->sample_step + px * at->pixel_step;
                clvi_v16f dy, x;
                load_pair(p, f, e, r.lanes, &dy, &x);
                dy = scale * dy - constant - slope * x;
                clvi_store16(&dy, p->out + e, 0, r.lanes);
            }
        }
    }
}
CLVI_ISA_VARIANTS(gradient)

/* ---- between the passes ---- */

static pass start_pass(const clvi_op_call *call, const float *x, const float *dy, float *out)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const geometry *at = call->state;
    factors *f = call->scratch;
    return (pass){ .at = at, .x = x, .dy = dy, .out = out, .relu = attr->relu, .f = f,
                   .partial = (sums *)(void *)(f + at->set) };
}

static void sweep(const clvi_op_call *call, pass *p, int64_t units, const clvi_range_fn *body)
{
    p->count = units * p->at->runs;
    clvi_parallel_for(call->ctx, p->count, 1, clvi_isa_pick(body), p);
}

/* Mean and biased variance of channel k of the set's unit u: sums of runs around their own means, brought together. */
static void combine_statistics(const pass *p, int64_t u, int k, float *mean, float *var)
{
    const geometry *at = p->at;
    const sums *s = &p->partial[u * at->runs];
    const double n = (double)(at->samples * at->pixels);
    double total = 0, squares = 0;
    for (int64_t r = 0; r < at->runs; r++) total += s[r].first[k];
    const double m = total / n;
    for (int64_t r = 0; r < at->runs; r++) {
        const int64_t count = run_count(at, r);
        const double own = run_mean(s[r].first[k], count), off = own - m;
        squares += s[r].second[k] + 2 * off * (s[r].first[k] - (double)count * own) + (double)count * off * off;
    }
    *mean = (float)m;
    *var = (float)(fmax(squares, 0) / n);
}

static double inverse_deviation(const clvi_op_call *call, float var)
{
    return 1 / sqrt((double)var + ((const clvi_batch_norm_attr *)call->attr)->eps);
}

/* The same bits forward and backward: the ReLU must open in both for the same elements. Padding gets zeros. */
static void set_factors(const clvi_op_call *call, const geometry *at, int64_t block, const float *mean, const float *var,
                        const float *gamma, const float *beta, factors *f)
{
    memset(f, 0, sizeof *f);
    for (int k = 0; k < channels_of(at, block); k++) {
        const int64_t c = block * at->width + k;
        f->mean[k] = mean[c];
        f->scale[k] = (float)((gamma ? gamma[c] : 1) * inverse_deviation(call, var[c]));
        f->beta[k] = beta ? beta[c] : 0;
    }
}

static void make_dense(clvi_desc *desc, int n)
{
    for (int i = 0; i < n; i++)
        if (desc[i].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&desc[i]);
}

static void norm_release(clvi_op_call *call)
{
    clvi_free(call->ctx, call->state);
    call->state = NULL;
}

/* ---- forward: x, gamma?, beta?, running_mean, running_var -> y, mean, var, workspace ---- */

static clv_status forward_prepare(clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const clv_status st = choose_geometry(call, &call->in[0], false);
    if (st != CLV_OK) {
        norm_release(call);
        return st;
    }
    make_dense(&call->in[1], 4);
    make_dense(&call->out[1], 2);
    clvi_desc_copy_layout(&call->out[0], &call->in[0]);
    if (attr->relu) call->out[3].bytes = (size_t)call->in[0].shape[1] * sizeof(float);
    return CLV_OK;
}

/* running = (1 - momentum) running + momentum * (mean over groups), the variance unbiased. */
static void update_running(const clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const geometry *at = call->state;
    const double n = (double)(at->samples * at->pixels), unbias = n > 1 ? n / (n - 1) : 1, m = attr->momentum;
    const float *mean = call->out_data[1], *var = call->out_data[2];
    float *running_mean = call->in_data[3], *running_var = call->in_data[4];
    for (int64_t c = 0; c < at->channels; c++) {
        double mean_sum = 0, var_sum = 0;
        for (int64_t g = 0; g < at->groups; g++) {
            mean_sum += mean[g * at->channels + c];
            var_sum += var[g * at->channels + c] * unbias;
        }
        running_mean[c] = (float)((1 - m) * running_mean[c] + m * mean_sum / (double)at->groups);
        running_var[c] = (float)((1 - m) * running_var[c] + m * var_sum / (double)at->groups);
    }
}

static void forward_set(const clvi_op_call *call, pass *p, int64_t units)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const geometry *at = p->at;
    if (attr->training) sweep(call, p, units, statistics_table);
    for (int64_t u = 0; u < units; u++) {
        const int64_t block = (p->unit + u) % at->blocks, row = (p->unit + u) / at->blocks * at->channels;
        float *mean = attr->training ? (float *)call->out_data[1] + row : call->in_data[3];
        float *var = attr->training ? (float *)call->out_data[2] + row : call->in_data[4];
        for (int k = 0; attr->training && k < channels_of(at, block); k++)
            combine_statistics(p, u, k, &mean[block * at->width + k], &var[block * at->width + k]);
        set_factors(call, at, block, mean, var, call->in_data[1], call->in_data[2], &p->f[u]);
    }
    sweep(call, p, units, normalise_table);
}

static clv_status forward_run(const clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const geometry *at = call->state;
    pass p = start_pass(call, call->in_data[0], NULL, call->out_data[0]);
    for (p.unit = 0; p.unit < at->groups * at->blocks; p.unit += at->set)
        forward_set(call, &p, CLVI_MIN(at->set, at->groups * at->blocks - p.unit));
    if (attr->training) update_running(call);
    if (!attr->relu || !call->wanted[3]) return CLV_OK;
    const size_t bytes = (size_t)at->channels * sizeof(float);
    if (call->in_data[2]) memcpy(call->out_data[3], call->in_data[2], bytes);
    else memset(call->out_data[3], 0, bytes);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_onednn_batch_norm = {
    .op = "batch_norm", .name = "onednn",
    .accepts = forward_accepts, .prepare = forward_prepare, .run = forward_run, .release = norm_release,
    .in_place = { 1 },
};

/* ---- backward: dy, x, gamma?, mean, var, workspace -> dx, dgamma, dbeta ---- */

static clv_status backward_prepare(clvi_op_call *call)
{
    const clv_status st = choose_geometry(call, &call->in[1], true);
    if (st != CLV_OK) {
        norm_release(call);
        return st;
    }
    clvi_desc_copy_layout(&call->in[0], &call->in[1]);
    clvi_desc_copy_layout(&call->out[0], &call->in[1]);
    make_dense(&call->in[2], 3);
    make_dense(&call->out[1], 2);
    return CLV_OK;
}

/* Gradients of unit u's gamma and beta, added to those of the groups before it, and what of dy goes through the
 * statistics. */
static void combine_gradients(const clvi_op_call *call, const pass *p, int64_t u, const float *var)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const geometry *at = p->at;
    const int64_t block = (p->unit + u) % at->blocks;
    const bool first = p->unit + u < at->blocks;
    const double n = (double)(at->samples * at->pixels);
    float *dgamma = call->wanted[1] ? call->out_data[1] : NULL, *dbeta = call->wanted[2] ? call->out_data[2] : NULL;
    for (int k = 0; k < channels_of(at, block); k++) {
        const int64_t c = block * at->width + k;
        const double rstd = inverse_deviation(call, var[c]);
        double sum = 0, along = 0;
        for (int64_t r = 0; r < at->runs; r++) {
            sum += p->partial[u * at->runs + r].first[k];
            along += p->partial[u * at->runs + r].second[k];
        }
        if (dgamma) dgamma[c] = (float)((first ? 0 : dgamma[c]) + along * rstd);
        if (dbeta) dbeta[c] = (float)((first ? 0 : dbeta[c]) + sum);
        if (!attr->training) continue;
        p->f[u].constant[k] = (float)(p->f[u].scale[k] * sum / n);
        p->f[u].slope[k] = (float)(p->f[u].scale[k] * along * rstd * rstd / n);
    }
}

static void backward_set(const clvi_op_call *call, pass *p, int64_t units)
{
    const geometry *at = p->at;
    for (int64_t u = 0; u < units; u++) {
        const int64_t row = (p->unit + u) / at->blocks * at->channels;
        set_factors(call, at, (p->unit + u) % at->blocks, (const float *)call->in_data[3] + row,
                    (const float *)call->in_data[4] + row, call->in_data[2], p->relu ? call->in_data[5] : NULL, &p->f[u]);
    }
    sweep(call, p, units, gradient_sums_table);
    for (int64_t u = 0; u < units; u++)
        combine_gradients(call, p, u, (const float *)call->in_data[4] + (p->unit + u) / at->blocks * at->channels);
    if (call->wanted[0]) sweep(call, p, units, gradient_table);
}

static clv_status backward_run(const clvi_op_call *call)
{
    const geometry *at = call->state;
    pass p = start_pass(call, call->in_data[1], call->in_data[0], call->out_data[0]);
    for (p.unit = 0; p.unit < at->groups * at->blocks; p.unit += at->set)
        backward_set(call, &p, CLVI_MIN(at->set, at->groups * at->blocks - p.unit));
    return CLV_OK;
}

const clvi_kernel clvi_kernel_onednn_batch_norm_bwd = {
    .op = "batch_norm_bwd", .name = "onednn",
    .accepts = backward_accepts, .prepare = backward_prepare, .run = backward_run, .release = norm_release,
    .in_place = { 1 },
};
