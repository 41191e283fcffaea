/* lbfgs.c: the two-loop recursion (Nocedal 1980, algorithm 7.4 in Nocedal and Wright 2006) and a search along the line
 * that halves its step until the value falls enough (Armijo). The function is convex, so steps that shorten the value also
 * have curvature above zero, and nothing more is asked of them. */
#include "eval/lbfgs.h"
#include "core/checked.h"

#include <math.h>
#include <string.h>

enum { MEMORY = 10, RING = MEMORY + 1, HALVINGS = 40 };    /* one slot more: what is not kept overwrites nothing */

typedef struct minimiser {
    const clvi_lbfgs *problem;
    double  *block;                               /* all vectors below, [n] each */
    double  *x, *next, *gradient, *next_gradient, *direction;
    double  *moved[RING], *changed[RING];             /* steps and what they did to the gradient; a ring */
    double   inner[RING];                         /* <moved, changed> */
    int64_t  kept;                                /* pairs stored so far */
    double   value;
} minimiser;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double largest(const double *a, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(a[i]));
    return most;
}

static void add(double *to, double factor, const double *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] += factor * from[i];
}

/* direction = -H gradient, H the inverse Hessian as the stored pairs tell it. */
static void choose_direction(minimiser *m)
{
    const int64_t n = m->problem->n, oldest = CLVI_MAX(m->kept - MEMORY, INT64_C(0));
    double weight[RING];
    for (int64_t i = 0; i < n; i++) m->direction[i] = -m->gradient[i];
    for (int64_t i = m->kept - 1; i >= oldest; i--) {
        const int64_t slot = i % RING;
        weight[slot] = dot(m->moved[slot], m->direction, n) / m->inner[slot];
        add(m->direction, -weight[slot], m->changed[slot], n);
    }
    if (m->kept == 0) return;
    const int64_t last = (m->kept - 1) % RING;
    const double scale = m->inner[last] / dot(m->changed[last], m->changed[last], n);
    for (int64_t i = 0; i < n; i++) m->direction[i] *= scale;
    for (int64_t i = oldest; i < m->kept; i++) {
        const int64_t slot = i % RING;
        add(m->direction, weight[slot] - dot(m->changed[slot], m->direction, n) / m->inner[slot], m->moved[slot], n);
    }
}

/* Goes along the direction to next; *moved false: no step shortens the value. */
static clv_status search_line(minimiser *m, double *value, bool *moved)
{
    const clvi_lbfgs *p = m->problem;
    const double slope = dot(m->direction, m->gradient, p->n);
    double step = m->kept ? 1.0 : 1.0 / fmax(1.0, sqrt(dot(m->gradient, m->gradient, p->n)));
    *moved = false;
    for (int i = 0; i < HALVINGS && slope < 0.0; i++, step *= 0.5) {
        memcpy(m->next, m->x, (size_t)p->n * sizeof *m->next);
        add(m->next, step, m->direction, p->n);
        CLV_TRY(p->objective(p->arg, m->next, value, m->next_gradient));
        *moved = *value < m->value && *value <= m->value + 1e-4 * step * slope;
        if (*moved) break;
    }
    return CLV_OK;
}

static void remember(minimiser *m)
{
    const int64_t n = m->problem->n, slot = m->kept % RING;
    for (int64_t i = 0; i < n; i++) {
        m->moved[slot][i] = m->next[i] - m->x[i];
        m->changed[slot][i] = m->next_gradient[i] - m->gradient[i];
    }
    m->inner[slot] = dot(m->moved[slot], m->changed[slot], n);
    if (m->inner[slot] > 1e-12 * dot(m->changed[slot], m->changed[slot], n)) m->kept++;
}

static clv_status minimise(minimiser *m, int64_t *steps)
{
    const clvi_lbfgs *p = m->problem;
    CLV_TRY(p->objective(p->arg, m->x, &m->value, m->gradient));
    CLV_CHECK(isfinite(m->value), CLV_ERR_NUMERIC, "L-BFGS: the value at the start is %g", m->value);
    for (*steps = 0; *steps < p->steps && largest(m->gradient, p->n) > p->tolerance; (*steps)++) {
        double value = 0.0;
        bool moved = false;
        choose_direction(m);
        CLV_TRY(search_line(m, &value, &moved));
        if (!moved) break;
        remember(m);
        memcpy(m->x, m->next, (size_t)p->n * sizeof *m->x);
        memcpy(m->gradient, m->next_gradient, (size_t)p->n * sizeof *m->gradient);
        m->value = value;
    }
    return CLV_OK;
}

clv_status clvi_lbfgs_minimise(clv_context *ctx, const clvi_lbfgs *problem, double *x, int64_t *steps)
{
    const size_t n = (size_t)problem->n;
    minimiser m = { .problem = problem, .x = x };
    size_t count = 0;
    CLV_CHECK(clvi_mul_size(n, 4 + 2 * RING, &count), CLV_ERR_NOMEM, "L-BFGS: %zu variables are too many", n);
    m.block = clvi_calloc(ctx, count, sizeof *m.block);
    if (!m.block) return CLV_ERR_NOMEM;
    double *at = m.block, **const single[4] = { &m.next, &m.gradient, &m.next_gradient, &m.direction };
    for (int i = 0; i < 4; i++, at += n) *single[i] = at;
    for (int i = 0; i < RING; i++, at += 2 * n) {
        m.moved[i] = at;
        m.changed[i] = at + n;
    }
    const clv_status st = minimise(&m, steps);
    clvi_free(ctx, m.block);
    return st;
}
