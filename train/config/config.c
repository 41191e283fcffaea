/* config.c: the option table of a run, and where its values come from: defaults, a YAML file, environment, flags. */
#include "train/config/config.h"
#include "core/checked.h"
#include "core/file.h"

#include <ctype.h>
#include <string.h>

extern char **environ;

#define F64(F, N, D, LO, HI, H, S) CLVI_OPTION_F64(clvi_settings, F, N, D, LO, HI, H, S)
#define I64(F, N, D, LO, HI, H, S) CLVI_OPTION_I64(clvi_settings, F, N, D, LO, HI, H, S)
#define FLAG(F, N, D, H)           CLVI_OPTION_BOOL(clvi_settings, F, N, D, H)
#define TEXT(F, N, D, H)           CLVI_OPTION_STRING(clvi_settings, F, N, D, H)
#define CHOICE(F, N, D, C, H)      CLVI_OPTION_CHOICE(clvi_settings, F, N, D, C, H)
#define LETTER(F, T, N, D, LO, HI, H, L) CLVI_OPTION_(clvi_settings, F, T, N, D, LO, HI, NULL, H, NULL, L)
#define BIG 1e15

const clvi_option clvi_settings_table[] = {
    TEXT(data, "data", "",
         "data set to train on: a packed file, a folder or list of images, CIFAR or IDX files; for a tagger words and tags"),
    TEXT(split, "split", "", "split of it to train on, or a part, 'train[:90%]'; empty: 'train' where there is one"),
    TEXT(val_data, "val-data", "", "data set that is classified along the way; empty: the training data set"),
    TEXT(val_split, "val-split", "", "split of it; empty: 'test' or 'val' where there is one, else leave-one-out"),
    TEXT(aug, "aug", "", "augmentation: a preset or a chain; empty: moco-v1, or moco-v2 with aug-plus"),
    TEXT(aug2, "aug2", "", "augmentation of the second view; empty: as the first"),
    FLAG(aug_plus, "aug-plus", "false", "MoCo v2's augmentation"),
    TEXT(eval_aug, "eval-aug", "", "preparation for evaluation; empty: the one that goes with the preset"),
    I64(size, "size", "0", 0, 4096, "side of the training images in pixels; 0: as the augmentation says", NULL),
    F64(crop_min, "crop-min", "0", 0, 1, "smallest area of a random crop; 0: as the augmentation says", NULL),
    CHOICE(aug_device, "aug-device", "cpu", "cpu|gpu",
           "what makes views of pictures: loader threads, or the run's device; the same bits"),
    LETTER(workers, CLV_OPTION_I64, "workers", "1", 0, 1024, "loader threads; 0: load in the training thread", 'j'),
    I64(prefetch, "prefetch", "2", 1, 64, "batches loaded ahead", NULL),
    FLAG(exact_decode, "exact-decode", "false",
         "decode whole pictures in full size, not only where their crops lie and reduced where those are large"),

    LETTER(arch, CLV_OPTION_STRING, "arch", "resnet50", 0, 0, "backbone", 'a'),
    TEXT(weights, "weights", "",
         "start from these: safetensors, what torch.save wrote, a checkpoint or run directory; empty: at random"),
    FLAG(freeze, "freeze", "false",
         "train the classifier only, on the network in evaluation mode as it is: a linear probe"),
    CHOICE(stem, "stem", "default", "default|imagenet|cifar|strided|supcontrast|lightly|solo-learn",
           "first layers; default: the backbone's own"),
    I64(width, "width", "0", 0, 4096, "channels of the first stage, or of a token; 0: the backbone's own", NULL),
    I64(depth, "depth", "0", 0, 256, "blocks of a vision transformer; 0: the backbone's own", NULL),
    I64(patch, "patch", "0", 0, 256, "side of a vision transformer's patches in pixels; 0: the backbone's own", NULL),
    FLAG(stop_grad_conv1, "stop-grad-conv1", "true", "leave a vision transformer's projection of patches as drawn"),
    F64(drop_path, "drop-path", "0", 0, 0.99, "stochastic depth of the last block; rises linearly from 0", NULL),
    F64(dropout, "dropout", "0", 0, 0.99, "share of the values that resnet12 and the networks for faces drop", NULL),
    I64(drop_block, "drop-block", "0", 0, 64, "side of the squares that resnet12 drops; 0: the backbone's own", NULL),
    FLAG(zero_init_residual, "zero-init-residual", "false", "start each block's last batch-norm scale at zero"),
    FLAG(mlp, "mlp", "false", "MoCo v2's two-layer head"),
    I64(moco_dim, "moco-dim", "128", 1, 65536, "size of the embedding", "D"),
    I64(moco_mlp_dim, "moco-mlp-dim", "0", 0, 65536, "hidden size of the head; 0: the features'", NULL),
    I64(proj_layers, "proj-layers", "0", 0, 16, "linear layers of the head; 0: as the method has it", NULL),
    I64(pred_dim, "pred-dim", "0", 0, 65536, "hidden size of the predictor; 0: the embedding's", NULL),

    TEXT(method, "method", "moco", "training method"),
    TEXT(loss, "loss", "", "losses with options, written as a chain of augmentations is; empty: the method's own"),
    I64(moco_k, "moco-k", "65536", 1, BIG, "rows of the memory bank", "K"),
    F64(moco_m, "moco-m", "0.999", 0, 1, "momentum of the key encoder", "m"),
    FLAG(moco_m_cos, "moco-m-cos", "false", "raise it to 1 along a half cosine"),
    F64(moco_t, "moco-t", "0.07", 1e-4, 1e4, "softmax temperature", "tau"),
    FLAG(symmetric, "symmetric", "false", "both views as query; the loss is the sum of the two directions"),
    I64(bn_splits, "bn-splits", "1", 1, 4096, "groups of split batch norm; more than 1 stands for as many devices",
        NULL),
    CHOICE(sync_bn, "sync-bn", "off", "off|on|force",
           "several ranks: batch norm over the images of all; with a memory bank only when forced"),
    FLAG(shuffle_bn, "shuffle-bn", "true", "shuffle the key batch over the groups (acts with bn-splits > 1)"),
    CHOICE(bn_buffers, "bn-buffers", "own", "own|copy|average",
           "running statistics of the key encoder: its own (as published), the query's, or averaged like weights"),
    CHOICE(bank, "bank", "fifo", "fifo|labelled",
           "memory bank; from a labelled one the losses see the classes of queries and keys"),
    CHOICE(queue_init, "queue-init", "random", "random|empty",
           "bank before the first keys: random unit rows (as published), or rows left out until filled"),
    CHOICE(queue_mask, "queue-mask", "none", "none|sample|class",
           "bank rows left out for a query: none (as published), of its own image, of its own class (an oracle)"),
    CHOICE(moco_queue_dtype, "moco-queue-dtype", "float32", "float32|bfloat16",
           "how the bank stores keys; bfloat16 halves its memory and the time of the loss"),
    CHOICE(queue_update, "queue-update", "fifo", "fifo|ema",
           "the loss repulsor: a feature replaces what is in its place of the bank, or moves it"),
    F64(queue_momentum, "queue-momentum", "0.9", 0, 1, "queue-update ema: share of what was there that stays", "m"),
    I64(queue_dim, "queue-dim", "0", 0, 65536,
        "the loss repulsor: values of a feature after a linear projection, which is trained; 0: no projection", NULL),
    F64(mixup_alpha, "mixup-alpha", "0", 0, 1e3,
        "MixUp of a classifier's images: the share of each is drawn from Beta(alpha, alpha); 0: none", "alpha"),
    F64(cutmix_alpha, "cutmix-alpha", "0", 0, 1e3, "CutMix, likewise; with both, each batch gets one of them", "alpha"),
    F64(mixup_prob, "mixup-prob", "1", 0, 1, "share of batches that are mixed", NULL),
    F64(mixup_switch_prob, "mixup-switch-prob", "0.5", 0, 1, "share of CutMix among them, with both", NULL),
    CHOICE(flow_time, "flow-time", "uniform", "uniform|logit-normal",
           "flow_matching: how times between noise and picture are drawn; logit-normal: mostly between the two"),

    I64(context, "context", "3", 0, 16, "a tagger: words it sees on either side of the one to be tagged", NULL),
    I64(word_dim, "word-dim", "64", 1, 4096, "a tagger: size of the vector of a word", NULL),
    I64(word_rows, "word-rows", "32768", 1, 16777216,
        "a tagger: rows of the table that features of words are hashed to", NULL),
    F64(word_drop, "word-drop", "0", 0, 0.99, "a tagger: probability that a feature of a word is left out in training",
        NULL),

    TEXT(optimizer, "optimizer", "sgd", "optimiser"),
    F64(lr, "lr", "0.03", 0, 1e6, "learning rate", NULL),
    CHOICE(lr_scaling, "lr-scaling", "none", "none|linear|sqrt",
           "the run's learning rate: lr, lr batch-size / 256, or lr times the root of batch-size"),
    F64(lr_biases, "lr-biases", "0", 0, 1e6, "learning rate of biases and norms; 0: that of the rest", NULL),
    F64(momentum, "momentum", "0.9", 0, 1, "momentum of SGD and LARS", NULL),
    F64(weight_decay, "weight-decay", "1e-4", 0, 1e6, "weight decay, on every parameter that is not left out", NULL),
    FLAG(exclude_bias_n_norm_wd, "exclude-bias-n-norm-wd", "false",
         "no weight decay on biases and norms (parameters of one dimension)"),
    FLAG(exclude_bias_n_norm_lars, "exclude-bias-n-norm-lars", "false",
         "no rates of their own for them (LARS as in solo-learn, LAMB)"),
    FLAG(nesterov, "nesterov", "false", "Nesterov momentum"),
    F64(beta1, "beta1", "0.9", 0, 0.9999999, "decay of the average gradient of AdamW and LAMB", "beta_1"),
    F64(beta2, "beta2", "0.999", 0, 0.9999999, "decay of the average squared gradient of AdamW and LAMB", "beta_2"),
    F64(eps, "eps", "0", 0, 1, "what denominators are kept from zero by; 0: the optimiser's own", "epsilon"),
    F64(trust_coefficient, "trust-coefficient", "0.001", 0, 1e6, "LARS: length of a step of a tensor of norm 1", "eta"),
    FLAG(clip_lr, "clip-lr", "false", "LARS as in solo-learn: no tensor's rate beyond the learning rate"),
    F64(clip_grad, "clip-grad", "0", 0, 1e15, "longest gradient (norm over all parameters); 0: any", NULL),
    FLAG(cos, "cos", "false", "cosine schedule to zero instead of steps"),
    F64(lr_end, "lr-end", "0", 0, 1, "where the cosine ends, as a share of the learning rate", NULL),
    TEXT(schedule, "schedule", "120,160", "epochs after which the learning rate drops (without cos)"),
    F64(lr_drop, "lr-drop", "0.1", 0, 1, "what it is multiplied by then", NULL),
    FLAG(fix_pred_lr, "fix-pred-lr", "false", "the predictor's learning rate stays at lr"),
    CHOICE(schedule_by, "schedule-by", "epoch", "epoch|step", "when the learning rate changes"),
    I64(schedule_start, "schedule-start", "0", 0, 1, "number of the first epoch in the schedule's formula", NULL),
    F64(warmup_epochs, "warmup-epochs", "0", 0, 1e6, "linear warm-up", NULL),
    CHOICE(warmup_by, "warmup-by", "step", "step|epoch", "when the learning rate rises in it"),
    F64(warmup_start_lr, "warmup-start-lr", "0", 0, 1e6, "learning rate that warm-up rises from", NULL),
    I64(epochs, "epochs", "200", 1, 1e6, "epochs; also the horizon of the schedules", NULL),
    I64(stop_epoch, "stop-epoch", "0", 0, 1e6, "stop after this epoch, the schedules' horizon staying; 0: never", NULL),
    LETTER(batch_size, CLV_OPTION_I64, "batch-size", "256", 1, 1e6, "images a step", 'b'),
    I64(micro_batch_size, "micro-batch-size", "0", 0, 1e6,
        "images computed at once: less memory, and still the gradient of the whole batch; 0: all", NULL),
    F64(ema_decay, "ema-decay", "0", 0, 0.9999999,
        "average of the weights for evaluation (--ema): share of it that stays at each step; 0: none", NULL),

    FLAG(recompute, "recompute", "false",
         "less memory: compute activations again in the backward pass; slower, the same bits"),
    TEXT(device, "device", "cpu", "what networks and losses compute on: cpu, cuda or cuda:N (cleave devices lists them)"),
    FLAG(cudnn_benchmark, "cudnn-benchmark", "false",
         "on a GPU: time cuDNN's plans for each convolution and take the fastest; the choice is kept for later runs"),
    CHOICE(precision, "precision", "fp32", "fp32|tf32|bf16|auto",
           "convolutions in float32, on a GPU with operands rounded to TF32, in bfloat16, or in bfloat16 where the "
           "device multiplies it"),
    I64(seed, "seed", "0", 0, BIG, "seed of everything random", NULL),
    LETTER(print_freq, CLV_OPTION_I64, "print-freq", "10", 1, 1e9, "steps between lines of the log", 'p'),
    I64(save_freq, "save-freq", "0", 0, 1e6, "epochs between numbered checkpoints; 0: none", NULL),
    I64(save_steps, "save-steps", "0", 0, 1e9, "steps between saves of last.h5 inside an epoch; 0: none", NULL),
    FLAG(profile, "profile", "false", "time every operation: a table at the end, and trace.json in the run directory"),
    FLAG(detect_anomaly, "detect-anomaly", "false",
         "look at the result of every operation, and end the run at the first NaN with the operation's name; slow"),
    FLAG(tensorboard, "tensorboard", "false",
         "also write event files for TensorBoard: scalars, histograms, views, features for its projector"),
    TEXT(results_dir, "results-dir", "", "run directory; empty: runs/ and the name of the configuration"),
    TEXT(resume, "resume", "", "'auto': go on with the run directory's newest checkpoint; or a checkpoint's path"),
    CHOICE(on_nan, "on-nan", "stop", "stop|skip",
           "a step whose loss or gradient is not finite ends the run, or leaves no trace"),
    FLAG(stop_on_collapse, "stop-on-collapse", "false", "end the run when the features collapse, not only warn"),

    I64(val_freq, "val-freq", "1", 0, 1e6,
        "epochs between measurements of a classifier's accuracy on held-out images, or of a tagger's spans (and after "
        "the last); 0: never", NULL),
    I64(knn_k, "knn-k", "200", 1, 1e6, "neighbours of the kNN monitor", "k"),
    F64(knn_t, "knn-t", "0.1", 1e-4, 1e4, "its temperature", NULL),
    CHOICE(knn_layer, "knn-layer", "embedding", "backbone|embedding", "features it compares"),
    I64(knn_freq, "knn-freq", "1", 0, 1e6, "epochs between measurements (and after the last); 0: never", NULL),
    I64(knn_bank, "knn-bank", "0", 0, BIG, "training images it searches, evenly spaced; 0: all", NULL),
    I64(knn_queries, "knn-queries", "0", 0, BIG, "images it classifies, evenly spaced; 0: all", NULL),
    TEXT(published, "published", "",
         "what was published of such a run, for cleave verify: 'epoch loss knn; 1 6.96 32.0; 5 6.86 38.0'"),
    CLVI_OPTION_END
};

/* Names MoCo's, SupCon's and solo-learn's users type. */
static const struct { const char *alias, *name; } aliases[] = {
    { "wd", "weight-decay" }, { "learning-rate", "lr" },    { "temp", "moco-t" }, { "temperature", "moco-t" },
    { "base-tau", "moco-m" }, { "proj-output-dim", "moco-dim" }, { "proj-hidden-dim", "moco-mlp-dim" },
    { "pred-hidden-dim", "pred-dim" }, { "num-workers", "workers" }, { "backbone", "arch" }, { "max-epochs", "epochs" },
    { "eta", "trust-coefficient" }, { "eta-lars", "trust-coefficient" }, { "grad-clip-lars", "clip-lr" },
    { "clip-lars-lr", "clip-lr" }, { "gradient-clip-val", "clip-grad" }, { "learning-rate-scaling", "lr-scaling" },
    { "dali-device", "aug-device" },
};

_Static_assert(CLVI_COUNT(clvi_settings_table) <= CLVI_MAX_SETTINGS, "more options than a reader keeps track of");

static const char *resolve(const char *name)
{
    for (size_t i = 0; i < CLVI_COUNT(aliases); i++)
        if (clvi_name_equal(aliases[i].alias, name)) return aliases[i].name;
    return name;
}

const clvi_option *clvi_settings_find(const char *name)
{
    return clvi_option_find(clvi_settings_table, resolve(name));
}

const clv_option_info *clv_train_option_at(int index)
{
    return index >= 0 && index < clvi_option_count(clvi_settings_table) ? &clvi_settings_table[index].info : NULL;
}

bool clv_train_alias_at(int index, const char **alias, const char **name)
{
    if (index < 0 || index >= (int)CLVI_COUNT(aliases)) return false;
    *alias = aliases[index].alias;
    *name = aliases[index].name;
    return true;
}

clv_status clv_config_create(clv_context *ctx, clv_config **out)
{
    CLV_CHECK(ctx && out, CLV_ERR_INVALID, "clv_config_create: an argument is NULL");
    *out = NULL;
    clv_config *config = clvi_calloc(ctx, 1, sizeof *config);
    if (!config) return CLV_ERR_NOMEM;
    config->ctx = ctx;
    clvi_options_default(clvi_settings_table, &config->settings);
    *out = config;
    return CLV_OK;
}

void clv_config_destroy(clv_config *config)
{
    if (config) clvi_free(config->ctx, config);
}

static clv_status set(clv_config *config, int source, const char *what, const char *name, const char *value)
{
    CLV_TRY(clvi_option_set(clvi_settings_table, &config->settings, what, resolve(name), value));
    config->source[clvi_settings_find(name) - clvi_settings_table] = (uint8_t)source;
    return CLV_OK;
}

clv_status clv_config_set(clv_config *config, const char *name, const char *value)
{
    CLV_CHECK(config && name && value, CLV_ERR_INVALID, "clv_config_set: an argument is NULL");
    return set(config, CLVI_FROM_CALLER, "configuration", name, value);
}

clv_status clv_config_get(const clv_config *config, const char *name, char *text, size_t size)
{
    CLV_CHECK(config && name && text, CLV_ERR_INVALID, "clv_config_get: an argument is NULL");
    const clvi_option *option = clvi_settings_find(name);
    CLV_CHECK(option, CLV_ERR_INVALID, "configuration: no option '%s'", name);
    const int length = clvi_option_format(option, &config->settings, text, size);
    CLV_CHECK(length >= 0 && (size_t)length < size, CLV_ERR_INVALID, "clv_config_get: '%s' needs %d bytes, %zu given",
              name, length + 1, size);
    return CLV_OK;
}

/* ---- environment ---- */

/* Variables of the library that are no options of a run. */
static bool is_library_variable(const char *name, size_t length)
{
    static const char *const known[] = {
        "CLEAVE_CPU_ISA", "CLEAVE_CONV", "CLEAVE_THREADS", "CLEAVE_BACKENDS", "CLEAVE_CACHE_DIR", "CLEAVE_GRAPH",
    };
    for (size_t i = 0; i < CLVI_COUNT(known); i++)
        if (strlen(known[i]) == length && !memcmp(known[i], name, length)) return true;
    return false;
}

clv_status clv_config_env(clv_config *config)
{
    CLV_CHECK(config, CLV_ERR_INVALID, "clv_config_env: config must not be NULL");
    for (char **e = environ; e && *e; e++) {
        const char *equals = strchr(*e, '=');
        if (strncmp(*e, "CLEAVE_", 7) != 0 || !equals) continue;
        const size_t length = (size_t)(equals - *e);
        if (is_library_variable(*e, length)) continue;
        char name[64] = "";
        CLV_CHECK(length - 7 < sizeof name, CLV_ERR_INVALID, "environment: %.80s is no option", *e);
        for (size_t i = 7; i < length; i++) name[i - 7] = (char)tolower((unsigned char)(*e)[i]);
        CLV_TRY(set(config, CLVI_FROM_ENVIRONMENT, "environment", name, equals + 1));
    }
    return CLV_OK;
}
