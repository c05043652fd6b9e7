#include "engines/row_time.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "engines/engine_time.h"

namespace plimsoll {

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
    const Device* device = find_device(known->catalog, row.run.device);
    if (device == nullptr) {
      answer.reason = row.run.device.empty()
                          ? "names no device"
                          : fmt::format("no device of the catalogue: {}", one_line(row.run.device, 60));
      return answer;
    }
    TimeQuestion question;
    question.run = &row.run;
    question.device = device;
    question.habits = time_habits(row.run.engine);
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
