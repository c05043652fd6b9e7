#include "engines/rank_bytes.h"

#include <algorithm>
#include <cmath>

#include "engines/engine_time.h"

namespace plimsoll {
namespace {

// Bytes of one base weight as stored, with its scales.
double weight_bytes(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return 4;
    case WeightFormat::bf16:
    case WeightFormat::f16:
      return 2;
    case WeightFormat::fp8:
      return 1;
    case WeightFormat::int8:
      return 1;
    case WeightFormat::nf4:
      return 0.5 + 4.0 / 64;  // an f32 scale for 64 values
    case WeightFormat::nf4_double:
      return 0.5 + 1.0 / 64 + 4.0 / (64 * 256);  // scales in 8 bit, 256 of them share one
    case WeightFormat::fp4:
      return 0.5 + 1.0 / 16;
    case WeightFormat::gptq4:
      return 0.5 + 2.5 / 128;
  }
  return 2;
}

// Blocks of a caching allocator are larger than what is asked for: 1.03 to 1.10 of the live bytes where shapes stay the
// same, in the published runs that state both (docs/search.md).
constexpr double kAllocator = 1.04;
// The process on the device: context, kernels, and the buffers of each communicator (tensor, pipeline, data, context).
constexpr double kContextBytes = 600e6, kCommunicatorBytes = 250e6;

struct StateBytes {
  double weight, gradient, optimizer;  // of a trained parameter
};

// Mixed precision: 16-bit weights, f32 gradients summed over micro-batches, f32 master weights and two states.
StateBytes trained_bytes(const EngineRecipe& recipe) {
  using Kind = decltype(recipe.optimizer);
  const bool pure32 = recipe.weights == WeightFormat::f32;
  StateBytes bytes{pure32 ? 4.0 : 2.0, 4.0, pure32 ? 8.0 : 12.0};
  if (recipe.half_states) bytes = {2.0, 2.0, 4.0};
  else if (recipe.optimizer == Kind::adamw_8bit) bytes.optimizer = pure32 ? 2.0 : 6.0;
  else if (recipe.optimizer == Kind::sgd_foreach) bytes.optimizer = pure32 ? 0.0 : 4.0;
  else if (recipe.optimizer == Kind::sgd_momentum_foreach) bytes.optimizer = pure32 ? 4.0 : 8.0;
  else if (recipe.optimizer == Kind::adafactor) bytes.optimizer = pure32 ? 0.1 : 4.1;
  return bytes;
}

double tokens_of(const EngineRun& run) {
  return static_cast<double>(run.recipe.micro_batch * run.recipe.seq_len) / static_cast<double>(run.layout.context);
}

// Micro-batches whose activations a stage holds at once, in whole stages (of all its chunks).
double in_flight(const EngineRun& run, int64_t stage) {
  const int64_t p = run.layout.pipeline, v = run.layout.virtual_stages, m = run.recipe.grad_accum_steps;
  if (v == 1) return static_cast<double>(std::min(m, p - stage));
  const int64_t chunks = std::min(m * v, (p - stage - 1) * 2 + (v - 1) * p + 1);
  return static_cast<double>(chunks) / static_cast<double>(v);
}

struct StageSums {
  double dense = 0, expert = 0, adapter = 0, kept = 0, kept_input = 0, largest = 0, at_work = 0;
  void add(const LayerBytes& layer, double count) {
    dense += count * layer.dense_parameters;
    expert += count * layer.expert_parameters;
    adapter += count * layer.adapter_parameters;
    kept += count * layer.kept;
    kept_input += count * layer.kept_input;
    largest = std::max(largest, layer.dense_parameters + layer.expert_parameters);
    at_work = std::max(at_work, layer.kept);
  }
};

RankBytes stage_bytes(const EngineRun& run, const ModelShape& model, const StageSums& sums, int64_t stage) {
  const EngineRecipe& recipe = run.recipe;
  const EngineLayout& layout = run.layout;
  const auto tensor = static_cast<double>(layout.tensor);
  const bool first = stage == 0, last = stage + 1 == layout.pipeline;
  const double tokens = tokens_of(run), hidden = static_cast<double>(model.hidden);
  double ends = 0;
  if (first) ends += static_cast<double>(model.embedding_parameters) / tensor;
  if (last) ends += static_cast<double>(model.head_parameters) / tensor;
  if (last && !first && model.tied) ends += static_cast<double>(model.embedding_parameters) / tensor;  // a copy
  const auto data = static_cast<double>(layout.data * layout.context);
  const double shard = layout.shard_ranks > 0 ? static_cast<double>(layout.shard_ranks) : data;
  const double expert_shard = std::max(1.0, shard / static_cast<double>(layout.expert));
  const auto cut = [&](int from_stage, double ranks) { return layout.zero_stage >= from_stage ? ranks : 1.0; };
  RankBytes bytes;
  bytes.stage = stage;
  const StateBytes trained = trained_bytes(recipe);
  if (recipe.method == TuneMethod::full) {
    const double dense = sums.dense + ends;
    bytes.weights = trained.weight * (dense / cut(3, shard) + sums.expert / cut(3, expert_shard));
    bytes.gradients = trained.gradient * (dense / cut(2, shard) + sums.expert / cut(2, expert_shard));
    bytes.optimizer = trained.optimizer * (dense / cut(1, shard) + sums.expert / cut(1, expert_shard));
    if (layout.zero_stage >= 2)  // one layer's gradients before they are reduced
      bytes.workspace += trained.weight * std::max(sums.largest, ends);
  } else {
    const double base = weight_bytes(recipe.weights);
    bytes.weights = base * (sums.dense / cut(3, shard) + sums.expert / cut(3, expert_shard)) +
                    2 * ends / cut(3, shard) + 4 * sums.adapter / cut(3, shard);
    bytes.gradients = 4 * sums.adapter / cut(2, shard);
    bytes.optimizer = 8 * sums.adapter / cut(1, shard);
    if (base < 2) bytes.workspace += 2 * sums.largest;  // one layer's weights in 16 bit
  }
  if (layout.zero_stage >= 3) {  // this layer's weights and the next one's, whole; the ends as a unit of their own
    const double whole =
        recipe.method == TuneMethod::full ? trained.weight : std::min(2.0, weight_bytes(recipe.weights));
    bytes.workspace += std::max(2 * whole * sums.largest, 2 * ends);
  }
  if (layout.offload_optimizer) bytes.optimizer = 0;
  if (layout.offload_parameters) bytes.weights = 0;
  const bool recomputes = recipe.recompute == RecomputeKind::full;
  const double kept = recomputes ? sums.kept_input : sums.kept;
  bytes.activations = kAllocator * kept * in_flight(run, stage);
  if (recomputes) bytes.workspace += kAllocator * sums.at_work;
  if (last)  // logits in 16 bit and their gradient in f32, of this rank's part of the vocabulary
    bytes.workspace += kAllocator * 6 * tokens * static_cast<double>(model.vocab) / tensor;
  bytes.workspace += kAllocator * 4 * 2 * tokens * hidden;  // gradients of activations on their way
  double communicators = 0;
  for (const int64_t size : {layout.tensor, layout.pipeline, layout.data, layout.context, layout.expert})
    communicators += size > 1 ? 1 : 0;
  bytes.workspace += kContextBytes + kCommunicatorBytes * communicators;
  return bytes;
}

// Layers of a chunk when `chunks` chunks share the model: what does not divide goes to the middle.
int64_t layers_of_chunk(const ModelShape& model, int64_t chunks, int64_t chunk) {
  const int64_t least = model.layers / chunks, more = model.layers % chunks, first = (chunks - more) / 2;
  return least + (chunk >= first && chunk < first + more ? 1 : 0);
}

}  // namespace

LayerBytes layer_bytes(const EngineRun& run, const ModelShape& model, const LayerShape& layer) {
  const auto tensor = static_cast<double>(run.layout.tensor);
  const double tokens = tokens_of(run), hidden = static_cast<double>(model.hidden);
  LayerBytes bytes;
  bytes.expert_parameters =
      static_cast<double>(layer.expert_parameters) / (tensor * static_cast<double>(run.layout.expert));
  bytes.dense_parameters = static_cast<double>(layer.parameters - layer.expert_parameters) / tensor;
  if (run.recipe.method != TuneMethod::full)
    bytes.adapter_parameters = static_cast<double>(adapter_parameters(run.recipe, layer)) / tensor;
  // Bytes a token, in 16 bit: both norms' inputs and results; q, k, v, the result of attention and its log-sum-exp;
  // what goes into the gate, and its result.
  const double whole = run.layout.sequence_parallel ? tensor : 1.0;
  const double norms = 2 * 2 * 2 * hidden / whole;
  const double attention =
      (2 * static_cast<double>(2 * layer.q_size + 2 * layer.kv_size) + 4 * static_cast<double>(layer.heads)) / tensor;
  const double inner = layer.gated ? 3 : 2;
  double mlp = 2 * inner * static_cast<double>(layer.ffn) / tensor;
  if (layer.experts > 0)
    mlp += static_cast<double>(layer.chosen) *
           (2 * 2 * hidden + 2 * inner * static_cast<double>(layer.expert_ffn) / tensor);
  bytes.kept = tokens * (norms + attention + mlp);
  bytes.kept_input = tokens * 2 * hidden / whole;
  return bytes;
}

RankBytes rank_bytes(const EngineRun& run, const ModelShape& model) {
  const int64_t stages = run.layout.pipeline, v = run.layout.virtual_stages, chunks = stages * v;
  RankBytes worst;
  for (int64_t stage = 0; stage < stages; ++stage) {
    StageSums sums;
    int64_t begin = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t count = layers_of_chunk(model, chunks, chunk);
      if (chunk % stages == stage)
        for (int64_t i = begin; i < begin + count; ++i) sums.add(layer_bytes(run, model, model.layer(i)), 1);
      begin += count;
    }
    const RankBytes bytes = stage_bytes(run, model, sums, stage);
    if (bytes.total() > worst.total()) worst = bytes;
  }
  return worst;
}

RankBytes rank_bytes(const EngineRun& run, const ModelShape& model, const std::vector<LayerBytes>& layers) {
  const int64_t stages = run.layout.pipeline, v = run.layout.virtual_stages, chunks = stages * v;
  RankBytes worst;
  if (stages == 1) {
    StageSums sums;
    for (size_t g = 0; g < layers.size(); ++g) sums.add(layers[g], static_cast<double>(model.groups[g].count));
    return stage_bytes(run, model, sums, 0);
  }
  if (layers.size() == 1) {
    // Equal layers: of the stages between first and last, the first one with the most layers has the most in flight.
    int64_t most = -1, at = -1;
    for (int64_t stage = 0; stage < stages; ++stage) {
      int64_t count = 0;
      for (int64_t c = stage; c < chunks; c += stages) count += layers_of_chunk(model, chunks, c);
      const bool end = stage == 0 || stage + 1 == stages;
      if (!end && count <= most) continue;
      if (!end) most = count, at = stage;
      if (!end) continue;
      StageSums sums;
      sums.add(layers[0], static_cast<double>(count));
      const RankBytes bytes = stage_bytes(run, model, sums, stage);
      if (bytes.total() > worst.total()) worst = bytes;
    }
    // A later stage may hold one layer more, an earlier one more micro-batches: both are candidates.
    for (const int64_t stage : {int64_t{1}, at}) {
      if (stage <= 0 || stage + 1 >= stages) continue;
      int64_t count = 0;
      for (int64_t c = stage; c < chunks; c += stages) count += layers_of_chunk(model, chunks, c);
      StageSums sums;
      sums.add(layers[0], static_cast<double>(count));
      const RankBytes bytes = stage_bytes(run, model, sums, stage);
      if (bytes.total() > worst.total()) worst = bytes;
    }
    return worst;
  }
  for (int64_t stage = 0; stage < stages; ++stage) {
    StageSums sums;
    int64_t begin = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t end = begin + layers_of_chunk(model, chunks, chunk);
      if (chunk % stages == stage) {
        int64_t at = 0;
        for (size_t g = 0; g < layers.size(); ++g) {
          const int64_t from = std::max(begin, at), to = std::min(end, at + model.groups[g].count);
          if (to > from) sums.add(layers[g], static_cast<double>(to - from));
          at += model.groups[g].count;
        }
      }
      begin = end;
    }
    const RankBytes bytes = stage_bytes(run, model, sums, stage);
    if (bytes.total() > worst.total()) worst = bytes;
  }
  return worst;
}

}  // namespace plimsoll
