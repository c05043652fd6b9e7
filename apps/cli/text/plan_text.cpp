#include "cli/text/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

constexpr const char* kPlain = "\033[0m";

// How a part of the bar looks; told apart without colour, too.
struct Look {
  const char *unicode, *ascii, *color;
};
constexpr Look kGaps = {"·", ".", "\033[37m"}, kRuntime = {"▁", "~", "\033[90m"};

Look look_of(Category category) {
  switch (category) {
    case Category::parameters:
      return {"█", "#", "\033[34m"};
    case Category::adapters:
      return {"▓", "+", "\033[36m"};
    case Category::master_weights:
      return {"▨", "m", "\033[94m"};
    case Category::gradients:
      return {"▒", "g", "\033[32m"};
    case Category::optimizer_state:
      return {"▦", "o", "\033[33m"};
    case Category::activations:
      return {"░", "=", "\033[35m"};
    case Category::workspace:
      return {"▤", "w", "\033[95m"};
    case Category::io_staging:
      return {"▥", "s", "\033[31m"};
  }
  return {"?", "?", ""};
}

struct Segment {
  std::string label;
  int64_t bytes;
  Look look;
};

// One step for the sizes of a page: GiB where they are large, MiB for what a laptop holds, less for small models.
std::string size_text(int64_t bytes) {
  if (bytes >= kGiB && bytes < 64 * kGiB) return format_thousands((bytes + kMiB / 2) / kMiB) + " MiB";
  return format_bytes(bytes);
}

std::vector<Segment> segments_of(const PlanReport& report) {
  std::vector<Segment> segments;
  const auto add = [&](std::string label, int64_t bytes, const Look& look) {
    if (bytes > 0) segments.push_back({std::move(label), bytes, look});
  };
  for (const Category category : kCategories)
    add(label_of(category), report.category_bytes[category], look_of(category));
  add("gaps", report.arena_bytes - report.peak_live_bytes(), kGaps);
  add("runtime", report.runtime_overhead_bytes, kRuntime);
  return segments;
}

std::string glyph(const Segment& segment, const Terminal& terminal) {
  return terminal.unicode ? segment.look.unicode : segment.look.ascii;
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
    const int end = column_of(sum);
    if (column >= end) continue;
    if (terminal.color) text += segment.look.color;
    for (; column < end; ++column) text += column == line ? mark : glyph(segment, terminal);
    if (terminal.color) text += kPlain;
  }
  if (line >= column) text += std::string(static_cast<size_t>(line - column), ' ') + mark;
  text += "\n";
  for (const Segment& segment : segments)
    text += fmt::format("  {}{}{} {:<14} {:>12}\n", terminal.color ? segment.look.color : "", glyph(segment, terminal),
                        terminal.color ? kPlain : "", segment.label, size_text(segment.bytes));
  text += fmt::format("    {:<14} {:>12}", "in all", size_text(report.total_bytes()));
  if (report.budget_bytes)
    text += fmt::format(" of {}{}", size_text(*report.budget_bytes), report.fits ? "" : ": over the line");
  return text + "\n";
}

// What a terminal has room for behind `used` columns; the end of an op's name says most.
std::string last_columns(const std::string& name, int used, const Terminal& terminal) {
  const auto most = static_cast<size_t>(std::max(terminal.width - used, 12));
  if (!terminal.is_terminal || name.size() <= most) return name;
  return (terminal.unicode ? "…" : "~") + name.substr(name.size() - most + 1);
}

// Seconds of a step, what else was near, and what another line would change.
std::string outlook_text(const PlanReport& report) {
  if (!(report.predicted_seconds > 0)) return "";
  const double speed = report.tokens_per_step() / report.predicted_seconds;
  std::string text = fmt::format(
      "\n  a step takes about {} ({} tokens/s; {})\n", format_seconds(report.predicted_seconds), format_number(speed),
      report.rates_source == "calibrated" ? "rates of this machine, as calibrated"
                                          : "assumed rates; plimsoll calibrate measures them");
  const auto line = [&](std::string_view what, const PlanReport::Alternative& plan) {
    if (plan.total_bytes == report.total_bytes() && plan.predicted_seconds == report.predicted_seconds) {
      text += fmt::format("  {:<13} the same plan\n", what);
      return;
    }
    text += fmt::format("  {:<13} {} for a step, {}: {}\n", what, format_seconds(plan.predicted_seconds),
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
      format_seconds(report.compute_seconds), size_text(static_cast<int64_t>(bytes / report.compute_seconds)),
      size_text(static_cast<int64_t>(report.disk_bytes_per_second)), report.disk_source,
      waits > 0 ? "so a step waits " + format_seconds(waits) : "which costs no time");
}

std::string plan_page(const PlanReport& report, const Terminal& terminal) {
  std::string text = fmt::format("{}   {}, {} parameters, {} trained{}\n", report.model_name, report.architecture,
                                 format_thousands(report.total_params), format_thousands(report.trainable_params),
                                 report.trained.empty() ? "" : " (" + report.trained + ")");
  text += fmt::format(
      "{} {} of {} tokens at once, {} {} a step, {}, recompute in {} of {} layers{}, loss in chunks of {} rows{}{}\n\n",
      report.micro_batch, report.micro_batch == 1 ? "row" : "rows", format_thousands(report.seq_len),
      report.grad_accum_steps, report.grad_accum_steps == 1 ? "time" : "times", precision_name(report.precision),
      report.recompute_layers, report.layers, report.keep_attention ? " without attention" : "",
      format_thousands(report.ce_chunk_rows),
      report.router_aux_loss > 0 ? fmt::format(" and {} × the loss of uneven experts", report.router_aux_loss) : "",
      report.why.empty() ? "" : " (" + report.why + ")");
  text += bar_text(report, terminal);

  int name_columns = 5;
  for (const PlanReport::Phase& phase : report.phases) name_columns = std::max(name_columns, text_columns(phase.name));
  text += fmt::format("\n  {:<{}}  {:>12}   at\n", "phase", name_columns, "peak");
  for (const PlanReport::Phase& phase : report.phases)
    text += fmt::format(
        "  {:<{}}  {:>12}   {}\n", phase.name, name_columns, size_text(phase.bytes),
        phase.op.empty() ? "only what stays for the whole run" : last_columns(phase.op, name_columns + 19, terminal));

  const double gap = report.lower_bound_bytes > 0
                         ? 100.0 * static_cast<double>(report.arena_bytes - report.lower_bound_bytes) /
                               static_cast<double>(report.lower_bound_bytes)
                         : 0;
  text += fmt::format("\n  packing {:.1f} % above the lower bound · least that works: {} ({} bytes)\n", gap,
                      size_text(report.smallest_budget_bytes), format_thousands(report.smallest_budget_bytes));
  text += outlook_text(report);
  if (report.streams()) text += streaming_text(report);
  if (!report.suggestions.empty()) {
    text += "\n  what would change it\n";
    std::vector<std::vector<std::string>> rows;
    for (const Suggestion& suggestion : report.suggestions)
      rows.push_back(
          {suggestion.change, size_text(suggestion.total_bytes), report.fits_line(suggestion) ? "" : "still too much"});
    text += table_text(std::vector<Column>{{"", true}, {""}, {"", true}}, rows);
  }
  return text;
}

}  // namespace

std::string plan_text(const PlanReport& report, const Terminal& terminal) {
  const std::string page = plan_page(report, terminal);
  return terminal.is_terminal ? wrap_lines(page, terminal.width) : page;
}

}  // namespace plimsoll::cli
