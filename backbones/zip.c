/* zip.c: PKWARE's APPNOTE 6.3: end of central directory (4.3.16), its 64-bit form (4.3.14, 4.3.15), central directory
 * (4.3.12), local header (4.3.7), 64-bit extra field (4.5.3). One disk, no encryption. Checksums are not compared:
 * torch.save may leave them out. */
#include "backbones/zip.h"
#include "core/checked.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define ENTRIES_MAX (4 * CLVI_TENSOR_MAX)

/* What inflating may take in all: weights hardly compress. */
static uint64_t inflate_limit(const clvi_zip *zip)
{
    return ((uint64_t)64 << 20) + 16 * (uint64_t)zip->size;
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | p[n];
    return v;
}

/* `length` bytes at `at` lie in the archive. */
static bool holds(const clvi_zip *zip, uint64_t at, uint64_t length)
{
    return at <= zip->size && length <= zip->size - at;
}

static int compare(const char *a, size_t n, const char *b, size_t m)
{
    const int c = memcmp(a, b, CLVI_MIN(n, m));
    return c ? c : (n > m) - (n < m);
}

static int by_name(const void *a, const void *b)
{
    const clvi_zip_entry *x = a, *y = b;
    return compare(x->name, x->length, y->name, y->length);
}

/* ---- the table ---- */

static clv_status find_end(const clvi_zip *zip, uint64_t *at)
{
    const size_t most = 22 + 65535;
    size_t back = 22;
    while (back <= zip->size && back <= most && memcmp(zip->bytes + zip->size - back, "PK\5\6", 4) != 0) back++;
    CLV_CHECK(back <= zip->size && back <= most, CLV_ERR_FORMAT, "the zip archive has no end: is the file whole?");
    *at = zip->size - back;
    return CLV_OK;
}

/* Number and place of the central directory's members. */
static clv_status find_directory(const clvi_zip *zip, uint64_t *count, uint64_t *place)
{
    uint64_t end;
    CLV_TRY(find_end(zip, &end));
    const uint8_t *e = zip->bytes + end;
    *count = little(e + 10, 2);
    *place = little(e + 16, 4);
    if (end >= 20 && !memcmp(e - 20, "PK\6\7", 4)) {
        const uint64_t wide = little(e - 20 + 8, 8);
        CLV_CHECK(holds(zip, wide, 56) && !memcmp(zip->bytes + wide, "PK\6\6", 4), CLV_ERR_FORMAT,
                  "the zip archive's 64-bit end is not where it should be");
        *count = little(zip->bytes + wide + 32, 8);
        *place = little(zip->bytes + wide + 48, 8);
    }
    CLV_CHECK(*count <= ENTRIES_MAX && *count <= zip->size / 46, CLV_ERR_FORMAT,
              "a zip archive of %" PRIu64 " members in %zu bytes", *count, zip->size);
    return CLV_OK;
}

/* Values that do not fit 32 bits stand in the extra field, in this order. */
static void read_wide(clvi_zip_entry *e, const uint8_t *extra, uint64_t length)
{
    uint64_t *const values[] = { &e->size, &e->packed, &e->header };
    for (uint64_t at = 0; at + 4 <= length;) {
        const uint64_t id = little(extra + at, 2), size = little(extra + at + 2, 2);
        at += 4;
        if (size > length - at) break;
        for (uint64_t i = 0, from = at; id == 1 && i < 3; i++) {
            if (*values[i] != UINT32_MAX || from + 8 > at + size) continue;
            *values[i] = little(extra + from, 8);
            from += 8;
        }
        if (id == 1) break;
        at += size;
    }
}

static clv_status read_entry(clvi_zip *zip, uint64_t *at, clvi_zip_entry *e)
{
    CLV_CHECK(holds(zip, *at, 46) && !memcmp(zip->bytes + *at, "PK\1\2", 4), CLV_ERR_FORMAT,
              "the zip archive's directory is damaged at byte %" PRIu64, *at);
    const uint8_t *p = zip->bytes + *at;
    const uint64_t name = little(p + 28, 2), extra = little(p + 30, 2), comment = little(p + 32, 2);
    CLV_CHECK(holds(zip, *at, 46 + name + extra + comment), CLV_ERR_FORMAT,
              "the zip archive's directory is damaged at byte %" PRIu64, *at);
    CLV_CHECK(!(p[8] & 1), CLV_ERR_UNSUPPORTED, "the zip archive is encrypted");
    *e = (clvi_zip_entry) { .name = (const char *)p + 46, .length = name, .method = (unsigned)little(p + 10, 2),
                            .packed = little(p + 20, 4), .size = little(p + 24, 4), .header = little(p + 42, 4) };
    read_wide(e, p + 46 + name, extra);
    *at += 46 + name + extra + comment;
    return CLV_OK;
}

clv_status clvi_zip_open(clvi_tensor_file *file, const uint8_t *bytes, size_t size, clvi_zip *out)
{
    *out = (clvi_zip) { .file = file, .bytes = bytes, .size = size };
    uint64_t count, at;
    CLV_TRY(find_directory(out, &count, &at));
    out->entry = clvi_tensor_file_alloc(file, (size_t)count * sizeof *out->entry);
    if (!out->entry) return CLV_ERR_NOMEM;
    for (; (uint64_t)out->count < count; out->count++) CLV_TRY(read_entry(out, &at, &out->entry[out->count]));
    if (count > 0) qsort(out->entry, (size_t)count, sizeof *out->entry, by_name);
    for (int64_t i = 1; i < out->count; i++)
        CLV_CHECK(by_name(&out->entry[i - 1], &out->entry[i]) != 0, CLV_ERR_FORMAT,
                  "the zip archive holds two members of one name");
    return CLV_OK;
}

clvi_zip_entry *clvi_zip_find(clvi_zip *zip, const char *name, size_t length)
{
    const clvi_zip_entry key = { .name = name, .length = length };
    return zip->count ? bsearch(&key, zip->entry, (size_t)zip->count, sizeof key, by_name) : NULL;
}

/* ---- members ---- */

static clv_status inflate_all(const uint8_t *packed, uint64_t packed_size, uint8_t *out, uint64_t size)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)packed, .next_out = out };
    CLV_CHECK(inflateInit2(&z, -MAX_WBITS) == Z_OK, CLV_ERR_NOMEM, "zlib cannot start");
    uint64_t in = packed_size, room = size;
    int st = Z_OK;
    while (st == Z_OK) {                /* zlib counts in 32 bits */
        const uInt give = (uInt)CLVI_MIN(in, UINT32_MAX / 2), take = (uInt)CLVI_MIN(room, UINT32_MAX / 2);
        z.avail_in = give;
        z.avail_out = take;
        st = inflate(&z, Z_NO_FLUSH);
        in -= give - z.avail_in;
        room -= take - z.avail_out;
        if (give == z.avail_in && take == z.avail_out) break;
    }
    (void)inflateEnd(&z);
    CLV_CHECK(st == Z_STREAM_END && room == 0, CLV_ERR_FORMAT, "a deflated member of the zip archive is damaged");
    return CLV_OK;
}

static clv_status inflate_entry(clvi_zip *zip, clvi_zip_entry *e, const uint8_t *packed)
{
    CLV_CHECK(e->size <= inflate_limit(zip) - zip->inflated, CLV_ERR_FORMAT,
              "the zip archive of %zu bytes would inflate to more than %" PRIu64, zip->size, inflate_limit(zip));
    uint8_t *out = clvi_tensor_file_alloc(zip->file, (size_t)e->size);
    if (!out) return CLV_ERR_NOMEM;
    zip->inflated += e->size;
    CLV_TRY(inflate_all(packed, e->packed, out, e->size));
    e->data = out;
    return CLV_OK;
}

clv_status clvi_zip_data(clvi_zip *zip, clvi_zip_entry *e)
{
    if (e->data) return CLV_OK;
    CLV_CHECK(holds(zip, e->header, 30) && !memcmp(zip->bytes + e->header, "PK\3\4", 4), CLV_ERR_FORMAT,
              "a member of the zip archive is not where the directory says");
    const uint8_t *p = zip->bytes + e->header;
    const uint64_t begin = e->header + 30 + little(p + 26, 2) + little(p + 28, 2);
    CLV_CHECK(holds(zip, begin, e->packed), CLV_ERR_FORMAT,
              "a member of the zip archive takes %" PRIu64 " bytes at %" PRIu64 ", the file has %zu", e->packed, begin,
              zip->size);
    if (e->method == 8) return inflate_entry(zip, e, zip->bytes + begin);
    CLV_CHECK(e->method == 0, CLV_ERR_UNSUPPORTED, "the zip archive is compressed by method %u; stored and deflated "
              "members are read", e->method);
    CLV_CHECK(e->size == e->packed, CLV_ERR_FORMAT, "a stored member of the zip archive has two sizes");
    e->data = zip->bytes + begin;
    return CLV_OK;
}
