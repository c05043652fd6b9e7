// Mixtures of experts and multi-head latent attention, as blocks of DecoderBuilder.
#include "arch/decoder_builder.h"
#include "base/error.h"

namespace plimsoll {
namespace {

// What a family calls its router and experts.
struct MixtureNames {
  std::string block, router, gate, up, down;
};
MixtureNames names_of(const ModelConfig& config, const std::string& path) {
  if (config.architecture == "mixtral" || config.architecture == "phimoe")
    return {path + "block_sparse_moe.", "gate", "w1.weight", "w3.weight", "w2.weight"};
  return {path + "mlp.", config.architecture == "gpt_oss" ? "router" : "gate", "gate_proj.weight", "up_proj.weight",
          "down_proj.weight"};
}

RouteAttrs route_attrs(const ModelConfig& config, DType compute) {
  const MixtureConfig& mixture = config.mixture;
  RouteAttrs attrs;
  attrs.experts = mixture.experts;
  attrs.top_k = mixture.chosen;
  attrs.normalize = mixture.normalize;
  attrs.gradient_dtype = compute;
  if (config.architecture == "gpt_oss") attrs.score = RouterScore::chosen_softmax;
  if (config.architecture == "deepseek_v3") attrs.score = RouterScore::sigmoid;
  if (config.architecture == "phimoe") attrs.score = RouterScore::sparse_mixer;
  attrs.threshold = static_cast<float>(2 * mixture.jitter);
  attrs.groups = mixture.groups;
  attrs.groups_kept = mixture.kept;
  attrs.scale = static_cast<float>(mixture.scale);
  return attrs;
}

}  // namespace

ValueId DecoderBuilder::expert_linears(ValueId x, ValueId offsets, const std::string& path, const std::string& name,
                                       int64_t outputs) {
  GroupedLinearAttrs attrs;
  attrs.experts = config_.mixture.experts;
  attrs.adaptable = config_.architecture != "phimoe";  // PEFT 0.21 has no names for its experts
  const int64_t inputs = result_.graph.value(x).shape[1];
  std::vector<ValueId> operands = {x, offsets};
  for (int64_t e = 0; e < attrs.experts; ++e)
    operands.push_back(expert_parameter(path + "experts." + std::to_string(e) + "." + name, {outputs, inputs}));
  return emit(OpKind::grouped_linear, std::move(operands), attrs, path + "experts." + name);
}

ValueId DecoderBuilder::fused_expert_linears(ValueId x, ValueId offsets, const std::string& path, int64_t outputs) {
  GroupedLinearAttrs attrs;
  attrs.experts = config_.mixture.experts;
  attrs.transpose_weight = false;
  attrs.fused = attrs.has_bias = true;
  const ValueId weight = expert_parameter(path, {attrs.experts, result_.graph.value(x).shape[1], outputs});
  const ValueId bias = expert_parameter(path + "_bias", {attrs.experts, outputs});
  return emit(OpKind::grouped_linear, {x, offsets, bias, weight}, attrs, path);
}

// The share of an expert's weights that a token uses: for a fused tensor that of the chosen among all; of separate
// tensors the first `chosen` stand for those of any token.
ValueId DecoderBuilder::expert_parameter(const std::string& name, Shape shape) {
  const MixtureConfig& mixture = config_.mixture;
  const ValueId value = parameter(name, shape, ParameterPart::mlp);
  ParameterSpec& spec = result_.parameters.back();
  const bool fused = config_.architecture == "gpt_oss";
  if (fused) spec.active = shape.elements() / mixture.experts * mixture.chosen;
  else spec.active = experts_listed_++ % mixture.experts < mixture.chosen ? shape.elements() : 0;
  return value;
}

ValueId DecoderBuilder::mixture(ValueId x, const std::string& path) {
  const MixtureConfig& mixture = config_.mixture;
  const MixtureNames names = names_of(config_, path);
  const bool fused = config_.architecture == "gpt_oss";
  const int64_t hidden = config_.hidden_size;

  // The router's product is kept in f32, whatever the activations are: close choices should not fall by rounding.
  LinearAttrs attrs;
  attrs.adaptable = false;
  attrs.has_bias = fused;
  attrs.result_dtype = DType::f32;
  const std::string router = names.block + names.router;
  std::vector<ValueId> operands = {x, parameter(router + ".weight", {mixture.experts, hidden}, ParameterPart::mlp)};
  if (fused) operands.push_back(parameter(router + ".bias", {mixture.experts}, ParameterPart::mlp));
  const ValueId logits = emit(OpKind::linear, std::move(operands), attrs, router);
  operands = {logits, kNoValue};
  if (config_.architecture == "deepseek_v3")
    operands[1] = parameter(router + ".e_score_correction_bias", {mixture.experts}, ParameterPart::buffer);
  const auto routed =
      emit_all(OpKind::route, std::move(operands), route_attrs(config_, request_.compute), router + ".route");
  const ValueId weights = routed[0], slots = routed[2], offsets = routed[3];
  routed_.insert(routed_.end(), {logits, routed[1]});

  const std::string experts = names.block + "experts";
  const ValueId sorted = emit(OpKind::expert_gather, {x, slots}, {}, experts + ".gather");
  ValueId out = kNoValue;
  if (fused) {
    const ValueId gate_up = fused_expert_linears(sorted, offsets, experts + ".gate_up_proj", 2 * mixture.width);
    const ClampedSwigluAttrs act{static_cast<float>(mixture.alpha), static_cast<float>(mixture.limit)};
    out = emit(OpKind::clamped_swiglu, {gate_up}, act, experts + ".act");
    out = fused_expert_linears(out, offsets, experts + ".down_proj", hidden);
  } else {
    const ValueId gate = expert_linears(sorted, offsets, names.block, names.gate, mixture.width);
    const ValueId up = expert_linears(sorted, offsets, names.block, names.up, mixture.width);
    out = expert_linears(gated_activation(gate, up, experts + ".act"), offsets, names.block, names.down, hidden);
  }
  out = emit(OpKind::expert_combine, {out, weights, slots}, {}, experts + ".combine");
  if (mixture.shared == 0) return out;
  return add(out, gated_mlp(x, names.block + "shared_experts.", mixture.shared * mixture.width, config_.mlp_bias),
             experts + ".shared");
}

ValueId DecoderBuilder::latent_attention(ValueId x, const std::string& path) {
  const LatentConfig& latent = config_.latent;
  const bool bias = config_.attention_bias;
  const int64_t query_width = config_.heads * config_.head_dim;
  const auto latent_norm = [&](ValueId y, const std::string& name, int64_t width) {
    return rms_norm(y, name, width, ParameterPart::norm, 1e-6);  // whatever rms_norm_eps says, as in transformers
  };
  ValueId q = x;
  if (latent.q_rank > 0) {
    q = linear(q, path + "q_a_proj", latent.q_rank, bias, ParameterPart::attention);
    q = linear(latent_norm(q, path + "q_a_layernorm", latent.q_rank), path + "q_b_proj", query_width, false,
               ParameterPart::attention);
  } else {
    q = linear(q, path + "q_proj", query_width, false, ParameterPart::attention);
  }
  q = rope(q, config_.heads);

  const ValueId compressed =
      linear(x, path + "kv_a_proj_with_mqa", latent.kv_rank + latent.rotary, bias, ParameterPart::attention);
  const auto [kv_latent, k_rotary] = split_columns(compressed, latent.kv_rank, path + "kv_a_split");
  const ValueId kv = linear(latent_norm(kv_latent, path + "kv_a_layernorm", latent.kv_rank), path + "kv_b_proj",
                            config_.heads * (latent.plain + latent.value), false, ParameterPart::attention);
  const ExpandLatentAttrs attrs{config_.heads, latent.plain, latent.rotary, latent.value};
  const auto expanded = emit_all(OpKind::expand_latent, {kv, rope(k_rotary, 1)}, attrs, path + "expand");
  return attention(q, expanded[0], expanded[1], 0);
}

}  // namespace plimsoll
