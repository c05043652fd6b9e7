#include "quantize/gptq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "formats/packed/packed_encode.h"
#include "quantize/awq.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

constexpr int64_t kSize = 160, kRows = 37, kGroup = 32, kSamples = 400;

// Inputs whose columns depend on each other and differ in size, and Σ x xᵀ of them.
struct Problem {
  std::vector<float> inputs, hessian, weights;
};

Problem make_problem(int dead_column = -1) {
  std::mt19937 engine(5);
  std::normal_distribution<float> normal;
  Problem out;
  out.inputs.resize(kSamples * kSize);
  for (int64_t s = 0; s < kSamples; ++s) {
    float last = 0;
    for (int64_t j = 0; j < kSize; ++j) {
      last = 0.8F * last + normal(engine);
      const float size = j % 23 == 0 ? 8.0F : 0.5F + static_cast<float>(j % 7) * 0.2F;
      out.inputs[static_cast<size_t>(s * kSize + j)] = j == dead_column ? 0 : last * size;
    }
  }
  std::vector<double> sums(kSize * kSize);
  for (int64_t s = 0; s < kSamples; ++s)
    for (int64_t i = 0; i < kSize; ++i)
      for (int64_t j = 0; j < kSize; ++j)
        sums[static_cast<size_t>(i * kSize + j)] +=
            static_cast<double>(out.inputs[static_cast<size_t>(s * kSize + i)]) *
            static_cast<double>(out.inputs[static_cast<size_t>(s * kSize + j)]);
  out.hessian.assign(sums.begin(), sums.end());
  out.weights.resize(kRows * kSize);
  for (float& weight : out.weights) weight = normal(engine) * 0.05F;
  return out;
}

// Σ ‖(W - Ŵ) x‖² over the inputs.
double output_error(const Problem& problem, const std::vector<float>& rounded) {
  double sum = 0;
  for (int64_t s = 0; s < kSamples; ++s)
    for (int64_t r = 0; r < kRows; ++r) {
      double y = 0;
      for (int64_t j = 0; j < kSize; ++j)
        y += (static_cast<double>(rounded[static_cast<size_t>(r * kSize + j)]) -
              static_cast<double>(problem.weights[static_cast<size_t>(r * kSize + j)])) *
             static_cast<double>(problem.inputs[static_cast<size_t>(s * kSize + j)]);
      sum += y * y;
    }
  return sum;
}

PackedFormat int4(bool symmetric = true) {
  PackedFormat format;
  format.kind = PackedFormat::Kind::integers;
  format.group = kGroup;
  format.symmetric = symmetric;
  format.scale = DType::bf16;
  return format;
}

std::vector<float> restored(const PackedFormat& format, const std::vector<float>& weights,
                            const std::vector<AffineGroup>& groups) {
  std::vector<float> out(weights.size());
  std::vector<uint8_t> codes(kGroup);
  for (size_t g = 0; g < groups.size(); ++g) {
    encode_affine_group(affine_format(format), groups[g], weights.data() + g * kGroup, kGroup, codes.data());
    dequantize_affine_group(affine_format(format), groups[g], codes.data(), kGroup, out.data() + g * kGroup);
  }
  return out;
}

struct Rounded {
  std::vector<float> weights;
  std::vector<AffineGroup> groups;
};

Rounded run_gptq(const Problem& problem, const GptqOptions& options, const PackedFormat& format, int threads) {
  ThreadPool pool(threads);
  std::vector<float> hessian = problem.hessian, upper(kSize * kSize);
  const GptqFactor factor = factor_hessian(options, kSize, hessian.data(), upper.data(), pool);
  Rounded out{problem.weights, std::vector<AffineGroup>(kRows * kSize / kGroup)};
  round_gptq(options, format, factor, upper.data(), kRows, kSize, out.weights.data(), out.groups.data(), pool);
  return out;
}

Rounded plain(const Problem& problem, const PackedFormat& format) {
  ThreadPool pool(1);
  Rounded out{{}, std::vector<AffineGroup>(kRows * kSize / kGroup)};
  choose_groups(format, Clipping::absmax, 0.99, problem.weights.data(), kRows, kSize, pool, out.groups.data());
  out.weights = restored(format, problem.weights, out.groups);
  return out;
}

TEST(Gptq, TheFactorIsThatOfTheInverse) {
  Problem problem = make_problem();
  ThreadPool pool(2);
  std::vector<float> hessian = problem.hessian, u(kSize * kSize);
  GptqOptions options;
  factor_hessian(options, kSize, hessian.data(), u.data(), pool);
  double mean = 0;
  for (int64_t i = 0; i < kSize; ++i) mean += problem.hessian[static_cast<size_t>(i * kSize + i)] / kSize;
  for (int64_t i = 0; i < kSize; ++i)
    problem.hessian[static_cast<size_t>(i * kSize + i)] += 0.01F * static_cast<float>(mean);
  // Uᵀ U H = 1
  for (int64_t i = 0; i < kSize; i += 13)
    for (int64_t j = 0; j < kSize; ++j) {
      double value = 0;
      for (int64_t k = 0; k < kSize; ++k) {
        double inverse = 0;
        for (int64_t r = 0; r <= std::min(i, k); ++r)
          inverse += static_cast<double>(u[static_cast<size_t>(r * kSize + i)]) *
                     static_cast<double>(u[static_cast<size_t>(r * kSize + k)]);
        value += inverse * static_cast<double>(problem.hessian[static_cast<size_t>(k * kSize + j)]);
      }
      EXPECT_NEAR(value, i == j ? 1 : 0, 2e-2) << i << " " << j;
    }
}

TEST(Gptq, OutputsAreNearerThanWithPlainRounding) {
  const Problem problem = make_problem();
  for (const bool symmetric : {true, false}) {
    const PackedFormat format = int4(symmetric);
    const double before = output_error(problem, plain(problem, format).weights);
    for (const bool act_order : {false, true}) {
      GptqOptions options;
      options.act_order = act_order;
      const Rounded rounded = run_gptq(problem, options, format, 1);
      EXPECT_LT(output_error(problem, rounded.weights), 0.5 * before) << symmetric << act_order;
      // What is left in place is on the grids: writing it loses nothing.
      EXPECT_EQ(restored(format, rounded.weights, rounded.groups), rounded.weights);
      EXPECT_EQ(run_gptq(problem, options, format, 3).weights, rounded.weights);
    }
  }
}

TEST(Gptq, AColumnThatIsNeverSeenIsZero) {
  const Rounded rounded = run_gptq(make_problem(70), {}, int4(), 1);
  for (int64_t r = 0; r < kRows; ++r) EXPECT_EQ(rounded.weights[static_cast<size_t>(r * kSize + 70)], 0);
}

TEST(Gptq, RefusesWhatCannotBeInverted) {
  ThreadPool pool(1);
  std::vector<float> hessian(16, std::numeric_limits<float>::quiet_NaN()), upper(16);
  expect_caller_error([&] { factor_hessian({}, 4, hessian.data(), upper.data(), pool); }, "not finite");
  hessian.assign(16, 1.0F);
  GptqOptions options;
  options.damping = 0;
  expect_caller_error([&] { factor_hessian(options, 4, hessian.data(), upper.data(), pool); }, "--damping");
}

TEST(Awq, ScalesAndClippingBringOutputsNearer) {
  const Problem problem = make_problem();
  ThreadPool pool(2);
  const PackedFormat format = int4();
  std::vector<float> weights = problem.weights;
  const AwqLinear linear{weights.data(), kRows, format};
  std::vector<std::byte> scratch(static_cast<size_t>(awq_scratch_bytes(kSize, 2)) + 64);
  const auto skip = (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  const std::vector<float> scales = search_awq_scales(std::span(&linear, 1), kSize, problem.hessian.data(), {},
                                                      std::span(scratch).subspan(skip), pool);
  EXPECT_GT(scales[23], scales[22]);  // a column with large inputs
  std::vector<float> hessian = problem.hessian;
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t j = 0; j < kSize; ++j) weights[static_cast<size_t>(r * kSize + j)] *= scales[static_cast<size_t>(j)];
  for (int64_t i = 0; i < kSize; ++i)
    for (int64_t j = 0; j < kSize; ++j)
      hessian[static_cast<size_t>(i * kSize + j)] /= scales[static_cast<size_t>(i)] * scales[static_cast<size_t>(j)];
  std::vector<AffineGroup> groups(kRows * kSize / kGroup);
  const auto error_of = [&](const std::vector<AffineGroup>& grids) {
    std::vector<float> back = restored(format, weights, grids);
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t j = 0; j < kSize; ++j) back[static_cast<size_t>(r * kSize + j)] /= scales[static_cast<size_t>(j)];
    return output_error(problem, back);
  };
  choose_groups(format, Clipping::absmax, 0.99, weights.data(), kRows, kSize, pool, groups.data());
  const double scaled = error_of(groups);
  EXPECT_LT(scaled, 0.8 * output_error(problem, plain(problem, format).weights));
  choose_clipped_groups(linear, kSize, hessian.data(), groups.data(), pool);
  EXPECT_LT(error_of(groups), scaled);
}

TEST(Awq, TiedColumnsHaveOneFactor) {
  const Problem problem = make_problem();
  ThreadPool pool(1);
  std::vector<float> weights = problem.weights;
  const AwqLinear linear{weights.data(), kRows, int4()};
  std::vector<std::byte> scratch(static_cast<size_t>(awq_scratch_bytes(kSize, 1)) + 64);
  const auto skip = (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  std::vector<int32_t> tied(kSize);
  for (size_t j = 0; j < tied.size(); ++j) tied[j] = static_cast<int32_t>(j % 40);
  const std::vector<float> scales = search_awq_scales(std::span(&linear, 1), kSize, problem.hessian.data(), tied,
                                                      std::span(scratch).subspan(skip), pool);
  for (size_t j = 40; j < tied.size(); ++j) EXPECT_EQ(scales[j], scales[j - 40]);
}

}  // namespace
}  // namespace plimsoll
