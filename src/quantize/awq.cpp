#include "quantize/awq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "backend/cpu/matmul/matmul.h"
#include "base/bytes.h"
#include "base/error.h"
#include "formats/packed/packed_encode.h"

namespace plimsoll {
namespace {

constexpr int64_t kRows = 128;   // of a linear that are tried at once
constexpr int64_t kTried = 512;  // rows of a linear that the search looks at, evenly spread
constexpr int kSteps = 20;       // of the exponent
constexpr int kRatios = 11;      // 1 … 0.5

cpu::MatmulSpec product_spec(int64_t size) {
  cpu::MatmulSpec spec;
  spec.m = kRows;
  spec.n = spec.k = size;
  return spec;
}

int64_t matrix_bytes(int64_t size) { return round_up(kRows * size * static_cast<int64_t>(sizeof(float)), 64); }

// Root mean squares of the inputs, up to a factor; the mean over columns that are tied.
std::vector<double> magnitudes(int64_t size, const float* hessian, std::span<const int32_t> tied) {
  std::vector<double> squares(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) squares[static_cast<size_t>(i)] = hessian[i * size + i];
  if (!tied.empty()) {
    const auto count = static_cast<size_t>(*std::max_element(tied.begin(), tied.end()) + 1);
    std::vector<double> sums(count), members(count);
    for (size_t i = 0; i < tied.size(); ++i) {
      sums[static_cast<size_t>(tied[i])] += squares[i];
      members[static_cast<size_t>(tied[i])] += 1;
    }
    for (size_t i = 0; i < tied.size(); ++i)
      squares[i] = sums[static_cast<size_t>(tied[i])] / members[static_cast<size_t>(tied[i])];
  }
  for (double& square : squares) square = std::sqrt(std::max(square, 0.0));
  return squares;
}

std::vector<float> scales_of(const std::vector<double>& magnitudes, double exponent) {
  const double most = *std::max_element(magnitudes.begin(), magnitudes.end());
  std::vector<float> scales(magnitudes.size(), 1.0F);
  if (!(most > 0)) return scales;
  double low = std::numeric_limits<double>::infinity(), high = 0;
  std::vector<double> powers;
  for (const double magnitude : magnitudes) {
    powers.push_back(std::pow(std::max(magnitude / most, 1e-4), exponent));
    low = std::min(low, powers.back());
    high = std::max(high, powers.back());
  }
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<float>(powers[i] / std::sqrt(low * high));
  return scales;
}

struct Scratch {
  float *off, *product;
  std::byte* workspace;
};

// Σ d H dᵀ over some rows of the linear, d being what the weights are off by with these factors.
double output_error(const AwqLinear& linear, int64_t size, const std::vector<float>& scales, const float* hessian,
                    const cpu::Matmul& matmul, const Scratch& scratch, ThreadPool& pool) {
  const AffineFormat affine = affine_format(linear.format);
  const int64_t group = linear.format.group, step = std::max<int64_t>(1, linear.rows / kTried);
  const int64_t tried = ceil_div(linear.rows, step);
  double sum = 0;
  std::vector<double> of_row(static_cast<size_t>(kRows));
  for (int64_t first = 0; first < tried; first += kRows) {
    const int64_t count = std::min(kRows, tried - first);
    std::fill_n(scratch.off, kRows * size, 0.0F);
    pool.parallel_for(count, [&](int64_t i, int) {
      const float* weights = linear.weights + (first + i) * step * size;
      float* off = scratch.off + i * size;
      std::vector<uint8_t> codes(static_cast<size_t>(group));
      for (int64_t j = 0; j < size; ++j) off[j] = weights[j] * scales[static_cast<size_t>(j)];
      for (int64_t g = 0; g < size; g += group) {
        AffineGroup grid = quantize_affine_group(affine, off + g, group, nullptr, codes.data());
        grid.scale = rounded_scale(linear.format.scale, grid.scale);
        encode_affine_group(affine, grid, off + g, group, codes.data());
        dequantize_affine_group(affine, grid, codes.data(), group, off + g);
      }
      for (int64_t j = 0; j < size; ++j) off[j] = off[j] / scales[static_cast<size_t>(j)] - weights[j];
    });
    matmul.run(pool, scratch.off, hessian, scratch.product, nullptr, scratch.workspace);
    pool.parallel_for(count, [&](int64_t i, int) {
      double row = 0;
      for (int64_t j = i * size; j < (i + 1) * size; ++j)
        row += static_cast<double>(scratch.off[j]) * static_cast<double>(scratch.product[j]);
      of_row[static_cast<size_t>(i)] = row;
    });
    for (int64_t i = 0; i < count; ++i) sum += of_row[static_cast<size_t>(i)];
  }
  return sum * static_cast<double>(step);
}

}  // namespace

int64_t awq_scratch_bytes(int64_t size, int threads) {
  return 2 * matrix_bytes(size) + cpu::matmul_workspace_bytes(product_spec(size), threads);
}

std::vector<float> search_awq_scales(std::span<const AwqLinear> linears, int64_t size, const float* hessian,
                                     std::span<const int32_t> tied, std::span<std::byte> scratch, ThreadPool& pool) {
  PLIMSOLL_CHECK(static_cast<int64_t>(scratch.size()) >= awq_scratch_bytes(size, pool.threads()), "too little scratch");
  const cpu::Matmul matmul = cpu::prepare_matmul(product_spec(size));
  const Scratch places{reinterpret_cast<float*>(scratch.data()),
                       reinterpret_cast<float*>(scratch.data() + matrix_bytes(size)),
                       scratch.data() + 2 * matrix_bytes(size)};
  const std::vector<double> magnitude = magnitudes(size, hessian, tied);
  std::vector<float> best(static_cast<size_t>(size), 1.0F);
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step <= kSteps; ++step) {
    const std::vector<float> scales = scales_of(magnitude, static_cast<double>(step) / kSteps);
    double error = 0;
    for (const AwqLinear& linear : linears) error += output_error(linear, size, scales, hessian, matmul, places, pool);
    if (error >= least) continue;
    least = error;
    best = scales;
  }
  return best;
}

void choose_clipped_groups(const AwqLinear& linear, int64_t size, const float* hessian, AffineGroup* groups,
                           ThreadPool& pool) {
  const AffineFormat affine = affine_format(linear.format);
  const int64_t group = linear.format.group, group_count = size / group;
  pool.parallel_for(linear.rows, [&](int64_t row, int) {
    std::vector<float> clipped(static_cast<size_t>(group)), off(static_cast<size_t>(group));
    std::vector<uint8_t> codes(static_cast<size_t>(group));
    for (int64_t g = 0; g < group_count; ++g) {
      const float* in = linear.weights + row * size + g * group;
      float low = in[0], high = in[0];
      for (int64_t i = 0; i < group; ++i) low = std::min(low, in[i]), high = std::max(high, in[i]);
      const float magnitude = std::max(-low, high);
      double least = std::numeric_limits<double>::infinity();
      for (int k = 0; k < kRatios; ++k) {
        const auto ratio = static_cast<float>(1.0 - 0.05 * k);
        const float from = affine.symmetric ? -magnitude * ratio : low * ratio;
        const float to = affine.symmetric ? magnitude * ratio : high * ratio;
        for (int64_t i = 0; i < group; ++i) clipped[static_cast<size_t>(i)] = std::clamp(in[i], from, to);
        AffineGroup grid = quantize_affine_group(affine, clipped.data(), group, nullptr, codes.data());
        grid.scale = rounded_scale(linear.format.scale, grid.scale);
        grid.ratio = ratio;
        encode_affine_group(affine, grid, in, group, codes.data());
        dequantize_affine_group(affine, grid, codes.data(), group, off.data());
        for (int64_t i = 0; i < group; ++i) off[static_cast<size_t>(i)] -= in[i];
        double error = 0;
        for (int64_t i = 0; i < group; ++i) {
          const float* h = hessian + (g * group + i) * size + g * group;
          float sum = 0;
          std::array<float, 8> lanes{};
          int64_t j = 0;
          for (; j + 8 <= group; j += 8)
            for (size_t lane = 0; lane < 8; ++lane)
              lanes[lane] += h[j + static_cast<int64_t>(lane)] * off[static_cast<size_t>(j) + lane];
          for (; j < group; ++j) sum += h[j] * off[static_cast<size_t>(j)];
          for (const float lane : lanes) sum += lane;
          error += static_cast<double>(off[static_cast<size_t>(i)]) * static_cast<double>(sum);
        }
        if (error >= least) continue;
        least = error;
        groups[row * group_count + g] = grid;
      }
    }
  });
}

}  // namespace plimsoll
