// Predictions beside measured rows: what `plimsoll validate` shows.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engines/measured/measured_rows.h"

namespace plimsoll {

struct ValidatedFigure {
  std::string id, source, quantity;
  double measured = 0, predicted = 0, low = 0, high = 0;
  bool used = false;
  std::string reason = {};  // why not used
  double error() const { return measured > 0 ? (predicted - measured) / measured : 0; }
};

// What the time model says of a row: seconds of a step and tokens per second of a device, or a reason why not.
struct TimeAnswer {
  double step_seconds = 0, low = 0, high = 0;
  double tokens_per_second = 0;  // of one device
  std::string reason;
};
using TimeModel = std::function<TimeAnswer(const MeasuredRow&)>;

std::vector<ValidatedFigure> validate_rows(const std::vector<MeasuredRow>& rows, const TimeModel& time_model);

struct ErrorSummary {
  std::string source, quantity;
  size_t used = 0, left_out = 0;
  double median = 0, p90 = 0, p95 = 0, worst = 0;  // of absolute relative errors
  std::string worst_id;
  size_t inside = 0;                                    // measured figures within [low, high]
  std::vector<std::pair<std::string, size_t>> reasons;  // of those left out
};

// One for each source and quantity, and one over all sources (source "") for each quantity.
std::vector<ErrorSummary> summarize(const std::vector<ValidatedFigure>& figures);

// id,quantity,measured,predicted,low,high,used,reason
std::string validation_csv(const std::vector<ValidatedFigure>& figures);

}  // namespace plimsoll
