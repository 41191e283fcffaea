/* test_presets.c (golden): each preset as a whole gives the bytes that Pillow gives for the same draws
 * (augment/make_presets.py wrote them), through the interface that training uses. The draws are in the file, so both sides
 * have the same ones; that they are those of seed 11 is tested, too. The tolerance is 0 grey levels, and 1 where a chain
 * blurs with the sampled Gaussian, which Pillow does not have.
 *
 *   test_presets --draws      prints the cases for make_presets.py */
#include "tests/support/test.h"
#include "augment/augment.h"
#include "augment/draws.h"
#include "core/h5.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN    "tests/golden/augment/presets.h5"
#define PICTURES  "tests/golden/augment/pixels.h5"
#define MAX_BYTES 65536
#define SMALL     64      /* side that results of larger presets are stored at; at their own side their hash is */
#define MAX_TEXT  4096

enum { SEED = 11, SAMPLES = 4 };

typedef struct chain_case {
    const char *preset, *picture;
    int         size;             /* 0: the preset's own */
    uint64_t    sample;
} chain_case;

static clv_augment *make_chain(clv_context *ctx, const chain_case *c)
{
    clv_augment *augment = NULL;
    char size[16];
    snprintf(size, sizeof size, "%d", c->size);
    const clv_option option = { "size", size };
    assert_ok(clv_augment_create(ctx, c->preset, &option, c->size ? 1 : 0, &augment));
    return augment;
}

static int own_size(clv_context *ctx, const char *preset)
{
    clv_transform t;
    clv_augment *augment = make_chain(ctx, &(chain_case) { preset, NULL, 0, 0 });
    assert_ok(clv_augment_transform(augment, &t));
    clv_augment_destroy(augment);
    return (int)t.height;
}

/* The numbers of a draw in the order of its struct; how many. */
static int draw_numbers(const clvi_augment_class *class, const unsigned char *draw, double *out)
{
    if (class->purpose == CLVI_RNG_CROP && class->draw) {
        clvi_crop_draw d;
        memcpy(&d, draw, sizeof d);
        out[0] = d.y, out[1] = d.x, out[2] = d.height, out[3] = d.width;
        return 4;
    }
    if (class->purpose == CLVI_RNG_JITTER) {
        clvi_jitter_draw d;
        memcpy(&d, draw, sizeof d);
        for (int i = 0; i < CLVI_JITTER_PARTS; i++) out[i] = d.order[i], out[CLVI_JITTER_PARTS + i] = d.factor[i];
        return 2 * CLVI_JITTER_PARTS;
    }
    memcpy(out, draw, class->draw_size);   /* the other structs are doubles only */
    return (int)(class->draw_size / sizeof *out);
}

/* "1,3,7,60,80;0;1;..." : whether each step acts, and what it drew. */
static void draws_text(const clv_augment *augment, const chain_case *c, clvi_geometry in, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < clvi_augment_step_count(augment); i++) {
        const clvi_augment_step *step = clvi_augment_step_at(augment, i);
        _Alignas(16) unsigned char draw[CLVI_AUGMENT_DRAW_MAX] = { 0 };
        double numbers[CLVI_AUGMENT_DRAW_MAX / sizeof(double)] = { 0 };
        const bool acts = clvi_augment_draw(augment, i, &in, SEED, 1, c->sample, 0, draw);
        const int n = acts ? draw_numbers(step->class, draw, numbers) : 0;
        used += (size_t)snprintf(text + used, size - used, "%s%d", i ? ";" : "", acts);
        for (int k = 0; k < n; k++) used += (size_t)snprintf(text + used, size - used, ",%.17g", numbers[k]);
        if (step->class->out_size) in.height = in.width = step->class->out_size(step->params);
        assert_true(used < size);
    }
}

/* Every preset on a picture that fits it: four draws, and one alone where nothing is drawn. */
static void each_case(clv_context *ctx, void (*visit)(clv_context *ctx, const chain_case *c, void *user), void *user)
{
    for (int i = 0; i < clv_augment_preset_count(); i++) {
        const char *preset = clv_augment_preset_at(i)->name;
        const int size = own_size(ctx, preset);
        chain_case c = { preset, strstr(preset, "glyphs") ? "letter" : size <= 32 ? "small" : "big",
                         size > SMALL ? SMALL : 0, 0 };
        for (c.sample = 0; c.sample < (strncmp(preset, "eval", 4) ? SAMPLES : 1); c.sample++) visit(ctx, &c, user);
    }
}

static clvi_geometry geometry_of(const char *picture)
{
    if (!strcmp(picture, "letter")) return (clvi_geometry) { 28, 28, 1 };
    return strcmp(picture, "small") ? (clvi_geometry) { 75, 100, 3 } : (clvi_geometry) { 32, 32, 3 };
}

static void print_case(clv_context *ctx, const chain_case *c, void *user)
{
    static char text[MAX_TEXT];
    clv_augment *augment = make_chain(ctx, c);
    draws_text(augment, c, geometry_of(c->picture), text, sizeof text);
    fprintf(user, "%s_%d\t%s\t%s\t%d\t%s\n", c->preset, (int)c->sample, c->picture, clv_augment_describe(augment),
            own_size(ctx, c->preset), text);
    clv_augment_destroy(augment);
}

/* ---- the test ---- */

static uint64_t fnv(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * UINT64_C(1099511628211);
}

static void read_picture(clvi_h5 *h5, const char *name, uint8_t *bytes, clv_image *out)
{
    clvi_h5_info info;
    assert_ok(clvi_h5_stat(h5, name, &info));
    assert_true(info.ndim == 3 && info.shape[0] * info.shape[1] * info.shape[2] <= MAX_BYTES);
    const clv_view view = clv_view_dense(bytes, CLV_U8, 3, info.shape);
    assert_ok(clvi_h5_read(h5, name, &view));
    *out = (clv_image) { bytes, info.shape[0], info.shape[1], info.shape[2], info.shape[1] * info.shape[2] };
}

/* The chain's floats; release them. */
static float *run_chain(const clv_augment *augment, const chain_case *c, const clv_image *in, int64_t *side)
{
    clv_transform t;
    assert_ok(clv_augment_transform(augment, &t));
    const int64_t bytes = t.scratch_size(t.user, in->height, in->width, in->channels);
    assert_true(bytes >= 0);
    void *scratch = aligned_alloc(CLVI_ALIGN, clvi_round_up((size_t)bytes + 1, CLVI_ALIGN));
    float *out = malloc((size_t)(t.height * t.width * in->channels) * sizeof *out);
    assert_ok(t.apply(t.user, in, SEED, 1, c->sample, 0, scratch, (size_t)bytes, out));
    free(scratch);
    *side = t.height;
    return out;
}

/* The byte a float came from; the float must be (byte / 255 - mean) / std. */
static int byte_of(const clv_augment *augment, int64_t channel, float value)
{
    float mean, std;
    clv_augment_normalization(augment, channel, &mean, &std);
    const int byte = (int)lrintf((value * std + mean) * 255.0f);
    assert_true(byte >= 0 && byte <= 255);
    assert_near(value, ((double)byte / 255.0 - mean) / std, 2e-6);
    return byte;
}

typedef struct golden {
    test_env *t;
    clvi_h5  *h5, *pictures;
    int       cases, hashes;
} golden;

/* At the preset's own size the bytes are told by their hash, which leaves no room for a grey level. */
static void check_whole(golden *g, const chain_case *c, const clv_image *in, const char *object)
{
    char *hash = NULL, got[24];
    int64_t side = 0;
    uint64_t sum = UINT64_C(14695981039346656037);
    if (!clvi_h5_has_attr(g->h5, object, "hash")) return;
    clv_augment *augment = make_chain(g->t->ctx, &(chain_case) { c->preset, c->picture, 0, c->sample });
    float *out = run_chain(augment, c, in, &side);
    for (int64_t i = 0; i < side * side * in->channels; i++)
        sum = fnv(sum, (uint8_t)byte_of(augment, i % in->channels, out[i]));
    snprintf(got, sizeof got, "%016llx", (unsigned long long)sum);
    assert_ok(clvi_h5_attr_text(g->h5, object, "hash", &hash));
    assert_string_equal(got, hash);
    clvi_free(g->t->ctx, hash);
    free(out);
    clv_augment_destroy(augment);
    g->hashes++;
}

static void check_case(clv_context *ctx, const chain_case *c, void *user)
{
    static uint8_t bytes[MAX_BYTES], want[MAX_BYTES];
    static char text[MAX_TEXT], object[128], path[192];
    golden *g = user;
    clv_image in, wanted;
    char *draws = NULL, *chain = NULL;
    int64_t side = 0;
    snprintf(object, sizeof object, "cases/%s_%d", c->preset, (int)c->sample);
    snprintf(path, sizeof path, "pictures/%s", c->picture);
    read_picture(g->pictures, path, bytes, &in);
    snprintf(path, sizeof path, "%s/output", object);
    read_picture(g->h5, path, want, &wanted);

    clv_augment *augment = make_chain(ctx, c);
    draws_text(augment, c, (clvi_geometry) { (int)in.height, (int)in.width, (int)in.channels }, text, sizeof text);
    assert_ok(clvi_h5_attr_text(g->h5, object, "draws", &draws));
    assert_ok(clvi_h5_attr_text(g->h5, object, "chain", &chain));
    assert_string_equal(text, draws);
    assert_string_equal(clv_augment_describe(augment), chain);
    const int allowed = strstr(chain, "mode=kernel") ? 1 : 0;
    for (int plain = 0; plain < 2; plain++) {
        clvi_augment_set_plain(augment, plain);
        float *out = run_chain(augment, c, &in, &side);
        assert_true(wanted.height == side && wanted.width == side && wanted.channels == in.channels);
        for (int64_t i = 0; i < side * side * in.channels; i++) {
            const int got = byte_of(augment, i % in.channels, out[i]);
            if (abs(got - want[i]) > allowed)
                fail_msg("%s: value %d is %d, Pillow's is %d", object, (int)i, got, want[i]);
        }
        free(out);
    }
    check_whole(g, c, &in, object);
    clvi_free(ctx, draws);
    clvi_free(ctx, chain);
    clv_augment_destroy(augment);
    g->cases++;
}

static void each_preset_gives_pillows_bytes(void **state)
{
    test_env *t = *state;
    golden g = { .t = t };
    int64_t count = 0;
    char **names = NULL;
    assert_ok(clvi_h5_open(t->ctx, GOLDEN, &g.h5));
    assert_ok(clvi_h5_open(t->ctx, PICTURES, &g.pictures));
    each_case(t->ctx, check_case, &g);
    assert_ok(clvi_h5_list(g.h5, "cases", false, &count, &names));
    assert_int_equal(g.cases, count);          /* no case is left over */
    assert_true(g.hashes >= 40);
    clvi_free(t->ctx, names);
    clvi_h5_close(g.pictures);
    clvi_h5_close(g.h5);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { TEST(each_preset_gives_pillows_bytes) };
    if (argc < 2) return cmocka_run_group_tests(tests, NULL, NULL);
    clv_context *ctx = NULL;
    if (strcmp(argv[1], "--draws") != 0 || clv_context_create(NULL, &ctx) != CLV_OK) return 2;
    each_case(ctx, print_case, stdout);
    clv_context_destroy(ctx);
    return 0;
}
