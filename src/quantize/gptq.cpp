#include "quantize/gptq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/packed/packed_encode.h"

namespace plimsoll {
namespace {

constexpr int64_t kBlock = 128;  // columns whose corrections reach the rest in one go
constexpr int64_t kRows = 16;    // rows that go through the columns together
constexpr int64_t kPanel = 64;   // columns of the factor at a time

// Sums lane by lane, so that the loop vectorizes and the order is fixed.
float dot(const float* a, const float* b, int64_t n) {
  std::array<float, 16> lanes{};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (size_t lane = 0; lane < 16; ++lane)
      lanes[lane] += a[i + static_cast<int64_t>(lane)] * b[i + static_cast<int64_t>(lane)];
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const float lane : lanes) sum += lane;
  return sum;
}

// A = R Rᵀ with R upper triangular, from the last column to the first, in place of the upper triangle. False: A is not
// positive definite.
bool factor_upper(float* a, int64_t n, ThreadPool& pool) {
  for (int64_t end = n; end > 0;) {
    const int64_t begin = std::max<int64_t>(0, end - kPanel);
    for (int64_t j = end - 1; j >= begin; --j) {
      const float square = a[j * n + j] - dot(a + j * n + j + 1, a + j * n + j + 1, end - j - 1);
      if (!(square > 0) || !std::isfinite(square)) return false;
      const float pivot = std::sqrt(square);
      a[j * n + j] = pivot;
      for (int64_t i = begin; i < j; ++i)
        a[i * n + j] = (a[i * n + j] - dot(a + i * n + j + 1, a + j * n + j + 1, end - j - 1)) / pivot;
    }
    pool.parallel_for(ceil_div(begin, kRows), [&](int64_t tile, int) {
      for (int64_t i = tile * kRows; i < std::min(begin, (tile + 1) * kRows); ++i)
        for (int64_t j = end - 1; j >= begin; --j)
          a[i * n + j] = (a[i * n + j] - dot(a + i * n + j + 1, a + j * n + j + 1, end - j - 1)) / a[j * n + j];
    });
    pool.parallel_for(ceil_div(begin, kRows), [&](int64_t tile, int) {
      for (int64_t i = tile * kRows; i < std::min(begin, (tile + 1) * kRows); ++i)
        for (int64_t k = i; k < begin; ++k) a[i * n + k] -= dot(a + i * n + begin, a + k * n + begin, end - begin);
    });
    end = begin;
  }
  return true;
}

// U = R⁻¹, zero below the diagonal. Strips of columns are independent.
void invert_upper(const float* r, int64_t n, float* u, ThreadPool& pool) {
  pool.parallel_for(ceil_div(n, kPanel), [&](int64_t strip, int) {
    const int64_t first = strip * kPanel, last = std::min(n, first + kPanel), width = last - first;
    std::array<float, kPanel> sum;
    for (int64_t i = n - 1; i >= 0; --i) {
      sum.fill(0);
      if (i >= first && i < last) sum[static_cast<size_t>(i - first)] = 1;
      for (int64_t k = i + 1; k < last; ++k) {
        const float factor = r[i * n + k];
        for (int64_t c = 0; c < width; ++c) sum[static_cast<size_t>(c)] -= factor * u[k * n + first + c];
      }
      for (int64_t c = 0; c < width; ++c)
        u[i * n + first + c] = i < last ? sum[static_cast<size_t>(c)] / r[i * n + i] : 0;
    }
  });
}

// The rows and columns of `hessian` in another order, by way of `scratch`.
void permute(const std::vector<int32_t>& order, int64_t n, float* hessian, float* scratch) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      scratch[i * n + j] = hessian[order[static_cast<size_t>(i)] * n + order[static_cast<size_t>(j)]];
  std::copy_n(scratch, n * n, hessian);
}

}  // namespace

GptqFactor factor_hessian(const GptqOptions& options, int64_t size, float* hessian, float* upper, ThreadPool& pool) {
  GptqFactor factor;
  const auto diagonal = [&](int64_t i) -> float& { return hessian[i * size + i]; };
  if (options.act_order) {
    factor.order.resize(static_cast<size_t>(size));
    std::iota(factor.order.begin(), factor.order.end(), 0);
    std::stable_sort(factor.order.begin(), factor.order.end(),
                     [&](int32_t a, int32_t b) { return diagonal(a) > diagonal(b); });
    permute(factor.order, size, hessian, upper);
  }
  double mean = 0;
  factor.dead.assign(static_cast<size_t>(size), false);
  for (int64_t i = 0; i < size; ++i) {
    mean += static_cast<double>(diagonal(i)) / static_cast<double>(size);
    factor.dead[static_cast<size_t>(i)] = !(diagonal(i) > 0);
  }
  if (!std::isfinite(mean))
    throw caller_error("--calibrate", "the model gives values that are not finite on this text", "check its weights");
  const auto added = static_cast<float>(options.damping * mean);
  for (int64_t i = 0; i < size; ++i) {
    if (factor.dead[static_cast<size_t>(i)]) diagonal(i) = 1;
    diagonal(i) += added;
  }
  if (!factor_upper(hessian, size, pool))
    throw caller_error("--damping", "is too small for what this layer sees: its Hessian cannot be inverted",
                       "give a larger one, 0.1 say, or more --calibrate-rows");
  invert_upper(hessian, size, upper, pool);
  return factor;
}

SquaredError round_gptq(const GptqOptions& options, const PackedFormat& format, const GptqFactor& factor,
                        const float* upper, int64_t rows, int64_t size, float* weights, AffineGroup* groups,
                        ThreadPool& pool) {
  AffineFormat affine = affine_format(format);
  affine.clipping = options.clipping;
  affine.percentile = options.percentile;
  const int64_t group = format.group, group_count = size / group;
  const bool ordered = !factor.order.empty();
  if (ordered) choose_groups(format, options.clipping, options.percentile, weights, rows, size, pool, groups);
  std::vector<SquaredError> sums(static_cast<size_t>(ceil_div(rows, kRows)));
  pool.parallel_for(ceil_div(rows, kRows), [&](int64_t tile, int) {
    const int64_t first = tile * kRows, count = std::min(kRows, rows - first);
    std::vector<float> x(static_cast<size_t>(count * size)), scratch(static_cast<size_t>(group));
    std::vector<uint8_t> codes(static_cast<size_t>(group));
    std::array<std::array<float, kBlock>, kRows> errors;
    const auto column = [&](int64_t place) { return ordered ? factor.order[static_cast<size_t>(place)] : place; };
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < size; ++i)
        x[static_cast<size_t>(r * size + i)] =
            factor.dead[static_cast<size_t>(i)] ? 0 : weights[(first + r) * size + column(i)];
    for (int64_t begin = 0; begin < size; begin += kBlock) {
      const int64_t end = std::min(size, begin + kBlock);
      for (int64_t i = begin; i < end; ++i) {
        const float pivot = upper[i * size + i];
        for (int64_t r = 0; r < count; ++r) {
          float* row = x.data() + r * size;
          AffineGroup& grid = groups[(first + r) * group_count + column(i) / group];
          if (!ordered && i % group == 0) {  // from the values as they are now
            grid = quantize_affine_group(affine, row + i, group, scratch.data(), codes.data());
            grid.scale = rounded_scale(format.scale, grid.scale);
          }
          uint8_t code = 0;
          float restored = 0;
          encode_affine_group(affine, grid, row + i, 1, &code);
          dequantize_affine_group(affine, grid, &code, 1, &restored);
          const float error = (row[i] - restored) / pivot;
          row[i] = restored;
          errors[static_cast<size_t>(r)][static_cast<size_t>(i - begin)] = error;
          for (int64_t j = i + 1; j < end; ++j) row[j] -= error * upper[i * size + j];
        }
      }
      for (int64_t i = begin; i < end; ++i)
        for (int64_t r = 0; r < count; ++r) {
          const float error = errors[static_cast<size_t>(r)][static_cast<size_t>(i - begin)];
          float* row = x.data() + r * size;
          for (int64_t j = end; j < size; ++j) row[j] -= error * upper[i * size + j];
        }
    }
    SquaredError& sum = sums[static_cast<size_t>(tile)];
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < size; ++i) {
        float& weight = weights[(first + r) * size + column(i)];
        const float restored = x[static_cast<size_t>(r * size + i)];
        const double value = weight, off = static_cast<double>(restored) - value;
        sum += {off * off, value * value};
        weight = restored;
      }
  });
  SquaredError all;
  for (const SquaredError& sum : sums) all += sum;
  return all;
}

}  // namespace plimsoll
