#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/optimizer/adafactor.h"
#include "backend/cpu/optimizer/fake_quant.h"
#include "backend/cpu/optimizer/grad_norm.h"
#include "backend/cpu/optimizer/optimizer.h"
#include "backend/cpu/rows/elementwise.h"
#include "base/bytes.h"
#include "base/counter_random.h"
#include "base/error.h"

namespace plimsoll::cpu_adapters {
namespace {

using GradientSpan = std::span<const float>;

int64_t span_table_bytes(const Op& op) {
  return round_up(static_cast<int64_t>(op.operands.size() * sizeof(GradientSpan)), 64);
}

}  // namespace

void cast(const KernelContext& c) {
  cpu::cast(c.pool, c.operand(0).shape.elements(), c.operand(0).dtype, c.operands[0], c.operand(1).dtype,
            c.operands[1]);
}

void convert(const KernelContext& c) {
  cpu::cast(c.pool, c.operand(0).shape.elements(), c.operand(0).dtype, c.operands[0], c.result(0).dtype, c.results[0]);
}

void fake_quant(const KernelContext& c) {
  const auto& attrs = c.op.attributes<FakeQuantAttrs>();
  const Shape& shape = c.operand(0).shape;
  cpu::fake_quant(c.pool, shape[0], shape[1], attrs.bits, attrs.group, attrs.transpose_weight, c.in<float>(0),
                  c.operand(1).dtype, c.operands[1]);
}

void begin_gradient(const KernelContext& c) {
  if (c.op.attributes<BeginGradientAttrs>().clear) cpu::fill_zero(c.pool, c.result(0).bytes(), c.results[0]);
}

void square_sum(const KernelContext& c) {
  const GradientSpan gradient(c.in<float>(0), static_cast<size_t>(c.operand(0).shape.elements()));
  c.in<double>(1)[c.op.attributes<SquareSumAttrs>().slot] =
      cpu::sum_of_squares(c.pool, {&gradient, 1}, c.state.gradient_limit, c.workspace.data());
}

int64_t square_sum_workspace(const Graph& graph, const Op& op) {
  const std::array<int64_t, 1> elements = {graph.value(op.operands[0]).shape.elements()};
  return cpu::sum_of_squares_workspace_bytes(elements);
}

void fill_zero(const KernelContext& c) { cpu::fill_zero(c.pool, c.operand(0).bytes(), c.operands[0]); }

void clip_coefficient(const KernelContext& c) {
  const auto& attrs = c.op.attributes<ClipAttrs>();
  double sum = 0;
  if (attrs.from_sums) {
    for (int64_t i = 0; i < c.operand(0).shape[0]; ++i) sum += c.in<double>(0)[i];
  } else {
    // The table of spans lies in the workspace too: an op allocates nothing.
    auto* table = reinterpret_cast<GradientSpan*>(c.workspace.data());
    for (size_t i = 0; i < c.operands.size(); ++i)
      new (table + i) GradientSpan(c.in<float>(i), static_cast<size_t>(c.operand(i).shape.elements()));
    sum = cpu::sum_of_squares(c.pool, {table, c.operands.size()}, c.state.gradient_limit,
                              c.workspace.data() + span_table_bytes(c.op));
  }
  // Squares of finite f32 do not overflow a double, so the sum tells whether any gradient did.
  c.state.overflow = !std::isfinite(sum);
  c.state.grad_norm = std::sqrt(sum) / c.state.loss_scale;
  const auto norm = static_cast<float>(c.state.grad_norm);
  const float clip = attrs.max_norm > 0 ? std::min(1.0F, static_cast<float>(attrs.max_norm) / (norm + 1e-6F)) : 1.0F;
  *c.out<float>(0) = static_cast<float>(static_cast<double>(clip) / c.state.loss_scale);
}

int64_t clip_coefficient_workspace(const Graph& graph, const Op& op) {
  if (op.attributes<ClipAttrs>().from_sums) return 0;
  std::vector<int64_t> elements;
  for (const ValueId id : op.operands) elements.push_back(graph.value(id).shape.elements());
  return span_table_bytes(op) + cpu::sum_of_squares_workspace_bytes(elements);
}

void optimizer_update(const KernelContext& c) {
  if (c.state.overflow) return;  // the step is skipped
  constexpr size_t kState = 4;   // index of the first state operand
  const auto& attrs = c.op.attributes<OptimizerAttrs>();
  cpu::OptimizerScalars scalars;
  scalars.lr = c.state.lr * attrs.lr_scale;
  scalars.beta1 = attrs.beta1;
  scalars.beta2 = attrs.beta2;
  scalars.eps = attrs.eps;
  scalars.weight_decay = attrs.weight_decay;
  scalars.momentum = attrs.momentum;
  scalars.step = c.state.step + 1;
  scalars.clip = c.has_operand(2) ? *c.in<float>(2) : 1.0F;
  scalars.random_key = key_at(c.state.seed, attrs.stream, static_cast<uint64_t>(c.state.step));
  cpu::OptimizerTensor tensor;
  tensor.n = c.operand(0).shape.elements();
  tensor.weights = c.operands[0];
  tensor.weights_dtype = c.operand(0).dtype;
  tensor.gradient = c.in<float>(1);
  if (c.has_operand(3)) {
    tensor.copy = c.operands[3];
    tensor.copy_dtype = c.operand(3).dtype;
  }
  if (c.has_operand(kState)) {
    tensor.m = c.operands[kState];
    tensor.state_dtype = c.operand(kState).dtype;
  }
  if (c.has_operand(kState + 1)) tensor.v = c.operands[kState + 1];
  switch (attrs.rule) {
    case UpdateRule::adamw8bit:
      if (c.has_operand(kState + 2)) {
        cpu::adamw8bit_step(
            c.pool, scalars, tensor,
            {c.in<uint8_t>(kState), c.in<uint8_t>(kState + 1), c.in<float>(kState + 2), c.in<float>(kState + 3)});
        break;
      }
      [[fallthrough]];
    case UpdateRule::adamw:
      cpu::adamw_step(c.pool, scalars, tensor);
      break;
    case UpdateRule::adam:
      cpu::adam_step(c.pool, scalars, tensor);
      break;
    case UpdateRule::sgd:
      cpu::sgd_step(c.pool, scalars, tensor);
      break;
    case UpdateRule::adafactor:
      cpu::adafactor_step(c.pool, scalars, attrs.scale_parameter, c.operand(0).shape, tensor,
                          {c.in<float>(kState), c.has_operand(kState + 1) ? c.in<float>(kState + 1) : nullptr},
                          c.workspace.data());
      break;
  }
}

int64_t optimizer_update_workspace(const Graph& graph, const Op& op) {
  const bool needs = op.attributes<OptimizerAttrs>().rule == UpdateRule::adafactor;
  return needs ? cpu::adafactor_workspace_bytes(graph.value(op.operands[0]).shape) : 0;
}

void load_tensor(const KernelContext& c) {
  const auto& attrs = c.op.attributes<TransferAttrs>();
  PLIMSOLL_CHECK(c.state.host != nullptr, "a load needs host services");
  const bool into_operand = c.has_operand(0);
  const Value& target = into_operand ? c.operand(0) : c.result(0);
  std::byte* data = into_operand ? c.operands[0] : c.results[0];
  std::byte* staging = c.results[c.results.size() - 1];
  c.state.host->load(attrs.tensor, target, {data, static_cast<size_t>(target.bytes())},
                     {staging, static_cast<size_t>(staging != nullptr ? attrs.staging_bytes : 0)});
}

void save_tensor(const KernelContext& c) {
  const auto& attrs = c.op.attributes<TransferAttrs>();
  PLIMSOLL_CHECK(c.state.host != nullptr, "a save needs host services");
  std::byte* staging = c.results[0];
  c.state.host->save(attrs.tensor, c.operand(0), {c.operands[0], static_cast<size_t>(c.operand(0).bytes())},
                     {staging, static_cast<size_t>(staging != nullptr ? attrs.staging_bytes : 0)});
}

void init_tensor(const KernelContext& c) {
  const auto& attrs = c.op.attributes<InitAttrs>();
  const Value& target = c.operand(0);
  if (attrs.kind == InitKind::zero) {
    cpu::fill_zero(c.pool, target.bytes(), c.operands[0]);
    return;
  }
  PLIMSOLL_CHECK(target.dtype == DType::f32, "masters are f32");
  const int64_t elements = target.shape.elements();
  const double bound = 1.0 / std::sqrt(static_cast<double>(target.shape[1]));
  for (int64_t i = 0; i < elements; ++i)
    c.in<float>(0)[i] =
        static_cast<float>((2.0 * uniform_at(c.state.seed, attrs.stream, static_cast<uint64_t>(i)) - 1.0) * bound);
}

}  // namespace plimsoll::cpu_adapters
