/* option.h: options given by name, and how to ask which exist. One table per configurable thing is the single
 * source of the C API, the configuration file, the command line, --help and the documentation. */
#ifndef CLEAVE_OPTION_H
#define CLEAVE_OPTION_H

#include <cleave/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One setting, as text: {"temperature", "0.07"}, {"normalize", "true"}. '-' and '_' in names are the same.
 * Both strings are borrowed for the call only. */
typedef struct clv_option {
    const char *name;
    const char *value;
} clv_option;

typedef enum clv_option_type { CLV_OPTION_F64, CLV_OPTION_I64, CLV_OPTION_BOOL, CLV_OPTION_STRING,
                               CLV_OPTION_CHOICE } clv_option_type;

typedef struct clv_option_info {
    const char     *name;      /* with '-', as on the command line */
    clv_option_type type;
    const char     *def;       /* default as text */
    double          min, max;  /* numbers only: allowed range, both ends included */
    const char     *choices;   /* CLV_OPTION_CHOICE: "a|b|c"; else NULL */
    const char     *help;      /* one line */
    const char     *symbol;    /* the paper's symbol, or NULL */
    char            flag;      /* single-letter flag, or 0 */
} clv_option_info;

/* The candidate nearest to `name` by edit distance, '-' and '_' being the same, or NULL when none is near: for "did you
 * mean". Candidates end with NULL; the result is one of them. Thread-safe. */
CLV_API const char *clv_nearest_name(const char *name, const char *const *candidates);

/* An entry of a registry (a loss, a bank, a preset, a backbone, ...). Static storage throughout. */
typedef struct clv_class_info {
    const char *name;
    const char *summary;       /* one line */
    const char *source;        /* paper and equation, or where the thing is defined; may be NULL */
    int         option_count;
} clv_class_info;

#ifdef __cplusplus
}
#endif
#endif
