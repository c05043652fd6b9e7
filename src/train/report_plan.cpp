#include "train/report_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "formats/output_file.h"
#include "models/model_folder.h"
#include "ops/op_def.h"
#include "setup/packed_formats.h"

namespace plimsoll {
namespace {

std::string describe_method(const Recipe& recipe, const PackedFormats& packed) {
  if (recipe.method == Method::full) return "all parameters";
  if (recipe.method == Method::qat)
    return recipe.qat_type == QatType::int8
               ? "all parameters, linear layers in int8"
               : fmt::format("all parameters, linear layers in int4 by {}", recipe.qat_group);
  const std::string base = recipe.method == Method::qlora
                               ? fmt::format(", base held in {}", packed.linears ? name_of(packed) : "its file's types")
                               : "";
  const char* const name = recipe.method == Method::qlora ? "QLoRA" : recipe.method == Method::dora ? "DoRA" : "LoRA";
  return fmt::format("{} r={} on {}{}", name, recipe.rank,
                     recipe.targets == "all-linear" ? "all linear layers" : recipe.targets, base);
}

// The file's or folder's name; a bare config.json goes by its folder.
std::string name_of_model(const std::string& model) {
  std::filesystem::path path(model);
  if (!path.has_filename() || path.filename() == "config.json") path = std::filesystem::absolute(path).parent_path();
  return path.filename().string();
}

std::string op_name(const ExecutionPlan& phase) {
  if (phase.peak_op < 0 || phase.graph.ops.empty()) return "";
  const Op& op =
      phase.graph
          .ops[static_cast<size_t>(std::min<int64_t>(phase.peak_op, static_cast<int64_t>(phase.graph.ops.size()) - 1))];
  return op.name;
}

// "2 × 2 rows, recompute in 10 of 30 layers, loss in chunks of 512 rows"
PlanReport::Alternative describe(const PlanAlternative& plan, int64_t layers) {
  const TrainChoices& c = plan.choices;
  std::string words = fmt::format("{} × {} rows, recompute in {} of {} layers{}, loss in chunks of {} rows",
                                  plan.grad_accum_steps, c.micro_batch, c.recompute_layers, layers,
                                  c.keep_attention ? " without attention" : "", c.ce_chunk_rows);
  if (c.streamed_layers > 0) words += fmt::format(", weights of {} layers streamed", c.streamed_layers);
  if (c.streamed_inputs) words += ", layer inputs streamed";
  return {words, plan.total_bytes, plan.predicted_seconds};
}

void add_rows(PlanReport& report, const std::vector<PlannedBuffer>& buffers, const std::string& phase, int64_t last) {
  for (const PlannedBuffer& buffer : buffers)
    report.buffers.push_back({buffer.name, name_of(buffer.category), "host", buffer.size_bytes, buffer.offset,
                              buffer.first, last >= 0 ? last : buffer.last, phase});
}

}  // namespace

PlanReport report_plan(const RunSources& sources, const TrainPlan& plan, bool with_buffers) {
  const Recipe& recipe = sources.recipe;
  PlanReport report;
  report.model_name = name_of_model(recipe.model);
  report.architecture = sources.model.config.architecture;
  for (const ParameterSpec& spec : plan.program.parameters) report.total_params += spec.shape.elements();
  for (const TrainedParameter& parameter : plan.program.trained) report.trainable_params += parameter.shape.elements();
  report.trained = describe_method(recipe, sources.train.packed);
  report.fits = plan.fits;
  report.budget_bytes = recipe.memory_bytes;
  report.arena_bytes = plan.run.arena_bytes;
  report.runtime_overhead_bytes = plan.overhead_bytes;
  report.lower_bound_bytes = plan.run.lower_bound_bytes;
  report.smallest_budget_bytes = plan.smallest_budget_bytes;
  const ExecutionPlan& peak = plan.run.peak_phase();
  report.peak_phase = peak.name();
  report.peak_op = op_name(peak);
  report.category_bytes = peak.at_peak;
  for (const ExecutionPlan& phase : plan.run.phases)
    report.phases.push_back({phase.name(), phase.arena_bytes, op_name(phase)});
  report.micro_batch = plan.choices.micro_batch;
  report.grad_accum_steps = plan.grad_accum_steps;
  report.seq_len = recipe.seq_len;
  report.ce_chunk_rows = plan.choices.ce_chunk_rows;
  report.recompute_layers = plan.choices.recompute_layers;
  report.streamed_layers = plan.choices.streamed_layers;
  report.streamed_inputs = plan.choices.streamed_inputs;
  report.keep_attention = plan.choices.keep_attention;
  for (const WeightOnDisk& weight : plan.program.streamed) report.streamed_file_bytes += weight.bytes;
  for (const OffloadedTensor& tensor : plan.program.offloaded) report.streamed_file_bytes += tensor.bytes;
  report.disk_bytes_per_step = plan.disk_bytes_per_step;
  report.compute_seconds = plan.compute_seconds;
  report.predicted_seconds = plan.predicted_seconds;
  report.rates_source = plan.calibrated ? "calibrated" : "assumed";
  report.disk_bytes_per_second = plan.disk.bytes_per_second;
  report.disk_source = plan.disk.source;
  const int64_t layers = sources.model.config.layers;
  if (plan.runner_up) report.runner_up = describe(*plan.runner_up, layers);
  const auto other_line = [&](const std::optional<OtherLine>& line) -> std::optional<PlanReport::OtherLine> {
    if (!line) return {};
    PlanReport::OtherLine other{line->budget_bytes, {}};
    if (line->plan) other.plan = describe(*line->plan, layers);
    return other;
  };
  report.more = other_line(plan.more);
  report.less = other_line(plan.less);
  report.layers = sources.model.config.layers;
  report.precision = recipe.precision;
  if (recipe.method == Method::qlora) report.quant = name_of(sources.train.packed);
  report.router_aux_loss = balance_weight(sources.model.config, recipe);
  report.why = plan.why;
  report.suggestions = plan.suggestions;
  if (with_buffers) {
    for (const ExecutionPlan& phase : plan.run.phases) {
      add_rows(report, plan.run.persistent, phase.name(),
               std::max<int64_t>(0, static_cast<int64_t>(phase.graph.ops.size()) - 1));
      add_rows(report, phase.buffers, phase.name(), -1);
    }
  }
  return report;
}

void dump_ir(const RunSources& sources, const TrainPlan& plan, const std::string& folder) {
  make_folder(folder);
  int number = 0;
  const PassObserver write = [&](std::string_view pass, const Graph& graph, double seconds) {
    write_file_atomically(fmt::format("{}/{}_{}.txt", folder, ++number, pass),
                          fmt::format("pass {}: {:.2f} ms\n{}", pass, seconds * 1e3, print(graph)));
  };
  const StepBase base =
      build_step_base(sources.model.config, sources.recipe, sources.train, plan.choices.micro_batch, write);
  build_step(base, plan.choices, write);
  if (base.fused && base.fused->two_passes) build_step(base, plan.choices, write, true);
  for (const ExecutionPlan& phase : plan.run.phases) {
    std::string name = phase.name();
    std::replace(name.begin(), name.end(), ' ', '_');
    write_file_atomically(fmt::format("{}/phase_{}.txt", folder, name), print(phase.graph));
  }
}

}  // namespace plimsoll
