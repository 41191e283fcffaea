/* center_crop.c: the evaluation crop: the shorter side is resized to size * margin, then the central square is taken.
 * Only the pixels of the square are computed; they are those of a whole resize followed by a crop. */
#include "augment/lower.h"
#include "augment/resample.h"
#include <math.h>

typedef struct center_params {
    int64_t size, resize;
    double  margin;
    int     filter;
    int     shorter;   /* derived */
} center_params;

static const clvi_option center_options[] = {
    CLVI_OPTION_I64(center_params, size, "size", "224", 1, 4096, "side of the result in pixels", NULL),
    CLVI_OPTION_F64(center_params, margin, "margin", "1.1428571428571428", 1, 16,
                    "the shorter side is first resized to round(size * margin); 1: no border is cut off it", NULL),
    CLVI_OPTION_I64(center_params, resize, "resize", "0", 0, 65536,
                    "the shorter side is first resized to this, whatever the size; 0: as margin says", NULL),
    CLVI_OPTION_FILTER(center_params),
    CLVI_OPTION_END
};

static clv_status center_prepare(void *params)
{
    center_params *p = params;
    CLV_CHECK(p->resize == 0 || p->resize >= p->size, CLV_ERR_INVALID,
              "center-crop: resize %" PRId64 " is below size %" PRId64, p->resize, p->size);
    p->shorter = p->resize ? (int)p->resize : (int)rint((double)p->size * p->margin);
    return CLV_OK;
}

static int center_out_size(const void *params)
{
    return (int)((const center_params *)params)->size;
}

static size_t center_temp_size(const void *params, const clvi_geometry *in)
{
    const center_params *p = params;
    const double shrink = 2.0 * CLVI_MAX(in->height, in->width) / p->shorter;   /* 2: the longer side rounds down */
    return clvi_resample_temp(in, shrink, (int)p->size, (int)p->size, (clvi_filter)p->filter);
}

static clvi_resample center_resample(const center_params *p, int64_t h, int64_t w)
{
    const int size = (int)p->size;
    const int64_t shorter = p->shorter;
    clvi_resample r = { .box_h = (int)h, .box_w = (int)w, .h = size, .w = size,
                        .filter = (clvi_filter)p->filter };
    r.full_h = (int)(h <= w ? shorter : shorter * h / w);
    r.full_w = (int)(w <= h ? shorter : shorter * w / h);
    r.y = (int)rint((r.full_h - size) / 2.0);
    r.x = (int)rint((r.full_w - size) / 2.0);
    return r;
}

static clv_status center_apply(const void *params, const void *draw, clvi_frame *frame)
{
    (void)draw;
    const clvi_resample r = center_resample(params, frame->height, frame->width);
    clvi_resample_apply(frame, &r);
    return CLV_OK;
}

static clv_status center_lower(const void *params, const void *draw, const clvi_geometry *in, clvi_pixel_list *list)
{
    (void)draw;
    const clvi_resample r = center_resample(params, in->height, in->width);
    clvi_resample_lower(in, &r, list);
    return CLV_OK;
}

const clvi_augment_class clvi_augment_center_crop = {
    .info = { "center-crop", "shorter side to round(size * margin), then the central size x size",
              "evaluation protocol of arXiv:1911.05722; torchvision Resize and CenterCrop",
              CLVI_COUNT(center_options) - 1 },
    .params_size = sizeof(center_params), .options = center_options, .resamples = true,
    .prepare = center_prepare, .out_size = center_out_size, .temp_size = center_temp_size, .apply = center_apply,
    .lower = center_lower,
};
