// What optimizers keep and need for a step: torch.optim 2.13, transformers' Adafactor, bitsandbytes.
#include <algorithm>

#include "base/bytes.h"
#include "engines/eager/train_step.h"

namespace plimsoll::eager {
namespace {

constexpr int64_t kBlock8Bit = 256;      // values that share an absmax
constexpr int64_t kSmallest8Bit = 4096;  // smaller tensors keep f32 states

void make_states(Torch& t, EngineOptimizer kind, const Parameter& p, OptimizerState& state) {
  const Tensor& w = p.tensor;
  const auto like = [&](Type type) { state.tensors.push_back(t.make(w.rows, w.cols, type, "zeros_like.default")); };
  switch (kind) {
    case EngineOptimizer::adamw_foreach:
    case EngineOptimizer::adamw_fused:
      if (kind == EngineOptimizer::adamw_fused) state.tensors.push_back(t.make(1, 1, Type::f32, "step"));
      like(w.type);
      like(w.type);
      break;
    case EngineOptimizer::sgd_momentum_foreach:
    case EngineOptimizer::muon:
      like(w.type);
      break;
    case EngineOptimizer::adamw_8bit:
      for (int i = 0; i < 2; ++i) {
        if (w.numel() < kSmallest8Bit) {
          like(Type::f32);
          continue;
        }
        like(Type::u8);
        state.tensors.push_back(t.make(ceil_div(w.numel(), kBlock8Bit), 1, Type::f32, "zeros.default"));
      }
      break;
    case EngineOptimizer::adafactor:
      if (p.is_vector) {
        like(Type::f32);
      } else {
        state.tensors.push_back(t.make(w.rows, 1, Type::f32, "zeros.default"));
        state.tensors.push_back(t.make(1, w.cols, Type::f32, "zeros.default"));
      }
      break;
    case EngineOptimizer::sgd_foreach:
    case EngineOptimizer::none:
      break;
  }
}

// One parameter of transformers' Adafactor, line by line.
void adafactor(Torch& t, const Parameter& p) {
  const int64_t rows = p.tensor.rows, cols = p.tensor.cols;
  const auto like = [&](std::string_view op) { return t.make(rows, cols, Type::f32, op); };
  Tensor grad32, weight32;
  if (is_half(p.grad.type)) grad32 = like("_to_copy.default");
  if (is_half(p.tensor.type)) weight32 = like("_to_copy.default");
  Tensor squares = like("pow.Tensor_Scalar");
  Tensor update = like("add.Tensor");
  squares.reset();
  if (p.is_vector) {
    Tensor root = like("rsqrt.default");
    update = std::move(root);
  } else {
    Tensor row_mean = t.make(rows, 1, Type::f32, "mean.dim");
    row_mean.reset();
    Tensor col_mean = t.make(1, cols, Type::f32, "mean.dim");
    col_mean.reset();
    const Tensor row_factor = t.make(rows, 1, Type::f32, "div.Tensor");
    const Tensor col_factor = t.make(1, cols, Type::f32, "rsqrt.default");
    Tensor fresh = like("mul.Tensor");
    update = std::move(fresh);
  }
  const Tensor minus = like("neg.default");
}

}  // namespace

void optimizer_step(Torch& t, EngineOptimizer kind, std::vector<Parameter*>& parameters, OptimizerState& state) {
  if (kind == EngineOptimizer::none) return;
  if (state.tensors.empty()) {
    t.purpose = Purpose::optimizer_state;
    for (const Parameter* p : parameters) make_states(t, kind, *p, state);
    t.purpose = Purpose::activation;
  }
  if (kind == EngineOptimizer::adafactor) {
    for (const Parameter* p : parameters) adafactor(t, *p);
    return;
  }
  if (kind != EngineOptimizer::adamw_foreach) return;  // the others work in place
  // foreach: one list for each dtype, the roots of all of a list at once.
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
    std::vector<Tensor> roots;
    for (const Parameter* p : parameters)
      if (p->tensor.type == type)
        roots.push_back(t.make(p->tensor.rows, p->tensor.cols, type, "_foreach_sqrt.default"));
  }
}

}  // namespace plimsoll::eager
