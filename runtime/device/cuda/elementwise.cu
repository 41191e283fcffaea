/* elementwise.cu: operations on each element alone: relu, add, sub, mul, div, scale, sqrt, abs, softplus, gelu, clamp,
 * sigmoid_xent, focal, overlap, and their gradients. A NaN goes through all of them. */
#include "device/cuda/cu.h"

/* The attributes of operations that have none. */
struct none {};

/* y = expression in a (and b, c: further inputs) and `attr`, in the type T itself or in double. */
#define EACH_OF(op_name, attr_type, type, expression, by_type, entry)                                                  \
    template <class T> static clv_status op_name##_of(const clvi_op_call *call)                                        \
    {                                                                                                                  \
        const T *in0 = (const T *)call->in_data[0], *in1 = (const T *)call->in_data[call->n_in > 1],                   \
                *in2 = (const T *)call->in_data[call->n_in > 2 ? 2 : 0];                                               \
        T *out = (T *)call->out_data[0];                                                                               \
        const attr_type attr = call->attr ? *(const attr_type *)call->attr : attr_type();                              \
        return clvi_cu_each(call, (int64_t)(call->out[0].bytes / sizeof(T)), [=] __device__ (int64_t i) {              \
            const type a = in0[i], b = in1[i], c = in2[i];                                                             \
            (void)b, (void)c, (void)attr;                                                                              \
            out[i] = (T)(expression);                                                                                  \
        });                                                                                                            \
    }                                                                                                                  \
    static clv_status op_name##_kernel(const clvi_op_call *call)                                                       \
    {                                                                                                                  \
        return by_type(call->out[0], op_name##_of, call);                                                              \
    }                                                                                                                  \
    entry(op_name, op_name##_kernel)
#define EACH_WITH(op_name, attr_type, type, expression)                                                                \
    EACH_OF(op_name, attr_type, type, expression, CLVI_CU_BY_TYPE, CLVI_CU_ELEMENTWISE)
/* On bfloat16 as well, in float. */
#define EACH_HALF(op_name, attr_type, expression)                                                                      \
    EACH_OF(op_name, attr_type, typename clvi_cu_wide<T>::type, expression, CLVI_CU_BY_ANY_TYPE, CLVI_CU_ELEMENTWISE_HALF)
#define EACH(op_name, type, expression) EACH_WITH(op_name, none, type, expression)

/* ---- arithmetic ---- */

EACH_HALF(relu, none, a < 0 ? 0 : a);
EACH_HALF(relu_bwd, none, b > 0 ? a : 0);               /* dy, y: the gradient at 0 is 0 */
EACH_HALF(add, clvi_add_attr, attr.relu && a + b < 0 ? 0 : a + b);
EACH(sub, T, a - b);
EACH(mul, T, a * b);
EACH(div, T, b == 0 ? T(0) : a / b);
EACH_WITH(scale, clvi_scale_attr, double, attr.factor * a + attr.offset);

/* ---- functions of one value; gradients: dy, x (sqrt: y) ---- */

/* distribution function */
static __device__ double normal(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
static __device__ double softplus_of(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
static __device__ double logistic(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

EACH(sqrt, double, a < 0 ? 0 : sqrt(a));
EACH(sqrt_bwd, double, b > 0 ? a / (2 * b) : 0);
EACH(abs, double, fabs(a));
EACH(abs_bwd, double, b > 0 ? a : b < 0 ? -a : 0);
EACH(softplus, double, softplus_of(a));
EACH(softplus_bwd, double, a * logistic(b));
EACH(gelu, double, a * normal(a));
EACH(gelu_bwd, double, a * (normal(b) + b * exp(-0.5 * b * b) * 0.39894228040143267794));
EACH_WITH(clamp, clvi_clamp_attr, double, a < attr.low ? attr.low : a > attr.high ? attr.high : a);
EACH_WITH(clamp_bwd, clvi_clamp_attr, double, b < attr.low || b > attr.high ? 0 : a);

/* ---- losses of one element ---- */

/* x, y: both parts are at least 0, so nothing cancels at y = 0 and 1. */
EACH(sigmoid_xent, double, b * softplus_of(-a) + (1 - b) * softplus_of(a));
EACH(sigmoid_xent_bwd, double, a * ((1 - c) * logistic(b) - c * logistic(-b)));

/* c = -log p, so 1 - p = -expm1(-c). At c = 0 the slope is that of c^(1+gamma): 1 for gamma 0, else 0. */
static __device__ double focal_slope(double c, double gamma)
{
    const double q = -expm1(-c);
    return q > 0 ? pow(q, gamma) + gamma * pow(q, gamma - 1) * exp(-c) * c : gamma == 0;
}

EACH_WITH(focal, clvi_focal_attr, double, pow(-expm1(-a), attr.gamma) * a);
EACH_WITH(focal_bwd, clvi_focal_attr, double, a * focal_slope(b, attr.gamma));

/* Numerator and denominator of 1 - R, both without the smoothing term, and their slopes in w. */
struct fraction { double top, bottom, top_slope, bottom_slope; };

static __device__ fraction overlap_fraction(clvi_overlap_attr a, double w, double y)
{
    switch (a.kind) {
    case CLVI_OVERLAP_SQUARE: return { 2 * w * y, w * w + y * y, 2 * y, 2 * w };
    case CLVI_OVERLAP_TVERSKY:
        return { w * y, w * y + a.alpha * w * (1 - y) + a.beta * (1 - w) * y, y, y + a.alpha * (1 - y) - a.beta * y };
    default: return { 2 * w * y, w + y, 2 * y, 1 };
    }
}

static __device__ double overlap_value(clvi_overlap_attr a, double w, double y)
{
    const fraction f = overlap_fraction(a, w, y);
    const double divisor = f.bottom + a.smooth;
    return divisor == 0 ? 0 : (f.bottom - f.top) / divisor;
}

static __device__ double overlap_slope(clvi_overlap_attr a, double up, double w, double y)
{
    const fraction f = overlap_fraction(a, w, y);
    const double divisor = f.bottom + a.smooth;
    return divisor == 0 ? 0 : up * ((f.top + a.smooth) / divisor * f.bottom_slope - f.top_slope) / divisor;
}

EACH_WITH(overlap, clvi_overlap_attr, double, overlap_value(attr, a, b));
EACH_WITH(overlap_bwd, clvi_overlap_attr, double, overlap_slope(attr, a, b, c));
