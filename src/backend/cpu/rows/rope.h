// Rotary position embedding (Su et al. 2021, arXiv:2104.09864): a table of cos and sin per row, and the rotation.
#pragma once

#include <array>
#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

// cos, sin: f32 (rows, half_rotary). angle = float(position) · inv_freq, formed in f32; both are multiplied by
// attention_scaling (yarn, longrope; else 1).
void rope_table(ThreadPool& pool, int64_t rows, int64_t half_rotary, const int32_t* positions, const float* inv_freq,
                float attention_scaling, float* cos, float* sin);

// Heads of a fused row: head h begins at column + (h / group) · group_stride + (h mod group) · head_dim.
struct RopeHeads {
  int64_t heads = 0, column = 0, group = 1, group_stride = 0;
};

struct RopeSpec {
  int64_t rows = 0, heads = 0, head_dim = 0;
  int64_t rotary_dim = 0;    // even, <= head_dim; the rest of each head passes through
  bool interleaved = false;  // pairs (2i, 2i+1); otherwise (i, i + rotary_dim/2)
  DType dtype = DType::f32;
  // Fused rows, when row_stride > 0: the heads of both parts turn, everything else passes through.
  int64_t row_stride = 0;
  std::array<RopeHeads, 2> parts = {};
  int64_t offset = 0;  // of the rotary values in a head; not of fused rows
};

// out = x rotated by +angle (direction +1) or -angle (-1, which is the backward). x, out: (rows, heads, head_dim) or
// (rows, row_stride), may be the same buffer. cos, sin: f32 (rows, rotary_dim/2).
void rope(ThreadPool& pool, const RopeSpec& spec, const void* x, const float* cos, const float* sin, int direction,
          void* out);

}  // namespace plimsoll::cpu
