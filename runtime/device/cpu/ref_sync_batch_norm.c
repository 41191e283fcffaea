/* ref_sync_batch_norm.c: batch norm whose statistics are those of the batch of all ranks. Sums over this rank's share
 * are made here, channel by channel, and added up over the ranks by the function in the attributes: the mean, then the
 * squares about it, as ref_batch_norm.c has it; in the backward pass the two sums that the gradient takes from the
 * batch. */
#ifndef REAL

#include "device/cpu/ref.h"
#include "device/sync_norm.h"

#include <math.h>
#include <string.h>

/* x [N,C,H,W] or [N,C]: channel c is `samples` runs of `pixels` elements, `count` in all. In the scratch memory: two
 * sums a channel over all ranks, and how many elements a channel has on all ranks. */
typedef struct share {
    const clvi_op_call *call;
    int64_t samples, channels, pixels, count;
    double *first, *second, *all;
} share;

static share share_of(const clvi_op_call *call, int x)
{
    const clvi_desc *desc = &call->in[x];
    share s = { .call = call, .samples = desc->shape[0], .channels = desc->shape[1],
                .pixels = clvi_desc_extent(desc, 2, desc->ndim), .first = call->scratch };
    s.second = s.first + s.channels + 1;
    s.all = s.first + s.channels;
    s.count = s.samples * s.pixels;
    return s;
}

static clv_status over_ranks(const share *s, double *x, int64_t n)
{
    const clvi_sync_norm_attr *attr = s->call->attr;
    return attr->ranks ? attr->ranks->sum(attr->ranks->user, s->call->ctx, x, n) : CLV_OK;
}

#define SELF "device/cpu/ref_sync_batch_norm.c"
#include "device/cpu/real.h"

#define EACH_CHANNEL(s, body)                                                                                          \
    clvi_parallel_for((s)->call->ctx, (s)->channels, 1, (s)->call->out[0].dtype == CLV_F64 ? body##_f64 : body##_f32,  \
                      (void *)(s))

static clv_status prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, 5);
    clvi_ref_make_dense(call->out, 3);
    call->scratch_size = (size_t)(2 * (call->in[strcmp(call->op, "sync_batch_norm") ? 1 : 0].shape[1] + 1)) *
                         sizeof(double);
    return CLV_OK;
}

static clv_status sync_batch_norm(const clvi_op_call *call)
{
    share s = share_of(call, 0);
    EACH_CHANNEL(&s, sum);
    *s.all = (double)s.count;
    CLV_TRY(over_ranks(&s, s.first, s.channels + 1));
    EACH_CHANNEL(&s, squares);
    CLV_TRY(over_ranks(&s, s.second, s.channels));
    EACH_CHANNEL(&s, normalise);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_sync_batch_norm = {
    .op = "sync_batch_norm", .name = "reference", .prepare = prepare, .run = sync_batch_norm,
};

static clv_status sync_batch_norm_bwd(const clvi_op_call *call)
{
    share s = share_of(call, 1);
    EACH_CHANNEL(&s, sums_bwd);
    *s.all = (double)s.count;
    CLV_TRY(over_ranks(&s, s.first, 2 * s.channels + 1));
    EACH_CHANNEL(&s, dx);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_sync_batch_norm_bwd = {
    .op = "sync_batch_norm_bwd", .name = "reference", .prepare = prepare, .run = sync_batch_norm_bwd,
};

#else

static void FN(sum)(void *arg, int64_t begin, int64_t end)
{
    const share *s = arg;
    for (int64_t c = begin; c < end; c++) {
        double sum = 0;
        for (int64_t n = 0; n < s->samples; n++) {
            const REAL *x = (const REAL *)s->call->in_data[0] + (n * s->channels + c) * s->pixels;
            for (int64_t j = 0; j < s->pixels; j++) sum += x[j];
        }
        s->first[c] = sum;
    }
}

static void FN(squares)(void *arg, int64_t begin, int64_t end)
{
    const share *s = arg;
    for (int64_t c = begin; c < end; c++) {
        const double mean = s->first[c] / *s->all;
        double sum = 0;
        for (int64_t n = 0; n < s->samples; n++) {
            const REAL *x = (const REAL *)s->call->in_data[0] + (n * s->channels + c) * s->pixels;
            for (int64_t j = 0; j < s->pixels; j++) sum += (x[j] - mean) * (x[j] - mean);
        }
        s->second[c] = sum;
    }
}

static void FN(normalise)(void *arg, int64_t begin, int64_t end)
{
    const share *s = arg;
    const clvi_sync_norm_attr *attr = s->call->attr;
    const REAL *gamma = s->call->in_data[1], *beta = s->call->in_data[2];
    REAL *running_mean = s->call->in_data[3], *running_var = s->call->in_data[4];
    REAL *mean_out = clvi_ref_output(s->call, 1), *var_out = clvi_ref_output(s->call, 2);
    for (int64_t c = begin; c < end; c++) {
        const double n = *s->all, mean = s->first[c] / n, var = s->second[c] / n, m = attr->momentum;
        const double scale = (gamma ? gamma[c] : 1) / sqrt(var + attr->eps), shift = beta ? beta[c] : 0;
        for (int64_t i = 0; i < s->samples; i++) {
            const int64_t at = (i * s->channels + c) * s->pixels;
            for (int64_t j = at; j < at + s->pixels; j++)
                ((REAL *)s->call->out_data[0])[j] =
                    (REAL)((((const REAL *)s->call->in_data[0])[j] - mean) * scale + shift);
        }
        if (mean_out) mean_out[c] = (REAL)mean;
        if (var_out) var_out[c] = (REAL)var;
        running_mean[c] = (REAL)((1 - m) * running_mean[c] + m * mean);
        running_var[c] = (REAL)((1 - m) * running_var[c] + m * var * (n > 1 ? n / (n - 1) : 1));
    }
}

/* Of dy, and of dy times the normalised x: over this rank's share they are dbeta and dgamma. */
static void FN(sums_bwd)(void *arg, int64_t begin, int64_t end)
{
    const share *s = arg;
    const clvi_sync_norm_attr *attr = s->call->attr;
    REAL *dgamma = clvi_ref_output(s->call, 1), *dbeta = clvi_ref_output(s->call, 2);
    for (int64_t c = begin; c < end; c++) {
        const double mean = ((const REAL *)s->call->in_data[3])[c];
        const double rstd = 1 / sqrt(((const REAL *)s->call->in_data[4])[c] + attr->eps);
        double sum = 0, along = 0;
        for (int64_t i = 0; i < s->samples; i++) {
            const int64_t at = (i * s->channels + c) * s->pixels;
            const REAL *dy = (const REAL *)s->call->in_data[0] + at, *x = (const REAL *)s->call->in_data[1] + at;
            for (int64_t j = 0; j < s->pixels; j++) sum += dy[j], along += dy[j] * (x[j] - mean) * rstd;
        }
        s->first[c] = sum;
        s->second[c] = along;
        if (dgamma) dgamma[c] = (REAL)along;
        if (dbeta) dbeta[c] = (REAL)sum;
    }
}

static void FN(dx)(void *arg, int64_t begin, int64_t end)
{
    const share *s = arg;
    const clvi_sync_norm_attr *attr = s->call->attr;
    const REAL *gamma = s->call->in_data[2];
    REAL *out = clvi_ref_output(s->call, 0);
    for (int64_t c = begin; out && c < end; c++) {
        const double mean = ((const REAL *)s->call->in_data[3])[c];
        const double rstd = 1 / sqrt(((const REAL *)s->call->in_data[4])[c] + attr->eps);
        const double scale = (gamma ? gamma[c] : 1) * rstd;
        for (int64_t i = 0; i < s->samples; i++) {
            const int64_t at = (i * s->channels + c) * s->pixels;
            for (int64_t j = at; j < at + s->pixels; j++) {
                const double x = (((const REAL *)s->call->in_data[1])[j] - mean) * rstd;
                const double dy = ((const REAL *)s->call->in_data[0])[j];
                out[j] = (REAL)(scale * (dy - (s->first[c] + x * s->second[c]) / *s->all));
            }
        }
    }
}

#endif
