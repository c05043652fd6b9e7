// The families with LayerNorm: GPT-2, OPT, GPT-NeoX, Phi, Falcon, BLOOM, StarCoder2.
#include "engines/eager/attention.h"
#include "engines/eager/blocks.h"
#include "engines/eager/model_parts.h"

namespace plimsoll::eager {
namespace {

Tensor plain_mlp(Torch& t, const Model& model, const Layer& layer, const Tensor& x) {
  Tensor hidden = apply_linear(t, model, layer.up, x);
  hidden = activate(t, model, hidden);
  return apply_linear(t, model, layer.down, hidden);
}

}  // namespace

bool drops_out(const ModelConfig& c) { return c.architecture == "gpt2" || c.architecture == "opt"; }

namespace {

// BLOOM: scores begin with a bias of the distance (`alibi`). Each local lives until the residual is added.
Tensor bloom_attention(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& residual,
                       const Tensor& alibi, const Tensor& mask, Tensor& probabilities) {
  const ModelConfig& c = *model.config;
  const int64_t width = c.heads * c.head_dim;
  const Tensor qkv = copied_on_return(t, apply_linear(t, model, layer.qkv, x));
  const auto part = [&] { return clone(t, slice(t, qkv, width)); };
  const Tensor query = part(), key = part(), value = part();
  const Tensor bias = lowered(t, alibi);
  const Tensor scores =
      bmm(t, query, key, model.recipe.micro_batch * c.heads * model.recipe.seq_len, model.recipe.seq_len);
  const Tensor masked = add(t, scores, mask);
  probabilities = softmax(t, masked, Type::f32);
  probabilities = to(t, probabilities, query.type);
  Tensor context = bmm(t, probabilities, value, x.rows, width);
  context = clone(t, context);
  const Tensor out = apply_linear(t, model, layer.o, context);
  return add(t, residual, out);
}

Tensor bloom_layer(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& alibi,
                   const Tensor& mask, Tensor& probabilities) {
  const bool after_norm = model.config->residual_after_norm;
  Tensor normed = plain_layer_norm(t, layer.norm[0], x);
  Tensor residual = after_norm ? normed : x;
  t.module = "self_attn";
  const Tensor attended = bloom_attention(t, model, layer, normed, residual, alibi, mask, probabilities);
  t.module = "mlp";
  normed = plain_layer_norm(t, layer.norm[1], attended);
  residual = after_norm ? normed : attended;
  const Tensor mlp = plain_mlp(t, model, layer, normed);
  t.module = "layer";
  return add(t, residual, mlp);
}

// Falcon: one key and value for all heads (7B) are picked out of the fused projection and seen by each head; groups of
// them (40B) are copied to each head of their group.
Tensor falcon_attention(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                        const Tensor& sin, const Tensor& mask, Tensor& probabilities) {
  const ModelConfig& c = *model.config;
  const int64_t tokens = x.rows, groups = c.heads / c.kv_heads;
  const int64_t q_width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
  const Tensor qkv = apply_linear(t, model, layer.qkv, x);
  Tensor query, key, value;
  if (groups == 1) {
    query = slice(t, qkv, q_width);
    key = slice(t, qkv, q_width);
    value = slice(t, qkv, q_width);
  } else {
    const auto picked = [&] {
      const Tensor index = t.make(1, 1, Type::i64, "full.default");
      return gather_rows(t, qkv, tokens, kv_width, "index.Tensor", index);
    };
    query = slice(t, qkv, q_width);
    key = picked();
    value = picked();
    if (c.grouped_qkv) {
      query = clone(t, query);
      key = repeat(t, key, groups);
      value = repeat(t, value, groups);
    }
  }
  const auto turned = [&](const Tensor& by_token) {
    return view(rotate(t, view(by_token, by_token.numel() / c.head_dim, c.head_dim), cos, sin), tokens, by_token.cols);
  };
  Tensor q_turned = turned(query);
  key = turned(key);
  query = std::move(q_turned);
  Tensor out;
  if (attention_kernel(model, t.autocast ? t.autocast_type : query.type, mask.defined()) == AttentionKernel::eager) {
    const bool shared = key.cols<query.cols, copies = model.recipe.micro_batch> 1;
    const Tensor keys = shared ? repeat(t, key, groups, copies) : key;
    Tensor scores =
        bmm(t, query, keys, model.recipe.micro_batch * c.heads * model.recipe.seq_len, model.recipe.seq_len);
    const Tensor masked = add(t, scores, mask);  // the scores were divided in place
    scores = softmax(t, masked, x.type);
    out = bmm(t, scores, shared ? repeat(t, value, groups, copies) : value, tokens, q_width);
    out = clone(t, out);
    probabilities = scores;
  } else {
    out = attention(t, model, query, key, value, mask, false);
  }
  return apply_linear(t, model, layer.o, out);
}

Tensor layer_norm_attention(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                            const Tensor& sin, const Tensor& mask) {
  const ModelConfig& c = *model.config;
  const LayerNormStyle style = layer_norm_style(c);
  const int64_t tokens = x.rows, q_width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
  const bool rotary = c.positions == PositionKind::rotary;
  Tensor query, key, value;
  if (style.fused) {
    Tensor qkv = apply_linear(t, model, layer.qkv, x);
    if (!style.gpt2) qkv = copied_on_return(t, qkv);
    const int64_t widths[] = {q_width, kv_width, kv_width};
    std::vector<Tensor> parts = split(t, qkv, widths);
    query = parts[0];
    key = parts[1];
    value = parts[2];
  } else if (style.opt) {
    query = apply_linear(t, model, layer.q, x);
    query = mul_scalar(t, query);
    key = apply_linear(t, model, layer.k, x);
    value = apply_linear(t, model, layer.v, x);
  } else {
    query = copied_on_return(t, apply_linear(t, model, layer.q, x));
    key = copied_on_return(t, apply_linear(t, model, layer.k, x));
    value = apply_linear(t, model, layer.v, x);
  }
  bool joined = false;
  if (rotary) {
    const int64_t turned = c.rotary_dim();
    joined = turned < c.head_dim;
    const auto part = [&](const Tensor& x_all, int64_t heads, bool first) {
      const Tensor by_head = view(x_all, tokens * heads, c.head_dim);
      return slice(t, by_head, first ? turned : c.head_dim - turned);
    };
    if (joined) {
      const Tensor q_rot = part(query, c.heads, true), q_pass = part(query, c.heads, false);
      const Tensor k_rot = part(key, c.kv_heads, true), k_pass = part(key, c.kv_heads, false);
      Tensor q_turned = rotate(t, q_rot, cos, sin);
      Tensor k_turned = rotate(t, k_rot, cos, sin);
      q_turned = cat(t, q_turned, q_pass);
      k_turned = cat(t, k_turned, k_pass);
      query = view(q_turned, tokens, q_width);
      key = view(k_turned, tokens, kv_width);
    } else {
      Tensor q_turned = rotate(t, view(query, tokens * c.heads, c.head_dim), cos, sin);
      Tensor k_turned = rotate(t, view(key, tokens * c.kv_heads, c.head_dim), cos, sin);
      query = view(q_turned, tokens, q_width);
      key = view(k_turned, tokens, kv_width);
    }
  }
  Tensor out = attention(t, model, query, key, value, mask, joined);
  out = apply_linear(t, model, layer.o, out);
  return out;
}

}  // namespace

Tensor layer_norm_layer(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                        const Tensor& sin, const Tensor& mask, Tensor& probabilities) {
  const ModelConfig& c = *model.config;
  const LayerNormStyle style = layer_norm_style(c);
  if (c.architecture == "bloom") return bloom_layer(t, model, layer, x, cos, mask, probabilities);
  if (c.parallel_residual || style.one_norm) {
    Tensor normed = plain_layer_norm(t, layer.norm[0], x);
    t.module = "self_attn";
    const bool falcon = c.architecture == "falcon" && c.positions == PositionKind::rotary;
    Tensor second;
    if (falcon && !style.one_norm) second = plain_layer_norm(t, layer.norm[1], x);
    Tensor attended = falcon ? falcon_attention(t, model, layer, normed, cos, sin, mask, probabilities)
                             : layer_norm_attention(t, model, layer, normed, cos, sin, mask);
    t.module = "mlp";
    if (falcon) {
      const Tensor mlp = plain_mlp(t, model, layer, second.defined() ? second : normed);
      t.module = "layer";
      return add(t, x, add_in_place(t, mlp, attended));
    }
    if (!style.one_norm) normed = plain_layer_norm(t, layer.norm[1], x);
    Tensor mlp = plain_mlp(t, model, layer, normed);
    t.module = "layer";
    normed.reset();
    Tensor sum = add(t, mlp, attended);
    return add(t, sum, x);
  }
  Tensor residual = x;
  Tensor hidden = c.norm_before ? plain_layer_norm(t, layer.norm[0], x) : x;
  t.module = "self_attn";
  Tensor attended = layer_norm_attention(t, model, layer, hidden, cos, sin, mask);
  t.module = "layer";
  if (drops_out(c)) attended = dropout(t, attended);
  hidden = add(t, residual, attended);
  if (style.opt) attended.reset();
  if (!c.norm_before) hidden = plain_layer_norm(t, layer.norm[0], hidden);
  residual = hidden;
  if (c.norm_before) hidden = plain_layer_norm(t, layer.norm[1], hidden);
  t.module = "mlp";
  Tensor mlp;
  if (style.opt) {
    hidden = apply_linear(t, model, layer.up, hidden);
    hidden = activate(t, model, hidden);
    hidden = apply_linear(t, model, layer.down, hidden);
    if (drops_out(c)) hidden = dropout(t, hidden);
    mlp = std::move(hidden);
  } else {
    mlp = plain_mlp(t, model, layer, hidden);
    if (drops_out(c)) mlp = dropout(t, mlp);
  }
  t.module = "layer";
  hidden = add(t, residual, mlp);
  if (!c.norm_before) hidden = plain_layer_norm(t, layer.norm[1], hidden);
  return hidden;
}

}  // namespace plimsoll::eager
