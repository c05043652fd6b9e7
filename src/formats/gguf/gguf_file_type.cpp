#include "formats/gguf/gguf_file_type.h"

#include <array>
#include <charconv>

namespace plimsoll {
namespace {

constexpr std::array<GgufFileType, 19> kTypes = {{
    {"f32", 0, DType::f32},        {"f16", 1, DType::f16},      {"bf16", 32, DType::bf16},
    {"q8_0", 7, DType::q8_0},      {"q6_k", 18, DType::q6_k},   {"q5_k_m", 17, DType::q5_k},
    {"q5_k_s", 16, DType::q5_k},   {"q5_1", 9, DType::q5_1},    {"q5_0", 8, DType::q5_0},
    {"q4_k_m", 15, DType::q4_k},   {"q4_k_s", 14, DType::q4_k}, {"iq4_nl", 25, DType::iq4_nl},
    {"iq4_xs", 30, DType::iq4_xs}, {"q4_1", 3, DType::q4_1},    {"q4_0", 2, DType::q4_0},
    {"q3_k_l", 13, DType::q3_k},   {"q3_k_m", 12, DType::q3_k}, {"q3_k_s", 11, DType::q3_k},
    {"q2_k", 10, DType::q2_k},
}};

struct Layer {
  std::string_view part;  // "attn_v.weight"; the whole name where it belongs to no layer
  int64_t index = 0;
};

Layer layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return {name};
  const std::string_view rest = name.substr(kPrefix.size());
  const size_t dot = rest.find('.');
  Layer layer{name};
  if (dot == std::string_view::npos) return layer;
  std::from_chars(rest.data(), rest.data() + dot, layer.index);
  layer.part = rest.substr(dot + 1);
  return layer;
}

// The first and the last eighth of the layers, and every third between them.
bool gets_more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

// Its matrices are treated apart everywhere but in the attention's input.
bool is_falcon(const ModelConfig& config) { return config.architecture == "falcon"; }

DType of_attention_values(const GgufFileType& type, const ModelConfig& config, int64_t layer) {
  const bool shared_by_four = config.kv_heads > 0 && config.heads / config.kv_heads >= 4;
  if (type.name == "q2_k") return shared_by_four ? DType::q4_k : DType::q3_k;
  if (type.name == "q3_k_m") return layer < 2 ? DType::q5_k : DType::q4_k;
  if (type.name == "q3_k_l") return DType::q5_k;
  if (type.name == "q4_k_s" && layer < 4) return DType::q5_k;
  if ((type.name == "iq4_nl" || type.name == "iq4_xs") && shared_by_four) return DType::q5_k;
  if ((type.name == "q4_k_m" || type.name == "q5_k_m") && gets_more_bits(layer, config.layers)) return DType::q6_k;
  return type.base;
}

DType of_mlp_down(const GgufFileType& type, const ModelConfig& config, int64_t layer) {
  if (type.name == "q2_k") return DType::q3_k;
  const bool falcon = is_falcon(config), more = gets_more_bits(layer, config.layers);
  if (type.name == "q3_k_m") {
    if (layer < config.layers / 16) return DType::q5_k;
    return falcon && !more ? type.base : DType::q4_k;
  }
  if (type.name == "q3_k_l") return falcon ? DType::q4_k : DType::q5_k;
  if (falcon && type.name == "q4_k_s") return type.base;
  if (falcon && type.name == "q4_k_m" && more) return layer < config.layers / 16 ? DType::q6_k : DType::q5_k;
  if (type.name == "q4_k_s" || type.name == "iq4_nl" || type.name == "iq4_xs") {
    return layer < config.layers / 8 ? DType::q5_k : type.base;
  }
  return more && (type.name == "q4_k_m" || type.name == "q5_k_m") ? DType::q6_k : type.base;
}

DType of_attention_output(const GgufFileType& type, const ModelConfig& config) {
  if (is_falcon(config)) return type.name == "q3_k_l" ? DType::q4_k : type.base;
  if (type.name == "q2_k") return DType::q3_k;
  if (type.name == "q3_k_m") return DType::q4_k;
  if (type.name == "q3_k_l") return DType::q5_k;
  return type.base;
}

DType wanted_type(const GgufFileType& type, const ModelConfig& config, std::string_view name) {
  if (name == "position_embd.weight") return DType::f32;  // its rows are added, which llama.cpp does in f32 only
  const Layer layer = layer_of(name);
  const bool is_output = name == "output.weight" || (config.tied_embeddings && name == "token_embd.weight");
  if (is_output) {
    if (type.base == DType::q8_0 || !is_block_type(type.base)) return type.base;
    return is_falcon(config) ? DType::q8_0 : DType::q6_k;
  }
  if (layer.part == "attn_v.weight" || layer.part == "attn_qkv.weight") {
    const DType out = of_attention_values(type, config, layer.index);
    // Llama 2 and 3 of 70B share keys and values among eight heads: more bits cost little there.
    const bool is_70b = config.layers == 80 && config.heads != config.kv_heads && !is_falcon(config);
    return is_70b && (out == DType::q3_k || out == DType::q4_k) ? DType::q5_k : out;
  }
  if (layer.part == "ffn_down.weight") return of_mlp_down(type, config, layer.index);
  if (layer.part == "attn_output.weight") return of_attention_output(type, config);
  return type.base;
}

DType of_blocks_of_32(DType type) {
  switch (type) {
    case DType::q2_k:
    case DType::q3_k:
      return DType::q4_0;
    case DType::q4_k:
      return DType::q5_0;
    case DType::q5_k:
      return DType::q5_1;
    case DType::q6_k:
      return DType::q8_0;
    case DType::iq4_xs:
      return DType::iq4_nl;
    default:
      return type;
  }
}

}  // namespace

std::span<const GgufFileType> gguf_file_types() { return kTypes; }

const GgufFileType* find_gguf_file_type(std::string_view name) {
  std::string wanted(name);
  if (name == "q3_k" || name == "q4_k" || name == "q5_k") wanted += "_m";
  for (const GgufFileType& type : kTypes)
    if (type.name == wanted) return &type;
  return nullptr;
}

std::string gguf_file_type_names() {
  std::string names;
  for (const GgufFileType& type : kTypes) names += (names.empty() ? "" : ", ") + std::string(type.name);
  return names;
}

DType gguf_tensor_type(const GgufFileType& type, const ModelConfig& config, std::string_view name, const Shape& shape) {
  if (shape.rank() < 2) return DType::f32;
  const auto fits = [&](DType dtype) { return shape[-1] % dtype_info(dtype).block_elements == 0; };
  const DType wanted = wanted_type(type, config, name);
  if (fits(wanted)) return wanted;
  const DType smaller = of_blocks_of_32(wanted);
  return fits(smaller) ? smaller : DType::f16;
}

}  // namespace plimsoll
