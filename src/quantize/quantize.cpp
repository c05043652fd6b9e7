#include "quantize/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/bytes.h"
#include "base/error.h"
#include "config/machine.h"
#include "ops/op_def.h"
#include "quantize/compare.h"
#include "quantize/layerwise.h"
#include "quantize/quantized_target.h"
#include "quantize/text_batches.h"
#include "setup/inference.h"
#include "setup/run_sources.h"
#include "setup/weight_loader.h"

namespace plimsoll {
namespace {

// The line of --memory. Throws an Error that does not fit, with the least that works.
void require_line(const QuantizeOptions& options, int64_t total_bytes) {
  if (!options.memory_bytes || total_bytes <= *options.memory_bytes) return;
  throw Error(ErrorKind::does_not_fit, "--memory",
              fmt::format("{} bytes ({}) needed, the line is at {} bytes ({})", total_bytes, format_bytes(total_bytes),
                          *options.memory_bytes, format_bytes(*options.memory_bytes)),
              fmt::format("--memory {} is the least that works; a shorter --seq-len needs less where data is read",
                          total_bytes));
}

constexpr const char* kCopyPhase = "quantize";

// One tensor after another, in the order of the target: load, save. Each dies before the next one is loaded, so the
// phase needs the bytes of the largest and what its target form takes.
RunPlan plan_copy(const QuantizedTarget& target, const TensorIndex& weights, int threads) {
  Graph graph;
  graph.phase = kCopyPhase;
  const int64_t load_staging = load_staging_bytes(weights);
  for (const ParameterSpec& tensor : target.order()) {
    const ValueId weight = add_op(graph, {OpKind::load_tensor,
                                          {},
                                          TransferAttrs{tensor.name, load_staging, DType::f32, tensor.shape},
                                          "load." + tensor.name,
                                          OpRole::transfer})[0];
    add_op(graph, {OpKind::save_tensor,
                   {weight},
                   TransferAttrs{tensor.name, target.staging_bytes(tensor), DType::f32, {}},
                   "save." + tensor.name,
                   OpRole::transfer});
  }
  verify(graph);
  std::vector<Graph> phases;
  phases.push_back(std::move(graph));
  return plan_memory(std::move(phases), [threads](const Graph& phase, const Op& op) {
    return cpu_backend().workspace_bytes(phase, op, threads);
  });
}

// Reads from the model, writes to the target, and tells how far it is.
class CopyHost : public HostServices {
 public:
  CopyHost(const TensorIndex& weights, QuantizedTarget& target, const QuantizeOptions& options)
      : loader_(weights), target_(target), options_(options) {}
  void load(const std::string& tensor, const Value& value, std::span<std::byte> out,
            std::span<std::byte> staging) override {
    loader_.load(tensor, value, out, staging);
  }
  void save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
            std::span<std::byte> staging) override {
    target_.save(tensor, value, data, staging);
    if (options_.on_progress)
      options_.on_progress("tensor", static_cast<int64_t>(target_.written().size()),
                           static_cast<int64_t>(target_.order().size()));
  }

 private:
  WeightLoader loader_;
  QuantizedTarget& target_;
  const QuantizeOptions& options_;
};

void copy(const ModelFiles& model, const QuantizeOptions& options, ThreadPool& pool, QuantizedTarget& target) {
  const RunPlan plan = plan_copy(target, model.tensors, pool.threads());
  require_line(options, runtime_overhead_bytes(model.config, pool.threads(), {}) + plan.arena_bytes);
  const Arena arena(plan.arena_bytes);
  CopyHost host(model.tensors, target, options);
  RunState state;
  state.host = &host;
  Executor(plan.phase(kCopyPhase), arena, cpu_backend(), pool).run(state);
}

void run_calibration(const ModelFiles& model, const QuantizeOptions& options, ThreadPool& pool,
                     QuantizedTarget& target) {
  require_line(options, runtime_overhead_bytes(model.config, pool.threads(), {}) +
                            TextBatches::most_bytes(model, options.calibrate, options.seq_len, options.calibrate_rows,
                                                    pool.threads()) +
                            layerwise_bytes(model, options, target, pool.threads()));
  quantize_layerwise(model, options, target, pool);
}

}  // namespace

double QuantizeReport::bits_per_weight() const {
  return parameters > 0 ? 8.0 * static_cast<double>(bytes_after) / static_cast<double>(parameters) : 0.0;
}

std::vector<QuantizedTensor> QuantizeReport::worst(size_t count) const {
  std::vector<QuantizedTensor> sorted = tensors;
  std::stable_sort(sorted.begin(), sorted.end(), [](const QuantizedTensor& a, const QuantizedTensor& b) {
    return a.relative_error > b.relative_error;
  });
  sorted.resize(std::min(count, sorted.size()));
  return sorted;
}

QuantizeReport run_quantize(const QuantizeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const ModelFiles model = open_runnable_model(options.model);
  const std::vector<ParameterSpec> parameters = list_parameters(model.config);
  check_weights(model, parameters);
  ThreadPool pool(threads_or_all(options.threads));
  if (!options.eval.empty())  // before hours of work: what does not fit is refused
    require_line(options,
                 runtime_overhead_bytes(model.config, pool.threads(), {}) +
                     TextBatches::most_bytes(model, options.eval, options.seq_len, options.eval_rows, pool.threads()) +
                     comparison_bytes(model, options, pool.threads()));
  QuantizeReport report;
  report.output = options.out;
  for (const ParameterSpec& spec : parameters) {
    report.parameters += spec.part == ParameterPart::buffer ? 0 : spec.shape.elements();
    report.bytes_before += model.tensors.find(spec.name)->bytes;
  }
  {
    const auto target = open_quantized_target(model, options, pool);
    if (options.on_plan) options.on_plan(report.bytes_before, target->planned_bytes());
    if (options.method == CalibrationMethod::none) copy(model, options, pool, *target);
    else run_calibration(model, options, pool, *target);
    target->finish();
    report.tensors = target->written();
  }
  if (!options.eval.empty()) report.comparison = compare_models(model, open_runnable_model(options.out), options, pool);
  for (const QuantizedTensor& tensor : report.tensors) report.bytes_after += tensor.bytes;
  report.peak_resident_bytes = peak_resident_bytes();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace plimsoll
