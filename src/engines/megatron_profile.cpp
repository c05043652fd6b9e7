// Megatron-Core and its relatives, by what their modules keep (megatron_layer.cpp). With 1F1B the first of p stages
// holds p micro-batches, the last one. The stage with the most counts.
//
// ZeRO-2 and 3 beside tensor and pipeline cuts are Megatron-FSDP's optim_grads and optim_grads_params
// (megatron/core/distributed/fsdp): gradients and weights are cut over the data ranks; a layer is gathered as a whole
// while it is at work and the next one beside it, and so are its gradients until they are reduced; what is in no layer
// is a unit of its own.
#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"
#include "engines/layout/pipeline_stages.h"
#include "engines/megatron_layer.h"
#include "engines/offload.h"
#include "engines/profiles.h"
#include "engines/serving_memory.h"

namespace plimsoll {
namespace {

constexpr double kHalf = 2;           // bytes of a 16-bit value
constexpr double kUnitsInFlight = 2;  // layers that ZeRO-3 has gathered at once

struct StageBytes {
  double weights = 0, gradients = 0, states = 0, kept = 0, loss = 0, work = 0, window = 0;
  double sum() const { return weights + gradients + states + kept + work + loss + window; }
};

// Parameters of one stage on a rank, tensor and expert cuts applied.
struct StageParameters {
  double dense = 0, expert = 0, ends = 0;   // of the base model
  double adapter = 0, expert_adapter = 0;   // trained beside it
  double largest = 0, largest_adapter = 0;  // of one layer, experts and all
  double trained() const { return adapter + expert_adapter; }
};

struct StageSums {
  StageParameters parameters;
  double kept = 0;   // of the micro-batches in flight
  double again = 0;  // of the layer with the most that is computed again
};

int64_t micro_batches(const EngineRun& run) { return std::max<int64_t>(1, run.recipe.grad_accum_steps); }

StageSums sums_of_stage(const EngineRun& run, const StackMemory& stack, const MegatronSplit& s, int64_t stage) {
  const ModelConfig& m = run.model;
  const auto stages = static_cast<int64_t>(s.pipeline);
  StageSums sums;
  StageParameters& all = sums.parameters;
  std::vector<std::vector<size_t>> chunks = layers_of_stage(pipeline_chunks(run.layout, m.layers), stages, stage);
  const std::vector<double> flight = micro_batches_in_flight(run.layout, micro_batches(run), stage);
  const bool first = stage == 0, last = stage == stages - 1;
  const int64_t further = last ? run.recipe.further_tokens : 0;
  for (int64_t i = 0; i < further; ++i) chunks.back().push_back(static_cast<size_t>(m.layers + i));
  for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    for (const size_t layer : chunks[chunk]) {
      const MegatronParameters p = megatron_parameters(m, run.recipe, layer);
      const double dense = p.dense / s.tensor + p.replicated, expert = p.expert / (s.expert * s.expert_tensor);
      const double adapter = p.adapter / s.tensor, expert_adapter = p.expert_adapter / (s.expert * s.expert_tensor);
      all.dense += dense, all.expert += expert, all.adapter += adapter, all.expert_adapter += expert_adapter;
      all.largest = std::max(all.largest, dense + expert);
      all.largest_adapter = std::max(all.largest_adapter, adapter + expert_adapter);
      const MegatronLayerBytes bytes = megatron_layer_bytes(run, stack, layer);
      sums.kept += bytes.kept * flight[chunk];
      sums.again = std::max(sums.again, bytes.again);
    }
  }
  const auto h = static_cast<double>(m.hidden_size);
  const double table = static_cast<double>(m.vocab_size) * h / s.tensor;
  if (first) {
    all.ends += table;
    if (m.positions == PositionKind::learned) all.ends += static_cast<double>(m.context_length) * h;
  }
  if (last && !(first && m.tied_embeddings)) all.ends += table;
  // A further token's layer joins the last result with the next token's embedding: a product and three norms.
  if (further > 0 && !first) all.ends += table;
  all.dense += static_cast<double>(further) * (2 * h * h / s.tensor + 3 * h);
  return sums;
}

double state_bytes(const EngineRecipe& r) {  // of a trained value: f32 copy of a 16-bit weight, and moments
  const double master = r.weights != WeightFormat::f32 ? 4 : 0;
  switch (r.optimizer) {
    case EngineOptimizer::adamw_8bit:
      return master + 2;
    case EngineOptimizer::muon:
    case EngineOptimizer::sgd_momentum_foreach:
      return master + 4;
    case EngineOptimizer::sgd_foreach:
    case EngineOptimizer::none:
      return master;
    default:
      return master + 8;
  }
}

StageBytes stage_bytes(const EngineRun& run, const StackMemory& stack, const MegatronSplit& s, int64_t stage) {
  const ModelConfig& m = run.model;
  const EngineRecipe& r = run.recipe;
  const auto h = static_cast<double>(m.hidden_size);
  const auto vocab = static_cast<double>(m.vocab_size);
  const auto stages = static_cast<int64_t>(s.pipeline);
  const bool first = stage == 0, last = stage == stages - 1;
  const StageSums sums = sums_of_stage(run, stack, s, stage);
  const StageParameters& p = sums.parameters;
  const int zero = run.layout.zero_stage;
  const bool adapters = r.method != TuneMethod::full;
  const bool half = r.weights != WeightFormat::f32;
  StageBytes bytes;

  // Over how many ranks each kind is cut, from its stage of ZeRO on.
  const double ranks = run.layout.shard_ranks > 0 ? static_cast<double>(run.layout.shard_ranks) : s.data * s.context;
  const double expert_ranks = std::max(1.0, ranks * s.tensor / (s.expert * s.expert_tensor));
  const auto cut = [&](int from, double dense, double expert) {
    return zero >= from ? dense / ranks + expert / expert_ranks : dense + expert;
  };
  // Quantized are the products of layers; what is outside them has 16 bits.
  const double weight = adapters ? weight_bits(r.weights) / 8 : half ? kHalf : 4;
  bytes.weights = weight * cut(3, p.dense, p.expert) + (adapters ? kHalf : weight) * cut(3, p.ends, 0);
  // Gradients add up in f32, but for fp16 under DeepSpeed, which converts a rank's part only.
  const bool f16_parts = half && stack.half_gradients && zero > 0;
  const double gradient = f16_parts ? kHalf : 4;
  const double dense = adapters ? p.adapter : p.dense + p.ends, expert = adapters ? p.expert_adapter : p.expert;
  if (adapters) bytes.weights += kHalf * cut(3, dense, expert);
  bytes.gradients = gradient * cut(2, dense, expert);
  bytes.states = (state_bytes(r) + (f16_parts ? 4 : 0)) * cut(1, dense, expert);
  const double units = std::max(kUnitsInFlight * p.largest, p.ends);
  const double trained_units = adapters ? kUnitsInFlight * p.largest_adapter : units;
  if (zero > 2) bytes.window += weight * units + (adapters ? kHalf * trained_units : 0);
  if (zero > 1) bytes.window += gradient * trained_units;
  if (adapters && weight < kHalf) bytes.work += kHalf * p.largest;  // a layer's weights in 16 bits

  const double n = megatron_tokens(run);
  const auto batches = static_cast<double>(micro_batches(run));
  bytes.kept = sums.kept;
  bytes.work += sums.again;
  // What lies between the stages: a layer's gradient and its input.
  bytes.work += 2 * kHalf * n * h / s.whole();
  if (first)
    bytes.kept += 2 * n * h / s.whole() * micro_batches_in_flight(run.layout, micro_batches(run), stage).front() *
                  (r.hidden_dropout > 0 ? 1.5 : 0.5);
  if (last) {
    const double logits = n * vocab / s.tensor;
    bytes.loss = (r.fused_loss ? 10 : memory_constant("megatron_logit_bytes")) * logits + 2 * kHalf * n * h / s.whole();
    // Each further token has logits of its own: their softmax in f32, and what is joined and normed before.
    bytes.kept += static_cast<double>(r.further_tokens) * (4 * logits + 4 * kHalf * n * h / s.whole());
    // Gradients of the logits that wait, with what the product was of; those of the last micro-batch are in the loss.
    if (r.deferred_logits && batches > 1) {
      const auto most = static_cast<double>(*r.deferred_logits);
      bytes.kept += (most > 0 ? std::min(most, batches - 1) : batches - 1) * kHalf * (logits + n * h);
    }
  }
  return bytes;
}

// Transformer Engine's workspaces of grouped products, whether or not they are used at once.
double grouped_workspace(const EngineRun& run) {
  const bool grouped = run.recipe.grouped_experts && run.model.mixture.experts > 0;
  return grouped ? memory_constant("grouped_gemm_workspace_bytes") : 0;
}

}  // namespace

EngineMemory megatron_memory(const EngineRun& run, const StackMemory& stack) {
  const MegatronSplit s = megatron_split(run.layout);
  const auto stages = static_cast<int64_t>(s.pipeline);
  if (stages > run.model.layers)
    throw caller_error("pipeline", "has more stages than the model has layers", "use fewer stages");
  refuse_offload(run, OffloadAbility::optimizer_to_host);
  StageBytes most;
  int64_t where = run.layout.stage;
  if (where >= 0) {
    where = std::min(where, stages - 1);
    most = stage_bytes(run, stack, s, where);
  } else {
    for (int64_t i = 0; i < stages; ++i) {
      const StageBytes bytes = stage_bytes(run, stack, s, i);
      if (i > 0 && bytes.sum() <= most.sum()) continue;
      most = bytes;
      where = i;
    }
  }
  EngineMemory memory;
  memory.kind = "megatron";
  // Time 0: forward, 1: the loss, 2: the optimizer's step. The states are there throughout.
  const auto buffer = [](double size, int32_t first, int32_t last) {
    Buffer made;
    made.size_bytes = static_cast<int64_t>(size);
    made.alignment = 1;
    made.first = first;
    made.last = last;
    return made;
  };
  double workspace = memory_constant("workspace_bytes") + grouped_workspace(run);
  if (run.recipe.weights != WeightFormat::f32 && stack.half_gradients &&
      run.layout.zero_stage > 0)  // DeepSpeed's buckets of 16-bit gradients
    workspace += std::min(static_cast<double>(reduce_bucket_bytes(run.layout.zero)), most.gradients);
  const std::vector<Buffer> buffers = {
      buffer(most.weights, 0, 2), buffer(most.gradients, 0, 2), buffer(most.states, 0, 2),
      buffer(most.kept, 0, 1),    buffer(most.loss, 1, 1),      buffer(most.work + most.window, 0, 1),
      buffer(workspace, 0, 2),
  };
  const LivePeak peak = find_live_peak(buffers);
  memory.allocated.bytes = peak.bytes;
  memory.parameters = buffers[0].size_bytes;
  memory.gradients = buffers[1].size_bytes;
  memory.optimizer_state = buffers[2].size_bytes;
  memory.activations = peak.bytes - memory.parameters - memory.gradients - memory.optimizer_state;
  memory.reserved.bytes =
      static_cast<int64_t>(static_cast<double>(peak.bytes) * (1 + memory_constant("fragmentation")));
  memory.peak_phase = "backward";
  memory.peak_op = "pipeline stage " + std::to_string(where);
  memory.phases = {{"forward", peak.bytes - buffers[4].size_bytes}, {"backward", peak.bytes}};
  if (run.layout.offload_optimizer) {  // Megatron's --optimizer-cpu-offload: the states, and gradients on their way
    move_off(memory, memory.optimizer_state, &EngineMemory::optimizer_state);
    memory.host_bytes += memory.gradients / (run.layout.zero_stage == 1 ? static_cast<int64_t>(s.data * s.context) : 1);
  }
  if (run.recipe.method != TuneMethod::full)
    memory.note = "no measured run with adapters under this engine's cuts was at hand";
  finish_memory(memory, run, stack);
  if (run.recipe.maybe_scores && run.recipe.attention == AttentionKernel::automatic) {
    EngineRun scores = run;
    scores.recipe.attention = AttentionKernel::math;
    const EngineMemory most_bytes = megatron_memory(scores, stack);
    memory.allocated.high = std::max(memory.allocated.high, most_bytes.allocated.high);
    memory.reserved.high = std::max(memory.reserved.high, most_bytes.reserved.high);
    memory.device_used.high = std::max(memory.device_used.high, most_bytes.device_used.high);
  }
  return memory;
}

}  // namespace plimsoll
