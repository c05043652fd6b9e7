#include "config/quantization_config.h"

#include <fmt/format.h>

#include "config/json_fields.h"

namespace plimsoll {
namespace {

using nlohmann::json;
using Method = QuantizationConfig::Method;

constexpr const char* kWayOut = "use the unquantized model, or a GGUF file of it";
constexpr int64_t kMostColumns = int64_t{1} << 24;

QuantizationConfig parse_bitsandbytes(const JsonFields& fields) {
  QuantizationConfig out;
  const bool in_8 = fields.boolean("load_in_8bit").value_or(false);
  const bool in_4 = fields.boolean("load_in_4bit").value_or(false);
  if (in_8 == in_4) fields.fail("load_in_4bit", "and load_in_8bit do not say which of the two it is", kWayOut);
  out.method = in_4 ? Method::bnb_4bit : Method::bnb_int8;
  if (in_8) return out;
  out.bnb_type = fields.text("bnb_4bit_quant_type").value_or("fp4");
  if (out.bnb_type != "nf4" && out.bnb_type != "fp4")
    fields.fail("bnb_4bit_quant_type", fmt::format("is '{}', neither nf4 nor fp4", out.bnb_type), kWayOut);
  out.double_quant = fields.boolean("bnb_4bit_use_double_quant").value_or(false);
  out.compute_dtype = fields.text("bnb_4bit_compute_dtype").value_or("float32");
  if (fields.text("bnb_4bit_quant_storage").value_or("uint8") != "uint8")
    fields.fail("bnb_4bit_quant_storage", "is not uint8, the only storage that is read", kWayOut);
  return out;
}

void parse_blocks(const JsonFields& fields, std::string_view key, QuantizationConfig& out) {
  const json* sizes = fields.find(key);
  const bool usable = sizes != nullptr && sizes->is_array() && sizes->size() == 2 &&
                      std::all_of(sizes->begin(), sizes->end(), [](const json& size) {
                        return size.is_number_integer() && size.get<double>() >= 1 &&
                               size.get<double>() <= static_cast<double>(kMostColumns);
                      });
  if (!usable) fields.fail(key, "is not a list of two sizes", kWayOut);
  out.block_rows = sizes->at(0).get<int64_t>();
  out.block_cols = sizes->at(1).get<int64_t>();
}

// What one group of modules of compressed-tensors says of its weights.
QuantizationConfig parse_scheme(const JsonFields& scheme, const std::string& format) {
  QuantizationConfig out;
  const std::string type = scheme.text("type").value_or("int"), strategy = scheme.text("strategy").value_or("tensor");
  out.bits = static_cast<int>(scheme.required_integer("num_bits", 2, 8));
  out.symmetric = scheme.boolean("symmetric").value_or(true);
  if (type == "float") {
    out.method = Method::compressed_fp8;
    if (out.bits != 8) scheme.fail("num_bits", fmt::format("is {} for floats; read are 8", out.bits), kWayOut);
    if (strategy == "block") parse_blocks(scheme, "block_structure", out);
    else if (strategy == "channel") out.block_rows = 1;  // a scale for each row
    else if (strategy != "tensor") scheme.fail("strategy", fmt::format("is '{}'", strategy), kWayOut);
    return out;
  }
  out.method = Method::packed_integers;
  if (type != "int" || format != "pack-quantized")
    scheme.fail("type", fmt::format("is '{}' in the format {}", type, format), kWayOut);
  if (strategy != "group" && strategy != "channel")
    scheme.fail("strategy", fmt::format("is '{}', neither group nor channel", strategy), kWayOut);
  const std::string order = scheme.text("actorder").value_or("");
  if (order == "group" || order == "dynamic")
    scheme.fail("actorder", "is group: columns lie in another order than the model's", kWayOut);
  out.static_order = !order.empty();
  return out;
}

QuantizationConfig parse_compressed_tensors(const JsonFields& fields, std::string_view source) {
  const std::string format = fields.text("format").value_or("");
  if (format != "pack-quantized" && format != "float-quantized" && format != "naive-quantized")
    fields.fail("format", fmt::format("is '{}'; read are pack-quantized and float-quantized", format), kWayOut);
  const json* groups = fields.find("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty())
    fields.fail("config_groups", "names no group of modules", kWayOut);
  std::optional<QuantizationConfig> out;
  for (const json& group : *groups) {
    const json* weights = group.is_object() && group.contains("weights") ? &group.at("weights") : nullptr;
    if (weights == nullptr || !weights->is_object())
      fields.fail("config_groups", "has a group without weights", kWayOut);
    const QuantizationConfig scheme =
        parse_scheme(JsonFields(*weights, source, "quantization_config.weights."), format);
    if (out && *out != scheme) fields.fail("config_groups", "differ in more than the size of their groups", kWayOut);
    out = scheme;
  }
  // transformers: with this key weights are restored while loading, else scales are widened first.
  out->rounded = fields.boolean("dequantize").value_or(false);
  return *out;
}

}  // namespace

std::optional<QuantizationConfig> parse_quantization_config(const json& config, std::string_view source) {
  const auto found = config.find("quantization_config");
  if (found == config.end() || found->is_null()) return std::nullopt;
  const JsonFields whole(config, source);
  if (!found->is_object()) whole.fail("quantization_config", "is not an object", kWayOut);
  const JsonFields fields(*found, source, "quantization_config.");
  const std::string method = fields.text("quant_method").value_or("");
  if (method == "bitsandbytes") return parse_bitsandbytes(fields);
  if (method == "compressed-tensors") return parse_compressed_tensors(fields, source);
  if (method == "fp8") {
    QuantizationConfig out;
    out.method = Method::block_fp8;
    parse_blocks(fields, "weight_block_size", out);
    return out;
  }
  if (method == "mxfp4") {
    QuantizationConfig out;
    out.method = Method::mxfp4;
    return out;
  }
  whole.fail("quantization_config",
             method.empty() ? "does not say its quant_method"
                            : fmt::format("says that the weights are stored as '{}', which is not read here", method),
             kWayOut);
}

json write_quantization_config(const QuantizationConfig& config) {
  if (config.method == Method::bnb_4bit || config.method == Method::bnb_int8) {
    const bool in_4 = config.method == Method::bnb_4bit;
    return {{"quant_method", "bitsandbytes"},
            {"load_in_4bit", in_4},
            {"load_in_8bit", !in_4},
            {"bnb_4bit_quant_type", in_4 ? config.bnb_type : "fp4"},
            {"bnb_4bit_use_double_quant", config.double_quant},
            {"bnb_4bit_compute_dtype", in_4 ? config.compute_dtype : "float32"},
            {"bnb_4bit_quant_storage", "uint8"},
            {"llm_int8_skip_modules", nullptr},
            {"llm_int8_threshold", 6.0}};
  }
  if (config.method == Method::block_fp8)
    return {{"quant_method", "fp8"},
            {"activation_scheme", "dynamic"},
            {"fmt", "e4m3"},
            {"weight_block_size", {config.block_rows, config.block_cols}}};
  const bool floats = config.method == Method::compressed_fp8;
  json groups = json::object();
  const auto add = [&](const std::vector<std::string>& targets, int64_t size) {
    json weights = {{"dynamic", false},
                    {"num_bits", floats ? 8 : config.bits},
                    {"observer", "minmax"},
                    {"strategy", floats ? "tensor" : (size > 0 ? "group" : "channel")},
                    {"symmetric", floats || config.symmetric},
                    {"type", floats ? "float" : "int"}};
    if (size > 0) weights["group_size"] = size;
    if (config.static_order) weights["actorder"] = "static";
    groups["group_" + std::to_string(groups.size())] = {{"targets", targets}, {"weights", std::move(weights)}};
  };
  for (const QuantizationConfig::Group& group : config.groups) add(group.targets, group.size);
  if (config.groups.empty()) add({"Linear"}, 0);
  json out = {{"quant_method", "compressed-tensors"},
              {"format", floats ? "naive-quantized" : "pack-quantized"},
              {"quantization_status", "compressed"},
              {"ignore", json::array({config.head})},
              {"config_groups", std::move(groups)}};
  if (config.rounded) out["dequantize"] = true;
  return out;
}

}  // namespace plimsoll
