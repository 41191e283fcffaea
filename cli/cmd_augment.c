/* cmd_augment.c: cleave augment: what augmentations there are, and what they do to pictures. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { OUTPUT, AUG, PRESET, IMAGES, VIEWS, ZOOM, SEED, SIZE, SPLIT };

static const cli_flag flags[] = {
    { "output", 'o', "OUT.png", "preview: the contact sheet to write (default preview.png)" },
    { "aug", 0, "TEXT", "preview: a preset or a chain (default moco-v2)" },
    { "preset", 0, "NAME", "preview: the same of a preset alone" },
    { "images", 'n', "N", "preview: images, evenly spaced over DATA; without it, computed ones (default 8)" },
    { "views", 0, "N", "preview: views of each (default 8)" },
    { "zoom", 0, "N", "preview: pixels of the sheet for each pixel of a view, in each direction (default 1)" },
    { "seed", 0, "N", "preview: seed of the draws (default 0)" },
    { "size", 0, "N", "preview: side of the views in pixels (default: the preset's)" },
    { "split", 0, "NAME", "preview: split of DATA" },
    { NULL, 0, NULL, NULL },
};

static void list(void)
{
    puts("presets:");
    for (int i = 0; i < clv_augment_preset_count(); i++) {
        const clv_augment_preset *p = clv_augment_preset_at(i);
        printf("  %-16s %s (%s)\n", p->name, p->summary, p->source);
    }
    puts("steps:");
    for (int i = 0; i < clv_augment_count(); i++) {
        const clv_class_info *info = clv_augment_info_at(i);
        printf("  %-22s %s\n", info->name, info->summary);
    }
}

static int show_one(const char *name)
{
    const clv_augment_preset *preset = clv_augment_preset_find(name);
    if (preset) {
        printf("%s: %s\nsource: %s\nevaluation: %s\n%s\n", preset->name, preset->summary, preset->source,
               preset->eval ? preset->eval : "-", preset->text);
        return CLI_OK;
    }
    for (int i = 0; i < clv_augment_count(); i++) {
        const clv_class_info *info = clv_augment_info_at(i);
        const clv_option_info *o;
        if (strcmp(info->name, name) != 0) continue;
        printf("%s: %s\nsource: %s\n", info->name, info->summary, info->source ? info->source : "-");
        for (int j = 0; (o = clv_augment_option_at(i, j)); j++) printf("  %-14s %-10s %s\n", o->name, o->def, o->help);
        return CLI_OK;
    }
    return cli_usage(&cli_command_augment, "augment: no preset or step '%s'; 'cleave augment list' tells what there is",
                     name);
}

/* Pictures of a data set: copies, since a decoder gives one at a time. */
static clv_status collect(cli *c, const clv_dataset *ds, int64_t count, clv_image *images, uint8_t **copies)
{
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    clv_status st = clv_decoder_create(c->ctx, NULL, &decoder);
    for (int64_t i = 0; i < count && st == CLV_OK; i++) {
        clv_image image;
        st = clv_dataset_image(ds, i * info.count / count, decoder, &image);
        if (st != CLV_OK) break;
        const size_t row = (size_t)(image.width * image.channels);
        copies[i] = malloc(row * (size_t)image.height);
        if (!copies[i]) st = CLV_ERR_NOMEM;
        for (int64_t y = 0; copies[i] && y < image.height; y++)
            memcpy(copies[i] + (size_t)y * row, image.pixels + y * image.row_stride, row);
        images[i] = clv_image_dense(copies[i], image.height, image.width, image.channels);
    }
    clv_decoder_destroy(decoder);
    return st;
}

/* Pictures of DATA or, without it, computed ones. */
static clv_status gather(cli *c, const char *data, const char *split, int64_t count, clv_image *images,
                         uint8_t **copies)
{
    clv_dataset *ds = NULL;
    if (data) {
        clv_status st = clv_dataset_open(c->ctx, data, split, &ds);
        if (st == CLV_OK) st = collect(c, ds, count, images, copies);
        clv_dataset_destroy(ds);
        return st;
    }
    const int64_t each = (int64_t)CLI_LANDSCAPE_HEIGHT * CLI_LANDSCAPE_WIDTH * 3;
    copies[0] = cli_landscapes(count);
    if (!copies[0]) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < count; i++)
        images[i] = clv_image_dense(copies[0] + i * each, CLI_LANDSCAPE_HEIGHT, CLI_LANDSCAPE_WIDTH, 3);
    return CLV_OK;
}

static clv_status write_sheet(cli *c, const char *output, const clv_augment *augment,
                              const clv_augment_preview_desc *desc, const clv_image *images, int64_t count)
{
    uint8_t *pixels = NULL;
    int64_t height = 0, width = 0, channels = 0;
    clv_status st = clv_augment_preview(augment, desc, images, count, &pixels, &height, &width, &channels);
    if (st != CLV_OK) return st;
    const clv_image sheet = clv_image_dense(pixels, height, width, channels);
    st = clv_image_write_png(c->ctx, output, &sheet);
    clv_augment_preview_free(augment, pixels);
    return st;
}

static clv_status preview(cli *c, const cli_args *args, const char *output, const clv_augment_preview_desc *desc,
                          int64_t count)
{
    const char *data = args->positional_count > 1 ? args->positional[1] : NULL;
    const clv_option size = { "size", args->value[SIZE] };
    clv_augment *augment = NULL;
    clv_image *images = calloc((size_t)count, sizeof *images);
    uint8_t **copies = calloc((size_t)count, sizeof *copies);
    clv_status st = images && copies ? CLV_OK : CLV_ERR_NOMEM;
    if (st == CLV_OK)
        st = clv_augment_create(c->ctx, desc->title, &size, args->value[SIZE] ? 1 : 0, &augment);
    if (st == CLV_OK) st = gather(c, data, args->value[SPLIT], count, images, copies);
    if (st == CLV_OK) st = write_sheet(c, output, augment, desc, images, count);
    for (int64_t i = 0; copies && i < count; i++) free(copies[i]);
    free(copies);
    free(images);
    clv_augment_destroy(augment);
    return st;
}

static int run_preview(cli *c, const cli_args *args)
{
    clv_augment_preview_desc desc = CLV_AUGMENT_PREVIEW_DESC_INIT;
    const char *preset = args->value[PRESET], *output = args->value[OUTPUT] ? args->value[OUTPUT] : "preview.png";
    long long count = 8, views = desc.views, seed = 0, zoom = 1;
    if (args->positional_count > 2)
        return cli_usage(&cli_command_augment, "augment preview: expected one DATA, got '%s' too", args->positional[2]);
    if (args->value[SPLIT] && args->positional_count < 2)
        return cli_usage(&cli_command_augment, "augment preview: --split is of DATA, and there is none");
    if (args->value[IMAGES] && !cli_integer("images", args->value[IMAGES], 1, 256, &count)) return CLI_USAGE;
    if (args->value[VIEWS] && !cli_integer("views", args->value[VIEWS], 1, 64, &views)) return CLI_USAGE;
    if (args->value[SEED] && !cli_integer("seed", args->value[SEED], 0, INT64_MAX, &seed)) return CLI_USAGE;
    if (args->value[ZOOM] && !cli_integer("zoom", args->value[ZOOM], 1, 64, &zoom)) return CLI_USAGE;
    if (preset && args->value[AUG])
        return cli_usage(&cli_command_augment, "augment preview: give --aug or --preset, not both");
    if (preset && !clv_augment_preset_find(preset))
        return cli_usage(&cli_command_augment, "augment preview: no preset '%s'; 'cleave augment list' tells what there is",
                         preset);
    desc.title = preset ? preset : args->value[AUG] ? args->value[AUG] : "moco-v2";
    desc.zoom = zoom;
    desc.views = views;
    desc.seed = (uint64_t)seed;
    const clv_status st = preview(c, args, output, &desc, count);
    if (st != CLV_OK) return cli_fail(st);
    printf("%s\n", output);
    return CLI_OK;
}

static int run(cli *c, const cli_args *args)
{
    const char *verb = args->positional_count ? args->positional[0] : "";
    if (!strcmp(verb, "preview")) return run_preview(c, args);
    for (int i = 0; flags[i].name; i++)
        if (args->value[i])
            return cli_usage(&cli_command_augment, "--%s acts with 'augment preview' only", flags[i].name);
    if (!strcmp(verb, "list") && args->positional_count == 1) {
        list();
        return CLI_OK;
    }
    if (!strcmp(verb, "show") && args->positional_count == 2) return show_one(args->positional[1]);
    return cli_usage(&cli_command_augment, "augment: expected 'list', 'show NAME' or 'preview [DATA]'");
}

const cli_command cli_command_augment = {
    .name = "augment", .usage = "cleave augment list | show NAME | preview [DATA] [flags]",
    .summary = "list augmentations, or look at what they do",
    .example = "  cleave augment preview --preset moco-v2 --images 8 --views 6\n"
               "  cleave augment preview recipes/data/glyphs.h5 --aug glyphs -o views.png",
    .flags = flags, .run = run,
};
