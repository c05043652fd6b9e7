#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer/optimizer_8bit.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <array>
#include <cmath>

#include "backend/cpu/optimizer/optimizer.h"
#include "base/bytes.h"
#include "quant/bnb/int8_blockwise.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

// The bytes of quant/bnb/int8_blockwise.h, with vectors. `n` is a multiple of the vector for whole blocks; what is left
// is done one by one, by the same rules.
void decode_block(const CodeTable& table, const uint8_t* codes, float absmax, int64_t n, float* out) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint8_t, Floats> d8;
  const auto scale = hn::Set(d, absmax);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto index = hn::PromoteTo(di, hn::LoadU(d8, codes + i));
    hn::StoreU(hn::Mul(hn::GatherIndex(d, table.values.data(), index), scale), d, out + i);
  }
  for (; i < n; ++i) out[i] = table.values[codes[i]] * absmax;
}

// adamw8bit_values with vectors. Compiled without contraction to fused multiply-adds (CMakeLists.txt), so that the
// bytes are the same.
void update_block(const AdamW8bitRates& r, float* weights, const float* gradients, int64_t n, float* first,
                  float* second) {
  const Floats d;
  const auto set = [&](float value) { return hn::Set(d, value); };
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto g = hn::Mul(lane.get(gradients + i), set(r.gradient_scale));
    const auto m = hn::Add(hn::Mul(lane.get(first + i), set(r.beta1)), hn::Mul(set(r.rest1), g));
    const auto v = hn::Add(hn::Mul(lane.get(second + i), set(r.beta2)), hn::Mul(hn::Mul(set(r.rest2), g), g));
    const auto scale = hn::Add(hn::Div(hn::Sqrt(v), set(r.correction)), set(r.epsilon));
    const auto p = hn::Add(hn::Mul(lane.get(weights + i), set(r.decay)), hn::Mul(set(r.rate), hn::Div(m, scale)));
    lane.put(m, first + i);
    lane.put(v, second + i);
    lane.put(p, weights + i);
  });
}

// Returns absmax.
float encode_block(const CodeTable& table, const float* in, int64_t n, uint8_t* codes) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::RebindToUnsigned<Floats> du;
  const hn::Rebind<uint8_t, Floats> d8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto largest = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) largest = hn::Max(largest, hn::Abs(hn::LoadU(d, in + i)));
  float most = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < n; ++i) most = std::max(most, std::abs(in[i]));
  const float inverse = 1.0F / std::max(most, 1e-38F);
  const auto factor = hn::Set(d, inverse);
  for (i = 0; i + lanes <= n; i += lanes) {
    const auto x = hn::Mul(hn::LoadU(d, in + i), factor);
    // As nearest_code: a start by the upper half of the bits, then three steps. The start is read with the three bytes
    // behind it, so not the last three, which are those of NaNs.
    const auto half = hn::Min(hn::ShiftRight<16>(hn::BitCast(du, x)), hn::Set(du, 65532));
    auto below =
        hn::And(hn::GatherOffset(di, reinterpret_cast<const int32_t*>(table.coarse.data()), hn::BitCast(di, half)),
                hn::Set(di, 255));
    for (int step = 0; step < 3; ++step) {
      const auto midpoint = hn::GatherIndex(d, table.midpoints.data(), below);
      below = hn::Sub(below, hn::VecFromMask(di, hn::RebindMask(di, hn::Lt(midpoint, x))));
    }
    hn::StoreU(hn::DemoteTo(d8, below), d8, codes + i);
  }
  for (; i < n; ++i) codes[i] = nearest_code(table, in[i] * inverse);
  return most;
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(decode_block);
HWY_EXPORT(encode_block);
HWY_EXPORT(update_block);

void adamw8bit_step(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor,
                    const AdamW8bitState& state) {
  constexpr int64_t kBlocks = 32;  // of a tile
  const CodeTable &signed_table = dynamic_table(true), &unsigned_table = dynamic_table(false);
  const AdamW8bitRates rates = adamw8bit_rates(
      {scalars.lr, scalars.beta1, scalars.beta2, scalars.eps, scalars.weight_decay, scalars.step, scalars.clip});
  const int64_t blocks = ceil_div(tensor.n, kAdamW8bitBlock);
  pool.parallel_for(ceil_div(blocks, kBlocks), [&](int64_t tile, int) {
    std::array<float, kAdamW8bitBlock> m, v, weights;
    for (int64_t block = tile * kBlocks; block < std::min((tile + 1) * kBlocks, blocks); ++block) {
      const int64_t begin = block * kAdamW8bitBlock, count = std::min(kAdamW8bitBlock, tensor.n - begin);
      HWY_DYNAMIC_DISPATCH(decode_block)(signed_table, state.first + begin, state.first_absmax[block], count, m.data());
      HWY_DYNAMIC_DISPATCH(decode_block)
      (unsigned_table, state.second + begin, state.second_absmax[block], count, v.data());
      read_weights(tensor, begin, count, weights.data());
      HWY_DYNAMIC_DISPATCH(update_block)
      (rates, weights.data(), tensor.gradient + begin, count, m.data(), v.data());
      write_weights(tensor, scalars.random_key, begin, count, weights.data());
      state.first_absmax[block] =
          HWY_DYNAMIC_DISPATCH(encode_block)(signed_table, m.data(), count, state.first + begin);
      state.second_absmax[block] =
          HWY_DYNAMIC_DISPATCH(encode_block)(unsigned_table, v.data(), count, state.second + begin);
    }
  });
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
