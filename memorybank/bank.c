/* bank.c: memory banks: registry, storage, pushing, views. */
#include "memorybank/bank.h"
#include "core/checked.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "device/shadow.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 46)   /* more than any machine addresses */

/* ---- registry ---- */

static const clvi_bank_class *const classes[] = {
#define CLV_BANK(name) &clvi_bank_##name,
#include "memorybank/registry.def"
#undef CLV_BANK
};

int clv_bank_kind_count(void)
{
    return (int)CLVI_COUNT(classes);
}

int clv_bank_kind_find(const char *name)
{
    for (int i = 0; name && i < clv_bank_kind_count(); i++)
        if (clvi_name_equal(classes[i]->name, name)) return i;
    return -1;
}

bool clv_bank_kind_at(int kind, clv_class_info *out)
{
    if (kind < 0 || kind >= clv_bank_kind_count()) return false;
    const clvi_bank_class *cls = classes[kind];
    *out = (clv_class_info) { cls->name, cls->summary, cls->source, clvi_option_count(cls->options) };
    return true;
}

bool clv_bank_kind_option(int kind, int index, clv_option_info *out)
{
    clv_class_info info;
    if (!clv_bank_kind_at(kind, &info) || index < 0 || index >= info.option_count) return false;
    *out = classes[kind]->options[index].info;
    return true;
}

const clvi_bank_class *clvi_bank_class_find(const char *name)
{
    const int i = clv_bank_kind_find(name);
    return i < 0 ? NULL : classes[i];
}

static clv_status fail_unknown_kind(const char *kind)
{
    const char *names[CLVI_COUNT(classes) + 1] = { NULL };
    for (size_t i = 0; i < CLVI_COUNT(classes); i++) names[i] = classes[i]->name;
    const char *near = clv_nearest_name(kind, names);
    return near ? clvi_fail(CLV_ERR_INVALID, "bank: no kind '%.64s'; did you mean '%s'?", kind, near)
                : clvi_fail(CLV_ERR_INVALID, "bank: no kind '%.64s'", kind);
}

/* ---- storage ---- */

/* What graphs read lies on a device, too. */
static clv_status alloc_shadows(clv_bank *bank)
{
    const int64_t K = bank->capacity;
    CLV_TRY(clvi_shadow_create(bank->ctx, bank->rows, K, (size_t)bank->dim * clv_dtype_size(bank->dtype),
                               &bank->shadow[0]));
    CLV_TRY(clvi_shadow_create(bank->ctx, bank->valid, K, 1, &bank->shadow[1]));
    CLV_TRY(clvi_shadow_create(bank->ctx, bank->ids, K, sizeof *bank->ids, &bank->shadow[2]));
    return clvi_shadow_create(bank->ctx, bank->labels, K, sizeof *bank->labels, &bank->shadow[3]);
}

void clvi_bank_touch(clv_bank *bank, int64_t first, int64_t count)
{
    for (int i = 0; i < 4 && !bank->behind; i++) clvi_shadow_touch(bank->shadow[i], first, count);
}

static clv_status alloc_rows(clv_bank *bank)
{
    const clvi_bank_params *p = bank->params;
    bank->capacity = p->capacity;
    bank->dim = p->dim;
    bank->dtype = (clv_dtype)p->dtype;
    const size_t K = (size_t)p->capacity;
    const bool fits = clvi_mul_size(K, (size_t)p->dim, &bank->rows_size) &&
                      clvi_mul_size(bank->rows_size, clv_dtype_size(bank->dtype), &bank->rows_size) &&
                      bank->rows_size <= MAX_BYTES;
    CLV_CHECK(fits, CLV_ERR_NOMEM, "bank '%s': %" PRId64 " rows of %" PRId64 " values do not fit into memory",
              bank->cls->name, p->capacity, p->dim);
    bank->rows = clvi_arena_alloc(bank->ctx, bank->rows_size);
    bank->valid = clvi_calloc(bank->ctx, K, 1);
    bank->ids = clvi_calloc(bank->ctx, K, sizeof *bank->ids);
    bank->labels = clvi_calloc(bank->ctx, K, sizeof *bank->labels);
    bank->born = clvi_calloc(bank->ctx, K, sizeof *bank->born);
    bank->row = clvi_calloc(bank->ctx, (size_t)p->dim, sizeof *bank->row);
    const bool all = bank->rows && bank->valid && bank->ids && bank->labels && bank->born && bank->row;
    return all ? alloc_shadows(bank) : CLV_ERR_NOMEM;
}

clv_status clvi_bank_alloc(clv_context *ctx, const clvi_bank_class *cls, const clv_option *options, int n_options,
                           clv_bank **out)
{
    clv_status st = CLV_OK;
    char what[64];
    clv_bank *bank = clvi_calloc(ctx, 1, sizeof *bank);
    if (!bank) return CLV_ERR_NOMEM;
    bank->ctx = ctx;
    bank->cls = cls;
    snprintf(what, sizeof what, "bank '%s'", cls->name);
    bank->params = clvi_calloc(ctx, 1, cls->params_size);
    st = bank->params ? CLV_OK : CLV_ERR_NOMEM;
    if (st == CLV_OK) st = clvi_options_parse(cls->options, bank->params, what, options, n_options);
    if (st == CLV_OK) st = alloc_rows(bank);
    if (st != CLV_OK) {
        clv_bank_destroy(bank);
        return st;
    }
    *out = bank;
    return CLV_OK;
}

void clv_bank_destroy(clv_bank *bank)
{
    if (!bank) return;
    for (int i = 0; i < 4; i++) clvi_shadow_destroy(bank->shadow[i]);
    clvi_arena_free(bank->ctx, bank->rows, bank->rows_size);
    clvi_free(bank->ctx, bank->valid);
    clvi_free(bank->ctx, bank->ids);
    clvi_free(bank->ctx, bank->labels);
    clvi_free(bank->ctx, bank->born);
    clvi_free(bank->ctx, bank->row);
    clvi_free(bank->ctx, bank->params);
    clvi_free(bank->ctx, bank);
}

/* Gaussian rows of unit length: uniform on the sphere. Row i depends on (seed, i) only. */
static void random_rows(void *arg, int64_t begin, int64_t end)
{
    clv_bank *bank = arg;
    const clvi_bank_params *p = bank->params;
    const int64_t D = bank->dim;
    for (int64_t i = begin; i < end; i++) {
        double sum = 0;
        clvi_rng rng = clvi_rng_make((uint64_t)p->seed, CLVI_RNG_BANK, 0, (uint64_t)i, 0);
        for (int64_t j = 0; j < D; j++) {
            const double x = clvi_rng_normal(&rng);
            sum += x * x;
        }
        const double scale = sum > 0 ? 1 / sqrt(sum) : 0;
        rng = clvi_rng_make((uint64_t)p->seed, CLVI_RNG_BANK, 0, (uint64_t)i, 0);   /* the same numbers again */
        for (int64_t j = 0; j < D; j++) clvi_bank_set_value(bank, i * D + j, clvi_rng_normal(&rng) * scale);
    }
}

clv_status clv_bank_create(clv_context *ctx, const char *kind, const clv_option *options, int n_options,
                           clv_bank **out)
{
    CLV_CHECK(ctx && kind && out && (options || n_options == 0), CLV_ERR_INVALID,
              "clv_bank_create: an argument is NULL");
    *out = NULL;
    const clvi_bank_class *cls = clvi_bank_class_find(kind);
    if (!cls) return fail_unknown_kind(kind);
    CLV_TRY(clvi_bank_alloc(ctx, cls, options, n_options, out));

    clv_bank *bank = *out;
    const clvi_bank_params *p = bank->params;
    memset(bank->ids, 0xff, (size_t)bank->capacity * sizeof *bank->ids);         /* -1 */
    memset(bank->labels, 0xff, (size_t)bank->capacity * sizeof *bank->labels);
    if (p->init == CLVI_BANK_RANDOM) {
        clvi_parallel_for(ctx, bank->capacity, 256, random_rows, bank);
        memset(bank->valid, 1, (size_t)bank->capacity);
    }
    return CLV_OK;
}

/* ---- pushing ---- */

static bool is_float(clv_dtype dtype)
{
    return dtype == CLV_F32 || dtype == CLV_F64 || dtype == CLV_BF16;
}

clv_status clvi_bank_check_rows(const clv_bank *bank, const char *call, const clv_view *rows)
{
    CLV_CHECK(rows->ndim == 2 && is_float(rows->dtype) && clv_view_count(rows) >= 0 && rows->shape[1] == bank->dim,
              CLV_ERR_SHAPE, "%s: expected floats [*,%" PRId64 "], got %s with %d dimensions, the last %" PRId64, call,
              bank->dim, clv_dtype_name(rows->dtype), (int)rows->ndim,
              rows->ndim >= 1 && rows->ndim <= CLV_MAX_DIMS ? rows->shape[rows->ndim - 1] : 0);
    CLV_CHECK(rows->device == 0, CLV_ERR_UNSUPPORTED, "%s: rows must be in host memory, not on device %d", call,
              (int)rows->device);
    CLV_CHECK(rows->data || rows->shape[0] == 0, CLV_ERR_INVALID, "%s: rows are NULL", call);
    return CLV_OK;
}

/* What is not finite would spoil a loss, and stay in the mean of a slot that moves. */
static clv_status check_values(clv_bank *bank, const clvi_bank_batch *batch)
{
    const double limit = clvi_bank_limit(bank);
    for (int64_t i = 0; i < batch->count; i++) {
        const double *row = clvi_bank_take(bank, batch->rows, i);
        for (int64_t d = 0; d < bank->dim; d++)
            CLV_CHECK(fabs(row[d]) <= limit, CLV_ERR_NUMERIC,
                      "clv_bank_push: row %" PRId64 " has the value %g; expected a finite %s", i, row[d],
                      clv_dtype_name(bank->dtype));
    }
    return CLV_OK;
}

static clv_status check_marks(const char *what, const int64_t *marks, int64_t count)
{
    for (int64_t i = 0; marks && i < count; i++)
        CLV_CHECK(marks[i] >= -1, CLV_ERR_INVALID,
                  "clv_bank_push: %s %" PRId64 " is %" PRId64 "; expected -1 (none) or more", what, i, marks[i]);
    return CLV_OK;
}

clv_status clv_bank_push(clv_bank *bank, const clv_view *rows, const int64_t *ids, const int64_t *labels)
{
    CLV_CHECK(bank && rows, CLV_ERR_INVALID, "clv_bank_push: bank and rows must not be NULL");
    CLV_TRY(clvi_bank_check_rows(bank, "clv_bank_push", rows));
    const clvi_bank_batch batch = { rows, rows->shape[0], ids, labels };
    CLV_TRY(check_marks("id", ids, batch.count));
    CLV_TRY(check_marks("label", labels, batch.count));
    if (bank->cls->check) CLV_TRY(bank->cls->check(bank, &batch));
    CLV_TRY(check_values(bank, &batch));
    bank->pushes++;
    bank->replaced = 0;
    bank->cosines = 0;
    bank->cls->push(bank, &batch);
    return CLV_OK;
}

clv_status clvi_bank_push_behind(clv_bank *bank, const clv_view *rows, const int64_t *ids, const int64_t *labels)
{
    bank->behind = true;
    const clv_status st = clv_bank_push(bank, rows, ids, labels);
    bank->behind = false;
    return st;
}

/* ---- views ---- */

void clvi_bank_ring(const clv_bank *bank, clvi_ring *out)
{
    *out = (clvi_ring) {
        .dtype = bank->dtype, .capacity = bank->capacity, .dim = bank->dim, .rows = clvi_shadow_memory(bank->shadow[0]),
        .valid = clvi_shadow_memory(bank->shadow[1]), .ids = clvi_shadow_memory(bank->shadow[2]),
        .labels = clvi_shadow_memory(bank->shadow[3]),
    };
    if (bank->cls->ring) bank->cls->ring(bank, out);
}

clv_view clv_bank_rows(const clv_bank *bank)
{
    return clv_view_2d(bank->rows, bank->dtype, bank->capacity, bank->dim);
}

clv_view clv_bank_valid(const clv_bank *bank)
{
    return clv_view_1d(bank->valid, CLV_U8, bank->capacity);
}

clv_view clv_bank_ids(const clv_bank *bank)
{
    return clv_view_1d(bank->ids, CLV_I64, bank->capacity);
}

clv_view clv_bank_labels(const clv_bank *bank)
{
    return clv_view_1d(bank->labels, CLV_I64, bank->capacity);
}

clv_view clv_bank_born(const clv_bank *bank)
{
    return clv_view_1d(bank->born, CLV_I64, bank->capacity);
}

const char *clv_bank_kind(const clv_bank *bank)
{
    return bank->cls->name;
}

int64_t clv_bank_capacity(const clv_bank *bank)
{
    return bank->capacity;
}

int64_t clv_bank_dim(const clv_bank *bank)
{
    return bank->dim;
}

int64_t clv_bank_pointer(const clv_bank *bank)
{
    return bank->cursor;
}

int64_t clv_bank_pushes(const clv_bank *bank)
{
    return bank->pushes;
}
