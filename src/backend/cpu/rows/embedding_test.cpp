#include "backend/cpu/rows/embedding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

TEST(Embedding, AsTorch) {
  ThreadPool pool(2);
  for (const char* name : {"embedding", "embedding_scaled"}) {
    const Golden g("ops/" + std::string(name) + ".safetensors");
    const EmbeddingSpec spec{
        .rows = 15, .vocab = 40, .width = 32, .scale = std::string(name) == "embedding" ? 1.0F : 5.656854249492381F};
    const auto ids = g.i32("const.ids");
    const auto weight = g.f32("in.weight"), dy = g.f32("upstream.out");
    std::vector<float> out(15 * 32), d_weight(weight.size(), 0);
    embedding_forward(pool, spec, ids.data(), weight.data(), out.data());
    embedding_backward(pool, spec, ids.data(), dy.data(), d_weight.data());
    expect_close(out, g.f32("out.out"), 5e-6, name);
    expect_close(d_weight, g.f32("grad.weight"), 5e-6, name);
  }
}

TEST(Embedding, TypesWidthsAndThreads) {
  const std::vector<int32_t> ids = {4, 0, 4, 4, 2};
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const DType weight_dtype : {DType::f32, DType::bf16}) {
      const EmbeddingSpec spec{
          .rows = 5, .vocab = 5, .width = 131, .dtype = dtype, .weight_dtype = weight_dtype, .scale = 0.5F};
      const Typed weight(weight_dtype, random_values(5 * 131, 1)), dy(dtype, random_values(5 * 131, 2));
      Typed out(dtype, std::vector<float>(5 * 131));
      ThreadPool one(1), three(3);
      embedding_forward(three, spec, ids.data(), weight.data(), out.data());
      std::vector<float> a(5 * 131, 1), b(5 * 131, 1), want(5 * 131, 1), expected(5 * 131);
      embedding_backward(one, spec, ids.data(), dy.data(), a.data());
      embedding_backward(three, spec, ids.data(), dy.data(), b.data());
      for (size_t row = 0; row < 5; ++row)
        for (size_t i = 0; i < 131; ++i) {
          expected[row * 131 + i] = 0.5F * weight.values()[static_cast<size_t>(ids[row]) * 131 + i];
          want[static_cast<size_t>(ids[row]) * 131 + i] += 0.5F * dy.values()[row * 131 + i];
        }
      EXPECT_TRUE(out == Typed(dtype, expected));
      EXPECT_EQ(a, b);
      expect_close(a, want, 1e-6);
    }
}

TEST(Embedding, AnIdOutsideTheVocabularyIsNotRead) {
  ThreadPool pool(1);
  const std::vector<float> weight(10);
  std::vector<float> out(2);
  for (const int32_t id : {-1, 5}) {
    EXPECT_THROW(embedding_forward(pool, {.rows = 1, .vocab = 5, .width = 2}, &id, weight.data(), out.data()), Error);
    EXPECT_THROW(embedding_backward(pool, {.rows = 1, .vocab = 5, .width = 2}, &id, weight.data(), out.data()), Error);
  }
}

}  // namespace
}  // namespace plimsoll::cpu
