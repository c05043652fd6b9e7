#include "train/train_session.h"

#include <algorithm>

#include "base/error.h"
#include "train/evaluate.h"
#include "train/weight_loader.h"

namespace plimsoll {

TrainSession::TrainSession(const TrainPlan& plan, int threads)
    : plan_(plan), pool_(threads), arena_(plan.run.arena_bytes), batch_(plan.choices.micro_batch, 0) {
  executors_.reserve(plan.run.phases.size());
  for (const ExecutionPlan& phase : plan.run.phases) {
    executors_.emplace_back(phase, arena_, cpu_backend(), pool_);
    prepare_cpu(phase);
  }
  const Graph& step = phase(phase_names::kTrainStep).plan().graph;
  const int64_t positions = step.value(step.find(input_names::kIds)).shape[0];
  batch_ = TokenBatch(plan.choices.micro_batch, positions / plan.choices.micro_batch);
}

const Executor& TrainSession::phase(const char* name) const {
  const auto found =
      std::find_if(executors_.begin(), executors_.end(), [&](const Executor& e) { return e.plan().name() == name; });
  PLIMSOLL_CHECK(found != executors_.end(), std::string("the run has no phase ") + name);
  return *found;
}

void TrainSession::load(const RunSources& sources, const std::string& out) {
  if (!plan_.program.streamed.empty()) {
    std::vector<WeightStream::Tensor> tensors;
    for (const WeightOnDisk& weight : plan_.program.streamed) tensors.push_back({weight.name, weight.bytes});
    stream_ = std::make_unique<WeightStream>(out + "/streamed.weights", tensors);
  }
  stream_services_ = std::make_unique<StreamServices>(stream_.get());
  WeightLoader loader(sources.model.tensors, sources.adapter.tensors(), stream_.get());
  state_.host = &loader;
  state_.seed = static_cast<uint64_t>(sources.recipe.seed);
  phase(phase_names::kLoad).run(state_);
  state_.host = stream_services_.get();
  write_inv_freq(phase(phase_names::kTrainStep), plan_.program.inv_freq);
}

TrainSession::StepResult TrainSession::step(const TrainData& data, const StepRows& rows, double lr,
                                            int64_t step_index) {
  const Executor& train_step = phase(phase_names::kTrainStep);
  const int64_t micro_batch = plan_.choices.micro_batch;
  const auto fill = [&](int64_t first) {
    return fill_batch(data.train, rows, first, micro_batch, batch_.length, data.pad_id, batch_.view());
  };
  // The loss is a mean over the counted tokens of the whole step, however they fall into micro-batches.
  int64_t counted = 0;
  for (int64_t first = 0; first < rows.rows(); first += micro_batch) counted += fill(first);
  const float scale = counted > 0 ? 1.0F / static_cast<float>(counted) : 0.0F;
  StepResult result;
  for (int64_t first = 0; first < rows.rows(); first += micro_batch) {
    if (rows.rows() > micro_batch) fill(first);
    write_batch(train_step, batch_, scale);
    state_.first_micro_batch = first == 0;
    train_step.run(state_, profile_ ? &*profile_ : nullptr);
    result.loss += read_loss(train_step);
    result.tokens += batch_.real_tokens();
  }
  state_.lr = lr;
  state_.step = step_index;
  phase(phase_names::kUpdate).run(state_, profile_ ? &*profile_ : nullptr);
  result.grad_norm = state_.grad_norm;
  return result;
}

double TrainSession::evaluate(const TokenizedDataset& dataset, const Recipe& recipe, int32_t pad_id) {
  return evaluate_dataset(phase(phase_names::kEvaluate), dataset, recipe.packing, pad_id, batch_).mean();
}

int64_t TrainSession::used_arena_bytes() const {
  int64_t used = 0;
  for (const Executor& executor : executors_) used = std::max(used, executor.used_bytes());
  return used;
}

}  // namespace plimsoll
