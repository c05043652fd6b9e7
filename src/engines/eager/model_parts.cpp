#include "engines/eager/model_parts.h"

namespace plimsoll::eager {
namespace {

bool starts(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

}  // namespace

bool is_rms_family(const ModelConfig& c) {
  static constexpr const char* kLayerNorm[] = {"gpt2", "opt", "gpt_neox", "phi", "falcon", "bloom", "starcoder2"};
  for (const char* name : kLayerNorm)
    if (c.architecture == name) return false;
  return true;
}

bool eager_family(const ModelConfig& c) { return !c.architecture.empty(); }

RmsStyle rms_style(const ModelConfig& c) {
  RmsStyle style;
  const std::string& a = c.architecture;
  style.fused = a == "phi3";
  style.head_norms = starts(a, "qwen3") || starts(a, "gemma3");
  style.wide_norms = a == "olmo2";
  style.post_only = a == "olmo2";
  style.sandwich = starts(a, "gemma2") || starts(a, "gemma3");
  style.gemma_norm = starts(a, "gemma");
  style.scaled_embedding = starts(a, "gemma");
  style.wide_angles = a == "olmo2";
  style.sinks = a == "gpt_oss";
  style.layer_norms = a == "phimoe";
  style.both_masks = style.sandwich || style.sinks;
  return style;
}

LayerNormStyle layer_norm_style(const ModelConfig& c) {
  LayerNormStyle style;
  const std::string& a = c.architecture;
  if (a == "gpt2") {
    style.gpt2 = style.fused = style.conv1d = true;
    style.qkv_name = "attn.c_attn";
    style.out_name = "attn.c_proj";
    style.up_name = "mlp.c_fc";
    style.down_name = "mlp.c_proj";
  } else if (a == "opt") {
    style.opt = true;
    style.out_name = "self_attn.out_proj";
    style.up_name = "fc1";
    style.down_name = "fc2";
  } else if (a == "gpt_neox") {
    style.fused = style.norms_first = true;
    style.up_name = "mlp.dense_h_to_4h";
    style.down_name = "mlp.dense_4h_to_h";
  } else if (a == "falcon" || a == "bloom") {
    style.fused = true;
    style.one_norm = a == "falcon" && c.parallel_norms == 1;
    style.up_name = "mlp.dense_h_to_4h";
    style.down_name = "mlp.dense_4h_to_h";
  } else if (a == "phi") {
    style.one_norm = true;
    style.up_name = "mlp.fc1";
    style.down_name = "mlp.fc2";
  } else {  // starcoder2
    style.out_name = "self_attn.o_proj";
    style.up_name = "mlp.c_fc";
    style.down_name = "mlp.c_proj";
  }
  return style;
}

LayerNames layer_names(const ModelConfig& c) {
  if (is_rms_family(c)) return {"qkv_proj", "o_proj", "up_proj", "down_proj"};
  const LayerNormStyle style = layer_norm_style(c);
  const auto last = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
  return {last(style.qkv_name), last(style.out_name), last(style.up_name), last(style.down_name)};
}

bool has_experts(const ModelConfig& c, size_t layer) {
  return c.mixture.experts > 0 && (layer >= c.mixture.layers.size() || c.mixture.layers[layer]);
}

}  // namespace plimsoll::eager
