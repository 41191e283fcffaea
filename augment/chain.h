/* chain.h: the object behind clv_augment. */
#ifndef CLVI_AUGMENT_CHAIN_H
#define CLVI_AUGMENT_CHAIN_H

#include "augment/augment.h"
#include "augment/normalize.h"

#define CLVI_CHAIN_MAX 32   /* steps */

struct clv_augment {
    clv_context      *ctx;
    clvi_augment_step step[CLVI_CHAIN_MAX];
    int               count;         /* the last step is normalize */
    int               size;          /* side of the result */
    char             *text;          /* what clv_augment_describe gives */
    bool              plain;
};

/* Appends the steps that `text` names. */
clv_status clvi_chain_parse(clv_augment *augment, const char *text) CLV_NODISCARD;
/* Sets one option of every step it reaches. */
clv_status clvi_chain_override(clv_augment *augment, const clv_option *option) CLV_NODISCARD;
/* Appends one step with its default options. */
clv_status clvi_chain_append(clv_augment *augment, const clvi_augment_class *class) CLV_NODISCARD;
/* The steps as text, newly allocated. */
clv_status clvi_chain_format(const clv_augment *augment, char **text) CLV_NODISCARD;

static inline const clvi_normalize *clvi_chain_normalize(const clv_augment *augment)
{
    return augment->step[augment->count - 1].params;
}

#endif
