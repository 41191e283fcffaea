/* label_numbers.h: labels, any numbers, told apart: each row gets the first row with its label, by open addressing. */
#ifndef CLVI_DEVICE_CPU_LABEL_NUMBERS_H
#define CLVI_DEVICE_CPU_LABEL_NUMBERS_H

#include <stdint.h>
#include <string.h>

/* Slots the table needs for n rows: a power of 2. */
static inline int64_t clvi_label_slots(int64_t n)
{
    int64_t slots = 16;
    while (slots < 2 * n) slots *= 2;
    return slots;
}

/* first[i] for n rows; row i has label i % period. table: clvi_label_slots(n). */
static inline void clvi_label_numbers(const int64_t *labels, int64_t n, int64_t period, int32_t *table, int32_t *first)
{
    const int64_t slots = clvi_label_slots(n);
    memset(table, 0xff, (size_t)slots * sizeof *table);
    for (int64_t i = 0, at = 0; i < n; i++, at = at + 1 < period ? at + 1 : 0) {
        const int64_t label = labels[at];
        uint64_t place = (uint64_t)label * UINT64_C(0x9e3779b97f4a7c15) >> 20;
        for (;; place++) {
            int32_t *slot = &table[place & (uint64_t)(slots - 1)];
            if (*slot < 0) *slot = (int32_t)i;
            if (labels[*slot % period] != label) continue;
            first[i] = *slot;
            break;
        }
    }
}

#endif
