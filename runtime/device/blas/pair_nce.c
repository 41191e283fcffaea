/* pair_nce.c: pair_nce and its gradient in float32, walking square tiles of scores with OpenBLAS products. Formulas and
 * edge cases as in cpu/ref_pair_nce.c.
 *
 * Scores are symmetric, so only tiles on and above the diagonal are made, and each serves its rows and its columns:
 *   forward    every tile adds to the maximum, the sum of exponentials and the sum of the positives' scores of its rows
 *              and its columns; where no score can be far from 0 (Cauchy and Schwarz), a bound stands for the maximum
 *              and one exponential serves both
 *   backward   W_ij = w_i p_ij + w_j p_ji - [same label](b_i + b_j), w = g/t, b = w/n_pos, and dx_I += W x_J,
 *              dx_J += W^T x_I. Tiles that share neither P nor Q run together, in rounds like those of a tournament
 * Tiles and rounds depend on the shapes alone: the same bits with any number of threads. */
#include "core/checked.h"
#include "device/cpu/isa.h"
#include "device/cpu/label_numbers.h"
#include "device/cpu/ref.h"
#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <omp.h>

#define MAX_TILE  256     /* a tile of scores stays in the second-level cache */
#define MIN_TILE  64
#define TILES     8       /* wanted along each side, so that there is work for several threads */
#define GROUP     4       /* rows of a tile that go through it together */
#define STRIDE    64      /* rows after which float sums of columns are added to doubles */
#define BOUND     40      /* of scores whose exponentials relative to it all are normal floats */
#define SPREAD    60      /* so far apart may the anchors' lse be for one exponential to serve both ends of a pair */

/* ---- how the work is cut, and where it lives ---- */

typedef struct layout {
    int64_t rows, dim, anchors;
    int64_t tile, tiles, anchor_tiles;                       /* side; how many; those with an anchor */
    size_t  label, count, table, w, b, lse, part, score;     /* offsets into scratch, in bytes */
    size_t  score_size, size;
} layout;

/* What a row has seen of its scores. */
typedef struct part {
    double sum, positive;    /* of e^{score - max}; of the positives' scores */
    float  max;
} part;

static size_t take(size_t *offset, int64_t count, size_t size)
{
    const size_t at = *offset;
    *offset += ((size_t)count * size + CLVI_ALIGN - 1) / CLVI_ALIGN * CLVI_ALIGN;
    return at;
}

static layout layout_of(const clvi_op_call *call, int x, bool backward)
{
    const clvi_pair_nce_attr *attr = call->attr;
    layout l = { .rows = call->in[x].shape[0], .dim = call->in[x].shape[1], .anchors = attr->anchors };
    const int64_t wanted = (l.rows / TILES + CLVI_LANES - 1) / CLVI_LANES * CLVI_LANES;
    l.tile = CLVI_MAX(CLVI_MIN(wanted, MAX_TILE), MIN_TILE);
    l.tiles = (l.rows + l.tile - 1) / l.tile;
    l.anchor_tiles = (l.anchors + l.tile - 1) / l.tile;
    l.label = take(&l.size, l.rows + CLVI_LANES, sizeof(int32_t));
    l.count = take(&l.size, l.rows, sizeof(int32_t));
    l.table = take(&l.size, clvi_label_slots(l.rows), sizeof(int32_t));
    l.w = take(&l.size, backward ? l.rows + CLVI_LANES : 0, sizeof(float));
    l.b = take(&l.size, backward ? l.rows + CLVI_LANES : 0, sizeof(float));
    l.lse = take(&l.size, backward ? l.rows + CLVI_LANES : 0, sizeof(float));
    l.part = take(&l.size, backward ? 0 : l.rows, sizeof(part));
    l.score_size = (size_t)(l.tile * l.tile) * sizeof(float);
    l.score = take(&l.size, call->ctx->threads, l.score_size);
    return l;
}

typedef struct walk {
    const clvi_op_call *call;
    layout              l;
    const float        *x;
    float               inverse_t;
    int32_t            *label, *count;    /* of each row: a number of its label; at that number: rows with it */
    bool                backward;
    part               *parts;            /* forward: of each row */
    float               bound;            /* forward: no score is above it or below minus it; infinity: none is known */
    float              *w, *b, *lse;      /* backward; with `shared` w is times e^{top - lse} */
    bool                shared;
    float               top;
    int64_t             round;            /* -1: tiles on the diagonal */
} walk;

static void *scratch_at(const walk *k, size_t offset)
{
    return (char *)k->call->scratch + offset;
}

/* Numbers the labels and counts them. */
static void number_labels(walk *k, const int64_t *labels, int64_t period)
{
    clvi_label_numbers(labels, k->l.rows, period, scratch_at(k, k->l.table), k->label);
    memset(k->count, 0, (size_t)k->l.rows * sizeof *k->count);
    for (int64_t i = 0; i < k->l.rows; i++) k->count[k->label[i]]++;
    for (int64_t i = 0; i < CLVI_LANES; i++) k->label[k->l.rows + i] = INT32_MAX;   /* no row's */
}

static walk start(const clvi_op_call *call, int x, bool backward)
{
    const clvi_pair_nce_attr *attr = call->attr;
    walk k = { .call = call, .l = layout_of(call, x, backward), .x = call->in_data[x],
               .inverse_t = (float)(1 / attr->temperature), .backward = backward };
    k.label = scratch_at(&k, k.l.label);
    k.count = scratch_at(&k, k.l.count);
    k.parts = scratch_at(&k, k.l.part);
    k.w = scratch_at(&k, k.l.w);
    k.b = scratch_at(&k, k.l.b);
    k.lse = scratch_at(&k, k.l.lse);
    number_labels(&k, call->in_data[x + 1], call->in[x + 1].shape[0]);
    return k;
}

/* ---- tiles ---- */

typedef struct tile {
    const walk *k;
    float      *score;                      /* rows `k->l.tile` apart */
    int64_t     row, col, height, width;    /* first row of each side, and how many */
    bool        diagonal;
} tile;

/* Scores of tile (P,Q); a row's own is -inf. */
static tile make_tile(const walk *k, int64_t P, int64_t Q)
{
    const layout *l = &k->l;
    tile t = { .k = k, .row = P * l->tile, .col = Q * l->tile, .diagonal = P == Q };
    t.height = CLVI_MIN(l->tile, l->rows - t.row);
    t.width = CLVI_MIN(l->tile, l->rows - t.col);
    t.score = scratch_at(k, l->score + (size_t)clvi_thread_index() * l->score_size);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)t.height, (int)t.width, (int)l->dim, k->inverse_t,
                k->x + t.row * l->dim, (int)CLVI_MAX(l->dim, 1), k->x + t.col * l->dim, (int)CLVI_MAX(l->dim, 1), 0,
                t.score, (int)l->tile);
    for (int64_t i = 0; t.diagonal && i < t.height; i++) t.score[i * l->tile + i] = -INFINITY;
    return t;
}

/* Where the labels are equal and v is a score. (One step a comparison: GCC takes compounds of them apart, lane by
 * lane.) */
CLVI_INLINE void is_positive(clvi_v16i *keep, const clvi_v16f *v, const int32_t *labels, int32_t label)
{
    const clvi_v16i some = *v > -INFINITY;
    clvi_v16i at;
    memcpy(&at, labels, sizeof at);
    at = ((at ^ label) - 1) >> 31;       /* labels are not negative */
    *keep = at & some;
}

/* The entries of v where the labels are equal and that are a score; 0 elsewhere. */
CLVI_INLINE void positives_of(clvi_v16f *v, const int32_t *labels, int32_t label)
{
    const clvi_v16f zero = { 0 };
    clvi_v16i keep;
    is_positive(&keep, v, labels, label);
    clvi_select16(v, &keep, v, &zero);
}

static void add_part(part *to, double sum, double positive, float max)
{
    to->positive += positive;
    if (max > to->max) {
        to->sum *= exp((double)to->max - max);
        to->max = max;
    }
    if (sum != 0) to->sum += sum * exp((double)max - to->max);
}

CLVI_INLINE void rows_body(void *arg, int64_t begin, int64_t end)
{
    const tile *t = arg;
    const layout *l = &t->k->l;
    for (int64_t i = begin; i < end; i++) {
        const float *score = t->score + i * l->tile;
        clvi_v16f v, max16 = (clvi_v16f){ 0 } - INFINITY;
        for (int64_t j = 0; j < t->width; j += CLVI_LANES) {
            clvi_load16(&v, score, j, t->width, -INFINITY);
            const clvi_v16i larger = v > max16;
            clvi_select16(&max16, &larger, &v, &max16);
        }
        float max = -INFINITY;
        for (int k = 0; k < CLVI_LANES; k++) max = max16[k] > max ? max16[k] : max;
        const float shift = max == -INFINITY ? 0 : max;
        clvi_v8d sum = { 0 }, positive = { 0 };
        for (int64_t j = 0; j < t->width; j += CLVI_LANES) {
            clvi_load16(&v, score, j, t->width, -INFINITY);
            clvi_v16f e = v - shift;
            clvi_exp16(&e);
            clvi_add16(&sum, &e);
            positives_of(&v, t->k->label + t->col + j, t->k->label[t->row + i]);
            clvi_add16(&positive, &v);
        }
        add_part(&t->k->parts[t->row + i], clvi_total8(&sum), clvi_total8(&positive), max);
    }
}
CLVI_ISA_VARIANTS(rows_body)

/* One exponential for both ends of a pair: rows and, off the diagonal, columns, relative to the bound. */
CLVI_INLINE void add_rows(const tile *t, int64_t i, int64_t n, float *sums, float *positives)
{
    const walk *k = t->k;
    const clvi_v16f zero = { 0 };
    clvi_v16f sum[GROUP] = { { 0 } }, positive[GROUP] = { { 0 } };
    for (int64_t j = 0; j < t->width; j += CLVI_LANES) {
        clvi_v16f column, column_positive;
        memcpy(&column, sums + j, sizeof column);
        memcpy(&column_positive, positives + j, sizeof column_positive);
        for (int64_t r = 0; r < GROUP; r++) {
            clvi_v16f v, e;
            clvi_v16i keep;
            if (r >= n) break;
            clvi_load16(&v, t->score + (i + r) * k->l.tile, j, t->width, -INFINITY);
            is_positive(&keep, &v, k->label + t->col + j, k->label[t->row + i + r]);
            e = v - k->bound;
            clvi_exp16(&e);
            clvi_select16(&v, &keep, &v, &zero);
            sum[r] += e;
            positive[r] += v;
            column += e;
            column_positive += v;
        }
        memcpy(sums + j, &column, sizeof column);
        memcpy(positives + j, &column_positive, sizeof column_positive);
    }
    for (int64_t r = 0; r < n; r++) {
        part *p = &k->parts[t->row + i + r];
        clvi_v8d a = { 0 }, b = { 0 };
        clvi_add16(&a, &sum[r]);
        clvi_add16(&b, &positive[r]);
        p->sum += clvi_total8(&a);
        p->positive += clvi_total8(&b);
    }
}

CLVI_INLINE void both_body(void *arg, int64_t begin, int64_t end)
{
    const tile *t = arg;
    for (int64_t from = begin; from < end; from += STRIDE) {
        const int64_t to = CLVI_MIN(from + STRIDE, end);
        float sums[MAX_TILE] = { 0 }, positives[MAX_TILE] = { 0 };
        int64_t i = from;
        for (; i + GROUP <= to; i += GROUP) add_rows(t, i, GROUP, sums, positives);
        if (i < to) add_rows(t, i, to - i, sums, positives);
        part *p = t->k->parts + t->col;
        for (int64_t j = 0; j < t->width && !t->diagonal; j++) {
            p[j].sum += (double)sums[j];
            p[j].positive += (double)positives[j];
        }
    }
}
CLVI_ISA_VARIANTS(both_body)

/* The columns begin .. end-1 as rows of the tile's mirror image. */
CLVI_INLINE void columns_body(void *arg, int64_t begin, int64_t end)
{
    const tile *t = arg;
    const layout *l = &t->k->l;
    for (int64_t j = begin; j < end; j += CLVI_LANES) {
        clvi_v16f v, max = (clvi_v16f){ 0 } - INFINITY, shift, zero = { 0 };
        clvi_v16f sum[4] = { { 0 } }, positive[4] = { { 0 } };
        clvi_v16i label;
        memcpy(&label, t->k->label + t->col + j, sizeof label);
        for (int64_t i = 0; i < t->height; i++) {
            clvi_load16(&v, t->score + i * l->tile, j, t->width, -INFINITY);
            const clvi_v16i larger = v > max;
            clvi_select16(&max, &larger, &v, &max);
        }
        const clvi_v16i some = max > -INFINITY;
        clvi_select16(&shift, &some, &max, &zero);
        for (int64_t i = 0; i < t->height; i++) {
            clvi_load16(&v, t->score + i * l->tile, j, t->width, -INFINITY);
            clvi_v16f e = v - shift;
            clvi_exp16(&e);
            sum[i % 4] += e;
            const clvi_v16i same = label == t->k->label[t->row + i];
            clvi_select16(&v, &same, &v, &zero);
            positive[i % 4] += v;
        }
        for (int64_t c = 0; c < CLVI_LANES && j + c < end; c++) {
            double s = 0, p = 0;
            for (int q = 0; q < 4; q++) s += sum[q][c], p += positive[q][c];
            add_part(&t->k->parts[t->col + j + c], s, p, max[c]);
        }
    }
}
CLVI_ISA_VARIANTS(columns_body)

/* Scores become weights. */
CLVI_INLINE void weigh_body(void *arg, int64_t begin, int64_t end)
{
    const tile *t = arg;
    const walk *k = t->k;
    const clvi_v16f zero = { 0 };
    for (int64_t i = begin; i < end; i++) {
        const int64_t r = t->row + i;
        float *score = t->score + i * k->l.tile;
        for (int64_t j = 0; j < t->width; j += CLVI_LANES) {
            clvi_v16f v, other, w, b, lse;
            clvi_v16i pair;
            clvi_load16(&v, score, j, t->width, -INFINITY);
            memcpy(&w, k->w + t->col + j, sizeof w);
            memcpy(&b, k->b + t->col + j, sizeof b);
            memcpy(&lse, k->lse + t->col + j, sizeof lse);
            is_positive(&pair, &v, k->label + t->col + j, k->label[r]);
            b += k->b[r];
            clvi_select16(&b, &pair, &b, &zero);
            /* No score is above the lse of an anchor it belongs to; rows that weigh nothing must not overflow. */
            other = v - lse;
            v -= k->lse[r];
            clvi_v16i above = v > 0;
            clvi_select16(&v, &above, &zero, &v);
            clvi_exp16(&v);
            if (k->shared) {
                v *= w + k->w[r];
            } else {
                above = other > 0;
                clvi_select16(&other, &above, &zero, &other);
                clvi_exp16(&other);
                v = v * k->w[r] + other * w;
            }
            v -= b;
            clvi_store16(&v, score, j, t->width);
        }
    }
}
CLVI_ISA_VARIANTS(weigh_body)

/* ---- what is done with a tile ---- */

static void look_at(tile *t)
{
    const int64_t anchors = t->k->l.anchors;
    if (t->k->bound <= BOUND) {
        clvi_isa_pick(both_body_table)(t, 0, t->height);
        return;
    }
    clvi_isa_pick(rows_body_table)(t, 0, CLVI_MIN(t->height, anchors - t->row));
    if (!t->diagonal && t->col < anchors)
        clvi_isa_pick(columns_body_table)(t, 0, CLVI_MIN(t->width, anchors - t->col));
}

/* dx[to] (+)= op(W) x[from] */
static void gather(const tile *t, bool mirrored, float keep)
{
    const layout *l = &t->k->l;
    const int64_t to = mirrored ? t->col : t->row, from = mirrored ? t->row : t->col;
    const int64_t rows = mirrored ? t->width : t->height, depth = mirrored ? t->height : t->width;
    if (l->dim == 0) return;
    cblas_sgemm(CblasRowMajor, mirrored ? CblasTrans : CblasNoTrans, CblasNoTrans, (int)rows, (int)l->dim, (int)depth,
                1, t->score, (int)l->tile, t->k->x + from * l->dim, (int)l->dim, keep,
                (float *)t->k->call->out_data[0] + to * l->dim, (int)l->dim);
}

static void pass_back(tile *t)
{
    clvi_isa_pick(weigh_body_table)(t, 0, t->height);
    gather(t, false, t->diagonal ? 0 : 1);
    if (!t->diagonal) gather(t, true, 1);
}

/* ---- the tournament ---- */

/* Pair `item` of a round, by the circle method: one player sits still, the others move on around him. */
static void pair_of(int64_t players, int64_t round, int64_t item, int64_t *P, int64_t *Q)
{
    const int64_t circle = players - 1;
    const int64_t a = item == 0 ? circle : (round + item) % circle, b = (round - item + circle) % circle;
    *P = CLVI_MIN(a, b);
    *Q = CLVI_MAX(a, b);
}

static int64_t players_of(const walk *k)
{
    return k->l.tiles + k->l.tiles % 2;   /* an odd one out plays against nobody */
}

static void round_range(void *arg, int64_t begin, int64_t end)
{
    const walk *k = arg;
    const int threads = omp_get_max_threads();   /* this thread's: it tells OpenBLAS to stay on it */
    if (threads != 1) omp_set_num_threads(1);
    for (int64_t item = begin; item < end; item++) {
        int64_t P = item, Q = item;
        if (k->round >= 0) pair_of(players_of(k), k->round, item, &P, &Q);
        const bool has_anchor = P < k->l.anchor_tiles, must_begin = k->backward && P == Q;
        if (Q >= k->l.tiles || !(has_anchor || must_begin)) continue;
        tile t = make_tile(k, P, Q);
        if (k->backward) pass_back(&t);
        else look_at(&t);
    }
    if (threads != 1) omp_set_num_threads(threads);
}

/* The tiles on the diagonal first, then every pair once. */
static void play(walk *k)
{
    clv_context *ctx = k->call->ctx;
    k->round = -1;
    clvi_parallel_for(ctx, k->l.tiles, 1, round_range, k);
    for (k->round = 0; k->round < players_of(k) - 1; k->round++)
        clvi_parallel_for(ctx, players_of(k) / 2, 1, round_range, k);
}

/* ---- forward ---- */

/* The square of the longest row; NaN counts as infinite. */
CLVI_INLINE void longest_body(void *arg, int64_t begin, int64_t end)
{
    walk *k = arg;
    const int64_t dim = k->l.dim;
    for (int64_t i = begin; i < end; i++) {
        clvi_v16f v, sum = { 0 };
        clvi_v8d total = { 0 };
        for (int64_t d = 0; d < dim; d += CLVI_LANES) {
            clvi_load16(&v, k->x + i * dim, d, dim, 0);
            sum += v * v;
        }
        clvi_add16(&total, &sum);
        const float square = (float)clvi_total8(&total);
        if (!(square <= k->bound)) k->bound = square >= 0 ? square : INFINITY;
    }
}
CLVI_ISA_VARIANTS(longest_body)

static clv_status forward(const clvi_op_call *call)
{
    walk k = start(call, 0, false);
    float *per_anchor = call->out_data[0], *positives = clvi_ref_output(call, 1), *lse_out = clvi_ref_output(call, 2);
    clvi_isa_pick(longest_body_table)(&k, 0, k.l.rows);
    k.bound *= k.inverse_t;
    const float shift = k.bound <= BOUND ? k.bound : -INFINITY;
    for (int64_t i = 0; i < k.l.rows; i++) k.parts[i] = (part){ .max = shift };
    play(&k);
    for (int64_t a = 0; a < k.l.anchors; a++) {
        const part *p = &k.parts[a];
        const double n = k.count[k.label[a]] - 1, lse = k.l.rows > 1 ? p->max + log(p->sum) : 0;
        per_anchor[a] = n > 0 ? (float)(lse - p->positive / n) : 0;
        if (positives) positives[a] = (float)n;
        if (lse_out) lse_out[a] = (float)lse;
    }
    return CLV_OK;
}

/* ---- backward ---- */

/* Fills w, b and lse: rows without a gradient of their own weigh nothing. */
static void weigh_anchors(walk *k)
{
    const float *g = k->call->in_data[0], *lse = k->call->in_data[3];
    float low = INFINITY;
    k->top = -INFINITY;
    for (int64_t i = 0; i < k->l.rows + CLVI_LANES; i++) {
        const bool anchor = i < k->l.anchors && k->count[k->label[i]] > 1;
        k->w[i] = anchor ? g[i] * k->inverse_t : 0;
        k->b[i] = anchor ? k->w[i] / (float)(k->count[k->label[i]] - 1) : 0;
        k->lse[i] = anchor ? lse[i] : 0;
        if (!anchor) continue;
        low = fminf(low, lse[i]);
        k->top = fmaxf(k->top, lse[i]);
    }
    if (k->top == -INFINITY) k->top = low = 0;   /* no anchor at all */
    k->shared = k->top - low <= SPREAD;
    for (int64_t i = 0; k->shared && i < k->l.rows + CLVI_LANES; i++) {
        if (k->w[i] != 0) k->w[i] *= expf(k->top - k->lse[i]);
        k->lse[i] = k->top;
    }
}

static clv_status backward(const clvi_op_call *call)
{
    walk k = start(call, 1, true);
    weigh_anchors(&k);
    play(&k);
    return CLV_OK;
}

/* ---- the kernels ---- */

static bool fits(const clvi_desc *x)
{
    return x->dtype == CLV_F32 && x->shape[0] < INT_MAX / 4 && x->shape[1] < INT_MAX;   /* BLAS counts in int */
}

static bool forward_accepts(const clvi_op_call *call)
{
    return fits(&call->in[0]);
}

static bool backward_accepts(const clvi_op_call *call)
{
    return fits(&call->in[1]);
}

static clv_status forward_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = layout_of(call, 0, false).size;
    return CLV_OK;
}

static clv_status backward_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = layout_of(call, 1, true).size;
    return CLV_OK;
}

const clvi_kernel clvi_kernel_blas_pair_nce = {
    .op = "pair_nce", .name = "blas", .accepts = forward_accepts, .prepare = forward_prepare, .run = forward,
};
const clvi_kernel clvi_kernel_blas_pair_nce_bwd = {
    .op = "pair_nce_bwd", .name = "blas", .accepts = backward_accepts, .prepare = backward_prepare, .run = backward,
};
