/* repulsor.c: projected features that new ones are to keep away from, after Zhang et al. 2025, arXiv:2512.08648. What
 * the repulsor loss gives out as `projected` is what to push.
 *
 * For each pushed row h in order, with slot p of the ring: fifo: m_p <- h; ema: m_p <- m m_p + (1 - m) h; then
 * p <- (p + 1) mod K. With `normalize` m_p is scaled to unit length. */
#include "memorybank/bank.h"

enum { FIFO, EMA };

typedef struct repulsor_params {
    clvi_bank_params base;
    int              update;
    double           momentum;
    bool             normalize;
} repulsor_params;

static const clvi_option repulsor_options[] = {
    CLVI_BANK_OPTIONS(repulsor_params, "empty"),
    CLVI_OPTION_CHOICE(repulsor_params, update, "update", "fifo", "fifo|ema",
                       "a row replaces what is in its slot, or moves it"),
    CLVI_OPTION_F64(repulsor_params, momentum, "momentum", "0.9", 0, 1, "ema: share of the slot that stays", "m"),
    CLVI_OPTION_BOOL(repulsor_params, normalize, "normalize", "true", "scale what is stored to unit length"),
    CLVI_OPTION_END
};

static void repulsor_ring(const clv_bank *bank, clvi_ring *out)
{
    const repulsor_params *p = bank->params;
    out->blends = true;
    out->momentum = p->update == EMA ? p->momentum : 0;
    out->unit = p->normalize;
}

static void repulsor_push(clv_bank *bank, const clvi_bank_batch *batch)
{
    clvi_ring ring;
    repulsor_ring(bank, &ring);
    for (int64_t i = 0; i < batch->count; i++)
        clvi_bank_blend(bank, clvi_bank_next(bank), batch, i, ring.momentum, ring.unit);
}

const clvi_bank_class clvi_bank_repulsor = {
    .name = "repulsor",
    .summary = "ring of projected features, replaced or moved",
    .source = "after Zhang et al. 2025, arXiv:2512.08648",
    .params_size = sizeof(repulsor_params), .options = repulsor_options,
    .push = repulsor_push, .ring = repulsor_ring,
};
