/* pack.h: pictures packed for a device that makes their views (on_device.h): the bytes of a picture, and what is to
 * become of them, in a room of fixed size (device/pixels.h).
 *
 * A picture goes whole if what its views look at fits in. Of one that is larger, or reduced, each view goes as the host
 * has cut it out and resized it: pictures are bytes between all steps of a chain, so that a device can go on from any of
 * them to the same bits. */
#ifndef CLVI_AUGMENT_PACK_H
#define CLVI_AUGMENT_PACK_H

#include "augment/augment.h"

enum { CLVI_PACK_VIEWS = 2 };

typedef struct clvi_packer {
    int                views, size, channels;       /* of a picture: its views, their side, channels */
    size_t             room;                        /* bytes of a picture */
    size_t             picture, temp;               /* what a view takes on the device: twice this, and that */
    const clv_augment *chain[CLVI_PACK_VIEWS];      /* of each view */
    clv_transform      apply[CLVI_PACK_VIEWS];      /* what the host would do */
    int                cut[CLVI_PACK_VIEWS];        /* steps up to the one after which views have their size */
} clvi_packer;

/* For pictures of 1 or 3 channels; the chains make views of one size, and stay. Errors: CLV_ERR_SHAPE for pictures that
 * a chain does not take, or views of several sizes. */
clv_status clvi_packer_init(const clv_augment *const *chains, int views, int64_t channels,
                            clvi_packer *out) CLV_NODISCARD;

/* What packs: a transform of one "view", for a loader, whose floats are the bytes of a room. View v is drawn as that of
 * number v. Bytes of a room that nothing takes are left as they are. It borrows the packer. */
void clvi_packer_transform(const clvi_packer *packer, clv_transform *out);

#endif
