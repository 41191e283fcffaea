/* bank.h: what a kind of memory bank is. Storage, views, files and checks are shared (bank.c, bank_file.c); a kind says
 * where pushed rows go. */
#ifndef CLVI_MEMORYBANK_BANK_H
#define CLVI_MEMORYBANK_BANK_H

#include <cleave/bank.h>
#include "core/context.h"
#include "core/h5.h"
#include "core/option.h"

/* Options of every kind; a kind's params struct begins with this. */
typedef struct clvi_bank_params {
    int64_t capacity, dim;
    int     dtype;          /* clv_dtype: CLV_F32 or CLV_F64 */
    int     init;           /* clvi_bank_init */
    int64_t seed;
} clvi_bank_params;

typedef enum clvi_bank_init { CLVI_BANK_RANDOM, CLVI_BANK_EMPTY } clvi_bank_init;

#define CLVI_BANK_OPTIONS(T)                                                                                           \
    CLVI_OPTION_I64(T, base.capacity, "capacity", "65536", 1, 1099511627776.0, "rows it holds", "K"),                  \
    CLVI_OPTION_I64(T, base.dim, "dim", "128", 1, 1048576, "values a row", "D"),                                       \
    CLVI_OPTION_CHOICE(T, base.dtype, "dtype", "float32", "float32|float64", "how rows are stored"),                   \
    CLVI_OPTION_CHOICE(T, base.init, "init", "random", "random|empty",                                                 \
                       "random unit rows that take part from the start, or rows that take part once pushed"),          \
    CLVI_OPTION_I64(T, base.seed, "seed", "0", 0, 9007199254740992.0, "of the random rows", NULL)

typedef struct clvi_bank_class {
    const char        *name;
    const char        *summary;
    const char        *source;
    size_t             params_size;
    const clvi_option *options;        /* CLVI_BANK_OPTIONS first */
    /* How many write positions the kind keeps (a ring: 1; a ring per class: one each). */
    int64_t (*cursors)(const void *params);
    /* Called before anything changes, with arguments whose shapes are right: what else the kind needs (labels, ids in
     * range). NULL: nothing. */
    clv_status (*check)(const clv_bank *bank, int64_t count, const int64_t *ids, const int64_t *labels);
    /* Stores the rows; born of the new ones is bank->pushes, already counted. ids and labels may be NULL. */
    void (*push)(clv_bank *bank, const clv_view *rows, const int64_t *ids, const int64_t *labels);
} clvi_bank_class;

#define CLV_BANK(name) extern const clvi_bank_class clvi_bank_##name;
#include "memorybank/registry.def"
#undef CLV_BANK

struct clv_bank {
    clv_context           *ctx;
    const clvi_bank_class *cls;
    void                  *params;     /* the kind's; begins with clvi_bank_params */
    clv_dtype              dtype;
    int64_t                capacity, dim, cursors;
    size_t                 rows_size;  /* bytes */
    void                  *rows;       /* [K,D] */
    uint8_t               *valid;      /* [K] */
    int64_t               *ids, *labels, *born;   /* [K] */
    int64_t               *cursor;     /* [cursors], each 0..K-1 */
    int64_t                pushes;
};

/* Copies rows [first, first + count) of `rows` to slots [slot, slot + count), marks them valid and stamps them. */
void clvi_bank_put(clv_bank *bank, int64_t slot, const clv_view *rows, int64_t first, int64_t count, const int64_t *ids,
                   const int64_t *labels);

/* A bank in a group of an HDF5 file: of its own, or of a checkpoint. Reading fills a bank of the same kind and options
 * with the same contents, bit for bit; on error it is unchanged. */
clv_status clvi_bank_write(const clv_bank *bank, clvi_h5 *h5, const char *group) CLV_NODISCARD;
clv_status clvi_bank_read(clv_bank *bank, clvi_h5 *h5, const char *group) CLV_NODISCARD;

const clvi_bank_class *clvi_bank_class_find(const char *name);

/* Memory for a bank whose contents are not set yet: all zero, nothing valid. */
clv_status clvi_bank_alloc(clv_context *ctx, const clvi_bank_class *cls, const clv_option *options, int n_options,
                           clv_bank **out) CLV_NODISCARD;

#endif
