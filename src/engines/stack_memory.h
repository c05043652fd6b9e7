// What a training stack does that its recipe doesn't say and that takes memory: catalog/stack_memory.csv. Each is what
// the stack's code or documentation says; the few numbers that were fitted to measured rows are in
// catalog/memory_constants.csv, each by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

enum class MemoryProfile { torch, sharded, megatron, native, inference };

// What a stack's published figures are.
enum class MemoryMeasure { allocated, reserved, device };

struct StackMemory {
  std::string stack;  // a part of the engine's name, in lower case; "" for all others
  MemoryProfile profile = MemoryProfile::torch;
  MemoryMeasure measure = MemoryMeasure::device;
  bool fused_gate = false;        // the gate's activation and the product are one kernel
  bool flash = true;              // no square of scores
  bool old_bitsandbytes = false;  // 4-bit products save their inputs
  bool amp = false;               // 16-bit runs are autocast
  // What a run does where its row doesn't say.
  enum class Recompute : uint8_t { none, full, unknown } recompute = Recompute::none;
  double logit_bytes = 12;       // of a logit at the loss's peak: 12 for transformers' f32 loss
  bool master_weights = false;   // f32 copies of 16-bit weights in the optimizer
  bool fused_loss = false;       // the loss in chunks, its gradient over the logits: no f32 copy of all of them
  bool fused_optimizer = false;  // AdamW in one kernel a group of tensors, without temporaries
  bool half_loss = false;        // without autocast the loss is in the type of the logits
  bool keeps_gathered = false;   // FSDP1: recomputes layers when sharded, and frozen weights stay gathered
  bool flat_shards = false;      // FSDP1: gathers in place
  bool zero_auto = false;        // ZeRO-3's settings by the hidden size, as transformers fills in "auto"
  bool half_gradients = false;   // gradients add up in 16 bit; a rank's part is widened for the update
  double context_bytes = 0;      // of a process on its device, with the kernels that are loaded
  double spread = 0.2;           // half the width of the interval, as a share
  std::string source, date;
};

// The row that `engine` names first, of several there the longest; the row "" where it names none.
const StackMemory& stack_memory(std::string_view engine);
const std::vector<StackMemory>& all_stack_memory();

// A fitted constant of catalog/memory_constants.csv; a missing one is our bug.
double memory_constant(std::string_view name);

}  // namespace plimsoll
