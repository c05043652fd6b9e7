// Ops of mixtures of experts and of latent attention, by their definitions.
#include <algorithm>
#include <numeric>

#include "op/op_case.h"

namespace plimsoll {
namespace {

using Role = OpOperand::Role;

// Far apart, so that a step of the differences changes no choice.
Numbers spread_logits(int64_t rows, int64_t experts) {
  Numbers logits;
  for (int64_t i = 0; i < rows * experts; ++i)
    logits.push_back(static_cast<double>(i * 7919 % 41) * 0.09375 - 2.0 + static_cast<double>(i % experts) * 0.015625);
  return logits;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

OpCase route(const char* name, const RouteAttrs& attrs, const Numbers& correction) {
  constexpr int64_t kRows = 7;
  OpCase result{
      .name = name,
      .kind = OpKind::route,
      .attrs = attrs,
      .operands = {{"logits", {kRows, attrs.experts}, Role::input, spread_logits(kRows, attrs.experts)}},
      .reference = [attrs](const std::vector<Numbers>& in) {
        Numbers out;
        const auto experts = static_cast<size_t>(attrs.experts), k = static_cast<size_t>(attrs.top_k);
        for (size_t row = 0; row < kRows; ++row) {
          Numbers score(in[0].begin() + static_cast<std::ptrdiff_t>(row * experts),
                        in[0].begin() + static_cast<std::ptrdiff_t>((row + 1) * experts));
          const auto soften = [](Numbers& values) {
            double sum = 0;
            for (double& value : values) sum += value = std::exp(value);
            for (double& value : values) value /= sum;
          };
          if (attrs.score == RouterScore::softmax) soften(score);
          if (attrs.score == RouterScore::sigmoid) std::transform(score.begin(), score.end(), score.begin(), sigmoid);
          Numbers choice = score;
          for (size_t e = 0; e < experts && in.size() > 1; ++e) choice[e] += in[1][e];
          const size_t size = experts / static_cast<size_t>(attrs.groups);
          std::vector<std::pair<double, size_t>> groups;
          for (size_t g = 0; g < static_cast<size_t>(attrs.groups); ++g) {
            Numbers members(choice.begin() + static_cast<std::ptrdiff_t>(g * size),
                            choice.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
            std::sort(members.rbegin(), members.rend());
            groups.emplace_back(attrs.score == RouterScore::sigmoid ? -members[0] - members[1] : -members[0], g);
          }
          std::sort(groups.begin(), groups.end());
          for (size_t g = static_cast<size_t>(attrs.groups_kept); g < groups.size() && attrs.groups > 1; ++g)
            std::fill_n(choice.begin() + static_cast<std::ptrdiff_t>(groups[g].second * size), size, -INFINITY);
          std::vector<size_t> order(experts);
          std::iota(order.begin(), order.end(), size_t{0});
          std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return choice[a] > choice[b]; });
          Numbers weights;
          for (size_t j = 0; j < k; ++j) weights.push_back(score[order[j]]);
          if (attrs.score == RouterScore::chosen_softmax) soften(weights);
          const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
          for (const double weight : weights)
            out.push_back((attrs.normalize ? weight / sum : weight) * static_cast<double>(attrs.scale));
        }
        return out;
      }};
  if (!correction.empty()) result.operands.push_back({"correction", {attrs.experts}, Role::fixed, correction});
  return result;
}

// SparseMixer takes the best of what is left, and its share among those that come near it.
OpCase sparse_mixer() {
  constexpr int64_t kRows = 7, kExperts = 8, kChosen = 3;
  constexpr double kThreshold = 0.75;
  RouteAttrs attrs{kExperts, kChosen, RouterScore::sparse_mixer};
  attrs.threshold = static_cast<float>(kThreshold);
  return {.name = "route_sparse_mixer",
          .kind = OpKind::route,
          .attrs = attrs,
          .operands = {{"logits", {kRows, kExperts}, Role::input, spread_logits(kRows, kExperts)}},
          .reference = [](const std::vector<Numbers>& in) {
            Numbers out;
            for (int64_t row = 0; row < kRows; ++row) {
              Numbers left(in[0].begin() + row * kExperts, in[0].begin() + (row + 1) * kExperts);
              for (int64_t j = 0; j < kChosen; ++j) {
                const auto best = std::max_element(left.begin(), left.end());
                const double top = *best;
                double sum = 0;
                for (const double x : left)
                  if ((top - x) / std::max(std::abs(x), top) <= kThreshold) sum += std::exp(x - top);
                out.push_back(1 / sum);
                left.erase(best);
              }
            }
            return out;
          }};
}

// Two mixtures; a row of padding, and two of five labels that count, of ten in the step.
OpCase route_balance() {
  constexpr int64_t kRows = 5, kCount = 4;
  RouteBalanceAttrs attrs;
  attrs.experts = kCount;
  attrs.top_k = 2;
  attrs.weight = 0.75F;
  const Numbers first = {0, 1, 0, 2, 3, 1, 1, 0, 2, 3}, second = {3, 1, 3, 2, 3, 1, 3, 0, 1, 3};
  return {.name = "route_balance",
          .kind = OpKind::route_balance,
          .attrs = attrs,
          .operands = {{"segments", {kRows}, Role::integers, {0, 0, -1, 1, 1}},
                       {"labels", {kRows}, Role::integers, {7, -100, -100, -100, 3}},
                       {"loss_scale", {1}, Role::fixed, {0.1}},
                       {"logits.0", {kRows, kCount}, Role::f32_input, {}},
                       {"experts.0", {kRows, 2}, Role::integers, first},
                       {"logits.1", {kRows, kCount}, Role::f32_input, {}},
                       {"experts.1", {kRows, 2}, Role::integers, second}},
          .reference = [](const std::vector<Numbers>& in) {
            Numbers used(kCount, 0), share(kCount, 0);
            for (size_t mixture = 3; mixture < 7; mixture += 2)
              for (const int64_t row : {0, 1, 3, 4}) {
                double sum = 0;
                for (int64_t e = 0; e < kCount; ++e) sum += std::exp(in[mixture][at(row, kCount, e)]);
                for (int64_t e = 0; e < kCount; ++e)
                  share[static_cast<size_t>(e)] += std::exp(in[mixture][at(row, kCount, e)]) / sum / 8;
                for (int64_t j = 0; j < 2; ++j) used[static_cast<size_t>(in[mixture + 1][at(row, 2, j)])] += 1.0 / 8;
              }
            double loss = 0;
            for (size_t e = 0; e < kCount; ++e) loss += used[e] * share[e];
            return Numbers{0.75 * 0.2 * kCount * loss};
          }};
}

// Five rows with two choices each, among three experts: slots as route gives them.
const Numbers kSlots = {0, 4, 1, 7, 5, 8, 2, 9, 3, 6};
const Numbers kOffsets = {0, 4, 7, 10};
constexpr int64_t kRows = 5, kChosen = 2, kSorted = kRows * kChosen, kExperts = 3;

OpCase expert_gather() {
  constexpr int64_t kWidth = 19;
  return {.name = "expert_gather",
          .kind = OpKind::expert_gather,
          .attrs = {},
          .operands = {{"x", {kRows, kWidth}, Role::input, {}}, {"slots", {kRows, kChosen}, Role::integers, kSlots}},
          .reference = [](const std::vector<Numbers>& in) {
            Numbers out(kSorted * kWidth);
            for (int64_t i = 0; i < kSorted; ++i)
              for (int64_t c = 0; c < kWidth; ++c)
                out[at(static_cast<int64_t>(in[1][static_cast<size_t>(i)]), kWidth, c)] =
                    in[0][at(i / kChosen, kWidth, c)];
            return out;
          }};
}

OpCase expert_combine() {
  constexpr int64_t kWidth = 19;
  Numbers weights;
  for (int64_t i = 0; i < kSorted; ++i) weights.push_back(0.125 + static_cast<double>(i) * 0.0625);
  return {.name = "expert_combine",
          .kind = OpKind::expert_combine,
          .attrs = {},
          .operands = {{"z", {kSorted, kWidth}, Role::input, {}},
                       {"weights", {kRows, kChosen}, Role::f32_input, weights},
                       {"slots", {kRows, kChosen}, Role::integers, kSlots}},
          .reference = [](const std::vector<Numbers>& in) {
            Numbers out(kRows * kWidth);
            for (int64_t i = 0; i < kSorted; ++i)
              for (int64_t c = 0; c < kWidth; ++c)
                out[at(i / kChosen, kWidth, c)] +=
                    in[1][static_cast<size_t>(i)] *
                    in[0][at(static_cast<int64_t>(in[2][static_cast<size_t>(i)]), kWidth, c)];
            return out;
          }};
}

OpCase grouped_linear(const char* name, const GroupedLinearAttrs& attrs) {
  constexpr int64_t kK = 21, kN = 34;
  OpCase result{
      .name = name,
      .kind = OpKind::grouped_linear,
      .attrs = attrs,
      .operands = {{"x", {kSorted, kK}, Role::input, {}}, {"offsets", {kExperts + 1}, Role::integers, kOffsets}},
      .reference = [attrs](const std::vector<Numbers>& in) {
        Numbers out;
        const size_t addend = attrs.has_bias ? 3 : 2, first = addend + (attrs.has_addend ? 1 : 0);
        int64_t expert = 0;
        for (int64_t row = 0; row < kSorted; ++row) {
          while (static_cast<double>(row) >= in[1][static_cast<size_t>(expert) + 1]) ++expert;
          const Numbers& weights = in[first + (attrs.fused ? 0 : static_cast<size_t>(expert))];
          const int64_t skipped = attrs.fused ? expert * kK * kN : 0;
          for (int64_t n = 0; n < kN; ++n) {
            double sum = attrs.has_bias ? in[2][at(expert, kN, n)] : 0.0;
            if (attrs.has_addend) sum += in[addend][at(row, kN, n)];
            for (int64_t k = 0; k < kK; ++k)
              sum += in[0][at(row, kK, k)] *
                     weights[static_cast<size_t>(skipped + (attrs.transpose_weight ? n * kK + k : k * kN + n))];
            out.push_back(sum);
          }
        }
        return out;
      }};
  if (attrs.has_bias) result.operands.push_back({"bias", {kExperts, kN}, Role::weight, {}});
  if (attrs.has_addend) result.operands.push_back({"addend", {kSorted, kN}, Role::input, {}});
  const Shape one = attrs.transpose_weight ? Shape{kN, kK} : Shape{kK, kN};
  if (attrs.fused) result.operands.push_back({"weights", {kExperts, one[0], one[1]}, Role::weight, {}});
  for (int64_t e = 0; e < kExperts && !attrs.fused; ++e)
    result.operands.push_back({"weight" + std::to_string(e), one, Role::weight, {}});
  return result;
}

OpCase clamped_swiglu() {
  Numbers pairs;
  for (int i = 0; i < 5 * 14; ++i)
    pairs.push_back(static_cast<double>(i * 37 % 71) * 0.25 - 9.0625);  // both sides of 7
  return {.name = "clamped_swiglu",
          .kind = OpKind::clamped_swiglu,
          .attrs = ClampedSwigluAttrs{},
          .operands = {{"gate_up", {5, 14}, Role::input, pairs}},
          .reference = [](const std::vector<Numbers>& in) {
            Numbers out;
            for (size_t i = 0; i < in[0].size(); i += 2) {
              const double gate = std::min(in[0][i], 7.0), up = std::clamp(in[0][i + 1], -7.0, 7.0);
              out.push_back((up + 1) * gate * sigmoid(1.702 * gate));
            }
            return out;
          }};
}

OpCase expand_latent() {
  const ExpandLatentAttrs a{3, 6, 4, 5};
  constexpr int64_t kTokens = 4;
  return {.name = "expand_latent",
          .kind = OpKind::expand_latent,
          .attrs = a,
          .operands = {{"kv", {kTokens, a.heads * (a.plain + a.value)}, Role::input, {}},
                       {"k_rotary", {kTokens, a.rotary}, Role::input, {}}},
          .reference =
              [a](const std::vector<Numbers>& in) {
                Numbers keys, values;
                const int64_t width = a.plain + a.value;
                for (int64_t head = 0; head < kTokens * a.heads; ++head) {
                  for (int64_t i = 0; i < a.plain; ++i) keys.push_back(in[0][at(head, width, i)]);
                  for (int64_t i = 0; i < a.rotary; ++i) keys.push_back(in[1][at(head / a.heads, a.rotary, i)]);
                  for (int64_t i = 0; i < a.value; ++i) values.push_back(in[0][at(head, width, a.plain + i)]);
                }
                keys.insert(keys.end(), values.begin(), values.end());
                return keys;
              },
          .results = 2};
}

}  // namespace

std::vector<OpCase> mixture_cases() {
  const RouteAttrs softmax{8, 3};
  RouteAttrs normalized = softmax, chosen = softmax, sigmoids = softmax;
  normalized.normalize = sigmoids.normalize = true;
  chosen.score = RouterScore::chosen_softmax;
  sigmoids.score = RouterScore::sigmoid;
  sigmoids.groups = 4;
  sigmoids.groups_kept = 2;
  sigmoids.scale = 2.5F;
  RouteAttrs groups = sigmoids;
  groups.score = RouterScore::softmax;
  groups.normalize = false;
  GroupedLinearAttrs plain, fused;
  plain.experts = fused.experts = kExperts;
  fused.fused = fused.has_bias = true;
  fused.transpose_weight = false;
  GroupedLinearAttrs addend = plain;
  addend.has_addend = true;
  return {
      route("route_softmax", softmax, {}),
      route("route_normalized", normalized, {}),
      route("route_chosen_softmax", chosen, {}),
      route("route_sigmoid_groups", sigmoids, {0.25, -0.125, 0, 0.0625, 0.5, -0.25, 0.125, 0}),
      route("route_softmax_groups", groups, {}),
      sparse_mixer(),
      route_balance(),
      expert_gather(),
      expert_combine(),
      grouped_linear("grouped_linear", plain),
      grouped_linear("grouped_linear_addend", addend),
      grouped_linear("grouped_linear_fused", fused),
      clamped_swiglu(),
      expand_latent(),
  };
}

}  // namespace plimsoll
