// Per layer and micro-batch, with n tokens of a rank, hidden width h, t tensor-parallel ranks (Korthikanti et al. 2022,
// arXiv:2205.05198, with the tensors of today's kernels): the inputs of both norms and what they give to the products
// (8nh bytes, cut by t with sequence parallelism), q, k, v and the attention's result with a log-sum-exp, the MLP's
// first result and the activation's, and one byte a value for each dropout. Without fused attention the scores come on
// top: softmax, mask and dropped scores.
//
// Experts (megatron/core/transformer/moe): a token's copies on their way to its experts (their input), the experts'
// first results, and the activation's. A router's weight multiplies that before the second product; where gate and
// weight are not one kernel (no gated MLP), the product is one tensor more. What comes back is kept to be put together.
//
// A module that is computed again (--recompute-modules) keeps its inputs only. The outputs of core_attn, mlp and moe
// stay; of layernorm, moe_act and mla_up_proj not even these (Megatron-Core's "output-discarding" checkpoints). A
// frozen product needs its input only for its adapter.
#include "engines/megatron_layer.h"

#include <algorithm>

#include "cost/model_shape.h"
#include "engines/engine_time.h"

namespace plimsoll {
namespace {

constexpr double kHalf = 2;  // bytes of an activation

struct Adapted {
  bool qkv = true, projection = true, up = true, down = true;
};

bool names_any(const EngineRecipe& recipe, std::initializer_list<std::string_view> names) {
  return std::any_of(recipe.lora_targets.begin(), recipe.lora_targets.end(), [&](const std::string& target) {
    return std::find(names.begin(), names.end(), target) != names.end();
  });
}

// Which products need their inputs for gradients of weights.
Adapted adapted(const EngineRecipe& recipe) {
  if (recipe.method == TuneMethod::full || names_any(recipe, {"all-linear"})) return {};
  return {names_any(recipe, {"q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn", "linear_qkv"}),
          names_any(recipe, {"o_proj", "dense", "out_proj", "linear_proj"}),
          names_any(recipe, {"gate_proj", "up_proj", "gate_up_proj", "c_fc", "fc1", "linear_fc1"}),
          names_any(recipe, {"down_proj", "fc2", "linear_fc2"})};
}

bool is_gated(const ModelConfig& m) { return m.architecture != "megatron_gpt"; }

bool has_mixture(const ModelConfig& m, size_t layer) {
  if (m.mixture.experts <= 0) return false;
  if (m.mixture.layers.empty()) return true;
  return m.mixture.layers[std::min(layer, m.mixture.layers.size() - 1)];
}

}  // namespace

bool set_recompute_module(RecomputeModules& m, std::string_view name) {
  const std::pair<std::string_view, bool*> known[] = {
      {"core_attn", &m.core_attn},          {"mlp", &m.mlp},         {"moe", &m.moe},
      {"layernorm", &m.layernorm},          {"moe_act", &m.moe_act}, {"mla_up_proj", &m.mla_up_proj},
      {"shared_experts", &m.shared_experts}};
  for (const auto& [module, flag] : known)
    if (module == name) return *flag = true;
  return false;
}

MegatronSplit megatron_split(const EngineLayout& l) {
  const auto whole = [](int64_t n) { return static_cast<double>(std::max<int64_t>(1, n)); };
  return {whole(l.tensor),         whole(l.pipeline),  whole(l.context),
          whole(l.data),           whole(l.expert),    l.expert_tensor > 0 ? whole(l.expert_tensor) : whole(l.tensor),
          whole(l.virtual_stages), l.sequence_parallel};
}

double megatron_tokens(const EngineRun& run) {
  return static_cast<double>(run.recipe.micro_batch * run.recipe.seq_len) /
         static_cast<double>(std::max<int64_t>(1, run.layout.context));
}

MegatronParameters megatron_parameters(const ModelConfig& m, const EngineRecipe& recipe, size_t layer) {
  const auto h = static_cast<double>(m.hidden_size);
  const auto q = static_cast<double>(m.heads * m.head_dim), kv = static_cast<double>(m.kv_heads * m.head_dim);
  const double r = recipe.method == TuneMethod::full ? 0.0 : static_cast<double>(recipe.lora_rank);
  const Adapted targets = adapted(recipe);
  MegatronParameters made;
  // An adapter of a product: r values for each of its inputs and outputs.
  const auto adapter = [&](bool wanted, double in, double out) { return wanted ? r * (in + out) : 0.0; };
  if (m.latent.kv_rank > 0) {
    const LatentConfig& a = m.latent;
    const auto heads = static_cast<double>(m.heads);
    const auto rank = static_cast<double>(a.kv_rank), rotary = static_cast<double>(a.rotary);
    const double query = static_cast<double>(a.plain + a.rotary) * heads;
    const auto low = static_cast<double>(a.q_rank);
    const double values = heads * static_cast<double>(a.value), keys = heads * static_cast<double>(a.plain + a.value);
    made.dense += a.q_rank > 0 ? low * (h + query) : h * query;
    made.replicated += h * (rank + rotary);
    made.dense += rank * keys + values * h;
    made.adapter += adapter(targets.qkv, a.q_rank > 0 ? low : h, query) + adapter(targets.qkv, h, rank + rotary) +
                    adapter(targets.qkv, rank, keys) + adapter(targets.projection, values, h);
  } else {
    made.dense += h * (q + 2 * kv) + q * h;
    made.adapter += adapter(targets.qkv, h, q + 2 * kv) + adapter(targets.projection, q, h);
  }
  const double first = is_gated(m) ? 2 : 1;
  const auto mlp = [&](double width) { return width * h * (first + 1); };
  const auto mlp_adapter = [&](double width) {
    return adapter(targets.up, h, first * width) + adapter(targets.down, width, h);
  };
  if (has_mixture(m, layer)) {
    const MixtureConfig& x = m.mixture;
    const auto experts = static_cast<double>(x.experts), width = static_cast<double>(x.width);
    const double shared = static_cast<double>(x.shared) * width;
    made.expert += experts * mlp(width);
    made.expert_adapter += experts * mlp_adapter(width);
    made.dense += mlp(shared);
    if (shared > 0) made.adapter += mlp_adapter(shared);
    made.replicated += experts * h;
  } else {
    made.dense += mlp(static_cast<double>(m.intermediate_size));
    made.adapter += mlp_adapter(static_cast<double>(m.intermediate_size));
  }
  made.replicated += 2 * h * (is_gated(m) ? 1 : 2);
  return made;
}

MegatronLayerBytes megatron_layer_bytes(const EngineRun& run, const StackMemory& stack, size_t layer) {
  const ModelConfig& m = run.model;
  const EngineRecipe& r = run.recipe;
  const MegatronSplit s = megatron_split(run.layout);
  const Adapted needs = adapted(r);
  const double n = megatron_tokens(run), t = s.tensor;
  const auto h = static_cast<double>(m.hidden_size), heads = static_cast<double>(m.heads);
  RecomputeModules again = r.recompute == RecomputeKind::selective ? r.modules : RecomputeModules{};
  if (r.recompute == RecomputeKind::selective && !again.any()) again.core_attn = true;
  const double stream = kHalf * n * h / s.whole();
  MegatronLayerBytes bytes;
  // Kept, unless its module is computed again: then it is there only while the layer's backward pass runs.
  const auto keep = [&](double size, bool is_made_again) { (is_made_again ? bytes.again : bytes.kept) += size; };

  // Norms: their inputs, and what they give to the products.
  bytes.kept += 2 * stream;
  if (needs.qkv) keep(stream, again.layernorm);
  const bool moe = has_mixture(m, layer);
  // The second norm's result is the input of a module: it stays where that module is the one that is computed again.
  if (needs.up || moe) keep(stream, again.layernorm && !(moe ? again.moe : again.mlp));
  if (r.hidden_dropout > 0) bytes.kept += 2 * n * h / s.whole();  // masks

  if (m.latent.kv_rank > 0) {
    const LatentConfig& a = m.latent;
    const auto low = static_cast<double>(a.kv_rank + a.rotary + a.q_rank);
    bytes.kept += 2 * kHalf * n * low / s.whole();  // the low-rank values, before and after their norms
    keep(kHalf * n * heads * static_cast<double>(2 * (a.plain + a.rotary) + a.value) / t, again.mla_up_proj);
    bytes.kept += kHalf * n * heads * static_cast<double>(a.value) / t;
  } else {
    bytes.kept += kHalf * n * static_cast<double>(2 * m.heads + 2 * m.kv_heads) * static_cast<double>(m.head_dim) / t;
  }
  const double scores = heads * n * static_cast<double>(r.seq_len) / t;
  const bool flash = r.attention == AttentionKernel::automatic ? stack.flash : r.attention == AttentionKernel::flash;
  keep(flash ? 4 * n * heads / t : scores * (r.attention_dropout > 0 ? 5 : 2), again.core_attn);

  const double first = is_gated(m) ? 2 : 1;  // gate and up, or one
  if (moe) {
    const MixtureConfig& x = m.mixture;
    const auto width = static_cast<double>(x.width), chosen = static_cast<double>(x.chosen);
    const double local = n / s.whole() * chosen;  // copies of this rank's tokens
    const double copies = local * (s.sequence ? s.expert_tensor : 1);
    const double inner = kHalf * copies * width / s.expert_tensor;
    keep(kHalf * copies * h, again.moe);
    keep(first * inner, again.moe);
    if (!is_gated(m)) keep(inner, again.moe || again.moe_act);  // before the router's weight
    if (needs.down) keep(inner, again.moe || again.moe_act);
    keep(kHalf * local * h, again.moe);
    const double shared = kHalf * n * static_cast<double>(x.shared) * width / t;
    keep(first * shared, again.moe || again.shared_experts);
    if (needs.down) keep(shared, again.moe || again.shared_experts);
    bytes.kept += 4 * n * static_cast<double>(x.experts) / s.whole();
  } else {
    const double inner = kHalf * n * static_cast<double>(m.intermediate_size) / t;
    keep(first * inner, again.mlp);
    if (needs.down) keep(inner, again.mlp);
  }
  // The small side of each adapter.
  if (r.method != TuneMethod::full) {
    const double adapters =
        (needs.qkv ? 1 : 0) + (needs.projection ? 1 : 0) + (needs.up ? 1 : 0) + (needs.down ? 1 : 0);
    bytes.kept += adapters * kHalf * n * static_cast<double>(r.lora_rank);
  }
  if (r.recompute == RecomputeKind::full) {
    bytes.again = bytes.kept + bytes.again;
    bytes.kept = stream;
  }
  return bytes;
}

}  // namespace plimsoll
