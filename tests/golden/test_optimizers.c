/* test_optimizers.c: every optimiser takes the published steps, takes along what follows, and needs memory for it. */
#include "tests/support/optimizers.h"
#include "train/optimizers/optimizer.h"

static void every_optimizer_takes_the_published_steps(void **state)
{
    test_env *t = *state;
    test_optimizers_take_golden_steps(t->ctx);
}

static void what_follows_in_a_step_has_the_bits_of_passes_of_its_own(void **state)
{
    test_env *t = *state;
    test_optimizers_are_followed(t->ctx);
}

static clv_status make_each(clv_context *ctx, void *arg)
{
    clv_params *params = NULL;
    clvi_optimizer *o = NULL;
    const clv_config *config = arg;
    int64_t at;
    CLV_TRY(clv_params_create(ctx, CLV_F32, &params));
    clv_status st = clvi_params_add(params, "w", CLV_PARAM_TRAINABLE, 2, (int64_t[]){ 5, 7 },
                                    (clv_init){ .kind = CLV_INIT_CONSTANT }, &at);
    if (st == CLV_OK) st = clvi_params_lay_out(params);
    if (st == CLV_OK) st = clvi_params_need_gradients(params);
    if (st == CLV_OK) st = clvi_optimizer_create(params, ctx, &config->settings, &o);
    clvi_optimizer_destroy(o);
    clv_params_destroy(params);
    return st;
}

static void without_memory_there_is_none(void **state)
{
    test_env *t = *state;
    clv_config *config = NULL;
    assert_ok(clv_config_create(t->ctx, &config));
    assert_ok(clv_config_set(config, "optimizer", "lamb"));
    test_each_allocation_fails(t, make_each, config);
    clv_config_destroy(config);
}

TEST_MAIN(TEST(every_optimizer_takes_the_published_steps),
          TEST(what_follows_in_a_step_has_the_bits_of_passes_of_its_own), TEST(without_memory_there_is_none))
