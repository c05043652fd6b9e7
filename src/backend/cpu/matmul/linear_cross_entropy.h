// The head matmul and the loss in one: nll of softmax(hidden · weightᵀ [+ bias]) without the (R, V) matrix of logits.
// Rows with a label are gathered and handled chunk_rows at a time. Of a chunk only exp(logit - r) is kept, in the type
// of the activations (workspace: chunk_rows · V of these and little else; without gradients not even that), written
// tile by tile as the logits are made. r is the label's own logit, so tiles need no second pass: 1/sum and the loss
// scale go to the rows of d_hidden and hidden, and the label's own term is added apart, in full precision.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct LinearCrossEntropySpec {
  int64_t rows = 0;           // R
  int64_t width = 0;          // H
  int64_t vocab = 0;          // V
  int64_t chunk_rows = 0;     // at least 1; more than R means R
  DType dtype = DType::f32;   // hidden and d_hidden: f32 or bf16
  DType weight = DType::f32;  // as hidden, or packed
  bool gradients = true;      // d_hidden or d_weight may be asked for
  bool weight_gradient = true;
  DType bias = DType::f32;  // of the head's bias, where there is one
  float softcap = 0;        // 0: none; else every logit z counts as softcap · tanh(z / softcap)
};

inline constexpr int32_t kIgnoredLabel = -100;

struct LinearCrossEntropyTensors {
  const void* hidden = nullptr;       // (R, H)
  const void* weight = nullptr;       // (V, H)
  const int32_t* labels = nullptr;    // (R), aligned with the rows; kIgnoredLabel rows count nothing
  const float* loss_scale = nullptr;  // scalar: 1 / counted tokens of the whole step
  float* loss_sum = nullptr;          // scalar, += scale · sum of nll
  void* d_hidden = nullptr;           // (R, H), overwritten (zero in rows without a label); may be null
  float* d_weight = nullptr;          // (V, H), +=; may be null
  const void* bias = nullptr;         // (V), added to the logits; may be null
  float* d_bias = nullptr;            // (V), +=; may be null
  float* nll = nullptr;               // (R), 0 in rows without a label; may be null
};

// A label outside [0, V) other than kIgnoredLabel is an internal Error. Sums in double in the order of the rows.
// d_hidden may be hidden's own buffer.
void linear_cross_entropy(ThreadPool& pool, const LinearCrossEntropySpec& spec,
                          const LinearCrossEntropyTensors& tensors, void* workspace);
int64_t linear_cross_entropy_workspace_bytes(const LinearCrossEntropySpec& spec, int threads);

// Makes the matmul primitives that a run with this spec will use.
void prepare_linear_cross_entropy(const LinearCrossEntropySpec& spec);

}  // namespace plimsoll::cpu
