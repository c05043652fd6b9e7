#include "engines/eager/attention.h"

#include "engines/eager/model_parts.h"

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

// PyTorch's kernels know neither capped scores, nor sinks, nor BLOOM's biases.
bool is_eager(const Model& model) {
  return model.recipe.attention == AttentionKernel::eager || softcapped(model) || rms_style(*model.config).sinks ||
         model.config->architecture == "bloom";
}

}  // namespace

AttentionKernel attention_kernel(const Model& model, Type type, bool masked) {
  if (is_eager(model)) return AttentionKernel::eager;
  if (model.recipe.attention != AttentionKernel::automatic) return model.recipe.attention;
  const ModelConfig& c = *model.config;
  const LatentConfig& latent = c.latent;
  const bool one_width = latent.kv_rank == 0 || latent.plain + latent.rotary == latent.value;
  // Falcon's keys of one head aren't announced as grouped, so that no fused kernel takes them.
  if (c.architecture == "falcon" && c.kv_heads < c.heads && !c.grouped_qkv) return AttentionKernel::math;
  if (is_half(type) && !masked && one_width && c.head_dim <= 256) return AttentionKernel::flash;
  if (masked || c.heads == c.kv_heads) return AttentionKernel::efficient;
  return AttentionKernel::math;
}

LayerMasks causal_masks(Torch& t, const Model& model, Type type) {
  const ModelConfig& c = *model.config;
  const bool eager = is_eager(model), both = rms_style(c).both_masks;
  const int64_t seq = model.recipe.seq_len;
  bool any_full = both, any_slides = both && c.sliding_window > 0;
  for (int64_t i = 0; i < c.layers; ++i) (c.window_of_layer(i) > 0 ? any_slides : any_full) = true;
  // Eager attention adds numbers, one mask a sequence; PyTorch's kernels are given one of truth values for all.
  const auto mask = [&] {
    Tensor seen = t.make(seq, seq, Type::boolean, "le.Tensor");
    return eager ? t.make(model.recipe.micro_batch * seq, seq, type, "where.self") : seen;
  };
  LayerMasks masks;
  const bool always = c.architecture == "falcon";  // its modelling code lets no mask be skipped
  if (any_full && (eager || always)) masks.full = mask();
  if (any_slides && (eager || seq >= c.sliding_window)) masks.sliding = mask();
  return masks;
}

namespace {

// A mask of truth values as numbers that are added, made for each layer.
Tensor added_mask(Torch& t, const Sizes& s, Type type) {
  Tensor bias = t.make(s.batch * s.seq, s.seq, type, "zeros_like.default");
  const Tensor inverse = t.make(s.batch * s.seq, s.seq, Type::boolean, "logical_not.default");
  return bias;
}

}  // namespace

Tensor attention(Torch& t, const Model& model, const Tensor& q_in, const Tensor& k_in, const Tensor& v_in,
                 const Tensor& mask, bool contiguous, const Parameter* sinks) {
  const Sizes s = sizes_of(model);
  const Type type = t.autocast ? t.autocast_type : q_in.type;
  const AttentionKernel kernel = attention_kernel(model, type, mask.defined());
  const int64_t groups = q_in.cols / k_in.cols;
  if (kernel == AttentionKernel::flash) {
    Tensor out = flash_attention(t, q_in, k_in, v_in, s.heads);
    if (contiguous) out = clone(t, out);
    return out;
  }
  if (kernel == AttentionKernel::efficient) {
    Tensor k = k_in, v = v_in;
    if (groups > 1) {
      k = repeat(t, k_in, groups, s.kv_heads > 1);
      v = repeat(t, v_in, groups, s.kv_heads > 1);
    }
    const int64_t padded = s.batch * ((s.seq + 31) / 32 * 32);
    Tensor bias;
    if (mask.defined()) {
      constexpr int64_t kAligned = 16;  // rows of the kernel's bias are padded to this
      bias = added_mask(t, s, type);
      if (s.seq % kAligned != 0)
        bias = t.make(s.batch * s.seq, (s.seq + kAligned - 1) / kAligned * kAligned, type, "constant_pad_nd.default");
    }
    Tensor out = efficient_attention(t, q_in, k, v, s.heads, padded, bias);
    if (contiguous) out = clone(t, out);
    return out;
  }
  // Products of matrices: the scores live.
  const bool eager = kernel == AttentionKernel::eager;
  Tensor q = q_in, k = k_in, v = v_in;
  const bool announced = model.config->architecture != "falcon";
  const auto for_all_heads = [&] {
    if (groups == 1) return;
    const bool copies = (!eager && announced) || s.kv_heads > 1 || s.batch > 1;
    k = repeat(t, k, groups, copies);
    v = repeat(t, v, groups, copies);
  };
  if (eager || announced) for_all_heads();
  const int64_t width = v_in.cols * groups;
  if (eager) {
    Tensor scores = bmm(t, q, k, s.scores(), s.seq);
    scores = mul_scalar(t, scores);
    if (softcapped(model)) {
      scores = mul_scalar(t, scores, "div.Tensor");
      scores = tanh(t, scores);
      scores = mul_scalar(t, scores);
    }
    if (mask.defined()) scores = add(t, scores, mask);
    if (sinks) {
      Tensor joined = with_column(t, scores, sinks->tensor);
      joined = minus_largest(t, joined);
      const Tensor all = softmax(t, joined, joined.type);
      scores.reset();
      return clone(t, bmm(t, slice(t, all, s.seq), v, q.rows, width));
    }
    Tensor weights = softmax(t, scores, Type::f32);
    weights = to(t, weights, q_in.type);
    scores = std::move(weights);
    Tensor out = bmm(t, scores, v, q.rows, width);
    out = clone(t, out);
    return out;
  }
  // _scaled_dot_product_attention_math: in f32, q and k each times the root of the scale, a causal mask of its own
  // where none is given. Autocast ends at its door.
  const bool autocast = t.autocast;
  q = lowered(t, q);
  k = lowered(t, k);
  v = lowered(t, v);
  t.autocast = false;
  const Type result_type = q.type;
  const Tensor bias = mask.defined() ? added_mask(t, s, result_type) : Tensor{};
  const Tensor q_wide = to(t, q, Type::f32), k_wide = to(t, k, Type::f32);
  v = to(t, v, Type::f32);
  Tensor causal;
  if (!bias.defined()) {
    const Tensor allowed = t.make(s.seq, s.seq, Type::boolean, "ones.default");
    causal = t.make(s.seq, s.seq, Type::f32, "zeros.default");
  }
  q = mul_scalar(t, q_wide);
  k = mul_scalar(t, k_wide);
  if (!announced) for_all_heads();
  Tensor scores = bmm(t, q, k, s.scores(), s.seq);
  scores = add(t, scores, bias.defined() ? bias : causal);
  const Tensor weights = softmax(t, scores, Type::f32, "_safe_softmax.default");
  scores.reset();
  const Tensor returned = to(t, weights, result_type);
  Tensor out = bmm(t, weights, v, q_in.rows, width);
  out = to(t, out, result_type);
  t.autocast = autocast;
  return clone(t, out);
}

}  // namespace plimsoll::eager
