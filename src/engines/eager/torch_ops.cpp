#include "engines/eager/torch_ops.h"

#include "engines/eager/record.h"

namespace plimsoll::eager {

std::shared_ptr<Node> record(Torch& t, std::string_view name, std::initializer_list<const Tensor*> operands) {
  if (!t.grad_enabled) return nullptr;
  bool any = false;
  for (const Tensor* x : operands) any = any || x->requires_grad();
  if (!any) return nullptr;
  std::shared_ptr<Node> node = t.node(name);
  for (const Tensor* x : operands) t.edge(*node, *x);
  return node;
}

namespace {

// One result each way, nothing saved.
Tensor plain(Torch& t, const Tensor& x, std::string_view op, std::string_view node_name, std::string_view back) {
  std::shared_ptr<Node> node = record(t, node_name, {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, op);
  if (node) {
    node->apply = [&t, back](Node&, auto& in, auto& out) { out[0] = t.make(in[0].rows, in[0].cols, in[0].type, back); };
    y.node = std::move(node);
  }
  return y;
}

}  // namespace

Tensor view(Tensor x, int64_t rows, int64_t cols) {
  x.rows = rows;
  x.cols = cols;
  return x;
}

Type promote(Type a, Type b) {
  if (a == b) return a;
  return Type::f32;
}

Tensor to(Torch& t, const Tensor& x, Type type) {
  if (x.type == type) return x;
  std::shared_ptr<Node> node = record(t, "ToCopyBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, type, "_to_copy.default");
  if (node) {
    node->apply = [&t, from = x.type](Node&, auto& in, auto& out) {
      out[0] = t.make(in[0].rows, in[0].cols, from, "_to_copy.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor lowered(Torch& t, const Tensor& x) {
  if (!t.autocast || x.type == t.autocast_type || x.type == Type::i64) return x;
  const bool leaf = x.node && x.node->leaf && x.type == Type::f32;
  if (!leaf) return to(t, x, t.autocast_type);
  const auto found = t.cast_cache.find(x.storage->id);
  if (found != t.cast_cache.end()) return found->second;
  Tensor y = to(t, x, t.autocast_type);
  t.cast_cache.emplace(x.storage->id, y);
  return y;
}

Tensor raised(Torch& t, const Tensor& x) { return t.autocast && is_half(x.type) ? to(t, x, Type::f32) : x; }

Tensor mul(Torch& t, const Tensor& a, const Tensor& b) {
  std::shared_ptr<Node> node = record(t, "MulBackward0", {&a, &b});
  int a_saved = -1, b_saved = -1;
  if (node) {
    int next = 0;
    if (node->wants(0)) t.save(*node, b), b_saved = next++;
    if (node->wants(1)) t.save(*node, a), a_saved = next++;
  }
  Tensor y = t.make(std::max(a.rows, b.rows), std::max(a.cols, b.cols), promote(a.type, b.type), "mul.Tensor");
  if (node) {
    node->apply = [&t, a_saved, b_saved](Node& n, auto& in, auto& out) {
      const Tensor other_b = b_saved >= 0 ? n.saved[static_cast<size_t>(b_saved)]() : Tensor{};
      const Tensor other_a = a_saved >= 0 ? n.saved[static_cast<size_t>(a_saved)]() : Tensor{};
      const Tensor& g = in[0];
      if (n.wants(0)) out[0] = t.make(g.rows, g.cols, promote(g.type, other_b.type), "mul.Tensor");
      if (n.wants(1)) out[1] = t.make(g.rows, g.cols, promote(g.type, other_a.type), "mul.Tensor");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor add(Torch& t, const Tensor& a, const Tensor& b) {
  std::shared_ptr<Node> node = record(t, "AddBackward0", {&a, &b});
  Tensor y = t.make(std::max(a.rows, b.rows), std::max(a.cols, b.cols), promote(a.type, b.type), "add.Tensor");
  if (node) {
    node->apply = [](Node& n, auto& in, auto& out) {
      if (n.wants(0)) out[0] = in[0];
      if (n.wants(1)) out[1] = in[0];
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor sub(Torch& t, const Tensor& a, const Tensor& b) {
  std::shared_ptr<Node> node = record(t, "SubBackward0", {&a, &b});
  Tensor y = t.make(std::max(a.rows, b.rows), std::max(a.cols, b.cols), promote(a.type, b.type), "sub.Tensor");
  if (node) {
    node->apply = [&t](Node& n, auto& in, auto& out) {
      if (n.wants(0)) out[0] = in[0];
      if (n.wants(1)) out[1] = t.make(in[0].rows, in[0].cols, in[0].type, "neg.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor mul_scalar(Torch& t, const Tensor& x, std::string_view name) {
  return plain(t, x, name, name == "div.Tensor" ? "DivBackward0" : "MulBackward0", name);
}

Tensor add_scalar(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "AddBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, "add.Tensor");
  if (node) {
    node->apply = [](Node&, auto& in, auto& out) { out[0] = in[0]; };
    y.node = std::move(node);
  }
  return y;
}

Tensor pow_scalar(Torch& t, const Tensor& input, bool square) {
  const Tensor x = raised(t, input);
  (void)square;
  std::shared_ptr<Node> node = record(t, "PowBackward0", {&x});
  if (node) t.save(*node, x);
  Tensor y = t.make(x.rows, x.cols, x.type, "pow.Tensor_Scalar");
  if (node) {
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor x_saved = n.saved[0]();
      Tensor power = t.make(x_saved.rows, x_saved.cols, x_saved.type, "pow.Tensor_Scalar");
      Tensor scaled = t.make(x_saved.rows, x_saved.cols, x_saved.type, "mul.Scalar");
      out[0] = t.make(x_saved.rows, x_saved.cols, promote(in[0].type, x_saved.type), "mul.Tensor");
      scaled.reset();
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor mean_columns(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "MeanBackward1", {&x});
  Tensor y = t.make(x.rows, 1, x.type, "mean.dim");
  if (node) {
    node->apply = [&t, rows = x.rows, cols = x.cols](Node&, auto& in, auto& out) {
      out[0] = t.make(rows, cols, in[0].type, "div.Scalar");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor rsqrt(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "RsqrtBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, "rsqrt.default");
  if (node) {
    t.save(*node, y);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor y_saved = n.saved[0]();
      Tensor power = t.make(y_saved.rows, y_saved.cols, y_saved.type, "pow.Tensor_Scalar");
      Tensor scaled = t.make(y_saved.rows, y_saved.cols, y_saved.type, "mul.Scalar");
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "mul.Tensor");
      scaled.reset();
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor neg(Torch& t, const Tensor& x) { return plain(t, x, "neg.default", "NegBackward0", "neg.default"); }

Tensor tanh(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "TanhBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, "tanh.default");
  if (node) {
    t.save(*node, y);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor y_saved = n.saved[0]();
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "tanh_backward.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor sigmoid(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "SigmoidBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, "sigmoid.default");
  if (node) {
    t.save(*node, y);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor y_saved = n.saved[0]();
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "sigmoid_backward.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor clamp(Torch& t, const Tensor& x, int bounds) {
  std::shared_ptr<Node> node = record(t, "ClampBackward1", {&x});
  if (node) t.save(*node, x);
  Tensor y = t.make(x.rows, x.cols, x.type, "clamp.default");
  if (node) {
    node->apply = [&t, bounds](Node& n, auto& in, auto& out) {
      const Tensor x_saved = n.saved[0]();
      const auto inside = [&] { return t.make(x_saved.rows, x_saved.cols, Type::boolean, "le.Scalar"); };
      const Tensor below = inside();
      Tensor above;
      if (bounds > 1) above = inside();
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "where.self");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor add_in_place(Torch& t, const Tensor& x, const Tensor& y) {
  std::shared_ptr<Node> node = record(t, "AddBackward0", {&x, &y});
  Tensor sum = x;
  sum.output = 0;
  if (node) {
    node->apply = [](Node& n, auto& in, auto& out) {
      for (size_t i = 0; i < 2; ++i)
        if (n.wants(i)) out[i] = in[0];
    };
    sum.node = std::move(node);
  }
  return sum;
}

Tensor minus_largest(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "MaxBackward0", {&x});
  Tensor largest = t.make(x.rows, 1, x.type, "max.dim");
  {
    const Tensor place = t.make(x.rows, 1, Type::i64, "max.dim");
    if (node) t.save(*node, place);
  }
  if (node) {
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor place = n.saved[0]();
      const Tensor zeros = t.make(n.edges[0].rows, n.edges[0].cols, in[0].type, "new_zeros.default");
      out[0] = t.make(n.edges[0].rows, n.edges[0].cols, in[0].type, "scatter.src");
    };
    largest.node = std::move(node);
  }
  return sub(t, x, largest);
}

Tensor with_column(Torch& t, const Tensor& x, const Tensor& column) {
  std::shared_ptr<Node> node = record(t, "CatBackward0", {&x, &column});
  Tensor y = t.make(x.rows, x.cols + 1, promote(x.type, column.type), "cat.default");
  if (node) {
    node->apply = [](Node& n, auto& in, auto& out) {
      if (n.wants(0)) out[0] = view(in[0], n.edges[0].rows, n.edges[0].cols);
      if (n.wants(1)) out[1] = view(in[0], in[0].rows, 1);  // summed when it is checked
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor activation(Torch& t, const Tensor& x, std::string_view name) {
  const bool relu = name == "relu";
  const std::string_view op = relu ? "relu.default" : name == "silu" ? "silu.default" : "gelu.default";
  const std::string_view back = relu             ? "threshold_backward.default"
                                : name == "silu" ? "silu_backward.default"
                                                 : "gelu_backward.default";
  std::shared_ptr<Node> node = record(t,
                                      relu             ? "ReluBackward0"
                                      : name == "silu" ? "SiluBackward0"
                                                       : "GeluBackward0",
                                      {&x});
  if (node && !relu) t.save(*node, x);
  Tensor y = t.make(x.rows, x.cols, x.type, op);
  if (node) {
    if (relu) t.save(*node, y);
    node->apply = [&t, back](Node& n, auto& in, auto& out) {
      const Tensor saved = n.saved[0]();
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, back);
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor dropout(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "NativeDropoutBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, "native_dropout.default");
  const Tensor mask = t.make(x.rows, x.cols, Type::boolean, "native_dropout.default");
  if (node) {
    t.save(*node, mask);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor saved = n.saved[0]();
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "native_dropout_backward.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor clone(Torch& t, const Tensor& x, std::string_view name) {
  std::shared_ptr<Node> node = record(t, "CloneBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, name);
  if (node) {
    node->apply = [](Node&, auto& in, auto& out) { out[0] = in[0]; };
    y.node = std::move(node);
  }
  return y;
}

Tensor copied_on_return(Torch& t, const Tensor& x) {
  std::shared_ptr<Node> node = record(t, "ViewBackward0", {&x});
  Tensor y = x;
  y.output = 0;
  if (node) {
    node->apply = [&t](Node&, auto& in, auto& out) {
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "clone.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor on_gradient(Torch& t, const Tensor& x, std::function<void()> action) {
  std::shared_ptr<Node> node = record(t, "RegisterPostBackwardFunctionBackward", {&x});
  if (!node) return x;
  node->apply = [action = std::move(action)](Node&, auto& in, auto& out) {
    action();
    out[0] = in[0];
  };
  Tensor y = x;
  y.node = std::move(node);
  y.output = 0;
  return y;
}

Tensor slice(Torch& t, const Tensor& x, int64_t cols) {
  std::shared_ptr<Node> node = record(t, "SliceBackward0", {&x});
  Tensor y = view(x, x.rows, cols);
  y.node = nullptr;
  y.output = 0;
  if (node) {
    node->apply = [&t, all = x.cols](Node&, auto& in, auto& out) {
      out[0] = t.make(in[0].rows, all, in[0].type, "slice_backward.default");
    };
    y.node = std::move(node);
  }
  return y;
}

std::vector<Tensor> split(Torch& t, const Tensor& x, std::span<const int64_t> cols) {
  std::shared_ptr<Node> node = record(t, "SplitBackward0", {&x});
  std::vector<Tensor> parts;
  for (const int64_t width : cols) {
    Tensor y = view(x, x.rows, width);
    y.node = node;
    y.output = static_cast<int>(parts.size());
    parts.push_back(std::move(y));
  }
  if (node) {
    node->inputs = static_cast<int>(cols.size());
    node->apply = [&t, rows = x.rows, all = x.cols](Node&, auto& in, auto& out) {
      Type type = Type::f32;
      for (const Tensor& grad : in)
        if (grad.defined()) type = grad.type;
      out[0] = t.make(rows, all, type, "cat.default");
    };
  }
  return parts;
}

Tensor cat(Torch& t, std::span<const Tensor> parts) {
  std::shared_ptr<Node> node;
  bool any = false;
  for (const Tensor& part : parts) any = any || part.requires_grad();
  if (t.grad_enabled && any) {
    node = t.node("CatBackward0");
    for (const Tensor& part : parts) t.edge(*node, part);
  }
  int64_t cols = 0;
  for (const Tensor& part : parts) cols += part.cols;
  Tensor y = t.make(parts[0].rows, cols, parts[0].type, "cat.default");
  if (node) {
    node->apply = [](Node& n, auto& in, auto& out) {
      for (size_t i = 0; i < out.size(); ++i)
        if (n.wants(i)) out[i] = view(in[0], n.edges[i].rows, n.edges[i].cols);
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor cat(Torch& t, const Tensor& a, const Tensor& b) {
  const Tensor parts[] = {a, b};
  return cat(t, parts);
}

Tensor repeat(Torch& t, const Tensor& x, int64_t n, bool copies) {
  std::shared_ptr<Node> node = record(t, "ExpandBackward0", {&x});
  Tensor y = copies ? t.make(x.rows, x.cols * n, x.type, "clone.default") : view(x, x.rows, x.cols * n);
  y.node = nullptr;
  y.output = 0;
  if (node) {
    node->apply = [](Node&, auto& in, auto& out) { out[0] = in[0]; };  // summed when it is checked
    y.node = std::move(node);
  }
  return y;
}

}  // namespace plimsoll::eager
