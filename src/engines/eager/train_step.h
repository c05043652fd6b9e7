// Training steps of a model on a Tape: forward, backward and optimizer, with the events of all of it.
#pragma once

#include "engines/eager/model.h"

namespace plimsoll::eager {

struct StepTrace {
  EventLog log;
  size_t measured_from = 0;  // the first event of the second step: optimizer states exist
  int64_t host_bytes = 0;    // most that waits on the host, of what autograd saves
};

// Two steps, as a fresh process runs them: the first makes the optimizer's states.
StepTrace trace_training(const ModelConfig& config, const EngineRecipe& recipe);

// The same on one of the ranks that share the model: see fsdp2.h. DeepSpeed's optimizer is not part of the trace.
enum class ShardedBy { fsdp1, fsdp2, deepspeed };
StepTrace trace_sharded_training(const ModelConfig& config, const EngineRecipe& recipe, const EngineLayout& layout,
                                 ShardedBy by = ShardedBy::fsdp2);

// Values that a recipe trains.
int64_t trained_parameters(const ModelConfig& config, const EngineRecipe& recipe);

struct OptimizerState {
  std::vector<Tensor> tensors;
};

// One optimizer step over the parameters that have gradients; makes states at first.
void optimizer_step(Torch& t, EngineOptimizer kind, std::vector<Parameter*>& parameters, OptimizerState& state);

}  // namespace plimsoll::eager
