#include "quantize/layer_stream.h"

#include <cstring>

#include "arch/architecture.h"
#include "base/error.h"
#include "ops/op_def.h"
#include "setup/inference.h"
#include "setup/weight_loader.h"

namespace plimsoll {

Carried::Carried(const ForwardPiece& from) : file_(scratch_folder()) {
  for (const ValueId id : from.carried_out) {
    bytes_.push_back(from.graph.value(id).bytes());
    rows_.push_back(from.graph.value(id).shape[0]);
    record_ += bytes_.back();
  }
}

void Carried::append(const Executor& executor, const std::vector<ValueId>& values) {
  for (size_t i = 0; i < values.size(); ++i) file_.append({executor.data(values[i]), static_cast<size_t>(bytes_[i])});
}

void Carried::read(int64_t batch, const Executor& executor, const std::vector<ValueId>& values) const {
  PLIMSOLL_CHECK(values.size() == bytes_.size(), "pieces agree on what is handed on");
  int64_t offset = batch * record_;
  for (size_t i = 0; i < values.size(); ++i) {
    file_.read(offset, {executor.data(values[i]), static_cast<size_t>(bytes_[i])});
    offset += bytes_[i];
  }
}

void Carried::read_rows(int64_t batch, int64_t first, int64_t count, size_t value, std::span<std::byte> out) const {
  int64_t offset = batch * record_;
  for (size_t i = 0; i < value; ++i) offset += bytes_[i];
  const int64_t row = bytes_[value] / rows_[value];
  file_.read(offset + first * row, out.first(static_cast<size_t>(count * row)));
}

LayerStream::LayerStream(const ModelConfig& config, int64_t length, DType compute) {
  ForwardRequest request;
  request.kind = ForwardKind::logits;
  request.length = length;
  request.compute = compute;
  ForwardGraph forward = build_forward(config, request);
  inv_freq_ = std::move(forward.inv_freq);
  pieces_ = cut_forward(forward.graph);
}

void LayerStream::write_inputs(const Executor& executor, const TokenBatch& batch) const {
  write_batch(executor, batch, 1.0F);
  write_inv_freq(executor, inv_freq_);
}

void LayerStream::run(const ForwardPiece& piece, const Executor& executor, const TextBatches& batches,
                      const Carried* before, Carried* next) const {
  RunState state;
  for (int64_t i = 0; i < batches.count(); ++i) {
    write_inputs(executor, batches.batch(i));
    if (before != nullptr) before->read(i, executor, piece.carried_in);
    executor.run(state);
    if (next != nullptr) next->append(executor, piece.carried_out);
  }
  if (next != nullptr) next->finish();
}

RunPlan plan_piece(std::vector<Graph> phases, const TensorIndex& weights, int threads) {
  for (const Graph& phase : phases)
    for (const Value& value : phase.values)
      if (value.kind == ValueKind::parameter) find_weight(weights, stored_name_of(value.name), value.shape);
  phases.insert(phases.begin(), build_load_phase(phases, load_staging_bytes(weights)));
  for (const Graph& phase : phases) verify(phase);
  return plan_memory(std::move(phases), [threads](const Graph& graph, const Op& op) {
    return cpu_backend().workspace_bytes(graph, op, threads);
  });
}

}  // namespace plimsoll
