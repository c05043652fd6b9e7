#include "engines/measured/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "engines/engine_profile.h"

namespace plimsoll {
namespace {

constexpr double kGiBytes = 1024.0 * 1024.0 * 1024.0;

// The figure of a memory profile that a published quantity is compared with.
const ByteInterval& figure_of(const EngineMemory& memory, MemoryMeasure measure) {
  switch (measure) {
    case MemoryMeasure::allocated:
      return memory.allocated;
    case MemoryMeasure::reserved:
      return memory.reserved;
    case MemoryMeasure::device:
      break;
  }
  return memory.device_used;
}

void fill(ValidatedFigure& figure, const ByteInterval& interval, double unit) {
  figure.predicted = static_cast<double>(interval.bytes) / unit;
  figure.low = static_cast<double>(interval.low) / unit;
  figure.high = static_cast<double>(interval.high) / unit;
  figure.used = true;
}

bool is_memory(std::string_view quantity) {
  return quantity == "peak_bytes" || quantity == "reserved_bytes" || quantity == "memory_gib";
}

double quantile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

}  // namespace

std::vector<ValidatedFigure> validate_rows(const std::vector<MeasuredRow>& rows, const TimeModel& time_model) {
  std::vector<ValidatedFigure> figures;
  for (const MeasuredRow& row : rows) {
    EngineMemory memory;
    std::string memory_reason = !row.reason.empty() ? row.reason : row.unknown_memory;
    TimeAnswer time;
    time.reason = row.reason;
    const auto asks = [&](bool bytes) {
      return std::any_of(row.figures.begin(), row.figures.end(),
                         [&](const MeasuredFigure& each) { return is_memory(each.quantity) == bytes; });
    };
    if (memory_reason.empty() && asks(true)) {
      try {
        memory = estimate_engine_memory(row.run);
      } catch (const Error& error) {
        memory_reason = error.thing() + ": " + error.problem();
      }
    }
    if (time.reason.empty() && asks(false)) {
      if (time_model) time = time_model(row);
      else time.reason = "no time model";
    }
    for (const MeasuredFigure& each : row.figures) {
      ValidatedFigure figure{.id = row.id, .source = row.source, .quantity = each.quantity, .measured = each.value};
      if (is_memory(each.quantity)) {
        figure.reason = memory_reason;
        if (memory_reason.empty()) {
          if (each.quantity == "peak_bytes") fill(figure, memory.allocated, 1);
          else if (each.quantity == "reserved_bytes") fill(figure, memory.reserved, 1);
          else fill(figure, figure_of(memory, row.measure), kGiBytes * row.gib);
        }
      } else {
        figure.reason = time.reason;
        if (time.reason.empty() && time.step_seconds > 0) {
          const bool seconds = each.quantity == "step_seconds";
          figure.predicted = seconds ? time.step_seconds : time.tokens_per_second;
          figure.low = seconds ? time.low : time.tokens_per_second * time.step_seconds / time.high;
          figure.high = seconds ? time.high : time.tokens_per_second * time.step_seconds / time.low;
          figure.used = true;
        }
      }
      figures.push_back(std::move(figure));
    }
  }
  return figures;
}

std::vector<ErrorSummary> summarize(const std::vector<ValidatedFigure>& figures) {
  std::map<std::pair<std::string, std::string>, std::vector<const ValidatedFigure*>> groups;
  for (const ValidatedFigure& figure : figures) {
    groups[{figure.quantity, figure.source}].push_back(&figure);
    if (!figure.source.empty()) groups[{figure.quantity, ""}].push_back(&figure);
  }
  std::vector<ErrorSummary> summaries;
  for (const auto& [key, members] : groups) {
    ErrorSummary summary;
    summary.quantity = key.first;
    summary.source = key.second;
    std::vector<double> errors;
    std::map<std::string, size_t> reasons;
    for (const ValidatedFigure* figure : members) {
      if (!figure->used) {
        ++summary.left_out;
        ++reasons[figure->reason];
        continue;
      }
      ++summary.used;
      summary.inside += figure->measured >= figure->low && figure->measured <= figure->high ? 1 : 0;
      const double error = std::abs(figure->error());
      if (errors.empty() || error > summary.worst) {
        summary.worst = error;
        summary.worst_id = figure->id;
      }
      errors.push_back(error);
    }
    std::sort(errors.begin(), errors.end());
    summary.median = quantile(errors, 0.5);
    summary.p90 = quantile(errors, 0.9);
    summary.p95 = quantile(errors, 0.95);
    summary.reasons.assign(reasons.begin(), reasons.end());
    std::stable_sort(summary.reasons.begin(), summary.reasons.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    summaries.push_back(std::move(summary));
  }
  return summaries;
}

std::string validation_csv(const std::vector<ValidatedFigure>& figures) {
  std::string text = "id,quantity,measured,predicted,low,high,used,reason\n";
  for (const ValidatedFigure& figure : figures) {
    text += fmt::format("{},{},{:.12g},", csv_cell(figure.id), figure.quantity, figure.measured);
    if (figure.used) text += fmt::format("{:.12g},{:.12g},{:.12g},yes,\n", figure.predicted, figure.low, figure.high);
    else text += fmt::format(",,,no,{}\n", csv_cell(figure.reason));
  }
  return text;
}

}  // namespace plimsoll
