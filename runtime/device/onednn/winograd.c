/* winograd.c: 3x3 convolutions of few channels, and their gradients, by Winograd's F(4x4,3x3) (winograd_tile.h) in the
 * blocked layout of oneDNN. oneDNN transforms all of x, multiplies, and transforms all of the result, three trips through
 * memory that cost more than the arithmetic where channels are few. Here a block of tiles goes through all three in the
 * second-level cache:
 *
 *   spread     V[c][36][tile]    from 6x6 pixels of each tile; an index c or o stands for 16 channels, as the innermost
 *   multiply   M[o][36][tile]    = V U, with U[o][36][channel] of the filters
 *   gather     4x4 pixels of the result of each tile
 *
 * and of the filters' gradient  U[o][36][channel] += V' W,  W[o][36][tile] of dy, for a run of tiles; runs depend on the
 * shapes alone and are added up in order, so bits do not depend on the number of threads. */
#include "core/checked.h"
#include "device/onednn/conv2d.h"
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include "device/onednn/winograd_tile.h"

#define MAX_CHANNELS 128     /* beyond, reading U for each block takes longer than the trips through memory */
#define MIN_TILES    128
#define TILES        12      /* of a block: a multiple of the rows of every product */
#define BLOCKS       4       /* that a thread takes at a time */
#define RUNS         32      /* of tiles, for the gradient of filters: at most, */
#define RUN_BLOCKS   11      /* and of so many blocks at least, for each begins and ends with a pass over all of U */
#define LARGE        ((size_t)4 << 20)    /* bytes */
#define FETCH        12      /* tiles ahead */

/* Floats of V, W, M for 16 channels: a point, and all. A point takes an odd number of cache lines, so that the 36 of a
 * tile spread over all of the cache. */
enum { POINT = (TILES + 1) * CLVI_LANES, BLOCK = WINOGRAD_POINTS * POINT };

/* A convolution of what is read ([n,c,h,w]) into what is written ([n,o,h,w]). */
typedef struct problem {
    const clvi_op_call *call;
    bool    turned;               /* filters are those of the other way: the gradient of x */
    int64_t n, c, o, h, w;        /* c, o: in 16 channels */
    int64_t across, down;         /* tiles of a picture */
    int64_t tiles;                /* of all */
    float  *filters;              /* U; unused by the gradient of filters */
    float  *room;                 /* of all threads */
    int64_t room_each;
    float  *partial;              /* [RUNS] gradients of filters */
} problem;

typedef struct tile {
    int64_t n, y, x;              /* picture, and its first pixel */
} tile;

static problem problem_of(const clvi_op_call *call, const clvi_desc *from, const clvi_desc *to)
{
    problem p = { .call = call, .turned = strcmp(call->op, "conv2d_bwd_data") == 0, .n = from->shape[0],
                  .c = from->shape[1] / CLVI_LANES, .o = to->shape[1] / CLVI_LANES,
                  .h = from->shape[2], .w = from->shape[3] };
    p.across = (p.w + WINOGRAD_OUT - 1) / WINOGRAD_OUT;
    p.down = (p.h + WINOGRAD_OUT - 1) / WINOGRAD_OUT;
    p.tiles = p.n * p.across * p.down;
    return p;
}

static tile tile_at(const problem *p, int64_t i)
{
    const int64_t each = p->across * p->down, rest = i % each;
    return (tile){ .n = i / each, .y = rest / p->across * WINOGRAD_OUT, .x = rest % p->across * WINOGRAD_OUT };
}

/* The one after it. */
CLVI_INLINE void step_tile(const problem *p, tile *t)
{
    t->x += WINOGRAD_OUT;
    if (t->x < p->w) return;
    t->x = 0;
    t->y += WINOGRAD_OUT;
    if (t->y < p->h) return;
    t->y = 0;
    t->n++;
}

/* Index of the first pixel of 16 channels of a picture with `channels` of such. */
CLVI_INLINE int64_t plane_at(const problem *p, int64_t n, int64_t channels, int64_t c)
{
    return (n * channels + c) * p->h * p->w * CLVI_LANES;
}

/* Floats of U and of what is like it. */
static int64_t filters_size(const problem *p, int64_t taps)
{
    return taps * p->c * p->o * CLVI_LANES * CLVI_LANES;
}

/* ---- pixels ---- */

/* V of one tile and 16 channels. Pixels outside are 0: their place is read as that of a pixel inside, under a mask. */
WIDE void spread_tile(const problem *p, const float *x, const tile *t, float *v)
{
    __m512 rows[WINOGRAD_IN][WINOGRAD_IN];
    __mmask16 mask[WINOGRAD_IN];
    int64_t column[WINOGRAD_IN];
#pragma GCC unroll 6
    for (int j = 0; j < WINOGRAD_IN; j++) {
        const int64_t at = t->x + j - 1;
        mask[j] = at >= 0 && at < p->w ? 0xffff : 0;
        column[j] = CLVI_MIN(CLVI_MAX(at, 0), p->w - 1) * CLVI_LANES;
    }
#pragma GCC unroll 6
    for (int i = 0; i < WINOGRAD_IN; i++) {
        const int64_t at = t->y + i - 1;
        if (at < 0 || at >= p->h) {
#pragma GCC unroll 6
            for (int j = 0; j < WINOGRAD_IN; j++) rows[i][j] = _mm512_setzero_ps();
            continue;
        }
        const float *row = x + at * p->w * CLVI_LANES;
        __m512 d[WINOGRAD_IN];
#pragma GCC unroll 6
        for (int j = 0; j < WINOGRAD_IN; j++) d[j] = _mm512_maskz_loadu_ps(mask[j], row + column[j]);
        winograd_spread(rows[i], d);
    }
#pragma GCC unroll 6
    for (int j = 0; j < WINOGRAD_IN; j++) {
        __m512 d[WINOGRAD_IN], to[WINOGRAD_IN];
#pragma GCC unroll 6
        for (int i = 0; i < WINOGRAD_IN; i++) d[i] = rows[i][j];
        winograd_spread(to, d);
#pragma GCC unroll 6
        for (int i = 0; i < WINOGRAD_IN; i++) _mm512_storeu_ps(v + (i * WINOGRAD_IN + j) * POINT, to[i]);
    }
}

/* W of one tile of dy and 16 channels. */
WIDE void spread_gradient_tile(const problem *p, const float *dy, const tile *t, float *w)
{
    __m512 rows[WINOGRAD_OUT][WINOGRAD_IN];
#pragma GCC unroll 4
    for (int i = 0; i < WINOGRAD_OUT; i++) {
        const bool inside = t->y + i < p->h;
        const float *row = dy + CLVI_MIN(t->y + i, p->h - 1) * p->w * CLVI_LANES;
        __m512 d[WINOGRAD_OUT];
#pragma GCC unroll 4
        for (int j = 0; j < WINOGRAD_OUT; j++) {
            const __mmask16 mask = inside && t->x + j < p->w ? 0xffff : 0;
            d[j] = _mm512_maskz_loadu_ps(mask, row + CLVI_MIN(t->x + j, p->w - 1) * CLVI_LANES);
        }
        winograd_spread_gradient(rows[i], d);
    }
#pragma GCC unroll 6
    for (int j = 0; j < WINOGRAD_IN; j++) {
        __m512 d[WINOGRAD_OUT], to[WINOGRAD_IN];
#pragma GCC unroll 4
        for (int i = 0; i < WINOGRAD_OUT; i++) d[i] = rows[i][j];
        winograd_spread_gradient(to, d);
#pragma GCC unroll 6
        for (int i = 0; i < WINOGRAD_IN; i++) _mm512_storeu_ps(w + (i * WINOGRAD_IN + j) * POINT, to[i]);
    }
}

/* The result of one tile and 16 channels. */
WIDE void gather_tile(const problem *p, const float *m, const tile *t, float *y, const bool past_caches)
{
    __m512 rows[WINOGRAD_OUT][WINOGRAD_IN];
#pragma GCC unroll 6
    for (int j = 0; j < WINOGRAD_IN; j++) {
        __m512 d[WINOGRAD_IN], to[WINOGRAD_OUT];
#pragma GCC unroll 6
        for (int i = 0; i < WINOGRAD_IN; i++) d[i] = _mm512_loadu_ps(m + (i * WINOGRAD_IN + j) * POINT);
        winograd_gather(to, d);
#pragma GCC unroll 4
        for (int i = 0; i < WINOGRAD_OUT; i++) rows[i][j] = to[i];
    }
    const int64_t width = p->w - t->x, height = p->h - t->y, stride = p->w * CLVI_LANES;
    y += (t->y * p->w + t->x) * CLVI_LANES;
#pragma GCC unroll 1
    for (int i = 0; i < CLVI_MIN(height, WINOGRAD_OUT); i++) {
        __m512 to[WINOGRAD_OUT];
        winograd_gather(to, rows[i]);
#pragma GCC unroll 4
        for (int j = 0; j < WINOGRAD_OUT; j++) {
            if (j >= width) break;
            if (past_caches) _mm512_stream_ps(y + i * stride + j * CLVI_LANES, to[j]);
            else _mm512_storeu_ps(y + i * stride + j * CLVI_LANES, to[j]);
        }
    }
}

/* Has the pixels of a tile that is due later brought from memory. */
WIDE void fetch_tile(const problem *p, const float *x, const tile *t)
{
    const int64_t width = CLVI_MIN(p->w - t->x, WINOGRAD_OUT), height = CLVI_MIN(p->h - t->y, WINOGRAD_OUT);
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < width; j++)
            _mm_prefetch((const char *)(x + ((t->y + i) * p->w + t->x + j) * CLVI_LANES), _MM_HINT_T1);
}

/* V of `count` tiles from `first` on, or W of them if x is a gradient. */
WIDE void spread(const problem *p, const float *x, const bool gradient, int64_t first, int64_t count, float *v)
{
    const int64_t channels = gradient ? p->o : p->c;
    tile t = tile_at(p, first), later = tile_at(p, CLVI_MIN(first + FETCH, p->tiles - count));
    for (int64_t i = 0; i < count; i++, step_tile(p, &t), step_tile(p, &later))
        for (int64_t c = 0; c < channels; c++) {
            const float *from = x + plane_at(p, t.n, channels, c);
            float *to = v + c * BLOCK + i * CLVI_LANES;
            fetch_tile(p, x + plane_at(p, later.n, channels, c), &later);
            if (gradient) spread_gradient_tile(p, from, &t, to);
            else spread_tile(p, from, &t, to);
        }
}

/* The pixels of a large result are not in a cache when it is complete; written past them, they need not be read. */
WIDE void gather(const problem *p, const float *m, int64_t first, int64_t count, float *y)
{
    const bool large = p->call->out[0].bytes >= LARGE;
    tile t = tile_at(p, first);
    for (int64_t i = 0; i < count; i++, step_tile(p, &t))
        for (int64_t o = 0; o < p->o; o++) {
            const float *from = m + o * BLOCK + i * CLVI_LANES;
            if (large) gather_tile(p, from, &t, y + plane_at(p, t.n, p->o, o), true);
            else gather_tile(p, from, &t, y + plane_at(p, t.n, p->o, o), false);
        }
}

/* ---- forward, and the gradient of x, which is a convolution of dy with turned filters ---- */

/* M of a block, `rows` tiles x `columns` vectors at a time. */
WIDE void multiply_by(const problem *p, const float *v, float *m, const int rows, const int columns)
{
    const int64_t u_point = p->c * CLVI_LANES * CLVI_LANES, u_column = WINOGRAD_POINTS * u_point;
    for (int64_t o = 0; o < p->o; o += columns)
        for (int64_t point = 0; point < WINOGRAD_POINTS; point++)
            for (int64_t i = 0; i < TILES; i += rows) {
                const int64_t at = point * POINT + i * CLVI_LANES;
                const float *u = p->filters + o * u_column + point * u_point;
                __m512 sum[24];
#pragma GCC unroll 24
                for (int r = 0; r < rows * columns; r++) sum[r] = _mm512_setzero_ps();
                for (int64_t c = 0; c < p->c; c++)
                    winograd_product(sum, v + c * BLOCK + at, u + c * CLVI_LANES * CLVI_LANES, u_column, rows, columns);
#pragma GCC unroll 24
                for (int r = 0; r < rows * columns; r++)
                    _mm512_storeu_ps(m + (o + r % columns) * BLOCK + at + r / columns * CLVI_LANES, sum[r]);
            }
}

CLVI_TARGET_AVX512 static void convolve_tiles(void *arg, int64_t begin, int64_t end)
{
    const problem *p = arg;
    float *v = p->room + clvi_thread_index() * p->room_each, *m = v + p->c * BLOCK;
    for (int64_t first = begin; first < end; first += TILES) {
        const int64_t count = CLVI_MIN(end - first, TILES);
        spread(p, p->call->in_data[0], false, first, count, v);
        if (p->o % 4 == 0) multiply_by(p, v, m, 6, 4);
        else if (p->o % 2 == 0) multiply_by(p, v, m, 12, 2);
        else multiply_by(p, v, m, 12, 1);
        gather(p, m, first, count, p->call->out_data[0]);
    }
    _mm_sfence();       /* other threads read what was written past the caches */
}

/* In the weights' layout, the 16 x 16 channels that c (of what is read) and o (of what is written) stand for. */
static int64_t taps_at(const problem *p, int64_t c, int64_t o)
{
    return (p->turned ? c * p->o + o : o * p->c + c) * WINOGRAD_TAPS * CLVI_LANES * CLVI_LANES;
}

/* U of one channel that is read and 16 that are written, from nine vectors of them. */
WIDE void spread_filter(const problem *p, float taps[WINOGRAD_TAPS][CLVI_LANES], float *u)
{
    __m512 rows[3][WINOGRAD_IN];
    for (int i = 0; i < 3; i++) {
        const __m512 g[3] = { _mm512_loadu_ps(taps[3 * i]), _mm512_loadu_ps(taps[3 * i + 1]),
                              _mm512_loadu_ps(taps[3 * i + 2]) };
        winograd_spread_filter(rows[i], g);
    }
    for (int j = 0; j < WINOGRAD_IN; j++) {
        const __m512 g[3] = { rows[0][j], rows[1][j], rows[2][j] };
        __m512 to[WINOGRAD_IN];
        winograd_spread_filter(to, g);
        for (int i = 0; i < WINOGRAD_IN; i++)
            _mm512_storeu_ps(u + (i * WINOGRAD_IN + j) * p->c * CLVI_LANES * CLVI_LANES, to[i]);
    }
}

/* U of the channels that c = begin, ... stand for. */
CLVI_TARGET_AVX512 static void spread_filters(void *arg, int64_t begin, int64_t end)
{
    const problem *p = arg;
    float taps[WINOGRAD_TAPS][CLVI_LANES];
    for (int64_t c = begin; c < end; c++)
        for (int64_t o = 0; o < p->o; o++) {
            const float *w = (const float *)p->call->in_data[1] + taps_at(p, c, o);
            float *u = p->filters + (o * WINOGRAD_POINTS * p->c + c) * CLVI_LANES * CLVI_LANES;
            for (int lane = 0; lane < CLVI_LANES; lane++) {
                for (int k = 0; k < WINOGRAD_TAPS; k++)
                    for (int i = 0; i < CLVI_LANES; i++)
                        taps[k][i] = p->turned ? w[((WINOGRAD_TAPS - 1 - k) * CLVI_LANES + i) * CLVI_LANES + lane]
                                               : w[(k * CLVI_LANES + lane) * CLVI_LANES + i];
                spread_filter(p, taps, u + lane * CLVI_LANES);
            }
        }
}

static clv_status convolve(const clvi_op_call *call)
{
    problem p = problem_of(call, &call->in[0], &call->out[0]);
    p.filters = call->scratch;
    p.room = p.filters + filters_size(&p, WINOGRAD_POINTS);
    p.room_each = (p.c + p.o) * BLOCK;
    clvi_parallel_for(call->ctx, p.c, 1, spread_filters, &p);
    clvi_parallel_for(call->ctx, p.tiles, TILES * BLOCKS, convolve_tiles, &p);
    return CLV_OK;
}

/* ---- gradient of the filters ---- */

/* U += V' W, `rows` channels x `columns` vectors at a time. */
WIDE void correlate_by(const problem *p, const float *v, const float *w, float *u, int64_t count, const int rows,
                       const int columns)
{
    const int64_t u_point = p->c * CLVI_LANES * CLVI_LANES, u_column = WINOGRAD_POINTS * u_point;
    for (int64_t o = 0; o < p->o; o += columns)
        for (int64_t point = 0; point < WINOGRAD_POINTS; point++)
            for (int64_t c = 0; c < p->c * CLVI_LANES; c += rows) {
                float *to = u + o * u_column + point * u_point + c * CLVI_LANES;
                __m512 sum[24];
#pragma GCC unroll 24
                for (int r = 0; r < rows * columns; r++)
                    sum[r] = _mm512_loadu_ps(to + r % columns * u_column + r / columns * CLVI_LANES);
                winograd_product_of_columns(sum, v + c / CLVI_LANES * BLOCK + point * POINT + c % CLVI_LANES,
                                            w + o * BLOCK + point * POINT, BLOCK, count, rows, columns);
#pragma GCC unroll 24
                for (int r = 0; r < rows * columns; r++)
                    _mm512_storeu_ps(to + r % columns * u_column + r / columns * CLVI_LANES, sum[r]);
            }
}

/* Gradients of the filters of one channel that is read, and 16 written, from U. */
WIDE void gather_filter(const problem *p, const float *u, float *dw)
{
    __m512 rows[3][WINOGRAD_IN];
    for (int j = 0; j < WINOGRAD_IN; j++) {
        __m512 d[WINOGRAD_IN], g[3];
        for (int i = 0; i < WINOGRAD_IN; i++)
            d[i] = _mm512_loadu_ps(u + (i * WINOGRAD_IN + j) * p->c * CLVI_LANES * CLVI_LANES);
        winograd_gather_filter(g, d);
        for (int i = 0; i < 3; i++) rows[i][j] = g[i];
    }
    for (int i = 0; i < 3; i++) {
        __m512 g[3];
        winograd_gather_filter(g, rows[i]);
        for (int j = 0; j < 3; j++) _mm512_storeu_ps(dw + (i * 3 + j) * CLVI_LANES * CLVI_LANES, g[j]);
    }
}

WIDE void gather_filters(const problem *p, const float *u, float *dw)
{
    for (int64_t o = 0; o < p->o; o++)
        for (int64_t c = 0; c < p->c * CLVI_LANES; c++)
            gather_filter(p, u + (o * WINOGRAD_POINTS * p->c * CLVI_LANES + c) * CLVI_LANES,
                          dw + taps_at(p, c / CLVI_LANES, o) + c % CLVI_LANES * CLVI_LANES);
}

static int64_t run_length(const problem *p)
{
    return CLVI_MAX(((p->tiles + RUNS - 1) / RUNS + TILES - 1) / TILES, RUN_BLOCKS) * TILES;
}

CLVI_TARGET_AVX512 static void correlate_run(void *arg, int64_t begin, int64_t end)
{
    const problem *p = arg;
    float *v = p->room + clvi_thread_index() * p->room_each, *w = v + p->c * BLOCK, *u = w + p->o * BLOCK;
    memset(u, 0, (size_t)filters_size(p, WINOGRAD_POINTS) * sizeof *u);
    for (int64_t first = begin; first < end; first += TILES) {
        const int64_t count = CLVI_MIN(end - first, TILES);
        spread(p, p->call->in_data[0], false, first, count, v);
        spread(p, p->call->in_data[1], true, first, count, w);
        if (p->o % 2 == 0) correlate_by(p, v, w, u, count, 8, 2);
        else correlate_by(p, v, w, u, count, 16, 1);
    }
    gather_filters(p, u, p->partial + begin / run_length(p) * filters_size(p, WINOGRAD_TAPS));
}

CLVI_TARGET_AVX512 static void add_runs(void *arg, int64_t begin, int64_t end)
{
    const problem *p = arg;
    const int64_t size = filters_size(p, WINOGRAD_TAPS), runs = (p->tiles - 1) / run_length(p) + 1;
    float *dw = p->call->out_data[0];
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        __m512 sum = _mm512_loadu_ps(p->partial + i);
        for (int64_t r = 1; r < runs; r++) sum += _mm512_loadu_ps(p->partial + r * size + i);
        _mm512_storeu_ps(dw + i, sum);
    }
}

static clv_status correlate(const clvi_op_call *call)
{
    problem p = problem_of(call, &call->in[0], &call->in[1]);
    const int64_t size = filters_size(&p, WINOGRAD_TAPS);
    p.partial = call->scratch;
    p.room = p.partial + RUNS * size;
    p.room_each = (p.c + p.o) * BLOCK + filters_size(&p, WINOGRAD_POINTS);
    clvi_parallel_for(call->ctx, p.tiles, run_length(&p), correlate_run, &p);
    clvi_parallel_for(call->ctx, size, 1 << 14, add_runs, &p);
    return CLV_OK;
}

/* ---- which calls ---- */

static bool is_picture(const clvi_desc *desc)
{
    return clvi_onednn_is(desc, CLV_F32) && desc->ndim == 4 && desc->shape[1] % CLVI_LANES == 0 &&
           desc->shape[1] <= MAX_CHANNELS;
}

/* A 3x3 convolution that keeps the size of pictures; CLEAVE_CONV as in conv2d.c. */
static bool fits(const clvi_op_call *call, const clvi_desc *from, const clvi_desc *to, const clvi_desc *filters)
{
    const clvi_conv2d_attr *a = call->attr;
    const char *mode = getenv("CLEAVE_CONV");
    if (!is_picture(from) || !is_picture(to) || !clvi_onednn_is(filters, CLV_F32)) return false;
    const bool same = a->groups == 1 && a->stride[0] == 1 && a->stride[1] == 1 && a->pad[0] == 1 && a->pad[1] == 1 &&
                      filters->shape[2] == 3 && filters->shape[3] == 3;
    const bool can = clvi_onednn_is_wide() && clvi_cpu_isa() >= CLVI_ISA_AVX512;
    if (!same || !can || (mode && strcmp(mode, "direct") == 0)) return false;
    return problem_of(call, from, to).tiles >= MIN_TILES || (mode && strcmp(mode, "winograd") == 0);
}

static bool convolve_accepts(const clvi_op_call *call)
{
    return call->n_in == 2 && fits(call, &call->in[0], &call->out[0], &call->in[1]);
}

static bool correlate_accepts(const clvi_op_call *call)
{
    return call->n_in == 2 && fits(call, &call->in[0], &call->in[1], &call->out[0]);
}

static clv_status lay_out(const clvi_op_call *call, clvi_desc *picture, clvi_desc *other, clvi_desc *filters)
{
    dnnl_memory_desc_t md;
    CLV_TRY(clvi_onednn_blocked(call, picture, &md));
    clvi_onednn_export(&md, picture);
    CLV_TRY(clvi_onednn_blocked(call, other, &md));
    clvi_onednn_export(&md, other);
    CLV_TRY(clvi_onednn_blocked_filters(call, filters, &md));
    clvi_onednn_export(&md, filters);
    return CLV_OK;
}

static clv_status convolve_prepare(clvi_op_call *call)
{
    const problem p = problem_of(call, &call->in[0], &call->out[0]);
    CLV_TRY(lay_out(call, &call->in[0], &call->out[0], &call->in[1]));
    call->scratch_size = (size_t)(filters_size(&p, WINOGRAD_POINTS) + call->ctx->threads * (p.c + p.o) * BLOCK) *
                         sizeof(float);
    return CLV_OK;
}

static clv_status correlate_prepare(clvi_op_call *call)
{
    const problem p = problem_of(call, &call->in[0], &call->in[1]);
    const int64_t each = (p.c + p.o) * BLOCK + filters_size(&p, WINOGRAD_POINTS);
    CLV_TRY(lay_out(call, &call->in[0], &call->in[1], &call->out[0]));
    call->scratch_size = (size_t)(RUNS * filters_size(&p, WINOGRAD_TAPS) + call->ctx->threads * each) * sizeof(float);
    return CLV_OK;
}

#else

static bool convolve_accepts(const clvi_op_call *call)
{
    (void)call;
    return false;
}

#define correlate_accepts convolve_accepts
#define convolve_prepare  NULL
#define correlate_prepare NULL
#define convolve          NULL
#define correlate         NULL

#endif

const clvi_kernel clvi_kernel_winograd_conv2d = {
    .op = "conv2d", .name = "winograd", .accepts = convolve_accepts, .prepare = convolve_prepare, .run = convolve,
};

const clvi_kernel clvi_kernel_winograd_conv2d_bwd_data = {
    .op = "conv2d_bwd_data", .name = "winograd", .accepts = convolve_accepts, .prepare = convolve_prepare,
    .run = convolve,
};

const clvi_kernel clvi_kernel_winograd_conv2d_bwd_weights = {
    .op = "conv2d_bwd_weights", .name = "winograd", .accepts = correlate_accepts, .prepare = correlate_prepare,
    .run = correlate,
};
