#include "backend/cpu/mixture/clamped_swiglu.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "quant/half.h"

namespace plimsoll::cpu {
namespace {

constexpr int64_t kValueTile = 1 << 13;

// Plain loops over pairs: one activation of one family, and exp is what costs.
float read(const void* p, DType dtype, int64_t i) {
  return dtype == DType::f32 ? static_cast<const float*>(p)[i] : bf16_to_f32(static_cast<const uint16_t*>(p)[i]);
}
void write(float value, DType dtype, void* p, int64_t i) {
  if (dtype == DType::f32) static_cast<float*>(p)[i] = value;
  else static_cast<uint16_t*>(p)[i] = f32_to_bf16(value);
}

template <typename Body>
void for_values(ThreadPool& pool, int64_t values, Body&& body) {
  pool.parallel_for(ceil_div(values, kValueTile), [&](int64_t tile, int) {
    for (int64_t i = tile * kValueTile; i < std::min(values, (tile + 1) * kValueTile); ++i) body(i);
  });
}

}  // namespace

void clamped_swiglu_forward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* x,
                            void* y) {
  for_values(pool, values, [&](int64_t i) {
    const float gate = std::min(read(x, dtype, 2 * i), limit);
    const float up = std::clamp(read(x, dtype, 2 * i + 1), -limit, limit);
    write((up + 1.0F) * gate / (1.0F + std::exp(-alpha * gate)), dtype, y, i);
  });
}

void clamped_swiglu_backward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* dy,
                             const void* x, void* dx) {
  for_values(pool, values, [&](int64_t i) {
    const float g = read(dy, dtype, i), raw_gate = read(x, dtype, 2 * i), raw_up = read(x, dtype, 2 * i + 1);
    const float gate = std::min(raw_gate, limit), up = std::clamp(raw_up, -limit, limit);
    const float sigmoid = 1.0F / (1.0F + std::exp(-alpha * gate));
    // As torch's clamp: the gradient passes at the bounds, not beyond them.
    const float d_gate =
        raw_gate <= limit ? g * (up + 1.0F) * sigmoid * (1.0F + alpha * gate * (1.0F - sigmoid)) : 0.0F;
    const float d_up = raw_up >= -limit && raw_up <= limit ? g * gate * sigmoid : 0.0F;
    write(d_gate, dtype, dx, 2 * i);
    write(d_up, dtype, dx, 2 * i + 1);
  });
}

}  // namespace plimsoll::cpu
