/* lines.h: lines of TCP from rank 0 to each other rank, for ranks that have no MPI: by them ranks find each other (at
 * MASTER_ADDR, port MASTER_PORT + 1), exchange what is short, and learn that one has gone. The functions return 0, or
 * say in `why` (CLVI_COMM_WHY bytes) what went wrong. One thread. */
#ifndef CLVI_TRAIN_COMM_LINES_H
#define CLVI_TRAIN_COMM_LINES_H

#include <stdbool.h>
#include <stddef.h>

int lines_number(const char *text);                     /* 0 for what is no count */

/* Rank 0 waits until all others have come, which look for it: for two minutes. A process that ends with exit() says
 * goodbye, and is not missed. */
int lines_open(int rank, int ranks, char *why);
/* The others take this rank for lost. */
void lines_close(void);

int lines_gather(void *x, size_t size, char *why);      /* [ranks, size], in place */
int lines_broadcast(void *x, size_t size, char *why);   /* from rank 0 */

/* Not 0: a rank has gone without a goodbye. Waits for nothing. */
int lines_lost(char *why);
/* It is time to ask: a few times a second. */
bool lines_are_due(void);

#endif
