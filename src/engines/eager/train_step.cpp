#include "engines/eager/train_step.h"

namespace plimsoll::eager {

StepTrace trace_training(const ModelConfig& config, const EngineRecipe& recipe) {
  StepTrace trace;
  Torch t;
  {
    Model model = build_model(t, config, recipe);
    std::vector<Parameter*> trained;
    for (const auto& parameter : model.parameters)
      if (parameter->trained) trained.push_back(parameter.get());
    OptimizerState state;
    for (int step = 0; step < 2; ++step) {
      trace.measured_from = t.log.events.size();
      for (int64_t i = 0; i < recipe.grad_accum_steps; ++i) {
        t.phase = "forward";
        Tensor ids = t.make(recipe.micro_batch * recipe.seq_len, 1, Type::i64, "randint.low");
        Tensor loss = forward_loss(t, model, ids);
        t.phase = "backward";
        t.backward(loss);
        loss.reset();
        ids.reset();
      }
      t.phase = "step";
      optimizer_step(t, recipe.optimizer, trained, state);
      for (Parameter* parameter : trained) parameter->grad.reset();
    }
    trace.log = t.log;  // before everything dies
    t.log.events.clear();
    t.log.events.push_back({});
  }
  return trace;
}

}  // namespace plimsoll::eager
