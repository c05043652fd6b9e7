// Helpers for the shape rules in this folder.
#pragma once

#include <string>

#include "base/error.h"
#include "ir/graph.h"

namespace plimsoll {

inline void expect(bool condition, const Op& op, const char* rule) { PLIMSOLL_CHECK(condition, op.name + ": " + rule); }

inline const Value& operand(const Graph& graph, const Op& op, size_t index) {
  PLIMSOLL_CHECK(index < op.operands.size() && op.operands[index] != kNoValue, op.name + ": an operand is missing");
  return graph.value(op.operands[index]);
}
inline bool has_operand(const Op& op, size_t index) {
  return index < op.operands.size() && op.operands[index] != kNoValue;
}

inline Value result_of(std::string name, DType dtype, Shape shape) { return {std::move(name), dtype, shape}; }

}  // namespace plimsoll
