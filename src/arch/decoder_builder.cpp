#include "arch/decoder_builder.h"

#include <algorithm>
#include <cmath>

#include "arch/rope_frequencies.h"
#include "base/error.h"
#include "ops/op_def.h"

namespace plimsoll {
namespace {

Activation activation_of(const ModelConfig& config) {
  if (config.activation == "silu" || config.activation == "swish") return Activation::silu;
  if (config.activation == "gelu_pytorch_tanh" || config.activation == "gelu_new" || config.activation == "gelu_fast" ||
      config.activation == "gelu_accurate" || config.activation == "gelu_python_tanh")
    return Activation::gelu_tanh;
  if (config.activation == "gelu" || config.activation == "gelu_python") return Activation::gelu_erf;
  if (config.activation == "relu") return Activation::relu;
  if (config.activation == "quick_gelu") return Activation::quick_gelu;
  if (config.activation == "relu2") return Activation::relu_squared;
  throw caller_error("hidden_act", "'" + config.activation + "' is not an activation we know",
                     "known: silu, gelu, gelu_pytorch_tanh, gelu_new, quick_gelu, relu, relu2");
}

// A table of positions ends; a rotation or a bias does not.
void check_length(const ModelConfig& config, const ForwardRequest& request) {
  const int64_t longest = std::max(request.length, request.longest_sequence);
  if (config.positions != PositionKind::learned || request.kind == ForwardKind::generate ||
      longest <= config.context_length)
    return;
  throw caller_error(
      "a sequence of " + std::to_string(longest) + " tokens",
      "is longer than the " + std::to_string(config.context_length) + " positions this model has learned",
      "use shorter sequences (--seq-len)");
}

double attention_scale(const ModelConfig& config) {
  if (config.attention_multiplier > 0) return config.attention_multiplier;
  if (config.query_pre_attn_scalar > 0) return 1.0 / std::sqrt(config.query_pre_attn_scalar);
  double scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  // DeepSeek: what YaRN would put on q and k goes to the scores, as not all of q and k rotates.
  if (config.latent.kv_rank > 0 && config.rope.kind != RopeKind::standard && config.rope.mscale_all_dim &&
      config.rope.factor > 1) {
    const double magnitude = 0.1 * *config.rope.mscale_all_dim * std::log(config.rope.factor) + 1.0;
    scale *= magnitude * magnitude;
  }
  return scale;
}

}  // namespace

DecoderBuilder::DecoderBuilder(const ModelConfig& config, const ForwardRequest& request)
    : config_(config), request_(request) {
  const int64_t rows = request.batch * request.length;
  ids_ = input(input_names::kIds, {rows}, DType::i32);
  check_length(config, request);
  positions_ = input(input_names::kPositions, {rows}, DType::i32);
  if (request.kind != ForwardKind::generate) {
    segments_ = input(input_names::kSegments, {rows}, DType::i32);
    segment_start_ = input(input_names::kSegmentStart, {rows}, DType::i32);
  }
  if (config.positions == PositionKind::rotary) add_rope_table();
}

void DecoderBuilder::add_rope_table() {
  const ModelConfig& config = config_;
  const ForwardRequest& request = request_;
  const int64_t rotary_dim = config.rotary_dim();
  const int64_t longest = request.longest_sequence > 0 ? request.longest_sequence : request.length;
  RopeFrequencies frequencies = rope_frequencies(config.rope, rotary_dim, config.context_length, longest);
  RopeTableAttrs attrs{static_cast<float>(frequencies.attention_scaling), 0, rotary_dim / 2};
  RopeTableAttrs sliding_attrs;
  if (config.sliding_rope) {  // a second table, from the frequencies behind those of the first
    const RopeFrequencies sliding = rope_frequencies(*config.sliding_rope, rotary_dim, config.context_length, longest);
    sliding_attrs = {static_cast<float>(sliding.attention_scaling), attrs.count, attrs.count};
    frequencies.inv_freq.insert(frequencies.inv_freq.end(), sliding.inv_freq.begin(), sliding.inv_freq.end());
  }
  const ValueId inv_freq = add_value(
      result_.graph,
      {input_names::kInvFreq, DType::f32, {static_cast<int64_t>(frequencies.inv_freq.size())}, ValueKind::constant});
  const auto table = add_op(result_.graph, {OpKind::rope_table, {positions_, inv_freq}, attrs, "rope_table"});
  cos_ = table[0];
  sin_ = table[1];
  if (config.sliding_rope) {
    const auto sliding =
        add_op(result_.graph, {OpKind::rope_table, {positions_, inv_freq}, sliding_attrs, "sliding_rope_table"});
    sliding_cos_ = sliding[0];
    sliding_sin_ = sliding[1];
  }
  result_.inv_freq = std::move(frequencies.inv_freq);
}

ValueId DecoderBuilder::input(const char* name, Shape shape, DType dtype) {
  return add_value(result_.graph, {name, dtype, shape, ValueKind::input});
}

std::vector<ValueId> DecoderBuilder::emit_all(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs,
                                              const std::string& name) {
  return add_op(result_.graph, {kind, std::move(operands), std::move(attrs), name, OpRole::forward, layer_});
}

ValueId DecoderBuilder::emit(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs, const std::string& name) {
  return emit_all(kind, std::move(operands), std::move(attrs), name)[0];
}

ValueId DecoderBuilder::parameter(const std::string& name, Shape shape, ParameterPart part) {
  result_.parameters.push_back({name, shape, part});
  const bool buffer = part == ParameterPart::buffer;
  Value value{name, buffer ? DType::f32 : request_.compute, shape, ValueKind::parameter};
  value.trainable = !buffer;
  return add_value(result_.graph, std::move(value));
}

ValueId DecoderBuilder::embed(const std::string& name, double scale) {
  const int64_t width = config_.embedding_width > 0 ? config_.embedding_width : config_.hidden_size;
  embedding_ = parameter(name + ".weight", {config_.vocab_size, width}, ParameterPart::embedding);
  return emit(OpKind::embedding, {ids_, embedding_}, EmbeddingAttrs{static_cast<float>(scale)}, name);
}

ValueId DecoderBuilder::embed_positions(const std::string& name, int64_t first_row) {
  const ValueId table =
      parameter(name + ".weight", {config_.context_length + first_row, config_.hidden_size}, ParameterPart::embedding);
  return emit(OpKind::embedding, {positions_, table}, EmbeddingAttrs{1.0F, first_row}, name);
}

ValueId DecoderBuilder::layer_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part) {
  std::vector<ValueId> operands = {x, kNoValue, kNoValue};
  if (config_.norm_weights) {
    operands[1] = parameter(path + ".weight", {width}, part);
    operands[2] = parameter(path + ".bias", {width}, part);
  }
  return emit(OpKind::layer_norm, std::move(operands), LayerNormAttrs{static_cast<float>(config_.norm_eps)}, path);
}

ValueId DecoderBuilder::conv1d(ValueId x, const std::string& path, int64_t outputs, ParameterPart part) {
  LinearAttrs attrs;
  attrs.transpose_weight = false;
  attrs.has_bias = true;
  const ValueId weight = parameter(path + ".weight", {result_.graph.value(x).shape[1], outputs}, part);
  result_.parameters.back().in_out = true;
  return emit(OpKind::linear, {x, weight, parameter(path + ".bias", {outputs}, part)}, attrs, path);
}

ValueId DecoderBuilder::activation(ValueId x, const std::string& path) {
  return emit(OpKind::activation, {x}, ActivationAttrs{activation_of(config_)}, path);
}

ValueId DecoderBuilder::rms_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part,
                                 std::optional<double> eps) {
  const ValueId weight = parameter(path + ".weight", {width}, part);
  return emit(OpKind::rms_norm, {x, weight},
              RmsNormAttrs{static_cast<float>(eps.value_or(config_.norm_eps)), norm_offset_}, path);
}

ValueId DecoderBuilder::linear(ValueId x, const std::string& path, int64_t outputs, bool bias, ParameterPart part,
                               bool adaptable) {
  const int64_t inputs = result_.graph.value(x).shape[1];
  LinearAttrs attrs;
  attrs.has_bias = bias;
  attrs.adaptable = adaptable;
  std::vector<ValueId> operands = {x, parameter(path + ".weight", {outputs, inputs}, part)};
  if (bias) operands.push_back(parameter(path + ".bias", {outputs}, part));
  return emit(OpKind::linear, std::move(operands), attrs, path);
}

ValueId DecoderBuilder::rope(ValueId x, int64_t heads) {
  const bool sliding = sliding_cos_ != kNoValue && config_.window_of_layer(layer_) > 0;
  const int64_t head_dim = result_.graph.value(x).shape[1] / heads, rotary_dim = config_.rotary_dim();
  RopeAttrs attrs{heads, head_dim, rotary_dim, config_.rope.style, false};
  if (config_.latent.kv_rank > 0) attrs.offset = head_dim - rotary_dim;
  return emit(OpKind::rope, {x, sliding ? sliding_cos_ : cos_, sliding ? sliding_sin_ : sin_}, attrs,
              result_.graph.value(x).name + ".rope");
}

ValueId DecoderBuilder::rope(ValueId qkv, const QkvLayout& layout) {
  RopeAttrs attrs{config_.heads, config_.head_dim, 2 * result_.graph.value(cos_).shape[1], RopeStyle::half, false};
  attrs.kv_heads = config_.kv_heads;
  attrs.qkv = layout;
  return emit(OpKind::rope, {qkv, cos_, sin_}, attrs, result_.graph.value(qkv).name + ".rope");
}

ValueId DecoderBuilder::attention(ValueId q, ValueId k, ValueId v, int64_t window) {
  return attend({q, k, v}, {}, window);
}

ValueId DecoderBuilder::attention(ValueId qkv, const QkvLayout& layout, int64_t window) {
  return attend({qkv, kNoValue, kNoValue}, layout, window);
}

ValueId DecoderBuilder::attend(std::vector<ValueId> parts, const QkvLayout& layout, int64_t window) {
  AttentionAttrs attrs{
      request_.batch,   request_.length,  request_.length, config_.heads,
      config_.kv_heads, config_.head_dim, window,          static_cast<float>(attention_scale(config_))};
  attrs.qkv = layout;
  attrs.softcap = static_cast<float>(config_.attention_softcap);
  attrs.value_dim = config_.latent.value;
  // Falcon scales its bias as it scales the scores, and rounds it as its code does (transformers, build_alibi_tensor).
  if (config_.positions == PositionKind::alibi)
    attrs.alibi = config_.architecture == "falcon" ? AlibiAttrs{attrs.scale, true} : AlibiAttrs{1.0F, false};
  const std::string path = "model.layers." + std::to_string(layer_) + ".self_attn";
  if (request_.kind != ForwardKind::generate) {
    parts.insert(parts.end(), {segments_, segment_start_});
  } else {
    attrs.kv_length = request_.cache_capacity;
    for (const auto& [name, width] : {std::pair{".k_cache", attrs.head_dim}, std::pair{".v_cache", attrs.values()}})
      parts.push_back(add_value(result_.graph, {path + name,
                                                request_.cache.value_or(request_.compute),
                                                {request_.cache_capacity, config_.kv_heads * width},
                                                ValueKind::cache}));
  }
  if (config_.architecture == "gpt_oss") {
    attrs.has_sinks = true;
    parts.push_back(parameter(path + ".sinks", {config_.heads}, ParameterPart::attention));
  }
  return emit(request_.kind == ForwardKind::generate ? OpKind::cached_attention : OpKind::attention, std::move(parts),
              attrs, path);
}

ValueId DecoderBuilder::gated_activation(ValueId gate, ValueId up, const std::string& path) {
  return emit(OpKind::gated_activation, {gate, up}, GatedActivationAttrs{activation_of(config_)}, path);
}

ValueId DecoderBuilder::add(ValueId a, ValueId b, const std::string& path) {
  return emit(OpKind::add, {a, b}, {}, path);
}

ValueId DecoderBuilder::scale(ValueId x, double factor, const std::string& path) {
  return factor == 1.0 ? x : emit(OpKind::scale, {x}, ScaleAttrs{static_cast<float>(factor)}, path);
}

std::pair<ValueId, ValueId> DecoderBuilder::split_columns(ValueId x, int64_t first, const std::string& path) {
  const auto parts = emit_all(OpKind::split_columns, {x}, SplitColumnsAttrs{first}, path);
  return {parts[0], parts[1]};
}

ValueId DecoderBuilder::self_attention(ValueId x, const std::string& path, bool bias, bool output_bias,
                                       QueryKeyNorm norm) {
  const int64_t query_width = config_.heads * config_.head_dim, kv_width = config_.kv_heads * config_.head_dim;
  ValueId q = linear(x, path + "q_proj", query_width, bias, ParameterPart::attention);
  ValueId k = linear(x, path + "k_proj", kv_width, bias, ParameterPart::attention);
  const ValueId v = linear(x, path + "v_proj", kv_width, bias, ParameterPart::attention);
  if (norm != QueryKeyNorm::none) {
    const bool heads = norm == QueryKeyNorm::heads;
    q = rms_norm(q, path + "q_norm", heads ? config_.head_dim : query_width);
    k = rms_norm(k, path + "k_norm", heads ? config_.head_dim : kv_width);
  }
  q = rope(q, config_.heads);
  k = rope(k, config_.kv_heads);
  const ValueId mixed = attention(q, k, v, config_.window_of_layer(layer_));
  return linear(mixed, path + "o_proj", config_.hidden_size, output_bias, ParameterPart::attention);
}

ValueId DecoderBuilder::gated_mlp(ValueId x, const std::string& path, int64_t width, bool bias) {
  // Beside experts PEFT takes these names for theirs (see passes/lora.h).
  const bool adaptable = config_.mixture.experts == 0;
  const ValueId gate = linear(x, path + "gate_proj", width, bias, ParameterPart::mlp, adaptable);
  const ValueId up = linear(x, path + "up_proj", width, bias, ParameterPart::mlp, adaptable);
  return linear(gated_activation(gate, up, path + "act"), path + "down_proj", config_.hidden_size, bias,
                ParameterPart::mlp, adaptable);
}

ForwardGraph DecoderBuilder::finish(ValueId hidden, const std::string& head_name, bool head_bias) {
  layer_ = -1;
  hidden = scale(hidden, 1.0 / config_.logits_divisor, "logits_scaling");  // smaller than the logits
  Graph& graph = result_.graph;
  const ValueId head =
      config_.tied_embeddings
          ? embedding_
          : parameter(head_name + ".weight", {config_.vocab_size, graph.value(hidden).shape[1]}, ParameterPart::head);
  const ValueId bias = head_bias ? parameter(head_name + ".bias", {config_.vocab_size}, ParameterPart::head) : kNoValue;
  ValueId output = kNoValue;
  if (request_.kind == ForwardKind::loss) {
    const ValueId labels = input(input_names::kLabels, {request_.batch * request_.length}, DType::i32);
    const ValueId scale = input(input_names::kLossScale, {1}, DType::f32);
    std::vector<ValueId> operands = {hidden, head, labels, scale};
    if (head_bias) operands.push_back(bias);
    output =
        emit(OpKind::linear_cross_entropy, std::move(operands),
             CrossEntropyAttrs{request_.ce_chunk_rows, head_bias, static_cast<float>(config_.logits_softcap)}, "loss");
  } else {
    if (request_.kind == ForwardKind::generate) hidden = emit(OpKind::gather_rows, {hidden}, {}, "last_row");
    LinearAttrs attrs;
    attrs.result_dtype = DType::f32;
    attrs.has_bias = head_bias;
    std::vector<ValueId> operands = {hidden, head};
    if (head_bias) operands.push_back(bias);
    output = emit(OpKind::linear, std::move(operands), attrs, "logits");
    if (config_.logits_softcap > 0)
      output =
          emit(OpKind::softcap, {output}, SoftcapAttrs{static_cast<float>(config_.logits_softcap)}, "logits.capped");
  }
  graph.outputs = {output};
  if (request_.kind == ForwardKind::loss && request_.balance_weight > 0 && !routed_.empty()) {
    RouteBalanceAttrs attrs{config_.mixture.experts, config_.mixture.chosen,
                            static_cast<float>(request_.balance_weight), request_.compute};
    std::vector<ValueId> operands = {segments_, graph.find(input_names::kLabels), graph.find(input_names::kLossScale)};
    operands.insert(operands.end(), routed_.begin(), routed_.end());
    graph.outputs.push_back(emit(OpKind::route_balance, std::move(operands), attrs, "balance_loss"));
  }
  return std::move(result_);
}

}  // namespace plimsoll
