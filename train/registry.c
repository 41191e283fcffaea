/* registry.c: methods and optimisers by name. */
#include "train/step/method.h"
#include "train/optimizers/optimizer.h"
#include "core/checked.h"

#include <stdio.h>
#include <string.h>

#define CLV_METHOD(name) extern const clvi_method_class clvi_method_##name;
#define CLV_OPTIMIZER(name) extern const clvi_optimizer_class clvi_optimizer_##name;
#include "train/registry.def"
#undef CLV_METHOD
#undef CLV_OPTIMIZER

static const clvi_method_class *const methods[] = {
#define CLV_METHOD(name) &clvi_method_##name,
#define CLV_OPTIMIZER(name)
#include "train/registry.def"
#undef CLV_METHOD
#undef CLV_OPTIMIZER
    NULL
};

static const clvi_optimizer_class *const optimizers[] = {
#define CLV_METHOD(name)
#define CLV_OPTIMIZER(name) &clvi_optimizer_##name,
#include "train/registry.def"
#undef CLV_METHOD
#undef CLV_OPTIMIZER
    NULL
};

const clvi_method_class *clvi_method_at(int i)
{
    return i >= 0 && i < (int)CLVI_COUNT(methods) - 1 ? methods[i] : NULL;
}

const clvi_optimizer_class *clvi_optimizer_at(int i)
{
    return i >= 0 && i < (int)CLVI_COUNT(optimizers) - 1 ? optimizers[i] : NULL;
}

/* The names that begin with `name` and '_', or all for "". */
static void list(const char *name, const char *const *known, char *text, size_t size)
{
    const size_t length = strlen(name);
    for (size_t used = 0; *known && used < size; known++)
        if (!length || (!strncmp(*known, name, length) && (*known)[length] == '_'))
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", *known);
}

static clv_status unknown(const char *kind, const char *name, const char *const *known)
{
    const char *near = clv_nearest_name(name, known);
    char all[256] = "";
    list(name, known, all, sizeof all);                  /* "lars" is three */
    if (all[0]) return clvi_fail(CLV_ERR_INVALID, "%s '%s' has several forms: %s", kind, name, all);
    if (near) return clvi_fail(CLV_ERR_INVALID, "unknown %s '%s'; did you mean '%s'?", kind, name, near);
    list("", known, all, sizeof all);
    return clvi_fail(CLV_ERR_INVALID, "unknown %s '%s'; there are %s", kind, name, all);
}

clv_status clvi_method_find(const char *name, const clvi_method_class **out)
{
    const char *known[CLVI_COUNT(methods)] = { NULL };
    for (int i = 0; methods[i]; i++) {
        *out = methods[i];
        known[i] = methods[i]->info.name;
        if (clvi_name_equal(known[i], name)) return CLV_OK;
    }
    return unknown("method", name, known);
}

clv_status clvi_optimizer_find(const char *name, const clvi_optimizer_class **out)
{
    const char *known[CLVI_COUNT(optimizers)] = { NULL };
    for (int i = 0; optimizers[i]; i++) {
        *out = optimizers[i];
        known[i] = optimizers[i]->info.name;
        if (clvi_name_equal(known[i], name)) return CLV_OK;
    }
    return unknown("optimizer", name, known);
}
