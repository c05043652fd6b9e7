// The schedule of a pipeline, event by event: 1F1B (Narayanan et al. 2019) and interleaved 1F1B (arXiv:2104.04473).
#pragma once

#include <cstdint>
#include <vector>

namespace plimsoll {

// Of one chunk of layers for one micro-batch.
struct StageSeconds {
  double forward = 0, backward = 0;
};

struct PipelineEvent {
  int64_t stage = 0, chunk = 0, micro_batch = 0;
  bool backward = false;
  double start = 0, end = 0;  // seconds
};

struct PipelineProblem {
  std::vector<StageSeconds> chunks;  // in the model's order; chunk c stands on stage c % stages
  int64_t stages = 1;
  int64_t micro_batches = 1;
  double transfer_seconds = 0;  // of activations or their gradients to the next stage
};

struct PipelineResult {
  double seconds = 0;
  std::vector<double> busy_seconds;   // of each stage
  std::vector<PipelineEvent> events;  // only when asked for, by start
};

// chunks.size() is a multiple of stages. With more than one chunk a stage, micro-batches go in whole groups of
// `stages`: a last group that is not full takes the time of a full one (Megatron-LM asks for full ones).
PipelineResult simulate_pipeline(const PipelineProblem& problem, bool keep_events = false);

// The same seconds without going through every micro-batch: once warm, each further one takes as long as the one
// before.
double pipeline_seconds(const PipelineProblem& problem);

}  // namespace plimsoll
