/* fifo.c: the MoCo queue. He et al. 2020, arXiv:1911.05722, section 3.2 and algorithm 1.
 *
 * For each pushed row in order: row -> slot p, p <- (p + 1) mod K. The batch need not divide K and may exceed it: then
 * later rows overwrite earlier ones, so only the last K are stored. */
#include "memorybank/bank.h"
#include "core/checked.h"

typedef struct fifo_params {
    clvi_bank_params base;
} fifo_params;

static const clvi_option fifo_options[] = {
    CLVI_BANK_OPTIONS(fifo_params),
    CLVI_OPTION_END
};

static int64_t fifo_cursors(const void *params)
{
    (void)params;
    return 1;
}

static void fifo_push(clv_bank *bank, const clv_view *rows, const int64_t *ids, const int64_t *labels)
{
    const int64_t K = bank->capacity, count = rows->shape[0];
    int64_t p = bank->cursor[0];
    int64_t first = CLVI_MAX(count - K, 0);
    p = (p + first % K) % K;
    while (first < count) {
        const int64_t run = CLVI_MIN(count - first, K - p);
        clvi_bank_put(bank, p, rows, first, run, ids, labels);
        first += run;
        p = (p + run) % K;
    }
    bank->cursor[0] = p;
}

const clvi_bank_class clvi_bank_fifo = {
    .name = "fifo",
    .summary = "queue of the latest K rows",
    .source = "He et al. 2020, arXiv:1911.05722, section 3.2",
    .params_size = sizeof(fifo_params), .options = fifo_options,
    .cursors = fifo_cursors, .push = fifo_push,
};
