// Multi-head latent attention: keys and values come out of a low-rank vector of each token, a part of each key carries
// the position and is shared by all heads (DeepSeek-V2, arXiv:2405.04434).
#include "engines/eager/attention.h"
#include "engines/eager/blocks.h"
#include "engines/eager/record.h"

namespace plimsoll::eager {
namespace {

// By complex numbers, in f32 (DeepSeek-V2).
Tensor rotate_complex(Torch& t, const Tensor& wide, const Tensor& angles, Type type) {
  const Tensor turned = mul(t, wide, angles);
  return to(t, copied_on_return(t, turned), type);
}

// Keys of all heads in one new tensor: its own part, and the shared one copied into each head.
Tensor join_keys(Torch& t, const Tensor& own, const Tensor& shared) {
  const std::shared_ptr<Node> node = record(t, "CopySlices", {&own, &shared});
  Tensor y = t.make(own.rows, own.cols + shared.cols, own.type, "new_empty.default");
  if (node) {
    node->apply = [&t, own_cols = own.cols, shared_cols = shared.cols](Node&, auto& in, auto& out) {
      const int64_t rows = in[0].rows;
      const Type type = in[0].type;
      const auto whole = [&] { return t.make(rows, own_cols + shared_cols, type, "new_empty_strided.default"); };
      const Tensor first = whole();
      out[1] = t.make(rows, shared_cols, type, "clone.default");  // summed over heads when it is checked
      { const Tensor zeros = t.make(rows, shared_cols, type, "zeros_like.default"); }
      in[0].reset();
      const Tensor second = whole();
      out[0] = t.make(rows, own_cols, type, "clone.default");
    };
    y.node = node;
  }
  return y;
}

}  // namespace

Tensor latent_attention(Torch& t, const Model& model, const Layer& layer, const Tensor& x, const Tensor& cos,
                        const Tensor& sin, const Tensor& mask) {
  const ModelConfig& c = *model.config;
  const LatentConfig& a = c.latent;
  const int64_t tokens = x.rows, by_head = tokens * c.heads;
  const Tensor q = [&] {
    if (a.q_rank == 0) return apply_linear(t, model, layer.q, x);
    Tensor narrow = apply_linear(t, model, layer.q_a, x);
    narrow = rms_norm(t, model, layer.latent_q_norm, narrow);
    return apply_linear(t, model, layer.q_b, narrow);
  }();
  const int64_t q_parts[] = {a.plain, a.rotary}, kv_parts[] = {a.kv_rank, a.rotary}, heads_parts[] = {a.plain, a.value};
  const std::vector<Tensor> q_split = split(t, view(copied_on_return(t, q), by_head, a.plain + a.rotary), q_parts);
  const Tensor compressed = apply_linear(t, model, layer.kv_a, x);
  const std::vector<Tensor> kv_split = split(t, compressed, kv_parts);
  const Tensor latent = rms_norm(t, model, layer.latent_kv_norm, kv_split[0]);
  Tensor q_turned, k_turned;
  if (sin.defined()) {
    q_turned = rotate_halves(t, q_split[1], cos, sin, true);
    k_turned = rotate_halves(t, kv_split[1], cos, sin, true);
  } else {
    const Tensor q_wide = to(t, q_split[1], Type::f32), k_wide = to(t, kv_split[1], Type::f32);
    q_turned = rotate_complex(t, q_wide, cos, q.type);
    k_turned = rotate_complex(t, k_wide, cos, q.type);
  }
  Tensor query = cat(t, q_split[0], q_turned);
  Tensor key, value;
  {
    const Tensor kv = copied_on_return(t, apply_linear(t, model, layer.kv_b, latent));
    const std::vector<Tensor> parts = split(t, view(kv, by_head, a.plain + a.value), heads_parts);
    key = join_keys(t, parts[0], k_turned);
    value = parts[1];
  }
  query = view(query, tokens, c.heads * (a.plain + a.rotary));
  key = view(key, tokens, c.heads * (a.plain + a.rotary));
  value = view(value, tokens, c.heads * a.value);
  const bool strided = a.plain + a.rotary == a.value;  // a fused kernel for heads of one width keeps the query's order
  const Tensor out = attention(t, model, query, key, value, mask, strided, nullptr);
  return apply_linear(t, model, layer.o, out);
}

}  // namespace plimsoll::eager
