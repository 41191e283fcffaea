/* labelled.c: cross-batch memory. Wang et al. 2020, arXiv:1912.06798, section 3.2 and algorithm 1.
 *
 * A queue as in fifo.c, in which each row has the class of its sample; clv_bank_pairs tells which rows are positives
 * and which negatives of a batch. */
#include "memorybank/bank.h"

typedef struct labelled_params {
    clvi_bank_params base;
} labelled_params;

static const clvi_option labelled_options[] = {
    CLVI_BANK_OPTIONS(labelled_params, "empty"),
    CLVI_OPTION_END
};

static clv_status labelled_check(const clv_bank *bank, const clvi_bank_batch *batch)
{
    (void)bank;
    CLV_CHECK(batch->labels, CLV_ERR_INVALID, "clv_bank_push: a labelled bank needs labels (-1: unknown)");
    return CLV_OK;
}

const clvi_bank_class clvi_bank_labelled = {
    .name = "labelled",
    .summary = "queue of the latest K rows with their classes: cross-batch memory",
    .source = "Wang et al. 2020, arXiv:1912.06798, section 3.2",
    .params_size = sizeof(labelled_params), .options = labelled_options,
    .check = labelled_check, .push = clvi_bank_enqueue,
};
