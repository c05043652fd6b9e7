#include "engines/measured/row_time.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "engines/engine_time.h"
#include "engines/rank_bytes.h"

namespace plimsoll {
namespace {

// Beyond this multiple of a device's memory the closed form is not wrong, the description is.
constexpr double kSurelyTooMuch = 1.5;

}  // namespace

TimeModel make_time_model() {
  struct Known {
    Catalog catalog = load_catalog();
    TimeConstants constants = load_time_constants();
  };
  return [known = std::make_shared<Known>()](const MeasuredRow& row) {
    TimeAnswer answer;
    if (row.inference) {
      answer.reason = "generates text: not a training step";
      return answer;
    }
    if (!row.unknown_time.empty()) {
      answer.reason = row.unknown_time;
      return answer;
    }
    const Device* device = find_device(known->catalog, row.run.device);
    if (device == nullptr) {
      answer.reason = row.run.device.empty()
                          ? "names no device"
                          : fmt::format("no device of the catalogue: {}", one_line(row.run.device, 60));
      return answer;
    }
    EngineRun run = row.run;
    TimeQuestion question;
    question.run = &run;
    question.device = device;
    question.habits = time_habits(row.run.engine);
    question.deterministic = row.deterministic;
    if (row.overlaps) {
      question.habits.overlap_gradients = question.habits.overlap_gather = *row.overlaps;
      question.habits.overlap_tensor = *row.overlaps && question.habits.overlap_tensor;
    }
    if (row.fp8_products || row.fp4_products) run.recipe.compute = ComputeMode::fp8;
    if (row.fp4_products) run.recipe.weights = WeightFormat::fp4;
    else if (row.fp8_products && run.recipe.weights == WeightFormat::fp4) run.recipe.weights = WeightFormat::nf4;
    if (row.mean_length > 0) run.recipe.seq_len = row.mean_length;
    if (!row.says_recompute && question.habits.recomputes) run.recipe.recompute = RecomputeKind::full;
    // It was measured, so it did fit: what its row leaves open is what makes it fit.
    const ModelShape shape = shape_of(run.model);
    const auto fits = [&] {
      return rank_bytes(run, shape).total() <= kSurelyTooMuch * static_cast<double>(device->memory_bytes);
    };
    if (!fits() && !row.says_recompute) run.recipe.recompute = RecomputeKind::full;
    if (!fits() && question.habits.offloads) run.layout.offload_optimizer = true;
    if (!fits()) {
      answer.reason = "as it is described it would not fit: a part of the layout isn't stated";
      return answer;
    }
    question.constants = known->constants;
    try {
      const EngineTime time = estimate_engine_time(question);
      answer.step_seconds = time.step_seconds;
      answer.low = time.low;
      answer.high = time.high;
      answer.tokens_per_second = time.tokens_per_second_per_device;
    } catch (const Error& error) {
      answer.reason = error.thing() + ": " + error.problem();
    }
    return answer;
  };
}

}  // namespace plimsoll
