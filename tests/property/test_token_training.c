/* test_token_training.c: runs of networks of tokens: dropped paths go on where they were, and what MoCo v3 does not
 * train stays as it was drawn. */
#include "tests/support/train.h"
#include "core/h5.h"

#include <stdlib.h>
#include <string.h>

static bool stops(const clv_progress *p, void *user)
{
    return p->kind != CLV_PROGRESS_STEP || p->total_step != *(const int64_t *)user;
}

static clv_config *config(test_env *t, const char *arch, const char *directory, const char *resume)
{
    const bool vit = strcmp(arch, "vit_small") == 0;
    return test_run_config(t, directory, "arch", arch, "width", vit ? "12" : "4", "size", vit ? "16" : "32", "patch",
                           vit ? "8" : "0", "drop-path", "0.4", "epochs", "1", "resume", resume, NULL);
}

static void a_run_with_dropped_paths_goes_on_to_the_same_bits(void **state)
{
    static const char *const archs[] = { "vit_small", "convnext_tiny" };
    static const char *const names[][4] = {
        { "v", "w", "v/last.h5", "w/last.h5" }, { "c", "d", "c/last.h5", "d/last.h5" },
    };
    test_env *t = *state;
    for (int i = 0; i < 2; i++) {
        int64_t never = -1, four = 4;
        assert_ok(test_run(t, config(t, archs[i], names[i][0], ""), stops, &never));
        assert_int_equal(test_run(t, config(t, archs[i], names[i][1], ""), stops, &four), CLV_STOPPED);
        assert_false(test_same_file(t, names[i][2], names[i][3]));
        assert_ok(test_run(t, config(t, archs[i], names[i][1], "auto"), stops, &never));
        assert_true(test_same_file(t, names[i][2], names[i][3]));
    }
}

/* A parameter of the query encoder in a checkpoint. */
static void read_parameter(test_env *t, const char *name, float *out, int64_t room)
{
    clvi_h5 *h5 = NULL;
    clvi_h5_info info;
    assert_ok(clvi_h5_open(t->ctx, test_path(t, "run/last.h5"), &h5));
    assert_ok(clvi_h5_stat(h5, name, &info));
    int64_t count = 1;
    for (int d = 0; d < info.ndim; d++) count *= info.shape[d];
    assert_int_equal(count, room);
    const clv_view view = clv_view_dense(out, CLV_F32, info.ndim, info.shape);
    assert_ok(clvi_h5_read(h5, name, &view));
    clvi_h5_close(h5);
}

enum { WIDTH = 12, PROJECTION = WIDTH * 8 * 8, POSITIONS = 5 * WIDTH };

static void patches_and_positions_stay_while_the_rest_is_trained(void **state)
{
    test_env *t = *state;
    static float patches[2][PROJECTION], positions[2][POSITIONS], token[2][WIDTH];
    int64_t stop[2] = { 1, -1 };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(test_run(t, config(t, "vit_small", "run", i ? "auto" : ""), stops, &stop[i]),
                         i ? CLV_OK : CLV_STOPPED);
        read_parameter(t, "model/patch_embed.proj.weight", patches[i], PROJECTION);
        read_parameter(t, "model/pos_embed", positions[i], POSITIONS);
        read_parameter(t, "model/cls_token", token[i], WIDTH);
    }
    assert_memory_equal(patches[0], patches[1], sizeof patches[0]);
    assert_memory_equal(positions[0], positions[1], sizeof positions[0]);
    assert_memory_not_equal(token[0], token[1], sizeof token[0]);
}

TEST_MAIN(TEST(a_run_with_dropped_paths_goes_on_to_the_same_bits),
          TEST(patches_and_positions_stay_while_the_rest_is_trained))
