// What kernels share that copy or add whole rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/bytes.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

inline int64_t element_bytes(DType dtype) {
  PLIMSOLL_CHECK(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16");
  return dtype == DType::f32 ? 4 : 2;
}

// body(row) of every row, by the threads of the pool.
template <typename Body>
void for_rows(ThreadPool& pool, int64_t rows, Body&& body) {
  constexpr int64_t kRowTile = 16;
  pool.parallel_for(ceil_div(rows, kRowTile), [&](int64_t tile, int) {
    for (int64_t row = tile * kRowTile; row < std::min(rows, (tile + 1) * kRowTile); ++row) body(row);
  });
}

}  // namespace plimsoll::cpu
