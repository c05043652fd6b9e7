#include "cli/predict/time_report.h"

#include <fmt/format.h>

namespace plimsoll::cli {

std::string time_text(const EngineTime& time) {
  std::string text = fmt::format(
      "{:.1f} % MFU, {:.1f} % HFU; a step takes {:.2f} s, 9 of 10 measured steps of this kind took {:.2f} to {:.2f}\n",
      100 * time.mfu, 100 * time.hfu, time.step_seconds, time.low, time.high);
  for (size_t i = 0; i < kCauses; ++i)
    if (time.shares.seconds[i] > 0.005 * time.step_seconds)
      text += fmt::format("  {:<18}{:>6.1f} %\n", cause_name(static_cast<Cause>(i)),
                          100 * time.shares.seconds[i] / time.step_seconds);
  return text;
}

Json time_json(const EngineTime& time) {
  Json shares = Json::object();
  for (size_t i = 0; i < kCauses; ++i)
    if (time.shares.seconds[i] > 0) shares[std::string(cause_name(static_cast<Cause>(i)))] = time.shares.seconds[i];
  return {{"step_seconds", time.step_seconds},
          {"low", time.low},
          {"high", time.high},
          {"tokens_per_second_per_device", time.tokens_per_second_per_device},
          {"mfu", time.mfu},
          {"hfu", time.hfu},
          {"flops_convention", "causal attention at half its square; MFU without, HFU with recomputation; dense peak"},
          {"seconds_by_cause", shares}};
}

}  // namespace plimsoll::cli
