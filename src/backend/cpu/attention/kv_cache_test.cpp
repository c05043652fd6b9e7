#include "backend/cpu/attention/kv_cache.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <array>

#include "backend/cpu/attention/attention.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

// A single query reads a cache of another type as if its values had been unpacked before.
TEST(KvCache, AnotherTypeIsItsValues) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const DType cache : {DType::f32, DType::bf16, DType::f16, DType::q8_0, DType::q4_0})
      for (const auto& [head_dim, value_dim] : {std::pair{64, 64}, {96, 32}, {20, 12}}) {
        if (head_dim % dtype_info(cache).block_elements != 0) continue;
        SCOPED_TRACE(testing::Message() << dtype_name(dtype) << " from " << dtype_name(cache) << ' ' << head_dim);
        AttentionShape shape;
        shape.q_len = 1;
        shape.kv_len = 700;
        shape.q_offset = 699;
        shape.heads = 6;
        shape.kv_heads = 2;
        shape.head_dim = head_dim;
        shape.scale = 0.2F;
        shape.q_row_stride = 6 * head_dim;
        shape.k_row_stride = 2 * head_dim;
        shape.dtype = dtype;
        shape.value_dim = value_dim;
        shape.v_row_stride = 2 * value_dim;
        shape.out_row_stride = 6 * value_dim;
        ThreadPool pool(2);
        std::array<std::vector<std::byte>, 2> packed, unpacked;
        const std::array widths = {2 * head_dim, 2 * value_dim};
        for (size_t i = 0; i < 2; ++i) {
          const Typed values(DType::f32, random_values(static_cast<size_t>(700 * widths[i]), 3 + i));
          packed[i].resize(static_cast<size_t>(dtype_bytes(cache, 700 * widths[i])));
          unpacked[i].resize(static_cast<size_t>(dtype_bytes(dtype, 700 * widths[i])));
          store_cache(pool,
                      {static_cast<const std::byte*>(values.data()), DType::f32, 700, 2, widths[i] / 2, widths[i],
                       widths[i] / 2},
                      cache, packed[i].data());
          load_cache(pool, cache, packed[i].data(), 700, widths[i], dtype, unpacked[i].data());
        }
        const Typed q(dtype, random_values(static_cast<size_t>(6 * head_dim), 7));
        const auto attend = [&](const AttentionShape& s, const auto& kv) {
          std::vector<std::byte> workspace(static_cast<size_t>(attention_workspace_bytes(s, false, 2)) + 64);
          Typed out(dtype, std::vector<float>(static_cast<size_t>(6 * value_dim)));
          attention_forward(pool, s, q.data(), kv[0].data(), kv[1].data(), nullptr, nullptr, out.data(), nullptr,
                            reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(workspace.data()) + 63) / 64 * 64));
          return out.values();
        };
        AttentionShape from_cache = shape;
        from_cache.cache = cache;
        const auto expected = attend(shape, unpacked);
        for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
          hwy::SetSupportedTargetsForTest(target);
          // bf16 rounds what is unpacked; the cache itself is read in f32.
          expect_close(attend(from_cache, packed), expected, dtype == DType::f32 ? 2e-6 : 1e-2,
                       hwy::TargetName(target));
        }
        hwy::SetSupportedTargetsForTest(0);
      }
}

// Heads may lie apart in a projection; a cache has them side by side, and gives back what its type keeps.
TEST(KvCache, HeadsComeSideBySide) {
  ThreadPool pool(2);
  constexpr int64_t kRows = 3, kHeads = 2, kWidth = 32, kHeadStride = 40, kRowStride = 100;
  const std::vector<float> values = random_values(kRows * kRowStride, 5);
  for (const auto& [cache, tolerance] :
       {std::pair{DType::f32, 0.0}, {DType::bf16, 5e-3}, {DType::f16, 6e-4}, {DType::q8_0, 5e-3}, {DType::q4_0, 0.1}}) {
    std::vector<std::byte> packed(static_cast<size_t>(dtype_bytes(cache, kRows * kHeads * kWidth)));
    store_cache(
        pool,
        {reinterpret_cast<const std::byte*>(values.data()), DType::f32, kRows, kHeads, kWidth, kRowStride, kHeadStride},
        cache, packed.data());
    std::vector<float> got(kRows * kHeads * kWidth), expected;
    load_cache(pool, cache, packed.data(), kRows, kHeads * kWidth, DType::f32,
               reinterpret_cast<std::byte*>(got.data()));
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t head = 0; head < kHeads; ++head)
        for (int64_t i = 0; i < kWidth; ++i)
          expected.push_back(values[static_cast<size_t>(row * kRowStride + head * kHeadStride + i)]);
    expect_close(got, expected, tolerance, std::string(dtype_name(cache)).c_str());
  }
}

}  // namespace
}  // namespace plimsoll::cpu
