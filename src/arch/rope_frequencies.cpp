#include "arch/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

std::vector<double> plain_frequencies(double theta, int64_t rotary_dim) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < rotary_dim; i += 2)
    frequencies.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(rotary_dim)));
  return frequencies;
}

void scale_llama3(std::vector<double>& frequencies, const RopeConfig& rope, double original) {
  for (double& frequency : frequencies) {
    const double wavelength = kTwoPi / frequency;
    if (wavelength < original / rope.high_freq_factor) continue;
    if (wavelength > original / rope.low_freq_factor) {
      frequency /= rope.factor;
      continue;
    }
    const double smooth =
        (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    frequency = (1 - smooth) * frequency / rope.factor + smooth * frequency;
  }
}

double yarn_mscale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

void scale_yarn(std::vector<double>& frequencies, const RopeConfig& rope, int64_t rotary_dim, double original) {
  const auto dim = static_cast<double>(rotary_dim);
  // The dimension whose wavelength makes `rotations` turns over the original context.
  const auto dimension_of = [&](double rotations) {
    return dim * std::log(original / (rotations * kTwoPi)) / (2 * std::log(rope.theta));
  };
  double low = dimension_of(rope.beta_fast);
  double high = dimension_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / rope.factor * ramp + frequencies[i] * (1 - ramp);
  }
}

double yarn_attention_scaling(const RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.mscale && rope.mscale_all_dim)
    return yarn_mscale(rope.factor, *rope.mscale) / yarn_mscale(rope.factor, *rope.mscale_all_dim);
  return yarn_mscale(rope.factor, 1.0);
}

double longrope_attention_scaling(const RopeConfig& rope, double original) {
  if (rope.attention_factor) return *rope.attention_factor;
  return rope.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(rope.factor) / std::log(original));
}

void divide(std::vector<double>& frequencies, const std::vector<double>& divisors) {
  PLIMSOLL_CHECK(divisors.size() == frequencies.size(), "one divisor per rotary frequency");
  for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= divisors[i];
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeConfig& rope, int64_t rotary_dim, int64_t context_length,
                                 int64_t sequence_length) {
  const auto original =
      static_cast<double>(rope.original_context_length > 0 ? rope.original_context_length : context_length);
  const auto context = static_cast<double>(context_length);
  std::vector<double> frequencies = plain_frequencies(rope.theta, rotary_dim);
  RopeFrequencies result;
  switch (rope.kind) {
    case RopeKind::standard:
      break;
    case RopeKind::linear:
      for (double& frequency : frequencies) frequency /= rope.factor;
      break;
    case RopeKind::dynamic:
      if (sequence_length > context_length) {
        const auto length = static_cast<double>(sequence_length);
        const auto dim = static_cast<double>(rotary_dim);
        const double grown = rope.factor * length / context - (rope.factor - 1);
        frequencies = plain_frequencies(rope.theta * std::pow(grown, dim / (dim - 2)), rotary_dim);
      }
      break;
    case RopeKind::llama3:
      scale_llama3(frequencies, rope, original);
      break;
    case RopeKind::yarn:
      scale_yarn(frequencies, rope, rotary_dim, original);
      result.attention_scaling = yarn_attention_scaling(rope);
      break;
    case RopeKind::longrope: {
      const bool is_long = static_cast<double>(sequence_length) > original;
      divide(frequencies, is_long ? rope.long_factor : rope.short_factor);
      const std::optional<double>& given = is_long ? rope.long_mscale : rope.short_mscale;
      result.attention_scaling = given ? *given : longrope_attention_scaling(rope, original);
      break;
    }
  }
  if (!rope.frequency_divisors.empty()) divide(frequencies, rope.frequency_divisors);
  for (const double frequency : frequencies) result.inv_freq.push_back(static_cast<float>(frequency));
  return result;
}

}  // namespace plimsoll
