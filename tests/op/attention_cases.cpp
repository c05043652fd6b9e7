// Attention by its definition.
#include <algorithm>
#include <numeric>

#include "base/dtype.h"
#include "op/op_case.h"

namespace plimsoll {
namespace {

using Role = OpOperand::Role;

// The slope of a head and the bias of a key, as the reference code of BLOOM and Falcon builds them.
double alibi_bias(const AttentionAttrs& a, int64_t head, int64_t key, int64_t query) {
  const auto rounded = [&](double x) {
    return a.alibi.bf16_steps ? static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(x)))) : x;
  };
  const int64_t power = int64_t{1} << static_cast<int>(std::log2(a.heads));
  const double slope =
      rounded(head < power ? std::pow(2, -8.0 / static_cast<double>(power) * (head + 1))
                           : std::pow(2, -4.0 / static_cast<double>(power) * (2 * (head - power) + 1)));
  return static_cast<double>(a.alibi.factor) * (rounded(slope * key) - slope * query);
}

// Attention by its definition: every score of every pair, masked.
Numbers attend(const AttentionAttrs& a, const std::vector<Numbers>& in) {
  const int64_t q_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
  const int64_t out_width = a.heads * a.values(), v_width = a.kv_heads * a.values();
  Numbers out(static_cast<size_t>(a.batch * a.query_length * out_width), 0.0);
  for (int64_t row = 0; row < a.batch; ++row) {
    for (int64_t head = 0; head < a.heads; ++head) {
      const int64_t kv_head = head / (a.heads / a.kv_heads);
      for (int64_t i = 0; i < a.query_length; ++i) {
        const auto segment = [&](int64_t t) { return in[3][at(row, a.kv_length, t)]; };
        if (segment(i) < 0) continue;
        Numbers weights(static_cast<size_t>(i + 1), -INFINITY);
        for (int64_t j = 0; j <= i; ++j) {
          if (segment(j) != segment(i) || (a.window > 0 && i - j >= a.window)) continue;
          double score = 0;
          for (int64_t d = 0; d < a.head_dim; ++d)
            score += in[0][at(row * a.query_length + i, q_width, head * a.head_dim + d)] *
                     in[1][at(row * a.kv_length + j, kv_width, kv_head * a.head_dim + d)];
          score *= static_cast<double>(a.scale);
          const auto cap = static_cast<double>(a.softcap);
          weights[static_cast<size_t>(j)] = cap > 0 ? cap * std::tanh(score / cap) : score;
          if (a.alibi.factor == 0) continue;
          const auto start = static_cast<int64_t>(in[4][at(row, a.kv_length, i)]);
          weights[static_cast<size_t>(j)] += alibi_bias(a, head, j - start, i - start);
        }
        const double largest = *std::max_element(weights.begin(), weights.end());
        for (double& weight : weights) weight = std::exp(weight - largest);
        double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        if (a.has_sinks) sum += std::exp(in[5][static_cast<size_t>(head)] - largest);
        for (int64_t j = 0; j <= i; ++j)
          for (int64_t d = 0; d < a.values(); ++d)
            out[at(row * a.query_length + i, out_width, head * a.values() + d)] +=
                weights[static_cast<size_t>(j)] / sum *
                in[2][at(row * a.kv_length + j, v_width, kv_head * a.values() + d)];
      }
    }
  }
  return out;
}

OpCase attention(const char* name, int64_t length, int64_t heads, int64_t kv_heads, int64_t window,
                 const Numbers& segments, float softcap = 0, int64_t value_dim = 0, bool sinks = false) {
  AttentionAttrs attrs{2, length, length, heads, kv_heads, 8, window, 0.4F};
  attrs.softcap = softcap;
  attrs.value_dim = value_dim;
  attrs.has_sinks = sinks;
  Numbers starts;
  for (size_t i = 0; i < segments.size(); ++i) {
    size_t start = i;
    while (segments[i] >= 0 && start % static_cast<size_t>(length) != 0 && segments[start - 1] == segments[i]) --start;
    starts.push_back(static_cast<double>(start % static_cast<size_t>(length)));
  }
  OpCase result{.name = name,
                .kind = OpKind::attention,
                .attrs = attrs,
                .operands = {{"q", {2 * length, heads * 8}, Role::input, {}},
                             {"k", {2 * length, kv_heads * 8}, Role::input, {}},
                             {"v", {2 * length, kv_heads * attrs.values()}, Role::input, {}},
                             {"segment_ids", {2 * length}, Role::integers, segments},
                             {"segment_start", {2 * length}, Role::integers, starts}},
                .reference = [attrs](const std::vector<Numbers>& in) { return attend(attrs, in); },
                .tolerance = 1e-5};
  if (sinks) result.operands.push_back({"sinks", {heads}, Role::weight, {}});
  return result;
}

// The parts of fused rows, each as a value of its own.
std::vector<Numbers> split(const QkvLayout& layout, int64_t heads, int64_t kv_heads, int64_t head_dim,
                           const Numbers& fused) {
  std::vector<Numbers> parts(3);
  const int64_t group = heads / kv_heads;
  for (size_t row = 0; row < fused.size(); row += static_cast<size_t>(layout.width)) {
    const auto copy = [&](Numbers& to, int64_t column) {
      const auto from = fused.begin() + static_cast<int64_t>(row) + column;
      to.insert(to.end(), from, from + head_dim);
    };
    for (int64_t h = 0; h < heads; ++h)
      copy(parts[0], layout.q_column + h / group * layout.group_stride + h % group * head_dim);
    for (int64_t h = 0; h < kv_heads; ++h) copy(parts[1], layout.k_column + h * layout.kv_stride);
    for (int64_t h = 0; h < kv_heads; ++h) copy(parts[2], layout.v_column + h * layout.kv_stride);
  }
  return parts;
}

// The same attention of one fused projection.
OpCase fused(OpCase test, bool grouped) {
  auto attrs = std::get<AttentionAttrs>(test.attrs);
  attrs.qkv = (grouped ? QkvLayout::groups : QkvLayout::blocks)(attrs.heads, attrs.kv_heads, attrs.head_dim);
  test.attrs = attrs;
  test.name += grouped ? "_fused_groups" : "_fused_blocks";
  test.operands.erase(test.operands.begin(), test.operands.begin() + 3);
  test.operands.insert(test.operands.begin(),
                       {{"qkv", {attrs.batch * attrs.query_length, attrs.qkv.width}, Role::input, {}},
                        {"k", {}, Role::absent, {}},
                        {"v", {}, Role::absent, {}}});
  test.reference = [attrs](const std::vector<Numbers>& in) {
    std::vector<Numbers> parts = split(attrs.qkv, attrs.heads, attrs.kv_heads, attrs.head_dim, in[0]);
    parts.insert(parts.end(), in.begin() + 3, in.end());
    return attend(attrs, parts);
  };
  return test;
}

OpCase with_alibi(OpCase test, AlibiAttrs alibi) {
  auto attrs = std::get<AttentionAttrs>(test.attrs);
  attrs.alibi = alibi;
  test.attrs = attrs;
  test.name += alibi.bf16_steps ? "_alibi_bf16" : "_alibi";
  test.reference = [attrs](const std::vector<Numbers>& in) { return attend(attrs, in); };
  return test;
}

}  // namespace

std::vector<OpCase> attention_cases() {
  const Numbers segments = {0, 0, 0, 1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 1, -1, -1};
  const auto plain = [](int64_t heads, int64_t kv_heads) {
    return attention("attention", 9, heads, kv_heads, 0, Numbers(18, 0));
  };
  return {
      fused(plain(2, 2), false),
      fused(attention("attention_grouped", 9, 4, 2, 0, segments), false),
      fused(attention("attention_grouped", 9, 4, 2, 3, segments), true),
      fused(attention("attention_single", 9, 3, 1, 0, segments), true),
      fused(with_alibi(attention("attention_grouped", 9, 4, 2, 0, segments), {1, false}), true),
      with_alibi(plain(4, 4), {1, false}),
      with_alibi(attention("attention_six_heads", 9, 6, 3, 0, segments), {0.5F, false}),
      with_alibi(attention("attention_six_heads", 9, 6, 3, 0, segments), {0.5F, true}),
      attention("attention", 11, 2, 2, 0, Numbers(22, 0)),
      attention("attention_grouped", 9, 4, 2, 0, Numbers(18, 0)),
      attention("attention_window", 13, 2, 1, 4, Numbers(26, 0)),
      attention("attention_softcap", 13, 2, 1, 0, Numbers(26, 0), 0.7F),
      attention("attention_values", 11, 2, 2, 0, Numbers(22, 0), 0, 5),
      attention("attention_sinks", 11, 4, 2, 4, Numbers(22, 0), 0, 0, true),
      attention("attention_segments", 9, 2, 2, 0, {0, 0, 0, 1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 1, -1, -1}),
      attention("attention_padding", 7, 2, 2, 0, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1}),
      attention("attention_segments_window", 9, 4, 2, 2, {0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 2, 2, 2, -1}),
  };
}

}  // namespace plimsoll
