#include "cost/model_shape.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/architecture.h"
#include "config/model_catalog.h"

namespace plimsoll {
namespace {

TEST(ModelShape, CountsWhatTheGraphCounts) {
  for (const CatalogModel& model : catalog_models()) {
    const ModelConfig config = parse_hf_config(model.config, model.name);
    int64_t total = 0;
    for (const ParameterSpec& parameter : list_parameters(config))
      if (parameter.part != ParameterPart::buffer) total += parameter.shape.elements();
    const ModelShape shape = shape_of(config);
    // Biases and small norms are left out: what they cost is nothing.
    EXPECT_NEAR(static_cast<double>(shape.total_parameters()) / static_cast<double>(total), 1.0, 0.005) << model.name;
  }
}

TEST(ModelShape, CausalAttentionSeesHalfTheSquareAndAWindowLess) {
  EXPECT_EQ(mean_keys(4, 0), 2.5);   // 1 + 2 + 3 + 4 keys over 4 queries
  EXPECT_EQ(mean_keys(4, 2), 1.75);  // 1 + 2 + 2 + 2
  EXPECT_EQ(mean_keys(4, 8), 2.5);
}

TEST(ModelShape, FlopsAreTwoAParameterAndTheAttention) {
  const ModelConfig config = parse_hf_config(find_catalog_model("llama-3.1-8b")->config, "x");
  const ModelShape shape = shape_of(config);
  const double tokens = 4096, seq = 4096;
  // 32 layers, 4096 wide, 8 of 32 key heads, 14336 in the MLP, 128256 tokens (Llama 3.1's config.json), by hand.
  const double weights = 32.0 * (4096.0 * (4096 + 2 * 1024) + 4096.0 * 4096 + 3.0 * 4096 * 14336) + 128256.0 * 4096;
  const double attention = 32.0 * 2 * 2 * 4096 * (seq + 1) / 2;
  EXPECT_NEAR(forward_flops(shape, tokens, seq) / (tokens * (2 * weights + attention)), 1.0, 1e-12);
  EXPECT_GT(forward_flops(shape, tokens, seq, true), forward_flops(shape, tokens, seq));
}

TEST(ModelShape, MixturesCountEveryExpert) {
  const ModelShape shape = shape_of(parse_hf_config(find_catalog_model("mixtral-8x7b")->config, "x"));
  EXPECT_NEAR(static_cast<double>(shape.total_parameters()), 46.7e9, 0.1e9);
  EXPECT_EQ(shape.kv_bytes_per_token_16bit, 2 * 2 * 32 * 8 * 128);
}

}  // namespace
}  // namespace plimsoll
