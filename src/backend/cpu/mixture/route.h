// Choosing experts, and the layout of tokens sorted by expert. The rules are those of ops/mixture/route.cpp.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

inline constexpr int64_t kMaxExperts = 4096;

struct RouteSpec {
  enum class Score { softmax, chosen_softmax, sigmoid, sparse_mixer };
  int64_t rows = 0, experts = 0, top_k = 0;
  Score score = Score::softmax;
  bool normalize = false;
  int64_t groups = 1, groups_kept = 1;
  float scale = 1;
  float threshold = 0;       // sparse_mixer
  DType dtype = DType::f32;  // of the logits: f32 or bf16
};

// logits (rows, experts); correction (experts) f32 or null. weights, experts, slots: (rows, top_k), a row's choices in
// the order of their scores; of equal scores the lower expert goes first. offsets: (experts + 1). A score that is no
// number counts as the lowest.
void route_forward(ThreadPool& pool, const RouteSpec& spec, const void* logits, const float* correction, float* weights,
                   int32_t* experts, int32_t* slots, int32_t* offsets);

// d_logits (rows, experts) of `gradient_dtype`, written in full.
void route_backward(ThreadPool& pool, const RouteSpec& spec, const float* d_weights, const void* logits,
                    const float* weights, const int32_t* experts, DType gradient_dtype, void* d_logits);

}  // namespace plimsoll::cpu
