/* dice_for_a_tagger.c: tagging with rare positives: a logistic tagger trained by gradient descent on cross entropy plus
 * dice, with what each term has to say, and the F1 score it ends with beside that of cross entropy alone.
 *   cc dice_for_a_tagger.c $(pkg-config --cflags --libs cleave) -lm */
#include <cleave/loss.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

enum { TOKENS = 2000, FEATURES = 4, STEPS = 400 };

typedef struct task {
    float   x[TOKENS][FEATURES];
    int64_t tag[TOKENS];      /* 1: part of a name; one token in twenty */
} task;

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 33) / 2147483648.0;
}

/* Names differ in their first two features, and only by as much as noise does. */
static void make_task(task *t)
{
    uint64_t state = 3;
    for (int i = 0; i < TOKENS; i++) {
        t->tag[i] = uniform(&state) < 0.05;
        for (int d = 0; d < FEATURES; d++)
            t->x[i][d] = (float)(3 * (uniform(&state) + uniform(&state) - 1) + (d < 2 && t->tag[i] ? 1.5 : 0));
    }
}

static void predict(const task *t, const float w[FEATURES + 1], float logits[TOKENS])
{
    for (int i = 0; i < TOKENS; i++) {
        logits[i] = w[FEATURES];
        for (int d = 0; d < FEATURES; d++) logits[i] += w[d] * t->x[i][d];
    }
}

static double f1(const task *t, const float logits[TOKENS])
{
    int hits = 0, found = 0, there = 0;
    for (int i = 0; i < TOKENS; i++) {
        hits += logits[i] > 0 && t->tag[i];
        found += logits[i] > 0;
        there += t->tag[i] == 1;
    }
    return found + there ? 2.0 * hits / (found + there) : 0;
}

static void descend(const task *t, const float grad[TOKENS], float w[FEATURES + 1])
{
    const float rate = 2;
    for (int i = 0; i < TOKENS; i++) {
        for (int d = 0; d < FEATURES; d++) w[d] -= rate * grad[i] * t->x[i][d];
        w[FEATURES] -= rate * grad[i];
    }
}

/* Trains with the given weight of dice. */
static clv_status train(clv_context *ctx, task *t, double dice_weight, double *score)
{
    static float logits[TOKENS], grad[TOKENS];
    float w[FEATURES + 1] = { 0 };
    /* gamma 0 and no class weights: plain cross entropy. */
    const clv_option cross_entropy[] = { { "variant", "sigmoid" }, { "gamma", "0" }, { "alpha", "-1" } };
    const clv_option dice[] = { { "variant", "binary_set" }, { "smooth", "1" } };
    const clv_loss_term terms[] = { { "focal", 1, cross_entropy, 3, "cross_entropy" },
                                    { "dice", dice_weight, dice, 2, "dice" } };
    const clv_loss_tensor inputs[] = { { "logits", clv_view_2d(logits, CLV_F32, TOKENS, 1) },
                                       { "dice.targets", clv_view_1d(t->tag, CLV_I64, TOKENS) },
                                       { "cross_entropy.targets", clv_view_2d(t->tag, CLV_I64, TOKENS, 1) } };
    const clv_loss_tensor grads[] = { { "logits", clv_view_2d(grad, CLV_F32, TOKENS, 1) } };
    clv_loss_sum *sum = NULL;
    clv_loss_term_result told[2];
    double value;
    clv_status st = clv_loss_sum_create(ctx, terms, 2, &sum);
    for (int step = 0; step < STEPS && st == CLV_OK; step++) {
        predict(t, w, logits);
        st = clv_loss_sum_eval(sum, inputs, 3, grads, 1, told, &value);
        if (st == CLV_OK) descend(t, grad, w);
    }
    predict(t, w, logits);
    *score = f1(t, logits);
    for (int i = 0; i < 2 && st == CLV_OK; i++)
        printf("  %-14s weight %g, value %.4f, length of its gradient %.5f\n", told[i].name, told[i].weight,
               told[i].value, told[i].gradient_norm);
    clv_loss_sum_destroy(sum);
    return st;
}

int main(void)
{
    static task t;
    clv_context *ctx = NULL;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    double plain = 0, with_dice = 0;
    desc.threads = 1;         /* more do not pay for so little */
    make_task(&t);
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) st = train(ctx, &t, 0, &plain);
    if (st == CLV_OK) st = train(ctx, &t, 1, &with_dice);
    if (st == CLV_OK) printf("F1: cross entropy %.3f, with dice %.3f\n", plain, with_dice);
    else fprintf(stderr, "%s\n", clv_error_message());
    clv_context_destroy(ctx);
    return st != CLV_OK || with_dice <= plain;
}
