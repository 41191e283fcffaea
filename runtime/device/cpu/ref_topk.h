/* ref_topk.h: the list of a bank's most similar rows, for the kernels that give it. */
#ifndef CLVI_DEVICE_CPU_REF_TOPK_H
#define CLVI_DEVICE_CPU_REF_TOPK_H

#include "device/cpu/ref.h"

/* Where a call has its bank and its list. */
typedef struct clvi_ref_topk {
    const clvi_op_call *call;
    int                 bank, valid;    /* inputs; ids and bank_ids follow valid; queries are input 0 */
    int                 slots;          /* outputs; scores follow */
    size_t              scratch;        /* where in the call's scratch the thread's parts begin */
} clvi_ref_topk;

size_t clvi_ref_topk_scratch(const clvi_op_call *call, int bank);
void clvi_ref_topk_run(const clvi_ref_topk *topk);

#endif
