/* bank.h: memory banks: rows kept from earlier batches, with ids, labels and ages. docs/memorybanks.md */
#ifndef CLEAVE_BANK_H
#define CLEAVE_BANK_H

#include <cleave/base.h>
#include <cleave/option.h>
#include <cleave/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One bank. Threads: one call at a time per bank; different banks are independent. */
typedef struct clv_bank clv_bank;

/* ---- which kinds there are; static storage, thread-safe ---- */

/* How many kinds there are. */
CLV_API int clv_bank_kind_count(void);
/* Index of a kind by name ("fifo"), or -1. */
CLV_API int clv_bank_kind_find(const char *name);
/* False past the end. */
CLV_API bool clv_bank_kind_at(int kind, clv_class_info *out);
/* Option `index` of a kind. False past the end. */
CLV_API bool clv_bank_kind_option(int kind, int index, clv_option_info *out);

/* ---- one bank ---- */

/* A bank of the kind `kind`. Every kind has the options `capacity` (K, rows) and `dim` (D, values a row); the others
 * are in its table: clv_bank_create(ctx, "fifo", (clv_option[]) { { "capacity", "65536" }, { "dim", "128" } }, 2,
 * &bank). All memory is allocated here. Errors: CLV_ERR_INVALID (no such kind or option, a value out of range),
 * CLV_ERR_NOMEM. *out is NULL on error. */
CLV_API clv_status clv_bank_create(clv_context *ctx, const char *kind, const clv_option *options, int n_options,
                                   clv_bank **out) CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_bank_destroy(clv_bank *bank);

/* Adds rows in order, as the kind says: fifo and labelled overwrite the oldest (the write position wraps; count may
 * exceed K), instance and class_centres move the slot of each row's id or label, repulsor does either in a ring.
 *
 *   rows    [count, D] host memory of any float type and any strides; copied and converted. fifo and labelled store
 *           them as given (normalise first where the loss works on unit rows), the others scale to unit length.
 *   ids     count sample ids >= 0, or NULL (-1 is stored): lets a loss leave out a query's own earlier rows. instance
 *           needs them, each below K.
 *   labels  count class ids, or NULL (-1 is stored). labelled and class_centres need them (-1: unknown), class_centres
 *           each below K.
 *
 * Errors: CLV_ERR_SHAPE if rows is not [*, D] floats; CLV_ERR_INVALID for ids and labels; CLV_ERR_NUMERIC if a value is
 * not finite in the bank's type. On error the bank is unchanged. Allocates nothing. Sources: docs/memorybanks.md. */
CLV_API clv_status clv_bank_push(clv_bank *bank, const clv_view *rows, const int64_t *ids, const int64_t *labels)
    CLV_NODISCARD;

/* What is in it, as dense views that stay at the same address for the bank's life: a graph binds them once. Borrowed;
 * contents change with clv_bank_push. Reading only. On a device graphs have a copy of them, which a push brings up to date;
 * the bank must outlive their runs. */
CLV_API clv_view clv_bank_rows(const clv_bank *bank);     /* [K,D] of the option dtype */
CLV_API clv_view clv_bank_valid(const clv_bank *bank);    /* [K] uint8: 1 where the row takes part */
CLV_API clv_view clv_bank_ids(const clv_bank *bank);      /* [K] int64, -1 where none was given */
CLV_API clv_view clv_bank_labels(const clv_bank *bank);   /* [K] int64, -1 where none was given */
CLV_API clv_view clv_bank_born(const clv_bank *bank);     /* [K] int64: clv_bank_pushes() after the push that wrote the
                                                             row, 0 for initial rows; age = clv_bank_pushes() - born */
CLV_API const char *clv_bank_kind(const clv_bank *bank);  /* static storage */
CLV_API int64_t clv_bank_capacity(const clv_bank *bank);
CLV_API int64_t clv_bank_dim(const clv_bank *bank);
CLV_API int64_t clv_bank_pointer(const clv_bank *bank);   /* where the next row goes */
CLV_API int64_t clv_bank_pushes(const clv_bank *bank);    /* calls of clv_bank_push so far */

/* Health of the valid rows. Means are 0 when there is none. */
typedef struct clv_bank_statistics {
    int64_t valid;                          /* rows that take part */
    double  fill;                           /* valid / K */
    double  age_mean, age_max;              /* in pushes */
    double  norm_mean, norm_min, norm_max;  /* L2 norms of rows */
    double  mean_norm;                      /* L2 norm of the mean row: 1 when unit rows have collapsed to one point */
    int64_t replaced;                       /* rows of earlier pushes that the last push changed or overwrote */
    double  drift;                          /* mean cosine between each of those and what took its place; 0 when none.
                                               Both count from the last push of this process */
} clv_bank_statistics;
CLV_API clv_status clv_bank_stats(const clv_bank *bank, clv_bank_statistics *out) CLV_NODISCARD;

/* For every query the k valid rows with the largest dot product, best first, ties to the lower index; exact, sums in
 * float64. index [B,k] gets slots (-1 where there are fewer than k valid rows), score [B,k] their dot products (0
 * there); either may be NULL. queries: [B,D] host floats. Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (k < 1 or > K),
 * CLV_ERR_NOMEM. */
CLV_API clv_status clv_bank_search(const clv_bank *bank, const clv_view *queries, int64_t k, int64_t *index,
                                   double *score) CLV_NODISCARD;

/* Which rows are positives and which negatives of a batch, for losses that take masks: a positive has the query's
 * label, a negative another one; rows that take no part, have no label, or are the query's own sample (equal ids >= 0)
 * are neither.
 *
 *   ids, labels         count of each; ids may be NULL. A query with label -1 has no pairs
 *   positive, negative  uint8 [count, K] of any strides, or NULL
 *
 * Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID. Source: Wang et al. 2020, arXiv:1912.06798, section 3.2. */
CLV_API clv_status clv_bank_pairs(const clv_bank *bank, int64_t count, const int64_t *ids, const int64_t *labels,
                                  const clv_view *positive, const clv_view *negative) CLV_NODISCARD;

/* Writes everything (kind, options, rows, ids, labels, ages, position) to one file, which appears whole or not at all.
 * Errors: CLV_ERR_IO; the file that was there before is then intact. */
CLV_API clv_status clv_bank_save(const clv_bank *bank, const char *path) CLV_NODISCARD;
/* A bank equal to the one saved, bit for bit. Errors: CLV_ERR_IO; CLV_ERR_FORMAT naming the file and what is wrong with
 * it; CLV_ERR_NOMEM. *out is NULL on error. */
CLV_API clv_status clv_bank_load(clv_context *ctx, const char *path, clv_bank **out) CLV_NODISCARD;

/* ---- several banks, saved together ---- */

/* Banks with names, at most 256. Threads: one call at a time per set; its banks are independent. */
typedef struct clv_bank_set clv_bank_set;

/* An empty set. */
CLV_API clv_status clv_bank_set_create(clv_context *ctx, clv_bank_set **out) CLV_NODISCARD;
/* Destroys its banks, too. NULL is accepted. */
CLV_API void clv_bank_set_destroy(clv_bank_set *set);
/* Makes a bank as clv_bank_create does. The set owns it; *bank (may be NULL) is borrowed and lives as long as the set.
 * Errors: those of clv_bank_create; CLV_ERR_INVALID for a name that is taken or is not 1 to 63 letters, digits, '-' and
 * '_'. On error the set is unchanged. */
CLV_API clv_status clv_bank_set_add(clv_bank_set *set, const char *name, const char *kind, const clv_option *options,
                                    int n_options, clv_bank **bank) CLV_NODISCARD;
CLV_API int64_t clv_bank_set_count(const clv_bank_set *set);
/* Names in byte order; NULL past the end. Borrowed until the next clv_bank_set_add. */
CLV_API const char *clv_bank_set_name(const clv_bank_set *set, int64_t index);
/* NULL when there is none of that name. Borrowed. */
CLV_API clv_bank *clv_bank_set_find(const clv_bank_set *set, const char *name);
/* All banks in one file, which appears whole or not at all: what is loaded belongs together. Errors as for one bank. */
CLV_API clv_status clv_bank_set_save(const clv_bank_set *set, const char *path) CLV_NODISCARD;
CLV_API clv_status clv_bank_set_load(clv_context *ctx, const char *path, clv_bank_set **out) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
