#include "passes/share_product.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "passes/rewrite.h"

namespace plimsoll {
namespace {

// A product that was made again for the backward pass, who reads it, and who could write it.
struct Product {
  size_t made = 0, gradient = 0;
  std::vector<size_t> readers;
};

std::vector<Product> find_products(const Graph& graph) {
  std::map<std::pair<ValueId, ValueId>, Product> products;  // by gate and up
  std::unordered_map<ValueId, Product*> of_value;
  std::vector<Product> found;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    for (const ValueId id : op.operands)
      if (const auto reads = of_value.find(id); reads != of_value.end()) reads->second->readers.push_back(i);
    if (op.kind == OpKind::gated_activation && op.role == OpRole::recompute) {
      Product& product = products[{op.operands[0], op.operands[1]}];
      product.made = i;
      of_value[op.results[0]] = &product;
    } else if (op.kind == OpKind::gated_activation_grad) {
      const auto product = products.find({op.operands[1], op.operands[2]});
      if (product == products.end()) continue;
      product->second.gradient = i;
      // Those seen so far; later ones come after the gradient anyway.
      const bool all_can_wait = std::ranges::all_of(product->second.readers,
                                                    [&](size_t reader) { return graph.ops[reader].results.empty(); });
      if (all_can_wait) found.push_back(product->second);
    }
  }
  return found;
}

}  // namespace

void share_products(Graph& graph) {
  std::unordered_set<size_t> moved;
  std::unordered_map<size_t, std::vector<size_t>> waiting;  // behind which op
  for (const Product& product : find_products(graph)) {
    Op& gradient = graph.ops[product.gradient];
    std::get<GatedActivationAttrs>(gradient.attrs).with_product = true;
    gradient.results.push_back(graph.ops[product.made].results[0]);  // the same value, written by another op
    moved.insert(product.made);
    for (const size_t reader : product.readers)
      if (moved.insert(reader).second) waiting[product.gradient].push_back(reader);
  }
  std::vector<Op> ops;
  ops.reserve(graph.ops.size());
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    if (!moved.contains(i)) ops.push_back(graph.ops[i]);
    if (const auto behind = waiting.find(i); behind != waiting.end())
      for (const size_t reader : behind->second) ops.push_back(graph.ops[reader]);
  }
  set_ops(graph, std::move(ops));
}

}  // namespace plimsoll
