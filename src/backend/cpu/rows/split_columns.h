// Rows cut in two, and joined: copies. Tensors of `dtype` are f32 or bf16.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// x (rows, a_width + b_width) to its parts and back. See ops/rows/split_columns.cpp.
void split_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* x,
                   void* a, void* b);
void join_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* a,
                  const void* b, void* x);

}  // namespace plimsoll::cpu
