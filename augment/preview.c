/* preview.c: what a chain does to a few pictures, as one sheet to look at. */
#include "augment/chain.h"
#include "augment/label.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct preview {
    const clv_augment              *augment;
    const clv_augment_preview_desc *desc;
    const clv_image                *images;
    int64_t                         count, columns;   /* columns: the picture and its views */
    clv_augment                    *plain_crop;       /* for the first column */
    uint8_t                        *scratch, *tiles;  /* tiles: side * side * 3 bytes each */
    size_t                          scratch_size;
    float                          *view;
    clv_image                      *tile;
} preview;

static void to_bytes(const clv_augment *a, const float *view, int64_t channels, uint8_t *out)
{
    const int64_t n = (int64_t)a->size * a->size;
    for (int64_t i = 0; i < n * channels; i++) {
        float mean = 0, std = 1;
        clv_augment_normalization(a, i % channels, &mean, &std);
        out[i] = (uint8_t)lrintf(fminf(fmaxf((view[i] * std + mean) * 255.0f, 0.0f), 255.0f));
    }
}

static clv_status draw_row(preview *p, int64_t i)
{
    const clv_image *in = &p->images[i];
    const int64_t side = p->augment->size;
    for (int64_t v = 0; v < p->columns; v++) {
        const clv_augment *a = v == 0 ? p->plain_crop : p->augment;
        const int64_t index = i * p->columns + v;
        uint8_t *tile = p->tiles + (size_t)(index * side * side) * CLVI_AUGMENT_CHANNELS;
        clv_transform t;
        CLV_TRY(clv_augment_transform(a, &t));
        CLV_TRY(t.apply(t.user, in, p->desc->seed, p->desc->epoch, p->desc->first_sample + (uint64_t)i,
                        (uint32_t)CLVI_MAX(v - 1, 0), p->scratch, p->scratch_size, p->view));
        to_bytes(a, p->view, in->channels, tile);
        p->tile[index] = clv_image_dense(tile, side, side, in->channels);
    }
    return CLV_OK;
}

/* Scratch for the largest picture in either chain, and room for all tiles. */
static clv_status preview_reserve(preview *p)
{
    clv_context *ctx = p->augment->ctx;
    const int64_t side = p->augment->size, tiles = p->count * p->columns;
    for (int64_t i = 0; i < p->count; i++)
        for (int k = 0; k < 2; k++) {
            clv_transform t;
            CLV_TRY(clv_augment_transform(k ? p->plain_crop : p->augment, &t));
            const int64_t need = t.scratch_size(t.user, p->images[i].height, p->images[i].width, p->images[i].channels);
            CLV_CHECK(need >= 0, CLV_ERR_SHAPE, "clv_augment_preview: picture %" PRId64 " of %" PRId64 " x %" PRId64
                      " x %" PRId64 " cannot be taken", i, p->images[i].height, p->images[i].width,
                      p->images[i].channels);
            p->scratch_size = CLVI_MAX(p->scratch_size, (size_t)need);
        }
    p->scratch = clvi_calloc(ctx, p->scratch_size, 1);
    p->tiles = clvi_calloc(ctx, (size_t)tiles, (size_t)(side * side) * CLVI_AUGMENT_CHANNELS);
    p->view = clvi_calloc(ctx, (size_t)(side * side) * CLVI_AUGMENT_CHANNELS, sizeof *p->view);
    p->tile = clvi_calloc(ctx, (size_t)tiles, sizeof *p->tile);
    return p->scratch && p->tiles && p->view && p->tile ? CLV_OK : CLV_ERR_NOMEM;
}

/* Two lines: the title over all, and what each column shows. */
static void draw_labels(const preview *p, int scale, uint8_t *pixels, int64_t width, int64_t channels)
{
    const int64_t pad = p->desc->padding, cell = (int64_t)p->augment->size * p->desc->zoom;
    const int64_t line = (CLVI_LABEL_HEIGHT + 3) * scale;
    clvi_label_draw(pixels, width, channels, 2 * scale, pad, width - pad, scale, p->desc->title);
    for (int64_t c = 0; c < p->columns; c++) {
        char text[32] = "picture";
        if (c > 0) snprintf(text, sizeof text, "view %" PRId64, c - 1);
        clvi_label_draw(pixels, width, channels, line + 2 * scale, pad + c * (cell + pad), cell, scale, text);
    }
}

static clv_status preview_sheet(preview *p, uint8_t **pixels, int64_t *height, int64_t *width, int64_t *channels)
{
    clv_contact_sheet_desc desc = CLV_CONTACT_SHEET_DESC_INIT;
    desc.columns = p->columns;
    desc.zoom = p->desc->zoom;
    desc.padding = p->desc->padding;
    const int64_t tiles = p->count * p->columns;
    const int scale = p->augment->size * p->desc->zoom < 64 ? 1 : 2;
    const int64_t strip = p->desc->title ? 2 * (CLVI_LABEL_HEIGHT + 3) * scale : 0;
    CLV_TRY(clv_contact_sheet(&desc, p->tile, tiles, NULL, height, width, channels));
    const size_t above = (size_t)(strip * *width * *channels);
    *pixels = clvi_calloc(p->augment->ctx, (size_t)(*height + strip), (size_t)(*width * *channels));
    if (!*pixels) return CLV_ERR_NOMEM;
    CLV_TRY(clv_contact_sheet(&desc, p->tile, tiles, *pixels + above, height, width, channels));
    memset(*pixels, desc.background, above);
    if (strip) draw_labels(p, scale, *pixels, *width, *channels);
    *height += strip;
    return CLV_OK;
}

clv_status clv_augment_preview(const clv_augment *a, const clv_augment_preview_desc *given, const clv_image *images,
                               int64_t count, uint8_t **pixels, int64_t *height, int64_t *width, int64_t *channels)
{
    static const clv_augment_preview_desc defaults = CLV_AUGMENT_PREVIEW_DESC_INIT;
    const clv_augment_preview_desc *desc = given ? given : &defaults;
    clv_status st = CLV_OK;
    preview p = { .augment = a, .desc = desc, .images = images, .count = count, .columns = desc->views + 1 };
    char crop[64];

    CLV_CHECK(a && images && pixels && height && width && channels, CLV_ERR_INVALID,
              "clv_augment_preview: an argument is NULL");
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID,
              "clv_augment_preview: struct_size is %zu; start from CLV_AUGMENT_PREVIEW_DESC_INIT", desc->struct_size);
    CLV_CHECK(count >= 1 && count <= 4096 && desc->views >= 1 && desc->views <= 4096, CLV_ERR_INVALID,
              "clv_augment_preview: want 1..4096 pictures and views, got %" PRId64 " and %" PRId64, count, desc->views);
    *pixels = NULL;
    snprintf(crop, sizeof crop, "center-crop size=%d margin=1", a->size);
    CLV_TRY_OR_DONE(clv_augment_create(a->ctx, crop, NULL, 0, &p.plain_crop));
    CLV_TRY_OR_DONE(preview_reserve(&p));
    for (int64_t i = 0; i < count; i++) CLV_TRY_OR_DONE(draw_row(&p, i));
    CLV_TRY_OR_DONE(preview_sheet(&p, pixels, height, width, channels));
done:
    clvi_free(a->ctx, p.tile);
    clvi_free(a->ctx, p.view);
    clvi_free(a->ctx, p.tiles);
    clvi_free(a->ctx, p.scratch);
    clv_augment_destroy(p.plain_crop);
    return st;
}

void clv_augment_preview_free(const clv_augment *a, uint8_t *pixels)
{
    if (a) clvi_free(a->ctx, pixels);
}
