#include "quant/bnb/bnb4.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/bnb/int8_blockwise.h"

namespace plimsoll {
namespace {

constexpr std::array<float, 16> kNf4 = {
    -1.0F,
    -0.6961928009986877F,
    -0.5250730514526367F,
    -0.39491748809814453F,
    -0.28444138169288635F,
    -0.18477343022823334F,
    -0.09105003625154495F,
    0.0F,
    0.07958029955625534F,
    0.16093020141124725F,
    0.24611230194568634F,
    0.33791524171829224F,
    0.44070982933044434F,
    0.5626170039176941F,
    0.7229568362236023F,
    1.0F,
};

// Twelfths; the second half is the first with the other sign, and its zero is a second zero.
constexpr std::array<float, 16> kFp4 = {
    0.0F, 0.0625F / 12,  8.0F / 12,  1.0F,  4.0F / 12,  6.0F / 12,  2.0F / 12,  3.0F / 12,
    0.0F, -0.0625F / 12, -8.0F / 12, -1.0F, -4.0F / 12, -6.0F / 12, -2.0F / 12, -3.0F / 12,
};

// The codes in the order of their values, and the midpoints of neighbours: a value on a midpoint takes the lower one.
struct Search {
  std::array<uint8_t, 16> order;
  std::array<float, 15> midpoints;
};

constexpr Search make_search(const std::array<float, 16>& values, const std::array<uint8_t, 16>& order) {
  Search search{order, {}};
  for (size_t i = 0; i < 15; ++i) search.midpoints[i] = (values[order[i]] + values[order[i + 1]]) / 2.0F;
  return search;
}

constexpr Search kNf4Search = make_search(kNf4, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
constexpr Search kFp4Search = make_search(kFp4, {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3});

inline uint8_t code_of(const Search& search, float x) {
  uint32_t below = 0;
  for (const float midpoint : search.midpoints) below += midpoint < x ? 1 : 0;
  return search.order[below];
}

}  // namespace

const std::array<float, 16>& bnb4_values(Bnb4Type type) { return type == Bnb4Type::nf4 ? kNf4 : kFp4; }

void quantize_bnb4(Bnb4Type type, const float* in, int64_t n, int64_t block, uint8_t* packed, float* absmax) {
  PLIMSOLL_CHECK(block > 0 && block % 2 == 0, "a block is whole bytes");
  const Search& search = type == Bnb4Type::nf4 ? kNf4Search : kFp4Search;
  for (int64_t first = 0; first < n; first += block) {
    const int64_t last = std::min(first + block, n);
    float most = 0;
    for (int64_t i = first; i < last; ++i) most = std::max(most, std::fabs(in[i]));
    // The library divides in a short last block, and multiplies by the inverse elsewhere.
    const bool is_short = last - first < block;
    const float divisor = std::max(most, 1e-38F), inverse = 1.0F / divisor;
    absmax[first / block] = is_short ? divisor : most;
    const auto code = [&](int64_t i) {
      if (i >= last) return static_cast<uint32_t>(code_of(search, 0.0F));
      return static_cast<uint32_t>(code_of(search, is_short ? in[i] / divisor : in[i] * inverse));
    };
    for (int64_t i = first; i < last; i += 2) packed[i / 2] = static_cast<uint8_t>((code(i) << 4) | code(i + 1));
  }
}

void dequantize_bnb4(Bnb4Type type, const uint8_t* packed, const float* absmax, int64_t block, int64_t first,
                     int64_t count, float* out) {
  const std::array<float, 16>& values = bnb4_values(type);
  const int64_t last = first + count;
  for (int64_t i = first; i < last;) {
    const int64_t end = std::min(last, (i / block + 1) * block);
    const float scale = absmax[i / block];
    for (; i < end; ++i) *out++ = values[(packed[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15] * scale;
  }
}

float quantize_absmax(const float* absmax, int64_t n, uint8_t* codes, float* nested_absmax) {
  if (n == 0) return 0;
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(absmax[i]);
  const auto offset = static_cast<float>(sum / static_cast<double>(n));
  std::array<float, kNestedBlock> centred;
  for (int64_t first = 0; first < n; first += kNestedBlock) {
    const int64_t count = std::min(kNestedBlock, n - first);
    for (int64_t i = 0; i < count; ++i) centred[static_cast<size_t>(i)] = absmax[first + i] - offset;
    quantize_blockwise(dynamic_table(true), centred.data(), count, kNestedBlock, codes + first,
                       nested_absmax + first / kNestedBlock);
  }
  return offset;
}

void restore_absmax(const uint8_t* codes, const float* nested_absmax, float offset, int64_t first, int64_t count,
                    float* absmax) {
  const CodeTable& table = dynamic_table(true);
  for (int64_t i = first; i < first + count; ++i)
    *absmax++ = table.values[codes[i]] * nested_absmax[i / kNestedBlock] + offset;
}

}  // namespace plimsoll
