// Fake quantization of a weight matrix (quant/fake_quant.h) in tiles of outputs.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// `in` (outputs, inputs) f32, or (inputs, outputs) where not `transpose_weight`; `group` inputs of an output share a
// scale (0: all; the last group may be short). `out` alike, as f32, bf16 or f16 (rounded to nearest even).
void fake_quant(ThreadPool& pool, int64_t rows, int64_t columns, int bits, int64_t group, bool transpose_weight,
                const float* in, DType out_dtype, void* out);

}  // namespace plimsoll::cpu
