#include "formats/gguf/gguf_rms_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "base/error.h"

namespace plimsoll {
namespace {

[[noreturn]] void cannot_express(const std::string& what) {
  throw caller_error("GGUF", "has no way to hold " + what, "write a Hugging Face folder instead");
}

// llama.cpp knows the divisor of the scores by the size of the model: √(hidden / heads) for the 27B ones.
double score_divisor(const ModelConfig& config) {
  const bool large = config.layers == (config.architecture == "gemma2" ? 46 : 62);
  return large ? static_cast<double>(config.hidden_size) / static_cast<double>(config.heads)
               : static_cast<double>(config.head_dim);
}

// Every second layer of gemma2 and gpt_oss sees all tokens, every sixth of gemma3.
std::vector<bool> sliding_layers(const ModelConfig& config) {
  const int64_t step = config.architecture == "gemma3_text" ? 6 : 2;
  std::vector<bool> slides;
  for (int64_t layer = 0; layer < config.layers; ++layer) slides.push_back((layer + 1) % step != 0);
  return slides;
}

void read_later_gemma(const GgufKeys& keys, ModelConfig& config) {
  config.query_pre_attn_scalar = score_divisor(config);
  config.attention_softcap = config.logits_softcap = 0.0;
  if (config.architecture == "gemma2") {
    config.attention_softcap = keys.number("attn_logit_softcapping").value_or(50.0);
    config.logits_softcap = keys.number("final_logit_softcapping").value_or(30.0);
  } else {
    config.sliding_rope = RopeConfig{};
    config.sliding_rope->theta = keys.number("rope.freq_base_swa").value_or(10000.0);
  }
  config.sliding_window = keys.integer("attention.sliding_window").value_or(4096);
  config.layer_slides = sliding_layers(config);
}

void write_later_gemma(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  if (std::abs(config.query_pre_attn_scalar - score_divisor(config)) > 1e-6)
    cannot_express(fmt::format("query_pre_attn_scalar {} of a {} model with heads of {} values",
                               config.query_pre_attn_scalar, config.architecture, config.head_dim));
  const bool none = config.layer_slides.empty();
  if (config.layer_slides != sliding_layers(config) && !(none && config.layers == 1))
    cannot_express("this pattern of sliding layers of a " + config.architecture + " model");
  metadata[prefix + "attention.sliding_window"] = gguf_u32(config.sliding_window);
  if (config.architecture == "gemma3_text") {
    if (config.logits_softcap > 0 || config.attention_softcap > 0) cannot_express("soft-caps of a gemma3 model");
    if (!config.sliding_rope || config.sliding_rope->kind != RopeKind::standard ||
        config.sliding_rope->theta != 10000.0)
      cannot_express("this rope of the sliding layers of a gemma3 model");
    return;
  }
  if (config.attention_softcap == 0 || config.logits_softcap == 0) cannot_express("a gemma2 model without soft-caps");
  metadata[prefix + "attn_logit_softcapping"] = gguf_f32(config.attention_softcap);
  metadata[prefix + "final_logit_softcapping"] = gguf_f32(config.logits_softcap);
}

constexpr int64_t kSoftmaxGate = 1, kSigmoidGate = 2;  // of expert_gating_func
constexpr double kLogMultiplier = 0.1;                 // the file has mscale_all_dim times this

// llama.cpp's form without absorbed matrices: kv_b as the model has it, keys and values of every head in full.
void write_deepseek_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  const MixtureConfig& mixture = config.mixture;
  const LatentConfig& latent = config.latent;
  const bool v3 = config.architecture == "deepseek_v3";
  if (config.norm_eps != 1e-6)
    cannot_express("a deepseek model whose rms_norm_eps is not that of its latent norms, 1e-6");
  if (latent.q_rank == 0 && config.layers != 26 &&
      config.layers != 27)  // llama.cpp knows these by the number of layers
    cannot_express(fmt::format("a deepseek model of {} layers without q_lora_rank", config.layers));
  if (config.rope.style != RopeStyle::interleaved) cannot_express("a deepseek model that turns halves of heads");
  if (mixture.groups > 1 && !v3) cannot_express("groups of experts of a deepseek_v2 model");
  const RopeConfig& rope = config.rope;
  if (rope.kind != RopeKind::standard &&
      (rope.kind != RopeKind::yarn || rope.attention_factor ||
       rope.mscale.value_or(0) != rope.mscale_all_dim.value_or(0) || rope.mscale.value_or(0) == 0))
    cannot_express("this rope scaling of a deepseek model");
  size_t dense = 0;
  while (dense < mixture.layers.size() && !mixture.layers[dense]) ++dense;
  if (rope.kind == RopeKind::yarn)
    metadata[prefix + "rope.scaling.yarn_log_multiplier"] = gguf_f32(kLogMultiplier * *rope.mscale_all_dim);
  metadata[prefix + "attention.value_length"] = gguf_u32(latent.value);
  metadata[prefix + "attention.kv_lora_rank"] = gguf_u32(latent.kv_rank);
  if (latent.q_rank > 0) metadata[prefix + "attention.q_lora_rank"] = gguf_u32(latent.q_rank);
  metadata[prefix + "leading_dense_block_count"] = gguf_u32(static_cast<int64_t>(dense));
  metadata[prefix + "expert_feed_forward_length"] = gguf_u32(mixture.width);
  metadata[prefix + "expert_count"] = gguf_u32(mixture.experts);
  metadata[prefix + "expert_used_count"] = gguf_u32(mixture.chosen);
  metadata[prefix + "expert_shared_count"] = gguf_u32(mixture.shared);
  metadata[prefix + "expert_weights_scale"] = gguf_f32(mixture.scale);
  metadata[prefix + "expert_weights_norm"] = gguf_bool(mixture.normalize);
  metadata[prefix + "expert_gating_func"] = gguf_u32(v3 ? kSigmoidGate : kSoftmaxGate);
  if (mixture.groups > 1) {
    metadata[prefix + "expert_group_count"] = gguf_u32(mixture.groups);
    metadata[prefix + "expert_group_used_count"] = gguf_u32(mixture.kept);
  }
}

void read_deepseek(const GgufFile& gguf, const GgufKeys& keys, ModelConfig& config) {
  if (keys.integer("attention.key_length_mla") || gguf.find_tensor("blk.0.attn_kv_b.weight") == nullptr)
    throw caller_error("GGUF", "has the matrices of latent attention absorbed into one another (attn_k_b, attn_v_b)",
                       "use the model's Hugging Face folder");
  if (keys.integer("expert_gating_func").value_or(kSoftmaxGate) == kSigmoidGate) config.architecture = "deepseek_v3";
  LatentConfig& latent = config.latent;
  MixtureConfig& mixture = config.mixture;
  latent.kv_rank = keys.integer("attention.kv_lora_rank").value_or(0);
  latent.q_rank = keys.integer("attention.q_lora_rank").value_or(0);
  latent.value = keys.integer("attention.value_length").value_or(config.head_dim);
  latent.rotary = keys.integer("rope.dimension_count").value_or(0);
  latent.plain = config.head_dim - latent.rotary;
  constexpr int64_t kMaxWidth = int64_t{1} << 22;
  const int64_t dense = keys.integer("leading_dense_block_count").value_or(0);
  mixture.shared = keys.integer("expert_shared_count").value_or(0);
  mixture.width = keys.integer("expert_feed_forward_length").value_or(0);
  mixture.scale = keys.number("expert_weights_scale").value_or(1.0);
  mixture.normalize = keys.flag("expert_weights_norm").value_or(false);
  mixture.groups = std::max<int64_t>(1, keys.integer("expert_group_count").value_or(1));
  mixture.kept = std::max<int64_t>(1, keys.integer("expert_group_used_count").value_or(1));
  const bool fits = latent.kv_rank > 0 && latent.kv_rank <= kMaxWidth && latent.q_rank <= kMaxWidth &&
                    latent.value > 0 && latent.value <= kMaxWidth / config.heads && latent.plain > 0 &&
                    latent.rotary > 0 && latent.rotary % 2 == 0 && config.kv_heads == config.heads &&
                    dense <= config.layers && mixture.shared <= 1024 && mixture.scale > 0 && mixture.experts > 0 &&
                    mixture.experts % mixture.groups == 0 && mixture.kept <= mixture.groups &&
                    mixture.experts / mixture.groups * mixture.kept >= mixture.chosen;
  if (!fits)
    throw caller_error("GGUF", "has numbers of latent attention or of experts that do not fit together",
                       "convert the model again");
  std::fill_n(mixture.layers.begin(), dense, false);
  mixture.published_balance = 0.0;
  config.norm_eps = keys.number("attention.layer_norm_rms_epsilon").value_or(1e-6);
  config.rope.style = RopeStyle::interleaved;
  config.rope.partial_rotary_factor = 1.0;
  config.rope.attention_factor.reset();
  if (config.rope.kind == RopeKind::yarn)
    config.rope.mscale = config.rope.mscale_all_dim =
        keys.number("rope.scaling.yarn_log_multiplier").value_or(0.0) / kLogMultiplier;
}

// llama.cpp knows the activation's numbers and the pattern of the sliding layers.
void write_gpt_oss_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  const MixtureConfig& mixture = config.mixture;
  constexpr double kAlpha = 1.702, kLimit = 7.0;
  if (mixture.alpha != kAlpha || mixture.limit != kLimit)
    cannot_express(
        fmt::format("a gpt_oss model whose activation has alpha {} and limit {}", mixture.alpha, mixture.limit));
  if (!config.attention_bias) cannot_express("a gpt_oss model without biases of its attention");
  if (config.layer_slides != sliding_layers(config))
    cannot_express("this pattern of sliding layers of a gpt_oss model");
  metadata[prefix + "attention.sliding_window"] = gguf_u32(config.sliding_window);
  metadata[prefix + "expert_count"] = gguf_u32(mixture.experts);
  metadata[prefix + "expert_used_count"] = gguf_u32(mixture.chosen);
  metadata[prefix + "expert_feed_forward_length"] = gguf_u32(mixture.width);
}

void read_gpt_oss(const GgufKeys& keys, ModelConfig& config) {
  config.rope.truncate = false;                            // as the model was trained; files do not say
  config.attention_output_bias = config.mlp_bias = false;  // all are there, always
  config.sliding_window = keys.integer("attention.sliding_window").value_or(128);
  config.layer_slides = sliding_layers(config);
  config.mixture.width = keys.integer("expert_feed_forward_length").value_or(config.intermediate_size);
}

void write_mixture_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  const MixtureConfig& mixture = config.mixture;
  if (config.architecture == "gpt_oss") return write_gpt_oss_keys(config, prefix, metadata);
  if (config.latent.kv_rank > 0) return write_deepseek_keys(config, prefix, metadata);
  for (const bool sparse : mixture.layers)
    if (!sparse) cannot_express("layers without experts in a " + config.architecture + " model");
  if (!mixture.normalize) cannot_express("weights of experts that do not add up to one");
  metadata[prefix + "expert_count"] = gguf_u32(mixture.experts);
  metadata[prefix + "expert_used_count"] = gguf_u32(mixture.chosen);
  if (config.architecture == "qwen3_moe") metadata[prefix + "expert_feed_forward_length"] = gguf_u32(mixture.width);
}

}  // namespace

float added_in_gguf(const ModelConfig& config, std::string_view hf_name) {
  const bool norm = hf_name.ends_with("norm.weight");
  return config.architecture.starts_with("gemma") && norm ? 1.0F : 0.0F;
}

void read_rms_family(const GgufFile& gguf, const GgufKeys& keys, ModelConfig& config) {
  const std::string& family = config.architecture;
  if (family.starts_with("gemma")) config.activation = "gelu_pytorch_tanh";
  if (family == "gemma2" || family == "gemma3_text") read_later_gemma(keys, config);
  if (family == "granite") {
    config.embedding_multiplier = keys.number("embedding_scale").value_or(1.0);
    config.residual_multiplier = keys.number("residual_scale").value_or(1.0);
    config.logits_divisor = keys.number("logit_scale").value_or(1.0);
    config.attention_multiplier = keys.number("attention.scale").value_or(0.0);
    if (config.attention_multiplier == 0) config.attention_multiplier = 1.0 / std::sqrt(config.head_dim);
  }
  if (keys.integer("expert_count").value_or(0) == 0) return;
  MixtureConfig& mixture = config.mixture;
  mixture.experts = keys.integer("expert_count").value_or(0);
  mixture.chosen = keys.integer("expert_used_count").value_or(0);
  mixture.width = family == "qwen3_moe" ? keys.integer("expert_feed_forward_length").value_or(config.intermediate_size)
                                        : config.intermediate_size;
  mixture.layers.assign(static_cast<size_t>(config.layers), true);
  mixture.published_balance = 0.001;
  if (family == "deepseek_v2") read_deepseek(gguf, keys, config);
  if (family == "gpt_oss") read_gpt_oss(keys, config);
  const std::string first =
      fmt::format("blk.{}.ffn_gate_exps.weight",
                  std::find(mixture.layers.begin(), mixture.layers.end(), true) - mixture.layers.begin());
  if (mixture.experts > 4096 || mixture.chosen < 1 || mixture.chosen > mixture.experts || mixture.width < 1 ||
      mixture.width > (int64_t{1} << 22) || gguf.find_tensor(first) == nullptr)
    throw caller_error("GGUF",
                       fmt::format("has {} experts of which {} are chosen, and not all in one tensor a layer",
                                   mixture.experts, mixture.chosen),
                       "convert the model again with a current llama.cpp");
}

void write_rms_keys(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  const std::string& family = config.architecture;
  const std::string_view activation = family.starts_with("gemma") ? "gelu_pytorch_tanh" : "silu";
  if (config.activation != activation)
    cannot_express("the activation " + config.activation + " of a " + family + " model");
  constexpr std::array<std::string_view, 4> kPlain = {"llama", "mistral", "qwen2", "qwen3"};
  if (std::find(kPlain.begin(), kPlain.end(), family) != kPlain.end()) return;
  if ((config.attention_bias || config.mlp_bias) && family != "gpt_oss")
    cannot_express("biases of a " + family + " model");
  if (family == "gemma2" || family == "gemma3_text") write_later_gemma(config, prefix, metadata);
  if (family == "granite") {
    metadata[prefix + "embedding_scale"] = gguf_f32(config.embedding_multiplier);
    metadata[prefix + "residual_scale"] = gguf_f32(config.residual_multiplier);
    metadata[prefix + "logit_scale"] = gguf_f32(config.logits_divisor);
    metadata[prefix + "attention.scale"] = gguf_f32(config.attention_multiplier);
  }
  if (config.mixture.experts > 0) write_mixture_keys(config, prefix, metadata);
}

}  // namespace plimsoll
