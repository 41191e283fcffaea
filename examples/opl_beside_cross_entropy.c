/* opl_beside_cross_entropy.c: features of three classes move down the gradient of cross entropy and orthogonal
 * projection loss. The first three features are the logits, too: a view into the same memory. Told is the mean cosine
 * of features of the same class and of different ones.
 *   cc opl_beside_cross_entropy.c $(pkg-config --cflags --libs cleave) -lm */
#include <cleave/loss.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

enum { ROWS = 60, DIM = 8, CLASSES = 3, STEPS = 300 };

typedef struct batch {
    float   x[ROWS][DIM], pull[ROWS][DIM], push[ROWS][CLASSES];   /* features and the two gradients */
    int64_t labels[ROWS];
} batch;

static void make_batch(batch *b)
{
    uint32_t seed = 7;
    for (int i = 0; i < ROWS; i++) {
        b->labels[i] = i % CLASSES;
        for (int d = 0; d < DIM; d++) {
            seed = seed * 1664525u + 1013904223u;
            b->x[i][d] = (float)(seed >> 8) / 16777216.0f;   /* all in one corner: everything is alike at first */
        }
    }
}

/* mean[0]: of pairs of one class; mean[1]: of different ones. */
static void cosines(const batch *b, double mean[2])
{
    double pairs[2] = { 0 };
    mean[0] = mean[1] = 0;
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < i; j++) {
            double dot = 0, xx = 0, yy = 0;
            for (int d = 0; d < DIM; d++) {
                dot += (double)b->x[i][d] * b->x[j][d];
                xx += (double)b->x[i][d] * b->x[i][d];
                yy += (double)b->x[j][d] * b->x[j][d];
            }
            mean[b->labels[i] != b->labels[j]] += dot / sqrt(xx * yy);
            pairs[b->labels[i] != b->labels[j]]++;
        }
    }
    for (int k = 0; k < 2; k++) mean[k] /= pairs[k];
}

static clv_status descend(clv_context *ctx, batch *b)
{
    const clv_option options[] = { { "neg-mode", "mean_of_abs" } };
    const clv_loss_term terms[] = { { .loss = "cross_entropy", .weight = 1 },
                                    { .loss = "opl", .weight = 1, .options = options, .n_options = 1 } };
    clv_view logits = clv_view_2d(b->x, CLV_F32, ROWS, CLASSES);
    logits.stride[0] = DIM;
    const clv_loss_tensor inputs[] = { { "cross_entropy.logits", logits },
                                       { "targets", clv_view_1d(b->labels, CLV_I64, ROWS) },
                                       { "features", clv_view_2d(b->x, CLV_F32, ROWS, DIM) },
                                       { "labels", clv_view_1d(b->labels, CLV_I64, ROWS) } };
    const clv_loss_tensor grads[] = { { "cross_entropy.logits", clv_view_2d(b->push, CLV_F32, ROWS, CLASSES) },
                                      { "features", clv_view_2d(b->pull, CLV_F32, ROWS, DIM) } };
    clv_loss_sum *sum = NULL;
    clv_loss_term_result told[2];
    clv_status st = clv_loss_sum_create(ctx, terms, 2, &sum);
    for (int step = 0; step < STEPS && st == CLV_OK; step++) {
        st = clv_loss_sum_eval(sum, inputs, 4, grads, 2, told, NULL);
        for (int i = 0; i < ROWS && st == CLV_OK; i++)
            for (int d = 0; d < DIM; d++) b->x[i][d] -= 5 * (b->pull[i][d] + (d < CLASSES ? b->push[i][d] : 0));
    }
    for (int i = 0; i < 2 && st == CLV_OK; i++) printf("%s %.4f\n", told[i].name, told[i].value);
    clv_loss_sum_destroy(sum);
    return st;
}

int main(void)
{
    static batch b;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    double before[2], after[2];
    desc.threads = 1;         /* more do not pay for so little */
    make_batch(&b);
    cosines(&b, before);
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) st = descend(ctx, &b);
    if (st != CLV_OK) fprintf(stderr, "%s\n", clv_error_message());
    cosines(&b, after);
    printf("same class %.3f -> %.3f, different classes %.3f -> %.3f\n", before[0], after[0], before[1], after[1]);
    clv_context_destroy(ctx);
    return st != CLV_OK || after[0] < 0.9 || fabs(after[1]) > 0.1;
}
