/* test_course.c: a run beside a published trajectory, on run directories made by hand. */
#include <cleave/eval.h>
#include "core/file.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char trajectory[] = "epoch loss knn; 1 7.0 32.0; 2 7.2 -; 10 6.0 48.0; 20 4.0 60.0";

static void write_text(test_env *t, const char *name, const char *text)
{
    assert_ok(clvi_file_write(test_path(t, name), text, strlen(text)));
}

/* A run of `epochs` epochs: losses and accuracies as given, an accuracy below 0 not measured. */
static const char *make_run(test_env *t, const char *published, int epochs, const double *loss, const double *knn)
{
    char text[8192];
    size_t n = 0;
    mkdir(test_path(t, "run"), 0777);
    snprintf(text, sizeof text, "method: moco\nepochs: 20\npublished: \"%s\"\n", published);
    write_text(t, "run/config.yaml", text);
    text[0] = 0;
    for (int e = 0; e < epochs; e++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"kind\": \"epoch\", \"epoch\": %d, \"step\": 5, "
                              "\"total_step\": %d, \"train/loss\": %.6f", e + 1, 5 * (e + 1), loss[e]);
        if (knn[e] >= 0) n += (size_t)snprintf(text + n, sizeof text - n, ", \"val/knn_top1\": %.4f", knn[e]);
        n += (size_t)snprintf(text + n, sizeof text - n, "}\n");
    }
    write_text(t, "run/metrics.jsonl", text);
    return test_path(t, "run");
}

static void a_run_near_the_published_one_is_on_course(void **state)
{
    test_env *t = *state;
    const double loss[] = { 6.9, 7.3 }, knn[] = { 30.0, 40.0 };
    const clv_course_desc desc = CLV_COURSE_DESC_INIT;
    clv_course c;
    assert_ok(clv_course_measure(t->ctx, make_run(t, trajectory, 2, loss, knn), &desc, &c));
    assert_true(c.on_course);
    assert_int_equal(c.count, 4);                            /* loss after 1 and 2, knn after 1, and between after 2 */
    assert_int_equal(c.epochs, 2);
    assert_int_equal(c.horizon, 20);
    assert_string_equal(c.row[0].metric, "train/loss");
    assert_near(c.row[0].published, 7.0, 0);
    assert_near(c.row[0].found, 6.9, 1e-6);
    assert_string_equal(c.row[3].metric, "val/knn_top1");
    assert_int_equal(c.row[3].epoch, 2);
    assert_true(c.row[3].between && !c.row[2].between);
    assert_near(c.row[3].published, 32.0 + 16.0 / 9.0, 1e-12);
}

/* The latest epoch decides: what was wrong early may have come right, and the other way round. */
static void the_latest_figure_of_each_metric_decides(void **state)
{
    test_env *t = *state;
    const double loss[] = { 9.0, 7.3 }, knn[] = { 20.0, 40.0 }, late[] = { 7.0, 8.0 };
    const clv_course_desc desc = CLV_COURSE_DESC_INIT;
    clv_course c;
    assert_ok(clv_course_measure(t->ctx, make_run(t, trajectory, 2, loss, knn), &desc, &c));
    assert_true(c.on_course && !c.row[0].within && c.row[1].within);
    assert_ok(clv_course_measure(t->ctx, make_run(t, trajectory, 2, late, knn), &desc, &c));
    assert_false(c.on_course);
}

static void a_loss_may_differ_either_way_and_an_accuracy_be_higher(void **state)
{
    test_env *t = *state;
    const double near = 7.0 * 1.0499, low = 7.0 * 0.94, loss = 7.0, better = 99.0, below = 28.9;
    clv_course_desc desc = CLV_COURSE_DESC_INIT;
    clv_course c;
    assert_ok(clv_course_measure(t->ctx, make_run(t, trajectory, 1, &near, &better), &desc, &c));
    assert_true(c.on_course);
    assert_ok(clv_course_measure(t->ctx, make_run(t, trajectory, 1, &low, &better), &desc, &c));
    assert_false(c.on_course);
    assert_ok(clv_course_measure(t->ctx, make_run(t, trajectory, 1, &loss, &below), &desc, &c));
    assert_false(c.on_course);
    desc.accuracy = 3.2;
    assert_ok(clv_course_measure(t->ctx, test_path(t, "run"), &desc, &c));
    assert_true(c.on_course);
    desc.published = "knn epoch; 98.0 1";                    /* another text, its columns the other way round */
    assert_ok(clv_course_measure(t->ctx, test_path(t, "run"), &desc, &c));
    assert_int_equal(c.count, 1);
    assert_false(c.on_course);
}

static void what_cannot_be_compared_is_said(void **state)
{
    test_env *t = *state;
    const double loss = 7.0, none = -1.0;
    static const struct {
        const char *published, *message;
    } cases[] = {
        { "", "says nothing of what was published" },
        { "epoch loss", "expected rows after the heading" },
        { "loss knn; 1 2", "expected a heading such as" },
        { "epoch lose; 1 2", "no column 'lose'; there are epoch, loss" },
        { "epoch loss loss; 1 2 3", "is there twice" },
        { "epoch loss; 1", "row 1 has fewer words" },
        { "epoch loss; 1 2 3", "row 1 has more words" },
        { "epoch loss; 1 x", "'x' is no number" },
        { "epoch loss; 1 nan", "'nan' is no number" },
        { "epoch loss; 0 2", "is no epoch" },
        { "epoch loss; 2 2; 2 3", "row 2: epochs must rise" },
        { "epoch loss; 5 2; 6 3", "nothing to compare yet: 1 epochs are finished, figures are published from epoch 5 to 6" },
        { "epoch knn; 1 30", "nothing to compare yet" },
    };
    const clv_course_desc desc = CLV_COURSE_DESC_INIT;
    clv_course c;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_fails(clv_course_measure(t->ctx, make_run(t, cases[i].published, 1, &loss, &none), &desc, &c),
                     CLV_ERR_INVALID, cases[i].message);
    assert_fails(clv_course_measure(t->ctx, test_path(t, "nowhere"), &desc, &c), CLV_ERR_IO, "no such folder");
    const clv_course_desc bad = { .struct_size = 1 };
    assert_fails(clv_course_measure(t->ctx, test_path(t, "run"), &bad, &c), CLV_ERR_INVALID, "CLV_COURSE_DESC_INIT");
}

TEST_MAIN(TEST(a_run_near_the_published_one_is_on_course), TEST(the_latest_figure_of_each_metric_decides),
          TEST(a_loss_may_differ_either_way_and_an_accuracy_be_higher), TEST(what_cannot_be_compared_is_said))
