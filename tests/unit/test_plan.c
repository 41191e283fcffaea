/* test_plan.c: memory, layouts and kernels of finished graphs. */
#include "tests/support/random_graph.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAPHS 30

static clv_graph_desc training_desc(uint64_t seed)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.training = true;
    desc.reference = seed % 3 == 0;
    if (seed % 2) desc.precision = desc.reference ? CLV_PRECISION_BF16 : CLV_PRECISION_AUTO;
    return desc;
}

/* ---- who overwrites whom, found by walking the steps ---- */

typedef struct piece {
    size_t begin, end;    /* in the arena; empty: elsewhere */
    bool   whole;         /* computed, and nothing has been written over it */
} piece;

static piece piece_of(const clv_graph *g, int32_t value)
{
    const clvi_storage *s = clvi_graph_storage(g, value);
    if (!s || s->kind != CLVI_STORAGE_ARENA) return (piece) { 0, 0, false };
    const size_t bytes = g->values[clvi_graph_root(g, value)].desc.bytes;
    assert_true(bytes <= s->bytes && s->offset % 64 == 0 && s->offset + s->bytes <= g->arena_size);
    return (piece) { s->offset, s->offset + bytes, false };
}

static bool meet(piece a, piece b)
{
    return a.begin < b.end && b.begin < a.end;
}

/* An output may lie on an input of its own step only where the kernel says so, and then exactly. */
static void check_outputs(const clv_graph *g, const clvi_step *step)
{
    for (int o = 0; o < step->call.n_out; o++) {
        const piece out = piece_of(g, step->out[o]);
        for (int i = 0; i < step->call.n_in; i++) {
            const piece in = step->in[i] < 0 ? (piece) { 0, 0, false } : piece_of(g, step->in[i]);
            if (!meet(out, in)) continue;
            assert_int_equal(step->kernel->in_place[o], i + 1);
            assert_true(out.begin == in.begin && out.end == in.end);
        }
        for (int k = 0; k < o; k++) assert_false(meet(out, piece_of(g, step->out[k])));
    }
}

/* Scratch memory meets nothing its step reads or writes; what it meets is lost. */
static void check_scratch(const clv_graph *g, const clvi_step *step, piece *of)
{
    if (step->scratch < 0) return;
    const clvi_storage *s = &g->storages[step->scratch];
    const piece scratch = { s->offset, s->offset + s->bytes, false };
    assert_true(s->offset + s->bytes <= g->arena_size && step->call.scratch_size <= s->bytes);
    for (int i = 0; i < step->call.n_in; i++)
        assert_false(step->in[i] >= 0 && meet(scratch, piece_of(g, step->in[i])));
    for (int o = 0; o < step->call.n_out; o++) assert_false(meet(scratch, piece_of(g, step->out[o])));
    for (int32_t v = 0; v < g->n_values; v++)
        if (meet(scratch, of[v])) of[v].whole = false;
}

static void check_no_value_is_overwritten(const clv_graph *g)
{
    piece *of = calloc((size_t)g->n_values, sizeof *of);
    for (int32_t s = 0; s < g->n_steps; s++) {
        const clvi_step *step = &g->steps[s];
        for (int i = 0; i < step->call.n_in; i++) {
            const int32_t root = step->in[i] < 0 ? -1 : clvi_graph_root(g, step->in[i]);
            if (root >= 0 && of[root].end > 0) assert_true(of[root].whole);
        }
        check_outputs(g, step);
        check_scratch(g, step, of);
        for (int o = 0; o < step->call.n_out; o++) {
            const piece out = piece_of(g, step->out[o]);
            for (int32_t v = 0; v < g->n_values; v++)
                if (meet(out, of[v])) of[v].whole = false;
            of[step->out[o]] = out;
            of[step->out[o]].whole = true;
        }
    }
    for (int32_t v = 0; v < g->n_values; v++) {
        const int32_t shown = g->values[v].keep ? clvi_graph_shown(g, v) : -1;
        if (shown < 0 || of[clvi_graph_root(g, shown)].end == 0) continue;
        assert_true(of[clvi_graph_root(g, shown)].whole);
    }
    free(of);
}

static void no_value_is_overwritten_before_its_last_use(void **state)
{
    test_env *t = *state;
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        random_graph r;
        const clv_graph_desc desc = training_desc(seed);
        random_graph_make(t->ctx, &desc, seed, &r);
        check_no_value_is_overwritten(r.g);
        random_graph_destroy(&r);
    }
}

/* ---- what runs do to memory ---- */

typedef struct results {
    float  value[RANDOM_OUTPUTS + 1][512];
    float  gradient[4096];
    size_t n_gradient;
} results;

static void collect(random_graph *r, results *out)
{
    clv_view view;
    memset(out, 0, sizeof *out);
    for (int i = 0; i <= RANDOM_OUTPUTS; i++) {
        assert_ok(clv_graph_read(r->g, i < RANDOM_OUTPUTS ? r->output[i] : r->loss, &view));
        memcpy(out->value[i], view.data, (size_t)clv_view_count(&view) * sizeof(float));
    }
    assert_ok(clv_params_flat(clv_graph_params(r->g), CLV_PARAM_GRADIENT, &view));
    out->n_gradient = (size_t)clv_view_count(&view);
    assert_true(out->n_gradient <= 4096);
    memcpy(out->gradient, view.data, out->n_gradient * sizeof(float));
}

/* Runs with all memory that holds nothing of use full of NaN. */
static void run_poisoned(clv_graph *g)
{
    memset(g->arena, 0xff, g->arena_size);
    for (int32_t s = 0; s < g->n_steps; s++) {
        if (g->steps[s].scratch >= 0) memset(g->steps[s].call.scratch, 0xff, g->steps[s].call.scratch_size);
        assert_ok(clvi_graph_run_step(g, s));
        for (int32_t k = 0; k < g->n_storages; k++) {
            const clvi_storage *dead = &g->storages[k];
            if (dead->kind == CLVI_STORAGE_ARENA && dead->merged < 0 && dead->last == s)
                memset(g->arena + dead->offset, 0xff, dead->bytes);
        }
    }
}

static void results_do_not_depend_on_what_lay_in_memory_before(void **state)
{
    test_env *t = *state;
    static results clean, poisoned;
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        random_graph r;
        const clv_graph_desc desc = training_desc(seed);
        random_graph_make(t->ctx, &desc, seed, &r);
        assert_ok(clv_graph_run(r.g));
        collect(&r, &clean);
        run_poisoned(r.g);
        collect(&r, &poisoned);
        assert_memory_equal(&clean, &poisoned, sizeof clean);
        random_graph_destroy(&r);
    }
}

static void runs_after_the_first_allocate_nothing(void **state)
{
    test_env *t = *state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        random_graph r;
        const clv_graph_desc desc = training_desc(seed);
        random_graph_make(t->ctx, &desc, seed, &r);
        assert_ok(clv_graph_run(r.g));
        const uint64_t count = clvi_alloc_count();
        const long calls = t->heap.calls;
        for (int i = 0; i < 3; i++) assert_ok(clv_graph_run(r.g));
        assert_true(clvi_alloc_count() == count);
        assert_int_equal(t->heap.calls, calls);
        random_graph_destroy(&r);
    }
}

typedef struct totals {
    size_t parameters, gradients, activations, unplanned, scratch;
    int    found;
} totals;

static void find_totals(const char *text, void *user)
{
    totals *m = user;
    const char *at = strstr(text, "bytes: ");
    if (at) m->found += sscanf(at, "bytes: parameters %zu, gradients %zu, activations %zu (unplanned %zu), largest scratch %zu",
                               &m->parameters, &m->gradients, &m->activations, &m->unplanned, &m->scratch);
}

static void the_bytes_told_are_the_bytes_taken(void **state)
{
    test_env *t = *state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        random_graph r;
        const clv_graph_desc desc = training_desc(seed);
        random_graph_make(t->ctx, &desc, seed, &r);
        clv_graph_memory_t told;
        totals printed = { .found = 0 };
        assert_ok(clv_graph_memory(r.g, &told));
        assert_ok(clv_graph_print(r.g, find_totals, &printed));
        assert_int_equal(printed.found, 5);
        assert_int_equal(printed.parameters, told.parameters);
        assert_int_equal(printed.gradients, told.gradients);
        assert_int_equal(printed.activations, told.activations);
        assert_int_equal(printed.unplanned, told.unplanned);
        assert_int_equal(printed.scratch, told.scratch);
        assert_true(told.activations < told.unplanned);
        const long before = t->heap.live_bytes;
        assert_ok(clv_graph_run(r.g));
        const size_t least = 1;   /* an empty arena still has an address */
        const size_t want = told.activations + (told.gradients ? told.gradients : least);
        assert_int_equal(t->heap.live_bytes - before, want);
        random_graph_destroy(&r);
    }
}

/* ---- steps ---- */

static int count_steps(const clv_graph *g, const char *op)
{
    int n = 0;
    for (int32_t s = 0; s < g->n_steps; s++) n += strcmp(g->steps[s].call.op, op) == 0;
    return n;
}

static clv_graph *make_graph(test_env *t, bool reference, clv_params *params, bool training)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.reference = reference;
    desc.params = params;
    desc.training = training;
    clv_graph *g = NULL;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    return g;
}

static clv_node conv_weight(clv_graph *g, const char *name, int64_t out, int64_t in, int64_t side)
{
    const clv_init init = { .kind = CLV_INIT_KAIMING_NORMAL, .fan = out * side * side };
    return clv_parameter(g, name, CLV_PARAM_TRAINABLE, 4, (int64_t[]) { out, in, side, side }, init);
}

static void one_reorder_serves_all_who_want_a_value_in_another_layout(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, true, NULL, false);
    const clv_node x = clv_input_image(g, "x", 1, 2, 4, 4);   /* N,H,W,C; plain kernels want N,C,H,W */
    const clv_node a = clv_conv2d(g, x, conv_weight(g, "a", 2, 2, 3), 1, 1), b = clv_scale(g, x, 2, 0);
    clv_graph_output(g, clv_add(g, a, b));
    clv_graph_output(g, x);
    assert_ok(clv_graph_finish(g));
    assert_int_equal(count_steps(g, "reorder"), 1);
    clv_graph_destroy(g);
}

static void what_nobody_reads_does_not_run(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, false, NULL, true);
    const clv_node x = clv_input(g, "x", CLV_F32, 2, (int64_t[]) { 4, 4 });
    const clv_init init = { .kind = CLV_INIT_UNIFORM_FAN, .fan = 4 };
    const clv_node w = clv_parameter(g, "w", CLV_PARAM_TRAINABLE, 2, (int64_t[]) { 4, 4 }, init);
    (void)clv_l2norm_rows(g, clv_scale(g, x, 2, 0), 1e-6);
    assert_ok(clv_graph_backward(g, clv_reduce(g, clv_matmul(g, x, false, w, false), -1, false)));
    assert_ok(clv_graph_finish(g));
    assert_int_equal(count_steps(g, "l2norm_rows"), 0);
    assert_int_equal(count_steps(g, "scale"), 0);
    /* Only the gradient of w is wanted: neither the product itself nor the gradient of x. */
    assert_int_equal(count_steps(g, "matmul"), 1);
    assert_int_equal(count_steps(g, "reorder"), 0);   /* it is written where the set has it */
    clv_graph_destroy(g);
}

static void running_statistics_are_updated_though_nobody_reads_the_result(void **state)
{
    test_env *t = *state;
    const clv_init zero = { 0 };
    const int64_t channels = 2;
    for (int training = 0; training < 2; training++) {
        clv_graph *g = make_graph(t, false, NULL, training);
        const clv_node x = clv_input(g, "x", CLV_F32, 2, (int64_t[]) { 2, 2 });
        const clv_batch_norm_desc desc = {
            CLV_NONE, CLV_NONE, clv_parameter(g, "mean", CLV_PARAM_BUFFER, 1, &channels, zero),
            clv_parameter(g, "var", CLV_PARAM_BUFFER, 1, &channels, zero), 1, 1e-5, 0.5,
        };
        (void)clv_batch_norm(g, x, &desc);
        assert_ok(clv_graph_finish(g));
        assert_int_equal(count_steps(g, "batch_norm"), training);
        float data[4] = { 1, 10, 3, 30 }, mean[2];
        const clv_view view = clv_view_2d(data, CLV_F32, 2, 2), dst = clv_view_1d(mean, CLV_F32, 2);
        assert_ok(clv_graph_bind(g, x, &view));
        assert_ok(clv_graph_run(g));
        assert_ok(clv_params_read(clv_graph_params(g), 0, CLV_PARAM_VALUE, &dst));
        assert_near(mean[0], training ? 1 : 0, 1e-6);
        assert_near(mean[1], training ? 10 : 0, 1e-5);
        clv_graph_destroy(g);
    }
}

/* relu(batch_norm(conv(x)) + x), read twice, of so many channels, trained. */
static clv_graph *residual(test_env *t, int64_t c)
{
    const clv_init zero = { 0 }, one = { .value = 1 };
    clv_graph *g = make_graph(t, false, NULL, true);
    const clv_node image = clv_input_image(g, "image", 2, 3, 6, 6);
    clv_node x = clv_conv2d(g, image, conv_weight(g, "stem", c, 3, 3), 1, 1);
    for (int i = 0; i < 2; i++) {
        char name[3][16];
        static const char *const parts[] = { "weight", "mean", "var" };
        for (int k = 0; k < 3; k++) (void)snprintf(name[k], sizeof name[k], "%s%d", parts[k], i);
        const clv_batch_norm_desc desc = {
            CLV_NONE, CLV_NONE, clv_parameter(g, name[1], CLV_PARAM_BUFFER, 1, &c, zero),
            clv_parameter(g, name[2], CLV_PARAM_BUFFER, 1, &c, one), 1, 1e-5, 0.1,
        };
        const clv_node y = clv_conv2d(g, x, conv_weight(g, name[0], c, c, 3), 1, 1);
        x = clv_relu(g, clv_add(g, clv_batch_norm(g, y, &desc), x));
    }
    assert_ok(clv_graph_backward(g, clv_reduce(g, clv_mul(g, x, x), -1, true)));
    assert_ok(clv_graph_finish(g));
    return g;
}

/* Without kernels for it, here for channels that fill no block, both stay. */
static void batch_norms_take_the_sums_around_them_along_where_they_can(void **state)
{
    test_env *t = *state;
    clv_graph *full = residual(t, 32), *odd = residual(t, 20);
    assert_int_equal(count_steps(full, "relu_bwd"), 0);
    assert_int_equal(count_steps(full, "add"), 1);     /* of the gradients of the stem's result, which no norm reads */
    assert_int_equal(count_steps(odd, "relu_bwd"), 2);
    assert_int_equal(count_steps(odd, "add"), 5);
    clv_graph_destroy(full);
    clv_graph_destroy(odd);
}

static void a_workspace_is_read_by_a_kernel_of_the_library_that_wrote_it(void **state)
{
    test_env *t = *state;
    int seen = 0;
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        random_graph r;
        clv_graph_desc desc = training_desc(seed);
        desc.dtype = seed % 2 && desc.precision != CLV_PRECISION_BF16 ? CLV_F64 : CLV_F32;
        random_graph_make(t->ctx, &desc, seed, &r);
        for (int32_t s = 0; s < r.g->n_steps; s++) {
            const clvi_step *step = &r.g->steps[s];
            const bool norm = strcmp(step->call.op, "batch_norm_bwd") == 0;
            if (!norm && strcmp(step->call.op, "max_pool2d_bwd") != 0) continue;
            assert_string_equal(step->kernel->name, r.g->values[step->in[norm ? 5 : 1]].by->name);
            seen++;
        }
        random_graph_destroy(&r);
    }
    assert_true(seen > GRAPHS);
}

/* ---- one set of parameters, several graphs ---- */

/* Two convolutions with a batch norm between, and the mean over pixels. */
static clv_node small_net(clv_graph *g, int64_t batch, clv_node *image)
{
    const clv_init zero = { 0 }, one = { .value = 1 };
    const int64_t c = 32;
    *image = clv_input_image(g, "image", batch, 3, 8, 8);
    const clv_node x = clv_conv2d(g, *image, conv_weight(g, "conv1", c, 3, 3), 1, 1);
    const clv_batch_norm_desc desc = {
        clv_parameter(g, "gamma", CLV_PARAM_TRAINABLE, 1, &c, one),
        clv_parameter(g, "beta", CLV_PARAM_TRAINABLE, 1, &c, zero),
        clv_parameter(g, "mean", CLV_PARAM_BUFFER, 1, &c, zero),
        clv_parameter(g, "var", CLV_PARAM_BUFFER, 1, &c, one), 1, 1e-5, 0.1,
    };
    const clv_node h = clv_relu(g, clv_batch_norm(g, x, &desc));
    return clv_global_avg_pool(g, clv_conv2d(g, h, conv_weight(g, "conv2", c, c, 3), 2, 1));
}

static void run_net(clv_graph *g, int64_t batch, clv_node image, clv_node y, float *out)
{
    static float pixels[8 * 3 * 8 * 8];
    for (int i = 0; i < 8 * 3 * 8 * 8; i++) pixels[i] = (float)((i * 37) % 101) / 50.0f - 1.0f;
    const clv_view view = clv_view_nhwc(pixels, CLV_F32, batch, 3, 8, 8);
    clv_view result;
    assert_ok(clv_graph_bind(g, image, &view));
    assert_ok(clv_graph_run(g));
    if (!out) return;
    assert_ok(clv_graph_read(g, y, &result));
    memcpy(out, result.data, (size_t)batch * 32 * sizeof(float));
}

static void graphs_of_other_batches_and_modes_share_parameters_and_clones(void **state)
{
    test_env *t = *state;
    clv_params *p = NULL, *clone = NULL;
    assert_ok(clv_params_create(t->ctx, CLV_F32, &p));
    clv_graph *train = make_graph(t, false, p, true), *early = make_graph(t, false, p, false);
    clv_node image, y, early_image;
    clv_node early_y = small_net(early, 3, &early_image);   /* built before the set is laid out, finished after */
    y = small_net(train, 8, &image);
    assert_ok(clv_graph_backward(train, clv_reduce(train, clv_mul(train, y, y), -1, true)));
    assert_ok(clv_graph_finish(train));
    assert_ok(clv_params_init(p, 11));
    run_net(train, 8, image, y, NULL);
    clv_graph_output(early, early_y);
    assert_ok(clv_graph_finish(early));
    assert_ok(clv_params_clone(p, &clone));

    float first[3 * 32], second[3 * 32], plain[3 * 32];
    run_net(early, 3, early_image, early_y, first);
    for (int reference = 0; reference < 2; reference++) {
        clv_graph *g = make_graph(t, reference, clone, false);
        const clv_node out = small_net(g, 3, &image);
        clv_graph_output(g, out);
        assert_ok(clv_graph_finish(g));
        run_net(g, 3, image, out, reference ? plain : second);
        clv_graph_destroy(g);
    }
    assert_memory_equal(first, second, sizeof first);
    for (int i = 0; i < 3 * 32; i++) assert_near(first[i], plain[i], 1e-4);
    clv_graph_destroy(early);
    clv_graph_destroy(train);
    clv_params_destroy(clone);
    clv_params_destroy(p);
}

static void a_name_that_comes_after_the_layout_is_refused(void **state)
{
    test_env *t = *state;
    clv_params *p = NULL;
    assert_ok(clv_params_create(t->ctx, CLV_F32, &p));
    clv_graph *g = make_graph(t, false, p, false), *late = make_graph(t, false, p, false);
    clv_graph_output(g, conv_weight(g, "w", 2, 2, 1));
    assert_ok(clv_graph_finish(g));
    (void)conv_weight(late, "v", 2, 2, 1);
    assert_fails(clv_graph_finish(late), CLV_ERR_INVALID,
                 "clv_parameter: 'v' is new, but the set was laid out when its first graph finished");
    clv_graph_destroy(late);
    clv_graph_destroy(g);
    clv_params_destroy(p);
}

TEST_MAIN(
    TEST(no_value_is_overwritten_before_its_last_use),
    TEST(results_do_not_depend_on_what_lay_in_memory_before),
    TEST(runs_after_the_first_allocate_nothing),
    TEST(the_bytes_told_are_the_bytes_taken),
    TEST(one_reorder_serves_all_who_want_a_value_in_another_layout),
    TEST(what_nobody_reads_does_not_run),
    TEST(running_statistics_are_updated_though_nobody_reads_the_result),
    TEST(batch_norms_take_the_sums_around_them_along_where_they_can),
    TEST(a_workspace_is_read_by_a_kernel_of_the_library_that_wrote_it),
    TEST(graphs_of_other_batches_and_modes_share_parameters_and_clones),
    TEST(a_name_that_comes_after_the_layout_is_refused),
)
