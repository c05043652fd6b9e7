#include "passes/quantize.h"

#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

// Who reads a value.
struct Readers {
  bool linears = false;  // layers that adapters may go on
  bool experts = false;  // of mixtures, one matrix each
  bool tables = false;   // embeddings, the head
  bool others = false;   // ops that know no packed operands
};

size_t first_expert(const Op& op) {
  const auto& attrs = op.attributes<GroupedLinearAttrs>();
  return 2 + (attrs.has_bias ? 1 : 0) + (attrs.has_addend ? 1 : 0);
}

std::vector<Readers> readers_of(const Graph& graph) {
  std::vector<Readers> readers(graph.values.size());
  for (const Op& op : graph.ops)
    for (size_t i = 0; i < op.operands.size(); ++i) {
      if (op.operands[i] == kNoValue) continue;
      Readers& reader = readers[static_cast<size_t>(op.operands[i])];
      const bool is_head = op.kind == OpKind::linear_cross_entropy ||
                           (op.kind == OpKind::linear && !graph.outputs.empty() && op.results[0] == graph.outputs[0]);
      if (op.kind == OpKind::grouped_linear && !op.attributes<GroupedLinearAttrs>().fused && i >= first_expert(op))
        reader.experts = true;
      else if (i != 1) reader.others = true;
      else if (is_head || op.kind == OpKind::embedding) reader.tables = true;
      else if (op.kind == OpKind::linear && op.attributes<LinearAttrs>().adaptable) reader.linears = true;
      else reader.others = true;
    }
  return readers;
}

}  // namespace

void quantize(Graph& graph, const PackedFormats& formats) {
  if (formats.none()) return;
  const std::vector<Readers> readers = readers_of(graph);
  for (size_t i = 0; i < graph.values.size(); ++i) {
    Value& value = graph.values[i];
    if (value.kind != ValueKind::parameter || readers[i].others) continue;
    if (const auto stored = formats.stored.find(value.name); stored != formats.stored.end()) {
      if (can_pack(stored->second, value.shape)) value.dtype = stored->second;
    } else if (formats.linears && (readers[i].linears || readers[i].experts) && !readers[i].tables) {
      if (!can_pack(*formats.linears, value.shape))
        throw caller_error("--quant",
                           std::string(dtype_name(*formats.linears)) + " has blocks of " +
                               std::to_string(dtype_info(*formats.linears).block_elements) + ", " + value.name +
                               " is " + to_string(value.shape),
                           "take nf4, int8 or fp8, which have no such blocks");
      value.dtype = *formats.linears;
    }
  }
  for (Op& op : graph.ops)
    if (op.kind == OpKind::embedding)
      std::get<EmbeddingAttrs>(op.attrs).result_dtype = graph.value(op.results[0]).dtype;
}

}  // namespace plimsoll
