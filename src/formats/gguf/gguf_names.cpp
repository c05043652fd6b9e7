#include "formats/gguf/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace plimsoll {
namespace {

struct NamePair {
  std::string_view gguf, hf;
};
using Names = std::span<const NamePair>;

// Layers of the families that are built like llama, without ".weight" or ".bias".
constexpr std::array<NamePair, 11> kLlamaLayer = {{{"attn_norm", "input_layernorm"},
                                                   {"attn_q", "self_attn.q_proj"},
                                                   {"attn_k", "self_attn.k_proj"},
                                                   {"attn_v", "self_attn.v_proj"},
                                                   {"attn_output", "self_attn.o_proj"},
                                                   {"attn_q_norm", "self_attn.q_norm"},
                                                   {"attn_k_norm", "self_attn.k_norm"},
                                                   {"ffn_norm", "post_attention_layernorm"},
                                                   {"ffn_gate", "mlp.gate_proj"},
                                                   {"ffn_up", "mlp.up_proj"},
                                                   {"ffn_down", "mlp.down_proj"}}};
constexpr std::array<NamePair, 3> kLlamaTop = {
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}}};

// What the families like llama have beside that or call otherwise; looked at first.
constexpr std::array<NamePair, 3> kGemma2Layer = {{{"post_attention_norm", "post_attention_layernorm"},
                                                   {"ffn_norm", "pre_feedforward_layernorm"},
                                                   {"post_ffw_norm", "post_feedforward_layernorm"}}};
constexpr std::array<NamePair, 2> kOlmo2Layer = {
    {{"post_attention_norm", "post_attention_layernorm"}, {"post_ffw_norm", "post_feedforward_layernorm"}}};
constexpr std::array<NamePair, 2> kPhi3Layer = {{{"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"}}};
constexpr std::array<NamePair, 1> kMixtralLayer = {{{"ffn_gate_inp", "block_sparse_moe.gate"}}};
constexpr std::array<NamePair, 1> kQwenLayer = {{{"ffn_gate_inp", "mlp.gate"}}};
constexpr std::array<NamePair, 2> kGptOssLayer = {
    {{"post_attention_norm", "post_attention_layernorm"}, {"ffn_gate_inp", "mlp.router"}}};
constexpr std::array<NamePair, 10> kDeepseekLayer = {{{"attn_q_a", "self_attn.q_a_proj"},
                                                      {"attn_q_b", "self_attn.q_b_proj"},
                                                      {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
                                                      {"attn_kv_b", "self_attn.kv_b_proj"},
                                                      {"attn_q_a_norm", "self_attn.q_a_layernorm"},
                                                      {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
                                                      {"ffn_gate_inp", "mlp.gate"},
                                                      {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
                                                      {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
                                                      {"ffn_down_shexp", "mlp.shared_experts.down_proj"}}};

// Names of layers that differ up to their end.
constexpr std::array<NamePair, 1> kDeepseekWhole = {{{"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"}}};
constexpr std::array<NamePair, 1> kGptOssWhole = {{{"attn_sinks.weight", "self_attn.sinks"}}};

// Matrices of single experts; the expert's number stands before the name of Hugging Face.
constexpr std::array<NamePair, 3> kMixtralExperts = {
    {{"ffn_gate_exps", "w1"}, {"ffn_up_exps", "w3"}, {"ffn_down_exps", "w2"}}};
constexpr std::array<NamePair, 3> kQwenExperts = {
    {{"ffn_gate_exps", "gate_proj"}, {"ffn_up_exps", "up_proj"}, {"ffn_down_exps", "down_proj"}}};

// Experts of gpt_oss, by layer: the parts of one tensor follow one another.
struct PartName {
  std::string_view gguf, hf;
  int part, parts;
};
constexpr std::array<PartName, 6> kGptOssExperts = {{{"ffn_gate_exps.weight", "mlp.experts.gate_up_proj", 0, 2},
                                                     {"ffn_up_exps.weight", "mlp.experts.gate_up_proj", 1, 2},
                                                     {"ffn_down_exps.weight", "mlp.experts.down_proj", 0, 1},
                                                     {"ffn_gate_exps.bias", "mlp.experts.gate_up_proj_bias", 0, 2},
                                                     {"ffn_up_exps.bias", "mlp.experts.gate_up_proj_bias", 1, 2},
                                                     {"ffn_down_exps.bias", "mlp.experts.down_proj_bias", 0, 1}}};

// Families with layer norms: all names of a layer, and all others.
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

constexpr std::string_view kGgufLayers = "blk.", kLlamaLayers = "model.layers.";

struct Family {
  std::string_view hf, gguf;
  Names layer = {}, whole = {};
  Names experts = {};
  std::string_view expert_block = {};  // between the layer and the expert's number
  std::span<const PartName> parts = {};
  // Of families with layer norms.
  Names top = {};
  std::string_view layers = kLlamaLayers;

  bool like_llama() const { return top.empty(); }
  bool is_mixture() const { return !experts.empty() || !parts.empty(); }
};

// Of two with one name in GGUF the first is what a file is read as.
constexpr std::array kFamilies = {
    Family{.hf = "llama", .gguf = "llama"},
    Family{.hf = "mistral", .gguf = "llama"},
    Family{.hf = "qwen2", .gguf = "qwen2"},
    Family{.hf = "qwen3", .gguf = "qwen3"},
    Family{.hf = "granite", .gguf = "granite"},
    Family{.hf = "olmo2", .gguf = "olmo2", .layer = kOlmo2Layer},
    Family{.hf = "gemma", .gguf = "gemma"},
    Family{.hf = "gemma2", .gguf = "gemma2", .layer = kGemma2Layer},
    Family{.hf = "gemma3_text", .gguf = "gemma3", .layer = kGemma2Layer},
    Family{.hf = "phi3", .gguf = "phi3", .layer = kPhi3Layer},
    Family{.hf = "mixtral",
           .gguf = "llama",
           .layer = kMixtralLayer,
           .experts = kMixtralExperts,
           .expert_block = "block_sparse_moe.experts."},
    Family{.hf = "qwen3_moe",
           .gguf = "qwen3moe",
           .layer = kQwenLayer,
           .experts = kQwenExperts,
           .expert_block = "mlp.experts."},
    Family{.hf = "gpt_oss", .gguf = "gpt-oss", .layer = kGptOssLayer, .whole = kGptOssWhole, .parts = kGptOssExperts},
    Family{.hf = "deepseek_v2",
           .gguf = "deepseek2",
           .layer = kDeepseekLayer,
           .experts = kQwenExperts,
           .expert_block = "mlp.experts."},
    Family{.hf = "deepseek_v3",
           .gguf = "deepseek2",
           .layer = kDeepseekLayer,
           .whole = kDeepseekWhole,
           .experts = kQwenExperts,
           .expert_block = "mlp.experts."},
    Family{.hf = "gpt2", .gguf = "gpt2", .layer = kGpt2Layer, .top = kGpt2Top, .layers = "transformer.h."},
    Family{.hf = "gpt_neox", .gguf = "gptneox", .layer = kNeoxLayer, .top = kNeoxTop, .layers = "gpt_neox.layers."},
    Family{.hf = "phi", .gguf = "phi2", .layer = kPhiLayer, .top = kPhiTop},
    Family{.hf = "falcon", .gguf = "falcon", .layer = kFalconLayer, .top = kFalconTop, .layers = "transformer.h."},
    Family{.hf = "bloom", .gguf = "bloom", .layer = kBloomLayer, .top = kBloomTop, .layers = "transformer.h."},
    Family{.hf = "starcoder2", .gguf = "starcoder2", .layer = kStarcoder2Layer, .top = kStarcoder2Top},
};

const Family* family_of(std::string_view architecture) {
  for (const Family& family : kFamilies)
    if (family.hf == architecture) return &family;
  return nullptr;
}

// "blk.3.ffn_norm.weight" with layers "blk." → "3" and "ffn_norm.weight". No layer: the whole text. nullopt: a layer
// that is no number of at most six digits.
struct SplitName {
  std::string_view layer, name;
};
std::optional<SplitName> split(std::string_view text, std::string_view layers) {
  if (!text.starts_with(layers)) return SplitName{"", text};
  text.remove_prefix(layers.size());
  const size_t dot = text.find('.');
  if (dot == 0 || dot == std::string_view::npos || dot > 6) return std::nullopt;
  if (text.substr(0, dot).find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return SplitName{text.substr(0, dot), text.substr(dot + 1)};
}

// "ffn_norm.weight" → "ffn_norm" and ".weight"; empty ending for other names.
std::pair<std::string_view, std::string_view> split_ending(std::string_view name) {
  for (const std::string_view ending : {std::string_view(".weight"), std::string_view(".bias")})
    if (name.ends_with(ending)) return {name.substr(0, name.size() - ending.size()), ending};
  return {name, ""};
}

using Side = std::string_view NamePair::*;
constexpr Side kGguf = &NamePair::gguf, kHf = &NamePair::hf;

std::string translate(const ModelConfig& config, std::string_view text, Side from, Side to) {
  const Family* family = family_of(config.architecture);
  if (family == nullptr) return "";
  const bool to_hf = to == kHf;
  const auto at = split(text, to_hf ? kGgufLayers : family->layers);
  if (!at) return "";
  const std::string prefix =
      at->layer.empty() ? "" : fmt::format("{}{}.", to_hf ? family->layers : kGgufLayers, at->layer);
  if (!at->layer.empty())
    for (const NamePair& pair : family->whole)
      if (pair.*from == at->name) return prefix + std::string(pair.*to);
  const auto [name, ending] = split_ending(at->name);
  if (ending.empty()) return "";
  const auto found_in = [&, wanted = name](Names names) -> const NamePair* {
    for (const NamePair& pair : names) {
      const bool other_norms = to_hf && pair.hf == "ln_mlp" && config.parallel_norms != 2;
      if (pair.*from == wanted && !other_norms) return &pair;
    }
    return nullptr;
  };
  const NamePair* pair = found_in(at->layer.empty() ? family->top : family->layer);
  if (pair == nullptr && family->like_llama()) pair = found_in(at->layer.empty() ? Names(kLlamaTop) : kLlamaLayer);
  return pair == nullptr ? "" : fmt::format("{}{}{}", prefix, pair->*to, ending);
}

}  // namespace

std::string_view gguf_architecture(std::string_view architecture) {
  const Family* family = family_of(architecture);
  return family == nullptr ? std::string_view() : family->gguf;
}

std::string_view architecture_of_gguf(std::string_view gguf_name, int64_t experts) {
  for (const Family& family : kFamilies)
    if (family.gguf == gguf_name && family.is_mixture() == (experts > 0)) return family.hf;
  return {};
}

std::string gguf_architecture_names() {
  std::string names;
  std::string_view before;
  for (const Family& family : kFamilies) {
    if (family.gguf == "llama" && !names.empty()) continue;
    if (family.gguf != before) names += (names.empty() ? "" : ", ") + std::string(family.gguf);
    before = family.gguf;
  }
  return names;
}

bool has_layer_norms_in_gguf(std::string_view architecture) {
  const Family* family = family_of(architecture);
  return family != nullptr && !family->like_llama();
}

std::string hf_name_of_gguf(const ModelConfig& config, std::string_view gguf_name) {
  return translate(config, gguf_name, kGguf, kHf);
}
std::string gguf_name_of_hf(const ModelConfig& config, std::string_view hf_name) {
  return translate(config, hf_name, kHf, kGguf);
}

std::optional<ExpertMatrix> expert_matrix(const ModelConfig& config, std::string_view hf_name) {
  const Family* family = family_of(config.architecture);
  if (family == nullptr || family->experts.empty()) return std::nullopt;
  const auto at = split(hf_name, family->layers);
  if (!at || at->layer.empty() || !at->name.starts_with(family->expert_block)) return std::nullopt;
  const auto [name, ending] = split_ending(at->name.substr(family->expert_block.size()));
  const size_t dot = name.find('.');
  if (ending != ".weight" || dot == 0 || dot == std::string_view::npos || dot > 6) return std::nullopt;
  if (name.substr(0, dot).find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  for (const NamePair& pair : family->experts)
    if (name.substr(dot + 1) == pair.hf)
      return ExpertMatrix{fmt::format("{}{}.{}.weight", kGgufLayers, at->layer, pair.gguf),
                          std::stoll(std::string(name.substr(0, dot)))};
  return std::nullopt;
}

std::string expert_hf_name(const ModelConfig& config, std::string_view gguf_name, int64_t expert) {
  const Family* family = family_of(config.architecture);
  const auto at = split(gguf_name, kGgufLayers);
  if (family == nullptr || !at || at->layer.empty()) return "";
  for (const NamePair& pair : family->experts)
    if (split_ending(at->name) == std::pair<std::string_view, std::string_view>(pair.gguf, ".weight"))
      return fmt::format("{}{}.{}{}.{}.weight", family->layers, at->layer, family->expert_block, expert, pair.hf);
  return "";
}

std::optional<ExpertPart> expert_part_of_gguf(const ModelConfig& config, std::string_view gguf_name) {
  const Family* family = family_of(config.architecture);
  const auto at = split(gguf_name, kGgufLayers);
  if (family == nullptr || !at || at->layer.empty()) return std::nullopt;
  for (const PartName& part : family->parts)
    if (part.gguf == at->name)
      return ExpertPart{fmt::format("{}{}.{}", family->layers, at->layer, part.hf), part.part, part.parts};
  return std::nullopt;
}

std::optional<ExpertPart> expert_part_of_hf(const ModelConfig& config, std::string_view hf_name, int number) {
  const Family* family = family_of(config.architecture);
  const auto at = family == nullptr ? std::nullopt : split(hf_name, family->layers);
  if (!at || at->layer.empty()) return std::nullopt;
  for (const PartName& part : family->parts)
    if (part.hf == at->name && part.part == number)
      return ExpertPart{fmt::format("{}{}.{}", kGgufLayers, at->layer, part.gguf), part.part, part.parts};
  return std::nullopt;
}

}  // namespace plimsoll
