// fp16 on a machine that computes in f32: values stay in fp16, and each op that reads or writes one works on an f32
// copy that lives for that op alone. Every copy is a value of the plan.
#pragma once

#include "ir/graph.h"

namespace plimsoll {

// The last pass: after it no op but conversions, casts, transfers and updates sees fp16.
void widen_half(Graph& graph);

}  // namespace plimsoll
