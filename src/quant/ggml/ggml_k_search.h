// The searches for scales behind q2_k to q6_k. Each fits `kLanes` sub-blocks of `kCount` values at once, a sub-block a
// lane: lanes are independent and each adds in the order of its elements, so the sums (and the bytes) are those of a
// loop over one sub-block, while the loops over lanes vectorize. Not for use outside of quant/ggml/ggml_k_write.cpp.
#pragma once

#include <array>
#include <cmath>

namespace plimsoll::ggml {

template <int kLanes, int kCount>
using Lanes = std::array<std::array<float, kLanes>, kCount>;  // [element][lane]

// Below this a sub-block counts as zeros.
inline constexpr float kTiny = 1e-15F;

// To nearest even for |x| < 2^22.
inline float whole(float x) { return (x + 12582912.0F) - 12582912.0F; }
// NaN gives `low`.
inline float within(float x, float low, float high) { return x > low ? (x < high ? x : high) : low; }

template <int kLanes, int kCount>
Lanes<kLanes, kCount> to_lanes(const float* in) {
  Lanes<kLanes, kCount> out;
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < kCount; ++i) out[i][lane] = in[lane * kCount + i];
  return out;
}

// The value of largest magnitude of each lane, with its sign; the first of equals.
template <int kLanes, int kCount>
std::array<float, kLanes> extremes(const Lanes<kLanes, kCount>& x) {
  std::array<float, kLanes> extreme{};
  for (int i = 0; i < kCount; ++i)
    for (int j = 0; j < kLanes; ++j) extreme[j] = std::fabs(x[i][j]) > std::fabs(extreme[j]) ? x[i][j] : extreme[j];
  return extreme;
}

template <int kLanes, int kCount>
struct Fit {
  std::array<float, kLanes> scale{}, minimum{};  // x ≈ scale * code - minimum
  Lanes<kLanes, kCount> codes{};
};

struct MinimumSearch {
  float most;         // largest code
  float first, step;  // what is tried: (most + first + k * step) codes over the range, k = 0 … steps
  int steps;
  bool absolute;  // error is the weighted sum of magnitudes instead of squares
};

// Codes 0 … most and a minimum <= 0: starts from the whole range, then tries other numbers of codes over it, solving
// for scale and minimum by weighted least squares each time.
template <int kLanes, int kCount>
Fit<kLanes, kCount> fit_with_minimum(const Lanes<kLanes, kCount>& x, const Lanes<kLanes, kCount>& weight,
                                     const MinimumSearch& search) {
  using Row = std::array<float, kLanes>;
  Row least = x[0], largest = x[0], sum_w{}, sum_x{};
  for (int j = 0; j < kLanes; ++j) {
    sum_w[j] = weight[0][j];
    sum_x[j] = weight[0][j] * x[0][j];
  }
  for (int i = 1; i < kCount; ++i) {
    for (int j = 0; j < kLanes; ++j) {
      least[j] = x[i][j] < least[j] ? x[i][j] : least[j];
      largest[j] = x[i][j] > largest[j] ? x[i][j] : largest[j];
      sum_w[j] += weight[i][j];
      sum_x[j] += weight[i][j] * x[i][j];
    }
  }
  const float most = search.most;
  const auto error_of = [&](float off) { return search.absolute ? std::fabs(off) : off * off; };
  Fit<kLanes, kCount> fit;
  Row range, error{}, minimum;
  std::array<bool, kLanes> flat;
  for (int j = 0; j < kLanes; ++j) {
    least[j] = least[j] > 0 ? 0.0F : least[j];
    range[j] = largest[j] - least[j];
    flat[j] = largest[j] == least[j];
    const float inverse_scale = most / range[j];
    fit.scale[j] = flat[j] ? 0.0F : 1 / inverse_scale;
    minimum[j] = least[j];
  }
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < kLanes; ++j) {
      const float code = within(whole(most / range[j] * (x[i][j] - least[j])), 0, most);
      fit.codes[i][j] = flat[j] ? 0.0F : code;
      error[j] += weight[i][j] * error_of(fit.scale[j] * code + least[j] - x[i][j]);
    }
  }
  Lanes<kLanes, kCount> codes;
  for (int k = 0; k <= search.steps; ++k) {
    Row sum_l{}, sum_ll{}, sum_xl{}, inverse_scale, this_scale, this_minimum, this_error{};
    const float count = search.first + search.step * static_cast<float>(k) + most;
    for (int j = 0; j < kLanes; ++j)
      inverse_scale[j] = count / (largest[j] - minimum[j]);  // of the best minimum so far
    for (int i = 0; i < kCount; ++i) {
      for (int j = 0; j < kLanes; ++j) {
        const float code = within(whole(inverse_scale[j] * (x[i][j] - minimum[j])), 0, most);
        const float w = weight[i][j];
        codes[i][j] = code;
        sum_l[j] += w * code;
        sum_ll[j] += w * code * code;
        sum_xl[j] += w * code * x[i][j];
      }
    }
    std::array<bool, kLanes> better;
    for (int j = 0; j < kLanes; ++j) {
      const float determinant = sum_w[j] * sum_ll[j] - sum_l[j] * sum_l[j];
      better[j] = determinant > 0 && !flat[j];
      const float scale = (sum_w[j] * sum_xl[j] - sum_x[j] * sum_l[j]) / determinant;
      const float solved = (sum_ll[j] * sum_x[j] - sum_l[j] * sum_xl[j]) / determinant;
      this_scale[j] = solved > 0 ? sum_xl[j] / sum_ll[j] : scale;
      this_minimum[j] = solved > 0 ? 0.0F : solved;
    }
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kLanes; ++j)
        this_error[j] += weight[i][j] * error_of(this_scale[j] * codes[i][j] + this_minimum[j] - x[i][j]);
    bool any = false;
    for (int j = 0; j < kLanes; ++j) {
      better[j] = better[j] && this_error[j] < error[j];
      any = any || better[j];
    }
    if (!any) continue;
    for (int j = 0; j < kLanes; ++j) {
      error[j] = better[j] ? this_error[j] : error[j];
      fit.scale[j] = better[j] ? this_scale[j] : fit.scale[j];
      minimum[j] = better[j] ? this_minimum[j] : minimum[j];
    }
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kLanes; ++j) fit.codes[i][j] = better[j] ? codes[i][j] : fit.codes[i][j];
  }
  for (int j = 0; j < kLanes; ++j) fit.minimum[j] = -minimum[j];
  return fit;
}

// Codes -most … most - 1 without minimum, errors weighted by x²: 19 numbers of codes over the range are tried, the
// scale is the least-squares one each time. Codes are returned as code + most.
template <int kLanes, int kCount>
Fit<kLanes, kCount> fit_symmetric(const Lanes<kLanes, kCount>& x, float most) {
  using Row = std::array<float, kLanes>;
  const Row extreme = extremes<kLanes, kCount>(x);
  Fit<kLanes, kCount> fit;
  Row best{};
  std::array<bool, kLanes> zero;
  for (int j = 0; j < kLanes; ++j) zero[j] = !(std::fabs(extreme[j]) >= kTiny);
  Lanes<kLanes, kCount> codes;
  const auto attempt = [&](float count, bool always) {
    Row sum_lx{}, sum_ll{}, inverse_scale;
    for (int j = 0; j < kLanes; ++j) inverse_scale[j] = -count / extreme[j];
    for (int i = 0; i < kCount; ++i) {
      for (int j = 0; j < kLanes; ++j) {
        const float code = within(whole(inverse_scale[j] * x[i][j]), -most, most - 1);
        const float w = x[i][j] * x[i][j];
        codes[i][j] = code;
        sum_lx[j] += w * x[i][j] * code;
        sum_ll[j] += w * code * code;
      }
    }
    std::array<bool, kLanes> better;
    for (int j = 0; j < kLanes; ++j) {
      better[j] = !zero[j] && (always || (sum_ll[j] > 0 && sum_lx[j] * sum_lx[j] > best[j] * sum_ll[j]));
      const float scale = sum_ll[j] != 0 ? sum_lx[j] / sum_ll[j] : 0.0F;
      fit.scale[j] = better[j] ? scale : fit.scale[j];
      best[j] = better[j] ? scale * sum_lx[j] : best[j];
    }
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kLanes; ++j) fit.codes[i][j] = better[j] ? codes[i][j] + most : fit.codes[i][j];
  };
  attempt(most, true);
  for (int k = -9; k <= 9; ++k)
    if (k != 0) attempt(most + 0.1F * static_cast<float>(k), false);
  return fit;
}

// As fit_symmetric, but starting from one rounding and then moving single codes while that lessens the error; five
// rounds at most.
template <int kLanes, int kCount>
Fit<kLanes, kCount> fit_symmetric_by_moves(const Lanes<kLanes, kCount>& x, float most) {
  using Row = std::array<float, kLanes>;
  const Row extreme = extremes<kLanes, kCount>(x);
  Fit<kLanes, kCount> fit;
  Row sum_lx{}, sum_ll{};
  std::array<bool, kLanes> zero;
  for (int j = 0; j < kLanes; ++j) zero[j] = !(std::fabs(extreme[j]) >= kTiny);
  Lanes<kLanes, kCount>& codes = fit.codes;
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < kLanes; ++j) {
      const float code = within(whole(-most / extreme[j] * x[i][j]), -most, most - 1);
      const float w = x[i][j] * x[i][j];
      codes[i][j] = code;
      sum_lx[j] += w * x[i][j] * code;
      sum_ll[j] += w * code * code;
    }
  }
  for (int round = 0; round < 5; ++round) {
    bool changed = false;
    for (int i = 0; i < kCount; ++i) {
      for (int j = 0; j < kLanes; ++j) {
        const float w = x[i][j] * x[i][j], old = codes[i][j];
        const float lx = sum_lx[j] - w * x[i][j] * old, ll = sum_ll[j] - w * old * old;
        const float code = within(whole(x[i][j] * ll / lx), -most, most - 1);
        const float new_lx = lx + w * x[i][j] * code, new_ll = ll + w * code * code;
        const bool better = lx > 0 && code != old && new_ll > 0 &&
                            new_lx * new_lx * sum_ll[j] > sum_lx[j] * sum_lx[j] * new_ll && !zero[j];
        codes[i][j] = better ? code : old;
        sum_lx[j] = better ? new_lx : sum_lx[j];
        sum_ll[j] = better ? new_ll : sum_ll[j];
        changed = changed || better;
      }
    }
    if (!changed) break;
  }
  for (int j = 0; j < kLanes; ++j) fit.scale[j] = !zero[j] && sum_ll[j] > 0 ? sum_lx[j] / sum_ll[j] : 0.0F;
  for (int i = 0; i < kCount; ++i)
    for (int j = 0; j < kLanes; ++j) codes[i][j] = zero[j] ? 0.0F : codes[i][j] + most;
  return fit;
}

}  // namespace plimsoll::ggml
