#include "quantize/folder_formats.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <numeric>
#include <set>

#include "arch/architecture.h"
#include "base/error.h"
#include "base/log.h"
#include "formats/packed/packed_encode.h"

namespace plimsoll {
namespace {

using Kind = PackedFormat::Kind;

constexpr const char* kGgufInstead = "choose a type of GGUF, q4_k_m say, and an --out that ends in .gguf";
constexpr int64_t kLeastGroup = 16;

// Names and shapes, in the order of the model.
std::vector<ParameterSpec> linear_weights(const ModelConfig& config) {
  if (config.mixture.experts > 0)
    throw caller_error("--type", "experts have no quantized form in folders that every loader shares", kGgufInstead);
  const ForwardGraph forward = build_forward(config, {});
  std::set<std::string> weights;
  for (const Op& op : forward.graph.ops)
    if (op.kind == OpKind::linear) weights.insert(forward.graph.value(op.operands[1]).name);
  std::vector<ParameterSpec> found;
  for (const ParameterSpec& spec : forward.parameters) {
    if (!weights.contains(spec.name)) continue;
    if (spec.in_out)
      throw caller_error(
          "--type",
          fmt::format("the linears of {} are stored transposed, which those of quantized folders are not",
                      config.architecture),
          kGgufInstead);
    found.push_back(spec);
  }
  return found;
}

[[noreturn]] void indivisible(int64_t size, const ParameterSpec& weight) {
  throw caller_error("--group-size",
                     fmt::format("{} does not divide {} of shape {}", size, weight.name, to_string(weight.shape)),
                     "give a smaller power of two, or choose llm_int8, fp8 or a type of GGUF");
}

// One tile for all: the largest that divides every matrix.
int64_t common_tile(const std::vector<ParameterSpec>& weights, const QuantizeType& type) {
  int64_t tile = type.packed.tile_rows;
  for (const ParameterSpec& weight : weights) {
    tile = std::gcd(std::gcd(tile, weight.shape[0]), weight.shape[1]);
    if (tile < kLeastGroup || (type.exact_groups && tile < type.packed.tile_rows))
      indivisible(type.packed.tile_rows, weight);
  }
  if (tile < type.packed.tile_rows)
    log_note(fmt::format("tiles of {0} × {0}: {1} does not divide every matrix", tile, type.packed.tile_rows));
  return tile;
}

std::string_view path_of(std::string_view weight) { return weight.substr(0, weight.rfind('.')); }
std::string_view leaf_of(std::string_view path) { return path.substr(path.rfind('.') + 1); }

}  // namespace

std::map<std::string, PackedFormat> folder_formats(const ModelConfig& config, const QuantizeType& type) {
  std::map<std::string, PackedFormat> formats;
  const std::vector<ParameterSpec> weights = linear_weights(config);
  std::map<int64_t, std::set<std::string>> smaller;  // leaves by the size they got instead
  const bool tiled = type.packed.kind == Kind::fp8_tiles && type.packed.tile_rows > 0;
  const int64_t tile = tiled ? common_tile(weights, type) : 0;
  // With zero points transformers reads one size for all matrices.
  int64_t common = type.packed.group;
  for (const ParameterSpec& weight : weights)
    if (!type.packed.symmetric) common = std::gcd(common, weight.shape[1]);
  for (const ParameterSpec& weight : weights) {
    PackedFormat format = type.packed;
    format.tile_rows = format.tile_cols = tile;
    if (format.kind == Kind::integers) {
      format.group = std::gcd(common, weight.shape[1]);
      if (format.group < std::min(kLeastGroup, type.packed.group)) indivisible(type.packed.group, weight);
      if (format.group != type.packed.group) smaller[format.group].emplace(leaf_of(path_of(weight.name)));
    }
    formats[weight.name] = format;
  }
  for (const auto& [size, leaves] : smaller)
    log_note(fmt::format("groups of {} in {}: {} does not divide their columns", size, fmt::join(leaves, ", "),
                         type.packed.group));
  return formats;
}

QuantizationConfig quantization_config_of(const std::map<std::string, PackedFormat>& formats,
                                          const QuantizeType& type) {
  QuantizationConfig out = quantization_config_of(formats.empty() ? type.packed : formats.begin()->second, type.rest);
  if (out.method != QuantizationConfig::Method::packed_integers) return out;
  std::map<std::string_view, std::set<int64_t>> sizes_of_leaf;
  std::map<int64_t, std::vector<std::string_view>> paths;
  for (const auto& [weight, format] : formats) {
    sizes_of_leaf[leaf_of(path_of(weight))].insert(format.group);
    paths[format.group].push_back(path_of(weight));
  }
  for (const auto& [size, modules] : paths) {
    std::set<std::string> targets;
    for (const std::string_view path : modules) {
      const std::string_view leaf = leaf_of(path);
      targets.insert(sizes_of_leaf.at(leaf).size() == 1 ? fmt::format("re:.*\\.{}$", leaf) : std::string(path));
    }
    if (paths.size() == 1) targets = {"Linear"};
    out.groups.push_back({size, {targets.begin(), targets.end()}});
  }
  return out;
}

}  // namespace plimsoll
