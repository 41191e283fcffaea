/* backbone.h: encoders and heads by name, as nodes of a graph. */
#ifndef CLEAVE_BACKBONE_H
#define CLEAVE_BACKBONE_H

#include <cleave/graph.h>
#include <cleave/option.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The registry of backbones ("resnet18", ...) and of heads ("linear", "mlp"). info_at returns NULL past the end;
 * option_at NULL past the options; static storage. Thread-safe. */
CLV_API const clv_class_info *clv_backbone_info_at(int index);
CLV_API const clv_class_info *clv_backbone_find(const char *name);
CLV_API const clv_option_info *clv_backbone_option_at(const char *name, int index);
CLV_API const clv_class_info *clv_head_info_at(int index);
CLV_API const clv_class_info *clv_head_find(const char *name);
CLV_API const clv_option_info *clv_head_option_at(const char *name, int index);

/* Appends the backbone to the graph: pooled features [N, F] of images [N, C, H, W]. Parameters are named as
 * torchvision names them, behind `prefix` ("" or "encoder."); running statistics are buffers. `options` are those of
 * clv_backbone_option_at, borrowed for the call. Errors: CLV_ERR_INVALID for an unknown name or option (with the
 * nearest known one); errors of shapes stay in the graph until clv_graph_finish. */
CLV_API clv_status clv_backbone_node(clv_graph *g, const char *name, const clv_option *options, int option_count,
                                     const char *prefix, clv_node images, clv_node *features) CLV_NODISCARD;

/* Appends a projection head: [N, dim] from features [N, F]. Parameters are named "<prefix>fc.weight" (linear) or
 * "<prefix>fc.0.weight", "<prefix>fc.2.weight" (mlp), as MoCo names them. Errors as above. */
CLV_API clv_status clv_head_node(clv_graph *g, const char *name, const clv_option *options, int option_count,
                                 const char *prefix, clv_node features, clv_node *out) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
