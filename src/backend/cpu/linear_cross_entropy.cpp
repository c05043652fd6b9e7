#include "backend/cpu/elementwise_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear_cross_entropy.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h

#include <hwy/highway.h>

#include "backend/cpu/elementwise_simd-inl.h"

#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "backend/cpu/linear_cross_entropy.h"
#include "backend/cpu/matmul.h"
#include "base/bytes.h"
#include "base/error.h"

#ifndef PLIMSOLL_SOFTMAX_SUM_
#define PLIMSOLL_SOFTMAX_SUM_  // this file is read once per target
namespace plimsoll::cpu {
// The largest logit and sum(exp(logit - largest)). Kept apart: their logarithmic sum would lose the small digits of large
// logits.
struct SoftmaxSum {
  float top;
  double sum;
};
}  // namespace plimsoll::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

SoftmaxSum sum_softmax(const float* logits, int64_t n) {
  const Floats d;
  auto top = hn::Set(d, logits[0]);
  int64_t i = 0;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; i + lanes <= n; i += lanes) top = hn::Max(top, load(logits + i));
  float max = hn::GetLane(hn::MaxOfLanes(d, top));
  for (; i < n; ++i) max = std::max(max, logits[i]);
  const auto shift = hn::Set(d, max);
  auto sum = hn::Zero(d);
  for (i = 0; i + lanes <= n; i += lanes) sum = hn::Add(sum, hn::Exp(d, hn::Sub(load(logits + i), shift)));
  double total = sum_of_lanes(sum);
  for (; i < n; ++i) total += std::exp(logits[i] - max);
  return {max, total};
}

// out = factor · exp(logits - top), out over logits' own memory (front to back, never ahead of what is read).
template <typename T>
HWY_INLINE void scaled_exp(const float* logits, float top, float factor, T* out, int64_t n) {
  const Floats d;
  const auto shift = hn::Set(d, top);
  const auto scale = hn::Set(d, factor);
  for_vectors(n, [&](int64_t i, auto lane) { lane.put(hn::Mul(scale, hn::Exp(d, hn::Sub(lane.get(logits + i), shift))), out + i); });
}
// row = scale · (softmax(row) - one at the label), written as dtype from the row's begin.
void softmax_gradient(float* row, DType dtype, const SoftmaxSum& sum, float scale, int32_t label, int64_t n) {
  const double probability = std::exp(static_cast<double>(row[label]) - static_cast<double>(sum.top)) / sum.sum;
  const auto at_label = static_cast<float>(static_cast<double>(scale) * (probability - 1.0));
  const auto factor = static_cast<float>(static_cast<double>(scale) / sum.sum);
  if (dtype == DType::f32) {
    scaled_exp(row, sum.top, factor, row, n);
    row[label] = at_label;
  } else {
    auto* const bits = reinterpret_cast<uint16_t*>(row);
    scaled_exp(row, sum.top, factor, bits, n);
    bits[label] = f32_to_bf16(at_label);
  }
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(sum_softmax);
HWY_EXPORT(softmax_gradient);

namespace {

int64_t element_size(DType dtype) { return dtype == DType::f32 ? 4 : 2; }
int64_t chunk_of(const LinearCrossEntropySpec& spec) { return std::min(std::max<int64_t>(1, spec.chunk_rows), std::max<int64_t>(1, spec.rows)); }

// The gradient of the logits takes the place of the f32 logits, so its rows are 4 V bytes apart in any type.
int64_t gradient_stride(const LinearCrossEntropySpec& spec) { return spec.dtype == DType::f32 ? spec.vocab : 2 * spec.vocab; }

MatmulSpec logits_spec(const LinearCrossEntropySpec& s) {  // hidden · weightᵀ
  return {.m = chunk_of(s), .n = s.vocab, .k = s.width, .a = s.dtype, .b = s.dtype, .c = DType::f32, .transpose_b = true};
}
MatmulSpec d_hidden_spec(const LinearCrossEntropySpec& s) {  // d_logits · weight
  return {.m = chunk_of(s), .n = s.width, .k = s.vocab, .a = s.dtype, .b = s.dtype, .c = s.dtype, .lda = gradient_stride(s)};
}
MatmulSpec d_weight_spec(const LinearCrossEntropySpec& s) {  // d_logitsᵀ · hidden
  return {.m = s.vocab, .n = s.width, .k = chunk_of(s), .a = s.dtype, .b = s.dtype, .c = DType::f32,
          .transpose_a = true, .accumulate = true, .lda = gradient_stride(s)};
}

struct Layout {
  int64_t logits, hidden, counted, nll, matmul, total;
  Layout(const LinearCrossEntropySpec& s, int threads) {
    int64_t at = 0;
    const auto take = [&](int64_t bytes) {
      const int64_t begin = at;
      at += round_up(bytes, 64);
      return begin;
    };
    logits = take(chunk_of(s) * s.vocab * 4);
    hidden = take(chunk_of(s) * s.width * element_size(s.dtype));  // gathered rows, then their gradient
    counted = take(s.rows * 4);                                    // rows that have a label
    nll = take(chunk_of(s) * 8);
    int64_t bytes = matmul_workspace_bytes(logits_spec(s), threads);
    if (s.gradients) bytes = std::max(bytes, matmul_workspace_bytes(d_hidden_spec(s), threads));
    if (s.gradients && s.weight_gradient) bytes = std::max(bytes, matmul_workspace_bytes(d_weight_spec(s), threads));
    matmul = take(bytes);
    total = at;
  }
};

}  // namespace

int64_t linear_cross_entropy_workspace_bytes(const LinearCrossEntropySpec& spec, int threads) { return Layout(spec, threads).total; }

void prepare_linear_cross_entropy(const LinearCrossEntropySpec& spec) { (void)Layout(spec, 1); }

void linear_cross_entropy(ThreadPool& pool, const LinearCrossEntropySpec& spec, const LinearCrossEntropyTensors& t, void* workspace) {
  PLIMSOLL_CHECK(spec.dtype == DType::f32 || spec.dtype == DType::bf16, "activations are f32 or bf16");
  const bool gradients = t.d_hidden != nullptr || t.d_weight != nullptr;
  PLIMSOLL_CHECK(!gradients || spec.gradients, "planned without gradients");
  PLIMSOLL_CHECK(t.d_weight == nullptr || spec.weight_gradient, "planned without the weight's gradient");
  const Layout layout(spec, pool.threads());
  auto* const base = static_cast<std::byte*>(workspace);
  auto* const logits = reinterpret_cast<float*>(base + layout.logits);
  std::byte* const hidden = base + layout.hidden;
  auto* const counted = reinterpret_cast<int32_t*>(base + layout.counted);
  auto* const nll = reinterpret_cast<double*>(base + layout.nll);
  const int64_t chunk = chunk_of(spec);
  const auto row_bytes = static_cast<size_t>(spec.width * element_size(spec.dtype));
  const float scale = *t.loss_scale;

  int64_t count = 0;
  for (int64_t row = 0; row < spec.rows; ++row) {
    if (t.labels[row] == kIgnoredLabel) {
      if (t.d_hidden != nullptr && t.d_hidden != t.hidden) std::memset(static_cast<std::byte*>(t.d_hidden) + static_cast<size_t>(row) * row_bytes, 0, row_bytes);
      if (t.nll != nullptr) t.nll[row] = 0;
      continue;
    }
    PLIMSOLL_CHECK(t.labels[row] >= 0 && t.labels[row] < spec.vocab, "label outside the vocabulary");
    counted[count++] = static_cast<int32_t>(row);
  }

  double nll_sum = 0;
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const int64_t rows = std::min(chunk, count - begin);
    const auto copy_rows = [&](auto&& body) {
      pool.parallel_for(ceil_div(rows, 32), [&](int64_t tile, int) {
        for (int64_t i = tile * 32; i < std::min(rows, (tile + 1) * 32); ++i)
          body(static_cast<size_t>(counted[begin + i]) * row_bytes, static_cast<size_t>(i) * row_bytes);
      });
    };
    copy_rows([&](size_t from, size_t to) { std::memcpy(hidden + to, static_cast<const std::byte*>(t.hidden) + from, row_bytes); });
    std::memset(hidden + static_cast<size_t>(rows) * row_bytes, 0, static_cast<size_t>(chunk - rows) * row_bytes);
    Matmul(logits_spec(spec)).run(pool, hidden, t.weight, logits, nullptr, base + layout.matmul);

    pool.parallel_for(gradients ? chunk : rows, [&](int64_t i, int) {
      float* const row = logits + i * spec.vocab;
      if (i >= rows) {  // the last chunk is filled up with rows that have no gradient
        std::memset(row, 0, static_cast<size_t>(spec.vocab) * 4);
        return;
      }
      const int32_t label = t.labels[counted[begin + i]];
      const auto sum = HWY_DYNAMIC_DISPATCH(sum_softmax)(row, spec.vocab);
      nll[i] = std::log(sum.sum) + (static_cast<double>(sum.top) - static_cast<double>(row[label]));
      if (gradients) HWY_DYNAMIC_DISPATCH(softmax_gradient)(row, spec.dtype, sum, scale, label, spec.vocab);
    });
    for (int64_t i = 0; i < rows; ++i) {
      nll_sum += nll[i];
      if (t.nll != nullptr) t.nll[counted[begin + i]] = static_cast<float>(nll[i]);
    }
    if (t.d_weight != nullptr) Matmul(d_weight_spec(spec)).run(pool, logits, hidden, t.d_weight, nullptr, base + layout.matmul);
    if (t.d_hidden != nullptr) {
      Matmul(d_hidden_spec(spec)).run(pool, logits, t.weight, hidden, nullptr, base + layout.matmul);
      copy_rows([&](size_t to, size_t from) { std::memcpy(static_cast<std::byte*>(t.d_hidden) + to, hidden + from, row_bytes); });
    }
  }
  if (t.d_hidden != nullptr && t.d_hidden == t.hidden)
    for (int64_t row = 0; row < spec.rows; ++row)
      if (t.labels[row] == kIgnoredLabel) std::memset(static_cast<std::byte*>(t.d_hidden) + static_cast<size_t>(row) * row_bytes, 0, row_bytes);
  *t.loss_sum += static_cast<float>(nll_sum * static_cast<double>(scale));
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
