/* beta_draw.c: numbers that follow a Beta distribution, a row of them at a time. The numbers are those of ref_draw.c to
 * the bit: the same arithmetic, in loops that become vectors. */
#include "core/rng_inline.h"
#include "device/cpu/draw.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"

#define FEW 8     /* numbers of a row that are not worth vectors */

typedef struct row {
    const clvi_draw_attr *attr;
    clvi_rng              stream;
    void                 *to;
} row;

/* Numbers c .. c+31 of a row: those of 16 counters, in the order of the counters. */
CLVI_INLINE void draw_32(const row *r, int64_t c, float inverse_alpha, float *x)
{
    uint32_t word[4][CLVI_LANES];
    float pair[2][CLVI_LANES];
    for (int i = 0; i < CLVI_LANES; i++) {
        const uint32_t counter[4] = { (uint32_t)(c / 2 + i), r->stream.counter[1], r->stream.counter[2],
                                      r->stream.counter[3] };
        uint32_t of[4];
        clvi_rng_philox(counter, r->stream.key, of);
        for (int k = 0; k < 4; k++) word[k][i] = of[k];
    }
    for (int i = 0; i < CLVI_LANES; i++) pair[0][i] = clvi_rng_beta_of(word[0][i], word[1][i], inverse_alpha);
    for (int i = 0; i < CLVI_LANES; i++) pair[1][i] = clvi_rng_beta_of(word[2][i], word[3][i], inverse_alpha);
    for (int i = 0; i < CLVI_LANES; i++) x[2 * i] = pair[0][i], x[2 * i + 1] = pair[1][i];
}

/* Numbers c .. c+n-1, n <= 32, where they belong. */
CLVI_INLINE void put(const row *r, int64_t c, int64_t n, const float *x)
{
    const double offset = r->attr->offset;
    if (r->attr->dtype == CLV_F64) for (int64_t i = 0; i < n; i++) ((double *)r->to)[c + i] = offset + (double)x[i];
    else for (int64_t i = 0; i < n; i++) ((float *)r->to)[c + i] = (float)offset + x[i];
}

CLVI_INLINE void row_body(void *arg, int64_t begin, int64_t end)
{
    const row *r = arg;
    const float inverse_alpha = (float)(1 / r->attr->alpha);
    float x[2 * CLVI_LANES];
    for (int64_t c = begin; c < end; c += 2 * CLVI_LANES) {
        draw_32(r, c, inverse_alpha, x);
        put(r, c, CLVI_MIN(end - c, 2 * CLVI_LANES), x);
    }
}
CLVI_ISA_VARIANTS(row_body)

/* Before the first step. */
static void put_ones(const row *r)
{
    for (int64_t c = 0; c < r->attr->cols; c++) {
        if (r->attr->dtype == CLV_F64) ((double *)r->to)[c] = 1;
        else ((float *)r->to)[c] = 1;
    }
}

static void draw_few(const row *r)
{
    for (int64_t c = 0; c < r->attr->cols; c += 2) {
        float pair[2];
        clvi_rng_beta_pair(&r->stream, (uint32_t)(c / 2), (float)(1 / r->attr->alpha), pair);
        put(r, c, CLVI_MIN(r->attr->cols - c, 2), pair);
    }
}

void clvi_draw_beta_row(const clvi_draw_attr *attr, int64_t step, int64_t index, void *to)
{
    row r = { attr, clvi_draw_stream(attr, step, index, 0), to };
    if (step < 0) put_ones(&r);
    else if (attr->cols <= FEW) draw_few(&r);
    else clvi_isa_pick(row_body_table)(&r, 0, attr->cols);
}

static void rows_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_draw_attr *attr = call->attr;
    const int64_t step = clvi_draw_step(attr, call->in_data[0]);
    const int64_t size = attr->cols * (int64_t)clv_dtype_size(call->out[0].dtype);
    for (int64_t i = begin; i < end; i++)
        clvi_draw_beta_row(attr, step, i, (char *)call->out_data[0] + i * size);
}

static bool any_type(const clvi_op_call *call)
{
    (void)call;
    return true;
}

static clv_status beta_draw(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->out[0].shape[0], 16, rows_range, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_beta_draw = {
    .op = "beta_draw", .name = "cpu", .accepts = any_type, .run = beta_draw,
};
