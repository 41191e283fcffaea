/* test_tagger.c: runs on words: they learn, go on to the same bits, are measured, and say what is wrong. */
#include "core/file.h"
#include "tests/support/test.h"
#include "tests/support/train.h"
#include "core/rng.h"

#include <cleave/text.h>
#include <cleave/train.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SENTENCES = 60 };

/* Sentences of names and other words. "mister" or "in" before a name in capitals say what it is of; some names are of
 * two words. */
static void make_text(test_env *t, const char *name, uint64_t seed)
{
    static const char *const names[] = { "Ada", "Brno", "Cork", "Dora", "Ella", "Faro" };
    static const char *const others[] = { "the", "walks", "and", "sees", "a", "dog", "." };
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 0, 0, 0);
    FILE *file = fopen(test_path(t, name), "w");
    assert_non_null(file);
    for (int s = 0; s < SENTENCES; s++) {
        for (int w = 0; w < 4; w++) {
            const bool person = clvi_rng_below(&rng, 2);
            const char *type = person ? "person" : "place";
            fprintf(file, "%s\tO\n", others[clvi_rng_below(&rng, 7)]);
            if (clvi_rng_below(&rng, 2)) continue;
            fprintf(file, "%s\tO\n%s\tB-%s\n", person ? "mister" : "in", names[clvi_rng_below(&rng, 6)], type);
            if (clvi_rng_below(&rng, 2)) fprintf(file, "%s\tI-%s\n", names[clvi_rng_below(&rng, 6)], type);
        }
        fputs("\n", file);
    }
    assert_int_equal(fclose(file), 0);
}

static clv_config *config_of(test_env *t, const char *directory, const char *name, const char *value)
{
    static const char *const tiny[][2] = {
        { "method", "tagger" }, { "context", "2" }, { "word-dim", "16" }, { "word-rows", "512" }, { "moco-dim", "24" },
        { "batch-size", "16" }, { "optimizer", "adamw" }, { "lr", "0.01" }, { "cos", "true" }, { "epochs", "3" },
        { "print-freq", "5" }, { "seed", "7" }, { "word-drop", "0.1" },
    };
    clv_config *config = NULL;
    if (!test_has_file(t, "train.conll")) make_text(t, "train.conll", 1);
    if (!test_has_file(t, "held.conll")) make_text(t, "held.conll", 2);
    assert_ok(clv_config_create(t->ctx, &config));
    assert_ok(clv_config_set(config, "data", test_path(t, "train.conll")));
    assert_ok(clv_config_set(config, "val-data", test_path(t, "held.conll")));
    assert_ok(clv_config_set(config, "results-dir", test_path(t, directory)));
    for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++) assert_ok(clv_config_set(config, tiny[i][0], tiny[i][1]));
    if (name) assert_ok(clv_config_set(config, name, value));
    return config;
}

static clv_status open_tagger(test_env *t, const char *name, int64_t batch, bool ema, clv_tagger **out)
{
    clv_tagger_desc desc = CLV_TAGGER_DESC_INIT;
    desc.checkpoint = test_path(t, name);
    desc.batch_size = batch;
    desc.ema = ema;
    return clv_tagger_open(t->ctx, &desc, out);
}

typedef struct watch {
    int64_t stop_at;           /* -1: never */
    clv_span_counts spans;     /* of the last epoch */
    double  f1[8];             /* of each */
    int     measured;
    char    unit[16], notes[2048];
} watch;

static bool watches(const clv_progress *p, void *user)
{
    watch *w = user;
    if (p->kind == CLV_PROGRESS_NOTE) {
        const size_t used = strlen(w->notes);
        snprintf(w->notes + used, sizeof w->notes - used, "%s\n", p->note);
        return true;
    }
    snprintf(w->unit, sizeof w->unit, "%s", p->unit);
    if (p->kind == CLV_PROGRESS_EPOCH && p->has_spans) {
        w->spans = p->spans;
        if (w->measured < 8) w->f1[w->measured] = p->spans.f1;
        w->measured++;
        assert_non_null(strstr(p->spans_protocol, "as conlleval, micro, 60 sentences"));
    }
    return p->kind == CLV_PROGRESS_EPOCH || p->total_step != w->stop_at;
}

static void every_loss_learns_what_words_say(void **state)
{
    test_env *t = *state;
    static const char *const losses[] = { "cross_entropy", "focal", "dice square=true smooth=1" };
    for (int i = 0; i < 3; i++) {
        char directory[16];
        watch w = { .stop_at = -1 };
        snprintf(directory, sizeof directory, "loss%d", i);
        assert_ok(test_run(t, config_of(t, directory, "loss", losses[i]), watches, &w));
        assert_int_equal(w.measured, 3);
        assert_string_equal(w.unit, "words");
        assert_true(!strstr(w.notes, "collapsing"));
        if (w.spans.f1 < 90) fail_msg("%s: span F1 %g", losses[i], w.spans.f1);
    }
}

static void a_stopped_run_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    watch w = { .stop_at = -1 }, stop = { .stop_at = 20 };
    assert_ok(test_run(t, config_of(t, "whole", NULL, NULL), watches, &w));
    assert_int_equal(test_run(t, config_of(t, "cut", NULL, NULL), watches, &stop), CLV_STOPPED);
    stop.stop_at = -1;
    assert_ok(test_run(t, config_of(t, "cut", "resume", "auto"), watches, &stop));
    assert_true(test_same_file(t, "whole/last.h5", "cut/last.h5"));
    assert_true(w.spans.right == stop.spans.right && w.spans.predicted == stop.spans.predicted);
}

/* What the run said of itself is what its checkpoint says of the same words, however many at a time. */
static void a_tagger_is_the_network_that_was_trained(void **state)
{
    test_env *t = *state;
    watch w = { .stop_at = -1 };
    clv_tagger *tagger = NULL;
    clv_corpus *corpus = NULL;
    clv_corpus_info info;
    clv_span_result r;
    static int64_t predicted[2][2048];
    assert_ok(test_run(t, config_of(t, "run", NULL, NULL), watches, &w));
    assert_ok(clv_corpus_open(t->ctx, test_path(t, "held.conll"), &corpus));
    clv_corpus_describe(corpus, &info);
    assert_true(info.words <= 2048);
    for (int i = 0; i < 2; i++) {
        assert_ok(open_tagger(t, "run/last.h5", i ? 7 : 256, false, &tagger));
        assert_ok(clv_tagger_tag(tagger, corpus, predicted[i], &r));
        assert_true(r.all.right == w.spans.right && r.all.predicted == w.spans.predicted && r.words == info.words);
        assert_string_equal(clv_tagger_tag_name(tagger, 0), "B-person");
        assert_null(clv_tagger_tag_name(tagger, 5));
        clv_tagger_destroy(tagger);
    }
    assert_memory_equal(predicted[0], predicted[1], (size_t)info.words * sizeof predicted[0][0]);
    clv_corpus_destroy(corpus);
}

static clv_span_result judge(test_env *t, const char *run, bool ema)
{
    static int64_t predicted[2048];
    clv_tagger *tagger = NULL;
    clv_corpus *corpus = NULL;
    clv_span_result r;
    assert_ok(clv_corpus_open(t->ctx, test_path(t, "held.conll"), &corpus));
    assert_ok(open_tagger(t, run, 64, ema, &tagger));
    assert_ok(clv_tagger_tag(tagger, corpus, predicted, &r));
    clv_tagger_destroy(tagger);
    clv_corpus_destroy(corpus);
    return r;
}

/* A learning rate that rises to the end makes the last epoch a bad one. */
static void the_best_epoch_is_kept(void **state)
{
    test_env *t = *state;
    watch w = { .stop_at = -1 };
    clv_config *config = config_of(t, "run", "epochs", "6");
    assert_ok(clv_config_set(config, "warmup-epochs", "6"));
    assert_ok(clv_config_set(config, "warmup-start-lr", "0.01"));
    assert_ok(clv_config_set(config, "lr", "5"));
    assert_ok(test_run(t, config, watches, &w));
    double best = 0;
    for (int i = 0; i < 6; i++) best = fmax(best, w.f1[i]);
    assert_true(w.measured == 6 && best > w.f1[5] + 1);
    assert_near(judge(t, "run", false).all.f1, best, 0);
    assert_near(judge(t, "run/last.h5", false).all.f1, w.f1[5], 0);
}

/* One that follows slowly knows little yet, one that follows fast knows as much as the network. */
static void the_average_of_the_weights_tags(void **state)
{
    test_env *t = *state;
    clv_tagger *tagger = NULL;
    char file[32];
    for (int fast = 0; fast < 2; fast++) {
        const char *run = fast ? "fast" : "slow";
        watch w = { .stop_at = -1 };
        snprintf(file, sizeof file, "%s/last.h5", run);
        assert_ok(test_run(t, config_of(t, run, "ema-decay", fast ? "0.8" : "0.9999"), watches, &w));
        const double last = judge(t, file, false).all.f1, average = judge(t, file, true).all.f1;
        assert_near(w.spans.f1, average, 0);                  /* what the run measures */
        if (last < 90 || (fast ? average < 90 : average > 50)) fail_msg("%s: span F1 %g, %g", run, last, average);
    }
    assert_ok(test_run(t, config_of(t, "none", NULL, NULL), NULL, NULL));
    assert_fails(open_tagger(t, "none", 4, true, &tagger), CLV_ERR_INVALID,
                 "no average of the weights was kept (ema-decay)");
    assert_fails(open_tagger(t, "none", 0, false, &tagger), CLV_ERR_INVALID, "a positive batch_size");
    assert_null(tagger);
}

static void types_that_training_did_not_have_are_missed(void **state)
{
    test_env *t = *state;
    clv_tagger *tagger = NULL;
    clv_corpus *corpus = NULL;
    clv_span_result r;
    int64_t predicted[4];
    static const char text[] = "in O\nCork B-place\n\nthe O\nFord B-car\n";
    assert_ok(test_run(t, config_of(t, "run", NULL, NULL), NULL, NULL));
    assert_ok(clvi_file_write(test_path(t, "other"), text, strlen(text)));
    assert_ok(clv_corpus_open(t->ctx, test_path(t, "other"), &corpus));
    assert_ok(open_tagger(t, "run", 4, false, &tagger));
    assert_ok(clv_tagger_tag(tagger, corpus, predicted, &r));
    assert_string_equal(r.type[0].name, "car");
    assert_true(r.type[0].counts.present == 1 && r.type[0].counts.right == 0);
    assert_string_equal(r.type[2].name, "place");
    assert_int_equal(r.type[2].counts.right, 1);
    clv_tagger_destroy(tagger);
    clv_corpus_destroy(corpus);
}

static void what_is_no_tagger_is_told_apart(void **state)
{
    test_env *t = *state;
    clv_tagger *tagger = NULL;
    clv_encoder *encoder = NULL;
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    assert_ok(test_run(t, config_of(t, "words", NULL, NULL), NULL, NULL));
    desc.checkpoint = test_path(t, "words");
    assert_fails(clv_encoder_open(t->ctx, &desc, &encoder), CLV_ERR_INVALID,
                 "is a tagger: it has no features of images");
    assert_ok(test_run(t, test_run_config(t, "images", "epochs", "1", NULL), NULL, NULL));
    assert_fails(open_tagger(t, "images", 4, false, &tagger), CLV_ERR_INVALID,
                 "method 'moco' trains no tagger");
    assert_null(tagger);
}

static void settings_that_cannot_act_are_refused(void **state)
{
    test_env *t = *state;
    static const char *const cases[][3] = {
        { "arch", "resnet18", "arch 'resnet18' cannot act with method 'tagger'" },
        { "aug", "moco-v2", "aug 'moco-v2' cannot act with method 'tagger'" },
        { "val-split", "test", "val-split 'test' cannot act with method 'tagger'" },
        { "knn-k", "20", "knn-k '20' cannot act with method 'tagger'" },
        { "workers", "4", "workers '4' cannot act with method 'tagger'" },
        { "moco-m", "0.9", "moco-m '0.9' cannot act with method 'tagger'" },
        { "loss", "opl", "method 'tagger' cannot take the loss opl; it takes cross_entropy" },
        { "data", "", "no data set given" },
        { "batch-size", "5000", "words, fewer than one batch of 5000" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clv_trainer *trainer = NULL;
        clv_config *config = config_of(t, "a", cases[i][0], cases[i][1]);
        assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID, cases[i][2]);
        clv_config_destroy(config);
    }
}

static void a_run_does_not_go_on_with_other_tags(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    watch stop = { .stop_at = 20 };
    assert_int_equal(test_run(t, config_of(t, "run", NULL, NULL), watches, &stop), CLV_STOPPED);
    FILE *file = fopen(test_path(t, "train.conll"), "a");
    assert_non_null(file);
    fputs("Ford\tB-car\n", file);
    assert_int_equal(fclose(file), 0);
    clv_config *config = config_of(t, "run", "resume", "auto");
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID, "was made with other tags");
    clv_config_destroy(config);
}

static void told_line(const char *text, void *user)
{
    char *all = user;
    snprintf(all + strlen(all), 8192 - strlen(all), "%s\n", text);
}

static void a_run_says_what_it_would_do(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    static char text[8192];
    clv_config *config = config_of(t, "dry", "micro-batch-size", "4");
    assert_ok(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer));
    clv_config_destroy(config);
    assert_ok(clv_trainer_describe(trainer, told_line, text));
    static const char *const wanted[] = {
        "data: conll '", " words, 5 tags\n", "steps of 16 words", "batch: 16 words on 1 rank, 4 at a time",
        "method: tagger; 1 view", "loss: cross_entropy", "parameter: words.weight [512,16]",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!strstr(text, wanted[i])) fail_msg("no '%s' in:\n%s", wanted[i], text);
    assert_null(strstr(text, "augmentation"));
    clv_trainer_destroy(trainer);
}

TEST_MAIN(TEST(every_loss_learns_what_words_say), TEST(a_stopped_run_goes_on_to_the_same_bits),
          TEST(a_tagger_is_the_network_that_was_trained), TEST(the_best_epoch_is_kept),
          TEST(the_average_of_the_weights_tags), TEST(types_that_training_did_not_have_are_missed),
          TEST(what_is_no_tagger_is_told_apart), TEST(settings_that_cannot_act_are_refused),
          TEST(a_run_does_not_go_on_with_other_tags), TEST(a_run_says_what_it_would_do))
