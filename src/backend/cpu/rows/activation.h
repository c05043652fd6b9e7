// Activations without a gate, element by element: the MLP of GPT-2, OPT and their kind.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// gelu_erf: x Φ(x), exact to rounding; gelu_tanh: its tanh approximation (Hendrycks and Gimpel 2016, arXiv:1606.08415),
// which others call gelu_new; quick_gelu: x σ(1.702 x); relu_squared: max(x, 0)² (So et al. 2021, arXiv:2109.08668).
enum class ActivationKind : uint8_t { silu, gelu_tanh, gelu_erf, relu, quick_gelu, relu_squared };
using GatedActivation = ActivationKind;  // a gated activation has no other

// out = act(x) over n elements of `dtype` (f32 or bf16), computed in f32; out may be x.
void activation_forward(ThreadPool& pool, ActivationKind act, DType dtype, int64_t n, const void* x, void* out);

// dx = dy · act'(x); dx may be x or dy.
void activation_backward(ThreadPool& pool, ActivationKind act, DType dtype, int64_t n, const void* dy, const void* x,
                         void* dx);

}  // namespace plimsoll::cpu
