/* cmd_sample.c: cleave sample: images from a generator. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { OUTPUT, COUNT, FIRST, STEPS, SOLVER, SEED, BATCH, DEVICE };

static const cli_flag flags[] = {
    { "output", 'o', "OUT", "sheet.png: a contact sheet; images.h5: a data set, for cleave eval frechet" },
    { "count", 'n', "N", "images (default 64)" },
    { "first", 0, "N", "number of the first one: each number is another image (default 0)" },
    { "steps", 0, "N", "steps from noise to image (default 25)" },
    { "solver", 0, "S", "heun (default; the network is evaluated twice a step) or euler (once)" },
    { "seed", 0, "N", "seed of the noise (default 0)" },
    { "batch-size", 'b', "N", "images at a time (default 64)" },
    CLI_DEVICE_FLAG,
    { NULL, 0, NULL, NULL },
};

static bool show(int64_t done, int64_t total, void *user)
{
    cli_progress_show(user, done, total, NULL);
    return !cli_stop_requested();
}

static bool ends(const char *text, const char *end)
{
    const size_t n = strlen(text), length = strlen(end);
    return n > length && !strcmp(text + n - length, end);
}

static clv_status save_sheet(cli *c, const char *path, const clv_view *images)
{
    const int64_t n = images->shape[0], size = images->shape[1] * images->shape[2] * images->shape[3];
    int64_t height = 0, width = 0, channels = 0;
    uint8_t *pixels = NULL;
    clv_image *tiles = calloc((size_t)n, sizeof *tiles);
    if (!tiles) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++)
        tiles[i] = clv_image_dense((uint8_t *)images->data + i * size, images->shape[1], images->shape[2],
                                   images->shape[3]);
    clv_status st = clv_contact_sheet(NULL, tiles, n, NULL, &height, &width, &channels);
    if (st == CLV_OK) pixels = malloc((size_t)(height * width * channels));
    if (st == CLV_OK && !pixels) st = CLV_ERR_NOMEM;
    if (st == CLV_OK) st = clv_contact_sheet(NULL, tiles, n, pixels, &height, &width, &channels);
    if (st == CLV_OK) {
        const clv_image sheet = clv_image_dense(pixels, height, width, channels);
        st = clv_image_write_png(c->ctx, path, &sheet);
    }
    free(pixels);
    free(tiles);
    return st;
}

static clv_status sample(cli *c, const cli_args *args, const clv_generator_desc *desc, int64_t first, int64_t count)
{
    clv_generator *generator = NULL;
    int64_t shape[4] = { count, 0, 0, 0 };
    clv_status st = clv_generator_open(c->ctx, desc, &generator);
    if (st != CLV_OK) return st;
    clv_generator_shape(generator, &shape[1], &shape[2], &shape[3]);
    uint8_t *pixels = malloc((size_t)(count * shape[1] * shape[2] * shape[3]));
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, shape);
    cli_progress progress = cli_progress_begin(c, "sample");
    st = pixels ? clv_generator_sample(generator, first, count, &images, show, &progress) : CLV_ERR_NOMEM;
    cli_progress_end(&progress);
    if (st == CLV_OK)
        st = ends(args->value[OUTPUT], ".png") ? save_sheet(c, args->value[OUTPUT], &images)
                                               : clv_images_save(c->ctx, args->value[OUTPUT], &images);
    free(pixels);
    clv_generator_destroy(generator);
    return st;
}

static int run(cli *c, const cli_args *args)
{
    clv_generator_desc desc = CLV_GENERATOR_DESC_INIT;
    long long count = 64, first = 0, n = 0;
    const char *solver = args->value[SOLVER] ? args->value[SOLVER] : "heun", *output = args->value[OUTPUT];
    if (args->positional_count != 1) return cli_usage(&cli_command_sample, "sample: expected RUN or CHECKPOINT");
    if (!output || (!ends(output, ".png") && !ends(output, ".h5")))
        return cli_usage(&cli_command_sample, "sample: expected an output (-o) that ends in .png or .h5");
    if (strcmp(solver, "heun") != 0 && strcmp(solver, "euler") != 0)
        return cli_usage(&cli_command_sample, "--solver: expected heun or euler, got '%s'", solver);
    if (args->value[COUNT] && !cli_integer("count", args->value[COUNT], 1, 1000000, &count)) return CLI_USAGE;
    if (args->value[FIRST] && !cli_integer("first", args->value[FIRST], 0, INT64_MAX / 2, &first)) return CLI_USAGE;
    if (args->value[STEPS] && !cli_integer("steps", args->value[STEPS], 1, 100000, &n)) return CLI_USAGE;
    if (args->value[STEPS]) desc.steps = n;
    if (args->value[BATCH] && !cli_integer("batch-size", args->value[BATCH], 1, 65536, &n)) return CLI_USAGE;
    if (args->value[BATCH]) desc.batch_size = n;
    if (args->value[SEED] && !cli_integer("seed", args->value[SEED], 0, INT64_MAX, &n)) return CLI_USAGE;
    if (args->value[SEED]) desc.seed = (uint64_t)n;
    desc.checkpoint = args->positional[0];
    desc.solver = strcmp(solver, "euler") ? CLV_SOLVER_HEUN : CLV_SOLVER_EULER;
    const int status = cli_device(c, &cli_command_sample, args->value[DEVICE]);
    if (status != CLI_OK) return status;
    cli_catch_signals();
    const clv_status st = sample(c, args, &desc, first, count);
    if (st != CLV_OK) return cli_fail(st);
    printf("%s\n", output);
    return CLI_OK;
}

const cli_command cli_command_sample = {
    .name = "sample",
    .usage = "cleave sample RUN|CHECKPOINT -o OUT.png|OUT.h5 [flags]",
    .summary = "generate images with a network trained by flow matching",
    .example = "  cleave sample runs/flow -n 64 -o samples.png\n"
               "  cleave sample runs/flow -n 2000 -o samples.h5",
    .flags = flags,
    .run = run,
};
