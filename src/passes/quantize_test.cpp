#include "passes/quantize.h"

#include <gtest/gtest.h>

#include "arch/architecture.h"
#include "base/error.h"
#include "ops/op_def.h"
#include "support/tiny_config.h"

namespace plimsoll {
namespace {

ForwardGraph small_llama() {
  ModelConfig config = tiny_llama();
  config.layers = 1;
  ForwardRequest request;
  request.batch = 1;
  request.length = 8;
  request.compute = DType::bf16;
  return build_forward(config, request);
}

DType dtype_of(const Graph& graph, std::string_view name) { return graph.value(graph.find(name)).dtype; }

TEST(Quantize, LinearsOnlyAndNotTheHead) {
  Graph graph = small_llama().graph;
  quantize(graph, {.linears = DType::nf4, .stored = {}});
  verify(graph);
  EXPECT_EQ(dtype_of(graph, "model.layers.0.self_attn.q_proj.weight"), DType::nf4);
  EXPECT_EQ(dtype_of(graph, "model.layers.0.mlp.down_proj.weight"), DType::nf4);
  EXPECT_EQ(dtype_of(graph, "model.embed_tokens.weight"), DType::bf16);
  EXPECT_EQ(dtype_of(graph, "model.norm.weight"), DType::bf16);
}

TEST(Quantize, StoredTypesOfTablesToo) {
  Graph graph = small_llama().graph;
  quantize(graph, {.linears = {},
                   .stored = {{"model.embed_tokens.weight", DType::q8_0},
                              {"model.layers.0.mlp.down_proj.weight", DType::q4_0},
                              {"model.layers.0.mlp.up_proj.weight", DType::q4_k}}});  // rows of 64: no blocks of 256
  verify(graph);
  EXPECT_EQ(dtype_of(graph, "model.embed_tokens.weight"), DType::q8_0);
  EXPECT_EQ(dtype_of(graph, "model.layers.0.mlp.down_proj.weight"), DType::q4_0);
  EXPECT_EQ(dtype_of(graph, "model.layers.0.mlp.up_proj.weight"), DType::bf16);
}

TEST(Quantize, BlocksThatDoNotFitAreRefused) {
  Graph graph = small_llama().graph;
  try {
    quantize(graph, {.linears = DType::q4_k, .stored = {}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::caller);
    EXPECT_NE(std::string(error.what()).find("q4_k"), std::string::npos);
  }
}

}  // namespace
}  // namespace plimsoll
