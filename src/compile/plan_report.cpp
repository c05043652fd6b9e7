#include "compile/plan_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace plimsoll {
namespace {

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// "LoRA r=16 on all linear layers"
std::string trained_text(const Recipe& recipe, const TrainPlan& plan) {
  if (recipe.method == Method::full) return "all weights";
  const int64_t rank = plan.program.lora.empty() ? recipe.rank : plan.program.lora.front().rank;
  return fmt::format("LoRA r={} on {}", rank, recipe.targets == "all-linear" ? "all linear layers" : recipe.targets);
}

}  // namespace

PlanReport make_plan_report(const ModelConfig& config, const Recipe& recipe, const TrainPlan& plan, std::string model_name,
                            bool with_buffers) {
  PlanReport report;
  report.model_name = std::move(model_name);
  report.architecture = config.architecture;
  for (const ParameterSpec& parameter : plan.program.parameters) report.total_params += parameter.shape.elements();
  for (const TrainedParameter& trained : plan.program.trained) report.trainable_params += trained.shape.elements();
  report.trained = trained_text(recipe, plan);
  report.fits = plan.fits;
  report.budget_bytes = recipe.memory_bytes;
  report.arena_bytes = plan.run.arena_bytes;
  report.runtime_overhead_bytes = plan.overhead_bytes;
  report.lower_bound_bytes = plan.run.lower_bound_bytes;
  report.smallest_budget_bytes = plan.smallest_budget_bytes;
  const auto op_name = [](const ExecutionPlan& phase) {
    return phase.peak_op >= 0 && static_cast<size_t>(phase.peak_op) < phase.graph.ops.size() ? phase.graph.ops[static_cast<size_t>(phase.peak_op)].name : std::string();
  };
  if (!plan.run.phases.empty()) {
    const ExecutionPlan& peak = plan.run.peak_phase();
    report.peak_phase = peak.name();
    report.peak_op = op_name(peak);
    for (size_t i = 0; i < report.category_bytes.size(); ++i) {
      report.category_bytes[i] = peak.at_peak[i];
      report.peak_live_bytes += peak.at_peak[i];
    }
  }
  for (const ExecutionPlan& phase : plan.run.phases) report.phases.push_back({phase.name(), phase.arena_bytes, op_name(phase)});
  report.micro_batch = plan.choices.micro_batch;
  report.grad_accum_steps = plan.grad_accum_steps;
  report.seq_len = recipe.seq_len;
  report.ce_chunk_rows = plan.choices.ce_chunk_rows;
  report.recompute_layers = plan.choices.recompute_layers;
  report.layers = config.layers;
  report.precision = recipe.precision;
  report.reasons = plan.reasons;
  report.suggestions = plan.suggestions;
  report.faster_ratio = plan.faster_ratio;
  report.faster_total_bytes = plan.faster_total_bytes;
  if (with_buffers) {
    const auto add = [&](const PlannedBuffer& buffer, const std::string& phase) {
      report.buffers.push_back({buffer.name, name_of(buffer.category), "host", buffer.size_bytes, buffer.offset, buffer.first, buffer.last, phase});
    };
    for (const PlannedBuffer& buffer : plan.run.persistent) add(buffer, "all");
    for (const ExecutionPlan& phase : plan.run.phases)
      for (const PlannedBuffer& buffer : phase.buffers) add(buffer, phase.name());
  }
  return report;
}

std::string plan_report_json(const PlanReport& report) {
  using Json = nlohmann::ordered_json;
  Json json;
  json["fits"] = report.fits;
  json["budget_bytes"] = report.budget_bytes ? Json(*report.budget_bytes) : Json();
  json["total_bytes"] = report.total_bytes();
  json["arena_bytes"] = report.arena_bytes;
  json["lower_bound_bytes"] = report.lower_bound_bytes;
  json["runtime_overhead_bytes"] = report.runtime_overhead_bytes;
  json["peak"] = {{"phase", report.peak_phase}, {"op", report.peak_op}, {"bytes", report.peak_live_bytes}};
  json["phases"] = Json::array();
  for (const PlanReport::Phase& phase : report.phases)
    json["phases"].push_back({{"name", phase.name}, {"bytes", phase.bytes}, {"op", phase.op}});
  for (size_t i = 0; i < report.category_bytes.size(); ++i) json["categories"][name_of(static_cast<Category>(i))] = report.category_bytes[i];
  json["choices"] = {{"micro_batch", report.micro_batch},       {"grad_accum_steps", report.grad_accum_steps},
                     {"recompute", report.recompute_layers},    {"ce_chunk_rows", report.ce_chunk_rows},
                     {"seq_len", report.seq_len},               {"reasons", report.reasons},
                     {"precision", report.precision == DType::f32 ? "fp32" : "bf16"}};
  json["smallest_budget_bytes"] = report.smallest_budget_bytes;
  json["suggestions"] = Json::array();
  for (const Suggestion& suggestion : report.suggestions)
    json["suggestions"].push_back({{"change", suggestion.change}, {"total_bytes", suggestion.total_bytes}});
  json["trainable_params"] = report.trainable_params;
  json["params"] = report.total_params;
  json["architecture"] = report.architecture;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string plan_buffers_csv(const PlanReport& report) {
  std::string csv = "name,category,memory_space,size_bytes,offset,first,last,phase\n";
  for (const PlanReport::BufferRow& row : report.buffers)
    csv += fmt::format("{},{},{},{},{},{},{},{}\n", csv_cell(row.name), csv_cell(row.category), csv_cell(row.memory_space), row.size_bytes,
                       row.offset, row.first, row.last, csv_cell(row.phase));
  return csv;
}

}  // namespace plimsoll
