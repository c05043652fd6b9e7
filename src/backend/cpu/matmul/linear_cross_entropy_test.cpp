#include "backend/cpu/matmul/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include "backend/cpu/rows/embedding.h"
#include "base/error.h"
#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

struct Result {
  float loss = 0;
  Typed d_hidden;
  std::vector<float> d_weight, nll;
  bool operator==(const Result&) const = default;
};

Result run(LinearCrossEntropySpec spec, const Typed& hidden, const Typed& weight, const std::vector<int32_t>& labels,
           float scale, int threads, bool in_place = false) {
  ThreadPool pool(threads);
  spec.weight = spec.dtype;
  const int64_t bytes = linear_cross_entropy_workspace_bytes(spec, threads);
  std::vector<uint8_t> memory(static_cast<size_t>(bytes) + 128, 0xa5);
  auto* const workspace = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  Result r{0.25F, hidden, std::vector<float>(static_cast<size_t>(spec.vocab * spec.width), 0),
           std::vector<float>(labels.size(), -1)};
  if (!in_place) r.d_hidden = Typed(spec.dtype, std::vector<float>(static_cast<size_t>(spec.rows * spec.width), 9));
  linear_cross_entropy(pool, spec,
                       {.hidden = in_place ? r.d_hidden.data() : hidden.data(),
                        .weight = weight.data(),
                        .labels = labels.data(),
                        .loss_scale = &scale,
                        .loss_sum = &r.loss,
                        .d_hidden = spec.gradients ? r.d_hidden.data() : nullptr,
                        .d_weight = spec.gradients && spec.weight_gradient ? r.d_weight.data() : nullptr,
                        .nll = r.nll.data()},
                       workspace);
  for (const uint8_t* p = workspace + bytes; p < memory.data() + memory.size(); ++p)
    EXPECT_EQ(*p, 0xa5) << "workspace overrun";
  r.loss -= 0.25F;
  return r;
}

float inverse_count(const std::vector<int32_t>& labels) {
  return 1.0F / static_cast<float>(static_cast<int64_t>(labels.size()) -
                                   std::count(labels.begin(), labels.end(), kIgnoredLabel));
}

// With the unit matrix for weights, hidden are the logits and d_hidden their gradient.
TEST(LinearCrossEntropy, SoftcapAsTorch) {
  const Golden g("ops/cross_entropy_softcap.safetensors");
  const auto labels = g.i32("const.labels");
  std::vector<float> unit(40 * 40, 0.0F);
  for (size_t i = 0; i < 40; ++i) unit[i * 41] = 1.0F;
  const float scale = inverse_count(labels) * g.f32("upstream.out")[0];
  for (const int64_t chunk : {1, 7, 20}) {
    LinearCrossEntropySpec spec{.rows = 20, .width = 40, .vocab = 40, .chunk_rows = chunk};
    spec.softcap = 4.0F;
    const Result r = run(spec, Typed(DType::f32, g.f32("in.logits")), Typed(DType::f32, unit), labels, scale, 2);
    const float want = g.f32("out.out")[0] * g.f32("upstream.out")[0];
    EXPECT_NEAR(r.loss, want, 5e-6 * std::abs(want));
    expect_close(r.d_hidden.values(), g.f32("grad.logits"), 5e-6);
  }
}

TEST(LinearCrossEntropy, AsTorchForEveryChunkSize) {
  const Golden g("ops/linear_cross_entropy_chunked.safetensors");
  const auto labels = g.i32("const.labels");
  const float upstream = g.f32("upstream.loss")[0];
  const Typed hidden(DType::f32, g.f32("in.hidden")), weight(DType::f32, g.f32("in.weight"));
  for (const int64_t chunk : {1, 6, 7, 20, 64}) {
    const LinearCrossEntropySpec spec{.rows = 20, .width = 32, .vocab = 40, .chunk_rows = chunk};
    const Result r = run(spec, hidden, weight, labels, inverse_count(labels) * upstream, 2);
    EXPECT_NEAR(r.loss, g.f32("out.loss")[0] * upstream, 5e-6 * std::abs(g.f32("out.loss")[0] * upstream));
    expect_close(r.d_hidden.values(), g.f32("grad.hidden"), 5e-6);
    expect_close(r.d_weight, g.f32("grad.weight"), 5e-6);
  }
}

// With the identity as the head, hidden is the logits and d_hidden their gradient.
TEST(LinearCrossEntropy, PlainLogitsAsTorch) {
  std::vector<float> identity(40 * 40, 0);
  for (size_t i = 0; i < 40; ++i) identity[i * 41] = 1;
  for (const char* name : {"cross_entropy", "cross_entropy_large_logits"}) {
    SCOPED_TRACE(name);
    const Golden g("ops/" + std::string(name) + ".safetensors");
    const auto labels = g.i32("const.labels");
    const float upstream = g.f32("upstream.out")[0];
    const LinearCrossEntropySpec spec{.rows = 20, .width = 40, .vocab = 40, .chunk_rows = 8};
    const Result r = run(spec, Typed(DType::f32, g.f32("in.logits")), Typed(DType::f32, identity), labels,
                         inverse_count(labels) * upstream, 2);
    EXPECT_NEAR(r.loss, g.f32("out.out")[0] * upstream, 5e-6 * std::abs(g.f32("out.out")[0] * upstream));
    expect_close(r.d_hidden.values(), g.f32("grad.logits"), 5e-6);
  }
}

TEST(LinearCrossEntropy, OddShapesTypesAndThreads) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t vocab : {int64_t{3}, int64_t{131}, int64_t{2050}}) {
      const int64_t rows = 150, width = 45;
      LinearCrossEntropySpec spec{.rows = rows, .width = width, .vocab = vocab, .chunk_rows = 64, .dtype = dtype};
      const Typed hidden(dtype, random_values(static_cast<size_t>(rows * width), 1)),
          weight(dtype, random_values(static_cast<size_t>(vocab * width), 2));
      std::vector<int32_t> labels(static_cast<size_t>(rows));
      for (size_t i = 0; i < labels.size(); ++i)
        labels[i] = i % 5 == 2 ? kIgnoredLabel : static_cast<int32_t>(i * 7 % static_cast<size_t>(vocab));
      const float scale = inverse_count(labels);
      const Result r = run(spec, hidden, weight, labels, scale, 1);
      EXPECT_TRUE(r == run(spec, hidden, weight, labels, scale, 3)) << "threads change the bits";
      EXPECT_TRUE(r == run(spec, hidden, weight, labels, scale, 2, true)) << "in place";

      const auto h = hidden.values(), w = weight.values();
      double loss = 0;
      std::vector<double> d_hidden(h.size(), 0), d_weight(w.size(), 0), logits(static_cast<size_t>(vocab));
      for (size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] == kIgnoredLabel) {
          EXPECT_EQ(r.nll[i], 0);
          continue;
        }
        double sum = 0;
        for (size_t v = 0; v < logits.size(); ++v) {
          logits[v] = 0;
          for (size_t j = 0; j < 45; ++j) logits[v] += double{h[i * 45 + j]} * double{w[v * 45 + j]};
          sum += std::exp(logits[v]);
        }
        const double nll = std::log(sum) - logits[static_cast<size_t>(labels[i])];
        EXPECT_NEAR(r.nll[i], nll, 1e-4);
        loss += nll * double{scale};
        for (size_t v = 0; v < logits.size(); ++v) {
          const double d = double{scale} * (std::exp(logits[v]) / sum - (static_cast<int32_t>(v) == labels[i] ? 1 : 0));
          for (size_t j = 0; j < 45; ++j) {
            d_hidden[i * 45 + j] += d * double{w[v * 45 + j]};
            d_weight[v * 45 + j] += d * double{h[i * 45 + j]};
          }
        }
      }
      EXPECT_NEAR(r.loss, loss, 2e-6 * loss);
      const double tolerance = dtype == DType::f32 ? 5e-6 : 1e-2;
      expect_close(r.d_hidden.values(), d_hidden, tolerance);
      expect_close(r.d_weight, d_weight, tolerance);

      spec.weight_gradient = false;
      Result frozen = run(spec, hidden, weight, labels, scale, 2);
      EXPECT_TRUE(frozen.d_hidden == r.d_hidden && frozen.loss == r.loss);
      spec.gradients = false;
      Result forward = run(spec, hidden, weight, labels, scale, 2);
      EXPECT_TRUE(forward.loss == r.loss && forward.nll == r.nll);
    }
}

// One table used twice: its gradient is the sum of both uses. tanh stands for the model between them.
TEST(LinearCrossEntropy, TiedHeadAsTorch) {
  const Golden g("ops/tied_head.safetensors");
  const auto ids = g.i32("const.ids"), labels = g.i32("const.labels");
  const Typed weight(DType::f32, g.f32("in.weight"));
  const EmbeddingSpec embedding{.rows = 12, .vocab = 40, .width = 32};
  ThreadPool pool(2);
  std::vector<float> hidden(12 * 32);
  embedding_forward(pool, embedding, ids.data(), weight.data(), hidden.data());
  for (float& v : hidden) v = std::tanh(v);
  const LinearCrossEntropySpec spec{.rows = 12, .width = 32, .vocab = 40, .chunk_rows = 5};
  Result r = run(spec, Typed(DType::f32, hidden), weight, labels, inverse_count(labels) * g.f32("upstream.out")[0], 2);
  EXPECT_NEAR(r.loss, g.f32("out.out")[0] * g.f32("upstream.out")[0], 5e-6 * std::abs(r.loss));
  for (size_t i = 0; i < hidden.size(); ++i) r.d_hidden.wide[i] *= 1 - hidden[i] * hidden[i];
  embedding_backward(pool, embedding, ids.data(), r.d_hidden.data(), r.d_weight.data());
  expect_close(r.d_weight, g.f32("grad.weight"), 5e-6);
}

// The label's logit is far below others, in several tiles: exponentials relative to it would overflow.
TEST(LinearCrossEntropy, HopelessLabels) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const int64_t vocab = 3000;
    std::vector<float> weight(static_cast<size_t>(vocab), 0);
    weight[0] = -200, weight[1500] = 190, weight[1600] = 200, weight[2900] = 200;
    const LinearCrossEntropySpec spec{.rows = 2, .width = 1, .vocab = vocab, .chunk_rows = 2, .dtype = dtype};
    const Result r = run(spec, Typed(dtype, {1, 1}), Typed(dtype, weight), {0, 2900}, 0.5F, 2);
    EXPECT_NEAR(r.nll[0], 400 + std::log(2), 1e-3);
    EXPECT_NEAR(r.nll[1], std::log(2), 1e-3);
    EXPECT_NEAR(r.d_weight[0], -0.5F, 2e-3);
    EXPECT_NEAR(r.d_weight[1600], 0.5F, 2e-3);
    EXPECT_NEAR(r.d_weight[2900], 0.0F, 2e-3);
    EXPECT_NEAR(r.d_hidden.values()[0], 0.5F * 400, 1);
    EXPECT_NEAR(r.d_hidden.values()[1], 0, 0.2F);
  }
}

TEST(LinearCrossEntropy, NothingCounted) {
  const LinearCrossEntropySpec spec{.rows = 3, .width = 4, .vocab = 5, .chunk_rows = 2};
  const Typed hidden(DType::f32, random_values(12, 1)), weight(DType::f32, random_values(20, 2));
  const Result r = run(spec, hidden, weight, {kIgnoredLabel, kIgnoredLabel, kIgnoredLabel}, 1, 2);
  EXPECT_EQ(r.loss, 0);
  EXPECT_EQ(r.d_hidden.wide, std::vector<float>(12, 0));
  EXPECT_THROW(run(spec, hidden, weight, {0, 5, 0}, 1, 2), Error);
  EXPECT_THROW(run(spec, hidden, weight, {0, -1, 0}, 1, 2), Error);
}

}  // namespace
}  // namespace plimsoll::cpu
