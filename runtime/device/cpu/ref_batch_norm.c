/* ref_batch_norm.c: y = gamma (x - mean) / sqrt(var + eps) + beta per channel (Ioffe and Szegedy 2015,
 * arXiv:1502.03167), optionally followed by a sum and a ReLU, and its gradient.
 *
 * Training: `groups` equal runs of samples are normalised apart, each with its own mean and biased variance, and
 * running = (1 - momentum) running + momentum * (mean over groups of the group's statistic), where the variance is
 * the unbiased one, n / (n - 1) times the biased one; with n = 1 value a channel it is 0, the biased one.
 * Otherwise the running statistics take the place of the batch's, here and in the gradient, where they are constant.
 * The workspace is, with the ReLU, one byte an element: did it get through. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

/* x [N,C,H,W] or [N,C] cut into groups: channel c of group g is `samples` runs of `pixels` elements. Without training
 * there is one group, all of x. */
typedef struct bn_sizes {
    int64_t groups, samples, channels, pixels;
} bn_sizes;

static bn_sizes sizes_of(const clvi_batch_norm_attr *attr, const clvi_desc *x)
{
    const int64_t groups = attr->training ? attr->groups : 1;
    return (bn_sizes){
        .groups = groups, .samples = x->shape[0] / groups,
        .channels = x->shape[1], .pixels = clvi_desc_extent(x, 2, x->ndim),
    };
}

static int64_t run_start(const bn_sizes *s, int64_t group, int64_t sample, int64_t channel)
{
    return ((group * s->samples + sample) * s->channels + channel) * s->pixels;
}

#define SELF "device/cpu/ref_batch_norm.c"
#include "device/cpu/real.h"

static clv_status batch_norm_prepare(clvi_op_call *call)
{
    const clvi_batch_norm_attr *attr = call->attr;
    clvi_ref_make_dense(call->in, 6);
    clvi_ref_make_dense(call->out, 3);
    if (attr->relu) call->out[3].bytes = CLVI_MAX((size_t)clvi_desc_count(&call->in[0]), (size_t)1);
    return CLV_OK;
}

static clv_status batch_norm(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[1], 1, batch_norm_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_batch_norm = {
    .op = "batch_norm", .name = "reference", .prepare = batch_norm_prepare, .run = batch_norm,
};

/* Leaves the workspace as the forward kernel made it. */
static clv_status batch_norm_bwd_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, 5);
    clvi_ref_make_dense(&call->in[6], 1);
    clvi_ref_make_dense(call->out, call->n_out);
    return CLV_OK;
}

static clv_status batch_norm_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[1], 1, batch_norm_bwd_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_batch_norm_bwd = {
    .op = "batch_norm_bwd", .name = "reference", .prepare = batch_norm_bwd_prepare, .run = batch_norm_bwd,
};

#else

/* Mean and biased variance of one channel of one group; 0 and 0 of nothing. */
static void FN(statistics)(const REAL *x, const bn_sizes *s, int64_t group, int64_t channel, double *mean, double *var)
{
    const double n = (double)(s->samples * s->pixels);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < s->samples; i++) {
        const REAL *run = x + run_start(s, group, i, channel);
        for (int64_t j = 0; j < s->pixels; j++) sum += run[j];
    }
    *mean = n > 0 ? sum / n : 0;
    for (int64_t i = 0; i < s->samples; i++) {
        const REAL *run = x + run_start(s, group, i, channel);
        for (int64_t j = 0; j < s->pixels; j++) squares += (run[j] - *mean) * (run[j] - *mean);
    }
    *var = n > 0 ? squares / n : 0;
}

static void FN(normalise)(const clvi_op_call *call, const bn_sizes *s, int64_t group, int64_t channel, double mean,
                          double var)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const REAL *gamma = call->in_data[1], *beta = call->in_data[2];
    const double scale = (gamma ? gamma[channel] : 1) / sqrt(var + attr->eps), shift = beta ? beta[channel] : 0;
    const REAL *sum = attr->sum ? call->in_data[5] : NULL;
    unsigned char *passed = attr->relu ? clvi_ref_output(call, 3) : NULL;
    for (int64_t i = 0; i < s->samples; i++) {
        const int64_t start = run_start(s, group, i, channel);
        for (int64_t j = start; j < start + s->pixels; j++) {
            const double y = (((const REAL *)call->in_data[0])[j] - mean) * scale + shift + (sum ? sum[j] : 0);
            ((REAL *)call->out_data[0])[j] = (REAL)(attr->relu && y < 0 ? 0 : y);
            if (passed) passed[j] = y > 0;
        }
    }
}

static void FN(batch_norm_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_batch_norm_attr *attr = call->attr;
    const bn_sizes s = sizes_of(attr, &call->in[0]);
    const bool makes = attr->training && !attr->again;
    const double n = (double)(s.samples * s.pixels), unbias = n > 1 ? n / (n - 1) : 1;
    REAL *running_mean = call->in_data[3], *running_var = call->in_data[4];
    REAL *mean_out = clvi_ref_output(call, 1), *var_out = clvi_ref_output(call, 2);
    for (int64_t c = begin; c < end; c++) {
        double mean_sum = 0, var_sum = 0;
        for (int64_t g = 0; g < s.groups; g++) {
            const int64_t at = attr->again ? g * s.channels + c : c;
            double mean = running_mean[at], var = running_var[at];
            if (makes) FN(statistics)(call->in_data[0], &s, g, c, &mean, &var);
            FN(normalise)(call, &s, g, c, (REAL)mean, (REAL)var);   /* as rounded: `again` has them so */
            if (mean_out) mean_out[g * s.channels + c] = (REAL)mean;
            if (var_out) var_out[g * s.channels + c] = (REAL)var;
            mean_sum += mean;
            var_sum += var * unbias;
        }
        if (!makes || n == 0) continue;
        const double m = attr->momentum, groups = (double)s.groups;
        running_mean[c] = (REAL)((1 - m) * running_mean[c] + m * mean_sum / groups);
        running_var[c] = (REAL)((1 - m) * running_var[c] + m * var_sum / groups);
    }
}

/* dy, both parts of it, behind the ReLU. */
static double FN(upstream)(const clvi_op_call *call, int64_t i)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const REAL *dy = call->in_data[0], *dy2 = call->in_data[6];
    if (attr->relu && !((const unsigned char *)call->in_data[5])[i]) return 0;
    return dy2 ? (double)dy[i] + dy2[i] : dy[i];
}

/* One channel of one group: dx, and its part of dgamma and dbeta. */
static void FN(group_bwd)(const clvi_op_call *call, const bn_sizes *s, int64_t group, int64_t channel, double *dgamma,
                          double *dbeta)
{
    const clvi_batch_norm_attr *attr = call->attr;
    const REAL *x = call->in_data[1], *gamma = call->in_data[2];
    const double mean = ((const REAL *)call->in_data[3])[group * s->channels + channel];
    const double rstd = 1 / sqrt(((const REAL *)call->in_data[4])[group * s->channels + channel] + attr->eps);
    const double n = (double)(s->samples * s->pixels), scale = (gamma ? gamma[channel] : 1) * rstd;
    REAL *dx = clvi_ref_output(call, 0), *dsum = clvi_batch_norm_gives_sum(attr) ? clvi_ref_output(call, 3) : NULL;
    double sum = 0, along = 0;   /* of dy, and of dy times the normalised x */
    for (int64_t i = 0; i < s->samples; i++) {
        const int64_t start = run_start(s, group, i, channel);
        for (int64_t j = start; j < start + s->pixels; j++) {
            sum += FN(upstream)(call, j);
            along += FN(upstream)(call, j) * (x[j] - mean) * rstd;
        }
    }
    *dbeta += sum;
    *dgamma += along;
    for (int64_t i = 0; dx && i < s->samples; i++) {
        const int64_t start = run_start(s, group, i, channel);
        for (int64_t j = start; j < start + s->pixels; j++) {
            const double through_statistics = attr->training ? (sum + (x[j] - mean) * rstd * along) / n : 0;
            dx[j] = (REAL)(scale * (FN(upstream)(call, j) - through_statistics));
        }
    }
    for (int64_t i = 0; dsum && i < s->samples; i++) {
        const int64_t start = run_start(s, group, i, channel);
        for (int64_t j = start; j < start + s->pixels; j++) dsum[j] = (REAL)FN(upstream)(call, j);
    }
}

static void FN(batch_norm_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const bn_sizes s = sizes_of(call->attr, &call->in[1]);
    REAL *dgamma_out = clvi_ref_output(call, 1), *dbeta_out = clvi_ref_output(call, 2);
    for (int64_t c = begin; c < end; c++) {
        double dgamma = 0, dbeta = 0;
        for (int64_t g = 0; g < s.groups; g++) FN(group_bwd)(call, &s, g, c, &dgamma, &dbeta);
        if (dgamma_out) dgamma_out[c] = (REAL)dgamma;
        if (dbeta_out) dbeta_out[c] = (REAL)dbeta;
    }
}

#endif
