/* precision.c: which precision there is where, and which values of a float32 graph are bfloat16 (mixed precision:
 * Micikevicius et al. 2018, arXiv:1710.03740; Kalamkar et al. 2019, arXiv:1905.12322).
 *
 * Building and differentiating know float32 only. When a node's kernel is chosen, the column `half` of its operation
 * says what the node reads and writes in bfloat16; whatever then meets in another type is converted on the way, by the
 * same `reorder` that changes layouts. Parameters, their gradients, statistics and losses stay float32.
 *
 * In TF32 all values stay float32; calls say so to the kernels that multiply (tf32 in clvi_op_call). */
#include "tensor/graph.h"
#include <stdlib.h>

clv_status clv_precision_resolve(clv_precision wanted, clv_precision *out)
{
    static const char *const has[] = { "neither AVX2 nor AVX-512", "AVX2 at most", "AVX-512 without it" };
    CLV_CHECK(out, CLV_ERR_INVALID, "clv_precision_resolve: out is NULL");
    CLV_CHECK((unsigned)wanted <= CLV_PRECISION_AUTO, CLV_ERR_INVALID,
              "clv_precision_resolve: there is no precision %d", (int)wanted);
    CLV_CHECK(wanted != CLV_PRECISION_TF32, CLV_ERR_UNSUPPORTED,
              "precision tf32 needs an NVIDIA GPU (device cuda), the processor has no TF32; fp32 runs everywhere, auto "
              "takes what there is");
    const clvi_isa isa = clvi_cpu_isa();
    *out = wanted;
    if (wanted == CLV_PRECISION_AUTO) *out = isa == CLVI_ISA_AVX512_BF16 ? CLV_PRECISION_BF16 : CLV_PRECISION_FULL;
    if (*out != CLV_PRECISION_BF16 || isa == CLVI_ISA_AVX512_BF16) return CLV_OK;
    const char *forced = getenv("CLEAVE_CPU_ISA");
    return clvi_fail(CLV_ERR_UNSUPPORTED, "precision bf16 needs a processor that multiplies bfloat16 (AVX512-BF16 or "
                     "AMX); this one has %s%s%s; fp32 runs everywhere, auto takes what there is", has[isa],
                     forced ? ", as CLEAVE_CPU_ISA says: " : "", forced ? forced : "");
}

clv_status clvi_precision_settle(const clv_context *ctx, clv_precision wanted, clv_precision *out)
{
    if (!ctx->device || (unsigned)wanted > CLV_PRECISION_AUTO) return clv_precision_resolve(wanted, out);
    *out = wanted == CLV_PRECISION_AUTO ? CLV_PRECISION_BF16 : wanted;
    return CLV_OK;
}

bool clvi_graph_halved(const clv_graph *g, int32_t value)
{
    return value >= 0 && g->values[value].desc.dtype == CLV_BF16 &&
           g->values[clvi_graph_root(g, value)].kind == CLVI_VALUE_COMPUTED;
}

/* Another type means other memory: an opaque layout tells its library the type, too. */
static void retype(clvi_desc *desc, clv_dtype type)
{
    if (desc->dtype == type) return;
    desc->dtype = type;
    if (desc->layout != CLVI_LAYOUT_ANY) clvi_desc_make_dense(desc);
}

bool clvi_graph_halves(const clv_graph *g, const clvi_node *node)
{
    const clvi_half_rule *rule = &node->cls->half;
    if (g->precision != CLV_PRECISION_BF16 || !(rule->in | rule->out)) return false;
    return rule->like == 0 || clvi_graph_halved(g, node->in[rule->like - 1]);
}

void clvi_graph_set_types(const clv_graph *g, const clvi_node *node, bool half, clvi_op_call *call)
{
    const clvi_half_rule *rule = &node->cls->half;
    for (int i = 0; i < node->n_in; i++) {
        if (half && node->in[i] >= 0 && rule->in >> i & 1) retype(&call->in[i], CLV_BF16);
        else if (clvi_graph_halved(g, node->in[i])) retype(&call->in[i], g->dtype);
    }
    for (int i = 0; i < node->n_out; i++)
        if (half && rule->out >> i & 1) retype(&call->out[i], CLV_BF16);
}
