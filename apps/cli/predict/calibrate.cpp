#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "backend/cpu/cpu_backend.h"
#include "base/error.h"
#include "base/text.h"
#include "calibrate/cpu_calibration.h"
#include "cli/arguments/recipe_options.h"
#include "cli/commands.h"
#include "cli/input/interrupt.h"
#include "cli/text/output.h"
#include "compile/plan_report.h"
#include "config/user_cache.h"
#include "formats/output_file.h"
#include "formats/text_file.h"

namespace plimsoll::cli {
namespace {

struct CalibrateOptions {
  std::string model, out, from;
  std::vector<RecipeFlag> flags;
  int64_t steps = 5;
  bool json = false;
};

int run_calibrate(const CalibrateOptions& options) {
  Recipe recipe = load_recipe("", options.flags);
  if (!options.model.empty()) recipe.model = options.model;
  // So that the work folder is removed again.
  const InterruptFlag interrupt("\nplimsoll: stopping behind this step; once more ends it at once\n");
  const Interrupted interrupted = [&] { return interrupt.is_set(); };
  const CpuCalibration calibration = options.from.empty() ? calibrate_cpu(recipe.precision, recipe.threads, interrupted)
                                                          : parse_op_rates(read_text_file(options.from), options.from);
  if (interrupted()) return 128 + interrupt.signal_number();
  if (options.from.empty())  // plans on this machine count with them from now on
    write_user_cache(rates_file_name(cpu_speed(recipe.precision).instructions, precision_name(recipe.precision),
                                     calibration.threads),
                     op_rates_json(calibration));
  if (!options.out.empty()) write_file_atomically(options.out, op_rates_json(calibration));
  std::optional<StepCheck> check;
  if (!recipe.model.empty()) check = check_step(recipe, calibration, options.steps, interrupted);
  if (interrupted()) return 128 + interrupt.signal_number();
  if (options.json) {
    Json document = Json::parse(op_rates_json(calibration));
    if (check)
      document["check"] = {{"model", recipe.model},
                           {"predicted_step_seconds", check->predicted_seconds},
                           {"measured_step_seconds", check->measured_seconds},
                           {"error", check->predicted_seconds / check->measured_seconds - 1},
                           {"measured_median_seconds", check->median_seconds},
                           {"measured_spread", check->spread},
                           {"waited_share", check->waited_share},
                           {"steps", check->steps}};
    write_json(document);
    return 0;
  }
  std::string text =
      fmt::format("{:<28}{:>10}{:>10}{:>16}{:>13}\n", "op", "GFLOP/s", "GB/s", "GB/s of weights", "µs a call");
  // A rate that the fit left at next to nothing is none.
  const auto inverse = [](double value) {
    return value > 1e-15 ? fmt::format("{:.1f}", 1e-9 / value) : std::string("-");
  };
  for (int kind = 0; kind < kOpKindCount; ++kind) {
    const OpRate& rate = calibration.rates[static_cast<size_t>(kind)];
    if (!rate.known) continue;
    text += fmt::format("{:<28}{:>10}{:>10}{:>16}{:>13}\n", name_of(static_cast<OpKind>(kind)),
                        inverse(rate.seconds_per_flop), inverse(rate.seconds_per_byte),
                        inverse(rate.seconds_per_weight_byte),
                        rate.seconds_per_call > 1e-9 ? fmt::format("{:.1f}", 1e6 * rate.seconds_per_call) : "-");
  }
  text += fmt::format("\nfitted in {:.0f} s\n", calibration.took_seconds);
  if (check)
    text += fmt::format(
        "{}: a step is predicted to take {:.3f} s and took {:.3f} s ({:+.1f} %); the quickest of {} steps, "
        "the median by the wall clock is {:.3f} s, they varied by {:.0f} %\n",
        recipe.model, check->predicted_seconds, check->measured_seconds,
        100 * (check->predicted_seconds / check->measured_seconds - 1), check->steps, check->median_seconds,
        100 * check->spread);
  const double waited = std::max(options.from.empty() ? calibration.waited_share : 0, check ? check->waited_share : 0);
  if (waited > kBusyShare)
    text += fmt::format(
        "this machine is busy: {:.0f} % of the time in which it could have run, it waited for a "
        "processor; repeat it when nothing else runs, or with --threads 1\n",
        100 * waited);
  write_page(text);
  return 0;
}

}  // namespace

Command calibrate_command() {
  auto options = std::make_shared<CalibrateOptions>();
  return {.name = "calibrate",
          .summary = "how fast this machine is: rates of our own engine, and a step of MODEL predicted and measured",
          .examples = {"plimsoll calibrate --out machine.json",
                       "plimsoll calibrate SmolLM2-135M-Instruct.gguf --seq-len 512 --global-batch 4 --json"},
          .arguments = {{.name = "[MODEL]",
                         .value_name = "MODEL",
                         .help = "train this one for a few steps on random tokens, beside the prediction",
                         .target = &options->model},
                        {.name = "--out", .value_name = "FILE.json", .help = "keep the rates", .target = &options->out},
                        {.name = "--from",
                         .value_name = "FILE.json",
                         .help = "take the rates that were kept, measure none",
                         .target = &options->from},
                        {.name = "--check-steps",
                         .value_name = "N",
                         .help = "steps of MODEL, the first of which isn't counted [5]",
                         .target = &options->steps,
                         .min = 2,
                         .max = 1000}},
          .recipe_flags = &options->flags,
          .json = &options->json,
          .run = [options] { return run_calibrate(*options); }};
}

}  // namespace plimsoll::cli
