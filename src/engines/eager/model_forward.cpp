// The forward passes of transformers' modelling code, as far as tensors live: a local of Python is a local here, and a
// temporary of an expression dies where CPython drops it.
#include "base/error.h"
#include "engines/eager/attention.h"
#include "engines/eager/blocks.h"
#include "engines/eager/fsdp2.h"
#include "engines/eager/model.h"
#include "engines/eager/model_parts.h"

namespace plimsoll::eager {
namespace {

// Releases what a function's locals hold, in CPython's order.
template <typename... T>
void drop(T&... tensors) {
  (tensors.reset(), ...);
}

}  // namespace

Tensor rms_norm(Torch& t, const Model& model, const Norm& norm, const Tensor& x) {
  const bool gemma = rms_style(*model.config).gemma_norm;
  Tensor hidden = to(t, x, Type::f32);
  Tensor squares = pow_scalar(t, hidden, true);
  Tensor variance = mean_columns(t, squares);
  squares.reset();
  Tensor shifted = add_scalar(t, variance);
  if (gemma) variance.reset();
  Tensor root = rsqrt(t, shifted);
  shifted.reset();
  {
    Tensor product = mul(t, hidden, root);
    root.reset();
    hidden = std::move(product);
  }
  if (gemma) {  // x · (1 + w), all in f32
    Tensor wide = to(t, norm.weight->tensor, Type::f32);
    Tensor one_plus = add_scalar(t, wide);
    wide.reset();
    Tensor product = mul(t, hidden, one_plus);
    one_plus.reset();
    hidden = std::move(product);
    Tensor y = to(t, hidden, x.type);
    return y;
  }
  if (rms_style(*model.config).post_only) {  // OLMo-2: multiplied before it is cast
    Tensor product = mul(t, norm.weight->tensor, hidden);
    Tensor y = to(t, product, x.type);
    drop(product, hidden, variance);
    return y;
  }
  Tensor narrow = to(t, hidden, x.type);
  Tensor y = mul(t, norm.weight->tensor, narrow);
  drop(narrow, hidden, variance);
  return y;
}

Tensor gated_mlp(Torch& t, const Model& model, const Layer& layer, const Tensor& x) {
  if (rms_style(*model.config).fused) {
    Tensor up_states = apply_linear(t, model, layer.gate_up, x);
    const int64_t half[] = {up_states.cols / 2, up_states.cols / 2};
    std::vector<Tensor> parts = split(t, up_states, half);
    Tensor gate = std::move(parts[0]);
    up_states = std::move(parts[1]);
    parts.clear();
    Tensor active = activate(t, model, gate);
    up_states = mul(t, up_states, active);
    active.reset();
    return apply_linear(t, model, layer.down, up_states);
  }
  Tensor gate = apply_linear(t, model, layer.gate, x);
  Tensor active = activate(t, model, gate);
  gate.reset();
  Tensor up = apply_linear(t, model, layer.up, x);
  Tensor product = mul(t, active, up);
  active.reset();
  up.reset();
  return apply_linear(t, model, layer.down, product);
}

namespace {

Tensor rms_attention(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                     const Tensor& sin, const Tensor& mask) {
  const ModelConfig& c = *model.config;
  const RmsStyle style = rms_style(c);
  const int64_t tokens = x.rows, q_width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
  if (c.latent.kv_rank > 0) return latent_attention(t, model, layer, x, cos, sin, mask);
  Tensor query, key, value;
  Tensor qkv;
  if (style.fused) {
    qkv = apply_linear(t, model, layer.qkv, x);
    query = slice(t, qkv, q_width);
    key = slice(t, qkv, kv_width);
    value = slice(t, qkv, kv_width);
    query = copied_on_return(t, query);
    key = copied_on_return(t, key);
    query = view(query, tokens * c.heads, c.head_dim);
    key = view(key, tokens * c.kv_heads, c.head_dim);
  } else {
    const auto project = [&](const Linear& linear, const Norm& norm, int64_t heads) {
      Tensor y = apply_linear(t, model, linear, x);
      if (style.wide_norms) y = rms_norm(t, model, norm, y);
      if (style.head_norms) {
        y = copied_on_return(t, view(y, tokens * heads, c.head_dim));
        y = rms_norm(t, model, norm, y);
      } else {
        y = copied_on_return(t, y);
      }
      return view(y, tokens * heads, c.head_dim);
    };
    query = project(layer.q, layer.q_norm, c.heads);
    key = project(layer.k, layer.k_norm, c.kv_heads);
    value = apply_linear(t, model, layer.v, x);
  }
  if (c.positions == PositionKind::rotary) {
    const int64_t rotary = c.rotary_dim();
    const auto turn = [&](const Tensor& head) {
      if (style.fused) {  // rotated and passed parts, joined even when nothing passes
        Tensor turned_part = rotate(t, slice(t, head, rotary), cos, sin);
        if (rotary == head.cols) return cat(t, std::span<const Tensor>(&turned_part, 1));
        return cat(t, turned_part, slice(t, head, head.cols - rotary));
      }
      return style.sinks ? rotate_halves(t, head, cos, sin) : rotate(t, head, cos, sin);
    };
    Tensor q_turned = turn(query);
    Tensor k_turned = turn(key);
    if (style.wide_angles) {
      q_turned = to(t, q_turned, query.type);
      k_turned = to(t, k_turned, key.type);
    }
    query = std::move(q_turned);
    key = std::move(k_turned);
  }
  query = view(query, tokens, q_width);
  key = view(key, tokens, kv_width);
  Tensor out = attention(t, model, query, key, value, mask, style.fused || style.sinks, layer.sinks);
  Tensor y = apply_linear(t, model, layer.o, out);
  drop(out, qkv, query, key, value);
  return y;
}

Tensor rms_layer(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                 const Tensor& sin, const Tensor& mask) {
  const RmsStyle style = rms_style(*model.config);
  const bool moe = layer.experts.gate_up != nullptr;
  const auto norm_of = [&](const Norm& norm, const Tensor& of) {
    return style.layer_norms ? plain_layer_norm(t, norm, of) : rms_norm(t, model, norm, of);
  };
  Tensor residual = x;
  Tensor hidden = style.post_only ? x : norm_of(layer.norm[0], x);
  t.module = "self_attn";
  hidden = rms_attention(t, model, layer, hidden, cos, sin, mask);
  t.module = "layer";
  if (style.post_only) hidden = rms_norm(t, model, layer.norm[0], hidden);
  if (style.sandwich) hidden = rms_norm(t, model, layer.norm[1], hidden);
  if (model.config->residual_multiplier != 1.0) hidden = mul_scalar(t, hidden);
  hidden = add(t, residual, hidden);
  residual = hidden;
  if (!style.post_only) hidden = norm_of(layer.norm[style.sandwich ? 2 : 1], hidden);
  t.module = "mlp";
  hidden = moe ? expert_mlp(t, model, layer, hidden) : gated_mlp(t, model, layer, hidden);
  t.module = "layer";
  if (style.post_only) hidden = rms_norm(t, model, layer.norm[1], hidden);
  if (style.sandwich) hidden = rms_norm(t, model, layer.norm[3], hidden);
  if (model.config->residual_multiplier != 1.0) hidden = mul_scalar(t, hidden);
  hidden = add(t, residual, hidden);
  return hidden;
}

}  // namespace

Tensor apply_layer(Torch& t, const Model& model, size_t index, const Tensor& input, const Tensor& cos,
                   const Tensor& sin, const Tensor& mask, Tensor& probabilities) {
  t.module = "layer";
  Tensor x = input;
  Fsdp2* sharding = model.sharding;
  if (sharding) {
    sharding->before_forward(index);
    x = on_gradient(t, input, [sharding, index] { sharding->after_backward(index); });
  }
  Tensor y = is_rms_family(*model.config)
                 ? rms_layer(t, model, model.layers[index], x, cos, sin, mask)
                 : layer_norm_layer(t, model, model.layers[index], x, cos, sin, mask, probabilities);
  if (sharding) {
    sharding->after_forward(index);
    y = on_gradient(t, y, [sharding, index] { sharding->before_backward(index); });
  }
  t.module = {};
  return y;
}

namespace {

struct Angles {
  Tensor cos, sin;
};

Angles make_angles(Torch& t, const Model& model, Type type) {
  const RmsStyle style = rms_style(*model.config);
  if (model.config->architecture == "deepseek_v2")  // one table of complex numbers
    return {t.make(model.recipe.seq_len, model.config->rotary_dim(), Type::f32, "polar.default"), {}};
  const int64_t seq = model.recipe.seq_len, turned = model.config->rotary_dim() / (style.sinks ? 2 : 1);
  Tensor wide = t.make(seq, 1, Type::f32, "_to_copy.default");
  Tensor freqs = t.make(seq, model.config->rotary_dim() / 2, Type::f32, "mul.Tensor");
  wide.reset();
  Tensor both;
  if (!style.sinks) both = t.make(seq, turned, Type::f32, "cat.default");
  const auto table = [&](std::string_view op) {
    const Tensor raw = t.make(seq, turned, Type::f32, op);
    return t.make(seq, turned, Type::f32, "mul.Tensor");
  };
  Tensor cos_wide = table("cos.default");
  Tensor sin_wide = table("sin.default");
  if (style.wide_angles) return {cos_wide, sin_wide};
  Angles angles{to(t, cos_wide, type), to(t, sin_wide, type)};
  drop(freqs, both, cos_wide, sin_wide);
  return angles;
}

// What the decoder returns: the last hidden states.
Tensor decode(Torch& t, Model& model, const Tensor& ids) {
  const ModelConfig& c = *model.config;
  const EngineRecipe& r = model.recipe;
  const int64_t seq = r.seq_len;
  t.module = "embedding";
  Tensor embedded = embedding(t, ids, model.embedding->tensor);
  if (rms_style(c).scaled_embedding) embedded = mul_scalar(t, embedded);  // Gemma: within the embedding's module
  // With recomputed layers under frozen weights the embedding's result is made a leaf that wants a gradient; the graph
  // holds it to the end.
  if (r.recompute == RecomputeKind::full && r.method != TuneMethod::full && !embedded.requires_grad()) {
    std::shared_ptr<Node> leaf = t.node("AccumulateGrad");
    leaf->saved.push_back([held = embedded] { return held; });
    leaf->apply = [](Node&, auto&, auto&) {};
    embedded.node = std::move(leaf);
  }
  if (c.embedding_multiplier != 1.0) embedded = mul_scalar(t, embedded);
  Tensor positions;
  Tensor hidden;
  Angles angles, sliding_angles;  // Gemma 3 turns by others in layers that slide
  LayerMasks masks;
  Tensor position_rows;
  if (c.positions == PositionKind::learned) {
    Tensor ones;
    if (c.architecture == "opt") {
      ones = t.make(ids.numel(), 1, Type::f32, "ones.default");
      Tensor sums = t.make(ids.numel(), 1, Type::f32, "cumsum.default");
      Tensor products = t.make(ids.numel(), 1, Type::f32, "mul.Tensor");
      Tensor less = t.make(ids.numel(), 1, Type::f32, "sub.Tensor");
      products.reset();
      positions = t.make(ids.numel(), 1, Type::i64, "_to_copy.default");
      less.reset();
      sums.reset();
      const Tensor shifted = t.make(ids.numel(), 1, Type::i64, "add.Tensor");
      position_rows = embedding(t, shifted, model.positions->tensor);
    } else {
      Tensor range = t.make(seq, 1, Type::i64, "arange.default");
      positions = t.make(seq, 1, Type::i64, "add.Tensor");
      range.reset();
      position_rows = embedding(t, positions, model.positions->tensor);
    }
    masks = causal_masks(t, model, embedded.type);
    if (model.project_in.in > 0) embedded = apply_linear(t, model, model.project_in, embedded);
    hidden = add(t, embedded, position_rows);
    if (c.architecture == "gpt2") hidden = dropout(t, hidden);
  } else {
    Tensor range = t.make(seq, 1, Type::i64, "arange.default");
    positions = t.make(seq, 1, Type::i64, "add.Tensor");
    range.reset();
    masks = causal_masks(t, model, embedded.type);
    hidden = embedded;
    if (c.architecture == "bloom") {
      hidden = plain_layer_norm(t, model.embedding_norm, embedded);
      angles.cos = t.make(r.micro_batch * c.heads, seq, hidden.type, "_to_copy.default");  // its bias of distances
    } else {
      angles = make_angles(t, model, embedded.type);
    }
    if (c.sliding_rope) sliding_angles = make_angles(t, model, embedded.type);
  }
  t.module = {};
  Tensor returned_before;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const bool slides = c.window_of_layer(static_cast<int64_t>(i)) > 0;
    const Angles& turn = slides && c.sliding_rope ? sliding_angles : angles;
    const Tensor& mask = slides ? masks.sliding : masks.full;
    // What a layer returns beside its result stays until the next one has returned.
    const auto returned = std::make_shared<Tensor>();
    if (r.recompute == RecomputeKind::full) {
      hidden = checkpoint(t, hidden, [&t, &model, i, turn, mask, positions, returned](const Tensor& x) {
        Tensor probabilities;
        Tensor y = apply_layer(t, model, i, x, turn.cos, turn.sin, mask, probabilities);
        if (!t.in_recompute) *returned = std::move(probabilities);
        return y;
      });
    } else {
      hidden = apply_layer(t, model, i, hidden, turn.cos, turn.sin, mask, *returned);
    }
    returned_before = std::move(*returned);
  }
  t.module = "norm";
  if (c.final_norm)
    hidden = is_rms_family(c) && !rms_style(c).layer_norms ? rms_norm(t, model, model.final_norm, hidden)
                                                           : plain_layer_norm(t, model.final_norm, hidden);
  if (model.project_out.in > 0) hidden = apply_linear(t, model, model.project_out, hidden);
  t.module = {};
  return hidden;
}

}  // namespace

Tensor forward_loss(Torch& t, Model& model, const Tensor& ids) {
  const ModelConfig& c = *model.config;
  t.autocast = model.amp;
  t.autocast_type = compute_type(model.recipe);
  Tensor loss;
  Fsdp2* sharding = model.sharding;
  if (sharding) sharding->before_forward(sharding->root());
  {
    Tensor hidden = decode(t, model, ids);
    t.module = "head";
    Tensor logits = apply_linear(t, model, model.head, hidden);
    if (c.logits_softcap > 0) {
      logits = mul_scalar(t, logits, "div.Tensor");
      logits = tanh(t, logits);
      logits = mul_scalar(t, logits);
    }
    if (c.logits_divisor != 1.0) logits = mul_scalar(t, logits, "div.Tensor");
    t.module = "loss";
    const bool offloads = t.offloads;
    t.offloads = false;  // torchtune's recipes compute the loss outside of it
    if (model.recipe.fused_loss) {
      const Tensor labels = t.make(ids.rows, 1, Type::i64, "labels");
      loss = fused_cross_entropy(t, logits, labels);
    } else {
      // transformers widens the logits; older code shifts a copy of them in their own type.
      Tensor wide = model.recipe.half_loss ? clone(t, logits) : to(t, logits, Type::f32);
      Tensor padded = t.make(model.recipe.micro_batch, model.recipe.seq_len + 1, Type::i64, "constant_pad_nd.default");
      Tensor labels = padded;
      if (model.recipe.micro_batch > 1) labels = t.make(ids.rows, 1, Type::i64, "clone.default");
      Tensor likelihood = log_softmax(t, wide);
      loss = nll_loss(t, likelihood, labels);
      likelihood.reset();
      wide.reset();
      padded.reset();
    }
    t.offloads = offloads;
    if (sharding) {
      sharding->after_forward(sharding->root());
      loss = on_gradient(t, loss, [sharding] { sharding->before_backward(sharding->root()); });
    }
    hidden.reset();
    logits.reset();
  }
  t.module = {};
  t.autocast = false;
  t.cast_cache.clear();
  return loss;
}

}  // namespace plimsoll::eager
