// Reading config.json. The defaults of keys that are absent are those of transformers 5.23, so that a file means the
// same model here and there.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "config/hf/hf_config_families.h"
#include "config/hf/hf_config_parts.h"
#include "config/hf/hf_families.h"
#include "config/json_fields.h"
#include "config/model_config.h"
#include "config/quantization_config.h"

namespace plimsoll {
namespace {

using nlohmann::json;
using namespace config_limits;

const HfFamily& find_family(const JsonFields& fields) {
  const std::optional<std::string> model_type = fields.text("model_type");
  std::vector<std::string_view> known;
  for (const HfFamily& family : hf_families()) {
    if (model_type == family.model_type) return family;
    known.push_back(family.model_type);
  }
  if (!model_type) {
    fields.fail("model_type", "is missing", "is this the config.json of a language model from Hugging Face?");
  }
  fields.fail("model_type", fmt::format("is '{}', an architecture that is not known here", *model_type),
              fmt::format("use a model of one of these: {}", fmt::join(known, ", ")));
}

RopeKind parse_rope_kind(const JsonFields& fields, std::string_view family) {
  std::optional<std::string> kind = fields.text("rope_type");
  if (!kind) kind = fields.text("type");
  if (!kind || *kind == "default") return RopeKind::standard;
  if (family == "phi3" && *kind == "yarn") return RopeKind::longrope;  // its first files called it so
  if (*kind == "linear") return RopeKind::linear;
  if (*kind == "dynamic") return RopeKind::dynamic;
  if (*kind == "llama3") return RopeKind::llama3;
  if (*kind == "yarn") return RopeKind::yarn;
  if (*kind == "longrope" || *kind == "su") return RopeKind::longrope;
  fields.fail("rope_type", fmt::format("is '{}'", *kind), "known are default, linear, dynamic, llama3, yarn, longrope");
}

std::vector<double> parse_divisors(const JsonFields& fields, std::string_view key, int64_t frequencies) {
  const json* list = fields.find(key);
  if (list == nullptr || !list->is_array() || static_cast<int64_t>(list->size()) != frequencies) {
    fields.fail(key, fmt::format("is not a list of {} numbers, one per frequency", frequencies), "correct this list");
  }
  std::vector<double> divisors;
  for (const json& value : *list) {
    if (!value.is_number() || !(value.get<double>() > 0)) {
      fields.fail(key, fmt::format("holds {}, not a positive number", shorten_json(value)), "correct this list");
    }
    divisors.push_back(value.get<double>());
  }
  return divisors;
}

// Reads what the kind needs out of `fields`; everything else keeps its default, so that equal models compare equal.
void parse_scaling(const JsonFields& fields, const JsonFields& top, const ModelConfig& config, RopeConfig& rope) {
  constexpr double kMax = 1e9;
  if (rope.kind == RopeKind::standard) return;
  if (config.architecture == "phimoe" && rope.kind != RopeKind::longrope)
    fields.fail("rope_type", "is a scaling that phimoe models do not have", "known are default, longrope");
  std::optional<double> factor = fields.number("factor", 1e-6, kMax);
  if (rope.kind == RopeKind::llama3 || rope.kind == RopeKind::yarn || rope.kind == RopeKind::longrope) {
    std::optional<int64_t> original = top.integer("original_max_position_embeddings", 1, kMaxContext);
    if (!original) original = fields.integer("original_max_position_embeddings", 1, kMaxContext);
    rope.original_context_length = original.value_or(config.context_length);
    if (!factor && rope.kind != RopeKind::llama3) {
      factor = static_cast<double>(config.context_length) / static_cast<double>(rope.original_context_length);
    }
  }
  if (!factor) fields.fail("factor", "is missing", "this kind of rope scaling needs it");
  rope.factor = *factor;
  if (rope.kind == RopeKind::llama3) {
    const auto low = fields.number("low_freq_factor", 1e-6, kMax), high = fields.number("high_freq_factor", 1e-6, kMax);
    if (!low || !high || !(*high > *low)) {
      fields.fail("high_freq_factor", "and low_freq_factor must both be given, the first above the second",
                  "correct these values");
    }
    rope.low_freq_factor = *low;
    rope.high_freq_factor = *high;
  } else if (rope.kind == RopeKind::yarn) {
    // transformers takes its default for 0 too.
    if (const auto fast = fields.number("beta_fast", 0, kMax); fast && *fast != 0) rope.beta_fast = *fast;
    if (const auto slow = fields.number("beta_slow", 0, kMax); slow && *slow != 0) rope.beta_slow = *slow;
    rope.truncate = fields.boolean("truncate").value_or(true);
    rope.mscale = fields.number("mscale", 0, kMax);
    rope.mscale_all_dim = fields.number("mscale_all_dim", 0, kMax);
    rope.attention_factor = fields.number("attention_factor", 0, kMax);
  } else if (rope.kind == RopeKind::longrope) {
    ModelConfig rotated = config;
    rotated.rope = rope;
    const int64_t frequencies = rotated.rotary_dim() / 2;
    rope.short_factor = parse_divisors(fields, "short_factor", frequencies);
    rope.long_factor = parse_divisors(fields, "long_factor", frequencies);
    rope.attention_factor = fields.number("attention_factor", 0, kMax);
    if (config.architecture != "phimoe") return;
    rope.short_mscale = fields.number("short_mscale", 0, kMax);
    rope.long_mscale = fields.number("long_mscale", 0, kMax);
    if (!rope.short_mscale || !rope.long_mscale)
      fields.fail("short_mscale", "and long_mscale must both be given for this model", "add these values");
  }
}

// The share of a head that rotates. transformers reads it in these families only; in the others it would be passed
// over with the default rope and break any scaled one.
double parse_partial_rotation(const JsonFields& fields, const JsonFields& top, const ModelConfig& config) {
  const std::string& family = config.architecture;
  const char* at_top = family == "gpt_neox" ? "rotary_pct" : "partial_rotary_factor";
  std::optional<double> partial = fields.number("partial_rotary_factor", 0.0, 1.0);
  if (!partial) partial = top.number(at_top, 0.0, 1.0);
  const double share = partial.value_or(hf_family(family).partial_rotary_factor);
  if (share != 1.0 && family != "gpt_neox" && family != "phi" && family != "phi3")
    top.fail(at_top, fmt::format("is {}, but {} models rotate whole heads", share, family), "set it to 1");
  if (config.latent.kv_rank > 0) return share;  // has a size of its own for what rotates
  const auto rotated = static_cast<int64_t>(static_cast<double>(config.head_dim) * share);
  if (rotated % 2 != 0)
    top.fail(share == 1.0 ? "head_dim" : at_top,
             fmt::format("makes {} of the {} values of a head rotate, and rope needs an even number", rotated,
                         config.head_dim),
             "correct this value");
  return share;
}

// The fields of one rope; what it leaves out may stand at the top, as it did before transformers 5.
RopeConfig parse_one_rope(const JsonFields& fields, const JsonFields& top, const ModelConfig& config,
                          double absent_theta) {
  RopeConfig rope;
  rope.kind = parse_rope_kind(fields, config.architecture);
  constexpr double kLeastTheta = 1.0, kMostTheta = 1e15;
  std::optional<double> theta = fields.number("rope_theta", kLeastTheta, kMostTheta);
  const char* theta_at_top = config.architecture == "gpt_neox" ? "rotary_emb_base" : "rope_theta";
  if (!theta) theta = top.number(theta_at_top, kLeastTheta, kMostTheta);
  rope.theta = theta.value_or(absent_theta);
  rope.partial_rotary_factor = parse_partial_rotation(fields, top, config);
  parse_scaling(fields, top, config, rope);
  return rope;
}

// Gemma 3: layers that slide have a rope of their own. transformers 5 nests both under rope_parameters; before it, the
// other one's theta was rope_local_base_freq.
RopeConfig parse_two_ropes(const JsonFields& top, std::string_view source, ModelConfig& config) {
  const json none = json::object();
  const double theta = hf_family(config.architecture).rope_theta;
  const json* nested = top.find("rope_parameters");
  if (nested != nullptr && nested->is_object() && nested->contains("full_attention")) {
    const auto part = [&](const char* name) {
      const json& object = nested->contains(name) && (*nested)[name].is_object() ? (*nested)[name] : none;
      return JsonFields(object, source, std::string("rope_parameters.") + name + ".");
    };
    config.sliding_rope = parse_one_rope(part("sliding_attention"), JsonFields(none, source), config, 10000.0);
    return parse_one_rope(part("full_attention"), JsonFields(none, source), config, theta);
  }
  config.sliding_rope = RopeConfig{};
  config.sliding_rope->theta = top.number("rope_local_base_freq", 1.0, 1e15).value_or(10000.0);
  const json* scaling = top.find("rope_scaling");
  const JsonFields fields(scaling != nullptr && scaling->is_object() ? *scaling : none, source, "rope_scaling.");
  return parse_one_rope(fields, top, config, theta);
}

RopeConfig parse_rope(const JsonFields& top, const ModelConfig& config, std::string_view source) {
  // transformers lets `rope_scaling` win where both are there.
  std::string_view key = "rope_scaling";
  const json* object = top.find(key);
  if (object == nullptr || object->empty()) object = top.find(key = "rope_parameters");
  const json none = absent_rope(config.architecture);
  if (object == nullptr) object = &none;
  if (!object->is_object())
    top.fail(key, fmt::format("is {}, not an object", shorten_json(*object)), "correct this value");
  const JsonFields fields(*object, source, std::string(key) + ".");
  for (const std::string_view nested : {"full_attention", "sliding_attention"}) {
    if (fields.find(nested) != nullptr) {
      fields.fail(nested, "gives this kind of layer a rope of its own, which these architectures do not have",
                  "use one rope for all layers");
    }
  }

  return parse_one_rope(fields, top, config, hf_family(config.architecture).rope_theta);
}

void parse_layer_types(const JsonFields& fields, int64_t window, std::vector<bool>& slides) {
  const json* types = fields.find("layer_types");
  if (types == nullptr) return;
  if (!types->is_array() || types->size() != slides.size()) {
    fields.fail("layer_types", fmt::format("is not a list of {} entries, one per layer", slides.size()), "correct it");
  }
  for (size_t i = 0; i < slides.size(); ++i) {
    const std::string type = (*types)[i].is_string() ? (*types)[i].get<std::string>() : "";
    if (type != "full_attention" && type != "sliding_attention") {
      fields.fail("layer_types", fmt::format("holds {}", shorten_json((*types)[i])),
                  "known are full_attention, sliding_attention");
    }
    slides[i] = type == "sliding_attention";
    if (slides[i] && window == 0) {
      fields.fail("layer_types", "has sliding_attention layers, but no sliding window is in use",
                  "set sliding_window and use_sliding_window, or make all layers full_attention");
    }
  }
}

// The sliding windows of the families: mistral slides in all layers; qwen2 and qwen3 where `layer_types` says so, or
// without that list from layer `max_window_layers` on, and only with `use_sliding_window`. The others: see
// hf_config_families.h.
void parse_sliding_window(const JsonFields& fields, ModelConfig& config) {
  const std::string& family = config.architecture;
  if (family == "llama") return;
  if (const auto pattern = sliding_pattern(fields, config)) {
    std::vector<bool> slides = pattern->slides;
    parse_layer_types(fields, pattern->window, slides);
    if (pattern->window == 0 || std::find(slides.begin(), slides.end(), true) == slides.end()) return;
    config.sliding_window = pattern->window;
    config.layer_slides = std::move(slides);
    return;
  }
  int64_t window = fields.integer("sliding_window", 1, kMaxContext).value_or(0);  // 0: none
  if (!fields.present("sliding_window")) window = 4096;
  std::vector<bool> slides(static_cast<size_t>(config.layers), true);
  if (family != "mistral") {
    if (!fields.boolean("use_sliding_window").value_or(false)) window = 0;
    const int64_t first = fields.integer("max_window_layers", 0, int64_t{1} << 30).value_or(28);
    for (size_t i = 0; i < slides.size(); ++i) slides[i] = static_cast<int64_t>(i) >= first;
    parse_layer_types(fields, window, slides);
  } else if (window > 0) {
    parse_layer_types(fields, window, slides);
    if (std::find(slides.begin(), slides.end(), false) != slides.end())
      fields.fail("layer_types", "has full_attention layers, but a mistral model with a sliding_window slides in all",
                  "remove layer_types, or set sliding_window to null");
  }
  if (window == 0 || std::find(slides.begin(), slides.end(), true) == slides.end()) return;
  config.sliding_window = window;
  config.layer_slides = std::move(slides);
}

void parse_token_ids(const JsonFields& fields, const HfFamily& family, ModelConfig& config) {
  const auto id = [&](std::string_view key, std::optional<int64_t> otherwise) {
    // -1 was a common way to write "none".
    const std::optional<int64_t> value = fields.integer(key, -1, kMaxVocabulary);
    if (!fields.present(key)) return otherwise;
    return value && *value >= 0 ? value : std::nullopt;
  };
  config.bos_token_id = id("bos_token_id", family.bos_token_id);
  config.pad_token_id = id("pad_token_id", std::nullopt);
  const json* eos = fields.find("eos_token_id");
  if (eos == nullptr || !eos->is_array()) {
    if (const auto single = id("eos_token_id", family.eos_token_id)) config.eos_token_ids = {*single};
    return;
  }
  for (const json& value : *eos) {
    if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > kMaxVocabulary) {
      fields.fail("eos_token_id", fmt::format("holds {}, not a token id", shorten_json(value)), "correct this list");
    }
    config.eos_token_ids.push_back(value.get<int64_t>());
  }
}

DType parse_stored_dtype(const JsonFields& fields) {
  std::optional<std::string> name = fields.text("dtype");
  if (!name) name = fields.text("torch_dtype");
  if (!name || *name == "float32") return DType::f32;
  if (*name == "bfloat16") return DType::bf16;
  if (*name == "float16") return DType::f16;
  if (*name == "float64") return DType::f64;
  if (*name == "auto") return DType::f32;
  fields.fail("dtype", fmt::format("is '{}'", *name), "known are float32, bfloat16, float16, float64");
}

}  // namespace

ModelConfig parse_hf_config(std::string_view text, std::string_view source) {
  const json object = parse_json_object(text, source);
  const JsonFields fields(object, source);
  const HfFamily& family = find_family(fields);
  parse_quantization_config(object, source);  // refuses what is not read

  ModelConfig config;
  config.architecture = family.model_type;
  if (parse_layer_norm_family(fields, config)) {
    if (config.positions == PositionKind::rotary) config.rope = parse_rope(fields, config, source);
    parse_token_ids(fields, family, config);
    config.stored_dtype = parse_stored_dtype(fields);
    return config;
  }
  config.vocab_size = fields.required_integer("vocab_size", 1, kMaxVocabulary);
  config.hidden_size = fields.required_integer("hidden_size", 1, kMaxWidth);
  config.intermediate_size = fields.required_integer("intermediate_size", 1, kMaxWidth);
  config.layers = fields.required_integer("num_hidden_layers", 1, kMaxLayers);
  config.heads = fields.required_integer("num_attention_heads", 1, kMaxWidth);
  const int64_t absent_kv_heads =
      family.kv_heads == 0 || fields.present("num_key_value_heads") ? config.heads : family.kv_heads;
  config.kv_heads = fields.integer("num_key_value_heads", 1, kMaxWidth).value_or(absent_kv_heads);
  if (config.heads % config.kv_heads != 0) {
    fields.fail("num_attention_heads",
                fmt::format("is {}, not a multiple of num_key_value_heads {}", config.heads, config.kv_heads),
                "correct these values");
  }
  const bool derive_head_dim = family.head_dim == 0 || fields.present("head_dim");
  const std::optional<int64_t> head_dim = fields.integer("head_dim", 1, kMaxWidth);
  if (!head_dim && derive_head_dim && config.hidden_size < config.heads) {
    fields.fail("hidden_size", fmt::format("is {}, less than the {} heads", config.hidden_size, config.heads),
                "correct these values");
  }
  config.head_dim = head_dim.value_or(derive_head_dim ? config.hidden_size / config.heads : family.head_dim);
  parse_latent_attention(fields, config);  // sets head_dim
  if (config.heads * config.head_dim > kMaxWidth) {
    fields.fail("head_dim", fmt::format("is {}, too large for {} heads", config.head_dim, config.heads),
                "correct this value");
  }
  config.context_length = fields.integer("max_position_embeddings", 1, kMaxContext).value_or(family.context_length);
  config.norm_eps = fields.number("rms_norm_eps", 0.0, 1.0).value_or(family.norm_eps);
  config.activation = parse_activation(fields, config.architecture);
  if (config.architecture == "qwen2") {
    config.attention_bias = true;
  } else if (config.architecture != "mistral" && config.architecture != "mixtral" && config.architecture != "phi3") {
    config.attention_bias = config.attention_output_bias =
        fields.boolean("attention_bias").value_or(config.architecture == "gpt_oss");
  }
  if (config.architecture == "llama" || config.architecture == "granite" || config.architecture == "deepseek_v2")
    config.mlp_bias = fields.boolean("mlp_bias").value_or(false);
  config.tied_embeddings = fields.boolean("tie_word_embeddings").value_or(family.tied_embeddings);
  if (config.architecture == "phimoe") config.head_bias = fields.boolean("lm_head_bias").value_or(false);
  config.initializer_range = fields.number("initializer_range", 0.0, 1e3).value_or(family.initializer_range);
  config.rope = config.architecture == "gemma3_text" ? parse_two_ropes(fields, source, config)
                                                     : parse_rope(fields, config, source);
  parse_multipliers(fields, config);
  parse_mixture(fields, config);
  parse_sliding_window(fields, config);
  parse_token_ids(fields, family, config);
  config.stored_dtype = parse_stored_dtype(fields);
  return config;
}

}  // namespace plimsoll
