// How long our own engine's steps take on the machine at hand: a rate for each kind of op, fitted on short runs of
// small random models, and the step of any plan as the sum over its ops.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "compile/choose_plan.h"
#include "compile/op_rates.h"
#include "config/recipe/recipe.h"
#include "ops/op_def.h"
#include "runtime/executor.h"

namespace plimsoll {

using CpuCalibration = OpRates;

// Above this share of waiting, a machine is too busy for its figures to be those of the machine.
constexpr double kBusyShare = 0.1;

// Ops of a kind: what they cost (bytes without those of weights), and what they took.
struct OpSample {
  double flops = 0, bytes = 0, weight_bytes = 0, calls = 0, seconds = 0;
};
// Least squares of the relative errors, weighted by seconds, with no rate below 0. A single sample gives one rate: by
// flops where the kind has any, else by bytes.
OpRate fit_rate(const std::vector<OpSample>& samples);

// Trains small random models of the recipe's precision for a few steps each, in a folder that is removed again. About a
// minute; `most_seconds` stops it between runs. Asked after every step, `interrupted` ends it with what it has by then:
// rates of no use, and no folder left.
using Interrupted = std::function<bool()>;
CpuCalibration calibrate_cpu(DType precision, int64_t threads, const Interrupted& interrupted = {},
                             double most_seconds = 110);

// What a short run of a recipe really takes, beside the prediction: `steps` steps on random tokens.
struct StepCheck {
  double predicted_seconds = 0;
  double measured_seconds = 0;  // of the quickest step, by the wall or by the processors' time, whichever is less
  double median_seconds = 0;    // of a step, by the wall
  double spread = 0;            // (slowest - quickest) / median of the measured steps, by the wall
  double waited_share = 0;      // as in CpuCalibration
  int64_t steps = 0;
};
StepCheck check_step(const Recipe& recipe, const CpuCalibration& calibration, int64_t steps,
                     const Interrupted& interrupted = {});

}  // namespace plimsoll
