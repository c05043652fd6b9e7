#include "formats/packed/bnb4_state.h"

#include <fmt/format.h>

#include <cmath>

#include "base/bytes.h"
#include "base/error.h"
#include "config/json_fields.h"
#include "quant/bnb/int8_blockwise.h"

namespace plimsoll {
namespace {

constexpr const char* kWayOut = "save the model again with bitsandbytes, or take the one that is not quantized";

std::string_view type_name(Bnb4Type type) { return type == Bnb4Type::nf4 ? "nf4" : "fp4"; }

std::string_view torch_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    default:
      PLIMSOLL_CHECK(false, "not a type of weights");
  }
}

DType dtype_of(const JsonFields& fields, std::string_view key) {
  const std::string name = fields.text(key).value_or("");
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    if (name == torch_name(dtype)) return dtype;
  fields.fail(key, "is not float32, float16 or bfloat16", kWayOut);
}

Shape shape_of(const nlohmann::json& object, const JsonFields& fields) {
  const nlohmann::json* list = fields.find("shape");
  if (list == nullptr || !list->is_array() || list->empty() || list->size() > 4)
    fields.fail("shape", "is not a list of one to four sizes", kWayOut);
  std::vector<int64_t> sizes;
  int64_t elements = 1;
  for (const nlohmann::json& size : object.at("shape")) {
    constexpr int64_t kMost = int64_t{1} << 48;
    const bool usable = size.is_number_unsigned() && size.get<uint64_t>() >= 1 && size.get<uint64_t>() <= kMost;
    if (!usable || elements > kMost / size.get<int64_t>()) fields.fail("shape", "has a size that cannot be", kWayOut);
    elements *= size.get<int64_t>();
    sizes.push_back(size.get<int64_t>());
  }
  return Shape(sizes);
}

}  // namespace

int64_t Bnb4State::blocks() const { return ceil_div(shape.elements(), block); }

std::string write_bnb4_state(const Bnb4State& state) {
  std::string sizes;
  for (int axis = 0; axis < state.shape.rank(); ++axis)
    sizes += fmt::format("{}{}", axis == 0 ? "" : ", ", state.shape[axis]);
  std::string out = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}])",
                                type_name(state.type), state.block, torch_name(state.dtype), sizes);
  if (state.nested) {
    out += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})", kNestedBlock,
                       static_cast<double>(state.nested_offset));
  }
  return out + "}";
}

Bnb4State parse_bnb4_state(std::string_view json, std::string_view source) {
  const nlohmann::json object = parse_json_object(json, source);
  const JsonFields fields(object, source);
  Bnb4State state;
  const std::string type = fields.text("quant_type").value_or("");
  if (type != "nf4" && type != "fp4") fields.fail("quant_type", "is neither nf4 nor fp4", kWayOut);
  state.type = type == "nf4" ? Bnb4Type::nf4 : Bnb4Type::fp4;
  state.block = fields.required_integer("blocksize", 32, 4096);
  if ((state.block & (state.block - 1)) != 0) fields.fail("blocksize", "is no power of two", kWayOut);
  state.dtype = dtype_of(fields, "dtype");
  state.shape = shape_of(object, fields);
  state.nested = fields.present("nested_blocksize") || fields.present("nested_offset");
  if (!state.nested) return state;
  fields.required_integer("nested_blocksize", kNestedBlock, kNestedBlock);
  if (fields.text("nested_dtype").value_or("float32") != "float32")
    fields.fail("nested_dtype", "is not float32", kWayOut);
  const auto offset = fields.number("nested_offset", -3e38, 3e38);
  if (!offset) fields.fail("nested_offset", "is missing", kWayOut);
  state.nested_offset = static_cast<float>(*offset);
  return state;
}

std::vector<SafetensorsOutput> bnb4_tensors(const std::string& weight, const Bnb4State& state) {
  const int64_t blocks = state.blocks();
  std::vector<SafetensorsOutput> out;
  out.push_back({weight, DType::u8, {bnb4_packed_bytes(state.shape.elements()), 1}});
  out.push_back({weight + ".absmax", state.nested ? DType::u8 : DType::f32, {blocks}});
  out.push_back({weight + ".quant_map", DType::f32, {16}});
  if (state.nested) {
    out.push_back({weight + ".nested_absmax", DType::f32, {ceil_div(blocks, kNestedBlock)}});
    out.push_back({weight + ".nested_quant_map", DType::f32, {256}});
  }
  out.push_back({fmt::format("{}.quant_state.bitsandbytes__{}", weight, type_name(state.type)),
                 DType::u8,
                 {static_cast<int64_t>(write_bnb4_state(state).size())}});
  return out;
}

}  // namespace plimsoll
