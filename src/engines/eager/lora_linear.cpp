// Linear layers as PEFT and bitsandbytes run them.
#include "engines/eager/model.h"

namespace plimsoll::eager {
namespace {

// bitsandbytes' Linear4bit: the weight is dequantised for each product, forward and backward, and never kept.
Tensor quantized_linear(Torch& t, const Model& model, const Linear& linear, const Tensor& input) {
  const Type compute = is_half(input.type) ? input.type : compute_type(model.recipe);
  const Tensor x = to(t, input, compute);
  struct Dequantised {
    Tensor absmax, weight;
  };
  const auto dequantise = [&t, in = linear.in, out = linear.out, compute](bool nested) {
    Dequantised made;
    if (nested) {
      made.absmax = t.make(in * out / 64, 1, Type::f32, "dequantize_blockwise");
      made.absmax = t.make(in * out / 64, 1, Type::f32, "add.Tensor");
    }
    made.weight = t.make(out, in, compute, "dequantize_4bit");
    return made;
  };
  const bool nested = linear.quantized.size() > 3;
  std::shared_ptr<Node> node;
  if (t.grad_enabled && x.requires_grad()) {
    node = t.node("MatMul4BitBackward");
    t.edge(*node, x);
    if (model.recipe.quantized_keeps_input) t.save(*node, x);
  }
  Tensor y;
  {
    const Dequantised all = dequantise(nested);  // forwards the scales stay until the product is there
    y = t.make(x.rows, linear.out, compute, "mm.default");
  }
  if (node) {
    node->apply = [&t, dequantise, nested](Node& n, auto& in, auto& out) {
      const Tensor kept = n.saved.empty() ? Tensor{} : n.saved[0]();
      const Tensor again = dequantise(nested).weight;
      out[0] = t.make(n.edges[0].rows, n.edges[0].cols, in[0].type, "mm.default");
    };
    y.node = std::move(node);
  }
  return to(t, y, input.type);
}

}  // namespace

Tensor apply_linear(Torch& t, const Model& model, const Linear& layer, const Tensor& input) {
  const Tensor* bias = layer.bias ? &layer.bias->tensor : nullptr;
  Tensor result =
      layer.weight ? linear(t, input, layer.weight->tensor, bias, layer.out) : quantized_linear(t, model, layer, input);
  if (!layer.lora_a) return result;
  const bool four_bit = !layer.weight;
  const Type result_type = result.type;
  if (four_bit) result = clone(t, result);
  Tensor x = input;
  const bool cast = !four_bit || !t.autocast;
  if (cast) x = to(t, input, layer.lora_a->tensor.type);
  Tensor dropped;
  if (model.recipe.lora_dropout > 0) dropped = dropout(t, x);
  const Tensor& a_in = dropped.defined() ? dropped : x;
  Tensor down = linear(t, a_in, layer.lora_a->tensor, nullptr, layer.lora_a->tensor.rows);
  dropped.reset();
  Tensor up = linear(t, down, layer.lora_b->tensor, nullptr, layer.out);
  down.reset();
  Tensor scaled = mul_scalar(t, up);
  up.reset();
  if (four_bit && cast) scaled = to(t, scaled, result_type);
  Tensor sum = add(t, result, scaled);
  scaled.reset();
  result = std::move(sum);
  if (!four_bit) result = to(t, result, result_type);
  return result;
}

}  // namespace plimsoll::eager
