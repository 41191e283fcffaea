/* unpg_head.c: a margin softmax head with the negative pairs of the batch (UNPG) on features of eight classes: features
 * and class weights move down the gradient, and a feature's class is then the nearest weight. Told is the accuracy, and
 * how alike negative pairs are, with how many of them the box and whiskers kept.
 *   cc unpg_head.c $(pkg-config --cflags --libs cleave) -lm */
#include <cleave/loss.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

enum { ROWS = 64, DIM = 16, CLASSES = 8, STEPS = 200 };

typedef struct head {
    float   features[ROWS][DIM], weight[CLASSES][DIM], push[ROWS][DIM], pull[CLASSES][DIM];
    int64_t labels[ROWS];
    float   low, high, kept;       /* the middle half of the negative similarities, and how many pairs were kept */
} head;

static void make_head(head *h)
{
    uint32_t seed = 11;
    float *const all[] = { &h->features[0][0], &h->weight[0][0] };
    const int count[] = { ROWS * DIM, CLASSES * DIM };
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < count[k]; i++) {
            seed = seed * 1664525u + 1013904223u;
            all[k][i] = (float)(seed >> 8) / 16777216.0f - 0.2f;   /* all lean to one side: everything is alike */
        }
    }
    for (int i = 0; i < ROWS; i++) h->labels[i] = i % CLASSES;
}

static double cosine(const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (int d = 0; d < DIM; d++) {
        ab += (double)a[d] * b[d];
        aa += (double)a[d] * a[d];
        bb += (double)b[d] * b[d];
    }
    return ab / sqrt(aa * bb);
}

static double accuracy(const head *h)
{
    int right = 0;
    for (int i = 0; i < ROWS; i++) {
        int best = 0;
        for (int c = 1; c < CLASSES; c++)
            if (cosine(h->features[i], h->weight[c]) > cosine(h->features[i], h->weight[best])) best = c;
        right += best == h->labels[i];
    }
    return (double)right / ROWS;
}

static clv_status evaluate(clv_loss *loss, head *h, double *value)
{
    const clv_loss_tensor inputs[] = { { "features", clv_view_2d(h->features, CLV_F32, ROWS, DIM) },
                                       { "weight", clv_view_2d(h->weight, CLV_F32, CLASSES, DIM) },
                                       { "labels", clv_view_1d(h->labels, CLV_I64, ROWS) } };
    const clv_loss_tensor grads[] = { { "features", clv_view_2d(h->push, CLV_F32, ROWS, DIM) },
                                      { "weight", clv_view_2d(h->pull, CLV_F32, CLASSES, DIM) } };
    const clv_loss_tensor outputs[] = { { "q1", clv_view_dense(&h->low, CLV_F32, 0, NULL) },
                                        { "q3", clv_view_dense(&h->high, CLV_F32, 0, NULL) },
                                        { "n_keep", clv_view_dense(&h->kept, CLV_F32, 0, NULL) } };
    return clv_loss_eval(loss, inputs, 3, grads, 2, outputs, 3, value);
}

static clv_status train(clv_context *ctx, head *h)
{
    const clv_option options[] = { { "head", "cosface" }, { "s", "16" }, { "m", "0.2" } };
    clv_loss *loss = NULL;
    clv_status st = clv_loss_create(ctx, "unpg", options, 3, &loss);
    for (int step = 0; step < STEPS && st == CLV_OK; step++) {
        double value = 0;
        st = evaluate(loss, h, &value);
        if (st == CLV_OK && (step == 0 || step == STEPS - 1))
            printf("step %3d: loss %6.3f, accuracy %.2f, half of the negative pairs between %.2f and %.2f, %.0f kept\n",
                   step, value, accuracy(h), (double)h->low, (double)h->high, (double)h->kept);
        for (int i = 0; i < ROWS * DIM; i++) (&h->features[0][0])[i] -= 0.5f * (&h->push[0][0])[i];
        for (int i = 0; i < CLASSES * DIM; i++) (&h->weight[0][0])[i] -= 0.5f * (&h->pull[0][0])[i];
    }
    clv_loss_destroy(loss);
    return st;
}

int main(void)
{
    static head h;
    clv_context *ctx = NULL;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = 1;         /* more do not pay for so little */
    make_head(&h);
    const double before = accuracy(&h);
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) st = train(ctx, &h);
    if (st != CLV_OK) fprintf(stderr, "%s\n", clv_error_message());
    clv_context_destroy(ctx);
    return st != CLV_OK || accuracy(&h) < 0.95 || accuracy(&h) <= before;
}
