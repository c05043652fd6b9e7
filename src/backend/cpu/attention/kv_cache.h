// Keys and values of past tokens in other types than the arithmetic's: f16, bf16, or blocks of 32 with 8 or 4 bits a
// value (q8_0, q4_0: quant/ggml/ggml_blocks.h), as llama.cpp keeps them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// Types that a cache may have beside the arithmetic's own; attention_decode.cpp reads them.
bool can_cache(DType dtype);

// Rows of `heads` times `width` values, strides in elements: what a projection gives.
struct CacheRows {
  const std::byte* data;
  DType dtype;  // f32 or bf16
  int64_t rows, heads, width, row_stride, head_stride;
};

// Writes them side by side as `cache`; a head is whole blocks. Threads: any; the same bytes for any number.
void store_cache(ThreadPool& pool, const CacheRows& from, DType cache, std::byte* to);

// `rows` rows of `width` values of type `cache` → f32 or bf16, rounded to nearest even.
void load_cache(ThreadPool& pool, DType cache, const std::byte* from, int64_t rows, int64_t width, DType dtype,
                std::byte* to);

}  // namespace plimsoll::cpu
