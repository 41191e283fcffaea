/* bank_rows.c: rows in and out of the slots of a bank, and how far what comes differs from what was there. */
#include "memorybank/bank.h"
#include "core/checked.h"
#include <float.h>
#include <math.h>

void clvi_bank_set_value(clv_bank *bank, int64_t i, double value)
{
    switch (bank->dtype) {
    case CLV_F64: ((double *)bank->rows)[i] = value; break;
    case CLV_BF16: ((uint16_t *)bank->rows)[i] = clvi_bf16_round(value); break;
    default: ((float *)bank->rows)[i] = (float)value; break;
    }
}

double clvi_bank_limit(const clv_bank *bank)
{
    return bank->dtype == CLV_F64 ? DBL_MAX : bank->dtype == CLV_BF16 ? 0x1.fep127 : (double)FLT_MAX;
}

double *clvi_bank_take(clv_bank *bank, const clv_view *rows, int64_t i)
{
    const char *from = (const char *)rows->data + i * rows->stride[0] * (int64_t)clv_dtype_size(rows->dtype);
    const int64_t step = rows->stride[1];
    for (int64_t d = 0; d < bank->dim; d++) {
        if (rows->dtype == CLV_F64) bank->row[d] = ((const double *)(const void *)from)[d * step];
        else if (rows->dtype == CLV_F32) bank->row[d] = (double)((const float *)(const void *)from)[d * step];
        else bank->row[d] = (double)clvi_bf16_value(((const uint16_t *)(const void *)from)[d * step]);
    }
    return bank->row;
}

/* Cosine between a slot and the row on its way there; 0 where one of them is zero. */
static double cosine(const clv_bank *bank, int64_t slot)
{
    double dot = 0, old = 0, fresh = 0;
    for (int64_t d = 0; d < bank->dim; d++) {
        const double a = clvi_bank_value(bank, slot * bank->dim + d), b = bank->row[d];
        dot += a * b;
        old += a * a;
        fresh += b * b;
    }
    return old > 0 && fresh > 0 ? dot / (sqrt(old) * sqrt(fresh)) : 0;
}

/* bank->row goes into the slot, as row i of the batch. */
static void store(clv_bank *bank, int64_t slot, const clvi_bank_batch *batch, int64_t i)
{
    if (bank->born[slot] > 0) {
        bank->cosines += cosine(bank, slot);
        bank->replaced++;
    }
    for (int64_t d = 0; d < bank->dim; d++) clvi_bank_set_value(bank, slot * bank->dim + d, bank->row[d]);
    bank->valid[slot] = 1;
    bank->ids[slot] = clvi_bank_id(batch, i);
    bank->labels[slot] = clvi_bank_label(batch, i);
    bank->born[slot] = bank->pushes;
    clvi_bank_touch(bank, slot, 1);
}

void clvi_bank_put(clv_bank *bank, int64_t slot, const clvi_bank_batch *batch, int64_t i)
{
    (void)clvi_bank_take(bank, batch->rows, i);
    store(bank, slot, batch, i);
}

/* To length 1; through the largest value, so that squares neither overflow nor vanish. */
static void make_unit(double *row, int64_t dim)
{
    double largest = 0, sum = 0;
    for (int64_t d = 0; d < dim; d++) largest = fmax(largest, fabs(row[d]));
    if (largest == 0) return;
    for (int64_t d = 0; d < dim; d++) {
        row[d] /= largest;
        sum += row[d] * row[d];
    }
    for (int64_t d = 0; d < dim; d++) row[d] /= sqrt(sum);
}

void clvi_bank_blend(clv_bank *bank, int64_t slot, const clvi_bank_batch *batch, int64_t i, double momentum, bool unit)
{
    double *row = clvi_bank_take(bank, batch->rows, i);
    for (int64_t d = 0; bank->valid[slot] && d < bank->dim; d++)
        row[d] = momentum * clvi_bank_value(bank, slot * bank->dim + d) + (1 - momentum) * row[d];
    if (unit) make_unit(row, bank->dim);
    store(bank, slot, batch, i);
}

int64_t clvi_bank_next(clv_bank *bank)
{
    const int64_t slot = bank->cursor;
    bank->cursor = (slot + 1) % bank->capacity;
    return slot;
}

void clvi_bank_enqueue(clv_bank *bank, const clvi_bank_batch *batch)
{
    const int64_t first = CLVI_MAX(batch->count - bank->capacity, 0);   /* earlier rows would be overwritten at once */
    bank->cursor = (bank->cursor + first % bank->capacity) % bank->capacity;
    for (int64_t i = first; i < batch->count; i++) clvi_bank_put(bank, clvi_bank_next(bank), batch, i);
}
