#include "compile/step_candidates.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "memory/storage.h"
#include "ops/op_def.h"
#include "passes/optimizer_step.h"
#include "passes/stream.h"

namespace plimsoll {
namespace {

constexpr std::array<int64_t, 8> kChunkRows = {1024, 512, 256, 128, 64, 32, 16, 8};
constexpr int64_t kLargestMicroBatch = 64;  // rows tried; more are no faster on a CPU

// Bytes that are live at each op.
class LiveBytes {
 public:
  explicit LiveBytes(size_t ops) : changes_(ops + 1, 0) {}
  void add(int64_t bytes, int64_t alignment, int32_t first, int32_t last) {
    changes_[static_cast<size_t>(first)] += round_up(bytes, alignment);
    changes_[static_cast<size_t>(last) + 1] -= round_up(bytes, alignment);
  }
  // Once, behind the last add: changes become sums.
  std::vector<int64_t> sums() && {
    for (size_t i = 1; i < changes_.size(); ++i) changes_[i] += changes_[i - 1];
    return std::move(changes_);
  }

 private:
  std::vector<int64_t> changes_;
};

}  // namespace

StepCandidates::StepCandidates(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                               const PlanTarget& target)
    : config_(config), recipe_(recipe), sources_(sources), target_(target) {}

const StepBase& StepCandidates::base(int64_t micro_batch) {
  auto found = bases_.find(micro_batch);
  if (found == bases_.end())
    found = bases_
                .emplace(  // the phases of the plan that is chosen are verified
                    micro_batch, build_step_base(config_, recipe_, sources_, micro_batch, {}, false))
                .first;
  return found->second;
}

std::vector<int64_t> StepCandidates::micro_batches() const {
  if (recipe_.micro_batch) return {*recipe_.micro_batch};
  const int64_t global = rows_per_step(recipe_);
  if (recipe_.optimizer_in_backward) return {global};  // a gradient must be complete after one micro-batch
  std::vector<int64_t> divisors;
  for (int64_t rows = std::min(global, kLargestMicroBatch); rows >= 1; --rows)
    if (global % rows == 0) divisors.push_back(rows);
  return divisors;
}

std::vector<int64_t> StepCandidates::chunk_sizes(int64_t micro_batch) const {
  const int64_t rows = micro_batch * recipe_.seq_len;
  if (recipe_.ce_chunk_rows) return {std::min(*recipe_.ce_chunk_rows, rows)};
  std::vector<int64_t> sizes;
  for (const int64_t size : kChunkRows)
    if (size <= rows) sizes.push_back(size);
  if (sizes.empty()) sizes.push_back(rows);
  return sizes;
}

std::pair<int64_t, int64_t> StepCandidates::recompute_range() const {
  switch (recipe_.recompute) {
    case RecomputeMode::none:
      return {0, 0};
    case RecomputeMode::all:
      return {config_.layers, config_.layers};
    case RecomputeMode::layers:
      return {std::min(recipe_.recompute_layers, config_.layers), std::min(recipe_.recompute_layers, config_.layers)};
    case RecomputeMode::automatic:
      break;
  }
  return {0, config_.layers};
}

std::vector<bool> StepCandidates::attention_kept() const {
  switch (recipe_.recompute_keep) {
    case RecomputeKeep::nothing:
      return {false};
    case RecomputeKeep::attention:
      return {true};
    case RecomputeKeep::automatic:
      break;
  }
  return {false, true};
}

int64_t StepCandidates::streamed_weight_bytes(int64_t layers) {
  const Graph& forward = base(micro_batches().back()).forward;
  int64_t bytes = 0;
  for (const ValueId id : streamed_parameters(forward, layers))
    bytes += round_up(forward.value(id).bytes(), kArenaAlignment);
  return bytes;
}

const CandidateCost& StepCandidates::cost(const TrainChoices& choices) {
  const Key key = {choices.micro_batch, choices.recompute_layers, choices.keep_attention, choices.streamed_layers,
                   choices.streamed_inputs};
  auto found = costs_.find(key);
  if (found == costs_.end()) found = costs_.emplace(key, compute(choices)).first;
  const std::vector<int64_t> chunks = chunk_sizes(choices.micro_batch);
  const auto place = std::find(chunks.begin(), chunks.end(), choices.ce_chunk_rows);
  PLIMSOLL_CHECK(place != chunks.end(), "the chunk is one of those that are tried");
  return found->second[static_cast<size_t>(place - chunks.begin())];
}

std::vector<CandidateCost> StepCandidates::compute(const TrainChoices& choices) {
  const StepBase& step_base = base(choices.micro_batch);
  Graph step = build_step_unverified(step_base, choices);
  LiveBytes live(step.ops.size());
  for (const Storage& storage : assign_storage(step).storages)
    live.add(storage.bytes, storage.alignment, storage.first, storage.last);
  double seconds = 0;
  int64_t on_disk = 0;
  std::vector<int32_t> loss_ops;
  for (size_t i = 0; i < step.ops.size(); ++i) {
    const Op& op = step.ops[i];
    if (op.kind == OpKind::prefetch_tensor) on_disk += step.value(op.results[0]).bytes();
    else if (op.kind == OpKind::offload_tensor) on_disk += step.value(op.operands[0]).bytes();
    else seconds += op_seconds(step, op);
    const auto index = static_cast<int32_t>(i);
    if (std::holds_alternative<CrossEntropyAttrs>(op.attrs)) loss_ops.push_back(index);
    else if (const int64_t bytes = target_.workspace_bytes(step, op); bytes > 0)
      live.add(bytes, kArenaAlignment, index, index);
  }
  const std::vector<int64_t> sums = std::move(live).sums();
  const int64_t without_loss = *std::max_element(sums.begin(), sums.end());

  const auto micro_steps = static_cast<double>(std::max<int64_t>(1, rows_per_step(recipe_) / choices.micro_batch));
  const double passes = micro_steps * (step_base.fused && step_base.fused->two_passes ? 2 : 1);
  std::vector<CandidateCost> costs;
  for (const int64_t chunk : chunk_sizes(choices.micro_batch)) {
    set_chunk_rows(step, chunk);
    CandidateCost cost;
    cost.step_bytes = without_loss;
    double computing = seconds;
    for (const int32_t index : loss_ops) {
      const Op& op = step.ops[static_cast<size_t>(index)];
      const int64_t scratch = round_up(target_.workspace_bytes(step, op), kArenaAlignment);
      cost.step_bytes = std::max(cost.step_bytes, sums[static_cast<size_t>(index)] + scratch);
      if (op.kind != OpKind::linear_cross_entropy_grad) continue;
      // Every chunk of the loss reads the head again.
      const double chunks = static_cast<double>(step.value(op.operands[0]).shape[0]) / static_cast<double>(chunk);
      computing += chunks * 3 * static_cast<double>(step.value(op.operands[1]).bytes()) / target_.bytes_per_second;
    }
    cost.compute_seconds = computing * passes + update_seconds();
    cost.disk_bytes = on_disk * static_cast<int64_t>(passes);
    // Reading and computing go on at once.
    cost.seconds = on_disk == 0 ? cost.compute_seconds
                                : std::max(cost.compute_seconds, static_cast<double>(cost.disk_bytes) / disk_rate());
    costs.push_back(cost);
  }
  return costs;
}

double StepCandidates::update_seconds() {
  if (update_seconds_ >= 0) return update_seconds_;
  update_seconds_ = 0;
  const StepBase& any = bases_.begin()->second;
  if (any.fused) return 0;  // it is in the step
  const Graph update = build_update(any.trained, optimizer_attrs(recipe_), recipe_.grad_clip);
  for (const Op& op : update.ops) update_seconds_ += op_seconds(update, op);
  return update_seconds_;
}

double StepCandidates::op_seconds(const Graph& graph, const Op& op) const {
  const OpCost cost = op_cost(graph, op);
  double seconds = 0;
  // Each product with a packed weight unpacks it.
  for (const ValueId id : op.operands)
    if (id != kNoValue && is_packed(graph.value(id).dtype) && op.kind != OpKind::embedding)
      seconds += static_cast<double>(graph.value(id).shape.elements()) / target_.unpacked_per_second;
  const OpRate* rate = target_.rates ? &target_.rates->rates[static_cast<size_t>(op.kind)] : nullptr;
  if (rate != nullptr && rate->known) return seconds + rate->seconds(cost);
  return seconds + std::max(cost.flops / target_.flops_per_second,
                            static_cast<double>(cost.bytes_accessed) / target_.bytes_per_second);
}

double StepCandidates::disk_rate() {
  if (disk_rate_ == 0) disk_rate_ = target_.disk ? target_.disk().bytes_per_second : DiskRate{}.bytes_per_second;
  return disk_rate_;
}

}  // namespace plimsoll
