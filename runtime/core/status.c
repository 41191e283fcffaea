/* status.c: the message of the last failure on each thread. */
#include "core/status.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STR_(x) #x
#define STR(x) STR_(x)

static _Thread_local char last_message[1024];

const char *clv_version(void)
{
    return STR(CLV_VERSION_MAJOR) "." STR(CLV_VERSION_MINOR) "." STR(CLV_VERSION_PATCH);
}

const char *clv_status_name(clv_status status)
{
    switch (status) {
    case CLV_OK: return "ok";
    case CLV_STOPPED: return "stopped";
    case CLV_ERR_INVALID: return "invalid argument";
    case CLV_ERR_SHAPE: return "shape mismatch";
    case CLV_ERR_NOMEM: return "out of memory";
    case CLV_ERR_IO: return "input/output error";
    case CLV_ERR_FORMAT: return "bad file format";
    case CLV_ERR_UNSUPPORTED: return "unsupported";
    case CLV_ERR_DEVICE: return "device error";
    case CLV_ERR_NUMERIC: return "numeric error";
    case CLV_ERR_INTERNAL: return "internal error";
    }
    return "unknown status";
}

const char *clv_error_message(void)
{
    return last_message;
}

clv_status clvi_fail(clv_status status, const char *fmt, ...)
{
    char text[sizeof last_message];   /* the arguments may quote the current message */
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof text, fmt, args) < 0) text[0] = 0;
    va_end(args);
    for (char *c = text; *c; c++)   /* names from files are quoted; a terminal must not obey them */
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    memcpy(last_message, text, sizeof text);
    return status;
}

clv_status clvi_fail_in(clv_status status, const char *what)
{
    return clvi_fail(status, "%s: %s", what, last_message);
}
