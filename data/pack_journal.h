/* pack_journal.h: what a pack has done so far, on disk, so that an interrupted one can go on. A record a batch of images is
 * appended after their bytes were written; what was not yet recorded, or does not fit its checksum, is done again. */
#ifndef CLVI_DATA_PACK_JOURNAL_H
#define CLVI_DATA_PACK_JOURNAL_H

#include <cleave/data.h>
#include "core/context.h"

#define CLVI_PACK_BATCH 64   /* images made at once: one bit each in a record */

typedef struct clvi_pack_totals {
    int64_t  height, width;                     /* of every image so far, raw; 0 at first */
    uint64_t pixels, sum[CLV_DATA_MAX_CHANNELS];
    double   square[CLV_DATA_MAX_CHANNELS];
} clvi_pack_totals;

typedef struct clvi_pack_record {
    uint64_t number;                            /* counts from 0 */
    uint64_t kept;                              /* bit i: image i of the batch is in the file */
    int64_t  size[CLVI_PACK_BATCH];             /* bytes, of images kept */
    uint32_t checksum[CLVI_PACK_BATCH];         /* their CRC-32C */
    clvi_pack_totals totals;                    /* with this batch */
    uint64_t seal;                              /* CRC-32C of all before it */
} clvi_pack_record;

typedef struct clvi_pack_journal {
    int     fd;
    char   *path;
    int64_t start;                              /* of the records in the file */
    int64_t count, next;                        /* records there are; how many were read again */
} clvi_pack_journal;

/* Opens the journal beside `output`, or begins one. `text` says line by line what is packed and how; a journal that says
 * something else is refused, naming the first line that differs. `restart` throws the old one away. Errors:
 * CLV_ERR_INVALID (another text, or another pack is writing); CLV_ERR_FORMAT (damaged); CLV_ERR_IO. */
clv_status clvi_pack_journal_open(clv_context *ctx, const char *output, const char *text, bool restart,
                                  clvi_pack_journal *out) CLV_NODISCARD;

/* The next record of an earlier pack; false when there is none, or none whose seal is right. */
bool clvi_pack_journal_next(clvi_pack_journal *j, clvi_pack_record *out);

/* Takes back the record that was read last, and forgets those behind it. */
void clvi_pack_journal_reject(clvi_pack_journal *j);

/* Appends a record; number and seal are filled in. */
clv_status clvi_pack_journal_append(clvi_pack_journal *j, clvi_pack_record *record) CLV_NODISCARD;

/* Closes it, and removes it when `done`. One that was never opened (path NULL) is fine. */
void clvi_pack_journal_close(clv_context *ctx, clvi_pack_journal *j, bool done);

#endif
