// Gated activation: out = act(gate) · up, with act silu (SwiGLU) or gelu (GeGLU). Shazeer 2020, arXiv:2002.05202.
// Saves gate and up, not their product; the backward forms act again.
#pragma once

#include <cstdint>

#include "backend/cpu/rows/activation.h"
#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// n elements of dtype (f32 or bf16), computed in f32; out may be gate or up.
void swiglu_forward(ThreadPool& pool, GatedActivation act, DType dtype, int64_t n, const void* gate, const void* up,
                    void* out);

// d_gate = d_out · up · act'(gate), d_up = d_out · act(gate). Each may be any one of the inputs (in place), but not
// both the same buffer. `out`, when not null, receives act(gate) · up as the forward gave it (to spare saving it); it
// may be d_out.
void swiglu_backward(ThreadPool& pool, GatedActivation act, DType dtype, int64_t n, const void* d_out, const void* gate,
                     const void* up, void* d_gate, void* d_up, void* out = nullptr);

}  // namespace plimsoll::cpu
