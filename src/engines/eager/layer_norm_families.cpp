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
                        const Tensor& sin, const Tensor& mask) {
  const ModelConfig& c = *model.config;
  const LayerNormStyle style = layer_norm_style(c);
  if (c.parallel_residual || style.one_norm) {
    Tensor normed = plain_layer_norm(t, layer.norm[0], x);
    t.module = "self_attn";
    Tensor attended = layer_norm_attention(t, model, layer, normed, cos, sin, mask);
    t.module = "mlp";
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
