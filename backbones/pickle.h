/* pickle.h: the part of Python's pickle protocols 2 to 5 that files of tensors use, as data: nothing is called, nothing
 * imported. Opcodes and globals that are not on the lists of pickle.c are refused by name. */
#ifndef CLVI_BACKBONES_PICKLE_H
#define CLVI_BACKBONES_PICKLE_H

#include "core/context.h"

typedef enum clvi_pickle_kind {
    CLVI_PICKLE_MARK, CLVI_PICKLE_NONE, CLVI_PICKLE_INT, CLVI_PICKLE_FLOAT, CLVI_PICKLE_TEXT, CLVI_PICKLE_TUPLE,
    CLVI_PICKLE_LIST, CLVI_PICKLE_DICT, CLVI_PICKLE_GLOBAL, CLVI_PICKLE_PERSISTENT, CLVI_PICKLE_TENSOR,
    CLVI_PICKLE_OTHER                   /* of a type that is let through, but says nothing about weights */
} clvi_pickle_kind;

/* What a global stands for. */
typedef enum clvi_pickle_role {
    CLVI_ROLE_DICT,        /* called: a dictionary */
    CLVI_ROLE_TENSOR,      /* called: a tensor; its arguments are kept */
    CLVI_ROLE_WRAP,        /* called: its first argument */
    CLVI_ROLE_STORAGE,     /* a type of storage; `detail` is its clvi_stored */
    CLVI_ROLE_OTHER
} clvi_pickle_role;

typedef struct clvi_pickle_global {
    const char      *module, *name;
    clvi_pickle_role role;
    int              detail;
} clvi_pickle_global;

typedef struct clvi_pickle_value {
    clvi_pickle_kind kind;
    uint32_t         length;            /* bytes of a text; items of a container */
    union {
        int64_t     integer;            /* also booleans */
        double      real;
        const char *text;               /* in the pickle; not terminated */
        const clvi_pickle_global *global;
        struct { uint32_t first, last; };    /* cells of a container; PERSISTENT, TENSOR: first is their argument */
    };
} clvi_pickle_value;

/* An item of a container; `key` is 0 but in dictionaries. next 0 ends. */
typedef struct clvi_pickle_cell {
    uint32_t key, value, next;
} clvi_pickle_cell;

typedef struct clvi_pickle {
    clv_context       *ctx;
    clvi_pickle_value *value;           /* value[0] is the mark */
    clvi_pickle_cell  *cell;            /* cell[0] is nobody's */
    uint32_t          *stack, *memo;
    uint32_t           values, cells, depth, memos;
    uint32_t           value_room, cell_room, stack_room, memo_room;
    uint32_t           root;
} clvi_pickle;

/* Reads a pickle of at most 16 MiB; texts point into `bytes`. Containers may hold themselves. Memory is bounded by a
 * multiple of the size. Errors: CLV_ERR_FORMAT (damaged), CLV_ERR_UNSUPPORTED (an opcode or global that is not let
 * through), CLV_ERR_NOMEM. The pickle must be closed in any case. */
clv_status clvi_pickle_read(clv_context *ctx, const uint8_t *bytes, size_t size, clvi_pickle *out) CLV_NODISCARD;
void clvi_pickle_close(clvi_pickle *pickle);

/* Item i of a tuple or list, or NULL. */
const clvi_pickle_value *clvi_pickle_item(const clvi_pickle *p, const clvi_pickle_value *of, uint32_t i);

#endif
