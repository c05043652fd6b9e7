#include "compile/plan_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/bytes.h"

namespace plimsoll {
namespace {

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

Error does_not_fit(const PlanReport& report) {
  std::string way_out = fmt::format("--memory {} is the least that works", report.smallest_budget_bytes);
  for (const Suggestion& suggestion : report.suggestions)
    way_out += fmt::format("; {} needs {}{}", suggestion.change, format_bytes(suggestion.total_bytes),
                           report.fits_line(suggestion) ? "" : ", still too much");
  const auto exactly = [](int64_t bytes) { return fmt::format("{} bytes ({})", bytes, format_bytes(bytes)); };
  return {ErrorKind::does_not_fit, "--memory",
          fmt::format("{} needed, the line is at {}", exactly(report.total_bytes()),
                      exactly(report.budget_bytes.value_or(0))),
          way_out};
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
  json["peak"] = {{"phase", report.peak_phase}, {"op", report.peak_op}, {"bytes", report.peak_live_bytes()}};
  json["phases"] = Json::array();
  for (const PlanReport::Phase& phase : report.phases)
    json["phases"].push_back({{"name", phase.name}, {"bytes", phase.bytes}, {"op", phase.op}});
  for (const Category category : kCategories) json["categories"][name_of(category)] = report.category_bytes[category];
  json["choices"] = {{"micro_batch", report.micro_batch},
                     {"grad_accum_steps", report.grad_accum_steps},
                     {"recompute", report.recompute_layers},
                     {"ce_chunk_rows", report.ce_chunk_rows},
                     {"seq_len", report.seq_len},
                     {"router_aux_loss", report.router_aux_loss},
                     {"why", report.why},
                     {"precision", precision_name(report.precision)}};
  if (report.recompute_layers > 0) json["choices"]["recompute_keep"] = report.keep_attention ? "attention" : "nothing";
  json["predicted"] = {{"step_seconds", report.predicted_seconds},
                       {"compute_seconds", report.compute_seconds},
                       {"tokens_per_second", report.tokens_per_step() / report.predicted_seconds},
                       {"rates", report.rates_source}};
  if (report.streams()) {
    const auto bytes = static_cast<double>(report.disk_bytes_per_step);
    json["choices"]["streamed_layers"] = report.streamed_layers;
    json["choices"]["streamed_inputs"] = report.streamed_inputs;
    json["streaming"] = {{"file_bytes", report.streamed_file_bytes},
                         {"bytes_per_step", report.disk_bytes_per_step},
                         {"bandwidth_needed_bytes_per_second", bytes / report.compute_seconds},
                         {"seconds_per_step", report.predicted_seconds},
                         {"disk_bytes_per_second", report.disk_bytes_per_second},
                         {"disk_rate", report.disk_source}};
  }
  const auto alternative = [](const PlanReport::Alternative& plan) {
    return Json{{"choices", plan.choices},
                {"total_bytes", plan.total_bytes},
                {"predicted_step_seconds", plan.predicted_seconds}};
  };
  const auto other_line = [&](const std::optional<PlanReport::OtherLine>& line) {
    if (!line) return Json();
    return Json{{"budget_bytes", line->budget_bytes},
                {"fits", line->plan.has_value()},
                {"plan", line->plan ? alternative(*line->plan) : Json()}};
  };
  json["runner_up"] = report.runner_up ? alternative(*report.runner_up) : Json();
  json["memory_10_percent_more"] = other_line(report.more);
  json["memory_10_percent_less"] = other_line(report.less);
  if (!report.quant.empty()) json["choices"]["quant"] = report.quant;
  json["smallest_budget_bytes"] = report.smallest_budget_bytes;
  json["suggestions"] = Json::array();
  for (const Suggestion& suggestion : report.suggestions)
    json["suggestions"].push_back({{"change", suggestion.change},
                                   {"total_bytes", suggestion.total_bytes},
                                   {"fits", report.fits_line(suggestion)}});
  json["trainable_params"] = report.trainable_params;
  json["params"] = report.total_params;
  json["architecture"] = report.architecture;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string plan_buffers_csv(const PlanReport& report) {
  std::string csv = "name,category,memory_space,size_bytes,offset,first,last,phase\n";
  for (const PlanReport::BufferRow& row : report.buffers)
    csv +=
        fmt::format("{},{},{},{},{},{},{},{}\n", csv_cell(row.name), csv_cell(row.category), csv_cell(row.memory_space),
                    row.size_bytes, row.offset, row.first, row.last, csv_cell(row.phase));
  return csv;
}

const char* precision_name(DType precision) {
  return precision == DType::f32 ? "fp32" : precision == DType::bf16 ? "bf16" : "fp16";
}

}  // namespace plimsoll
