/* dice.c: soft dice and Tversky losses for labels that are rare, with a self-adjusting weight and hard negatives.
 * Li et al. 2020, arXiv:1911.02855, section 3. p is the probability of an item (or class), y its label, g = smooth:
 *
 *   w = (1-p)^alpha p,   R(w, y) = 1 - (2 w y + g) / (D + g),   D = w + y, or w^2 + y^2 if square
 *
 * binary_set:          one fraction, whose w y, w and y are sums over all items
 * multiclass_official: sum over classes of R, mean over items; without square D is a sum over the batch
 * dsc_per_example:     mean over items of R, D = w + y
 * dl_per_example:      the same, D = w^2 + y^2
 * tversky_per_example: 1 - (p y + g) / (p y + a p (1-y) + b (1-p) y + g), mean over items
 *
 * Masked items have w = y = 0. */
#include "losses/loss.h"

enum { REDUCE_MEAN, REDUCE_SUM };
enum { OHEM_NONE, OHEM_EXACT, OHEM_OFFICIAL };

typedef struct dice_params {
    int    variant, reduction, ohem_rule;
    double smooth, alpha, tversky_alpha, tversky_beta, ohem_ratio;
    bool   square, with_logits;
} dice_params;

static const clvi_option dice_options[] = {
    CLVI_OPTION_CHOICE(dice_params, variant, "variant", "binary_set",
                       "binary_set|multiclass_official|dsc_per_example|dl_per_example|tversky_per_example",
                       "over what the fraction is formed"),
    CLVI_OPTION_F64(dice_params, smooth, "smooth", "0.0001", 0, 1e6, "added to numerator and denominator", "gamma"),
    CLVI_OPTION_F64(dice_params, alpha, "alpha", "0", 0, 100, "how much easy items lose weight; not for tversky",
                    "alpha"),
    CLVI_OPTION_BOOL(dice_params, square, "square", "false",
                     "squares in the denominator; per-example variants have it in their name"),
    CLVI_OPTION_BOOL(dice_params, with_logits, "with-logits", "true", "false: the input holds probabilities"),
    CLVI_OPTION_F64(dice_params, ohem_ratio, "ohem-ratio", "0", 0, 1e6,
                    "binary_set: keep this many hard negatives a positive; 0: all", NULL),
    CLVI_OPTION_CHOICE(dice_params, ohem_rule, "ohem-rule", "exact", "none|exact|official",
                       "binary_set: which negatives are hard"),
    CLVI_OPTION_F64(dice_params, tversky_alpha, "tversky-alpha", "0.5", 0, 100, "weight of false positives", "alpha"),
    CLVI_OPTION_F64(dice_params, tversky_beta, "tversky-beta", "0.5", 0, 100, "weight of false negatives", "beta"),
    CLVI_OPTION_CHOICE(dice_params, reduction, "reduction", "mean", "mean|sum", "of the items' losses"),
    CLVI_OPTION_END
};

/* Probabilities, weights and labels of a batch, all [N,C]. */
typedef struct items {
    clv_node w, y;
    int64_t  N, C;
} items;

static items weigh(clv_graph *g, const clv_node *in, const dice_params *p, double alpha, clv_node *probs)
{
    const clvi_self_adjust_attr attr = { .alpha = alpha, .logits = p->with_logits };
    items it = { .N = clvi_node_length(g, in[0], 0), .C = clvi_node_length(g, in[0], 1) };
    clv_node out[2] = { CLV_NONE, CLV_NONE };
    it.w = clvi_op(g, "self_adjust", &attr, in, 1, out, 2);
    it.y = clv_one_hot(g, in[1], it.C);
    *probs = out[1];
    return it;
}

static void keep_only(clv_graph *g, items *it, clv_node mask)
{
    if (clvi_node_none(mask)) return;
    it->w = clv_mask_rows(g, it->w, mask);
    it->y = clv_mask_rows(g, it->y, mask);
}

static clv_node column(clv_graph *g, clv_node x)
{
    return clv_reshape(g, x, 1, (int64_t[]) { clvi_node_length(g, x, 0) });
}

/* What of the batch is left by the search for hard negatives. */
static clv_node mine(clv_graph *g, const clv_node *in, const dice_params *p, clv_node probs, clv_node *number)
{
    if (p->ohem_ratio == 0 || p->ohem_rule == OHEM_NONE) return in[2];
    const clvi_hard_negatives_attr attr = { .ratio = p->ohem_ratio, .official = p->ohem_rule == OHEM_OFFICIAL };
    const clv_node args[] = { probs, in[1], in[2] };
    clv_node out[2] = { CLV_NONE, CLV_NONE };
    const clv_node keep = clvi_op(g, "hard_negatives", &attr, args, 3, out, 2);
    *number = out[1];
    return keep;
}

static clv_node square_if(clv_graph *g, clv_node x, bool square)
{
    return square ? clv_mul(g, x, x) : x;
}

static clv_node binary_set(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const dice_params *p = params;
    clv_node probs;
    items it = weigh(g, in, p, p->alpha, &probs);
    out[0] = column(g, probs);
    const clv_node keep = mine(g, in, p, out[0], &out[2]);
    out[1] = clvi_node_none(keep) ? clv_iota(g, CLV_U8, it.N, 1, 0) : keep;
    keep_only(g, &it, keep);
    const clv_node top = clv_scale(g, clv_reduce(g, clv_mul(g, it.w, it.y), -1, false), 2, 0);
    const clv_node bottom = clv_add(g, clv_reduce(g, square_if(g, it.w, p->square), -1, false),
                                    clv_reduce(g, it.y, -1, false));   /* y is 0 or 1: its own square */
    return clv_div(g, clv_sub(g, bottom, top), clv_scale(g, bottom, 1, p->smooth));
}

static clv_node overlap(clv_graph *g, const items *it, int kind, const dice_params *p)
{
    const clvi_overlap_attr attr = { kind, p->smooth, p->tversky_alpha, p->tversky_beta };
    return clv_reduce(g, clvi_op2(g, "overlap", &attr, it->w, it->y), 1, false);
}

/* R_nc = (D_c - 2 w_nc y_nc) / (D_c + g) summed over c, D_c = sum_n w_nc + sum_n y_nc. */
static clv_node over_batch_sums(clv_graph *g, const items *it, double smooth)
{
    const clv_node D = clv_add(g, clv_reduce(g, it->w, 0, false), clv_reduce(g, it->y, 0, false));
    const clv_node divisor = clv_scale(g, D, 1, smooth), one = clvi_fill(g, 1, &it->C, 1);
    const clv_node inverse = clv_reshape(g, clv_div(g, one, divisor), 2, (int64_t[]) { it->C, 1 });
    const clv_node all = clv_reshape(g, clv_reduce(g, clv_div(g, D, divisor), -1, false), 1, (int64_t[]) { 1 });
    const clv_node own = clv_matmul(g, clv_mul(g, it->w, it->y), false, inverse, false);
    return column(g, clv_add_row(g, clv_scale(g, own, -2, 0), all));
}

static clv_node multiclass_official(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const dice_params *p = params;
    items it = weigh(g, in, p, p->alpha, &out[0]);
    keep_only(g, &it, in[2]);
    out[1] = p->square ? overlap(g, &it, CLVI_OVERLAP_SQUARE, p) : over_batch_sums(g, &it, p->smooth);
    return clv_reduce(g, out[1], -1, p->reduction == REDUCE_MEAN);
}

/* How many items the mask leaves. */
static clv_node item_count(clv_graph *g, int64_t N, clv_node mask)
{
    const clv_node ones = clvi_fill(g, 2, (int64_t[]) { N, 1 }, 1);
    return clv_reduce(g, clvi_node_none(mask) ? ones : clv_mask_rows(g, ones, mask), -1, false);
}

static clv_node per_example(clv_graph *g, const clv_node *in, const dice_params *p, int kind, clv_node *out)
{
    clv_node probs;
    items it = weigh(g, in, p, kind == CLVI_OVERLAP_TVERSKY ? 0 : p->alpha, &probs);
    out[0] = column(g, probs);
    keep_only(g, &it, in[2]);
    out[1] = overlap(g, &it, kind, p);
    const clv_node sum = clv_reduce(g, out[1], -1, false);
    return p->reduction == REDUCE_MEAN ? clv_div(g, sum, item_count(g, it.N, in[2])) : sum;
}

static clv_node dsc_per_example(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    return per_example(g, in, params, CLVI_OVERLAP_LINEAR, out);
}

static clv_node dl_per_example(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    return per_example(g, in, params, CLVI_OVERLAP_SQUARE, out);
}

static clv_node tversky_per_example(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    return per_example(g, in, params, CLVI_OVERLAP_TVERSKY, out);
}

#define ONE_LOGIT                                                                                                      \
    { { "logits", "N,1", CLVI_PORT_GRAD, "one logit (or probability) of each item" },                                  \
      { "targets", "N", CLVI_PORT_INDEX, "an item is positive when its label is above 0" },                            \
      { "mask", "N", CLVI_PORT_MASK | CLVI_PORT_OPTIONAL, "1: the item counts; 0: left out" } }
#define ITEM_OUTPUTS                                                                                                   \
    { { "probs", "N", CLVI_PORT_FLOAT, "probability of each item" },                                                   \
      { "loss_vec", "N", CLVI_PORT_FLOAT, "loss of each item; 0 where masked" } }

static const clvi_loss_variant dice_variants[] = {
    { "binary_set", .in = ONE_LOGIT,
      .out = { { "probs", "N", CLVI_PORT_FLOAT, "probability of each item" },
               { "ohem_keep", "N", CLVI_PORT_MASK, "1: the item took part" },
               { "ohem_keep_num", "", CLVI_PORT_INDEX, "how many negatives were to be kept; 0 without the search" } },
      .build = binary_set },
    { "multiclass_official",
      .in  = { { "logits", "N,C", CLVI_PORT_GRAD, "logits (or probabilities) of each item" },
               { "targets", "N", CLVI_PORT_INDEX, "class of each item; negative: none of them" },
               { "mask", "N", CLVI_PORT_MASK | CLVI_PORT_OPTIONAL, "1: the item counts; 0: left out" } },
      .out = { { "probs", "N,C", CLVI_PORT_FLOAT, "probabilities of each item" },
               { "loss_vec", "N", CLVI_PORT_FLOAT, "loss of each item" } },
      .build = multiclass_official },
    { "dsc_per_example", .in = ONE_LOGIT, .out = ITEM_OUTPUTS, .build = dsc_per_example },
    { "dl_per_example", .in = ONE_LOGIT, .out = ITEM_OUTPUTS, .build = dl_per_example },
    { "tversky_per_example", .in = ONE_LOGIT, .out = ITEM_OUTPUTS, .build = tversky_per_example },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_dice = {
    .name = "dice",
    .summary = "soft dice with a self-adjusting weight, for rare labels",
    .source = "Li et al. 2020, arXiv:1911.02855, section 3",
    .formula =
        "With p the probability (of a softmax over C logits, or the logistic function of one), y the label and g = "
        "smooth, the\n"
        "self-adjusting weight is w = (1-p)^alpha p (alpha = 0: w = p). It is evaluated from logits in log space, "
        "so that a\n"
        "saturated p keeps its gradient. mask multiplies w and y.\n"
        "* binary_set: L = 1 - (2 sum w y + g) / (D + g), D = sum w + sum y, or sum w^2 + sum y^2 if square. Sums "
        "are over all\n"
        "  items.\n"
        "* multiclass_official: R_nc = 1 - (2 w_nc y_nc + g) / (D + g), y one-hot, D = w_nc^2 + y_nc^2 if square, "
        "else\n"
        "  D = sum_n w_nc + sum_n y_nc: a sum over the batch under a numerator of one item. loss_vec_n = sum_c "
        "R_nc;\n"
        "  L is its mean (or sum) over all items, masked ones included.\n"
        "* dsc_per_example: R = 1 - (2 w y + g) / (w + y + g).\n"
        "* dl_per_example: R = 1 - (2 w y + g) / (w^2 + y^2 + g).\n"
        "* tversky_per_example: R = 1 - (p y + g) / (p y + tversky-alpha p (1-y) + tversky-beta (1-p) y + g).\n"
        "The per-example variants are the sum of R over items that are not masked, divided by their number if "
        "reduction is\n"
        "mean.\n"
        "Hard negatives (binary_set with ohem-ratio > 0): with n+ the number of unmasked positives, keep_num = "
        "min(floor(n+\n"
        "ohem-ratio), negatives). exact keeps the unmasked positives and the keep_num unmasked negatives of "
        "largest p (ties:\n"
        "the earlier item). official reproduces the released code: with v the ascending scores of all negatives, "
        "masked ones\n"
        "as 0, the threshold is v[len - keep_num + 1] (v[1] for keep_num 0, v[0] for 1), and what is strictly "
        "above it is kept,\n"
        "usually keep_num - 2 negatives. Items that are not kept are treated as masked.",
    .published =
        "smooth 0.0001, alpha 0, no squares (defaults of the published code)",
    .params_size = sizeof(dice_params), .options = dice_options, .variants = dice_variants,
};
