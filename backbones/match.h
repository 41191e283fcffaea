/* match.h: which tensors of a file are which parameters of a network: the same weights come under the names of the
 * program that saved them. Prefixes and names: docs/weights.md. */
#ifndef CLVI_BACKBONES_MATCH_H
#define CLVI_BACKBONES_MATCH_H

#include "backbones/tensor_file.h"
#include <cleave/graph.h>

typedef struct clvi_match {
    clv_context            *ctx;
    const clvi_tensor_file *file;       /* borrowed, as the next */
    const clv_params       *params;
    int64_t                 backbone;   /* the first parameters are the backbone's, the others a head's */
    char                    prefix[CLVI_TENSOR_NAME_MAX + 1];
    int                     stage;      /* number of layer1 where modules are numbered; 0: torchvision's names */
    bool                    shortcut;   /* "shortcut" for "downsample" */
    const clvi_tensor     **tensor;     /* of each parameter; NULL: not in the file */
    int64_t                 found;      /* of the backbone's */
} clvi_match;

/* Looks for the network whose parameters `params` names (nothing needs to be laid out), under the prefix where most of
 * the backbone's are. key: of two networks in the file, the momentum encoder. A file without any is no error here.
 * Errors: CLV_ERR_NOMEM. Release with clvi_match_free in any case. */
clv_status clvi_match_find(const clvi_tensor_file *file, const clv_params *params, int64_t backbone, bool key,
                           clvi_match *out) CLV_NODISCARD;
void clvi_match_free(clvi_match *match);

/* CLV_ERR_FORMAT unless every parameter of the backbone is there and has the shape it has in `params`; the message
 * names the first that is not and, for another shape, both. `arch` is for the message. */
clv_status clvi_match_check(const clvi_match *match, const char *arch) CLV_NODISCARD;
/* True when the parameter is there, of the right shape. */
bool clvi_match_fits(const clvi_match *match, int64_t param);
/* The tensor of the file that would be parameter `name`, or NULL. */
const clvi_tensor *clvi_match_tensor(const clvi_match *match, const char *name);

/* Reads every parameter that fits into `params`: those of the match, or a set with the same names. Errors:
 * CLV_ERR_FORMAT, CLV_ERR_NUMERIC (a value is not finite), by name. */
clv_status clvi_match_load(const clvi_match *match, clv_params *params) CLV_NODISCARD;

/* What was used, and what was not, in a few lines. */
void clvi_match_report(const clvi_match *match, void (*line)(const char *text, void *user), void *user);

#endif
