#include "formats/gguf/gguf_families.h"

#include <array>

#include "base/error.h"

namespace plimsoll {
namespace {

struct Family {
  std::string_view hf;
  std::string_view activation;  // what Hugging Face's models of the family have
  PositionKind positions;
};
constexpr std::array<Family, 6> kFamilies = {{{"gpt2", "gelu_new", PositionKind::learned},
                                              {"gpt_neox", "gelu", PositionKind::rotary},
                                              {"phi", "gelu_new", PositionKind::rotary},
                                              {"falcon", "gelu", PositionKind::rotary},
                                              {"bloom", "gelu_pytorch_tanh", PositionKind::alibi},
                                              {"starcoder2", "gelu_pytorch_tanh", PositionKind::rotary}}};

const Family* family_of(std::string_view architecture) {
  for (const Family& family : kFamilies)
    if (family.hf == architecture) return &family;
  return nullptr;
}

[[noreturn]] void cannot_express(const std::string& what) {
  throw caller_error("GGUF", "has no way to hold " + what, "write a Hugging Face folder instead");
}

}  // namespace

QkvRows layer_norm_qkv_rows(const ModelConfig& config, std::string_view hf_name) {
  if (hf_name.find(".query_key_value.") == std::string_view::npos) return {};
  return {config.kv_heads, config.heads / config.kv_heads};
}

bool is_transposed_in_gguf(const ModelConfig& config, std::string_view hf_name) {
  if (config.architecture != "gpt2" || !hf_name.ends_with(".weight")) return false;
  return hf_name.find(".c_attn.") != std::string_view::npos || hf_name.find(".c_proj.") != std::string_view::npos ||
         hf_name.find(".c_fc.") != std::string_view::npos;
}

void read_layer_norm_family(const GgufFile& gguf, const GgufKeys& keys, ModelConfig& config) {
  const Family* family = family_of(config.architecture);
  PLIMSOLL_CHECK(family != nullptr, "a family with layer norms");
  config.positions = family->positions;
  config.activation = family->activation;
  config.norm_eps = keys.number("attention.layer_norm_epsilon").value_or(1e-5);
  const auto has = [&](const char* name) { return gguf.find_tensor(name) != nullptr; };
  const bool biases = has("blk.0.ffn_up.bias");
  config.attention_bias = has("blk.0.attn_qkv.bias") || has("blk.0.attn_q.bias");
  config.attention_output_bias = has("blk.0.attn_output.bias");
  config.mlp_bias = biases;
  if (config.architecture == "gpt_neox") config.parallel_residual = keys.flag("use_parallel_residual").value_or(true);
  if (config.architecture == "phi") config.parallel_residual = true;
  if (config.architecture == "falcon") {
    config.parallel_residual = true;
    config.parallel_norms = has("blk.0.attn_norm_2.weight") ? 2 : 1;
    config.grouped_qkv = config.parallel_norms == 2 || config.kv_heads > 1;
  }
}

void write_layer_norm_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  const std::string& family = config.architecture;
  if (config.activation != family_of(family)->activation &&
      !(family == "gpt2" && config.activation == "gelu_pytorch_tanh"))
    cannot_express("the activation " + config.activation + " of a " + family + " model");
  if (config.query_key_norm) cannot_express("norms of q and k of a " + family + " model");
  if (config.residual_after_norm) cannot_express("residuals after the norm of a bloom model");
  if (family == "falcon" && (config.positions == PositionKind::alibi || !config.parallel_residual || config.mlp_bias))
    cannot_express("a falcon model with alibi, biases, or attention and MLP one after the other");
  if (family != "falcon" && !(config.attention_bias && config.mlp_bias))
    cannot_express("a " + family + " model without biases");
  metadata[prefix + "attention.layer_norm_epsilon"] = gguf_f32(config.norm_eps);
  if (family == "gpt_neox") metadata[prefix + "use_parallel_residual"] = gguf_bool(config.parallel_residual);
  if (family == "falcon") metadata[prefix + "tensor_data_layout"] = gguf_text("jploski");
}

bool needs_own_head(const ModelConfig& config) {
  return config.architecture == "gpt_neox" || config.architecture == "phi";
}

}  // namespace plimsoll
