#include <algorithm>

#include "base/counter_random.h"
#include "base/dtype.h"
#include "op/op_case.h"

namespace plimsoll {
namespace {

using Role = OpOperand::Role;

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
      scale(),
      softcap(),
      dropout(),
      split_columns(),
      rope_table(),
      gather_rows(),
  };
}

}  // namespace plimsoll
