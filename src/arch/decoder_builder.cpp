#include "arch/decoder_builder.h"

#include <cmath>

#include "arch/rope_frequencies.h"
#include "base/error.h"
#include "ops/op_def.h"

namespace plimsoll {
namespace {

Activation activation_of(const ModelConfig& config) {
  if (config.activation == "silu" || config.activation == "swish") return Activation::silu;
  if (config.activation == "gelu_pytorch_tanh" || config.activation == "gelu_new") return Activation::gelu_tanh;
  if (config.activation == "gelu") return Activation::gelu_erf;
  throw caller_error("hidden_act", "'" + config.activation + "' is not an activation we know",
                     "known: silu, gelu, gelu_pytorch_tanh, gelu_new");
}

}  // namespace

DecoderBuilder::DecoderBuilder(const ModelConfig& config, const ForwardRequest& request)
    : config_(config), request_(request) {
  const int64_t rows = request.batch * request.length;
  ids_ = input(input_names::kIds, {rows}, DType::i32);
  const ValueId positions = input(input_names::kPositions, {rows}, DType::i32);
  if (request.kind != ForwardKind::generate) {
    segments_ = input(input_names::kSegments, {rows}, DType::i32);
    segment_start_ = input(input_names::kSegmentStart, {rows}, DType::i32);
  }
  const auto rotary_dim =
      static_cast<int64_t>(static_cast<double>(config.head_dim) * config.rope.partial_rotary_factor) / 2 * 2;
  const int64_t longest = request.longest_sequence > 0 ? request.longest_sequence : request.length;
  RopeFrequencies frequencies = rope_frequencies(config.rope, rotary_dim, config.context_length, longest);
  const ValueId inv_freq = add_value(
      result_.graph,
      {input_names::kInvFreq, DType::f32, {static_cast<int64_t>(frequencies.inv_freq.size())}, ValueKind::constant});
  const auto table = add_op(result_.graph, {OpKind::rope_table,
                                            {positions, inv_freq},
                                            RopeTableAttrs{static_cast<float>(frequencies.attention_scaling)},
                                            "rope_table"});
  cos_ = table[0];
  sin_ = table[1];
  result_.inv_freq = std::move(frequencies.inv_freq);
}

ValueId DecoderBuilder::input(const char* name, Shape shape, DType dtype) {
  return add_value(result_.graph, {name, dtype, shape, ValueKind::input});
}

ValueId DecoderBuilder::emit(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs, const std::string& name) {
  return add_op(result_.graph, {kind, std::move(operands), std::move(attrs), name, OpRole::forward, layer_})[0];
}

ValueId DecoderBuilder::parameter(const std::string& name, Shape shape, ParameterPart part) {
  result_.parameters.push_back({name, shape, part});
  return add_value(result_.graph, {name, request_.compute, shape, ValueKind::parameter});
}

ValueId DecoderBuilder::embed(const std::string& name) {
  embedding_ = parameter(name + ".weight", {config_.vocab_size, config_.hidden_size}, ParameterPart::embedding);
  return emit(OpKind::embedding, {ids_, embedding_}, EmbeddingAttrs{}, name);
}

ValueId DecoderBuilder::rms_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part) {
  const ValueId weight = parameter(path + ".weight", {width}, part);
  return emit(OpKind::rms_norm, {x, weight}, RmsNormAttrs{static_cast<float>(config_.norm_eps), 0.0F}, path);
}

ValueId DecoderBuilder::linear(ValueId x, const std::string& path, int64_t outputs, bool bias, ParameterPart part) {
  const int64_t inputs = result_.graph.value(x).shape[1];
  LinearAttrs attrs;
  attrs.has_bias = bias;
  std::vector<ValueId> operands = {x, parameter(path + ".weight", {outputs, inputs}, part)};
  if (bias) operands.push_back(parameter(path + ".bias", {outputs}, part));
  return emit(OpKind::linear, std::move(operands), attrs, path);
}

ValueId DecoderBuilder::rope(ValueId x, int64_t heads) {
  RopeAttrs attrs{heads, config_.head_dim, 2 * result_.graph.value(cos_).shape[1], RopeStyle::half, false};
  return emit(OpKind::rope, {x, cos_, sin_}, attrs, result_.graph.value(x).name + ".rope");
}

ValueId DecoderBuilder::attention(ValueId q, ValueId k, ValueId v, int64_t window) {
  AttentionAttrs attrs{request_.batch,   request_.length,
                       request_.length,  config_.heads,
                       config_.kv_heads, config_.head_dim,
                       window,           static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim)))};
  const std::string path = "model.layers." + std::to_string(layer_) + ".self_attn";
  if (request_.kind != ForwardKind::generate)
    return emit(OpKind::attention, {q, k, v, segments_, segment_start_}, attrs, path);
  attrs.kv_length = request_.cache_capacity;
  const Shape cache{request_.cache_capacity, config_.kv_heads * config_.head_dim};
  const ValueId k_cache = add_value(result_.graph, {path + ".k_cache", request_.compute, cache, ValueKind::cache});
  const ValueId v_cache = add_value(result_.graph, {path + ".v_cache", request_.compute, cache, ValueKind::cache});
  return emit(OpKind::cached_attention, {q, k, v, k_cache, v_cache}, attrs, path);
}

ValueId DecoderBuilder::gated_activation(ValueId gate, ValueId up, const std::string& path) {
  return emit(OpKind::gated_activation, {gate, up}, GatedActivationAttrs{activation_of(config_)}, path);
}

ValueId DecoderBuilder::add(ValueId a, ValueId b, const std::string& path) {
  return emit(OpKind::add, {a, b}, {}, path);
}

ForwardGraph DecoderBuilder::finish(ValueId hidden) {
  layer_ = -1;
  const ValueId head = config_.tied_embeddings ? embedding_
                                               : parameter("lm_head.weight", {config_.vocab_size, config_.hidden_size},
                                                           ParameterPart::head);
  Graph& graph = result_.graph;
  ValueId output = kNoValue;
  if (request_.kind == ForwardKind::loss) {
    const ValueId labels = input(input_names::kLabels, {request_.batch * request_.length}, DType::i32);
    const ValueId scale = input(input_names::kLossScale, {1}, DType::f32);
    output = emit(OpKind::linear_cross_entropy, {hidden, head, labels, scale},
                  CrossEntropyAttrs{request_.ce_chunk_rows}, "loss");
  } else {
    if (request_.kind == ForwardKind::generate) hidden = emit(OpKind::gather_rows, {hidden}, {}, "last_row");
    LinearAttrs attrs;
    attrs.result_dtype = DType::f32;
    output = emit(OpKind::linear, {hidden, head}, attrs, "logits");
  }
  graph.outputs = {output};
  return std::move(result_);
}

}  // namespace plimsoll
