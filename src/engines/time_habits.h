// What a stack does that its recipe doesn't say and that takes time: catalog/stack_habits.csv. Not fitted: each is what
// the stack's code or documentation says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

struct TimeHabits {
  std::string stack;           // a part of the engine's name, in lower case
  bool fused = false;          // norms, gates, rotary positions and additions run in kernels that do several of these
  bool fused_loss = false;     // no pass over the logits beyond one
  int flash = 2;               // the FlashAttention it is as fast as: 2 or 3; 0: the square of scores is written
  bool module_hooks = false;   // sharded weights are gathered and released by hooks of every module
  double layer_launches = 48;  // what a layer's forward pass costs the host, in launches of one kernel
  bool overlap_gradients = false;  // reductions of gradients hide behind the backward pass
  bool overlap_gather = false;     // gathers of sharded weights hide behind computing
  bool overlap_tensor = false;     // tensor-parallel collectives hide behind products
  double gradient_bytes = 2;       // of an element that is reduced
  bool recomputes = false;         // full recompute where nobody says otherwise
  bool offloads = false;           // keeps optimizer states on the host where they don't fit
  bool serves = false;             // an inference engine
};

// The row whose name is the longest that `engine` contains (case and signs don't count); the row "" where none does.
TimeHabits time_habits(std::string_view engine);

}  // namespace plimsoll
