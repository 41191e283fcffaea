/* shape.c: shapes written as text: "B,1+K". A letter stands for one length, a dimension is a sum of letters and
 * numbers, and at most one letter of it may be new; "B,..." ends with any number of dimensions of any length. */
#include "losses/loss.h"
#include <stdio.h>
#include <string.h>

void clvi_loss_letters_init(clvi_loss_letters *letters)
{
    for (int i = 0; i < 26; i++) letters->length[i] = -1;
}

/* One dimension's text up to ',' or the end: the sum of what is known, and the letter that is not (or -1). */
static const char *read_dimension(const char *text, const clvi_loss_letters *letters, int64_t *sum, int *unknown)
{
    *sum = 0;
    *unknown = -1;
    int64_t number = 0;
    for (; *text && *text != ','; text++) {
        if (*text >= 'A' && *text <= 'Z') {
            const int letter = *text - 'A';
            if (letters->length[letter] < 0) *unknown = letter;
            else *sum += letters->length[letter];
        } else if (*text >= '0' && *text <= '9') {
            number = number * 10 + (*text - '0');
        } else {   /* '+' */
            *sum += number;
            number = 0;
        }
    }
    *sum += number;
    return *text ? text + 1 : text;
}

static void print_shape(char *text, size_t size, int ndim, const int64_t *shape)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < ndim && used < size; i++) {
        const int n = snprintf(text + used, size - used, "%s%" PRId64, i ? "," : "", shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

clv_status clvi_loss_shape_match(const clvi_loss_class *cls, const clvi_loss_port *port, const char *what, int ndim,
                                 const int64_t *shape, clvi_loss_letters *letters)
{
    const char *text = port->shape;
    bool same = true;
    int dim = 0, unknown = -1;
    int64_t sum = 0;
    char found[160];
    for (; *text && *text != '.' && dim < ndim && same; dim++) {
        text = read_dimension(text, letters, &sum, &unknown);
        if (unknown >= 0 && shape[dim] >= sum) letters->length[unknown] = shape[dim] - sum;
        else same = unknown < 0 && shape[dim] == sum;
    }
    if (same && (*text ? strcmp(text, "...") == 0 : dim == ndim)) return CLV_OK;
    print_shape(found, sizeof found, ndim, shape);
    if (!same && unknown < 0)
        return clvi_fail(CLV_ERR_SHAPE, "%s: %s'%s' must be [%s], got [%s]: dimension %d should be %" PRId64,
                         cls->name, what, port->name, port->shape, found, dim - 1, sum);
    return clvi_fail(CLV_ERR_SHAPE, "%s: %s'%s' must be [%s], got [%s]", cls->name, what, port->name, port->shape,
                     found);
}

int clvi_loss_shape_of(const clvi_loss_port *port, const clvi_loss_letters *letters, int64_t shape[CLV_MAX_DIMS])
{
    const char *text = port->shape;
    int ndim = 0, unknown = -1;
    for (; *text; ndim++) {
        if (*text == '.' || ndim == CLV_MAX_DIMS) return -1;
        text = read_dimension(text, letters, &shape[ndim], &unknown);
        if (unknown >= 0) return -1;
    }
    return ndim;
}
