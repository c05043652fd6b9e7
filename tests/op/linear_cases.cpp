// Matrix products with their biases and losses, and DoRA, by their definitions.
#include <algorithm>

#include "op/op_case.h"

namespace plimsoll {
namespace {

using Role = OpOperand::Role;

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

}  // namespace

std::vector<OpCase> linear_cases() {
  const LinearAttrs plain{};
  LinearAttrs bias, addend, alpha, untransposed, all;
  bias.has_bias = addend.has_addend = all.has_bias = all.has_addend = true;
  alpha.alpha = all.alpha = 0.625F;
  untransposed.transpose_weight = all.transpose_weight = false;
  return {
      linear("linear", plain),
      linear("linear_bias", bias),
      linear("linear_addend", addend),
      linear("linear_alpha", alpha),
      linear("linear_untransposed", untransposed),
      linear("linear_all", all),
      cross_entropy("cross_entropy_one_chunk", 16, {1, -100, 0, 36, 5, 5, -100}),
      cross_entropy("cross_entropy_chunks", 3, {1, -100, 0, 36, 5, 5, -100, 9}),
      cross_entropy("cross_entropy_softcap", 3, {1, -100, 0, 36, 5, 5, -100, 9}, false, 3),
      dora_norm("dora_norm", true),
      dora_norm("dora_norm_untransposed", false),
      scale_columns("scale_columns", false),
      scale_columns("scale_columns_bias", true),
      scale_rows(),
      cross_entropy("cross_entropy_no_label", 2, {-100, -100, -100}),
      cross_entropy("cross_entropy_bias", 3, {1, -100, 0, 36, 5, 5, -100, 9}, true),
  };
}

}  // namespace plimsoll
