// For tests only: seeded random tensors, bf16 copies, and comparison relative to the largest value.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "base/dtype.h"

namespace plimsoll {

inline std::vector<float> random_values(size_t n, unsigned seed, float scale = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(n);
  for (float& v : out) v = normal(engine);
  return out;
}

inline std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), f32_to_bf16);
  return out;
}
inline std::vector<float> from_bf16(const std::vector<uint16_t>& bits) {
  std::vector<float> out(bits.size());
  std::transform(bits.begin(), bits.end(), out.begin(), bf16_to_f32);
  return out;
}

// A tensor in the memory of either type, made from f32 values.
struct Typed {
  DType dtype;
  std::vector<float> wide;
  std::vector<uint16_t> narrow;
  Typed(DType type, const std::vector<float>& values) : dtype(type) {
    if (type == DType::f32) wide = values;
    else narrow = to_bf16(values);
  }
  void* data() { return dtype == DType::f32 ? static_cast<void*>(wide.data()) : narrow.data(); }
  const void* data() const { return dtype == DType::f32 ? static_cast<const void*>(wide.data()) : narrow.data(); }
  std::vector<float> values() const { return dtype == DType::f32 ? wide : from_bf16(narrow); }
  bool operator==(const Typed&) const = default;
};

// |got - want| <= tolerance · max|want| for every element.
template <typename Got, typename Want>
void expect_close(const Got& got, const Want& want, double tolerance, const char* what = "") {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 0, worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < want.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(error <= worst)) worst = error, at = i;  // a NaN is the worst
  }
  EXPECT_LE(worst, tolerance * largest) << what << " at " << at << ": " << got[at] << " for " << want[at]
                                        << ", largest " << largest;
}

}  // namespace plimsoll
