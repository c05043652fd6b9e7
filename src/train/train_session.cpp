#include "train/train_session.h"

#include <algorithm>

#include "base/error.h"
#include "setup/weight_loader.h"
#include "train/evaluate.h"

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

const Executor* TrainSession::find_phase(const char* name) const {
  const auto found =
      std::find_if(executors_.begin(), executors_.end(), [&](const Executor& e) { return e.plan().name() == name; });
  return found == executors_.end() ? nullptr : &*found;
}

const Executor& TrainSession::phase(const char* name) const {
  const Executor* const found = find_phase(name);
  PLIMSOLL_CHECK(found != nullptr, std::string("the run has no phase ") + name);
  return *found;
}

void TrainSession::load(const RunSources& sources, const std::string& out) {
  if (!plan_.program.streamed.empty() || !plan_.program.offloaded.empty()) {
    std::vector<WeightStream::Tensor> tensors;
    for (const WeightOnDisk& weight : plan_.program.streamed) tensors.push_back({weight.name, weight.bytes});
    for (const OffloadedTensor& tensor : plan_.program.offloaded) tensors.push_back({tensor.name, tensor.bytes});
    stream_ = std::make_unique<WeightStream>(out + "/streamed.weights", tensors);
  }
  stream_services_ = std::make_unique<StreamServices>(stream_.get());
  WeightLoader loader(sources.model.tensors, sources.adapter.tensors(), stream_.get());
  state_.host = &loader;
  state_.seed = static_cast<uint64_t>(sources.recipe.seed);
  // What rounds to infinity in fp16: there PyTorch's gradients of weights are fp16, too, on their way to fp32.
  if (sources.recipe.precision == DType::f16) state_.gradient_limit = 65520;
  phase(phase_names::kLoad).run(state_);
  state_.host = stream_services_.get();
  write_inv_freq(phase(phase_names::kTrainStep), plan_.program.inv_freq);
}

TrainSession::StepResult TrainSession::step(const TrainData& data, const StepRows& rows, double lr, int64_t updates,
                                            int64_t first_draw, double loss_scale) {
  const Executor& train_step = phase(phase_names::kTrainStep);
  const int64_t micro_batch = plan_.choices.micro_batch;
  const auto fill = [&](int64_t first) {
    return fill_batch(data.train, rows, first, micro_batch, batch_.length, data.pad_id, batch_.view());
  };
  // The loss is a mean over the counted tokens of the whole step, however they fall into micro-batches.
  int64_t counted = 0;
  for (int64_t first = 0; first < rows.rows(); first += micro_batch) counted += fill(first);
  const float mean = counted > 0 ? 1.0F / static_cast<float>(counted) : 0.0F;
  const float scale = mean * static_cast<float>(loss_scale);
  StepResult result;
  state_.lr = lr;
  state_.step = updates;
  state_.loss_scale = loss_scale;
  state_.draw = first_draw;
  state_.overflow = false;
  Profile* const profile = profile_ ? &*profile_ : nullptr;
  const Executor* const norm_pass = find_phase(phase_names::kGradientNorm);
  for (int64_t first = 0; first < rows.rows(); first += micro_batch) {
    if (rows.rows() > micro_batch) fill(first);
    state_.first_micro_batch = first == 0;
    if (norm_pass != nullptr) {
      write_batch(*norm_pass, batch_, scale);
      norm_pass->run(state_, profile);
    }
    write_batch(train_step, batch_, scale);
    train_step.run(state_, profile);
    result.loss += read_loss(train_step) / loss_scale;
    result.tokens += batch_.real_tokens();
    ++state_.draw;
  }
  if (const Executor* update = find_phase(phase_names::kUpdate)) update->run(state_, profile);
  result.grad_norm = state_.grad_norm;
  result.overflow = state_.overflow;
  return result;
}

double TrainSession::evaluate(const TokenizedDataset& dataset, const Recipe& recipe, int32_t pad_id) {
  return evaluate_dataset(phase(phase_names::kEvaluate), dataset, recipe.packing, pad_id, batch_,
                          stream_services_.get())
      .mean();
}

int64_t TrainSession::used_arena_bytes() const {
  int64_t used = 0;
  for (const Executor& executor : executors_) used = std::max(used, executor.used_bytes());
  return used;
}

}  // namespace plimsoll
