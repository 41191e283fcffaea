/* fifo.c: the MoCo queue. He et al. 2020, arXiv:1911.05722, section 3.2 and algorithm 1.
 *
 * For each pushed row in order: row -> slot p, p <- (p + 1) mod K. The batch need not divide K and may exceed it: then
 * later rows overwrite earlier ones, so only the last K are stored. */
#include "memorybank/bank.h"

typedef struct fifo_params {
    clvi_bank_params base;
} fifo_params;

static const clvi_option fifo_options[] = {
    CLVI_BANK_OPTIONS(fifo_params, "random"),
    CLVI_OPTION_END
};

const clvi_bank_class clvi_bank_fifo = {
    .name = "fifo",
    .summary = "queue of the latest K rows",
    .source = "He et al. 2020, arXiv:1911.05722, section 3.2",
    .params_size = sizeof(fifo_params), .options = fifo_options,
    .push = clvi_bank_enqueue,
};
