/* slice.c: a part of a split, "train[:90%]": images by chance, the same ones every time, so that "train[90%:]" are the
 * others. Which they are is computed, not stored. */
#include "data/slice.h"
#include "core/rng.h"
#include <ctype.h>
#include <string.h>

#define WHOLE 100000   /* parts are told in thousandths of a percent */

/* "12.5%" at *text, or nothing, which is `otherwise`. False when it is something else. */
static bool take_percent(const char **text, int64_t otherwise, int64_t *out)
{
    const char *s = *text;
    int64_t value = 0, unit = WHOLE / 100;
    *out = otherwise;
    if (!isdigit((unsigned char)*s)) return true;
    for (; isdigit((unsigned char)*s) && value <= WHOLE; s++) value = value * 10 + (*s - '0') * (WHOLE / 100);
    if (*s == '.')
        for (s++; isdigit((unsigned char)*s) && unit > 1; s++) value += (*s - '0') * (unit /= 10);
    if (*s != '%' || value > WHOLE) return false;
    *text = s + 1;
    *out = value;
    return true;
}

clv_status clvi_slice_parse(const char *split, clvi_slice *out)
{
    const char *bracket = split ? strchr(split, '[') : NULL;
    *out = (clvi_slice){ .split = split, .end = WHOLE };
    if (!bracket) return CLV_OK;
    const char *at = bracket + 1;
    bool right = take_percent(&at, 0, &out->begin) && *at == ':';
    at += right;
    right = right && take_percent(&at, WHOLE, &out->end) && strcmp(at, "]") == 0 && out->begin < out->end;
    CLV_CHECK(right, CLV_ERR_INVALID,
              "split '%.100s': a part of a split is written NAME[A%%:B%%], with A below B, both of 0 to 100 or left out",
              split);
    CLV_CHECK((size_t)(bracket - split) < sizeof out->name, CLV_ERR_INVALID, "split '%.100s': the name is too long",
              split);
    memcpy(out->name, split, (size_t)(bracket - split));
    out->split = out->name[0] ? out->name : NULL;
    out->text = bracket;
    return CLV_OK;
}

clv_status clvi_slice_make(clv_dataset *whole, const clvi_slice *slice, clv_dataset **out)
{
    const int64_t count = whole->info.count, first = count * slice->begin / WHOLE, end = count * slice->end / WHOLE;
    char split[128];
    CLV_CHECK(first < end, CLV_ERR_INVALID, "'%s': none of its %" PRId64 " images are in the part %s", whole->path, count,
              slice->text);
    clv_dataset *ds = clvi_calloc(whole->ctx, 1, sizeof *ds);
    if (!ds) return CLV_ERR_NOMEM;
    ds->ctx = whole->ctx;
    ds->info = whole->info;
    ds->info.count = end - first;
    ds->class_names = whole->class_names;
    ds->slice_first = first;
    ds->path = clvi_strdup(ds->ctx, whole->path);
    snprintf(split, sizeof split, "%.63s%.63s", whole->split, slice->text);
    clv_status st = ds->path ? clvi_dataset_set_split(ds, split) : CLV_ERR_NOMEM;
    ds->info.path = ds->path;
    ds->info.split = ds->split;
    if (st == CLV_OK) {
        ds->whole = whole;
        *out = ds;
    } else clv_dataset_destroy(ds);
    return st;
}

int64_t clvi_slice_image(const clv_dataset *ds, int64_t i)
{
    const uint64_t count = (uint64_t)ds->whole->info.count;
    return (int64_t)clvi_rng_permute(0, CLVI_RNG_SLICE, 0, count, (uint64_t)(ds->slice_first + i));
}
