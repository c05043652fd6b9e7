// Rows of a table by id, and the gradient of that table.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct EmbeddingSpec {
  int64_t rows = 0, vocab = 0, width = 0;
  DType dtype = DType::f32;         // output and its gradient
  DType weight_dtype = DType::f32;  // table; may be packed
  float scale = 1;                  // Gemma: sqrt(width), already rounded by the caller as the model wants it
  int64_t first_row = 0;            // of the table, which id 0 names; the table has first_row + vocab rows
};

// out (rows, width) = scale · weight[ids]. An id outside [0, vocab) is an internal Error.
void embedding_forward(ThreadPool& pool, const EmbeddingSpec& spec, const int32_t* ids, const void* weight, void* out);

// d_weight f32 (vocab, width) += scale · dy at the rows `ids`, each in the order of the rows.
void embedding_backward(ThreadPool& pool, const EmbeddingSpec& spec, const int32_t* ids, const void* dy,
                        float* d_weight);

}  // namespace plimsoll::cpu
