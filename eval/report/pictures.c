/* pictures.c: pictures of a run's images, as PNG inside the page. */
#include "eval/report/pictures.h"
#include "core/checked.h"
#include "core/png.h"

#include <stdio.h>
#include <string.h>

#define SIDE 96 /* pixels of the longer side at most */

/* ---- data sets ---- */

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

/* What cannot be opened leaves its place NULL and its reason in `why`. */
static clv_status open_set(clvi_pictures *p, const char *path, const char *split, clv_dataset **out)
{
    if (!path[0]) return CLV_OK;
    const clv_status st = clv_dataset_open(p->ctx, path, split, out);
    if (st != CLV_OK && !p->why[0]) snprintf(p->why, sizeof p->why, "%s", clv_error_message());
    return st == CLV_ERR_NOMEM ? st : CLV_OK;
}

/* The split that training classifies: the one given, or "test" or "val" where the set has one; else NULL. */
static clv_status val_split(clvi_pictures *p, const clvi_run *run, const char *path, clv_dataset_splits *splits,
                            const char **split)
{
    static const char *const usual[] = { "test", "val" };
    const char *given = clvi_run_option_value(run, "val-split");
    *split = or_null(given);
    if (*split || !path[0]) return CLV_OK;
    const clv_status st = clv_dataset_list_splits(p->ctx, path, splits);
    if (st != CLV_OK) return st == CLV_ERR_NOMEM ? st : CLV_OK;
    for (size_t u = 0; u < CLVI_COUNT(usual); u++)
        for (int64_t i = 0; !*split && i < splits->count; i++)
            if (!strcmp(splits->name[i], usual[u])) *split = usual[u];
    return CLV_OK;
}

clv_status clvi_pictures_open(clv_context *ctx, const clvi_run *run, clvi_pictures *out)
{
    *out = (clvi_pictures){ .ctx = ctx };
    const char *data = clvi_run_option_value(run, "data"), *val = clvi_run_option_value(run, "val-data"), *split = NULL;
    clv_dataset_splits splits;
    CLV_TRY(open_set(out, data, or_null(clvi_run_option_value(run, "split")), &out->train));
    CLV_TRY(val_split(out, run, val[0] ? val : data, &splits, &split));
    out->held_out = split || val[0];
    if (out->held_out) CLV_TRY(open_set(out, val[0] ? val : data, split, &out->val));
    return clv_decoder_create(ctx, NULL, &out->decoder);
}

void clvi_pictures_release(clvi_pictures *pictures)
{
    clv_dataset_destroy(pictures->train);
    clv_dataset_destroy(pictures->val);
    clv_decoder_destroy(pictures->decoder);
    clvi_resizer_free(pictures->ctx, &pictures->resizer);
}

void clvi_pictures_class(const clvi_pictures *pictures, int64_t label, clvi_text *page)
{
    const char *name = pictures->train ? clv_dataset_class_name(pictures->train, label) : NULL;
    if (name)
        clvi_text_escape(page, name);
    else
        clvi_text_print(page, "%" PRId64, label);
}

/* ---- a picture ---- */

/* Grey or RGB bytes without gaps: of two channels the first, of four the first three. */
static clv_status to_dense(clv_context *ctx, const clv_image *image, int64_t channels, uint8_t **out)
{
    uint8_t *to = *out = clvi_calloc(ctx, (size_t)(image->height * image->width), (size_t)channels);
    if (!to) return CLV_ERR_NOMEM;
    for (int64_t y = 0; y < image->height; y++)
        for (int64_t x = 0; x < image->width; x++, to += channels)
            memcpy(to, image->pixels + y * image->row_stride + x * image->channels, (size_t)channels);
    return CLV_OK;
}

static clv_status put_image(clvi_pictures *p, const clv_dataset *ds, int64_t id, clvi_text *page)
{
    clv_image image;
    uint8_t *dense = NULL, *png = NULL;
    size_t size = 0;
    CLV_TRY(clv_dataset_image(ds, id, p->decoder, &image));
    const int64_t longer = CLVI_MAX(image.height, image.width);
    if (longer > SIDE)
        CLV_TRY(clvi_resize(p->ctx, &p->resizer, &image, CLVI_MAX(image.height * SIDE / longer, 1),
                            CLVI_MAX(image.width * SIDE / longer, 1), &image));
    const int64_t channels = image.channels >= 3 ? 3 : 1;
    clv_status st = to_dense(p->ctx, &image, channels, &dense);
    if (st == CLV_OK) st = clvi_png_encode(p->ctx, dense, channels, image.height, image.width, &png, &size);
    if (st == CLV_OK) {
        clvi_text_put(page, "<img alt=\"\" src=\"data:image/png;base64,");
        clvi_text_base64(page, png, size);
        clvi_text_put(page, "\">");
    }
    clvi_free(p->ctx, dense);
    clvi_free(p->ctx, png);
    return st;
}

/* An image that cannot be shown (the data set has changed since) leaves its number. */
static void put_picture(clvi_pictures *p, const clv_dataset *ds, int64_t id, clvi_text *page)
{
    const clv_status st = ds ? put_image(p, ds, id, page) : CLV_ERR_IO;
    if (st == CLV_ERR_NOMEM && page->status == CLV_OK) page->status = st;
    if (st != CLV_OK) clvi_text_print(page, "<span class=\"gone\">%" PRId64 "</span>", id);
}

/* ---- neighbours ---- */

static void put_neighbour(clvi_pictures *p, const clvi_run *run, int64_t example, int64_t k, clvi_text *page)
{
    const int64_t id = run->neighbour_ids[example * run->neighbours + k];
    const int64_t label = p->train ? clv_dataset_label(p->train, id) : -1;
    const bool known = label >= 0, same = label == run->example_labels[example];
    clvi_text_print(page, "<td class=\"%s\">", !known ? "unknown" : same ? "same" : "other");
    put_picture(p, p->train, id, page);
    clvi_text_print(page, "<small>%.3f %s", (double)run->similarity[example * run->neighbours + k],
                    !known ? ""
                    : same ? "&#10003; "
                           : "&#10007; ");
    if (known) clvi_pictures_class(p, label, page);
    clvi_text_put(page, "</small></td>\n");
}

static void put_row(clvi_pictures *p, const clvi_run *run, int64_t example, clvi_text *page)
{
    clvi_text_put(page, "<tr><td class=\"query\">");
    put_picture(p, p->held_out ? p->val : p->train, run->example_ids[example], page);
    clvi_text_put(page, "<small>");
    clvi_pictures_class(p, run->example_labels[example], page);
    clvi_text_put(page, "</small></td>\n");
    for (int64_t k = 0; k < run->neighbours; k++)
        if (p->held_out || run->neighbour_ids[example * run->neighbours + k] != run->example_ids[example])
            put_neighbour(p, run, example, k, page); /* an image of the bank itself is no news */
    clvi_text_put(page, "</tr>\n");
}

void clvi_pictures_neighbours(clvi_pictures *pictures, const clvi_run *run, clvi_text *page)
{
    clvi_text_put(page, "<div class=\"wide\"><table class=\"neighbours\">\n<thead><tr><th>query</th><th colspan=\"");
    clvi_text_print(page, "%" PRId64 "\">nearest training images: similarity, class</th></tr></thead>\n<tbody>\n",
                    run->neighbours);
    for (int64_t i = 0; i < run->examples; i++) put_row(pictures, run, i, page);
    clvi_text_put(page, "</tbody>\n</table></div>\n");
}
