/* option.h: option tables. A configurable thing is a params struct and a table that says what is in it. */
#ifndef CLVI_CORE_OPTION_H
#define CLVI_CORE_OPTION_H

#include <cleave/option.h>
#include "core/status.h"

typedef struct clvi_option {
    clv_option_info info;
    size_t          offset;   /* of the field in the params struct: double, int64_t, bool, char[size] or int (choice) */
    size_t          size;     /* of the field; strings: capacity with the terminating 0 */
} clvi_option;

#define CLVI_OPTION_ANY 1.7976931348623157e308

/* NAME is written with '-'; the field has the same name with '_' unless given. SYMBOL may be NULL. DEF is text. */
#define CLVI_OPTION_(T, FIELD, TYPE, NAME, DEF, MIN, MAX, CHOICES, HELP, SYMBOL, FLAG)                                 \
    { { NAME, TYPE, DEF, MIN, MAX, CHOICES, HELP, SYMBOL, FLAG }, offsetof(T, FIELD), sizeof(((T *)0)->FIELD) }
#define CLVI_OPTION_F64(T, FIELD, NAME, DEF, MIN, MAX, HELP, SYMBOL)                                                   \
    CLVI_OPTION_(T, FIELD, CLV_OPTION_F64, NAME, DEF, MIN, MAX, NULL, HELP, SYMBOL, 0)
#define CLVI_OPTION_I64(T, FIELD, NAME, DEF, MIN, MAX, HELP, SYMBOL)                                                   \
    CLVI_OPTION_(T, FIELD, CLV_OPTION_I64, NAME, DEF, MIN, MAX, NULL, HELP, SYMBOL, 0)
#define CLVI_OPTION_BOOL(T, FIELD, NAME, DEF, HELP)                                                                    \
    CLVI_OPTION_(T, FIELD, CLV_OPTION_BOOL, NAME, DEF, 0, 1, NULL, HELP, NULL, 0)
#define CLVI_OPTION_STRING(T, FIELD, NAME, DEF, HELP)                                                                  \
    CLVI_OPTION_(T, FIELD, CLV_OPTION_STRING, NAME, DEF, 0, 0, NULL, HELP, NULL, 0)
#define CLVI_OPTION_CHOICE(T, FIELD, NAME, DEF, CHOICES, HELP)                                                         \
    CLVI_OPTION_(T, FIELD, CLV_OPTION_CHOICE, NAME, DEF, 0, 0, CHOICES, HELP, NULL, 0)
#define CLVI_OPTION_END { { NULL, CLV_OPTION_BOOL, NULL, 0, 0, NULL, NULL, NULL, 0 }, 0, 0 }

/* Tables end with CLVI_OPTION_END; NULL is an empty table. */
int clvi_option_count(const clvi_option *table);
const clvi_option *clvi_option_find(const clvi_option *table, const char *name);

/* Every field to its default. */
void clvi_options_default(const clvi_option *table, void *params);

/* Sets one field from text. `what` opens messages: "loss 'info_nce'". Errors: CLV_ERR_INVALID naming the option, its
 * type, range or choices; an unknown name comes with the nearest known one. params is unchanged on error. */
clv_status clvi_option_set(const clvi_option *table, void *params, const char *what, const char *name,
                           const char *value) CLV_NODISCARD;

/* Defaults, then each of `given` in turn. */
clv_status clvi_options_parse(const clvi_option *table, void *params, const char *what, const clv_option *given,
                              int count) CLV_NODISCARD;

/* The field as text, so that parsing it gives the same value back. Needs room for strings: returns the length wanted,
 * as snprintf does. */
int clvi_option_format(const clvi_option *option, const void *params, char *text, size_t size);

/* True when the two names are equal with '-' and '_' taken as one. */
bool clvi_name_equal(const char *a, const char *b);

#endif
