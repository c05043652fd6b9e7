// Parameters and buffers in the order in which transformers' modules make them.
#include <algorithm>

#include "base/error.h"
#include "engines/eager/model.h"
#include "engines/eager/model_parts.h"

namespace plimsoll::eager {
namespace {

Type weight_type(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return Type::f32;
    case WeightFormat::f16:
      return Type::f16;
    default:
      return Type::bf16;
  }
}

struct Builder {
  Torch& t;
  const ModelConfig& config;
  const EngineRecipe& recipe;
  Model& model;
  Type type;

  Parameter* parameter(std::string name, int64_t rows, int64_t cols, bool is_vector, bool trained, Type dtype) {
    auto made = std::make_unique<Parameter>();
    Parameter* p = made.get();
    p->name = std::move(name);
    p->is_vector = is_vector;
    p->tensor = t.make(rows, cols, dtype, "empty.memory_format");
    p->trained = trained;
    if (trained) attach(*p);
    model.parameters.push_back(std::move(made));
    return p;
  }

  void attach(Parameter& p) {
    auto leaf = std::make_shared<Node>();
    leaf->name = "AccumulateGrad";
    leaf->leaf = &p;
    p.tensor.node = leaf;
  }

  bool full() const { return recipe.method == TuneMethod::full; }
  Type plain_type() const {  // of what is not quantized
    return recipe.kbit_preparation && recipe.method == TuneMethod::qlora ? Type::f32 : type;
  }

  Parameter* vector(std::string name, int64_t size) {
    return parameter(std::move(name), 1, size, true, full(), plain_type());
  }

  Parameter* table(std::string name, int64_t rows, int64_t cols) {
    return parameter(std::move(name), rows, cols, false, full() || recipe.trains_embeddings, plain_type());
  }

  Norm norm(const std::string& name, int64_t size, bool bias) {
    Norm made;
    made.weight = vector(name + ".weight", size);
    if (bias) made.bias = vector(name + ".bias", size);
    return made;
  }

  bool quantizes() const { return recipe.method == TuneMethod::qlora; }

  // nf4 with an absmax of each 64 values, itself in 8 bits by 256 (or f32), and the code books.
  std::vector<Tensor> quantized_weight(int64_t values) {
    std::vector<Tensor> state;
    if (recipe.weights == WeightFormat::int8) {
      state.push_back(t.make(values, 1, Type::u8, "quantize"));
      return state;
    }
    if (recipe.weights == WeightFormat::gptq4) {  // a scale and a zero for 128 values
      state.push_back(t.make((values + 1) / 2, 1, Type::u8, "quantize"));
      state.push_back(t.make(values / 128, 1, Type::f16, "quantize"));
      return state;
    }
    const int64_t blocks = (values + 63) / 64;
    state.push_back(t.make((values + 1) / 2, 1, Type::u8, "quantize"));
    if (recipe.weights == WeightFormat::nf4) {
      state.push_back(t.make(blocks, 1, Type::f32, "quantize"));
    } else {
      state.push_back(t.make(blocks, 1, Type::u8, "quantize"));                 // absmax
      state.push_back(t.make((blocks + 255) / 256, 1, Type::f32, "quantize"));  // absmax of the absmax
      state.push_back(t.make(256, 1, Type::f32, "quantize"));                   // its code book
      state.push_back(t.make(1, 1, Type::f32, "quantize"));                     // offset
    }
    state.push_back(t.make(16, 1, Type::f32, "quantize"));  // code book
    return state;
  }

  Linear linear(const std::string& name, int64_t in, int64_t out, bool bias, bool conv1d = false) {
    Linear made;
    made.in = in;
    made.out = out;
    made.conv1d = conv1d;
    if (quantizes()) made.quantized = quantized_weight(in * out);
    else made.weight = parameter(name + ".weight", conv1d ? in : out, conv1d ? out : in, false, full(), type);
    // bitsandbytes leaves the bias beside a quantized weight in the type that it computes in.
    if (bias) made.bias = parameter(name + ".bias", 1, out, true, full(), quantizes() ? type : plain_type());
    return made;
  }

  bool targeted(std::string_view name) const {
    const std::string_view last = name.substr(name.rfind('.') + 1);
    for (const std::string& target : recipe.lora_targets)
      if (target == "all-linear" || target == last) return true;
    return false;
  }

  void adapt(Linear& linear, const std::string& name) {
    if (linear.in == 0 || recipe.method == TuneMethod::full || !targeted(name)) return;
    const Type adapter = recipe.adapter_f32 ? Type::f32 : type;
    linear.lora_a = parameter(name + ".lora_A", recipe.lora_rank, linear.in, false, true, adapter);
    linear.lora_b = parameter(name + ".lora_B", linear.out, recipe.lora_rank, false, true, adapter);
  }

  // PEFT knows where these experts and routers were linear layers once, and adapts their weights then.
  static bool adapts_experts(const Experts& experts) { return experts.router && !experts.gate_up_bias; }

  void adapt_experts(Experts& experts, const std::string& at) {
    if (!adapts_experts(experts) || !targeted(at + "gate_up_proj")) return;
    const MixtureConfig& m = config.mixture;
    const int64_t r = recipe.lora_rank, h = config.hidden_size;
    const Type adapter = recipe.adapter_f32 ? Type::f32 : type;
    const auto factor = [&](const char* name, int64_t rows, int64_t cols) {
      return parameter(at + name, rows, cols, false, true, adapter);
    };
    experts.router_a = factor("gate.lora_A", r, h);
    experts.router_b = factor("gate.lora_B", m.experts, r);
    experts.gate_up_a = factor("experts.gate_up.lora_A", m.experts * 2 * r, h);
    experts.gate_up_b = factor("experts.gate_up.lora_B", m.experts * 2 * m.width, 2 * r);
    experts.down_a = factor("experts.down.lora_A", m.experts * r, m.width);
    experts.down_b = factor("experts.down.lora_B", m.experts * h, r);
  }
};

void latent_projections(Builder& b, Layer& layer, const std::string& at) {
  const ModelConfig& c = b.config;
  const LatentConfig& a = c.latent;
  const int64_t q = c.heads * (a.plain + a.rotary), h = c.hidden_size;
  if (a.q_rank > 0) {
    layer.q_a = b.linear(at + "q_a_proj", h, a.q_rank, c.attention_bias);
    layer.latent_q_norm = b.norm(at + "q_a_layernorm", a.q_rank, false);
    layer.q_b = b.linear(at + "q_b_proj", a.q_rank, q, false);
  } else {
    layer.q = b.linear(at + "q_proj", h, q, false);
  }
  layer.kv_a = b.linear(at + "kv_a_proj_with_mqa", h, a.kv_rank + a.rotary, c.attention_bias);
  layer.latent_kv_norm = b.norm(at + "kv_a_layernorm", a.kv_rank, false);
  layer.kv_b = b.linear(at + "kv_b_proj", a.kv_rank, c.heads * (a.plain + a.value), false);
  layer.o = b.linear(at + "o_proj", c.heads * a.value, h, c.attention_bias);
}

void rms_layer(Builder& b, Layer& layer, const std::string& at) {
  const ModelConfig& c = b.config;
  const RmsStyle style = rms_style(c);
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim, h = c.hidden_size;
  if (c.latent.kv_rank > 0) {
    latent_projections(b, layer, at + "self_attn.");
  } else if (style.fused) {
    layer.o = b.linear(at + "self_attn.o_proj", q, h, false);
    layer.qkv = b.linear(at + "self_attn.qkv_proj", h, q + 2 * kv, false);
  } else {
    layer.q = b.linear(at + "self_attn.q_proj", h, q, c.attention_bias);
    layer.k = b.linear(at + "self_attn.k_proj", h, kv, c.attention_bias);
    layer.v = b.linear(at + "self_attn.v_proj", h, kv, c.attention_bias);
    layer.o = b.linear(at + "self_attn.o_proj", q, h, c.attention_output_bias);
  }
  if (style.head_norms) {
    layer.q_norm = b.norm(at + "self_attn.q_norm", c.head_dim, false);
    layer.k_norm = b.norm(at + "self_attn.k_norm", c.head_dim, false);
  } else if (style.wide_norms) {
    layer.q_norm = b.norm(at + "self_attn.q_norm", q, false);
    layer.k_norm = b.norm(at + "self_attn.k_norm", kv, false);
  }
  if (style.sinks) layer.sinks = b.vector(at + "self_attn.sinks", c.heads);
  int64_t width = c.intermediate_size;
  if (has_experts(c, b.model.layers.size() - 1)) {
    const MixtureConfig& m = c.mixture;
    Experts& experts = layer.experts;
    const auto weight = [&](const char* name, int64_t rows, int64_t cols) {
      return b.parameter(at + "mlp." + name, rows, cols, false, b.full(), b.type);
    };
    // One 3-D parameter each; neither LoRA's all-linear nor bitsandbytes touch them.
    experts.gate_up = weight("experts.gate_up_proj", m.experts * 2 * m.width, h);
    if (style.sinks) experts.gate_up_bias = weight("experts.gate_up_proj_bias", m.experts, 2 * m.width);
    experts.down = weight("experts.down_proj", m.experts * h, m.width);
    if (style.sinks) experts.down_bias = weight("experts.down_proj_bias", m.experts, h);
    if (style.layer_norms) experts.router_linear = b.linear(at + "mlp.router", h, m.experts, false);
    else experts.router = b.parameter(at + "mlp.gate.weight", m.experts, h, false, b.full(), b.plain_type());
    if (style.sinks) experts.router_bias = b.vector(at + "mlp.gate.bias", m.experts);
    width = m.shared * m.width;
  }
  if (style.fused) {
    layer.gate_up = b.linear(at + "mlp.gate_up_proj", h, 2 * width, false);
    layer.down = b.linear(at + "mlp.down_proj", width, h, false);
  } else if (width > 0) {
    layer.gate = b.linear(at + "mlp.gate_proj", h, width, c.mlp_bias);
    layer.up = b.linear(at + "mlp.up_proj", h, width, c.mlp_bias);
    layer.down = b.linear(at + "mlp.down_proj", width, h, c.mlp_bias);
  }
  const int norms = style.sandwich ? 4 : 2;
  for (int i = 0; i < norms; ++i) layer.norm[i] = b.norm(at + "norm" + std::to_string(i), h, style.layer_norms);
}

void layer_norm_layer(Builder& b, Layer& layer, const std::string& at) {
  const ModelConfig& c = b.config;
  const LayerNormStyle style = layer_norm_style(c);
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim, h = c.hidden_size, f = c.intermediate_size;
  const auto norms = [&](int from, int to) {
    for (int i = from; i < to; ++i) layer.norm[i] = b.norm(at + "norm" + std::to_string(i), h, true);
  };
  if (style.norms_first) norms(0, style.one_norm ? 1 : 2);
  if (style.gpt2) norms(0, 1);
  if (style.fused) layer.qkv = b.linear(at + style.qkv_name, h, q + 2 * kv, c.attention_bias, style.conv1d);
  else if (style.opt) {
    layer.k = b.linear(at + "self_attn.k_proj", h, kv, c.attention_bias);
    layer.v = b.linear(at + "self_attn.v_proj", h, kv, c.attention_bias);
    layer.q = b.linear(at + "self_attn.q_proj", h, q, c.attention_bias);
  } else {
    layer.q = b.linear(at + "self_attn.q_proj", h, q, c.attention_bias);
    layer.k = b.linear(at + "self_attn.k_proj", h, kv, c.attention_bias);
    layer.v = b.linear(at + "self_attn.v_proj", h, kv, c.attention_bias);
  }
  layer.o = b.linear(at + style.out_name, q, h, c.attention_output_bias, style.conv1d);
  if (style.gpt2) norms(1, 2);
  if (style.opt) norms(0, 1);
  layer.up = b.linear(at + style.up_name, h, f, c.mlp_bias, style.conv1d);
  layer.down = b.linear(at + style.down_name, f, h, c.mlp_bias, style.conv1d);
  if (style.opt) norms(1, 2);
  if (!style.norms_first && !style.gpt2 && !style.opt) norms(0, style.one_norm ? 1 : 2);
}

}  // namespace

Type compute_type(const EngineRecipe& recipe) {
  switch (recipe.compute) {
    case ComputeMode::f32:
      return Type::f32;
    case ComputeMode::f16:
    case ComputeMode::amp_f16:
      return Type::f16;
    default:
      return Type::bf16;
  }
}

Model build_model(Torch& t, const ModelConfig& config, const EngineRecipe& recipe) {
  if (!eager_family(config))
    throw caller_error(config.architecture, "is a family that the torch profile does not know", "see docs/engines.md");
  Model model;
  model.config = &config;
  model.recipe = recipe;
  model.amp = recipe.compute == ComputeMode::amp_bf16 || recipe.compute == ComputeMode::amp_f16;
  const Purpose before = t.purpose;
  t.purpose = Purpose::parameter;
  Builder b{t, config, recipe, model, weight_type(recipe.weights)};
  if (recipe.method == TuneMethod::qlora)
    b.type = recipe.compute == ComputeMode::amp_f16 || recipe.compute == ComputeMode::f16 ? Type::f16 : Type::bf16;
  const int64_t h = config.hidden_size;
  const int64_t width = config.embedding_width > 0 ? config.embedding_width : h;
  model.embedding = b.table("embed_tokens.weight", config.vocab_size, width);
  if (config.positions == PositionKind::learned)
    model.positions =
        b.table("embed_positions.weight", config.context_length + (config.architecture == "opt" ? 2 : 0), h);
  const bool rms = is_rms_family(config);
  if (config.architecture == "bloom") model.embedding_norm = b.norm("word_embeddings_layernorm", h, true);
  if (width != h) {
    model.project_out = b.linear("project_out", h, width, false);
    model.project_in = b.linear("project_in", width, h, false);
  }
  const bool final_first = config.architecture == "opt";
  if (final_first && config.final_norm) model.final_norm = b.norm("final_layer_norm", h, true);
  for (int64_t i = 0; i < config.layers; ++i) {
    model.layers.emplace_back();
    const std::string at = "layers." + std::to_string(i) + ".";
    if (rms) rms_layer(b, model.layers.back(), at);
    else layer_norm_layer(b, model.layers.back(), at);
  }
  if (!final_first && config.final_norm) model.final_norm = b.norm("norm", h, !rms || rms_style(config).layer_norms);
  if (config.positions == PositionKind::rotary)
    for (int i = 0; i < (config.sliding_rope ? 4 : 2); ++i)
      model.buffers.push_back(t.make(config.rotary_dim() / 2, 1, Type::f32, "inv_freq"));
  model.head.in = width;
  model.head.out = config.vocab_size;
  if (config.tied_embeddings) {
    model.head.weight = model.embedding;
  } else {
    model.head.weight = b.table("lm_head.weight", config.vocab_size, width);
  }
  if (recipe.method != TuneMethod::full && recipe.trains_embeddings)  // modules_to_save: the originals stay
    for (int i = 0; i < (config.tied_embeddings ? 1 : 2); ++i)
      model.buffers.push_back(t.make(config.vocab_size, width, b.plain_type(), "empty.memory_format"));
  if (config.head_bias || config.architecture == "phi") model.head.bias = b.vector("lm_head.bias", config.vocab_size);
  if (recipe.method != TuneMethod::full) {
    b.adapt(model.project_out, "project_out");
    b.adapt(model.project_in, "project_in");
    const bool experts_only = !model.layers.empty() && Builder::adapts_experts(model.layers.back().experts);
    for (size_t i = 0; i < model.layers.size(); ++i) {
      Layer& layer = model.layers[i];
      const std::string at = "layers." + std::to_string(i) + ".";
      const LayerNames names = layer_names(config);
      b.adapt(layer.q, at + "q_proj");
      b.adapt(layer.k, at + "k_proj");
      b.adapt(layer.v, at + "v_proj");
      b.adapt(layer.qkv, at + names.qkv);
      b.adapt(layer.q_a, at + "q_a_proj");
      b.adapt(layer.q_b, at + "q_b_proj");
      b.adapt(layer.kv_a, at + "kv_a_proj_with_mqa");
      b.adapt(layer.kv_b, at + "kv_b_proj");
      b.adapt(layer.o, at + names.out);
      b.adapt(layer.experts.router_linear, at + "router");
      b.adapt_experts(layer.experts, at);
      if (experts_only) continue;  // shared ones and dense layers have names that now mean experts
      b.adapt(layer.gate, at + "gate_proj");
      b.adapt(layer.gate_up, at + "gate_up_proj");
      b.adapt(layer.up, at + names.up);
      b.adapt(layer.down, at + names.down);
    }
  }
  t.purpose = before;
  return model;
}

}  // namespace plimsoll::eager
