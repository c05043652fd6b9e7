// Rotary tables of every context extension, from config.json to cosines, against transformers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "arch/rope_frequencies.h"
#include "backend/cpu/rows/rope.h"
#include "config/model_config.h"
#include "support/tensor_files.h"

namespace plimsoll {
namespace {

using nlohmann::json;

ModelConfig model_with(const json& golden) {
  json config = {{"model_type", "llama"},    {"vocab_size", 16},       {"hidden_size", 16},
                 {"intermediate_size", 16},  {"num_hidden_layers", 1}, {"num_attention_heads", 1},
                 {"num_key_value_heads", 1}, {"hidden_act", "silu"},   {"rms_norm_eps", 1e-6}};
  config["head_dim"] = golden.at("head_dim");
  config["max_position_embeddings"] = golden.at("max_position_embeddings");
  config["rope_parameters"] = golden.at("rope_parameters");
  config["rope_parameters"]["rope_theta"] = golden.at("rope_theta");
  return parse_hf_config(config.dump(), "config.json");
}

class RopeParity : public testing::TestWithParam<std::string> {};

TEST_P(RopeParity, FrequenciesAndTable) {
  const json cases = json::parse(read_bytes(golden_path("rope/cases.json"))).at("cases");
  ASSERT_TRUE(cases.contains(GetParam()));
  const ModelConfig model = model_with(cases.at(GetParam()));
  const Golden golden("rope/" + GetParam() + ".safetensors");
  ThreadPool pool(2);
  int sets = 0;
  for (const std::string& name : golden.names()) {
    if (!name.ends_with("positions")) continue;
    const std::string prefix = name.substr(0, name.size() - std::string("positions").size());
    SCOPED_TRACE(prefix);
    const std::vector<int32_t> positions = golden.i32(name);
    const int64_t longest = *std::max_element(positions.begin(), positions.end()) + 1;
    const RopeFrequencies rope = rope_frequencies(model.rope, model.head_dim, model.context_length, longest);
    const std::vector<float> want = golden.f32(prefix + "inv_freq");
    ASSERT_EQ(rope.inv_freq.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(rope.inv_freq[i], want[i], 4e-7 * want[i]) << i;
    EXPECT_NEAR(rope.attention_scaling, golden.f32(prefix + "attention_scaling").at(0), 1e-6);

    // From their frequencies: one unit in the last place of a frequency is 1e-2 of a turn at position 131071.
    const auto rows = static_cast<int64_t>(positions.size()), half = static_cast<int64_t>(want.size());
    std::vector<float> cos(positions.size() * want.size()), sin(cos);
    cpu::rope_table(pool, rows, half, positions.data(), want.data(), static_cast<float>(rope.attention_scaling),
                    cos.data(), sin.data());
    EXPECT_LE(max_difference(cos, golden.f32(prefix + "cos")), 1e-6);
    EXPECT_LE(max_difference(sin, golden.f32(prefix + "sin")), 1e-6);
    ++sets;
  }
  EXPECT_GE(sets, 1);
}

// Phi-3.5-MoE gives the factors of cosines and sines itself, one beside each list of divisors.
TEST(Longrope, GivenScalingGoesWithTheDivisors) {
  RopeConfig rope;
  rope.kind = RopeKind::longrope;
  rope.original_context_length = 64;
  rope.short_factor = {1, 2};
  rope.long_factor = {1, 8};
  rope.short_mscale = 1.25;
  rope.long_mscale = 1.5;
  const RopeFrequencies within = rope_frequencies(rope, 4, 256, 64), beyond = rope_frequencies(rope, 4, 256, 65);
  EXPECT_EQ(within.attention_scaling, 1.25);
  EXPECT_EQ(beyond.attention_scaling, 1.5);
  EXPECT_FLOAT_EQ(within.inv_freq[1], 4 * beyond.inv_freq[1]);
}

// The scaling follows from the factor; the lengths give it only where the file does not.
TEST(Longrope, GivenFactorCounts) {
  RopeConfig rope;
  rope.kind = RopeKind::longrope;
  rope.original_context_length = 64;
  rope.short_factor = rope.long_factor = {1, 2};
  rope.factor = 2;
  EXPECT_DOUBLE_EQ(rope_frequencies(rope, 4, 512, 65).attention_scaling, std::sqrt(1 + std::log(2) / std::log(64)));
}

INSTANTIATE_TEST_SUITE_P(Kinds, RopeParity,
                         testing::Values("default", "linear", "dynamic", "llama3", "yarn", "yarn_attention_factor",
                                         "yarn_mscale", "yarn_no_truncate", "longrope"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace plimsoll
