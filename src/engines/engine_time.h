// Seconds of a training step on another engine: what each layer's kernels and collectives take on one rank, put
// together by the pipeline's schedule. A prediction with an interval, as the bytes of engine_profile.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cost/collective.h"
#include "cost/device_catalog.h"
#include "cost/kernel_time.h"
#include "cost/model_shape.h"
#include "cost/pipeline.h"
#include "cost/time_constants.h"
#include "engines/engine_run.h"
#include "engines/time_habits.h"

namespace plimsoll {

// What time goes to.
enum class Cause : uint8_t {
  products,
  attention,
  element_wise,
  adapters,
  dequantize,
  loss,
  host,  // the device waits for the host to start kernels
  tensor_parallel,
  context_parallel,
  expert_parallel,
  recompute,  // everything that is done a second time
  pipeline_bubble,
  data_parallel,  // what of it nothing hides
  optimizer,
  offload,
  count
};
constexpr size_t kCauses = static_cast<size_t>(Cause::count);
std::string_view cause_name(Cause cause);

struct CauseSeconds {
  std::array<double, kCauses> seconds{};
  double& operator[](Cause cause) { return seconds[static_cast<size_t>(cause)]; }
  double operator[](Cause cause) const { return seconds[static_cast<size_t>(cause)]; }
  double sum() const;
  void add(const CauseSeconds& other, double times = 1);
};

// One layer, or one end of the model, for one micro-batch on one rank.
struct LayerSeconds {
  CauseSeconds forward, backward;  // backward with what is recomputed
};

struct EngineTime {
  double step_seconds = 0, low = 0, high = 0;  // 90 of 100 measured rows of this kind lie within
  double tokens_per_step = 0;                  // of all devices
  double tokens_per_second_per_device = 0;
  // Model flops: forward and backward of the model, causal attention at half its square, nothing recomputed, 2/3 of the
  // backward pass of frozen products left out. Hardware flops add what is recomputed. Both over the peak of 16-bit
  // products (of 8-bit ones in fp8 runs), dense.
  double model_flops = 0, hardware_flops = 0;  // of a step, all devices
  double mfu = 0, hfu = 0;
  CauseSeconds shares;                  // of step_seconds, on the slowest pipeline stage
  std::vector<PipelineEvent> timeline;  // only when asked for
  std::string note;
};

struct TimeQuestion {
  const EngineRun* run = nullptr;
  const Device* device = nullptr;
  TimeHabits habits;
  TimeConstants constants;
  bool deterministic = false;   // kernels that give the same bits each time: fewer of them are fused
  double expert_imbalance = 0;  // how much longer experts take for the one with the most rows
  bool timeline = false;
};

// Throws a caller Error where the catalogue lacks a figure that the run needs, or where the layout cannot be.
EngineTime estimate_engine_time(const TimeQuestion& question);
EngineTime estimate_engine_time(const TimeQuestion& question, const ModelShape& model);

// The parts that a step is put together from. They depend on tensor, context and expert parallelism, micro-batch and
// recipe, not on the rest of the layout: the search over layouts works them out once for each setting.
struct StepParts {
  std::vector<LayerSeconds> groups;  // one for each group of equal layers
  LayerSeconds embedding, head;
  std::vector<StageSeconds> group_sums;  // the same, all causes together
  StageSeconds embedding_sum, head_sum;
};
StepParts step_parts(const TimeQuestion& question, const ModelShape& model);
EngineTime estimate_engine_time(const TimeQuestion& question, const ModelShape& model, const StepParts& parts);

// The pipeline of the run, and the seconds of its step when those of the pipeline are known: together the step_seconds
// of estimate_engine_time, without its causes.
PipelineProblem pipeline_problem(const TimeQuestion& question, const ModelShape& model, const StepParts& parts);
double step_seconds_of(const TimeQuestion& question, const ModelShape& model, const PipelineProblem& problem,
                       double pipeline_seconds);

LayerSeconds layer_seconds(const TimeQuestion& question, const ModelShape& model, const LayerShape& layer);
LayerSeconds embedding_seconds(const TimeQuestion& question, const ModelShape& model);
LayerSeconds head_seconds(const TimeQuestion& question, const ModelShape& model);

int64_t adapter_parameters(const EngineRecipe& recipe, const LayerShape& layer);

// The timeline as a Chrome trace (chrome://tracing, Perfetto).
std::string chrome_trace(const EngineTime& time);

}  // namespace plimsoll
