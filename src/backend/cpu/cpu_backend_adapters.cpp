#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/rows/dora.h"
#include "base/counter_random.h"

namespace plimsoll::cpu_adapters {
namespace {

constexpr uint64_t kDropoutStreams = uint64_t{1} << 40;  // behind those of the optimizer and of new tensors

cpu::DoraNormSpec dora_norm_spec(const Graph& graph, const Op& op) {
  const auto& attrs = op.attributes<DoraNormAttrs>();
  const Value &a = graph.value(op.operands[1]), &b = graph.value(op.operands[2]);
  return {b.shape[0], a.shape[1], a.shape[0], a.dtype, graph.value(op.operands[0]).dtype, attrs.transpose_weight,
          attrs.scale};
}

}  // namespace

void dropout(const KernelContext& c) {
  const auto& attrs = c.op.attributes<DropoutAttrs>();
  const Value& x = c.operand(0);
  cpu::dropout(c.pool, x.dtype, x.shape.elements(), attrs.p,
               key_at(c.state.seed, kDropoutStreams + attrs.stream, static_cast<uint64_t>(c.state.draw)), c.operands[0],
               c.results[0]);
}

void dora_norm(const KernelContext& c) {
  cpu::dora_norm(c.pool, dora_norm_spec(c.graph, c.op), c.operands[0], c.operands[1], c.operands[2], c.out<float>(0),
                 c.workspace.data());
}

int64_t dora_norm_workspace(const Graph& graph, const Op& op) {
  return cpu::dora_norm_workspace_bytes(dora_norm_spec(graph, op));
}

void scale_columns(const KernelContext& c) {
  const auto& attrs = c.op.attributes<ScaleColumnsAttrs>();
  const Value& z = c.operand(0);
  if (attrs.rows) {
    cpu::scale_rows(c.pool, z.dtype, z.shape[0], z.shape[1], c.operands[0], c.in<float>(1), c.in<float>(2),
                    c.results[0]);
    return;
  }
  cpu::scale_columns(c.pool, z.dtype, z.shape[0], z.shape[1], c.operands[0], c.in<float>(1), c.in<float>(2),
                     attrs.has_bias ? c.operands[3] : nullptr, attrs.has_bias ? c.operand(3).dtype : DType::f32,
                     c.results[0]);
}

void scale_columns_grad(const KernelContext& c) {
  const Value& z = c.operand(1);
  cpu::scale_columns_grad(c.pool, z.dtype, z.shape[0], z.shape[1], c.operands[0], c.operands[1], c.in<float>(2),
                          c.in<float>(3), c.has_operand(4) ? c.in<float>(4) : nullptr, c.results[0]);
}

}  // namespace plimsoll::cpu_adapters
