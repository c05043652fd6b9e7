#include "backend/cpu/attention/attention.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/attention/attention_blocks.h"

namespace plimsoll::cpu {
namespace {

using Floats = std::vector<float>;
using Ids = std::vector<int32_t>;

struct AlignedFree {
  void operator()(char* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<char, AlignedFree>;
Memory allocate(int64_t bytes) {
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

int64_t q_elements(const AttentionShape& s) { return s.batch * s.q_len * s.q_row_stride; }
int64_t out_elements(const AttentionShape& s) { return s.batch * s.q_len * s.out_row_stride; }

// `value_dim` 0: as d.
AttentionShape make_shape(int64_t batch, int64_t q_len, int64_t kv_len, int64_t heads, int64_t kv_heads, int64_t d,
                          int64_t value_dim = 0) {
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

Case random_case(const AttentionShape& shape, uint32_t seed, float spread = 1.0F) {
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
void add_sinks(Case& c) {
  for (int64_t h = 0; h < c.shape.heads; ++h) c.sinks.push_back(static_cast<float>(h % 5) * 3.0F - 4.0F);
}

// Random segments with stretches of padding (id -1) between and inside them.
void add_segments(Case& c, uint32_t seed, bool with_padding) {
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

bool sees(const Case& c, int64_t b, int64_t i, int64_t j) {
  const AttentionShape& s = c.shape;
  const int64_t a = i + s.q_offset;
  if (j > a || (s.window > 0 && a - j >= s.window)) return false;
  if (c.ids.empty()) return true;
  const int32_t query_id = c.ids[static_cast<size_t>(b * s.kv_len + a)];
  return query_id >= 0 && query_id == c.ids[static_cast<size_t>(b * s.kv_len + j)];
}

double naive_alibi(const AttentionShape& s, int64_t head, int64_t key, int64_t query) {
  const auto rounded = [&](double x) {
    return s.alibi_bf16 ? double{bf16_to_f32(f32_to_bf16(static_cast<float>(x)))} : x;
  };
  const double power = std::exp2(std::floor(std::log2(static_cast<double>(s.heads))));
  const double index = static_cast<double>(head) + 1;
  const double slope = rounded(std::exp2(index <= power ? -8 / power * index : -4 / power * (2 * (index - power) - 1)));
  return double{s.alibi_factor} * (rounded(slope * static_cast<double>(key)) - slope * static_cast<double>(query));
}

// The definition, in double. Two passes of O(T^2 D) over every head.
Results naive(const Case& c) {
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
Results run(const AttentionKernels& kernels, Case& c, int threads) {
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
double distance(const Floats& ours, const Floats& expected) {
  double worst = 0, largest = 1;  // inputs are about 1: a lone key's gradient is rounding of such terms
  EXPECT_EQ(ours.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(double{ours[i]} - double{expected[i]});
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
    largest = std::max(largest, std::abs(double{expected[i]}));
  }
  return worst / largest;
}

void expect_close(const Results& ours, const Results& expected, double tolerance) {
  EXPECT_LT(distance(ours.out, expected.out), tolerance) << "out";
  EXPECT_LT(distance(ours.lse, expected.lse), tolerance) << "lse";
  EXPECT_LT(distance(ours.dq, expected.dq), tolerance) << "dq";
  EXPECT_LT(distance(ours.dk, expected.dk), tolerance) << "dk";
  EXPECT_LT(distance(ours.dv, expected.dv), tolerance) << "dv";
  EXPECT_LT(distance(ours.dsinks, expected.dsinks), tolerance) << "dsinks";
}

void expect_same_bits(const Results& x, const Results& y) {
  EXPECT_EQ(x.out, y.out);
  EXPECT_EQ(x.lse, y.lse);
  EXPECT_EQ(x.dq, y.dq);
  EXPECT_EQ(x.dk, y.dk);
  EXPECT_EQ(x.dv, y.dv);
  EXPECT_EQ(x.dsinks, y.dsinks);
}

// --- golden
// -----------------------------------------------------------------------------------------------------------

struct Golden {
  nlohmann::json header;
  std::string bytes;
  explicit Golden(const std::string& name) {
    std::ifstream file(PLIMSOLL_TEST_DATA "/golden/ops/attention_" + name + ".safetensors", std::ios::binary);
    uint64_t size = 0;
    EXPECT_TRUE(file.read(reinterpret_cast<char*>(&size), 8)) << name;
    std::string text(size, '\0');
    file.read(text.data(), static_cast<std::streamsize>(size));
    header = nlohmann::json::parse(text);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  std::vector<int64_t> shape(const std::string& name) const { return header.at(name).at("shape"); }
  Floats vector(const std::string& name) const {
    Floats values(static_cast<size_t>(shape(name).at(0)));
    std::memcpy(values.data(), bytes.data() + header.at(name).at("data_offsets")[0].get<size_t>(), values.size() * 4);
    return values;
  }
  // (B, heads, T, D) → (B, T, heads * D)
  Floats rows(const std::string& name) const {
    const auto dims = shape(name);
    Floats from(static_cast<size_t>(dims[0] * dims[1] * dims[2] * dims[3])), to(from.size());
    std::memcpy(from.data(), bytes.data() + header.at(name).at("data_offsets")[0].get<size_t>(), from.size() * 4);
    size_t at = 0;
    for (int64_t b = 0; b < dims[0]; ++b)
      for (int64_t h = 0; h < dims[1]; ++h)
        for (int64_t t = 0; t < dims[2]; ++t)
          for (int64_t d = 0; d < dims[3]; ++d)
            to[static_cast<size_t>(((b * dims[2] + t) * dims[1] + h) * dims[3] + d)] = from[at++];
    return to;
  }
};

Case golden_case(const Golden& golden) {
  const auto q = golden.shape("in.q"), k = golden.shape("in.k");
  Case c{make_shape(q[0], q[2], k[2], q[1], k[1], q[3]),
         golden.rows("in.q"),
         golden.rows("in.k"),
         golden.rows("in.v"),
         golden.rows("upstream.out"),
         {},
         {},
         {}};
  if (golden.header.contains("in.sinks")) c.sinks = golden.vector("in.sinks");
  return c;
}

void check_golden(const std::string& name, double tolerance, void (*adjust)(Case&)) {
  const Golden golden(name);
  Case c = golden_case(golden);
  adjust(c);
  const Results ours = run(f32_attention_kernels(), c, 2);
  EXPECT_LT(distance(ours.out, golden.rows("out.out")), tolerance) << name;
  EXPECT_LT(distance(ours.dq, golden.rows("grad.q")), tolerance) << name;
  EXPECT_LT(distance(ours.dk, golden.rows("grad.k")), tolerance) << name;
  EXPECT_LT(distance(ours.dv, golden.rows("grad.v")), tolerance) << name;
  if (c.sinks.empty()) return;
  EXPECT_LT(distance(ours.dsinks, golden.vector("grad.sinks")), tolerance) << name;
}

TEST(Attention, GoldenCausal) {
  check_golden("causal", 5e-6, [](Case&) {});
}
TEST(Attention, GoldenGroupedQuery) {
  check_golden("causal_gqa", 5e-6, [](Case&) {});
}
TEST(Attention, GoldenMultiQueryScale) {
  check_golden("mqa_scale", 5e-6, [](Case& c) { c.shape.scale = 0.3F; });
}
TEST(Attention, GoldenSlidingWindow) {
  check_golden("sliding", 5e-6, [](Case& c) { c.shape.window = 4; });
}
TEST(Attention, GoldenSoftcap) {
  check_golden("softcap", 5e-6, [](Case& c) { c.shape.softcap = 5.0F; });
}
TEST(Attention, GoldenSinks) {
  check_golden("sinks", 5e-6, [](Case&) {});
}
TEST(Attention, GoldenAlibi) {
  check_golden("alibi", 5e-6, [](Case& c) { c.shape.alibi_factor = 1.0F; });
}
TEST(Attention, GoldenLargeScores) {
  check_golden("large_scores", 1e-3, [](Case& c) { c.shape.scale = 1.0F; });
}
TEST(Attention, GoldenPacked) {
  check_golden("packed", 5e-6, [](Case& c) {
    for (int b = 0; b < 2; ++b)
      for (const int length : {3, 4, 3})
        for (int t = 0, first = static_cast<int>(c.ids.size()) - b * 10; t < length; ++t) {
          c.ids.push_back(length == 4 ? 1 : first == 0 ? 0 : 2);
          c.start.push_back(first);
        }
  });
}

// There, queries behind the end of the last row look at its real keys. Here such a query is a call of its own, standing
// where the last real key is; gradients of keys add up.
TEST(Attention, GoldenPadded) {
  const Golden golden("padded");
  Case c = golden_case(golden);
  const int64_t heads = c.shape.heads, kv_heads = c.shape.kv_heads, d = c.shape.head_dim, real = 7, length = 10;
  for (int b = 0; b < 2; ++b)
    for (int t = 0; t < length; ++t) {
      c.ids.push_back(b == 1 && t >= real ? -1 : 0);
      c.start.push_back(0);
    }
  Results ours = run(f32_attention_kernels(), c, 1);
  for (int64_t query = real; query < length; ++query) {
    const auto q_at = (length + query) * heads * d, k_at = length * kv_heads * d;
    const auto cut = [](const Floats& from, int64_t at, int64_t size) {
      return Floats(from.begin() + at, from.begin() + at + size);
    };
    Case single{make_shape(1, 1, real, heads, kv_heads, d),
                cut(c.q, q_at, heads * d),
                cut(c.k, k_at, real * kv_heads * d),
                cut(c.v, k_at, real * kv_heads * d),
                cut(c.dout, q_at, heads * d),
                {},
                {},
                {}};
    const Results one = run(f32_attention_kernels(), single, 1);
    std::copy(one.out.begin(), one.out.end(), ours.out.begin() + q_at);
    std::copy(one.dq.begin(), one.dq.end(), ours.dq.begin() + q_at);
    for (size_t i = 0; i < one.dk.size(); ++i) {
      ours.dk[static_cast<size_t>(k_at) + i] += one.dk[i];
      ours.dv[static_cast<size_t>(k_at) + i] += one.dv[i];
    }
  }
  EXPECT_LT(distance(ours.out, golden.rows("out.out")), 5e-6);
  EXPECT_LT(distance(ours.dq, golden.rows("grad.q")), 5e-6);
  EXPECT_LT(distance(ours.dk, golden.rows("grad.k")), 5e-6);
  EXPECT_LT(distance(ours.dv, golden.rows("grad.v")), 5e-6);
}

// --- against the definition
// -------------------------------------------------------------------------------------------

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
}  // namespace plimsoll::cpu
