/* h5_heap.c: strings of variable length, found in an HDF5 file's global heap. */
#include "core/h5_heap.h"
#include <string.h>

#define HEADER_SIZE 16   /* of a collection and of each object in it */

static uint64_t get_le(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << 8 * i;
    return value;
}

/* A conversion that does not convert: HDF5 hands over the references instead of following them. It works in place from
 * 16 bytes to 16 bytes, so nothing is left to do. */
static herr_t keep_reference(hid_t from, hid_t to, H5T_cdata_t *cdata, size_t n, size_t stride, size_t bkg_stride,
                             void *values, void *bkg, hid_t plan)
{
    (void)n, (void)stride, (void)bkg_stride, (void)values, (void)bkg, (void)plan;
    if (cdata->command != H5T_CONV_INIT) return 0;
    cdata->need_bkg = H5T_BKG_NO;
    return H5Tget_size(from) == CLVI_H5_REF_SIZE && H5Tget_size(to) == CLVI_H5_REF_SIZE ? 0 : -1;
}

clv_status clvi_h5_heap_refs(hid_t attr, int64_t count, uint8_t *refs)
{
    const hid_t type = H5Aget_type(attr), opaque = H5Tcreate(H5T_OPAQUE, CLVI_H5_REF_SIZE);
    H5T_cdata_t *cdata = NULL;
    if (!H5Tfind(type, opaque, &cdata))   /* once per process, and again after H5close */
        (void)H5Tregister(H5T_PERS_SOFT, "text reference", type, opaque, keep_reference);
    const herr_t result = count > 0 ? H5Aread(attr, opaque, refs) : 0;
    (void)H5Tclose(opaque);
    (void)H5Tclose(type);
    CLV_CHECK(result >= 0, CLV_ERR_FORMAT, "HDF5 cannot read references to texts");
    return CLV_OK;
}

clv_status clvi_h5_heap_text(const uint8_t *file, size_t size, uint64_t base, const uint8_t *ref, const char **text,
                             size_t *length)
{
    const uint64_t wanted = get_le(ref, 4), address = get_le(ref + 4, 8), index = get_le(ref + 12, 4);
    *text = "";
    *length = 0;
    if (wanted == 0 || index == 0) return CLV_OK;   /* empty, or never written */
    CLV_CHECK(base <= size && address <= size - base && size - base - address >= HEADER_SIZE, CLV_ERR_FORMAT,
              "a text lies behind the end of the file");
    const uint8_t *at = file + base + address;
    const uint64_t total = get_le(at + 8, 8);
    CLV_CHECK(memcmp(at, "GCOL\1", 5) == 0 && total >= HEADER_SIZE && total <= size - base - address, CLV_ERR_FORMAT,
              "no global heap where a text should be");
    for (uint64_t left = total - HEADER_SIZE; left >= HEADER_SIZE;) {
        const uint8_t *object = at + (total - left);
        const uint64_t bytes = get_le(object + 8, 8), found = get_le(object, 2);
        if (found == 0) break;   /* the free space, always last */
        CLV_CHECK(bytes <= left - HEADER_SIZE, CLV_ERR_FORMAT, "an object of a global heap ends behind its end");
        if (found == index) {
            CLV_CHECK(wanted <= bytes, CLV_ERR_FORMAT, "a text is longer than its place in the global heap");
            *text = (const char *)object + HEADER_SIZE;
            *length = strnlen(*text, wanted);
            return CLV_OK;
        }
        const uint64_t step = HEADER_SIZE + ((bytes + 7) & ~UINT64_C(7));
        left -= step < left ? step : left;
    }
    return clvi_fail(CLV_ERR_FORMAT, "a global heap has no object %" PRIu64, index);
}
