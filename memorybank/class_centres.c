/* class_centres.c: a prototype for every class, a moving average on the sphere. Li et al. 2020, arXiv:2009.07995.
 *
 *   c_label <- n(m c_label + (1 - m) row)      for each pushed row in order; rows without a label are passed over */
#include "memorybank/bank.h"

typedef struct class_centres_params {
    clvi_bank_params base;
    double           momentum;
} class_centres_params;

static const clvi_option class_centres_options[] = {
    CLVI_BANK_OPTIONS(class_centres_params, "empty"),
    CLVI_OPTION_F64(class_centres_params, momentum, "momentum", "0.999", 0, 1, "share of the prototype that stays",
                    "m"),
    CLVI_OPTION_END
};

static clv_status class_centres_check(const clv_bank *bank, const clvi_bank_batch *batch)
{
    CLV_CHECK(batch->labels || batch->count == 0, CLV_ERR_INVALID, "clv_bank_push: class centres need labels");
    for (int64_t i = 0; i < batch->count; i++)
        CLV_CHECK(batch->labels[i] < bank->capacity, CLV_ERR_INVALID,
                  "clv_bank_push: label %" PRId64 " is %" PRId64 "; expected less than %" PRId64 ", a slot a class", i,
                  batch->labels[i], bank->capacity);
    return CLV_OK;
}

static void class_centres_push(clv_bank *bank, const clvi_bank_batch *batch)
{
    const class_centres_params *p = bank->params;
    for (int64_t i = 0; i < batch->count; i++)
        if (batch->labels[i] >= 0) clvi_bank_blend(bank, batch->labels[i], batch, i, p->momentum, true);
}

const clvi_bank_class clvi_bank_class_centres = {
    .name = "class_centres",
    .summary = "one unit prototype for every class, a moving average of its rows",
    .source = "Li et al. 2020, arXiv:2009.07995",
    .params_size = sizeof(class_centres_params), .options = class_centres_options,
    .check = class_centres_check, .push = class_centres_push,
};
