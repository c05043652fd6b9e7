#include "train/evaluate.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "arch/architecture.h"
#include "base/bytes.h"
#include "base/error.h"
#include "compile/train_program.h"
#include "config/machine.h"
#include "data/batch_order.h"
#include "passes/lora.h"
#include "setup/inference.h"
#include "setup/packed_formats.h"
#include "setup/run_sources.h"
#include "setup/token_batch.h"
#include "train/train_data.h"

namespace plimsoll {
namespace {

constexpr std::array<int64_t, 4> kMicroBatches = {4, 2, 1, 1};
constexpr std::array<int64_t, 4> kChunkRows = {1024, 256, 64, 8};

RunPlan plan_evaluation(const RunSources& sources, int64_t micro_batch, int64_t chunk_rows, const PackedFormats& packed,
                        std::vector<float>& inv_freq) {
  ForwardRequest request;
  request.batch = micro_batch;
  request.length = sources.recipe.seq_len;
  request.compute = sources.recipe.precision;
  request.ce_chunk_rows = std::min(chunk_rows, request.batch * request.length);
  ForwardGraph forward = build_forward(sources.model.config, request);
  inv_freq = std::move(forward.inv_freq);
  quantize(forward.graph, packed);
  if (!sources.adapter.modules.empty()) apply_lora(forward.graph, sources.adapter.modules);
  forward.graph.phase = phase_names::kEvaluate;
  std::vector<Graph> phases;
  phases.push_back(std::move(forward.graph));
  return plan_inference(std::move(phases), sources.model.tensors, sources.threads);
}

// The largest micro-batch and chunk below the line.
RunPlan choose_evaluation(const RunSources& sources, std::vector<float>& inv_freq) {
  const int64_t line = sources.recipe.memory_bytes.value_or(INT64_MAX);
  const DataExtent data = measure_data(sources.recipe);
  const PackedFormats packed =
      choose_packed_formats(sources.recipe.quant, PackedDefault::none, sources.model.tensors, sources.recipe.precision);
  const int64_t overhead = runtime_overhead_bytes(sources, data);
  const int64_t reading = reading_bytes(sources, data);
  int64_t least = 0;
  for (size_t i = 0; i < kMicroBatches.size(); ++i) {
    RunPlan plan = plan_evaluation(sources, sources.recipe.micro_batch.value_or(kMicroBatches[i]), kChunkRows[i],
                                   packed, inv_freq);
    least = std::max(plan.arena_bytes + overhead, reading);
    if (least <= line) return plan;
  }
  throw Error(ErrorKind::does_not_fit, "--memory",
              format_bytes(least) + " needed, the line is at " + format_bytes(line),
              "--memory " + std::to_string(least) + " is the least that works; a shorter --seq-len needs less");
}

}  // namespace

EvaluateReport run_evaluation(const Recipe& recipe) {
  RunSources sources = open_run_sources(recipe, ModelNeed::weights);
  require_weights(sources.model);
  std::vector<float> inv_freq;
  const RunPlan plan = choose_evaluation(sources, inv_freq);  // before the data is read: what does not fit is refused
  const TokenizedDataset dataset = open_dataset(sources.model, sources.recipe, sources.recipe.data);
  sources.model.gguf.reset();
  ThreadPool pool(sources.threads);
  const Arena arena(plan.arena_bytes);
  load_weights(plan, arena, pool, sources.model, sources.adapter);
  const ExecutionPlan& phase = plan.phase(phase_names::kEvaluate);
  const Executor evaluate(phase, arena, cpu_backend(), pool);
  write_inv_freq(evaluate, inv_freq);

  const int64_t rows = phase.graph.value(phase.graph.find(input_names::kIds)).shape[0];
  TokenBatch batch(rows / sources.recipe.seq_len, sources.recipe.seq_len);
  const DatasetLoss loss =
      evaluate_dataset(evaluate, dataset, sources.recipe.packing, pad_id_of(sources.model.config), batch);
  EvaluateReport report;
  report.tokens = loss.counted_tokens;
  report.loss = loss.mean();
  report.perplexity = std::exp(report.loss);
  if (!std::isfinite(report.loss))
    throw caller_error("the loss", "is not a finite number", "check the weights of the model and of its adapter");
  report.peak_resident_bytes = peak_resident_bytes();
  return report;
}

DatasetLoss evaluate_dataset(const Executor& evaluate, const TokenizedDataset& dataset, bool packing, int32_t pad_id,
                             TokenBatch& batch, HostServices* host) {
  BatchOrder order(
      dataset.size(), [&](int64_t i) { return dataset.length(i); }, {batch.length, packing, false, 0}, batch.batch);
  const int64_t row_count = order.rows_of_epoch(0);
  DatasetLoss loss;
  StepRows rows;
  RunState state;
  state.host = host;
  for (int64_t first = 0; first < row_count; first += batch.batch) {
    order.rows_of_step(first / batch.batch, rows);
    // The last step of the order runs on into the next epoch; those rows are not counted twice.
    const int64_t count = std::min(batch.batch, row_count - first);
    rows.row_begin.resize(static_cast<size_t>(count) + 1);
    loss.counted_tokens += fill_batch(dataset, rows, 0, batch.batch, batch.length, pad_id, batch.view());
    write_batch(evaluate, batch, 1.0F);
    evaluate.run(state);
    loss.sum += read_loss(evaluate);
  }
  return loss;
}

}  // namespace plimsoll
