#include "engines/eager/attention.h"

namespace plimsoll::eager {
namespace {

struct Sizes {
  int64_t batch, seq, heads, kv_heads, dim;
  int64_t scores() const { return batch * heads * seq; }  // rows of the matrix of scores
};

Sizes sizes_of(const Model& model) {
  const ModelConfig& c = *model.config;
  return {model.recipe.micro_batch, model.recipe.seq_len, c.heads, c.kv_heads, c.head_dim};
}

bool softcapped(const Model& model) { return model.config->attention_softcap > 0; }

}  // namespace

bool needs_mask(const Model& model) {
  const ModelConfig& c = *model.config;
  if (softcapped(model) || model.recipe.attention == AttentionKernel::eager) return true;
  return c.sliding_window > 0 && !c.layer_slides.empty() && model.recipe.seq_len > c.sliding_window;
}

AttentionKernel attention_kernel(const Model& model, Type type, bool masked) {
  if (model.recipe.attention != AttentionKernel::automatic) return model.recipe.attention;
  if (softcapped(model)) return AttentionKernel::eager;
  const ModelConfig& c = *model.config;
  if (is_half(type) && !masked && c.head_dim <= 256) return AttentionKernel::flash;
  if (masked || c.heads == c.kv_heads) return AttentionKernel::efficient;
  return AttentionKernel::math;
}

Tensor causal_mask(Torch& t, const Model& model, Type type) {
  if (!needs_mask(model)) return {};
  const int64_t seq = model.recipe.seq_len;
  const bool eager = softcapped(model) || model.recipe.attention == AttentionKernel::eager;
  return t.make(model.recipe.micro_batch * seq, seq, eager ? type : Type::boolean, "mask");
}

Tensor attention(Torch& t, const Model& model, const Tensor& q_in, const Tensor& k_in, const Tensor& v_in,
                 const Tensor& mask, bool contiguous) {
  const Sizes s = sizes_of(model);
  const Type type = t.autocast ? t.autocast_type : q_in.type;
  const AttentionKernel kernel = attention_kernel(model, type, mask.defined());
  const int64_t groups = s.heads / s.kv_heads;
  if (kernel == AttentionKernel::flash) {
    Tensor out = flash_attention(t, q_in, k_in, v_in, s.heads);
    if (contiguous) out = clone(t, out);
    return out;
  }
  if (kernel == AttentionKernel::efficient) {
    Tensor k = k_in, v = v_in;
    if (groups > 1) {
      k = repeat(t, k_in, groups);
      v = repeat(t, v_in, groups);
    }
    const int64_t padded = s.batch * ((s.seq + 31) / 32 * 32);
    Tensor bias;
    if (mask.defined()) {
      bias = t.make(s.batch * s.seq, s.seq, type, "zeros_like.default");
      const Tensor inverse = t.make(s.batch * s.seq, s.seq, Type::boolean, "logical_not.default");
    }
    Tensor out = efficient_attention(t, q_in, k, v, s.heads, padded, bias);
    if (contiguous) out = clone(t, out);
    return out;
  }
  // Products of matrices: the scores live.
  const bool eager = kernel == AttentionKernel::eager;
  Tensor q = q_in, k = k_in, v = v_in;
  if (groups > 1) {
    k = repeat(t, k_in, groups);
    v = repeat(t, v_in, groups);
  }
  if (eager) {
    Tensor scores = bmm(t, q, k, s.scores(), s.seq);
    scores = mul_scalar(t, scores);
    if (softcapped(model)) {
      scores = mul_scalar(t, scores, "div.Tensor");
      scores = tanh(t, scores);
      scores = mul_scalar(t, scores);
    }
    if (mask.defined()) scores = add(t, scores, mask);
    Tensor weights = softmax(t, scores, Type::f32);
    weights = to(t, weights, q_in.type);
    scores = std::move(weights);
    Tensor out = bmm(t, scores, v, q.rows, q.cols);
    out = clone(t, out);
    return out;
  }
  // _scaled_dot_product_attention_math: q and k each times the root of the scale, a causal mask of its own.
  Tensor allowed = t.make(s.seq, s.seq, Type::boolean, "ones.default");
  Tensor bias = t.make(s.seq, s.seq, q.type, "zeros.default");
  allowed.reset();
  q = mul_scalar(t, q);
  k = mul_scalar(t, k);
  Tensor scores = bmm(t, q, k, s.scores(), s.seq);
  scores = add(t, scores, bias);
  Tensor weights = softmax(t, scores, q.type, "_safe_softmax.default");
  scores.reset();
  Tensor out = bmm(t, weights, v, q.rows, q_in.cols);
  return clone(t, out);
}

}  // namespace plimsoll::eager
