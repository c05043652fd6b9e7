// Writing config.json so that transformers 5 loads the same model.
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/error.h"
#include "config/hf/hf_config_families.h"
#include "config/hf/hf_config_parts.h"
#include "config/hf/hf_families.h"
#include "config/model_config.h"

namespace plimsoll {
namespace {

using nlohmann::json;

std::string_view transformers_dtype(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return "bfloat16";
    case DType::f16:
      return "float16";
    case DType::f64:
      return "float64";
    default:
      return "float32";
  }
}

// A GGUF file holds llama3 scaling only as the divisors that follow from it. The published models use few settings;
// find the one that gives these divisors, so that the config says what the original said.
std::optional<RopeConfig> recognise_llama3(const RopeConfig& rope, int64_t head_dim) {
  for (const double factor : {8.0, 32.0, 4.0, 16.0, 2.0}) {
    for (const int64_t original : {int64_t{8192}, int64_t{4096}, int64_t{2048}, int64_t{16384}}) {
      RopeConfig candidate = rope;
      candidate.frequency_divisors.clear();
      candidate.kind = RopeKind::llama3;
      candidate.factor = factor;
      candidate.low_freq_factor = 1.0;
      candidate.high_freq_factor = 4.0;
      candidate.original_context_length = original;
      const std::vector<double> divisors = llama3_frequency_divisors(candidate, head_dim);
      bool same = divisors.size() == rope.frequency_divisors.size();
      for (size_t i = 0; same && i < divisors.size(); ++i) {
        same = std::abs(divisors[i] - rope.frequency_divisors[i]) <= 1e-5 * divisors[i];
      }
      if (same) return candidate;
    }
  }
  return std::nullopt;
}

// `absent_partial`: the share that rotates where the key is left out.
json write_rope(RopeConfig rope, int64_t head_dim, double absent_partial = 1.0) {
  if (!rope.frequency_divisors.empty()) {
    if (rope.kind != RopeKind::standard) {
      throw caller_error("config.json", "has no way to hold both rope scaling and a tensor of rope frequencies",
                         "write a GGUF file instead");
    }
    if (const auto llama3 = recognise_llama3(rope, head_dim)) {
      rope = *llama3;
    } else {  // longrope with the same list for short and long texts is exactly a list of divisors
      rope.kind = RopeKind::longrope;
      rope.short_factor = rope.long_factor = rope.frequency_divisors;
      rope.attention_factor = 1.0;
      rope.factor = 1.0;
    }
  }
  json out = {{"rope_theta", rope.theta}};
  if (rope.partial_rotary_factor != absent_partial) out["partial_rotary_factor"] = rope.partial_rotary_factor;
  if (rope.kind != RopeKind::standard) out["factor"] = rope.factor;
  if (rope.original_context_length > 0) out["original_max_position_embeddings"] = rope.original_context_length;
  if (rope.attention_factor) out["attention_factor"] = *rope.attention_factor;
  switch (rope.kind) {
    case RopeKind::standard:
      out["rope_type"] = "default";
      break;
    case RopeKind::linear:
      out["rope_type"] = "linear";
      break;
    case RopeKind::dynamic:
      out["rope_type"] = "dynamic";
      break;
    case RopeKind::llama3:
      out["rope_type"] = "llama3";
      out["low_freq_factor"] = rope.low_freq_factor;
      out["high_freq_factor"] = rope.high_freq_factor;
      break;
    case RopeKind::yarn:
      out["rope_type"] = "yarn";
      out["beta_fast"] = rope.beta_fast;
      out["beta_slow"] = rope.beta_slow;
      if (!rope.truncate) out["truncate"] = false;
      if (rope.mscale) out["mscale"] = *rope.mscale;
      if (rope.mscale_all_dim) out["mscale_all_dim"] = *rope.mscale_all_dim;
      break;
    case RopeKind::longrope:
      out["rope_type"] = "longrope";
      out["short_factor"] = rope.short_factor;
      out["long_factor"] = rope.long_factor;
      if (rope.short_mscale) out["short_mscale"] = *rope.short_mscale;
      if (rope.long_mscale) out["long_mscale"] = *rope.long_mscale;
      break;
  }
  return out;
}

void write_sliding_window(const ModelConfig& config, json& out) {
  if (config.architecture == "llama") {
    PLIMSOLL_CHECK(config.layer_slides.empty(), "llama has no sliding window");
    return;
  }
  const bool slides = !config.layer_slides.empty();
  const std::string& family = config.architecture;
  if (family == "granite" || family == "olmo2" || family == "gemma" || config.latent.kv_rank > 0) {
    PLIMSOLL_CHECK(!slides, family + " has no sliding window");
    return;
  }
  out["sliding_window"] = slides ? json(config.sliding_window) : json(nullptr);
  if (family == "mistral" || family == "mixtral" || family == "phi3" || family == "phimoe") {
    for (int64_t layer = 0; slides && layer < config.layers; ++layer) {
      PLIMSOLL_CHECK(config.window_of_layer(layer) > 0, family + " slides in all layers or in none");
    }
    return;
  }
  if (family.starts_with("qwen")) out["use_sliding_window"] = slides;
  if (family == "qwen3_moe") return;
  json types = json::array();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    types.push_back(config.window_of_layer(layer) > 0 ? "sliding_attention" : "full_attention");
  }
  out["layer_types"] = std::move(types);
}

}  // namespace

std::vector<double> llama3_frequency_divisors(const RopeConfig& rope, int64_t head_dim) {
  const double original = static_cast<double>(rope.original_context_length);
  std::vector<double> divisors;
  for (int64_t i = 0; i < head_dim; i += 2) {
    const double wavelength =
        2 * std::numbers::pi * std::pow(rope.theta, static_cast<double>(i) / static_cast<double>(head_dim));
    const double share =
        (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    // Long waves are stretched by `factor`, short ones kept, those between blended.
    const double kept = std::fmin(std::fmax(share, 0.0), 1.0);
    divisors.push_back(1.0 / ((1.0 - kept) / rope.factor + kept));
  }
  return divisors;
}

namespace {

void write_token_ids(const ModelConfig& config, json& out) {
  const auto id = [](std::optional<int64_t> value) { return value ? json(*value) : json(nullptr); };
  out["bos_token_id"] = id(config.bos_token_id);
  out["pad_token_id"] = id(config.pad_token_id);
  if (config.eos_token_ids.size() <= 1) {
    out["eos_token_id"] = config.eos_token_ids.empty() ? json(nullptr) : json(config.eos_token_ids[0]);
  } else {
    out["eos_token_id"] = config.eos_token_ids;
  }
}

}  // namespace

std::string write_hf_config(const ModelConfig& config, DType stored_dtype) {
  json out;
  const std::string& family = config.architecture;
  out["architectures"] = {hf_family(family).class_name};
  out["model_type"] = family;
  out["dtype"] = transformers_dtype(stored_dtype);
  out["vocab_size"] = config.vocab_size;
  out["tie_word_embeddings"] = config.tied_embeddings;
  out["use_cache"] = true;
  if (write_layer_norm_family(config, out)) {
    if (config.positions == PositionKind::rotary)
      out["rope_parameters"] = write_rope(config.rope, config.head_dim, 0.0);
    write_token_ids(config, out);
    return out.dump(2) + "\n";
  }
  out["hidden_size"] = config.hidden_size;
  out["intermediate_size"] = config.intermediate_size;
  out["num_hidden_layers"] = config.layers;
  out["num_attention_heads"] = config.heads;
  out["num_key_value_heads"] = config.kv_heads;
  out["head_dim"] = config.head_dim;
  out["max_position_embeddings"] = config.context_length;
  out["rms_norm_eps"] = config.norm_eps;
  out["hidden_act"] = config.activation;
  out["initializer_range"] = config.initializer_range;
  out["attention_dropout"] = 0.0;

  const bool bias_as_family = family == "qwen2" ? config.attention_bias && !config.attention_output_bias
                              : family == "mistral" || family == "mixtral" || family == "phi3"
                                  ? !config.attention_bias && !config.attention_output_bias
                                  : config.attention_bias == config.attention_output_bias;
  if (!bias_as_family || (config.mlp_bias && family != "llama" && family != "granite" && family != "deepseek_v2") ||
      (config.head_bias && family != "phimoe")) {
    throw caller_error("config.json", "has no way to say which biases this " + family + " model has",
                       "write a GGUF file instead");
  }
  if (family != "mistral" && family != "qwen2" && family != "mixtral" && family != "phi3")
    out["attention_bias"] = config.attention_bias;
  if (family == "llama" || family == "granite" || family == "deepseek_v2") out["mlp_bias"] = config.mlp_bias;
  if (family == "phimoe") out["lm_head_bias"] = config.head_bias;

  RopeConfig rope = config.rope;
  if (!rope.frequency_divisors.empty()) rope.original_context_length = config.context_length;
  out["rope_parameters"] = write_rope(std::move(rope), config.head_dim);
  if (config.sliding_rope)
    out["rope_parameters"] = {{"full_attention", out["rope_parameters"]},
                              {"sliding_attention", write_rope(*config.sliding_rope, config.head_dim)}};
  write_family_keys(config, out);
  write_sliding_window(config, out);

  write_token_ids(config, out);
  return out.dump(2) + "\n";
}

}  // namespace plimsoll
