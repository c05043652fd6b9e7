#include "ir/graph.h"

namespace plimsoll {

bool is_persistent(ValueKind kind) {
  switch (kind) {
    case ValueKind::constant:
    case ValueKind::parameter:
    case ValueKind::adapter:
    case ValueKind::master_weights:
    case ValueKind::gradient:
    case ValueKind::optimizer_state:
    case ValueKind::cache:
      return true;
    case ValueKind::input:
    case ValueKind::step_gradient:
    case ValueKind::activation:
    case ValueKind::io_staging:
    case ValueKind::streamed:
    case ValueKind::fetched:
      return false;
  }
  return false;
}

const char* name_of(ValueKind kind) {
  switch (kind) {
    case ValueKind::input:
      return "input";
    case ValueKind::constant:
      return "constant";
    case ValueKind::parameter:
      return "parameter";
    case ValueKind::adapter:
      return "adapter";
    case ValueKind::master_weights:
      return "master_weights";
    case ValueKind::gradient:
      return "gradient";
    case ValueKind::step_gradient:
      return "step_gradient";
    case ValueKind::optimizer_state:
      return "optimizer_state";
    case ValueKind::cache:
      return "cache";
    case ValueKind::activation:
      return "activation";
    case ValueKind::io_staging:
      return "io_staging";
    case ValueKind::streamed:
      return "streamed";
    case ValueKind::fetched:
      return "fetched";
  }
  return "?";
}

const char* name_of(OpRole role) {
  switch (role) {
    case OpRole::forward:
      return "forward";
    case OpRole::backward:
      return "backward";
    case OpRole::recompute:
      return "recompute";
    case OpRole::update:
      return "update";
    case OpRole::transfer:
      return "transfer";
  }
  return "?";
}

QkvLayout QkvLayout::blocks(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  return {(heads + 2 * kv_heads) * head_dim, 0,       heads * head_dim, (heads + kv_heads) * head_dim,
          heads / kv_heads * head_dim,       head_dim};
}

QkvLayout QkvLayout::groups(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  const int64_t queries = heads / kv_heads * head_dim, stride = queries + 2 * head_dim;
  return {kv_heads * stride, 0, queries, queries + head_dim, stride, stride};
}

ValueId Graph::find(std::string_view name) const {
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i].name == name) return static_cast<ValueId>(i);
  return kNoValue;
}

}  // namespace plimsoll
