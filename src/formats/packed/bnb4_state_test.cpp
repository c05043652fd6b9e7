#include "formats/packed/bnb4_state.h"

#include <gtest/gtest.h>

#include <set>

#include "support/golden.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

class Bnb4StateDict : public testing::TestWithParam<const char*> {};

// A weight quantized here has the names, shapes, JSON and bytes of the checkpoint.
TEST_P(Bnb4StateDict, IsTheLibrarysByteForByte) {
  const std::string path = "quant/bnb4_state_dict/" + std::string(GetParam());
  const Golden stored(path + ".safetensors"), expected(path + "_expected.safetensors");
  const std::string type_name = std::string(GetParam()).find("nf4") != std::string::npos ? "nf4" : "fp4";
  const std::string state_name = "layer.weight.quant_state.bitsandbytes__" + type_name;
  const auto json_bytes = stored.bytes(state_name);
  const std::string json(json_bytes.begin(), json_bytes.end());
  const Bnb4State state = parse_bnb4_state(json, "state");
  EXPECT_EQ(write_bnb4_state(state), json);
  const std::vector<int64_t> shape_of_weight = expected.shape("weight_original");
  EXPECT_EQ(state.shape, Shape(std::span<const int64_t>(shape_of_weight)));

  std::set<std::string> names{"layer.bias"};
  for (const SafetensorsOutput& tensor : bnb4_tensors("layer.weight", state)) {
    names.insert(tensor.name);
    const auto shape = stored.shape(tensor.name);
    ASSERT_EQ(static_cast<int>(shape.size()), tensor.shape.rank()) << tensor.name;
    for (int axis = 0; axis < tensor.shape.rank(); ++axis)
      EXPECT_EQ(shape[static_cast<size_t>(axis)], tensor.shape[axis]);
    EXPECT_EQ(static_cast<int64_t>(stored.bytes(tensor.name).size()), tensor.bytes());
  }
  const auto all = stored.names();
  EXPECT_EQ(names, std::set<std::string>(all.begin(), all.end()));

  const auto weight = expected.f32("weight_original");
  const auto n = static_cast<int64_t>(weight.size());
  std::vector<uint8_t> packed(static_cast<size_t>(bnb4_packed_bytes(n)));
  std::vector<float> absmax(static_cast<size_t>(state.blocks())), back(weight.size());
  quantize_bnb4(state.type, weight.data(), n, state.block, packed.data(), absmax.data());
  EXPECT_EQ(packed, stored.bytes("layer.weight"));
  if (state.nested) {
    std::vector<uint8_t> codes(absmax.size());
    std::vector<float> nested(1);
    EXPECT_FLOAT_EQ(quantize_absmax(absmax.data(), state.blocks(), codes.data(), nested.data()), state.nested_offset);
    EXPECT_EQ(codes, stored.bytes("layer.weight.absmax"));
    EXPECT_EQ(nested, stored.f32("layer.weight.nested_absmax"));
    restore_absmax(codes.data(), nested.data(), state.nested_offset, 0, state.blocks(), absmax.data());
  } else {
    EXPECT_EQ(absmax, stored.f32("layer.weight.absmax"));
  }
  dequantize_bnb4(state.type, packed.data(), absmax.data(), state.block, 0, n, back.data());
  EXPECT_EQ(back, expected.f32("weight_dequantized"));
}

INSTANTIATE_TEST_SUITE_P(Cases, Bnb4StateDict,
                         testing::Values("linear_nf4_double", "linear_nf4_plain", "linear_fp4_double"));

TEST(Bnb4State, NamesWhatIsWrong) {
  const auto refuse = [](const std::string& json, const std::string& part) {
    expect_caller_error([&] { parse_bnb4_state(json, "m.safetensors"); }, part);
  };
  refuse("{", "JSON");
  refuse(R"({"quant_type": "af4"})", "quant_type");
  refuse(R"({"quant_type": "nf4", "blocksize": 0})", "blocksize");
  refuse(R"({"quant_type": "nf4", "blocksize": 96})", "power of two");
  refuse(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "int8"})", "dtype");
  const std::string start = R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float16")";
  refuse(start + "}", "shape");
  refuse(start + R"(, "shape": [-1]})", "shape");
  refuse(start + R"(, "shape": [281474976710656, 281474976710656]})", "shape");
  refuse(start + R"(, "shape": [8, 8], "nested_blocksize": 256})", "nested_offset");
  refuse(start + R"(, "shape": [8, 8], "nested_blocksize": 64, "nested_offset": 1})", "nested_blocksize");
}

}  // namespace
}  // namespace plimsoll
