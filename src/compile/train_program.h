// The graphs of a training run, one per phase, for one set of choices. This is the table of contents of Plimsoll: read
// build_train_program in train_program.cpp first.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arch/architecture.h"
#include "config/model_config.h"
#include "config/recipe/recipe.h"
#include "passes/lora.h"
#include "passes/optimizer_step.h"
#include "passes/quantize.h"
#include "passes/stream_inputs.h"

namespace plimsoll {

// What a plan may choose; given in the recipe, or found by choose_plan.
struct TrainChoices {
  int64_t micro_batch = 1;       // rows a micro-step
  int64_t recompute_layers = 0;  // first layers whose activations are made again
  int64_t ce_chunk_rows = 256;   // rows of logits that exist at once
  int64_t streamed_layers = 0;   // first layers whose frozen weights lie on disk
  bool keep_attention = false;   // recomputed layers keep what attention gave
  bool streamed_inputs = false;  // what recomputed layers keep lies on disk in between
  bool operator==(const TrainChoices&) const = default;
};

// Names of the phases, as plans print them.
namespace phase_names {
inline constexpr const char* kLoad = "load";
inline constexpr const char* kTrainStep = "train step";  // one micro-batch: forward and backward
inline constexpr const char* kUpdate = "update";         // not where the optimizer runs in the backward pass
// The first of two passes over a step's batch, where updates in the backward pass must know all gradients before.
inline constexpr const char* kGradientNorm = "gradient norm";
inline constexpr const char* kEvaluate = "evaluate";
inline constexpr const char* kSave = "save";      // checkpoint: trained weights and optimizer state
inline constexpr const char* kResume = "resume";  // and back
inline constexpr const char* kExport = "export";  // the result: adapter or model
}  // namespace phase_names

// What is known of the files beside the configuration.
struct TrainSources {
  std::vector<LoraModule> adapter_modules;  // of an adapter to start from; empty: chosen by the recipe's targets
  int64_t load_staging_bytes = 4 << 20;     // for reading and converting weights
  PackedFormats packed;                     // of frozen weights, with Method::qlora
};

// A frozen weight that is streamed, and its bytes as it is computed with.
struct WeightOnDisk {
  std::string name;
  int64_t bytes = 0;
};

struct TrainProgram {
  std::vector<Graph> phases;
  std::vector<ParameterSpec> parameters;  // of the model
  std::vector<TrainedParameter> trained;  // parameters or adapter matrices, in graph order
  std::vector<LoraModule> lora;           // empty with Method::full
  std::vector<float> inv_freq;
  std::vector<WeightOnDisk> streamed;      // in the order in which they are first read
  std::vector<OffloadedTensor> offloaded;  // of a micro-batch, written and read again
  double step_flops = 0;                   // of one micro-batch, without recomputation (for MFU)
};

// The optimizer in the backward pass.
struct FusedUpdate {
  OptimizerAttrs attrs;
  double clip_norm = 0;
  bool two_passes = false;  // the gradients' norm is known only after a pass of its own
};

// The step before recomputation is chosen: forward, adapters, backward. Everything that does not depend on
// TrainChoices::recompute_layers and ce_chunk_rows, so that a search builds it once for each micro-batch.
struct StepBase {
  Graph forward, step;
  std::optional<FusedUpdate> fused;
  std::vector<ParameterSpec> parameters;
  std::vector<TrainedParameter> trained;
  std::vector<LoraModule> lora;
  std::vector<float> inv_freq;
};
// Sees the graph after each pass, with the seconds that the pass took; empty: nobody looks.
using PassObserver = std::function<void(std::string_view pass, const Graph& graph, double seconds)>;

StepBase build_step_base(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                         int64_t micro_batch, const PassObserver& observer = {}, bool verified = true);

// The step with `choices`' recomputation and chunks; of two passes the one that updates, or that before it.
Graph build_step(const StepBase& base, const TrainChoices& choices, const PassObserver& observer = {},
                 bool norm_pass = false);
// The same for a search over many choices: nothing is verified, and loss chunks are set by set_chunk_rows.
Graph build_step_unverified(const StepBase& base, const TrainChoices& choices);
void set_chunk_rows(Graph& graph, int64_t chunk_rows);

TrainProgram build_train_program(const StepBase& base, const Recipe& recipe, const TrainSources& sources,
                                 const TrainChoices& choices);

// What loading `weight` stages: `least`, or more where it is packed on the way.
int64_t load_staging_of(const Value& weight, int64_t least);

OptimizerAttrs optimizer_attrs(const Recipe& recipe);

// Of the loss that keeps experts in even use, from the recipe or the model; 0: none. Caller Error for a model without
// it.
double balance_weight(const ModelConfig& config, const Recipe& recipe);

}  // namespace plimsoll
