// Keys and values of multi-head latent attention. Tensors of `dtype` are f32 or bf16; sums are f32, in the order of the
// heads.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// See ops/expand_latent.cpp. dv may be null: zero.
struct LatentHeads {
  int64_t rows = 0, heads = 0, plain = 0, rotary = 0, value = 0;
  DType dtype = DType::f32;
};
void expand_latent_forward(ThreadPool& pool, const LatentHeads& shape, const void* kv, const void* k_rotary, void* k,
                           void* v);
void expand_latent_backward(ThreadPool& pool, const LatentHeads& shape, const void* dk, const void* dv, void* d_kv,
                            void* d_k_rotary);

}  // namespace plimsoll::cpu
