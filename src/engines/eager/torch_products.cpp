// Products, embeddings, norms, losses and fused attention.
#include "engines/eager/record.h"
#include "engines/eager/torch_ops.h"

namespace plimsoll::eager {

Tensor linear(Torch& t, const Tensor& input, const Tensor& weight, const Tensor* bias, int64_t out_width) {
  // Autocast casts operands from the last to the first, as compilers evaluate a call's arguments.
  Tensor none;
  const Tensor b = bias ? lowered(t, *bias) : none;
  const Tensor w = lowered(t, weight);
  const Tensor x = lowered(t, input);
  std::shared_ptr<Node> node = bias ? record(t, "AddmmBackward0", {&x, &w, &b}) : record(t, "MmBackward0", {&x, &w});
  int x_saved = -1, w_saved = -1;
  if (node) {
    int next = 0;
    if (node->wants(0)) t.save(*node, w), w_saved = next++;
    if (node->wants(1)) t.save(*node, x), x_saved = next++;
  }
  Tensor y = t.make(x.rows, out_width, promote(x.type, w.type), bias ? "addmm.default" : "mm.default");
  if (node) {
    node->apply = [&t, x_saved, w_saved](Node& n, auto& in, auto& out) {
      const Tensor w_kept = w_saved >= 0 ? n.saved[static_cast<size_t>(w_saved)]() : Tensor{};
      const Tensor x_kept = x_saved >= 0 ? n.saved[static_cast<size_t>(x_saved)]() : Tensor{};
      const bool biased = out.size() > 2;
      const size_t order[] = {biased ? size_t{0} : size_t{1}, biased ? size_t{1} : size_t{0}};
      for (const size_t i : order)
        if (n.wants(i)) out[i] = t.make(n.edges[i].rows, n.edges[i].cols, in[0].type, "mm.default");
      if (n.wants(1)) out[1].transposed = true;
      if (biased && n.wants(2)) out[2] = in[0];  // summed when it is checked
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor bmm(Torch& t, const Tensor& first, const Tensor& second, int64_t rows, int64_t cols) {
  const Tensor b = lowered(t, second);
  const Tensor a = lowered(t, first);
  std::shared_ptr<Node> node = record(t, "BmmBackward0", {&a, &b});
  int a_saved = -1, b_saved = -1;
  if (node) {
    int next = 0;
    if (node->wants(0)) t.save(*node, b), b_saved = next++;
    if (node->wants(1)) t.save(*node, a), a_saved = next++;
  }
  Tensor y = t.make(rows, cols, a.type, "bmm.default");
  if (node) {
    node->apply = [&t, a_saved, b_saved](Node& n, auto& in, auto& out) {
      const Tensor b_kept = b_saved >= 0 ? n.saved[static_cast<size_t>(b_saved)]() : Tensor{};
      const Tensor a_kept = a_saved >= 0 ? n.saved[static_cast<size_t>(a_saved)]() : Tensor{};
      if (n.wants(1)) out[1] = t.make(n.edges[1].rows, n.edges[1].cols, in[0].type, "bmm.default");
      if (n.wants(0)) out[0] = t.make(n.edges[0].rows, n.edges[0].cols, in[0].type, "bmm.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor gather_rows(Torch& t, const Tensor& x, int64_t rows, int64_t cols, std::string_view op, const Tensor& index) {
  std::shared_ptr<Node> node = record(t, "IndexBackward0", {&x});
  if (node) t.save(*node, index);
  Tensor y = t.make(rows, cols, x.type, op);
  if (node) {
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor kept = n.saved[0]();
      Tensor zeros = t.make(n.edges[0].rows, n.edges[0].cols, in[0].type, "new_zeros.default");
      out[0] = t.make(n.edges[0].rows, n.edges[0].cols, in[0].type, "index_put.default");
      zeros.reset();
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor sum_groups(Torch& t, const Tensor& x, int64_t rows) {
  std::shared_ptr<Node> node = record(t, "SumBackward1", {&x});
  Tensor y = t.make(rows, x.cols, x.type, "sum.dim_IntList");
  if (node) {
    // Expanded without a copy; the index's gradient copies what it fills in.
    node->apply = [](Node& n, auto& in, auto& out) { out[0] = view(in[0], n.edges[0].rows, n.edges[0].cols); };
    y.node = std::move(node);
  }
  return y;
}

Tensor grouped_product(Torch& t, const Tensor& x_in, const Tensor& weight, int64_t width) {
  const Tensor x = to(t, x_in, weight.type);
  std::shared_ptr<Node> node = record(t, "GroupedMmBackward0", {&x, &weight});
  if (node) {
    if (node->wants(0)) t.save(*node, weight);
    if (node->wants(1)) t.save(*node, x);
  }
  Tensor y = t.make(x.rows, width, x.type, "_grouped_mm.default");
  if (node) {
    node->apply = [&t](Node& n, auto& in, auto& out) {
      std::vector<Tensor> kept;
      for (const Saved& saved : n.saved) kept.push_back(saved());
      for (size_t i = 0; i < 2; ++i)
        if (n.wants(i)) out[i] = t.make(n.edges[i].rows, n.edges[i].cols, in[0].type, "_grouped_mm.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor merged_weight(Torch& t, const Parameter& weight, const Parameter& a, const Parameter& b) {
  const Tensor right = to(t, b.tensor, weight.tensor.type);
  const Tensor left = to(t, a.tensor, weight.tensor.type);
  std::shared_ptr<Node> node = record(t, "BaddbmmBackward0", {&right, &left});
  if (node) {
    t.save(*node, left);
    t.save(*node, right);
  }
  Tensor y = t.make(weight.tensor.rows, weight.tensor.cols, weight.tensor.type, "baddbmm.default");
  if (node) {
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor left_kept = n.saved[0](), right_kept = n.saved[1]();
      for (size_t i = 0; i < 2; ++i) {
        Tensor product = t.make(n.edges[i].rows, n.edges[i].cols, in[0].type, "bmm.default");
        out[i] = t.make(n.edges[i].rows, n.edges[i].cols, in[0].type, "mul.Scalar");
      }
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor embedding(Torch& t, const Tensor& ids, const Tensor& weight) {
  std::shared_ptr<Node> node = record(t, "EmbeddingBackward0", {&weight});
  if (node) t.save(*node, ids);
  Tensor y = t.make(ids.numel(), weight.cols, weight.type, "embedding.default");
  if (node) {
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor kept = n.saved[0]();
      out[0] = t.make(n.edges[0].rows, n.edges[0].cols, in[0].type, "embedding_dense_backward.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor layer_norm(Torch& t, const Tensor& input, const Tensor* weight, const Tensor* bias) {
  const Tensor x = raised(t, input);
  Tensor none;
  const Tensor w = weight ? raised(t, *weight) : none;
  const Tensor b = bias ? raised(t, *bias) : none;
  std::shared_ptr<Node> node = record(t, "NativeLayerNormBackward0", {&x, &w, &b});
  if (node) {
    t.save(*node, x);
    if (w.defined()) t.save(*node, w);
    if (b.defined()) t.save(*node, b);
  }
  Tensor y = t.make(x.rows, x.cols, x.type, "native_layer_norm.default");
  const Tensor mean = t.make(x.rows, 1, Type::f32, "native_layer_norm.default");
  const Tensor rstd = t.make(x.rows, 1, Type::f32, "native_layer_norm.default");
  if (node) {
    t.save(*node, mean);
    t.save(*node, rstd);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      std::vector<Tensor> kept;
      for (const Saved& saved : n.saved) kept.push_back(saved());
      static constexpr std::string_view kBack = "native_layer_norm_backward.default";
      if (n.wants(0)) out[0] = t.make(in[0].rows, in[0].cols, in[0].type, kBack);
      if (n.wants(1)) out[1] = t.make(n.edges[1].rows, n.edges[1].cols, n.edges[1].type, kBack);
      if (n.wants(2)) out[2] = t.make(n.edges[2].rows, n.edges[2].cols, n.edges[2].type, kBack);
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor softmax(Torch& t, const Tensor& input, Type type, std::string_view name) {
  const Tensor x = raised(t, input);
  std::shared_ptr<Node> node = record(t, "SoftmaxBackward0", {&x});
  // The kernel casts half to f32 inside; any other cast is an op before it.
  Tensor y = t.make(x.rows, x.cols, type, name);
  if (node) {
    t.save(*node, y);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor kept = n.saved[0]();
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "_softmax_backward_data.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor log_softmax(Torch& t, const Tensor& input) {
  const Tensor x = raised(t, input);
  std::shared_ptr<Node> node = record(t, "LogSoftmaxBackward0", {&x});
  Tensor y = t.make(x.rows, x.cols, x.type, "_log_softmax.default");
  if (node) {
    t.save(*node, y);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      const Tensor kept = n.saved[0]();
      out[0] = t.make(in[0].rows, in[0].cols, in[0].type, "_log_softmax_backward_data.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor nll_loss(Torch& t, const Tensor& input, const Tensor& target) {
  const Tensor x = raised(t, input);
  std::shared_ptr<Node> node = record(t, "NllLossBackward0", {&x});
  if (node) {
    t.save(*node, x);
    t.save(*node, target);
  }
  Tensor y = t.make(1, 1, x.type, "nll_loss_forward.default");
  const Tensor total = t.make(1, 1, x.type, "nll_loss_forward.default");
  if (node) {
    t.save(*node, total);
    node->apply = [&t](Node& n, auto& in, auto& out) {
      std::vector<Tensor> kept;
      for (const Saved& saved : n.saved) kept.push_back(saved());
      out[0] = t.make(kept[0].rows, kept[0].cols, in[0].type, "nll_loss_backward.default");
    };
    y.node = std::move(node);
  }
  return y;
}

Tensor fused_cross_entropy(Torch& t, const Tensor& logits, const Tensor& target) {
  constexpr int64_t kChunks = 8;  // torchtune's; a kernel that widens in registers takes less
  std::shared_ptr<Node> node = record(t, "FusedCrossEntropyBackward", {&logits});
  if (node) {
    t.save(*node, logits);
    t.save(*node, target);
    node->apply = [](Node& n, auto&, auto& out) { out[0] = n.saved[0](); };  // written over the logits
  }
  const Tensor chunk = t.make((logits.rows + kChunks - 1) / kChunks, logits.cols, Type::f32, "_to_copy.default");
  Tensor y = t.make(1, 1, Type::f32, "cross_entropy");
  if (node) y.node = std::move(node);
  return y;
}

namespace {

Tensor fused_attention(Torch& t, const Tensor& q_in, const Tensor& k_in, const Tensor& v_in, int64_t statistics,
                       const Tensor& bias, bool flash) {
  // Grouped heads are the flash kernel's own; without them values may be narrower than keys.
  const int64_t width = flash ? q_in.cols : v_in.cols;
  Tensor q = lowered(t, q_in), k = lowered(t, k_in), v = lowered(t, v_in);
  const std::string_view op =
      flash ? "_scaled_dot_product_flash_attention.default" : "_scaled_dot_product_efficient_attention.default";
  std::shared_ptr<Node> node =
      record(t, flash ? "ScaledDotProductFlashAttentionBackward0" : "ScaledDotProductEfficientAttentionBackward0",
             {&q, &k, &v});
  if (node) {
    t.save(*node, k);
    t.save(*node, q);
    t.save(*node, v);
    if (bias.defined()) t.save(*node, bias);
  }
  Tensor y = t.make(q.rows, width, q.type, op);
  Tensor lse = t.make(statistics, 1, Type::f32, op);
  Tensor seed = t.make(flash ? 2 : 1, 1, Type::i64, op);
  Tensor offset = t.make(1, 1, Type::i64, op);
  if (node) {
    t.save(*node, lse);
    t.save(*node, y);
    t.save(*node, seed);
    t.save(*node, offset);
    const std::string_view back = flash ? "_scaled_dot_product_flash_attention_backward.default"
                                        : "_scaled_dot_product_efficient_attention_backward.default";
    node->apply = [&t, back](Node& n, auto& in, auto& out) {
      std::vector<Tensor> kept;
      for (const Saved& saved : n.saved) kept.push_back(saved());
      for (size_t i = 0; i < 3; ++i)
        if (n.wants(i)) out[i] = t.make(n.edges[i].rows, n.edges[i].cols, in[0].type, back);
      while (!kept.empty()) kept.pop_back();  // of a recomputed layer they die here, the last one first
    };
    y.node = std::move(node);
  }
  // First the other results die, then the casts, from the first on.
  offset.reset();
  seed.reset();
  lse.reset();
  q.reset();
  k.reset();
  return y;
}

}  // namespace

Tensor flash_attention(Torch& t, const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads) {
  return fused_attention(t, q, k, v, q.rows * heads, {}, true);
}

Tensor efficient_attention(Torch& t, const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                           int64_t padded_tokens, const Tensor& bias) {
  return fused_attention(t, q, k, v, padded_tokens * heads, bias, false);
}

Tensor checkpoint(Torch& t, const Tensor& x, const std::function<Tensor(const Tensor&)>& forward) {
  auto frame = std::make_shared<Frame>();
  std::weak_ptr<Frame> weak = frame;
  frame->recompute = [&t, input = t.keep(x), forward, weak, autocast = t.autocast, module = std::string(t.module)] {
    const std::shared_ptr<Frame> own = weak.lock();
    const bool grad_before = t.grad_enabled, autocast_before = t.autocast, inside = t.in_recompute;
    const std::string_view node_before = t.backward_node;
    std::shared_ptr<Frame> outer_recording = std::move(t.recording);
    t.recording = nullptr;
    t.grad_enabled = true;
    t.autocast = autocast;
    t.in_recompute = true;
    t.recomputing = own;
    t.backward_node = {};
    try {
      const Tensor y = forward(input());
    } catch (const StopRecompute&) {
    }
    t.recomputing = nullptr;
    t.recording = std::move(outer_recording);
    t.in_recompute = inside;
    t.grad_enabled = grad_before;
    if (autocast && !autocast_before) t.cast_cache.clear();
    t.autocast = autocast_before;
    t.backward_node = node_before;
  };
  t.recording = frame;
  Tensor y = forward(x);
  t.recording = nullptr;
  return y;
}

}  // namespace plimsoll::eager
