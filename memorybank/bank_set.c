/* bank_set.c: banks with names, saved together: a file holds all of them as they were at one moment, or does not
 * appear. */
#include "memorybank/bank.h"
#include <stdio.h>
#include <string.h>

#define GROUP "banks"
#define MAX_NAME 63
#define MAX_BANKS 256

typedef struct entry {
    char      name[MAX_NAME + 1];
    clv_bank *bank;
} entry;

struct clv_bank_set {
    clv_context *ctx;
    entry       *entries;      /* sorted by name; room for MAX_BANKS */
    int64_t      count;
};

clv_status clv_bank_set_create(clv_context *ctx, clv_bank_set **out)
{
    CLV_CHECK(ctx && out, CLV_ERR_INVALID, "clv_bank_set_create: an argument is NULL");
    *out = NULL;
    clv_bank_set *set = clvi_calloc(ctx, 1, sizeof *set);
    if (!set) return CLV_ERR_NOMEM;
    set->ctx = ctx;
    set->entries = clvi_calloc(ctx, MAX_BANKS, sizeof *set->entries);
    if (!set->entries) {
        clv_bank_set_destroy(set);
        return CLV_ERR_NOMEM;
    }
    *out = set;
    return CLV_OK;
}

void clv_bank_set_destroy(clv_bank_set *set)
{
    if (!set) return;
    for (int64_t i = 0; i < set->count; i++) clv_bank_destroy(set->entries[i].bank);
    clvi_free(set->ctx, set->entries);
    clvi_free(set->ctx, set);
}

/* Index of a name, or of where it would stand. */
static int64_t place_of(const clv_bank_set *set, const char *name, bool *found)
{
    int64_t i = 0;
    while (i < set->count && strcmp(set->entries[i].name, name) < 0) i++;
    *found = i < set->count && strcmp(set->entries[i].name, name) == 0;
    return i;
}

static clv_status check_name(const clv_bank_set *set, const char *name)
{
    bool found;
    const size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    CLV_CHECK(length >= 1 && length <= MAX_NAME && !name[length], CLV_ERR_INVALID,
              "bank set: the name '%.80s' is not made of 1 to %d letters, digits, '-' and '_'", name, MAX_NAME);
    (void)place_of(set, name, &found);
    CLV_CHECK(!found, CLV_ERR_INVALID, "bank set: there is a bank '%s' already", name);
    CLV_CHECK(set->count < MAX_BANKS, CLV_ERR_INVALID, "bank set: '%s' would be one more than %d", name, MAX_BANKS);
    return CLV_OK;
}

/* The name has been checked; the set owns the bank from here on. */
static void insert(clv_bank_set *set, const char *name, clv_bank *bank)
{
    bool found;
    const int64_t at = place_of(set, name, &found);
    memmove(set->entries + at + 1, set->entries + at, (size_t)(set->count - at) * sizeof *set->entries);
    snprintf(set->entries[at].name, sizeof set->entries[at].name, "%s", name);
    set->entries[at].bank = bank;
    set->count++;
}

clv_status clv_bank_set_add(clv_bank_set *set, const char *name, const char *kind, const clv_option *options,
                            int n_options, clv_bank **out)
{
    clv_bank *bank = NULL;
    if (out) *out = NULL;
    CLV_CHECK(set && name, CLV_ERR_INVALID, "clv_bank_set_add: set and name must not be NULL");
    CLV_TRY(check_name(set, name));
    CLV_TRY(clv_bank_create(set->ctx, kind, options, n_options, &bank));
    insert(set, name, bank);
    if (out) *out = bank;
    return CLV_OK;
}

int64_t clv_bank_set_count(const clv_bank_set *set)
{
    return set->count;
}

const char *clv_bank_set_name(const clv_bank_set *set, int64_t index)
{
    return index >= 0 && index < set->count ? set->entries[index].name : NULL;
}

clv_bank *clv_bank_set_find(const clv_bank_set *set, const char *name)
{
    bool found = false;
    const int64_t at = name ? place_of(set, name, &found) : 0;
    return found ? set->entries[at].bank : NULL;
}

/* ---- files: a group `banks` with a group for each ---- */

static clv_status write_all(const clv_bank_set *set, clvi_h5 *h5)
{
    CLV_TRY(clvi_h5_group(h5, GROUP));
    for (int64_t i = 0; i < set->count; i++) {
        char group[sizeof GROUP + 1 + MAX_NAME];
        snprintf(group, sizeof group, GROUP "/%s", set->entries[i].name);
        CLV_TRY(clvi_bank_write(set->entries[i].bank, h5, group));
    }
    return CLV_OK;
}

clv_status clv_bank_set_save(const clv_bank_set *set, const char *path)
{
    CLV_CHECK(set && path, CLV_ERR_INVALID, "clv_bank_set_save: set and path must not be NULL");
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_create(set->ctx, path, true, &h5));
    const clv_status st = write_all(set, h5);
    if (st == CLV_OK) return clvi_h5_commit(h5);
    clvi_h5_close(h5);
    return st;
}

static clv_status read_all(clv_bank_set *set, clvi_h5 *h5, int64_t count, char **names)
{
    for (int64_t i = 0; i < count; i++) {
        char group[sizeof GROUP + 1 + MAX_NAME];
        clv_bank *bank = NULL;
        CLV_TRY(check_name(set, names[i]));
        snprintf(group, sizeof group, GROUP "/%s", names[i]);
        CLV_TRY(clvi_bank_load(set->ctx, h5, group, &bank));
        insert(set, names[i], bank);
    }
    return CLV_OK;
}

static clv_status load(clv_bank_set *set, const char *path)
{
    clvi_h5 *h5 = NULL;
    int64_t count = 0;
    char **names = NULL;
    CLV_TRY(clvi_h5_open_untrusted(set->ctx, path, &h5));
    clv_status st = clvi_h5_list(h5, GROUP, false, &count, &names);
    if (st == CLV_OK) st = read_all(set, h5, count, names);
    clvi_free(set->ctx, names);
    clvi_h5_close(h5);
    return clvi_bank_file_status(st, path);
}

clv_status clv_bank_set_load(clv_context *ctx, const char *path, clv_bank_set **out)
{
    clv_bank_set *set = NULL;
    CLV_CHECK(ctx && path && out, CLV_ERR_INVALID, "clv_bank_set_load: an argument is NULL");
    *out = NULL;
    CLV_TRY(clv_bank_set_create(ctx, &set));
    const clv_status st = load(set, path);
    if (st != CLV_OK) {
        clv_bank_set_destroy(set);
        return st;
    }
    *out = set;
    return CLV_OK;
}
