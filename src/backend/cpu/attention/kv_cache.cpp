#include "backend/cpu/attention/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "quant/dequantize_row.h"
#include "quant/ggml/ggml_blocks.h"
#include "quant/half.h"

namespace plimsoll::cpu {
namespace {

constexpr int64_t kPart = 256;  // values at once; whole blocks

void widen(DType dtype, const std::byte* from, int64_t n, float* to) {
  if (is_block_type(dtype)) return dequantize_row(dtype, from, n, to);
  if (dtype == DType::f32) {
    std::memcpy(to, from, static_cast<size_t>(n) * 4);
    return;
  }
  const auto* const bits = reinterpret_cast<const uint16_t*>(from);
  for (int64_t i = 0; i < n; ++i)
    to[i] = dtype == DType::f16 ? inline_half::from_f16(bits[i]) : inline_half::from_bf16(bits[i]);
}

void narrow(const float* from, int64_t n, DType dtype, std::byte* to) {
  if (is_block_type(dtype)) return quantize_blocks(dtype, from, n / dtype_info(dtype).block_elements, to);
  if (dtype == DType::f32) {
    std::memcpy(to, from, static_cast<size_t>(n) * 4);
    return;
  }
  auto* const bits = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < n; ++i)
    bits[i] = dtype == DType::f16 ? inline_half::to_f16(from[i]) : inline_half::to_bf16(from[i]);
}

void convert(DType from_type, const std::byte* from, int64_t n, DType to_type, std::byte* to) {
  std::array<float, kPart> values;
  for (int64_t i = 0; i < n; i += kPart) {
    const int64_t count = std::min(kPart, n - i);
    widen(from_type, from + dtype_bytes(from_type, i), count, values.data());
    narrow(values.data(), count, to_type, to + dtype_bytes(to_type, i));
  }
}

}  // namespace

bool can_cache(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::q8_0 ||
         dtype == DType::q4_0;
}

void store_cache(ThreadPool& pool, const CacheRows& from, DType cache, std::byte* to) {
  const int64_t head_bytes = dtype_bytes(cache, from.width);
  pool.parallel_for(from.rows, [&](int64_t row, int) {
    for (int64_t head = 0; head < from.heads; ++head) {
      const std::byte* const values =
          from.data + dtype_bytes(from.dtype, row * from.row_stride + head * from.head_stride);
      std::byte* const out = to + (row * from.heads + head) * head_bytes;
      if (from.dtype == cache) std::memcpy(out, values, static_cast<size_t>(head_bytes));
      else convert(from.dtype, values, from.width, cache, out);
    }
  });
}

void load_cache(ThreadPool& pool, DType cache, const std::byte* from, int64_t rows, int64_t width, DType dtype,
                std::byte* to) {
  pool.parallel_for(rows, [&](int64_t row, int) {
    convert(cache, from + row * dtype_bytes(cache, width), width, dtype, to + row * dtype_bytes(dtype, width));
  });
}

}  // namespace plimsoll::cpu
