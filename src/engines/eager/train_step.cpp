#include "engines/eager/train_step.h"

#include <optional>
#include <unordered_map>

#include "engines/eager/fsdp2.h"

namespace plimsoll::eager {
namespace {

StepTrace trace(const ModelConfig& config, const EngineRecipe& recipe, const ShardOptions* options) {
  StepTrace trace;
  Torch t;
  t.offloads = recipe.offload_activations;
  std::unordered_map<const Parameter*, OptimizerState> own_state;  // of a step within the backward pass
  {
    Model model = build_model(t, config, recipe);
    std::vector<Parameter*> trained;
    std::optional<Fsdp2> sharding;
    if (options) {
      // The model never exists whole: what building it left is forgotten.
      sharding.emplace(t, model, *options);
      model.sharding = &*sharding;
      t.log.forget_dead();
      trained = sharding->shards();
    } else {
      for (const auto& parameter : model.parameters)
        if (parameter->trained) trained.push_back(parameter.get());
    }
    OptimizerState state;
    if (recipe.step_in_backward)
      t.after_accumulate = [&](Parameter& parameter) {
        std::vector<Parameter*> one{&parameter};
        optimizer_step(t, recipe.optimizer, one, own_state[&parameter]);
        parameter.grad.reset();
      };
    for (int step = 0; step < 2; ++step) {
      trace.measured_from = t.log.events.size();
      for (int64_t i = 0; i < recipe.grad_accum_steps; ++i) {
        t.phase = "forward";
        Tensor ids = t.make(recipe.micro_batch * recipe.seq_len, 1, Type::i64, "randint.low");
        Tensor loss = forward_loss(t, model, ids);
        t.phase = "backward";
        t.backward(loss);
        if (sharding) sharding->end_backward();
        loss.reset();
        ids.reset();
      }
      t.phase = "step";
      if (!recipe.step_in_backward) optimizer_step(t, recipe.optimizer, trained, state);
      for (Parameter* parameter : trained) parameter->grad.reset();
      if (sharding) sharding->drop_gradients();
    }
    trace.host_bytes = t.most_away_bytes;
    trace.log = t.log;  // before everything dies
    t.log.closed = true;
  }
  return trace;
}

}  // namespace

int64_t trained_parameters(const ModelConfig& config, const EngineRecipe& recipe) {
  Torch t;
  const Model model = build_model(t, config, recipe);
  t.log.closed = true;
  int64_t values = 0;
  for (const auto& parameter : model.parameters)
    if (parameter->trained) values += parameter->tensor.numel();
  return values;
}

StepTrace trace_training(const ModelConfig& config, const EngineRecipe& recipe) {
  return trace(config, recipe, nullptr);
}

StepTrace trace_sharded_training(const ModelConfig& config, const EngineRecipe& recipe, const EngineLayout& layout,
                                 ShardedBy by) {
  EngineRecipe gathered = recipe;  // what is computed with
  const Type compute = compute_type(recipe);
  const bool wide = recipe.weights == WeightFormat::f32;
  if (wide && compute != Type::f32) gathered.weights = compute == Type::f16 ? WeightFormat::f16 : WeightFormat::bf16;
  ShardOptions options;
  options.ranks = layout.shard_ranks > 0 ? layout.shard_ranks : layout.data * layout.context;
  options.reshard_after_forward = layout.reshard_after_forward;
  options.reduce_type = recipe.reduce_f32 ? Type::f32 : compute;
  options.shard_type = wide && by != ShardedBy::deepspeed ? Type::f32 : compute;
  options.in_place = by == ShardedBy::fsdp1;
  if (by == ShardedBy::deepspeed) options.zero = layout.zero;
  return trace(config, gathered, &options);
}

}  // namespace plimsoll::eager
