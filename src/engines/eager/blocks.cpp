#include "engines/eager/blocks.h"

#include "engines/eager/record.h"

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

Tensor rotate_halves(Torch& t, const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const int64_t half[] = {x.cols / 2, x.cols / 2};
  const std::vector<Tensor> parts =
      interleaved ? std::vector<Tensor>{slice(t, x, half[0]), slice(t, x, half[1])} : split(t, x, half);
  const auto turned = [&](const Tensor& a, const Tensor& b, bool minus) {
    const Tensor straight = mul(t, a, cos), crossed = mul(t, b, sin);
    return minus ? sub(t, straight, crossed) : add(t, straight, crossed);
  };
  const Tensor first = turned(parts[0], parts[1], true), second = turned(parts[1], parts[0], false);
  return cat(t, first, second);
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

// gelu_fast.
Tensor gelu_fast(Torch& t, const Tensor& x) {
  const Tensor half = mul_scalar(t, x);
  Tensor inner;
  {
    const Tensor scaled = mul_scalar(t, x);
    Tensor small = mul_scalar(t, x);
    Tensor square = mul(t, small, x);
    small.reset();
    const Tensor one_plus = add_scalar(t, square);
    square.reset();
    inner = mul(t, scaled, one_plus);
  }
  Tensor bend = tanh(t, inner);
  inner.reset();
  const Tensor outer = add_scalar(t, bend);
  bend.reset();
  return mul(t, half, outer);
}

// BLOOM's: one node that keeps its input; its formulas are worked out step by step each way.
Tensor gelu_bloom(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "GeLUFunctionBackward", {&x});
  if (node) t.save(*node, x);
  const auto like = [&t](const Tensor& other, std::string_view op) {
    return t.make(other.rows, other.cols, other.type, op);
  };
  const auto bent = [like](const Tensor& at) {  // tanh(0.8 · x · (1 + 0.04 · x · x))
    const Tensor scaled = like(at, "mul.Tensor");
    Tensor small = like(at, "mul.Tensor");
    small = like(at, "mul.Tensor");
    small = like(at, "add.Tensor");
    const Tensor inner = like(at, "mul.Tensor");
    return like(inner, "tanh.default");
  };
  Tensor y;
  {
    const Tensor half = like(x, "mul.Tensor");
    Tensor outer = bent(x);
    outer = like(x, "add.Tensor");
    y = like(x, "mul.Tensor");
  }
  if (!node) return y;
  node->apply = [like, bent](Node& n, auto& in, auto& out) {
    const Tensor at = n.saved[0]();
    const Tensor bend = bent(at);
    Tensor slope;
    {
      const Tensor half = like(at, "mul.Tensor");
      Tensor rest = like(at, "mul.Tensor");
      rest = like(at, "rsub.Scalar");
      Tensor square = like(at, "mul.Tensor");
      square = like(at, "mul.Tensor");
      square = like(at, "add.Tensor");
      rest = like(at, "mul.Tensor");
      square.reset();
      rest = like(at, "mul.Tensor");
      Tensor last = like(at, "add.Tensor");
      last = like(at, "mul.Tensor");
      slope = like(at, "add.Tensor");
    }
    out[0] = like(in[0], "mul.Tensor");
  };
  y.node = std::move(node);
  return y;
}

}  // namespace

Tensor activate(Torch& t, const Model& model, const Tensor& x) {
  const std::string& name = model.config->activation;
  if (model.config->architecture == "bloom") return gelu_bloom(t, x);
  if (name == "gelu_new") return gelu_new(t, x);
  if (name == "gelu_fast") return gelu_fast(t, x);
  return activation(t, x, name == "relu" ? "relu" : name == "silu" ? "silu" : "gelu");
}

}  // namespace plimsoll::eager
