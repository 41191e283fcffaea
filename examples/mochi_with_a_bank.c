/* mochi_with_a_bank.c: MoCHi on embeddings of your own, here those of a linear map of noisy points around 16
 * directions. The map is trained by gradient descent, a slow copy of it makes the keys, and a bank keeps the keys of
 * earlier batches. Told is the loss, and how many of the hardest rows are of the query's own direction: nearly all,
 * with so few directions, so the oracle leaves them out. Without labels, a bank shorter than the data set helps.
 *   cc mochi_with_a_bank.c $(pkg-config --cflags --libs cleave) -lm */
#include <cleave/bank.h>
#include <cleave/loss.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 32, INPUT = 24, DIM = 8, GROUPS = 16, STEPS = 300 };

typedef struct trainer {
    float     w[DIM][INPUT], slow[DIM][INPUT];        /* the map, and the one that follows it */
    float     centre[GROUPS][INPUT];
    float     x[2][BATCH][INPUT];                      /* two noisy views of a batch */
    float     query[BATCH][DIM], key[BATCH][DIM], grad[BATCH][DIM], same[BATCH];
    int64_t   group[BATCH];
    uint64_t  state;
    clv_bank *bank;
    clv_loss *loss;
} trainer;

static float uniform(trainer *t)
{
    t->state = t->state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(t->state >> 33) / 2147483648.0 - 0.5);
}

static void draw_batch(trainer *t)
{
    for (int i = 0; i < BATCH; i++) {
        t->group[i] = (int64_t)((uniform(t) + 0.5f) * GROUPS) % GROUPS;
        for (int v = 0; v < 2; v++)
            for (int d = 0; d < INPUT; d++) t->x[v][i][d] = t->centre[t->group[i]][d] + 0.5f * uniform(t);
    }
}

/* Keys get unit length: the bank keeps them as they are. Queries are scaled by the loss, which hands back the gradient
 * of what it was given. */
static void encode(const float w[DIM][INPUT], const float x[BATCH][INPUT], bool unit, float out[BATCH][DIM])
{
    for (int i = 0; i < BATCH; i++) {
        float square = 0;
        for (int k = 0; k < DIM; k++) {
            out[i][k] = 0;
            for (int d = 0; d < INPUT; d++) out[i][k] += w[k][d] * x[i][d];
            square += out[i][k] * out[i][k];
        }
        for (int k = 0; unit && k < DIM; k++) out[i][k] /= sqrtf(square) + 1e-12f;
    }
}

static void descend(trainer *t)
{
    for (int k = 0; k < DIM; k++) {
        for (int d = 0; d < INPUT; d++) {
            float g = 0;
            for (int i = 0; i < BATCH; i++) g += t->grad[i][k] * t->x[0][i][d];
            t->w[k][d] -= 0.2f * g;
            t->slow[k][d] = 0.99f * t->slow[k][d] + 0.01f * t->w[k][d];
        }
    }
}

/* One step: the loss sees the bank as it was before this batch; the keys, not the mixes, go into it afterwards. */
static clv_status step(trainer *t, int64_t number, double *value)
{
    const clv_loss_tensor inputs[] = { { "query", clv_view_2d(t->query, CLV_F32, BATCH, DIM) },
                                       { "key", clv_view_2d(t->key, CLV_F32, BATCH, DIM) },
                                       { "queue", clv_bank_rows(t->bank) },
                                       { "queue_valid", clv_bank_valid(t->bank) },
                                       { "labels", clv_view_1d(t->group, CLV_I64, BATCH) },
                                       { "queue_labels", clv_bank_labels(t->bank) },
                                       { "step", clv_view_1d(&number, CLV_I64, 1) } };
    const clv_loss_tensor grads[] = { { "query", clv_view_2d(t->grad, CLV_F32, BATCH, DIM) } };
    const clv_loss_tensor outputs[] = { { "topn_false_negative_rate", clv_view_1d(t->same, CLV_F32, BATCH) } };
    const clv_view keys = clv_view_2d(t->key, CLV_F32, BATCH, DIM);
    draw_batch(t);
    encode(t->w, t->x[0], false, t->query);
    encode(t->slow, t->x[1], true, t->key);
    clv_status st = clv_loss_eval(t->loss, inputs, 7, grads, 1, outputs, 1, value);
    if (st == CLV_OK) st = clv_bank_push(t->bank, &keys, NULL, t->group);
    if (st == CLV_OK) descend(t);
    return st;
}

static clv_status train(clv_context *ctx, trainer *t, double mean[2])
{
    const clv_option bank[] = { { "capacity", "1000" }, { "dim", "8" }, { "init", "empty" } };
    const clv_option mochi[] = { { "N", "64" }, { "s", "32" }, { "s-prime", "16" }, { "temperature", "0.2" },
                                 { "oracle", "true" } };
    clv_status st = clv_bank_create(ctx, "fifo", bank, 3, &t->bank);
    if (st == CLV_OK) st = clv_loss_create(ctx, "mochi", mochi, 5, &t->loss);
    for (int64_t i = 0; i < STEPS && st == CLV_OK; i++) {
        double value = 0;
        st = step(t, i, &value);
        if (i >= 40 && i < 90) mean[0] += value / 50;      /* the bank is full by now */
        if (i >= STEPS - 50) mean[1] += value / 50;
    }
    return st;
}

int main(void)
{
    static trainer t = { .state = 5 };
    clv_context *ctx = NULL;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    double mean[2] = { 0 };
    float same = 0;
    desc.threads = 1;         /* more do not pay for so little */
    for (int g = 0; g < GROUPS; g++)
        for (int d = 0; d < INPUT; d++) t.centre[g][d] = uniform(&t);
    for (int k = 0; k < DIM; k++)
        for (int d = 0; d < INPUT; d++) t.w[k][d] = uniform(&t);
    memcpy(t.slow, t.w, sizeof t.w);
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) st = train(ctx, &t, mean);
    for (int i = 0; i < BATCH; i++) same += t.same[i] / BATCH;
    if (st == CLV_OK)
        printf("loss %.3f -> %.3f; of the 64 hardest rows %.0f %% are of the query's own direction\n", mean[0], mean[1],
               100 * (double)same);
    else fprintf(stderr, "%s\n", clv_error_message());
    clv_loss_destroy(t.loss);
    clv_bank_destroy(t.bank);
    clv_context_destroy(ctx);
    return st != CLV_OK || !(mean[1] < mean[0]);
}
