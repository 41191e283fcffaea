/* pack.h: one image on its way into a packed data set. */
#ifndef CLVI_DATA_PACK_H
#define CLVI_DATA_PACK_H

#include "data/dataset.h"
#include "data/decode.h"
#include "data/resize.h"

/* What one thread needs. */
typedef struct clvi_packer {
    clv_context *ctx;
    clv_decoder *decoder;
    clvi_resizer resizer;
    void        *jpeg;        /* TurboJPEG compressor */
} clvi_packer;

/* One image and what became of it. */
typedef struct clvi_packed {
    const clv_dataset *ds;
    int64_t     index;        /* in ds */
    clv_status  status;
    char        message[512];
    clvi_buffer data;
    size_t      size;         /* bytes of data that count */
    uint32_t    checksum;     /* CRC-32C of them */
    int64_t     place;        /* in the file; -1: it does not go there */
    int64_t     height, width, channels;       /* 0 when it was not decoded */
    uint64_t    sum[CLV_DATA_MAX_CHANNELS];    /* of the pixels, exact */
    uint64_t    square[CLV_DATA_MAX_CHANNELS];
} clvi_packed;

/* Fills item->data from (item->ds, item->index); a failure stays in the item. */
void clvi_pack_image(clvi_packer *packer, const clv_pack_desc *desc, clvi_packed *item);

/* Fills item->sum, square and geometry with what clvi_pack_image would pack, and keeps no data. */
void clvi_pack_measure(clvi_packer *packer, const clv_pack_desc *desc, clvi_packed *item);

/* Destroys what the packer holds. */
void clvi_packer_free(clvi_packer *packer);

#endif
