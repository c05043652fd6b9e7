#include "cli/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

struct Segment {
  std::string label;
  int64_t bytes;
  const char* unicode;
  const char* ascii;
  const char* color;
};

// MiB for what a laptop holds, GiB above.
std::string size_text(int64_t bytes) {
  return bytes >= 64 * kGiB ? fmt::format("{:.1f} GiB", static_cast<double>(bytes) / static_cast<double>(kGiB))
                            : format_thousands((bytes + kMiB / 2) / kMiB) + " MiB";
}

std::vector<Segment> segments_of(const PlanReport& report) {
  static constexpr std::array<std::string_view, kPlanCategories.size()> kLabels = {
      "weights", "adapter", "master weights", "gradients", "optimizer", "activations", "workspace", "staging"};
  static constexpr std::array<const char*, 4> kShades = {"█", "▓", "▒", "░"};
  static constexpr std::array<const char*, 4> kLetters = {"#", "=", "+", "-"};
  static constexpr std::array<const char*, 6> kColors = {"\033[34m", "\033[36m", "\033[32m",
                                                         "\033[33m", "\033[35m", "\033[31m"};
  std::vector<Segment> segments;
  const auto add = [&](std::string label, int64_t bytes) {
    if (bytes <= 0) return;
    const size_t i = segments.size();
    segments.push_back({std::move(label), bytes, kShades[i % kShades.size()], kLetters[i % kLetters.size()],
                        kColors[i % kColors.size()]});
  };
  for (size_t i = 0; i < report.category_bytes.size(); ++i) add(std::string(kLabels[i]), report.category_bytes[i]);
  add("gaps", report.arena_bytes - report.peak_live_bytes);
  add("runtime", report.runtime_overhead_bytes);
  return segments;
}

// The bar, and under it one line a segment.
std::string bar_text(const PlanReport& report, const Terminal& terminal) {
  const int width = std::clamp(terminal.width - 4, 20, 100);
  const int64_t scale = std::max({report.total_bytes(), report.budget_bytes.value_or(0), int64_t{1}});
  const auto column_of = [&](int64_t bytes) {
    return static_cast<int>(std::lround(static_cast<double>(bytes) / static_cast<double>(scale) * width));
  };
  const int line = report.budget_bytes ? std::min(column_of(*report.budget_bytes), width) : -1;
  const std::vector<Segment> segments = segments_of(report);
  std::string text = line >= 0 ? fmt::format("  {:>{}}\n", "line", line + 1 >= 4 ? line + 1 : 4) : "";
  text += "  ";
  int64_t sum = 0;
  int column = 0;
  const std::string mark = terminal.unicode ? "│" : "|";
  for (const Segment& segment : segments) {
    sum += segment.bytes;
    if (terminal.color) text += segment.color;
    for (const int end = column_of(sum); column < end; ++column)
      text += column == line ? mark : terminal.unicode ? segment.unicode : segment.ascii;
    if (terminal.color) text += "\033[0m";
  }
  if (line >= column) text += std::string(static_cast<size_t>(line - column), ' ') + mark;
  text += "\n";
  for (const Segment& segment : segments)
    text += fmt::format("  {} {:<14} {:>12}\n", terminal.unicode ? segment.unicode : segment.ascii, segment.label,
                        size_text(segment.bytes));
  text += fmt::format("    {:<14} {:>12}", "in all", size_text(report.total_bytes()));
  if (report.budget_bytes)
    text += fmt::format(" of {}{}", size_text(*report.budget_bytes), report.fits ? "" : ": over the line");
  return text + "\n";
}

std::string seconds_text(double seconds) {
  return seconds < 600 ? fmt::format("{:.3g} s", seconds) : fmt::format("{:.3g} min", seconds / 60);
}

// Seconds of a step, what else was near, and what another line would change.
std::string outlook_text(const PlanReport& report) {
  if (!(report.predicted_seconds > 0)) return "";
  const double speed = report.tokens_per_step() / report.predicted_seconds;
  std::string text =
      fmt::format("\n  a step takes about {} ({} tokens/s; {})\n", seconds_text(report.predicted_seconds),
                  speed < 100 ? fmt::format("{:.3g}", speed) : format_thousands(std::llround(speed)),
                  report.rates_source == "calibrated" ? "rates of this machine, as calibrated"
                                                      : "assumed rates; plimsoll calibrate measures them");
  const auto line = [&](std::string_view what, const PlanReport::Alternative& plan) {
    text += fmt::format("  {:<13} {} for a step, {}: {}\n", what, seconds_text(plan.predicted_seconds),
                        size_text(plan.total_bytes), plan.choices);
  };
  if (report.runner_up) line("runner-up", *report.runner_up);
  if (report.more && report.more->plan) line("10 % more", *report.more->plan);
  if (report.more && !report.more->plan && !report.fits) text += "  10 % more     would not fit either\n";
  if (report.less && report.less->plan) line("10 % less", *report.less->plan);
  if (report.less && !report.less->plan) text += "  10 % less     would not fit\n";
  return text;
}

std::string streaming_text(const PlanReport& report) {
  const auto bytes = static_cast<double>(report.disk_bytes_per_step);
  const double waits = report.predicted_seconds - report.compute_seconds;
  std::string what;
  if (report.streamed_layers > 0)
    what = fmt::format("the weights of {} of {} layers", report.streamed_layers, report.layers);
  if (report.streamed_inputs) what += std::string(what.empty() ? "" : " and ") + "what recomputed layers keep";
  return fmt::format(
      "\n  streaming: {} on disk ({}); {} are moved a step.\n"
      "  Computing takes about {} a step; a disk with {}/s keeps up with it. This one: {}/s ({}), {}\n",
      what, size_text(report.streamed_file_bytes), size_text(report.disk_bytes_per_step),
      seconds_text(report.compute_seconds), size_text(static_cast<int64_t>(bytes / report.compute_seconds)),
      size_text(static_cast<int64_t>(report.disk_bytes_per_second)), report.disk_source,
      waits > 0 ? "so a step waits " + seconds_text(waits) : "which costs no time");
}

}  // namespace

std::string plan_text(const PlanReport& report, const Terminal& terminal) {
  std::string text = fmt::format("{}   {}, {} parameters, {} trained{}\n", report.model_name, report.architecture,
                                 format_thousands(report.total_params), format_thousands(report.trainable_params),
                                 report.trained.empty() ? "" : " (" + report.trained + ")");
  text += fmt::format(
      "{} × {} tokens at once, {} {} a step, {}, recompute in {} of {} layers{}, loss in chunks of {} rows{}{}\n\n",
      report.micro_batch, format_thousands(report.seq_len), report.grad_accum_steps,
      report.grad_accum_steps == 1 ? "time" : "times", precision_name(report.precision), report.recompute_layers,
      report.layers, report.keep_attention ? " without attention" : "", format_thousands(report.ce_chunk_rows),
      report.router_aux_loss > 0 ? fmt::format(" and {} × the loss of uneven experts", report.router_aux_loss) : "",
      report.why.empty() ? "" : " (" + report.why + ")");
  text += bar_text(report, terminal);

  int name_columns = 5;
  for (const PlanReport::Phase& phase : report.phases) name_columns = std::max(name_columns, text_columns(phase.name));
  text += fmt::format("\n  {:<{}}  {:>12}   at\n", "phase", name_columns, "peak");
  for (const PlanReport::Phase& phase : report.phases)
    text += fmt::format("  {:<{}}  {:>12}   {}\n", phase.name, name_columns, size_text(phase.bytes),
                        phase.op.empty() ? "only what stays for the whole run" : phase.op);

  const double gap = report.lower_bound_bytes > 0
                         ? 100.0 * static_cast<double>(report.arena_bytes - report.lower_bound_bytes) /
                               static_cast<double>(report.lower_bound_bytes)
                         : 0;
  text += fmt::format("\n  packing {:.1f} % above the lower bound · least that works: {} ({} bytes)\n", gap,
                      size_text(report.smallest_budget_bytes), report.smallest_budget_bytes);
  text += outlook_text(report);
  if (report.streams()) text += streaming_text(report);
  if (!report.suggestions.empty()) {
    text += "\n  what would change it\n";
    for (const PlanReport::Suggestion& suggestion : report.suggestions)
      text += fmt::format("  {:<40} {:>12}{}\n", suggestion.change, size_text(suggestion.total_bytes),
                          report.fits_line(suggestion) ? "" : "   still too much");
  }
  return text;
}

}  // namespace plimsoll::cli
