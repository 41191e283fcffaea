/* tagging.h: the network that tags words, and a tagger over parameters that somebody else owns: the trainer looks at its
 * own network through one. */
#ifndef CLVI_TRAIN_TAGGING_H
#define CLVI_TRAIN_TAGGING_H

#include <cleave/graph.h>
#include "data/words.h"
#include "train/config/config.h"

/* Words in their windows, as the settings have it (seed, batch size and ranks are the caller's). */
clvi_words_desc clvi_words_desc_of(const clvi_settings *settings);

/* From numbers of words, int64 [N,width], to embeddings [N,moco-dim]: a vector for each word, the sum of its rows of the
 * table; a convolution over the window; relu. */
clv_node clvi_tagger_nodes(clv_graph *g, const clvi_settings *settings, clv_node words);

/* `params` are borrowed and may go on changing between calls, the tags' names too. */
clv_status clvi_tagger_over(const clv_config *config, clv_params *params, const char *const *tag_name, int64_t tags,
                            int64_t batch_size, clv_tagger **out) CLV_NODISCARD;
/* Of a corpus whose words are numbered already: predicted [words], and what that comes to (may be NULL). */
clv_status clvi_tagger_judge(clv_tagger *tagger, const clv_corpus *corpus, const clvi_words *words, int64_t *predicted,
                             clv_span_result *out) CLV_NODISCARD;

#endif
