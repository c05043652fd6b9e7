#include "engines/eager/blocks.h"

namespace plimsoll::eager {

Tensor plain_layer_norm(Torch& t, const Norm& norm, const Tensor& x) {
  return layer_norm(t, x, norm.weight ? &norm.weight->tensor : nullptr, norm.bias ? &norm.bias->tensor : nullptr);
}

// x·(half of the angles): (x * cos) + (rotate_half(x) * sin)
Tensor rotate(Torch& t, const Tensor& x, const Tensor& cos, const Tensor& sin) {
  Tensor straight = mul(t, x, cos);
  Tensor turned;
  {
    const Tensor first = slice(t, x, x.cols / 2);
    const Tensor second = slice(t, x, x.cols - x.cols / 2);
    Tensor minus = neg(t, second);
    turned = cat(t, minus, first);
  }
  Tensor crossed = mul(t, turned, sin);
  turned.reset();
  Tensor y = add(t, straight, crossed);
  straight.reset();
  crossed.reset();
  return y;
}

namespace {

// GELU as a formula in Python: gelu_new.
Tensor gelu_new(Torch& t, const Tensor& x) {
  Tensor half = mul_scalar(t, x);
  Tensor cube = pow_scalar(t, x, false);
  Tensor part = mul_scalar(t, cube);
  cube.reset();
  Tensor sum = add(t, x, part);
  part.reset();
  Tensor inner = mul_scalar(t, sum);
  sum.reset();
  Tensor bend = tanh(t, inner);
  inner.reset();
  Tensor outer = add_scalar(t, bend);
  bend.reset();
  return mul(t, half, outer);
}

}  // namespace

Tensor activate(Torch& t, const Model& model, const Tensor& x) {
  const std::string& name = model.config->activation;
  if (name == "gelu_new" || name == "gelu_fast") return gelu_new(t, x);
  return activation(t, x, name == "relu" ? "relu" : name == "silu" ? "silu" : "gelu");
}

Tensor expert_mlp(Torch& t, const Model& model, const Layer& layer, const Tensor& x) {
  const MixtureConfig& m = model.config->mixture;
  const Experts& experts = layer.experts;
  const int64_t pairs = x.rows * m.chosen;
  Tensor logits = linear(t, x, experts.router->tensor, nullptr, m.experts);
  Tensor probabilities = softmax(t, logits, Type::f32);
  Tensor weights = gather_rows(t, probabilities, x.rows, m.chosen, "topk.default");
  const Tensor chosen = t.make(x.rows, m.chosen, Type::i64, "topk.default");
  if (!model.config->architecture.starts_with("mixtral")) weights = to(t, weights, logits.type);
  if (experts.down_a) {  // the adapted weights are worked out once to be looked at, then where they are used
    const Tensor seen = merged_weight(t, *experts.down, *experts.down_a, *experts.down_b);
  }
  if (experts.gate_up_a) {
    const Tensor seen = merged_weight(t, *experts.gate_up, *experts.gate_up_a, *experts.gate_up_b);
  }
  const Tensor sorted = t.make(pairs, 1, Type::i64, "sort.default");
  const Tensor order = t.make(pairs, 1, Type::i64, "sort.default");
  const Tensor tokens = t.make(pairs, 1, Type::i64, "floor_divide.default");
  Tensor rows = gather_rows(t, x, pairs, x.cols, "index.Tensor");
  const Tensor row_weights = gather_rows(t, view(weights, pairs, 1), pairs, 1, "index.Tensor");
  const auto weight = [&](Parameter* base, Parameter* a, Parameter* b) {
    return a ? merged_weight(t, *base, *a, *b) : base->tensor;
  };
  Tensor gate_up = grouped_product(t, rows, weight(experts.gate_up, experts.gate_up_a, experts.gate_up_b), 2 * m.width);
  rows.reset();
  Tensor active, up;
  {
    const int64_t half[] = {m.width, m.width};
    std::vector<Tensor> parts = split(t, gate_up, half);
    active = activate(t, model, parts[0]);
    up = parts[1];
  }
  Tensor hidden = mul(t, active, up);
  active.reset();
  up.reset();
  gate_up.reset();
  hidden = grouped_product(t, hidden, weight(experts.down, experts.down_a, experts.down_b), x.cols);
  Tensor weighted = mul(t, hidden, row_weights);
  const Tensor inverse = t.make(pairs, 1, Type::i64, "empty_like.default");
  Tensor restored = gather_rows(t, weighted, pairs, x.cols, "index.Tensor");
  weighted.reset();
  Tensor sum = sum_groups(t, restored, x.rows);
  Tensor y = to(t, sum, x.type);
  return y;
}

}  // namespace plimsoll::eager
