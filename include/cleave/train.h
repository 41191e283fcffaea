/* train.h: training runs: configuration, trainer, checkpoints, and encoders taken from them. */
#ifndef CLEAVE_TRAIN_H
#define CLEAVE_TRAIN_H

#include <cleave/base.h>
#include <cleave/data.h>
#include <cleave/eval.h>
#include <cleave/option.h>
#include <cleave/text.h>
#include <cleave/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- configuration: one flat set of options; keys of the file equal the long flags ---- */

typedef struct clv_config clv_config;

/* The options of a training run: static storage, NULL past the end. Aliases ("wd" for "weight-decay") are known to
 * clv_config_set and listed by clv_train_alias_at. Thread-safe. */
CLV_API const clv_option_info *clv_train_option_at(int index);
CLV_API bool clv_train_alias_at(int index, const char **alias, const char **name);

/* Everything at its default. The context must outlive it; destroy accepts NULL. One thread at a time per configuration,
 * in all that follows. Errors: CLV_ERR_INVALID (an argument is NULL), CLV_ERR_NOMEM; *out is NULL on error. */
CLV_API clv_status clv_config_create(clv_context *ctx, clv_config **out) CLV_NODISCARD;
CLV_API void clv_config_destroy(clv_config *config);
/* Sets one option from text. Errors: CLV_ERR_INVALID; an unknown name comes with the nearest known one. */
CLV_API clv_status clv_config_set(clv_config *config, const char *name, const char *value) CLV_NODISCARD;
/* Sets what a YAML file says: one flat mapping of keys to scalars, at most 1 MiB. Errors name file and line:
 * CLV_ERR_IO, CLV_ERR_FORMAT (no such mapping), CLV_ERR_INVALID (a key or a value), CLV_ERR_NOMEM. */
CLV_API clv_status clv_config_load(clv_config *config, const char *path) CLV_NODISCARD;
/* Sets what environment variables CLEAVE_<KEY> say ("CLEAVE_BATCH_SIZE"). CLEAVE_CPU_ISA, CLEAVE_CONV and other
 * variables that are no keys but known to the library are left alone. Errors: CLV_ERR_INVALID for an unknown CLEAVE_*,
 * or a value. No other thread may change the environment meanwhile. */
CLV_API clv_status clv_config_env(clv_config *config) CLV_NODISCARD;
/* The value of an option as text, into `text`. Errors: CLV_ERR_INVALID (unknown, or no room). */
CLV_API clv_status clv_config_get(const clv_config *config, const char *name, char *text, size_t size) CLV_NODISCARD;
/* The resolved configuration as a YAML file with every key, in table order, whole or not at all. Errors: CLV_ERR_IO,
 * CLV_ERR_NOMEM. */
CLV_API clv_status clv_config_save(const clv_config *config, const char *path) CLV_NODISCARD;

/* ---- training ---- */

typedef struct clv_trainer clv_trainer;

/* A figure by name: "mochi/topn_false_negative_rate". */
typedef struct clv_metric {
    const char *name;
    double      value;
} clv_metric;

/* What one step or one epoch came to. */
typedef struct clv_progress {
    enum { CLV_PROGRESS_STEP, CLV_PROGRESS_EPOCH, CLV_PROGRESS_NOTE } kind;
    int64_t epoch, epochs;              /* epoch counts from 1 */
    int64_t step, steps_per_epoch;      /* of the epoch; step counts from 1 */
    int64_t total_step;                 /* optimiser steps so far */
    double  loss, loss_mean;            /* of this step; running mean of the epoch */
    double  lr, momentum;               /* learning rate; momentum of the key encoder */
    double  seconds_step, seconds_data; /* this step: wall time, and the part spent waiting for data */
    double  mean_seconds_step, mean_seconds_data;
    double  images_per_second;          /* over the epoch so far; of what `unit` says: "img", or "words" of a tagger */
    const char *unit;
    bool    has_bank, has_teacher;      /* of the method: else queue_fill and queue_age, or the momentum, are 0 */
    bool    has_scores;                 /* it has a bank and keys to compare with it: else pretext and scores are 0 */
    double  pretext_top1, pretext_top1_mean;   /* percent */
    double  queue_fill, queue_age;      /* 0..1; mean age of the rows in steps */
    clv_health health;                  /* of the query features of this step (EPOCH: the last step's) */
    clv_scores scores;                  /* EPOCH: histograms summed over the epoch */
    double  knn_top1;                   /* EPOCH: percent, or -1 when not measured */
    double  knn_best;
    double  val_top1, val_top5;         /* EPOCH: percent of the held-out images that the classifier under training gets
                                         * right, or -1 when not measured */
    const char *knn_protocol;           /* EPOCH: "kNN k=200 T=0.1 embedding cosine, bank 2912, queries 858" */
    bool    has_spans;                  /* EPOCH: else what follows is 0 */
    clv_span_counts spans;              /* what a tagger finds in the words held out */
    const char *spans_protocol;         /* "as conlleval, micro, 1009 sentences, 15733 words" */
    const clv_metric *metrics;          /* what the method and its losses have to say of the last step that was logged */
    int     metric_count;
    const char *note; /* NOTE: a line for the user: a checkpoint written, a damaged one skipped, a warning */
} clv_progress;

/* Called on the thread that runs the trainer. False: finish nothing more, save, and return CLV_STOPPED. */
typedef bool (*clv_progress_fn)(const clv_progress *progress, void *user);

/* Opens the data, builds the networks, and, with the option `resume`, loads the newest whole checkpoint of the run
 * directory (or the one given); a damaged one is named in a note and the one before is used. Without it, a directory
 * that holds a run already is refused. Settings that cannot act beside the others are errors.
 * Errors: everything that can be wrong with configuration, data or checkpoint, by name. *out is NULL on error.
 *
 * The configuration is copied; the context must outlive the trainer, and `user` too. Threads: a trainer is used by one
 * thread at a time, and while it runs nothing else of its context computes. */
CLV_API clv_status clv_trainer_create(clv_context *ctx, const clv_config *config, clv_progress_fn progress, void *user,
                                      clv_trainer **out) CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_trainer_destroy(clv_trainer *trainer);
/* Which of the processes that a launcher (mpirun) started for the run this is: 0, the one that calls back and writes
 * files, also where there is only one; the others compute. */
CLV_API int clv_trainer_rank(const clv_trainer *trainer);

/* Lines that describe the run before it starts: networks, parameters, memory, schedule, data (for --dry-run). A line's
 * text is borrowed for the call; ranks other than the first say nothing. Errors: CLV_ERR_INVALID (an argument is NULL),
 * CLV_ERR_INTERNAL. */
CLV_API clv_status clv_trainer_describe(clv_trainer *trainer, void (*line)(const char *text, void *user), void *user)
    CLV_NODISCARD;

/* Trains to the end. Writes into the run directory: config.yaml, metrics.jsonl (a line a step logged and one an epoch),
 * log.csv (a line an epoch), last.h5, best.h5, checkpoint_NNNN.h5. Returns CLV_STOPPED when the callback asked for it;
 * run again with `resume` and the result is the same to the bit as without the stop. The directory is locked until the
 * trainer is destroyed.
 * Errors: CLV_ERR_IO if another trainer holds it; CLV_ERR_NUMERIC if loss or a gradient is not finite (named, with
 * the step; no checkpoint is written from it), or on collapse with stop-on-collapse; those of data and files. */
CLV_API clv_status clv_trainer_run(clv_trainer *trainer) CLV_NODISCARD;

/* ---- encoders: a trained network, ready to turn images into features ---- */

typedef struct clv_encoder clv_encoder;

typedef enum clv_layer { CLV_LAYER_BACKBONE, CLV_LAYER_EMBEDDING } clv_layer;

typedef struct clv_encoder_desc {
    size_t      struct_size;     /* CLV_ENCODER_DESC_INIT */
    const char *checkpoint;      /* a checkpoint, or a run directory (its best.h5, else last.h5); or: */
    const char *weights;         /* a file of weights: safetensors, or what torch.save wrote. docs/weights.md */
    const clv_config *config;    /* with weights: what its arch, stem, width, eval-aug and size say goes before what the
                                  * file does; NULL: the file alone */
    bool        key;             /* the momentum encoder instead of the query encoder */
    bool        untrained;       /* the same network as it was before training (the baseline) */
    clv_layer   layer;           /* pooled features, or the head's output */
    int64_t     batch_size;
    bool        ema;             /* the average of the trained weights that ema-decay kept, instead of the last ones */
} clv_encoder_desc;

#define CLV_ENCODER_DESC_INIT { .struct_size = sizeof(clv_encoder_desc), .batch_size = 256 }

/* Opens a checkpoint or a file of weights and builds its network. What of a file was used and what was not is told to
 * the context's log. Errors: CLV_ERR_IO, CLV_ERR_FORMAT (damaged, or no checkpoint; no backbone fits, with the key and
 * both shapes; named), CLV_ERR_UNSUPPORTED, CLV_ERR_NUMERIC (a weight is not finite), CLV_ERR_INVALID, CLV_ERR_NOMEM.
 * *out is NULL on error. */
CLV_API clv_status clv_encoder_open(clv_context *ctx, const clv_encoder_desc *desc, clv_encoder **out) CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_encoder_destroy(clv_encoder *encoder);
/* Length of a feature row. */
CLV_API int64_t clv_encoder_dim(const clv_encoder *encoder);
/* The configuration it was trained with. Borrowed. */
CLV_API const clv_config *clv_encoder_config(const clv_encoder *encoder);
/* Writes the network to `path`, whole or not at all; the end of the name says how:
 *   .safetensors  torchvision's names, OIHW; for the layer CLV_LAYER_BACKBONE without the head. docs/weights.md
 *   .onnx         ONNX opset 17, images [N,C,H,W] (normalised pixels) to [N,dim], for any N
 *   .h5           a checkpoint that encoders can be opened from, and training can begin with, but not go on from
 * Errors: CLV_ERR_IO, CLV_ERR_NOMEM, CLV_ERR_INVALID (another name), CLV_ERR_UNSUPPORTED (ONNX: an operation without a
 * counterpart). */
CLV_API clv_status clv_encoder_save(clv_encoder *encoder, const char *path) CLV_NODISCARD;
/* Features [count, dim] of images first.. of a data set, through the run's evaluation transform (resize or none,
 * normalise), batch norm in evaluation mode. `features` is dense float32 in the caller's memory, its rows are not
 * scaled. progress may be NULL: done, total; false stops (CLV_STOPPED). Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (no such
 * images), CLV_ERR_IO and CLV_ERR_FORMAT (an image cannot be read), CLV_ERR_NOMEM. One thread at a time per encoder. */
CLV_API clv_status clv_encoder_embed(clv_encoder *encoder, const clv_dataset *ds, int64_t first, int64_t count,
                                     const clv_view *features,
                                     bool (*progress)(int64_t done, int64_t total, void *user),
                                     void *user) CLV_NODISCARD;

/* ---- generators: a trained network that turns noise into images ---- */

typedef struct clv_generator clv_generator;

typedef enum clv_solver {
    CLV_SOLVER_EULER,            /* first order: one evaluation of the network a step */
    CLV_SOLVER_HEUN              /* second order (the trapezoidal rule), two evaluations a step */
} clv_solver;

typedef struct clv_generator_desc {
    size_t      struct_size;     /* CLV_GENERATOR_DESC_INIT */
    const char *checkpoint;      /* of the method flow_matching; or a run directory (its last.h5) */
    clv_solver  solver;
    int64_t     steps;           /* from noise to image, of equal length; at least 1 */
    int64_t     batch_size;      /* images at a time; has no influence on what they are, but for rounding */
    uint64_t    seed;
} clv_generator_desc;

#define CLV_GENERATOR_DESC_INIT                                                                                        \
    { .struct_size = sizeof(clv_generator_desc), .solver = CLV_SOLVER_HEUN, .steps = 25, .batch_size = 64 }

/* Opens a checkpoint and builds its network. Errors: CLV_ERR_IO, CLV_ERR_FORMAT (damaged, or no checkpoint),
 * CLV_ERR_INVALID (trained by another method; a setting out of range), CLV_ERR_NOMEM. *out is NULL on error. */
CLV_API clv_status clv_generator_open(clv_context *ctx, const clv_generator_desc *desc, clv_generator **out) CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_generator_destroy(clv_generator *generator);
/* Size of an image. */
CLV_API void clv_generator_shape(const clv_generator *generator, int64_t *height, int64_t *width, int64_t *channels);
/* Images first .. first + count: dense uint8 [count,height,width,channels] in `images`. Each is a function of the
 * checkpoint, the desc's seed, solver and steps, and its number. progress may be NULL: done, total; false stops
 * (CLV_STOPPED). Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID, CLV_ERR_NUMERIC (the network diverged). One thread at a time. */
CLV_API clv_status clv_generator_sample(clv_generator *generator, int64_t first, int64_t count, const clv_view *images,
                                        bool (*progress)(int64_t done, int64_t total, void *user),
                                        void *user) CLV_NODISCARD;
/* Writes images [n,H,W,C], uint8, to an HDF5 file that is a data set without labels (docs/formats.md), whole or not at
 * all. Errors: CLV_ERR_SHAPE, CLV_ERR_IO, CLV_ERR_NOMEM. */
CLV_API clv_status clv_images_save(clv_context *ctx, const char *path, const clv_view *images) CLV_NODISCARD;

/* Writes features [n,D], labels [n] (NULL: none) and ids [n] to `path`: HDF5 data sets `features`, `labels`, `ids`, or
 * the features alone as a NumPy array when the name ends in .npy, or the same three as safetensors when it ends in
 * .safetensors. `attributes` are stored as text in HDF5 and safetensors. Features are dense float32. Errors:
 * CLV_ERR_INVALID, CLV_ERR_SHAPE, CLV_ERR_IO, CLV_ERR_NOMEM. */
CLV_API clv_status clv_features_save(clv_context *ctx, const char *path, const clv_view *features,
                                     const int64_t *labels, const int64_t *ids, const clv_option *attributes,
                                     int attribute_count) CLV_NODISCARD;

/* ---- taggers: a trained network, ready to tag words ---- */

typedef struct clv_tagger clv_tagger;

typedef struct clv_tagger_desc {
    size_t      struct_size;     /* CLV_TAGGER_DESC_INIT */
    const char *checkpoint;      /* of the method `tagger`; or a run directory (its best.h5, else last.h5) */
    int64_t     batch_size;      /* words at a time, at least 1; has no influence on their tags, but for rounding */
    bool        ema;             /* the average of the trained weights that ema-decay kept, instead of the last ones */
} clv_tagger_desc;

#define CLV_TAGGER_DESC_INIT { .struct_size = sizeof(clv_tagger_desc), .batch_size = 256 }

/* Opens a checkpoint and builds its network. Errors: CLV_ERR_IO, CLV_ERR_FORMAT (damaged, or no checkpoint),
 * CLV_ERR_INVALID (trained by another method; no average was kept), CLV_ERR_NOMEM. *out is NULL on error. Threads: one
 * call at a time per tagger. */
CLV_API clv_status clv_tagger_open(clv_context *ctx, const clv_tagger_desc *desc, clv_tagger **out) CLV_NODISCARD;
/* NULL is accepted. */
CLV_API void clv_tagger_destroy(clv_tagger *tagger);
/* Name of a tag it knows, NULL past the last. Borrowed from the tagger. */
CLV_API const char *clv_tagger_tag_name(const clv_tagger *tagger, int64_t tag);
/* Tags every word of a corpus: predicted [words], numbers of its own tags. `out` (may be NULL): what that comes to, beside
 * the corpus's tags. Errors: CLV_ERR_NOMEM; those of clv_spans_measure. */
CLV_API clv_status clv_tagger_tag(clv_tagger *tagger, const clv_corpus *corpus, int64_t *predicted,
                                  clv_span_result *out) CLV_NODISCARD;

/* ---- files ---- */

/* Describes any file Cleave writes (checkpoint, bank, data set, features), line by line. Errors: CLV_ERR_IO;
 * CLV_ERR_FORMAT for a damaged file (named) or one that is not Cleave's. */
CLV_API clv_status clv_inspect(clv_context *ctx, const char *path, void (*line)(const char *text, void *user),
                               void *user) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
