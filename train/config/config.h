/* config.h: the settings of a run and the one table they come from. */
#ifndef CLVI_TRAIN_CONFIG_H
#define CLVI_TRAIN_CONFIG_H

#include <cleave/train.h>
#include "core/context.h"
#include "core/option.h"

#define CLVI_PATH_SIZE 1024

typedef struct clvi_settings {
    /* data */
    char    data[CLVI_PATH_SIZE], split[64], val_data[CLVI_PATH_SIZE], val_split[64];
    char    aug[4096], aug2[4096], eval_aug[4096];
    bool    aug_plus;
    int     aug_device;
    int64_t size;
    double  crop_min;
    int64_t workers, prefetch;
    bool    exact_decode;
    /* network */
    char    arch[64], weights[CLVI_PATH_SIZE];
    int     stem;
    bool    freeze;
    int64_t width, depth, patch, drop_block;
    bool    stop_grad_conv1;
    double  drop_path, dropout;
    bool    zero_init_residual, mlp;
    int64_t moco_dim, moco_mlp_dim, proj_layers, pred_dim;
    /* method */
    char    method[64], loss[1024];
    int64_t moco_k;
    double  moco_m, moco_t;
    bool    moco_m_cos, symmetric, shuffle_bn;
    int64_t bn_splits;
    int     sync_bn;
    int     bn_buffers, bank, queue_init, queue_mask, moco_queue_dtype, queue_update;
    double  queue_momentum;
    int64_t queue_dim, context, word_dim, word_rows;
    double  mixup_alpha, cutmix_alpha, mixup_prob, mixup_switch_prob, word_drop;
    int     flow_time;
    /* optimisation */
    char    optimizer[64];
    double  lr, momentum, weight_decay, beta1, beta2, eps, trust_coefficient, clip_grad;
    int     lr_scaling;
    double  lr_biases, lr_end, lr_drop;
    bool    clip_lr, exclude_bias_n_norm_wd, exclude_bias_n_norm_lars;
    bool    nesterov, cos, fix_pred_lr;
    char    schedule[256];
    int     schedule_by, warmup_by;
    double  warmup_epochs, warmup_start_lr;
    int64_t epochs, stop_epoch, schedule_start, batch_size, micro_batch_size;
    double  ema_decay;
    /* run */
    char    device[16];
    int     precision;                                        /* a clv_precision: the choices are in its order */
    int64_t seed, print_freq, save_freq, save_steps;
    char    results_dir[CLVI_PATH_SIZE], resume[CLVI_PATH_SIZE];
    bool    stop_on_collapse, profile, detect_anomaly, recompute, tensorboard, cudnn_benchmark;
    int     on_nan;
    /* monitor */
    int64_t val_freq, knn_k, knn_freq, knn_bank, knn_queries;
    double  knn_t;
    int     knn_layer;
    char    published[2048];
} clvi_settings;

enum { CLVI_STEM_DEFAULT };                                   /* then the backbone's own choices, in its order */
enum { CLVI_AUG_ON_CPU, CLVI_AUG_ON_GPU };
enum { CLVI_SYNC_BN_OFF, CLVI_SYNC_BN_ON, CLVI_SYNC_BN_FORCE };
enum { CLVI_BN_BUFFERS_OWN, CLVI_BN_BUFFERS_COPY, CLVI_BN_BUFFERS_AVERAGE };
enum { CLVI_BANK_KIND_FIFO, CLVI_BANK_KIND_LABELLED };
enum { CLVI_QUEUE_MASK_NONE, CLVI_QUEUE_MASK_SAMPLE, CLVI_QUEUE_MASK_CLASS };
enum { CLVI_QUEUE_F32, CLVI_QUEUE_BF16 };
enum { CLVI_QUEUE_FIFO, CLVI_QUEUE_EMA };
enum { CLVI_FLOW_TIME_UNIFORM, CLVI_FLOW_TIME_LOGIT_NORMAL };
enum { CLVI_SCHEDULE_BY_EPOCH, CLVI_SCHEDULE_BY_STEP };
enum { CLVI_WARMUP_BY_STEP, CLVI_WARMUP_BY_EPOCH };
enum { CLVI_LR_AS_GIVEN, CLVI_LR_LINEAR, CLVI_LR_SQRT };
enum { CLVI_ON_NAN_STOP, CLVI_ON_NAN_SKIP };

extern const clvi_option clvi_settings_table[];
#define CLVI_MAX_SETTINGS 128
/* The option a name or alias stands for, or NULL. */
const clvi_option *clvi_settings_find(const char *name);

/* Who set an option last: the weakest first. */
enum { CLVI_FROM_DEFAULT, CLVI_FROM_FILE, CLVI_FROM_ENVIRONMENT, CLVI_FROM_CALLER };

struct clv_config {
    clv_context  *ctx;
    clvi_settings settings;
    uint8_t       source[CLVI_MAX_SETTINGS];    /* by index of the table */
};

/* Refuses settings that cannot act, beside what switches them off: CLV_ERR_INVALID. (rules.c) */
clv_status clvi_config_check(const clv_config *config) CLV_NODISCARD;

/* The configuration as YAML text (clvi_free it), and from such text: the form inside a checkpoint. `what` opens
 * messages. */
clv_status clvi_config_text(const clv_config *config, char **text) CLV_NODISCARD;
clv_status clvi_config_parse(clv_config *config, const char *what, const char *text, size_t size) CLV_NODISCARD;

#endif
