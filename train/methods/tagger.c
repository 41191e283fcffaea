/* tagger.c: every word of a sentence gets a tag, by a convolution over its neighbours: the window approach of Collobert et
 * al. 2011 (JMLR 12), with hashed features instead of a vocabulary. What is a picture to the other methods is a word in
 * its window here, so that loss, optimiser, parts and ranks are theirs. */
#include "train/step/method.h"
#include "train/step/network.h"
#include "train/trained/tagging.h"

#define LOGITS { { "logits", "logits" }, { "targets", "labels" } }

typedef struct tagger {
    clvi_method base;
    clv_node    scores;       /* [B,C] */
} tagger;

static const clvi_takes takes[] = {
    { "cross_entropy", NULL, LOGITS },
    { "focal", "softmax", LOGITS },
    { "dice", "multiclass_official", LOGITS },
    { .loss = NULL }
};

static clv_status build(clvi_method *base)
{
    tagger *m = (tagger *)base;
    const int64_t shape[2] = { base->division.part, (2 * base->settings->context + 1) * CLVI_WORD_FEATURES };
    base->images[0] = clv_input(base->network, "words", CLV_I64, 2, shape);
    base->dim = base->settings->moco_dim;
    const clv_node x = clvi_method_look_at(base, 0, clvi_tagger_nodes(base->network, base->settings, base->images[0]));
    m->scores = clvi_classifier_node(base->graph, clvi_method_rows(base, x), base->setup.classes, false, false, NULL);
    clv_graph_output(base->graph, m->scores);
    clvi_method_give(base, "logits", m->scores);
    (void)clvi_method_give_labels(base, "labels", 1);
    return CLV_OK;
}

static clv_status look(clvi_method *m, const clv_batch *batch, clvi_metrics *out)
{
    return clvi_method_accuracy(m, ((tagger *)m)->scores, batch, out);
}

static const char *const uses[] = { "val-freq", "context", "word-dim", "word-rows", "word-drop", NULL };

extern const clvi_method_class clvi_method_tagger;
const clvi_method_class clvi_method_tagger = {
    .info = { "tagger", "tags words, by a convolution over their neighbours",
              "https://www.jmlr.org/papers/v12/collobert11a.html", 0 },
    .size = sizeof(tagger), .views = 1, .labels = true, .classifies = true, .text = true, .takes = takes,
    .uses = uses, .build = build, .queues = true, .look = look,
};
