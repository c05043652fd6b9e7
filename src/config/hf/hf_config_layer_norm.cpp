// config.json of the families with layer norms. Their keys and defaults follow no common pattern; each function has
// those of transformers 5.23 for one family.
#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "config/hf/hf_config_parts.h"
#include "config/hf/hf_families.h"

namespace plimsoll {
namespace {

using nlohmann::json;
using namespace config_limits;

const HfFamily& family_of(const ModelConfig& config) { return hf_family(config.architecture); }

// A size under any of its names; the first that is there counts.
int64_t size_of(const JsonFields& fields, std::initializer_list<std::string_view> keys, int64_t most) {
  for (const std::string_view key : keys)
    if (fields.find(key) != nullptr) return fields.required_integer(key, 1, most);
  return fields.required_integer(*keys.begin(), 1, most);
}

bool flag(const JsonFields& fields, std::string_view key, bool otherwise) {
  return fields.boolean(key).value_or(otherwise);
}

// Settings that no published model of the family has and that would change what it computes.
void require(const JsonFields& fields, std::string_view key, bool usual) {
  if (flag(fields, key, usual) != usual)
    fields.fail(key, fmt::format("is {}, which is not supported", !usual), "use a model that leaves it out");
}

void set_heads(const JsonFields& fields, ModelConfig& config, std::string_view key) {
  if (config.hidden_size % config.heads != 0)
    fields.fail(key, fmt::format("is {}, which does not divide {}, the width", config.heads, config.hidden_size),
                "correct these values");
  config.head_dim = config.hidden_size / config.heads;
  if (const auto head_dim = fields.integer("head_dim", 1, kMaxWidth).value_or(config.head_dim);
      config.positions == PositionKind::rotary && head_dim != config.head_dim)
    fields.fail("head_dim",
                fmt::format("is {}, but heads of {} models are hidden_size / {}, {}", head_dim, config.architecture,
                            key, config.head_dim),
                "use a model whose heads are");
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  if (config.heads % config.kv_heads != 0)
    fields.fail(key, fmt::format("is {}, not a multiple of {} key-value heads", config.heads, config.kv_heads),
                "correct these values");
}

void set_biases(ModelConfig& config, bool value) {
  config.attention_bias = config.attention_output_bias = config.mlp_bias = value;
}

void parse_gpt2(const JsonFields& fields, ModelConfig& config) {
  config.positions = PositionKind::learned;
  config.hidden_size = size_of(fields, {"n_embd", "hidden_size"}, kMaxWidth);
  config.layers = size_of(fields, {"n_layer", "num_hidden_layers"}, kMaxLayers);
  config.heads = size_of(fields, {"n_head", "num_attention_heads"}, kMaxWidth);
  config.intermediate_size = fields.integer("n_inner", 1, kMaxWidth).value_or(4 * config.hidden_size);
  config.context_length = size_of(fields, {"n_positions", "max_position_embeddings"}, kMaxWidth);
  config.norm_eps = fields.number("layer_norm_epsilon", 0.0, 1.0).value_or(family_of(config).norm_eps);
  config.activation = fields.text("activation_function").value_or("gelu_new");
  set_biases(config, true);
  set_heads(fields, config, "n_head");
  require(fields, "scale_attn_weights", true);
  require(fields, "scale_attn_by_inverse_layer_idx", false);
  require(fields, "add_cross_attention", false);
}

void parse_gpt_neox(const JsonFields& fields, ModelConfig& config) {
  config.hidden_size = fields.required_integer("hidden_size", 1, kMaxWidth);
  config.layers = fields.required_integer("num_hidden_layers", 1, kMaxLayers);
  config.heads = fields.required_integer("num_attention_heads", 1, kMaxWidth);
  config.intermediate_size = fields.required_integer("intermediate_size", 1, kMaxWidth);
  config.context_length =
      fields.integer("max_position_embeddings", 1, kMaxContext).value_or(family_of(config).context_length);
  config.norm_eps = fields.number("layer_norm_eps", 0.0, 1.0).value_or(family_of(config).norm_eps);
  config.activation = fields.text("hidden_act").value_or("gelu");
  config.parallel_residual = flag(fields, "use_parallel_residual", true);
  config.attention_bias = config.attention_output_bias = flag(fields, "attention_bias", true);
  config.mlp_bias = true;
  set_heads(fields, config, "num_attention_heads");
}

void parse_phi(const JsonFields& fields, ModelConfig& config) {
  config.hidden_size = fields.required_integer("hidden_size", 1, kMaxWidth);
  config.layers = fields.required_integer("num_hidden_layers", 1, kMaxLayers);
  config.heads = fields.required_integer("num_attention_heads", 1, kMaxWidth);
  config.kv_heads = fields.integer("num_key_value_heads", 1, kMaxWidth).value_or(config.heads);
  config.intermediate_size = fields.required_integer("intermediate_size", 1, kMaxWidth);
  config.context_length =
      fields.integer("max_position_embeddings", 1, kMaxContext).value_or(family_of(config).context_length);
  config.norm_eps = fields.number("layer_norm_eps", 0.0, 1.0).value_or(family_of(config).norm_eps);
  config.activation = fields.text("hidden_act").value_or("gelu_new");
  config.parallel_residual = true;
  config.query_key_norm = flag(fields, "qk_layernorm", false);
  set_biases(config, true);
  set_heads(fields, config, "num_attention_heads");
}

void parse_opt(const JsonFields& fields, ModelConfig& config) {
  config.positions = PositionKind::learned;
  config.hidden_size = fields.required_integer("hidden_size", 1, kMaxWidth);
  config.layers = fields.required_integer("num_hidden_layers", 1, kMaxLayers);
  config.heads = fields.required_integer("num_attention_heads", 1, kMaxWidth);
  config.intermediate_size = fields.required_integer("ffn_dim", 1, kMaxWidth);
  config.context_length =
      fields.integer("max_position_embeddings", 1, kMaxWidth).value_or(family_of(config).context_length);
  config.norm_eps = family_of(config).norm_eps;
  config.activation = fields.text("activation_function").value_or("relu");
  config.norm_before = flag(fields, "do_layer_norm_before", true);
  config.final_norm = config.norm_before && !flag(fields, "_remove_final_layer_norm", false);
  config.norm_weights = flag(fields, "layer_norm_elementwise_affine", true);
  config.embedding_width = fields.integer("word_embed_proj_dim", 1, kMaxWidth).value_or(config.hidden_size);
  if (config.embedding_width == config.hidden_size) config.embedding_width = 0;
  set_biases(config, flag(fields, "enable_bias", true));
  set_heads(fields, config, "num_attention_heads");
}

void parse_falcon(const JsonFields& fields, ModelConfig& config) {
  config.hidden_size = size_of(fields, {"hidden_size", "n_embed"}, kMaxWidth);
  config.layers = size_of(fields, {"num_hidden_layers", "n_layer"}, kMaxLayers);
  config.heads = size_of(fields, {"num_attention_heads", "n_head"}, kMaxWidth);
  config.intermediate_size = fields.integer("ffn_hidden_size", 1, kMaxWidth).value_or(4 * config.hidden_size);
  config.context_length =
      fields.integer("max_position_embeddings", 1, kMaxContext).value_or(family_of(config).context_length);
  config.norm_eps = fields.number("layer_norm_epsilon", 0.0, 1.0).value_or(family_of(config).norm_eps);
  config.activation = fields.text("activation").value_or("gelu");
  config.grouped_qkv = flag(fields, "new_decoder_architecture", false);
  config.positions = flag(fields, "alibi", false) ? PositionKind::alibi : PositionKind::rotary;
  config.parallel_residual = config.grouped_qkv || flag(fields, "parallel_attn", true);
  const bool multi_query = flag(fields, "multi_query", true);
  if (config.grouped_qkv) {
    std::optional<int64_t> kv_heads = fields.integer("num_kv_heads", 1, kMaxWidth);
    if (!kv_heads) kv_heads = fields.integer("n_head_kv", 1, kMaxWidth);
    config.kv_heads = kv_heads.value_or(config.heads);
    config.parallel_norms = fields.integer("num_ln_in_parallel_attn", 1, 2).value_or(2);
  } else {
    config.kv_heads = multi_query ? 1 : config.heads;
    if (fields.integer("num_ln_in_parallel_attn", 1, 2).value_or(1) != 1)
      fields.fail("num_ln_in_parallel_attn", "is 2 without new_decoder_architecture", "correct these values");
  }
  set_biases(config, flag(fields, "bias", false));
  set_heads(fields, config, "num_attention_heads");
}

void parse_bloom(const JsonFields& fields, ModelConfig& config) {
  config.positions = PositionKind::alibi;
  config.hidden_size = size_of(fields, {"hidden_size", "n_embed"}, kMaxWidth);
  config.layers = size_of(fields, {"n_layer", "num_hidden_layers"}, kMaxLayers);
  config.heads = size_of(fields, {"n_head", "num_attention_heads"}, kMaxWidth);
  config.intermediate_size = 4 * config.hidden_size;
  // Nothing in the model depends on it; the published models were trained on this length.
  config.context_length = fields.integer("seq_length", 1, kMaxContext).value_or(family_of(config).context_length);
  config.norm_eps = fields.number("layer_norm_epsilon", 0.0, 1.0).value_or(family_of(config).norm_eps);
  config.activation = "gelu_pytorch_tanh";
  config.residual_after_norm = flag(fields, "apply_residual_connection_post_layernorm", false);
  // transformers then leaves out the biases of two projections.
  if (flag(fields, "slow_but_exact", false) && fields.integer("pretraining_tp", 1, kMaxWidth).value_or(1) > 1)
    fields.fail("slow_but_exact", "is true", "set it to false: the result is that of the published models");
  set_biases(config, true);
  set_heads(fields, config, "n_head");
}

void parse_starcoder2(const JsonFields& fields, ModelConfig& config) {
  config.hidden_size = fields.required_integer("hidden_size", 1, kMaxWidth);
  config.layers = fields.required_integer("num_hidden_layers", 1, kMaxLayers);
  config.heads = fields.required_integer("num_attention_heads", 1, kMaxWidth);
  config.kv_heads = fields.integer("num_key_value_heads", 1, kMaxWidth).value_or(family_of(config).kv_heads);
  config.intermediate_size = fields.required_integer("intermediate_size", 1, kMaxWidth);
  config.context_length =
      fields.integer("max_position_embeddings", 1, kMaxContext).value_or(family_of(config).context_length);
  config.norm_eps = fields.number("norm_epsilon", 0.0, 1.0).value_or(family_of(config).norm_eps);
  config.activation = fields.text("hidden_act").value_or("gelu_pytorch_tanh");
  config.sliding_window = fields.integer("sliding_window", 1, kMaxContext).value_or(0);
  if (config.sliding_window > 0) config.layer_slides.assign(static_cast<size_t>(config.layers), true);
  set_biases(config, flag(fields, "use_bias", true));
  set_heads(fields, config, "num_attention_heads");
}

void write_common(const ModelConfig& config, json& out) {
  out["hidden_size"] = config.hidden_size;
  out["num_hidden_layers"] = config.layers;
  out["num_attention_heads"] = config.heads;
  out["initializer_range"] = config.initializer_range;
  out["attention_dropout"] = 0.0;
}

void write_gpt2(const ModelConfig& config, json& out) {
  out["n_embd"] = config.hidden_size;
  out["n_layer"] = config.layers;
  out["n_head"] = config.heads;
  out["n_positions"] = config.context_length;
  out["n_inner"] = config.intermediate_size == 4 * config.hidden_size ? json(nullptr) : json(config.intermediate_size);
  out["layer_norm_epsilon"] = config.norm_eps;
  out["activation_function"] = config.activation;
  out["initializer_range"] = config.initializer_range;
  for (const char* rate : {"attn_pdrop", "embd_pdrop", "resid_pdrop"}) out[rate] = 0.0;
}

void write_gpt_neox(const ModelConfig& config, json& out) {
  write_common(config, out);
  out["intermediate_size"] = config.intermediate_size;
  out["max_position_embeddings"] = config.context_length;
  out["layer_norm_eps"] = config.norm_eps;
  out["hidden_act"] = config.activation;
  out["use_parallel_residual"] = config.parallel_residual;
  out["attention_bias"] = config.attention_bias;
  out["hidden_dropout"] = 0.0;
}

void write_phi(const ModelConfig& config, json& out) {
  write_common(config, out);
  out["num_key_value_heads"] = config.kv_heads;
  out["intermediate_size"] = config.intermediate_size;
  out["max_position_embeddings"] = config.context_length;
  out["layer_norm_eps"] = config.norm_eps;
  out["hidden_act"] = config.activation;
  out["qk_layernorm"] = config.query_key_norm;
  out["resid_pdrop"] = out["embd_pdrop"] = 0.0;
}

void write_opt(const ModelConfig& config, json& out) {
  write_common(config, out);
  out.erase("initializer_range");
  out["init_std"] = config.initializer_range;
  out["ffn_dim"] = config.intermediate_size;
  out["max_position_embeddings"] = config.context_length;
  out["activation_function"] = config.activation;
  out["do_layer_norm_before"] = config.norm_before;
  out["_remove_final_layer_norm"] = config.norm_before && !config.final_norm;
  out["layer_norm_elementwise_affine"] = config.norm_weights;
  out["word_embed_proj_dim"] = config.embedding_width > 0 ? config.embedding_width : config.hidden_size;
  out["enable_bias"] = config.attention_bias;
  out["dropout"] = out["layerdrop"] = 0.0;
}

void write_falcon(const ModelConfig& config, json& out) {
  write_common(config, out);
  out["ffn_hidden_size"] = config.intermediate_size;
  out["max_position_embeddings"] = config.context_length;
  out["layer_norm_epsilon"] = config.norm_eps;
  out["activation"] = config.activation;
  out["alibi"] = config.positions == PositionKind::alibi;
  out["new_decoder_architecture"] = config.grouped_qkv;
  out["multi_query"] = config.grouped_qkv || config.kv_heads == 1;
  out["parallel_attn"] = config.parallel_residual;
  if (config.grouped_qkv) {
    out["num_kv_heads"] = config.kv_heads;
    out["num_ln_in_parallel_attn"] = config.parallel_norms;
  }
  out["bias"] = config.mlp_bias;
  out["hidden_dropout"] = 0.0;
}

void write_bloom(const ModelConfig& config, json& out) {
  write_common(config, out);
  out.erase("num_hidden_layers");
  out.erase("num_attention_heads");
  out["n_layer"] = config.layers;
  out["n_head"] = config.heads;
  out["layer_norm_epsilon"] = config.norm_eps;
  out["apply_residual_connection_post_layernorm"] = config.residual_after_norm;
  out["seq_length"] = config.context_length;
  out["hidden_dropout"] = 0.0;
}

void write_starcoder2(const ModelConfig& config, json& out) {
  write_common(config, out);
  out["num_key_value_heads"] = config.kv_heads;
  out["intermediate_size"] = config.intermediate_size;
  out["max_position_embeddings"] = config.context_length;
  out["norm_epsilon"] = config.norm_eps;
  out["hidden_act"] = config.activation;
  out["sliding_window"] = config.sliding_window > 0 ? json(config.sliding_window) : json(nullptr);
  out["use_bias"] = config.mlp_bias;
  out["residual_dropout"] = out["embedding_dropout"] = 0.0;
}

struct Family {
  std::string_view model_type;
  void (*parse)(const JsonFields& fields, ModelConfig& config);
  void (*write)(const ModelConfig& config, json& out);
};
constexpr std::array<Family, 7> kLayerNormFamilies = {{{"gpt2", parse_gpt2, write_gpt2},
                                                       {"gpt_neox", parse_gpt_neox, write_gpt_neox},
                                                       {"phi", parse_phi, write_phi},
                                                       {"opt", parse_opt, write_opt},
                                                       {"falcon", parse_falcon, write_falcon},
                                                       {"bloom", parse_bloom, write_bloom},
                                                       {"starcoder2", parse_starcoder2, write_starcoder2}}};

const Family* find_family(std::string_view model_type) {
  for (const Family& family : kLayerNormFamilies)
    if (family.model_type == model_type) return &family;
  return nullptr;
}

}  // namespace

bool parse_layer_norm_family(const JsonFields& fields, ModelConfig& config) {
  const Family* family = find_family(config.architecture);
  if (family == nullptr) return false;
  config.vocab_size = fields.required_integer("vocab_size", 1, kMaxVocabulary);
  family->parse(fields, config);
  config.tied_embeddings = flag(fields, "tie_word_embeddings", family_of(config).tied_embeddings);
  const std::string_view range = config.architecture == "opt" ? "init_std" : "initializer_range";
  config.initializer_range = fields.number(range, 0.0, 1e3).value_or(family_of(config).initializer_range);
  return true;
}

bool write_layer_norm_family(const ModelConfig& config, json& out) {
  const Family* family = find_family(config.architecture);
  if (family == nullptr) return false;
  family->write(config, out);
  return true;
}

}  // namespace plimsoll
