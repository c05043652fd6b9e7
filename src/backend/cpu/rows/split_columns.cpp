#include "backend/cpu/rows/split_columns.h"

#include <cstring>

#include "backend/cpu/rows/for_rows.h"

namespace plimsoll::cpu {

void split_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* x,
                   void* a, void* b) {
  const int64_t a_bytes = a_width * element_bytes(dtype), b_bytes = b_width * element_bytes(dtype);
  for_rows(pool, rows, [&](int64_t row) {
    const auto* const from = static_cast<const char*>(x) + row * (a_bytes + b_bytes);
    std::memcpy(static_cast<char*>(a) + row * a_bytes, from, static_cast<size_t>(a_bytes));
    std::memcpy(static_cast<char*>(b) + row * b_bytes, from + a_bytes, static_cast<size_t>(b_bytes));
  });
}

void join_columns(ThreadPool& pool, DType dtype, int64_t rows, int64_t a_width, int64_t b_width, const void* a,
                  const void* b, void* x) {
  const int64_t a_bytes = a_width * element_bytes(dtype), b_bytes = b_width * element_bytes(dtype);
  for_rows(pool, rows, [&](int64_t row) {
    auto* const to = static_cast<char*>(x) + row * (a_bytes + b_bytes);
    std::memcpy(to, static_cast<const char*>(a) + row * a_bytes, static_cast<size_t>(a_bytes));
    std::memcpy(to + a_bytes, static_cast<const char*>(b) + row * b_bytes, static_cast<size_t>(b_bytes));
  });
}

}  // namespace plimsoll::cpu
