/* bank_file.c: a bank in HDF5. Every byte of a file may be hostile: shapes are compared before anything is allocated
 * for them, and contents are checked before the bank changes.
 *
 * group: attributes format = "cleave-bank-1", kind, every option by name (text), pushes; data sets rows [K,D], valid
 * [K] u8, ids, labels, born [K] i64, cursor [1] i64. */
#include "memorybank/bank.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT "cleave-bank-1"
#define OWN_GROUP "bank"
#define MAX_OPTIONS 32
#define MAX_VALUE 64

typedef struct part {
    const char *name;
    clv_view    view;
} part;

#define PARTS 6

static void list_parts(const clv_bank *bank, part parts[PARTS])
{
    parts[0] = (part) { "rows", clv_bank_rows(bank) };
    parts[1] = (part) { "valid", clv_bank_valid(bank) };
    parts[2] = (part) { "ids", clv_bank_ids(bank) };
    parts[3] = (part) { "labels", clv_bank_labels(bank) };
    parts[4] = (part) { "born", clv_bank_born(bank) };
    parts[5] = (part) { "cursor", clv_view_1d((void *)&bank->cursor, CLV_I64, 1) };
}

static clv_status join(char *path, size_t size, const char *group, const char *name)
{
    const int n = snprintf(path, size, "%s/%s", group, name);
    CLV_CHECK(n >= 0 && (size_t)n < size, CLV_ERR_INVALID, "bank: the group's name '%.32s...' is too long", group);
    return CLV_OK;
}

/* ---- writing ---- */

clv_status clvi_bank_write(const clv_bank *bank, clvi_h5 *h5, const char *group)
{
    CLV_TRY(clvi_h5_group(h5, group));
    CLV_TRY(clvi_h5_set_attr_text(h5, group, "format", FORMAT));
    CLV_TRY(clvi_h5_set_attr_text(h5, group, "kind", bank->cls->name));
    for (const clvi_option *o = bank->cls->options; o->info.name; o++) {
        char text[MAX_VALUE];
        const int n = clvi_option_format(o, bank->params, text, sizeof text);
        CLV_CHECK(n >= 0 && (size_t)n < sizeof text, CLV_ERR_INTERNAL, "bank: option '%s' is too long", o->info.name);
        CLV_TRY(clvi_h5_set_attr_text(h5, group, o->info.name, text));
    }
    CLV_TRY(clvi_h5_set_attr_i64(h5, group, "pushes", bank->pushes));
    part parts[PARTS];
    list_parts(bank, parts);
    for (int i = 0; i < PARTS; i++) {
        char path[256];
        CLV_TRY(join(path, sizeof path, group, parts[i].name));
        CLV_TRY(clvi_h5_write(h5, path, &parts[i].view));
    }
    return CLV_OK;
}

clv_status clv_bank_save(const clv_bank *bank, const char *path)
{
    CLV_CHECK(bank && path, CLV_ERR_INVALID, "clv_bank_save: bank and path must not be NULL");
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_create(bank->ctx, path, true, &h5));
    const clv_status st = clvi_bank_write(bank, h5, OWN_GROUP);
    if (st == CLV_OK) return clvi_h5_commit(h5);
    clvi_h5_close(h5);
    return st;
}

/* ---- reading ---- */

static clv_status check_text(clv_context *ctx, clvi_h5 *h5, const char *group, const char *attr, const char *want)
{
    char *text = NULL;
    CLV_TRY(clvi_h5_attr_text(h5, group, attr, &text));
    clv_status st = CLV_OK;
    if (strcmp(text, want) != 0)
        st = clvi_fail(CLV_ERR_FORMAT, "%s: attribute '%s' is '%.32s', expected '%s'", group, attr, text, want);
    clvi_free(ctx, text);
    return st;
}

/* Same kind and options, and every part of the shape and type this bank has. */
static clv_status check_like(const clv_bank *bank, clvi_h5 *h5, const char *group)
{
    CLV_TRY(check_text(bank->ctx, h5, group, "format", FORMAT));
    CLV_TRY(check_text(bank->ctx, h5, group, "kind", bank->cls->name));
    for (const clvi_option *o = bank->cls->options; o->info.name; o++) {
        char text[MAX_VALUE];
        (void)clvi_option_format(o, bank->params, text, sizeof text);
        CLV_TRY(check_text(bank->ctx, h5, group, o->info.name, text));
    }
    part parts[PARTS];
    list_parts(bank, parts);
    for (int i = 0; i < PARTS; i++) {
        char path[256];
        clvi_h5_info info;
        const clv_view *want = &parts[i].view;
        CLV_TRY(join(path, sizeof path, group, parts[i].name));
        CLV_TRY(clvi_h5_stat(h5, path, &info));
        bool same = info.dtype == want->dtype && info.ndim == want->ndim;
        for (int d = 0; same && d < want->ndim; d++) same = info.shape[d] == want->shape[d];
        CLV_CHECK(same, CLV_ERR_FORMAT, "%s: expected %s with %d dimensions, the first %" PRId64
                  "; got %s with %d, the first %" PRId64, path, clv_dtype_name(want->dtype), (int)want->ndim,
                  want->shape[0], clv_dtype_name(info.dtype), info.ndim, info.ndim ? info.shape[0] : 0);
    }
    return CLV_OK;
}

static clv_status check_range(const char *group, const char *name, const int64_t *x, int64_t n, int64_t lo, int64_t hi)
{
    for (int64_t i = 0; i < n; i++)
        CLV_CHECK(x[i] >= lo && x[i] <= hi, CLV_ERR_FORMAT,
                  "%s/%s: entry %" PRId64 " is %" PRId64 ", expected %" PRId64 " to %" PRId64, group, name, i, x[i],
                  lo, hi);
    return CLV_OK;
}

static clv_status check_contents(const clv_bank *bank, const char *group)
{
    const int64_t K = bank->capacity, n = K * bank->dim;
    CLV_CHECK(bank->pushes >= 0, CLV_ERR_FORMAT, "%s: attribute 'pushes' is %" PRId64 ", expected 0 or more", group,
              bank->pushes);
    for (int64_t i = 0; i < K; i++)
        CLV_CHECK(bank->valid[i] <= 1, CLV_ERR_FORMAT, "%s/valid: entry %" PRId64 " is %d, expected 0 or 1", group, i,
                  (int)bank->valid[i]);
    CLV_TRY(check_range(group, "ids", bank->ids, K, -1, INT64_MAX));
    CLV_TRY(check_range(group, "labels", bank->labels, K, -1, INT64_MAX));
    CLV_TRY(check_range(group, "born", bank->born, K, 0, bank->pushes));
    CLV_TRY(check_range(group, "cursor", &bank->cursor, 1, 0, K - 1));
    for (int64_t i = 0; i < n; i++)
        CLV_CHECK(isfinite(clvi_bank_value(bank, i)), CLV_ERR_FORMAT, "%s/rows: row %" PRId64 " is not finite", group,
                  i / bank->dim);
    return CLV_OK;
}

/* Fills a bank nobody uses yet. */
static clv_status read_contents(clv_bank *bank, clvi_h5 *h5, const char *group)
{
    part parts[PARTS];
    list_parts(bank, parts);
    for (int i = 0; i < PARTS; i++) {
        char path[256];
        CLV_TRY(join(path, sizeof path, group, parts[i].name));
        CLV_TRY(clvi_h5_read(h5, path, &parts[i].view));
    }
    CLV_TRY(clvi_h5_attr_i64(h5, group, "pushes", &bank->pushes));
    return check_contents(bank, group);
}

/* The options as text, for a bank with the same ones. Values go to `text`. */
static int format_options(const clv_bank *bank, clv_option options[MAX_OPTIONS], char text[MAX_OPTIONS][MAX_VALUE])
{
    int n = 0;
    for (const clvi_option *o = bank->cls->options; o->info.name && n < MAX_OPTIONS; o++, n++) {
        (void)clvi_option_format(o, bank->params, text[n], MAX_VALUE);
        options[n] = (clv_option) { o->info.name, text[n] };
    }
    return n;
}

clv_status clvi_bank_read(clv_bank *bank, clvi_h5 *h5, const char *group)
{
    clv_option options[MAX_OPTIONS];
    char text[MAX_OPTIONS][MAX_VALUE];
    clv_bank *fresh = NULL;
    CLV_TRY(check_like(bank, h5, group));
    CLV_TRY(clvi_bank_alloc(bank->ctx, bank->cls, options, format_options(bank, options, text), &fresh));
    const clv_status st = read_contents(fresh, h5, group);
    if (st == CLV_OK) {   /* copied, not swapped: graphs are bound to this bank's memory */
        part from[PARTS], to[PARTS];
        list_parts(fresh, from);
        list_parts(bank, to);
        for (int i = 0; i < PARTS; i++)
            memcpy(to[i].view.data, from[i].view.data,
                   (size_t)clv_view_count(&to[i].view) * clv_dtype_size(to[i].view.dtype));
        bank->pushes = fresh->pushes;
        clvi_bank_touch(bank, 0, bank->capacity);
    }
    clv_bank_destroy(fresh);
    return st;
}

/* What the file says about the bank in it. Texts are the caller's to free. */
typedef struct described {
    const clvi_bank_class *cls;
    int                    n;
    clv_option             options[MAX_OPTIONS];
    char                  *text[MAX_OPTIONS];
} described;

static clv_status describe(clv_context *ctx, clvi_h5 *h5, const char *group, described *out)
{
    char *kind = NULL;
    CLV_TRY(check_text(ctx, h5, group, "format", FORMAT));
    CLV_TRY(clvi_h5_attr_text(h5, group, "kind", &kind));
    out->cls = clvi_bank_class_find(kind);
    clv_status st = CLV_OK;
    if (!out->cls) st = clvi_fail(CLV_ERR_FORMAT, "%s: this library has no kind '%.32s'", group, kind);
    clvi_free(ctx, kind);
    CLV_TRY(st);
    for (const clvi_option *o = out->cls->options; o->info.name && out->n < MAX_OPTIONS; o++) {
        CLV_TRY(clvi_h5_attr_text(h5, group, o->info.name, &out->text[out->n]));
        out->options[out->n] = (clv_option) { o->info.name, out->text[out->n] };
        out->n++;
    }
    return CLV_OK;
}

/* The rows must be in the file, whose reader bounds them by its size: a small file cannot ask for much memory. */
static clv_status check_size(clvi_h5 *h5, const char *group, const described *d)
{
    _Alignas(16) char buffer[1024];
    char rows[256];
    clvi_h5_info info;
    CLV_CHECK(d->cls->params_size <= sizeof buffer, CLV_ERR_INTERNAL, "bank: options of '%s' are too large",
              d->cls->name);
    CLV_TRY(clvi_options_parse(d->cls->options, buffer, group, d->options, d->n));
    const clvi_bank_params *p = (const clvi_bank_params *)(const void *)buffer;
    CLV_TRY(join(rows, sizeof rows, group, "rows"));
    CLV_TRY(clvi_h5_stat(h5, rows, &info));
    CLV_CHECK(info.ndim == 2 && info.shape[0] == p->capacity && info.shape[1] == p->dim, CLV_ERR_FORMAT,
              "%s: expected [%" PRId64 ",%" PRId64 "] as the options say, got %d dimensions, the first %" PRId64, rows,
              p->capacity, p->dim, info.ndim, info.ndim ? info.shape[0] : 0);
    return CLV_OK;
}

static clv_status load(clv_context *ctx, clvi_h5 *h5, const char *group, described *d, clv_bank **bank)
{
    CLV_TRY(describe(ctx, h5, group, d));
    CLV_TRY(check_size(h5, group, d));
    CLV_TRY(clvi_bank_alloc(ctx, d->cls, d->options, d->n, bank));
    CLV_TRY(check_like(*bank, h5, group));
    return read_contents(*bank, h5, group);
}

clv_status clvi_bank_load(clv_context *ctx, clvi_h5 *h5, const char *group, clv_bank **out)
{
    clv_bank *bank = NULL;
    described d = { 0 };
    *out = NULL;
    const clv_status st = load(ctx, h5, group, &d, &bank);
    for (int i = 0; i < d.n; i++) clvi_free(ctx, d.text[i]);
    if (st != CLV_OK) clv_bank_destroy(bank);
    else *out = bank;
    return st;
}

clv_status clvi_bank_file_status(clv_status status, const char *path)
{
    if (status == CLV_OK) return CLV_OK;
    if (status == CLV_ERR_INVALID) status = CLV_ERR_FORMAT;
    return strstr(clv_error_message(), path) ? status : clvi_fail_in(status, path);
}

clv_status clv_bank_load(clv_context *ctx, const char *path, clv_bank **out)
{
    CLV_CHECK(ctx && path && out, CLV_ERR_INVALID, "clv_bank_load: an argument is NULL");
    *out = NULL;
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_open_untrusted(ctx, path, &h5));
    const clv_status st = clvi_bank_load(ctx, h5, OWN_GROUP, out);
    clvi_h5_close(h5);
    return clvi_bank_file_status(st, path);
}
