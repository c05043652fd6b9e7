#include "formats/gguf_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"

namespace plimsoll {
namespace {

struct NamePair {
  std::string_view gguf, hf;
};

constexpr std::array<NamePair, 6> kGpt2Layer = {{{"attn_norm", "ln_1"},
                                                 {"attn_qkv", "attn.c_attn"},
                                                 {"attn_output", "attn.c_proj"},
                                                 {"ffn_norm", "ln_2"},
                                                 {"ffn_up", "mlp.c_fc"},
                                                 {"ffn_down", "mlp.c_proj"}}};
constexpr std::array<NamePair, 4> kGpt2Top = {{{"token_embd", "transformer.wte"},
                                               {"position_embd", "transformer.wpe"},
                                               {"output_norm", "transformer.ln_f"},
                                               {"output", "lm_head"}}};
constexpr std::array<NamePair, 6> kNeoxLayer = {{{"attn_norm", "input_layernorm"},
                                                 {"attn_qkv", "attention.query_key_value"},
                                                 {"attn_output", "attention.dense"},
                                                 {"ffn_norm", "post_attention_layernorm"},
                                                 {"ffn_up", "mlp.dense_h_to_4h"},
                                                 {"ffn_down", "mlp.dense_4h_to_h"}}};
constexpr std::array<NamePair, 3> kNeoxTop = {
    {{"token_embd", "gpt_neox.embed_in"}, {"output_norm", "gpt_neox.final_layer_norm"}, {"output", "embed_out"}}};
constexpr std::array<NamePair, 7> kPhiLayer = {{{"attn_norm", "input_layernorm"},
                                                {"attn_q", "self_attn.q_proj"},
                                                {"attn_k", "self_attn.k_proj"},
                                                {"attn_v", "self_attn.v_proj"},
                                                {"attn_output", "self_attn.dense"},
                                                {"ffn_up", "mlp.fc1"},
                                                {"ffn_down", "mlp.fc2"}}};
constexpr std::array<NamePair, 3> kPhiTop = {
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.final_layernorm"}, {"output", "lm_head"}}};
// The two norms of 40B come first: where a model has one, no name of theirs occurs.
constexpr std::array<NamePair, 7> kFalconLayer = {{{"attn_norm", "ln_mlp"},
                                                   {"attn_norm_2", "ln_attn"},
                                                   {"attn_norm", "input_layernorm"},
                                                   {"attn_qkv", "self_attention.query_key_value"},
                                                   {"attn_output", "self_attention.dense"},
                                                   {"ffn_up", "mlp.dense_h_to_4h"},
                                                   {"ffn_down", "mlp.dense_4h_to_h"}}};
constexpr std::array<NamePair, 3> kFalconTop = {
    {{"token_embd", "transformer.word_embeddings"}, {"output_norm", "transformer.ln_f"}, {"output", "lm_head"}}};
constexpr std::array<NamePair, 6> kBloomLayer = {{{"attn_norm", "input_layernorm"},
                                                  {"attn_qkv", "self_attention.query_key_value"},
                                                  {"attn_output", "self_attention.dense"},
                                                  {"ffn_norm", "post_attention_layernorm"},
                                                  {"ffn_up", "mlp.dense_h_to_4h"},
                                                  {"ffn_down", "mlp.dense_4h_to_h"}}};
constexpr std::array<NamePair, 4> kBloomTop = {{{"token_embd", "transformer.word_embeddings"},
                                                {"token_embd_norm", "transformer.word_embeddings_layernorm"},
                                                {"output_norm", "transformer.ln_f"},
                                                {"output", "lm_head"}}};
constexpr std::array<NamePair, 8> kStarcoder2Layer = {{{"attn_norm", "input_layernorm"},
                                                       {"attn_q", "self_attn.q_proj"},
                                                       {"attn_k", "self_attn.k_proj"},
                                                       {"attn_v", "self_attn.v_proj"},
                                                       {"attn_output", "self_attn.o_proj"},
                                                       {"ffn_norm", "post_attention_layernorm"},
                                                       {"ffn_up", "mlp.c_fc"},
                                                       {"ffn_down", "mlp.c_proj"}}};
constexpr std::array<NamePair, 3> kStarcoder2Top = {
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}}};

struct Family {
  std::string_view hf, gguf, layer_prefix;
  std::span<const NamePair> layer, top;
  std::string_view activation;  // what Hugging Face's models of the family have
  PositionKind positions;
};
constexpr std::array<Family, 6> kFamilies = {
    {{"gpt2", "gpt2", "transformer.h.", kGpt2Layer, kGpt2Top, "gelu_new", PositionKind::learned},
     {"gpt_neox", "gptneox", "gpt_neox.layers.", kNeoxLayer, kNeoxTop, "gelu", PositionKind::rotary},
     {"phi", "phi2", "model.layers.", kPhiLayer, kPhiTop, "gelu_new", PositionKind::rotary},
     {"falcon", "falcon", "transformer.h.", kFalconLayer, kFalconTop, "gelu", PositionKind::rotary},
     {"bloom", "bloom", "transformer.h.", kBloomLayer, kBloomTop, "gelu_pytorch_tanh", PositionKind::alibi},
     {"starcoder2", "starcoder2", "model.layers.", kStarcoder2Layer, kStarcoder2Top, "gelu_pytorch_tanh",
      PositionKind::rotary}}};

const Family* family_of(std::string_view architecture) {
  for (const Family& family : kFamilies)
    if (family.hf == architecture) return &family;
  return nullptr;
}

std::string translate(const ModelConfig& config, std::string_view text, std::string_view NamePair::*from,
                      std::string_view NamePair::*to) {
  const Family* family = family_of(config.architecture);
  if (family == nullptr) return "";
  const bool to_hf = from == &NamePair::gguf;
  const std::string_view from_prefix = to_hf ? "blk." : family->layer_prefix;
  const std::string_view to_prefix = to_hf ? family->layer_prefix : "blk.";
  const size_t dot = text.rfind('.');
  if (dot == std::string_view::npos) return "";
  const std::string_view suffix = text.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return "";
  std::string_view name = text.substr(0, dot), layer;
  if (name.starts_with(from_prefix)) {
    name.remove_prefix(from_prefix.size());
    layer = name.substr(0, name.find('.'));
    if (layer.empty() || layer.size() == name.size() || layer.find_first_not_of("0123456789") != std::string_view::npos)
      return "";
    name.remove_prefix(layer.size() + 1);
  }
  for (const NamePair& pair : layer.empty() ? family->top : family->layer) {
    if (pair.*from != name) continue;
    if (to_hf && pair.hf == "ln_mlp" && config.parallel_norms != 2) continue;
    if (layer.empty()) return fmt::format("{}{}", pair.*to, suffix);
    return fmt::format("{}{}.{}{}", to_prefix, layer, pair.*to, suffix);
  }
  return "";
}

[[noreturn]] void cannot_express(const std::string& what) {
  throw caller_error("GGUF", "has no way to hold " + what, "write a Hugging Face folder instead");
}

}  // namespace

std::string_view gguf_layer_norm_name(std::string_view architecture) {
  const Family* family = family_of(architecture);
  return family == nullptr ? std::string_view() : family->gguf;
}

std::string_view layer_norm_architecture(std::string_view gguf_name) {
  for (const Family& family : kFamilies)
    if (family.gguf == gguf_name) return family.hf;
  return {};
}

std::string layer_norm_hf_name(const ModelConfig& config, std::string_view gguf_name) {
  return translate(config, gguf_name, &NamePair::gguf, &NamePair::hf);
}
std::string layer_norm_gguf_name(const ModelConfig& config, std::string_view hf_name) {
  return translate(config, hf_name, &NamePair::hf, &NamePair::gguf);
}

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
