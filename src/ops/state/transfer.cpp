// Ops that move bytes between disk and the arena; the executor's host services do the moving.
//   load_tensor([target updated]) -> [loaded value when no target], staging
//   init_tensor(target updated): zeros, or A of an adapter (uniform in ±1/√fan_in, as torch's kaiming_uniform_(a = √5))
//   save_tensor(source) -> staging
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {
namespace {

Value staging(const TransferAttrs& attrs) {
  Value value = result_of("staging", DType::u8, {attrs.staging_bytes});
  value.kind = ValueKind::io_staging;
  return value;
}

}  // namespace

OpDef load_tensor_def() {
  return {.kind = OpKind::load_tensor,
          .name = "load_tensor",
          .infer = [](const Graph&, const Op& op) -> std::vector<Value> {
            const auto& attrs = op.attributes<TransferAttrs>();
            if (has_operand(op, 0)) return {staging(attrs)};
            return {result_of("", attrs.dtype, attrs.shape), staging(attrs)};
          },
          .mutates = [](const Op&, int) { return true; }};
}

OpDef init_tensor_def() {
  return {.kind = OpKind::init_tensor,
          .name = "init_tensor",
          .infer = [](const Graph&, const Op&) -> std::vector<Value> { return {}; },
          .mutates = [](const Op&, int) { return true; }};
}

OpDef save_tensor_def() {
  return {.kind = OpKind::save_tensor,
          .name = "save_tensor",
          .infer = [](const Graph&, const Op& op) -> std::vector<Value> {
            return {staging(op.attributes<TransferAttrs>())};
          }};
}

}  // namespace plimsoll
