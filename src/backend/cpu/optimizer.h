// One optimizer step over one parameter tensor: f32 master, f32 gradient, f32 state; optionally a bf16 copy of the new
// master in the same pass. The order of operations is torch's (AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101), so
// that trajectories agree to rounding.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace plimsoll::cpu {

// What changes from step to step, kept as double as torch keeps them.
struct OptimizerScalars {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;  // sgd only
  int64_t step = 1;     // counts from 1
  float clip = 1;       // multiplies the gradient
};

struct OptimizerTensor {
  int64_t n = 0;
  float* master = nullptr;          // updated
  const float* gradient = nullptr;  // not changed; read as clip · gradient
  float* m = nullptr;               // adam: first moment; sgd: momentum buffer (null when momentum is 0)
  float* v = nullptr;               // adam: second moment
  uint16_t* bf16_copy = nullptr;    // may be null
};

void adamw_step(ThreadPool& pool, const OptimizerScalars& scalars,
                const OptimizerTensor& tensor);  // decay on the weight
void adam_step(ThreadPool& pool, const OptimizerScalars& scalars,
               const OptimizerTensor& tensor);  // decay in the gradient
// Momentum: buffer = gradient at step 1, then momentum · buffer + gradient; no dampening, no Nesterov.
void sgd_step(ThreadPool& pool, const OptimizerScalars& scalars, const OptimizerTensor& tensor);

}  // namespace plimsoll::cpu
