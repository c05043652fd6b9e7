#include <algorithm>
#include <numeric>

#include "base/counter_random.h"
#include "base/dtype.h"
#include "op/op_case.h"

namespace plimsoll {
namespace {

using Role = OpOperand::Role;

size_t at(int64_t rows, int64_t width, int64_t column) { return static_cast<size_t>(rows * width + column); }

OpCase embedding(const char* name, float scale, int64_t first_row = 0) {
  constexpr int64_t kRows = 6, kVocabulary = 7, kWidth = 20;
  return {.name = name,
          .kind = OpKind::embedding,
          .attrs = EmbeddingAttrs{scale, first_row},
          .operands = {{"ids", {kRows}, Role::integers, {3, 0, 3, 6, 5, 3}},
                       {"weight", {kVocabulary + first_row, kWidth}, Role::weight, {}}},
          .reference = [scale, first_row](const std::vector<Numbers>& in) {
            Numbers out;
            for (const double id : in[0])
              for (int64_t c = 0; c < kWidth; ++c)
                out.push_back(static_cast<double>(scale) * in[1][at(static_cast<int64_t>(id) + first_row, kWidth, c)]);
            return out;
          }};
}

// Rows of `rows` × `heads` · `width` numbers, each normed over `width` of them.
OpCase rms_norm(const char* name, int64_t rows, int64_t heads, int64_t width, float offset) {
  const RmsNormAttrs attrs{1e-3F, offset};
  return {.name = name,
          .kind = OpKind::rms_norm,
          .attrs = attrs,
          .operands = {{"x", {rows, heads * width}, Role::input, {}}, {"weight", {width}, Role::weight, {}}},
          .reference = [attrs, width](const std::vector<Numbers>& in) {
            Numbers out;
            for (size_t first = 0; first < in[0].size(); first += static_cast<size_t>(width)) {
              double squares = 0;
              for (int64_t c = 0; c < width; ++c)
                squares += in[0][first + static_cast<size_t>(c)] * in[0][first + static_cast<size_t>(c)];
              const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + static_cast<double>(attrs.eps));
              for (int64_t c = 0; c < width; ++c)
                out.push_back(in[0][first + static_cast<size_t>(c)] * scale *
                              (static_cast<double>(attrs.weight_offset) + in[1][static_cast<size_t>(c)]));
            }
            return out;
          }};
}

// Rows of `rows` × `heads` · `width` numbers, each normed over `width` of them. `weights`: 2: weight and bias, 1:
// weight.
OpCase layer_norm(const char* name, int64_t rows, int64_t heads, int64_t width, size_t weights) {
  OpCase result{.name = name,
                .kind = OpKind::layer_norm,
                .attrs = LayerNormAttrs{1e-3F},
                .operands = {{"x", {rows, heads * width}, Role::input, {}}},
                .reference = [width](const std::vector<Numbers>& in) {
                  Numbers out;
                  const auto columns = static_cast<size_t>(width);
                  for (size_t first = 0; first < in[0].size(); first += columns) {
                    double mean = 0, variance = 0;
                    for (size_t c = 0; c < columns; ++c) mean += in[0][first + c] / static_cast<double>(width);
                    for (size_t c = 0; c < columns; ++c)
                      variance += (in[0][first + c] - mean) * (in[0][first + c] - mean) / static_cast<double>(width);
                    for (size_t c = 0; c < columns; ++c) {
                      double y = (in[0][first + c] - mean) / std::sqrt(variance + static_cast<double>(1e-3F));
                      if (in.size() > 1) y *= in[1][c];
                      if (in.size() > 2) y += in[2][c];
                      out.push_back(y);
                    }
                  }
                  return out;
                }};
  if (weights > 0) result.operands.push_back({"weight", {width}, Role::weight, {}});
  if (weights > 1) result.operands.push_back({"bias", {width}, Role::weight, {}});
  return result;
}

OpCase linear(const char* name, const LinearAttrs& attrs) {
  constexpr int64_t kM = 9, kN = 40, kK = 24;
  OpCase result{.name = name,
                .kind = OpKind::linear,
                .attrs = attrs,
                .operands = {{"x", {kM, kK}, Role::input, {}},
                             {"weight", attrs.transpose_weight ? Shape{kN, kK} : Shape{kK, kN}, Role::weight, {}}},
                .reference = [attrs](const std::vector<Numbers>& in) {
                  Numbers out;
                  const size_t addend = attrs.has_bias ? 3 : 2;
                  for (int64_t m = 0; m < kM; ++m) {
                    for (int64_t n = 0; n < kN; ++n) {
                      double sum = 0;
                      for (int64_t k = 0; k < kK; ++k)
                        sum += in[0][at(m, kK, k)] * in[1][attrs.transpose_weight ? at(n, kK, k) : at(k, kN, n)];
                      sum *= static_cast<double>(attrs.alpha);
                      if (attrs.has_bias) sum += in[2][static_cast<size_t>(n)];
                      if (attrs.has_addend) sum += in[addend][at(m, kN, n)];
                      out.push_back(sum);
                    }
                  }
                  return out;
                }};
  if (attrs.has_bias) result.operands.push_back({"bias", {kN}, Role::weight, {}});
  if (attrs.has_addend) result.operands.push_back({"addend", {kM, kN}, Role::input, {}});
  return result;
}

OpCase rope(const char* name, const RopeAttrs& attrs) {
  constexpr int64_t kRows = 5;
  const int64_t half = attrs.rotary_dim / 2;
  Numbers cos, sin;
  for (int64_t i = 0; i < kRows * half; ++i) {
    // As floats, so that both sides turn by the same angle.
    cos.push_back(static_cast<double>(static_cast<float>(std::cos(0.37 * static_cast<double>(i)))));
    sin.push_back(static_cast<double>(static_cast<float>(std::sin(0.37 * static_cast<double>(i)))));
  }
  return {.name = name,
          .kind = OpKind::rope,
          .attrs = attrs,
          .operands = {{"x", {kRows, attrs.heads * attrs.head_dim}, Role::input, {}},
                       {"cos", {kRows, half}, Role::fixed, cos},
                       {"sin", {kRows, half}, Role::fixed, sin}},
          .reference = [attrs, half](const std::vector<Numbers>& in) {
            Numbers out = in[0];
            for (int64_t row = 0; row < kRows; ++row) {
              for (int64_t head = 0; head < attrs.heads; ++head) {
                for (int64_t i = 0; i < half; ++i) {
                  const bool pairs = attrs.style == RopeStyle::interleaved;
                  const size_t first = at(row, attrs.heads * attrs.head_dim, head * attrs.head_dim + attrs.offset);
                  const size_t a = first + static_cast<size_t>(pairs ? 2 * i : i),
                               b = first + static_cast<size_t>(pairs ? 2 * i + 1 : i + half);
                  const double cosine = in[1][at(row, half, i)],
                               sine = (attrs.inverse ? -1 : 1) * in[2][at(row, half, i)];
                  out[a] = in[0][a] * cosine - in[0][b] * sine;
                  out[b] = in[0][b] * cosine + in[0][a] * sine;
                }
              }
            }
            return out;
          }};
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::relu_squared:
      return x > 0 ? x * x : 0;
  }
  return x;
}

OpCase activation(const char* name, Activation kind) {
  return {.name = name,
          .kind = OpKind::activation,
          .attrs = ActivationAttrs{kind},
          .operands = {{"x", {5, 27}, Role::input, {}}},
          .reference = [kind](const std::vector<Numbers>& in) {
            Numbers out;
            for (const double x : in[0]) out.push_back(activate(kind, x));
            return out;
          }};
}

OpCase gated(const char* name, Activation activation) {
  return {.name = name,
          .kind = OpKind::gated_activation,
          .attrs = GatedActivationAttrs{activation},
          .operands = {{"gate", {5, 27}, Role::input, {}}, {"up", {5, 27}, Role::input, {}}},
          .reference = [activation](const std::vector<Numbers>& in) {
            Numbers out;
            for (size_t i = 0; i < in[0].size(); ++i) out.push_back(activate(activation, in[0][i]) * in[1][i]);
            return out;
          }};
}

OpCase add() {
  return {.name = "add",
          .kind = OpKind::add,
          .attrs = {},
          .operands = {{"a", {5, 27}, Role::input, {}}, {"b", {5, 27}, Role::input, {}}},
          .reference = [](const std::vector<Numbers>& in) {
            Numbers out;
            for (size_t i = 0; i < in[0].size(); ++i) out.push_back(in[0][i] + in[1][i]);
            return out;
          }};
}

OpCase cross_entropy(const char* name, int64_t chunk_rows, const Numbers& labels, bool has_bias = false,
                     float softcap = 0) {
  constexpr int64_t kWidth = 24, kVocabulary = 37;
  const auto rows = static_cast<int64_t>(labels.size());
  OpCase result{.name = name,
                .kind = OpKind::linear_cross_entropy,
                .attrs = CrossEntropyAttrs{chunk_rows, has_bias, softcap},
                .operands = {{"hidden", {rows, kWidth}, Role::input, {}},
                             {"weight", {kVocabulary, kWidth}, Role::weight, {}},
                             {"labels", {rows}, Role::integers, labels},
                             {"loss_scale", {1}, Role::fixed, {0.125}}},
                .reference =
                    [rows, softcap](const std::vector<Numbers>& in) {
                      double loss = 0;
                      for (int64_t row = 0; row < rows; ++row) {
                        if (in[2][static_cast<size_t>(row)] < 0) continue;
                        Numbers logits;
                        for (int64_t v = 0; v < kVocabulary; ++v) {
                          logits.push_back(in.size() > 4 ? in[4][static_cast<size_t>(v)] : 0);
                          for (int64_t c = 0; c < kWidth; ++c)
                            logits.back() += in[0][at(row, kWidth, c)] * in[1][at(v, kWidth, c)];
                          const auto cap = static_cast<double>(softcap);
                          if (cap > 0) logits.back() = cap * std::tanh(logits.back() / cap);
                        }
                        const double largest = *std::max_element(logits.begin(), logits.end());
                        double sum = 0;
                        for (const double logit : logits) sum += std::exp(logit - largest);
                        loss += largest + std::log(sum) - logits[static_cast<size_t>(in[2][static_cast<size_t>(row)])];
                      }
                      return Numbers{loss * in[3][0]};
                    },
                .sums_gradients = false};
  if (has_bias) result.operands.push_back({"bias", {kVocabulary}, Role::weight, {}});
  return result;
}

OpCase scale() {
  return {.name = "scale",
          .kind = OpKind::scale,
          .attrs = ScaleAttrs{0.22F},
          .operands = {{"x", {5, 27}, Role::input, {}}},
          .reference = [](const std::vector<Numbers>& in) {
            Numbers out;
            for (const double x : in[0]) out.push_back(static_cast<double>(0.22F) * x);
            return out;
          }};
}

OpCase dropout() {
  constexpr double kShare = 0.3;
  return {.name = "dropout",
          .kind = OpKind::dropout,
          .attrs = DropoutAttrs{kShare, 0},
          .operands = {{"x", {50, 27}, Role::input, {}}},
          .reference = [](const std::vector<Numbers>& in) {
            // Of the first stream, the first micro-batch and seed 0.
            const auto key = static_cast<uint32_t>(mix_bits(key_at(0, uint64_t{1} << 40, 0)));
            Numbers out;
            for (size_t i = 0; i < in[0].size(); ++i) {
              const bool kept = static_cast<double>(bits_at(key, static_cast<uint32_t>(i))) * 0x1p-32 >= kShare;
              out.push_back(kept ? in[0][i] / (1 - kShare) : 0);
            }
            return out;
          }};
}

// z and its scale; with a bias in the last operand.
OpCase scale_columns(const char* name, bool has_bias) {
  constexpr int64_t kRows = 70, kColumns = 75;
  Numbers norms;
  for (int64_t i = 0; i < kColumns; ++i) norms.push_back(0.5 + 0.125 * static_cast<double>(i % 7));
  OpCase test{.name = name,
              .kind = OpKind::scale_columns,
              .attrs = ScaleColumnsAttrs{false, has_bias},
              .operands = {{"z", {kRows, kColumns}, Role::input, {}},
                           {"magnitude", {kColumns}, Role::f32_weight, {}},
                           {"norm", {kColumns}, Role::fixed, norms}},
              .reference = [has_bias](const std::vector<Numbers>& in) {
                Numbers out;
                for (size_t i = 0; i < in[0].size(); ++i) {
                  const size_t column = i % static_cast<size_t>(kColumns);
                  out.push_back(in[0][i] * in[1][column] / in[2][column] + (has_bias ? in[3][column] : 0));
                }
                return out;
              }};
  if (has_bias) test.operands.push_back({"bias", {kColumns}, Role::weight, {}});
  return test;
}

// The norms of outputs of weight + scale · B A.
OpCase dora_norm(const char* name, bool transposed) {
  constexpr int64_t kOutputs = 70, kInputs = 83, kRank = 3;
  constexpr float kScale = 0.75F;
  return {.name = name,
          .kind = OpKind::dora_norm,
          .attrs = DoraNormAttrs{kScale, transposed},
          .operands = {{"weight", transposed ? Shape{kOutputs, kInputs} : Shape{kInputs, kOutputs}, Role::weight, {}},
                       {"a", {kRank, kInputs}, Role::weight, {}},
                       {"b", {kOutputs, kRank}, Role::weight, {}}},
          .reference =
              [transposed](const std::vector<Numbers>& in) {
                Numbers out;
                for (int64_t n = 0; n < kOutputs; ++n) {
                  double squares = 0;
                  for (int64_t k = 0; k < kInputs; ++k) {
                    double w = in[0][transposed ? at(n, kInputs, k) : at(k, kOutputs, n)];
                    for (int64_t r = 0; r < kRank; ++r)
                      w += static_cast<double>(kScale) * in[2][at(n, kRank, r)] * in[1][at(r, kInputs, k)];
                    squares += w * w;
                  }
                  out.push_back(std::sqrt(squares));
                }
                return out;
              },
          .has_gradient = false};
}

// Rows of a weight that is merged.
OpCase scale_rows() {
  return {.name = "scale_rows",
          .kind = OpKind::scale_columns,
          .attrs = ScaleColumnsAttrs{true, false},
          .operands = {{"z", {5, 27}, Role::fixed, {}},
                       {"magnitude", {5}, Role::fixed, {}},
                       {"norm", {5}, Role::fixed, {1, 2, 0.5, 4, 3}}},
          .reference =
              [](const std::vector<Numbers>& in) {
                Numbers out;
                for (size_t i = 0; i < in[0].size(); ++i) out.push_back(in[0][i] * in[1][i / 27] / in[2][i / 27]);
                return out;
              },
          .has_gradient = false};
}

OpCase softcap() {
  return {.name = "softcap",
          .kind = OpKind::softcap,
          .attrs = SoftcapAttrs{2.5F},
          .operands = {{"x", {5, 27}, Role::input, {}}},
          .reference =
              [](const std::vector<Numbers>& in) {
                Numbers out;
                for (const double x : in[0]) out.push_back(2.5 * std::tanh(x / 2.5));
                return out;
              },
          .has_gradient = false};
}

OpCase split_columns() {
  constexpr int64_t kRows = 5, kFirst = 7, kWidth = 18;
  return {.name = "split_columns",
          .kind = OpKind::split_columns,
          .attrs = SplitColumnsAttrs{kFirst},
          .operands = {{"x", {kRows, kWidth}, Role::input, {}}},
          .reference =
              [](const std::vector<Numbers>& in) {
                Numbers out;
                for (const bool rest : {false, true})
                  for (int64_t i = 0; i < kRows * kWidth; ++i)
                    if ((i % kWidth >= kFirst) == rest) out.push_back(in[0][static_cast<size_t>(i)]);
                return out;
              },
          .results = 2};
}

OpCase rope_table() {
  return {.name = "rope_table",
          .kind = OpKind::rope_table,
          .attrs = RopeTableAttrs{1.25F},
          .operands = {{"positions", {6}, Role::integers, {0, 1, 2, 0, 900, 7}},
                       {"inv_freq", {4}, Role::fixed, {1, 0.5, 0.125, 0.03125}}},
          .reference =
              [](const std::vector<Numbers>& in) {
                Numbers out;
                for (const double position : in[0])
                  for (const double frequency : in[1]) out.push_back(1.25 * std::cos(position * frequency));
                return out;
              },
          .has_gradient = false};
}

OpCase gather_rows() {
  return {.name = "gather_rows",
          .kind = OpKind::gather_rows,
          .attrs = {},
          .operands = {{"x", {5, 9}, Role::input, {}}},
          .reference =
              [](const std::vector<Numbers>& in) {
                return Numbers(in[0].begin() + 27, in[0].begin() + 36);
              },  // the harness asks for row 3
          .has_gradient = false};
}

double alibi_bias(const AttentionAttrs& a, int64_t head, int64_t key, int64_t query);

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

// The heads of q and k turn where they are, and v passes through.
OpCase fused_rope(const char* name, int64_t heads, int64_t kv_heads, bool grouped) {
  OpCase test = rope(name, {heads, 16, 8, RopeStyle::half, false});
  auto attrs = std::get<RopeAttrs>(test.attrs);
  attrs.kv_heads = kv_heads;
  attrs.qkv = (grouped ? QkvLayout::groups : QkvLayout::blocks)(heads, kv_heads, attrs.head_dim);
  test.attrs = attrs;
  test.operands[0].shape = {test.operands[1].shape[0], attrs.qkv.width};
  test.reference = [attrs](const std::vector<Numbers>& in) {
    Numbers out = in[0];
    const int64_t half = attrs.rotary_dim / 2, group = attrs.heads / attrs.kv_heads;
    for (int64_t row = 0; row < static_cast<int64_t>(in[1].size()) / half; ++row)
      for (int64_t h = 0; h < attrs.heads + attrs.kv_heads; ++h)
        for (int64_t i = 0; i < half; ++i) {
          const int64_t key = h - attrs.heads;
          const int64_t column = key < 0 ? attrs.qkv.q_column + h / group * attrs.qkv.group_stride + h % group * 16
                                         : attrs.qkv.k_column + key * attrs.qkv.kv_stride;
          const size_t a = at(row, attrs.qkv.width, column + i), b = a + static_cast<size_t>(half);
          const double cosine = in[1][at(row, half, i)], sine = in[2][at(row, half, i)];
          out[a] = in[0][a] * cosine - in[0][b] * sine;
          out[b] = in[0][b] * cosine + in[0][a] * sine;
        }
    return out;
  };
  return test;
}

}  // namespace

std::vector<OpCase> op_cases() {
  const LinearAttrs plain{};
  LinearAttrs bias, addend, alpha, untransposed, all;
  bias.has_bias = addend.has_addend = all.has_bias = all.has_addend = true;
  alpha.alpha = all.alpha = 0.625F;
  untransposed.transpose_weight = all.transpose_weight = false;
  return {
      embedding("embedding", 1),
      embedding("embedding_scaled", 4.5F),
      embedding("embedding_first_row", 1, 2),
      rms_norm("rms_norm", 7, 1, 40, 0),
      rms_norm("rms_norm_per_head", 5, 3, 16, 0),
      rms_norm("rms_norm_plus_one", 7, 1, 24, 1),
      layer_norm("layer_norm", 7, 1, 40, 2),
      layer_norm("layer_norm_no_bias", 7, 1, 27, 1),
      layer_norm("layer_norm_no_weights", 7, 1, 40, 0),
      layer_norm("layer_norm_per_head", 5, 3, 16, 2),
      linear("linear", plain),
      linear("linear_bias", bias),
      linear("linear_addend", addend),
      linear("linear_alpha", alpha),
      linear("linear_untransposed", untransposed),
      linear("linear_all", all),
      rope("rope_half", {3, 16, 16, RopeStyle::half, false}),
      rope("rope_interleaved", {3, 16, 16, RopeStyle::interleaved, false}),
      rope("rope_partial", {2, 16, 8, RopeStyle::half, false}),
      rope("rope_inverse", {3, 16, 16, RopeStyle::half, true}),
      rope("rope_behind", {3, 18, 8, RopeStyle::interleaved, false, 0, {}, 10}),
      fused_rope("rope_fused_blocks", 4, 2, false),
      fused_rope("rope_fused_groups", 4, 2, true),
      fused_rope("rope_fused_heads", 3, 3, true),
      activation("silu", Activation::silu),
      activation("gelu_tanh", Activation::gelu_tanh),
      activation("gelu_erf", Activation::gelu_erf),
      activation("relu", Activation::relu),
      activation("quick_gelu", Activation::quick_gelu),
      activation("relu_squared", Activation::relu_squared),
      gated("swiglu", Activation::silu),
      gated("geglu_tanh", Activation::gelu_tanh),
      gated("geglu_erf", Activation::gelu_erf),
      add(),
      cross_entropy("cross_entropy_one_chunk", 16, {1, -100, 0, 36, 5, 5, -100}),
      cross_entropy("cross_entropy_chunks", 3, {1, -100, 0, 36, 5, 5, -100, 9}),
      cross_entropy("cross_entropy_softcap", 3, {1, -100, 0, 36, 5, 5, -100, 9}, false, 3),
      scale(),
      softcap(),
      dropout(),
      dora_norm("dora_norm", true),
      dora_norm("dora_norm_untransposed", false),
      scale_columns("scale_columns", false),
      scale_columns("scale_columns_bias", true),
      scale_rows(),
      split_columns(),
      cross_entropy("cross_entropy_no_label", 2, {-100, -100, -100}),
      cross_entropy("cross_entropy_bias", 3, {1, -100, 0, 36, 5, 5, -100, 9}, true),
      rope_table(),
      gather_rows(),
  };
}

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
