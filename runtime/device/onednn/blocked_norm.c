/* blocked_norm.c: batch normalisation of images and its gradient on oneDNN's blocked layouts, joined with what stands
 * around it in a residual network: the sum with the shortcut and the ReLU forward; the sum of two gradients, the ReLU's
 * and the shortcut's gradient backward. oneDNN would do each of these in a pass of its own.
 *
 *   moments    of x, and                   apply      y = relu(scale (x - mean) + beta + sum)
 *   products   dz = relu'(dy + dy2), and   apply_bwd  dx = scale (dz - its parts along 1 and x)
 *
 * The ReLU leaves one bit an element: did it get through? Sums are taken over chunks of pixels in float32, over these in
 * double, over samples in parts that depend on the shapes alone: results depend on neither threads nor instruction set.
 * The second half of each pair goes backwards through x: it begins with what the first has left in the caches. */
#include "core/checked.h"
#include "device/attr.h"
#include "device/onednn/blocked.h"
#include "device/onednn/norm.h"
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum {
    RUN = 32,                      /* pixels whose bits are one vector of the workspace: bit j of lane c, channel c */
    CHUNK = 8 * RUN,               /* pixels summed up in float32 */
    PARTS = 64,                    /* of the samples, at most: what threads share */
};
#define CACHE ((size_t)16 << 20)   /* bytes: what stays in the caches from the first half of a pair to the second */
#define LARGE CACHE                /* and from a large result nothing until it is read */

/* What the second half of a pair knows of 16 channels of a group:
 *   y  = (x - mean) scale + shift       dx = (dz - level - (x - mean) slope) scale */
typedef struct channels {
    clvi_v16f mean, scale, shift, level, slope;
} channels;

/* x, and whatever has its shape. */
typedef struct norm {
    const clvi_op_call *call;
    int64_t   groups, samples;     /* groups of so many samples, */
    int64_t   parts;               /* that are cut into so many parts */
    int64_t   blocks, pixels;      /* of 16 channels; of so many pixels */
    int64_t   first, last;         /* the blocks of this pass */
    double   *sums;                /* [groups][parts][blocks][2][16] */
    channels *of;                  /* [groups][blocks] */
    bool      past_caches;
} norm;

/* Samples of one group. */
typedef struct piece {
    int64_t group, begin, end;
    double *sums;                  /* [blocks][2][16] */
} piece;

static norm norm_of(const clvi_op_call *call, const clvi_desc *x)
{
    const clvi_batch_norm_attr *attr = call->attr;
    norm s = { .call = call, .groups = attr->training ? attr->groups : 1, .blocks = x->shape[1] / CLVI_LANES,
               .pixels = x->shape[2] * x->shape[3] };
    s.samples = x->shape[0] / s.groups;
    s.parts = CLVI_MIN(CLVI_MAX(PARTS / s.groups, 1), s.samples);
    s.of = call->scratch;
    s.sums = s.of ? (double *)(void *)(s.of + s.groups * s.blocks) : NULL;
    return s;
}

static size_t scratch_bytes(const norm *s)
{
    const size_t sums = (size_t)s->parts * 2 * CLVI_LANES * sizeof(double);
    return (size_t)(s->groups * s->blocks) * (sizeof(channels) + sums);
}

static size_t bits_bytes(const norm *s)
{
    return (size_t)(s->groups * s->samples * s->blocks * ((s->pixels + RUN - 1) / RUN)) * sizeof(clvi_v16u);
}

/* [blocks][2][16]: a group's first part, and in the end all of it. */
static double *sums_of(const norm *s, int64_t group)
{
    return s->sums + group * s->parts * s->blocks * 2 * CLVI_LANES;
}

static inline piece piece_of(const norm *s, int64_t item)
{
    const int64_t group = item / s->parts, part = item % s->parts, start = group * s->samples;
    return (piece){ .group = group, .begin = start + s->samples * part / s->parts,
                    .end = start + s->samples * (part + 1) / s->parts,
                    .sums = s->sums + item * s->blocks * 2 * CLVI_LANES };
}

/* ---- 16 channels of a pixel ---- */

/* 16 channels of a sample; NULL stays. */
CLVI_INLINE void *picture(const norm *s, void *x, int64_t sample, int64_t block, const clvi_blocked k)
{
    return x ? (char *)x + (size_t)(sample * s->blocks + block) * clvi_blocked_size(s->pixels, k) : NULL;
}

CLVI_INLINE clvi_v16u *bits_of(const norm *s, void *bits, int64_t sample, int64_t block)
{
    return bits ? (clvi_v16u *)bits + (sample * s->blocks + block) * ((s->pixels + RUN - 1) / RUN) : NULL;
}

/* ---- forward: x, gamma?, beta?, running_mean, running_var, sum? -> y, mean, var, workspace ---- */

/* Adds a chunk's x and their squares to the sums. In float32 they are taken around the chunk's first pixel, b, which
 * keeps what a large mean would take away: sum x^2 = sum (x - b)^2 + 2 b sum (x - b) + n b^2. */
CLVI_INLINE void chunk_moments(double sums[2 * CLVI_LANES], const void *x, int64_t begin, int64_t end, const norm *s,
                               const clvi_blocked k)
{
    clvi_v16f sum[4] = { 0 }, square[4] = { 0 }, b, v;
    clvi_v8d wide[2], squares[2], base[2], old[4];
    clvi_blocked_load(&b, x, begin, s->pixels, k);
    int64_t j = begin;
    for (; j + 4 <= end; j += 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            clvi_blocked_load(&v, x, j + i, s->pixels, k);
            v -= b;
            sum[i] += v;
            square[i] += v * v;
        }
    }
    for (; j < end; j++) {
        clvi_blocked_load(&v, x, j, s->pixels, k);
        v -= b;
        sum[0] += v;
        square[0] += v * v;
    }
    v = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    clvi_widen16(wide, &v);
    v = (square[0] + square[1]) + (square[2] + square[3]);
    clvi_widen16(squares, &v);
    clvi_widen16(base, &b);
    memcpy(old, sums, sizeof old);
    const double count = (double)(end - begin);
    for (int i = 0; i < 2; i++) {
        old[i] += wide[i] + count * base[i];
        old[2 + i] += squares[i] + base[i] * (2 * wide[i] + count * base[i]);
    }
    memcpy(sums, old, sizeof old);
}

CLVI_INLINE void moments(void *arg, int64_t first, int64_t last, const clvi_blocked k)
{
    const norm *s = arg;
    for (int64_t item = first; item < last; item++) {
        const piece p = piece_of(s, item);
        memset(p.sums + s->first * 2 * CLVI_LANES, 0, (size_t)(s->last - s->first) * 2 * CLVI_LANES * sizeof(double));
        for (int64_t n = p.begin; n < p.end; n++)
            for (int64_t block = s->first; block < s->last; block++)
                for (int64_t j = 0; j < s->pixels; j += CHUNK)
                    chunk_moments(p.sums + block * 2 * CLVI_LANES, picture(s, s->call->in_data[0], n, block, k), j,
                                  CLVI_MIN(j + CHUNK, s->pixels), s, k);
    }
}

/* Adds the sums of a group's parts up in those of its first. */
static void add_parts(const norm *s, int64_t group)
{
    const int64_t each = s->blocks * 2 * CLVI_LANES;
    double *sums = sums_of(s, group);
    for (int64_t part = 1; part < s->parts; part++)
        for (int64_t i = s->first * 2 * CLVI_LANES; i < s->last * 2 * CLVI_LANES; i++)
            sums[i] += sums[part * each + i];
}

static void settle_moments(const norm *s, int64_t group)
{
    const clvi_op_call *call = s->call;
    const clvi_batch_norm_attr *attr = call->attr;
    const bool makes = clvi_norm_makes_statistics(attr);
    const double count = (double)(s->samples * s->pixels), *sums = sums_of(s, group);
    const float *gamma = call->in_data[1], *beta = call->in_data[2];
    float *mean = (float *)(makes ? call->out_data[1] : call->in_data[3]) + group * s->blocks * CLVI_LANES;
    float *var = (float *)(makes ? call->out_data[2] : call->in_data[4]) + group * s->blocks * CLVI_LANES;
    for (int64_t c = s->first * CLVI_LANES; c < s->last * CLVI_LANES; c++) {
        const int64_t block = c / CLVI_LANES, lane = c % CLVI_LANES;
        const double sum = sums[2 * block * CLVI_LANES + lane], square = sums[(2 * block + 1) * CLVI_LANES + lane];
        channels *of = &s->of[group * s->blocks + block];
        const double spread = (square - sum * (sum / count)) / count;
        if (makes) mean[c] = (float)(sum / count);
        if (makes) var[c] = (float)(spread < 0 ? 0 : spread);
        of->mean[lane] = mean[c];
        of->scale[lane] = (float)((gamma ? gamma[c] : 1) / sqrt(var[c] + attr->eps));
        of->shift[lane] = beta ? beta[c] : 0;
    }
}

/* Up to RUN pixels of the result, and the bits. */
CLVI_INLINE void apply_run(const norm *s, void *y, const void *x, const void *sum, clvi_v16u *bits, int64_t begin,
                           const channels *of, const bool relu, const bool past_caches, const clvi_blocked k)
{
    const int64_t end = CLVI_MIN(begin + RUN, s->pixels);
    const clvi_v16f zero = { 0 };
    clvi_v16u through = { 0 }, bit = through + 1;
#pragma GCC unroll 4
    for (int64_t j = begin; j < end; j++) {
        clvi_v16f v, more;
        clvi_blocked_load(&v, x, j, s->pixels, k);
        clvi_blocked_load(&more, sum, j, s->pixels, k);
        v = (v - of->mean) * of->scale + of->shift + more;
        if (relu) {
            const clvi_v16i positive = v > 0, negative = v < 0;
            through |= (clvi_v16u)positive & bit;
            bit += bit;
            clvi_select16(&v, &negative, &zero, &v);
        }
        clvi_blocked_store(y, &v, j, s->pixels, k, past_caches);
    }
    if (bits) *bits = through;
}

CLVI_INLINE void apply_block(const norm *s, int64_t group, int64_t n, int64_t block, const clvi_blocked k)
{
    const clvi_op_call *call = s->call;
    const clvi_batch_norm_attr *attr = call->attr;
    const channels of = s->of[group * s->blocks + block];
    void *y = picture(s, call->out_data[0], n, block, k), *x = picture(s, call->in_data[0], n, block, k);
    const void *sum = picture(s, call->in_data[5], n, block, k);
    clvi_v16u *bits = attr->relu ? bits_of(s, call->out_data[3], n, block) : NULL;
    for (int64_t j = 0; j < s->pixels; j += RUN) {
        clvi_v16u *to = bits ? bits + j / RUN : NULL;
        if (!attr->relu) apply_run(s, y, x, sum, NULL, j, &of, false, s->past_caches, k);
        else if (s->past_caches) apply_run(s, y, x, sum, to, j, &of, true, true, k);
        else apply_run(s, y, x, sum, to, j, &of, true, false, k);
    }
}

CLVI_INLINE void apply(void *arg, int64_t first, int64_t last, const clvi_blocked k)
{
    const norm *s = arg;
    for (int64_t item = first; item < last; item++) {
        const piece p = piece_of(s, s->groups * s->parts - 1 - item);
        for (int64_t n = p.end - 1; n >= p.begin; n--)
            for (int64_t block = s->first; block < s->last; block++) apply_block(s, p.group, n, block, k);
    }
#if defined(__x86_64__)
    _mm_sfence();       /* other threads read what was written past the caches */
#endif
}

/* ---- backward: dy, x, gamma?, mean, var, workspace, dy2? -> dx, dgamma, dbeta, dsum? ---- */

/* dy behind the ReLU: of pixel j, which is `bit` of its run. */
CLVI_INLINE void upstream(clvi_v16f *dz, const void *dy, const void *dy2, const clvi_v16u *bits, const clvi_v16u *bit,
                          int64_t j, const norm *s, const clvi_blocked k)
{
    const clvi_v16f zero = { 0 };
    clvi_v16f more;
    clvi_blocked_load(dz, dy, j, s->pixels, k);
    if (dy2) {
        clvi_blocked_load(&more, dy2, j, s->pixels, k);
        *dz += more;
    }
    if (bits) {
        const clvi_v16i through = (clvi_v16i)((*bits & *bit) != 0);
        clvi_select16(dz, &through, dz, &zero);
    }
}

/* Adds up dz and dz (x - mean) over up to RUN pixels, and writes dz where the shortcut wants it. */
CLVI_INLINE void products_run(const norm *s, void *dsum, const void *dy, const void *dy2, const void *x,
                              const clvi_v16u *bits, int64_t begin, const clvi_v16f *mean, clvi_v16f total[2][2],
                              const clvi_blocked k)
{
    const int64_t end = CLVI_MIN(begin + RUN, s->pixels);
    clvi_v16u bit = { 0 };
    bit += 1;
    for (int64_t j = begin; j < end; j += 2) {
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            if (j + i >= end) break;
            clvi_v16f dz, h;
            upstream(&dz, dy, dy2, bits, &bit, j + i, s, k);
            if (dsum) clvi_blocked_store(dsum, &dz, j + i, s->pixels, k, false);
            clvi_blocked_load(&h, x, j + i, s->pixels, k);
            total[0][i] += dz;
            total[1][i] += dz * (h - *mean);
            bit += bit;
        }
    }
}

CLVI_INLINE void products_block(const norm *s, const piece *p, int64_t n, int64_t block, const clvi_blocked k)
{
    const clvi_op_call *call = s->call;
    const clvi_batch_norm_attr *attr = call->attr;
    const void *dy = picture(s, call->in_data[0], n, block, k), *x = picture(s, call->in_data[1], n, block, k);
    const void *dy2 = picture(s, call->in_data[6], n, block, k);
    void *dsum = clvi_batch_norm_gives_sum(attr) ? picture(s, call->out_data[3], n, block, k) : NULL;
    const clvi_v16u *bits = attr->relu ? bits_of(s, call->in_data[5], n, block) : NULL;
    double *sums = p->sums + block * 2 * CLVI_LANES;
    clvi_v16f mean;
    memcpy(&mean, (const float *)call->in_data[3] + (p->group * s->blocks + block) * CLVI_LANES, sizeof mean);
    for (int64_t j = 0; j < s->pixels;) {
        clvi_v16f total[2][2] = { 0 };
        for (const int64_t end = CLVI_MIN(j + CHUNK, s->pixels); j < end; j += RUN)
            products_run(s, dsum, dy, dy2, x, bits ? bits + j / RUN : NULL, j, &mean, total, k);
        clvi_v8d half[2], old[4];
        memcpy(old, sums, sizeof old);
        for (int i = 0; i < 2; i++) {
            total[i][0] += total[i][1];
            clvi_widen16(half, &total[i][0]);
            old[2 * i] += half[0];
            old[2 * i + 1] += half[1];
        }
        memcpy(sums, old, sizeof old);
    }
}

CLVI_INLINE void products(void *arg, int64_t first, int64_t last, const clvi_blocked k)
{
    const norm *s = arg;
    for (int64_t item = first; item < last; item++) {
        const piece p = piece_of(s, item);
        memset(p.sums + s->first * 2 * CLVI_LANES, 0, (size_t)(s->last - s->first) * 2 * CLVI_LANES * sizeof(double));
        for (int64_t n = p.begin; n < p.end; n++)
            for (int64_t block = s->first; block < s->last; block++) products_block(s, &p, n, block, k);
    }
}

static void settle_products(const norm *s, int64_t group)
{
    const clvi_op_call *call = s->call;
    const clvi_batch_norm_attr *attr = call->attr;
    const double count = (double)(s->samples * s->pixels), *sums = sums_of(s, group);
    const float *gamma = call->in_data[2];
    const float *mean = (const float *)call->in_data[3] + group * s->blocks * CLVI_LANES;
    const float *var = (const float *)call->in_data[4] + group * s->blocks * CLVI_LANES;
    float *dgamma = call->out_data[1], *dbeta = call->out_data[2];
    for (int64_t c = s->first * CLVI_LANES; c < s->last * CLVI_LANES; c++) {
        const int64_t block = c / CLVI_LANES, lane = c % CLVI_LANES;
        const double sum = sums[2 * block * CLVI_LANES + lane], along = sums[(2 * block + 1) * CLVI_LANES + lane];
        const double inverse = 1 / sqrt(var[c] + attr->eps);
        channels *of = &s->of[group * s->blocks + block];
        of->mean[lane] = mean[c];
        of->scale[lane] = (float)((gamma ? gamma[c] : 1) * inverse);
        of->level[lane] = (float)(sum / count);
        of->slope[lane] = (float)(along / count * inverse * inverse);
        dgamma[c] = (float)((group ? dgamma[c] : 0) + along * inverse);
        dbeta[c] = (float)((group ? dbeta[c] : 0) + sum);
    }
}

/* Up to RUN pixels of dx. */
CLVI_INLINE void apply_bwd_run(const norm *s, void *dx, const void *dy, const void *dy2, const void *x,
                               const clvi_v16u *bits, int64_t begin, const channels *of, const bool training,
                               const clvi_blocked k)
{
    const int64_t end = CLVI_MIN(begin + RUN, s->pixels);
    clvi_v16u bit = { 0 };
    bit += 1;
#pragma GCC unroll 4
    for (int64_t j = begin; j < end; j++) {
        clvi_v16f dz, h;
        upstream(&dz, dy, dy2, bits, &bit, j, s, k);
        bit += bit;
        if (training) {
            clvi_blocked_load(&h, x, j, s->pixels, k);
            dz = (dz - of->level) - (h - of->mean) * of->slope;
        }
        dz *= of->scale;
        clvi_blocked_store(dx, &dz, j, s->pixels, k, false);
    }
}

CLVI_INLINE void apply_bwd_block(const norm *s, int64_t group, int64_t n, int64_t block, const clvi_blocked k)
{
    const clvi_op_call *call = s->call;
    const clvi_batch_norm_attr *attr = call->attr;
    const bool joined = clvi_batch_norm_gives_sum(attr);     /* dz was written */
    const channels of = s->of[group * s->blocks + block];
    void *dx = picture(s, call->out_data[0], n, block, k);
    const void *dy = picture(s, joined ? call->out_data[3] : call->in_data[0], n, block, k);
    const void *dy2 = joined ? NULL : picture(s, call->in_data[6], n, block, k);
    const void *x = picture(s, call->in_data[1], n, block, k);
    const clvi_v16u *bits = attr->relu && !joined ? bits_of(s, call->in_data[5], n, block) : NULL;
    for (int64_t j = 0; j < s->pixels; j += RUN)
        apply_bwd_run(s, dx, dy, dy2, x, bits ? bits + j / RUN : NULL, j, &of, attr->training, k);
}

CLVI_INLINE void apply_bwd(void *arg, int64_t first, int64_t last, const clvi_blocked k)
{
    const norm *s = arg;
    for (int64_t item = first; item < last; item++) {
        const piece p = piece_of(s, s->groups * s->parts - 1 - item);
        for (int64_t n = p.end - 1; n >= p.begin; n--)
            for (int64_t block = s->first; block < s->last; block++) apply_bwd_block(s, p.group, n, block, k);
    }
}

/* ---- the kernels ---- */

CLVI_BLOCKED_VARIANTS(moments)
CLVI_BLOCKED_VARIANTS(apply)
CLVI_BLOCKED_VARIANTS(products)
CLVI_BLOCKED_VARIANTS(apply_bwd)

static void pass(norm *s, const clvi_range_fn *const kinds[CLVI_BLOCKED_KINDS], const clvi_desc *x)
{
    clvi_parallel_for(s->call->ctx, s->groups * s->parts, 1, clvi_isa_pick(kinds[clvi_blocked_kind(x)]), s);
}

/* So many blocks at a time as stay in the caches from the first half of a pair to the second. */
static void in_batches(norm *s, const clvi_desc *x, const clvi_range_fn *const gather[CLVI_BLOCKED_KINDS],
                       void (*settle)(const norm *, int64_t), const clvi_range_fn *const spread[CLVI_BLOCKED_KINDS])
{
    const int64_t batch = CLVI_MAX((int64_t)(CACHE / (x->bytes / (size_t)s->blocks)), 1);
    for (s->first = 0; s->first < s->blocks; s->first = s->last) {
        s->last = CLVI_MIN(s->first + batch, s->blocks);
        if (gather) pass(s, gather, x);
        for (int64_t group = 0; group < s->groups; group++) {
            if (gather) add_parts(s, group);
            settle(s, group);
        }
        pass(s, spread, x);
    }
}

/* Only what oneDNN would do in several passes. */
static bool can_join(const clvi_op_call *call, const clvi_desc *x)
{
    const clvi_batch_norm_attr *attr = call->attr;
    return attr->sum && (clvi_onednn_is(x, CLV_F32) || clvi_onednn_is(x, CLV_BF16)) && x->ndim == 4 &&
           x->shape[1] % CLVI_BATCH_NORM_BLOCK == 0;
}

static void make_dense(clvi_desc *desc, int n)
{
    for (int i = 0; i < n; i++)
        if (desc[i].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&desc[i]);
}

static bool forward_accepts(const clvi_op_call *call)
{
    return can_join(call, &call->in[0]);
}

static clv_status forward_prepare(clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    CLV_TRY(clvi_blocked_choose(call, &call->in[0]));
    const norm s = norm_of(call, &call->in[0]);
    make_dense(&call->in[1], 4);
    make_dense(&call->out[1], 2);
    clvi_desc_copy_layout(&call->in[5], &call->in[0]);
    clvi_desc_copy_layout(&call->out[0], &call->in[0]);
    call->out[3].bytes = attr->relu && call->wanted[3] ? bits_bytes(&s) : 0;
    call->scratch_size = scratch_bytes(&s);
    return CLV_OK;
}

static clv_status forward(const clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0];
    const bool makes = clvi_norm_makes_statistics(call->attr);
    norm s = norm_of(call, x);
    s.past_caches = call->out_data[0] != call->in_data[0] && x->bytes >= LARGE;
    in_batches(&s, x, makes ? moments_kinds : NULL, settle_moments, apply_kinds);
    if (makes) clvi_norm_update_running(call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_blocked_batch_norm = {
    .op = "batch_norm", .name = "blocked", .accepts = forward_accepts, .prepare = forward_prepare, .run = forward,
    .in_place = { 1 },
};

static bool backward_accepts(const clvi_op_call *call)
{
    return can_join(call, &call->in[1]) && call->in[0].dtype == call->in[1].dtype;
}

static clv_status backward_prepare(clvi_op_call *call)
{
    CLV_TRY(clvi_blocked_choose(call, &call->in[1]));
    const norm s = norm_of(call, &call->in[1]);
    const clvi_desc *x = &call->in[1];
    clvi_desc_copy_layout(&call->in[0], x);
    if (call->in[6].dtype != CLV_DTYPE_COUNT) clvi_desc_copy_layout(&call->in[6], x);
    make_dense(&call->in[2], 3);
    make_dense(&call->out[1], 2);
    clvi_desc_copy_layout(&call->out[0], x);
    if (clvi_batch_norm_gives_sum(call->attr)) clvi_desc_copy_layout(&call->out[3], x);
    call->scratch_size = scratch_bytes(&s);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    norm s = norm_of(call, &call->in[1]);
    in_batches(&s, &call->in[1], products_kinds, settle_products, apply_bwd_kinds);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_blocked_batch_norm_bwd = {
    .op = "batch_norm_bwd", .name = "blocked", .accepts = backward_accepts, .prepare = backward_prepare,
    .run = backward, .in_place = { [0] = 2, [3] = 1 },
};
