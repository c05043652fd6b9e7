#include "models/new_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <vector>

#include "arch/initialization.h"
#include "base/counter_random.h"
#include "base/error.h"
#include "formats/number_conversion.h"
#include "formats/safetensors_writer.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

// The names that families have for one fact.
using Names = std::array<const char*, 4>;
constexpr Names kHidden = {"hidden_size", "n_embd"}, kLayers = {"num_hidden_layers", "n_layer"},
                kHeads = {"num_attention_heads", "n_head"}, kKvHeads = {"num_key_value_heads", "num_kv_heads"},
                kIntermediate = {"intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"},
                kContext = {"max_position_embeddings", "n_positions", "n_ctx", "seq_length"};

// The key of `config` for a fact; the first name where it has none.
const char* key_of(const Json& config, const Names& names) {
  for (const char* name : names)
    if (name != nullptr && config.contains(name)) return name;
  return names[0];
}

std::optional<int64_t> value_of(const Json& config, const Names& names) {
  const auto found = config.find(key_of(config, names));
  if (found == config.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<int64_t>();
}

void scale_width(Json& config, const Names& names, int64_t before, int64_t after) {
  const std::optional<int64_t> old = value_of(config, names);
  if (!old || before <= 0) return;
  const double scaled = static_cast<double>(*old) * static_cast<double>(after) / static_cast<double>(before);
  config[key_of(config, names)] = std::max<int64_t>(1, static_cast<int64_t>(std::llround(scaled / 8)) * 8);
}

void resize_heads(Json& config, const ModelSizes& sizes) {
  const std::optional<int64_t> heads = value_of(config, kHeads), kv_heads = value_of(config, kKvHeads);
  if (sizes.heads) {
    config[key_of(config, kHeads)] = *sizes.heads;
    if (kv_heads && heads && *heads > 0)
      config[key_of(config, kKvHeads)] = std::max<int64_t>(1, *kv_heads * *sizes.heads / *heads);
  }
  if (sizes.kv_heads) config[key_of(config, kKvHeads)] = *sizes.kv_heads;
  if (sizes.head_dim) config["head_dim"] = *sizes.head_dim;
  else if (sizes.hidden || sizes.heads) config.erase("head_dim");
}

void drop_missing_tokens(Json& config, int64_t vocab) {
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (const auto id = config.find(key); id != config.end())
      if (!id->is_number_integer() || id->get<int64_t>() >= vocab) *id = nullptr;
}

// A pair of independent normal numbers out of two uniform ones (Box and Muller 1958).
float normal_at(uint64_t seed, uint64_t stream, int64_t index) {
  const auto pair = static_cast<uint64_t>(index / 2) * 2;
  const double radius = std::sqrt(-2 * std::log(1 - uniform_at(seed, stream, pair)));
  const double angle = 2 * std::numbers::pi * uniform_at(seed, stream, pair + 1);
  return static_cast<float>(radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

void fill(const Initialization& rule, uint64_t seed, uint64_t stream, int64_t first, int64_t row_elements,
          std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t index = first + static_cast<int64_t>(i);
    switch (rule.kind) {
      case Initialization::Kind::ones:
        out[i] = 1;
        break;
      case Initialization::Kind::zeros:
        out[i] = 0;
        break;
      case Initialization::Kind::normal:
        out[i] = rule.zero_row >= 0 && index / row_elements == rule.zero_row
                     ? 0
                     : static_cast<float>(rule.deviation) * normal_at(seed, stream, index);
        break;
    }
  }
}

}  // namespace

std::string resize_config(std::string_view config_json, std::string_view source, const ModelSizes& sizes) {
  Json config = Json::parse(config_json, nullptr, false);
  if (!config.is_object())
    throw caller_error(std::string(source), "is not the config.json of a model", "name a model of the catalogue");
  if (sizes.layers) {
    config[key_of(config, kLayers)] = *sizes.layers;
    config.erase("layer_types");  // the family's own pattern goes on
  }
  resize_heads(config, sizes);
  if (sizes.hidden) {
    const int64_t before = value_of(config, kHidden).value_or(0);
    config[key_of(config, kHidden)] = *sizes.hidden;
    if (!sizes.intermediate) scale_width(config, kIntermediate, before, *sizes.hidden);
    scale_width(config, {"moe_intermediate_size"}, before, *sizes.hidden);
    if (config.contains("word_embed_proj_dim")) config["word_embed_proj_dim"] = *sizes.hidden;
  }
  if (sizes.intermediate) config[key_of(config, kIntermediate)] = *sizes.intermediate;
  if (sizes.context) config[key_of(config, kContext)] = *sizes.context;
  if (sizes.tied) config["tie_word_embeddings"] = *sizes.tied;
  if (sizes.vocab) {
    config["vocab_size"] = *sizes.vocab;
    drop_missing_tokens(config, *sizes.vocab);
  }
  return config.dump(2) + "\n";
}

void write_random_weights(const ModelConfig& config, DType dtype, uint64_t seed, const std::string& folder,
                          const std::function<void(int64_t)>& progress) {
  constexpr int64_t kPiece = int64_t{1} << 18;
  const std::vector<ParameterSpec> parameters = list_parameters(config);
  std::vector<SafetensorsOutput> entries;
  for (const ParameterSpec& parameter : parameters)
    entries.push_back({parameter.name, parameter.part == ParameterPart::buffer ? DType::f32 : dtype, parameter.shape});
  SafetensorsWriter writer(folder + "/model.safetensors", entries);
  std::vector<float> values(static_cast<size_t>(kPiece));
  std::vector<std::byte> bytes(static_cast<size_t>(kPiece * 4));
  int64_t written = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Initialization rule = initialization_of(config, parameters[i]);
    const int64_t elements = entries[i].shape.elements();
    const int64_t row = entries[i].shape.rank() > 1 ? elements / entries[i].shape[0] : 1;
    for (int64_t first = 0; first < elements; first += kPiece) {
      const std::span<float> piece(values.data(), static_cast<size_t>(std::min(kPiece, elements - first)));
      fill(rule, seed, i, first, row, piece);
      encode_values(entries[i].dtype, piece, bytes.data());
      const auto size = static_cast<size_t>(dtype_bytes(entries[i].dtype, static_cast<int64_t>(piece.size())));
      writer.write(std::span(bytes).first(size));
      progress(written += static_cast<int64_t>(size));
    }
  }
  writer.finish();
}

}  // namespace plimsoll
