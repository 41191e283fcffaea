/* fault.c: the messages of faults, the same words as the CPU's. */
#include "device/cuda/fault.h"

_Static_assert(sizeof(clvi_cuda_fault) == CLVI_FAULT_SIZE, "device/tape.c fetches a fault whole");

static const char *const messages[CLVI_FAULT_COUNT] = {
    [CLVI_FAULT_XENT_TARGET] = "softmax_xent: target of row %" PRId64 " is %" PRId64 ", want less than %" PRId64,
    [CLVI_FAULT_ONE_HOT_LABEL] = "one_hot: label %" PRId64 " is %" PRId64 ", want less than %" PRId64,
    [CLVI_FAULT_PICK_INDEX] = "pick: index of row %" PRId64 " is %" PRId64 ", want less than %" PRId64,
    [CLVI_FAULT_PUT_INDEX] = "put: index of row %" PRId64 " is %" PRId64 ", want less than %" PRId64,
    [CLVI_FAULT_GATHER_INDEX] = "gather_rows: index %" PRId64 " is %" PRId64 ", want less than %" PRId64,
    [CLVI_FAULT_MARGIN_LABEL] = "target_margin: label of row %" PRId64 " is %" PRId64 ", want less than %" PRId64,
};

clv_status clvi_cuda_fault_status(const clvi_cuda_fault *fault)
{
    if (fault->kind == CLVI_FAULT_NONE) return CLV_OK;
    if (fault->kind < 0 || fault->kind >= CLVI_FAULT_COUNT)
        return clvi_fail(CLV_ERR_INTERNAL, "a kernel left a fault nobody knows, %d", fault->kind);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return clvi_fail(CLV_ERR_INVALID, messages[fault->kind], fault->value[0], fault->value[1], fault->value[2]);
#pragma GCC diagnostic pop
}
