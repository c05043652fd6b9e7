#include "formats/peft.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "formats/number_conversion.h"
#include "formats/safetensors.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

using json = nlohmann::ordered_json;  // patterns hold in the order of the file

constexpr std::string_view kPrefix = "base_model.model.", kMagnitude = ".lora_magnitude_vector";
constexpr int64_t kMaxRank = 1 << 16;

// Keys that say nothing about what the adapter computes, and those that are read or refused below.
constexpr std::array kKnownKeys = {"alpha_pattern",
                                   "auto_mapping",
                                   "base_model_name_or_path",
                                   "bias",
                                   "ensure_weight_tying",
                                   "exclude_modules",
                                   "fan_in_fan_out",
                                   "inference_mode",
                                   "init_lora_weights",
                                   "layer_replication",
                                   "layers_pattern",
                                   "layers_to_transform",
                                   "loftq_config",
                                   "lora_alpha",
                                   "lora_bias",
                                   "lora_dropout",
                                   "megatron_config",
                                   "megatron_core",
                                   "modules_to_save",
                                   "peft_type",
                                   "peft_version",
                                   "qalora_group_size",
                                   "r",
                                   "rank_pattern",
                                   "revision",
                                   "target_modules",
                                   "target_parameters",
                                   "task_type",
                                   "trainable_token_indices",
                                   "use_dora",
                                   "use_rslora",
                                   "use_qalora",
                                   "use_bdlora",
                                   "alora_invocation_tokens",
                                   "arrow_config",
                                   "corda_config",
                                   "eva_config",
                                   "runtime_config",
                                   "lora_ga_config",
                                   "kasa_config",
                                   "velora_config",
                                   "monteclora_config"};

// Settings that change what the adapter computes in ways not known here: refused unless absent, null, false or empty.
constexpr std::array kUnsupportedKeys = {
    "modules_to_save", "lora_bias",        "layer_replication",       "target_parameters", "trainable_token_indices",
    "use_qalora",      "use_bdlora",       "alora_invocation_tokens", "arrow_config",      "kasa_config",
    "velora_config",   "monteclora_config"};

bool is_off(const json& value) {
  return value.is_null() || value == json(false) || (value.is_structured() && value.empty());
}

class Reader {
 public:
  Reader(std::string_view text, std::string_view source)
      : source_(source), root_(json::parse(text.begin(), text.end(), nullptr, false)) {
    if (!root_.is_object()) fail("is not a JSON object", "give the folder that PEFT's save_pretrained wrote");
  }

  [[noreturn]] void fail(const std::string& problem, const std::string& way_out) const {
    throw caller_error(source_, problem, way_out);
  }
  [[noreturn]] void unsupported(const std::string& key, const json& value) const {
    std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    fail(fmt::format("sets {} to {}, which is not supported", key, text), "use a plain LoRA or rsLoRA adapter");
  }

  const json& get(const std::string& key) const {
    static const json kNull;
    const auto found = root_.find(key);
    return found == root_.end() ? kNull : *found;
  }
  const json& root() const { return root_; }

  int64_t rank(const json& value, const std::string& key) const {
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > kMaxRank) {
      fail(fmt::format("{} is not an integer from 1 to {}", key, kMaxRank), "correct this value");
    }
    return value.get<int64_t>();
  }
  double number(const json& value, const std::string& key) const {
    if (!value.is_number() || !std::isfinite(value.get<double>()))
      fail(fmt::format("{} is not a number", key), "correct this value");
    return value.get<double>();
  }

 private:
  std::string source_;
  json root_;
};

// Keys are regular expressions that must match the end of a module's path after a dot or as a whole. Those that people
// write are literal names, perhaps with ^ at the start or \. for a dot; a plain dot fits any character.
bool is_simple_pattern(std::string_view key) {
  for (size_t i = key.starts_with('^') ? 1 : 0; i < key.size(); ++i) {
    if (key[i] == '\\') {
      if (i + 1 == key.size() || key[++i] != '.') return false;
    } else if (std::string_view("^$*+?()[]{}|").find(key[i]) != std::string_view::npos) {
      return false;
    }
  }
  return !key.empty();
}

bool matches(std::string_view key, std::string_view module) {
  const bool anchored = key.starts_with('^');
  if (anchored) key.remove_prefix(1);
  size_t at = module.size();
  for (size_t i = key.size(); i > 0; --i) {
    if (at == 0) return false;
    const char wanted = key[i - 1], got = module[--at];
    const bool escaped = wanted == '.' && i >= 2 && key[i - 2] == '\\';
    if (wanted == '.' && !escaped) continue;
    if (wanted != got) return false;
    if (escaped) --i;
  }
  return at == 0 || (!anchored && module[at - 1] == '.');
}

template <typename Value, typename Convert>
void read_pattern(const Reader& in, const std::string& key, std::vector<std::pair<std::string, Value>>& out,
                  Convert convert) {
  const json& object = in.get(key);
  if (object.is_null()) return;
  if (!object.is_object()) in.fail(key + " is not an object", "correct this value");
  for (const auto& [pattern, value] : object.items()) {
    if (!is_simple_pattern(pattern)) {
      in.fail(fmt::format("{} has the expression '{}'; only names of modules are read here", key, pattern),
              "write one entry for each module");
    }
    out.emplace_back(pattern, convert(value, key));
  }
}

void refuse_unsupported(const Reader& in) {
  const json& type = in.get("peft_type");
  if (type != json("LORA")) in.unsupported("peft_type", type);
  for (const char* key : kUnsupportedKeys) {
    if (!is_off(in.get(key))) in.unsupported(key, in.get(key));
  }
  const json& bias = in.get("bias");
  if (!bias.is_null() && bias != json("none")) in.unsupported("bias", bias);
  // These change the base weights when the adapter is made, so that it fits no other base.
  const json& init = in.get("init_lora_weights");
  if (init.is_string()) {
    const auto name = init.get<std::string>();
    if (name != "gaussian" && name != "eva" && name != "orthogonal") in.unsupported("init_lora_weights", init);
  }
  for (const auto& [key, value] : in.root().items()) {
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) == kKnownKeys.end() && !is_off(value)) {
      log_note(fmt::format("adapter_config.json: {} is not known here and has no effect", key));
    }
  }
}

// "base_model.model.<path>.lora_A.weight" → path and 'A'; 'M' for DoRA's magnitudes.
std::pair<std::string, char> split_tensor_name(const std::string& name, const std::string& source) {
  const auto fail = [&](const std::string& what) {
    return caller_error(source, fmt::format("tensor {} {}", name, what),
                        "use a plain LoRA or rsLoRA adapter of linear layers");
  };
  if (name.find(".lora_embedding_") != std::string::npos) throw fail("adapts an embedding, which is not supported");
  if (name.ends_with(".bias")) throw fail("is a trained bias, which is not supported");
  for (const char letter : {'A', 'B'}) {
    const std::string suffix = fmt::format(".lora_{}.weight", letter);
    if (!name.starts_with(kPrefix) || !name.ends_with(suffix) || name.size() <= kPrefix.size() + suffix.size())
      continue;
    return {name.substr(kPrefix.size(), name.size() - kPrefix.size() - suffix.size()), letter};
  }
  if (name.starts_with(kPrefix) && name.ends_with(kMagnitude) && name.size() > kPrefix.size() + kMagnitude.size())
    return {name.substr(kPrefix.size(), name.size() - kPrefix.size() - kMagnitude.size()), 'M'};
  throw fail("is neither lora_A nor lora_B of a module (modules_to_save are not supported)");
}

void check_shapes(const PeftModule& module, const std::string& source) {
  if (module.magnitude && (module.magnitude->shape != Shape{module.b.shape[0]} || !can_decode(module.magnitude->dtype)))
    throw caller_error(source,
                       fmt::format("module {} has lora_B {} and lora_magnitude_vector {}", module.path,
                                   to_string(module.b.shape), to_string(module.magnitude->shape)),
                       "save the adapter again");
  if (module.path.ends_with(".experts") || module.path.ends_with(".experts.base_layer"))
    throw caller_error(source, fmt::format("module {} holds the adapters of all experts as one", module.path),
                       "give the adapter as it was before PEFT stacked it, or merge it with PEFT");
  const TensorEntry &a = module.a, &b = module.b;
  const bool fits =
      a.shape.rank() == 2 && b.shape.rank() == 2 && a.shape[0] == module.rank && b.shape[1] == module.rank;
  if (!fits || !can_decode(a.dtype) || !can_decode(b.dtype)) {
    throw caller_error(source,
                       fmt::format("module {} has lora_A {} and lora_B {}, but its rank is {}", module.path,
                                   to_string(a.shape), to_string(b.shape), module.rank),
                       "use the adapter_config.json that belongs to these weights");
  }
}

}  // namespace

int64_t PeftConfig::rank_of(std::string_view module) const {
  for (const auto& [key, value] : rank_pattern) {
    if (matches(key, module)) return value;
  }
  return rank;
}

double PeftConfig::alpha_of(std::string_view module) const {
  for (const auto& [key, value] : alpha_pattern) {
    if (matches(key, module)) return value;
  }
  return alpha;
}

double PeftConfig::scale_of(std::string_view module) const {
  const auto r = static_cast<double>(rank_of(module));
  return alpha_of(module) / (rslora ? std::sqrt(r) : r);
}

PeftConfig parse_peft_config(std::string_view text, std::string_view source) {
  const Reader in(text, source);
  refuse_unsupported(in);
  PeftConfig out;
  const auto rank = [&](const json& value, const std::string& key) { return in.rank(value, key); };
  const auto number = [&](const json& value, const std::string& key) { return in.number(value, key); };
  if (!in.get("r").is_null()) out.rank = rank(in.get("r"), "r");
  if (!in.get("lora_alpha").is_null()) out.alpha = number(in.get("lora_alpha"), "lora_alpha");
  if (!(std::fabs(out.alpha) <= 1e9))
    throw caller_error(std::string(source), fmt::format("lora_alpha is {}", out.alpha), "correct this value");
  if (!in.get("lora_dropout").is_null()) out.dropout = number(in.get("lora_dropout"), "lora_dropout");
  out.rslora = in.get("use_rslora") == json(true);
  if (const json& dora = in.get("use_dora"); !is_off(dora) && dora != json(true)) in.unsupported("use_dora", dora);
  out.dora = in.get("use_dora") == json(true);
  out.fan_in_fan_out = in.get("fan_in_fan_out") == json(true);
  if (in.get("base_model_name_or_path").is_string())
    out.base_model = in.get("base_model_name_or_path").get<std::string>();
  read_pattern(in, "rank_pattern", out.rank_pattern, rank);
  read_pattern(in, "alpha_pattern", out.alpha_pattern, number);
  const json& targets = in.get("target_modules");
  out.target_is_expression = targets.is_string();
  for (const json& target : targets.is_array() ? targets : targets.is_null() ? json::array() : json::array({targets})) {
    if (!target.is_string()) in.fail("target_modules is neither a list of names nor a text", "correct this value");
    out.target_modules.push_back(target.get<std::string>());
  }
  return out;
}

PeftAdapter open_peft_adapter(const std::string& folder) {
  const std::string config_path = folder + "/adapter_config.json", weights_path = folder + "/adapter_model.safetensors";
  if (!file_exists(config_path)) {
    throw caller_error(folder, "has no adapter_config.json", "give the folder of a PEFT adapter");
  }
  if (!file_exists(weights_path)) {
    throw caller_error(folder, "has no adapter_model.safetensors",
                       "save the adapter with save_pretrained of a current PEFT");
  }
  PeftAdapter out;
  out.config = parse_peft_config(read_text_file(config_path), config_path);
  out.tensors = open_safetensors(weights_path);
  struct Parts {
    const TensorEntry *a = nullptr, *b = nullptr, *magnitude = nullptr;
  };
  std::map<std::string, Parts> found;
  for (const TensorEntry& entry : out.tensors.entries) {
    const auto [path, letter] = split_tensor_name(entry.name, weights_path);
    Parts& parts = found[path];
    (letter == 'A' ? parts.a : letter == 'B' ? parts.b : parts.magnitude) = &entry;
  }
  for (const auto& [path, parts] : found) {
    if (parts.a == nullptr || parts.b == nullptr) {
      throw caller_error(weights_path, fmt::format("module {} has only one of lora_A and lora_B", path),
                         "save the adapter again");
    }
    if (out.config.dora != (parts.magnitude != nullptr)) {
      throw caller_error(weights_path,
                         fmt::format("module {} has {} lora_magnitude_vector, but use_dora is {}", path,
                                     parts.magnitude != nullptr ? "a" : "no", out.config.dora),
                         "use the adapter_config.json that belongs to these weights");
    }
    PeftModule module{path, *parts.a, *parts.b, out.config.rank_of(path), out.config.scale_of(path)};
    if (parts.magnitude != nullptr) module.magnitude = *parts.magnitude;
    check_shapes(module, weights_path);
    out.modules.push_back(std::move(module));
  }
  if (out.modules.empty()) throw caller_error(weights_path, "holds no adapter", "save the adapter again");
  return out;
}

std::string write_peft_config(const PeftConfig& config) {
  nlohmann::json out;  // sorted, as PEFT writes it
  out["peft_type"] = "LORA";
  out["peft_version"] = "0.21.0";  // whose reader this is for
  out["task_type"] = "CAUSAL_LM";
  out["base_model_name_or_path"] =
      config.base_model.empty() ? nlohmann::json(nullptr) : nlohmann::json(config.base_model);
  out["revision"] = nullptr;
  out["inference_mode"] = true;
  out["r"] = config.rank;
  out["lora_alpha"] = config.alpha == std::floor(config.alpha) && std::fabs(config.alpha) < 1e15
                          ? nlohmann::json(static_cast<int64_t>(config.alpha))
                          : nlohmann::json(config.alpha);
  out["lora_dropout"] = config.dropout;
  out["use_rslora"] = config.rslora;
  out["bias"] = "none";
  out["fan_in_fan_out"] = config.fan_in_fan_out;
  out["init_lora_weights"] = true;
  out["lora_bias"] = false;
  out["use_dora"] = config.dora;
  for (const char* key : {"auto_mapping", "exclude_modules", "layer_replication", "layers_pattern",
                          "layers_to_transform", "modules_to_save", "target_parameters", "trainable_token_indices"}) {
    out[key] = nullptr;
  }
  out["rank_pattern"] = nlohmann::json::object();
  out["alpha_pattern"] = nlohmann::json::object();
  for (const auto& [key, value] : config.rank_pattern) out["rank_pattern"][key] = value;
  for (const auto& [key, value] : config.alpha_pattern) out["alpha_pattern"][key] = value;
  if (config.target_is_expression && config.target_modules.size() == 1) {
    out["target_modules"] = config.target_modules[0];
  } else {
    std::vector<std::string> sorted = config.target_modules;
    std::sort(sorted.begin(), sorted.end());
    out["target_modules"] = sorted;
  }
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string peft_tensor_name(std::string_view module, char a_or_b) {
  return fmt::format("{}{}.lora_{}.weight", kPrefix, module, a_or_b);
}

std::string peft_magnitude_name(std::string_view module) { return fmt::format("{}{}{}", kPrefix, module, kMagnitude); }

}  // namespace plimsoll
