// What every stage needs to know of an op, in one table: its name, shape rule, gradient rule, cost, which operands it
// updates in place and which result may take over an operand's buffer. One file per op defines its row.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

class GradientBuilder;

struct OpCost {
  double flops = 0;            // multiply and add count as two
  int64_t bytes_accessed = 0;  // operands read and results written once
  int64_t weight_bytes = 0;    // of these, the weights and adapters
};

using ReuseCandidates = std::array<int, 2>;  // operand indices; -1: none

struct OpDef {
  OpKind kind;
  const char* name;
  // Shapes and dtypes of the results are derived from operands and attributes; a mismatch is an internal Error naming
  // the op. Called by the builder, and again by the verifier.
  std::vector<Value> (*infer)(const Graph& graph, const Op& op);
  // Adds backward ops; nullptr: not differentiable.
  void (*gradient)(GradientBuilder& builder, const Op& op) = nullptr;
  double (*flops)(const Graph& graph, const Op& op) = nullptr;  // nullptr: none worth counting
  // The operands whose buffer result `index` may take over when the op is their last use, best first.
  ReuseCandidates (*reuse)(const Op& op, int index) = nullptr;
  // Operands that the op updates in place (persistent values only).
  bool (*mutates)(const Op& op, int operand) = nullptr;
  // Recomputing the result in the backward pass costs little beside a matmul, so it is never kept.
  bool cheap = false;
  bool all_results_cheap = false;  // otherwise the first, and what else it gives is kept
};

const OpDef& op_def(OpKind kind);
inline const char* name_of(OpKind kind) { return op_def(kind).name; }
OpCost op_cost(const Graph& graph, const Op& op);

// Adds an op with fresh result values (named name, name.1, …, or as given); returns the first result.
struct NewOp {
  OpKind kind;
  std::vector<ValueId> operands;
  OpAttrs attrs;
  std::string name;
  OpRole role = OpRole::forward;
  int layer = -1;
};
std::vector<ValueId> add_op(Graph& graph, NewOp op);
ValueId add_value(Graph& graph, Value value);

// Throws an internal Error unless: every operand is defined before its use, results have one producer, shapes agree
// with the op's own rule, and only persistent values are updated in place.
void verify(const Graph& graph);

// One line per op: "%12 = linear(%3, %7) : bf16 (2048, 576)  layers.0.self_attn.q_proj  [forward]".
std::string print(const Graph& graph);

}  // namespace plimsoll
