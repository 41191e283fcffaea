/* schedule.c: cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5, without restarts), steps, warm-up. */
#include "train/config/schedule.h"

#include <math.h>
#include <stdlib.h>

clv_status clvi_schedule_milestones(clvi_schedule *schedule, const char *text)
{
    schedule->milestone_count = 0;
    for (const char *p = text; *p;) {
        char *end = NULL;
        const double value = strtod(p, &end);
        CLV_CHECK(end != p && (*end == ',' || !*end) && isfinite(value) && value >= 0, CLV_ERR_INVALID,
                  "schedule: expected epochs separated by commas, got '%s'", text);
        const int n = schedule->milestone_count;
        CLV_CHECK(n < CLVI_MAX_MILESTONES, CLV_ERR_INVALID, "schedule: more than %d epochs", CLVI_MAX_MILESTONES);
        CLV_CHECK(n == 0 || value > schedule->milestone[n - 1], CLV_ERR_INVALID, "schedule: epochs must rise, got '%s'",
                  text);
        schedule->milestone[schedule->milestone_count++] = value;
        p = *end ? end + 1 : end;
    }
    return CLV_OK;
}

double clvi_schedule_base(const clvi_settings *s)
{
    switch (s->lr_scaling) {
    case CLVI_LR_LINEAR: return s->lr * (double)s->batch_size / 256;
    case CLVI_LR_SQRT: return s->lr * sqrt((double)s->batch_size);
    default: return s->lr;
    }
}

double clvi_schedule_at(const clvi_schedule *s, int64_t epoch, int64_t step, int64_t steps_per_epoch)
{
    const double fraction = steps_per_epoch > 0 ? (double)step / (double)steps_per_epoch : 0.0;
    const double now = (double)epoch + fraction;
    const double risen = s->warmup_by_epoch ? (double)epoch : now;
    if (now < s->warmup) return s->warmup_start + (s->base - s->warmup_start) * risen / s->warmup;
    const double e = (s->by_step ? now : (double)epoch) + (double)s->start;
    if (s->cosine) {
        const double span = s->horizon - s->warmup;
        const double t = span > 0 ? fmin((e - s->warmup) / span, 1.0) : 1.0;
        return s->base * (s->end + (1.0 - s->end) * 0.5 * (1.0 + cos(M_PI * t)));
    }
    double lr = s->base;
    for (int i = 0; i < s->milestone_count; i++)
        if (e >= s->milestone[i]) lr *= s->drop;
    return lr;
}

double clvi_momentum_cosine(double base, double epoch, double epochs)
{
    return 1.0 - (1.0 - base) * (1.0 + cos(M_PI * epoch / epochs)) / 2.0;
}
