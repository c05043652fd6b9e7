#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rows/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <algorithm>
#include <cstring>

#include "backend/cpu/rows/elementwise.h"
#include "base/bytes.h"
#include "base/dtype.h"
#include "base/error.h"
#include "quant/half.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

template <typename T>
HWY_INLINE void add_span(const T* a, const T* b, T* out, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(hn::Add(lane.get(a + i), lane.get(b + i)), out + i); });
}
void add_f32(const float* a, const float* b, float* out, int64_t n) { add_span(a, b, out, n); }
void add_bf16(const uint16_t* a, const uint16_t* b, uint16_t* out, int64_t n) { add_span(a, b, out, n); }

template <typename T>
HWY_INLINE void scale_span(const T* a, float factor, T* out, int64_t n) {
  const auto f = hn::Set(Floats(), factor);
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(hn::Mul(f, lane.get(a + i)), out + i); });
}
void scale_f32(const float* a, float factor, float* out, int64_t n) { scale_span(a, factor, out, n); }
void scale_bf16(const uint16_t* a, float factor, uint16_t* out, int64_t n) { scale_span(a, factor, out, n); }

template <typename T>
HWY_INLINE void axpy_span(const T* a, float factor, float* sum, int64_t n) {
  const auto f = hn::Set(Floats(), factor);
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(hn::MulAdd(f, lane.get(a + i), lane.get(sum + i)), sum + i); });
}
void axpy_f32(const float* a, float factor, float* sum, int64_t n) { axpy_span(a, factor, sum, n); }
void axpy_bf16(const uint16_t* a, float factor, float* sum, int64_t n) { axpy_span(a, factor, sum, n); }

template <typename T>
HWY_INLINE void softcap_span(const T* a, float cap, T* out, int64_t n) {
  const Floats d;
  const auto inverse = hn::Set(d, 1.0F / cap), caps = hn::Set(d, cap);
  for_vectors(n, [&](int64_t i, auto lane) {
    lane.put(hn::Mul(caps, hn::Tanh(d, hn::Mul(lane.get(a + i), inverse))), out + i);
  });
}
void softcap_f32(const float* a, float cap, float* out, int64_t n) { softcap_span(a, cap, out, n); }
void softcap_bf16(const uint16_t* a, float cap, uint16_t* out, int64_t n) { softcap_span(a, cap, out, n); }

// Plain loops, which the compiler turns into vectors of this target; exact for subnormals and overflow.
void f16_to_f32_span(const uint16_t* a, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = inline_half::from_f16(a[i]);
}
void f32_to_f16_span(const float* a, uint16_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = inline_half::to_f16(a[i]);
}

void bf16_to_f32_span(const uint16_t* a, float* out, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(lane.get(a + i), out + i); });
}
void f32_to_bf16_span(const float* a, uint16_t* out, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(lane.get(a + i), out + i); });
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(add_f32);
HWY_EXPORT(add_bf16);
HWY_EXPORT(scale_f32);
HWY_EXPORT(scale_bf16);
HWY_EXPORT(softcap_f32);
HWY_EXPORT(softcap_bf16);
HWY_EXPORT(axpy_f32);
HWY_EXPORT(axpy_bf16);
HWY_EXPORT(f16_to_f32_span);
HWY_EXPORT(f32_to_f16_span);
HWY_EXPORT(bf16_to_f32_span);
HWY_EXPORT(f32_to_bf16_span);

namespace {

constexpr int64_t kTileElements = 1 << 15;
constexpr int64_t kColumnTile = 256;

bool is_bf16(DType dtype) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  return dtype == DType::bf16;
}

template <typename Body>
void for_tiles(ThreadPool& pool, int64_t n, Body&& body) {
  pool.parallel_for(ceil_div(n, kTileElements), [&](int64_t tile, int) {
    const int64_t begin = tile * kTileElements;
    body(begin, std::min(kTileElements, n - begin));
  });
}

const float* f32_at(const void* p, int64_t i) { return static_cast<const float*>(p) + i; }
float* f32_at(void* p, int64_t i) { return static_cast<float*>(p) + i; }
const uint16_t* bits_at(const void* p, int64_t i) { return static_cast<const uint16_t*>(p) + i; }
uint16_t* bits_at(void* p, int64_t i) { return static_cast<uint16_t*>(p) + i; }

float value_of(DType dtype, const void* p, int64_t i) {
  if (dtype == DType::f32) return *f32_at(p, i);
  return dtype == DType::bf16 ? bf16_to_f32(*bits_at(p, i)) : f16_to_f32(*bits_at(p, i));
}

// Row blocks of bias_grad: at most 64, at least 32 rows each.
int64_t bias_grad_rows(int64_t rows) { return std::max<int64_t>(32, ceil_div(rows, 64)); }

}  // namespace

void add(ThreadPool& pool, DType dtype, int64_t n, const void* a, const void* b, void* out) {
  const bool bf16 = is_bf16(dtype);
  for_tiles(pool, n, [&](int64_t i, int64_t count) {
    if (bf16) HWY_DYNAMIC_DISPATCH(add_bf16)(bits_at(a, i), bits_at(b, i), bits_at(out, i), count);
    else HWY_DYNAMIC_DISPATCH(add_f32)(f32_at(a, i), f32_at(b, i), f32_at(out, i), count);
  });
}

void scale(ThreadPool& pool, DType dtype, int64_t n, const void* a, float factor, void* out) {
  const bool bf16 = is_bf16(dtype);
  for_tiles(pool, n, [&](int64_t i, int64_t count) {
    if (bf16) HWY_DYNAMIC_DISPATCH(scale_bf16)(bits_at(a, i), factor, bits_at(out, i), count);
    else HWY_DYNAMIC_DISPATCH(scale_f32)(f32_at(a, i), factor, f32_at(out, i), count);
  });
}

void softcap(ThreadPool& pool, DType dtype, int64_t n, const void* a, float cap, void* out) {
  const bool bf16 = is_bf16(dtype);
  for_tiles(pool, n, [&](int64_t i, int64_t count) {
    if (bf16) HWY_DYNAMIC_DISPATCH(softcap_bf16)(bits_at(a, i), cap, bits_at(out, i), count);
    else HWY_DYNAMIC_DISPATCH(softcap_f32)(f32_at(a, i), cap, f32_at(out, i), count);
  });
}

void cast(ThreadPool& pool, int64_t n, DType from, const void* a, DType to, void* out) {
  const auto known = [](DType d) { return d == DType::f32 || d == DType::bf16 || d == DType::f16; };
  PLIMSOLL_CHECK(known(from) && known(to), "cast knows f32, bf16 and f16");
  for_tiles(pool, n, [&](int64_t i, int64_t count) {
    if (from == to) {
      const int64_t bytes = dtype_bytes(from, 1);
      std::memcpy(static_cast<char*>(out) + i * bytes, static_cast<const char*>(a) + i * bytes,
                  static_cast<size_t>(count * bytes));
    } else if (from == DType::bf16 && to == DType::f32) {
      HWY_DYNAMIC_DISPATCH(bf16_to_f32_span)(bits_at(a, i), f32_at(out, i), count);
    } else if (from == DType::f32 && to == DType::bf16) {
      HWY_DYNAMIC_DISPATCH(f32_to_bf16_span)(f32_at(a, i), bits_at(out, i), count);
    } else if (from == DType::f16 && to == DType::f32) {
      HWY_DYNAMIC_DISPATCH(f16_to_f32_span)(bits_at(a, i), f32_at(out, i), count);
    } else if (from == DType::f32 && to == DType::f16) {
      HWY_DYNAMIC_DISPATCH(f32_to_f16_span)(f32_at(a, i), bits_at(out, i), count);
    } else {  // bf16 and f16 meet only while loading and saving
      for (int64_t j = i; j < i + count; ++j) {
        const float value = value_of(from, a, j);
        if (to == DType::f32) *f32_at(out, j) = value;
        else *bits_at(out, j) = to == DType::bf16 ? f32_to_bf16(value) : f32_to_f16(value);
      }
    }
  });
}

void fill_zero(ThreadPool& pool, int64_t bytes, void* out) {
  for_tiles(pool, bytes,
            [&](int64_t i, int64_t count) { std::memset(static_cast<char*>(out) + i, 0, static_cast<size_t>(count)); });
}

int64_t bias_grad_workspace_bytes(int64_t rows, int64_t columns) {
  return ceil_div(rows, bias_grad_rows(rows)) * columns * int64_t{sizeof(float)};
}

void bias_grad(ThreadPool& pool, DType dtype, int64_t rows, int64_t columns, const void* dy, float* d_bias,
               void* workspace) {
  const bool bf16 = is_bf16(dtype);
  const int64_t block_rows = bias_grad_rows(rows);
  const int64_t blocks = ceil_div(rows, block_rows);
  auto* const sums = static_cast<float*>(workspace);  // (blocks, columns)
  pool.parallel_for(blocks, [&](int64_t block, int) {
    float* const sum = sums + block * columns;
    std::memset(sum, 0, static_cast<size_t>(columns) * sizeof(float));
    for (int64_t row = block * block_rows; row < std::min(rows, (block + 1) * block_rows); ++row) {
      if (bf16) HWY_DYNAMIC_DISPATCH(axpy_bf16)(bits_at(dy, row * columns), 1.0F, sum, columns);
      else HWY_DYNAMIC_DISPATCH(axpy_f32)(f32_at(dy, row * columns), 1.0F, sum, columns);
    }
  });
  pool.parallel_for(ceil_div(columns, kColumnTile), [&](int64_t tile, int) {
    const int64_t begin = tile * kColumnTile;
    const int64_t count = std::min(kColumnTile, columns - begin);
    for (int64_t block = 0; block < blocks; ++block)
      HWY_DYNAMIC_DISPATCH(axpy_f32)(sums + block * columns + begin, 1.0F, d_bias + begin, count);
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
