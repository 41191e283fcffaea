/* instance.c: a slot for every sample. Wu et al. 2018, arXiv:1805.01978, section 3.1.
 *
 *   v_id <- n(m v_id + (1 - m) row)      for each pushed row in order
 *
 * The paper replaces v_id (m = 0); its released code moves it with m = 0.5. */
#include "memorybank/bank.h"

typedef struct instance_params {
    clvi_bank_params base;
    double           momentum;
} instance_params;

static const clvi_option instance_options[] = {
    CLVI_BANK_OPTIONS(instance_params, "random"),
    CLVI_OPTION_F64(instance_params, momentum, "momentum", "0.5", 0, 1, "share of the slot that stays", "m"),
    CLVI_OPTION_END
};

static clv_status instance_check(const clv_bank *bank, const clvi_bank_batch *batch)
{
    CLV_CHECK(batch->ids || batch->count == 0, CLV_ERR_INVALID, "clv_bank_push: an instance bank needs ids");
    for (int64_t i = 0; i < batch->count; i++)
        CLV_CHECK(batch->ids[i] >= 0 && batch->ids[i] < bank->capacity, CLV_ERR_INVALID,
                  "clv_bank_push: id %" PRId64 " is %" PRId64 "; expected 0 to %" PRId64 ", a slot a sample", i,
                  batch->ids[i], bank->capacity - 1);
    return CLV_OK;
}

static void instance_push(clv_bank *bank, const clvi_bank_batch *batch)
{
    const instance_params *p = bank->params;
    for (int64_t i = 0; i < batch->count; i++) clvi_bank_blend(bank, batch->ids[i], batch, i, p->momentum, true);
}

const clvi_bank_class clvi_bank_instance = {
    .name = "instance",
    .summary = "one unit row for every sample, moved towards its latest features",
    .source = "Wu et al. 2018, arXiv:1805.01978, section 3.1",
    .params_size = sizeof(instance_params), .options = instance_options,
    .check = instance_check, .push = instance_push,
};
