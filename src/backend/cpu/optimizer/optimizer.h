// One optimizer step over one parameter tensor. Arithmetic is f32; weights and moments may be stored in bf16, which is
// then rounded stochastically, so that a change too small for bf16's eight bits still moves the expected value (Gupta
// et al. 2015, arXiv:1502.02551). The order of operations is torch's (AdamW: Loshchilov & Hutter 2019,
// arXiv:1711.05101), so that trajectories agree to rounding.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"
#include "quant/bnb/adamw8bit.h"

namespace plimsoll::cpu {

// What changes from step to step, kept as double as torch keeps them.
struct OptimizerScalars {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;      // sgd only
  int64_t step = 1;         // counts from 1
  float clip = 1;           // multiplies the gradient
  uint64_t random_key = 0;  // of this tensor in this step; bits of stochastic rounding follow from it and the place
};

struct OptimizerTensor {
  int64_t n = 0;
  void* weights = nullptr;          // updated; f32, or bf16 rounded stochastically
  const float* gradient = nullptr;  // not changed; read as clip · gradient
  void* m = nullptr;                // adam: first moment; sgd: momentum buffer, f32 (null when momentum is 0)
  void* v = nullptr;                // adam: second moment
  void* copy = nullptr;             // the new weights, rounded to nearest even; may be null
  DType weights_dtype = DType::f32, state_dtype = DType::f32;  // f32 or bf16
  DType copy_dtype = DType::bf16;                              // bf16 or f16
};

void adamw_step(ThreadPool& pool, const OptimizerScalars& scalars,
                const OptimizerTensor& tensor);  // decay on the weight
void adam_step(ThreadPool& pool, const OptimizerScalars& scalars,
               const OptimizerTensor& tensor);  // decay in the gradient
// Momentum: buffer = gradient at step 1, then momentum · buffer + gradient; no dampening, no Nesterov.
void sgd_step(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor);
// Moments as 8-bit codes (quant/bnb/adamw8bit.h); tensor.m and tensor.v are not read.
void adamw8bit_step(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor,
                    const AdamW8bitState& state);

// Pieces for other rules: `count` weights from `begin` on, as f32 in `values`; and back, with the copy.
void read_weights(const OptimizerTensor& tensor, int64_t begin, int64_t count, float* values);
void write_weights(const OptimizerTensor& tensor, uint64_t random_key, int64_t begin, int64_t count,
                   const float* values);

}  // namespace plimsoll::cpu
