// Megatron-Core and its relatives, by what their modules keep.
//
// Per layer and micro-batch, with n tokens of a rank, hidden width h, t tensor-parallel ranks (Korthikanti et al. 2022,
// arXiv:2205.05198, with the tensors of today's kernels): the inputs of both norms and what they give to the products
// (8nh bytes, cut by t with sequence parallelism), q, k, v and the attention's result with a log-sum-exp, the MLP's
// first result and the activation's, and one byte a value for each dropout. Without fused attention the scores come on
// top: softmax, mask and dropped scores. With 1F1B the first of p stages holds p micro-batches, the last one.
#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"
#include "engines/profiles.h"

namespace plimsoll {
namespace {

struct Split {
  double t, p, c, d, e, et;  // ranks of each kind; expert tensor parallel last
  double virtual_stages;
  bool sequence;
};

Split split_of(const EngineRun& run) {
  const EngineLayout& l = run.layout;
  const auto whole = [](int64_t n) { return static_cast<double>(std::max<int64_t>(1, n)); };
  return {whole(l.tensor),         whole(l.pipeline),  whole(l.context),
          whole(l.data),           whole(l.expert),    l.expert_tensor > 0 ? whole(l.expert_tensor) : whole(l.tensor),
          whole(l.virtual_stages), l.sequence_parallel};
}

struct LayerParameters {
  double dense = 0, expert = 0, replicated = 0;
};

bool gated(const ModelConfig& m) { return m.architecture != "megatron_gpt"; }

LayerParameters layer_parameters(const ModelConfig& m, size_t layer) {
  const auto h = static_cast<double>(m.hidden_size);
  const auto q = static_cast<double>(m.heads * m.head_dim), kv = static_cast<double>(m.kv_heads * m.head_dim);
  LayerParameters made;
  if (m.latent.kv_rank > 0) {
    const LatentConfig& a = m.latent;
    const auto heads = static_cast<double>(m.heads);
    const auto rank = static_cast<double>(a.kv_rank), rotary = static_cast<double>(a.rotary);
    const double query = static_cast<double>(a.plain + a.rotary) * heads;
    made.dense += a.q_rank > 0 ? static_cast<double>(a.q_rank) * (h + query) : h * query;
    made.replicated += h * (rank + rotary);
    made.dense += rank * heads * static_cast<double>(a.plain + a.value) + heads * static_cast<double>(a.value) * h;
  } else {
    made.dense += h * (q + 2 * kv) + q * h;
  }
  const double matrices = gated(m) ? 3 : 2;
  const bool moe = m.mixture.experts > 0 && (layer >= m.mixture.layers.size() || m.mixture.layers[layer]);
  if (moe) {
    const MixtureConfig& x = m.mixture;
    made.expert += static_cast<double>(x.experts * x.width) * h * matrices;
    made.dense += static_cast<double>(x.shared * x.width) * h * matrices;
    made.replicated += static_cast<double>(x.experts) * h;
  } else {
    made.dense += static_cast<double>(m.intermediate_size) * h * matrices;
  }
  made.replicated += 2 * h * (gated(m) ? 1 : 2);
  return made;
}

// Bytes that a layer keeps of one micro-batch.
double layer_bytes(const EngineRun& run, const StackMemory& stack, const Split& s, size_t layer) {
  const ModelConfig& m = run.model;
  const EngineRecipe& r = run.recipe;
  const double n = static_cast<double>(r.micro_batch * r.seq_len) / s.c;
  const auto h = static_cast<double>(m.hidden_size);
  const double norm_cut = s.sequence ? s.t : 1;
  const double stream = 2 * n * h / norm_cut;
  if (r.recompute == RecomputeKind::full) return stream;
  double bytes = 4 * stream;                                // inputs of two norms, what they give
  if (r.hidden_dropout > 0) bytes += 2 * n * h / norm_cut;  // masks
  const auto heads = static_cast<double>(m.heads);
  if (m.latent.kv_rank > 0) {
    const LatentConfig& a = m.latent;
    const double low = static_cast<double>(a.kv_rank + a.rotary + a.q_rank);
    bytes += 2 * 2 * n * low / norm_cut;  // the low-rank values, before and after their norms
    bytes += 2 * n * heads * static_cast<double>(2 * (a.plain + a.rotary) + 2 * a.value) / s.t;
  } else {
    bytes += 2 * n * static_cast<double>(2 * m.heads + 2 * m.kv_heads) * static_cast<double>(m.head_dim) / s.t;
  }
  const double scores = heads * n * static_cast<double>(r.seq_len) / s.t;
  const bool flash = r.attention == AttentionKernel::automatic ? stack.flash : r.attention == AttentionKernel::flash;
  if (!flash && r.recompute == RecomputeKind::none) bytes += scores * (r.attention_dropout > 0 ? 5 : 2);
  else bytes += 4 * n * heads / s.t;
  const double widths = gated(m) ? 3 : 2;  // gate and up, or one; the activation's result
  const bool moe = m.mixture.experts > 0 && (layer >= m.mixture.layers.size() || m.mixture.layers[layer]);
  if (moe) {
    const MixtureConfig& x = m.mixture;
    const double pairs = n * static_cast<double>(x.chosen) / (s.sequence ? s.t : 1) * (s.sequence ? s.t / s.et : 1);
    bytes += pairs * (2 * 2 * h + 2 * widths * static_cast<double>(x.width) / (s.sequence ? 1 : s.et));
    bytes += 2 * n * widths * static_cast<double>(x.shared * x.width) / s.t;
    bytes += 4 * n * static_cast<double>(x.experts) / norm_cut;
  } else {
    bytes += 2 * n * widths * static_cast<double>(m.intermediate_size) / s.t;
  }
  return bytes;
}

struct StageBytes {
  double weights = 0, gradients = 0, states = 0, kept = 0, loss = 0, work = 0;
  double sum() const { return weights + gradients + states + kept + work + loss; }
};

StageBytes stage_bytes(const EngineRun& run, const StackMemory& stack, const Split& s, int64_t stage) {
  const ModelConfig& m = run.model;
  const EngineRecipe& r = run.recipe;
  const auto h = static_cast<double>(m.hidden_size);
  const auto vocab = static_cast<double>(m.vocab_size);
  const auto stages = static_cast<int64_t>(s.p);
  StageBytes bytes;
  double dense = 0, expert = 0, kept_layer = 0, widest = 0;
  EngineRun plain = run;
  plain.recipe.recompute = RecomputeKind::none;
  for (int64_t i = 0; i < m.layers; ++i) {
    // Chunks of layers go round the stages v times. What does not divide goes to the middle, as the ends hold the
    // embedding and the head (Llama 3's 126 layers on 16 stages, arXiv:2407.21783).
    const int64_t chunks = stages * static_cast<int64_t>(s.virtual_stages);
    const int64_t least = m.layers / chunks, more = m.layers % chunks, begin = (chunks - more) / 2;
    const int64_t to_longer = begin * least, to_end = to_longer + more * (least + 1);
    const int64_t chunk = i < to_longer ? i / least
                          : i < to_end  ? begin + (i - to_longer) / (least + 1)
                                        : begin + more + (i - to_end) / least;
    if (chunk % stages != stage) continue;
    const LayerParameters p = layer_parameters(m, static_cast<size_t>(i));
    dense += p.dense / s.t + p.replicated;
    expert += p.expert / (s.e * s.et);
    kept_layer += layer_bytes(run, stack, s, static_cast<size_t>(i));
    widest = std::max(widest, layer_bytes(plain, stack, s, static_cast<size_t>(i)));
  }
  const bool first = stage == 0, last = stage == stages - 1;
  const double table = vocab * h / s.t;
  if (first) {
    dense += table;
    if (m.positions == PositionKind::learned) dense += static_cast<double>(m.context_length) * h;
  }
  if (last && !(first && m.tied_embeddings)) dense += table;
  const double all = dense + expert;
  const bool half = r.weights != WeightFormat::f32;
  bytes.weights = all * (half ? 2 : 4);
  // Gradients add up in f32, but for fp16 under DeepSpeed, which converts a rank's part only.
  const bool f16_parts = half && stack.half_gradients && run.layout.zero_stage > 0;
  const double gradient = f16_parts ? 2 : 4;
  bytes.gradients = all * gradient;
  double state = r.optimizer == EngineOptimizer::adamw_8bit ? 4 + 2 : r.optimizer == EngineOptimizer::muon ? 4 + 4 : 12;
  if (f16_parts) state += 4;
  const double dense_ranks = run.layout.zero_stage > 0 ? s.d * s.c : 1;
  const double expert_ranks = run.layout.zero_stage > 0 ? std::max(1.0, s.d * s.c * s.t / (s.e * s.et)) : 1;
  bytes.states = (half ? state : 8) * (dense / dense_ranks + expert / expert_ranks);
  if (run.layout.zero_stage > 1) bytes.gradients = all * gradient / dense_ranks;
  if (run.layout.zero_stage > 2) bytes.weights /= dense_ranks;

  const double n = static_cast<double>(r.micro_batch * r.seq_len) / s.c;
  const double norm_cut = s.sequence ? s.t : 1;
  const double batches = static_cast<double>(std::max<int64_t>(1, r.grad_accum_steps));
  double flight = std::min(batches, s.p - static_cast<double>(stage));
  if (s.virtual_stages > 1) {
    const double chunks = 2 * (s.p - static_cast<double>(stage) - 1) + (s.virtual_stages - 1) * s.p + 1;
    flight = std::min(batches * s.virtual_stages, chunks) / s.virtual_stages;
  }
  bytes.kept = kept_layer * flight;
  if (r.recompute == RecomputeKind::full) bytes.work += widest;
  // What lies between the stages: a layer's gradient and its input.
  bytes.work += 2 * 2 * n * h / norm_cut;
  if (first) bytes.kept += 2 * n * h / norm_cut * flight * (r.hidden_dropout > 0 ? 1.5 : 0.5);
  if (last) {
    const double logit = r.fused_loss ? 10 : memory_constant("megatron_logit_bytes");
    bytes.loss = logit * n * vocab / s.t + 2 * 2 * n * h / norm_cut;
  }
  return bytes;
}

}  // namespace

EngineMemory megatron_memory(const EngineRun& run, const StackMemory& stack) {
  const Split s = split_of(run);
  const auto stages = static_cast<int64_t>(s.p);
  if (stages > run.model.layers)
    throw caller_error("pipeline", "has more stages than the model has layers", "use fewer stages");
  if (run.recipe.method != TuneMethod::full)
    throw caller_error("method", "is not one of the Megatron profile", "use the torch profile for adapters");
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
  double workspace = memory_constant("workspace_bytes");
  if (run.recipe.weights != WeightFormat::f32 && stack.half_gradients &&
      run.layout.zero_stage > 0)  // DeepSpeed's buckets of 16-bit gradients
    workspace += std::min(memory_constant("zero_bucket_bytes"), most.gradients);
  const std::vector<Buffer> buffers = {
      buffer(most.weights, 0, 2), buffer(most.gradients, 0, 2), buffer(most.states, 0, 2), buffer(most.kept, 0, 1),
      buffer(most.loss, 1, 1),    buffer(most.work, 0, 1),      buffer(workspace, 0, 2),
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
