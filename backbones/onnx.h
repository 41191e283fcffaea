/* onnx.h: a network in evaluation mode as an ONNX model. https://github.com/onnx/onnx, onnx.proto and Operators.md. */
#ifndef CLVI_BACKBONES_ONNX_H
#define CLVI_BACKBONES_ONNX_H

#include <cleave/graph.h>

/* Writes the nodes that `out` needs and the values of the parameters they use, whole or not at all: opset 17, one input
 * "images" [batch,C,H,W], one output called `name`, [batch,D]; the batch may have any size. The graph must not be
 * finished (finishing fuses operations), not be a training graph, and be built for one image; its parameters must be
 * laid out. Errors: CLV_ERR_UNSUPPORTED naming the operation that has no counterpart, CLV_ERR_IO, CLV_ERR_NOMEM. */
clv_status clvi_onnx_write(const clv_graph *g, clv_node images, clv_node out, const char *name,
                           const char *path) CLV_NODISCARD;

#endif
