/* velocity.h: SGD's velocity on whatever device the parameters are: the values of a clone, all zero. */
#ifndef CLEAVE_BENCH_VELOCITY_H
#define CLEAVE_BENCH_VELOCITY_H

#include <cleave/graph.h>
#include <stdlib.h>

static inline clv_status bench_zero(clv_params *p, int64_t i)
{
    clv_param_info info;
    clv_status st = clv_params_info(p, i, &info);
    if (st != CLV_OK || info.kind != CLV_PARAM_TRAINABLE) return st;
    clv_view view = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
    view.data = calloc((size_t)clv_view_count(&view) + 1, sizeof(float));
    st = view.data ? clv_params_write(p, i, &view) : CLV_ERR_NOMEM;
    free(view.data);
    return st;
}

/* `set` is the caller's to destroy, and holds the vector. */
static inline clv_status bench_velocity(const clv_params *params, clv_params **set, clv_view *velocity)
{
    clv_status st = clv_params_clone(params, set);
    for (int64_t i = 0; st == CLV_OK && i < clv_params_count(*set); i++) st = bench_zero(*set, i);
    return st == CLV_OK ? clv_params_flat(*set, CLV_PARAM_VALUE, velocity) : st;
}

#endif
