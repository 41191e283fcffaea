/* pack.c: see pack.h. */
#include "augment/pack.h"
#include "augment/chain.h"
#include "augment/lower.h"
#include <string.h>

/* A picture on its way into its room. */
typedef struct packing {
    const clvi_packer *packer;
    const clv_part    *part;
    uint64_t           seed, sample;
    uint32_t           epoch;
    clvi_pixel_view   *view;            /* at the beginning of the room */
    clvi_pixel_list    list;
} packing;

/* ---- whole ---- */

/* The smallest window that holds those of all views, reduced by what all of them allow. */
static void window(void *user, int64_t height, int64_t width, int64_t channels, uint64_t seed, uint32_t epoch,
                   uint64_t sample, uint32_t view, clv_window *out)
{
    const clvi_packer *p = user;
    int64_t top = height, left = width, bottom = 0, right = 0, reduce = INT64_MAX;
    (void)view;
    for (int v = 0; v < p->views; v++) {
        clv_window one;
        p->apply[v].window(p->apply[v].user, height, width, channels, seed, epoch, sample, (uint32_t)v, &one);
        top = CLVI_MIN(top, one.y);
        left = CLVI_MIN(left, one.x);
        bottom = CLVI_MAX(bottom, one.y + one.height);
        right = CLVI_MAX(right, one.x + one.width);
        reduce = CLVI_MIN(reduce, one.reduce);
    }
    *out = (clv_window) { top, left, bottom - top, right - left, reduce };
}

/* The window's rows, of which each view sees its part; false when they do not fit. */
static bool put_window(packing *k)
{
    const clvi_packer *p = k->packer;
    const clv_image *in = &k->part->image;
    clv_window w;
    window((void *)(uintptr_t)p, in->height, in->width, in->channels, k->seed, k->epoch, k->sample, 0, &w);
    const size_t row = (size_t)(w.width * in->channels);
    if (k->list.back - k->list.front < row * (size_t)w.height) return false;
    for (int64_t y = 0; y < w.height; y++)
        memcpy(k->list.room + k->list.front + (size_t)y * row,
               in->pixels + (w.y + y) * in->row_stride + w.x * in->channels, row);
    for (int v = 0; v < p->views; v++) {
        k->view[v].bytes = (int64_t)k->list.front - w.y * (int64_t)row - w.x * in->channels;
        k->view[v].row_stride = (int64_t)row;
        k->view[v].pixel_stride = in->channels;
        k->view[v].plane_stride = 1;
    }
    return true;
}

static clv_status pack_whole(packing *k, bool *fits)
{
    const clvi_packer *p = k->packer;
    const clv_image *in = &k->part->image;
    const clvi_geometry whole = { (int)in->height, (int)in->width, (int)in->channels };
    *fits = false;
    if (k->part->reduced > 1) return CLV_OK;
    for (int v = 0; v < p->views && !k->list.full; v++)
        CLV_TRY(clvi_augment_lower(p->chain[v], 0, &whole, k->seed, k->epoch, k->sample, (uint32_t)v, &k->list,
                                   &k->view[v]));
    *fits = !k->list.full && k->list.picture <= p->picture && k->list.temp <= p->temp && put_window(k);
    return CLV_OK;
}

/* ---- cut out ---- */

static clv_status pack_cut(packing *k, int v, void *scratch, size_t scratch_size)
{
    const clv_augment *a = k->packer->chain[v];
    const int cut = k->packer->cut[v];
    clvi_frame f;
    int32_t at = 0;
    CLV_TRY(clvi_augment_apply_steps(a, cut, k->part, k->seed, k->epoch, k->sample, (uint32_t)v, scratch, scratch_size,
                                     &f));
    clvi_frame_own(&f);
    const clvi_geometry now = { f.height, f.width, f.channels };
    const size_t bytes = (size_t)(f.plane_stride * f.channels);
    CLV_TRY(clvi_augment_lower(a, cut, &now, k->seed, k->epoch, k->sample, (uint32_t)v, &k->list, &k->view[v]));
    void *to = clvi_pixel_table(&k->list, bytes, &at);
    CLV_CHECK(to, CLV_ERR_INTERNAL, "augmentation: a view of %d x %d does not fit into its room", f.height, f.width);
    memcpy(to, f.planes, bytes);
    k->view[v].bytes = at;
    k->view[v].row_stride = f.row_stride;
    k->view[v].pixel_stride = f.pixel_stride;
    k->view[v].plane_stride = f.plane_stride;
    return CLV_OK;
}

/* ---- as a transform ---- */

static void begin(packing *k, void *room)
{
    const clvi_packer *p = k->packer;
    k->view = room;
    k->list = (clvi_pixel_list) { .room = room, .front = (size_t)p->views * sizeof *k->view, .back = p->room };
}

static clv_status pack(void *user, const clv_part *part, uint64_t seed, uint32_t epoch, uint64_t sample, uint32_t view,
                       void *scratch, size_t scratch_size, const clv_form *form, void *out)
{
    const clvi_packer *p = user;
    packing k = { .packer = p, .part = part, .seed = seed, .epoch = epoch, .sample = sample };
    bool fits = false;
    (void)view, (void)form;
    begin(&k, out);
    CLV_TRY(pack_whole(&k, &fits));
    if (fits) return CLV_OK;
    begin(&k, out);
    for (int v = 0; v < p->views; v++) CLV_TRY(pack_cut(&k, v, scratch, scratch_size));
    return CLV_OK;
}

static int64_t scratch_for(void *user, int64_t max_height, int64_t max_width, int64_t channels)
{
    const clvi_packer *p = user;
    int64_t most = 0;
    for (int v = 0; v < p->views; v++) {
        const int64_t one = p->apply[v].scratch_size(p->apply[v].user, max_height, max_width, channels);
        if (one < 0) return -1;
        most = CLVI_MAX(most, one);
    }
    return most;
}

/* Rows of a transform's floats. */
static size_t row_bytes(const clvi_packer *p)
{
    return (size_t)p->size * (size_t)p->channels * sizeof(float);
}

void clvi_packer_transform(const clvi_packer *p, clv_transform *out)
{
    *out = (clv_transform) { .scratch_size = scratch_for, .window = window, .apply_part = pack,
                             .user = (void *)(uintptr_t)p, .height = (int64_t)(p->room / row_bytes(p)),
                             .width = p->size };
}

/* ---- making ---- */

static clv_status add_view(clvi_packer *p, int v, const clv_augment *a)
{
    const int64_t named = clvi_chain_normalize(a)->channels;
    CLV_CHECK(named == 1 || named == p->channels, CLV_ERR_SHAPE,
              "normalize: mean or std names %" PRId64 " channels, the pictures have %d", named, p->channels);
    CLV_CHECK(a->size == p->size, CLV_ERR_SHAPE, "views of %d and %d pixels cannot be packed together", p->size,
              a->size);
    p->chain[v] = a;
    for (int i = 0; i < a->count; i++)
        if (a->step[i].class->out_size) p->cut[v] = i + 1;
    return clv_augment_transform(a, &p->apply[v]);
}

clv_status clvi_packer_init(const clv_augment *const *chains, int views, int64_t channels, clvi_packer *p)
{
    CLV_CHECK(views >= 1 && views <= CLVI_PACK_VIEWS && (channels == 1 || channels == CLVI_AUGMENT_CHANNELS),
              CLV_ERR_SHAPE, "pictures of %" PRId64 " channels for %d views cannot be packed: 1 or 3, for up to %d",
              channels, views, CLVI_PACK_VIEWS);
    *p = (clvi_packer) { .views = views, .size = chains[0]->size, .channels = (int)channels };
    const clvi_geometry view = { p->size, p->size, p->channels };
    const size_t plane = (size_t)p->size * (size_t)p->size, bytes = plane * (size_t)channels;
    size_t room = 0;
    for (int v = 0; v < views; v++) {
        CLV_TRY(add_view(p, v, chains[v]));
        room += sizeof(clvi_pixel_view) + clvi_augment_lowered_size(chains[v], p->cut[v], &view) +
                2 * clvi_pixel_table_size(bytes);              /* of a picture that is cut out, half of it */
    }
    p->room = clvi_round_up(clvi_round_up(room, sizeof(double)), row_bytes(p) * 2);
    p->picture = clvi_round_up(bytes, CLVI_ALIGN);
    p->temp = clvi_round_up(CLVI_MAX(2 * bytes, plane * sizeof(float)), CLVI_ALIGN);
    return CLV_OK;
}
