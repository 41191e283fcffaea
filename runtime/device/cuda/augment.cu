/* augment.cu: pictures from bytes to views, a block a view, in the arithmetic of augment/: the same bits. Compiled
 * without contraction of products and sums (mk/cuda.mk). */
#include "core/rng_inline.h"
#include "device/cuda/augment.h"
#include "device/cuda/cu.h"

struct picture {
    const uint8_t *at;
    int64_t row, pixel, plane;
    int height, width, channels;
    __device__ int64_t count() const { return (int64_t)height * width; }
};

/* What the operations of a block share: two planar pictures in turns, and room beside them. */
struct room {
    uint8_t *buffer[2], *temp;
    int now;                             /* which of the two holds the picture; 2: neither, it is the caller's */
    __device__ uint8_t *spare() const { return buffer[now == 0]; }
};

/* f(i) for all i < n by the threads of a block; all have come through when it returns. */
template <class F> static __device__ void each(int64_t n, F f)
{
    for (int64_t i = threadIdx.x; i < n; i += CLVI_CU_THREADS) f(i);
    __syncthreads();
}

/* The spare buffer holds the picture now. */
static __device__ void adopt(picture &p, room &r, int height, int width)
{
    p.at = r.spare();
    r.now = r.now == 0;
    p.height = height, p.width = width;
    p.row = width, p.pixel = 1, p.plane = (int64_t)height * width;
}

/* The picture as planes that may be written. */
static __device__ uint8_t *own(picture &p, room &r)
{
    if (r.now == 2) {
        const picture from = p;
        uint8_t *out = r.spare();
        each(p.count() * p.channels, [=] (int64_t i) {
            const int64_t c = i / from.count(), y = i / from.width % from.height, x = i % from.width;
            out[i] = from.at[c * from.plane + y * from.row + x * from.pixel];
        });
        adopt(p, r, p.height, p.width);
    }
    return r.buffer[r.now];
}

/* ---- geometry ---- */

static __device__ uint8_t weighed(int32_t sum)
{
    const int32_t v = sum >> 22;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static __device__ void resize(const clvi_pixel_op &op, const uint8_t *base, picture &p, room &r)
{
    const int w = op.width, h = op.height, rows = op.n[3], first_row = op.n[2], taps_x = op.n[0], taps_y = op.n[1];
    const int32_t *first_x = (const int32_t *)(base + op.at), *count_x = first_x + w, *weight_x = count_x + w;
    const int32_t *first_y = (const int32_t *)(base + op.more), *count_y = first_y + h, *weight_y = count_y + h;
    const picture from = p;
    uint8_t *middle = r.temp, *out = r.spare();
    each((int64_t)rows * w * p.channels, [=] (int64_t i) {
        const int64_t x = i % w, y = first_row + i / w % rows, c = i / ((int64_t)w * rows);
        const uint8_t *in = from.at + c * from.plane + y * from.row + first_x[x] * from.pixel;
        int32_t sum = 1 << 21;
        for (int t = 0; t < count_x[x]; t++) sum += weight_x[x * taps_x + t] * in[t * from.pixel];
        middle[i] = weighed(sum);
    });
    each((int64_t)h * w * p.channels, [=] (int64_t i) {
        const int64_t x = i % w, y = i / w % h, c = i / ((int64_t)w * h);
        const uint8_t *in = middle + (c * rows + first_y[y] - first_row) * w + x;
        int32_t sum = 1 << 21;
        for (int t = 0; t < count_y[y]; t++) sum += weight_y[y * taps_y + t] * in[(int64_t)t * w];
        out[i] = weighed(sum);
    });
    adopt(p, r, h, w);
}

static __device__ void mirror(picture &p, room &r)
{
    const uint8_t *in = own(p, r);
    uint8_t *out = r.spare();
    const int w = p.width;
    each(p.count() * p.channels, [=] (int64_t i) { out[i] = in[i / w * w + w - 1 - i % w]; });
    adopt(p, r, p.height, p.width);
}

static __device__ void affine(const clvi_pixel_op &op, const double *matrix, picture &p, room &r)
{
    const uint8_t *in = own(p, r);
    uint8_t *out = r.spare();
    const int64_t n = p.count();
    const int w = p.width, h = p.height, channels = p.channels, fill = op.n[0];
    each(n, [=] (int64_t i) {
        const double cx = (double)(i % w) + 0.5, cy = (double)(i / w) + 0.5;
        const double x = matrix[0] * cx + matrix[1] * cy + matrix[2], y = matrix[3] * cx + matrix[4] * cy + matrix[5];
        if (!(x >= 0.0 && x < w && y >= 0.0 && y < h)) {
            for (int c = 0; c < channels; c++) out[c * n + i] = (uint8_t)fill;
            return;
        }
        const double left = floor(x - 0.5), top = floor(y - 0.5), dx = x - 0.5 - left, dy = y - 0.5 - top;
        const int64_t x0 = left < 0 ? 0 : (int64_t)left, x1 = (int64_t)left + 1 < w ? (int64_t)left + 1 : w - 1;
        const int64_t y0 = top < 0 ? 0 : (int64_t)top, y1 = (int64_t)top + 1 < h ? (int64_t)top + 1 : h - 1;
        for (int c = 0; c < channels; c++) {
            const uint8_t *upper_row = in + c * n + y0 * w, *lower_row = in + c * n + y1 * w;
            const double upper = upper_row[x0] + (upper_row[x1] - upper_row[x0]) * dx;
            const double lower = lower_row[x0] + (lower_row[x1] - lower_row[x0]) * dx;
            out[c * n + i] = (uint8_t)(upper + (lower - upper) * dy);
        }
    });
    adopt(p, r, h, w);
}

/* ---- colour ---- */

static __device__ uint8_t luma(const uint8_t *in, int64_t i, int64_t n)
{
    return (uint8_t)((19595u * in[i] + 38470u * in[i + n] + 7471u * in[i + 2 * n] + 0x8000u) >> 16);
}

static __device__ uint8_t blend(int base, int value, float alpha)
{
    const int v = (int)((float)base + alpha * (float)(value - base));
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static __device__ void blend_all(uint8_t *at, int64_t bytes, int base, float alpha)
{
    each(bytes, [=] (int64_t i) { at[i] = blend(base, at[i], alpha); });
}

/* Away from the mean luma, rounded. */
static __device__ void contrast(uint8_t *at, const picture &p, float alpha)
{
    const int64_t n = p.count();
    int64_t sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += CLVI_CU_THREADS) sum += p.channels == 3 ? luma(at, i, n) : at[i];
    const int mean = (int)((double)clvi_cu_block_sum(sum) / (double)n + 0.5);
    __syncthreads();                     /* all have read */
    blend_all(at, n * p.channels, mean, alpha);
}

static __device__ void saturation(uint8_t *at, const picture &p, float alpha)
{
    const int64_t n = p.count();
    if (p.channels != 3) return;
    each(n, [=] (int64_t i) {
        const int base = luma(at, i, n);
        for (int c = 0; c < 3; c++) at[c * n + i] = blend(base, at[c * n + i], alpha);
    });
}

static __device__ void gray(uint8_t *at, const picture &p)
{
    const int64_t n = p.count();
    each(n, [=] (int64_t i) { at[i] = at[n + i] = at[2 * n + i] = luma(at, i, n); });
}

static __device__ int smaller(int a, int b) { return a < b ? a : b; }
static __device__ int larger(int a, int b) { return a > b ? a : b; }

struct hsv { int hue, saturation, value; };

/* The hue in sixths is base + numerator / range; see augment/color.c for why these are Pillow's bytes. */
static __device__ hsv to_hsv(int r, int g, int b)
{
    const int max = larger(larger(r, g), b), min = smaller(smaller(r, g), b);
    const int range = max - min, distance = 2 * max + min - r - g - b;
    const int blue_least = b == min, red_least = r == min;
    const int rising = r == max ? 1 - blue_least : g == max ? blue_least : red_least;
    const int base = r == max ? 2 * blue_least - 1 : g == max ? 3 - 2 * blue_least : 5 - 2 * red_least;
    const int grey = range == 0, black = max == 0;
    const float sixths = (float)base + (float)(rising ? distance : -distance) / (float)(range + grey);
    const float turn = sixths / 6.0f + (float)(base < 0);
    const int near = (int)(turn * 255.0f), over = 256.0f * turn - (float)near < turn;
    return { grey ? 0 : near - over, (int)((float)range / (float)(max + black) * 255.0f), max };
}

static __device__ uint8_t fade(int value, int saturation, int away)
{
    const int part = away < 0 ? 0 : away > 85 ? 85 : away;
    return (uint8_t)(int)(((float)(value * (21675 - saturation * part)) + 10837.5f) * (1.0f / 21675));
}

static __device__ void turn_hue(uint8_t *at, const picture &p, int shift)
{
    const int64_t n = p.count();
    if (p.channels != 3) return;
    each(n, [=] (int64_t i) {
        const hsv c = to_hsv(at[i], at[n + i], at[2 * n + i]);
        const int h = 2 * ((c.hue + shift) & 255);
        at[i] = fade(c.value, c.saturation, smaller(h - 85, 425 - h));
        at[n + i] = fade(c.value, c.saturation, larger(85 - h, h - 255));
        at[2 * n + i] = fade(c.value, c.saturation, larger(255 - h, h - 425));
    });
}

/* ---- blur ---- */

/* One box along rows (step 1) or columns, the border repeated. */
static __device__ void box(const clvi_pixel_op &op, bool down, picture &p, room &r)
{
    const uint8_t *in = own(p, r);
    uint8_t *out = r.spare();
    const int w = p.width, h = p.height, reach = op.n[0] + 1, length = down ? h : w;
    const uint32_t whole = (uint32_t)op.n[1], part = (uint32_t)op.n[2];
    each(p.count() * p.channels, [=] (int64_t i) {
        const int64_t place = down ? i / w % h : i % w, step = down ? w : 1;
        const uint8_t *line = in + i - place * step;
        uint32_t inner = 0, ends = 0;
        for (int t = -reach; t <= reach; t++) {
            const int64_t from = place + t < 0 ? 0 : place + t < length ? place + t : length - 1;
            if (t == -reach || t == reach) ends += line[from * step];
            else inner += line[from * step];
        }
        out[i] = (uint8_t)((inner * whole + ends * part + (1u << 23)) >> 24);
    });
    adopt(p, r, h, w);
}

static __device__ int64_t reflect(int64_t i, int64_t n)
{
    if (n == 1) return 0;
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
    return i;
}

/* Both directions in float32, rounded once. */
static __device__ void kernel_blur(const clvi_pixel_op &op, const float *weight, picture &p, room &r)
{
    uint8_t *at = own(p, r);
    float *rows = (float *)r.temp;
    const int radius = op.n[0], w = p.width, h = p.height;
    for (int c = 0; c < p.channels; c++) {
        uint8_t *plane = at + c * p.count();
        each(p.count(), [=] (int64_t i) {
            float sum = 0;
            for (int t = -radius; t <= radius; t++)
                sum += weight[t + radius] * plane[i / w * w + reflect(i % w + t, w)];
            rows[i] = sum;
        });
        each(p.count(), [=] (int64_t i) {
            float sum = 0;
            for (int t = -radius; t <= radius; t++)
                sum += weight[t + radius] * rows[reflect(i / w + t, h) * w + i % w];
            const int v = (int)rintf(sum);
            plane[i] = (uint8_t)(v < 255 ? v : 255);
        });
    }
}

/* ---- erasing ---- */

static __device__ void fill_box(const clvi_pixel_op &op, const uint8_t *colour, uint8_t *at, const picture &p)
{
    const int top = op.n[0], left = op.n[1], h = op.n[2], w = op.n[3], height = p.height, width = p.width;
    each((int64_t)h * w * p.channels, [=] (int64_t i) {
        const int64_t c = i / w / h, y = top + i / w % h, x = left + i % w;
        at[(c * height + y) * width + x] = colour[c];
    });
}

/* The rows of a box take whole numbers, four bytes each; a number is found by its count alone. */
static __device__ void fill_noise(const clvi_pixel_op &op, const clvi_rng *rng, uint8_t *at, const picture &p)
{
    const int top = op.n[0], left = op.n[1], h = op.n[2], w = op.n[3], height = p.height, width = p.width;
    const int numbers = (w + 3) / 4, all = h * numbers * p.channels;
    each((all + 3) / 4, [=] (int64_t i) {
        const uint32_t counter[4] = { (uint32_t)i, rng->counter[1], rng->counter[2], rng->counter[3] };
        uint32_t block[4];
        clvi_rng_philox(counter, rng->key, block);
        for (int k = 0; k < 4; k++) {
            const int number = 4 * (int)i + k, row = number / numbers, x = 4 * (number % numbers);
            uint8_t *to = at + ((int64_t)(row / h) * height + top + row % h) * width + left + x;
            for (int b = 0; b < 4 && number < all && x + b < w; b++) to[b] = (uint8_t)(block[k] >> 8 * b);
        }
    });
}

/* ---- a picture's way ---- */

static __device__ void in_place(const clvi_pixel_op &op, const uint8_t *base, picture &p, room &r)
{
    uint8_t *at = own(p, r);
    const int threshold = op.n[0];
    switch (op.kind) {
    case CLVI_PIXEL_BLEND: blend_all(at, p.count() * p.channels, op.n[0], op.alpha); break;
    case CLVI_PIXEL_CONTRAST: contrast(at, p, op.alpha); break;
    case CLVI_PIXEL_SATURATION: saturation(at, p, op.alpha); break;
    case CLVI_PIXEL_HUE: turn_hue(at, p, op.n[0]); break;
    case CLVI_PIXEL_GRAY: gray(at, p); break;
    case CLVI_PIXEL_FILL: fill_box(op, base + op.at, at, p); break;
    case CLVI_PIXEL_NOISE: fill_noise(op, (const clvi_rng *)(base + op.at), at, p); break;
    default:
        each(p.count() * p.channels, [=] (int64_t i) { at[i] = at[i] < threshold ? at[i] : (uint8_t)(255 - at[i]); });
    }
}

static __device__ void take(const clvi_pixel_op &op, const uint8_t *base, picture &p, room &r)
{
    switch (op.kind) {
    case CLVI_PIXEL_RESIZE: resize(op, base, p, r); break;
    case CLVI_PIXEL_AFFINE: affine(op, (const double *)(base + op.at), p, r); break;
    case CLVI_PIXEL_MIRROR: mirror(p, r); break;
    case CLVI_PIXEL_BOX:
        for (int pass = 0; pass < 6; pass++) box(op, pass >= 3, p, r);
        break;
    case CLVI_PIXEL_KERNEL: kernel_blur(op, (const float *)(base + op.at), p, r); break;
    default: in_place(op, base, p, r);
    }
}

static __device__ void emit(const clvi_pixel_batch &b, int64_t number, int64_t v, const picture &p)
{
    float *out = b.out + v * b.apart + number * b.height * b.width * b.channels;
    const float *values = b.values + v * 3 * 256;
    const int w = p.width, channels = p.channels;
    each(p.count() * channels, [=] (int64_t i) {
        const int64_t c = i % channels, x = i / channels % w, y = i / channels / w;
        out[i] = values[c * 256 + p.at[c * p.plane + y * p.row + x * p.pixel]];
    });
}

/* Two blocks a multiprocessor at least: with the registers that more would leave, some of them spill. */
static __global__ void __launch_bounds__(CLVI_CU_THREADS, 2) make_view(clvi_pixel_batch b)
{
    const int64_t row = blockIdx.x, i = row / b.views, v = row % b.views;
    const uint8_t *base = b.rooms + i * b.room;
    const clvi_pixel_view view = ((const clvi_pixel_view *)base)[v];
    const clvi_pixel_op *op = (const clvi_pixel_op *)(base + view.first_op);
    uint8_t *own_room = b.scratch + row * (2 * b.picture + b.temp);
    picture p = { base + view.bytes, view.row_stride, view.pixel_stride, view.plane_stride,
                  view.height, view.width, view.channels };
    room r = { { own_room, own_room + b.picture }, own_room + 2 * b.picture, 2 };
    for (int k = 0; k < view.ops; k++) take(op[k], base, p, r);
    emit(b, i, v, p);
}

extern "C" clv_status clvi_cuda_augment(clvi_device *device, const clvi_pixel_batch *batch)
{
    clvi_op_call call;
    memset(&call, 0, sizeof call);
    call.ctx = device->ctx;
    call.op = "augment";
    return clvi_cu_launch(&call, make_view, (unsigned)(batch->pictures * batch->views), CLVI_CU_THREADS, 0, *batch);
}
