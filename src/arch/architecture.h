// From a ModelConfig to a forward graph. One file per family builds its graph out of shared blocks (decoder_builder.h);
// kArchitectures in architecture.cpp has a row for each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/model_config.h"
#include "ir/graph.h"

namespace plimsoll {

// `buffer`: stored with the weights, but f32, never trained, and not counted as a parameter.
enum class ParameterPart : uint8_t { embedding, attention, mlp, norm, head, buffer };

struct ParameterSpec {
  std::string name;  // as in the Hugging Face checkpoint
  Shape shape;
  ParameterPart part;
  bool in_out = false;  // a linear's weight that is stored (in, out), as transformers' Conv1D has it
  int64_t active = -1;  // of its elements, how many one token uses; -1: all
};

// What the forward graph is for.
enum class ForwardKind : uint8_t {
  loss,      // (batch, length) tokens with labels → output "loss"
  logits,    // (batch, length) tokens → output "logits" (batch · length, V) f32
  generate,  // `length` tokens of one sequence, appended to caches of `cache_capacity` → output "logits" (1, V) f32
};

struct ForwardRequest {
  ForwardKind kind = ForwardKind::loss;
  int64_t batch = 1;
  int64_t length = 1;
  int64_t cache_capacity = 0;    // generate only
  int64_t ce_chunk_rows = 256;   // loss only
  double balance_weight = 0;     // loss only: of the loss that keeps experts in even use; 0: none
  DType compute = DType::f32;    // of parameters and activations: f32 or bf16
  std::optional<DType> cache;    // generate only: of cached keys and values, where it is another
  int64_t longest_sequence = 0;  // for rotary extensions that depend on it; 0: length
};

struct ForwardGraph {
  Graph graph;
  std::vector<ParameterSpec> parameters;  // in the model's own order; the graph's parameter values, by name
  std::vector<float> inv_freq;            // contents of the constant "rope.inv_freq"
};

// Throws a caller Error for an architecture that is not in the table.
ForwardGraph build_forward(const ModelConfig& config, const ForwardRequest& request);

// Every parameter of the model, tied ones once. Derived from the graph: it cannot disagree with what runs.
std::vector<ParameterSpec> list_parameters(const ModelConfig& config);

std::vector<std::string_view> known_architectures();

// Names of the inputs that the host fills: all (batch · length) i32, loss_scale (1) f32.
namespace input_names {
inline constexpr const char* kIds = "input_ids";
inline constexpr const char* kPositions = "position_ids";
inline constexpr const char* kSegments = "segment_ids";
inline constexpr const char* kSegmentStart = "segment_start";
inline constexpr const char* kLabels = "labels";
inline constexpr const char* kLossScale = "loss_scale";
inline constexpr const char* kInvFreq = "rope.inv_freq";
}  // namespace input_names

}  // namespace plimsoll
