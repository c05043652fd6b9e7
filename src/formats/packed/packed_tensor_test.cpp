#include "formats/packed/packed_tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

#include "formats/model_files.h"
#include "formats/packed/packed_encode.h"
#include "support/golden.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

using Kind = PackedFormat::Kind;

std::vector<float> random_matrix(int64_t count) {
  std::mt19937 engine(3);
  std::normal_distribution<float> normal(0.0F, 0.1F);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

PackedFormat of_kind(Kind kind) {
  PackedFormat format;
  format.kind = kind;
  format.restored = DType::f32;
  return format;
}

struct Encoded {
  std::vector<SafetensorsOutput> outputs;
  std::vector<std::byte> bytes;
  SquaredError error;
};

Encoded encode(const PackedFormat& format, int64_t rows, int64_t cols, const std::vector<float>& values, int threads) {
  ThreadPool pool(threads);
  std::vector<AffineGroup> groups;
  if (format.kind == Kind::integers) {
    groups.resize(static_cast<size_t>(rows * cols / format.group));
    choose_groups(format, Clipping::absmax, 0.99, values.data(), rows, cols, pool, groups.data());
  }
  Encoded out;
  out.outputs = packed_outputs(format, "l.weight", rows, cols);
  out.bytes.resize(static_cast<size_t>(packed_encode_bytes(format, rows, cols)));
  out.error = encode_packed(format, rows, cols, values.data(), groups.data(), pool, out.bytes);
  return out;
}

QuantizationConfig config_of(const PackedFormat& format) {
  QuantizationConfig config = quantization_config_of(format, DType::f32);
  config.rounded = false;
  return config;
}

TensorIndex written(const TestFolder& folder, const Encoded& encoded, const QuantizationConfig& config) {
  SafetensorsWriter writer(folder / "w.safetensors", encoded.outputs);
  int64_t bytes = 0;
  for (const SafetensorsOutput& output : encoded.outputs) bytes += output.bytes();
  writer.write(std::span(encoded.bytes).first(static_cast<size_t>(bytes)));
  writer.finish();
  TensorIndex index = open_safetensors(folder / "w.safetensors");
  resolve_packed_tensors(index, config);
  return index;
}

struct Case {
  const char* name;
  PackedFormat format;
  int64_t rows, cols;
  double most;  // relative error of normal values
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const char* name, Kind kind, int64_t rows, int64_t cols, double most, auto change) {
    PackedFormat format = of_kind(kind);
    change(format);
    all.push_back({name, format, rows, cols, most});
  };
  add("nf4", Kind::bnb4, 33, 37, 0.11, [](PackedFormat&) {});
  add("nf4_double", Kind::bnb4, 150, 131, 0.11, [](PackedFormat& f) { f.nested = true; });
  add("fp4_double_b128", Kind::bnb4, 20, 96, 0.16, [](PackedFormat& f) {
    f.bnb4 = Bnb4Type::fp4;
    f.block = 128;
    f.nested = true;
  });
  add("llm_int8", Kind::int8_rows, 19, 40, 0.01, [](PackedFormat&) {});
  add("fp8", Kind::fp8_tiles, 19, 40, 0.03, [](PackedFormat&) {});
  add("fp8_bf16_scale", Kind::fp8_tiles, 19, 40, 0.03, [](PackedFormat& f) { f.scale = DType::bf16; });
  add("fp8_block", Kind::fp8_tiles, 64, 48, 0.03, [](PackedFormat& f) {
    f.tile_rows = f.tile_cols = 16;
    f.inverse_name = true;
  });
  for (const int bits : {2, 3, 4, 5, 8})
    for (const bool symmetric : {true, false})
      add(symmetric ? "integers" : "integers_zeros", Kind::integers, 21, 96, bits == 2 ? 1.0 : 2.2 / (1 << bits),
          [&](PackedFormat& f) {
            f.bits = bits;
            f.symmetric = symmetric;
            f.group = 32;
            f.scale = bits == 4 ? DType::bf16 : (bits == 8 ? DType::f16 : DType::f32);
          });
  return all;
}

TEST(PackedTensor, IsReadAsItWasWritten) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(std::string(test.name) + " " + std::to_string(test.format.bits));
    const std::vector<float> values = random_matrix(test.rows * test.cols);
    const Encoded encoded = encode(test.format, test.rows, test.cols, values, 1);
    const Encoded threaded = encode(test.format, test.rows, test.cols, values, 3);
    EXPECT_EQ(encoded.bytes, threaded.bytes);
    EXPECT_EQ(encoded.error.error, threaded.error.error);
    const TestFolder folder;
    const TensorIndex index = written(folder, encoded, config_of(test.format));
    ASSERT_EQ(index.entries.size(), 1U);
    EXPECT_EQ(index.entries[0].name, "l.weight");
    EXPECT_EQ(index.entries[0].shape, (Shape{test.rows, test.cols}));
    const std::vector<float> whole = load_floats(index, "l.weight", 1 << 20);
    EXPECT_EQ(load_floats(index, "l.weight"), whole);  // a row at a time
    EXPECT_EQ(load_floats(index, "l.weight", 5000), whole);
    SquaredError error;
    for (size_t i = 0; i < values.size(); ++i) {
      const double off = static_cast<double>(whole[i]) - static_cast<double>(values[i]);
      error += {off * off, static_cast<double>(values[i]) * static_cast<double>(values[i])};
    }
    EXPECT_NEAR(error.relative(), encoded.error.relative(), 1e-6);
    EXPECT_LT(error.relative(), test.most);
    EXPECT_GT(error.relative(), 0);
  }
}

TEST(PackedTensor, ZerosStayZeros) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    const std::vector<float> zeros(static_cast<size_t>(test.rows * test.cols));
    const TestFolder folder;
    const TensorIndex index =
        written(folder, encode(test.format, test.rows, test.cols, zeros, 1), config_of(test.format));
    for (const float value : load_floats(index, "l.weight")) EXPECT_LE(std::abs(value), 1e-8F);
  }
}

// What bitsandbytes itself stored.
TEST(PackedTensor, RestoresTheLibrarysCheckpoints) {
  for (const std::string name : {"nf4_double", "nf4_plain", "fp4_double"}) {
    TensorIndex index = open_safetensors(golden_path("quant/bnb4_state_dict/linear_" + name + ".safetensors"));
    QuantizationConfig config;
    resolve_packed_tensors(index, config);
    const Golden expected("quant/bnb4_state_dict/linear_" + name + "_expected.safetensors");
    const std::vector<float> weight = load_floats(index, "layer.weight");
    const std::vector<float> wanted = expected.f32("weight_dequantized");
    ASSERT_EQ(weight.size(), wanted.size());
    for (size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(weight[i], wanted[i], 1e-7) << name << " " << i;
    ASSERT_NE(index.find("layer.bias"), nullptr);
    EXPECT_EQ(index.entries.size(), 2U);
  }
}

class Damaged : public testing::Test {
 protected:
  // Writes the tensors of an nf4 matrix after `change`.
  void expect_error(const std::function<void(Encoded&)>& change, const std::string& part) {
    PackedFormat format = of_kind(Kind::bnb4);
    format.nested = true;
    Encoded encoded = encode(format, 16, 64, random_matrix(16 * 64), 1);
    change(encoded);
    const TestFolder folder;
    expect_caller_error([&] { written(folder, encoded, config_of(format)); }, part);
  }
};

TEST_F(Damaged, PartsAreNamed) {
  expect_error([](Encoded& e) { e.outputs[1].name = "l.weight.other"; }, "l.weight.absmax is missing");
  expect_error([](Encoded& e) { e.outputs[3].name = "l.weight.other"; }, "l.weight.nested_absmax is missing");
  expect_error([](Encoded& e) { e.outputs[0].shape = {256, 2}; }, "tensor l.weight is u8 (256, 2)");
  expect_error([](Encoded& e) { e.bytes[512 + 16 + 4] ^= std::byte{0x40}; }, "quant_map is not the code table");
  expect_error([](Encoded& e) { std::fill(e.bytes.end() - 300, e.bytes.end(), std::byte{' '}); }, "JSON");
}

TEST(PackedTensor, IntegersCheckTheirParts) {
  PackedFormat format = of_kind(Kind::integers);
  format.group = 32;
  const std::vector<float> values = random_matrix(16 * 64);
  const auto fails = [&](const std::function<void(Encoded&)>& change, const std::string& part) {
    Encoded encoded = encode(format, 16, 64, values, 1);
    change(encoded);
    const TestFolder folder;
    expect_caller_error([&] { written(folder, encoded, config_of(format)); }, part);
  };
  fails([](Encoded& e) { e.outputs[3].name = "l.other"; }, "weight_shape is missing");
  fails([](Encoded& e) { e.outputs[1].shape = {32, 1}; }, "weight_scale is");
  fails([](Encoded& e) { e.outputs[2].shape = {1, 4}; }, "weight_zero_point is");
  fails([](Encoded& e) { std::memset(e.bytes.data() + 512 + 128 + 16, 0xff, 16); }, "holds the size -1");
}

// Experts of gpt-oss: values by hand, e2m1 codes times a power of two, neighbours in a byte, inputs last in the file
// and outputs last in the model. With staging for one row, for many, and in another type.
TEST(PackedTensor, ExpertsInMxfp4) {
  constexpr int64_t kExperts = 2, kOutputs = 18, kInputs = 64;
  constexpr std::array<float, 8> kValues = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  std::mt19937 engine(5);
  std::vector<uint8_t> codes(kExperts * kOutputs * kInputs / 2), scales(kExperts * kOutputs * kInputs / 32);
  for (uint8_t& byte : codes) byte = static_cast<uint8_t>(engine());
  for (uint8_t& byte : scales) byte = static_cast<uint8_t>(120 + engine() % 10);
  const TestFolder folder;
  const auto write = [&](const Shape& of_scales) {
    SafetensorsWriter writer(folder / "w.safetensors",
                             {{"l.gate_up_proj_blocks", DType::u8, {kExperts, kOutputs, kInputs / 32, 16}},
                              {"l.gate_up_proj_scales", DType::u8, of_scales}});
    writer.write(std::as_bytes(std::span(codes)));
    writer.write(std::as_bytes(std::span(scales)));
    writer.finish();
    TensorIndex index = open_safetensors(folder / "w.safetensors");
    QuantizationConfig config;
    config.method = QuantizationConfig::Method::mxfp4;
    resolve_packed_tensors(index, config);
    return index;
  };
  const TensorIndex index = write({kExperts, kOutputs, kInputs / 32});
  ASSERT_EQ(index.entries.size(), 1U);
  EXPECT_EQ(index.entries[0].name, "l.gate_up_proj");
  EXPECT_EQ(index.entries[0].shape, (Shape{kExperts, kInputs, kOutputs}));
  std::vector<float> want(kExperts * kInputs * kOutputs);
  for (int64_t e = 0; e < kExperts; ++e)
    for (int64_t o = 0; o < kOutputs; ++o)
      for (int64_t i = 0; i < kInputs; ++i) {
        const int64_t at = (e * kOutputs + o) * kInputs + i;
        const int code = codes[static_cast<size_t>(at / 2)] >> (at % 2 * 4) & 15;
        const float size =
            std::ldexp(kValues[static_cast<size_t>(code & 7)], scales[static_cast<size_t>(at / 32)] - 127);
        want[static_cast<size_t>((e * kInputs + i) * kOutputs + o)] = code < 8 ? size : -size;
      }
  for (const int64_t staging : {0, 100, 1 << 20}) EXPECT_EQ(load_floats(index, "l.gate_up_proj", staging), want);
  expect_caller_error([&] { write({kExperts * kOutputs * kInputs / 32}); }, "l.gate_up_proj_scales");
}

}  // namespace
}  // namespace plimsoll
