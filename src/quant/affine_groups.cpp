#include "quant/affine_groups.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "quant/rounding.h"

namespace plimsoll {
namespace {

// NaN gives `low`.
inline float bounded(float x, float low, float high) { return x > low ? (x < high ? x : high) : low; }

struct Bounds {
  float magnitude = 0, low = 0, high = 0;
};

// Codes as float: what follows converts them to the type that is stored.
struct Grid {
  float scale = 1, zero = 0, least = 0, most = 0;

  float code(float x) const { return bounded(nearest_even(x / scale) + zero, least, most); }
  float value(float code) const { return (code - zero) * scale; }
};

Grid grid_of(const AffineFormat& format, const Bounds& bounds) {
  Grid grid;
  grid.least = static_cast<float>(format.least());
  grid.most = static_cast<float>(format.most());
  if (format.symmetric) {
    grid.scale = bounds.magnitude / grid.most;
  } else {
    grid.scale = (std::max(bounds.high, 0.0F) - std::min(bounds.low, 0.0F)) / grid.most;
  }
  if (!(grid.scale > 0)) grid.scale = 1;
  if (!format.symmetric) grid.zero = bounded(nearest_even(-std::min(bounds.low, 0.0F) / grid.scale), 0, grid.most);
  return grid;
}

Bounds extremes(const float* in, int64_t count) {
  Bounds bounds{0, in[0], in[0]};
  for (int64_t i = 0; i < count; ++i) {
    bounds.magnitude = std::max(bounds.magnitude, std::fabs(in[i]));
    bounds.low = std::min(bounds.low, in[i]);
    bounds.high = std::max(bounds.high, in[i]);
  }
  return bounds;
}

// Of sorted values, as torch.quantile interpolates.
float quantile(const float* sorted, int64_t count, double p) {
  const float rank = static_cast<float>(p) * static_cast<float>(count - 1);
  const auto below = std::min(static_cast<int64_t>(rank), count - 1);
  const float a = sorted[below], b = sorted[std::min(below + 1, count - 1)];
  const float weight = rank - static_cast<float>(below);
  return weight < 0.5F ? std::fma(weight, b - a, a) : std::fma(weight - 1, b - a, b);
}

Bounds quantiles(double p, const float* in, int64_t count, float* scratch) {
  Bounds bounds;
  std::copy_n(in, count, scratch);
  std::sort(scratch, scratch + count);
  bounds.low = quantile(scratch, count, 1 - p);
  bounds.high = quantile(scratch, count, p);
  for (int64_t i = 0; i < count; ++i) scratch[i] = std::fabs(in[i]);
  std::sort(scratch, scratch + count);
  bounds.magnitude = quantile(scratch, count, p);
  return bounds;
}

Grid best_grid(const AffineFormat& format, const float* in, int64_t count, float* ratio) {
  const Bounds full = extremes(in, count);
  Grid best;
  double least = std::numeric_limits<double>::infinity();
  for (int k = 0; k <= 50; ++k) {
    const auto r = static_cast<float>(1.0 - k / 100.0);
    const Grid grid = grid_of(format, {full.magnitude * r, full.low * r, full.high * r});
    double error = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double off = static_cast<double>(grid.value(grid.code(in[i]))) - static_cast<double>(in[i]);
      error += off * off;
    }
    if (error < least) {
      least = error;
      best = grid;
      *ratio = r;
    }
  }
  return best;
}

}  // namespace

AffineGroup quantize_affine_group(const AffineFormat& format, const float* in, int64_t count, float* scratch,
                                  uint8_t* codes) {
  PLIMSOLL_CHECK(format.bits >= 2 && format.bits <= 8, "2 to 8 bits");
  PLIMSOLL_CHECK(count > 0, "a group has values");
  AffineGroup group;
  Grid grid;
  switch (format.clipping) {
    case Clipping::absmax:
      grid = grid_of(format, extremes(in, count));
      break;
    case Clipping::percentile:
      grid = grid_of(format, quantiles(format.percentile, in, count, scratch));
      break;
    case Clipping::mse:
      grid = best_grid(format, in, count, &group.ratio);
      break;
  }
  group.scale = grid.scale;
  group.zero = static_cast<int32_t>(grid.zero);
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(static_cast<int32_t>(grid.code(in[i])));
  return group;
}

void encode_affine_group(const AffineFormat& format, const AffineGroup& group, const float* in, int64_t count,
                         uint8_t* codes) {
  const Grid grid{group.scale, static_cast<float>(group.zero), static_cast<float>(format.least()),
                  static_cast<float>(format.most())};
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(static_cast<int32_t>(grid.code(in[i])));
}

void dequantize_affine_group(const AffineFormat& format, const AffineGroup& group, const uint8_t* codes, int64_t count,
                             float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const int code = format.symmetric ? static_cast<int8_t>(codes[i]) : codes[i];
    out[i] = static_cast<float>(code - group.zero) * group.scale;
  }
}

}  // namespace plimsoll
