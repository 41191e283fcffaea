/* match.c: names of other programs. What stands before a network's first parameter is the prefix; among several, the
 * one with most of the network's parameters is taken. */
#include "backbones/match.h"
#include "core/checked.h"
#include "tensor/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE (CLVI_TENSOR_NAME_MAX + 1)
#define TRIED     128   /* prefixes: no file with a meaning has as many */

/* ---- names ---- */

/* A name that is put together; searches for a network do that some million times. */
typedef struct joined {
    char  *text;
    size_t length, size;
    bool   whole;       /* it had room for everything */
} joined;

static void join(joined *out, const char *text, size_t length)
{
    out->whole = out->whole && length < out->size - out->length;
    if (!out->whole) return;
    memcpy(out->text + out->length, text, length);
    out->length += length;
    out->text[out->length] = 0;
}

/* What stands for the beginning of a name in a Sequential, and what of the name comes after it. */
static const char *number_of(const clvi_match *m, const char *name, char number[2])
{
    number[0] = number[1] = 0;
    if (!m->stage) return name;
    if (!strncmp(name, "conv1.", 6)) return number[0] = '0', name + 5;
    if (!strncmp(name, "bn1.", 4)) return number[0] = '1', name + 3;
    if (strncmp(name, "layer", 5) || name[5] < '1' || name[5] > '4' || name[6] != '.') return name;
    number[0] = (char)(name[5] + m->stage - 1);
    return name + 6;
}

/* Our name of a parameter in the other program's way; false when it is too long. */
static bool rename_to(const clvi_match *m, const char *name, char *out, size_t size)
{
    static const char ours[] = ".downsample.", theirs[] = ".shortcut.";
    char number[2];
    joined j = { .text = out, .size = size, .whole = true };
    const char *rest = number_of(m, name, number), *cut = m->shortcut ? strstr(rest, ours) : NULL;
    join(&j, m->prefix, strlen(m->prefix));
    join(&j, number, strlen(number));
    if (cut) {
        join(&j, rest, (size_t)(cut - rest));
        join(&j, theirs, sizeof theirs - 1);
        rest = cut + sizeof ours - 1;
    }
    join(&j, rest, strlen(rest));
    return j.whole;
}

const clvi_tensor *clvi_match_tensor(const clvi_match *m, const char *name)
{
    char full[NAME_SIZE];
    return rename_to(m, name, full, sizeof full) ? clvi_tensor_find(m->file, full) : NULL;
}

static bool is_key(const char *prefix)
{
    static const char *const words[] = { "encoder_k.", "momentum", "teacher", "target", "ema" };
    for (size_t i = 0; i < CLVI_COUNT(words); i++)
        if (strstr(prefix, words[i])) return true;
    return false;
}

/* Whose files have this prefix; the longest that fits its end. */
static const char *owner(const char *prefix)
{
    static const struct { const char *end, *whose; } known[] = {
        { "module.encoder_q.", "the query encoder of MoCo v1 or v2" },
        { "module.encoder_k.", "the key encoder of MoCo v1 or v2" },
        { "module.base_encoder.", "the base encoder of MoCo v3" },
        { "module.momentum_encoder.", "the momentum encoder of MoCo v3" },
        { "encoder_q.net.", "the query encoder of MoCo's CIFAR demo" },
        { "encoder_k.net.", "the key encoder of MoCo's CIFAR demo" },
        { "encoder.module.", "the encoder of SupCon" },
        { "module.encoder.", "the encoder of SimSiam" },
        { "momentum_backbone.", "the momentum backbone of solo-learn" },
        { "backbone_momentum.", "the momentum backbone of lightly" },
        { "trunk._feature_blocks.", "the trunk of VISSL" },
        { "encoder.", "the encoder of SupCon or solo-learn" },
        { "backbone.", "the backbone of solo-learn, lightly or mmpretrain" },
    };
    const size_t n = strlen(prefix);
    for (size_t i = 0; i < CLVI_COUNT(known); i++) {
        const size_t length = strlen(known[i].end);
        if (n >= length && !strcmp(prefix + n - length, known[i].end)) return known[i].whose;
    }
    return NULL;
}

/* ---- finding ---- */

static clv_status count_found(clvi_match *m)
{
    m->found = 0;
    for (int64_t i = 0; i < m->backbone; i++) {
        clv_param_info info;
        CLV_TRY(clv_params_info(m->params, i, &info));
        m->found += clvi_match_tensor(m, info.name) != NULL;
    }
    return CLV_OK;
}

static bool better(const clvi_match *a, const clvi_match *b, bool key)
{
    const bool a_role = is_key(a->prefix) == key, b_role = is_key(b->prefix) == key;
    if (a->found > 1 && b->found > 1 && a_role != b_role) return a_role;
    return a->found > b->found;
}

/* Tries every prefix under which this way of naming has the first parameter. */
static clv_status try_prefixes(clvi_match *best, clvi_match *m, bool key)
{
    clv_param_info info, second;
    char anchor[NAME_SIZE];
    int tried = 0;
    m->prefix[0] = 0;
    CLV_TRY(clv_params_info(m->params, 0, &info));
    CLV_TRY(clv_params_info(m->params, 1, &second));
    if (!rename_to(m, info.name, anchor, sizeof anchor)) return CLV_OK;
    const size_t length = strlen(anchor);
    for (int64_t i = 0; i < m->file->count && tried < TRIED; i++) {
        const char *name = m->file->tensor[i].name;
        const size_t n = strlen(name);
        if (n < length || strcmp(name + n - length, anchor) != 0) continue;
        if (n > length && name[n - length - 1] != '.') continue;
        memcpy(m->prefix, name, n - length);
        m->prefix[n - length] = 0;
        if (!clvi_match_tensor(m, second.name)) continue;
        tried++;
        CLV_TRY(count_found(m));
        if (better(m, best, key)) *best = *m;
    }
    return CLV_OK;
}

clv_status clvi_match_find(const clvi_tensor_file *file, const clv_params *params, int64_t backbone, bool key,
                           clvi_match *out)
{
    /* torchvision's names; its ResNet in a Sequential; that without max-pool; lightly's own ResNet */
    static const int stages[] = { 0, 4, 3, 2 };
    *out = (clvi_match) { .ctx = file->ctx, .file = file, .params = params, .backbone = backbone };
    clvi_match *m = clvi_calloc(file->ctx, 1, sizeof *m);
    out->tensor = clvi_calloc(file->ctx, (size_t)clv_params_count(params), sizeof *out->tensor);
    clv_status st = m && out->tensor ? CLV_OK : CLV_ERR_NOMEM;
    for (size_t i = 0; st == CLV_OK && i < 2 * CLVI_COUNT(stages); i++) {
        *m = (clvi_match) { .ctx = file->ctx, .file = file, .params = params, .backbone = backbone,
                            .stage = stages[i / 2], .shortcut = i % 2 == 1, .tensor = out->tensor };
        st = try_prefixes(out, m, key);
    }
    for (int64_t i = 0; st == CLV_OK && out->found && i < clv_params_count(params); i++) {
        clv_param_info info;
        st = clv_params_info(params, i, &info);
        if (st == CLV_OK) out->tensor[i] = clvi_match_tensor(out, info.name);
    }
    clvi_free(file->ctx, m);
    return st;
}

void clvi_match_free(clvi_match *m)
{
    if (m->ctx) clvi_free(m->ctx, m->tensor);
    *m = (clvi_match) { 0 };
}

/* ---- judging ---- */

static bool same_shape(const clvi_tensor *t, const clv_param_info *info)
{
    bool same = t->ndim == info->ndim;
    for (int d = 0; same && d < t->ndim; d++) same = t->shape[d] == info->shape[d];
    return same;
}

bool clvi_match_fits(const clvi_match *m, int64_t i)
{
    clv_param_info info;
    return m->tensor[i] && clv_params_info(m->params, i, &info) == CLV_OK && same_shape(m->tensor[i], &info);
}

clv_status clvi_match_check(const clvi_match *m, const char *arch)
{
    CLV_CHECK(m->found > 0, CLV_ERR_FORMAT, "no weights of %s are in the file, under any name or prefix that is known",
              arch);
    for (int64_t i = 0; i < m->backbone; i++) {
        clv_param_info info;
        char shown[CLVI_SHOWN], file_shape[CLVI_SHAPE_TEXT], own_shape[CLVI_SHAPE_TEXT];
        CLV_TRY(clv_params_info(m->params, i, &info));
        CLV_CHECK(m->tensor[i], CLV_ERR_FORMAT, "'%s%s' of %s is not in the file (%" PRId64 " of %" PRId64 " are)",
                  clvi_shown(m->prefix, shown), info.name, arch, m->found, m->backbone);
        CLV_CHECK(same_shape(m->tensor[i], &info), CLV_ERR_FORMAT, "'%s': the file has %s, %s wants %s",
                  clvi_shown(m->tensor[i]->name, shown),
                  clvi_shape_text(file_shape, m->tensor[i]->ndim, m->tensor[i]->shape), arch,
                  clvi_shape_text(own_shape, info.ndim, info.shape));
    }
    return CLV_OK;
}

clv_status clvi_match_load(const clvi_match *m, clv_params *params)
{
    for (int64_t i = 0; i < clv_params_count(m->params); i++) {
        clv_param_info info;
        if (!clvi_match_fits(m, i)) continue;
        CLV_TRY(clv_params_info(m->params, i, &info));
        clv_view values = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        values.data = clvi_calloc(m->ctx, (size_t)clv_view_count(&values), sizeof(float));
        if (!values.data) return CLV_ERR_NOMEM;
        clv_status st = clvi_tensor_values(m->tensor[i], values.data);
        if (st == CLV_OK) st = clv_params_write(params, clv_params_find(params, info.name), &values);
        clvi_free(m->ctx, values.data);
        CLV_TRY(st);
    }
    return CLV_OK;
}

/* ---- telling ---- */

#define LISTED 4

/* A count, and the first names of what is counted. */
typedef struct list {
    int64_t count;
    char    names[512];
} list;

static void note(list *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(list *l, const char *fmt, ...)
{
    const size_t n = strlen(l->names);
    if (l->count++ >= LISTED || n + 2 >= sizeof l->names) return;
    va_list args;
    va_start(args, fmt);
    memcpy(l->names + n, ", ", n ? 3 : 1);
    vsnprintf(l->names + n + (n ? 2 : 0), sizeof l->names - n - 2, fmt, args);
    va_end(args);
}

static void tell(const list *l, const char *what, void (*line)(const char *text, void *user), void *user)
{
    char text[700], more[40] = "";
    if (l->count == 0) return;
    if (l->count > LISTED) snprintf(more, sizeof more, " and %" PRId64 " more", l->count - LISTED);
    snprintf(text, sizeof text, "weights: %" PRId64 " %s: %s%s", l->count, what, l->names, more);
    line(text, user);
}

static bool is_used(const clvi_match *m, const clvi_tensor *t)
{
    for (int64_t i = 0; i < clv_params_count(m->params); i++)
        if (m->tensor[i] == t) return true;
    return false;
}

void clvi_match_report(const clvi_match *m, void (*line)(const char *text, void *user), void *user)
{
    list missing = { 0 }, other = { 0 }, unexpected = { 0 }, elsewhere = { 0 };
    int64_t used = 0, tracked = 0;
    char text[512], shown[CLVI_SHOWN], file_shape[CLVI_SHAPE_TEXT], own_shape[CLVI_SHAPE_TEXT];
    for (int64_t i = 0; i < clv_params_count(m->params); i++) {
        clv_param_info info;
        if (clv_params_info(m->params, i, &info) != CLV_OK) continue;
        if (!m->tensor[i]) note(&missing, "%s", info.name);
        else if (clvi_match_fits(m, i)) used++;
        else note(&other, "%s %s, wanted %s", info.name, clvi_shape_text(file_shape, m->tensor[i]->ndim,
                  m->tensor[i]->shape), clvi_shape_text(own_shape, info.ndim, info.shape));
    }
    const size_t length = strlen(m->prefix);
    for (int64_t i = 0; i < m->file->count; i++) {
        const clvi_tensor *t = &m->file->tensor[i];
        clvi_shown(t->name, shown);
        if (strncmp(t->name, m->prefix, length) != 0) note(&elsewhere, "%s", shown);
        else if (strstr(t->name, ".num_batches_tracked")) tracked++;
        else if (!is_used(m, t)) note(&unexpected, "%s", shown);
    }
    const char *whose = owner(m->prefix);
    snprintf(text, sizeof text, "weights: %" PRId64 " tensors used%s%s%s%s%s", used, length ? " under '" : "",
             length ? clvi_shown(m->prefix, shown) : "", length ? "'" : "", whose ? ", " : "", whose ? whose : "");
    line(text, user);
    tell(&missing, "missing, as before training", line, user);
    tell(&other, "of another shape, as before training", line, user);
    tell(&unexpected, "unexpected, left out", line, user);
    tell(&elsewhere, "outside of the prefix, left out", line, user);
    if (tracked) {
        snprintf(text, sizeof text, "weights: %" PRId64 " num_batches_tracked, which nothing here needs", tracked);
        line(text, user);
    }
}
