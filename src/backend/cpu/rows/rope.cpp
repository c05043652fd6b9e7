#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/rope.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/rows/rope.h"
#include "base/bytes.h"
#include "base/error.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

HWY_INLINE float value(float v) { return v; }
HWY_INLINE float value(uint16_t v) { return bf16_to_f32(v); }
HWY_INLINE void put_value(float v, float* to) { *to = v; }
HWY_INLINE void put_value(float v, uint16_t* to) { *to = f32_to_bf16(v); }

template <typename T>
HWY_INLINE void rotate_head(const RopeSpec& spec, const T* in, const float* c, const float* s, float direction, T* to) {
  const auto sign = hn::Set(Floats(), direction);
  const int64_t half = spec.rotary_dim / 2;
  if (spec.interleaved) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = value(in[2 * i]);
      const float b = value(in[2 * i + 1]);
      put_value(a * c[i] - b * (direction * s[i]), to + 2 * i);
      put_value(b * c[i] + a * (direction * s[i]), to + 2 * i + 1);
    }
  } else {
    for_vectors(half, [&](int64_t i, auto lane) {
      const auto a = lane.get(in + i);
      const auto b = lane.get(in + half + i);
      const auto cos_i = lane.get(c + i);
      const auto sin_i = hn::Mul(sign, lane.get(s + i));
      lane.put(hn::NegMulAdd(b, sin_i, hn::Mul(a, cos_i)), to + i);
      lane.put(hn::MulAdd(a, sin_i, hn::Mul(b, cos_i)), to + half + i);
    });
  }
}

template <typename T>
HWY_INLINE void rotate_rows(const RopeSpec& spec, const T* x, const float* cos, const float* sin, float direction,
                            T* out, int64_t begin, int64_t end) {
  const int64_t half = spec.rotary_dim / 2;
  for (int64_t row = begin; row < end; ++row) {
    const float* const c = cos + row * half;
    const float* const s = sin + row * half;
    if (spec.row_stride > 0) {  // fused: what does not turn is copied with the row
      T* const to = out + row * spec.row_stride;
      if (x != out) std::memcpy(to, x + row * spec.row_stride, static_cast<size_t>(spec.row_stride) * sizeof(T));
      for (const RopeHeads& part : spec.parts)
        for (int64_t head = 0; head < part.heads; ++head) {
          T* const at = to + part.column + head / part.group * part.group_stride + head % part.group * spec.head_dim;
          rotate_head(spec, at, c, s, direction, at);
        }
      continue;
    }
    for (int64_t head = 0; head < spec.heads; ++head) {
      const int64_t at = (row * spec.heads + head) * spec.head_dim, behind = spec.offset + spec.rotary_dim;
      rotate_head(spec, x + at + spec.offset, c, s, direction, out + at + spec.offset);
      if (x == out) continue;
      if (spec.offset > 0) std::memcpy(out + at, x + at, static_cast<size_t>(spec.offset) * sizeof(T));
      if (behind < spec.head_dim)
        std::memcpy(out + at + behind, x + at + behind, static_cast<size_t>(spec.head_dim - behind) * sizeof(T));
    }
  }
}

void rope_rows(const RopeSpec& spec, const void* x, const float* cos, const float* sin, float direction, void* out,
               int64_t begin, int64_t end) {
  if (spec.dtype == DType::f32)
    rotate_rows(spec, static_cast<const float*>(x), cos, sin, direction, static_cast<float*>(out), begin, end);
  else rotate_rows(spec, static_cast<const uint16_t*>(x), cos, sin, direction, static_cast<uint16_t*>(out), begin, end);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(rope_rows);

namespace {
constexpr int64_t kRowTile = 32;
}

void rope_table(ThreadPool& pool, int64_t rows, int64_t half_rotary, const int32_t* positions, const float* inv_freq,
                float attention_scaling, float* cos, float* sin) {
  pool.parallel_for(ceil_div(rows, kRowTile), [&](int64_t tile, int) {
    for (int64_t row = tile * kRowTile; row < std::min(rows, (tile + 1) * kRowTile); ++row) {
      const auto position = static_cast<float>(positions[row]);
      for (int64_t i = 0; i < half_rotary; ++i) {
        const float angle = position * inv_freq[i];
        cos[row * half_rotary + i] = std::cos(angle) * attention_scaling;
        sin[row * half_rotary + i] = std::sin(angle) * attention_scaling;
      }
    }
  });
}

void rope(ThreadPool& pool, const RopeSpec& spec, const void* x, const float* cos, const float* sin, int direction,
          void* out) {
  PLIMSOLL_CHECK(spec.dtype == DType::f32 || spec.dtype == DType::bf16, "activations are f32 or bf16");
  PLIMSOLL_CHECK(spec.rotary_dim % 2 == 0 && spec.rotary_dim <= spec.head_dim,
                 "rotary_dim is even and within the head");
  PLIMSOLL_CHECK(direction == 1 || direction == -1, "direction is +1 or -1");
  pool.parallel_for(ceil_div(spec.rows, kRowTile), [&](int64_t tile, int) {
    HWY_DYNAMIC_DISPATCH(rope_rows)
    (spec, x, cos, sin, static_cast<float>(direction), out, tile * kRowTile,
     std::min(spec.rows, (tile + 1) * kRowTile));
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
