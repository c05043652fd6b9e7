// The load-balancing loss of routers and its gradient. The formula is that of ops/mixture/route_balance.cpp.
#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct RouteBalanceSpec {
  int64_t rows = 0, experts = 0, top_k = 0;
  float weight = 1;
};
int64_t route_balance_workspace_bytes(const RouteBalanceSpec& spec, int64_t layers);

// routed: of each layer its logits (rows, experts) f32 and its choices (rows, top_k) i32. `share`: of this micro-batch
// in the step. Rows with a negative segment are left out; where all are, loss and slope are zero. slope: (experts).
void route_balance_forward(ThreadPool& pool, const RouteBalanceSpec& spec, std::span<std::byte* const> routed,
                           const int32_t* segments, double share, float* loss, float* slope, std::byte* workspace);

// d_logits (rows, experts) of `dtype`, written in full.
void route_balance_backward(ThreadPool& pool, const RouteBalanceSpec& spec, const float* slope, const int32_t* segments,
                            const float* logits, DType dtype, void* d_logits);

}  // namespace plimsoll::cpu
