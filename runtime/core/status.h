/* status.h: failing with a message and one way out. */
#ifndef CLVI_CORE_STATUS_H
#define CLVI_CORE_STATUS_H

#include <cleave/base.h>
#include <inttypes.h>

/* Records the message for clv_error_message() and returns `status`. */
clv_status clvi_fail(clv_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "what: " before the current message: a caller that knows the file or key adds it on the way up. */
clv_status clvi_fail_in(clv_status status, const char *what);

#define CLV_TRY(e)                                                                                                     \
    do {                                                                                                               \
        const clv_status clvi_st_ = (e);                                                                               \
        if (clvi_st_ != CLV_OK) return clvi_st_;                                                                       \
    } while (0)

#define CLV_CHECK(cond, status, ...)                                                                                   \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            clvi_fail((status), __VA_ARGS__);                                                                          \
            return (status);   /* not clvi_fail's result: the compiler shall see that it is no CLV_OK */               \
        }                                                                                                              \
    } while (0)

/* The same two in a function with a label `done` and a clv_status variable `st`. */
#define CLV_TRY_OR_DONE(e)                                                                                             \
    do {                                                                                                               \
        st = (e);                                                                                                      \
        if (st != CLV_OK) goto done;                                                                                   \
    } while (0)

#define CLV_CHECK_OR_DONE(cond, status, ...)                                                                           \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            clvi_fail((status), __VA_ARGS__);                                                                          \
            st = (status);                                                                                             \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

#endif
