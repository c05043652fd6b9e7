#include "backend/cpu/matmul/packed_dot.h"

#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matmul/packed_dot.cpp"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
#include "backend/cpu/matmul/packed_codes-inl.h"
// clang-format on

#include <algorithm>

#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {
namespace packed {

constexpr int kTogether = 4;  // rows of b: enough streams to keep memory busy
constexpr int64_t kMaxBytesAhead = 2048;

HWY_INLINE VF load_lanes(const float* from) { return hn::LoadU(DF(), from); }
HWY_INLINE VF load_lanes(const uint16_t* from) {
  const hn::RebindToUnsigned<DF> d32;
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(hn::Rebind<uint16_t, DF>(), from))));
}

// 32 activations in the order in which weights come.
template <bool kInPairs, typename T>
HWY_INLINE void load_run(const T* from, VF* to) {
  VF lanes[kVectors];
  for (int v = 0; v < kVectors; ++v) lanes[v] = load_lanes(from + v * kLanes);
  for (int v = 0; v < kVectors; ++v) to[v] = lanes[v];
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kInPairs) {
    for (int v = 0; v < kVectors / 2; ++v) {
      to[v] = hn::ConcatEven(DF(), lanes[2 * v + 1], lanes[2 * v]);
      to[kVectors / 2 + v] = hn::ConcatOdd(DF(), lanes[2 * v + 1], lanes[2 * v]);
    }
  }
#else
  if constexpr (kInPairs)
    for (int v = 0; v < kVectors; ++v) to[v % 2 * (kVectors / 2) + v / 2] = lanes[v];
#endif
}

template <typename Codes, int kRows, typename T>
void dot_codes(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  const auto* const x = static_cast<const T*>(a.data);
  for (int64_t j = 0; j < rows; j += kTogether) {
    Codes codes[kTogether];
    for (int c = 0; c < kTogether; ++c) codes[c].start(b, row + std::min(j + c, rows - 1));
    VF sums[kRows][kTogether];
    for (auto& of_row : sums)
      for (VF& sum : of_row) sum = hn::Zero(DF());
    // Rows are short: what is asked for in advance is mostly the rows after these.
    const int64_t ahead = std::min<int64_t>(kTogether * (codes[1].at - codes[0].at), kMaxBytesAhead);
    for (int64_t at = 0; at < b.cols; at += kRun) {
      VF values[kRows][kVectors];
      for (int r = 0; r < kRows; ++r) load_run<Codes::kInPairs>(x + r * a.stride + at, values[r]);
      for (int c = 0; c < kTogether; ++c) {
        hwy::Prefetch(codes[c].at + ahead);
        VF weights[kVectors];
        codes[c].next(weights);
        for (int r = 0; r < kRows; ++r)
          for (int v = 0; v < kVectors; ++v) sums[r][c] = hn::MulAdd(values[r][v], weights[v], sums[r][c]);
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kTogether && j + c < rows; ++c)
        tile[r * stride + j + c] = sum_of_lanes(sums[r][c]) * codes[c].factor();
  }
}

// Types without a reader: rows are unpacked a part at a time.
struct Unpacked {};
template <typename Codes, int kRows, typename T>
void dot_unpacked(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  constexpr int64_t kPart = 1024;
  const auto* const x = static_cast<const T*>(a.data);
  HWY_ALIGN float unpacked[kTogether * kPart];
  for (int64_t j = 0; j < rows; j += kTogether) {
    const int64_t count = std::min<int64_t>(kTogether, rows - j);
    VecF sums[kRows][kTogether];
    for (auto& of_row : sums)
      for (auto& sum : of_row) sum = hn::Zero(Floats());
    for (int64_t from = 0; from < b.cols; from += kPart) {
      const int64_t depth = std::min(kPart, b.cols - from);
      unpack_tile(b, row + j, count, from, depth, unpacked, kPart);
      for_vectors(depth, [&](int64_t i, auto lane) {
        VecF values[kRows];
        for (int r = 0; r < kRows; ++r) values[r] = lane.get(x + r * a.stride + from + i);
        for (int c = 0; c < kTogether; ++c) {
          const auto weight = lane.get(unpacked + std::min<int64_t>(c, count - 1) * kPart + i);
          for (int r = 0; r < kRows; ++r) sums[r][c] = hn::MulAdd(values[r], weight, sums[r][c]);
        }
      });
    }
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < count; ++c) tile[r * stride + j + c] = cpu::HWY_NAMESPACE::sum_of_lanes(sums[r][c]);
  }
}

template <typename Codes, typename T, int kRows>
void dot(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  if constexpr (std::is_same_v<Codes, Unpacked>) dot_unpacked<Codes, kRows, T>(a, b, row, rows, tile, stride);
  else dot_codes<Codes, kRows, T>(a, b, row, rows, tile, stride);
}

template <typename Codes, typename T>
void dot_rows(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  switch (a.count) {
    case 1:
      return dot<Codes, T, 1>(a, b, row, rows, tile, stride);
    case 2:
      return dot<Codes, T, 2>(a, b, row, rows, tile, stride);
    case 3:
      return dot<Codes, T, 3>(a, b, row, rows, tile, stride);
    default:
      return dot<Codes, T, 4>(a, b, row, rows, tile, stride);
  }
}

template <typename Codes>
void dot_as(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  if (a.dtype == DType::f32) dot_rows<Codes, float>(a, b, row, rows, tile, stride);
  else dot_rows<Codes, uint16_t>(a, b, row, rows, tile, stride);
}

void dot_any(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  switch (b.type) {
    case DType::q4_0:
      return dot_as<Q4_0>(a, b, row, rows, tile, stride);
    case DType::q4_1:
      return dot_as<Q4_1>(a, b, row, rows, tile, stride);
    case DType::q5_0:
      return dot_as<Q5_0>(a, b, row, rows, tile, stride);
    case DType::q5_1:
      return dot_as<Q5_1>(a, b, row, rows, tile, stride);
    case DType::q8_0:
      return dot_as<Q8_0>(a, b, row, rows, tile, stride);
    case DType::q4_k:
      return dot_as<Q4K>(a, b, row, rows, tile, stride);
    case DType::q5_k:
      return dot_as<Q5K>(a, b, row, rows, tile, stride);
    case DType::q6_k:
      return dot_as<Q6K>(a, b, row, rows, tile, stride);
    case DType::nf4:
    case DType::fp4:
      if (b.cols % kBnb4Block == 0) return dot_as<Bnb4>(a, b, row, rows, tile, stride);
      break;
    case DType::int8:
      if (b.cols % kRun == 0) return dot_as<RowCodes<false>>(a, b, row, rows, tile, stride);
      break;
    case DType::fp8:
      if (b.cols % kRun == 0) return dot_as<RowCodes<true>>(a, b, row, rows, tile, stride);
      break;
    default:
      break;
  }
  dot_as<Unpacked>(a, b, row, rows, tile, stride);
}

}  // namespace packed

void packed_dot_any(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  packed::dot_any(a, b, row, rows, tile, stride);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(packed_dot_any);

void packed_dot(const DotRows& a, const PackedMatrix& b, int64_t row, int64_t rows, float* tile, int64_t stride) {
  HWY_DYNAMIC_DISPATCH(packed_dot_any)(a, b, row, rows, tile, stride);
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
