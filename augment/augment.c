/* augment.c: a chain of augmentations as an object and as a transform. */
#include "augment/chain.h"
#include "device/device.h"
#include <string.h>

/* ---- making ---- */

static clv_status chain_check(clv_augment *a)
{
    for (int i = 0; i < a->count; i++) {
        const clvi_augment_class *class = a->step[i].class;
        CLV_CHECK(!class->emit || i == a->count - 1, CLV_ERR_INVALID, "augmentation '%s' must be the last step",
                  class->info.name);
        if (class->prepare) CLV_TRY(class->prepare(a->step[i].params));
        if (class->out_size) a->size = class->out_size(a->step[i].params);
    }
    CLV_CHECK(a->size > 0, CLV_ERR_INVALID,
              "an augmentation must end in one picture size: add random-resized-crop or center-crop");
    return CLV_OK;
}

static clv_status chain_build(clv_augment *a, const char *text, const clv_option *overrides, int n)
{
    const clv_augment_preset *preset = clv_augment_preset_find(text);
    CLV_TRY(clvi_chain_parse(a, preset ? preset->text : text));
    CLV_CHECK(a->count > 0, CLV_ERR_INVALID, "an augmentation needs at least one step; '%.40s' has none", text);
    if (!a->step[a->count - 1].class->emit) CLV_TRY(clvi_chain_append(a, clvi_augment_class_find("normalize")));
    for (int i = 0; i < n; i++) CLV_TRY(clvi_chain_override(a, &overrides[i]));
    CLV_TRY(chain_check(a));
    return clvi_chain_format(a, &a->text);
}

clv_status clv_augment_create(clv_context *ctx, const char *text, const clv_option *overrides, int n, clv_augment **out)
{
    CLV_CHECK(ctx && text && out && n >= 0 && (overrides || n == 0), CLV_ERR_INVALID,
              "clv_augment_create: an argument is NULL, or the number of overrides is negative");
    *out = NULL;
    clv_augment *a = clvi_calloc(ctx, 1, sizeof *a);
    if (!a) return CLV_ERR_NOMEM;
    a->ctx = ctx;
    const clv_status st = chain_build(a, text, overrides, n);
    if (st != CLV_OK) {
        clv_augment_destroy(a);
        return st;
    }
    *out = a;
    return CLV_OK;
}

void clv_augment_destroy(clv_augment *a)
{
    if (!a) return;
    for (int i = 0; i < a->count; i++) clvi_free(a->ctx, a->step[i].params);
    clvi_free(a->ctx, a->text);
    clvi_free(a->ctx, a);
}

const char *clv_augment_describe(const clv_augment *a)
{
    return a->text;
}

void clv_augment_normalization(const clv_augment *a, int64_t channel, float *mean, float *std)
{
    const clvi_normalize *p = clvi_chain_normalize(a);
    const int64_t c = CLVI_MIN(CLVI_MAX(channel, 0), CLVI_AUGMENT_CHANNELS - 1);
    *mean = p->m[c];
    *std = p->s[c];
}

int clvi_augment_step_count(const clv_augment *a)
{
    return a->count;
}

const clvi_augment_step *clvi_augment_step_at(const clv_augment *a, int i)
{
    return i >= 0 && i < a->count ? &a->step[i] : NULL;
}

void clvi_augment_set_plain(clv_augment *a, bool plain)
{
    a->plain = plain;
}

clvi_path clvi_augment_path(bool plain)
{
    const clvi_isa isa = plain ? CLVI_ISA_PLAIN : clvi_cpu_isa();
    if (isa == CLVI_ISA_PLAIN) return CLVI_PATH_PLAIN;
#if defined(__x86_64__)
    if (isa >= CLVI_ISA_AVX512 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni"))
        return CLVI_PATH_AVX512;
#endif
    return CLVI_PATH_AVX2;
}

/* ---- the frame ---- */

uint8_t *clvi_frame_spare(const clvi_frame *f)
{
    return f->buffers[f->planes == f->buffers[0]];
}

void clvi_frame_adopt_spare(clvi_frame *f, int height, int width)
{
    f->planes = clvi_frame_spare(f);
    f->pixels = f->planes;
    f->height = height;
    f->width = width;
    f->row_stride = width;
    f->pixel_stride = 1;
    f->plane_stride = (int64_t)height * width;
    f->reduced = 1;
}

void clvi_frame_own(clvi_frame *f)
{
    if (f->planes) return;
    uint8_t *out = clvi_frame_spare(f);
    for (int c = 0; c < f->channels; c++)
        for (int y = 0; y < f->height; y++) {
            const uint8_t *row = f->pixels + c * f->plane_stride + y * f->row_stride;
            for (int x = 0; x < f->width; x++) *out++ = row[x * f->pixel_stride];
        }
    clvi_frame_adopt_spare(f, f->height, f->width);
}

/* ---- applying ---- */

/* Scratch: two planar pictures and the largest step's temporary. */
typedef struct chain_room {
    size_t picture, temp;
} chain_room;

static chain_room room_for(const clv_augment *a, clvi_geometry g)
{
    chain_room room = { 0, 0 };
    for (int i = 0; i < a->count; i++) {
        const clvi_augment_class *class = a->step[i].class;
        const void *params = a->step[i].params;
        const size_t temp = class->temp_size ? class->temp_size(params, &g) : 0;
        room.temp = CLVI_MAX(room.temp, temp);
        if (class->out_size) g.height = g.width = class->out_size(params);
        const size_t picture = (size_t)g.height * (size_t)g.width * (size_t)g.channels;
        if (!class->emit) room.picture = CLVI_MAX(room.picture, picture);
    }
    room.picture = clvi_round_up(room.picture + CLVI_FRAME_SLACK, CLVI_ALIGN);
    return room;
}

/* The caller's memory may begin anywhere; the pictures in it begin where vectors do. */
static size_t scratch_bytes(const chain_room *room)
{
    return 2 * room->picture + room->temp + CLVI_ALIGN;
}

static bool size_is_allowed(int64_t height, int64_t width, int64_t channels)
{
    return height >= 1 && width >= 1 && height <= CLV_AUGMENT_MAX_SIDE && width <= CLV_AUGMENT_MAX_SIDE &&
           (channels == 1 || channels == 3);
}

static int64_t chain_scratch_size(void *user, int64_t max_height, int64_t max_width, int64_t channels)
{
    if (!size_is_allowed(max_height, max_width, channels)) return -1;
    const chain_room room = room_for(user, (clvi_geometry) { (int)max_height, (int)max_width, (int)channels });
    return (int64_t)scratch_bytes(&room);
}

static clv_status check_picture(const clv_part *part)
{
    const clv_image *in = &part->image;
    const int64_t stored = (in->width + part->reduced - 1) / part->reduced * in->channels;
    CLV_CHECK(in->pixels, CLV_ERR_INVALID, "augmentation: the picture is NULL");
    CLV_CHECK(size_is_allowed(in->height, in->width, in->channels), CLV_ERR_SHAPE,
              "augmentation: want a picture of 1..%d x 1..%d pixels and 1 or 3 channels, got %" PRId64 " x %" PRId64
              " x %" PRId64, CLV_AUGMENT_MAX_SIDE, CLV_AUGMENT_MAX_SIDE, in->height, in->width, in->channels);
    CLV_CHECK(in->row_stride >= stored, CLV_ERR_SHAPE,
              "augmentation: rows of %" PRId64 " bytes are %" PRId64 " bytes apart", stored, in->row_stride);
    return CLV_OK;
}

bool clvi_augment_draw(const clv_augment *a, int i, const clvi_geometry *in, uint64_t seed, uint32_t epoch,
                       uint64_t sample, uint32_t view, void *draw)
{
    const clvi_augment_step *step = &a->step[i];
    if (!step->class->draw) return true;
    /* Two steps of one class in a chain draw different numbers. */
    const uint64_t own_seed = seed + (uint64_t)step->occurrence * UINT64_C(0x9e3779b97f4a7c15);
    clvi_rng rng = clvi_rng_make(own_seed, step->class->purpose, epoch, sample, view);
    return step->class->draw(step->params, in, &rng, draw);
}

typedef union any_draw {
    double        align;
    unsigned char bytes[CLVI_AUGMENT_DRAW_MAX];
} any_draw;

static void chain_window(void *user, int64_t height, int64_t width, int64_t channels, uint64_t seed, uint32_t epoch,
                         uint64_t sample, uint32_t view, clv_window *out)
{
    const clv_augment *a = user;
    const clvi_geometry whole = { (int)height, (int)width, (int)channels };
    any_draw draw;
    *out = (clv_window) { 0, 0, height, width, 1 };
    if (!size_is_allowed(height, width, channels) || !a->step[0].class->window) return;
    if (clvi_augment_draw(a, 0, &whole, seed, epoch, sample, view, draw.bytes))
        a->step[0].class->window(a->step[0].params, draw.bytes, out);
}

static clv_status check_form(const clv_form *form, int64_t channels)
{
    const int64_t c = form->channels;
    CLV_CHECK(form->dtype == CLV_F32 || form->dtype == CLV_BF16, CLV_ERR_INVALID,
              "augmentation: a view is float32 or bfloat16, not %s", clv_dtype_name(form->dtype));
    CLV_CHECK(c == channels || (c > channels && (c == 4 || c == CLV_FORM_MAX_CHANNELS)), CLV_ERR_INVALID,
              "augmentation: a view of a picture of %" PRId64 " channels has as many, 4 or %d, not %" PRId64, channels,
              CLV_FORM_MAX_CHANNELS, c);
    return CLV_OK;
}

static clv_status begin_frame(const clv_augment *a, const clv_part *part, void *scratch, size_t scratch_size,
                              clvi_frame *out)
{
    const clv_image *in = &part->image;
    CLV_TRY(check_picture(part));
    const clvi_geometry whole = { (int)in->height, (int)in->width, (int)in->channels };
    const chain_room room = room_for(a, whole);
    CLV_CHECK(scratch && scratch_size >= scratch_bytes(&room), CLV_ERR_INVALID,
              "augmentation: a picture of %" PRId64 " x %" PRId64 " needs %zu bytes of scratch, got %zu", in->height,
              in->width, scratch_bytes(&room), scratch_size);
    uint8_t *memory = (uint8_t *)scratch + (CLVI_ALIGN - (uintptr_t)scratch % CLVI_ALIGN) % CLVI_ALIGN;
    *out = (clvi_frame) { .height = whole.height, .width = whole.width, .channels = whole.channels,
                          .pixels = in->pixels, .row_stride = in->row_stride, .pixel_stride = in->channels,
                          .plane_stride = 1, .buffers = { memory, memory + room.picture },
                          .temp = memory + 2 * room.picture, .reduced = (int)part->reduced, .plain = a->plain };
    return CLV_OK;
}

clv_status clvi_augment_apply_steps(const clv_augment *a, int count, const clv_part *part, uint64_t seed,
                                    uint32_t epoch, uint64_t sample, uint32_t view, void *scratch, size_t scratch_size,
                                    clvi_frame *f)
{
    CLV_TRY(begin_frame(a, part, scratch, scratch_size, f));
    for (int i = 0; i < count; i++) {
        const clvi_augment_class *class = a->step[i].class;
        any_draw draw;
        const clvi_geometry now = { f->height, f->width, f->channels };
        CLV_CHECK(f->reduced == 1 || class->window, CLV_ERR_INVALID, "augmentation: '%s' takes no reduced picture",
                  class->info.name);
        if (!clvi_augment_draw(a, i, &now, seed, epoch, sample, view, draw.bytes)) continue;
        if (!class->resamples) clvi_frame_own(f);
        CLV_TRY(class->apply(a->step[i].params, draw.bytes, f));
    }
    return CLV_OK;
}

static clv_status chain_apply_part(void *user, const clv_part *part, uint64_t seed, uint32_t epoch, uint64_t sample,
                                   uint32_t view, void *scratch, size_t scratch_size, const clv_form *form, void *out)
{
    const clv_augment *a = user;
    const clvi_augment_step *last = &a->step[a->count - 1];
    clvi_frame f;
    CLV_CHECK(part && part->reduced >= 1 && form && out, CLV_ERR_INVALID,
              "augmentation: the picture, the form or the output is NULL, or the picture reduced by less than 1");
    CLV_TRY(check_form(form, part->image.channels));
    CLV_TRY(clvi_augment_apply_steps(a, a->count - 1, part, seed, epoch, sample, view, scratch, scratch_size, &f));
    return last->class->emit(last->params, &f, form, out);
}

static clv_status chain_apply(void *user, const clv_image *in, uint64_t seed, uint32_t epoch, uint64_t sample,
                              uint32_t view, void *scratch, size_t scratch_size, float *out)
{
    CLV_CHECK(in, CLV_ERR_INVALID, "augmentation: the picture is NULL");
    const clv_part whole = { *in, 1 };
    const clv_form form = { CLV_F32, in->channels };
    return chain_apply_part(user, &whole, seed, epoch, sample, view, scratch, scratch_size, &form, out);
}

clv_status clv_augment_transform(const clv_augment *a, clv_transform *out)
{
    CLV_CHECK(a && out, CLV_ERR_INVALID, "clv_augment_transform: an argument is NULL");
    *out = (clv_transform) { .apply = chain_apply, .scratch_size = chain_scratch_size, .window = chain_window,
                             .apply_part = chain_apply_part, .user = (void *)(uintptr_t)a, .height = a->size,
                             .width = a->size };
    return CLV_OK;
}
