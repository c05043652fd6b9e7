// The activation of gpt-oss. Tensors of `dtype` are f32 or bf16.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// x, dx: `values` pairs of gate and up; y, dy: `values`. See ops/mixture/clamped_swiglu.cpp. dx may be x.
void clamped_swiglu_forward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* x,
                            void* y);
void clamped_swiglu_backward(ThreadPool& pool, float alpha, float limit, DType dtype, int64_t values, const void* dy,
                             const void* x, void* dx);

}  // namespace plimsoll::cpu
