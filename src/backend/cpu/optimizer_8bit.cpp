#include "backend/cpu/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer_8bit.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <array>
#include <cmath>

#include "backend/cpu/optimizer.h"
#include "base/bytes.h"
#include "quant/int8_blockwise.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

// The bytes of quant/int8_blockwise.h, with vectors. `n` is a multiple of the vector for whole blocks; what is left is
// done one by one, by the same rules.
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

// Returns absmax.
float encode_block(const CodeTable& table, const float* in, int64_t n, uint8_t* codes) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
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
    // How many of the 255 midpoints are below x, bit by bit from the top.
    auto below = hn::Zero(di);
    for (int32_t step = 128; step > 0; step /= 2) {
      const auto next = hn::Add(below, hn::Set(di, step));
      const auto midpoint = hn::GatherIndex(d, table.midpoints.data(), hn::Sub(next, hn::Set(di, 1)));
      below = hn::IfThenElse(hn::RebindMask(di, hn::Lt(midpoint, x)), next, below);
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
      adamw8bit_values(rates, weights.data(), tensor.gradient + begin, count, m.data(), v.data());
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
