// Mixtures of experts as transformers runs them on a GPU: rows sorted by expert, one grouped product for all experts.
#include "engines/eager/blocks.h"
#include "engines/eager/model_parts.h"

namespace plimsoll::eager {
namespace {

// What a token's experts weigh: rows × chosen, of the type that its results are multiplied in. What is held here lives
// as long as the layer's forward pass.
struct Routing {
  Tensor logits, weights, chosen;
};

Routing route(Torch& t, const Model& model, const Experts& experts, const Tensor& x) {
  const MixtureConfig& m = model.config->mixture;
  const std::string& family = model.config->architecture;
  const bool wide = family.starts_with("deepseek");  // the router's product is in f32
  Routing routing;
  const Tensor* bias = experts.router_bias ? &experts.router_bias->tensor : nullptr;
  Tensor weight;
  if (experts.router) weight = experts.router->tensor;
  if (experts.router_a) weight = merged_weight(t, *experts.router, *experts.router_a, *experts.router_b);
  if (!experts.router) {
    routing.logits = apply_linear(t, model, experts.router_linear, x);
  } else if (wide) {
    const Tensor wide_x = to(t, x, Type::f32), wide_weight = to(t, weight, Type::f32);
    routing.logits = linear(t, wide_x, wide_weight, bias, m.experts);
  } else {
    routing.logits = linear(t, x, weight, bias, m.experts);
  }
  const Tensor of_chosen = t.make(x.rows, m.chosen, Type::i64, "topk.default");
  routing.chosen = of_chosen;
  if (rms_style(*model.config).sinks) {  // chosen by logits, then weighed
    const Tensor best = gather_rows(t, routing.logits, x.rows, m.chosen, "topk.default", of_chosen);
    routing.weights = softmax(t, best, best.type);
    return routing;
  }
  const Tensor scores = softmax(t, routing.logits, Type::f32);
  routing.weights = gather_rows(t, scores, x.rows, m.chosen, "topk.default", of_chosen);
  if (wide) routing.weights = mul_scalar(t, routing.weights);
  else if (!family.starts_with("mixtral")) routing.weights = to(t, routing.weights, x.type);
  return routing;
}

// GPT-OSS: (clamp(up) + 1) · g · sigmoid(α · g) of the clamped gate; gate and up are every other value.
Tensor clamped_gate(Torch& t, const Tensor& gate_up) {
  Tensor gate = clamp(t, slice(t, gate_up, gate_up.cols / 2), 1);
  Tensor up = clamp(t, slice(t, gate_up, gate_up.cols / 2), 2);
  Tensor scaled = mul_scalar(t, gate);
  Tensor sigma = sigmoid(t, scaled);
  scaled.reset();
  Tensor active = mul(t, gate, sigma);
  sigma.reset();
  const Tensor one_plus = add_scalar(t, up);
  return mul(t, one_plus, active);
}

}  // namespace

Tensor expert_mlp(Torch& t, const Model& model, const Layer& layer, const Tensor& x) {
  const MixtureConfig& m = model.config->mixture;
  const Experts& experts = layer.experts;
  const int64_t pairs = x.rows * m.chosen;
  const Routing routing = route(t, model, experts, x);
  Tensor y;
  {
    if (experts.down_a) {  // the adapted weights are worked out once to be looked at, then where they are used
      const Tensor seen = merged_weight(t, *experts.down, *experts.down_a, *experts.down_b);
    }
    if (experts.gate_up_a) {
      const Tensor seen = merged_weight(t, *experts.gate_up, *experts.gate_up_a, *experts.gate_up_b);
    }
    const Tensor sorted = t.make(pairs, 1, Type::i64, "sort.default");
    const Tensor order = t.make(pairs, 1, Type::i64, "sort.default");
    const Tensor rows = [&] {
      const Tensor tokens = t.make(pairs, 1, Type::i64, "floor_divide.default");
      return gather_rows(t, x, pairs, x.cols, "index.Tensor", tokens);
    }();
    const Tensor row_weights = gather_rows(t, view(routing.weights, pairs, 1), pairs, 1, "index.Tensor", order);
    const auto weight = [&](Parameter* base, Parameter* a, Parameter* b) {
      return a ? merged_weight(t, *base, *a, *b) : base->tensor;
    };
    // Rows of a bias are added in place.
    Tensor bias_rows;
    const auto biased = [&](const Tensor& product) {
      return bias_rows.defined() ? add_in_place(t, product, bias_rows) : product;
    };
    if (experts.gate_up_bias)
      bias_rows = gather_rows(t, experts.gate_up_bias->tensor, pairs, 2 * m.width, "index.Tensor", sorted);
    Tensor hidden =
        grouped_product(t, rows, weight(experts.gate_up, experts.gate_up_a, experts.gate_up_b), 2 * m.width);
    hidden = biased(hidden);
    if (experts.gate_up_bias) {
      hidden = clamped_gate(t, hidden);
    } else {
      const int64_t half[] = {m.width, m.width};
      const std::vector<Tensor> parts = split(t, hidden, half);
      const Tensor active = activate(t, model, parts[0]);
      hidden = mul(t, active, parts[1]);
    }
    if (experts.down_bias) bias_rows = gather_rows(t, experts.down_bias->tensor, pairs, x.cols, "index.Tensor", sorted);
    hidden = grouped_product(t, hidden, weight(experts.down, experts.down_a, experts.down_b), x.cols);
    hidden = biased(hidden);
    Tensor weighted = mul(t, hidden, row_weights);
    const Tensor inverse = t.make(pairs, 1, Type::i64, "empty_like.default");
    Tensor restored = gather_rows(t, weighted, pairs, x.cols, "index.Tensor", inverse);
    weighted.reset();
    const Tensor sum = sum_groups(t, restored, x.rows);
    y = to(t, sum, x.type);
  }
  if (m.shared > 0) y = add(t, y, gated_mlp(t, model, layer, x));
  return y;
}

}  // namespace plimsoll::eager
