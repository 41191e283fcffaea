/* test_plans.c: cuDNN can do every convolution of every backbone, but depthwise ones, on an H100 by the rules of dnn.h,
 * at batches of 32 and 256, forward and both gradients, in bfloat16, strict float32 and TF32; and those of networks
 * that are only looked at with all that is folded into them. Needs the toolkit, no GPU: the device is a text. Where
 * CLEAVE_TEST_DEVICE names a device it is that one. CLEAVE_DEVICE_RECORD names a file for what cuDNN says of it. */
#include <stdio.h>
#ifndef CLV_HAVE_CUDA

int main(void)
{
    puts("this build has no CUDA toolkit");
    return 77;
}

#else

#include "core/checked.h"
#include "device/attr.h"
#include "device/cuda/dnn.h"
#include "tensor/graph.h"
#include "tests/support/test.h"
#include <cleave/backbone.h>
#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKSPACE ((int64_t)256 << 20)
#define MAX_SEEN  4096

typedef struct walk {
    cudnnBackendDescriptor_t device;
    clvi_dnn_conv seen[MAX_SEEN];      /* shapes come back often */
    int           n_seen, n_padded, n_tf32, n_strict;      /* n_strict: of n_tf32 those that are not */
} walk;

static void describe_by_text(cudnnBackendDescriptor_t device)
{
    static char text[4096];
    FILE *file = fopen("tests/cuda/h100_deviceprop.json", "rb");
    assert_non_null(file);
    const size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    assert_int_equal(cudnnBackendSetAttribute(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                              (int64_t)size, text), CUDNN_STATUS_SUCCESS);
}

static cudnnBackendDescriptor_t make_device(void)
{
    const char *name = getenv("CLEAVE_TEST_DEVICE");
    cudnnBackendDescriptor_t device;
    assert_int_equal(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device), CUDNN_STATUS_SUCCESS);
    if (name) {
        const char *colon = strchr(name, ':');
        const int32_t ordinal = colon ? (int32_t)strtol(colon + 1, NULL, 10) : 0;
        assert_int_equal(cudnnBackendSetAttribute(device, CUDNN_ATTR_DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, 1, &ordinal),
                         CUDNN_STATUS_SUCCESS);
    } else describe_by_text(device);
    assert_int_equal(cudnnBackendFinalize(device), CUDNN_STATUS_SUCCESS);
    return device;
}

/* What makes plans for a device that is not there. */
static void the_device_describes_itself(void **state)
{
    (void)state;
    char text[4096];
    int64_t size = 0;
    const cudnnBackendDescriptor_t device = make_device();
    assert_int_equal(cudnnBackendGetAttribute(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                              sizeof text, &size, text), CUDNN_STATUS_SUCCESS);
    cudnnBackendDestroyDescriptor(device);
    assert_in_range(size, 1, sizeof text);
    assert_non_null(memmem(text, (size_t)size, "multiProcessorCount", strlen("multiProcessorCount")));
    const char *path = getenv("CLEAVE_DEVICE_RECORD");
    if (!path) return;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strnlen(text, (size_t)size), file), strnlen(text, (size_t)size));
    assert_int_equal(fclose(file), 0);
}

static bool is_new(walk *w, const clvi_dnn_conv *c)
{
    for (int i = 0; i < w->n_seen; i++)
        if (memcmp(&w->seen[i], c, sizeof *c) == 0) return false;
    assert_true(w->n_seen < MAX_SEEN);
    memcpy(&w->seen[w->n_seen++], c, sizeof *c);        /* what is between its members, too */
    return true;
}

static void check_plan(walk *w, const clvi_dnn_conv *c, const char *backbone)
{
    static const char *const directions[] = { "forward", "data", "weights" };
    clvi_dnn_plan plan;
    if (!is_new(w, c)) return;
    bool pads;
    if (clvi_dnn_conv_plan_padded(c, w->device, WORKSPACE, NULL, &plan, &pads) != CLV_OK)
        fail_msg("%s: %s (then %ld) of [%ld,%ld,%ld,%ld] with [%ld,%ld,%ld,%ld]: %s", backbone,
                 directions[c->direction], (long)c->then, (long)c->x[0], (long)c->x[1], (long)c->x[2], (long)c->x[3],
                 (long)c->w[0], (long)c->w[1], (long)c->w[2], (long)c->w[3], clv_error_message());
    assert_non_null(plan.plan);
    assert_true(plan.workspace <= (pads ? (int64_t)16 << 20 : WORKSPACE));
    w->n_padded += pads;
    w->n_tf32 += c->tf32;
    w->n_strict += c->tf32 && !plan.tensor_core;
    if (!c->tf32) assert_int_equal(plan.tensor_core, c->type == CUDNN_DATA_BFLOAT16);
    clvi_dnn_plan_free(&plan);
}

/* A node's convolution, of whichever operation. */
static void describe(const clv_graph *g, const clvi_node *node, const clvi_conv2d_attr *attr, int direction,
                     clv_precision precision, clvi_dnn_conv *c)
{
    memset(c, 0, sizeof *c);
    c->direction = (clvi_dnn_direction)direction;
    c->type = precision == CLV_PRECISION_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    c->tf32 = precision == CLV_PRECISION_TF32;
    memcpy(c->x, g->values[node->in[0]].desc.shape, sizeof c->x);
    memcpy(c->w, g->values[node->in[1]].desc.shape, sizeof c->w);
    memcpy(c->y, g->values[node->out[0]].desc.shape, sizeof c->y);
    memcpy(c->stride, attr->stride, sizeof c->stride);
    memcpy(c->pad, attr->pad, sizeof c->pad);
}

static void check_node(walk *w, const clv_graph *g, const clvi_node *node, const char *backbone)
{
    const clvi_conv2d_attr *attr = node->attr;
    if (attr->groups != 1) return;         /* the kernel does not take those */
    const clvi_value *x = &g->values[node->in[0]];
    for (int direction = CLVI_DNN_FORWARD; direction <= CLVI_DNN_WEIGHTS; direction++) {
        if (direction == CLVI_DNN_DATA && x->kind == CLVI_VALUE_INPUT) continue;   /* nobody wants it */
        for (int precision = CLV_PRECISION_FULL; precision <= CLV_PRECISION_BF16; precision++) {
            clvi_dnn_conv c;
            describe(g, node, attr, direction, (clv_precision)precision, &c);
            check_plan(w, &c, backbone);
        }
    }
}

/* In float32 and TF32; for bfloat16 an engine is compiled at run time. */
static void check_folded(walk *w, const clv_graph *g, const clvi_node *node, const char *backbone)
{
    const clvi_conv2d_norm_attr *attr = node->attr;
    for (int precision = CLV_PRECISION_FULL; precision <= CLV_PRECISION_TF32; precision++) {
        clvi_dnn_conv c;
        describe(g, node, &attr->conv, CLVI_DNN_FORWARD, (clv_precision)precision, &c);
        c.then = CLVI_DNN_BIAS | (node->in[6] >= 0 ? CLVI_DNN_SUM : 0) | (attr->relu ? CLVI_DNN_RELU : 0);
        check_plan(w, &c, backbone);
    }
}

static void check_backbone(test_env *t, walk *w, const char *name, int64_t batch, int64_t size, bool training)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    clv_node features;
    desc.training = training;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node images = clv_input_image(g, "images", batch, 3, size, size);
    assert_ok(clv_backbone_node(g, name, NULL, 0, "", images, &features));
    if (!training) {
        assert_ok(clvi_graph_fuse(g, -1));
        assert_ok(clvi_graph_fold(g));
    }
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const clvi_node *node = &g->nodes[i];
        if (node->fused) continue;
        if (training && strcmp(node->cls->name, "conv2d") == 0) check_node(w, g, node, name);
        if (!training && strcmp(node->cls->name, "conv2d_norm") == 0) check_folded(w, g, node, name);
    }
    clv_graph_destroy(g);
}

static void walk_backbones(test_env *t, bool training)
{
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", "", 1), 0);           /* nothing is kept */
    walk *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->device = make_device();
    for (int i = 0; clv_backbone_info_at(i); i++)
        for (int64_t batch = 32; batch <= 256; batch *= 8)
            for (int64_t size = 32; size <= 224; size *= 7)
                check_backbone(t, w, clv_backbone_info_at(i)->name, batch, size, training);
    assert_true(w->n_seen > (training ? 300 : 100));
    assert_int_equal(w->n_padded > 10, training);                     /* those of pictures, in bfloat16 */
    assert_true(w->n_tf32 > 100 && 100 * w->n_strict < w->n_tf32);     /* gradients of large stems' weights */
    print_message("%d convolutions; of %d in TF32 %d are done strictly\n", w->n_seen, w->n_tf32, w->n_strict);
    cudnnBackendDestroyDescriptor(w->device);
    free(w);
}

static void every_convolution_of_every_backbone_has_a_plan(void **state) { walk_backbones(*state, true); }
static void every_folded_convolution_has_a_plan_in_float32_and_tf32(void **state) { walk_backbones(*state, false); }

/* Engines that are compiled at run time need a driver's library; the toolkit has one that does nothing. With that cuDNN
 * makes a kernel, compiles it, and fails when it is to be loaded. */
static void folded_convolutions_in_bfloat16_compile(void **state)
{
    (void)state;
    static const int64_t then[] = { CLVI_DNN_SCALE | CLVI_DNN_BIAS,
                                    CLVI_DNN_SCALE | CLVI_DNN_BIAS | CLVI_DNN_RELU,
                                    CLVI_DNN_SCALE | CLVI_DNN_BIAS | CLVI_DNN_SUM | CLVI_DNN_RELU };
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", "", 1), 0);
    const bool stub = !getenv("CLEAVE_TEST_DEVICE") && !dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (stub && !dlopen(CLV_CUDA_STUB, RTLD_NOW | RTLD_GLOBAL)) skip();
    const cudnnBackendDescriptor_t device = make_device();
    for (int i = 0; i < 3; i++) {
        clvi_dnn_conv c = { .direction = CLVI_DNN_FORWARD, .type = CUDNN_DATA_BFLOAT16, .x = { 32, 64, 56, 56 },
                            .w = { 64, 64, 3, 3 }, .y = { 32, 64, 56, 56 }, .stride = { 1, 1 }, .pad = { 1, 1 } };
        clvi_dnn_plan plan;
        c.then = then[i];
        const clv_status st = clvi_dnn_conv_plan(&c, device, WORKSPACE, NULL, &plan);
        if (stub) {
            assert_int_equal(st, CLV_ERR_DEVICE);
            assert_non_null(strstr(clv_error_message(), "cuLibraryLoadData"));
        } else assert_ok(st);
        clvi_dnn_plan_free(&plan);
    }
    cudnnBackendDestroyDescriptor(device);
}

static void a_convolution_that_nobody_can_do_is_unsupported(void **state)
{
    (void)state;
    const cudnnBackendDescriptor_t device = make_device();
    clvi_dnn_conv c = { .direction = CLVI_DNN_FORWARD, .type = CUDNN_DATA_BFLOAT16, .x = { 2, 7, 9, 9 },
                        .w = { 5, 3, 3, 3 }, .y = { 2, 5, 9, 9 }, .stride = { 1, 1 }, .pad = { 1, 1 } };
    clvi_dnn_plan plan;
    assert_int_not_equal(clvi_dnn_conv_plan(&c, device, WORKSPACE, NULL, &plan), CLV_OK);
    assert_null(plan.plan);
    cudnnBackendDestroyDescriptor(device);
}

/* ---- plans that are kept ---- */

static clv_status make_plan(clv_precision precision, const clvi_dnn_timer *timer, clvi_dnn_plan *plan)
{
    const bool half = precision == CLV_PRECISION_BF16, tf32 = precision == CLV_PRECISION_TF32;
    const clvi_dnn_conv c = { .direction = CLVI_DNN_FORWARD, .type = half ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT,
                              .x = { 32, 64, 56, 56 }, .w = { 64, 64, 3, 3 }, .y = { 32, 64, 56, 56 },
                              .stride = { 1, 1 }, .pad = { 1, 1 }, .tf32 = tf32 };
    const cudnnBackendDescriptor_t device = make_device();
    const clv_status st = clvi_dnn_conv_plan(&c, device, WORKSPACE, timer, plan);
    cudnnBackendDestroyDescriptor(device);
    return st;
}

static clvi_dnn_plan plan_that(clv_precision precision, const clvi_dnn_timer *timer, bool kept)
{
    clvi_dnn_plan plan;
    assert_ok(make_plan(precision, timer, &plan));
    assert_non_null(plan.plan);
    assert_int_equal(plan.kept, kept);
    clvi_dnn_plan_free(&plan);
    return plan;
}

static clvi_dnn_plan plan_once(bool kept) { return plan_that(CLV_PRECISION_BF16, NULL, kept); }

/* The only file of the folder. */
static void find_file(const char *folder, char *path, size_t size)
{
    int found = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, size, "%s/%s", folder, e->d_name);
        found++;
    }
    closedir(dir);
    assert_int_equal(found, 1);
}

static void a_plan_is_kept_for_the_next_run(void **state)
{
    const char *folder = test_path(*state, "cache/of/plans");
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", folder, 1), 0);
    const clvi_dnn_plan made = plan_once(false), kept = plan_once(true);
    assert_int_equal(made.engine, kept.engine);
    assert_int_equal(made.workspace, kept.workspace);
    assert_int_equal(made.tensor_core, kept.tensor_core);
}

/* A strict run must not find the plan of one in TF32. */
static void plans_of_each_precision_are_kept_apart(void **state)
{
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", test_path(*state, "cache"), 1), 0);
    for (int kept = 0; kept < 2; kept++)
        for (int p = CLV_PRECISION_FULL; p <= CLV_PRECISION_BF16; p++)
            assert_int_equal(plan_that((clv_precision)p, NULL, kept).tensor_core, p != CLV_PRECISION_FULL);
}

/* Every byte matters: of the version, the key, the checksum, the plan; and so does the end. */
static void a_damaged_plan_is_made_anew(void **state)
{
    const char *folder = test_path(*state, "cache");
    char path[1024];
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", folder, 1), 0);
    (void)plan_once(false);
    find_file(folder, path, sizeof path);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    for (long at = 0; at < st.st_size; at += 1 + st.st_size / 61) {
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        const int byte = fgetc(file);
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        fputc(byte ^ 1, file);
        assert_int_equal(fclose(file), 0);
        (void)plan_once(false);
        (void)plan_once(true);
    }
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    (void)plan_once(false);
    assert_int_equal(truncate(path, 0), 0);
    (void)plan_once(false);
    assert_int_equal(chmod(path, 0666), 0);                 /* somebody else could have written it */
    (void)plan_once(false);
    (void)plan_once(true);
}

static void without_a_folder_plans_are_made(void **state)
{
    const char *file = test_path(*state, "file");
    FILE *made = fopen(file, "wb");
    assert_non_null(made);
    assert_int_equal(fclose(made), 0);
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", file, 1), 0);
    (void)plan_once(false);
    (void)plan_once(false);
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", "", 1), 0);
    (void)plan_once(false);
}

/* ---- the fastest of several ---- */

/* A timer that makes up what it says: plan number i takes 1000 + i nanoseconds, those before `fastest` 1000 more; the
 * first `failing` fail. */
typedef struct made_up {
    int     fastest, failing, calls;
    clv_status with;
    int64_t engine[CLVI_DNN_TIMED], workspace[CLVI_DNN_TIMED];
} made_up;

static clv_status tell_time(void *user, const clvi_dnn_conv *conv, const clvi_dnn_plan *plan, int64_t *ns)
{
    made_up *m = user;
    const int i = m->calls++;
    assert_int_equal(conv->x[1], 64);
    assert_non_null(plan->plan);
    assert_true(plan->tensor_core && plan->workspace <= WORKSPACE);      /* the rules hold for all */
    assert_true(i < CLVI_DNN_TIMED);
    m->engine[i] = plan->engine;
    m->workspace[i] = plan->workspace;
    *ns = 1000 + i + (i < m->fastest ? 1000 : 0);
    return i < m->failing ? clvi_fail(m->with, "plan %d does not run", i) : CLV_OK;
}

static void the_fastest_plan_is_taken_and_kept(void **state)
{
    made_up m = { .fastest = 2 };
    const clvi_dnn_timer timer = { tell_time, &m };
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", test_path(*state, "cache"), 1), 0);
    const clvi_dnn_plan first = plan_once(false),
                        made = plan_that(CLV_PRECISION_BF16, &timer, false);     /* not the one without a timer */
    assert_int_equal(first.ns, 0);
    assert_in_range(m.calls, 3, CLVI_DNN_TIMED);
    assert_int_equal(m.engine[0], first.engine);
    assert_int_equal(made.ns, 1002);
    assert_int_equal(made.engine, m.engine[2]);
    assert_int_equal(made.workspace, m.workspace[2]);
    m = (made_up) { .fastest = 0 };
    const clvi_dnn_plan kept = plan_that(CLV_PRECISION_BF16, &timer, true);
    assert_int_equal(m.calls, 0);                                        /* the choice stands */
    assert_int_equal(kept.ns, 1002);
    assert_int_equal(kept.engine, made.engine);
    assert_int_equal(kept.workspace, made.workspace);
    assert_int_equal(plan_once(true).engine, first.engine);
}

static void a_plan_that_does_not_run_is_passed_over(void **state)
{
    (void)state;
    made_up m = { .fastest = 0, .failing = 2, .with = CLV_ERR_DEVICE };
    const clvi_dnn_timer timer = { tell_time, &m };
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", "", 1), 0);
    const clvi_dnn_plan plan = plan_that(CLV_PRECISION_BF16, &timer, false);
    assert_int_equal(plan.ns, 1002);
    assert_int_equal(plan.engine, m.engine[2]);
}

static void without_a_plan_that_runs_there_is_an_error(void **state)
{
    made_up m = { .failing = CLVI_DNN_TIMED, .with = CLV_ERR_DEVICE };
    const clvi_dnn_timer timer = { tell_time, &m };
    clvi_dnn_plan plan;
    assert_int_equal(setenv("CLEAVE_CACHE_DIR", test_path(*state, "cache"), 1), 0);
    assert_fails(make_plan(CLV_PRECISION_BF16, &timer, &plan), CLV_ERR_DEVICE, " does not run");
    assert_null(plan.plan);
    m = (made_up) { .failing = 1, .with = CLV_ERR_NOMEM };               /* not the plan's fault */
    assert_fails(make_plan(CLV_PRECISION_BF16, &timer, &plan), CLV_ERR_NOMEM, "plan 0 does not run");
    assert_null(plan.plan);
    assert_int_equal(m.calls, 1);
    m = (made_up) { .fastest = 1 };
    (void)plan_that(CLV_PRECISION_BF16, &timer, false);                  /* nothing was kept */
}

TEST_MAIN(TEST(the_fastest_plan_is_taken_and_kept), TEST(a_plan_that_does_not_run_is_passed_over),
          TEST(without_a_plan_that_runs_there_is_an_error), TEST(a_plan_is_kept_for_the_next_run),
          TEST(plans_of_each_precision_are_kept_apart), TEST(a_damaged_plan_is_made_anew),
          TEST(without_a_folder_plans_are_made),
          TEST(the_device_describes_itself), TEST(every_convolution_of_every_backbone_has_a_plan),
          TEST(every_folded_convolution_has_a_plan_in_float32_and_tf32),
          TEST(a_convolution_that_nobody_can_do_is_unsupported), TEST(folded_convolutions_in_bfloat16_compile))

#endif
