#include "config/hf/hf_config_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace plimsoll {
namespace {

using nlohmann::json;

constexpr int64_t kMaxWidth = int64_t{1} << 22;
constexpr int64_t kMaxExperts = 4096;
constexpr double kMaxFactor = 1e6;

// A positive number; null and absent count as `otherwise`.
double positive(const JsonFields& fields, std::string_view key, double otherwise) {
  return fields.number(key, 1e-9, kMaxFactor).value_or(otherwise);
}

std::vector<bool> sparse_layers_of_qwen(const JsonFields& fields, const ModelConfig& config) {
  const int64_t step = fields.integer("decoder_sparse_step", 1, kMaxWidth).value_or(1);
  std::vector<bool> sparse;
  for (int64_t layer = 0; layer < config.layers; ++layer) sparse.push_back((layer + 1) % step == 0);
  const json* dense = fields.find("mlp_only_layers");
  if (dense == nullptr) return sparse;
  if (!dense->is_array()) fields.fail("mlp_only_layers", "is no list of layers", "correct this value");
  for (const json& layer : *dense) {
    if (!layer.is_number_integer() || layer.get<int64_t>() < 0)
      fields.fail("mlp_only_layers", fmt::format("holds {}, not a layer", shorten_json(layer)), "correct this list");
    if (layer.get<int64_t>() < config.layers) sparse[static_cast<size_t>(layer.get<int64_t>())] = false;
  }
  return sparse;
}

void check_mixture(const JsonFields& fields, const MixtureConfig& mixture) {
  if (mixture.chosen > mixture.experts)
    fields.fail("num_experts_per_tok", fmt::format("is {}, more than the {} experts", mixture.chosen, mixture.experts),
                "correct these values");
  if (mixture.experts % mixture.groups != 0 || mixture.kept > mixture.groups ||
      mixture.experts / mixture.groups * mixture.kept < mixture.chosen)
    fields.fail("n_group",
                fmt::format("is {}, of which {} are kept: not enough for {} of {} experts", mixture.groups,
                            mixture.kept, mixture.chosen, mixture.experts),
                "correct these values");
}

int64_t expert_count(const JsonFields& fields, const char* key, const char* other, int64_t otherwise) {
  const auto count = fields.integer(key, 1, kMaxExperts);
  return count ? *count : fields.integer(other, 1, kMaxExperts).value_or(otherwise);
}

json dense_layers(const MixtureConfig& mixture) {
  json dense = json::array();
  for (size_t i = 0; i < mixture.layers.size(); ++i)
    if (!mixture.layers[i]) dense.push_back(i);
  return dense;
}

void write_mixture(const ModelConfig& config, json& out) {
  const MixtureConfig& mixture = config.mixture;
  out["num_experts_per_tok"] = mixture.chosen;
  if (config.latent.kv_rank == 0) {
    out["output_router_logits"] = mixture.balance_weight > 0;
    out["router_aux_loss_coef"] = mixture.published_balance;
    out["num_local_experts"] = mixture.experts;
  }
  if (config.architecture == "qwen3_moe") {
    out["num_experts"] = mixture.experts;
    out["moe_intermediate_size"] = mixture.width;
    out["norm_topk_prob"] = mixture.normalize;
    out["decoder_sparse_step"] = 1;
    out["mlp_only_layers"] = dense_layers(mixture);
  } else if (config.architecture == "gpt_oss") {
    out["swiglu_alpha"] = mixture.alpha;
    out["swiglu_limit"] = mixture.limit;
  } else if (config.architecture == "phimoe") {
    out["router_jitter_noise"] = mixture.jitter;
    out["input_jitter_noise"] = 0.0;
  } else if (config.latent.kv_rank > 0) {
    out["n_routed_experts"] = mixture.experts;
    out["n_shared_experts"] = mixture.shared;
    out["moe_intermediate_size"] = mixture.width;
    out["norm_topk_prob"] = mixture.normalize;
    out["routed_scaling_factor"] = mixture.scale;
    out["n_group"] = mixture.groups;
    out["topk_group"] = mixture.kept;
    const json dense = dense_layers(mixture);
    PLIMSOLL_CHECK(dense.empty() || dense.back() == dense.size() - 1, "the dense layers are the first ones");
    out["first_k_dense_replace"] = dense.size();
    if (config.architecture == "deepseek_v3") out["num_nextn_predict_layers"] = 0;
    else out["topk_method"] = mixture.groups > 1 ? "group_limited_greedy" : "greedy";
  }
}

void write_latent_attention(const ModelConfig& config, json& out) {
  const LatentConfig& latent = config.latent;
  const bool interleaved = config.rope.style == RopeStyle::interleaved;
  out["kv_lora_rank"] = latent.kv_rank;
  out["q_lora_rank"] = latent.q_rank > 0 ? json(latent.q_rank) : json(nullptr);
  out["qk_nope_head_dim"] = latent.plain;
  out["qk_rope_head_dim"] = latent.rotary;
  out["v_head_dim"] = latent.value;
  if (config.architecture == "deepseek_v3") out["rope_interleave"] = interleaved;
  else PLIMSOLL_CHECK(interleaved, "deepseek_v2 always turns neighbours");
  out.erase("head_dim");
}

}  // namespace

json absent_rope(std::string_view family) {
  if (family != "gpt_oss") return json::object();
  return {{"rope_type", "yarn"}, {"factor", 32.0},    {"beta_fast", 32.0},
          {"beta_slow", 1.0},    {"truncate", false}, {"original_max_position_embeddings", 4096}};
}

std::string parse_activation(const JsonFields& fields, std::string_view family) {
  if (!family.starts_with("gemma")) return fields.text("hidden_act").value_or("silu");
  const std::string name =
      fields.text("hidden_activation").value_or(fields.text("hidden_act").value_or("gelu_pytorch_tanh"));
  // The first Gemma files say gelu and mean its tanh form, as the models were trained.
  return name == "gelu" && family == "gemma" ? "gelu_pytorch_tanh" : name;
}

void parse_multipliers(const JsonFields& fields, ModelConfig& config) {
  if (config.architecture == "granite") {
    config.embedding_multiplier = positive(fields, "embedding_multiplier", 1.0);
    config.residual_multiplier = positive(fields, "residual_multiplier", 1.0);
    config.attention_multiplier = positive(fields, "attention_multiplier", 1.0);
    config.logits_divisor = positive(fields, "logits_scaling", 1.0);
  }
  if (config.architecture == "deepseek_v2" ||
      (config.architecture == "deepseek_v3" && fields.boolean("rope_interleave").value_or(true)))
    config.rope.style = RopeStyle::interleaved;
  if (config.architecture == "gemma2" || config.architecture == "gemma3_text") {
    config.query_pre_attn_scalar = positive(fields, "query_pre_attn_scalar", 256.0);
    const bool capped = config.architecture == "gemma2";
    const auto cap = [&](std::string_view key, double absent) {
      return positive(fields, key, fields.present(key) || !capped ? 0.0 : absent);
    };
    if (capped)
      config.attention_softcap = cap("attn_logit_softcapping", 50.0);  // Gemma 3 has the key, and no use of it
    config.logits_softcap = cap("final_logit_softcapping", 30.0);
    if (fields.boolean("use_bidirectional_attention").value_or(false))
      fields.fail("use_bidirectional_attention", "is true", "this is an embedding model; use a causal language model");
  }
}

namespace {

void parse_dense_layers(const JsonFields& fields, int64_t absent, ModelConfig& config) {
  const int64_t dense = fields.integer("first_k_dense_replace", 0, int64_t{1} << 30).value_or(absent);
  for (int64_t layer = 0; layer < std::min(dense, config.layers); ++layer)
    config.mixture.layers[static_cast<size_t>(layer)] = false;
}

void parse_deepseek_v2(const JsonFields& fields, ModelConfig& config) {
  MixtureConfig& mixture = config.mixture;
  mixture.experts = expert_count(fields, "n_routed_experts", "num_experts", 64);
  mixture.shared = fields.integer("n_shared_experts", 1, 1024).value_or(2);
  mixture.width = fields.integer("moe_intermediate_size", 1, kMaxWidth).value_or(1407);
  mixture.normalize = false;
  // DeepSeek's code normalizes in place of scaling, transformers ignores the key: there is no right answer.
  if (fields.boolean("norm_topk_prob").value_or(false))
    fields.fail("norm_topk_prob", "is true, which no published deepseek_v2 model has", "set it to false");
  mixture.scale = positive(fields, "routed_scaling_factor", 1.0);
  const std::string method = fields.text("topk_method").value_or("greedy");
  if (method == "group_limited_greedy") {
    mixture.groups = fields.required_integer("n_group", 1, kMaxExperts);
    mixture.kept = fields.required_integer("topk_group", 1, kMaxExperts);
  } else if (method != "greedy") {
    fields.fail("topk_method", fmt::format("is '{}'", method), "known are greedy, group_limited_greedy");
  }
  fields.required_integer("num_experts_per_tok", 1, kMaxExperts);
  parse_dense_layers(fields, 0, config);
}

}  // namespace

void parse_mixture(const JsonFields& fields, ModelConfig& config) {
  const std::string& family = config.architecture;
  constexpr std::array<std::string_view, 6> kMixtures = {"mixtral", "qwen3_moe",   "gpt_oss",
                                                         "phimoe",  "deepseek_v2", "deepseek_v3"};
  if (std::find(kMixtures.begin(), kMixtures.end(), family) == kMixtures.end()) return;
  MixtureConfig& mixture = config.mixture;
  mixture.layers.assign(static_cast<size_t>(config.layers), true);
  mixture.width = config.intermediate_size;
  int64_t absent_chosen = 2;
  if (family == "mixtral") {
    mixture.experts = expert_count(fields, "num_local_experts", "num_experts", 8);
  } else if (family == "gpt_oss") {
    mixture.experts = expert_count(fields, "num_local_experts", "num_experts", 128);
    mixture.alpha = positive(fields, "swiglu_alpha", 1.702);
    mixture.limit = positive(fields, "swiglu_limit", 7.0);
    absent_chosen = 4;
  } else if (family == "qwen3_moe") {
    mixture.experts = expert_count(fields, "num_experts", "num_local_experts", 128);
    mixture.width = fields.integer("moe_intermediate_size", 1, kMaxWidth).value_or(768);
    mixture.normalize = fields.boolean("norm_topk_prob").value_or(false);
    mixture.layers = sparse_layers_of_qwen(fields, config);
    absent_chosen = 8;
  } else if (family == "phimoe") {
    mixture.experts = expert_count(fields, "num_local_experts", "num_experts", 16);
    mixture.jitter = fields.number("router_jitter_noise", 0.0, 1.0).value_or(0.01);
  } else if (family == "deepseek_v2") {
    parse_deepseek_v2(fields, config);
  } else {
    mixture.experts = expert_count(fields, "n_routed_experts", "num_local_experts", 256);
    mixture.shared = fields.integer("n_shared_experts", 1, 1024).value_or(1);
    mixture.width = fields.integer("moe_intermediate_size", 1, kMaxWidth).value_or(2048);
    mixture.normalize = fields.boolean("norm_topk_prob").value_or(true);
    mixture.scale = positive(fields, "routed_scaling_factor", 2.5);
    mixture.groups = fields.integer("n_group", 1, kMaxExperts).value_or(8);
    mixture.kept = fields.integer("topk_group", 1, kMaxExperts).value_or(4);
    parse_dense_layers(fields, 3, config);
    absent_chosen = 8;
  }
  mixture.chosen = fields.integer("num_experts_per_tok", 1, kMaxExperts).value_or(absent_chosen);
  if (family == "phimoe" && mixture.chosen != 2)
    fields.fail("num_experts_per_tok", fmt::format("is {}, but phimoe chooses two experts", mixture.chosen),
                "correct this value");
  if (config.latent.kv_rank == 0) {  // transformers has no such loss for DeepSeek
    mixture.published_balance = fields.number("router_aux_loss_coef", 0.0, kMaxFactor).value_or(0.001);
    if (fields.boolean("output_router_logits").value_or(false)) mixture.balance_weight = mixture.published_balance;
  }
  check_mixture(fields, mixture);
}

void parse_latent_attention(const JsonFields& fields, ModelConfig& config) {
  if (config.architecture != "deepseek_v2" && config.architecture != "deepseek_v3") return;
  LatentConfig& latent = config.latent;
  latent.kv_rank = fields.integer("kv_lora_rank", 1, kMaxWidth).value_or(512);
  latent.q_rank = fields.integer("q_lora_rank", 1, kMaxWidth).value_or(fields.present("q_lora_rank") ? 0 : 1536);
  latent.plain = fields.integer("qk_nope_head_dim", 1, kMaxWidth).value_or(128);
  latent.rotary = fields.integer("qk_rope_head_dim", 2, kMaxWidth).value_or(64);
  latent.value = fields.integer("v_head_dim", 1, kMaxWidth).value_or(128);
  if (latent.rotary % 2 != 0)
    fields.fail("qk_rope_head_dim", fmt::format("is {}, and rope needs an even number", latent.rotary),
                "correct this value");
  if (config.kv_heads != config.heads)
    fields.fail(
        "num_key_value_heads",
        fmt::format("is {}, but latent attention gives each of the {} heads its own", config.kv_heads, config.heads),
        "correct this value");
  config.head_dim = latent.plain + latent.rotary;
  if (config.heads * (config.head_dim + latent.value) > kMaxWidth)
    fields.fail("qk_nope_head_dim", fmt::format("is {}, too large for {} heads", latent.plain, config.heads),
                "correct this value");
}

std::optional<SlidingPattern> sliding_pattern(const JsonFields& fields, const ModelConfig& config) {
  const std::string& family = config.architecture;
  const auto layers = static_cast<size_t>(config.layers);
  constexpr int64_t kMaxContext = int64_t{1} << 40;
  if (family == "granite" || family == "olmo2" || family == "gemma" || config.latent.kv_rank > 0)
    return SlidingPattern{0, std::vector<bool>(layers, false)};
  if (family == "phi3" || family == "mixtral" || family == "phimoe")  // all layers, where there is a window at all
    return SlidingPattern{fields.integer("sliding_window", 1, kMaxContext).value_or(0),
                          std::vector<bool>(layers, true)};
  if (family == "qwen3_moe") {
    const bool slides = fields.boolean("use_sliding_window").value_or(false);
    const int64_t window = fields.integer("sliding_window", 1, kMaxContext)
                               .value_or(slides && !fields.present("sliding_window") ? 4096 : 0);
    return SlidingPattern{slides ? window : 0, std::vector<bool>(layers, slides)};
  }
  if (family != "gemma2" && family != "gemma3_text" && family != "gpt_oss") return std::nullopt;
  // Every second layer, or every one but each sixth (or what the file says), sees all.
  int64_t step = 2;
  if (family == "gemma3_text") {
    const auto old = fields.integer("sliding_window_pattern", 1, 1 << 20);
    step = old.value_or(6);
  }
  SlidingPattern pattern{fields.integer("sliding_window", 1, kMaxContext).value_or(family == "gpt_oss" ? 128 : 4096),
                         {}};
  for (size_t i = 0; i < layers; ++i) pattern.slides.push_back((static_cast<int64_t>(i) + 1) % step != 0);
  return pattern;
}

void write_family_keys(const ModelConfig& config, json& out) {
  const std::string& family = config.architecture;
  if (family == "granite") {
    out["embedding_multiplier"] = config.embedding_multiplier;
    out["residual_multiplier"] = config.residual_multiplier;
    out["attention_multiplier"] = config.attention_multiplier;
    out["logits_scaling"] = config.logits_divisor;
    out["mlp_bias"] = config.mlp_bias;
  }
  if (family.starts_with("gemma")) out["hidden_activation"] = config.activation;
  if (family == "gemma2" || family == "gemma3_text") {
    const auto cap = [](double value) { return value > 0 ? json(value) : json(nullptr); };
    const double scalar = config.query_pre_attn_scalar;  // transformers insists on an integer
    out["query_pre_attn_scalar"] = scalar == std::floor(scalar) ? json(static_cast<int64_t>(scalar)) : json(scalar);
    out["attn_logit_softcapping"] = cap(config.attention_softcap);
    out["final_logit_softcapping"] = cap(config.logits_softcap);
  }
  if (config.mixture.experts > 0) write_mixture(config, out);
  if (config.latent.kv_rank > 0) write_latent_attention(config, out);
}

}  // namespace plimsoll
