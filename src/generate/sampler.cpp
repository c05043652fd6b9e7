#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace plimsoll {

std::span<const float> Sampler::scores(std::span<const float> logits, std::span<const int32_t> previous) {
  if (options_.repetition_penalty == 1 || previous.empty()) return logits;
  const auto penalty = static_cast<float>(options_.repetition_penalty);
  scores_.assign(logits.begin(), logits.end());
  seen_.assign(logits.size(), false);
  for (const int32_t id : previous) {
    const auto at = static_cast<size_t>(id);
    if (id < 0 || at >= logits.size() || seen_[at]) continue;
    seen_[at] = true;
    scores_[at] = scores_[at] < 0 ? scores_[at] * penalty : scores_[at] / penalty;
  }
  return scores_;
}

std::span<const Sampler::Candidate> Sampler::candidates(std::span<const float> logits,
                                                        std::span<const int32_t> previous) {
  const std::span<const float> score = scores(logits, previous);
  const auto at = [&](int32_t id) { return score[static_cast<size_t>(id)]; };
  const auto likelier = [&](int32_t a, int32_t b) { return at(a) != at(b) ? at(a) > at(b) : a < b; };
  order_.resize(score.size());
  std::iota(order_.begin(), order_.end(), 0);
  auto end = order_.end();
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(order_.size())) {
    const auto last = order_.begin() + static_cast<std::ptrdiff_t>(options_.top_k) - 1;
    std::nth_element(order_.begin(), last, order_.end(), likelier);
    end = std::partition(last + 1, order_.end(), [&](int32_t id) { return at(id) == at(*last); });
  }
  std::sort(order_.begin(), end, likelier);

  const auto temperature = static_cast<float>(options_.temperature);
  const double highest = at(order_.front()) / temperature;
  candidates_.clear();
  double total = 0;
  for (auto id = order_.begin(); id != end; ++id) {
    candidates_.push_back({*id, std::exp(static_cast<double>(at(*id) / temperature) - highest)});
    total += candidates_.back().probability;
  }
  size_t kept = 0;
  double mass = 0;  // of what is kept; the likeliest weighs 1
  while (kept < candidates_.size() && (kept == 0 || mass < options_.top_p * total))
    mass += candidates_[kept++].probability;
  while (kept > 1 && candidates_[kept - 1].probability < options_.min_p) mass -= candidates_[--kept].probability;
  candidates_.resize(kept);
  for (Candidate& candidate : candidates_) candidate.probability /= mass;
  return candidates_;
}

int32_t Sampler::next(std::span<const float> logits, std::span<const int32_t> previous) {
  if (options_.temperature == 0) {
    const std::span<const float> score = scores(logits, previous);
    return static_cast<int32_t>(std::max_element(score.begin(), score.end()) - score.begin());
  }
  const std::span<const Candidate> from = candidates(logits, previous);
  double point = random_.uniform();
  for (const Candidate& candidate : from) {
    point -= candidate.probability;
    if (point < 0) return candidate.id;
  }
  return from.back().id;
}

}  // namespace plimsoll
