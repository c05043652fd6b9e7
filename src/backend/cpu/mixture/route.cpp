#include "backend/cpu/mixture/route.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll::cpu {
namespace {

constexpr int64_t kRowTile = 16;
constexpr float kLowest = -std::numeric_limits<float>::infinity();
using Scores = std::array<float, static_cast<size_t>(kMaxExperts)>;

void check(const RouteSpec& spec) {
  PLIMSOLL_CHECK(spec.experts > 0 && spec.experts <= kMaxExperts, "at most 4096 experts");
  PLIMSOLL_CHECK(spec.top_k > 0 && spec.top_k <= spec.experts, "no more choices than experts");
}

void read_row(const RouteSpec& spec, const void* logits, int64_t row, float* out) {
  const int64_t first = row * spec.experts;
  for (int64_t e = 0; e < spec.experts; ++e)
    out[e] = spec.dtype == DType::bf16 ? bf16_to_f32(static_cast<const uint16_t*>(logits)[first + e])
                                       : static_cast<const float*>(logits)[first + e];
}

void softmax(std::span<float> values) {
  const float largest = *std::max_element(values.begin(), values.end());
  float sum = 0;
  for (float& value : values) sum += value = std::exp(value - largest);
  for (float& value : values) value /= sum;
}

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

// The best of `scores` and the next, taken out one after another. Comparisons with what is no number are false.
int32_t take_best(std::span<float> scores) {
  size_t best = 0;
  for (size_t i = 1; i < scores.size(); ++i)
    if (scores[i] > scores[best] || (std::isnan(scores[best]) && !std::isnan(scores[i]))) best = i;
  scores[best] = -std::numeric_limits<float>::quiet_NaN();  // below everything that is left
  return static_cast<int32_t>(best);
}

// Leaves the scores of the groups whose two best add up to most (sigmoid), or whose best is the best (softmax); the
// others count as lowest.
void keep_best_groups(const RouteSpec& spec, std::span<float> scores) {
  const auto size = static_cast<size_t>(spec.experts / spec.groups);
  Scores sums_storage;
  const std::span sums(sums_storage.data(), static_cast<size_t>(spec.groups));
  for (size_t g = 0; g < sums.size(); ++g) {
    float first = kLowest, second = kLowest;
    for (const float score : scores.subspan(g * size, size)) {
      second = std::max(second, std::min(first, score));
      first = std::max(first, score);
    }
    sums[g] = size > 1 && spec.score == RouteSpec::Score::sigmoid ? first + second : first;
  }
  std::array<bool, static_cast<size_t>(kMaxExperts)> kept{};
  for (int64_t i = 0; i < spec.groups_kept; ++i) kept[static_cast<size_t>(take_best(sums))] = true;
  for (size_t g = 0; g < sums.size(); ++g)
    if (!kept[g]) std::fill_n(scores.begin() + static_cast<std::ptrdiff_t>(g * size), size, kLowest);
}

// Puts softmax(those of `logits` that come near `best`) into `shares`, zero for the others and for those whose `taken`
// is set. Comparisons with what is no number are false: it counts as near.
void share_among_near(const RouteSpec& spec, std::span<const float> logits, std::span<const bool> taken, size_t best,
                      std::span<float> shares) {
  const float top = logits[best];
  float sum = 0;
  for (size_t e = 0; e < logits.size(); ++e) {
    const bool far = (top - logits[e]) / std::max(std::abs(logits[e]), top) > spec.threshold;
    sum += shares[e] = taken[e] || far ? 0.0F : std::exp(logits[e] - top);
  }
  for (float& share : shares) share /= sum;
}

void sparse_mixer_row(const RouteSpec& spec, std::span<const float> logits, float* weights, int32_t* experts) {
  Scores left_storage, share_storage;
  const std::span left(left_storage.data(), logits.size()), shares(share_storage.data(), logits.size());
  std::array<bool, static_cast<size_t>(kMaxExperts)> taken{};
  std::copy(logits.begin(), logits.end(), left.begin());
  for (int64_t j = 0; j < spec.top_k; ++j) {
    const auto best = static_cast<size_t>(take_best(left));
    share_among_near(spec, logits, {taken.data(), logits.size()}, best, shares);
    experts[j] = static_cast<int32_t>(best);
    weights[j] = shares[best];
    taken[best] = true;
  }
}

// d += for each choice dw · w · (1 at the choice - its softmax).
void differentiate_sparse_mixer(const RouteSpec& spec, const float* d_weights, std::span<const float> logits,
                                const float* weights, const int32_t* experts, std::span<float> d) {
  Scores share_storage;
  const std::span shares(share_storage.data(), logits.size());
  std::array<bool, static_cast<size_t>(kMaxExperts)> taken{};
  for (int64_t j = 0; j < spec.top_k; ++j) {
    const auto best = static_cast<size_t>(experts[j]);
    share_among_near(spec, logits, {taken.data(), logits.size()}, best, shares);
    const float upstream = d_weights[j] * weights[j];
    for (size_t e = 0; e < d.size(); ++e) d[e] -= upstream * shares[e];
    d[best] += upstream;
    taken[best] = true;
  }
}

void route_row(const RouteSpec& spec, const void* logits, const float* correction, int64_t row, float* weights,
               int32_t* experts) {
  Scores score_storage, choice_storage;
  const std::span scores(score_storage.data(), static_cast<size_t>(spec.experts));
  const std::span choice(choice_storage.data(), scores.size());
  const auto k = static_cast<size_t>(spec.top_k);
  read_row(spec, logits, row, scores.data());
  if (spec.score == RouteSpec::Score::sparse_mixer) return sparse_mixer_row(spec, scores, weights, experts);
  if (spec.score == RouteSpec::Score::softmax) softmax(scores);
  if (spec.score == RouteSpec::Score::sigmoid) std::transform(scores.begin(), scores.end(), scores.begin(), sigmoid);
  for (size_t e = 0; e < scores.size(); ++e) choice[e] = scores[e] + (correction != nullptr ? correction[e] : 0.0F);
  if (spec.groups > 1) keep_best_groups(spec, choice);
  for (size_t j = 0; j < k; ++j) {
    experts[j] = take_best(choice);
    weights[j] = scores[static_cast<size_t>(experts[j])];
  }
  if (spec.score == RouteSpec::Score::chosen_softmax) return softmax({weights, k});
  float sum = spec.score == RouteSpec::Score::sigmoid ? 1e-20F : 0.0F;
  for (size_t j = 0; j < k; ++j) sum += weights[j];
  for (size_t j = 0; j < k; ++j) weights[j] = (spec.normalize ? weights[j] / sum : weights[j]) * spec.scale;
}

// The gradient of one row's logits into `d`, (experts) and zero.
void differentiate_row(const RouteSpec& spec, const float* d_weights, std::span<float> scores, const float* weights,
                       const int32_t* experts, std::span<float> d) {
  if (spec.score == RouteSpec::Score::sparse_mixer)
    return differentiate_sparse_mixer(spec, d_weights, scores, weights, experts, d);
  const auto k = static_cast<size_t>(spec.top_k);
  float mean = 0;  // of d_weights by the weights
  for (size_t j = 0; j < k; ++j) mean += d_weights[j] * weights[j];
  if (spec.score == RouteSpec::Score::chosen_softmax) {
    for (size_t j = 0; j < k; ++j) d[static_cast<size_t>(experts[j])] = weights[j] * (d_weights[j] - mean);
    return;
  }
  if (spec.score == RouteSpec::Score::softmax) softmax(scores);
  else std::transform(scores.begin(), scores.end(), scores.begin(), sigmoid);
  // First by the scores of the chosen: weight = scale · score / sum, or scale · score.
  float sum = spec.score == RouteSpec::Score::sigmoid ? 1e-20F : 0.0F;
  for (size_t j = 0; j < k; ++j) sum += scores[static_cast<size_t>(experts[j])];
  for (size_t j = 0; j < k; ++j)
    d[static_cast<size_t>(experts[j])] =
        spec.normalize ? (spec.scale * d_weights[j] - mean) / sum : spec.scale * d_weights[j];
  if (spec.score == RouteSpec::Score::sigmoid) {
    for (size_t e = 0; e < d.size(); ++e) d[e] *= scores[e] * (1.0F - scores[e]);
    return;
  }
  float inner = 0;
  for (size_t e = 0; e < d.size(); ++e) inner += d[e] * scores[e];
  for (size_t e = 0; e < d.size(); ++e) d[e] = scores[e] * (d[e] - inner);
}

template <typename Body>
void for_rows(ThreadPool& pool, int64_t rows, Body&& body) {
  pool.parallel_for(ceil_div(rows, kRowTile), [&](int64_t tile, int) {
    for (int64_t row = tile * kRowTile; row < std::min(rows, (tile + 1) * kRowTile); ++row) body(row);
  });
}

}  // namespace

void route_forward(ThreadPool& pool, const RouteSpec& spec, const void* logits, const float* correction, float* weights,
                   int32_t* experts, int32_t* slots, int32_t* offsets) {
  check(spec);
  const int64_t k = spec.top_k;
  for_rows(pool, spec.rows,
           [&](int64_t row) { route_row(spec, logits, correction, row, weights + row * k, experts + row * k); });
  // A counting sort, so that an expert's rows keep their order. Until the end offsets[e + 1] is the next free slot of
  // e.
  std::fill(offsets, offsets + spec.experts + 1, 0);
  for (int64_t i = 0; i < spec.rows * k; ++i)
    if (experts[i] + 2 <= spec.experts) ++offsets[experts[i] + 2];
  for (int64_t e = 2; e <= spec.experts; ++e) offsets[e] += offsets[e - 1];
  for (int64_t i = 0; i < spec.rows * k; ++i) slots[i] = offsets[experts[i] + 1]++;
}

void route_backward(ThreadPool& pool, const RouteSpec& spec, const float* d_weights, const void* logits,
                    const float* weights, const int32_t* experts, DType gradient_dtype, void* d_logits) {
  check(spec);
  for_rows(pool, spec.rows, [&](int64_t row) {
    Scores score_storage, gradient_storage;
    const std::span scores(score_storage.data(), static_cast<size_t>(spec.experts));
    const std::span d(gradient_storage.data(), scores.size());
    std::fill(d.begin(), d.end(), 0.0F);
    read_row(spec, logits, row, scores.data());
    const int64_t at = row * spec.top_k;
    differentiate_row(spec, d_weights + at, scores, weights + at, experts + at, d);
    for (size_t e = 0; e < d.size(); ++e) {
      const auto i = row * spec.experts + static_cast<int64_t>(e);
      if (gradient_dtype == DType::bf16) static_cast<uint16_t*>(d_logits)[i] = f32_to_bf16(d[e]);
      else static_cast<float*>(d_logits)[i] = d[e];
    }
  });
}

}  // namespace plimsoll::cpu
