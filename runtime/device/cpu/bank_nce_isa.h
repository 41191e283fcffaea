/* bank_nce_isa.h: what bank_nce.c does to one tile of a bank, for each instruction set. */
#ifndef CLVI_DEVICE_CPU_BANK_NCE_ISA_H
#define CLVI_DEVICE_CPU_BANK_NCE_ISA_H

#include "device/cpu/topk.h"
#include <stdbool.h>

#define CLVI_BANK_MAX_PANEL 48        /* keys of the widest panel */

/* What is packed: a float, or a pair of bfloat16. */
typedef uint32_t clvi_bank_word __attribute__((may_alias));

/* What a query has seen of its segment. */
typedef struct clvi_bank_running {
    double sum;      /* of e^{score - max} */
    float  max;      /* -inf before the first key that counts */
} clvi_bank_running;

/* For products and lists see bank_nce_tile.h. Weighing makes scores e^{score - max}: see weigh_body. */
typedef struct clvi_bank_isa {
    int64_t queries, keys;   /* of a score tile */
    bool    pairs;           /* words are pairs of bfloat16 */
    void (*pack)(const clvi_bank_word *rows, int64_t stride, int64_t count, int64_t words, int64_t width,
                 clvi_bank_word *to);
    void (*scores)(const float *query, const float *panel, int64_t dim, float *score, int64_t stride);
    void (*accumulate)(const float *weight, int64_t weight_stride, const float *row, int64_t row_stride, int64_t count,
                       float *acc, int64_t acc_stride, int64_t columns);
    void (*weigh)(float *score, int64_t count, const int32_t *keep, bool constant, clvi_bank_running *r, float *acc,
                  int64_t columns);
    void (*list)(const float *score, int64_t count, const int32_t *keep, int64_t first, clvi_topk *list);
} clvi_bank_isa;

/* pairs: the bank's rows are to be multiplied as bfloat16, where that can be. */
const clvi_bank_isa *clvi_bank_isa_pick(bool pairs);

#endif
