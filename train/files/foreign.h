/* foreign.h: weights that somebody else trained: what network they are of, and into a parameter set. */
#ifndef CLVI_TRAIN_FOREIGN_H
#define CLVI_TRAIN_FOREIGN_H

#include "backbones/match.h"
#include "train/config/config.h"

/* What is said about the weights, line by line; NULL: nothing. */
typedef void (*clvi_line_fn)(const char *text, void *user);

/* Network of a file. */
typedef struct clvi_foreign {
    clvi_tensor_file *file;
    int64_t           channels;   /* of the images */
    bool              key;        /* of two networks in the file, the momentum encoder */
    bool              head;       /* the file has one that the settings describe */
    bool              small;      /* a first layer of 3x3: made for pictures of 32 pixels */
} clvi_foreign;

/* Opens a file of weights and sets what it says about its network and `config` does not say yet: arch, stem, width,
 * head, eval-aug. Errors: those of the file; CLV_ERR_FORMAT when no backbone (or not the one `config` names) fits, with
 * the nearest one's first missing key or other shape. Release in any case. */
clv_status clvi_foreign_open(clv_config *config, const char *path, bool key, clvi_foreign *out) CLV_NODISCARD;
/* The same for a file that is open: out->file and out->key are set. */
clv_status clvi_foreign_examine(clv_config *config, clvi_foreign *out) CLV_NODISCARD;
void clvi_foreign_release(clvi_foreign *f);
/* Reads its network into `params`: the backbone whole, of the head what fits. */
clv_status clvi_foreign_read(const clvi_foreign *f, const clvi_settings *settings, clv_params *params,
                             clvi_line_fn line, void *user) CLV_NODISCARD;

/* Reads the weights that `settings` name, of any kind, into the parameters of a network with these settings. */
clv_status clvi_foreign_load(clv_context *ctx, const clvi_settings *settings, int64_t channels, clv_params *params,
                             clvi_line_fn line, void *user) CLV_NODISCARD;

#endif
