// What the kernels and collectives of one layer take. Bytes of element-wise work are counted op by op, in elements read
// and written; see docs/time.md for the lists.
#include <algorithm>
#include <cmath>

#include "engines/engine_time.h"

namespace plimsoll {
namespace {

using Cut = ProductShape::Cut;

// Passes over the values of a token, in elements (each read or written once).
struct Passes {
  double norm, residual, rotary, gate, plain_activation, loss_forward, loss_backward;
};
// One kernel each: a norm reads and writes its row; an addition reads two and writes one; a rotation reads and writes
// q and k; a gate reads two and writes one.
constexpr Passes kFused = {2, 3, 2, 3, 2, 2, 2};
// As single PyTorch ops. Norm in f32 (counted in 16-bit elements): cast 3, square 4, mean 2, scale 4, cast back 3,
// weight 2. Rotary: two products, a rotation by halves and an addition, 10. Gate: activation 2, product 3. Loss: cast
// to f32 3, log-softmax 4, backwards 4 and 3.
constexpr Passes kEager = {18, 3, 10, 5, 2, 7, 7};

// What the host has to start beside what every layer has: casts of autocast, an adapted product's casts, two products,
// scale and addition, routing and gathering of experts.
constexpr double kAutocastLaunches = 8, kAdapterLaunches = 7;
// Of one step round the ring of context-parallel ranks: sending, attention, and putting the results together.
constexpr double kRingLaunches = 15;
constexpr double kBackwardLaunches = 1.5;  // of the forward ones

// Stacks of before flash attention don't run on devices with 8-bit products: there the same name is a later version.
bool needs_new_software(const Device& device) { return device.fp8 > 0; }

struct Setting {
  const Device* device;
  const EngineRun& run;
  const EngineRecipe& recipe;
  const EngineLayout& layout;
  const TimeHabits& habits;
  const TimeConstants& constants;
  KernelRates rates;
  Fabric fabric;
  ProductFormat format;
  double tokens;   // of a micro-batch on this rank
  double element;  // bytes of an activation
  bool autocast, adapter;
};

Setting setting_of(const TimeQuestion& question) {
  const EngineRecipe& recipe = question.run->recipe;
  const EngineLayout& layout = question.run->layout;
  ProductFormat format = ProductFormat::half;
  if (recipe.compute == ComputeMode::f32) format = ProductFormat::f32;
  if (recipe.compute == ComputeMode::fp8)
    format = recipe.weights == WeightFormat::fp4 ? ProductFormat::fp4 : ProductFormat::fp8;
  const bool autocast = recipe.compute == ComputeMode::amp_bf16 || recipe.compute == ComputeMode::amp_f16;
  return {question.device,
          *question.run,
          recipe,
          layout,
          question.habits,
          question.constants,
          kernel_rates(*question.device, question.constants,
                       static_cast<FlashKind>(std::clamp(question.habits.flash, 1, 3))),
          fabric_of(*question.device, question.constants),
          format,
          static_cast<double>(recipe.micro_batch * recipe.seq_len) / static_cast<double>(layout.context),
          recipe.compute == ComputeMode::f32 ? 4.0 : 2.0,
          autocast,
          recipe.method != TuneMethod::full};
}

bool is_target(const EngineRecipe& recipe, const ProductShape& product, bool rows_cut) {
  if (recipe.method == TuneMethod::full) return false;
  if (recipe.lora_targets.empty()) return product.attention && !rows_cut;
  for (const std::string& name : recipe.lora_targets) {
    if (name == "all-linear") return true;
    const bool attention = name.find("attn") != std::string::npos || name == "q_proj" || name == "k_proj" ||
                           name == "v_proj" || name == "o_proj" || name == "qkv_proj" || name == "query_key_value" ||
                           name == "Wqkv" || name == "q" || name == "k" || name == "v" || name == "o";
    const bool output = name == "o_proj" || name == "down_proj" || name == "c_proj" || name == "o" || name == "down" ||
                        name == "w2" || name == "dense" || name == "out_proj";
    if (product.attention == attention && rows_cut == output) return true;
  }
  return false;
}

// How many of the matrices inside a product have an adapter: three of q, k and v, one where they are one matrix.
double adapted_parts(const EngineRecipe& recipe, const ProductShape& product, bool gated) {
  const bool rows = product.cut == Cut::rows;
  if (!is_target(recipe, product, rows)) return 0;
  if (rows) return 1;
  const auto named = [&](std::string_view name) {
    return std::find(recipe.lora_targets.begin(), recipe.lora_targets.end(), name) != recipe.lora_targets.end();
  };
  const bool one_matrix = named("c_attn") || named("qkv_proj") || named("Wqkv") || named("query_key_value");
  if (product.attention && one_matrix && !named("q_proj")) return 1;
  double parts = 0;
  for (const std::string& name : recipe.lora_targets) {
    if (name == "all-linear") return product.attention ? 3 : gated ? 2 : 1;
    if (product.attention &&
        (name == "q_proj" || name == "k_proj" || name == "v_proj" || name == "q" || name == "k" || name == "v"))
      ++parts;
    if (!product.attention && (name == "gate_proj" || name == "up_proj" || name == "gate" || name == "up" ||
                               name == "w1" || name == "w3" || name == "fc1" || name == "c_fc"))
      ++parts;
  }
  return std::max(1.0, parts);
}

struct Split {
  double out, in;
};
Split split_of(const ProductShape& product, double tensor) {
  Split split{static_cast<double>(product.out), static_cast<double>(product.in)};
  if (product.cut == Cut::columns) split.out /= tensor;
  if (product.cut == Cut::rows) split.in /= tensor;
  return split;
}

// Forward and backward of one product with `rows` rows, `count` times.
void add_product(const Setting& s, const ProductShape& product, double rows, double count, bool gated, double tensor,
                 LayerSeconds& layer) {
  const auto [out, in] = split_of(product, tensor);
  const double forward = product_seconds(s.rates, rows, out, in, s.format, count);
  layer.forward[Cause::products] += forward;
  layer.backward[Cause::products] += product_seconds(s.rates, rows, in, out, s.format, count);
  if (!s.adapter) {
    layer.backward[Cause::products] += product_seconds(s.rates, rows, in, out, s.format, count);
    // The sum over micro-batches is read and written, and as an operation of its own the new gradient, too.
    layer.backward[Cause::element_wise] +=
        stream_seconds(s.rates, (2 * s.habits.gradient_bytes + (s.habits.fused ? 0 : 2)) * out * in * count);
  } else {
    const double parts = adapted_parts(s.recipe, product, gated);
    if (parts > 0) {
      // x·A and its product with B are bound by memory: x is read (and cast), the result read, scaled, added, written.
      const auto r = static_cast<double>(s.recipe.lora_rank);
      const double passes = s.habits.fused ? 1 : 3;
      const double bytes = s.element * passes * rows * (parts * in + 2 * out);
      const double flops = 2 * rows * r * (parts * in + out);
      const double once = stream_seconds(s.rates, bytes) +
                          flops / s.rates.product[static_cast<int>(ProductFormat::half)] +
                          2 * parts * s.rates.fixed_seconds;
      layer.forward[Cause::adapters] += count * once;
      layer.backward[Cause::adapters] += 2 * count * once;
    }
  }
  const WeightFormat stored = s.recipe.weights;
  const bool quantized = s.recipe.method == TuneMethod::qlora || stored == WeightFormat::nf4 ||
                         stored == WeightFormat::nf4_double || stored == WeightFormat::gptq4 ||
                         stored == WeightFormat::int8;
  if (quantized && stored != WeightFormat::bf16 && stored != WeightFormat::f16 && stored != WeightFormat::f32) {
    // Bytes read and written for an element: its code and the 16-bit result; GPTQ's integers are unpacked by shifts and
    // masks as operations of their own.
    const double read = stored == WeightFormat::int8 || stored == WeightFormat::fp8 ? 1.0
                        : stored == WeightFormat::gptq4                             ? 20.0
                                                                                    : 0.56;
    const double seconds = stream_seconds(s.rates, (read + 2) * out * in * count);
    layer.forward[Cause::dequantize] += seconds;
    layer.backward[Cause::dequantize] += seconds;
  } else if (s.autocast && s.layout.zero_stage < 3) {
    layer.forward[Cause::element_wise] +=
        stream_seconds(s.rates, 6 * out * in * count);  // a 16-bit copy of each weight
  }
}

void add_attention(const Setting& s, const LayerShape& shape, double tensor, LayerSeconds& layer) {
  const double heads = static_cast<double>(shape.heads) / tensor;
  const double width = heads * static_cast<double>(shape.key_dim + shape.value_dim);
  const bool flash =
      s.recipe.attention == AttentionKernel::automatic
          ? s.habits.flash > 0 || needs_new_software(*s.device)
          : s.recipe.attention == AttentionKernel::flash || s.recipe.attention == AttentionKernel::efficient;
  if (flash) {
    const double keys = mean_keys(s.recipe.seq_len, shape.window);
    layer.forward[Cause::attention] += attention_seconds(s.rates, s.tokens, keys, width, false) + s.rates.fixed_seconds;
    layer.backward[Cause::attention] += attention_seconds(s.rates, s.tokens, keys, width, true) + s.rates.fixed_seconds;
    return;
  }
  // The square is made, scaled and masked, put through softmax (and dropout), and multiplied: passes over all scores.
  const auto keys = static_cast<double>(s.recipe.seq_len);
  const double scores = s.tokens * keys * heads;
  const double passes = s.habits.fused ? 5 : 10;
  const double rows = s.tokens / std::max(1.0, keys);
  const double forward =
      product_seconds(s.rates, keys, keys, static_cast<double>(shape.key_dim), ProductFormat::half, 1) * rows * heads +
      product_seconds(s.rates, keys, static_cast<double>(shape.value_dim), keys, ProductFormat::half, 1) * rows *
          heads +
      stream_seconds(s.rates, passes * s.element * scores);
  layer.forward[Cause::attention] += forward;
  layer.backward[Cause::attention] += 2 * forward;
}

// Collectives of tensor parallelism: one all-reduce after attention and one after the MLP, and the same backward; with
// sequence parallelism each is a reduce-scatter and an all-gather, which move as much.
void add_tensor_parallel(const Setting& s, double hidden, bool two_blocks, LayerSeconds& layer) {
  const int64_t t = s.layout.tensor;
  if (t <= 1) return;
  const double bytes = s.element * s.tokens * hidden;
  const int64_t in_node = ranks_in_node(s.fabric, t, 1);
  double once;
  if (s.layout.sequence_parallel)
    once = collective_seconds(s.fabric, Collective::reduce_scatter, bytes, t, in_node) +
           collective_seconds(s.fabric, Collective::all_gather, bytes, t, in_node);
  else once = collective_seconds(s.fabric, Collective::all_reduce, bytes, t, in_node);
  const double seconds = (two_blocks ? 2 : 1) * once;
  const auto exposed = [&](const CauseSeconds& work) {
    if (!s.habits.overlap_tensor) return seconds;
    const double cover = work[Cause::products];
    return std::max(0.0, seconds - cover) + s.constants.overlap_cost * std::min(seconds, cover);
  };
  layer.forward[Cause::tensor_parallel] += exposed(layer.forward);
  layer.backward[Cause::tensor_parallel] += exposed(layer.backward);
}

void add_host(const Setting& s, double launches, LayerSeconds& layer) {
  const double forward = s.constants.launch_seconds * launches, backward = forward * kBackwardLaunches;
  layer.forward[Cause::host] += std::max(0.0, forward - layer.forward.sum());
  layer.backward[Cause::host] += std::max(0.0, backward - layer.backward.sum());
}

bool recomputes_attention_only(const Setting& s) { return s.recipe.recompute == RecomputeKind::selective; }

void add_recompute(const Setting& s, LayerSeconds& layer) {
  if (s.recipe.recompute == RecomputeKind::none) return;
  if (recomputes_attention_only(s)) layer.backward[Cause::recompute] += layer.forward[Cause::attention];
  else layer.backward[Cause::recompute] += layer.forward.sum();
}

}  // namespace

int64_t adapter_parameters(const EngineRecipe& recipe, const LayerShape& layer) {
  double sum = 0;
  const auto add = [&](const ProductShape& product, double count) {
    const double parts = adapted_parts(recipe, product, layer.gated);
    if (parts > 0)
      sum += count * static_cast<double>(recipe.lora_rank) *
             (parts * static_cast<double>(product.in) + static_cast<double>(product.out));
  };
  for (const ProductShape& product : layer.products) add(product, 1);
  for (const ProductShape& product : layer.expert) add(product, static_cast<double>(layer.experts));
  return static_cast<int64_t>(sum);
}

LayerSeconds layer_seconds(const TimeQuestion& question, const ModelShape& model, const LayerShape& shape) {
  const Setting s = setting_of(question);
  LayerSeconds layer;
  const auto tensor = static_cast<double>(s.layout.tensor);
  const auto hidden = static_cast<double>(model.hidden);
  double adapted = 0;
  for (const ProductShape& product : shape.products) {
    add_product(s, product, s.tokens, 1, shape.gated, tensor, layer);
    adapted += adapted_parts(s.recipe, product, shape.gated);
  }
  if (shape.heads > 0) add_attention(s, shape, tensor, layer);
  const Passes& passes = s.habits.fused ? kFused : kEager;
  // Values that tensor parallelism leaves whole on each rank, unless sequence parallelism cuts them.
  const double whole = s.layout.sequence_parallel ? tensor : 1.0;
  double elements = (static_cast<double>(shape.norms) * passes.norm + 2 * passes.residual) * hidden / whole;
  if (shape.rotary) elements += passes.rotary * static_cast<double>(shape.q_size + shape.kv_size) / tensor;
  const double activation = shape.gated ? passes.gate : passes.plain_activation;
  elements += activation * static_cast<double>(shape.ffn) / tensor;
  if (shape.experts > 0) {
    const auto experts = static_cast<double>(shape.experts), expert_ranks = static_cast<double>(s.layout.expert);
    const double rows_all = s.tokens * static_cast<double>(shape.chosen);  // a rank's share of all experts' rows
    const double local = std::max(1.0, experts / expert_ranks);
    const double busy = std::min(local, std::max(1.0, rows_all));
    LayerSeconds uneven;
    for (const ProductShape& product : shape.expert)
      add_product(s, product, rows_all / busy, busy, shape.gated, tensor, uneven);
    const double longer = 1 + question.expert_imbalance;
    layer.forward.add(uneven.forward, longer);
    layer.backward.add(uneven.backward, longer);
    // Rows are gathered, weighted, scattered and added up again.
    elements +=
        static_cast<double>(shape.chosen) * (6 * hidden + activation * static_cast<double>(shape.expert_ffn) / tensor);
    if (s.layout.expert > 1) {
      const double bytes = s.element * rows_all * hidden;
      const int64_t in_node = ranks_in_node(s.fabric, s.layout.expert, s.layout.tensor);
      const double once = collective_seconds(s.fabric, Collective::all_to_all, bytes, s.layout.expert, in_node);
      layer.forward[Cause::expert_parallel] += 2 * once;
      layer.backward[Cause::expert_parallel] += 2 * once;
    }
  }
  const double element_seconds = stream_seconds(s.rates, s.element * s.tokens * elements);
  layer.forward[Cause::element_wise] += element_seconds;
  layer.backward[Cause::element_wise] += 2 * element_seconds;
  if (s.layout.context > 1 && shape.heads > 0) {
    // Keys and values go round the context ranks while each computes its part; backward their gradients, too.
    const auto c = static_cast<double>(s.layout.context);
    const double bytes = s.element * 2 * static_cast<double>(shape.kv_size) / tensor * s.tokens * c;
    const double ring = collective_seconds(s.fabric, Collective::all_gather, bytes, s.layout.context,
                                           ranks_in_node(s.fabric, s.layout.context, s.layout.tensor));
    layer.forward[Cause::context_parallel] += std::max(0.0, ring - layer.forward[Cause::attention]);
    layer.backward[Cause::context_parallel] += std::max(0.0, 2 * ring - layer.backward[Cause::attention]);
  }
  add_tensor_parallel(s, hidden, !shape.products.empty() && (shape.ffn > 0 || shape.experts > 0), layer);
  double launches = s.habits.layer_launches;
  if (s.autocast && !s.habits.fused) launches += kAutocastLaunches;
  const bool one_device = s.layout.devices() == 1 && s.recipe.method == TuneMethod::full;
  if (s.layout.zero_stage >= 3 || one_device) launches += s.habits.module_hooks ? s.constants.hook_launches : 0;
  if (s.layout.context > 1 && shape.heads > 0) launches += static_cast<double>(s.layout.context) * kRingLaunches;
  if (launches > kAdapterLaunches) launches += adapted * kAdapterLaunches;
  if (shape.experts > 0) launches *= 1 + s.constants.expert_launches;
  if (question.deterministic) launches *= s.constants.deterministic_launches;
  add_host(s, launches, layer);
  add_recompute(s, layer);
  return layer;
}

LayerSeconds embedding_seconds(const TimeQuestion& question, const ModelShape& model) {
  const Setting s = setting_of(question);
  LayerSeconds ends;
  const double bytes = s.element * s.tokens * static_cast<double>(model.hidden);
  ends.forward[Cause::element_wise] = stream_seconds(s.rates, 2 * bytes);
  if (!s.adapter || s.recipe.trains_embeddings)
    ends.backward[Cause::element_wise] =
        stream_seconds(s.rates, 3 * bytes + s.element * static_cast<double>(model.embedding_parameters) /
                                                static_cast<double>(s.layout.tensor));
  return ends;
}

LayerSeconds head_seconds(const TimeQuestion& question, const ModelShape& model) {
  Setting s = setting_of(question);
  if (s.format != ProductFormat::f32) s.format = ProductFormat::half;  // heads stay in 16 bit
  LayerSeconds head;
  const auto tensor = static_cast<double>(s.layout.tensor);
  const double vocab = static_cast<double>(model.vocab) / tensor, hidden = static_cast<double>(model.hidden);
  head.forward[Cause::products] = product_seconds(s.rates, s.tokens, vocab, hidden, s.format);
  head.backward[Cause::products] = product_seconds(s.rates, s.tokens, hidden, vocab, s.format);
  if (!s.adapter || s.recipe.trains_embeddings)
    head.backward[Cause::products] += product_seconds(s.rates, s.tokens, hidden, vocab, s.format);
  const Passes& passes = s.habits.fused_loss ? kFused : kEager;
  head.forward[Cause::loss] = stream_seconds(s.rates, s.element * s.tokens * vocab * passes.loss_forward);
  head.backward[Cause::loss] = stream_seconds(s.rates, s.element * s.tokens * vocab * passes.loss_backward);
  return head;
}

}  // namespace plimsoll
