// Attention beside its definition, and what must hold of its bits.
#include "backend/cpu/attention/attention.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "backend/cpu/attention/attention_blocks.h"
#include "support/attention_case.h"

namespace plimsoll::cpu::attention_test {
namespace {

struct Sizes {
  int64_t batch, q_len, kv_len, heads, kv_heads, head_dim;
};
const Sizes kSizes[] = {
    {1, 1, 1, 1, 1, 12},   {2, 7, 7, 3, 1, 16},      {1, 65, 65, 4, 1, 80}, {1, 513, 513, 3, 1, 64},
    {2, 33, 70, 6, 2, 64}, {1, 130, 130, 2, 2, 128}, {1, 1, 300, 8, 2, 64}, {1, 450, 450, 1, 1, 32},
    {1, 40, 40, 16, 1, 8}, {3, 96, 200, 4, 4, 12},   {2, 1, 600, 5, 1, 20}, {2, 1, 530, 7, 7, 48},
    {1, 1, 5, 4, 2, 16},
};

double tolerance_of(DType dtype) { return dtype == DType::f32 ? 5e-6 : 1e-2; }

// A vector width of Highway, and the table to run there.
struct Setting {
  int64_t target;
  const AttentionKernels* (*kernels)();
};
const AttentionKernels* f32_blocks() { return &f32_attention_kernels(); }
std::vector<Setting> f32_blocks_on_all_targets() {
  std::vector<Setting> settings;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) settings.push_back({target, f32_blocks});
  return settings;
}

void check_all_masks(DType dtype, const std::vector<Setting>& settings) {
  uint32_t seed = 1;
  for (const Sizes& z : kSizes)
    for (int mask = 0; mask < 7; ++mask) {
      // 5: values narrower than keys; 6: wider, and sinks.
      const int64_t value_dim = mask == 5 ? std::max<int64_t>(4, z.head_dim / 2 - 3) : mask == 6 ? z.head_dim + 21 : 0;
      AttentionShape shape = make_shape(z.batch, z.q_len, z.kv_len, z.heads, z.kv_heads, z.head_dim, value_dim);
      shape.dtype = dtype;
      if (mask == 1 || mask == 4) shape.window = 37;
      if (mask == 3) shape.softcap = 2.0F;
      if (mask == 5) shape.alibi_factor = 1.0F;
      if (mask == 6) shape.alibi_factor = shape.scale;
      shape.alibi_bf16 = mask == 6;
      if (mask == 4) {  // rows with other tensors in between
        shape.q_row_stride += 24;
        shape.k_row_stride += 8;
        shape.v_row_stride += 40;
        shape.out_row_stride += 16;
      }
      Case c = random_case(shape, ++seed);
      if (mask >= 2) add_segments(c, seed, mask >= 3);
      if (mask == 6) add_sinks(c);
      SCOPED_TRACE(testing::Message() << "T " << z.q_len << "/" << z.kv_len << " heads " << z.heads << "/" << z.kv_heads
                                      << " head_dim " << z.head_dim << " mask " << mask);
      const Results expected = naive(c);
      for (const Setting& setting : settings) {
        hwy::SetSupportedTargetsForTest(setting.target);
        SCOPED_TRACE(testing::Message() << (setting.target == 0 ? "best" : hwy::TargetName(setting.target))
                                        << ", blocks of " << setting.kernels()->element_bytes << " bytes");
        Results ours = run(*setting.kernels(), c, 1);
        hwy::SetSupportedTargetsForTest(0);
        if (mask == 4) {  // what lies between rows must be untouched; the definition has 0 there
          const auto clear = [](Floats& values, int64_t stride, int64_t used) {
            for (size_t i = 0; i < values.size(); ++i)
              if (static_cast<int64_t>(i) % stride >= used) {
                EXPECT_TRUE(std::isnan(values[i]));
                values[i] = 0.0F;
              }
          };
          clear(ours.out, shape.out_row_stride, z.heads * z.head_dim);
          clear(ours.dq, shape.q_row_stride, z.heads * z.head_dim);
          clear(ours.dk, shape.k_row_stride, z.kv_heads * z.head_dim);
          clear(ours.dv, shape.v_row_stride, z.kv_heads * z.head_dim);
        }
        expect_close(ours, expected, tolerance_of(dtype));
      }
    }
}

TEST(Attention, F32EqualsDefinition) { check_all_masks(DType::f32, f32_blocks_on_all_targets()); }
TEST(Attention, Bf16EqualsDefinition) {
  std::vector<Setting> settings = f32_blocks_on_all_targets();
  for (const auto kernels : {bf16_dot_attention_kernels, bf16_amx_attention_kernels})
    if (kernels() != nullptr) settings.push_back({0, kernels});
  check_all_masks(DType::bf16, settings);
}

// q, k and v as columns of one row, group by group, and their gradients written into one such row.
TEST(Attention, FusedRowsGiveTheSameBits) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t q_len : {100, 1}) {
      AttentionShape shape = make_shape(2, q_len, q_len, 6, 2, 40);
      shape.dtype = dtype;
      Case apart = random_case(shape, 31);
      add_segments(apart, 31, q_len > 1);
      const Results expected = run(attention_kernels(dtype), apart, 1);

      constexpr int64_t kDim = 40, kGroup = 3, kStride = (kGroup + 2) * kDim, kWidth = 2 * kStride;
      shape.q_row_stride = shape.k_row_stride = shape.v_row_stride = kWidth;
      shape.q_group_stride = shape.kv_head_stride = kStride;
      Floats fused(static_cast<size_t>(2 * q_len * kWidth)), dfused;
      const auto copy = [&](bool in, Floats& part, Floats& rows, int64_t heads, int64_t column) {
        for (int64_t row = 0; row < 2 * q_len; ++row)
          for (int64_t group = 0; group < 2; ++group)
            for (int64_t i = 0; i < heads * kDim; ++i) {
              float& one = part[static_cast<size_t>((row * 2 + group) * heads * kDim + i)];
              float& other = rows[static_cast<size_t>(row * kWidth + group * kStride + column + i)];
              in ? other = one : one = other;
            }
      };
      copy(true, apart.q, fused, kGroup, 0);
      copy(true, apart.k, fused, 1, kGroup * kDim);
      copy(true, apart.v, fused, 1, (kGroup + 1) * kDim);
      Rows qkv(dtype, fused), dqkv(dtype, Floats(fused.size(), NAN)), dout(dtype, apart.dout),
          out(dtype, Floats(apart.dout.size(), NAN));
      const auto part = [&](Rows& rows, int64_t column) {
        return static_cast<char*>(rows.data()) + column * (dtype == DType::f32 ? 4 : 2);
      };
      ThreadPool pool(2);
      Floats lse(expected.lse.size());
      Memory workspace =
          allocate(std::max(attention_workspace_bytes(shape, false, 2), attention_workspace_bytes(shape, true, 2)));
      constexpr int64_t kKey = kGroup * kDim, kValue = kKey + kDim;
      attention_forward(pool, shape, qkv.data(), part(qkv, kKey), part(qkv, kValue), apart.ids.data(),
                        apart.start.data(), out.data(), lse.data(), workspace.get());
      attention_backward(pool, shape, dout.data(), qkv.data(), part(qkv, kKey), part(qkv, kValue), out.data(),
                         lse.data(), apart.ids.data(), apart.start.data(), dqkv.data(), part(dqkv, kKey),
                         part(dqkv, kValue), workspace.get());
      Results ours{out.values(), lse, expected.dq, expected.dk, expected.dv};
      dfused = dqkv.values();
      copy(false, ours.dq, dfused, kGroup, 0);
      copy(false, ours.dk, dfused, 1, kKey);
      copy(false, ours.dv, dfused, 1, kValue);
      expect_same_bits(ours, expected);
    }
}

TEST(Attention, SegmentStartMayBeMissing) {
  Case c = random_case(make_shape(1, 90, 90, 2, 1, 16), 5);
  add_segments(c, 5, true);
  const Results with = run(f32_attention_kernels(), c, 1);
  c.start.clear();
  expect_close(run(f32_attention_kernels(), c, 1), with, 1e-6);
}

TEST(Attention, SameBitsForAnyThreadCount) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    AttentionShape shape = make_shape(2, 200, 200, 6, 2, 64);
    shape.dtype = dtype;
    Case c = random_case(shape, 3);
    add_segments(c, 3, true);
    add_sinks(c);
    const Results one = run(attention_kernels(dtype), c, 1);
    expect_same_bits(run(attention_kernels(dtype), c, 3), one);
    expect_same_bits(run(attention_kernels(dtype), c, 2), one);
  }
}

// A new query against a cache gives what the full pass gave for it.
TEST(Attention, CacheOffsetEqualsFullForward) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t past : {0, 1, 63, 150}) {
      AttentionShape full_shape = make_shape(1, 151, 151, 4, 2, 64);
      full_shape.dtype = dtype;
      Case full = random_case(full_shape, 9);
      const Results whole = run(attention_kernels(dtype), full, 1);
      Case tail = full;
      tail.shape = make_shape(1, 151 - past, 151, 4, 2, 64);
      tail.shape.dtype = dtype;
      tail.q.erase(tail.q.begin(), tail.q.begin() + past * full_shape.q_row_stride);
      tail.dout.erase(tail.dout.begin(), tail.dout.begin() + past * full_shape.out_row_stride);
      const Results part = run(attention_kernels(dtype), tail, 2);
      const Floats expected(whole.out.begin() + past * full_shape.out_row_stride, whole.out.end());
      EXPECT_LT(distance(part.out, expected), dtype == DType::f32 ? 2e-6 : 1e-2) << past;
    }
}

// Whatever stands in padded rows, NaN too, reaches no result.
TEST(Attention, PaddingIsNotRead) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t q_len : {100, 1}) {
      AttentionShape shape = make_shape(2, q_len, 100, 4, 2, 32);
      shape.dtype = dtype;
      Case c = random_case(shape, 11);
      add_segments(c, 11, true);
      if (q_len == 1)
        for (const size_t last : {99, 199}) {  // let the query belong to the last segment that is not padding
          size_t real = last;
          while (c.ids[real] < 0) --real;
          c.ids[last] = c.ids[real];
          c.start[last] = c.start[real];
        }
      const Results clean = run(attention_kernels(dtype), c, 1);
      const auto spoil = [&](Floats& values, size_t row, int64_t stride) {
        std::fill_n(values.begin() + static_cast<int64_t>(row) * stride, stride,
                    std::numeric_limits<float>::quiet_NaN());
      };
      for (size_t t = 0; t < c.ids.size(); ++t) {
        if (c.ids[t] >= 0) continue;
        if (q_len > 1) spoil(c.q, t, shape.q_row_stride);
        if (q_len > 1) spoil(c.dout, t, shape.out_row_stride);
        spoil(c.k, t, shape.k_row_stride);
        spoil(c.v, t, shape.v_row_stride);
      }
      expect_same_bits(run(attention_kernels(dtype), c, 1), clean);
    }
}

// The gradient against differences of the forward pass alone, along random directions.
TEST(Attention, GradientEqualsFiniteDifferences) {
  AttentionShape shape = make_shape(1, 40, 40, 4, 2, 16);
  shape.window = 25;
  shape.softcap = 3.0F;
  Case c = random_case(shape, 21);
  add_segments(c, 21, true);
  const Results at = run(f32_attention_kernels(), c, 1);
  const auto loss = [&](const Case& moved) {
    const Results results = run(f32_attention_kernels(), const_cast<Case&>(moved), 1);
    double sum = 0;
    for (size_t i = 0; i < results.out.size(); ++i) sum += double{results.out[i]} * c.dout[i];
    return sum;
  };
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  for (const auto& [input, gradient] :
       {std::pair{&Case::q, &Results::dq}, {&Case::k, &Results::dk}, {&Case::v, &Results::dv}}) {
    Case up = c, down = c;
    double expected = 0;
    constexpr float kStep = 2e-3F;
    for (size_t i = 0; i < (c.*input).size(); ++i) {
      const float direction = normal(random);
      (up.*input)[i] += kStep * direction;
      (down.*input)[i] -= kStep * direction;
      expected += double{direction} * (at.*gradient)[i];
    }
    EXPECT_NEAR((loss(up) - loss(down)) / (2 * kStep), expected, 1e-3 * std::abs(expected) + 2e-2);
  }
}

TEST(Attention, RefusesShapesItCannotDo) {
  AttentionShape shape = make_shape(1, 4, 4, 3, 2, 8);
  EXPECT_ANY_THROW(attention_workspace_bytes(shape, false, 1));
  shape = make_shape(1, 4, 4, 2, 2, 8);
  shape.q_offset = 1;
  EXPECT_ANY_THROW(attention_workspace_bytes(shape, false, 1));
}

}  // namespace
}  // namespace plimsoll::cpu::attention_test
