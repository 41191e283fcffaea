/* bank.h: what a kind of memory bank is. Storage, views, files and checks are shared (bank*.c); a kind says where
 * pushed rows go and what they become there. */
#ifndef CLVI_MEMORYBANK_BANK_H
#define CLVI_MEMORYBANK_BANK_H

#include <cleave/bank.h>
#include "core/bf16.h"
#include "core/context.h"
#include "core/h5.h"
#include "core/option.h"
#include "device/rows.h"

/* Options of every kind; a kind's params struct begins with this. */
typedef struct clvi_bank_params {
    int64_t capacity, dim;
    int     dtype;          /* clv_dtype: CLV_F32, CLV_F64 or CLV_BF16 */
    int     init;           /* clvi_bank_init */
    int64_t seed;
} clvi_bank_params;

typedef enum clvi_bank_init { CLVI_BANK_RANDOM, CLVI_BANK_EMPTY } clvi_bank_init;

/* INIT: how the kind starts unless told otherwise. */
#define CLVI_BANK_OPTIONS(T, INIT)                                                                                     \
    CLVI_OPTION_I64(T, base.capacity, "capacity", "65536", 1, 1099511627776.0, "rows it holds", "K"),                  \
    CLVI_OPTION_I64(T, base.dim, "dim", "128", 1, 1048576, "values a row", "D"),                                       \
    CLVI_OPTION_CHOICE(T, base.dtype, "dtype", "float32", "float32|float64|bfloat16", "how rows are stored"),          \
    CLVI_OPTION_CHOICE(T, base.init, "init", INIT, "random|empty",                                                     \
                       "random unit rows that take part from the start, or rows that take part once pushed"),          \
    CLVI_OPTION_I64(T, base.seed, "seed", "0", 0, 9007199254740992.0, "of the random rows", NULL)

/* What one push brings; shapes and numbers are checked. */
typedef struct clvi_bank_batch {
    const clv_view *rows;              /* [count,D] */
    int64_t         count;
    const int64_t  *ids, *labels;      /* each may be NULL */
} clvi_bank_batch;

static inline int64_t clvi_bank_id(const clvi_bank_batch *b, int64_t i) { return b->ids ? b->ids[i] : -1; }
static inline int64_t clvi_bank_label(const clvi_bank_batch *b, int64_t i) { return b->labels ? b->labels[i] : -1; }

typedef struct clvi_bank_class {
    const char        *name;
    const char        *summary;
    const char        *source;
    size_t             params_size;
    const clvi_option *options;        /* CLVI_BANK_OPTIONS first */
    /* Called before anything changes: what else the kind needs (labels, ids in range). NULL: nothing. */
    clv_status (*check)(const clv_bank *bank, const clvi_bank_batch *batch);
    /* Stores the rows; bank->pushes already counts this push. */
    void (*push)(clv_bank *bank, const clvi_bank_batch *batch);
    /* What a device must know of it that pushes rows itself. NULL: they go round the ring as they are, or, in kinds
     * without a ring, a device does not push. */
    void (*ring)(const clv_bank *bank, clvi_ring *out);
} clvi_bank_class;

#define CLV_BANK(name) extern const clvi_bank_class clvi_bank_##name;
#include "memorybank/registry.def"
#undef CLV_BANK

struct clv_bank {
    clv_context           *ctx;
    const clvi_bank_class *cls;
    void                  *params;     /* the kind's; begins with clvi_bank_params */
    clv_dtype              dtype;
    int64_t                capacity, dim;
    size_t                 rows_size;  /* bytes */
    void                  *rows;       /* [K,D] */
    uint8_t               *valid;      /* [K] */
    int64_t               *ids, *labels, *born;   /* [K] */
    int64_t                cursor;     /* where a ring writes next, 0..K-1; stays 0 in kinds without */
    int64_t                pushes;
    struct clvi_shadow    *shadow[4];  /* of rows, valid, ids, labels on the context's device; NULL: there is none */
    bool                   behind;     /* what is pushed lies in the device's copy already */
    double                *row;        /* [D] the row on its way in */
    int64_t                replaced;   /* by the last push: rows that an earlier push had written, */
    double                 cosines;    /* and the sum of their cosines with what replaced them */
};

/* ---- bank.c ---- */

const clvi_bank_class *clvi_bank_class_find(const char *name);

/* Memory for a bank whose contents are not set yet: all zero, nothing valid. */
clv_status clvi_bank_alloc(clv_context *ctx, const clvi_bank_class *cls, const clv_option *options, int n_options,
                           clv_bank **out) CLV_NODISCARD;

/* `rows` is [*,D] floats in host memory; `call` opens messages. */
clv_status clvi_bank_check_rows(const clv_bank *bank, const char *call, const clv_view *rows) CLV_NODISCARD;

/* Where the copy of its rows is on the context's device. */
void clvi_bank_ring(const clv_bank *bank, clvi_ring *out);
/* clv_bank_push of rows that were put into that copy before (clvi_rows_enqueue). */
clv_status clvi_bank_push_behind(clv_bank *bank, const clv_view *rows, const int64_t *ids, const int64_t *labels)
    CLV_NODISCARD;

/* Slots [first, first + count) have changed. */
void clvi_bank_touch(clv_bank *bank, int64_t first, int64_t count);

/* ---- bank_rows.c: rows in and out of slots ---- */

/* Value i of the dense [K,D]. */
static inline double clvi_bank_value(const clv_bank *bank, int64_t i)
{
    switch (bank->dtype) {
    case CLV_F64: return ((const double *)bank->rows)[i];
    case CLV_BF16: return (double)clvi_bf16_value(((const uint16_t *)bank->rows)[i]);
    default: return (double)((const float *)bank->rows)[i];
    }
}
void clvi_bank_set_value(clv_bank *bank, int64_t i, double value);
/* The largest value the bank's type holds. */
double clvi_bank_limit(const clv_bank *bank);

/* Row i of a [*,D] view, as double; good until the next call. */
double *clvi_bank_take(clv_bank *bank, const clv_view *rows, int64_t i);

/* Row i of the batch goes into a slot as it is. */
void clvi_bank_put(clv_bank *bank, int64_t slot, const clvi_bank_batch *batch, int64_t i);
/* The slot moves towards row i: momentum slot + (1 - momentum) row; a slot that takes no part yet becomes the row.
 * `unit`: the result is scaled to length 1; zeros stay zeros. */
void clvi_bank_blend(clv_bank *bank, int64_t slot, const clvi_bank_batch *batch, int64_t i, double momentum, bool unit);

/* The next slot of the ring, whose write position moves on by one. */
int64_t clvi_bank_next(clv_bank *bank);
/* The whole batch into the ring, as it is. */
void clvi_bank_enqueue(clv_bank *bank, const clvi_bank_batch *batch);

/* ---- bank_file.c ---- */

/* A bank in a group of an HDF5 file: of its own, or of a checkpoint. Reading fills a bank of the same kind and options
 * with the same contents, bit for bit; on error it is unchanged. Loading makes the bank that is described there. */
clv_status clvi_bank_write(const clv_bank *bank, clvi_h5 *h5, const char *group) CLV_NODISCARD;
clv_status clvi_bank_read(clv_bank *bank, clvi_h5 *h5, const char *group) CLV_NODISCARD;
clv_status clvi_bank_load(clv_context *ctx, clvi_h5 *h5, const char *group, clv_bank **out) CLV_NODISCARD;
/* A status from reading a file, as loading reports it: options out of range are the file's fault; the path is told. */
clv_status clvi_bank_file_status(clv_status status, const char *path) CLV_NODISCARD;

#endif
