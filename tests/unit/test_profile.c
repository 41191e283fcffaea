/* test_profile.c: what a profile counts, and the trace of a training run. */
#include "core/file.h"
#include "core/profile.h"
#include "tests/support/train.h"
#include <cleave/graph.h>
#include <cleave/profile.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct small {
    clv_graph *g;
    clv_node   y;
    float      x[6], w[12];
} small;

/* y = x w, [2,3] x [3,4]. */
static void make_small(clv_context *ctx, small *s)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    assert_ok(clv_graph_create(ctx, &desc, &s->g));
    const clv_node x = clv_input(s->g, "x", CLV_F32, 2, (int64_t[]){ 2, 3 });
    const clv_node w = clv_input(s->g, "w", CLV_F32, 2, (int64_t[]){ 3, 4 });
    s->y = clv_matmul(s->g, x, false, w, false);
    clv_graph_output(s->g, s->y);
    assert_ok(clv_graph_finish(s->g));
    const clv_view xs = clv_view_2d(s->x, CLV_F32, 2, 3), ws = clv_view_2d(s->w, CLV_F32, 3, 4);
    assert_ok(clv_graph_bind(s->g, x, &xs));
    assert_ok(clv_graph_bind(s->g, w, &ws));
}

static void operations_are_counted_with_their_work(void **state)
{
    test_env *t = *state;
    small s = { .x = { 1 } };
    clv_profile *p = NULL;
    clv_profile_entry e;
    make_small(t->ctx, &s);
    assert_ok(clv_graph_run(s.g));
    assert_ok(clv_profile_start(t->ctx, &p));
    assert_int_equal(clv_profile_count(p), 0);
    const int64_t begin = clv_profile_begin(t->ctx);
    for (int i = 0; i < 3; i++) assert_ok(clv_graph_run(s.g));
    clv_profile_end(t->ctx, begin, CLV_PROFILE_STEP);
    clv_profile_stop(p);
    assert_ok(clv_graph_run(s.g));
    assert_int_equal(clv_profile_count(p), 2);
    assert_ok(clv_profile_get(p, 0, &e));       /* what holds the others is longest */
    assert_string_equal(e.name, "step");
    assert_null(e.kernel);
    assert_near(e.share, 1, 0);
    const double whole = e.seconds;
    assert_ok(clv_profile_get(p, 1, &e));
    assert_string_equal(e.name, "matmul");
    assert_non_null(e.kernel);
    assert_int_equal(e.calls, 3);
    assert_near(e.flops, 3 * 2.0 * 2 * 3 * 4, 0);
    assert_near(e.bytes, 3 * 4.0 * (6 + 12 + 8), 0);
    assert_true(e.seconds > 0 && e.seconds <= whole);
    assert_near(e.share, e.seconds / whole, 1e-12);
    assert_fails(clv_profile_get(p, 2, &e), CLV_ERR_INVALID, "there is no entry 2; there are 2");
    assert_fails(clv_profile_get(p, -1, &e), CLV_ERR_INVALID, "no entry -1");
    clv_profile_destroy(p);
    clv_graph_destroy(s.g);
}

static void a_context_has_one_profile_at_a_time(void **state)
{
    test_env *t = *state;
    clv_profile *p = NULL, *second = NULL;
    assert_int_equal(clv_profile_begin(t->ctx), 0);
    clv_profile_end(t->ctx, 0, "nothing");
    assert_ok(clv_profile_start(t->ctx, &p));
    assert_fails(clv_profile_start(t->ctx, &second), CLV_ERR_INVALID, "has a profile already");
    assert_null(second);
    clv_profile_stop(p);
    assert_ok(clv_profile_start(t->ctx, &second));
    clv_profile_destroy(p);                      /* leaves the other one on */
    assert_true(clv_profile_begin(t->ctx) != 0);
    clv_profile_destroy(second);
    assert_int_equal(clv_profile_begin(t->ctx), 0);
    assert_fails(clv_profile_start(NULL, &p), CLV_ERR_INVALID, "clv_profile_start");
}

static void recording_allocates_nothing(void **state)
{
    test_env *t = *state;
    small s = { .x = { 1 } };
    clv_profile *p = NULL;
    make_small(t->ctx, &s);
    assert_ok(clv_graph_run(s.g));
    assert_ok(clv_profile_start(t->ctx, &p));
    const uint64_t before = clvi_alloc_count();
    for (int i = 0; i < 100; i++) assert_ok(clv_graph_run(s.g));
    assert_int_equal(clvi_alloc_count(), before);
    clv_profile_destroy(p);
    clv_graph_destroy(s.g);
}

static void a_refused_allocation_leaves_no_profile_behind(void **state)
{
    test_env *t = *state;
    for (long call = 1; call <= 2; call++) {
        clv_profile *p = NULL;
        atomic_store(&t->heap.fail_at, atomic_load(&t->heap.calls) + call);
        assert_fails(clv_profile_start(t->ctx, &p), CLV_ERR_NOMEM, "out of memory");
        assert_null(p);
        assert_int_equal(clv_profile_begin(t->ctx), 0);
    }
    atomic_store(&t->heap.fail_at, 0);
}

static json_t *load(test_env *t, const char *name)
{
    json_error_t error;
    json_t *root = json_load_file(test_path(t, name), JSON_REJECT_DUPLICATES, &error);
    if (!root) fail_msg("%s, line %d: %s", name, error.line, error.text);
    return root;
}

static void a_trace_keeps_the_last_events_and_is_json_whatever_the_names(void **state)
{
    test_env *t = *state;
    clv_profile *p = NULL;
    assert_ok(clv_profile_start(t->ctx, &p));
    for (int i = 0; i < 65536 + 3; i++)
        clvi_profile_add(p, 1000 * i, 1000 * i + 500, &(clvi_profile_work){ .name = i < 4 ? "early" : "a \"b\"\n\\" });
    assert_ok(clv_profile_write_trace(p, test_path(t, "trace.json")));
    json_t *root = load(t, "trace.json"), *events = json_object_get(root, "traceEvents");
    assert_int_equal(json_array_size(events), 65536);
    assert_string_equal(json_string_value(json_object_get(json_array_get(events, 0), "name")), "early");
    assert_string_equal(json_string_value(json_object_get(json_array_get(events, 1), "name")), "a ?b???");
    assert_near(json_number_value(json_object_get(json_array_get(events, 1), "dur")), 0.5, 1e-9);
    json_decref(root);
    assert_fails(clv_profile_write_trace(p, "/nonexistent/trace.json"), CLV_ERR_IO, "/nonexistent/trace.json");
    clv_profile_destroy(p);
}

/* ---- a run ---- */

typedef struct notes {
    bool table, data, conv, sgd, trace;
} notes;

static bool collect(const clv_progress *p, void *user)
{
    notes *n = user;
    if (p->kind != CLV_PROGRESS_NOTE) return true;
    n->table |= strncmp(p->note, "operation", 9) == 0;
    n->data |= strncmp(p->note, "wait for data", 13) == 0;
    n->conv |= strncmp(p->note, "conv2d_bwd_weights", 18) == 0;
    n->sgd |= strncmp(p->note, "sgd", 3) == 0;
    n->trace |= strstr(p->note, "trace.json") != NULL;
    return true;
}

/* Every event is complete and lies, if it is an operation of the step, within the run. */
static void check_events(const json_t *events, int *steps, int *operations)
{
    size_t i;
    json_t *event;
    json_array_foreach(events, i, event) {
        const char *category = json_string_value(json_object_get(event, "cat"));
        assert_string_equal(json_string_value(json_object_get(event, "ph")), "X");
        assert_non_null(json_string_value(json_object_get(event, "name")));
        assert_true(json_number_value(json_object_get(event, "ts")) >= 0);
        assert_true(json_number_value(json_object_get(event, "dur")) >= 0);
        assert_true(json_is_integer(json_object_get(event, "pid")) && json_is_integer(json_object_get(event, "tid")));
        *steps += strcmp(json_string_value(json_object_get(event, "name")), "step") == 0;
        *operations += strcmp(category, "operation") == 0;
    }
}

static void a_profiled_run_tells_a_table_and_writes_a_trace(void **state)
{
    test_env *t = *state;
    notes n = { false };
    assert_ok(test_run(t, test_run_config(t, "a", "profile", "true", "epochs", "1", NULL), collect, &n));
    assert_true(n.table && n.data && n.conv && n.sgd && n.trace);
    json_t *root = load(t, "a/trace.json");
    int steps = 0, operations = 0;
    check_events(json_object_get(root, "traceEvents"), &steps, &operations);
    assert_int_equal(steps, 10);
    assert_true(operations > 10 * 20);
    json_decref(root);
}

static void a_profile_changes_no_result(void **state)
{
    test_env *t = *state;
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", NULL), NULL, NULL));
    assert_ok(test_run(t, test_run_config(t, "b", "epochs", "1", "profile", "true", NULL), NULL, NULL));
    assert_false(test_has_file(t, "a/trace.json"));
    clv_encoder *e[2] = { NULL };
    for (int i = 0; i < 2; i++) {
        clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
        desc.checkpoint = test_path(t, i ? "b/last.h5" : "a/last.h5");
        desc.batch_size = 16;
        assert_ok(clv_encoder_open(t->ctx, &desc, &e[i]));
    }
    const int64_t dim = clv_encoder_dim(e[0]);
    static float rows[2][160 * 64];
    clv_dataset *ds = NULL;
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
    for (int i = 0; i < 2; i++) {
        const clv_view view = clv_view_2d(rows[i], CLV_F32, 160, dim);
        assert_ok(clv_encoder_embed(e[i], ds, 0, 160, &view, NULL, NULL));
        clv_encoder_destroy(e[i]);
    }
    clv_dataset_destroy(ds);
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
}

TEST_MAIN(TEST(operations_are_counted_with_their_work), TEST(a_context_has_one_profile_at_a_time),
          TEST(recording_allocates_nothing), TEST(a_refused_allocation_leaves_no_profile_behind),
          TEST(a_trace_keeps_the_last_events_and_is_json_whatever_the_names),
          TEST(a_profiled_run_tells_a_table_and_writes_a_trace), TEST(a_profile_changes_no_result))
