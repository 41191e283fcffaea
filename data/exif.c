/* exif.c: the one EXIF tag that matters for pixels: orientation (TIFF 6.0, IFD 0, tag 0x0112). */
#include "data/decode.h"
#include <string.h>

static uint32_t get(const uint8_t *p, int bytes, bool big)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint32_t)p[i] << 8 * (big ? bytes - 1 - i : i);
    return v;
}

int clvi_exif_orientation(const uint8_t *tiff, size_t size)
{
    if (size < 8) return 1;
    const bool big = memcmp(tiff, "MM\0*", 4) == 0;
    if (!big && memcmp(tiff, "II*\0", 4) != 0) return 1;
    const size_t ifd = get(tiff + 4, 4, big);
    if (ifd > size || size - ifd < 2) return 1;
    const size_t entries = get(tiff + ifd, 2, big);
    if ((size - ifd - 2) / 12 < entries) return 1;
    for (size_t i = 0; i < entries; i++) {
        const uint8_t *entry = tiff + ifd + 2 + 12 * i;
        if (get(entry, 2, big) != 0x0112) continue;
        const uint32_t type = get(entry + 2, 2, big), value = get(entry + 8, 2, big);
        return type == 3 && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
