/* mix.c: see mix.h. */
#include "train/step/mix.h"
#include "core/checked.h"
#include "core/rng.h"

#include <math.h>
#include <string.h>

bool clvi_mix_wanted(const clvi_settings *s)
{
    return s->mixup_alpha > 0 || s->cutmix_alpha > 0;
}

/* A box with an area of about 1 - lambda of the image around a random middle; what lies outside is cut off. */
static void draw_box(clvi_mix *m, clvi_rng *rng, int64_t height, int64_t width)
{
    const double side = sqrt(1.0 - m->lambda);
    const int64_t h = (int64_t)((double)height * side) / 2, w = (int64_t)((double)width * side) / 2;
    const int64_t y = (int64_t)clvi_rng_below(rng, (uint64_t)height), x = (int64_t)clvi_rng_below(rng, (uint64_t)width);
    m->top = CLVI_MAX(y - h, 0);
    m->bottom = CLVI_MIN(y + h, height);
    m->left = CLVI_MAX(x - w, 0);
    m->right = CLVI_MIN(x + w, width);
    m->lambda = 1.0 - (double)((m->bottom - m->top) * (m->right - m->left)) / (double)(height * width);
}

clvi_mix clvi_mix_draw(const clvi_settings *s, uint32_t epoch, uint64_t step, int64_t height, int64_t width)
{
    clvi_rng rng = clvi_rng_make((uint64_t)s->seed, CLVI_RNG_MIX, epoch, step, 0);
    clvi_mix m = { .lambda = 1 };
    const bool mix = clvi_rng_f64(&rng) < s->mixup_prob, second = clvi_rng_f64(&rng) < s->mixup_switch_prob;
    if (!mix) return m;
    m.cut = s->mixup_alpha > 0 && s->cutmix_alpha > 0 ? second : s->cutmix_alpha > 0;
    const double alpha = m.cut ? s->cutmix_alpha : s->mixup_alpha;
    m.lambda = clvi_rng_beta(&rng, alpha, alpha);
    if (m.cut) draw_box(&m, &rng, height, width);
    return m;
}

/* Exchanges shares of two runs of values: a' = l a + (1 - l) b and the other way round. */
static void blend(float *a, float *b, int64_t n, float l)
{
    for (int64_t i = 0; i < n; i++) {
        const float x = a[i], y = b[i];
        a[i] = l * x + (1.0f - l) * y;
        b[i] = l * y + (1.0f - l) * x;
    }
}

static void exchange(float *a, float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

/* The middle image of an odd batch meets itself and stays. */
static void mix_together(const clvi_mix *m, float *images, int64_t n, int64_t h, int64_t w, int64_t c)
{
    for (int64_t i = 0; i < n / 2; i++) {
        float *a = images + i * h * w * c, *b = images + (n - 1 - i) * h * w * c;
        if (!m->cut) blend(a, b, h * w * c, (float)m->lambda);
        for (int64_t y = m->top; m->cut && y < m->bottom; y++)
            exchange(a + (y * w + m->left) * c, b + (y * w + m->left) * c, (m->right - m->left) * c);
    }
}

/* The same numbers as if both shares were there. */
static void mix_apart(const clvi_mix *m, float *images, const float *others, int64_t n, int64_t h, int64_t w, int64_t c)
{
    const float l = (float)m->lambda;
    for (int64_t i = 0; i < n; i++) {
        float *a = images + i * h * w * c;
        const float *b = others + (n - 1 - i) * h * w * c;
        for (int64_t k = 0; !m->cut && k < h * w * c; k++) a[k] = l * a[k] + (1.0f - l) * b[k];
        for (int64_t y = m->top; m->cut && y < m->bottom; y++)
            memcpy(a + (y * w + m->left) * c, b + (y * w + m->left) * c,
                   (size_t)((m->right - m->left) * c) * sizeof *a);
    }
}

void clvi_mix_images(const clvi_mix *m, clv_view *images, const float *others)
{
    const int64_t n = images->shape[0], c = images->shape[1], h = images->shape[2], w = images->shape[3];
    if (m->lambda == 1) return;
    if (others) mix_apart(m, images->data, others, n, h, w, c);
    else mix_together(m, images->data, n, h, w, c);
}

void clvi_mix_targets(const clvi_mix *m, const int64_t *labels, int64_t n, int64_t classes, float *out)
{
    memset(out, 0, (size_t)(n * classes) * sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        const int64_t own = labels[i], other = labels[n - 1 - i];
        if (own >= 0) out[i * classes + own] += (float)m->lambda;
        if (other >= 0) out[i * classes + other] += (float)(1.0 - m->lambda);
    }
}
