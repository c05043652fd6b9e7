// Attention under test: random cases, what they must give by the definition, and what our kernels give.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "backend/cpu/attention/attention.h"
#include "backend/cpu/attention/attention_blocks.h"

namespace plimsoll::cpu::attention_test {

using Floats = std::vector<float>;
using Ids = std::vector<int32_t>;

struct AlignedFree {
  void operator()(char* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<char, AlignedFree>;
inline Memory allocate(int64_t bytes) {
  return Memory(static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>((bytes + 127) / 64 * 64))));
}

// A tensor of rows with their stride, in the shape's dtype, behind a guard of NaN.
struct Rows {
  DType dtype;
  std::vector<float> f32;
  std::vector<uint16_t> bf16;
  explicit Rows(DType type, const Floats& values) : dtype(type) {
    if (type == DType::f32) f32 = values;
    for (const float value : values)
      if (type == DType::bf16) bf16.push_back(f32_to_bf16(value));
  }
  void* data() { return dtype == DType::f32 ? static_cast<void*>(f32.data()) : static_cast<void*>(bf16.data()); }
  Floats values() const {
    if (dtype == DType::f32) return f32;
    Floats wide;
    for (const uint16_t bits : bf16) wide.push_back(bf16_to_f32(bits));
    return wide;
  }
};

struct Case {
  AttentionShape shape;
  Floats q, k, v, dout;
  Ids ids, start;     // empty: null
  Floats sinks = {};  // by head; empty: none
};

struct Results {
  Floats out, lse, dq, dk, dv, dsinks = {};
};

inline int64_t q_elements(const AttentionShape& s) { return s.batch * s.q_len * s.q_row_stride; }
inline int64_t out_elements(const AttentionShape& s) { return s.batch * s.q_len * s.out_row_stride; }

// `value_dim` 0: as d.
inline AttentionShape make_shape(int64_t batch, int64_t q_len, int64_t kv_len, int64_t heads, int64_t kv_heads,
                                 int64_t d, int64_t value_dim = 0) {
  AttentionShape s;
  s.batch = batch;
  s.q_len = q_len;
  s.kv_len = kv_len;
  s.heads = heads;
  s.kv_heads = kv_heads;
  s.head_dim = d;
  s.value_dim = value_dim;
  s.q_row_stride = heads * d;
  s.k_row_stride = kv_heads * d;
  s.out_row_stride = heads * s.values();
  s.v_row_stride = kv_heads * s.values();
  s.q_offset = kv_len - q_len;
  s.scale = 1.0F / std::sqrt(static_cast<float>(d));
  return s;
}

inline Case random_case(const AttentionShape& shape, uint32_t seed, float spread = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  Case c{shape,
         Floats(static_cast<size_t>(q_elements(shape))),
         Floats(static_cast<size_t>(shape.batch * shape.kv_len * shape.k_row_stride)),
         Floats(static_cast<size_t>(shape.batch * shape.kv_len * shape.v_row_stride)),
         Floats(static_cast<size_t>(out_elements(shape))),
         {},
         {},
         {}};
  for (float& x : c.q) x = spread * normal(random);
  for (Floats* values : {&c.k, &c.v, &c.dout})
    for (float& x : *values) x = normal(random);
  if (shape.dtype == DType::bf16)
    for (Floats* values : {&c.q, &c.k, &c.v, &c.dout})
      for (float& x : *values) x = bf16_to_f32(f32_to_bf16(x));
  return c;
}

// Sinks from far below to far above the scores.
inline void add_sinks(Case& c) {
  for (int64_t h = 0; h < c.shape.heads; ++h) c.sinks.push_back(static_cast<float>(h % 5) * 3.0F - 4.0F);
}

// Random segments with stretches of padding (id -1) between and inside them.
inline void add_segments(Case& c, uint32_t seed, bool with_padding) {
  std::mt19937 random(seed);
  const AttentionShape& s = c.shape;
  for (int64_t b = 0; b < s.batch; ++b) {
    int32_t id = 0, first = 0;
    for (int32_t t = 0; t < s.kv_len; ++t) {
      if (t > 0 && random() % 40 == 0) {
        ++id;
        first = t;
      }
      const bool padding = with_padding && (random() % 17 == 0 || t >= s.kv_len - s.kv_len / 8 || (t / 32) % 5 == 3);
      c.ids.push_back(padding ? -1 : id);
      c.start.push_back(first);
    }
  }
}

inline bool sees(const Case& c, int64_t b, int64_t i, int64_t j) {
  const AttentionShape& s = c.shape;
  const int64_t a = i + s.q_offset;
  if (j > a || (s.window > 0 && a - j >= s.window)) return false;
  if (c.ids.empty()) return true;
  const int32_t query_id = c.ids[static_cast<size_t>(b * s.kv_len + a)];
  return query_id >= 0 && query_id == c.ids[static_cast<size_t>(b * s.kv_len + j)];
}

inline double naive_alibi(const AttentionShape& s, int64_t head, int64_t key, int64_t query) {
  const auto rounded = [&](double x) {
    return s.alibi_bf16 ? double{bf16_to_f32(f32_to_bf16(static_cast<float>(x)))} : x;
  };
  const double power = std::exp2(std::floor(std::log2(static_cast<double>(s.heads))));
  const double index = static_cast<double>(head) + 1;
  const double slope = rounded(std::exp2(index <= power ? -8 / power * index : -4 / power * (2 * (index - power) - 1)));
  return double{s.alibi_factor} * (rounded(slope * static_cast<double>(key)) - slope * static_cast<double>(query));
}

// The definition, in double. Two passes of O(T^2 D) over every head.
inline Results naive(const Case& c) {
  const AttentionShape& s = c.shape;
  std::vector<double> dq(c.q.size()), dk(c.k.size()), dv(c.v.size()), out(c.dout.size()), dsinks(c.sinks.size());
  Results results;
  results.lse.assign(static_cast<size_t>(s.batch * s.heads * s.q_len), 0.0F);
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.heads; ++h)
      for (int64_t i = 0; i < s.q_len; ++i) {
        const int64_t kv = h / (s.heads / s.kv_heads);
        const auto q_at = static_cast<size_t>((b * s.q_len + i) * s.q_row_stride + h * s.head_dim);
        const auto o_at = static_cast<size_t>((b * s.q_len + i) * s.out_row_stride + h * s.values());
        const auto k_at = [&](int64_t j) {
          return static_cast<size_t>((b * s.kv_len + j) * s.k_row_stride + kv * s.head_dim);
        };
        const auto v_at = [&](int64_t j) {
          return static_cast<size_t>((b * s.kv_len + j) * s.v_row_stride + kv * s.values());
        };
        const auto d = static_cast<size_t>(s.head_dim), values = static_cast<size_t>(s.values());
        std::vector<double> score(static_cast<size_t>(s.kv_len)), slope(score.size(), 1.0), p(score.size()),
            dp(score.size());
        double highest = -std::numeric_limits<double>::infinity(), total = 0, delta = 0;
        const auto each_key = [&](auto&& body) {
          for (int64_t j = 0; j < s.kv_len; ++j)
            if (sees(c, b, i, j)) body(j, static_cast<size_t>(j));
        };
        each_key([&](int64_t j, size_t at) {
          double sum = 0;
          for (size_t x = 0; x < d; ++x) sum += double{c.q[q_at + x]} * c.k[k_at(j) + x];
          sum *= s.scale;
          if (s.softcap > 0) {
            const double t = std::tanh(sum / s.softcap);
            sum = s.softcap * t;
            slope[at] = 1 - t * t;
          }
          if (s.alibi_factor != 0) {
            const int32_t start = c.start.empty() ? 0 : c.start[static_cast<size_t>(b * s.kv_len + i + s.q_offset)];
            sum += naive_alibi(s, h, j - start, i + s.q_offset - start);
          }
          score[at] = sum;
          highest = std::max(highest, sum);
        });
        each_key([&](int64_t, size_t at) { total += p[at] = std::exp(score[at] - highest); });
        if (total == 0) continue;
        const double sink = c.sinks.empty() ? 0.0 : std::exp(c.sinks[static_cast<size_t>(h)] - highest);
        total += sink;
        results.lse[static_cast<size_t>((b * s.heads + h) * s.q_len + i)] =
            static_cast<float>(highest + std::log(total));
        each_key([&](int64_t j, size_t at) {
          p[at] /= total;
          for (size_t x = 0; x < values; ++x) {
            out[o_at + x] += p[at] * c.v[v_at(j) + x];
            dp[at] += double{c.dout[o_at + x]} * c.v[v_at(j) + x];
            dv[v_at(j) + x] += p[at] * c.dout[o_at + x];
          }
          delta += p[at] * dp[at];
        });
        if (!c.sinks.empty()) dsinks[static_cast<size_t>(h)] -= sink / total * delta;
        each_key([&](int64_t j, size_t at) {
          const double ds = p[at] * (dp[at] - delta) * slope[at] * s.scale;
          for (size_t x = 0; x < d; ++x) {
            dq[q_at + x] += ds * c.k[k_at(j) + x];
            dk[k_at(j) + x] += ds * c.q[q_at + x];
          }
        });
      }
  results.out.assign(out.begin(), out.end());
  results.dq.assign(dq.begin(), dq.end());
  results.dk.assign(dk.begin(), dk.end());
  results.dv.assign(dv.begin(), dv.end());
  results.dsinks.assign(dsinks.begin(), dsinks.end());
  return results;
}

// Ours, with results and workspace filled with NaN before.
inline Results run(const AttentionKernels& kernels, Case& c, int threads) {
  const AttentionShape& s = c.shape;
  const DType type = s.dtype;
  ThreadPool pool(threads);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Rows q(type, c.q), k(type, c.k), v(type, c.v), dout(type, c.dout);
  Rows out(type, Floats(c.dout.size(), nan)), dq(type, Floats(c.q.size(), nan)), dk(type, Floats(c.k.size(), nan)),
      dv(type, Floats(c.v.size(), nan));
  Floats lse(static_cast<size_t>(s.batch * s.heads * s.q_len), nan);
  const int32_t* ids = c.ids.empty() ? nullptr : c.ids.data();
  const int32_t* start = c.start.empty() ? nullptr : c.start.data();
  check_attention_shape(s);
  const auto workspace_of = [](int64_t bytes) {
    Memory memory = allocate(bytes);
    std::memset(memory.get(), 0xff, static_cast<size_t>(bytes));
    return memory;
  };
  const int64_t forward_bytes = forward_workspace_bytes(s, kernels, threads);
  Memory workspace = workspace_of(forward_bytes);
  std::memcpy(workspace.get() + forward_bytes, "guard", 6);
  Rows sinks(type, c.sinks);
  const void* const sinks_data = c.sinks.empty() ? nullptr : sinks.data();
  forward_with(kernels, pool, s, q.data(), k.data(), v.data(), ids, start, out.data(), lse.data(), workspace.get(),
               sinks_data);
  EXPECT_STREQ(workspace.get() + forward_bytes, "guard");
  const int64_t backward_bytes = backward_workspace_bytes(s, kernels, threads);
  workspace = workspace_of(backward_bytes);
  std::memcpy(workspace.get() + backward_bytes, "guard", 6);
  backward_with(kernels, pool, s, dout.data(), q.data(), k.data(), v.data(), out.data(), lse.data(), ids, start,
                dq.data(), dk.data(), dv.data(), workspace.get());
  EXPECT_STREQ(workspace.get() + backward_bytes, "guard");
  Floats dsinks(c.sinks.size(), 0.0F);
  if (sinks_data != nullptr)
    attention_sink_backward(pool, s, dout.data(), out.data(), lse.data(), sinks_data, dsinks.data());
  return {out.values(), lse, dq.values(), dk.values(), dv.values(), dsinks};
}

// Largest difference over the largest value; NaN counts as infinite.
inline double distance(const Floats& ours, const Floats& expected) {
  double worst = 0, largest = 1;  // inputs are about 1: a lone key's gradient is rounding of such terms
  EXPECT_EQ(ours.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(double{ours[i]} - double{expected[i]});
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
    largest = std::max(largest, std::abs(double{expected[i]}));
  }
  return worst / largest;
}

inline void expect_close(const Results& ours, const Results& expected, double tolerance) {
  EXPECT_LT(distance(ours.out, expected.out), tolerance) << "out";
  EXPECT_LT(distance(ours.lse, expected.lse), tolerance) << "lse";
  EXPECT_LT(distance(ours.dq, expected.dq), tolerance) << "dq";
  EXPECT_LT(distance(ours.dk, expected.dk), tolerance) << "dk";
  EXPECT_LT(distance(ours.dv, expected.dv), tolerance) << "dv";
  EXPECT_LT(distance(ours.dsinks, expected.dsinks), tolerance) << "dsinks";
}

inline void expect_same_bits(const Results& x, const Results& y) {
  EXPECT_EQ(x.out, y.out);
  EXPECT_EQ(x.lse, y.lse);
  EXPECT_EQ(x.dq, y.dq);
  EXPECT_EQ(x.dk, y.dk);
  EXPECT_EQ(x.dv, y.dv);
  EXPECT_EQ(x.dsinks, y.dsinks);
}

}  // namespace plimsoll::cpu::attention_test
