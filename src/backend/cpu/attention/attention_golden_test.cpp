// Attention beside golden values.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/attention_case.h"

namespace plimsoll::cpu::attention_test {
namespace {

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
  // How many keys each query of row 0 sees.
  std::vector<int64_t> seen() const {
    const auto dims = shape("const.allow");
    const auto queries = static_cast<size_t>(dims.at(dims.size() - 2)), keys = static_cast<size_t>(dims.back());
    const char* allow = bytes.data() + header.at("const.allow").at("data_offsets")[0].get<size_t>();
    std::vector<int64_t> count(queries);
    for (size_t i = 0; i < queries; ++i) count[i] = std::count(allow + i * keys, allow + (i + 1) * keys, 1);
    return count;
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

void check_golden(const std::string& name, double tolerance, void (*adjust)(Case&, const Golden&)) {
  const Golden golden(name);
  Case c = golden_case(golden);
  adjust(c, golden);
  const Results ours = run(f32_attention_kernels(), c, 2);
  EXPECT_LT(distance(ours.out, golden.rows("out.out")), tolerance) << name;
  EXPECT_LT(distance(ours.dq, golden.rows("grad.q")), tolerance) << name;
  EXPECT_LT(distance(ours.dk, golden.rows("grad.k")), tolerance) << name;
  EXPECT_LT(distance(ours.dv, golden.rows("grad.v")), tolerance) << name;
  if (c.sinks.empty()) return;
  EXPECT_LT(distance(ours.dsinks, golden.vector("grad.sinks")), tolerance) << name;
}

TEST(Attention, GoldenCausal) {
  check_golden("causal", 5e-6, [](Case&, const Golden&) {});
}
TEST(Attention, GoldenGroupedQuery) {
  check_golden("causal_gqa", 5e-6, [](Case&, const Golden&) {});
}
TEST(Attention, GoldenMultiQueryScale) {
  check_golden("mqa_scale", 5e-6, [](Case& c, const Golden&) { c.shape.scale = 0.3F; });
}
TEST(Attention, GoldenSlidingWindow) {
  check_golden("sliding", 5e-6, [](Case& c, const Golden& golden) { c.shape.window = golden.seen().back(); });
}
TEST(Attention, GoldenSoftcap) {
  check_golden("softcap", 5e-6, [](Case& c, const Golden&) { c.shape.softcap = 5.0F; });
}
TEST(Attention, GoldenSinks) {
  check_golden("sinks", 5e-6, [](Case&, const Golden&) {});
}
TEST(Attention, GoldenAlibi) {
  check_golden("alibi", 5e-6, [](Case& c, const Golden&) { c.shape.alibi_factor = 1.0F; });
}
TEST(Attention, GoldenLargeScores) {
  check_golden("large_scores", 1e-3, [](Case& c, const Golden&) { c.shape.scale = 1.0F; });
}
TEST(Attention, GoldenPacked) {
  check_golden("packed", 5e-6, [](Case& c, const Golden& golden) {
    const std::vector<int64_t> seen = golden.seen();
    for (int b = 0; b < 2; ++b)
      for (int t = 0, id = -1; t < static_cast<int>(seen.size()); ++t) {
        id += seen[static_cast<size_t>(t)] == 1 ? 1 : 0;
        c.ids.push_back(id);
        c.start.push_back(t + 1 - static_cast<int>(seen[static_cast<size_t>(t)]));
      }
    EXPECT_EQ(c.ids.back(), 2);
  });
}

// There, queries behind the end of the last row look at its real keys. Here such a query is a call of its own, standing
// where the last real key is; gradients of keys add up.
TEST(Attention, GoldenPadded) {
  const Golden golden("padded");
  Case c = golden_case(golden);
  const int64_t heads = c.shape.heads, kv_heads = c.shape.kv_heads, d = c.shape.head_dim;
  const int64_t length = golden.shape("in.q").at(2), real = length - 3;
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

}  // namespace
}  // namespace plimsoll::cpu::attention_test
